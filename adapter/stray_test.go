package adapter_test

import (
	"fmt"
	"strings"
	"testing"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// A source was renamed in the file while its records wait: serve says so once at start, with their number.
func TestServeSaysThatASourceIsGone(t *testing.T) {
	t.Parallel()
	const line = `"level":"ERROR","msg":"records wait for a source that is not configured: `
	w := build(t, fhir.ShapeReport)
	w.damaged = "it holds records of a source that is gone"
	w.run(t)
	const old, n = "fonte-vecchia", 40
	hints := make([]ledger.Hint, n)
	for i := range hints {
		l := fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("r", i)}
		hints[i] = ledger.Hint{Key: w.program.Ledger.DocumentKey(old, l), Source: old, Locator: l, State: ledger.Pending}
	}
	if _, err := w.program.Ledger.Admit(t.Context(), hints); err != nil {
		t.Fatal(err)
	}
	w.stop()
	if logs := w.logs.String(); strings.Contains(logs, line) {
		t.Error("all sources were there, and it says", logs)
	}
	w.run(t)
	said := eventually(t, func() (string, bool) {
		_, said, is := strings.Cut(w.logs.String(), line)
		return said, is
	})
	if !strings.Contains(said, `"source":"fonte-vecchia","records":40}`) || strings.Contains(said, line) {
		t.Errorf("it says %s", said)
	}
}
