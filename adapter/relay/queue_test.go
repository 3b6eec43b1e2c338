package relay

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
)

func newQueueOf(workers, most int, sources []string) *queue {
	return newQueue(workers, most, 15*time.Second, newWindows(workers, sources, NewMetrics(prometheus.NewRegistry())))
}

func waitingFor(source string, n int) (all []*claimed) {
	for range n {
		all = append(all, &claimed{Record: ledger.Record{Source: source}})
	}
	return all
}

func TestNoSourceHasAllSlots(t *testing.T) {
	q := newQueueOf(8, 32, []string{"slow", "other"})
	for _, c := range waitingFor("slow", 20) {
		q.push(c)
	}
	for range 6 { // three quarters of the slots
		if c, more := q.pop(); !more || c.Source != "slow" {
			t.Fatalf("got %q, %t", c.Source, more)
		}
	}
	q.push(waitingFor("other", 1)[0])
	if c, more := q.pop(); !more || c.Source != "other" {
		t.Errorf("got %q, %t: the other one stands behind a slow source", c.Source, more)
	}
}

func TestSourcesTakeTurns(t *testing.T) {
	q := newQueueOf(8, 32, []string{"storm", "calm"})
	for _, c := range append(waitingFor("storm", 10), waitingFor("calm", 1)...) {
		q.push(c)
	}
	first, _ := q.pop()
	second, _ := q.pop()
	if first.Source == second.Source {
		t.Errorf("twice %q, while both wait", first.Source)
	}
}

func TestStatusCallsHaveAFewSlots(t *testing.T) {
	q := newQueueOf(8, 32, []string{"only"})
	for range 5 {
		q.push(&claimed{Record: ledger.Record{Source: "only", Tracking: true}})
	}
	q.pop()
	q.pop()
	q.push(waitingFor("only", 1)[0])
	if c, _ := q.pop(); c.Tracking {
		t.Error("a third status call before a document")
	}
}

func TestWhatMayBeClaimedFollowsHowLongStepsTake(t *testing.T) {
	q := newQueueOf(16, 64, []string{"only"})
	only := opened{sources: []string{"only"}}
	if got, _, _ := q.room(only); got != 64 {
		t.Errorf("at first: %d, want 64", got)
	}
	for range 200 {
		q.done(&claimed{}, 7*time.Second)
	}
	if got, _, _ := q.room(only); got != 11 { // 16 slots, each 7 s, in 5 s
		t.Errorf("with slow steps: %d, want 11", got)
	}
}

func TestAClosedQueueGivesAllItHas(t *testing.T) {
	q := newQueueOf(2, 8, []string{"a", "b"})
	for _, c := range waitingFor("a", 3) {
		q.push(c)
	}
	q.close()
	for range 3 {
		if _, more := q.pop(); !more {
			t.Fatal("it ended with something in it")
		}
	}
	if _, more := q.pop(); more {
		t.Error("it gave more than it had")
	}
}

// A window says how many of a source are worked on, and how many wait for that; the other sources are claimed as before.
func TestASourceInTroubleWaitsForItself(t *testing.T) {
	q := newQueueOf(16, 64, []string{"slow", "other"})
	both := opened{sources: []string{"slow", "other"}, track: true}
	if n, sources, _ := q.room(both); n != 48 || len(sources) != 2 {
		t.Errorf("at first: %d of %v", n, sources)
	}
	for range 3 { // 12, 6, 3, 1
		q.windows.troubled("slow")
	}
	for _, c := range waitingFor("slow", 4) {
		q.push(c)
	}
	if n, sources, _ := q.room(both); n != 48 || !slices.Equal(sources, []string{"other"}) {
		t.Errorf("%d of %v, want 48 of the other", n, sources)
	}
	if n, sources, _ := q.room(opened{sources: []string{"slow"}}); n != 0 || len(sources) > 0 {
		t.Errorf("%d of %v, want none", n, sources)
	}
	if n, sources, _ := q.room(opened{sources: []string{"slow"}, track: true}); n != 16 || len(sources) > 0 { // four slots
		t.Errorf("%d of %v, want messages that are followed", n, sources)
	}
	if c, _ := q.pop(); c.Source != "slow" {
		t.Fatalf("got %q", c.Source)
	}
	q.push(waitingFor("other", 1)[0])
	if c, _ := q.pop(); c.Source != "other" {
		t.Error("a second record of the slow source is worked on")
	}
}

// What is claimed may all be of one source, where the others have nothing due: however little that one bears, the report of
// another one that comes next is claimed at once.
func TestAStormAtANarrowSourceLeavesRoomForOthers(t *testing.T) {
	for _, step := range []time.Duration{0, time.Second, 10 * time.Second, time.Minute} {
		q := newQueueOf(24, 75, []string{"slow", "other"})
		for range 200 {
			q.done(&claimed{}, step)
		}
		for range 5 {
			q.windows.troubled("slow")
		}
		both := opened{sources: []string{"slow", "other"}, track: true}
		n, sources, _ := q.room(both)
		for ; n > 0 && slices.Contains(sources, "slow"); n, sources, _ = q.room(both) {
			for _, c := range waitingFor("slow", n) {
				q.push(c)
			}
		}
		if n <= 0 || !slices.Equal(sources, []string{"other"}) || q.half() {
			t.Errorf("steps of %s: %d of %v, while %d wait at one slot", step, n, sources, len(q.waiting["slow"]))
		}
	}
}
