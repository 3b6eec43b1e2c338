package notifier_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"staffetta/notifier"
	"staffetta/notifier/sandbox"
)

// TestFrontMatterThatTheAppWouldNotShow: what reference io.md, 4, says of each never leaves us.
func TestFrontMatterThatTheAppWouldNotShow(t *testing.T) {
	const block = `---
it:
  cta_1:
    text: "Vai al Fascicolo"
    action: "iosso://https://fse.ente.example"
en:
  cta_1:
    text: "Go to your record"
    action: "iosso://https://fse.ente.example"
---
`
	text := "\n" + strings.Repeat("Nel tuo Fascicolo è disponibile un nuovo documento. ", 3)
	with := func(old, by string) string { return strings.Replace(block, old, by, 1) }
	for _, tt := range []struct {
		name, front string
		want        bool
	}{
		{"none at all", "", true},
		{"as we write it", block, true},
		{"a second button in one language only", with("\nen:", "\n  cta_2: {text: \"Aiuto\", action: \"iohandledlink://tel:06\"}\nen:"), false},
		{"a blank before the fence", " " + block, false},
		{"an empty line before it", "\n" + block, false},
		{"a blank after it", with("---\n", "--- \n"), false},
		{"not closed", strings.TrimSuffix(block, "---\n"), false},
		{"an unbalanced quote", with(`Fascicolo"`, `Fascicolo`), false},
		{"text without quotes", with(`"Vai al Fascicolo"`, `Vai al Fascicolo`), false},
		{"text that is a number", with(`"Vai al Fascicolo"`, `1`), false},
		{"tabs", with("  cta_1:", "\tcta_1:"), false},
		{"no English", block[:strings.Index(block, "en:")] + "---\n", false},
		{"no Italian", "---\n" + block[strings.Index(block, "en:"):], false},
		{"another language", with("en:", "de:"), false},
		{"no cta_1", with("cta_1", "cta_2"), false},
		{"wrong nesting", with("  cta_1:\n", ""), false},
		{"a bare address", with("iosso://https", "https"), false},
		{"an address in clear", with("iosso://https", "iosso://http"), false},
		{"single sign-on to a telephone", with("iosso://https://fse.ente.example", "iosso://tel:123"), false},
		{"an empty text", with("Vai al Fascicolo", ""), false},
		{"a line end in the text", with("Vai al", `Vai\nal`), false},
		{"the same key twice", with("it:", "it: {}\nit:"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := notifier.Message{Subject: "C'è un nuovo referto", Markdown: tt.front + text}.Check()
			if (err == nil) != tt.want {
				t.Errorf("error %v, want well: %t", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "Fascicolo") {
				t.Error("the error repeats the text")
			}
		})
	}
}

// Whatever text an institution gives its buttons: it is refused at start, or the sandbox reads both languages as the app
// does.
func TestWhateverAButtonSaysIsReadAsItWasWritten(t *testing.T) {
	n, accepted := notice(t, "published"), 0
	rapid.Check(t, func(t *rapid.T) {
		o := options()
		likely := rapid.StringMatching(`[A-ZÈ][a-zéü':"{}%&@,\\ -]{0,39}`)
		word := rapid.OneOf(rapid.String(), likely, likely, likely)
		o.First.Italian, o.First.English = word.Draw(t, "it"), word.Draw(t, "en")
		o.First.URL = portal + rapid.StringMatching(`[a-z?&=:{}./_~!$()*+,;@-]{0,60}`).Draw(t, "path")
		o.First.SSO = rapid.Bool().Draw(t, "sso")
		c, err := notifier.NewComposer(o)
		if err != nil {
			return
		}
		m, err := c.Compose(n)
		if err != nil {
			t.Fatal(err)
		}
		accepted++
		shown, err := sandbox.Buttons(m.Markdown)
		if err != nil {
			t.Fatal(err)
		}
		scheme := map[bool]string{true: "iosso://", false: "iohandledlink://"}[o.First.SSO]
		for language, text := range map[string]string{"it": o.First.Italian, "en": o.First.English} {
			want := sandbox.Button{Text: text, Action: scheme + o.First.URL}
			if got := shown[language]; len(got) != 1 || got[0] != want {
				t.Fatalf("%s reads %+v, want %+v", language, got, want)
			}
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted: the test proves nothing")
	}
}
