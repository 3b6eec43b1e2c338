package adapter_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"staffetta/config"
	"staffetta/fhir"
	"staffetta/notifier/sandbox"
)

// What the file says of limits holds at the listener.
func TestLimitsOfTheFileHold(t *testing.T) {
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Public.MaxBody, cfg.Public.MaxDepth, cfg.Public.MaxEntries, cfg.Public.ReadTimeout = 64<<10, 10, 3, config.Duration(time.Second)
	})
	w.run(t)
	nested := func(n int) string {
		return `{"resourceType":"Patient","id":"p1","a":` + strings.Repeat(`{"a":`, n-1) + `1` + strings.Repeat("}", n)
	}
	entries := func(n int) string {
		return `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.TrimSuffix(strings.Repeat(`{},`, n), ",") + `]}`
	}
	for _, tt := range []struct {
		name, body string
		want       int
	}{
		{"as large as it may be", `{"resourceType":"Patient","id":"p1"}` + strings.Repeat(" ", 64<<10-36), 200},
		{"a byte larger", `{"resourceType":"Patient","id":"p1"}` + strings.Repeat(" ", 64<<10-35), 413},
		{"as deep as it may be", nested(10), 200},
		{"one deeper", nested(11), 400},
		{"as many entries as may be", entries(3), 200},
		{"one more", entries(4), 413},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.poster.URL, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+postToken)
		res, err := w.poster.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, res.StatusCode, tt.want)
		}
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.program.PublicAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST /fhir/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", w.source, postToken); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("too slow: status %d, want 408", res.StatusCode)
	}
}

// A body at the limit, out of a few KiB of gzip, costs no more memory than a small one.
func TestAHugeBodyCostsNoMemory(t *testing.T) {
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.Public.MaxBody = 8 << 20 })
	w.run(t)
	w.connected(t) // else the first look through the source is measured, too
	bomb := func(size int) []byte {
		var out bytes.Buffer
		zip := gzip.NewWriter(&out)
		_, _ = zip.Write([]byte(`{"resourceType":"Patient","id":"p1","conclusion":"`))
		block := bytes.Repeat([]byte("0"), 1<<20)
		for range size {
			_, _ = zip.Write(block)
		}
		_, _ = zip.Write([]byte(`"}`))
		_ = zip.Close()
		return out.Bytes()
	}
	for size, want := range map[int]int{7: http.StatusOK, 9: http.StatusRequestEntityTooLarge} {
		body := bomb(size)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.poster.URL, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+postToken)
		req.Header.Set("Content-Encoding", "gzip")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res, err := w.poster.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		runtime.ReadMemStats(&after)
		if res.StatusCode != want {
			t.Errorf("%d MiB from %d bytes: status %d, want %d", size, len(body), res.StatusCode, want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 { // of the whole program, which does not rest
			t.Errorf("%d MiB from %d bytes: %d bytes were allocated", size, len(body), took)
		}
	}
}
