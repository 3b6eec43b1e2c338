package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter"
	"staffetta/adapter/ledger/redistest"
	"staffetta/config"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// ward is an adapter that runs beside the command line, between an FSE and an IO.
type ward struct {
	fse  *fse.Server
	io   *sandbox.Sandbox
	file string
}

func newWard(t *testing.T) *ward {
	t.Helper()
	server, ok := redistest.Start(t).(*redis.Client)
	if !ok {
		t.Fatal("no single Redis")
	}
	w := &ward{fse: fse.NewServer(), io: sandbox.New(sandbox.Options{Keys: []string{"a-key-for-tests"}}), file: filepath.Join(t.TempDir(), "staffetta.yaml")}
	source, io := httptest.NewServer(w.fse), httptest.NewServer(w.io)
	t.Cleanup(source.Close)
	t.Cleanup(io.Close)
	text := fmt.Sprintf(`public: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
redis: {url: "redis://%s/0"}
ledger: {seal_key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
sources: [{name: lab, base_url: %q, unlabelled: hold, receive: {bearer_tokens: [a-token-for-tests]}}]
io: {base_url: "%s/api/v1", key: a-key-for-tests, rate: 1000, polls: [20ms]}
message: {button_url: "https://fse.ente.example/referti"}
policy: {settle: 0s}
`, server.Options().Addr, source.URL+"/fhir", io.URL)
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(w.file)
	if err != nil {
		t.Fatal(err)
	}
	program, err := adapter.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- program.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for _, c := range fse.Population(12, 3, false) {
		for _, r := range c.Resources {
			w.fse.Put(r)
		}
		poster := fse.Poster{URL: "http://" + program.PublicAddr().String() + "/fhir/lab", Token: "a-token-for-tests", Server: w.fse, Client: new(http.Client)}
		if err := poster.Notify(t.Context(), fse.R4IDOnly, c.Hints...); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// reports runs the command, with something on stdin.
func (w *ward) reports(t *testing.T, in string, args ...string) (code int, out, logs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = runWith(t.Context(), append(append([]string{"reports", args[0]}, "--config", w.file), args[1:]...),
		streams{in: strings.NewReader(in), out: &stdout, logs: &stderr})
	return code, stdout.String(), stderr.String()
}

// until runs the command until it says something.
func (w *ward) until(t *testing.T, want string, args ...string) string {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); ; <-time.After(20 * time.Millisecond) {
		_, out, logs := w.reports(t, "", args...)
		if regexp.MustCompile(want).MatchString(out) {
			return out
		}
		if time.Now().After(end) {
			t.Fatalf("%v never says %s: %s%s", args, want, out, logs)
		}
	}
}

func TestReportsFromListToMessage(t *testing.T) {
	w := newWard(t)
	var c fse.Case
	held := 0
	for _, one := range fse.Population(12, 3, false) {
		if one.Outcome == "told" {
			held++ // each of them is unlabelled
			c = one
		}
	}
	w.until(t, fmt.Sprintf(`(?m)^%d held, %d shown$`, held, held), "list", "--reason", "unlabelled", "--source", "lab")
	code, out, _ := w.reports(t, "", "list", "--limit", "1", "--json")
	var list struct {
		Held    int
		Records []struct{ Record, Source, State, Reason, Release string }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || list.Held < held || len(list.Records) != 1 {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if one := list.Records[0]; one.State != "held" || one.Source != "lab" || len(one.Record) != 22 || one.Release != "overrides" {
		t.Errorf("%+v", one)
	}

	name := []string{"lab", "DiagnosticReport/" + c.ID}
	code, out, _ = w.reports(t, "", append([]string{"show"}, name...)...)
	key := regexp.MustCompile(`(?m)^record +(\S+)$`).FindStringSubmatch(out)
	if code != 0 || key == nil || !strings.Contains(out, "reason         unlabelled") || !strings.Contains(out, "told           nothing") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if code, out, logs := w.reports(t, "", "release", "--why", "the ward said yes", "--who", "giulia", "--", key[1]); code != 0 || out != key[1]+": released, was held unlabelled\n" {
		t.Fatalf("exit code %d: %s%s", code, out, logs)
	}
	out = w.until(t, `(?m)^state +delivered$`, "show", "--", key[1])
	for _, want := range []string{"released         ", "unlabelled  by giulia: the ward said yes", "told           published at ", "source         lab"} {
		if !strings.Contains(out, want) {
			t.Errorf("show does not say %q: %s", want, out)
		}
	}
	if n := len(w.io.Messages()); n != 1 {
		t.Errorf("%d messages", n)
	}

	// Whom and what it is about never stands on a command line, and is never shown.
	code, out, logs := w.reports(t, c.Code+"\n", "reconcile", "lab")
	if code != 0 || !strings.Contains(out, "citizen ***: 1 documents at lab") || !strings.Contains(out, "told published at ") || strings.Contains(out+logs, c.Code) {
		t.Errorf("exit code %d: %s%s", code, out, logs)
	}
	if code, out, _ = w.reports(t, name[1]+"\n", "show", "lab", "-", "--json"); code != 0 || !json.Valid([]byte(out)) || strings.Contains(out, c.ID) {
		t.Errorf("exit code %d: %s", code, out)
	}

	if code, out, _ = w.reports(t, "", "release", "--reason", "unlabelled", "--dry-run", "--why", "w"); code != 0 || out != fmt.Sprintf("%d would be released\n", held-1) {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, _ = w.reports(t, "", "release", "--reason", "unlabelled", "--why", "all of them"); code != 0 || out != fmt.Sprintf("%d released\n", held-1) {
		t.Errorf("exit code %d: %s", code, out)
	}
	w.until(t, `^nothing is held`, "list", "--reason", "unlabelled")
}

func TestReportsThatCannotBe(t *testing.T) {
	w := newWard(t)
	for _, tt := range []struct {
		name string
		in   string
		args []string
		code int
		says string
	}{
		{"no name", "", []string{"show"}, exitUsage, "want the key of a record"},
		{"three names", "", []string{"show", "a", "b", "c"}, exitUsage, "want the key of a record"},
		{"no reason", "", []string{"retry", "lab", "DiagnosticReport/x"}, exitUsage, "--why"},
		{"nothing on stdin", "", []string{"reconcile", "lab"}, exitUsage, "nothing on stdin"},
		{"one and many", "", []string{"release", "--reason", "io-off", "--why", "w", "lab", "DiagnosticReport/x"}, exitUsage, "--reason is for many"},
		{"even hidden, of many", "", []string{"release", "--reason", "hidden-from-citizen", "--even-hidden", "--why", "w"}, exitUsage, "--reason is for many"},
		{"a dry run of one", "", []string{"release", "--dry-run", "--why", "w", "lab", "DiagnosticReport/x"}, exitUsage, "go with --reason"},
		{"no key", "", []string{"show", "RSSMRA80A01H501U"}, exitFinding, "want 22 characters"},
		{"no such source", "", []string{"show", "RSSMRA80A01H501U", "DiagnosticReport/x"}, exitFinding, "want the name of a source: lab"},
		{"no such source to reconcile with", "x", []string{"reconcile", "RSSMRA80A01H501U"}, exitFinding, "want the name of a source: lab"},
		{"a code in the reason", "", []string{"retry", "--why", "of RSSMRA 80A01 H501U", "lab", "DiagnosticReport/x"}, exitFinding, "holds a codice fiscale"},
		{"no such resource", "", []string{"show", "lab", "Patient/RSSMRA80A01H501U"}, exitFinding, "want Type/id"},
		{"never seen", "", []string{"forget", "--why", "w", "lab", "DiagnosticReport/x"}, exitFinding, "nothing is known of it"},
		{"no such patient", "Patient/x", []string{"reconcile", "lab"}, exitFinding, "no such patient"},
		{"no code, no id", "RSSMRA80A01H501U RSSMRA80A01H501U", []string{"reconcile", "lab"}, exitFinding, "want a codice fiscale"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, logs := w.reports(t, tt.in, tt.args...)
			if code != tt.code || !strings.Contains(logs, tt.says) {
				t.Errorf("exit code %d, want %d: %s%s", code, tt.code, out, logs)
			}
			if strings.Contains(out+logs, "RSSMRA80A01H501U") {
				t.Error("it repeats what may be a codice fiscale")
			}
		})
	}
}

func TestCheckSaysWhoIsTold(t *testing.T) {
	for _, tt := range []struct{ io, want string }{
		{"", "io.mode: live: citizens are told\n"},
		{"mode: off, ", "io.mode: off: everything is decided and written down, and IO is asked nothing\n"},
		{"mode: test, allow: [AAAAAA00A00A000A], daily_cap: 7, ", "io.mode: test: only 1 recipients of io.allow reach IO\nio.daily_cap: 7 messages in a day"},
	} {
		path := fileWith(t, "")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Replace(text, []byte("io: {"), []byte("io: {"+tt.io), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, logs := command(t, "check", "--no-sources", "--config", path); code != 0 || !strings.Contains(out, tt.want) {
			t.Errorf("%s: exit code %d: %s%s", tt.io, code, out, logs)
		}
	}
}
