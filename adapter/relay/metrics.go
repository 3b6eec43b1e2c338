package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/notifier"
)

// Metrics are the relay's figures. No label ever names a record, a document or a person.
type Metrics struct {
	steps     *prometheus.CounterVec
	duration  prometheus.Histogram
	decisions *prometheus.CounterVec
	messages  *prometheus.CounterVec
	calls     *prometheus.CounterVec
	delay     prometheus.Histogram
	uncertain prometheus.Counter
	paused    *prometheus.CounterVec
	upstreams *prometheus.GaugeVec
	window    *prometheus.GaugeVec
	panics    prometheus.Counter

	capReached prometheus.Counter
	read       *prometheus.CounterVec
}

// NewMetrics registers the relay's figures.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_steps_total", Help: "Steps taken with records, by what happened.",
		}, []string{"source", "happened"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "staffetta_step_duration_seconds", Help: "Time of one step, calls and settling included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_decisions_total", Help: "What policy said of documents, and why.",
		}, []string{"source", "decision", "reason"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_messages_total", Help: "Messages that IO took, by publication.",
		}, []string{"source", "publication"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_io_calls_total", Help: "Calls to IO, by call (profile, message, status) and kind of answer.",
		}, []string{"call", "kind"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "staffetta_hint_to_message_seconds", Help: "Time from the first hint of a publication to IO taking its message.",
			Buckets: []float64{1, 2, 5, 10, 30, 60, 90, 120, 300, 900, 3600, 6 * 3600, 24 * 3600, 72 * 3600},
		}),
		uncertain: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "staffetta_sends_uncertain_total", Help: "Sends of which we do not know whether IO took them.",
		}),
		paused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_upstream_pauses_total", Help: "Pauses of a whole upstream (a source, or io), by reason.",
		}, []string{"upstream", "reason"}),
		upstreams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "staffetta_upstream_open", Help: "1 while calls to the upstream are tried, 0 while its breaker is open.",
		}, []string{"upstream"}),
		window: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "staffetta_source_window", Help: "Records of the source that this process works on at once, at most: few where it is slow or in trouble.",
		}, []string{"source"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "staffetta_step_panics_total", Help: "Steps that panicked: a defect; the third one holds the record as poison.",
		}),
		capReached: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "staffetta_io_daily_cap_reached_total", Help: "Days on which this process found that no message was left under io.daily_cap.",
		}),
		read: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_messages_read_total", Help: "Delivered messages by what IO said of their reading, where the contract has it (Premium).",
		}, []string{"read_status"}),
	}
	reg.MustRegister(
		m.steps, m.duration, m.decisions, m.messages, m.calls, m.delay, m.uncertain, m.paused, m.upstreams, m.window, m.panics, m.capReached, m.read,
	)
	return m
}

func (m *Metrics) stepped(source string, happened Happened, took time.Duration) {
	m.steps.WithLabelValues(source, string(happened)).Inc()
	m.duration.Observe(took.Seconds())
}

func (m *Metrics) decided(source string, d policy.Decision) {
	m.decisions.WithLabelValues(source, string(d.Action), d.Reason).Inc()
}

func (m *Metrics) sent(source string, publication ledger.Publication, answer notifier.Answer) {
	switch answer.Kind { //nolint:exhaustive // only these two are a message, or may be one
	case notifier.Created:
		m.messages.WithLabelValues(source, string(publication)).Inc()
	case notifier.Unclear:
		m.uncertain.Inc()
	}
}

func (m *Metrics) upstreamOpen(name string, open bool) {
	value := 0.0
	if open {
		value = 1
	}
	m.upstreams.WithLabelValues(upstream(name)).Set(value)
}
