package catchup

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"staffetta/adapter/ledger"
)

// lead calls work whenever this replica gets the lease, until ctx ends. The context of work ends when the lease is lost;
// work returns soon after.
func lead(ctx context.Context, lease *ledger.Lease, log *slog.Logger, work func(context.Context)) {
	for ctx.Err() == nil {
		taken, err := lease.Take(ctx)
		if err == nil && taken {
			leading(ctx, lease, work)
			continue
		}
		if err != nil && ctx.Err() == nil {
			log.DebugContext(ctx, "lease not asked for", slog.Any("error", err)) // the ledger says aloud that redis is away
		}
		sleep(ctx, lease.Length()/3)
	}
}

// leading works while the lease can be kept.
func leading(ctx context.Context, lease *ledger.Lease, work func(context.Context)) {
	working, stop := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() {
		defer stop()
		keep(working, lease)
	})
	work(working)
	stop()
	keeper.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = lease.GiveBack(ending) // else it ends by itself
}

// keep keeps the lease until ctx ends or it is lost. Where Redis is away it stops in time: before anybody else can have it.
func keep(ctx context.Context, lease *ledger.Lease) {
	kept := time.Now()
	for sleep(ctx, lease.Length()/3) {
		asked := time.Now()
		taken, err := lease.Take(ctx)
		switch {
		case err == nil && !taken:
			return
		case err == nil:
			kept = asked
		case time.Since(kept) > lease.Length()/2:
			return
		}
	}
}

// sleep waits; false where ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
