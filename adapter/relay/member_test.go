package relay

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	iobox "staffetta/notifier/sandbox"
)

// All that is left of a document may be a report that belongs to another one by now: that one has a record of its own, which
// tells of it.
func TestAMemberThatBelongsToAnotherDocument(t *testing.T) {
	for _, tt := range []struct {
		value string // of the identifier of the Composition that lists the report
		want  ledger.State
	}{{"mine", ledger.Sent}, {"another", ledger.Suppressed}} {
		t.Run(tt.value, func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			server := httptest.NewServer(w.fse)
			t.Cleanup(server.Close)
			w.source.Source = must(fhir.NewSource(fhir.SourceOptions{
				Name: "north", BaseURL: server.URL + "/fhir", Shape: fhir.ShapeHL7IT, Client: new(http.Client), MaxBody: 1 << 20, MaxDepth: 64,
			}))
			w.Sources["north"] = w.source
			subject := fse.Resource{"reference": "Patient/p1"}
			w.fse.Put(fse.Patient("p1", someone.Reveal(), time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)))
			w.fse.Put(fse.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": subject})
			w.fse.Put(fse.Resource{
				"resourceType": "Composition", "id": "c2", "status": "final", "date": w.now.Format(time.RFC3339), "subject": subject,
				"identifier": fse.Resource{"system": "urn:s", "value": tt.value},
				"type":       fse.Resource{"coding": []any{fse.Resource{"system": "http://loinc.org", "code": "11502-2"}}},
				"section":    []any{fse.Resource{"entry": []any{fse.Resource{"reference": "DiagnosticReport/r1"}}}},
			})
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
