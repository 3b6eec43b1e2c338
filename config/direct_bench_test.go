package config

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// BenchmarkCalls is what a call costs both sides together, eight at a time for each processor: directly, and with http.Transport.
func BenchmarkCalls(b *testing.B) {
	answer := []byte(strings.Repeat("an answer of some kilobytes ", 100))
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
	for scheme, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
		server := start(handler)
		b.Cleanup(server.Close)
		at, err := url.Parse(server.URL)
		if err != nil {
			b.Fatal(err)
		}
		trust := &tls.Config{MinVersion: tls.VersionTLS12}
		if server.TLS != nil {
			trust.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs //nolint:forcetypeassert // what it is
		}
		usual := newTransport(trust, Duration(10*time.Second), 64)
		usual.ForceAttemptHTTP2 = false // IO and the sources are asked over HTTP/1.1
		direct, err := newDirect(at, 10*time.Second, usual)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(direct.CloseIdleConnections)
		b.Run(scheme+"/direct", func(b *testing.B) { callAtOnce(b, direct, server.URL, 0) })
		b.Run(scheme+"/http.Transport", func(b *testing.B) { callAtOnce(b, usual, server.URL, 10*time.Second) })
	}
}

// callAtOnce calls many at a time, each within a time where the transport does not bound it itself.
func callAtOnce(b *testing.B, transport http.RoundTripper, at string, within time.Duration) {
	b.Helper()
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := callWithin(b.Context(), transport, at, within); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func callWithin(ctx context.Context, transport http.RoundTripper, at string, within time.Duration) error {
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
