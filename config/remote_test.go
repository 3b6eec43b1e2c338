package config_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"staffetta/config"
)

// One half of a rotation stands in the file, the other one in a file of its own; the first of all is what IO is given.
func TestRemoteKeysComeFromTheFileAndFromFiles(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "remote.key"), "a-second-key-0123456789\n")
	write(t, filepath.Join(folder, "portal.token"), "a-portal-token-0123456789\n")
	c, err := load(t, folder, `ledger: {seal_key: `+sealKey+`}
io: {key: k}
remote: {api_keys: [a-first-key-0123456789], api_key_files: [remote.key]}
documents: {bearer_token_files: [portal.token]}`)
	if err != nil {
		t.Fatal(err)
	}
	if want := []config.Secret{"a-first-key-0123456789", "a-second-key-0123456789"}; !slices.Equal(c.Remote.APIKeys, want) {
		t.Errorf("%d keys, want 2", len(c.Remote.APIKeys))
	}
	if want := []config.Secret{"a-portal-token-0123456789"}; !slices.Equal(c.Documents.BearerTokens, want) {
		t.Errorf("%d tokens, want 1", len(c.Documents.BearerTokens))
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestWhatIsUnwiseAboutRemoteContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "staffetta.yaml")
	write(t, path, fmt.Sprintf(strings.Replace(base, "https://fse.ente.example/referti", `"https://fse.ente.example/{ref}"`, 1), `ledger: {seal_key: `+sealKey+`}
io: {key: k}
policy: {one_message: 1h}
remote: {api_keys: [short], retention: 30d}
documents: {bearer_tokens: [short]}`))
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(c.Warnings, "\n")
	for _, want := range []string{"remote.api_keys[0]: shorter than 22", "documents.bearer_tokens[0]: shorter than 22", "remote.retention: shorter than ledger.retention", "policy.one_message: "} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %q", want, all)
		}
	}
	if strings.Contains(all, ": short,") {
		t.Error("a warning repeats a key")
	}
}

func TestWhereIOFetchesFrom(t *testing.T) {
	for _, tt := range []struct{ public, base, want string }{
		{"https://ente.example", "", "https://ente.example/io"},
		{"https://ente.example/staffetta/", "", "https://ente.example/staffetta/io"},
		{"https://ente.example", "https://altro.example/x/", "https://altro.example/x"},
		{"http://127.0.0.1:8080", "", "http://127.0.0.1:8080/io"},
		{"http://ente.example", "", ""},
		{"", "", ""},
	} {
		c := config.Config{Public: config.Public{URL: tt.public}, Remote: config.Remote{BaseURL: tt.base}}
		if got, err := c.RemoteBase(); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q and %q: %q, %v, want %q", tt.public, tt.base, got, err, tt.want)
		}
	}
}
