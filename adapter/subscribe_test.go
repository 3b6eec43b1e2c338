package adapter_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	w.beside(t, f, fse.Products()[product])
}

// beside runs an FSE with such traits, and the program behind its front.
func (w *town) beside(t *testing.T, f *front, traits fse.Traits) {
	t.Helper()
	w.fse.Traits = traits
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
	w.allActive(t, 1)
}

// allActive waits until the FSE has n Subscriptions, and all are active.
func (w *town) allActive(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() (string, bool) {
		all := w.fse.Subscriptions()
		return "", len(all) == n && !slices.ContainsFunc(all, func(one fse.Resource) bool { return one["status"] != "active" })
	})
}

// subscribes runs the command.
func (w *town) subscribes(t *testing.T, mode adapter.SubscribeMode) (bool, string) {
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

// A person subscribes: that it is active is remembered, though nobody but a person looks at it, and what was published before is
// looked for.
func TestAPersonSubscribes(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.Public.URL = f.url })
	w.behind(t, f, "HAPI")
	w.connected(t)
	if well, out := w.subscribes(t, adapter.SubscribeEnsure); !well {
		t.Fatalf("it does not work:\n%s", out)
	}
	all, err := w.program.Ledger.Subscriptions(t.Context(), w.source)
	if err != nil || len(all) != 1 || all[0].Status != "active" {
		t.Errorf("remembered %+v, %v; want one that is active", all, err)
	}
	eventually(t, func() (string, bool) {
		return "a sweep", strings.Contains(w.metrics(t), `staffetta_sweeps_total{result="complete",source="fonte",why="subscription-created"}`)
	})
}

// serve subscribes by itself, and what the server then posts is told. At R5 the handshake comes before the create is
// answered: the endpoint cannot know the id, and need not.
func TestServeSubscribesByItself(t *testing.T) {
	t.Parallel()
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
		cfg.Sources[0].Subscription = config.Subscription{Topic: config.OneOrMore{fse.ReportTopic}, Heartbeat: new(config.Duration(0))}
	})
	w.behind(t, f, "Inferno")
	subscribe := func(mode adapter.SubscribeMode) (bool, string) {
		t.Helper()
		return w.subscribes(t, mode)
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

// Before its first Subscription serve says in one line what the criteria and the rules make of what is there, as the command
// does; that it cannot be said holds up nothing.
func TestServeSamplesBeforeItSubscribes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status string
		fault  bool
		level  string
		want   []string
	}{
		{"all are readable", "final", false, "INFO", []string{`3 of 3 match`, `"rules":"3 notify"`}},
		{"all are registered", "registered", false, "WARN", []string{"0 of 3 match: all are `registered`", `"rules":"3 wait not-final"`}},
		{"the source lists nothing", "final", true, "WARN", []string{"no sample was taken before subscribing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFront(t)
			w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
				cfg.Public.URL, cfg.Sources[0].Subscribe = f.url, "auto"
			})
			for _, c := range told(3, false) {
				for _, r := range c.Resources {
					if r["resourceType"] == "DiagnosticReport" {
						r["status"] = tt.status
					}
					w.fse.Put(r)
				}
			}
			w.fse.Fault = func(rw http.ResponseWriter, r *http.Request) bool {
				sampled := strings.HasPrefix(r.URL.Query().Get("_sort"), "-") && r.URL.Query().Get("_count") != "1"
				if tt.fault && sampled {
					rw.WriteHeader(http.StatusInternalServerError)
				}
				return tt.fault && sampled
			}
			w.behind(t, f, "HAPI")
			w.active(t)
			eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), `"deed":"created"`) })
			w.stop()
			line := logged(w.logs.String(), "before subscribing")
			for _, want := range append(tt.want, `"level":"`+tt.level+`"`) {
				if !strings.Contains(line, want) {
					t.Errorf("the log does not say %s:\n%s", want, line)
				}
			}
			if said := w.logs.String(); strings.Index(said, line) > strings.Index(said, `"deed":"created"`) {
				t.Error("it was said after the Subscription was created")
			}
			w.run(t)
			w.stop()
			if n := strings.Count(w.logs.String(), "before subscribing"); n != 1 {
				t.Errorf("it was said %d times, want once", n)
			}
		})
	}
}

// logged is the first line of a log with some text.
func logged(log, text string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// bundled is a document of hl7-it that is kept as a Bundle alone, with its patient inside.
func bundled(c fse.Case) fse.Resource {
	composition := fse.Resource{
		"resourceType": "Composition", "id": "inside", "identifier": fse.Resource{"system": "urn:oid:1.2.3", "value": "document-1"},
		"status": "final", "type": fse.Resource{"coding": []any{fse.Resource{"system": "http://loinc.org", "code": "11502-2"}}},
		"subject": fse.Resource{"reference": "urn:uuid:0f6d2c1e-0000-4000-8000-000000000004"}, "date": time.Now().Format(time.RFC3339),
		"confidentiality": "N",
	}
	patient := fse.Resource{"resourceType": "Patient", "identifier": []any{
		fse.Resource{"system": "http://hl7.it/sid/codiceFiscale", "value": c.Code},
	}}
	return fse.Resource{"resourceType": "Bundle", "id": "b1", "type": "document", "entry": []any{
		fse.Resource{"fullUrl": "urn:uuid:0f6d2c1e-0000-4000-8000-000000000002", "resource": composition},
		fse.Resource{"fullUrl": "urn:uuid:0f6d2c1e-0000-4000-8000-000000000004", "resource": patient},
	}}
}

// A source of hl7-it may keep whole documents and nothing beside them: they are subscribed and swept where the server lists
// them. A server that refuses them keeps us from nothing else, and both the log and the command say so.
func TestDocumentsThatAreBundlesOnly(t *testing.T) {
	t.Parallel()
	document := fhir.Locator{Type: "Bundle", ID: "b1", System: "urn:oid:1.2.3", Value: "document-1"}
	for _, tt := range []struct {
		name, refuses string
		subscriptions int
	}{{"subscribed and swept", "", 3}, {"refused, and swept", "Bundle", 2}} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFront(t)
			w := build(t, fhir.ShapeHL7IT, sweptOften, func(cfg *config.Config, _ *sandbox.Options) {
				cfg.Public.URL, cfg.Sources[0].Subscribe = f.url, "auto"
			})
			traits := fse.Products()["HAPI"]
			traits.Documents, traits.Refuses = true, tt.refuses
			w.beside(t, f, traits)
			w.allActive(t, tt.subscriptions)
			w.connectedTo(t, 3)
			one := told(1, true)[0]
			w.fse.Put(bundled(one))
			if rec := w.record(t, document); decision(rec) != "notify" {
				t.Errorf("got %s, want notify", decision(rec))
			}
			w.recipients(t, one.Code)
			const refused = "a subscription is refused by the server"
			if tt.refuses != "" { // which is said when all three were tried, and their statuses are known
				eventually(t, func() (string, bool) { return "in the log", strings.Contains(w.logs.String(), refused) })
			}
			well, shown := w.subscribes(t, adapter.SubscribeShow)
			absent := strings.Contains(shown, "absent     Bundle?type=document")
			if absent != (tt.refuses != "") || strings.Contains(w.logs.String(), refused) != absent || (absent && !well) {
				t.Errorf("well %t:\n%s", well, shown)
			}
		})
	}
}

// A server that lists Bundles and refuses to search them is swept for everything else.
func TestRefusedDocumentBundlesSpoilNoSweep(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeHL7IT, sweptOften, bySweepsAlone)
	w.fse.Traits = fse.Products()["HAPI"]
	w.fse.Traits.Documents = true
	w.fse.Fault = func(rw http.ResponseWriter, r *http.Request) bool {
		refused := r.URL.Path == "/fhir/Bundle" && r.URL.Query().Has("type")
		if refused {
			rw.WriteHeader(http.StatusNotImplemented)
		}
		return refused
	}
	w.run(t)
	w.connectedTo(t, 2)
	one := told(1, true)[0]
	w.publish(one)
	w.are(t, "notify", one)
	w.once(t, one)
	if !strings.Contains(w.logs.String(), "sweeps do without it") || strings.Contains(w.metrics(t), `result="cannot-list"`) {
		t.Error("a sweep failed, or the log does not say what is missing")
	}
	w.well(t)
}

// A server with one topic for each resource type, and no sweeps but the first: what changes on the DocumentReference alone, and
// shows a document that was hidden, is posted and told.
func TestServeSubscribesToSeveralTopics(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	w := build(t, fhir.ShapeFSE2, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Public.URL, cfg.Sources[0].Subscribe, cfg.Sources[0].Sweep.Every = f.url, "auto", new(config.Duration(0))
	})
	traits := fse.Products()["R5"]
	traits.Topics = map[string]string{
		"https://fse.example.it/topics/composition": "Composition", "https://fse.example.it/topics/documentreference": "DocumentReference",
	}
	w.beside(t, f, traits)
	w.allActive(t, 2)
	w.connected(t)
	one := told(1, true)[0]
	at := slices.IndexFunc(one.Resources, func(r fse.Resource) bool { return r["resourceType"] == "DocumentReference" })
	shown := maps.Clone(one.Resources[at])
	one.Resources[at]["context"] = hidden(one.Resources[at]["context"])
	w.publish(one)
	w.are(t, "suppress hidden-from-citizen", one)
	w.fse.Put(shown)
	eventually(t, func() (int, bool) { return len(w.io.Messages()), len(w.io.Messages()) == 1 })
	w.recipients(t, one.Code)
	if well, said := w.subscribes(t, adapter.SubscribeShow); !well || strings.Count(said, "found ") != 2 {
		t.Errorf("well %t\n%s", well, said)
	}
	w.well(t)
}

// hidden is the context of a DocumentReference with the code that hides a document from its citizen.
func hidden(context any) fse.Resource {
	of, _ := context.(fse.Resource)
	of = maps.Clone(of)
	of["event"] = []any{fse.Resource{"coding": []any{fse.Resource{"system": "urn:oid:2.16.840.1.113883.2.9.3.3.6.1.3", "code": "P98"}}}}
	return of
}
