package ledger

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Pace is what all replicas share about calls: the budget of IO calls, the pauses of upstreams, and a person's pause of
// all sending.
type Pace struct{ ledger *Ledger }

// Pace gives the shared pace.
func (l *Ledger) Pace() *Pace { return l.pace }

// PaceState is what is paused now. Times are of the local clock.
type PaceState struct {
	IOPausedUntil      time.Time
	IOPausedWhy        string
	SourcesPausedUntil map[string]time.Time
	SourcesPausedWhy   map[string]string
	OperatorPaused     bool
	PausedBy           string
	PausedWhy          string
	PausedSince        time.Time

	Day      string    // of the daily cap, as Want named it
	Messages int       // granted in that day
	Steps    int64     // taken by all replicas since the ledger began
	Began    time.Time // when the ledger was empty: what was told before that, it does not know
}

// Want is what a process asks of the budget that all replicas share.
type Want struct {
	Calls int
	Rate  float64 // calls a second, all replicas together
	Class string  // "messages", which come before "polls"

	// Messages are asked for under the daily cap; 0 where there is none. Day is a name that grows from day to day.
	Messages, Cap int
	Day           string
}

// Grant is what a process may do. Messages that were wanted and not granted are over for the day; then there are no calls,
// either.
type Grant struct {
	Calls, Messages int
	Wait            time.Duration // before asking again, where no calls were granted
}

// Take asks for a share of the budget.
func (p *Pace) Take(ctx context.Context, w Want) (Grant, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c := &call{script: takeScript, key: paceKey, args: []any{
		w.Calls, w.Rate, w.Class, p.ledger.skewMS(), w.Messages, w.Cap, w.Day,
	}}
	if err := p.ledger.run(ctx, []*call{c}); err != nil {
		return Grant{}, err
	}
	answer, err := c.cmd.Int64Slice()
	if err != nil || len(answer) != 3 {
		return Grant{}, errPacked
	}
	return Grant{Calls: int(answer[0]), Wait: time.Duration(answer[1]) * time.Millisecond, Messages: int(answer[2])}, nil
}

// Now is Redis' clock, as far as this process knows it.
func (p *Pace) Now() time.Time { return p.ledger.clock() }

const (
	ioUntil, ioWhy                = "io", "io:why"
	sourceUntil, sourceWhy        = "source:", "why:"
	operator, operatorWhy, byWhom = "paused", "paused:why", "paused:by"
	capDay, capUsed, stepsTaken   = "day", "messages", "steps"
	began                         = "began"
)

// PauseIO pauses all calls to IO for all replicas.
func (p *Pace) PauseIO(ctx context.Context, d time.Duration, why string) error {
	return p.pause(ctx, ioUntil, ioWhy, d, why)
}

// PauseSource pauses all steps of one source for all replicas.
func (p *Pace) PauseSource(ctx context.Context, name string, d time.Duration, why string) error {
	return p.pause(ctx, sourceUntil+name, sourceWhy+name, d, why)
}

func (p *Pace) pause(ctx context.Context, field, whyField string, d time.Duration, why string) error {
	now, err := p.now(ctx)
	if err != nil {
		return err
	}
	until := now.Add(d).UnixMilli()
	if known, err := p.ledger.redis.HGet(ctx, paceKey, field).Int64(); err == nil && known > until {
		return nil // somebody was asked for a longer one
	}
	if err := p.ledger.redis.HSet(ctx, paceKey, field, until, whyField, why).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// now is Redis' clock.
func (p *Pace) now(ctx context.Context) (time.Time, error) {
	now, err := p.ledger.redis.Time(ctx).Result()
	if err != nil {
		return now, unavailable(err)
	}
	return now.Add(p.ledger.skew()), nil
}

// Pause stops all sending, on all replicas, until Resume; it outlives restarts.
func (p *Pace) Pause(ctx context.Context, who, why string) error {
	now, err := p.now(ctx)
	if err != nil {
		return err
	}
	if err := p.ledger.redis.HSet(ctx, paceKey, operator, now.UnixMilli(), operatorWhy, why, byWhom, who).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Resume starts sending again; false where it was not paused.
func (p *Pace) Resume(ctx context.Context) (bool, error) {
	n, err := p.ledger.redis.HDel(ctx, paceKey, operator, operatorWhy, byWhom).Result()
	if err != nil {
		return false, unavailable(err)
	}
	return n > 0, nil
}

// State is what is paused now.
func (p *Pace) State(ctx context.Context) (PaceState, error) { return p.Report(ctx, 0) }

// Report counts steps that this process has taken, and gives State.
func (p *Pace) Report(ctx context.Context, steps int64) (PaceState, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	pipe := p.ledger.redis.Pipeline()
	if steps > 0 {
		pipe.HIncrBy(ctx, paceKey, stepsTaken, steps)
	}
	clock, all := pipe.Time(ctx), pipe.HGetAll(ctx, paceKey)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return PaceState{}, unavailable(err)
	}
	ahead := time.Since(clock.Val().Add(p.ledger.skew())) // of our clock before Redis'
	local := func(ms string) time.Time { return time.UnixMilli(decimal(ms)).Add(ahead) }
	state := PaceState{SourcesPausedUntil: map[string]time.Time{}, SourcesPausedWhy: map[string]string{}}
	for field, value := range all.Val() {
		switch {
		case field == ioUntil:
			state.IOPausedUntil = local(value)
		case field == ioWhy:
			state.IOPausedWhy = value
		case field == operator:
			state.OperatorPaused, state.PausedSince = true, local(value)
		case field == operatorWhy:
			state.PausedWhy = value
		case field == byWhom:
			state.PausedBy = value
		case field == capDay:
			state.Day = value
		case field == capUsed:
			state.Messages = int(decimal(value))
		case field == began:
			state.Began = time.UnixMilli(decimal(value))
		case field == stepsTaken:
			state.Steps = decimal(value)
		case strings.HasPrefix(field, sourceUntil):
			state.SourcesPausedUntil[strings.TrimPrefix(field, sourceUntil)] = local(value)
		case strings.HasPrefix(field, sourceWhy):
			state.SourcesPausedWhy[strings.TrimPrefix(field, sourceWhy)] = value
		}
	}
	return state, nil
}
