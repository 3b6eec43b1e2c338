package notifier_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"staffetta/fhir/fiscalcode"
	"staffetta/notifier"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMessagesAreAsReviewed(t *testing.T) {
	for name, o := range map[string]notifier.ComposerOptions{
		"link": {ButtonURL: "https://fascicolo.example.it/referti"},
		"sso":  {ButtonURL: "https://fascicolo.example.it/referti?da=io", SSO: true},
	} {
		composer, err := notifier.NewComposer(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, publication := range []string{"published", "updated", "withdrawn"} {
			m, err := composer.Compose(publication, person(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil {
				t.Error(err)
			}
			golden(t, filepath.Join("..", "testdata", "messages", publication+"-"+name+".md"), m.Subject+"\n\n"+m.Markdown)
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestButtonsThatCannotBe(t *testing.T) {
	for _, address := range []string{"", "http://fascicolo.example.it", "fascicolo.example.it", "https://", "https://a:b@fascicolo.example.it", "https://fascicolo.example.it/\"x", "https://fascicolo.example.it/\nx", "javascript:alert(1)"} {
		if _, err := notifier.NewComposer(notifier.ComposerOptions{ButtonURL: address}); err == nil {
			t.Errorf("%q is accepted", address)
		}
	}
}

func TestNoMessageToNobodyOrAboutNothing(t *testing.T) {
	composer, err := notifier.NewComposer(notifier.ComposerOptions{ButtonURL: "https://fascicolo.example.it"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := composer.Compose("published", fiscalcode.Code{}); err == nil {
		t.Error("a message to nobody")
	}
	if _, err := composer.Compose("lost", person(t)); err == nil {
		t.Error("a message about nothing")
	}
}

func TestLengthsAreCountedInUTF16(t *testing.T) {
	m := notifier.Message{Markdown: "perché 🏥"}
	if got := m.Total(); got != 9 {
		t.Errorf("%d units, want 9", got)
	}
}
