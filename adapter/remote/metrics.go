package remote

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the server's figures. No label names a document, a person, or anything that a request could make up.
type metrics struct {
	openings  *prometheus.CounterVec
	duration  prometheus.Histogram
	exchanges *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		openings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_remote_content_total",
			Help: "Requests of IO for remote content, by call, by answer (details, unavailable, precondition, not-found, bad-request, unauthorized), and why details were unavailable.",
		}, []string{"call", "answer", "reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "staffetta_remote_content_duration_seconds", Help: "Time in which IO's requests for remote content were answered.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.5, 2},
		}),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_documents_exchanged_total", Help: "References that the portal asked about, by answer (given, gone, not-visible, not-found, unavailable, unauthorized).",
		}, []string{"answer"}),
	}
	reg.MustRegister(m.openings, m.duration, m.exchanges)
	return m
}

// opened counts one answer to IO.
func (m *metrics) opened(o *opening, answer, why string) {
	m.openings.WithLabelValues(o.call, answer, why).Inc()
	m.duration.Observe(time.Since(o.began).Seconds())
}

func (m *metrics) exchanged(answer string) { m.exchanges.WithLabelValues(answer).Inc() }
