package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"staffetta/adapter/ledger/redistest"
	"staffetta/notifier"
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
	for _, want := range []string{"serve", "demo", "check", "subscribe", "catchup", "io configure", "sandbox", "probe", "pause", "resume"} {
		if !strings.Contains(out, want) {
			t.Errorf("--help does not name %s", want)
		}
	}
}

func TestWithoutACommandThereIsTheHelp(t *testing.T) {
	code, out, logs := command(t)
	if code != exitUsage || out != "" || !strings.Contains(logs, "Usage: staffetta <command>") || !strings.Contains(logs, "catchup") {
		t.Errorf("exit code %d, on stdout %q, on stderr %q", code, out, logs)
	}
}

func TestTheVersionIsThatOfTheBuild(t *testing.T) {
	if code, out, logs := command(t, "--version"); code != 0 || !strings.HasPrefix(out, "staffetta ") || logs != "" {
		t.Errorf("exit code %d: %q, %q", code, out, logs)
	}
	info := &debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "true"},
	}}
	if got, want := versionOf(info), "staffetta v1.2.3, commit 0123abc, with changes that are not committed, go1.26"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := versionOf(&debug.BuildInfo{GoVersion: "go1.26"}), "staffetta (devel), go1.26"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A demo on a Redis that is not there says so, in our words, and ends.
func TestADemoWithoutItsRedisSaysSo(t *testing.T) {
	code, _, logs := command(t, "demo", "--redis", "redis://"+redistest.FreeAddress(t)+"/0", "--admin", "127.0.0.1:0")
	if code != exitFinding || !strings.HasPrefix(logs, "staffetta: --redis: no Redis answers there: ") || strings.Count(logs, "\n") != 1 {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

// A program that is asked to stop while it waits for its Redis has done as it was asked.
func TestServeMayBeStoppedBeforeItsRedisIsThere(t *testing.T) {
	path := fileWith(t, "")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("url: embedded"), []byte("url: \"redis://"+redistest.FreeAddress(t)+"/0\""), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	logs := &stopsAt{words: "waiting for redis", stop: stop}
	if code := run(ctx, []string{"serve", "--config", path}, io.Discard, logs); code != 0 || !strings.Contains(logs.String(), "staffetta has stopped before it served") {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

// stopsAt is a log that stops its program once it says something.
type stopsAt struct {
	bytes.Buffer

	words string
	stop  func()
}

func (s *stopsAt) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(s.words)) {
		s.stop()
	}
	return s.Buffer.Write(line)
}

func TestWrongUsageIsTwo(t *testing.T) {
	for _, args := range [][]string{{}, {"server"}, {"serve"}, {"pause"}} {
		if code, _, logs := command(t, args...); code != exitUsage || logs == "" {
			t.Errorf("%v: exit code %d, %q", args, code, logs)
		}
	}
}

// Why somebody pauses is shown to all who look: nothing personal may be in it.
func TestAPauseHoldsNothingPersonal(t *testing.T) {
	code, _, logs := command(t, "pause", "--config", fileWith(t, ""), "--who", "giulia", "--why", "RSSMRA80A01 H501U asked")
	if code != exitFinding || !strings.Contains(logs, "holds a codice fiscale") || strings.Contains(logs, "RSSMRA80A01") {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

func TestAFindingIsOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "staffetta.yaml")
	if err := os.WriteFile(path, []byte("ledger: {retension: 90d}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, logs := command(t, "check", "--no-sources", "--config", path)
	if code != exitFinding || !strings.Contains(logs, "line 1") || !strings.Contains(logs, "retension") {
		t.Errorf("exit code %d: %s", code, logs)
	}
}

// fileWith writes a configuration file that is well but for its messages.
func fileWith(t *testing.T, message string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "staffetta.yaml")
	text := `redis: {url: embedded}
ledger: {seal_key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
sources:
  - {name: lab, base_url: "https://fhir.lab.example/fhir", unlabelled: hold, receive: {bearer_tokens: [a-token-for-tests]}}
io: {key: a-key-for-tests}
public: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
message: {button_url: "https://fse.ente.example/fascicolo"` + message + "}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckSpeaksOfMessagesAndOfTheServicesOwnFlag(t *testing.T) {
	code, out, logs := command(t, "check", "--no-sources", "--config", fileWith(t, ", wording: novita"))
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, logs)
	}
	for _, want := range []string{"wording novita, in de, en, es, fr, it", notifier.SecureChannels, "the flag of the service itself"} {
		if !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
}

// What stands in every check is read where it is short.
func TestSecureChannelsAreToldInTwoLines(t *testing.T) {
	if n := len(notifier.SecureChannels); n > 240 {
		t.Errorf("%d characters: %s", n, notifier.SecureChannels)
	}
}

func TestATextThatBreaksARuleFailsAtCheckAndAtStart(t *testing.T) {
	texts := t.TempDir()
	text := "# Notifica di un nuovo referto\n\nGentile utente, il referto è pronto.\n\nPremi **{{.Button}}**.\n"
	if err := os.WriteFile(filepath.Join(texts, "published.it.md"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path := fileWith(t, ", templates: "+texts)
	for _, name := range []string{"check", "serve"} {
		code, _, logs := command(t, name, "--config", path)
		if code != exitFinding {
			t.Errorf("%s: exit code %d", name, code)
		}
		for _, want := range []string{
			"published.it.md:1: says that it is a notification", "published.it.md:3: begins with a salutation",
		} {
			if !strings.Contains(logs, want) {
				t.Errorf("%s does not say %q:\n%s", name, want, logs)
			}
		}
	}
}

func TestAReferenceNeedsSomebodyWhoExchangesIt(t *testing.T) {
	const message = ", second_button_text: {it: Chiedi aiuto, en: Get help}, second_button_url: \"https://fse.ente.example/{ref}\""
	if code, _, logs := command(t, "check", "--no-sources", "--config", fileWith(t, message)); code != exitFinding || !strings.Contains(logs, "documents.bearer_tokens") {
		t.Errorf("exit code %d: %s", code, logs)
	}
	path := fileWith(t, message+"}\ndocuments: {bearer_tokens: [a-token-of-the-portal-for-tests]")
	if code, out, logs := command(t, "check", "--no-sources", "--config", path); code != 0 || !strings.Contains(out, "documents: exchanged at /documents/{ref}, with 1 valid tokens, as json") {
		t.Errorf("exit code %d: %s%s", code, out, logs)
	}
}

func TestCheckSpeaksOfRemoteContent(t *testing.T) {
	path := fileWith(t, ", content: remote}\nremote: {configuration_id: 01ARZ3NDEKTSV4RRFFQ69G5FAV, api_keys: [a-key-for-tests-0123456789], show: [kind]")
	code, out, logs := command(t, "check", "--no-sources", "--config", path)
	for _, want := range []string{
		"IO keeps the neutral text, and asks configuration 01ARZ3NDEKTSV4RRFFQ69G5FAV at each opening",
		"served at /io/messages/{id}, with 1 valid API keys in X-API-Key; shown: kind",
	} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, no %q:\n%s%s", code, want, out, logs)
		}
	}
}

func TestTheDemoBalances(t *testing.T) {
	code, out, logs := command(t, "demo", "--reports", "40", "--exit", "--admin", "127.0.0.1:0")
	if code != 0 || !strings.Contains(out, ": balances") || !strings.Contains(out, "IN MEMORY ONLY") {
		t.Errorf("exit code %d\n%s\n%s", code, out, logs)
	}
	if code, _, _ := command(t, "demo", "--exit"); code != exitUsage {
		t.Errorf("--exit without --reports: exit code %d", code)
	}
}
