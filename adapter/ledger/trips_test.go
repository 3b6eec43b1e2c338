package ledger

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// TestTrips: who comes while a round trip is under way shares the next one. A second one at a time begins where many wait, and
// never a third one.
func TestTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu   sync.Mutex
			away []int // callers of each round trip, in the order that they began
			back = make(chan struct{})
			all  sync.WaitGroup
		)
		trips := newTrips(func(_ context.Context, some []*asked) {
			mu.Lock()
			away = append(away, len(some))
			mu.Unlock()
			<-back
			for _, a := range some {
				a.settled = append(a.settled, Written)
			}
		})
		come := func(callers int) {
			for range callers {
				all.Go(func() {
					var a asked
					trips.do(t.Context(), &a)
					if !slices.Equal(a.settled, []Settled{Written}) {
						t.Errorf("a caller was answered %q, want one answer", a.settled)
					}
				})
			}
			synctest.Wait()
		}
		began := func(when string, want ...int) {
			t.Helper()
			if !slices.Equal(away, want) {
				t.Fatalf("%s: round trips of %v callers, want %v", when, away, want)
			}
		}
		returns := func() {
			back <- struct{}{}
			synctest.Wait()
		}

		come(1)
		come(secondTrip - 1)
		began("few wait", 1)
		come(1)
		began("many wait", 1, secondTrip)
		come(2 * secondTrip)
		began("two are under way", 1, secondTrip)
		returns()
		began("one of two is back, and many wait", 1, secondTrip, 2*secondTrip)
		come(3)
		returns()
		began("one of two is back, and few wait", 1, secondTrip, 2*secondTrip)
		returns()
		began("both are back", 1, secondTrip, 2*secondTrip, 3)
		come(tripLimit + secondTrip)
		began("more than one carries", 1, secondTrip, 2*secondTrip, 3, secondTrip)
		returns()
		returns()
		began("more than one carries, and two are back", 1, secondTrip, 2*secondTrip, 3, secondTrip, tripLimit)
		returns()
		all.Wait()
	})
}
