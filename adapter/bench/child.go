package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"staffetta/adapter"
	"staffetta/config"
)

// childArgument makes this program one of the competitors.
const childArgument = "child"

// runChild is a competitor: it prints its address, and serves until it is told to stop.
func runChild(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("which child?")
	}
	switch args[0] {
	case "ingest":
		return bareIngest(ctx, args[1], out)
	case "loop":
		return bareLoop(ctx, args[1], args[2], out)
	case "staffetta":
		return staffetta(ctx, args[1], out)
	}
	return errors.New("no such child")
}

// staffetta is the program as serve runs it.
func staffetta(ctx context.Context, file string, out io.Writer) error {
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	program, err := adapter.Open(ctx, cfg, adapter.NewLog(os.Stderr, cfg.Log.Level))
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out, program.PublicAddr())
	return program.Run(ctx)
}

// child is a competitor in its own process, so that its CPU time and memory are its own.
type child struct {
	cmd  *exec.Cmd
	addr string
}

func startChild(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, append([]string{childArgument}, args...)...)} //nolint:gosec // ourselves
	c.cmd.Stderr = os.Stderr
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGINT) }
	c.cmd.WaitDelay = 15 * time.Second
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s did not start: %w", args[0], err)
	}
	c.addr = strings.TrimSpace(line)
	return c, nil
}

func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	_ = c.cmd.Wait()
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// ticksPerSecond is USER_HZ, 100 on every Linux.
const ticksPerSecond = 100

// cpu is the processor time that the child has used so far.
func (c *child) cpu() (time.Duration, error) { return cpuOf(c.cmd.Process.Pid) }

// cpuOf is the processor time of a process, of user and system.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, errors.New("short /proc stat")
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond, err
}

// resident is the child's resident memory in bytes.
func (c *child) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc status")
}
