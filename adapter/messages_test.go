package adapter_test

import (
	"strings"
	"testing"

	"staffetta/config"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// TestAMessageIsInTheCitizensLanguage: what IO's profile says right before the send decides, with Italian below.
func TestAMessageIsInTheCitizensLanguage(t *testing.T) {
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.Message.Wording = "novita"
		o.Languages = func(fiscalcode.Code) []string { return []string{"de_DE", "it_IT"} }
	})
	w.run(t)
	c := told(1, false)[0]
	w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n == 1 })
	m := w.io.Messages()[0]
	if m.Subject != "Es gibt Neues in deiner Gesundheitsakte" || !strings.Contains(m.Markdown, "\n## Italiano\n\nNel tuo Fascicolo") {
		t.Errorf("title %q", m.Subject)
	}
	w.quiet(t)
	w.well(t)
}
