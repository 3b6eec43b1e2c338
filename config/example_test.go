package config_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"staffetta/config"
)

var secretFile = regexp.MustCompile(`[a-z0-9-]+\.(?:key|token)\b`)

// loadExample loads the example with a folder in which every secret file that it names is there.
func loadExample(t *testing.T) *config.Config {
	t.Helper()
	text, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, name := range secretFile.FindAllString(string(text), -1) {
		key := base64.StdEncoding.EncodeToString([]byte((name + strings.Repeat("-", 32))[:32]))
		write(t, filepath.Join(folder, name), key+"\n")
	}
	t.Setenv("STAFFETTA_REDIS_URL", "rediss://:a-password-for-tests@redis.ente.example:6379/0")
	t.Setenv("STAFFETTA_SAN_GALLICANO_TOKEN", "a-token-from-the-environment")
	path := filepath.Join(folder, "staffetta.yaml")
	write(t, path, string(text))
	c, err := config.Load(path)
	if err != nil {
		t.Fatalf("the example does not load: %v", err)
	}
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExampleLoadsWithoutWarnings(t *testing.T) {
	c := loadExample(t)
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q, want none", c.Warnings)
	}
	if got, want := len(c.Sources[0].Receive.Tokens()), 2; got != want {
		t.Errorf("tokens of the first source: %d, want %d", got, want)
	}
}

func TestExampleShowsDefaults(t *testing.T) {
	got, want := loadExample(t), config.Default()
	got.Ledger.SealKeyID = want.Ledger.SealKeyID // shown as after a rotation
	got.Public.URL = ""                          // shown as it may be: there is no default
	type shown struct {
		Public  config.Public
		Admin   config.Admin
		Ledger  [4]config.Duration
		IO      []any
		Message []any
		Remote  []any
		Policy  config.Policy
		Log     config.Log
		Workers int
	}
	of := func(c *config.Config) shown {
		return shown{
			c.Public, c.Admin,
			[4]config.Duration{c.Ledger.Retention, c.Ledger.Lease, c.Ledger.GiveUpAfter},
			[]any{c.IO.BaseURL, c.IO.Rate, c.IO.Track, c.IO.Polls, c.IO.Timeout, c.IO.Connections, c.IO.Uncertain, c.IO.Mode, c.IO.DailyCap},
			[]any{c.Message.Wording, c.Message.Content, c.Message.ButtonText, c.Message.SSO, c.Message.SecondButtonSSO},
			[]any{c.Remote.Header, c.Remote.Retention, c.Remote.Precondition, c.Remote.Show, c.Remote.Name, c.Remote.Description, c.Documents.Answer},
			c.Policy, c.Log, c.Workers,
		}
	}
	if diff := cmp.Diff(of(want), of(got)); diff != "" {
		t.Errorf("the example says other defaults (-default +example):\n%s", diff)
	}
}

// The second source leaves everything open: what the first one shows as defaults must be what the second one got.
func TestExampleShowsDefaultsOfASource(t *testing.T) {
	sources := loadExample(t).Sources
	of := func(s config.Source) []any {
		sub := s.Subscription
		return []any{s.Obscured, s.Flavour, s.Read.Timeout, s.Read.MaxBody, s.Read.Connections, sub.Content, sub.Heartbeat, sub.Timeout, sub.MaxCount, sub.End, s.Sweep.Every, s.Sweep.Since, s.Sweep.Overlap}
	}
	if diff := cmp.Diff(of(sources[1]), of(sources[0])); diff != "" {
		t.Errorf("the example says other defaults (-default +example):\n%s", diff)
	}
}

func TestExampleShowsEveryKey(t *testing.T) {
	text, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(reflect.TypeFor[config.Config]()) {
		// A secret is shown in one of its ways.
		shown := regexp.MustCompile(`(?m)[ {#-]` + key + `(_file)?:|^` + key + `(_file)?:`)
		if !shown.Match(text) {
			t.Errorf("%s is not in the example", key)
		}
	}
}

// keysOf lists the YAML names of a struct and of all structs in it.
func keysOf(of reflect.Type) []string {
	if of.Kind() == reflect.Slice {
		return keysOf(of.Elem())
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for field := range of.Fields() {
		if name := field.Tag.Get("yaml"); name != "-" {
			keys = append(append(keys, name), keysOf(field.Type)...)
		}
	}
	return keys
}
