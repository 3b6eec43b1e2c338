package ledger

import (
	"context"
	"sync"
)

// batch lets callers that come while a round trip is under way share the next one: who comes first leads, and hands over
// to the next when it has its own answer.
type batch struct {
	exec func(context.Context, []*asked) // answers each

	mu      sync.Mutex
	busy    bool
	waiting []*asked
}

// asked is what one caller wants written.
type asked struct {
	hints       []Hint
	settlements []Settlement

	admissions []Admission
	settled    []Settled
	err        error

	done chan struct{}
	lead chan struct{}
}

// batchLimit is how many callers share one round trip at most.
const batchLimit = 128

func newBatch(exec func(context.Context, []*asked)) *batch { return &batch{exec: exec} }

// do writes what is asked, alone or with others, and returns when it is written. Where it has to lead others its own
// context does not cut theirs.
func (b *batch) do(ctx context.Context, a *asked) {
	a.done, a.lead = make(chan struct{}), make(chan struct{}, 1)
	b.mu.Lock()
	b.waiting = append(b.waiting, a)
	if b.busy {
		b.mu.Unlock()
		select {
		case <-a.done:
			return
		case <-a.lead:
		}
	} else {
		b.busy = true
		b.mu.Unlock()
	}
	b.once(context.WithoutCancel(ctx))
}

// once leads one round trip and hands over.
func (b *batch) once(ctx context.Context) {
	b.mu.Lock()
	n := min(len(b.waiting), batchLimit)
	now := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	b.mu.Unlock()

	b.exec(ctx, now)
	for _, a := range now {
		close(a.done)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.busy, b.waiting = false, nil
		return
	}
	b.waiting[0].lead <- struct{}{}
}
