package console

import (
	"context"
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
)

// collector counts the ledger when it is asked.
type collector struct {
	ledger  *ledger.Ledger
	sources []string
	io      IO
}

var (
	dueDesc     = prometheus.NewDesc("staffetta_records_due", "Records that still need a step.", []string{"source"}, nil)
	overdueDesc = prometheus.NewDesc("staffetta_records_overdue", "Records that are due by now.", []string{"source"}, nil)
	oldestDesc  = prometheus.NewDesc("staffetta_oldest_due_seconds", "How long the oldest due record has been due.", []string{"source"}, nil)
	trackedDesc = prometheus.NewDesc("staffetta_records_tracked", "Messages whose delivery is followed.", nil, nil)
	heldDesc    = prometheus.NewDesc("staffetta_records_held", "Records that a person must look at.", []string{"reason"}, nil)
	endsDesc    = prometheus.NewDesc("staffetta_records_ended", "Records that rest with a named end.", []string{"state", "reason"}, nil)
	pausedDesc  = prometheus.NewDesc("staffetta_sending_paused", "1 while a person has paused all sending.", nil, nil)
	modeDesc    = prometheus.NewDesc("staffetta_io_mode", "1 for the io.mode that is configured: off, test or live.", []string{"mode"}, nil)
	capDesc     = prometheus.NewDesc("staffetta_io_daily_cap", "Messages that may be sent in one day, all replicas together.", nil, nil)
	usedDesc    = prometheus.NewDesc("staffetta_io_daily_cap_used", "Messages of the daily cap that were granted today.", nil, nil)
	beganDesc   = prometheus.NewDesc("staffetta_ledger_began_timestamp_seconds",
		"When the ledger was empty, in s since 1970: what was told before that it does not know. It changes only where Redis was emptied.", nil, nil)
	backlogDesc = prometheus.NewDesc("staffetta_backlog_seconds", "Time until what is due by now is done, at the present rate; +Inf where it does not come to an end. Where the daily cap is reached: whole days until all that waits is done.", nil, nil)
)

// Describe names the figures.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		dueDesc, overdueDesc, oldestDesc, trackedDesc, heldDesc, endsDesc, pausedDesc, modeDesc, capDesc, usedDesc, backlogDesc, beganDesc,
	} {
		to <- desc
	}
}

// Collect counts; without Redis there is nothing to count but what is configured.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	if c.io.Mode != "" {
		to <- prometheus.MustNewConstMetric(modeDesc, prometheus.GaugeValue, 1, c.io.Mode)
	}
	stats, err := c.ledger.Stats(ctx, c.sources)
	if err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for _, source := range c.sources {
		gauge(dueDesc, float64(stats.Due[source]), source)
		gauge(overdueDesc, float64(stats.Overdue[source]), source)
		gauge(oldestDesc, max(0, stats.Oldest[source].Seconds()), source)
	}
	gauge(trackedDesc, float64(stats.Tracked))
	for reason, n := range stats.Held {
		gauge(heldDesc, float64(n), reason)
	}
	for end, n := range stats.Ends {
		gauge(endsDesc, float64(n), string(end.State), end.Reason)
	}
	state, err := c.ledger.Pace().State(ctx)
	if err != nil {
		return
	}
	backlog := math.Inf(1)
	if lasts, ok := c.io.backlog(stats, state); ok {
		backlog = lasts.Seconds()
	}
	gauge(backlogDesc, backlog)
	paused := 0.0
	if state.OperatorPaused {
		paused = 1
	}
	gauge(pausedDesc, paused)
	if !state.Began.IsZero() {
		gauge(beganDesc, float64(state.Began.Unix()))
	}
	if c.io.DailyCap > 0 {
		gauge(capDesc, float64(c.io.DailyCap))
		gauge(usedDesc, float64(c.io.used(state)))
	}
}
