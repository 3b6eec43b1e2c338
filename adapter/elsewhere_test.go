package adapter_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	"staffetta/fhir/probe"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// elsewhere is a server that nobody may ever call, whatever notifications and answers say.
type elsewhere struct {
	url      string // with the path of a FHIR base
	calls    atomic.Int64
	lastPage bool // no search has a next page, there or anywhere
}

func newElsewhere(t *testing.T) *elsewhere {
	t.Helper()
	e := &elsewhere{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.calls.Add(1)
		t.Errorf("called elsewhere: %s %s, with Authorization: %t", r.Method, r.URL.Path, r.Header.Get("Authorization") != "")
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	e.url = server.URL + "/fhir"
	return e
}

// tempting passes a source's answers on with links elsewhere in every place that a client might follow.
func (e *elsewhere) tempting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "redirected") || strings.Contains(r.URL.RawQuery, "redirected") {
			http.Redirect(w, r, e.url+"/DiagnosticReport/redirected", http.StatusTemporaryRedirect)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		var resource fse.Resource
		text := answer.Body.Bytes()
		if json.Unmarshal(text, &resource) == nil && resource["resourceType"] == "Bundle" {
			links := []any{fse.Resource{"relation": "self", "url": e.url}, fse.Resource{"relation": "next", "url": e.url + "/DiagnosticReport?page=2"}}
			if e.lastPage {
				links = links[:1]
			}
			resource["link"] = links
			text, _ = json.Marshal(resource)
		}
		header := w.Header()
		maps.Copy(header, answer.Header())
		header.Del("Content-Length")
		header.Set("Location", e.url+"/Subscription/1")
		header.Set("Content-Location", e.url+"/DiagnosticReport/r1")
		header.Set("Link", "<"+e.url+`?page=2>; rel="next"`)
		header.Set("Refresh", "0; url="+e.url)
		w.WriteHeader(answer.Code)
		_, _ = w.Write(text)
	})
}

// town builds one whose source tempts to go elsewhere.
func (e *elsewhere) town(t *testing.T, shape fhir.Shape, changes ...change) *town {
	t.Helper()
	w := build(t, shape, changes...)
	w.fse.Now = func() time.Time { return time.Now().Add(time.Minute) } // no notification is ahead of it
	source := httptest.NewServer(e.tempting(w.fse))
	t.Cleanup(source.Close)
	w.cfg.Sources[0].BaseURL = source.URL + "/fhir"
	return w
}

// links are what a resource may say of elsewhere beside what we read.
func (e *elsewhere) links(r fse.Resource) fse.Resource {
	patient := fse.Resource{
		"resourceType": "Patient", "id": "held", "managingOrganization": fse.Resource{"reference": e.url + "/Organization/o1"},
		"link": []any{fse.Resource{"type": "replaced-by", "other": fse.Resource{"reference": e.url + "/Patient/p1"}}},
	}
	attachment := fse.Resource{"contentType": "application/pdf", "url": e.url + "/Binary/1"}
	for name, value := range map[string]any{
		"implicitRules": e.url, "contained": []any{patient}, "presentedForm": []any{attachment}, "photo": []any{attachment},
		"basedOn":     []any{fse.Resource{"reference": e.url + "/ServiceRequest/1"}},
		"result":      []any{fse.Resource{"reference": e.url + "/Observation/1"}},
		"performer":   []any{fse.Resource{"reference": e.url + "/Organization/1"}},
		"composition": fse.Resource{"reference": e.url + "/Composition/1"},
		"extension": []any{
			fse.Resource{"url": e.url + "/StructureDefinition/x", "valueUrl": e.url}, fse.Resource{
				"url":            "http://hapifhir.io/fhir/StructureDefinition/replaced-by",
				"valueReference": fse.Resource{"reference": e.url + "/" + textOf(r["resourceType"]) + "/next"},
			}, fse.Resource{
				"url":            "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.composition",
				"valueReference": fse.Resource{"reference": e.url + "/Composition/1"},
			},
		},
	} {
		if r[name] == nil {
			r[name] = value
		}
	}
	if r["resourceType"] != "DiagnosticReport" {
		delete(r, "composition")
	}
	return r
}

// notified posts what every server posts, each saying that it is elsewhere, about a resource of ours; once more in XML, and
// with a header that names a resource elsewhere.
func (e *elsewhere) notified(t *testing.T, w *town, kind, id string) {
	t.Helper()
	client := new(http.Client)
	t.Cleanup(client.CloseIdleConnections)
	o := probe.Options{
		URL: w.poster.URL, Header: http.Header{"Authorization": {"Bearer " + postToken}}, Kind: kind, ID: id, Base: e.url, Client: client, Timeout: time.Minute,
	}
	for _, sender := range probe.Senders() {
		sender.Play(t.Context(), o, func(x probe.Exchange) {
			if x.Verdict != probe.Accepted {
				t.Errorf("%s, %s: %s, %s", x.Sender, x.What, x.Verdict, x.Reason)
			}
		})
	}
	bundle := fse.Resource{"resourceType": "Bundle", "type": "history", "link": []any{fse.Resource{"relation": "next", "url": e.url + "?page=2"}}, "entry": []any{
		fse.Resource{"fullUrl": e.url + "/SubscriptionStatus/1", "resource": fse.Resource{
			"resourceType": "SubscriptionStatus", "type": "event-notification", "status": "active", "topic": e.url + "/topics/1",
			"subscription": fse.Resource{"reference": e.url + "/Subscription/1"}, "notificationEvent": []any{fse.Resource{
				"eventNumber": "1", "focus": fse.Resource{"reference": e.url + "/" + kind + "/" + id}, "additionalContext": []any{fse.Resource{"reference": e.url + "/Patient/1"}},
				"relatedQuery": []any{fse.Resource{"query": e.url + "/" + kind}},
			}},
		}, "link": []any{fse.Resource{"relation": "self", "url": e.url}}, "request": fse.Resource{"method": "GET", "url": e.url + "/Subscription/1/$status"}},
	}}
	inXML, err := fse.XML(bundle)
	if err != nil {
		t.Fatal(err)
	}
	e.post(t, w, "application/fhir+xml", "", inXML)
	e.post(t, w, "application/json", e.url+"/"+kind+"/"+id, []byte("{}"))
}

func (e *elsewhere) post(t *testing.T, w *town, contentType, deleted string, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.poster.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+postToken)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Forwarded-Host", strings.TrimPrefix(e.url, "http://"))
	if deleted != "" {
		req.Header.Set("X-Medplum-Deleted-Resource", deleted)
	}
	res, err := w.poster.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestNobodyIsCalledElsewhereForAReport(t *testing.T) {
	e := newElsewhere(t)
	w := e.town(t, fhir.ShapeReport)
	w.run(t)
	birth := time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)
	code := fse.CodeOf(1, birth)
	w.fse.Put(fse.Patient("here", code, birth))
	merged := fse.Patient("merged", fse.CodeOf(2, birth), birth)
	merged["active"] = false
	merged["link"] = []any{fse.Resource{"type": "replaced-by", "other": fse.Resource{"reference": e.url + "/Patient/p2"}}}
	w.fse.Put(merged)
	report := func(id string, subject fse.Resource, more ...string) fhir.Locator {
		r := fse.Resource{"resourceType": "DiagnosticReport", "id": id, "status": "final", "issued": time.Now().Format(time.RFC3339), "subject": subject}
		if len(more) > 0 {
			r["extension"] = []any{}
		}
		w.fse.Put(e.links(r))
		return fhir.Locator{Type: "DiagnosticReport", ID: id}
	}
	for _, tt := range []struct {
		name     string
		document fhir.Locator
		want     string
	}{
		{"a patient who is elsewhere", report("subject", fse.Resource{"reference": e.url + "/Patient/p1"}, "no extensions"), "hold no-patient"},
		{"a patient who was merged into one elsewhere", report("merged", fse.Resource{"reference": "Patient/merged"}, "no extensions"), "hold link-loop"},
		{"a patient who is inside, and was merged into one elsewhere", report("held", fse.Resource{"reference": "#held"}, "no extensions"), "hold link-loop"},
		{"a search elsewhere", report("search", fse.Resource{"reference": e.url + "/Patient?identifier=a|b"}, "no extensions"), "hold no-subject"},
		{"all that a report may link to", report("links", fse.Resource{"reference": "Patient/here"}), "notify"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.notified(t, w, "DiagnosticReport", tt.document.ID)
			if got := decision(w.record(t, tt.document)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	w.recipients(t, code)
	e.notified(t, w, "DiagnosticReport", "redirected")
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "HTTP 307") })
	if e.calls.Load() > 0 {
		t.Errorf("%d calls", e.calls.Load())
	}
}

func TestNobodyIsCalledElsewhereForADocument(t *testing.T) {
	for _, tt := range []struct {
		name     string
		shape    fhir.Shape
		lastPage bool
	}{
		{"fse2", fhir.ShapeFSE2, true},
		{"hl7-it", fhir.ShapeHL7IT, true},
		{"hl7-it, with more of it on another server's page", fhir.ShapeHL7IT, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newElsewhere(t)
			e.lastPage = tt.lastPage
			w := e.town(t, tt.shape)
			w.run(t)
			c := told(1, true)[0]
			for _, r := range c.Resources {
				switch r["resourceType"] {
				case "Composition":
					r["relatesTo"] = []any{fse.Resource{"code": "replaces", "targetReference": fse.Resource{"reference": e.url + "/Composition/old"}}}
					r["attester"] = []any{fse.Resource{"party": fse.Resource{"reference": e.url + "/Practitioner/1"}}}
					sections, _ := r["section"].([]any)
					r["section"] = append(sections, fse.Resource{"entry": []any{fse.Resource{"reference": e.url + "/DiagnosticReport/other"}}})
				case "DocumentReference":
					r["content"] = []any{fse.Resource{"attachment": fse.Resource{"url": e.url + "/Binary/1"}}}
					r["relatesTo"] = []any{fse.Resource{"code": "replaces", "target": fse.Resource{"reference": e.url + "/DocumentReference/old"}}}
				case "Patient":
					r["link"] = []any{fse.Resource{"type": "seealso", "other": fse.Resource{"reference": e.url + "/Patient/other"}}}
				}
				if r["resourceType"] != "Patient" {
					e.links(r)
				}
			}
			document := w.publish(c)
			for _, hint := range c.Hints {
				kind, id, _ := strings.Cut(hint, "/")
				if kind == "DiagnosticReport" || kind == "Composition" {
					e.notified(t, w, kind, id)
				}
			}
			if !tt.lastPage { // what cannot be seen whole is not told
				eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "leads to another server") })
				w.recipients(t)
			} else if got := decision(w.record(t, document)); got != "notify" && !strings.HasPrefix(got, "hold ") {
				t.Errorf("got %s, want an end", got)
			}
			if e.calls.Load() > 0 {
				t.Errorf("%d calls", e.calls.Load())
			}
		})
	}
}

// Whoever subscribes goes where the file says, whatever CapabilityStatement, topics, lists and Locations say.
func TestNobodyIsCalledElsewhereToSubscribe(t *testing.T) {
	t.Parallel()
	for _, product := range []string{"HAPI", "Medplum", "Aidbox", "fhir-candle", "R5"} {
		t.Run(product, func(t *testing.T) {
			e := newElsewhere(t)
			f := newFront(t)
			w := e.town(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
				cfg.Public.URL = f.url
				if fse.Products()[product].Topics != nil {
					cfg.Sources[0].Subscription.Topic = config.OneOrMore{e.url + "/topics/report"}
				}
			})
			traits := fse.Products()[product]
			if traits.Topics != nil {
				traits.Topics = map[string]string{e.url + "/topics/report": "DiagnosticReport"}
			}
			w.beside(t, f, traits)
			for _, mode := range []adapter.SubscribeMode{adapter.SubscribeEnsure, adapter.SubscribeShow, adapter.SubscribeEnsure, adapter.SubscribeRemove} {
				if _, err := adapter.Subscribe(t.Context(), w.cfg, adapter.NewLog(io.Discard, "error"), adapter.SubscribeOptions{
					Source: w.source, Mode: mode, Sample: 10, Out: io.Discard, Aside: io.Discard,
				}); err != nil {
					t.Errorf("%q: %v", mode, err)
				}
			}
			if e.calls.Load() > 0 {
				t.Errorf("%d calls", e.calls.Load())
			}
		})
	}
}

// The three pitfalls of the one Go receiver that was read (reference, 10: orca).
func TestPitfallOnlyTheFirstEventIsRead(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	w.run(t)
	cases := told(3, false)
	var hints []string
	for _, c := range cases {
		w.publish(c)
		hints = append(hints, c.Hints...)
	}
	w.notify(t, fse.R4IDOnly, hints...)
	for _, c := range cases {
		if got := decision(w.record(t, identityOf(c))); got != "notify" {
			t.Errorf("got %s, want every event of the Bundle told", got)
		}
	}
	if n := len(w.perCode()); n != len(cases) {
		t.Errorf("%d persons were told, want %d", n, len(cases))
	}
}

func TestPitfallAFocusWithoutAReferenceIsDereferenced(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	w.run(t)
	c := told(1, false)[0]
	document := w.publish(c)
	const events = `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"SubscriptionStatus","type":"event-notification",` +
		`"subscription":{"reference":"Subscription/1"},"notificationEvent":[`
	e := newElsewhere(t)
	for _, focus := range []string{
		``, `{}`, `{"eventNumber":"1"}`, `{"focus":null}`, `{"focus":{}}`, `{"focus":{"display":"a report"}}`, `{"focus":{"reference":null}}`,
		`{"focus":{"reference":""}}`, `{"focus":{"reference":"/"}}`, `{"focus":{"identifier":{"value":"1"}}}`, `{"focus":[]}`, `{"focus":"urn:uuid:1"}`, `null`,
	} {
		e.post(t, w, "application/fhir+json", "", []byte(events+focus+`]}}]}`))
		if focus != "" { // and what stands beside it is read all the same
			e.post(t, w, "application/fhir+json", "", []byte(events+focus+`,{"focus":{"reference":"`+c.Hints[0]+`"}}]}}]}`))
		}
	}
	if got := decision(w.record(t, document)); got != "notify" {
		t.Errorf("got %s, want notify", got)
	}
	if metrics := w.metrics(t); !strings.Contains(metrics, "staffetta_notification_panics_total 0") {
		t.Error("a notification crashed its handler")
	}
}

func TestPitfallTheNotificationsOwnURLIsFetched(t *testing.T) {
	e := newElsewhere(t)
	w := e.town(t, fhir.ShapeReport)
	w.run(t)
	c := told(1, false)[0]
	document := w.publish(c)
	_, id, _ := strings.Cut(c.Hints[0], "/")
	e.notified(t, w, "DiagnosticReport", id)
	if got := decision(w.record(t, document)); got != "notify" {
		t.Errorf("got %s: the report is read at the source, whatever base its notification names", got)
	}
	w.recipients(t, c.Code)
	key := w.program.Ledger.DocumentKey(w.source, document)
	if rec, _, err := w.program.Ledger.Lookup(t.Context(), key); err != nil || rec.State != ledger.Delivered {
		t.Errorf("%s, %v", rec.State, err)
	}
	if host, err := url.Parse(e.url); err != nil || strings.Contains(w.logs.String(), host.Host) {
		t.Error("the log repeats the URL of a notification")
	}
}
