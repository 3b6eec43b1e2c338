package adapter_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/desk"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// unheard is a town with `uncertain: hold` in which the answer about the first message was lost, and that document. Later is
// how far its clock is ahead.
func unheard(t *testing.T) (w *town, l fhir.Locator, c fse.Case, later *atomic.Int64) {
	t.Helper()
	var heard atomic.Bool
	w = build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.IO.Uncertain = "hold"
		o.Fault = func(_ http.ResponseWriter, _ *http.Request, taken bool) bool {
			if taken && !heard.Swap(true) {
				panic(http.ErrAbortHandler)
			}
			return false
		}
	})
	later = new(atomic.Int64)
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
	w.run(t)
	l, c = w.published(t, nil)
	w.become(t, l, "hold uncertain")
	return w, l, c, later
}

// A person's command takes a held record, and its process dies before it has written what it wanted: the record stays held,
// and nobody is told a second time.
func TestADeedThatDiesLeavesItHeld(t *testing.T) {
	t.Parallel()
	w, l, c, later := unheard(t)
	key := w.program.Ledger.DocumentKey(w.source, l)
	if _, seized, err := w.program.Ledger.Reopen(t.Context(), w.source, key, fhir.Locator{}); err != nil || seized != ledger.Taken {
		t.Fatal(seized, err)
	}
	if err := w.release(t, l, why("at the same time")); err == nil {
		t.Error("two people do something with it at once")
	}
	later.Add(int64(time.Duration(w.cfg.Ledger.Lease) + time.Second))
	rec := w.record(t, l)
	due, track, err := w.program.Ledger.Due(t.Context(), rec)
	if decision(rec) != "hold uncertain" || !due.IsZero() || !track.IsZero() || err != nil {
		t.Fatalf("%s, due %s, asked for %s, %v", decision(rec), due, track, err)
	}
	w.well(t)
	at := &desk.Desk{Ledger: w.program.Ledger} // which has the town's clock
	if _, err := at.Forget(t.Context(), desk.Name{Key: key.String()}, why("told by telephone")); err != nil {
		t.Fatal(err)
	}
	if rec := w.record(t, l); rec.State != ledger.Delivered || rec.Reason != "forgotten" || !rec.Told.Uncertain {
		t.Errorf("%s %s, uncertain: %t", rec.State, rec.Reason, rec.Told.Uncertain)
	}
	w.recipients(t, c.Code)
	w.well(t)
}

// What may have been told is told again only by a release: to look at it again is no such word.
func TestWhatIsUncertainIsReleasedNotRetried(t *testing.T) {
	t.Parallel()
	w, l, c, _ := unheard(t)
	_, err := w.reports(t, func(r *adapter.Reports) error { return r.Retry(t.Context(), w.at(l), why("a try")) })
	if !refusedToDo(err) {
		t.Errorf("it is looked at again: %v", err)
	}
	w.recipients(t, c.Code)
	if err := w.release(t, l, why("she did not get it")); err != nil {
		t.Fatal(err)
	}
	w.become(t, l, "notify")
	w.recipients(t, c.Code, c.Code)
	w.well(t)
}
