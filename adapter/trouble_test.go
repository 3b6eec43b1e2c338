package adapter_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// A slow source is not poison: a step that takes longer than the lease must come to an end all the same.
func TestASlowSourceIsNoPoison(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Ledger.Lease = config.Duration(time.Second)
	})
	var slow atomic.Bool
	slow.Store(true)
	w.fse.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if slow.Load() {
			select {
			case <-time.After(1300 * time.Millisecond): // the source takes that long, as 16 s are to a lease of 15 s
			case <-r.Context().Done():
			}
		}
		return false
	}
	w.run(t)
	c := told(1, false)[0]
	document := w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	if got := decision(w.record(t, document)); got != "notify" {
		t.Errorf("got %s, want notify: a person must release every record of a source that was slow for a while", got)
	}
	w.recipients(t, c.Code)
}

// With IO's breaker open no further step goes to IO, and no further attempt is burnt.
func TestAnOpenBreakerStopsWhatIsQueued(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.Workers = workers
		o.Fault = func(rw http.ResponseWriter, _ *http.Request, _ bool) bool {
			asked.Add(1)
			rw.WriteHeader(http.StatusInternalServerError)
			return true
		}
	})
	const n = 150
	locators := make([]fhir.Locator, 0, n)
	w.run(t)
	if err := w.program.Ledger.Pace().Pause(t.Context(), "t", "t"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "sending paused") })
	for _, c := range told(n, false) {
		locators = append(locators, w.publish(c))
		w.notify(t, fse.ClassicPut, c.Hints...)
	}
	if _, err := w.program.Ledger.Pace().Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), `"breaker":"open"`) })
	w.handsEmpty(t)
	burnt := 0
	for _, l := range locators {
		rec, _, err := w.program.Ledger.Lookup(t.Context(), w.program.Ledger.DocumentKey(w.source, l))
		if err != nil {
			t.Fatal(err)
		}
		if rec.Attempts > 0 {
			burnt++
		}
	}
	if got := asked.Load(); got > 8+workers || burnt > 8+workers {
		t.Errorf("%d calls to an IO that is down and %d attempts burnt, want at most 8 and those in flight (%d)", got, burnt, workers)
	}
}

// handsEmpty waits until no record is in anybody's hands.
func (w *town) handsEmpty(t *testing.T) {
	t.Helper()
	eventually(t, func() (int, bool) { n := w.leased(t); return n, n == 0 })
}

// Half-open means a few tries, not a whole claim.
func TestHalfOpenTriesAFew(t *testing.T) {
	t.Parallel() // a breaker tries again after 15 s of real time
	var asked atomic.Int64
	w := build(t, fhir.ShapeReport, func(_ *config.Config, o *sandbox.Options) {
		o.Fault = func(rw http.ResponseWriter, _ *http.Request, _ bool) bool {
			asked.Add(1)
			rw.WriteHeader(http.StatusInternalServerError)
			return true
		}
	})
	w.run(t)
	for _, c := range told(300, false) {
		w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
	}
	open := func(times int) {
		t.Helper()
		eventually(t, func() (int, bool) { n := strings.Count(w.logs.String(), `"breaker":"open"`); return n, n == times })
	}
	open(1)
	w.handsEmpty(t)
	before := asked.Load()
	open(2) // again, after what was tried
	w.handsEmpty(t)
	if tried := asked.Load() - before; tried > 16 {
		t.Errorf("%d calls at the first try after 15 s, want one (or a few)", tried)
	}
}

// A 429 stops what is queued, too.
func TestA429StopsWhatIsQueued(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.Workers = workers
		o.Fault = func(rw http.ResponseWriter, _ *http.Request, _ bool) bool {
			asked.Add(1)
			rw.Header().Set("x-rate-limit-retry-after", "60")
			rw.WriteHeader(http.StatusTooManyRequests)
			return true
		}
	})
	w.run(t)
	_ = w.program.Ledger.Pace().Pause(t.Context(), "t", "t")
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "sending paused") })
	for _, c := range told(150, false) {
		w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
	}
	_, _ = w.program.Ledger.Pace().Resume(t.Context())
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "upstream paused") })
	w.handsEmpty(t)
	if got := asked.Load(); got > workers {
		t.Errorf("%d calls after IO said to wait a minute, want at most those in flight (%d)", got, workers)
	}
}

// `no-document` looks by itself when the document comes.
func TestNoDocumentLooksByItself(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		hint func(*testing.T, *town, fse.Case)
	}{
		{"the report is hinted again", func(t *testing.T, w *town, c fse.Case) {
			t.Helper()
			w.notify(t, fse.EmptyPut, c.Hints[0])
		}},
		{"the Composition is hinted", func(t *testing.T, w *town, c fse.Case) {
			t.Helper()
			w.notify(t, fse.EmptyPut, "Composition/"+c.ID)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, fhir.ShapeFSE2, func(cfg *config.Config, _ *sandbox.Options) {
				cfg.Policy.BelieveMissing = config.Duration(time.Second)
			})
			w.run(t)
			c := told(1, true)[0]
			for _, r := range c.Resources {
				if r["resourceType"] != "Composition" && r["resourceType"] != "DocumentReference" {
					w.fse.Put(r)
				}
			}
			w.notify(t, fse.EmptyPut, c.Hints[0])
			find := w.program.Ledger.FindKey(w.source, "DiagnosticReport", strings.TrimPrefix(c.Hints[0], "DiagnosticReport/"))
			eventually(t, func() (string, bool) {
				rec, _, _ := w.program.Ledger.Lookup(t.Context(), find)
				return rec.Reason, rec.State == ledger.Held && rec.Reason == "no-document"
			})
			w.publish(c)
			tt.hint(t, w, c)
			eventually(t, func() (string, bool) {
				rec, _, _ := w.program.Ledger.Lookup(t.Context(), find)
				return fmt.Sprint(rec.State), len(w.io.Messages()) == 1 && rec.State != ledger.Held
			})
		})
	}
}

// A DELETE of one member, or of an older Composition of the same identifier, is not the end of the document.
func TestDeleteOfAMember(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		delete func(*testing.T, *town, fse.Case) string
	}{
		{"a report", func(_ *testing.T, _ *town, c fse.Case) string { return c.Hints[0] }},
		{"the DocumentReference, replaced by a new one", func(_ *testing.T, w *town, c fse.Case) string {
			name := ""
			for _, r := range c.Resources {
				if r["resourceType"] == "DocumentReference" {
					name = "DocumentReference/" + r["id"].(string)
					r = maps.Clone(r)
					r["id"] = "another"
					w.fse.Put(r)
				}
			}
			return name
		}},
		{"the Composition of an older version", func(t *testing.T, w *town, c fse.Case) string {
			t.Helper()
			for _, r := range c.Resources {
				if r["resourceType"] == "Composition" {
					r = maps.Clone(r)
					r["id"] = "second"
					w.fse.Put(r)
				}
				if r["resourceType"] == "DocumentReference" {
					r = maps.Clone(r)
					r["context"] = fse.Resource{"related": []any{fse.Resource{"reference": "Composition/second"}}}
					w.fse.Put(r)
				}
			}
			w.notify(t, fse.EmptyPut, "Composition/second")
			w.quiet(t)
			return "Composition/" + c.ID
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, fhir.ShapeHL7IT, func(cfg *config.Config, _ *sandbox.Options) {
				cfg.Policy.ReplacementWait = config.Duration(time.Second)
			})
			w.run(t)
			var c fse.Case
			for _, one := range told(20, true) {
				if len(one.Hints) > 2 {
					c = one
				}
			}
			document := w.publish(c)
			w.notify(t, fse.ClassicPut, c.Hints...)
			if got := decision(w.record(t, document)); got != "notify" {
				t.Fatal(got)
			}
			w.quiet(t)
			name := tt.delete(t, w, c)
			w.fse.Delete(name)
			if err := w.poster.Deleted(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			w.quiet(t) // whatever it waits for, in the end it rests, or is held
			if got := decision(w.record(t, document)); got != "notify" {
				t.Errorf("got %s although the Composition and all that matters is there", got)
			}
			w.recipients(t, c.Code)
			w.well(t)
		})
	}
}

// A pause outlives a restart: not even the first step after it asks IO.
func TestAPauseIsKnownFromTheStart(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	w := build(t, fhir.ShapeReport, func(_ *config.Config, o *sandbox.Options) {
		o.Fault = func(_ http.ResponseWriter, _ *http.Request, _ bool) bool { asked.Add(1); return false }
	})
	w.run(t)
	_ = w.program.Ledger.Pace().Pause(t.Context(), "t", "t")
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "sending paused") })
	for _, c := range told(50, false) {
		w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
	}
	w.stop()
	reads := w.fse.Calls()["search"]
	w.run(t)
	eventually(t, func() (int, bool) { n := strings.Count(w.logs.String(), "sending paused"); return n, n == 2 })
	w.handsEmpty(t) // what it would have claimed before it knew is over
	if n := w.fse.Calls()["search"] - reads; n > 0 || asked.Load() > 0 {
		t.Errorf("%d reads and %d calls to IO while all sending is paused", n, asked.Load())
	}
}
