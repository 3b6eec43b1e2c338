package relay

import (
	"context"
	"sync"
	"time"

	"staffetta/adapter/ledger"
)

// class says what IO calls are for: messages come before polls.
type class string

const (
	forMessages class = "messages"
	forPolls    class = "polls"
)

// slice is the longest time for which a process takes its share of the IO budget at once.
const slice = 100 * time.Millisecond

// budget is this process' share of the IO calls that all replicas may make together, taken from Redis in slices.
type budget struct {
	pace *ledger.Pace
	rate float64 // calls per second, all replicas together

	turn chan struct{} // one taker at a time asks Redis; the others queue in order
	mu   sync.Mutex
	have int
}

func newBudget(pace *ledger.Pace, rate float64) *budget {
	b := &budget{pace: pace, rate: rate, turn: make(chan struct{}, 1)}
	b.turn <- struct{}{}
	return b
}

// take takes n calls, waiting at most for longest. It says no when the time is over, when ctx ends or when Redis is away.
func (b *budget) take(ctx context.Context, n int, purpose class, longest time.Duration) bool {
	if b.fromStock(n) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	select {
	case <-ctx.Done():
		return false
	case <-b.turn:
	}
	defer func() { b.turn <- struct{}{} }()
	for !b.fromStock(n) {
		if !b.refill(ctx, n, purpose) {
			return false
		}
	}
	return true
}

// fromStock takes n calls from what this process has.
func (b *budget) fromStock(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.have < n {
		return false
	}
	b.have -= n
	return true
}

// giveBack returns calls that were not made.
func (b *budget) giveBack(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have += n
}

// refill asks Redis for a slice, and waits as long as Redis says where there is none.
func (b *budget) refill(ctx context.Context, n int, purpose class) bool {
	want := max(n, int(b.rate*slice.Seconds()))
	granted, wait, err := b.pace.Take(ctx, want, b.rate, string(purpose))
	if err != nil {
		return false
	}
	b.giveBack(granted)
	if granted > 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
