package adapter_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"staffetta/adapter"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// passage is one request that came by, with its answer.
type passage struct {
	method, path string
	header       http.Header
	body         fse.Resource
	status       int
}

// gatekeeper lets requests pass and writes down what they were.
type gatekeeper struct {
	url string

	mu   sync.Mutex
	seen []passage
}

func newGatekeeper(t *testing.T, next http.Handler) *gatekeeper {
	t.Helper()
	g := &gatekeeper{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(text))
		one := passage{method: r.Method, path: r.URL.Path, header: r.Header.Clone()}
		_ = json.Unmarshal(text, &one.body)
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		one.status = answer.Code
		g.mu.Lock()
		g.seen = append(g.seen, one) // before anybody can act on the answer
		g.mu.Unlock()
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// passed are the requests so far that a test asks for.
func (g *gatekeeper) passed(want func(passage) bool) (all []passage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.seen {
		if want(one) {
			all = append(all, one)
		}
	}
	return all
}

// suite is the client suite of Inferno's Subscriptions Test Kit (reference fhir-subscriptions.md, 4.1), played in-process:
// one gate stands before its server, the other before the program.
type suite struct {
	town       *town
	server, us *gatekeeper
	content    string
}

// newSuite runs a program that is subscribed nowhere yet, at a server that serves no DiagnosticReport.
func newSuite(t *testing.T, content string) *suite {
	t.Helper()
	s := &suite{content: content}
	f := newFront(t)
	to, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	s.us = newGatekeeper(t, httputil.NewSingleHostReverseProxy(to))
	s.town = build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Public.URL = s.us.url
		cfg.Sources[0].Subscription = config.Subscription{Topic: config.OneOrMore{fse.ReportTopic}, Heartbeat: new(config.Duration(0)), Content: content}
	})
	s.server = newGatekeeper(t, s.town.fse)
	s.town.cfg.Sources[0].BaseURL = s.server.url + "/fhir"
	s.town.fse.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/DiagnosticReport") {
			return false
		}
		w.Header().Set("Content-Type", "application/fhir+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}`)
		return true
	}
	s.town.behind(t, f, "Inferno")
	return s
}

// notifications of one type that reached us.
func (s *suite) notifications(kind string) []passage {
	return s.us.passed(func(p passage) bool { return parametersOf(p.body)["type"] == kind })
}

// parametersOf are the plain values of the status, which stands first in a notification.
func parametersOf(bundle fse.Resource) map[string]any {
	values := map[string]any{}
	entries, _ := bundle["entry"].([]any)
	if len(entries) == 0 {
		return values
	}
	first, _ := entries[0].(fse.Resource)
	status, _ := first["resource"].(fse.Resource)
	parameters, _ := status["parameter"].([]any)
	for _, one := range parameters {
		p, _ := one.(fse.Resource)
		name, _ := p["name"].(string)
		for key, value := range p {
			if key != "name" {
				values[name] = value
			}
		}
	}
	return values
}

func TestTheInfernoClientSuitePasses(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"id-only", "full-resource", "empty"} {
		t.Run(content, func(t *testing.T) {
			s := newSuite(t, content)
			// 1.1.01: the client subscribes with its token, and the suite waits for the rest.
			well, err := adapter.Subscribe(t.Context(), s.town.cfg, adapter.NewLog(io.Discard, "error"), adapter.SubscribeOptions{
				Source: s.town.source, Out: io.Discard, Aside: io.Discard,
			})
			if err != nil || !well {
				t.Fatalf("subscribed: well %t, %v", well, err)
			}
			s.town.fse.Put(fse.Resource{"resourceType": "DiagnosticReport", "id": "inferno-1", "status": "final", "code": fse.Resource{"text": "Inferno"}})
			eventually(t, func() (int, bool) { n := len(s.notifications("event-notification")); return n, n == 1 })
			s.created(t)
			s.answered(t)
			s.notified(t)
			s.attested(t)
		})
	}
}

// created is 1.3.01: what the client wrote is a Subscription of the backport.
func (s *suite) created(t *testing.T) {
	t.Helper()
	created := s.server.passed(func(p passage) bool { return p.method == http.MethodPost && strings.HasSuffix(p.path, "/Subscription") })
	if len(created) != 1 || created[0].status != http.StatusCreated {
		t.Fatalf("%d Subscriptions were created", len(created))
	}
	if got := created[0].header.Get("Authorization"); got != "Bearer "+readToken {
		t.Error("the create does not carry the token that names the session")
	}
	subscription := created[0].body
	channel, _ := subscription["channel"].(fse.Resource)
	criteria, err := url.Parse(textOf(subscription["criteria"]))
	if err != nil || !criteria.IsAbs() {
		t.Errorf("criteria %v are no URL", subscription["criteria"])
	}
	for name, pair := range map[string][2]string{
		"resourceType": {textOf(subscription["resourceType"]), "Subscription"}, "status": {textOf(subscription["status"]), "requested"},
		"channel.type": {textOf(channel["type"]), "rest-hook"}, "channel.endpoint": {textOf(channel["endpoint"]), s.us.url + "/fhir/" + s.town.source},
		"channel.payload": {textOf(channel["payload"]), "application/fhir+json"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", name, pair[0], pair[1])
		}
	}
	if textOf(subscription["reason"]) == "" {
		t.Error("reason is missing")
	}
	text, err := json.Marshal(subscription)
	if err != nil {
		t.Fatal(err)
	}
	const backport = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
	for _, want := range []string{backport + `backport-subscription"`, `"url":"` + backport + `backport-payload-content","valueCode":"` + s.content + `"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %s in the Subscription", want)
		}
	}
	for _, refused := range []string{"backport-heartbeat-period", "http://hl7.org/fhir/5.0/StructureDefinition/"} {
		if bytes.Contains(text, []byte(refused)) {
			t.Errorf("the Subscription has %s", refused)
		}
	}
}

func textOf(value any) string {
	text, _ := value.(string)
	return text
}

// answered is 1.2.01 and 1.2.02: exactly 200, and what the channel's header says was sent.
func (s *suite) answered(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"handshake", "event-notification"} {
		all := s.notifications(kind)
		if len(all) != 1 || all[0].status != http.StatusOK {
			t.Fatalf("%d notifications of type %s; the first was answered %v, want one and 200", len(all), kind, all)
		}
		if all[0].header.Get("Authorization") != "Bearer "+postToken || all[0].header.Get("Content-Type") != "application/fhir+json" {
			t.Errorf("%s came without its token, or as %s", kind, all[0].header.Get("Content-Type"))
		}
	}
}

// notified is 1.3.02 and 1.3.03: what the suite sent is itself as it must be, or nothing is proved.
func (s *suite) notified(t *testing.T) {
	t.Helper()
	bundle := s.notifications("event-notification")[0].body
	event, _ := parametersOf(bundle)["notification-event"].([]any)
	entries, _ := bundle["entry"].([]any)
	text, _ := json.Marshal(event)
	carried := 0
	for _, one := range entries[1:] {
		if entry, _ := one.(fse.Resource); entry["resource"] != nil {
			carried++
		}
	}
	focus := bytes.Contains(text, []byte("DiagnosticReport/inferno-1"))
	if bundle["type"] != "history" || focus != (s.content != "empty") || (carried > 0) != (s.content == "full-resource") {
		t.Errorf("the event's Bundle is %v, names its focus: %t, carries %d resources", bundle["type"], focus, carried)
	}
}

// attested is 1.3.04: a person sees that the event was processed, though its focus is not to be read.
func (s *suite) attested(t *testing.T) {
	t.Helper()
	metrics := s.town.metrics(t)
	for _, want := range []string{
		`staffetta_notifications_total{answer="200",kind="handshake",source="fonte"} 1`,
		`staffetta_notifications_total{answer="200",kind="event-notification",source="fonte"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	if s.content == "empty" { // it names nothing that could be looked at
		if !strings.Contains(metrics, `staffetta_catchup_wanted_total{source="fonte"} 1`) {
			t.Error("nobody sees that something has to be looked for")
		}
		return
	}
	if !strings.Contains(metrics, `staffetta_hints_total{admission="new",source="fonte"} 1`) || !strings.Contains(s.town.logs.String(), `"msg":"hint admitted"`) {
		t.Error("neither metric nor log shows the event")
	}
	document := fhir.Locator{Type: "DiagnosticReport", ID: "inferno-1"}
	if got := decision(s.town.record(t, document)); !strings.HasPrefix(got, "wait ") {
		t.Errorf("the record is %s, want one that waits: the focus was not found", got)
	}
	asked := s.server.passed(func(p passage) bool { return strings.Contains(p.path, "/DiagnosticReport") })
	if len(asked) == 0 {
		t.Error("the focus was never looked for")
	}
	s.town.recipients(t)
	s.town.well(t)
}

// A handshake that is answered with 2xx, but not 200, is followed by no event: the fake suite is as strict as the real one.
func TestInfernoWants200(t *testing.T) {
	for status, want := range map[int]string{http.StatusOK: "active", http.StatusAccepted: "error", http.StatusNoContent: "error"} {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		server := fse.NewServer()
		server.Traits = fse.Products()["Inferno"]
		base := httptest.NewServer(server)
		body, err := json.Marshal(fse.Resource{
			"resourceType": "Subscription", "status": "requested", "criteria": fse.ReportTopic,
			"channel": fse.Resource{"type": "rest-hook", "endpoint": receiver.URL, "payload": "application/fhir+json"},
		})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base.URL+"/fhir/Subscription", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := base.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		server.Deliver(t.Context())
		if got := server.Subscriptions()[0]["status"]; got != want {
			t.Errorf("after a handshake answered %d the Subscription is %v, want %s", status, got, want)
		}
		base.Close()
		receiver.Close()
	}
}
