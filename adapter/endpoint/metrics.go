package endpoint

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// unknown labels requests of which the source, or the kind, was not learned: never what a stranger wrote.
const unknown = "unknown"

// metrics are the endpoint's figures. No label names a document, a person, or anything that a request could make up.
type metrics struct {
	notifications *prometheus.CounterVec
	hints         *prometheus.CounterVec
	catchUp       *prometheus.CounterVec
	duration      prometheus.Histogram
	bytes         prometheus.Counter
	panics        prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_notifications_total", Help: "Notifications received, by kind and HTTP status of the answer.",
		}, []string{"source", "kind", "answer"}),
		hints: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_hints_total", Help: "Hints in notifications, by what the ledger made of them.",
		}, []string{"source", "admission"}),
		catchUp: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_catchup_wanted_total", Help: "Notifications that say that something changed, but not what.",
		}, []string{"source"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "staffetta_notification_duration_seconds", Help: "Time from a request's header to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "staffetta_notification_bytes_total", Help: "Bytes of bodies as they came over the wire.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "staffetta_notification_panics_total", Help: "Notifications that crashed their handler: a defect.",
		}),
	}
	reg.MustRegister(m.notifications, m.hints, m.catchUp, m.duration, m.bytes, m.panics)
	return m
}

// observe counts one answered request.
func (m *metrics) observe(x *exchange, status int) {
	m.notifications.WithLabelValues(x.source, string(x.kind), strconv.Itoa(status)).Inc()
	m.duration.Observe(time.Since(x.began).Seconds())
	m.bytes.Add(float64(x.body.bytes))
}
