package relay

import (
	"context"
	"errors"
	"sync"
	"time"
)

// longestStep bounds one step, whatever it waits for: beyond it that is in trouble.
const longestStep = 2 * time.Minute

var errTooLong = errors.New("a step that took too long")

// keeper renews the claim of a step that takes its time, so that slow is never taken for crashed.
type keeper struct {
	mu     sync.Mutex
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// keepClaim renews the claim from a third of the lease on, and gives the step's context: it ends where the record has gone
// to other hands.
func (r *Relay) keepClaim(ctx context.Context, c *claimed) (context.Context, *keeper) {
	ctx, cancel := context.WithCancelCause(ctx)
	k := &keeper{cancel: cancel}
	k.mu.Lock()
	defer k.mu.Unlock()
	until := time.Now().Add(longestStep)
	k.timer = time.AfterFunc(r.Lease/3, func() { r.renew(ctx, c, k, until) })
	return ctx, k
}

func (r *Relay) renew(ctx context.Context, c *claimed, k *keeper, until time.Time) {
	if time.Now().After(until) {
		k.cancel(errTooLong)
		return
	}
	kept, err := r.Ledger.Renew(context.WithoutCancel(ctx), c.Record)
	if err == nil && !kept {
		k.cancel(nil)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Reset(r.Lease / 3)
	}
}

// end stops renewing.
func (k *keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer.Stop()
	k.timer = nil
	k.cancel(nil)
}
