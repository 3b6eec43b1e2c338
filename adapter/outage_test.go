package adapter_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// meter knows how many calls there were, and when the first and the last of them.
type meter struct {
	mu          sync.Mutex
	calls       int
	first, last time.Time
}

func (m *meter) count() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = time.Now()
	if m.calls == 0 {
		m.first = m.last
	}
	m.calls++
}

// IO, or the FSE, is away for a day. Documents come, and change, and some are withdrawn. Afterwards everybody is told once,
// of what there is now, at the rate that IO allows, and nobody is needed for it.
func TestADaysOutage(t *testing.T) {
	t.Parallel() // a breaker tries again after 15 s of real time
	for _, of := range []string{"IO", "the FSE"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			const n, rate = 60, 20
			var away, back atomic.Bool
			var spent meter
			w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
				cfg.IO.Rate = rate
				o.Fault = func(rw http.ResponseWriter, _ *http.Request, taken bool) bool {
					switch {
					case taken:
					case of == "IO" && away.Load():
						rw.WriteHeader(http.StatusInternalServerError)
						return true
					case back.Load():
						spent.count()
					}
					return false
				}
			})
			w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
				if of == "IO" || !away.Load() {
					return false
				}
				rw.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			var later atomic.Int64
			w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
			away.Store(true)
			w.run(t)
			cases := told(n, false)
			for _, c := range cases {
				w.publish(c)
				w.notify(t, fse.ClassicPut, c.Hints...)
			}
			eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), `"breaker":"open"`) })
			w.handsEmpty(t) // no step is left that has read what will change

			later.Store(int64(24 * time.Hour))
			for i, c := range cases {
				report := w.fse.Get(c.Hints[0])
				report["status"] = []string{"final", "amended", "entered-in-error"}[i%3]
				w.fse.Put(report)
				if i%2 == 0 { // of some of it nobody tells us
					w.notify(t, fse.ClassicPut, c.Hints...)
				}
			}
			if told := len(w.io.Messages()); told > 0 {
				t.Fatalf("%d messages during the outage", told)
			}
			back.Store(true)
			away.Store(false)

			withdrawn := 0
			for i, c := range cases {
				w.ends(t, identityOf(c), i%3 == 2)
				if i%3 == 2 {
					withdrawn++
				}
			}
			if told := len(w.io.Messages()); told != n-withdrawn {
				t.Errorf("%d messages, want %d", told, n-withdrawn)
			}
			for _, c := range cases { // what was told is what there is now: nothing is left to be said
				w.notify(t, fse.EmptyPut, c.Hints...)
			}
			w.quiet(t)
			for i, c := range cases {
				if got, want := w.perCode()[mustParse(t, c.Code)], map[bool]int{true: 0, false: 1}[i%3 == 2]; got != want {
					t.Errorf("document %d was told %d times, want %d", i, got, want)
				}
			}
			stats, err := w.program.Ledger.Stats(t.Context(), []string{w.source})
			if err != nil || stats.HeldTotal != 0 {
				t.Errorf("%d are held: %v", stats.HeldTotal, err)
			}
			spent.mu.Lock()
			defer spent.mu.Unlock()
			// A slice of the budget for either class, and what slots have taken of it and not called yet when the first call came.
			const burst = 2*rate/10 + 16
			took := spent.last.Sub(spent.first)
			if most := rate*took.Seconds() + burst; float64(spent.calls) > most || spent.calls < 3*(n-withdrawn) {
				t.Errorf("%d calls in %s, want at least %d, and at most %.0f at %d a second", spent.calls, took, 3*(n-withdrawn), most, rate)
			}
		})
	}
}

// ends waits for the end of a document: told, or withdrawn before anybody was.
func (w *town) ends(t *testing.T, l fhir.Locator, withdrawn bool) {
	t.Helper()
	key := w.program.Ledger.DocumentKey(w.source, l)
	want := "notify"
	if withdrawn {
		want = "suppress withdrawn"
	}
	eventually(t, func() (string, bool) {
		rec, _, err := w.program.Ledger.Lookup(t.Context(), key)
		if err == nil && rec.State == ledger.Held {
			t.Fatalf("held as %s", rec.Reason)
		}
		return decision(rec), err == nil && decision(rec) == want
	})
}
