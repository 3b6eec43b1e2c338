package adapter_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

func sibling(i int) fhir.Locator {
	return fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("sibling-", i)}
}

// shared is a town in which three documents share a message that IO has not delivered yet; it ends as Final says.
func shared(t *testing.T) (w *town, final *atomic.Value, c fse.Case) {
	t.Helper()
	final = new(atomic.Value)
	final.Store("ACCEPTED")
	w = build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.Policy.OneMessage = config.Duration(time.Hour)
		o.Final = func(sandbox.Taken) string { return final.Load().(string) }
	})
	w.run(t)
	w.connected(t) // the first sweep is over: no other one finds the case's own report, which is not notified
	c, hints := family(w, 3)
	w.notify(t, fse.R4IDOnly, hints...)
	for i := range 3 {
		w.rests(t, sibling(i), ledger.Sent)
	}
	w.recipients(t, c.Code)
	return w, final, c
}

// A message that IO did not deliver covers nothing more.
func TestAMessageThatWasNotDeliveredCoversNothing(t *testing.T) {
	t.Parallel()
	for final, want := range map[string]ledger.State{"FAILED": ledger.Held, "REJECTED": ledger.Rejected} {
		t.Run(final, func(t *testing.T) {
			w, now, c := shared(t)
			now.Store(final)
			for i := range 3 {
				w.rests(t, sibling(i), want)
			}
			now.Store("PROCESSED")
			w.notify(t, fse.R4IDOnly, w.another(c, 3))
			rec := w.become(t, sibling(3), "notify")
			w.recipients(t, c.Code, c.Code)
			if rec.Told.MessageID != w.io.Messages()[1].ID {
				t.Error("what comes after it is told by it")
			}
			w.quiet(t)
			w.well(t)
		})
	}
}

// What failed and is released is told by a message of its own, which covers what failed with it.
func TestWhatFailedIsToldByAnotherMessage(t *testing.T) {
	t.Parallel()
	w, now, c := shared(t)
	now.Store("FAILED")
	for i := range 3 {
		w.become(t, sibling(i), "hold failed")
	}
	now.Store("PROCESSED")
	for i := range 3 {
		if err := w.release(t, sibling(i), why("IO is well again")); err != nil {
			t.Fatal(err)
		}
		if rec := w.become(t, sibling(i), "notify"); rec.Told.MessageID != w.io.Messages()[1].ID {
			t.Errorf("document %d is told by the message that failed", i)
		}
	}
	w.quiet(t)
	w.recipients(t, c.Code, c.Code)
	w.well(t)
}

// However many documents share a message, its status is asked for once.
func TestASharedMessageIsAskedForOnce(t *testing.T) {
	t.Parallel()
	const n = 20
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.Policy.OneMessage = config.Duration(time.Hour)
		cfg.IO.Premium, o.Premium = true, true
	})
	for range 3 {
		w.run(t)
	}
	c, hints := family(w, n)
	w.notify(t, fse.R4IDOnly, hints...)
	for i := range n {
		if rec := w.become(t, sibling(i), "notify"); rec.Told.ReadStatus != "UNREAD" {
			t.Errorf("what IO said of the reading is not known of document %d", i)
		}
	}
	w.quiet(t)
	w.recipients(t, c.Code)
	if calls := w.io.Calls()["status"]; calls != 1 {
		t.Errorf("%d status calls for one message", calls)
	}
	w.well(t)
}
