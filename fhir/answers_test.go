package fhir_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"staffetta/fhir"
)

// FuzzReadAnswers gives any answer to all that is read of documents, persons and lists: nothing panics, no error repeats
// what the server said, and nobody but the server is ever called.
func FuzzReadAnswers(f *testing.F) {
	const canary = "RSSMRA80A01H501U"
	files, err := filepath.Glob("../testdata/fse-samples/*.*")
	if err != nil || len(files) < 15 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		f.Add([]byte(read(f, file)), 200)
	}
	const elsewhere = "http://127.0.0.1:9/fhir/"
	for _, seed := range []string{
		`{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"` + elsewhere + `Patient?page=2"}],"entry":[{"fullUrl":"` + elsewhere +
			`DiagnosticReport/r1","resource":{"resourceType":"DiagnosticReport","id":"r1","status":"final","subject":{"reference":"` + elsewhere + `Patient/p1"}}}]}`,
		`{"resourceType":"Composition","id":"r1","subject":{"reference":"Patient/r1"},"section":[{"entry":[{"reference":"` + elsewhere + `DiagnosticReport/r2"}]}],
			"relatesTo":[{"code":"replaces","targetReference":{"reference":"` + elsewhere + `Composition/c0"}}]}`,
		`{"resourceType":"Patient","id":"r1","identifier":[{"system":"http://hl7.it/sid/codiceFiscale","value":"` + canary + `"}],
			"link":[{"type":"replaced-by","other":{"reference":"` + elsewhere + `Patient/p2"}}]}`,
		`{"resourceType":"Bundle","type":"history","total":2,"link":[{"relation":"next","url":"` + elsewhere + `DiagnosticReport/_history?page=2"}],"entry":[
			{"request":{"method":"DELETE","url":"DiagnosticReport/r1/_history/2"},"response":{"lastModified":"2026-01-10T09:05:00Z"}},
			{"fullUrl":"` + elsewhere + `DiagnosticReport/` + canary + `","request":{"method":"DELETE","url":"` + canary + `"},"response":[null,1]},
			{"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"` + canary + `"}]}}]}`,
		`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"` + canary + `"}]}`, `[`, canary,
	} {
		f.Add([]byte(seed), 200)
		f.Add([]byte(seed), 404)
	}
	var mu sync.Mutex
	var body []byte
	var status int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	f.Cleanup(server.Close)
	strays := make(chan string, 1)
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != server.Listener.Addr().String() {
				select {
				case strays <- addr:
				default:
				}
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}},
	}
	f.Cleanup(client.CloseIdleConnections)
	f.Fuzz(func(t *testing.T, answer []byte, code int) {
		if code < 200 || code > 599 {
			t.Skip("no status of an answer")
		}
		mu.Lock()
		body, status = answer, code
		mu.Unlock()
		for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeFSE2} {
			s, err := fhir.NewSource(fhir.SourceOptions{
				Name: "test", BaseURL: server.URL + "/fhir", Shape: shape, Client: client, MaxBody: 1 << 20, MaxDepth: 32,
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []string{"DiagnosticReport", "Composition", "DocumentReference", "Bundle"} {
				_, readErr := s.Read(t.Context(), fhir.Locator{Type: kind, ID: "r1"})
				_, findErr := s.Find(t.Context(), fhir.Locator{Type: kind, ID: "r1"})
				_, latestErr := s.Latest(t.Context(), kind, 10)
				_, deletedErr := s.Deleted(t.Context(), kind, fhir.Look{})
				_, changesErr := changes(t, s, kind+"?status=final").Since(t.Context(), fhir.Look{})
				for _, err := range []error{readErr, findErr, latestErr, deletedErr, changesErr} {
					if err != nil && strings.Contains(err.Error(), canary) {
						t.Errorf("the error repeats what the server said: %v", err)
					}
				}
			}
		}
		select {
		case addr := <-strays:
			t.Errorf("somebody else was called, at %s", addr)
		default:
		}
	})
}
