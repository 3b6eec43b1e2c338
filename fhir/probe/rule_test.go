package probe

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What each sender takes, answer by answer (reference fhir-subscriptions.md, 2.4).
func TestRules(t *testing.T) {
	outcome := `{"resourceType":"OperationOutcome"}`
	bundle := `{"resourceType":"Bundle","type":"transaction-response"}`
	put := Request{Method: http.MethodPut, Body: "{resource}"}
	post := Request{Method: http.MethodPost, Body: `{"resourceType":"Bundle"`}
	first := Request{Method: http.MethodPost, Body: `{"resourceType":"Bundle"`, Handshake: true}
	for _, tt := range []struct {
		name   string
		takes  func(Request, Answer) string
		req    Request
		answer Answer
		want   bool
	}{
		{"HAPI, a resource: nothing", hapiTakes, put, Answer{200, "", nil}, true},
		{"HAPI, a resource: nothing, and called JSON", hapiTakes, put, Answer{200, fhirJSON, nil}, true},
		{"HAPI, a resource: 204", hapiTakes, put, Answer{204, "", nil}, true},
		{"HAPI, a resource: a text", hapiTakes, put, Answer{200, "text/plain", []byte("ok")}, true},
		{"HAPI, a resource: an outcome", hapiTakes, put, Answer{201, fhirJSON, []byte(outcome)}, true},
		{"HAPI, a resource: JSON that is none", hapiTakes, put, Answer{200, "application/json", []byte("{}")}, false},
		{"HAPI, a resource: a status in JSON", hapiTakes, put, Answer{200, "application/json; charset=utf-8", []byte(`{"status":"ok"}`)}, false},
		{"HAPI, a resource: cut off", hapiTakes, put, Answer{200, fhirJSON, []byte(bundle[:20])}, false},
		{"HAPI, a resource: a redirect", hapiTakes, put, Answer{302, "", nil}, false},
		{"HAPI, a Bundle: a Bundle", hapiTakes, post, Answer{200, fhirJSON, []byte(bundle)}, true},
		{"HAPI, a Bundle: one in XML", hapiTakes, post, Answer{200, fhirXML, []byte(`<Bundle xmlns="http://hl7.org/fhir"><type value="history"/></Bundle>`)}, true},
		{"HAPI, a Bundle: XML of somebody else", hapiTakes, post, Answer{200, fhirXML, []byte(`<Bundle/>`)}, false},
		{"HAPI, a Bundle: 204", hapiTakes, post, Answer{204, "", nil}, true},
		{"HAPI, a Bundle: nothing", hapiTakes, post, Answer{200, "", nil}, false},
		{"HAPI, a Bundle: nothing, and called JSON", hapiTakes, post, Answer{200, fhirJSON, nil}, false},
		{"HAPI, a Bundle: an outcome", hapiTakes, post, Answer{200, fhirJSON, []byte(outcome)}, false},
		{"HAPI, a Bundle: a Bundle that is called a text", hapiTakes, post, Answer{200, "text/plain", []byte(bundle)}, false},
		{"HAPI, a Bundle: 202 with a Bundle", hapiTakes, post, Answer{202, fhirJSON, []byte(bundle)}, true},
		{"HAPI, a Bundle: 500", hapiTakes, post, Answer{500, fhirJSON, []byte(bundle)}, false},
		{"Medplum: 399", upTo399, put, Answer{399, "", nil}, true},
		{"Medplum: 400", upTo399, put, Answer{400, "", nil}, false},
		{"any 2xx: 299", any2xx, put, Answer{299, "", nil}, true},
		{"any 2xx: 300", any2xx, put, Answer{300, "", nil}, false},
		{"exactly 200: 200", exactly200, put, Answer{200, "", nil}, true},
		{"exactly 200: 204", exactly200, put, Answer{204, "", nil}, false},
		{"candle: 202", candleTakes, post, Answer{202, "", nil}, true},
		{"candle: 201", candleTakes, post, Answer{201, "", nil}, false},
		{"Inferno, handshake: 202", infernoTakes, first, Answer{202, "", nil}, false},
		{"Inferno, event: 202", infernoTakes, post, Answer{202, "", nil}, true},
	} {
		if wrong := tt.takes(tt.req, tt.answer); (wrong == "") != tt.want {
			t.Errorf("%s: got %q, want taken %t", tt.name, wrong, tt.want)
		}
	}
}

// Every request is of a resource that does not exist, says so, and leaves no placeholder.
func TestRequestsAreFilled(t *testing.T) {
	for _, kind := range []string{"DiagnosticReport", "Composition"} {
		id := NewID()
		f := newFill(Options{Kind: kind, ID: id}, time.Now())
		for _, s := range Senders() {
			for _, r := range s.Requests {
				text := f.Replace(r.Path) + f.Replace(r.Body) + fmt.Sprint(r.header(f, "secret"))
				for _, left := range []string{"{id}", "{type}", "{base}", "{now}", "{other}", "{resource}", "{xml}"} {
					if strings.Contains(text, left) {
						t.Errorf("%s, %s: %s is left", s.Name, r.What, left)
					}
				}
				if r.Changes > 0 && !strings.Contains(text, id) {
					t.Errorf("%s, %s: it does not name the resource", s.Name, r.What)
				}
				if r.Changes > 0 && r.Unnamed {
					t.Errorf("%s, %s: it names what it does not name", s.Name, r.What)
				}
			}
		}
	}
}
