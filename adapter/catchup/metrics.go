package catchup

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of sweeps and gaps. The gauges are those of the replica that looks after a source.
type metrics struct {
	sweeps    *prometheus.CounterVec
	pages     *prometheus.CounterVec
	hits      *prometheus.CounterVec
	missed    *prometheus.CounterVec
	gaps      *prometheus.CounterVec
	gapsOpen  *prometheus.GaugeVec
	age       *ages
	undecided *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_sweeps_total", Help: "Sweeps, by why they were made and what came of them.",
		}, []string{"source", "why", "result"}),
		pages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_sweep_pages_total", Help: "Calls of sweeps.",
		}, []string{"source"}),
		hits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_sweep_hits_total", Help: "What sweeps found, by what the ledger made of it; `left` to the Subscription where it is fresh, `deleted` where a history says so.",
		}, []string{"source", "admission"}),
		missed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_missed_hints_total", Help: "What a sweep found that should have been posted, and was not.",
		}, []string{"source"}),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_event_gaps_total", Help: "Gaps in event numbers, and counts that began anew, by what became of them.",
		}, []string{"source", "end"}),
		gapsOpen: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "staffetta_event_gaps_open", Help: "Gaps in event numbers that are open.",
		}, []string{"source"}),
		age: &ages{since: map[string]time.Time{}, desc: prometheus.NewDesc("staffetta_sweep_checkpoint_age_seconds",
			"How long ago the last whole sweep began; where there was none, how long ago the first was tried.", []string{"source"}, nil)},
		undecided: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "staffetta_first_connection", Help: "1 while nobody has said what becomes of what was published before the first connection.",
		}, []string{"source"}),
	}
	reg.MustRegister(m.sweeps, m.pages, m.hits, m.missed, m.gaps, m.gapsOpen, m.age, m.undecided)
	return m
}

// forget drops the gauges of a source that another replica looks after now.
func (m *metrics) forget(source string) {
	for _, gauge := range []*prometheus.GaugeVec{m.gapsOpen, m.undecided} {
		gauge.DeleteLabelValues(source)
	}
	m.age.forget(source)
}

// ages say how long ago something was when they are asked: while a sweep lasts, or Redis is away, nobody could tell them.
type ages struct {
	desc *prometheus.Desc

	mu    sync.Mutex
	since map[string]time.Time // by source
}

func (a *ages) set(source string, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since[source] = since
}

func (a *ages) forget(source string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.since, source)
}

// Describe describes the figure.
func (a *ages) Describe(to chan<- *prometheus.Desc) { to <- a.desc }

// Collect gives the age of each source.
func (a *ages) Collect(to chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for source, since := range a.since {
		to <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, max(0, time.Since(since).Seconds()), source)
	}
}
