package relay

import (
	"context"
	"sync"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
)

// class says what IO calls are for: messages come before polls.
type class string

const (
	forMessages class = "messages"
	forPolls    class = "polls"
)

// slice is the longest time for which a process takes its share of the IO budget at once.
const slice = 100 * time.Millisecond

// taken is what became of a wish for calls.
type taken string

const (
	granted   taken = "granted"
	notInTime taken = "not-in-time" // the time is over, or Redis is away
	tomorrow  taken = "tomorrow"    // the messages of the day are sent (io.daily_cap)
)

// budget is this process' share of the IO calls that all replicas may make together, and of the messages that they may send
// in one day, taken from Redis in slices.
type budget struct {
	pace  *ledger.Pace
	rate  float64 // calls per second, all replicas together
	most  int     // messages in one day, all replicas together; 0: without limit
	spent func(ends time.Time)

	turns map[class]chan struct{} // one taker of a class at a time asks Redis; the others queue in order
	mu    sync.Mutex
	have  map[class]int // a poll takes nothing that was asked for a message

	today    day
	messages int  // of today that this process may still send
	full     bool // none are left for today
}

// newBudget is a share of what all replicas may do. Spent is told once a day when no message is left for that day.
func newBudget(pace *ledger.Pace, rate float64, most int, spent func(ends time.Time)) *budget {
	b := &budget{pace: pace, rate: rate, most: most, spent: spent, turns: map[class]chan struct{}{}, have: map[class]int{}}
	for _, one := range []class{forMessages, forPolls} {
		b.turns[one] = make(chan struct{}, 1)
		b.turns[one] <- struct{}{}
	}
	return b
}

// day is a day of Europe/Rome.
type day struct {
	name string // grows from day to day
	ends time.Time
}

func dayOf(at time.Time) day {
	at = at.In(policy.Rome())
	return day{name: at.Format("20060102"), ends: time.Date(at.Year(), at.Month(), at.Day()+1, 0, 0, 0, 0, at.Location())}
}

// take takes n calls, waiting at most for longest.
func (b *budget) take(ctx context.Context, n int, purpose class, longest time.Duration) taken {
	got, _ := b.takeOf(ctx, n, purpose, longest)
	return got
}

// takeOf is take, and for a message it says of which day it is.
func (b *budget) takeOf(ctx context.Context, n int, purpose class, longest time.Duration) (taken, string) {
	if got, of := b.fromStock(n, purpose); got != notInTime {
		return got, of
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	select {
	case <-ctx.Done():
		return notInTime, ""
	case <-b.turns[purpose]:
	}
	defer func() { b.turns[purpose] <- struct{}{} }()
	for {
		if got, of := b.fromStock(n, purpose); got != notInTime {
			return got, of
		}
		if !b.refill(ctx, n, purpose) {
			return notInTime, ""
		}
	}
}

// fromStock takes from what this process has.
func (b *budget) fromStock(n int, purpose class) (taken, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	capped := b.capped(purpose)
	switch {
	case capped && b.messages == 0 && b.full:
		return tomorrow, ""
	case b.have[purpose] < n || (capped && b.messages == 0):
		return notInTime, ""
	}
	b.have[purpose] -= n
	if capped {
		b.messages--
	}
	return granted, b.today.name
}

// capped says whether a day's messages are counted; what is left of another day is gone.
func (b *budget) capped(purpose class) bool {
	if b.most == 0 || purpose != forMessages {
		return false
	}
	if now := b.pace.Now(); !now.Before(b.today.ends) {
		b.today, b.messages, b.full = dayOf(now), 0, false
	}
	return true
}

// notPosted gives back a message of a day that was not sent, and the calls that were not made for it.
func (b *budget) notPosted(of string, calls int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have[forMessages] += calls
	if b.capped(forMessages) && of == b.today.name { // what is left of another day is gone
		b.messages++
	}
}

// made counts calls that were made beyond those that were taken: the next ones wait for as many more.
func (b *budget) made(calls int, purpose class) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.have[purpose] -= calls
}

// refill asks Redis for a slice, and waits as long as Redis says where there is none.
func (b *budget) refill(ctx context.Context, n int, purpose class) bool {
	want := b.want(n, purpose)
	grant, err := b.pace.Take(ctx, want)
	if err != nil {
		return false
	}
	if b.got(want, grant, purpose) {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(grant.Wait):
		return true
	}
}

func (b *budget) want(n int, purpose class) ledger.Want {
	b.mu.Lock()
	defer b.mu.Unlock()
	want := ledger.Want{Calls: max(n, int(b.rate*slice.Seconds())), Rate: b.rate, Class: string(purpose)}
	if b.capped(purpose) && b.messages == 0 {
		want.Messages, want.Cap, want.Day = max(1, want.Calls/callsPerMessage), b.most, b.today.name
	}
	return want
}

// got keeps what was granted; false where it was nothing, and that may change in a moment.
func (b *budget) got(want ledger.Want, grant ledger.Grant, purpose class) bool {
	b.mu.Lock()
	b.have[purpose] += grant.Calls
	over := want.Messages > 0 && grant.Messages == 0 && want.Day == b.today.name
	if want.Messages > 0 && want.Day == b.today.name {
		b.messages += grant.Messages
	}
	first, ends := over && !b.full, b.today.ends
	b.full = b.full || over
	b.mu.Unlock()
	if first {
		b.spent(ends)
	}
	return grant.Calls > 0 || over
}
