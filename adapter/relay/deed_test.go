package relay

import (
	"net/http"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	iobox "staffetta/notifier/sandbox"
)

// admitted is a record that was just claimed for the first time.
func (w *stage) admitted(t *testing.T, id string) ledger.Record {
	t.Helper()
	l := fhir.Locator{Type: "DiagnosticReport", ID: id}
	hint := ledger.Hint{Key: w.Ledger.DocumentKey("north", l), Source: "north", Locator: l, State: ledger.Pending}
	if _, err := w.Ledger.Admit(t.Context(), []ledger.Hint{hint}); err != nil {
		t.Fatal(err)
	}
	return w.claimed(t)
}

func (w *stage) claimed(t *testing.T) ledger.Record {
	t.Helper()
	got, err := w.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 1, Sources: []string{"north"}})
	if err != nil || len(got.Records) != 1 {
		t.Fatalf("%d records, %v", len(got.Records), err)
	}
	return got.Records[0]
}

func (w *stage) settled(t *testing.T, o outcome) {
	t.Helper()
	if got, err := w.Ledger.Settle(t.Context(), []ledger.Settlement{o.settlement()}); err != nil || got[0] != ledger.Written {
		t.Fatal(got, err)
	}
}

// A person releases what was given up on: its troubles are counted anew, not from the first one.
func TestAReleaseCountsTroublesAnew(t *testing.T) {
	w := newStage(t, iobox.Options{})
	w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	step := func(rec ledger.Record) outcome {
		o := w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
		w.settled(t, o)
		return o
	}
	rec := w.admitted(t, "r1")
	rec.Trouble, rec.Attempts = rec.Now.Add(-73*time.Hour), 80
	if o := step(rec); o.record.Reason != "source-unavailable" || o.record.State != ledger.Held {
		t.Fatalf("%s %s after 73 hours", o.record.State, o.record.Reason)
	}
	if ok, err := w.Ledger.Release(t.Context(), rec.Key, "released", ledger.By{}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if o := step(w.claimed(t)); o.record.State != ledger.Pending || o.record.Attempts != 1 {
		t.Errorf("%s after %d tries", o.record.State, o.record.Attempts)
	}
}

// A report was merged into one of which nobody knows whether its citizen was told: that one waits for a person.
func TestAnUncertainHeirStaysHeld(t *testing.T) {
	w := newStage(t, iobox.Options{})
	heir := w.admitted(t, "heir")
	heir.State, heir.Recipient, heir.Publication = ledger.Sending, someone, ledger.Published
	w.settled(t, Timetable{HoldUncertain: true}.unclear(heir, heir.Now))
	merged := claimed{Record: w.admitted(t, "merged"), at: time.Now()}
	if err := w.handOver(t.Context(), &merged, fhir.Document{ReplacedBy: heir.Locator}); err != nil {
		t.Fatal(err)
	}
	if rec, _, err := w.Ledger.Lookup(t.Context(), heir.Key); err != nil || rec.State != ledger.Held || rec.Reason != reasonUncertain {
		t.Errorf("%s %s, %v", rec.State, rec.Reason, err)
	}
}

// Whether the citizen was told of a document became uncertain while its successor looked at it: a person must say so first, and
// is not deprived of the question.
func TestWhatBecameUncertainIsNotEnded(t *testing.T) {
	w := newStage(t, iobox.Options{})
	l := func(id string) fhir.Locator { return fhir.Locator{Type: "DiagnosticReport", ID: id} }
	old := w.admitted(t, "r1")
	old.State = ledger.Sending
	w.settled(t, held(DecidedHold, because(old, reasonUncertain, w.now)))
	w.fse.Put(fse.Patient("p1", someone.Reveal(), time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)))
	w.fse.Put(fse.Resource{
		"resourceType": "DiagnosticReport", "id": "r2", "status": "final", "issued": w.now.Format(time.RFC3339), "subject": fse.Resource{"reference": "Patient/p1"},
	})
	heir := w.admitted(t, "r2")
	heir.LedTo = []ledger.Key{w.Ledger.DocumentKey("north", l("r1"))}
	o := w.step(t.Context(), claimed{Record: heir, at: time.Now(), slot: &slot{posting: t.Context()}})
	w.settled(t, o)
	if o.happened != NotYet || o.record.Reason != predecessorBusy {
		t.Errorf("%s %s, want a wait", o.happened, o.record.Reason)
	}
	if rec, _, err := w.Ledger.Lookup(t.Context(), heir.LedTo[0]); err != nil || rec.State != ledger.Held || rec.Reason != reasonUncertain {
		t.Errorf("%s %s, %v", rec.State, rec.Reason, err)
	}
}
