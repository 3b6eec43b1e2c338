package relay

import (
	"testing"
	"time"

	"staffetta/adapter/ledger"
)

func waitingFor(source string, n int) (all []*claimed) {
	for range n {
		all = append(all, &claimed{Record: ledger.Record{Source: source}})
	}
	return all
}

func TestNoSourceHasAllSlots(t *testing.T) {
	q := newQueue(8, 32, 15*time.Second, []string{"slow", "other"})
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
	q := newQueue(8, 32, 15*time.Second, []string{"storm", "calm"})
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
	q := newQueue(8, 32, 15*time.Second, []string{"only"})
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
	q := newQueue(16, 64, 15*time.Second, []string{"only"})
	if got := q.room(); got != 64 {
		t.Errorf("at first: %d, want 64", got)
	}
	for range 200 {
		q.done(&claimed{}, 7*time.Second)
	}
	if got := q.room(); got != 11 { // 16 slots, each 7 s, in 5 s
		t.Errorf("with slow steps: %d, want 11", got)
	}
}

func TestAClosedQueueGivesAllItHas(t *testing.T) {
	q := newQueue(2, 8, 15*time.Second, []string{"a", "b"})
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
