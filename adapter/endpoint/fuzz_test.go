package endpoint_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/endpoint"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

// FuzzRequest sends anything, to anywhere: the answer is 200, or a refusal that says why, and never an error of ours.
func FuzzRequest(f *testing.F) {
	files, err := filepath.Glob("../../testdata/notifications/*.json")
	if err != nil || len(files) < 5 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("POST", "lab", "application/fhir+json", "", text)
		f.Add("POST", "region/", "application/json; charset=utf-8", "gzip", []byte(gzipped(f, string(text))))
	}
	f.Add("PUT", "lab/DiagnosticReport/r1", "application/fhir+xml", "", []byte(reportXML))
	f.Add("PUT", "lab/DiagnosticReport/r1", "", "gzip", []byte(gzipped(f, "")+gzipped(f, report)))
	f.Add("DELETE", "region/Composition/c1", "", "identity", []byte(nil))
	f.Add("PATCH", "lab/../region//", "text/html", "br", []byte("\x1f\x8b"))
	// The embedded Redis: a process that a fuzz worker starts outlives it, and the fuzzing waits for its pipes.
	e, err := endpoint.New(endpoint.Options{
		Sources: []endpoint.Source{{Name: "lab", Tokens: []string{labToken}}, {Name: "region", Tokens: []string{labToken}, Shape: fhir.ShapeFSE2}},
		Ledger:  openLedger(f, redistest.Embedded(f)),
		Limits:  fhir.Limits{MaxBytes: 1 << 20, MaxDepth: 32, MaxEntries: 100},
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, contentType, encoding string, content []byte) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(content))
		req.Method, req.URL = method, &url.URL{Path: "/fhir/" + path}
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Content-Encoding", encoding)
		req.Header.Set("Authorization", "Bearer "+labToken)
		answer := httptest.NewRecorder()
		e.Handler().ServeHTTP(answer, req)
		refusals := []int{400, 401, 404, 405, 413, 415}
		one := got{answer.Code, answer.Header(), answer.Body.String()}
		switch {
		case answer.Code == http.StatusOK:
		case !slices.Contains(refusals, answer.Code):
			t.Fatalf("status %d: %s", answer.Code, one.body)
		case one.outcome() == "":
			t.Fatalf("status %d without an OperationOutcome: %s", answer.Code, one.body)
		}
	})
}
