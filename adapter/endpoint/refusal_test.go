package endpoint_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// refused is a request that is refused.
type refused struct {
	name       string
	sent       sent
	wantStatus int
	wantCode   string
}

// refusals are all that the endpoint refuses of what its sender has sent whole, and in time.
func refusals(tb testing.TB) []refused {
	tb.Helper()
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	many := `{"resourceType":"Bundle","type":"transaction","entry":[` +
		strings.TrimSuffix(strings.Repeat(report1Entry, 101), ",") + `]}`
	var names strings.Builder
	for i := range 1000 {
		names.WriteString(`,"a` + strconv.Itoa(i) + `":1`)
	}
	xml := func(inside string) sent {
		return sent{"POST", "/fhir/lab", strings.Replace(reportXML, "<status", inside+"<status", 1), inXML}
	}
	return []refused{
		{"not JSON", sent{"POST", "/fhir/lab", "hello", nil}, 400, "structure"},
		{"half of JSON", sent{"POST", "/fhir/lab", report[:80], nil}, 400, "structure"},
		{"a list", sent{"POST", "/fhir/lab", "[]", nil}, 400, "structure"},
		{"not FHIR", sent{"POST", "/fhir/lab", `{"hello":"world"}`, nil}, 400, "invalid"},
		{"a deleted resource that is none", sent{"POST", "/fhir/lab", "{}", map[string]string{"X-Medplum-Deleted-Resource": "../x"}}, 400, "value"},
		{"a duplicate name", sent{"POST", "/fhir/lab", `{"resourceType":"Patient","id":"r1","id":"r1"}`, nil}, 400, "structure"},
		{"a resourceType that is none", sent{"POST", "/fhir/lab", `{"resourceType":"5"}`, nil}, 400, "value"},
		{"a status that no Bundle carries", sent{"POST", "/fhir/lab", `{"resourceType":"SubscriptionStatus","type":"handshake"}`, nil}, 400, "invalid"},
		{"nested too deep", sent{"POST", "/fhir/lab", `{"resourceType":"DiagnosticReport","id":"r1","extension":[` + deep + `]}`, nil}, 400, ""},
		{"too many names", sent{"POST", "/fhir/lab", `{"resourceType":"DiagnosticReport"` + names.String() + "}", nil}, 400, "structure"},
		{"too many entries", sent{"POST", "/fhir/lab", many, nil}, 413, "too-long"},
		{"too large", sent{"POST", "/fhir/lab", report + strings.Repeat(" ", 1<<20), nil}, 413, "too-long"},
		{"no UTF-8", sent{"POST", "/fhir/lab", "\xff\xfe{\x00", nil}, 415, "not-supported"},
		{"a Bundle without a type", sent{"POST", "/fhir/lab", `{"resourceType":"Bundle"}`, nil}, 400, "required"},
		{"a Bundle of a type that is none", sent{"POST", "/fhir/lab", `{"resourceType":"Bundle","type":5}`, nil}, 400, "value"},
		{"a Bundle of entries that are none", sent{"POST", "/fhir/lab", `{"resourceType":"Bundle","type":"history","entry":5}`, nil}, 400, "structure"},
		{"a notification without a status", sent{"POST", "/fhir/lab", `{"resourceType":"Bundle","type":"subscription-notification"}`, nil}, 400, "required"},
		{"a report without an id", sent{"POST", "/fhir/lab", `{"resourceType":"DiagnosticReport"}`, nil}, 400, "required"},
		{"a delete of nothing", sent{"DELETE", "/fhir/lab/DiagnosticReport", "", nil}, 400, "required"},
		{"an id that is none", sent{"PUT", "/fhir/lab/DiagnosticReport/a_b", "", nil}, 400, ""},
		{"a type that is none", sent{"PUT", "/fhir/lab/diagnostic/r1", "", nil}, 400, ""},
		{"path and body name different ids", sent{"PUT", "/fhir/lab/DiagnosticReport/r2", report, nil}, 400, ""},
		{"path and body name different types", sent{"PUT", "/fhir/lab/Observation/r1", report, nil}, 400, ""},
		{"a type that is not accepted", sent{"POST", "/fhir/lab", report, map[string]string{"Content-Type": "text/html"}}, 415, "not-supported"},
		{"an encoding that is not known", sent{"POST", "/fhir/lab", report, map[string]string{"Content-Encoding": "br"}}, 415, "not-supported"},
		{"gzip that is too short for one", sent{"POST", "/fhir/lab", "{}", map[string]string{"Content-Encoding": "gzip"}}, 400, "structure"},
		{"gzip that is none", sent{"POST", "/fhir/lab", report, map[string]string{"Content-Encoding": "gzip"}}, 400, "structure"},
		{"HTML", sent{"POST", "/fhir/lab", "<html>", nil}, 400, "structure"},
		{"half of XML", sent{"POST", "/fhir/lab", reportXML[:80], inXML}, 400, "structure"},
		{"XML with entities", sent{"POST", "/fhir/lab", `<!DOCTYPE a [<!ENTITY Emocromo "r1">]>` + reportXML, inXML}, 400, "structure"},
		{"XML that is not FHIR", sent{"POST", "/fhir/lab", `<ClinicalDocument xmlns="urn:hl7-org:v3"/>`, inXML}, 400, "structure"},
		{"XML with text in it", xml("r1"), 400, "structure"},
		{"XML that is no resource", sent{"POST", "/fhir/lab", `<status xmlns="http://hl7.org/fhir"/>`, inXML}, 400, "structure"},
		{"XML with a very long tag", xml("<a " + strings.Repeat(`a=""  `, 20_000) + "/>"), 400, "structure"},
		{"XML with an element in two places", xml(`<status value="final"/><a value="1"/>`), 400, "structure"},
		{"XML in another charset", sent{"POST", "/fhir/lab", reportXML, map[string]string{"Content-Type": "text/xml; charset=iso-8859-1"}}, 415, "not-supported"},
		{"a path that leads nowhere", sent{"POST", "/fhir", report, nil}, 404, "not-found"},
		{"a path that leads too far", sent{"POST", "/fhir/lab/DiagnosticReport/r1/_history", report, nil}, 404, "not-found"},
		{"a method that is none of ours", sent{"GET", "/fhir/lab", "", nil}, 405, "not-supported"},
		{"a token that is wrong", sent{"POST", "/fhir/lab", report, map[string]string{"Authorization": "Bearer another"}}, 401, "login"},
	}
}

func TestRefusals(t *testing.T) {
	h := open(t)
	for _, tt := range refusals(t) {
		t.Run(tt.name, func(t *testing.T) {
			answer := h.send(t, tt.sent)
			if answer.status != tt.wantStatus || answer.outcome() == "" || (tt.wantCode != "" && answer.outcome() != tt.wantCode) {
				t.Errorf("answer %d with outcome %q, want %d with %q: %s", answer.status, answer.outcome(), tt.wantStatus, tt.wantCode, answer.body)
			}
			if got, want := answer.header.Get("Content-Type"), "application/fhir+json"; got != want {
				t.Errorf("Content-Type %q, want %q", got, want)
			}
		})
	}
	if n := h.count(t, "staffetta_hints_total"); n != 0 {
		t.Errorf("%v hints of refused notifications, want none", n)
	}
	for _, private := range []string{"r1", "r2", "Emocromo", labToken, "html", "hello"} {
		if logs := h.logs.String(); strings.Contains(logs, private) {
			t.Errorf("%q is in the logs:\n%s", private, logs)
		}
	}
}

const reportXML = `<DiagnosticReport xmlns="http://hl7.org/fhir"><id value="r1"/><status value="final"/></DiagnosticReport>`

var inXML = map[string]string{"Content-Type": "application/fhir+xml"}

const report1Entry = `{"resource":{"resourceType":"DiagnosticReport","id":"r1"}},`

func TestMethodNotAllowedNamesTheOthers(t *testing.T) {
	answer := open(t).send(t, sent{"PATCH", "/fhir/lab/DiagnosticReport/r1", "", nil})
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if !strings.Contains(answer.header.Get("Allow"), method) {
			t.Errorf("Allow: %q, want %s in it", answer.header.Get("Allow"), method)
		}
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was sent")
	return 0, io.ErrUnexpectedEOF
}

func TestBodyIsNotAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name       string
		token      string
		length     int64
		wantStatus int
	}{
		{"before the sender is known", "another-token", 100, http.StatusUnauthorized},
		{"when it says that it is too large", labToken, 2 << 20, http.StatusRequestEntityTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/fhir/lab", unread{t})
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = tt.length
			req.Header.Set("Authorization", "Bearer "+tt.token)
			req.Header.Set("Expect", "100-continue") // the client sends its body only when asked to
			h.client.Transport.(*http.Transport).ExpectContinueTimeout = 1 << 40
			resp, err := h.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != tt.wantStatus || !resp.Close {
				t.Errorf("status %d, connection closed: %t, want %d and closed", resp.StatusCode, resp.Close, tt.wantStatus)
			}
		})
	}
}

func TestCompressedBodies(t *testing.T) {
	h := open(t)
	zipped := map[string]string{"Content-Encoding": "gzip"}
	bomb := gzipped(t, strings.Repeat(" ", 8<<20))
	empty := strings.Repeat(gzipped(t, ""), 100_000)
	for _, tt := range []struct {
		name       string
		sent       sent
		wantStatus int
	}{
		{"a report", sent{"PUT", "/fhir/lab/DiagnosticReport/r1", gzipped(t, report), zipped}, 200},
		{"in two members", sent{"POST", "/fhir/lab", gzipped(t, report[:50]) + gzipped(t, report[50:]), zipped}, 200},
		{"in capitals", sent{"POST", "/fhir/lab", gzipped(t, report), map[string]string{"Content-Encoding": "GZIP"}}, 200},
		{"not compressed, and said so", sent{"POST", "/fhir/lab", report, map[string]string{"Content-Encoding": "identity"}}, 200},
		{"no body at all", sent{"POST", "/fhir/lab", "", zipped}, 200},
		{"a bomb", sent{"POST", "/fhir/lab", bomb, zipped}, 413},
		{"a bomb in many members", sent{"POST", "/fhir/lab", strings.Repeat(gzipped(t, strings.Repeat(" ", 64<<10)), 64), zipped}, 413},
		{"a bomb of XML", sent{"POST", "/fhir/lab", gzipped(t, strings.Replace(reportXML, "<status", strings.Repeat(" ", 8<<20)+"<status", 1)), zipped}, 413},
		{"a bomb inside of a string", sent{"POST", "/fhir/lab", gzipped(t, `{"resourceType":"DiagnosticReport","conclusion":"`+strings.Repeat("0", 8<<20)+`","id":"r1"}`), zipped}, 413},
		{"gzip inside of gzip is not looked into", sent{"POST", "/fhir/lab", gzipped(t, gzipped(t, report)), zipped}, 400},
		{"members that are empty, without end", sent{"POST", "/fhir/lab", empty, zipped}, 413},
		{"cut in the middle", sent{"POST", "/fhir/lab", gzipped(t, report)[:60], zipped}, 400},
		{"damaged", sent{"POST", "/fhir/lab", gzipped(t, report)[:60] + "damaged" + gzipped(t, report)[67:], zipped}, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if answer := h.send(t, tt.sent); answer.status != tt.wantStatus {
				t.Errorf("status %d, want %d: %s", answer.status, tt.wantStatus, answer.body)
			}
		})
	}
}

// Bodies that only a sender of its own makes: without a length nobody knows beforehand how long one is, and of two encodings
// the first one alone says nothing.
func TestOddCompressedBodies(t *testing.T) {
	h := open(t)
	for _, tt := range []struct {
		name, body string
		encodings  []string
		wantStatus int
	}{
		{"members that are empty, without end and of unknown length", strings.Repeat(gzipped(t, ""), 100_000), []string{"gzip"}, 413},
		{"encoded twice, in two headers", gzipped(t, gzipped(t, report)), []string{"gzip", "gzip"}, 415},
		{"encoded twice, in one header", gzipped(t, gzipped(t, report)), []string{"gzip, gzip"}, 415},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/fhir/lab", io.MultiReader(strings.NewReader(tt.body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+labToken)
		req.Header["Content-Encoding"] = tt.encodings
		resp, err := h.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tt.wantStatus {
			t.Errorf("%s: status %d, want %d", tt.name, resp.StatusCode, tt.wantStatus)
		}
	}
}

func TestAuthentication(t *testing.T) {
	h := open(t)
	for _, tt := range []struct {
		name, path, authorization string
		wantStatus                int
	}{
		{"its token", "/fhir/lab", "Bearer " + labToken, 200},
		{"its next token, during a rotation", "/fhir/lab", "Bearer " + labNextToken, 200},
		{"the scheme in any case", "/fhir/lab", "bearer " + labToken, 200},
		{"no token", "/fhir/lab", "", 401},
		{"an empty token", "/fhir/lab", "Bearer ", 401},
		{"the scheme alone", "/fhir/lab", "Bearer", 401},
		{"another scheme", "/fhir/lab", "Basic " + labToken, 401},
		{"a wrong token", "/fhir/lab", "Bearer another", 401},
		{"the beginning of its token", "/fhir/lab", "Bearer " + labToken[:8], 401},
		{"another source's token", "/fhir/lab", "Bearer " + regionToken, 401},
		{"a source that does not exist", "/fhir/other", "Bearer " + labToken, 401},
		{"a source that does not exist, without a token", "/fhir/other", "", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := h.send(t, sent{"POST", tt.path, report, map[string]string{"Authorization": tt.authorization}})
			if answer.status != tt.wantStatus {
				t.Fatalf("status %d, want %d", answer.status, tt.wantStatus)
			}
			if tt.wantStatus == http.StatusUnauthorized {
				checkLogin(t, answer)
			}
		})
	}
	if n := h.count(t, "staffetta_notifications_total", "source=other"); n != 0 {
		t.Error("a name that a stranger made up is a label")
	}
}

// An operator of many sources must learn whose credentials have expired; a stranger must not write into the log.
func TestTheLogOfARefusalNamesTheSource(t *testing.T) {
	h := open(t, signing)
	for _, tt := range []struct {
		name, path string
		header     map[string]string
		want       string
	}{
		{"a wrong token", "/fhir/lab", map[string]string{"Authorization": "Bearer another"}, "lab"},
		{"a wrong signature", "/fhir/medplum", withSignature(signed("another", report)), "medplum"},
		{"a source that does not exist", "/fhir/other", nil, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if answer := h.send(t, sent{"POST", tt.path, report, tt.header}); answer.status != http.StatusUnauthorized {
				t.Fatalf("status %d, want 401", answer.status)
			}
			if line := lastLine(h.logs.String()); !strings.Contains(line, `"source":"`+tt.want+`"`) {
				t.Errorf("the log says %s, want %s", line, tt.want)
			}
		})
	}
	if n := h.count(t, "staffetta_notifications_total", "source=lab"); n != 0 {
		t.Error("who is not believed to be a source is counted as it")
	}
}

// checkLogin wants the same answer for every reason.
func checkLogin(t *testing.T, answer got) {
	t.Helper()
	const want = `{"issue":[{"severity":"error","code":"login","diagnostics":"no valid credentials for this source"}],"resourceType":"OperationOutcome"}`
	if answer.body != want {
		t.Errorf("body %s, want %s", answer.body, want)
	}
	if got := answer.header.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate %q, want Bearer", got)
	}
}

func TestSeveralAuthorizationsAreNone(t *testing.T) {
	h := open(t)
	for _, several := range [][]string{{"Bearer another", "Bearer " + labToken}, {"Bearer " + labToken, "Bearer another"}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/fhir/lab", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Authorization"] = several
		resp, err := h.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: status %d, want 401", several, resp.StatusCode)
		}
	}
}
