package catchup_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"staffetta/adapter/catchup"
	"staffetta/adapter/endpoint"
	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// post is a ward with all that takes in what its server posts, and looks for what it does not.
type post struct {
	*ward

	led     *ledger.Ledger
	metrics *prometheus.Registry
	takes   atomic.Pointer[http.Handler] // the endpoint; nil: away
	source  *fhir.Source
	options catchup.SweeperOptions
	swept   catchup.Swept
	keeps   bool
	slow    bool // the keeper looks again only when it is asked to
}

// listenTo makes one for a product; nothing runs yet.
func listenTo(t *testing.T, product string, changes ...func(*post)) *post {
	t.Helper()
	p := &post{ward: open(t, product), metrics: prometheus.NewRegistry()}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler := p.takes.Load(); handler != nil {
			(*handler).ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(front.Close)
	p.endpoint = front.URL + "/fhir/" + name
	p.swept = catchup.Swept{Name: name, Shape: fhir.ShapeReport, Every: time.Hour, Overlap: 15 * time.Minute}
	p.options = catchup.SweeperOptions{Tick: 2 * time.Millisecond, Grace: 10 * time.Millisecond, PageGap: time.Nanosecond, Rest: 2 * time.Millisecond, Lease: 300 * time.Millisecond}
	for _, change := range changes {
		change(p)
	}
	var err error
	p.source, err = fhir.NewSource(fhir.SourceOptions{
		Name: name, BaseURL: p.base, Shape: p.swept.Shape, Client: p.client, MaxBody: 1 << 20, Aliases: []string{"https://fse.example.it/fhir"},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.led = p.ledger(t)
	return p
}

// start runs all parts until the test ends, or stop is called.
func (p *post) start(t *testing.T) (stop func()) {
	t.Helper()
	log := slog.New(slog.NewJSONHandler(&p.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	wish := fhir.Wish{Endpoint: p.endpoint, Token: token, Content: fhir.ContentID, Heartbeat: time.Hour}
	subscriber := func() *fhir.Subscriber {
		return fhir.NewSubscriber(fhir.SubscriberOptions{Source: p.source, Wish: wish})
	}
	o := catchup.KeeperOptions{Ledger: p.led, Metrics: p.metrics, Log: log, First: 2 * time.Millisecond, Longest: time.Hour, Poll: 2 * time.Millisecond, Lease: 300 * time.Millisecond}
	if p.slow {
		o.First, o.Soonest = time.Hour, time.Millisecond
	}
	if p.keeps {
		o.Sources = []catchup.Source{{Name: name, Subscriber: subscriber()}}
		p.swept.Kept, p.swept.Subscriber = true, subscriber()
	}
	keeper := catchup.NewKeeper(o)
	p.swept.Source = p.source
	if p.swept.Searches == nil {
		p.swept.Searches = fhir.Searches(p.swept.Shape, nil, nil)
	}
	p.options.Ledger, p.options.Sources, p.options.Keeper, p.options.Metrics, p.options.Log = p.led, []catchup.Swept{p.swept}, keeper, p.metrics, log
	sweeper, err := catchup.NewSweeper(p.options)
	if err != nil {
		t.Fatal(err)
	}
	tally := catchup.NewTally(catchup.TallyOptions{Ledger: p.led, Sources: []string{name}, Log: log, Every: 2 * time.Millisecond, Patience: time.Minute})
	e, err := endpoint.New(endpoint.Options{
		Sources: []endpoint.Source{{Name: name, Tokens: []string{token}, Shape: p.swept.Shape}}, Ledger: p.led,
		Limits: fhir.Limits{MaxBytes: 1 << 20, MaxDepth: 32, MaxEntries: 1000}, Metrics: p.metrics, Log: log, Heard: tally.Note, Wanted: sweeper.Wake,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := e.Handler()
	p.takes.Store(&handler)
	tick() // what is there already was there before the first connection
	stops := []func(){run(t, keeper.Run), run(t, sweeper.Run), run(t, tally.Run)}
	return func() {
		p.takes.Store(nil)
		for _, stop := range stops {
			stop()
		}
		p.metrics = prometheus.NewRegistry() // of the next process
	}
}

// tick waits for the next millisecond: the server's times, and that of a first connection, are whole ones.
func tick() {
	for was := time.Now().UnixMilli(); time.Now().UnixMilli() == was; {
		runtime.Gosched()
	}
}

// publish writes n reports, whose numbers begin at first.
func (p *post) publish(first, n int) {
	for i := range n {
		p.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": fmt.Sprintf("r%d", first+i), "status": "final"})
	}
}

// known is how many documents the ledger knows.
func (p *post) known(t *testing.T) int64 {
	t.Helper()
	stats, err := p.led.Stats(t.Context(), []string{name})
	if err != nil {
		t.Fatal(err)
	}
	return stats.Due[name]
}

func (p *post) eventuallyKnown(t *testing.T, n int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d are known", n), func() bool { return p.known(t) >= n })
	if got := p.known(t); got != n {
		t.Errorf("%d are known, want %d", got, n)
	}
}

// state is what is shared about catching up.
func (p *post) state(t *testing.T) ledger.CatchUp {
	t.Helper()
	c, err := p.led.LookAtCatchUp(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// count is a figure, summed over its series that have all these label values.
func (p *post) count(t *testing.T, figure string, values ...string) (sum float64) {
	t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != figure {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for _, value := range values {
				has := false
				for _, label := range m.GetLabel() {
					has = has || label.GetValue() == value
				}
				if !has {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func (p *post) sweeps(t *testing.T, values ...string) float64 {
	t.Helper()
	return p.count(t, "staffetta_sweeps_total", values...)
}

// connected waits for the first sweep.
func (p *post) connected(t *testing.T) {
	t.Helper()
	eventually(t, "the first sweep", func() bool { return p.sweeps(t, "start", "complete") >= 1 })
}

// subscribed waits for our Subscription.
func (p *post) subscribed(t *testing.T) {
	t.Helper()
	p.connected(t)
	eventually(t, "a Subscription", func() bool { return p.statuses() == "active" })
	if p.slow {
		if err := p.led.WantRepair(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is remembered", func() bool {
		all, err := p.led.Subscriptions(t.Context(), name)
		return err == nil && len(all) == 1 && all[0].Status == "active"
	})
	eventually(t, "what it has not told of before is looked for", func() bool { return !p.state(t).Open() })
}

// sweptAnew waits until a periodic sweep has ended that began after now: the first one to end may have begun before.
func (p *post) sweptAnew(t *testing.T) {
	t.Helper()
	n := p.sweeps(t, "period", "complete")
	eventually(t, "another sweep from its beginning to its end", func() bool { return p.sweeps(t, "period", "complete") >= n+2 })
}

func every(d time.Duration) func(*post) { return func(p *post) { p.swept.Every = d } }

func kept(p *post) { p.keeps = true }

func slow(p *post) { p.keeps, p.slow = true, true }

// A source without any Subscription works by sweep alone. What was there before is told to nobody, until a person says so.
func TestSweepsAlone(t *testing.T) {
	p := listenTo(t, "HAPI", every(10*time.Millisecond))
	p.publish(0, 5)
	p.start(t)
	p.connected(t)
	p.publish(100, 3)
	p.eventuallyKnown(t, 3)
	p.publish(101, 1) // another version: known, and looked at again
	eventually(t, "the other version", func() bool { return p.count(t, "staffetta_sweep_hits_total", "newer") >= 1 })
	p.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": "r7", "status": "registered"})
	p.publish(200, 1)
	p.eventuallyKnown(t, 4)
	if !p.state(t).Undecided() || p.count(t, "staffetta_first_connection") != 1 || !strings.Contains(p.logs.String(), `"level":"ERROR","msg":"first connection`) {
		t.Error("the first connection raises no alert")
	}
	if err := p.led.Decide(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the alert ends when a person has decided", func() bool { return p.count(t, "staffetta_first_connection") == 0 })
	if p.count(t, "staffetta_missed_hints_total") != 0 {
		t.Error("a source that shall not post has missed nothing")
	}
	for _, private := range []string{"r100", "r200", token} {
		if strings.Contains(p.logs.String(), private) {
			t.Errorf("%s is in the log", private)
		}
	}
}

// A type that cannot be looked at when its source is connected begins then all the same: what is published before it can be
// looked at is news, and what was there before is not.
func TestATypeThatFailsAtFirstBeginsWithItsSource(t *testing.T) {
	p := listenTo(t, "HAPI", every(10*time.Millisecond), func(p *post) { p.swept.Shape = fhir.ShapeFSE2 })
	put := func(kind, id string) {
		p.server.Put(sandbox.Resource{"resourceType": kind, "id": id, "status": map[string]string{"Composition": "final", "DocumentReference": "current"}[kind]})
	}
	put("Composition", "old-c")
	put("DocumentReference", "old-d")
	var fails atomic.Bool
	fails.Store(true)
	p.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !fails.Load() || !strings.HasSuffix(r.URL.Path, "/DocumentReference") {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	}
	p.start(t)
	eventually(t, "one type is swept, the other fails", func() bool {
		return p.sweeps(t, "start", "failed") >= 1 && !p.state(t).Kinds["Composition"].Swept.IsZero()
	})
	put("Composition", "new-c")
	put("DocumentReference", "new-d")
	fails.Store(false)
	eventually(t, "both are swept", func() bool { return len(p.state(t).Kinds) == 2 && !p.state(t).Swept().IsZero() })
	p.eventuallyKnown(t, 2)
}

// A type that has to wait for another one when its source is connected begins with it, too.
func TestATypeThatWaitsBeginsWithItsSource(t *testing.T) {
	p := listenTo(t, "HAPI", func(p *post) { p.swept.Shape = fhir.ShapeFSE2 })
	var once sync.Once
	p.server.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/Composition") {
			once.Do(func() {
				p.server.Put(sandbox.Resource{"resourceType": "DocumentReference", "id": "new-d", "status": "current"})
				tick()
			})
		}
		return false
	}
	p.start(t)
	p.connected(t)
	p.eventuallyKnown(t, 1)
}

// sweep.since says how far back the first one goes.
func TestTheFirstSweepGoesBackAsFarAsConfigured(t *testing.T) {
	p := listenTo(t, "HAPI", func(p *post) { p.swept.Since = time.Hour })
	for id, age := range map[string]time.Duration{"old": 2 * time.Hour, "young": 30 * time.Minute} {
		p.server.Load(sandbox.Resource{
			"resourceType": "DiagnosticReport", "id": id, "status": "final",
			"meta": sandbox.Resource{"versionId": "1", "lastUpdated": time.Now().Add(-age).UTC().Format(time.RFC3339Nano)},
		})
	}
	p.start(t)
	p.connected(t)
	p.eventuallyKnown(t, 1)
}

// A process that was away finds what was published meanwhile.
func TestAtStartWhatWasMissedIsFound(t *testing.T) {
	p := listenTo(t, "HAPI")
	stop := p.start(t)
	p.connected(t)
	p.publish(0, 2)
	stop()
	p.publish(2, 3)
	p.start(t)
	p.connected(t)
	p.eventuallyKnown(t, 5)
}

// A notification that names nothing is a sweep; a flood of them is not one each.
func TestWhatIsNotNamedIsLookedFor(t *testing.T) {
	p := listenTo(t, "HAPI")
	p.start(t)
	p.connected(t)
	p.publish(0, 3)
	ping := func() { t.Helper(); p.taken(t, http.NoBody) }
	ping()
	p.eventuallyKnown(t, 3)
	began := time.Now()
	for range 200 {
		ping()
	}
	eventually(t, "all wishes are answered", func() bool { return !p.state(t).Open() })
	took, rest := time.Since(began), 30*p.options.Rest // which its rests soon come to
	if n := p.sweeps(t, "unnamed"); n > 10+float64(took/rest) {
		t.Errorf("%v sweeps for a flood of pings that took %s", n, took)
	}
}

// A sweep that may have seen too little moves no checkpoint, and says so; when the server is well, all is found.
func TestASweepThatMayBeWrongMovesNothing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		quirks sandbox.Quirks
		result string
	}{
		{"200 with an OperationOutcome", sandbox.Quirks{ErrorInside: true}, "not-credible"},
		{"a total that shrinks", sandbox.Quirks{Shrinks: true, PageMost: 2}, "not-credible"},
		{"everything must be read, and the next page is gone", sandbox.Quirks{RefusesSort: true, PageMost: 2, NextIsGone: http.StatusGone}, "not-credible"},
		{"everything must be read, and there is no next page", sandbox.Quirks{RefusesSort: true, PageMost: 2, NoNext: true}, "not-credible"},
		{"empty, where something was", sandbox.Quirks{Empty: true}, "not-credible"},
		{"every search is refused", sandbox.Quirks{RefusesSort: true, RefusesTime: true, NoElements: true, PageMost: 2, NextIsGone: http.StatusGone}, "not-credible"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listenTo(t, "HAPI")
			stop := p.start(t)
			p.connected(t)
			p.publish(0, 4)
			if err := p.led.WantCatchUp(t.Context(), name, "test"); err != nil {
				t.Fatal(err)
			}
			p.eventuallyKnown(t, 4)
			eventually(t, "it is remembered that something was", func() bool { return !p.state(t).Open() })
			stop()
			before := p.state(t).Kinds["DiagnosticReport"]
			p.server.Misbehave(tt.quirks)
			p.publish(4, 4)
			stop = p.start(t)
			eventually(t, "a sweep that is none", func() bool { return p.sweeps(t, "start", tt.result) >= 1 })
			eventually(t, "it says why", func() bool { return p.state(t).Trouble != "" })
			after := p.state(t)
			if !after.Kinds["DiagnosticReport"].Checkpoint.Equal(before.Checkpoint) || !after.Kinds["DiagnosticReport"].Swept.Equal(before.Swept) {
				t.Errorf("the checkpoint has moved: %v, was %v", after, before)
			}
			stop()
			p.server.Misbehave(sandbox.Quirks{})
			p.start(t)
			p.connected(t)
			p.eventuallyKnown(t, 8)
			if trouble := p.state(t).Trouble; trouble != "" {
				t.Errorf("trouble %q, and all is well", trouble)
			}
		})
	}
}

// Where one type is looked for by several searches, and all of them are empty where something was, none of it is believed.
func TestSeveralEmptySearchesAreNotBelieved(t *testing.T) {
	p := listenTo(t, "HAPI", func(p *post) {
		p.swept.Searches = []string{"DiagnosticReport?status=final", "DiagnosticReport?status=amended"}
	})
	stop := p.start(t)
	p.connected(t)
	p.publish(0, 4)
	if err := p.led.WantCatchUp(t.Context(), name, "test"); err != nil {
		t.Fatal(err)
	}
	p.eventuallyKnown(t, 4)
	eventually(t, "it is whole", func() bool { return !p.state(t).Open() })
	stop()
	before := p.state(t).Kinds["DiagnosticReport"]
	p.server.Misbehave(sandbox.Quirks{Empty: true})
	p.start(t)
	eventually(t, "a sweep that is none", func() bool { return p.sweeps(t, "start", "not-credible") >= 1 })
	if after := p.state(t).Kinds["DiagnosticReport"]; !after.Swept.Equal(before.Swept) {
		t.Errorf("the checkpoint has moved: %v, was %v", after, before)
	}
}

// What a lenient server ignores is named, and everything is found all the same.
func TestALenientServer(t *testing.T) {
	for _, quirks := range []sandbox.Quirks{{IgnoresSort: true, PageMost: 3}, {IgnoresTime: true, PageMost: 3}} {
		p := listenTo(t, "HAPI", every(10*time.Millisecond))
		var ticks atomic.Int64 // what was loaded within one ms, or just now, says nothing of what a server ignores
		p.server.Now = func() time.Time { return time.Now().Add(time.Duration(ticks.Add(1)) * time.Millisecond) }
		ticks.Store(-time.Hour.Milliseconds())
		p.publish(0, 10)
		ticks.Store(0)
		p.server.Misbehave(quirks)
		p.start(t)
		p.connected(t)
		p.publish(100, 10)
		p.eventuallyKnown(t, 10)
		eventually(t, "what is ignored is named", func() bool {
			return strings.Contains(p.logs.String(), "the server ignores a parameter of sweeps")
		})
	}
}

// A server that does not let us search is a person's business; the posts of it go on.
func TestASearchThatIsForbidden(t *testing.T) {
	p := listenTo(t, "HAPI")
	p.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("_lastUpdated") || r.URL.Query().Has("_sort") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	p.start(t)
	eventually(t, "an error", func() bool {
		return strings.Contains(p.logs.String(), `"level":"ERROR","msg":"what was never posted cannot be looked for"`)
	})
	state, err := p.led.Pace().State(t.Context())
	if err != nil || len(state.SourcesPausedUntil) > 0 {
		t.Errorf("the source is paused for everybody: %v, %v", state.SourcesPausedUntil, err)
	}
}

// A server that takes our Subscription and never fires gets its verdict by name; one that posts is not accused.
func TestAServerThatNeverFires(t *testing.T) {
	p := listenTo(t, "mute", every(30*time.Millisecond), kept)
	stop := p.start(t)
	p.subscribed(t)
	p.sweptAnew(t) // what becomes active during a sweep is judged by the next one
	p.publish(0, 4)
	p.eventuallyKnown(t, 4)
	const verdict = "accepted our Subscription and has not posted 4 of 4 reports"
	eventually(t, "a verdict by name", func() bool {
		all, err := p.led.Subscriptions(t.Context(), name)
		return err == nil && len(all) == 1 && all[0].Verdict == verdict
	})
	if n := p.count(t, "staffetta_missed_hints_total", name); n != 4 {
		t.Errorf("%v missed, want 4", n)
	}
	if text := p.logs.String(); !strings.Contains(text, `"level":"WARN","msg":"a sweep found what was not posted"`) {
		t.Errorf("the log does not say so:\n%s", text)
	}
	eventually(t, "all know it", func() bool { return catchup.PostVerdict(p.state(t)) == verdict })
	// Other versions of what sweeps have found: that these are known says nothing for the server.
	sweeps, newer := p.sweeps(t, "period", "complete"), p.count(t, "staffetta_sweep_hits_total", "newer")
	p.publish(0, 2)
	eventually(t, "they are found", func() bool {
		return p.count(t, "staffetta_sweep_hits_total", "newer") >= newer+2 && p.sweeps(t, "period", "complete") >= sweeps+2
	})
	if got := p.subscription(t).Verdict; got != verdict {
		t.Errorf("got %q, want the verdict to stand", got)
	}
	stop()
	p.keeps, p.swept.Kept, p.swept.Subscriber = false, false, nil
	p.start(t)
	eventually(t, "without a Subscription there is no verdict", func() bool { return catchup.PostVerdict(p.state(t)) == "" })
}

// What a notification without a name asks to be looked for was posted, in its way.
func TestWhatWasPostedWithoutANameIsNotMissed(t *testing.T) {
	p := listenTo(t, "mute", kept, func(p *post) { p.options.Fresh = time.Nanosecond })
	p.start(t)
	p.subscribed(t)
	eventually(t, "what was before is looked through", func() bool { return !p.state(t).Open() })
	var missed float64
	for i, why := range []string{"unnamed", "outage"} {
		p.publish(2*i, 2)
		if err := p.led.WantCatchUp(t.Context(), name, why); err != nil {
			t.Fatal(err)
		}
		p.eventuallyKnown(t, int64(2*i+2))
		eventually(t, "the sweep has ended", func() bool { return !p.state(t).Open() })
		if got := p.count(t, "staffetta_missed_hints_total", name); got != missed {
			t.Errorf("%s: %v missed, want %v", why, got, missed)
		}
		missed += 2
	}
}

// readAll reads and settles all that is due or waits, as workers do.
func (p *post) readAll(t *testing.T) {
	t.Helper()
	eventually(t, "all is read", func() bool {
		claimed, err := p.led.Claim(t.Context(), ledger.ClaimOptions{N: 100, Sources: []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		settlements := make([]ledger.Settlement, 0, len(claimed.Records))
		for _, rec := range claimed.Records {
			meta, _ := p.server.Get("DiagnosticReport/" + rec.Locator.ID)["meta"].(sandbox.Resource)
			rec.State, rec.ReadOrder, rec.ReadVersion = ledger.Suppressed, rec.HintedOrder, p.led.VersionTag(fmt.Sprint(meta["versionId"]))
			settlements = append(settlements, ledger.Settlement{Record: rec, Event: "test"})
		}
		if _, err := p.led.Settle(t.Context(), settlements); err != nil {
			t.Fatal(err)
		}
		return p.known(t) == 0
	})
}

// A sweep that fails half way has admitted what the next one finds again: that it is known then says nothing for the server.
func TestAVerdictOutlivesATrouble(t *testing.T) {
	p := listenTo(t, "mute", every(5*time.Millisecond), kept, func(p *post) { p.options.Fresh = time.Nanosecond })
	p.server.Misbehave(sandbox.Quirks{NoTotal: true}) // the end of a list is seen by another page
	var well atomic.Bool
	p.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		since, err := time.Parse("ge"+time.RFC3339, r.URL.Query().Get("_lastUpdated"))
		first := err != nil || time.Since(since) > p.swept.Overlap/2
		if well.Load() || first {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}
	p.start(t)
	p.subscribed(t)
	p.sweptAnew(t) // what becomes active during a sweep is judged by the next one
	p.publish(0, 4)
	verdict := func() bool { return p.state(t).Missed == 4 }
	eventually(t, "a verdict", verdict)
	p.readAll(t)
	failed := p.sweeps(t, "failed")
	eventually(t, "sweeps fail", func() bool { return p.sweeps(t, "failed") > failed+1 })
	well.Store(true)
	whole := p.sweeps(t, "complete")
	eventually(t, "a whole sweep", func() bool { return p.sweeps(t, "complete") > whole })
	if !verdict() {
		t.Errorf("%d are missed, want the verdict to stand", p.state(t).Missed)
	}
}

// A server is accused of nothing that was there before its Subscription, nor of types that no Subscription of ours is about.
func TestWhatNobodyWasToPostIsNotMissed(t *testing.T) {
	criteria := func(server *sandbox.Server, id, of string) {
		server.Put(sandbox.Resource{
			"resourceType": "Subscription", "id": id, "status": "active", "criteria": of,
			"reason": "Staffetta/" + name + ":", "channel": sandbox.Resource{"type": "rest-hook", "endpoint": "https://adapter.example/fhir/" + name},
		})
	}
	manual := func(p *post) {
		p.source = nil
		p.swept.Shape, p.swept.Every, p.options.Fresh = fhir.ShapeFSE2, 10*time.Millisecond, time.Nanosecond
	}
	// remembered is a Subscription that is kept by a person, and active since so long before now.
	remembered := func(t *testing.T, p *post, status string) {
		t.Helper()
		p.swept.Subscriber = fhir.NewSubscriber(fhir.SubscriberOptions{Source: p.source, Wish: fhir.Wish{Endpoint: "https://adapter.example/fhir/" + name}})
		criteria(p.server, "s1", "Composition?status=final")
		if err := p.led.RememberSubscription(t.Context(), name, ledger.Subscription{
			ID: "s1", Endpoint: "https://adapter.example/fhir/" + name, Fingerprint: "f", Status: status, Events: -1,
		}); err != nil {
			t.Fatal(err)
		}
	}
	composition := func(p *post, id string) {
		p.server.Put(sandbox.Resource{"resourceType": "Composition", "id": id, "status": "final"})
	}
	// begin is a mute server with it.
	begin := func(t *testing.T, status string) *post {
		t.Helper()
		p := listenTo(t, "mute", manual)
		remembered(t, p, status)
		p.start(t)
		p.connected(t)
		return p
	}
	missed := func(t *testing.T, p *post, want float64, why string) {
		t.Helper()
		if n := p.count(t, "staffetta_missed_hints_total"); n != want {
			t.Errorf("%v were missed, %s", n, why)
		}
	}
	// found waits until a whole sweep has begun that must have found n hits nobody had heard of.
	found := func(t *testing.T, p *post, n float64) {
		t.Helper()
		eventually(t, "it is found", func() bool { return p.count(t, "staffetta_sweep_hits_total", "new") >= n })
		sweeps := p.sweeps(t, "complete")
		eventually(t, "and that sweep has ended", func() bool { return p.sweeps(t, "complete") > sweeps })
	}

	t.Run("a type without a Subscription", func(t *testing.T) {
		p := begin(t, "active")
		p.server.Put(sandbox.Resource{"resourceType": "DocumentReference", "id": "d1", "status": "current"})
		found(t, p, 1)
		missed(t, p, 0, "and no Subscription is about them")
		composition(p, "c1")
		found(t, p, 2)
		missed(t, p, 1, "want that of the Subscription")
	})
	t.Run("before its Subscription", func(t *testing.T) {
		p := begin(t, "requested")
		composition(p, "c1")
		found(t, p, 1)
		// What was published between two sweeps, and before it became active.
		published := time.Now()
		p.server.Load(sandbox.Resource{"resourceType": "Composition", "id": "c2", "status": "final", "meta": sandbox.Resource{
			"versionId": "1", "lastUpdated": published.UTC().Format(time.RFC3339Nano),
		}})
		eventually(t, "a later millisecond", func() bool { return time.Now().UnixMilli() > published.UnixMilli() })
		remembered(t, p, "active")
		found(t, p, 2)
		missed(t, p, 0, "and there was no active Subscription")
		composition(p, "c3")
		found(t, p, 3)
		missed(t, p, 1, "want what was published afterwards")
	})
	t.Run("its server shows it as stopped", func(t *testing.T) {
		p := begin(t, "active")
		p.server.SetStatus("s1", "off")
		composition(p, "c1")
		found(t, p, 1)
		missed(t, p, 0, "and the Subscription is off")
	})
}

func TestAServerThatPostsIsNotAccused(t *testing.T) {
	for _, product := range []string{"HAPI", "Medplum", "R5", "HAPI topics"} {
		t.Run(product, func(t *testing.T) {
			p := listenTo(t, product, kept, func(p *post) {
				p.options.Fresh, p.server.Traits.GivesUp = time.Nanosecond, ""
			})
			stop := p.start(t)
			p.subscribed(t)
			p.publish(0, 20)
			p.eventuallyKnown(t, 20) // by its posts: the next sweep is an hour away
			stop()
			stop = p.start(t)
			p.connected(t)
			if hits, missed := p.count(t, "staffetta_sweep_hits_total"), p.count(t, "staffetta_missed_hints_total"); missed != 0 || hits != 20 {
				t.Errorf("%v of %v were missed", missed, hits)
			}
			stop()
			p.publish(20, 5) // while nobody is there
			eventually(t, "they were dropped", func() bool { return p.server.Dropped() == 5 })
			p.start(t)
			p.connected(t)
			if missed := p.count(t, "staffetta_missed_hints_total"); missed != 5 {
				t.Errorf("%v were missed, want the 5 that could not be posted", missed)
			}
		})
	}
}

// What did not reach us leaves a gap, which $events fills where the server has it, deletions included, and a sweep where not.
func TestGapsAreFilled(t *testing.T) {
	for _, tt := range []struct {
		product, end string
	}{{"R5", "events"}, {"Aidbox", "sweep"}, {"HAPI topics", "sweep"}, {"fhir-candle", "sweep"}} {
		t.Run(tt.product, func(t *testing.T) {
			p := listenTo(t, tt.product, kept)
			p.server.Traits.GivesUp = "" // it goes on, and drops what nobody took
			p.start(t)
			p.subscribed(t)
			p.publish(0, 2)
			p.eventuallyKnown(t, 2)
			eventually(t, "it is counted", func() bool { return p.highest(t) == 2 })
			handler := p.takes.Swap(nil)
			p.publish(2, 3)
			eventually(t, "they were dropped", func() bool { return p.server.Dropped() == 3 })
			p.takes.Store(handler)
			p.publish(5, 1)
			p.eventuallyKnown(t, 6)
			eventually(t, "the gap is closed", func() bool { return p.count(t, "staffetta_event_gaps_total", tt.end) >= 1 && p.gaps(t) == 0 })
			if h := p.highest(t); h != 6 {
				t.Errorf("highest %d, want 6", h)
			}
		})
	}
}

// misses loses one report that was published and one that was deleted, and has a gap noticed by another one.
func (p *post) misses(t *testing.T) {
	t.Helper()
	p.publish(0, 2)
	p.eventuallyKnown(t, 2)
	eventually(t, "they are counted", func() bool { return p.highest(t) == 2 })
	handler := p.takes.Swap(nil)
	p.publish(2, 1)
	p.server.Delete("DiagnosticReport/r0")
	eventually(t, "they were dropped", func() bool { return p.server.Dropped() == 2 })
	p.takes.Store(handler)
	p.publish(3, 1)
}

// asksForEvents answers requests for old events while it is not zero, and counts them.
type asksForEvents struct{ status, n atomic.Int64 }

func (a *asksForEvents) fault(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, "/$events") {
		return false
	}
	a.n.Add(1)
	if status := a.status.Load(); status > 0 {
		w.WriteHeader(int(status))
		return true
	}
	return false
}

// A server in trouble is asked for its old events again: a sweep finds what was published at once, but not what was deleted.
func TestOldEventsAreAskedForAgain(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusBadGateway} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			p := listenTo(t, "R5", kept)
			var asks asksForEvents
			p.server.Traits.GivesUp, p.server.Fault = "", asks.fault
			asks.status.Store(int64(status))
			p.start(t)
			p.subscribed(t)
			p.misses(t)
			p.eventuallyKnown(t, 4)
			eventually(t, "sweeps, and more than one call", func() bool { return p.sweeps(t, "gap", "complete") >= 1 && asks.n.Load() > 1 })
			if n := p.gaps(t); n != 1 {
				t.Errorf("%d gaps are open, want that with the deletion", n)
			}
			asks.status.Store(0)
			eventually(t, "the server fills the gap", func() bool { return p.count(t, "staffetta_event_gaps_total", "events") == 1 && p.gaps(t) == 0 })
		})
	}
}

// A source that is paused for everybody is not asked.
func TestOldEventsOfAPausedSource(t *testing.T) {
	p := listenTo(t, "R5", kept)
	var asks asksForEvents
	p.server.Traits.GivesUp, p.server.Fault = "", asks.fault
	p.start(t)
	p.subscribed(t)
	if err := p.led.Pace().PauseSource(t.Context(), name, time.Hour, "test"); err != nil {
		t.Fatal(err)
	}
	p.misses(t)
	eventually(t, "it is put off", func() bool { return strings.Contains(p.logs.String(), "missing events not asked for") })
	if n := asks.n.Load(); n > 0 || p.gaps(t) != 1 {
		t.Errorf("%d calls, %d gaps are open", n, p.gaps(t))
	}
}

// That one Subscription has no old events says nothing of another one.
func TestOldEventsOfAnotherSubscription(t *testing.T) {
	p := listenTo(t, "R5", kept)
	var asks asksForEvents
	p.server.Traits.GivesUp, p.server.Fault = "", asks.fault
	p.start(t)
	p.subscribed(t)
	for _, number := range []int{1, 3} {
		p.taken(t, strings.NewReader(fmt.Sprintf(`{"resourceType":"Bundle","type":"subscription-notification","entry":[{"resource":{"resourceType":"SubscriptionStatus",`+
			`"type":"event-notification","status":"active","subscription":{"reference":"Subscription/of-somebody-else"},"notificationEvent":[`+
			`{"eventNumber":%d,"focus":{"reference":"DiagnosticReport/r0"}}]}}]}`, number)))
	}
	eventually(t, "the other one's events are not found", func() bool {
		return asks.n.Load() == 1 && p.count(t, "staffetta_event_gaps_total", "sweep") == 1
	})
	p.misses(t)
	eventually(t, "the server fills the gap in ours", func() bool { return p.count(t, "staffetta_event_gaps_total", "events") == 1 })
}

// What was deleted is in no search. Where the server lists a history, sweeps find it there, each deletion once.
func TestDeletionsAreFound(t *testing.T) {
	p := listenTo(t, "HAPI", kept)
	p.server.Traits.History = true
	p.publish(0, 1)
	p.server.Delete("DiagnosticReport/r0") // before the first connection
	stop := p.start(t)
	p.subscribed(t)
	deleted := func() float64 { return p.count(t, "staffetta_sweep_hits_total", "deleted") }
	sweep := func() {
		t.Helper()
		n := p.sweeps(t, "test", "complete")
		if err := p.led.WantCatchUp(t.Context(), name, "test"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a sweep", func() bool { return p.sweeps(t, "test", "complete") == n+1 })
	}
	p.publish(1, 2)
	p.eventuallyKnown(t, 2)
	sweep()
	if n := deleted(); n != 0 {
		t.Errorf("%v deletions, and nothing was deleted since it is connected", n)
	}
	p.takes.Store(nil)
	p.server.Delete("DiagnosticReport/r1")
	sweep()
	sweep()
	if n := deleted(); n != 1 {
		t.Errorf("%v deletions were admitted, want 1 once", n)
	}
	stop()
	p.publish(3, 1)
	p.server.Delete("DiagnosticReport/r2")
	p.start(t)
	p.connected(t)
	if n := deleted(); n != 2 {
		t.Errorf("another process has admitted %v deletions, want those of the overlap", n)
	}
}

// A history takes many calls: sweeps that every notification asks for do not read it each time, or nobody would be told in time.
func TestHowOftenAHistoryIsRead(t *testing.T) {
	p := listenTo(t, "HAPI", every(5*time.Millisecond), func(p *post) { p.swept.Overlap = time.Hour })
	p.server.Traits.History = true
	p.start(t)
	p.connected(t)
	eventually(t, "periodic sweeps", func() bool { return p.sweeps(t, "period", "complete") > 3 })
	if got := p.server.Calls()["history"]; got != 1 {
		t.Errorf("a history was asked for %d times, want once, at the start", got)
	}
	for why, want := range map[string]int{"unnamed": 0, "outage": 1} {
		n, asked := p.sweeps(t, why, "complete"), p.server.Calls()["history"]
		if err := p.led.WantCatchUp(t.Context(), name, why); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a sweep", func() bool { return p.sweeps(t, why, "complete") == n+1 })
		if got := p.server.Calls()["history"] - asked; got != want {
			t.Errorf("%s: a history was asked for %d times, want %d", why, got, want)
		}
	}
}

// That a history cannot be read is said once, and keeps nothing else from being found.
func TestAHistoryThatCannotBeRead(t *testing.T) {
	p := listenTo(t, "HAPI", func(p *post) {
		p.swept.Overlap, p.swept.Every, p.options.Fresh = 0, 10*time.Millisecond, time.Nanosecond // no look goes back behind the one before
	})
	p.server.Traits.History = true
	var asked atomic.Int64
	var well atomic.Bool
	p.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/_history") {
			return false
		}
		asked.Add(1)
		if !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return !well.Load()
	}
	p.start(t)
	p.connected(t)
	p.publish(0, 2)
	p.eventuallyKnown(t, 2)
	p.server.Delete("DiagnosticReport/r0")
	before := asked.Load()
	eventually(t, "it is asked again and again", func() bool { return asked.Load() > before+3 })
	if n := strings.Count(p.logs.String(), "what was deleted cannot be looked for"); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	if p.sweeps(t, "failed") > 0 {
		t.Error("sweeps fail because of it")
	}
	well.Store(true)
	eventually(t, "the deletion is found", func() bool { return p.count(t, "staffetta_sweep_hits_total", "deleted") == 1 })
}

func (p *post) subscription(t *testing.T) ledger.Subscription {
	t.Helper()
	all, err := p.led.Subscriptions(t.Context(), name)
	if err != nil || len(all) == 0 {
		return ledger.Subscription{}
	}
	return all[0]
}

func (p *post) highest(t *testing.T) int64 { t.Helper(); return p.subscription(t).Count.Highest }
func (p *post) gaps(t *testing.T) int      { t.Helper(); return len(p.subscription(t).Count.Gaps) }

// A heartbeat that counts more than has reached us is a gap, too.
func TestAHeartbeatShowsAGap(t *testing.T) {
	p := listenTo(t, "R5", kept)
	p.server.Traits.GivesUp = ""
	p.start(t)
	p.subscribed(t)
	handler := p.takes.Swap(nil)
	p.publish(0, 2)
	eventually(t, "they were dropped", func() bool { return p.server.Dropped() == 2 })
	p.takes.Store(handler)
	p.server.Heartbeat()
	p.eventuallyKnown(t, 2)
	eventually(t, "the gap is closed", func() bool { return p.gaps(t) == 0 && p.highest(t) == 2 })
}

// HAPI keeps what it owes in memory only: after its restart it counts anew, and what was lost is looked for.
func TestAServerThatCountsAnew(t *testing.T) {
	p := listenTo(t, "HAPI topics", kept)
	p.start(t)
	p.subscribed(t)
	p.publish(0, 3)
	p.eventuallyKnown(t, 3)
	eventually(t, "they are counted", func() bool { return p.highest(t) == 3 }) // numbers that begin anew at once are not told from these
	handler := p.takes.Swap(nil)
	p.publish(3, 2)
	eventually(t, "they were dropped", func() bool { return p.server.Dropped() == 2 })
	p.server.Restart()
	p.takes.Store(handler)
	p.publish(5, 1)
	eventually(t, "one is heard", func() bool { return p.known(t) >= 4 && p.subscription(t).Count.Low == 1 })
	p.publish(6, 1)
	p.eventuallyKnown(t, 7)
	if p.count(t, "staffetta_event_gaps_total", "counted-anew") != 1 || p.highest(t) != 2 {
		t.Errorf("highest %d, want 2", p.highest(t))
	}
}

// A notification that says error, or silence for longer than the heartbeat, wakes the keeper; what was missed is found.
func TestAStoppedSubscriptionIsRepairedAtOnce(t *testing.T) {
	t.Run("a heartbeat says so", func(t *testing.T) {
		p := listenTo(t, "R5", slow)
		p.start(t)
		p.subscribed(t)
		id := p.subscription(t).ID
		p.server.SetStatus(id, "error")
		p.publish(0, 1) // not posted any more
		p.say(t, id, "error")
		eventually(t, "it is repaired", func() bool { return p.statuses() == "active" })
		p.eventuallyKnown(t, 1)
	})
	t.Run("silence", func(t *testing.T) {
		p := listenTo(t, "R5", slow)
		p.start(t)
		p.subscribed(t)
		sub := p.subscription(t)
		p.server.SetStatus(sub.ID, "off")
		p.publish(0, 1)
		sub.Heartbeat, sub.Events = 40*time.Millisecond, -1 // as if it had promised one that often
		if err := p.led.RememberSubscription(t.Context(), name, sub); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is repaired", func() bool { return p.statuses() == "active" })
		p.eventuallyKnown(t, 1)
		if !strings.Contains(p.logs.String(), "silent for longer than its heartbeat") {
			t.Error("the log does not say that it was silent")
		}
		if !strings.Contains(p.logs.String(), `"silent":"`) {
			t.Errorf("how long it was silent is not written as a person writes it: %s", p.logs.String())
		}
	})
	t.Run("silence, and its server says that it is active", func(t *testing.T) {
		p := listenTo(t, "HAPI topics", slow)
		p.start(t)
		p.subscribed(t)
		sub := p.subscription(t)
		handler := p.takes.Swap(nil)
		p.publish(0, 1)
		eventually(t, "it was dropped", func() bool { return p.server.Dropped() == 1 })
		p.takes.Store(handler)
		sub.Heartbeat, sub.Events = 40*time.Millisecond, -1 // as if it had promised one that often
		if err := p.led.RememberSubscription(t.Context(), name, sub); err != nil {
			t.Fatal(err)
		}
		p.eventuallyKnown(t, 1)
		asked := p.server.Calls()["GET Subscription"]
		eventually(t, "its status is asked for again and again", func() bool { return p.server.Calls()["GET Subscription"] >= asked+6 })
		if n := p.sweeps(t, "silence"); n != 1 || p.state(t).Open() {
			t.Errorf("%v sweeps for one silence, another one is wanted: %t", n, p.state(t).Open())
		}
		p.publish(1, 1) // it speaks, and falls silent again
		eventually(t, "another sweep for another silence", func() bool { return p.sweeps(t, "silence") == 2 })
	})
	t.Run("it was not silent while we were away", func(t *testing.T) {
		p := listenTo(t, "R5")
		p.swept.Subscriber = fhir.NewSubscriber(fhir.SubscriberOptions{Source: p.source, Wish: fhir.Wish{Endpoint: p.endpoint}})
		sub := ledger.Subscription{ID: "s1", Endpoint: p.endpoint, Fingerprint: "f", Status: "active", Events: -1, Heartbeat: 10 * time.Minute}
		if err := p.led.RememberSubscription(t.Context(), name, sub); err != nil {
			t.Fatal(err)
		}
		before := time.Now().Add(-time.Hour)
		if err := p.led.SaveCount(t.Context(), name, sub.ID, ledger.Count{Heard: before}, true); err != nil {
			t.Fatal(err)
		}
		if err := p.redis.HSet(t.Context(), "staffetta:sub:"+name+":"+sub.ID, "t", before.UnixMilli()).Err(); err != nil { // since when it is active
			t.Fatal(err)
		}
		p.start(t)
		p.connected(t)
		if strings.Contains(p.logs.String(), "silent") || p.state(t).Wanted > 0 || p.subscription(t).Count.Heard.After(before) {
			t.Errorf("it is called silent:\n%s", p.logs.String())
		}
	})
	t.Run("nobody keeps it: a person must", func(t *testing.T) {
		p := listenTo(t, "R5", kept)
		stop := p.start(t)
		p.subscribed(t)
		stop()
		p.keeps = false
		p.swept.Kept, p.swept.Subscriber = false, fhir.NewSubscriber(fhir.SubscriberOptions{Source: p.source, Wish: fhir.Wish{Endpoint: p.endpoint}})
		p.start(t)
		p.say(t, p.subscription(t).ID, "error")
		eventually(t, "an error", func() bool {
			return strings.Contains(p.logs.String(), `"level":"ERROR","msg":"a Subscription was stopped by its server: see staffetta subscribe"`)
		})
		id := p.subscription(t).ID
		eventually(t, "it is remembered", func() bool { return p.subscription(t).Status == "error" })
		p.say(t, id, "active") // a person has
		eventually(t, "it is active, and what it did not tell of is looked for", func() bool {
			return p.subscription(t).Status == "active" && p.sweeps(t, "subscription-active", "complete") == 1
		})
		if calls := p.server.Calls(); calls["PUT Subscription"] > 0 || calls["POST Subscription"] > 1 {
			t.Errorf("something was written at the server: %v", calls)
		}
	})
}

// say posts a heartbeat with a status, as the server would.
func (p *post) say(t *testing.T, id, status string) {
	t.Helper()
	body := fmt.Sprintf(`{"resourceType":"Bundle","type":"subscription-notification","entry":[{"resource":{"resourceType":"SubscriptionStatus",`+
		`"type":"heartbeat","status":%q,"eventsSinceSubscriptionStart":0,"subscription":{"reference":"Subscription/%s"}}}]}`, status, id)
	p.taken(t, strings.NewReader(body))
}

// taken posts a body, which our endpoint must take.
func (p *post) taken(t *testing.T, body io.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.endpoint, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("it is answered %d", res.StatusCode)
	}
}

// HAPI drops what our endpoint did not take within a minute. Here a minute is a moment, and nothing is lost.
func TestHAPIDropsWhatWeDidNotTake(t *testing.T) {
	p := listenTo(t, "HAPI", kept)
	p.start(t)
	p.subscribed(t)
	p.publish(0, 1)
	p.eventuallyKnown(t, 1)
	handler := p.takes.Swap(nil) // our endpoint is away, and with it the process
	p.publish(1, 5)
	eventually(t, "it has dropped them", func() bool { return p.server.Dropped() == 5 })
	p.takes.Store(handler)
	if err := p.led.WantCatchUp(t.Context(), name, "outage"); err != nil { // as the tally does after an absence
		t.Fatal(err)
	}
	p.eventuallyKnown(t, 6)
}

// Nobody was there for a while: the tally says so, and asks for a sweep.
func TestAnAbsenceIsNoticed(t *testing.T) {
	p := listenTo(t, "HAPI")
	led := p.led
	heard := func() {
		t.Helper()
		was := p.state(t).Alive
		stop := run(t, catchup.NewTally(catchup.TallyOptions{Ledger: led, Sources: []string{name}, Log: slog.New(slog.NewJSONHandler(&p.logs, nil)), Patience: time.Hour, Every: time.Hour}).Run)
		eventually(t, "somebody is there", func() bool { return p.state(t).Alive.After(was) })
		stop()
	}
	heard()
	if p.state(t).Open() {
		t.Error("a sweep is wanted, and nobody was ever there")
	}
	away := time.Now().Add(-2 * time.Hour)
	if err := p.redis.HSet(t.Context(), "staffetta:{at:"+name+"}:catchup", "a", away.UnixMilli()).Err(); err != nil { // when somebody was
		t.Fatal(err)
	}
	heard()
	if c := p.state(t); !c.Open() || c.Why != "outage" {
		t.Errorf("open %t, why %q", c.Open(), c.Why)
	}
	if !strings.Contains(p.logs.String(), `"away":"2h0m`) {
		t.Errorf("how long is not written as a person writes it: %s", p.logs.String())
	}
}

// A Redis that was restarted may have forgotten its last writes, whether anybody has missed it or not: the source is looked through.
func TestARestartOfRedisIsNoticed(t *testing.T) {
	p, server := listenTo(t, "HAPI"), redistest.NewServer(t)
	p.redis = redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { _ = p.redis.Close() })
	led := p.ledger(t)
	run(t, catchup.NewTally(catchup.TallyOptions{Ledger: led, Sources: []string{name}, Log: slog.New(slog.DiscardHandler), Patience: time.Hour, Every: time.Millisecond}).Run)
	why := func() string {
		_, _ = led.Claim(t.Context(), ledger.ClaimOptions{Sources: []string{name}, N: 1}) // as workers do: it looks which Redis answers
		c, err := led.LookAtCatchUp(t.Context(), name)
		if err != nil || c.Alive.IsZero() {
			return "not known"
		}
		return c.Why
	}
	eventually(t, "it listens", func() bool { return why() == "" })
	server.Kill()
	server.Start(t)
	eventually(t, "a sweep is wanted", func() bool { return why() == "redis-restarted" })
}

// A metadata update that changes who may see a document is found: it is another version of its DocumentReference.
func TestAMetadataUpdateIsFound(t *testing.T) {
	p := listenTo(t, "HAPI", every(10*time.Millisecond), func(p *post) { p.swept.Shape = fhir.ShapeFSE2 })
	p.start(t)
	p.connected(t)
	p.server.Put(sandbox.Resource{"resourceType": "Composition", "id": "c1", "status": "final"})
	p.server.Put(sandbox.Resource{"resourceType": "DocumentReference", "id": "d1", "status": "current"})
	p.eventuallyKnown(t, 2)
	before := p.count(t, "staffetta_sweep_hits_total", "newer")
	p.server.Put(sandbox.Resource{"resourceType": "DocumentReference", "id": "d1", "status": "current", "securityLabel": []any{}})
	eventually(t, "it is looked at again", func() bool { return p.count(t, "staffetta_sweep_hits_total", "newer") > before })
}

func TestOneReplicaSweeps(t *testing.T) {
	p := listenTo(t, "HAPI", every(10*time.Millisecond), func(p *post) { p.options.Lease = longLease })
	var calls [3]atomic.Int64
	stops := make([]func(), len(calls))
	for i := range calls {
		source, err := fhir.NewSource(fhir.SourceOptions{Name: name, BaseURL: p.base, Shape: fhir.ShapeReport, MaxBody: 1 << 20, Client: &http.Client{
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) { calls[i].Add(1); return p.client.Transport.RoundTrip(r) }),
		}})
		if err != nil {
			t.Fatal(err)
		}
		swept := p.swept
		swept.Source, swept.Searches = source, fhir.Searches(fhir.ShapeReport, nil, nil)
		o := p.options
		o.Ledger, o.Sources, o.Metrics, o.Log = p.ledger(t), []catchup.Swept{swept}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
		s, err := catchup.NewSweeper(o)
		if err != nil {
			t.Fatal(err)
		}
		stops[i] = run(t, s.Run)
	}
	leader := func() (at, n int) {
		at = -1
		for i := range calls {
			if calls[i].Load() > 0 {
				at, n = i, n+1
			}
		}
		return at, n
	}
	eventually(t, "sweeps", func() bool { at, _ := leader(); return at >= 0 && calls[at].Load() > 10 })
	first, n := leader()
	if n != 1 {
		t.Errorf("%d replicas sweep", n)
	}
	stops[first]()
	eventually(t, "another one sweeps", func() bool { _, n := leader(); return n == 2 })
	p.publish(0, 1)
	p.eventuallyKnown(t, 1)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A sweep stops when it is told to, also at a server that does not answer.
func TestASweepStops(t *testing.T) {
	p := listenTo(t, "HAPI")
	reached := make(chan struct{}, 1)
	p.server.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case reached <- struct{}{}:
		default:
		}
		<-r.Context().Done()
		return true
	}
	stop := p.start(t)
	<-reached
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	select {
	case <-stopped:
	case <-ctx.Done():
		t.Fatal("it does not stop")
	}
}
