package console_test

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"staffetta/adapter/console"
	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open is a console over a ledger that holds one record for a person.
func open(t *testing.T, client redis.UniversalClient) (http.Handler, *ledger.Ledger, ledger.Key) {
	t.Helper()
	naming, seal := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal"))
	l, err := ledger.Open(t.Context(), ledger.Options{
		Redis: client, NamingKey: naming[:], SealKeys: []ledger.SealKey{{ID: 1, Key: seal[:]}}, JournalEntries: 100,
	})
	if err != nil {
		t.Fatal(err)
	}
	locator := fhir.Locator{Type: "DiagnosticReport", ID: "r1"}
	key := l.DocumentKey("lab", locator)
	if _, err := l.Admit(t.Context(), []ledger.Hint{{Key: key, Source: "lab", Locator: locator, State: ledger.Pending}}); err != nil {
		t.Fatal(err)
	}
	claimed, err := l.Claim(t.Context(), ledger.ClaimOptions{N: 16, Sources: []string{"lab"}})
	if err != nil || len(claimed.Records) != 1 {
		t.Fatalf("%d records, %v", len(claimed.Records), err)
	}
	rec := claimed.Records[0]
	rec.State, rec.Reason, rec.Since = ledger.Held, "two-codes", rec.Now
	if _, err := l.Settle(t.Context(), []ledger.Settlement{{Record: rec, Event: "decided-hold"}}); err != nil {
		t.Fatal(err)
	}
	return console.New(console.Options{
		Ledger: l, Registry: prometheus.NewRegistry(), Sources: []string{"lab"}, Log: slog.New(slog.DiscardHandler),
	}), l, key
}

func get(t *testing.T, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return answer
}

func TestThePageAnswersWhoMustBeLookedAt(t *testing.T) {
	handler, l, key := open(t, redistest.Start(t))
	if err := l.Pace().Pause(t.Context(), "Giulia", "<trial>"); err != nil {
		t.Fatal(err)
	}
	if err := l.Pace().PauseIO(t.Context(), time.Minute, "throttled"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Connect(t.Context(), "lab"); err != nil {
		t.Fatal(err)
	}
	if err := l.RememberSubscription(t.Context(), "lab", ledger.Subscription{ID: "7", Fingerprint: "f", Events: -1}); err != nil {
		t.Fatal(err)
	}
	if err := l.SaveVerdict(t.Context(), "lab", "7", "has not posted <4> of 4"); err != nil {
		t.Fatal(err)
	}
	if err := l.SweepEnded(t.Context(), "lab", ledger.CatchUp{Trouble: "its total shrinks"}); err != nil {
		t.Fatal(err)
	}
	page := get(t, handler, "/console/").Body.String()
	for _, want := range []string{
		"require_secure_channel, sensitive information", "see staffetta catchup", "has not posted &lt;4&gt; of 4", "the last sweep was none: its total shrinks", "<td class=\"n\">never</td>", key.String(), "two-codes", "lab", "decided-hold", "All sending is paused</strong> by Giulia", "&lt;trial&gt;", "io is paused",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if policy := get(t, handler, "/console/").Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("Content-Security-Policy: %q", policy)
	}
	metrics := get(t, handler, "/metrics").Body.String()
	for _, want := range []string{`staffetta_records_held{reason="two-codes"} 1`, "staffetta_sending_paused 1", "staffetta_ledger_began_timestamp_seconds 1.", `staffetta_records_due{source="lab"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not say %q", want)
		}
	}
}

func TestHealth(t *testing.T) {
	server := redistest.Embedded(t)
	handler, _, _ := open(t, server)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/console/style.css": 200, "/": 302, "/other": 404} {
		if got := get(t, handler, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if err := server.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, handler, "/readyz").Code; got != http.StatusServiceUnavailable {
		t.Errorf("after the ledger was emptied: %d, want 503", got)
	}
	_ = server.Close()
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/console/": 503} {
		if got := get(t, handler, path).Code; got != want {
			t.Errorf("without Redis %s: %d, want %d", path, got, want)
		}
	}
}

// The page and the metrics say who is told at all, what is left of the day, and when the backlog is done.
func TestThePageSaysHowSendingStands(t *testing.T) {
	_, l, _ := open(t, redistest.Start(t))
	locator := fhir.Locator{Type: "DiagnosticReport", ID: "r2"}
	hint := ledger.Hint{Key: l.DocumentKey("lab", locator), Source: "lab", Locator: locator, State: ledger.Pending}
	if _, err := l.Admit(t.Context(), []ledger.Hint{hint}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Pace().Take(t.Context(), ledger.Want{Calls: 2, Rate: 100, Class: "messages", Messages: 5, Cap: 5, Day: "20261124"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, mode, day string
		rate            float64
		page, metrics   []string
	}{
		{"off", "off", "20261124", 0, []string{"io.mode is off", "not come to an end"}, []string{`staffetta_io_mode{mode="off"} 1`, "staffetta_backlog_seconds +Inf"}},
		{"test", "test", "20261125", 0.25, []string{"io.mode is test", "is done in 4s"}, []string{`staffetta_io_mode{mode="test"} 1`, "staffetta_backlog_seconds 4"}},
		{"the day's messages are sent", "live", "20261124", 10, []string{
			"io.mode is live", "5 of 5 messages", "waits for tomorrow", "what waits (1) is done in 1 day.",
		}, []string{"staffetta_io_daily_cap 5", "staffetta_io_daily_cap_used 5", "staffetta_backlog_seconds 86400"}},
		{"the next day", "live", "20261125", 10, []string{"0 of 5 messages"}, []string{"staffetta_io_daily_cap_used 0", "staffetta_backlog_seconds 0.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handler := console.New(console.Options{
				Ledger: l, Registry: prometheus.NewRegistry(), Sources: []string{"lab"}, Log: slog.New(slog.DiscardHandler),
				IO: console.IO{
					Mode: tt.mode, DailyCap: 5, StepRate: func() float64 { return tt.rate }, Today: func() string { return tt.day },
				},
			})
			for path, wants := range map[string][]string{"/console/": tt.page, "/metrics": tt.metrics} {
				text := get(t, handler, path).Body.String()
				for _, want := range wants {
					if !strings.Contains(text, want) {
						t.Errorf("%s does not say %q", path, want)
					}
				}
			}
		})
	}
}

// What waits is never called nothing: for the day's cap, or for its time.
func TestTheForecastKnowsWhatWaits(t *testing.T) {
	_, l, _ := open(t, redistest.Embedded(t))
	for i := range 11 {
		locator := fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("later-", i)}
		hint := ledger.Hint{
			Key: l.DocumentKey("lab", locator), Source: "lab", Locator: locator, State: ledger.Pending, Settle: time.Hour,
		}
		if _, err := l.Admit(t.Context(), []ledger.Hint{hint}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Pace().Take(t.Context(), ledger.Want{Calls: 2, Rate: 100, Class: "messages", Messages: 5, Cap: 5, Day: "20261124"}); err != nil {
		t.Fatal(err)
	}
	for day, want := range map[string]string{
		"20261124": "at 5 messages a day, what waits (11) is done in 3 days", "20261125": "nothing waits for us, 11 wait for their time",
	} {
		handler := console.New(console.Options{
			Ledger: l, Registry: prometheus.NewRegistry(), Sources: []string{"lab"}, Log: slog.New(slog.DiscardHandler),
			IO: console.IO{Mode: "live", DailyCap: 5, StepRate: func() float64 { return 1 }, Today: func() string { return day }},
		})
		if page := get(t, handler, "/console/").Body.String(); !strings.Contains(page, want) {
			t.Errorf("on %s the page does not say %q", day, want)
		}
	}
}

// Who is told at all is said on every page, also while Redis is away.
func TestTheModeIsSaidWithoutRedis(t *testing.T) {
	server := redistest.Embedded(t)
	_, l, _ := open(t, server)
	_ = server.Close()
	for _, mode := range []string{"off", "test", "live"} {
		handler := console.New(console.Options{
			Ledger: l, Registry: prometheus.NewRegistry(), Sources: []string{"lab"}, Log: slog.New(slog.DiscardHandler), IO: console.IO{Mode: mode},
		})
		if page := get(t, handler, "/console/").Body.String(); !strings.Contains(page, "io.mode is "+mode) || !strings.Contains(page, "cannot be read") {
			t.Errorf("the page does not say that io.mode is %s", mode)
		}
	}
}
