package endpoint_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

const bundleXML = `<Bundle xmlns="http://hl7.org/fhir"><type value="transaction"/><entry><resource>` + reportXML + `</resource></entry></Bundle>`

const bundleAnswer = `{"resourceType":"Bundle","type":"transaction-response"}`

// takes says what each sender takes for success (reference fhir-subscriptions.md, 2.4, second table).
var takes = map[string]func(s sent, a got) bool{
	"HAPI":        hapiTakes,
	"Medplum":     func(_ sent, a got) bool { return a.status >= 200 && a.status <= 399 },
	"any 2xx":     func(_ sent, a got) bool { return a.status >= 200 && a.status <= 299 },
	"exactly 200": func(_ sent, a got) bool { return a.status == http.StatusOK },
	"fhir-candle": func(_ sent, a got) bool { return a.status == 200 || a.status == 202 || a.status == 204 },
}

// hapiTakes reads the answer as HAPI's client does: a Bundle wants 204, or 200 with a Bundle; anything else must not have
// a body that claims to be JSON and is no resource.
func hapiTakes(s sent, a got) bool {
	var body, answer struct{ ResourceType string }
	_ = json.Unmarshal([]byte(s.body), &body)
	parsed := json.Unmarshal([]byte(a.body), &answer) == nil
	if body.ResourceType == "Bundle" || strings.HasPrefix(s.body, "<Bundle") {
		return a.status == http.StatusNoContent || (a.status == http.StatusOK && parsed && answer.ResourceType == "Bundle")
	}
	return a.status >= 200 && a.status <= 299 && (a.header.Get("Content-Type") == "" || answer.ResourceType != "")
}

func TestAnswers(t *testing.T) {
	h := open(t)
	medplumDelete := map[string]string{"X-Medplum-Deleted-Resource": "DiagnosticReport/r1"}
	for _, tt := range []struct {
		name   string
		sent   sent
		bundle bool
	}{
		{"a handshake", sent{"POST", "/fhir/lab", handshake, nil}, true},
		{"an event", sent{"POST", "/fhir/lab", events(focus("7", "DiagnosticReport/r1")), nil}, true},
		{"the same event again", sent{"POST", "/fhir/lab", events(focus("7", "DiagnosticReport/r1")), nil}, true},
		{"an event that names nothing", sent{"POST", "/fhir/lab", nothing, nil}, true},
		{"an event about nothing of ours", sent{"POST", "/fhir/lab", events(focus("8", "Patient/p1")), nil}, true},
		{"a trailing slash", sent{"POST", "/fhir/lab/", handshake, nil}, true},
		{"a bare report put under its id", sent{"PUT", "/fhir/lab/DiagnosticReport/r1", report, nil}, false},
		{"the same again", sent{"PUT", "/fhir/lab/DiagnosticReport/r1", report, nil}, false},
		{"with a trailing slash", sent{"PUT", "/fhir/lab/DiagnosticReport/r1/", report, nil}, false},
		{"a bare report posted", sent{"POST", "/fhir/lab", report, nil}, false},
		{"a bare report posted under its type", sent{"POST", "/fhir/lab/DiagnosticReport", report, nil}, false},
		{"a bare resource that is nothing of ours", sent{"POST", "/fhir/lab", `{"resourceType":"Patient","id":"p1"}`, nil}, false},
		{"an id without a body", sent{"PUT", "/fhir/lab/DiagnosticReport/r1", "", nil}, false},
		{"a delete", sent{"DELETE", "/fhir/lab/DiagnosticReport/r1", "", nil}, false},
		{"Medplum's delete", sent{"POST", "/fhir/lab", "{}", medplumDelete}, false},
		{"a ping without a body", sent{"POST", "/fhir/lab", "", nil}, false},
		{"a Bundle in XML: the answer says that it is JSON, and HAPI reads answers as they say", sent{"POST", "/fhir/lab", bundleXML, inXML}, true},
		{"a Bundle in XML whose sender would have XML", sent{"POST", "/fhir/lab", bundleXML, map[string]string{
			"Content-Type": "application/fhir+xml", "Accept": "application/fhir+xml",
		}}, true},
		{"a bare report in XML", sent{"PUT", "/fhir/lab/DiagnosticReport/r1", reportXML, inXML}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := h.send(t, tt.sent)
			checkAnswer(t, answer, tt.bundle)
			for sender, takes := range takes {
				if !takes(tt.sent, answer) {
					t.Errorf("%s takes the answer for a failure: %d %q", sender, answer.status, answer.body)
				}
			}
		})
	}
}

func checkAnswer(t *testing.T, answer got, bundle bool) {
	t.Helper()
	wantBody, wantType := "", []string(nil)
	if bundle {
		wantBody, wantType = bundleAnswer, []string{"application/fhir+json"}
	}
	if answer.status != http.StatusOK || answer.body != wantBody {
		t.Errorf("answer %d %q, want 200 %q", answer.status, answer.body, wantBody)
	}
	if types := answer.header["Content-Type"]; len(types) != len(wantType) || (bundle && types[0] != wantType[0]) {
		t.Errorf("Content-Type %q, want %q", types, wantType)
	}
}
