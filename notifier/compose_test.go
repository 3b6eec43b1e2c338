package notifier_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"staffetta/notifier"
	"staffetta/notifier/sandbox"
)

var update = flag.Bool("update", false, "rewrite golden files")

const portal = "https://fascicolo.example.it/referti"

var (
	publications = []string{"published", "updated", "withdrawn"}
	languages    = []string{"de", "en", "es", "fr", "it"}
)

// options are the least that an institution configures.
func options() notifier.ComposerOptions {
	return notifier.ComposerOptions{
		Wording: notifier.Referto,
		First:   notifier.Button{URL: portal, Italian: "Vai al Fascicolo Sanitario", English: "Go to your health record"},
	}
}

// help is a second button.
func help() notifier.Button {
	return notifier.Button{URL: "https://fascicolo.example.it/aiuto", Italian: "Chiedi aiuto", English: "Get help"}
}

func composer(tb testing.TB, o notifier.ComposerOptions) *notifier.Composer {
	tb.Helper()
	c, err := notifier.NewComposer(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func notice(tb testing.TB, publication string, preferred ...string) notifier.Notice {
	tb.Helper()
	return notifier.Notice{Publication: publication, Recipient: person(tb), Languages: preferred}
}

func compose(t *testing.T, c *notifier.Composer, n notifier.Notice) notifier.Message {
	t.Helper()
	m, err := c.Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMessagesAreAsReviewed compares every message, in the two states that show everything that a text says.
func TestMessagesAreAsReviewed(t *testing.T) {
	for _, wording := range []notifier.Wording{notifier.Referto, notifier.Novita} {
		link, sso := options(), options()
		link.Wording, sso.Wording = wording, wording
		sso.First.URL, sso.First.SSO, sso.Second = portal+"?rif={ref}", true, help()
		for state, o := range map[string]notifier.ComposerOptions{"link": link, "sso-two-buttons": sso} {
			c := composer(t, o)
			for _, publication := range publications {
				for _, language := range languages {
					n := notice(t, publication, language+"_XX")
					n.Reference = "Zm9vYmFyYmF6cXV4MDEyMw"
					m := compose(t, c, n)
					name := fmt.Sprintf("%s.%s.%s.md", publication, language, state)
					golden(t, filepath.Join("..", "testdata", "messages", string(wording), name), m.Subject+"\n\n"+m.Markdown)
				}
			}
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

// TestEveryMessageIsTakenByIO sends every message in every state to the sandbox, which reads it as IO and its app do.
func TestEveryMessageIsTakenByIO(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{key}})
	c := client(t, io)
	sent := 0
	for _, wording := range []notifier.Wording{notifier.Referto, notifier.Novita} {
		for _, sso := range []bool{false, true} {
			for _, second := range []notifier.Button{{}, help()} {
				o := options()
				o.Wording, o.First.SSO, o.Second = wording, sso, second
				texts := composer(t, o)
				for _, publication := range publications {
					for _, language := range languages {
						m := compose(t, texts, notice(t, publication, language))
						if got := c.Send(t.Context(), m); got.Kind != notifier.Created {
							t.Errorf("%s %s in %s, sso %t: %s", wording, publication, language, sso, got.Kind)
						}
						sent++
					}
				}
			}
		}
	}
	if n := len(io.Messages()); n != sent {
		t.Errorf("IO took %d messages, want %d", n, sent)
	}
}

func TestTheLanguageIsThePreferredOneThatThereAreTextsIn(t *testing.T) {
	c := composer(t, options())
	for _, tt := range []struct {
		name    string
		prefers []string
		want    string // the title
		italian bool   // stands below
	}{
		{"Italian", []string{"it_IT", "de_DE"}, "C'è un nuovo referto", false},
		{"German, then Italian below", []string{"de_DE", "it_IT"}, "Es gibt einen neuen Befund", true},
		{"English, then Italian below", []string{"en_GB"}, "You have a new medical report", true},
		{"French", []string{"fr_FR"}, "Vous avez un nouveau compte rendu médical", true},
		{"Spanish", []string{"es_ES"}, "Tienes un nuevo informe médico", true},
		{"the next one where there are no texts in the first", []string{"ja_JP", "de_DE"}, "Es gibt einen neuen Befund", true},
		{"written with a hyphen, in capitals", []string{"DE-AT"}, "Es gibt einen neuen Befund", true},
		{"Italian where there are texts in none", []string{"ja_JP", "", "x"}, "C'è un nuovo referto", false},
		{"Italian where IO says nothing", nil, "C'è un nuovo referto", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := compose(t, c, notice(t, "published", tt.prefers...))
			if m.Subject != tt.want {
				t.Errorf("title %q, want %q", m.Subject, tt.want)
			}
			if below := strings.Contains(m.Markdown, "\n## Italiano\n\nNel tuo Fascicolo"); below != tt.italian {
				t.Errorf("Italian below: %t, want %t", below, tt.italian)
			}
		})
	}
}

// A static message cannot tell anything of a document: nothing that a document could be in reaches a template or Compose.
func TestMessagesAreNeutralByConstruction(t *testing.T) {
	fields := func(of reflect.Type) map[string]string {
		all := map[string]string{}
		for field := range of.Fields() {
			all[field.Name] = field.Type.String()
		}
		return all
	}
	if diff := cmp.Diff(map[string]string{"OldTitle": "string", "Button": "string", "SecondButton": "string", "SSO": "bool"},
		fields(reflect.TypeFor[notifier.Words]())); diff != "" {
		t.Errorf("templates reach more than the configuration (-want +got):\n%s", diff)
	}
	if n := reflect.TypeFor[notifier.Words]().NumMethod() + reflect.TypeFor[*notifier.Words]().NumMethod(); n != 0 {
		t.Errorf("templates can call %d methods, want none", n)
	}
	if diff := cmp.Diff(map[string]string{"Publication": "string", "Recipient": "fiscalcode.Code", "Languages": "[]string", "Reference": "string"},
		fields(reflect.TypeFor[notifier.Notice]())); diff != "" {
		t.Errorf("a message is composed from more than who and which (-want +got):\n%s", diff)
	}
	method := reflect.TypeFor[func(*notifier.Composer, notifier.Notice) (notifier.Message, error)]()
	if got := reflect.TypeOf((*notifier.Composer).Compose); got != method {
		t.Errorf("Compose is %s, want %s", got, method)
	}
}

// Whatever the strings of a Notice hold, the message is one of those that were rendered at start; only the reference
// stands in it, and only in the buttons' addresses.
func TestNothingOfANoticeIsReadByTheCitizen(t *testing.T) {
	o := options()
	o.First.URL = portal + "?rif={ref}"
	c := composer(t, o)
	known, somebody := map[string]bool{}, person(t)
	const placeholder = "0000000000000000000000"
	for _, publication := range publications {
		for _, language := range languages {
			n := notice(t, publication, language)
			n.Reference = placeholder
			m := compose(t, c, n)
			known[m.Subject+m.Markdown] = true
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := notifier.Notice{
			Publication: rapid.OneOf(rapid.SampledFrom(publications), rapid.String()).Draw(t, "publication"),
			Recipient:   somebody,
			Languages:   rapid.SliceOf(rapid.OneOf(rapid.SampledFrom(languages), rapid.String())).Draw(t, "languages"),
			Reference:   rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9_-]{22,64}`), rapid.String()).Draw(t, "reference"),
		}
		m, err := c.Compose(n)
		if err != nil {
			return
		}
		if n.Reference == "" || strings.Count(m.Markdown, n.Reference) != 2 {
			t.Fatalf("the reference stands in it %d times, want in the two addresses", strings.Count(m.Markdown, n.Reference))
		}
		if !known[m.Subject+strings.ReplaceAll(m.Markdown, n.Reference, placeholder)] {
			t.Fatal("a message that was not rendered at start")
		}
	})
}

func TestTheReferenceIsOpaque(t *testing.T) {
	o := options()
	o.First.URL, o.Second = portal+"/{ref}", help()
	o.Second.URL = "https://fascicolo.example.it/aiuto?rif={ref}"
	c := composer(t, o)
	if !c.WantsReference() || composer(t, options()).WantsReference() {
		t.Error("whether there is a placeholder is not known")
	}
	for _, tt := range []struct {
		name, reference string
		want            bool
	}{
		{"128 bits in base64url", "Zm9vYmFyYmF6cXV4MDEyMw", true},
		{"a UUID", "0b0e9c1e-7d6b-4b63-a0a0-6a6f1e2d3c4b", true},
		{"the longest", strings.Repeat("x", 64), true},
		{"none", "", false},
		{"a codice fiscale", "RSSMRA80A01H501U", false},
		{"shorter than 128 bits", "Zm9vYmFyYmF6cXV4MDEyM", false},
		{"too long", strings.Repeat("x", 65), false},
		{"a type and an id", "Composition/0b0e9c1e-7d6b-4b63", false},
		{"a quote", `Zm9vYmFyYmF6cXV4MDEyMw"`, false},
		{"a line end", "Zm9vYmFyYmF6cXV4MDEyMw\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := notice(t, "published")
			n.Reference = tt.reference
			m, err := c.Compose(n)
			if (err == nil) != tt.want {
				t.Fatalf("error %v, want composed: %t", err, tt.want)
			}
			if err != nil {
				if tt.reference != "" && strings.Contains(err.Error(), tt.reference) {
					t.Error("the error repeats it")
				}
				return
			}
			for _, address := range []string{`"iohandledlink://` + portal + "/" + tt.reference + `"`, `/aiuto?rif=` + tt.reference + `"`} {
				if strings.Count(m.Markdown, address) != 2 {
					t.Errorf("%s does not stand in both languages", address)
				}
			}
		})
	}
}

func TestNoMessageToNobodyOrAboutNothing(t *testing.T) {
	c := composer(t, options())
	if _, err := c.Compose(notifier.Notice{Publication: "published"}); err == nil {
		t.Error("a message to nobody")
	}
	if _, err := c.Compose(notice(t, "lost")); err == nil {
		t.Error("a message about nothing")
	}
	if _, err := c.Compose(notifier.Notice{Recipient: person(t)}); err == nil {
		t.Error("a message without publication")
	}
}

func TestLengthsAreCountedInUTF16(t *testing.T) {
	m := notifier.Message{Markdown: "perché 🏥"}
	if got := m.Total(); got != 9 {
		t.Errorf("%d units, want 9", got)
	}
	body := strings.Repeat("🏥", 40) // 40 characters, 80 units
	for subject, want := range map[string]bool{"🏥🏥🏥🏥🏥": true, "🏥🏥🏥🏥x": false, strings.Repeat("🏥", 60): true, strings.Repeat("🏥", 60) + "x": false} {
		if got := (notifier.Message{Subject: subject, Markdown: body}).Check() == nil; got != want {
			t.Errorf("a title of %d characters: well %t, want %t", len([]rune(subject)), got, want)
		}
	}
	for markdown, want := range map[string]bool{strings.Repeat("🏥", 5000): true, strings.Repeat("🏥", 5000) + "x": false, body[4:]: false} {
		if got := (notifier.Message{Subject: "C'è un nuovo referto", Markdown: markdown}).Check() == nil; got != want {
			t.Errorf("a text of %d characters: well %t, want %t", len([]rune(markdown)), got, want)
		}
	}
}
