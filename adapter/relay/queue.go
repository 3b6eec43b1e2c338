package relay

import (
	"slices"
	"sync"
	"time"
)

// queue holds what is claimed until a slot has time for it. Sources take turns, and each has the slots of its window only:
// whatever goes on at one source, another one's report does not stand behind it.
type queue struct {
	workers, most int
	lease         time.Duration
	windows       *windows

	mu      sync.Mutex
	ready   sync.Cond
	names   []string // in turn order
	turn    int
	waiting map[string][]*claimed
	size    int
	running map[string]int
	closed  bool
	step    time.Duration // how long a step took lately
}

func newQueue(workers, most int, lease time.Duration, windows *windows) *queue {
	q := &queue{
		workers: workers, most: most, lease: lease, windows: windows, names: slices.Clone(windows.names),
		waiting: map[string][]*claimed{}, running: map[string]int{},
	}
	q.ready.L = &q.mu
	return q
}

// Lanes beside those of the sources: messages whose delivery is followed ask IO only, and suspects of having crashed their
// process go one at a time.
const followed, suspects = "followed messages", "crash suspects"

// lane is where a record waits.
func lane(c *claimed) string {
	switch {
	case c.Claims > 1:
		return suspects
	case c.Tracking:
		return followed
	}
	return c.Source
}

// slots is how many one lane may have at once. Status calls wait for what messages leave of the budget: they wait in a few.
func (q *queue) slots(lane string) int {
	switch lane {
	case followed:
		return max(1, q.workers/4)
	case suspects:
		return 1
	}
	return q.windows.of(lane)
}

// waitMost is how many may wait for each slot of a lane.
const waitMost = 4

// room is how many more may be claimed, of which sources, and whether of followed messages: what the slots finish within a third
// of the lease. All that is claimed may be of one source, so it is no more than the narrowest of them has room for. A lane that is
// full is not claimed of, and takes no room of the others.
func (q *queue) room(open opened) (n int, sources []string, track bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, track = q.most-q.size, open.track
	counts := q.size // of what waits in lanes that are not full
	for _, source := range open.sources {
		if left := q.left(source); left > 0 {
			n = min(n, left)
			sources = append(sources, source)
		} else {
			counts -= len(q.waiting[source])
		}
	}
	if left := q.left(followed); left <= 0 {
		counts, track = counts-len(q.waiting[followed]), false
	} else if len(sources) == 0 && track {
		n = min(n, left)
	}
	if len(sources) == 0 && !track {
		return 0, nil, false
	}
	return min(n, q.within(q.workers, q.most)-counts), sources, track
}

// left is how many more may wait in a lane.
func (q *queue) left(lane string) int {
	slots := q.slots(lane)
	return q.within(slots, waitMost*slots) - len(q.waiting[lane])
}

// within is what so many slots finish within a third of the lease, as long as steps took lately.
func (q *queue) within(slots, most int) int {
	if q.step <= 0 {
		return most
	}
	return max(1, min(most, int(int64(slots)*int64(q.lease/3)/int64(q.step))))
}

// half says whether more than half of what may wait is waiting.
func (q *queue) half() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size > q.most/2
}

// inHands is how many are waiting or worked on.
func (q *queue) inHands() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.size
	for _, running := range q.running {
		n += running
	}
	return n
}

func (q *queue) push(c *claimed) {
	q.mu.Lock()
	defer q.mu.Unlock()
	name := lane(c)
	if !slices.Contains(q.names, name) {
		q.names = append(q.names, name)
	}
	q.waiting[name] = append(q.waiting[name], c)
	q.size++
	q.ready.Signal()
}

// pop gives the next record whose source has a slot left, and waits for one; false when the queue is closed and empty.
func (q *queue) pop() (*claimed, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for range q.names {
			q.turn = (q.turn + 1) % len(q.names)
			name := q.names[q.turn]
			if some := q.waiting[name]; len(some) > 0 && (q.closed || q.running[name] < q.slots(name)) {
				c := some[0]
				some[0] = nil // it holds what is not to stay in memory
				q.waiting[name] = some[1:]
				q.size--
				q.running[name]++
				return c, true
			}
		}
		if q.closed {
			return nil, false
		}
		q.ready.Wait()
	}
}

// done gives a slot back, and learns how long its step took; 0 for a record that was not looked at.
func (q *queue) done(c *claimed, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running[lane(c)]--
	if took > 0 {
		const lately = 16
		q.step += (took - q.step) / lately
	}
	q.ready.Signal()
}

// close lets pop come to an end.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.ready.Broadcast()
}
