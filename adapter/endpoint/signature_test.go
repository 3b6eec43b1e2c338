package endpoint_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"staffetta/adapter/endpoint"
	"staffetta/fhir"
)

const (
	medplumSecret, medplumNextSecret = "secret-of-medplum", "next-secret-of-medplum"
	orcaToken, orcaSecret            = "token-of-orca", "secret-of-orca"
)

// signing adds a source that signs, and one that signs and shows a token.
func signing(o *endpoint.Options) {
	o.Sources = append(
		o.Sources,
		endpoint.Source{Name: "medplum", Secrets: []string{medplumSecret, medplumNextSecret}, Shape: fhir.ShapeReport},
		endpoint.Source{Name: "orca", Tokens: []string{orcaToken}, Secrets: []string{orcaSecret}, Shape: fhir.ShapeReport},
	)
}

func signed(secret, body string) string {
	sum := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(sum, body)
	return hex.EncodeToString(sum.Sum(nil))
}

// withSignature is the header of a request without a token; more come in pairs.
func withSignature(signature string, more ...string) map[string]string {
	header := map[string]string{"Authorization": "", "X-Signature": signature}
	for i := 0; i < len(more); i += 2 {
		header[more[i]] = more[i+1]
	}
	return header
}

func TestSignature(t *testing.T) {
	h := open(t, signing)
	zipped := gzipped(t, report)
	of := func(body string) string { return signed(medplumSecret, body) }
	const right, wrong = http.StatusOK, http.StatusUnauthorized
	for _, tt := range []struct {
		name       string
		sent       sent
		wantStatus int
	}{
		{"of the body as it is sent", sent{"POST", "/fhir/medplum", report, withSignature(of(report))}, right},
		{"with its next secret, during a rotation", sent{"POST", "/fhir/medplum", report, withSignature(signed(medplumNextSecret, report))}, right},
		{"of a body with a line end behind it", sent{"POST", "/fhir/medplum", report + "\n", withSignature(of(report + "\n"))}, right},
		{"of a body without the line end that was sent", sent{"POST", "/fhir/medplum", report + "\n", withSignature(of(report))}, wrong},
		{"none", sent{"POST", "/fhir/medplum", report, withSignature("")}, wrong},
		{"none, and another source's token", sent{"POST", "/fhir/medplum", report, nil}, wrong},
		{"of another body", sent{"POST", "/fhir/medplum", report, withSignature(of("{}"))}, wrong},
		{"with another source's secret", sent{"POST", "/fhir/medplum", report, withSignature(signed(orcaSecret, report))}, wrong},
		{"without a secret", sent{"POST", "/fhir/medplum", report, withSignature(signed("", report))}, wrong},
		{"in capitals", sent{"POST", "/fhir/medplum", report, withSignature(strings.ToUpper(of(report)))}, wrong},
		{"with a prefix", sent{"POST", "/fhir/medplum", report, withSignature("sha256=" + of(report))}, wrong},
		{"cut", sent{"POST", "/fhir/medplum", report, withSignature(of(report)[:32])}, wrong},
		{"no hexadecimal", sent{"POST", "/fhir/medplum", report, withSignature(strings.Repeat("x", 64))}, wrong},

		{"of what is on the wire, where that is compressed", sent{"POST", "/fhir/medplum", zipped, withSignature(of(zipped), "Content-Encoding", "gzip")}, right},
		{"of what is inside, where that is compressed", sent{"POST", "/fhir/medplum", zipped, withSignature(of(report), "Content-Encoding", "gzip")}, wrong},

		{"of no body: a ping", sent{"POST", "/fhir/medplum", "", withSignature(of(""))}, right},
		{"of no body: a delete", sent{"DELETE", "/fhir/medplum/DiagnosticReport/r1", "", withSignature(of(""))}, right},
		{"of the body of a delete, which says nothing", sent{"DELETE", "/fhir/medplum/DiagnosticReport/r1", "{}", withSignature(of("{}"))}, right},
		{"of no body, where a delete has one", sent{"DELETE", "/fhir/medplum/DiagnosticReport/r1", "{}", withSignature(of(""))}, wrong},
		{"of Medplum's delete", sent{"POST", "/fhir/medplum", "{}", withSignature(of("{}"), "X-Medplum-Deleted-Resource", "DiagnosticReport/r1")}, right},

		{"of nonsense", sent{"POST", "/fhir/medplum", "<html>", withSignature(of("<html>"))}, 400},
		{"not of nonsense", sent{"POST", "/fhir/medplum", "<html>", withSignature(of(report))}, wrong},
		{"of half of JSON", sent{"POST", "/fhir/medplum", report[:80], withSignature(of(report[:80]))}, 400},
		{"of no gzip", sent{"POST", "/fhir/medplum", report, withSignature(of(report), "Content-Encoding", "gzip")}, 400},
		{"not of no gzip", sent{"POST", "/fhir/medplum", report, withSignature(of("{}"), "Content-Encoding", "gzip")}, wrong},
		{"in an encoding that is not known", sent{"POST", "/fhir/medplum", report, withSignature(of(report), "Content-Encoding", "br")}, 415},
		{"forged, in an encoding that is not known", sent{"POST", "/fhir/medplum", report, withSignature(of("{}"), "Content-Encoding", "br")}, wrong},

		{"beside a token: both are right", sent{"POST", "/fhir/orca", report, withSignature(signed(orcaSecret, report), "Authorization", "Bearer "+orcaToken)}, right},
		{"beside a token: the token is missing", sent{"POST", "/fhir/orca", report, withSignature(signed(orcaSecret, report))}, wrong},
		{"beside a token: the token is another", sent{"POST", "/fhir/orca", report, withSignature(signed(orcaSecret, report), "Authorization", "Bearer "+labToken)}, wrong},
		{"beside a token: the signature is missing", sent{"POST", "/fhir/orca", report, withSignature("", "Authorization", "Bearer "+orcaToken)}, wrong},
		{"beside a token: the signature is another", sent{"POST", "/fhir/orca", report, withSignature(of(report), "Authorization", "Bearer "+orcaToken)}, wrong},
		{"where it is not asked for", sent{"POST", "/fhir/lab", report, map[string]string{"X-Signature": of("{}")}}, right},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := h.count(t, "staffetta_hints_total")
			answer := h.send(t, tt.sent)
			if answer.status != tt.wantStatus {
				t.Fatalf("status %d, want %d: %s", answer.status, tt.wantStatus, answer.body)
			}
			if tt.wantStatus == wrong {
				checkLogin(t, answer)
			}
			if after := h.count(t, "staffetta_hints_total"); tt.wantStatus != right && after != before {
				t.Errorf("%v hints of a refused notification, want none", after-before)
			}
		})
	}
	for _, private := range []string{medplumSecret, orcaSecret, orcaToken, of(report), of("{}"), "Emocromo"} {
		if logs := h.logs.String(); strings.Contains(logs, private) {
			t.Errorf("%q is in the logs:\n%s", private, logs)
		}
	}
}

func TestSeveralSignaturesAreNone(t *testing.T) {
	h := open(t, signing)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/fhir/medplum", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["X-Signature"] = []string{signed(medplumSecret, ""), signed(medplumSecret, "")}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", resp.StatusCode)
	}
}

// TestTheNamesOfSignersCannotBeTold sends the same to a source that signs, to one that does not, and to one that does not
// exist: nothing that is seen from outside may differ.
func TestTheNamesOfSignersCannotBeTold(t *testing.T) {
	h := open(t, signing)
	h.client.Transport.(*http.Transport).ExpectContinueTimeout = 1 << 40
	forged := withSignature(signed("guessed", report))
	large := report + strings.Repeat(" ", 1<<20)
	for _, tt := range []struct {
		name    string
		body    string
		header  map[string]string
		chunked bool
		want    int
	}{
		{"a forged signature", report, forged, false, 401},
		{"no signature", report, withSignature(""), false, 401},
		{"nonsense", "<html>", forged, false, 401},
		{"no gzip", report, withSignature(forged["X-Signature"], "Content-Encoding", "gzip"), false, 401},
		{"too large, and said so", large, forged, false, 413},
		{"too large, and not said", large, forged, true, 413},
		{"without its length", report, forged, true, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first := h.probe(t, "medplum", tt.body, tt.header, tt.chunked)
			if first.status != tt.want {
				t.Errorf("status %d, want %d", first.status, tt.want)
			}
			for _, other := range []string{"nobody", "lab", "orca"} {
				got := h.probe(t, other, tt.body, tt.header, tt.chunked)
				if diff := cmp.Diff(first, got, cmp.AllowUnexported(probed{})); diff != "" {
					t.Errorf("%s answers otherwise (-medplum +%s):\n%s", other, other, diff)
				}
			}
		})
	}
}

// probed is all that a stranger sees of an answer.
type probed struct {
	status int
	header http.Header
	body   string
	asked  bool // for the body, by 100 Continue
}

func (h *house) probe(t *testing.T, source, body string, header map[string]string, chunked bool) probed {
	t.Helper()
	var asked atomic.Bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { asked.Store(true) }})
	var reader io.Reader = bytes.NewReader([]byte(body))
	if chunked {
		reader = io.MultiReader(reader) // hides the length
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url+"/fhir/"+source, reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	req.Header.Set("Expect", "100-continue")
	for name, value := range header {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Header.Del("Date")
	return probed{resp.StatusCode, resp.Header, string(text), asked.Load()}
}
