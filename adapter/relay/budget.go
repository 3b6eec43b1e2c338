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

	turns map[class]chan struct{} // one taker of a class at a time asks Redis; the others queue in order
	mu    sync.Mutex
	have  map[class]int // a poll takes nothing that was asked for a message
}

func newBudget(pace *ledger.Pace, rate float64) *budget {
	b := &budget{pace: pace, rate: rate, turns: map[class]chan struct{}{}, have: map[class]int{}}
	for _, one := range []class{forMessages, forPolls} {
		b.turns[one] = make(chan struct{}, 1)
		b.turns[one] <- struct{}{}
	}
	return b
}

// take takes n calls, waiting at most for longest. It says no when the time is over, when ctx ends or when Redis is away.
func (b *budget) take(ctx context.Context, n int, purpose class, longest time.Duration) bool {
	if b.fromStock(n, purpose) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	select {
	case <-ctx.Done():
		return false
	case <-b.turns[purpose]:
	}
	defer func() { b.turns[purpose] <- struct{}{} }()
	for !b.fromStock(n, purpose) {
		if !b.refill(ctx, n, purpose) {
			return false
		}
	}
	return true
}

// fromStock takes n calls from what this process has.
func (b *budget) fromStock(n int, purpose class) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.have[purpose] < n {
		return false
	}
	b.have[purpose] -= n
	return true
}

// giveBack returns calls that were not made.
func (b *budget) giveBack(n int, purpose class) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have[purpose] += n
}

// refill asks Redis for a slice, and waits as long as Redis says where there is none.
func (b *budget) refill(ctx context.Context, n int, purpose class) bool {
	want := max(n, int(b.rate*slice.Seconds()))
	granted, wait, err := b.pace.Take(ctx, want, b.rate, string(purpose))
	if err != nil {
		return false
	}
	b.giveBack(granted, purpose)
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
