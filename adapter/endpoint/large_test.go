package endpoint_test

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"staffetta/adapter/endpoint"
)

// letters are so many letters of base64, made while they are read.
type letters struct{ left int }

func (l *letters) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n := min(l.left, len(p))
	for i := range p[:n] {
		p[i] = 'A'
	}
	l.left -= n
	return n, nil
}

// A report with a PDF of 20 MB costs less than 1 MB, sender and receiver together: nothing of it is held.
func TestALargeReportIsStreamed(t *testing.T) {
	const size = 20 << 20
	h := open(t, func(o *endpoint.Options) { o.Limits.MaxBytes = 64 << 20 })
	send := func() {
		body := io.MultiReader(strings.NewReader(`{"resourceType":"DiagnosticReport","id":"large","presentedForm":[{"data":"`),
			&letters{size}, strings.NewReader(`"}],"status":"final"}`))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.url+"/fhir/lab/DiagnosticReport/large", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+labToken)
		req.Header.Set("Content-Type", "application/fhir+json")
		res, err := h.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("answered %d", res.StatusCode)
		}
	}
	send() // connections and buffers that stay
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	send()
	runtime.ReadMemStats(&after)
	if held := after.TotalAlloc - before.TotalAlloc; held > 1<<20 {
		t.Errorf("%d bytes were allocated for a report of %d", held, size)
	}
}
