package relay

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/notifier"
)

// What crashes its step is held after the third time, alone: whoever waits beside it is looked at.
func TestPoisonIsIsolated(t *testing.T) {
	naming, seal := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal"))
	led, err := ledger.Open(t.Context(), ledger.Options{
		Redis: redistest.Start(t), NamingKey: naming[:], SealKeys: []ledger.SealKey{{ID: 1, Key: seal[:]}},
		Lease: 300 * time.Millisecond, JournalEntries: 100, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	nothing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(nothing.Close)
	well, err := fhir.NewSource(fhir.SourceOptions{Name: "well", BaseURL: nothing.URL, Shape: fhir.ShapeReport, Client: nothing.Client()})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.NewRules(policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	io, err := notifier.NewClient(notifier.ClientOptions{BaseURL: nothing.URL, Keys: func() []string { return []string{"key"} }, HTTP: nothing.Client()})
	if err != nil {
		t.Fatal(err)
	}
	r := New(Options{
		Ledger: led, Rules: rules, IO: io, Rate: 1000, Workers: 4, Lease: 300 * time.Millisecond,
		Sources:   map[string]Source{"well": {Source: well}, "poison": {}}, // a source that is none: every step with it panics
		Timetable: Timetable{GiveUpAfter: time.Hour, Polls: []time.Duration{time.Second}},
		Metrics:   NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	hint := func(source string, n int) ledger.Hint {
		l := fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("r", n)}
		return ledger.Hint{Key: led.DocumentKey(source, l), Source: source, Locator: l, State: ledger.Pending}
	}
	hints := make([]ledger.Hint, 0, 31)
	hints = append(hints, hint("poison", 0))
	for n := range 30 {
		hints = append(hints, hint("well", n))
	}
	if _, err := led.Admit(ctx, hints); err != nil {
		t.Fatal(err)
	}
	r.Wake(0)
	for i, h := range hints {
		want := ledger.Suppressed // its resource is nowhere
		if i == 0 {
			want = ledger.Held
		}
		got := stateOf(t, led, h.Key, want)
		if got.State != want || (i == 0 && got.Reason != "poison") {
			t.Errorf("record %d of %s: %s %s, want %s", i, h.Source, got.State, got.Reason, want)
		}
	}
}

// stateOf waits for a state, or gives what it is instead.
func stateOf(t *testing.T, led *ledger.Ledger, key ledger.Key, want ledger.State) ledger.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		rec, _, err := led.Lookup(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if rec.State == want {
			return rec
		}
		select {
		case <-ctx.Done():
			return rec
		case <-ticker.C:
		}
	}
}
