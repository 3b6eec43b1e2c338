package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"staffetta/notifier/sandbox"
)

const manageKey, firstKey, secondKey = "manage-key-0123456789abcdef", "first-key-0123456789abcdef", "second-key-0123456789abcdef"

// remoteFile writes a file with remote content, for an IO at an address.
func remoteFile(t *testing.T, io, remote string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "staffetta.yaml")
	text := fmt.Sprintf(`redis: {url: embedded}
ledger: {seal_key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
sources:
  - {name: lab, base_url: "https://fhir.lab.example/fhir", unlabelled: hold, receive: {bearer_tokens: [a-token-for-tests]}}
public: {url: "https://staffetta.ente.example", listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
io: {key: a-key-for-tests, base_url: "%s/api/v1"}
message: {button_url: "https://fse.ente.example/fascicolo", content: remote}
remote: {%s}
`, io, remote)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestIOIsConfigured(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{"a-key-for-tests"}, RemoteContent: sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manageKey}}})
	server := httptest.NewServer(io)
	t.Cleanup(server.Close)
	configure := func(remote string, more ...string) (int, string, string) {
		return command(t, append([]string{"io", "configure", "--config", remoteFile(t, server.URL, remote)}, more...)...)
	}
	const first = "manage_key: " + manageKey + ", api_keys: [" + firstKey + "], test: {base_url: 'https://test.ente.example/io', users: [AAAAAA00A00A000A]}"

	code, out, aside := configure(first, "--dry-run")
	if code != 0 || !strings.Contains(out, `"base_url": "https://staffetta.ente.example/io"`) || !strings.Contains(aside, "would create this configuration (POST)") {
		t.Errorf("dry run: exit code %d\n%s%s", code, out, aside)
	}
	for _, private := range []string{firstKey, manageKey, "AAAAAA00A00A000A"} {
		if strings.Contains(out+aside, private) {
			t.Error("a dry run shows what is private")
		}
	}
	if _, out, _ := configure(first, "--dry-run", "--reveal"); !strings.Contains(out, firstKey) || !strings.Contains(out, "AAAAAA00A00A000A") {
		t.Error("what is to be revealed is not")
	}
	if n := io.Calls()["configuration"]; n != 2 {
		t.Errorf("%d calls, want one question for each dry run", n)
	}

	code, out, aside = configure(first)
	id := regexp.MustCompile(`configuration_id: ([0-9A-Z]{26})`).FindStringSubmatch(out)
	if code != 0 || id == nil || !strings.HasPrefix(out, "created: ") {
		t.Fatalf("exit code %d\n%s%s", code, out, aside)
	}
	if _, out, _ := configure(first); !strings.Contains(out, id[1]+" is as the file wants it") {
		t.Errorf("the second time: %s", out)
	}

	second := strings.Replace(first, firstKey, secondKey+", "+firstKey, 1) + ", configuration_id: " + id[1]
	if _, _, aside := configure(second, "--dry-run"); !strings.Contains(aside, "would replace configuration "+id[1]+" by this (PUT)") {
		t.Errorf("dry run of a rotation: %s", aside)
	}
	if code, out, _ := configure(second); code != 0 || !strings.HasPrefix(out, "replaced: ") || strings.Contains(out, "put it into the file") {
		t.Errorf("rotation: exit code %d\n%s", code, out)
	}
	if _, _, aside := configure(second, "--dry-run"); !strings.Contains(aside, "would change nothing") {
		t.Errorf("after the rotation: %s", aside)
	}
}

func TestIOIsNotConfigured(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{"a-key-for-tests"}, RemoteContent: sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manageKey}}})
	server := httptest.NewServer(io)
	t.Cleanup(server.Close)
	const keys = "api_keys: [" + firstKey + "]"
	for name, tt := range map[string]struct{ remote, want string }{
		"no manage key":           {keys, "remote.manage_key: missing"},
		"no API key":              {"manage_key: " + manageKey, "remote.api_keys: none"},
		"a manage key that is no": {keys + ", manage_key: another-one-0123456789", "IO refuses the key"},
		"the service's key":       {keys + ", manage_key: a-key-for-tests", "want a manage key"},
		"an id that IO does not know": {
			keys + ", manage_key: " + manageKey + ", configuration_id: 01BX5ZZKBKACTAV9WEVGEMMVS0", "IO knows no remote content configuration by that id",
		},
	} {
		code, out, logs := command(t, "io", "configure", "--config", remoteFile(t, server.URL, tt.remote))
		if code != exitFinding || !strings.Contains(logs, tt.want) || strings.Contains(out+logs, firstKey) || strings.Contains(out+logs, manageKey) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, logs)
		}
	}
	io.Configure("01BX5ZZKBKACTAV9WEVGEMMVS0", sandbox.Environment{BaseURL: "https://another.ente.example/io"})
	another := remoteFile(t, server.URL, keys+", manage_key: "+manageKey+", name: sandbox")
	if code, _, logs := command(t, "io", "configure", "--config", another); code != exitFinding || !strings.Contains(logs, "that asks another server") {
		t.Errorf("another installation's: exit code %d\n%s", code, logs)
	}
	io.Configure("01BX5ZZKBKACTAV9WEVGEMMVS1", sandbox.Environment{})
	path := remoteFile(t, server.URL, keys+", manage_key: "+manageKey+", name: sandbox")
	if code, _, logs := command(t, "io", "configure", "--config", path); code != exitFinding || !strings.Contains(logs, "IO has 2 configurations of the name") {
		t.Errorf("two of one name: exit code %d\n%s", code, logs)
	}
}

func TestTheSandboxSaysWhatItIs(t *testing.T) {
	if code, _, logs := command(t, "sandbox", "--listen", "127.0.0.1:0", "--not-on-io", "RSSMRA80A01H501X"); code != exitUsage || strings.Contains(logs, "RSSMRA") {
		t.Errorf("a code that is none: exit code %d\n%s", code, logs)
	}
}
