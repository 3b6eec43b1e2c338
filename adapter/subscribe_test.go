package adapter_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"staffetta/adapter"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// front is how a server reaches the program: its address is known before the program listens, as in real life.
type front struct {
	url  string
	open chan *url.URL // the program's, once it listens
	cut  atomic.Bool   // nobody comes through
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{open: make(chan *url.URL, 1)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.cut.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		select {
		case to := <-f.open:
			f.open <- to
			through := httputil.NewSingleHostReverseProxy(to)
			through.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) } // nobody is there
			through.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// subscribed builds a town whose FSE is of some product and whose program subscribes by itself.
func subscribed(t *testing.T, product string, changes ...change) *town {
	t.Helper()
	f := newFront(t)
	w := build(t, fhir.ShapeReport, append(changes, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Public.URL = f.url
		cfg.Sources[0].Subscribe = "auto"
	})...)
	w.behind(t, f, product)
	return w
}

// behind runs an FSE of some product, and the program behind its front.
func (w *town) behind(t *testing.T, f *front, product string) {
	t.Helper()
	w.fse.Traits = fse.Products()[product]
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.fse.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.run(t)
	f.open <- &url.URL{Scheme: "http", Host: w.program.PublicAddr().String()}
}

func (w *town) active(t *testing.T) {
	t.Helper()
	eventually(t, func() (string, bool) {
		all := w.fse.Subscriptions()
		return "", len(all) == 1 && all[0]["status"] == "active"
	})
}

// serve subscribes by itself, and what the server then posts is told. At R5 the handshake comes before the create is
// answered: the endpoint cannot know the id, and need not.
func TestServeSubscribesByItself(t *testing.T) {
	for _, product := range []string{"HAPI", "HAPI topics", "Medplum", "Aidbox", "fhir-candle", "R5"} {
		t.Run(product, func(t *testing.T) {
			w := subscribed(t, product)
			w.active(t)
			one := told(1, false)[0]
			locator := w.publish(one)
			if rec := w.record(t, locator); decision(rec) != "notify" {
				t.Errorf("got %s, want notify", decision(rec))
			}
			w.recipients(t, one.Code)
			w.well(t)
			if strings.Contains(w.logs.String(), postToken) {
				t.Error("the log holds the token")
			}
		})
	}
}

// Medplum signs with the secret that our Subscription gives it: a source that must sign is understood.
func TestMedplumSignsForUs(t *testing.T) {
	w := subscribed(t, "Medplum", func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Sources[0].Receive.HMACSecrets = []config.Secret{"hmac-secret-0123456789abcdef"}
	})
	w.active(t)
	one := told(1, false)[0]
	if rec := w.record(t, w.publish(one)); decision(rec) != "notify" {
		t.Errorf("got %s, want notify", decision(rec))
	}
}

// manual is the default: serve writes nothing at a server that nobody told it to write to.
func TestServeWritesNothingByDefault(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	w.fse.Traits = fse.Products()["HAPI"]
	w.run(t)
	locator := w.publish(told(1, false)[0])
	w.notify(t, fse.ClassicPut, "DiagnosticReport/"+locator.ID)
	w.record(t, locator)
	for call, n := range w.fse.Calls() {
		if strings.Contains(call, "Subscription") || strings.Contains(call, "metadata") {
			t.Errorf("%s, %d times", call, n)
		}
	}
}

// The command and serve share what they remember: one finds what the other created, also where the server has no search.
func TestTheCommandRemembersInRedis(t *testing.T) {
	f := newFront(t)
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Public.URL = f.url
		cfg.Sources[0].Subscription = config.Subscription{Topic: fse.ReportTopic, Heartbeat: new(config.Duration(0))}
	})
	w.behind(t, f, "Inferno")
	subscribe := func(mode adapter.SubscribeMode) (bool, string) {
		t.Helper()
		var out bytes.Buffer
		well, err := adapter.Subscribe(t.Context(), w.cfg, adapter.NewLog(io.Discard, "error"), adapter.SubscribeOptions{
			Source: w.source, Mode: mode, Out: &out, Aside: io.Discard,
		})
		if err != nil {
			t.Fatal(err)
		}
		return well, out.String()
	}
	if well, out := subscribe(adapter.SubscribeEnsure); !well || !strings.Contains(out, "created") {
		t.Errorf("first: well %t\n%s", well, out)
	}
	if well, out := subscribe(adapter.SubscribeEnsure); !well || !strings.Contains(out, "unchanged") {
		t.Errorf("again: well %t\n%s", well, out)
	}
	if well, out := subscribe(adapter.SubscribeShow); !well || !strings.Contains(out, "active") {
		t.Errorf("shown: well %t\n%s", well, out)
	}
	if _, out := subscribe(adapter.SubscribeRemove); !strings.Contains(out, "removed    Subscription/") || len(w.fse.Subscriptions()) > 0 {
		t.Errorf("removed:\n%s", out)
	}
	if well, out := subscribe(adapter.SubscribeShow); well {
		t.Errorf("shown after it was removed:\n%s", out)
	}
	known, err := w.program.Ledger.Subscriptions(t.Context(), w.source)
	if err != nil || len(known) > 0 {
		t.Errorf("%d are still remembered, %v", len(known), err)
	}
}
