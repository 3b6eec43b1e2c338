package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"staffetta/config"
	"staffetta/fhir/fiscalcode"
)

// Who may get messages in a test stands in the file, in the environment, or in a file beside it; no print shows it.
func TestWhoMayGetMessagesInATest(t *testing.T) {
	folder := t.TempDir()
	testers := filepath.Join(folder, "testers.txt")
	write(t, testers, "# colleagues who agreed\n\nBNCLCU75B68F205U  # Lucia\n")
	t.Setenv("STAFFETTA_TESTER", "rssmra80a01h501u")
	text, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "staffetta.yaml")
	write(t, path, strings.Replace(string(text), "io: {",
		"io: {mode: test, allow: [AAAAAA00A00A000A, \"${STAFFETTA_TESTER}\"], allow_file: testers.txt, ", 1))
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := append(make([]fiscalcode.Code, 0, 3), fiscalcode.TestRecipient())
	for _, text := range []string{"RSSMRA80A01H501U", "BNCLCU75B68F205U"} {
		code, err := fiscalcode.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, code)
	}
	if got := c.IO.Recipients(); !slices.Equal(got, want) {
		t.Errorf("%d recipients, want %d, others or in another order", len(got), len(want))
	}
	if shown := fmt.Sprintf("%v %+v %#v", c.IO, c.IO, c.IO); strings.Contains(shown, "BNCLCU") || strings.Contains(shown, "AAAAAA") {
		t.Error("a print shows a recipient")
	}
}

// A key that is rotated in its file is used without a restart, each of the two by itself.
func TestKeysAreReadAgain(t *testing.T) {
	folder := t.TempDir()
	primary, secondary := filepath.Join(folder, "io.key"), filepath.Join(folder, "io-2.key")
	write(t, primary, "first\n")
	write(t, secondary, "second\n")
	keys, err := config.IO{KeyFile: primary, SecondaryKeyFile: secondary}.Keys()
	if err != nil || !slices.Equal(keys(), []string{"first", "second"}) {
		t.Fatalf("other keys than in the files, %v", err)
	}
	if err := os.Remove(secondary); err != nil { // must not stand in the way of the other one
		t.Fatal(err)
	}
	write(t, primary, "another")
	for end := time.Now().Add(90 * time.Second); !slices.Equal(keys(), []string{"another", "second"}); {
		if time.Now().After(end) {
			t.Fatal("the new key is not used")
		}
		<-time.After(50 * time.Millisecond)
	}
	if keys, err = (config.IO{Key: "written"}).Keys(); err != nil || !slices.Equal(keys(), []string{"written"}) {
		t.Errorf("other keys than in the file, %v", err)
	}
	if _, err := (config.IO{KeyFile: secondary}).Keys(); err == nil || err.Error() != "io.key_file: "+secondary+": no such file or directory" {
		t.Errorf("a file that is not there: %v", err)
	}
}

// With io.mode off IO is asked nothing, and nothing needs its key.
func TestIOOffNeedsNoKey(t *testing.T) {
	c, err := config.Load(filepath.Join("testdata", "io-key-off.yaml"))
	if err != nil || c.IO.Mode != config.ModeOff {
		t.Errorf("%v", err)
	}
}
