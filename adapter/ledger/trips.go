package ledger

import (
	"context"
	"slices"
	"sync"
)

// trips lets callers that come while a round trip is under way share the next one, whatever they want written or claimed: who
// comes first leads, and hands over to the next when it has its own answer. A second one at a time is worth it only where many
// wait: else each carries half as much, and they cost more than the wait saves.
type trips struct {
	carry func(context.Context, []*asked) // answers each

	mu      sync.Mutex
	away    int // round trips under way
	waiting []*asked
}

// asked is what one caller wants.
type asked struct {
	hints       []Hint
	settlements []Settlement
	claim       *call

	admissions []Admission
	settled    []Settled
	err        error

	turn chan []*asked // of those who wait: whom to lead, closed when they have their answer
}

const (
	// tripLimit is how many callers share one round trip at most.
	tripLimit = 128
	// secondTrip is how many callers do not wait for the round trip that is under way: Redis has the next one at hand when it has
	// answered. With 32 senders 8, 12 and 16 were alike, and 20 was as slow as no second one.
	secondTrip = 16
)

func newTrips(carry func(context.Context, []*asked)) *trips { return &trips{carry: carry} }

// do gets what is asked, alone or with others, and returns when it is there. Where it has to lead others its own context
// does not cut theirs.
func (t *trips) do(ctx context.Context, a *asked) {
	t.mu.Lock()
	t.waiting = append(t.waiting, a)
	all := t.next()
	if all == nil {
		a.turn = make(chan []*asked, 1)
	}
	t.mu.Unlock()
	if all == nil {
		all = <-a.turn
	}
	if all != nil {
		t.lead(context.WithoutCancel(ctx), all)
	}
}

// next takes those who share the next round trip; nil where it is better that they wait. Who has just come is always among them:
// fewer than secondTrip wait while only one is under way.
func (t *trips) next() []*asked {
	if len(t.waiting) == 0 || t.away > 1 || t.away == 1 && len(t.waiting) < secondTrip {
		return nil
	}
	t.away++
	n := min(len(t.waiting), tripLimit)
	all := slices.Clone(t.waiting[:n])
	t.waiting = slices.Delete(t.waiting, 0, n)
	return all
}

// lead makes one round trip for all, and hands over to those who came meanwhile.
func (t *trips) lead(ctx context.Context, all []*asked) {
	t.carry(ctx, all)
	for _, a := range all {
		if a.turn != nil {
			close(a.turn)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.away--
	if all := t.next(); all != nil {
		all[0].turn <- all
	}
}

// load is what one round trip carries: as few calls as may be. On a cluster a call must keep to one partition.
type load struct {
	*Ledger

	admits, settles [Partitions]*call // those that still have room
	calls           []*call

	hinted, settled int // records in all
}

// item is one record of a call, and whose answer it gets.
type item struct {
	of *asked
	at int
}

// callLimit is how many records one call carries: Redis does nothing else while it runs.
const callLimit = 256

// carry carries all that is asked in one round trip.
func (l *Ledger) carry(ctx context.Context, all []*asked) {
	l.carryBy(ctx, all, l.run)
}

// carryDurably is carry for what must not be forgotten: it answers when replicas of Redis have it, too.
func (l *Ledger) carryDurably(ctx context.Context, all []*asked) {
	l.carryBy(ctx, all, l.runDurably)
}

func (l *Ledger) carryBy(ctx context.Context, all []*asked, run func(context.Context, []*call) error) {
	load := load{Ledger: l}
	for _, a := range all {
		load.hinted += len(a.hints)
		load.settled += len(a.settlements)
	}
	for _, a := range all {
		load.hints(a)
		load.settlements(a)
		if a.claim != nil {
			a.claim.items = []item{{of: a}}
			load.calls = append(load.calls, a.claim)
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	_ = run(ctx, load.calls) // each call has its own error
	for _, c := range load.calls {
		if c.refused() && len(c.items) > 1 {
			alone := c.alone()
			_ = run(ctx, alone)
			for _, one := range alone {
				one.answer()
			}
			continue
		}
		c.answer()
	}
}

// room gives the call that the next record of a partition goes into.
func (d *load) room(calls *[Partitions]*call, key Key, start func(partition int) *call) *call {
	group := 0
	if d.cluster {
		group = key.Partition()
	}
	if calls[group] == nil || len(calls[group].items) >= callLimit {
		calls[group] = start(key.Partition())
		d.calls = append(d.calls, calls[group])
	}
	return calls[group]
}

// args is what a call begins with, and room for all that it may carry.
func (d *load) args(of, stride int, fixed ...any) []any {
	if d.cluster {
		of = (of + Partitions - 1) / Partitions
	}
	return append(make([]any, 0, len(fixed)+stride*min(of, callLimit)), fixed...)
}

// alone is a call taken apart, record by record: one that Redis cannot do must not stop the others.
func (c *call) alone() []*call {
	fixed := len(c.args) - len(c.items)*c.stride
	alone := make([]*call, len(c.items))
	for i := range c.items {
		from := fixed + i*c.stride
		args := append(append(make([]any, 0, fixed+c.stride), c.args[:fixed]...), c.args[from:from+c.stride]...)
		alone[i] = &call{script: c.script, key: c.key, args: args, stride: c.stride, items: c.items[i : i+1]}
	}
	return alone
}

// answer gives each record of a call the script's word for it, or the error.
func (c *call) answer() {
	if c.stride == 0 { // a claim: its caller reads it
		if err := c.cmd.Err(); err != nil {
			c.items[0].of.err = unavailable(err)
		}
		return
	}
	words, err := c.cmd.StringSlice()
	if err == nil {
		err = c.notDurable
	}
	if err == nil && len(words) != len(c.items) {
		err = errPacked
	}
	for i, one := range c.items {
		switch {
		case err != nil:
			one.of.err = unavailable(err)
		case c.script == admitScript:
			one.of.admissions[one.at] = Admission(words[i])
		default:
			one.of.settled[one.at] = Settled(words[i])
		}
	}
}
