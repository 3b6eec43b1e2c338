package relay

import (
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	iobox "staffetta/notifier/sandbox"
)

func TestAWindowFollowsWhatItsSourceBears(t *testing.T) {
	const timeout = 10 * time.Second
	w := newWindows(16, []string{"slow"}, NewMetrics(prometheus.NewRegistry()))
	is := func(want int, when string) {
		t.Helper()
		if got := w.of("slow"); got != want {
			t.Errorf("%s: %d at once, want %d", when, got, want)
		}
	}
	is(16, "at first")
	w.answered("slow", 0, timeout)
	is(16, "an answer more")
	w.troubled("slow")
	is(8, "trouble")
	for range 10 {
		w.troubled("slow")
	}
	is(1, "trouble for long")
	for range 100 {
		w.answered("slow", timeout/2, timeout)
	}
	is(1, "answers that take half of their time")
	w.answered("slow", time.Second, timeout)
	is(2, "an answer")
	w.answered("slow", time.Second, timeout)
	is(2, "half of a round")
	w.answered("slow", time.Second, timeout)
	w.answered("slow", time.Second, timeout)
	is(3, "a round of answers")
	for range 200 {
		w.answered("slow", time.Hour, 0) // no call has a limit
	}
	is(16, "well for long")
	if got := newWindows(16, []string{"slow", "other"}, NewMetrics(prometheus.NewRegistry())).of("slow"); got != 12 {
		t.Errorf("one of two has %d of 16 slots", got)
	}
}

func TestWhatASourceAnswersMovesItsWindow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int // of its answer; 0: as it should be
		want   int
	}{
		{"the document", 0, 3},
		{"that it is overloaded", http.StatusServiceUnavailable, 1},
		{"that it is asked too often", http.StatusTooManyRequests, 1},
		{"that we may not", http.StatusForbidden, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			w.published("r1")
			w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
				if tt.status != 0 {
					rw.WriteHeader(tt.status)
				}
				return tt.status != 0
			}
			w.gates.windows.set("north", 2.75) // one more answer makes it three
			o := w.step(t.Context(), claimed{Record: w.admitted(t, "r1"), at: time.Now(), slot: &slot{posting: t.Context()}})
			w.settled(t, o)
			if got := w.gates.windows.of("north"); got != tt.want {
				t.Errorf("%s: %d at once, want %d", o.happened, got, tt.want)
			}
		})
	}
}
