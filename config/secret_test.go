package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"staffetta/config"
)

const spoken = "a-secret-for-tests"

func TestNothingPrintsASecret(t *testing.T) {
	holder := struct {
		Key    config.Secret
		Tokens []config.Secret
	}{spoken, []config.Secret{spoken}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb+verb+"\n", holder, holder.Key)
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("secrets", slog.Any("holder", holder), slog.Any("key", holder.Key))
	for _, marshal := range []func(any) ([]byte, error){
		json.Marshal,
		func(v any) ([]byte, error) { return yaml.Dump(v) },
	} {
		text, err := marshal(holder)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	hexadecimal := fmt.Sprintf("%x", spoken)
	if got := out.String(); strings.Contains(got, spoken) || strings.Contains(strings.ToLower(got), hexadecimal) {
		t.Errorf("the secret is shown in:\n%s", got)
	}
	if got, want := holder.Key.String(), "<secret>"; got != want {
		t.Errorf("a secret prints as %s, want %s", got, want)
	}
	if got := config.Secret("").String(); got != "" {
		t.Errorf("no secret prints as %s, want nothing", got)
	}
}

// base is the smallest file that loads; its %s is the place for the section under test.
const base = `
redis: {url: "redis://127.0.0.1:6379"}
message: {button_url: https://fse.ente.example/referti}
sources: [{name: lab, base_url: https://fhir.lab.example/fhir, unlabelled: hold, receive: {bearer_tokens: [a-token-for-tests]}}]
%s`

func load(t *testing.T, folder, section string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(folder, "staffetta.yaml")
	write(t, path, fmt.Sprintf(base, section))
	return config.Load(path)
}

const sealKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func TestSecretsComeFrom(t *testing.T) {
	folder := t.TempDir()
	write(t, filepath.Join(folder, "io.key"), "  "+spoken+"\r\n\n")
	t.Setenv("STAFFETTA_TEST_KEY", spoken)
	for _, tt := range []struct{ name, io string }{
		{"the file itself", "key: " + spoken},
		{"a file beside it, without blanks and line ends", "key_file: io.key"},
		{"a file anywhere", "key_file: " + filepath.Join(folder, "io.key")},
		{"the environment", "key: '${STAFFETTA_TEST_KEY}'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, folder, fmt.Sprintf("ledger: {seal_key: %s}\nio: {%s}", sealKey, tt.io))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(c.IO.Key); got != spoken {
				t.Errorf("got another key, %d characters long", len(got))
			}
		})
	}
}

func TestEnvironmentIsForSecretsOnly(t *testing.T) {
	t.Setenv("STAFFETTA_TEST_LEVEL", "debug")
	_, err := load(t, t.TempDir(), "ledger: {seal_key: "+sealKey+"}\nio: {key: k}\nlog: {level: '${STAFFETTA_TEST_LEVEL}'}")
	if err == nil || !strings.HasSuffix(err.Error(), "log.level: want debug, info, warn or error") {
		t.Errorf("got %v, want log.level refused", err)
	}
}

func TestSecretFileThatEverybodyReadsIsAWarning(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "io.key")
	write(t, path, spoken)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, folder, "ledger: {seal_key: "+sealKey+"}\nio: {key_file: io.key}")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"io.key_file: mode 0644 lets every user of this machine read it, want 0600"}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ name, section, want string }{
		{
			"IO at another path", "io: {key: k, base_url: https://io.example/v2}",
			"io.base_url: does not end in /api/v1, as IO's does",
		},
		{
			"an admin page for everybody", "io: {key: k}\nadmin: {listen: ':9090'}",
			"admin.listen: not loopback, who reaches it may stop all sending",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, t.TempDir(), "ledger: {seal_key: "+sealKey+"}\n"+tt.section)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.want}, c.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// Sweeps must go back as far as the clocks of nodes differ.
func TestSweepsThatHardlyOverlap(t *testing.T) {
	const want = "sources[0].sweep.overlap: 10m, the clocks of a source's nodes may be five minutes wrong either way, want at least 11m or what they write may be lost"
	for overlap, want := range map[string][]string{"10m": {want}, "11m": nil} {
		path := filepath.Join(t.TempDir(), "staffetta.yaml")
		text := strings.Replace(base, "unlabelled: hold", "unlabelled: hold, sweep: {overlap: "+overlap+"}", 1)
		write(t, path, fmt.Sprintf(text, "io: {key: k}\nledger: {seal_key: "+sealKey+"}"))
		c, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Warnings); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", overlap, diff)
		}
	}
}

func TestSealKeysInOrder(t *testing.T) {
	c, err := load(t, t.TempDir(), "ledger: {seal_key: "+sealKey+", seal_key_id: 3, older_seal_keys: [{id: 2, key: "+sealKey+
		"}, {id: 1, key: MTEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\nio: {key: k}")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := c.Ledger.SealKeys()
	if err != nil {
		t.Fatal(err)
	}
	want := []config.RawKey{
		{3, []byte("0123456789abcdef0123456789abcdef")},
		{2, []byte("0123456789abcdef0123456789abcdef")},
		{1, []byte("1123456789abcdef0123456789abcdef")},
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("seal keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[2].Key, config.FirstSealKey(keys)); diff != "" {
		t.Errorf("the first seal key is that of the lowest id (-want +got):\n%s", diff)
	}
	if naming, err := c.Ledger.Naming(); naming != nil || err != nil {
		t.Errorf("naming key %t with error %v, want none: it is derived", naming != nil, err)
	}
}

func TestConfigInCodeIsCompleted(t *testing.T) {
	c := config.Default()
	c.Redis.URL = config.EmbeddedRedis
	c.Ledger.SealKey = sealKey
	c.IO.Key, c.IO.BaseURL = "k", "http://127.0.0.1:9/api/v1"
	c.Message.ButtonURL = "https://fse.ente.example/referti"
	c.Sources = []config.Source{{
		Name: "lab", BaseURL: "http://localhost:9/fhir", Unlabelled: "hold",
		Receive: config.Receive{BearerTokens: []config.Secret{"a-token-for-tests"}},
	}}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Sources[0].Shape, "report"; got != want {
		t.Errorf("shape %s, want %s", got, want)
	}
	if !c.Redis.Embedded() || len(c.Warnings) != 1 {
		t.Errorf("warnings %q, want one: that Redis is in memory only", c.Warnings)
	}
}

func TestWhichKeyNamesRecords(t *testing.T) {
	const inPlace = ", the seal key with the lowest id (%d), since there is no ledger.naming_key"
	older := []config.SealKey{{ID: 4, Key: "x"}, {ID: 2, Key: "x", KeyFile: "/etc/seal-2.key"}}
	for _, tt := range []struct {
		name   string
		ledger config.Ledger
		want   string
	}{
		{"the naming key", config.Ledger{NamingKey: "x", SealKeyID: 1, SealKey: "x"}, "ledger.naming_key"},
		{"its file", config.Ledger{NamingKey: "x", NamingKeyFile: "/etc/naming.key", SealKeyID: 1, SealKey: "x"}, "ledger.naming_key_file (/etc/naming.key)"},
		{"the only seal key", config.Ledger{SealKeyID: 1, SealKey: "x"}, "ledger.seal_key" + fmt.Sprintf(inPlace, 1)},
		{"its file", config.Ledger{SealKeyID: 1, SealKey: "x", SealKeyFile: "/etc/seal.key"}, "ledger.seal_key_file (/etc/seal.key)" + fmt.Sprintf(inPlace, 1)},
		{"the new seal key, where its id is the lowest", config.Ledger{SealKeyID: 1, SealKey: "x", OlderSealKeys: older}, "ledger.seal_key" + fmt.Sprintf(inPlace, 1)},
		{"an older seal key", config.Ledger{SealKeyID: 3, SealKey: "x", OlderSealKeys: older}, "ledger.older_seal_keys[1].key_file (/etc/seal-2.key)" + fmt.Sprintf(inPlace, 2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.ledger.NamedBy(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
