package relay

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// lately is the time over which the present rate of steps is taken.
const lately = 30 * time.Second

// throughput is how many records a second all replicas take a step with, lately: what a forecast is made from.
type throughput struct {
	unreported atomic.Int64 // steps of this process that the others do not know of yet

	mu     sync.Mutex
	seen   time.Time
	steps  int64
	sum    float64 // weighted, and the weight: a process that has just started knows little
	weight float64
}

// saw notes the number of steps that all replicas have taken by now.
func (t *throughput) saw(steps int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since := now.Sub(t.seen)
	if !t.seen.IsZero() && since > 0 && steps >= t.steps {
		fresh := 1 - math.Exp(-float64(since)/float64(lately))
		t.sum += (float64(steps-t.steps)/since.Seconds() - t.sum) * fresh
		t.weight += (1 - t.weight) * fresh
	}
	t.seen, t.steps = now, steps
}

// perSecond is the present rate; 0 where it is not known yet.
func (t *throughput) perSecond() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.weight == 0 {
		return 0
	}
	return t.sum / t.weight
}
