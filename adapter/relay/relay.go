package relay

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/notifier"
)

// Source is one FHIR server as the relay needs it.
type Source struct {
	*fhir.Source
	Rules  policy.SourceRules
	Gate   *fhir.Gate    // shows what its citizen sees; nil where the source has no such
	Settle time.Duration // for documents that a find record leads to
	// Timeout is that of one call; zero: none.
	Timeout time.Duration
}

// Options is what a relay is made of.
type Options struct {
	Ledger    *ledger.Ledger
	Sources   map[string]Source
	Rules     *policy.Rules
	IO        *notifier.Client
	Composer  *notifier.Composer
	Timetable Timetable
	Rate      float64 // IO calls per second, all replicas together
	DailyCap  int     // messages in one day, all replicas together; 0: without limit
	// OneMessage is for how long the message about a new document covers others of its citizen; 0: not at all.
	OneMessage time.Duration
	Off        bool          // io.mode: off; IO is asked nothing, and what is on its way is followed when that is over
	Workers    int           // documents worked on at once, at most (see slots)
	Lease      time.Duration // of a claim
	Metrics    *Metrics
	Log        *slog.Logger
}

// Relay takes claimed records one step further, many at a time.
type Relay struct {
	Options
	names  []string // of the sources, in turn order
	gates  *gates
	budget *budget
	pace   *throughput
	wake   chan struct{}
	wakeAt atomic.Int64 // ns since 1970: when the next claim was asked for; 0 for none
}

// claimed is a record in a worker's hands, with the local time of its claim: Redis' clock goes on from there.
type claimed struct {
	ledger.Record
	at      time.Time
	edition ledger.Tag // of the document that was read
	*slot
}

// slot is what a worker has for one record after the other.
type slot struct {
	last sync.WaitGroup // the settling of the record before
	// posting ends some seconds after we are asked to stop: IO is heard to the end, as far as may be.
	posting context.Context //nolint:containedctx // one for all records, instead of one for each
}

// now is Redis' clock.
func (c *claimed) now() time.Time { return c.Now.Add(time.Since(c.at)) }

// New makes a relay; Run starts it.
func New(o Options) *Relay {
	r := &Relay{Options: o, wake: make(chan struct{}, 1)}
	for name := range o.Sources {
		r.names = append(r.names, name)
	}
	r.pace = new(throughput)
	r.gates = newGates(o.Ledger.Pace(), r.names, r.pace, o.Metrics, o.Log)
	r.gates.ioOff = o.Off
	r.gates.windows = newWindows(r.slots(), r.names, o.Metrics)
	r.budget = newBudget(o.Ledger.Pace(), o.Rate, o.DailyCap, r.capReached)
	return r
}

// StepRate is how many records a second all replicas take a step with, lately; 0 where that is not known yet.
func (r *Relay) StepRate() float64 { return r.pace.perSecond() }

// Today is the name of the day that the daily cap counts.
func (r *Relay) Today() string { return dayOf(r.Ledger.Pace().Now()).name }

// capReached says aloud, once a day, that the rest waits for the next day.
func (r *Relay) capReached(ends time.Time) {
	r.Metrics.capReached.Inc()
	r.Log.Warn("daily cap reached: messages wait for the next day", slog.Int("daily_cap", r.DailyCap), slog.Time("until", ends))
}

// Wake tells the relay that something will be due after so long, so that a report waits for no poll.
func (r *Relay) Wake(after time.Duration) {
	at := time.Now().Add(after).UnixNano()
	for {
		planned := r.wakeAt.Load()
		if planned != 0 && planned <= at {
			return
		}
		if r.wakeAt.CompareAndSwap(planned, at) {
			break
		}
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends; what it has claimed by then is settled or given back before it returns.
func (r *Relay) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	waiting := newQueue(r.slots(), r.prefetch(), r.Lease, r.gates.windows)
	finishing, done := Beyond(ctx, settleAtShutdown)
	defer done()
	posting, posted := Beyond(ctx, postAtShutdown)
	defer posted()
	var slots, helpers sync.WaitGroup
	r.gates.refresh(ctx) // a pause outlives a restart
	helpers.Go(func() { r.gates.watch(ctx) })
	for range r.slots() {
		slots.Go(func() { r.workUntil(ctx, finishing, waiting, &slot{posting: posting}) })
	}
	r.dispatch(ctx, waiting)
	waiting.close()
	slots.Wait()
	helpers.Wait()
	return nil
}

// slots is how many records are worked on at once. Where IO's rate is low, more of them would only queue for its calls, with
// everything before another source's one report; some are always there, for what asks IO nothing.
func (r *Relay) slots() int {
	const inFlight, always = 1600 * time.Millisecond, 16 // how long a message takes, where IO and its source are slow
	return min(r.Workers, max(always, int(r.Rate*inFlight.Seconds()/callsPerMessage)))
}

// prefetch is how many records may be claimed beyond the busy slots: what they finish within a third of the lease, at the
// rate that IO allows (a message takes two calls), and no more than four for each slot.
func (r *Relay) prefetch() int {
	within := int(r.Rate * r.Lease.Seconds() / 3 / callsPerMessage)
	return max(1, min(within, waitMost*r.slots()))
}

// dispatch claims what is due and hands it to the slots.
func (r *Relay) dispatch(ctx context.Context, waiting *queue) {
	for ctx.Err() == nil {
		r.wakeAt.Store(0)
		if idle := r.claimInto(ctx, waiting); idle > 0 {
			r.sleep(ctx, time.Now().Add(idle))
		}
	}
}

// sleep waits until a time, or until it is woken for an earlier one.
func (r *Relay) sleep(ctx context.Context, until time.Time) {
	for {
		if at := r.wakeAt.Load(); at != 0 && at < until.UnixNano() {
			until = time.Unix(0, at)
		}
		timer := time.NewTimer(time.Until(until))
		select {
		case <-ctx.Done():
		case <-r.gates.changed():
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
			continue
		}
		timer.Stop()
		return
	}
}

// claimInto claims once and says how long there is nothing to do.
func (r *Relay) claimInto(ctx context.Context, waiting *queue) (idle time.Duration) {
	const longest, afterTrouble = 500 * time.Millisecond, time.Second
	open := r.gates.open(r.names)
	if len(open.sources) == 0 && !open.track {
		return longest
	}
	free, sources, track := waiting.room(open)
	if free <= 0 || waiting.half() {
		return longest // the slots wake us when they need more: fewer, larger claims
	}
	if open.tryIO && waiting.inHands() >= breakerFails {
		return longest
	}
	if open.few {
		free = 1
	}
	got, err := r.Ledger.Claim(ctx, ledger.ClaimOptions{N: free, Sources: sources, Track: track})
	at := time.Now()
	if err != nil {
		if ctx.Err() == nil {
			r.Log.WarnContext(ctx, "claim failed", slog.Any("error", err))
		}
		return afterTrouble
	}
	for _, rec := range got.Records {
		waiting.push(&claimed{Record: rec, at: at})
	}
	switch {
	case len(got.Records) > 0 && open.few:
		return longest
	case len(got.Records) > 0:
		return 0
	}
	return min(longest, max(got.NextDue, time.Millisecond))
}

// workUntil is one slot. After ctx ends it gives back what is still queued, until finishing ends.
func (r *Relay) workUntil(ctx, finishing context.Context, waiting *queue, s *slot) {
	defer s.last.Wait()
	for {
		c, more := waiting.pop()
		if !more {
			return
		}
		if !waiting.half() {
			r.Wake(0)
		}
		c.slot = s
		// Where it waited too long, its lease would end in the middle of its step; where the gate has closed, its step is doomed.
		if ctx.Err() != nil || time.Since(c.at) > r.Lease/3 || r.gates.closed(c.Source, c.Tracking) {
			back := r.Timetable.givenBack(startOf(c.Record), c.now())
			r.settle(finishing, c, &back)
			waiting.done(c, 0)
			continue
		}
		started := time.Now()
		r.work(ctx, finishing, c)
		waiting.done(c, time.Since(started))
	}
}

// work takes one record one step further and settles it. While that is written the slot may begin to look at the next one,
// but it sends nothing before (see send).
func (r *Relay) work(ctx, finishing context.Context, c *claimed) {
	started := time.Now()
	ctx, keep := r.keepClaim(ctx, c)
	defer keep.end()
	defer func() {
		if p := recover(); p != nil {
			// The record stays claimed: its lease ends, it is a suspect, and the third crash holds it as poison.
			r.Log.ErrorContext(ctx, "step panicked", slog.String("record", c.Key.String()), slog.String("source", c.Source))
			r.Metrics.panics.Inc()
		}
	}()
	if c.Claims > 1 {
		if begins, err := r.Ledger.Begin(context.WithoutCancel(ctx), c.Record); err != nil || !begins {
			return // it is in other hands, or its lease ends by itself
		}
	}
	o := r.step(ctx, *c)
	c.last.Wait()
	c.last.Go(func() { r.settle(finishing, c, &o) })
	r.Metrics.stepped(c.Source, o.happened, time.Since(started))
	if !c.Tracking && o.happened != GivenBack {
		r.pace.unreported.Add(1)
	}
}

// settle writes an outcome, also when the process has been asked to stop: what was done must be remembered. Where Redis is
// away it is tried again until the lease is over; then the record is due by itself.
func (r *Relay) settle(ctx context.Context, c *claimed, o *outcome) {
	until := time.Now().Add(r.Lease)
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		_, err := r.Ledger.Settle(ctx, []ledger.Settlement{o.settlement()})
		if err == nil {
			r.tell(ctx, c, o)
			return
		}
		if ctx.Err() != nil || time.Now().Add(wait).After(until) {
			r.Log.ErrorContext(ctx, "outcome not written", slog.String("record", c.Key.String()),
				slog.String("source", c.Source), slog.String("happened", string(o.happened)), slog.Any("error", err))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
