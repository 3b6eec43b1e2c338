package notifier_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"staffetta/notifier"
	"staffetta/notifier/sandbox"
)

const reference = "Zm9vYmFyYmF6cXV4MDEyMwZm9vYmFyYmF6cXV4MDEyMwZm9vYmFyYmF6cXV4MDE"

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// facts are the most that can be said.
func facts() notifier.Facts {
	return notifier.Facts{Kind: notifier.Laboratory, Date: time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC), Institution: "ASL Roma 1"}
}

// opening is a notice for a message that is opened.
func opening(publication, language string) notifier.Notice {
	return notifier.Notice{Publication: publication, Languages: []string{language}, Reference: reference}
}

func TestRemoteContentIsAsReviewed(t *testing.T) {
	o := options()
	o.First.URL = portal + "?rif={ref}"
	c := composer(t, o)
	compare := func(name, language string, content notifier.Content, err error) {
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("..", "testdata", "messages", "remote", name+"."+language+".md"), content.Subject+"\n\n"+content.Markdown)
	}
	for _, language := range languages {
		for _, publication := range []string{"published", "updated"} {
			content, err := c.Details(opening(publication, language), facts())
			compare("details."+publication, language, content, err)
		}
		content, err := c.Unavailable(opening("published", language))
		compare("unavailable", language, content, err)
		content, err = c.Precondition(opening("published", language))
		compare("precondition", language, content, err)
	}
}

// Of every fact that is missing, its line is missing too, and what is left is within IO's limits.
func TestRemoteContentSaysWhatIsKnown(t *testing.T) {
	for _, wording := range []notifier.Wording{notifier.Referto, notifier.Novita} {
		o := options()
		o.Wording = wording
		c := composer(t, o)
		for _, language := range languages {
			for _, f := range []notifier.Facts{{}, {Kind: notifier.Report}, {Date: facts().Date}, {Institution: "ASL Roma 1"}, facts()} {
				content, err := c.Details(opening("published", language), f)
				if err != nil {
					t.Fatal(err)
				}
				if err := (notifier.Message{Subject: content.Subject, Markdown: content.Markdown}).Check(); err != nil {
					t.Errorf("%s: %v", language, err)
				}
				if got := strings.Contains(content.Markdown, "ASL Roma 1"); got != (f.Institution != "") {
					t.Errorf("%s: the institution is said: %t", language, got)
				}
				if got := strings.Contains(content.Markdown, "2026"); got != !f.Date.IsZero() {
					t.Errorf("%s: the date is said: %t", language, got)
				}
				kept := compose(t, c, notice(t, "published", language))
				if content.Subject != kept.Subject {
					t.Errorf("%s: opened as %q, listed as %q", language, content.Subject, kept.Subject)
				}
			}
		}
	}
}

func TestADayIsThatOfRome(t *testing.T) {
	c := composer(t, options())
	for language, want := range map[string]string{"it": "23/11/2026", "de": "23.11.2026", "en": "23 November 2026", "fr": "23/11/2026"} {
		content, err := c.Details(opening("published", language), facts()) // half past midnight in Rome
		if err != nil || !strings.Contains(content.Markdown, want) {
			t.Errorf("%s: not %s (%v)", language, want, err)
		}
	}
}

// A message about a withdrawn document says so whenever it is opened, and shows nothing.
func TestNothingIsShownOfWhatWasWithdrawn(t *testing.T) {
	c := composer(t, options())
	if _, err := c.Details(opening("withdrawn", "it"), facts()); err == nil {
		t.Error("details of a withdrawn document")
	}
	content, err := c.Unavailable(opening("withdrawn", "de"))
	kept := compose(t, c, notice(t, "withdrawn", "de"))
	if err != nil || content.Subject != kept.Subject || content.Markdown != kept.Markdown {
		t.Errorf("another text than IO keeps: %v", err)
	}
}

// The harmless text is the same whatever the reason is: no type that it is written from holds anything of a document.
func TestTheHarmlessTextCannotTellWhy(t *testing.T) {
	fields := func(of reflect.Type) (all []string) {
		for _, field := range reflect.VisibleFields(of) {
			all = append(all, field.Name+" "+field.Type.String())
		}
		return all
	}
	if diff := cmp.Diff([]string{"Title string", "Button string", "SecondButton string", "SSO bool"}, fields(reflect.TypeFor[notifier.Opened]())); diff != "" {
		t.Errorf("it reaches more (-want +got):\n%s", diff)
	}
	method := reflect.TypeFor[func(*notifier.Composer, notifier.Notice) (notifier.Content, error)]()
	if got := reflect.TypeOf((*notifier.Composer).Unavailable); got != method {
		t.Errorf("Unavailable is %s, want %s", got, method)
	}
}

// Details say the kind in words of ours, the date, and the name in the configuration: no type holds an exam, a doctor or a result.
func TestDetailsHoldNothingClinical(t *testing.T) {
	var got []string
	for field := range reflect.TypeFor[notifier.Facts]().Fields() {
		got = append(got, field.Name+" "+field.Type.String())
	}
	if diff := cmp.Diff([]string{"Kind notifier.DocumentKind", "Date time.Time", "Institution string"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c := composer(t, options())
	f := facts()
	f.Kind = "Emocromo completo" // what is no kind is not said
	content, err := c.Details(opening("published", "it"), f)
	if err != nil || strings.Contains(content.Markdown, "Emocromo") {
		t.Errorf("an exam is said (%v)", err)
	}
}

func TestInstitutions(t *testing.T) {
	for name, well := range map[string]bool{
		"": true, "ASL Roma 1": true, "Azienda Ospedaliera “San Gallicano”, IRCCS": true, "L'Ente & C.": true,
		strings.Repeat("x", 80): true, strings.Repeat("x", 81): false, " ASL": false, "ASL\nRoma": false, "**ASL**": false, "[ASL](https://x.example)": false,
		"<b>ASL</b>": false, "ASL\u202eamoR": false,
	} {
		if err := notifier.CheckInstitution(name); (err == nil) != well {
			t.Errorf("%q: %v, want well: %t", name, err, well)
		}
	}
}

func TestAnInstitutionsOwnRemoteTexts(t *testing.T) {
	o := options()
	o.Folder = folderWith(t, "details.it.md", "# {{.Title}}\n\nC'è un documento nel tuo Fascicolo Sanitario Elettronico (FSE) del {{.Date}}, di {{.Institution}}.\n\nPremi **{{.Button}}**.\n")
	content, err := composer(t, o).Details(opening("published", "it"), facts())
	if err != nil || !strings.Contains(content.Markdown, "del 23/11/2026, di ASL Roma 1.") {
		t.Errorf("%v\n%s", err, content.Markdown)
	}
	for _, tt := range []struct{ file, text, want string }{
		{"unavailable.it.md", "# {{.Title}}\n\nIl tuo {{.Kind}} non si può mostrare.\n\nPremi **{{.Button}}**.\n", "unavailable.it.md:3:9: want nothing but text, {{.Title}}, {{.Button}}, {{.SecondButton}}, and {{if .SSO}} or {{if not .SSO}} with {{else}} and {{end}}"},
		{"published.it.md", "# C'è un nuovo documento\n\nÈ del {{.Date}}.\n\nPremi **{{.Button}}**.\n", "published.it.md:3:9: want nothing but text, {{.OldTitle}}, {{.Button}}, {{.SecondButton}}, and {{if .SSO}} or {{if not .SSO}} with {{else}} and {{end}}"},
		{"details.it.md", "# {{.Title}}\n\nPremi **{{.Button}}** con urgenza!\n", "details.it.md:3: shouts (!), want a calm sentence"},
		{"details.sl.md", "# {{.Title}}\n\nV tvoji zdravstveni mapi je dokument.\n\nPritisni **{{.Button}}**.\n", "message.templates: no unavailable.sl.md, but the language has another message: want all of them"},
	} {
		o.Folder = folderWith(t, tt.file, tt.text)
		if got := mistakes(t, o); !slices.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.file, got, tt.want)
		}
	}
}

// A language that has messages and no remote texts is opened in Italian.
func TestALanguageWithoutRemoteTexts(t *testing.T) {
	o := options()
	o.Folder = folderWith(t, "published.sl.md", "# Imaš nov dokument\n\nV tvoji zdravstveni mapi je nov dokument.\n\nPritisni **{{.Button}}**.\n")
	for _, publication := range []string{"updated", "withdrawn"} {
		write(t, filepath.Join(o.Folder, publication+".sl.md"), "# Popravek: {{.OldTitle}}\n\nDokument je spremenjen.\n\nPritisni **{{.Button}}**.\n")
	}
	content, err := composer(t, o).Details(opening("published", "sl"), facts())
	if err != nil || content.Subject != "C'è un nuovo referto" {
		t.Errorf("%q, %v", content.Subject, err)
	}
}

func TestAMessagePointsToRemoteContent(t *testing.T) {
	const configuration = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	io := sandbox.New(sandbox.Options{Keys: []string{key}, RemoteContent: sandbox.RemoteContent{Allowed: true, Own: []string{configuration}}})
	o := options()
	o.Remote = notifier.Pointer{ConfigurationID: configuration, Precondition: "ONCE"}
	c := composer(t, o)
	if !c.WantsReference() || c.HasPlaceholder() {
		t.Error("remote content wants a reference, and no button does")
	}
	n := notice(t, "published")
	if _, err := c.Compose(n); err == nil {
		t.Error("a pointer without a reference")
	}
	n.Reference = reference
	m := compose(t, c, n)
	static := compose(t, composer(t, options()), notice(t, "published"))
	if m.Subject != static.Subject || m.Markdown != static.Markdown {
		t.Error("IO keeps another text than the neutral one")
	}
	if got := client(t, io).Send(t.Context(), m); got.Kind != notifier.Created {
		t.Fatal(got)
	}
	got := *io.Messages()[0].ThirdParty
	want := sandbox.ThirdParty{ID: reference, ConfigurationID: configuration, HasRemoteContent: true, HasPrecondition: "ONCE"}
	if got != want {
		t.Errorf("third_party_data %s, want %s", fmt.Sprint(got), fmt.Sprint(want))
	}
}
