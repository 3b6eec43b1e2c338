package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs the program as a person does.
func command(t *testing.T, args ...string) (code int, out, logs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestHelpNamesEveryCommand(t *testing.T) {
	code, out, _ := command(t, "--help")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"serve", "demo", "check", "subscribe", "pause", "resume"} {
		if !strings.Contains(out, want) {
			t.Errorf("--help does not name %s", want)
		}
	}
}

func TestWrongUsageIsTwo(t *testing.T) {
	for _, args := range [][]string{{}, {"server"}, {"serve"}, {"pause", "--config", "x.yaml"}} {
		if code, _, logs := command(t, args...); code != exitUsage || logs == "" {
			t.Errorf("%v: exit code %d, %q", args, code, logs)
		}
	}
}

func TestAFindingIsOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "staffetta.yaml")
	if err := os.WriteFile(path, []byte("ledger: {retension: 90d}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, logs := command(t, "check", "--config", path)
	if code != exitFinding || !strings.Contains(logs, "line 1") || !strings.Contains(logs, "retension") {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

func TestTheDemoBalances(t *testing.T) {
	code, out, logs := command(t, "demo", "--reports", "40", "--exit", "--admin", "127.0.0.1:0")
	if code != 0 || !strings.Contains(out, ": balances") || !strings.Contains(out, "IN MEMORY ONLY") {
		t.Errorf("exit code %d\n%s\n%s", code, out, logs)
	}
	if code, _, _ := command(t, "demo", "--exit"); code != exitFinding {
		t.Errorf("--exit without --reports: exit code %d", code)
	}
}
