package main

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/config"
	"staffetta/fhir"
)

// office is a configuration file over a real Redis, and what people do with the commands there.
type office struct {
	file  string
	redis *redis.Client
}

func openOffice(t *testing.T) office {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no redis-server on the PATH: the embedded one is inside of one process")
	}
	client := redistest.Real(t)
	text, err := os.ReadFile(fileWith(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "staffetta.yaml")
	text = []byte(strings.Replace(string(text), "url: embedded", `url: "redis://`+client.Options().Addr+`/0"`, 1))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return office{file, client}
}

// admit lets reports wait in the ledger, as the program does that serves.
func (o office) admit(t *testing.T, ids ...string) {
	t.Helper()
	cfg, err := config.Load(o.file)
	if err != nil {
		t.Fatal(err)
	}
	program, err := adapter.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	hints := make([]ledger.Hint, len(ids))
	for i, id := range ids {
		l := fhir.Locator{Type: "DiagnosticReport", ID: id}
		hints[i] = ledger.Hint{Key: program.Ledger.DocumentKey("lab", l), Source: "lab", Locator: l, State: ledger.Pending}
	}
	if _, err := program.Ledger.Admit(t.Context(), hints); err != nil {
		t.Fatal(err)
	}
}

func TestPauseAndResumeSayWhatTheyDid(t *testing.T) {
	o := openOffice(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"resume"}, "sending was not paused"},
		{[]string{"pause", "--why", "a trial", "--who", "giulia"}, "all sending is paused"},
		{[]string{"pause", "--why", "a trial, still", "--who", "giulia"}, "all sending is paused"},
		{[]string{"pause"}, "all sending is paused"}, // who is in a hurry explains later
		{[]string{"resume"}, "sending goes on"},
		{[]string{"resume"}, "sending was not paused"},
	} {
		code, out, logs := command(t, append(tt.args, "--config", o.file)...)
		if code != 0 || !strings.Contains(out, tt.want) {
			t.Errorf("%v: exit code %d, %q, want %q\n%s", tt.args, code, out, tt.want, logs)
		}
		held := o.redis.HGetAll(t.Context(), "staffetta:{io}:pace").Val()
		if paused := held["paused"] != ""; paused != (tt.args[0] == "pause") {
			t.Errorf("%v: Redis says paused %t", tt.args, paused)
		}
	}
}

// check --ledger is 0 where all is well, and 1 where a record would wait for ever.
func TestCheckLedgerFindsWhatIsLost(t *testing.T) {
	o := openOffice(t)
	o.admit(t, "r1", "r2", "r3")
	code, out, logs := command(t, "check", "--no-sources", "--ledger", "--config", o.file)
	if code != 0 || !strings.Contains(out, "ledger: 3 live records (0 held), 0 finished: every record has a next time") || strings.Contains(out, "finding:") {
		t.Fatalf("exit code %d\n%s%s", code, out, logs)
	}
	sets := o.redis.Keys(t.Context(), "staffetta:{*}:due:lab").Val()
	if len(sets) == 0 {
		t.Fatal("no due set")
	}
	lost := o.redis.ZCard(t.Context(), sets[0]).Val()
	if err := o.redis.Del(t.Context(), sets[0]).Err(); err != nil {
		t.Fatal(err)
	}
	code, out, logs = command(t, "check", "--no-sources", "--ledger", "--config", o.file)
	if code != exitFinding || int64(strings.Count(out, "(pending) has no next time, is not held and has no end\n")) != lost || !strings.Contains(out, "findings\n") {
		t.Errorf("exit code %d, want %d and %d findings\n%s%s", code, exitFinding, lost, out, logs)
	}
	if code, _, _ := command(t, "check", "--no-sources", "--config", o.file); code != 0 {
		t.Errorf("exit code %d without --ledger: the file is well", code)
	}
}

// A source that was renamed in the file is one finding, however many partitions its records lie in.
func TestCheckLedgerFindsASourceThatIsGone(t *testing.T) {
	o := openOffice(t)
	ids := make([]string, 64)
	for i := range ids {
		ids[i] = fmt.Sprint("r", i)
	}
	o.admit(t, ids...)
	text, err := os.ReadFile(o.file)
	if err != nil {
		t.Fatal(err)
	}
	renamed := strings.Replace(string(text), "name: lab", "name: laboratory", 1)
	if err := os.WriteFile(o.file, []byte(renamed), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, logs := command(t, "check", "--no-sources", "--ledger", "--config", o.file)
	if code != exitFinding || strings.Count(out, "finding:") != 1 || !strings.Contains(out, "finding: source lab is not configured, and 64 live records wait for it\n") {
		t.Errorf("exit code %d\n%s%s", code, out, logs)
	}
}

// Who comes with another naming key is told which key of the file to look at.
func TestAnotherNamingKeyIsNamed(t *testing.T) {
	o := openOffice(t)
	o.admit(t, "r1")
	text, err := os.ReadFile(o.file)
	if err != nil {
		t.Fatal(err)
	}
	seal := filepath.Join(t.TempDir(), "seal.key")
	another := regexp.MustCompile(`seal_key: [^ }\n]+`).ReplaceAllLiteralString(string(text), "seal_key_file: "+seal)
	for path, text := range map[string]string{o.file: another, seal: base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := "the ledger in Redis was written under another naming key: look at ledger.seal_key_file (" + seal + "), the seal key with the lowest id (1)"
	for _, args := range [][]string{{"serve"}, {"check", "--no-sources", "--ledger"}, {"pause", "--why", "a trial"}} {
		code, out, logs := command(t, append(args, "--config", o.file)...)
		if code != exitFinding || !strings.Contains(logs, want) {
			t.Errorf("%v: exit code %d, want %q\n%s%s", args, code, want, out, logs)
		}
	}
}

// A Redis that may forget is a finding, one for each setting, wherever check asks Redis at all.
func TestCheckFindsARedisThatMayForget(t *testing.T) {
	o := openOffice(t)
	check := func(want int, args ...string) string {
		t.Helper()
		code, out, logs := command(t, append([]string{"check", "--config", o.file}, args...)...)
		if code != want {
			t.Errorf("check %v: exit code %d, want %d\n%s%s", args, code, want, out, logs)
		}
		return out
	}
	if out := check(0, "--no-sources", "--ledger"); !strings.Contains(out, "redis: it keeps what it is told: appendonly yes, maxmemory-policy noeviction\n") {
		t.Error(out)
	}
	for name, value := range map[string]string{"appendonly": "no", "maxmemory-policy": "allkeys-lru"} {
		if err := o.redis.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"--no-sources", "--ledger"}, {"--sources"}} { // the source of this file is nowhere
		out := check(exitFinding, args...)
		if strings.Count(out, "finding: redis: ") != 2 || !strings.Contains(out, "finding: redis: appendonly is no: ") ||
			!strings.Contains(out, "finding: redis: maxmemory-policy is allkeys-lru: ") {
			t.Errorf("check %v finds\n%s", args, out)
		}
	}
	if out := check(0, "--no-sources"); strings.Contains(out, "redis") {
		t.Errorf("it asks Redis although it is to ask nobody:\n%s", out)
	}
	if err := o.redis.ACLSetUser(t.Context(), "default", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	if out := check(0, "--no-sources", "--ledger"); !strings.Contains(out, "redis: it does not say whether it may forget: ") {
		t.Errorf("who may not ask says so:\n%s", out)
	}
}
