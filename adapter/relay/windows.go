package relay

import (
	"sync"
	"time"
)

// windows are how many records of each source may be worked on at once: what it bears, which nobody knows before it is tried. An
// answer in good time lets a window grow, by one in the time of a step; trouble halves it (additive increase, multiplicative
// decrease, as TCP does: RFC 5681, 3.1). A source that answers one call at a time, and all slots too late, would else be asked in
// vain again and again, and be kept from answering others.
type windows struct {
	names   []string
	most    int // slots that one source may have: one that is slow never has all
	metrics *Metrics

	mu   sync.Mutex
	size map[string]float64
}

func newWindows(workers int, sources []string, metrics *Metrics) *windows {
	w := &windows{names: sources, most: workers, metrics: metrics, size: map[string]float64{}}
	if len(sources) > 1 {
		w.most = max(1, workers*3/4)
	}
	for _, source := range sources {
		w.set(source, float64(w.most))
	}
	return w
}

// of is how many records of a source may be worked on at once.
func (w *windows) of(source string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if size, known := w.size[source]; known {
		return int(size)
	}
	return w.most
}

// answered notes that a source has answered what one look asks, which took so long. What took half of the time that one call has
// is not to take longer: more at once would only wait there.
func (w *windows) answered(source string, took, timeout time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if size := w.size[source]; size < float64(w.most) && (timeout == 0 || took < timeout/2) {
		w.set(source, min(float64(w.most), size+1/size))
	}
}

// troubled notes that a source gave no usable answer, or asked for fewer calls.
func (w *windows) troubled(source string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(source, max(1, w.size[source]/2))
}

func (w *windows) set(source string, size float64) {
	w.size[source] = size
	w.metrics.window.WithLabelValues(source).Set(float64(int(size)))
}
