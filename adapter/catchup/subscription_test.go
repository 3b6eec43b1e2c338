package catchup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"staffetta/adapter/catchup"
	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	name  = "north"
	token = "token-0123456789abcdef"
)

// logs is what was written, for reading while it is written.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// ward is a server that posts to an endpoint, and a Redis.
type ward struct {
	server   *sandbox.Server
	base     string
	client   *http.Client
	redis    redis.UniversalClient
	endpoint string
	refuses  atomic.Bool // our endpoint is away
	lease    time.Duration
	logs     logs
}

func open(t *testing.T, product string) *ward {
	t.Helper()
	w := &ward{server: sandbox.NewServer(), redis: redistest.Start(t), lease: 300 * time.Millisecond}
	w.server.Traits = sandbox.Products()[product]
	served := httptest.NewServer(w.server)
	t.Cleanup(served.Close)
	endpoint := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if w.refuses.Load() || req.Header.Get("Authorization") != "Bearer "+token {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(endpoint.Close)
	w.base, w.client, w.endpoint = served.URL+"/fhir", served.Client(), endpoint.URL+"/fhir/"+name
	run(t, w.server.Run)
	return w
}

// run runs a part until the test ends, or until it is stopped.
func run(t *testing.T, part func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (w *ward) ledger(t *testing.T) *ledger.Ledger {
	t.Helper()
	naming, seal := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal"))
	l, err := ledger.Open(t.Context(), ledger.Options{Redis: w.redis, NamingKey: naming[:], SealKeys: []ledger.SealKey{{ID: 1, Key: seal[:]}}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// replica is one process that keeps the Subscriptions.
type replica struct {
	metrics *prometheus.Registry
	calls   atomic.Int64
	stop    func()
}

// RoundTrip counts the calls of the replica.
func (r *replica) RoundTrip(req *http.Request) (*http.Response, error) {
	r.calls.Add(1)
	return http.DefaultTransport.RoundTrip(req)
}

func (w *ward) replica(t *testing.T, changes ...func(*fhir.Wish)) *replica {
	t.Helper()
	r := &replica{metrics: prometheus.NewRegistry()}
	source, err := fhir.NewSource(fhir.SourceOptions{
		Name: name, BaseURL: w.base, Shape: fhir.ShapeReport, Client: &http.Client{Transport: r}, MaxBody: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	wish := fhir.Wish{Endpoint: w.endpoint, Token: token, Content: fhir.ContentID, Timeout: 30 * time.Second, MaxCount: 20}
	for _, change := range changes {
		change(&wish)
	}
	keeper := catchup.NewKeeper(catchup.KeeperOptions{
		Ledger: w.ledger(t), Metrics: r.metrics, Log: slog.New(slog.NewJSONHandler(&w.logs, nil)),
		Sources: []catchup.Source{{Name: name, Subscriber: fhir.NewSubscriber(fhir.SubscriberOptions{Source: source, Wish: wish})}},
		First:   2 * time.Millisecond, Longest: 20 * time.Millisecond, Lease: w.lease,
	})
	r.stop = run(t, keeper.Run)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	return r
}

// active is the metric; -1 where the replica has none.
func (r *replica) active(t *testing.T) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "staffetta_subscription_active" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// statuses are those at the server.
func (w *ward) statuses() string {
	kept := w.server.Subscriptions()
	all := make([]string, 0, len(kept))
	for _, one := range kept {
		all = append(all, fmt.Sprint(one["status"]))
	}
	return strings.Join(all, " ")
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("it never came to be: %s", what)
		case <-ticker.C:
		}
	}
}

// id is the only Subscription's.
func (w *ward) id() string {
	if all := w.server.Subscriptions(); len(all) == 1 {
		return fmt.Sprint(all[0]["id"])
	}
	return ""
}

func TestTheKeeperKeepsASubscriptionActive(t *testing.T) {
	for _, product := range []string{"HAPI", "HAPI topics", "Medplum", "Aidbox", "fhir-candle", "R5"} {
		t.Run(product, func(t *testing.T) {
			w := open(t, product)
			r := w.replica(t)
			well := func() bool { return w.statuses() == "active" && r.active(t) == 1 }
			eventually(t, "created", well)
			for _, status := range []string{"error", "off"} {
				w.server.SetStatus(w.id(), status)
				eventually(t, "repaired from "+status, func() bool {
					return well() && strings.Contains(w.logs.String(), `"why":"`+status+`"`)
				})
			}
			gone := w.id()
			w.server.Delete("Subscription/" + gone)
			eventually(t, "created again", func() bool { return well() && w.id() != gone })
			eventually(t, "only it is remembered", func() bool {
				all, err := w.ledger(t).Subscriptions(t.Context(), name)
				return err == nil && len(all) == 1 && all[0].ID == w.id() && all[0].Status == "active"
			})
			r.stop()
			if r.active(t) != -1 {
				t.Error("a replica that no longer keeps it still says how it is")
			}
			if text := w.logs.String(); strings.Contains(text, token) || !strings.Contains(text, "subscription is active") {
				t.Errorf("the log holds the token, or does not say that it is active:\n%s", text)
			}
		})
	}
}

func TestTheKeeperRenews(t *testing.T) {
	w := open(t, "HAPI")
	ends := func() string {
		for _, one := range w.server.Subscriptions() {
			return fmt.Sprint(one["end"])
		}
		return ""
	}
	w.replica(t, func(wish *fhir.Wish) { wish.End = 3 * time.Second })
	eventually(t, "an end", func() bool { return ends() != "" })
	first := ends()
	eventually(t, "another end", func() bool { return ends() != first && w.statuses() == "active" })
	eventually(t, "the log says so", func() bool { return strings.Contains(w.logs.String(), `"deed":"renewed"`) })
}

// Our endpoint is away: the server gives up, and takes us back when we are there again.
func TestTheKeeperOutlivesAnOutageOfOurEndpoint(t *testing.T) {
	w := open(t, "R5")
	r := w.replica(t)
	eventually(t, "created", func() bool { return r.active(t) == 1 })
	w.refuses.Store(true)
	w.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final"})
	eventually(t, "noticed", func() bool { return r.active(t) == 0 })
	w.refuses.Store(false)
	eventually(t, "active again", func() bool { return r.active(t) == 1 && w.statuses() == "active" })
}

// The server is away, or refuses us: nothing is given up.
func TestTheKeeperOutlivesTroubleAtTheServer(t *testing.T) {
	w := open(t, "HAPI")
	var status atomic.Int64
	status.Store(http.StatusUnauthorized)
	w.server.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
		code := status.Load()
		if code != 0 {
			rw.WriteHeader(int(code))
		}
		return code != 0
	}
	r := w.replica(t)
	eventually(t, "an error that a person must see", func() bool {
		return strings.Contains(w.logs.String(), `"level":"ERROR","msg":"subscription cannot be kept"`)
	})
	status.Store(http.StatusInternalServerError)
	eventually(t, "a warning", func() bool {
		return strings.Contains(w.logs.String(), `"level":"WARN","msg":"subscription cannot be kept"`)
	})
	if r.active(t) != 0 {
		t.Error("the metric does not say so")
	}
	status.Store(0)
	eventually(t, "created", func() bool { return r.active(t) == 1 && w.statuses() == "active" })
}

// A server that keeps nothing does not get a Subscription at each look.
func TestSubscriptionsThatVanishAreNotCreatedForEver(t *testing.T) {
	w := open(t, "HAPI")
	w.server.Traits.Forgets = true
	w.replica(t)
	eventually(t, "an error", func() bool { return strings.Contains(w.logs.String(), "are not there afterwards") })
	if n := w.server.Calls()["POST Subscription"]; n != 3 {
		t.Errorf("%d were created, want 3", n)
	}
}

// longLease is for tests of several replicas: a slow machine must not lose it by itself. Others ask for it three times as often.
const longLease = 6 * time.Second

func TestOneReplicaKeeps(t *testing.T) {
	w := open(t, "HAPI")
	w.lease = longLease
	replicas := []*replica{w.replica(t), w.replica(t), w.replica(t)}
	keeping := func() (at int, n int) {
		at = -1
		for i, r := range replicas {
			if r.active(t) == 1 {
				at, n = i, n+1
			}
		}
		return at, n
	}
	eventually(t, "one keeps", func() bool { _, n := keeping(); return n == 1 && w.statuses() == "active" })
	first, _ := keeping()
	for i, r := range replicas {
		if calls := r.calls.Load(); (calls > 0) != (i == first) {
			t.Errorf("replica %d of 3 made %d calls, and replica %d keeps", i, calls, first)
		}
	}
	replicas[first].stop()
	eventually(t, "another one keeps", func() bool { at, n := keeping(); return n == 1 && at != first })
	w.server.SetStatus(w.id(), "error")
	eventually(t, "and repairs", func() bool { return w.statuses() == "active" })
}

// A replica that cannot keep its lease stops before another one begins.
func TestALostLeaseEndsTheWork(t *testing.T) {
	w := open(t, "HAPI")
	r := w.replica(t)
	eventually(t, "created", func() bool { return r.active(t) == 1 })
	if err := w.redis.Set(t.Context(), "staffetta:lease:subscription:"+name, "somebody else", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it stopped", func() bool { return r.active(t) == -1 })
	if err := w.redis.Del(t.Context(), "staffetta:lease:subscription:"+name).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes on", func() bool { return r.active(t) == 1 })
}

// What was created is remembered also where the rest fails, so that it is not created twice where nothing can be searched.
func TestHalfDoneIsRemembered(t *testing.T) {
	w := open(t, "HAPI")
	source, err := fhir.NewSource(fhir.SourceOptions{Name: name, BaseURL: w.base, Shape: fhir.ShapeReport, Client: w.client, MaxBody: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s := fhir.NewSubscriber(fhir.SubscriberOptions{Source: source, Wish: fhir.Wish{
		Endpoint: w.endpoint, Token: token, Criteria: []string{"DiagnosticReport?status=final", "no criteria"},
	}})
	led := w.ledger(t)
	if _, err := catchup.Ensure(t.Context(), led, name, s); err == nil {
		t.Fatal("criteria that are none were taken")
	}
	all, err := led.Subscriptions(t.Context(), name)
	if err != nil || len(all) != 1 || all[0].ID != w.id() {
		t.Errorf("remembered %v, %v; want the one that was created", all, err)
	}
}

// Whatever may have kept a Subscription from telling of all is followed by a sweep, and nothing else is.
func TestASweepFollowsAnInterruption(t *testing.T) {
	w := open(t, "HAPI")
	source, err := fhir.NewSource(fhir.SourceOptions{Name: name, BaseURL: w.base, Shape: fhir.ShapeReport, Client: w.client, MaxBody: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	led, now := w.ledger(t), time.Now()
	wish := fhir.Wish{Endpoint: w.endpoint, Token: token, End: 3 * time.Hour}
	for _, tt := range []struct {
		name   string
		before func()
		status string // at the server, before it is looked at
		why    string // "": no sweep
	}{
		{"it is created", func() {}, "", "subscription-created"},
		{"it becomes active", func() {}, "active", "subscription-active"},
		{"nothing has changed", func() {}, "active", ""},
		{"it was in error", func() {}, "error", "subscription-stopped"},
		{"it is active again", func() {}, "active", "subscription-active"},
		{"it was off", func() {}, "off", "subscription-stopped"},
		{"it is active again, once more", func() {}, "active", "subscription-active"},
		{"another one is wanted", func() { wish.Token += "-2" }, "active", "subscription-replaced"},
		{"that one is active", func() {}, "active", "subscription-active"},
		{"that one is there", func() {}, "active", ""},
		{"it is renewed before its end", func() { now = now.Add(150 * time.Minute) }, "active", ""},
		{"and active only then", func() {}, "active", "subscription-active"},
		{"it is renewed after its end", func() { now = now.Add(4 * time.Hour) }, "active", "subscription-renewed"},
		{"it has vanished", func() { w.server.Delete("Subscription/" + w.id()) }, "", "subscription-created"},
	} {
		tt.before()
		if tt.status != "" {
			w.server.SetStatus(w.id(), tt.status)
		}
		was, err := led.LookAtCatchUp(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		s := fhir.NewSubscriber(fhir.SubscriberOptions{Source: source, Wish: wish, Now: func() time.Time { return now }})
		if _, err := catchup.Ensure(t.Context(), led, name, s); err != nil {
			t.Fatal(tt.name, err)
		}
		is, err := led.LookAtCatchUp(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if wanted := is.Wanted - was.Wanted; wanted > 1 || (wanted == 1) != (tt.why != "") || (wanted == 1 && is.Why != tt.why) {
			t.Errorf("%s: %d sweeps are asked for, the last one because of %q; want %q", tt.name, wanted, is.Why, tt.why)
		}
	}
}
