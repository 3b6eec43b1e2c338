package adapter_test

import (
	"fmt"
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

// With io.mode off IO is asked nothing at all, not even how a message stands that is on its way, and no key is needed; nor does
// it matter whether IO had paused. What was on its way is followed when sending is live again.
func TestIOOffAsksNothing(t *testing.T) {
	t.Parallel()
	for name, paused := range map[string]bool{"IO had paused": true, "IO was well": false} {
		t.Run(name, func(t *testing.T) { offAsksNothing(t, paused) })
	}
}

func offAsksNothing(t *testing.T, paused bool) {
	t.Helper()
	var through atomic.Bool
	var later atomic.Int64
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.IO.Polls = []config.Duration{config.Duration(20 * time.Millisecond), config.Duration(time.Hour)}
		o.Final = func(sandbox.Taken) string {
			if through.Load() {
				return ""
			}
			return "ACCEPTED"
		}
	})
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
	w.run(t)
	cases := told(2, false)
	onItsWay := w.publish(cases[0])
	w.notify(t, fse.ClassicPut, cases[0].Hints...)
	w.rests(t, onItsWay, ledger.Sent)
	eventually(t, func() (int, bool) { n := w.io.Calls()["status"]; return n, n == 1 })
	w.handsEmpty(t) // and no call to IO is under way
	if paused {
		if err := w.program.Ledger.Pace().PauseIO(t.Context(), 24*time.Hour, "key-refused"); err != nil {
			t.Fatal(err)
		}
	}
	w.stop()
	calls := fmt.Sprint(w.io.Calls())
	later.Store(int64(2 * time.Hour)) // what is on its way is to be asked for

	key := w.cfg.IO.Key
	w.cfg.IO.Mode, w.cfg.IO.Key = config.ModeOff, ""
	if err := w.cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	w.run(t)
	keptBack := w.publish(cases[1])
	w.notify(t, fse.ClassicPut, cases[1].Hints...)
	w.become(t, keptBack, "suppress io-off")
	w.handsEmpty(t)
	rec, _, err := w.program.Ledger.Lookup(t.Context(), w.program.Ledger.DocumentKey(w.source, onItsWay))
	if got := fmt.Sprint(w.io.Calls()); got != calls || rec.State != ledger.Sent || err != nil {
		t.Errorf("IO was called: %s, before %s; %s, %v", got, calls, rec.State, err)
	}
	w.well(t)
	w.stop()

	through.Store(true)
	w.cfg.IO.Mode, w.cfg.IO.Key = config.ModeLive, key
	w.run(t)
	if err := w.redis.HDel(t.Context(), "staffetta:{io}:pace", "io", "io:why").Err(); err != nil {
		t.Fatal(err)
	}
	w.become(t, onItsWay, "notify")
	w.recipients(t, cases[0].Code)
	w.well(t)
}
