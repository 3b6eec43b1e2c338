package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of our own: appendonly, fsync every second, no snapshots.
type redisServer struct {
	cmd    *exec.Cmd
	dir    string
	addr   string
	client *redis.Client
}

func startRedis(ctx context.Context) (*redisServer, error) {
	dir, err := os.MkdirTemp("", "staffetta-bench-redis")
	if err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &redisServer{dir: dir, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	//nolint:gosec // our own arguments
	s.cmd = exec.CommandContext(ctx, "redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "warning")
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.addr})
	err = until(ctx, 10*time.Second, func() (bool, error) { return s.client.Ping(ctx).Err() == nil, nil })
	return s, err
}

func (s *redisServer) stop() {
	_ = s.client.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

// url is how a child reaches it.
func (s *redisServer) url() string { return "redis://" + s.addr + "/0" }

// memory is used_memory of INFO, in bytes.
func (s *redisServer) memory(ctx context.Context) (int64, error) {
	info, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); found {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, errors.New("no used_memory in INFO")
}

// cpu is the processor time that Redis has used so far.
func (s *redisServer) cpu() (time.Duration, error) { return cpuOf(s.cmd.Process.Pid) }

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// until asks every few milliseconds whether something is so.
func until(ctx context.Context, longest time.Duration, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		if is, err := so(); is || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
