package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// rereadFile is a reread of one file under a clock of its own.
func rereadFile(t *testing.T, path string, clock *time.Time) *reread[Secret] {
	t.Helper()
	r, err := newReread(func() (Secret, error) { return readSecretFile(path) }, path)
	if err != nil {
		t.Fatal(err)
	}
	r.now = func() time.Time { return *clock }
	return r
}

func put(t *testing.T, path, text string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

func TestReread(t *testing.T) {
	clock := time.Now().Add(time.Hour)
	path := filepath.Join(t.TempDir(), "token")
	put(t, path, "one", clock)
	r := rereadFile(t, path, &clock)
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"what was read at start", func() {}, "one"},
		{"a change is not looked for at once", func() { put(t, path, "two", clock.Add(1)) }, "one"},
		{"nor soon after", func() { put(t, path, "three", clock.Add(2)); clock = clock.Add(rereadEvery - 1) }, "one"},
		{"and seen when its time has come", func() { clock = clock.Add(1) }, "three"},
		{"another content of the same age", func() { put(t, path, "four!", clock.Add(2)); clock = clock.Add(rereadEvery) }, "four!"},
		{"a file that is gone leaves what it held", func() { _ = os.Remove(path); clock = clock.Add(rereadEvery) }, "four!"},
		{"an empty one too", func() { put(t, path, "", clock); clock = clock.Add(rereadEvery) }, "four!"},
		{"until it is written again", func() { put(t, path, "five", clock); clock = clock.Add(rereadEvery) }, "five"},
	} {
		step.do()
		if got := r.get(); string(got) != step.want {
			t.Errorf("%s: got another secret than %q", step.name, step.want)
		}
	}
}

// A file whose mode was wrong is read once that is put right: nothing of the file itself changes then.
func TestWhatCouldNotBeReadIsReadAgain(t *testing.T) {
	clock := time.Now().Add(time.Hour)
	path := filepath.Join(t.TempDir(), "token")
	put(t, path, "one", clock)
	value, trouble := "one", error(nil)
	r, err := newReread(func() (string, error) { return value, trouble }, path)
	if err != nil {
		t.Fatal(err)
	}
	r.now = func() time.Time { return clock }
	put(t, path, "another", clock.Add(1))
	for _, step := range []struct {
		name    string
		trouble error
		want    string
	}{
		{"another file, of which nothing may be read", os.ErrPermission, "one"},
		{"and then may", nil, "another"},
	} {
		value, trouble = "another", step.trouble
		clock = clock.Add(rereadEvery)
		if got := r.get(); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
}
