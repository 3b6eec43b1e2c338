package endpoint_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"staffetta/adapter/endpoint"
	"staffetta/config/tlstest"
)

// serving is a Server that runs.
type serving struct {
	addr string
	stop context.CancelFunc
	done chan error
}

func serve(t *testing.T, handler http.Handler, readTimeout, grace time.Duration) *serving {
	t.Helper()
	return serveWith(t, endpoint.ServerOptions{Handler: handler, ReadTimeout: readTimeout, Grace: grace})
}

func serveWith(t *testing.T, o endpoint.ServerOptions) *serving {
	t.Helper()
	o.Listen, o.FHIR, o.Log = "127.0.0.1:0", true, slog.New(slog.DiscardHandler)
	server, err := endpoint.Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &serving{server.Addr().String(), stop, make(chan error, 1)}
	go func() { s.done <- server.Run(ctx) }()
	t.Cleanup(stop)
	return s
}

// dial opens a connection.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// halfSent opens a connection, sends the head of a request and half of its body.
func halfSent(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn := dial(t, addr)
	_, err := fmt.Fprintf(conn, "PUT /fhir/lab/DiagnosticReport/r1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/fhir+json\r\nContent-Length: %d\r\n\r\n%s", labToken, len(report), report[:len(report)/2])
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// arriving tells when a request has reached the handler.
func arriving(next http.Handler) (http.Handler, <-chan struct{}) {
	arrived := make(chan struct{}, 16)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		next.ServeHTTP(w, r)
	}), arrived
}

func TestShutdownWithHalfSentRequests(t *testing.T) {
	h := open(t)
	handler, arrived := arriving(h.handler)
	s := serve(t, handler, time.Hour, 50*time.Millisecond)
	for range 8 {
		halfSent(t, s.addr)
		<-arrived
	}
	s.stop()
	if err := <-s.done; err != nil { // hangs for the hour of ReadTimeout if nobody cuts them
		t.Errorf("stopped with %v, want nil", err)
	}
	if n := h.count(t, "staffetta_hints_total"); n != 0 {
		t.Errorf("%v hints of half-sent requests, want none", n)
	}
	if logs := h.logs.String(); strings.Contains(logs, `"level":"ERROR"`) {
		t.Errorf("who is cut makes an error:\n%s", logs)
	}
}

func TestShutdownLetsOpenRequestsFinish(t *testing.T) {
	h := open(t)
	handler, arrived := arriving(h.handler)
	s := serve(t, handler, time.Hour, time.Hour)
	conn := halfSent(t, s.addr)
	<-arrived
	s.stop()
	if _, err := io.WriteString(conn, report[len(report)/2:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, want 200", resp.StatusCode)
	}
	if err := <-s.done; err != nil {
		t.Errorf("stopped with %v, want nil", err)
	}
}

func TestSlowBodyIsRefused(t *testing.T) {
	h := open(t)
	s := serve(t, h.handler, time.Second, time.Hour) // long enough to say what is said
	resp, err := http.ReadResponse(bufio.NewReader(halfSent(t, s.addr)), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
		t.Errorf("status %d, closed: %t, want 408 and closed", resp.StatusCode, resp.Close)
	}
}

func TestSenderThatGoesAwayIsNoError(t *testing.T) {
	h := open(t)
	ended := make(chan struct{})
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		h.handler.ServeHTTP(w, r)
	}), time.Hour, time.Hour)
	_ = halfSent(t, s.addr).Close()
	<-ended
	if logs := h.logs.String(); strings.Contains(logs, `"level":"ERROR"`) || strings.Contains(logs, `"level":"WARN"`) {
		t.Errorf("want nothing above info:\n%s", logs)
	}
	if n := h.count(t, "staffetta_hints_total"); n != 0 {
		t.Errorf("%v hints, want none", n)
	}
}

func TestTLS(t *testing.T) {
	h := open(t)
	pair := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate and a client that trusts it
	defer pair.Close()
	s := serveWith(t, endpoint.ServerOptions{
		Handler: h.handler, ReadTimeout: time.Hour, TLS: &tls.Config{Certificates: pair.TLS.Certificates, MinVersion: tls.VersionTLS12},
	})
	h.url, h.client = "https://"+s.addr, pair.Client()
	if answer := h.send(t, sent{"POST", "/fhir/lab", handshake, nil}); answer.status != http.StatusOK {
		t.Errorf("status %d, want 200", answer.status)
	}
	h.client.CloseIdleConnections()
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("stopped with %v, want nil", err)
	}
}

// Who connects and says nothing is cut, before TLS too.
func TestSilenceInsteadOfAHandshakeEnds(t *testing.T) {
	trust := showing(t, tlstest.NewAuthority(t, "ours"))
	s := serveWith(t, endpoint.ServerOptions{Handler: http.NotFoundHandler(), ReadTimeout: 50 * time.Millisecond, TLS: trust})
	if said, err := io.ReadAll(dial(t, s.addr)); err != nil || len(said) > 0 { // hangs if nobody cuts it
		t.Errorf("%q, %v; want nothing, and the end", said, err)
	}
}

func TestPortThatIsTaken(t *testing.T) {
	s := serve(t, http.NotFoundHandler(), time.Second, 0)
	_, err := endpoint.Listen(t.Context(), endpoint.ServerOptions{Listen: s.addr, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Error("listens twice, want an error")
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Errorf("stopped with %v", err)
	}
}
