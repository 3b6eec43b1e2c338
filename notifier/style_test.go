package notifier_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"staffetta/notifier"
)

// well is a text that breaks no rule.
const well = `# C'è un nuovo documento

Nel tuo Fascicolo Sanitario Elettronico (FSE) è disponibile un nuovo documento.

Puoi leggerlo quando vuoi: premi **{{.Button}}**{{if not .SSO}} ed entra con la tua identità digitale (SPID o CIE){{end}}.
`

// folderWith holds one file.
func folderWith(t *testing.T, name, text string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// mistakes are the lines of the error, without the folder's name.
func mistakes(t *testing.T, o notifier.ComposerOptions) []string {
	t.Helper()
	_, err := notifier.NewComposer(o)
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), o.Folder+string(filepath.Separator), ""), "\n")
}

func TestAnInstitutionsOwnTextStandsInForOurs(t *testing.T) {
	o := options()
	o.Folder = folderWith(t, "published.it.md", strings.ReplaceAll("\ufeff"+well, "\n", "\r\n"))
	if err := os.WriteFile(filepath.Join(o.Folder, "leggimi.txt"), []byte("!!"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := composer(t, o)
	if got := compose(t, c, notice(t, "published")); got.Subject != "C'è un nuovo documento" || strings.Contains(got.Markdown, "\r") {
		t.Errorf("title %q", got.Subject)
	}
	if got := compose(t, c, notice(t, "updated")).Subject; got != "Errata corrige: C'è un nuovo documento" {
		t.Errorf("the correction is titled %q, want the institution's title in it", got)
	}
	if got := compose(t, c, notice(t, "published", "de_DE")); !strings.Contains(got.Markdown, "un nuovo documento.") {
		t.Error("the Italian text below the German one is not the institution's")
	}
	if got := c.Overridden(); len(got) != 1 || filepath.Base(got[0]) != "published.it.md" {
		t.Errorf("overridden: %d files", len(got))
	}
}

func TestALanguageIsAddedByFiles(t *testing.T) {
	o := options()
	o.Folder = folderWith(t, "published.sl.md", "# Imaš nov dokument\n\nV tvoji zdravstveni mapi je nov dokument.\n\nPritisni **{{.Button}}**.\n")
	want := []string{
		"message.templates: no updated.sl.md, but the language has another message: want all of them",
		"message.templates: no withdrawn.sl.md, but the language has another message: want all of them",
	}
	if got := mistakes(t, o); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, publication := range []string{"updated", "withdrawn"} {
		text := "# Popravek: {{.OldTitle}}\n\nDokument je spremenjen.\n\nPritisni **{{.Button}}**.\n"
		if err := os.WriteFile(filepath.Join(o.Folder, publication+".sl.md"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := compose(t, composer(t, o), notice(t, "updated", "sl_SI")); got.Subject != "Popravek: Imaš nov dokument" {
		t.Errorf("title %q", got.Subject)
	}
}

// TestTextsThatBreakARule puts one line into a text that is well: the mistake is named with file, line and rule.
func TestTextsThatBreakARule(t *testing.T) {
	const first, second, last = "# C'è un nuovo documento", "Nel tuo Fascicolo Sanitario Elettronico (FSE) è disponibile un nuovo documento.",
		"Puoi leggerlo quando vuoi: premi **{{.Button}}**{{if not .SSO}} ed entra con la tua identità digitale (SPID o CIE){{end}}."
	const formal = "speaks as to a stranger (Lei, Suo), want tu"
	const neutral = "names an exam, a place, a doctor or an outcome: a message that IO keeps is neutral"
	for _, tt := range []struct{ name, old, line, want string }{
		{"a title is short", first, "# " + strings.Repeat("Un nuovo documento ", 7), "published.it.md: subject: 133 UTF-16 units, want 10 to 120"},
		{"a title is not too short", first, "# Novità", "published.it.md: subject: 6 UTF-16 units, want 10 to 120"},
		{"a title is there", first, "C'è un nuovo documento", "published.it.md:1: want a title (# ...), an empty line and a text"},
		{"a title is plain", first, "# C'è un **nuovo** documento", "published.it.md:1: holds Markdown, want plain text"},
		{"a title is no notification", first, "# Notifica di un nuovo documento", "published.it.md:1: says that it is a notification: IO sends messages"},
		{"nor several", first, "# Hai nuove notifiche da leggere", "published.it.md:1: says that it is a notification: IO sends messages"},
		{"a title begins with a capital", first, "# c'è un nuovo documento", "published.it.md:1: want a capital letter first"},
		{"a title does not shout", first, "# C'è un nuovo documento!", "published.it.md:1: shouts (!), want a calm sentence"},
		{"a title is not all capitals", first, "# C'È UN NUOVO DOCUMENTO", "published.it.md:1: shouts (a word in capitals), want sentence case; acronyms have up to four letters"},
		{"a title holds no date", first, "# Nuovo documento del 3 marzo", "published.it.md:1: holds a number: a date or an id may be personal"},
		{"a title names no exam", first, "# È pronto il tuo esame", "published.it.md:1: " + neutral},
		{"a text names no place", second, "Il documento viene dall'Ospedale San Gallicano.", "published.it.md:3: " + neutral},
		{"a text names no department", second, "Un documento di Radiologia.", "published.it.md:3: " + neutral},
		{"a text names no doctor", second, "Un documento della dott.ssa Bianchi.", "published.it.md:3: " + neutral},
		{"a text names no outcome", second, "L'esito è disponibile.", "published.it.md:3: " + neutral},
		{"nor a professor", second, "Un referto del prof. Rossi.", "published.it.md:3: " + neutral},
		{"nor a professor by her whole title", second, "Un documento della professoressa Rossi.", "published.it.md:3: " + neutral},
		{"a text holds no date", second, "Un documento del 12/11/2026.", "published.it.md:3: holds a number outside of a link: a date or an id may be personal"},
		{"nor a date in words", second, "Un documento del 3 marzo.", "published.it.md:3: holds a number outside of a link: a date or an id may be personal"},
		{"nor a number beside a link", second, "Documento 4711: [chiama](tel:+390612345).", "published.it.md:3: holds a number outside of a link: a date or an id may be personal"},
		{"a citizen is no stranger", second, "Il Suo documento è disponibile.", "published.it.md:3: " + formal},
		{"nor in small letters", second, "La preghiamo di leggerlo.", "published.it.md:3: " + formal},
		{"nor by the form of the verb", last, "Prema **{{.Button}}**.", "published.it.md:5: " + formal},
		{"nor by a sentence without a subject", last, "Può leggerlo quando vuole: **{{.Button}}**.", "published.it.md:5: " + formal},
		{"nor by a later one", second, "C'è un nuovo documento. Ora può consultarlo.", "published.it.md:3: " + formal},
		{"nor in a title", first, "# C'è un documento per Lei", "published.it.md:1: " + formal},
		{"a rule cuts the e-mail preview", second, "---", "published.it.md:3: is a rule (---), which cuts the text that IO forwards by e-mail"},
		{"also of other marks", second, "* * *", "published.it.md:3: is a rule (---), which cuts the text that IO forwards by e-mail"},
		{"also as the line below a heading", second, "Novità\n------", "published.it.md:4: is a rule (---), which cuts the text that IO forwards by e-mail"},
		{"an image is fetched from somewhere", second, "![logo](https://ente.example/l.png)", "published.it.md:3: holds an image: the phone would fetch it, and tell its server"},
		{"raw HTML", second, "Un nuovo<br>documento.", "published.it.md:3: holds raw HTML, want Markdown"},
		{"a comment in HTML", second, "<!-- rivisto -->", "published.it.md:3: holds raw HTML, want Markdown"},
		{"a table", second, "| documento | data |", "published.it.md:3: begins a table, which the app does not draw"},
		{"an emoji", second, "Un nuovo documento 🏥.", "published.it.md:3: holds an emoji or a symbol, want words"},
		{"an old emoji", second, "Un nuovo documento ✔.", "published.it.md:3: holds an emoji or a symbol, want words"},
		{"an accent in pieces", second, "Un documento che perche\u0301 no.", "published.it.md:3: holds a control character, an invisible one or a letter in pieces, want plain text (NFC)"},
		{"an invisible character", second, "Un docu\u200bmento.", "published.it.md:3: holds a control character, an invisible one or a letter in pieces, want plain text (NFC)"},
		{"a tab", second, "Un\tdocumento.", "published.it.md:3: holds a control character, an invisible one or a letter in pieces, want plain text (NFC)"},
		{"no UTF-8", second, "Un documento\xff.", "published.it.md:3: holds a control character, an invisible one or a letter in pieces, want plain text (NFC)"},
		{"a text does not shout", second, "Un nuovo documento!", "published.it.md:3: shouts (!), want a calm sentence"},
		{"nor in capitals", second, "Un NUOVO documento.", "published.it.md:3: shouts (a word in capitals), want sentence case; acronyms have up to four letters"},
		{"a salutation", second, "Gentile utente, c'è un nuovo documento.", "published.it.md:3: begins with a salutation, want the news first"},
		{"a salutation in bold", second, "**Egregio** cittadino,", "published.it.md:3: begins with a salutation, want the news first"},
		{"a spatial hint", second, "Il pulsante è qui sotto.", "published.it.md:3: says where something stands on the page: every phone shows it elsewhere"},
		{"a bureaucratic formula", second, "Si prega di leggere il documento.", "published.it.md:3: is bureaucratic, want everyday words"},
		{"an acronym without its words", second, "C'è un documento nel FSE.", "published.it.md:3: holds an acronym that is not explained where it is used first: want its words, then (FSE)"},
		{"a link that the app does not follow", second, "[apri](iosso://https://fascicolo.example.it)", "published.it.md:3: holds a link that the app does not follow from a text, want https, mailto or tel"},
		{"a link in clear", second, "Vai su http://fascicolo.example.it", "published.it.md:3: holds a link that the app does not follow from a text, want https, mailto or tel"},
		{"a script", second, "[apri](javascript:alert)", "published.it.md:3: holds a link that the app does not follow from a text, want https, mailto or tel"},
		{"an end without an action", last, "A presto.", "published.it.md: ends without an action, want {{.Button}} in the last paragraph"},
		{"an end without an action in one state only", last, "{{if .SSO}}A presto.{{else}}Premi **{{.Button}}**.{{end}}", "published.it.md (with SSO, one button; with SSO, two buttons): ends without an action, want {{.Button}} in the last paragraph"},
		{"a rule that shows when it is rendered only", second, "-{{if .SSO}}-{{end}}-", "published.it.md:3: is a rule (---), which cuts the text that IO forwards by e-mail"},
		{"a word in pieces", second, "Un re{{if .SSO}}gistro{{else}}parto{{end}}.", "published.it.md (without SSO, one button; without SSO, two buttons): " + neutral},
		{"an unknown field", second, "Un documento di {{.Doctor}}.", "published.it.md:3:18: " + wantPlain},
		{"a function", second, "Un documento {{printf \"%s\" .Button}}.", "published.it.md:3:15: " + wantPlain},
		{"a pipe", second, "Un documento {{.Button | html}}.", "published.it.md:3:15: " + wantPlain},
		{"a method or a field of a field", second, "Un documento {{.Button.Text}}.", "published.it.md:3:15: " + wantPlain},
		{"a variable", second, "{{$x := .Button}}Un documento {{$x}}.", "published.it.md:3:2: " + wantPlain},
		{"a loop", second, "{{range .Button}}x{{end}}", "published.it.md:3:8: " + wantPlain},
		{"a condition over a function", second, "{{if eq .Button \"x\"}}x{{end}}", "published.it.md:3:5: " + wantPlain},
		{"another template", second, "{{define \"x\"}}x{{end}}", "published.it.md: want no define and no block"},
		{"an action without end", second, "{{if .SSO}}", "published.it.md:6: unexpected EOF"},
		{"everything at once", last, "A presto!", "published.it.md:5: shouts (!), want a calm sentence"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options()
			o.Folder = folderWith(t, "published.it.md", strings.Replace(well, tt.old, tt.line, 1))
			got := mistakes(t, o)
			if !slices.Contains(got, tt.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), tt.want)
			}
		})
	}
}

const wantPlain = "want nothing but text, {{.OldTitle}}, {{.Button}}, {{.SecondButton}}, and {{if .SSO}} or {{if not .SSO}} " +
	"with {{else}} and {{end}}"

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	o := options()
	o.First = notifier.Button{URL: "http://fascicolo.example.it", Italian: "Vai!", English: ""}
	o.Folder = folderWith(t, "published.it.md", strings.Replace(well, "# C'è", "# Notifica: c'è", 1)+"\n---\n")
	if err := os.WriteFile(filepath.Join(o.Folder, "publshed.en.md"), []byte(well), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"publshed.en.md: want a name such as published.it.md: published, updated, withdrawn, details, unavailable or precondition, and a language of two letters",
		"message.button_text.en: want 1 to 40 characters, a verb first",
		"message.button_text.it: shouts (!), want a calm sentence",
		"message.button_url: want an https address",
		"published.it.md:1: says that it is a notification: IO sends messages",
		"published.it.md:7: is a rule (---), which cuts the text that IO forwards by e-mail",
	}
	if got := mistakes(t, o); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	o.Folder = filepath.Join(o.Folder, "absent")
	if got := mistakes(t, o); !slices.Contains(got, o.Folder+": the folder cannot be read") {
		t.Errorf("a folder that is not there: %q", got)
	}
}

func TestCorrectionsHaveTheManualsForm(t *testing.T) {
	for title, want := range map[string]string{
		"# Errata corrige: {{.OldTitle}}":         "",
		"# Errata corrige: c'è un aggiornamento":  "want a title as the manual has it for corrections: # Errata corrige: {{.OldTitle}}",
		"# Nuova versione: {{.OldTitle}}":         "want a title that begins with Errata corrige",
		"# Errata corrige: {{.OldTitle}} è nuovo": "want a title as the manual has it for corrections: # Errata corrige: {{.OldTitle}}",
	} {
		o := options()
		o.Folder = folderWith(t, "withdrawn.it.md", strings.Replace(well, "# C'è un nuovo documento", title, 1))
		got := strings.Join(mistakes(t, o), "\n")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", title, got, want)
		}
	}
}

// TestTheStricterWordingNeverSaysReport: the shipped texts do not, in any language, and an institution's may not.
func TestTheStricterWordingNeverSaysReport(t *testing.T) {
	o := options()
	o.Wording, o.First.URL = notifier.Novita, "https://fascicolo.example.it"
	c := composer(t, o)
	for _, publication := range publications {
		for _, language := range languages {
			m := compose(t, c, notice(t, publication, language))
			text := strings.ToLower(m.Subject + m.Markdown)
			for _, word := range []string{"refert", "report", "befund", "informe", "compte rendu"} {
				if strings.Contains(text, word) {
					t.Errorf("%s in %s says %s", publication, language, word)
				}
			}
		}
	}
	const rule = "says that it is about a report, which message.wording novita never does"
	o.Folder = folderWith(t, "published.it.md", strings.ReplaceAll(well, "nuovo documento", "nuovo referto"))
	if got := mistakes(t, o); !slices.Equal(got, []string{"published.it.md:1: " + rule, "published.it.md:3: " + rule}) {
		t.Errorf("got %q", got)
	}
	o.Folder, o.First.Italian = "", "Leggi il referto"
	if got := mistakes(t, o); !slices.Equal(got, []string{"message.button_text.it: " + rule}) {
		t.Errorf("got %q", got)
	}
	o.Wording = "altro"
	if got := mistakes(t, o); !slices.Equal(got, []string{"message.wording: want referto or novita"}) {
		t.Errorf("got %q", got)
	}
}

func TestButtonsThatCannotBe(t *testing.T) {
	for name, address := range map[string]string{
		"nowhere": "", "in clear": "http://fascicolo.example.it", "no scheme": "fascicolo.example.it", "no host": "https://",
		"a user": "https://a:b@fascicolo.example.it", "a quote": "https://fascicolo.example.it/\"x", "a line end": "https://fascicolo.example.it/\nx",
		"a script": "javascript:alert(1)", "a telephone is no portal": "tel:+390612345", "beyond ASCII": "https://fascicolo.example.it/è",
		"{ref} as host": "https://{ref}.example.it", "{ref} in the fragment": portal + "#{ref}", "a blank": portal + " x",
		"too long with its reference": portal + "?" + strings.Repeat("x", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.First.URL = address
			_, err := notifier.NewComposer(o)
			if err == nil {
				t.Fatal("accepted")
			}
			if address != "" && strings.Contains(err.Error(), address) {
				t.Error("the error repeats it")
			}
		})
	}
	for _, address := range []string{portal + "/{ref}", portal + "?rif={ref}&da=io", "https://fascicolo.example.it:8443"} {
		o := options()
		o.First.URL = address
		composer(t, o)
	}
}

func TestTheSecondButtonMayAlsoCallOrWrite(t *testing.T) {
	for address, want := range map[string]bool{
		"tel:+390612345": true, "mailto:aiuto@ente.example": true, "https://ente.example/aiuto": true, "sms:12345": false, "tel:": false,
		"ioit://profile": false,
	} {
		o := options()
		o.Second = help()
		o.Second.URL = address
		c, err := notifier.NewComposer(o)
		if (err == nil) != want {
			t.Errorf("%s: error %v, want accepted: %t", address, err, want)
		}
		if err == nil && !strings.Contains(compose(t, c, notice(t, "published")).Markdown, `"iohandledlink://`+address+`"`) {
			t.Errorf("%s is not the action", address)
		}
	}
}

func TestButtonTextsThatBreakARule(t *testing.T) {
	for text, want := range map[string]string{
		"": "want 1 to 40 characters, a verb first",
		strings.Repeat("V", 1) + strings.Repeat("a", 40): "want 1 to 40 characters, a verb first",
		"Vai\nal Fascicolo":               "holds a control character, an invisible one or a letter in pieces, want plain text (NFC)",
		"Vai al **Fascicolo**":            "holds Markdown, want plain text",
		"VAI AL FASCICOLO":                "shouts (a word in capitals), want sentence case; acronyms have up to four letters",
		"vai al Fascicolo":                "want a capital letter first",
		"Vedi l'esame":                    "names an exam, a place, a doctor or an outcome: a message that IO keeps is neutral",
		"Vai 👉":                           "holds an emoji or a symbol, want words",
		"Vai: \"Fascicolo\" & l'archivio": "",
	} {
		o := options()
		o.First.Italian = text
		got := mistakes(t, o)
		if (want == "") != (got == nil) || (want != "" && !slices.Contains(got, "message.button_text.it: "+want)) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// What is not forbidden may stand in a text: numbers of links and lists, and words that only begin like others.
func TestTextsThatBreakNoRule(t *testing.T) {
	for _, line := range []string{
		"Per un aiuto [chiama 800 123 456](tel:800123456).",
		"Leggi come si fa: https://fascicolo.example.it/aiuto/2026.",
		"1. Apri il Fascicolo.\n2. Cerca il documento.",
		"Entra con il tuo profilo: un professionista può aiutarti.",
		"Le novità si leggono presto, e la lettera può attendere.",
		"Aprilo dove nessun altro può leggere.",
	} {
		o := options()
		o.Folder = folderWith(t, "published.it.md", strings.Replace(well, "Puoi leggerlo", line+"\n\nPuoi leggerlo", 1))
		if got := mistakes(t, o); got != nil {
			t.Errorf("%q: %q", line, got)
		}
	}
}
