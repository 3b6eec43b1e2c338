package relay

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	iobox "staffetta/notifier/sandbox"
)

// ofCompositions makes the source one of shape hl7-it, with a patient.
func (w *stage) ofCompositions(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(w.fse)
	t.Cleanup(server.Close)
	w.source.Source = must(fhir.NewSource(fhir.SourceOptions{
		Name: "north", BaseURL: server.URL + "/fhir", Shape: fhir.ShapeHL7IT, Client: new(http.Client), MaxBody: 1 << 20, MaxDepth: 64,
	}))
	w.Sources["north"] = w.source
	w.fse.Put(fse.Patient("p1", someone.Reveal(), time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)))
}

// compose keeps a Composition with an identifier, and its report.
func (w *stage) compose(id, value, report string) {
	subject := fse.Resource{"reference": "Patient/p1"}
	w.fse.Put(fse.Resource{"resourceType": "DiagnosticReport", "id": report, "status": "final", "subject": subject})
	w.fse.Put(fse.Resource{
		"resourceType": "Composition", "id": id, "status": "final", "date": w.now.Format(time.RFC3339), "subject": subject,
		"identifier": fse.Resource{"system": "urn:s", "value": value},
		"type":       fse.Resource{"coding": []any{fse.Resource{"system": "http://loinc.org", "code": "11502-2"}}},
		"section":    []any{fse.Resource{"entry": []any{fse.Resource{"reference": "DiagnosticReport/" + report}}}},
	})
}

// All members of a document that was found lead to it from then on, also the one that was hinted at.
func TestEveryMemberLeadsToItsDocument(t *testing.T) {
	w := newStage(t, iobox.Options{})
	w.ofCompositions(t)
	w.compose("c1", "mine", "r1")
	hinted := fhir.Locator{Type: "Composition", ID: "c1"}
	hint := ledger.Hint{Key: w.Ledger.FindKey("north", hinted.Type, hinted.ID), Source: "north", Locator: hinted, State: ledger.Find}
	if _, err := w.Ledger.Admit(t.Context(), []ledger.Hint{hint}); err != nil {
		t.Fatal(err)
	}
	o := w.step(t.Context(), claimed{Record: w.claimed(t), at: time.Now(), slot: &slot{posting: t.Context()}})
	document := w.Ledger.DocumentKey("north", fhir.Locator{Type: "Composition", ID: "c1", System: "urn:s", Value: "mine"})
	want := map[ledger.Alias]bool{
		{Key: hint.Key, Document: document}:                                            true,
		{Key: w.Ledger.FindKey("north", "DiagnosticReport", "r1"), Document: document}: true,
	}
	got := map[ledger.Alias]bool{}
	for _, alias := range o.aliases {
		got[alias] = true
	}
	if o.happened != Led || !maps.Equal(got, want) {
		t.Errorf("%s, with %d aliases, want %d", o.happened, len(got), len(want))
	}
	w.settled(t, o)
}

// All that is left of a document may be a report that belongs to another one by now: that one has a record of its own, which
// tells of it.
func TestAMemberThatBelongsToAnotherDocument(t *testing.T) {
	for _, tt := range []struct {
		value string // of the identifier of the Composition that lists the report
		want  ledger.State
	}{{"mine", ledger.Sent}, {"another", ledger.Suppressed}} {
		t.Run(tt.value, func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			w.ofCompositions(t)
			w.compose("c2", tt.value, "r1")
			member := fhir.Locator{Type: "DiagnosticReport", ID: "r1"}
			key := w.Ledger.DocumentKey("north", fhir.Locator{Type: "Composition", ID: "c1", System: "urn:s", Value: "mine"})
			hint := ledger.Hint{Key: key, Source: "north", Locator: member, State: ledger.Pending}
			if _, err := w.Ledger.Admit(t.Context(), []ledger.Hint{hint}); err != nil {
				t.Fatal(err)
			}
			o := w.step(t.Context(), claimed{Record: w.claimed(t), at: time.Now(), slot: &slot{posting: t.Context()}})
			w.settled(t, o)
			if o.record.State != tt.want {
				t.Errorf("%s %s, want %s", o.record.State, o.record.Reason, tt.want)
			}
		})
	}
}
