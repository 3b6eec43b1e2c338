package relay

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier"
	iobox "staffetta/notifier/sandbox"
)

func (w *stage) published(id string) {
	w.fse.Put(fse.Patient("p1", someone.Reveal(), time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)))
	w.fse.Put(fse.Resource{
		"resourceType": "DiagnosticReport", "id": id, "status": "final", "issued": time.Now().Format(time.RFC3339),
		"subject": fse.Resource{"reference": "Patient/p1"},
	})
}

// stoppedByTheMessage is a stage whose context ends while IO has the message in its hands.
func stoppedByTheMessage(t *testing.T) (context.Context, *stage) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := newStage(t, iobox.Options{Fault: func(_ http.ResponseWriter, r *http.Request, _ bool) bool {
		if strings.HasSuffix(r.URL.Path, "/messages") {
			stop()
		}
		return false
	}})
	w.published("r1")
	return ctx, w
}

// What IO says of a message is heard, though the step has ended: its record has gone to other hands, or we are asked to stop.
func TestAMessageOnItsWayIsHeardToTheEnd(t *testing.T) {
	ctx, w := stoppedByTheMessage(t)
	o := w.step(ctx, claimed{Record: w.admitted(t, "r1"), at: time.Now(), slot: &slot{posting: t.Context()}})
	if o.happened != Created || ctx.Err() == nil {
		t.Errorf("%s, want %s", o.happened, Created)
	}
	w.settled(t, o)
}

// A message on its way when we are asked to stop is heard, and what became of it is written.
func TestTheLastMessageIsHeardToTheEnd(t *testing.T) {
	ctx, w := stoppedByTheMessage(t)
	l := fhir.Locator{Type: "DiagnosticReport", ID: "r1"}
	hint := ledger.Hint{Key: w.Ledger.DocumentKey("north", l), Source: "north", Locator: l, State: ledger.Pending}
	if _, err := w.Ledger.Admit(t.Context(), []ledger.Hint{hint}); err != nil {
		t.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if rec, _, err := w.Ledger.Lookup(t.Context(), hint.Key); err != nil || rec.State != ledger.Sent {
		t.Errorf("%s, %v; want %s", rec.State, err, ledger.Sent)
	}
}

// Who waits for the record before until we are asked to stop begins nothing: there may be no time to hear what comes of it.
func TestNoMessageIsBegunAfterTheEnd(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	w := newStage(t, iobox.Options{})
	w.published("r1")
	s := slot{posting: t.Context()}
	s.last.Go(func() {
		for t.Context().Err() == nil && countOf(w.Metrics.calls.WithLabelValues("profile", string(notifier.Allowed))) == 0 {
			runtime.Gosched()
		}
		stop()
	})
	o := w.step(ctx, claimed{Record: w.admitted(t, "r1"), at: time.Now(), slot: &s})
	if o.happened != GivenBack || o.record.Attempts != 0 || len(w.io.Messages()) != 0 {
		t.Errorf("%s after %d attempts and %d messages, want %s", o.happened, o.record.Attempts, len(w.io.Messages()), GivenBack)
	}
	w.settled(t, o)
}
