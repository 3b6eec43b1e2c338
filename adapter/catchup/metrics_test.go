package catchup

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gauged is what a figure shows of one source.
func gauged(t *testing.T, of prometheus.Gatherer, figure string) float64 {
	t.Helper()
	families, err := of.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == figure && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// The age grows while nothing succeeds: where no sweep ever has, too.
func TestTheAgeOfSweepsGrowsUntilOneSucceeds(t *testing.T) {
	var skew time.Duration
	a := &archive{random: rand.New(rand.NewPCG(1, 2)), now: time.Now(), still: true}
	var fails atomic.Bool
	fails.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if fails.Load() {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		a.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w := sweeping(t, server, func() time.Duration { return skew })
	figures, _ := w.Metrics.(*prometheus.Registry)
	age := func(from, to time.Duration) {
		t.Helper()
		got := time.Duration(gauged(t, figures, "staffetta_sweep_checkpoint_age_seconds") * float64(time.Second))
		if got < from || got > to {
			t.Errorf("the last sweep is %s old, want %s to %s", got, from, to)
		}
	}
	w.round(t.Context())
	age(0, time.Minute)
	skew = time.Hour
	w.round(t.Context())
	age(time.Hour, time.Hour+time.Minute)
	fails.Store(false)
	w.again(t)
	w.round(t.Context())
	age(0, time.Minute)
	skew = 3 * time.Hour
	fails.Store(true)
	w.round(t.Context())
	age(2*time.Hour, 2*time.Hour+time.Minute)
}

// It is told when it is asked for, not when the last round ended.
func TestAnAgeIsThatOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		figures := prometheus.NewRegistry()
		m := newMetrics(figures)
		m.age.set("north", time.Now().Add(-time.Second))
		<-time.After(89 * time.Second)
		if got := gauged(t, figures, "staffetta_sweep_checkpoint_age_seconds"); got != 90 {
			t.Errorf("%v s, want 90", got)
		}
		m.forget("north")
		if got := gauged(t, figures, "staffetta_sweep_checkpoint_age_seconds"); got != -1 {
			t.Errorf("%v s, and another replica looks after it", got)
		}
	})
}
