package config

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"
)

func directTo(t *testing.T, base string) *direct {
	t.Helper()
	trust, err := clientTLS("", "", "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDirect(base, newTransport(trust, Duration(10*time.Second), 4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.CloseIdleConnections)
	return d
}

func ask(t *testing.T, d *direct, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What goes through a proxy, or elsewhere, goes the usual way.
func TestTheUsualWay(t *testing.T) {
	says := func(text string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, text+" "+r.Host)
		}))
		t.Cleanup(server.Close)
		return server
	}
	proxy, upstream, other := says("proxy"), says("upstream"), says("other")
	d := directTo(t, upstream.URL)
	for server, want := range map[*httptest.Server]string{upstream: "upstream ", other: "other "} {
		if got := ask(t, d, server.URL); got != want+server.Listener.Addr().String() {
			t.Errorf("%s answered %q", server.URL, got)
		}
	}
	if total := d.conns.Stat().TotalResources(); total != 1 {
		t.Errorf("%d connections of our own, want one to the upstream", total)
	}
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	behind := directTo(t, upstream.URL)
	behind.next.Proxy = http.ProxyURL(at)
	if got := ask(t, behind, upstream.URL); got != "proxy "+upstream.Listener.Addr().String() {
		t.Errorf("behind a proxy %q answered", got)
	}
}

// A connection that nobody uses is closed after a while.
func TestIdleConnectionsAreClosed(t *testing.T) {
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	d := directTo(t, server.URL)
	d.keep = time.Millisecond
	_ = ask(t, d, server.URL)
	<-closed
}

// One that was idle for too long is not used any more, also where tidy has not been there yet.
func TestIdleConnectionsAreNotUsed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))
	t.Cleanup(server.Close)
	d := directTo(t, server.URL)
	first := ask(t, d, server.URL)
	if again := ask(t, d, server.URL); again != first {
		t.Errorf("over %s and %s, want one connection", first, again)
	}
	d.keep = 0
	if again := ask(t, d, server.URL); again == first {
		t.Error("an old connection was used")
	}
}

// An internationalised name goes the usual way, which knows how DNS writes it.
func TestInternationalisedNames(t *testing.T) {
	const base = "https://sanità.example/fhir"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if directTo(t, base).concerns(req) {
		t.Error("is asked directly")
	}
}

// A connection whose call ended while it was opened may wait for long, and be closed by the server: no message gets lost on it.
func TestConnectionsThatNobodyAwaited(t *testing.T) {
	accepted := make(chan struct{}, 2)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	d := directTo(t, server.URL)
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan struct{})
	dial := d.next.DialContext
	d.next.DialContext = func(of context.Context, network, address string) (net.Conn, error) {
		leave()
		<-left
		return dial(of, network, address)
	}
	if _, err := d.take(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	close(left)
	<-accepted
	for d.conns.Stat().IdleResources() == 0 {
		runtime.Gosched()
	}
	for _, kept := range d.conns.AcquireAllIdle() {
		kept.Value().opened = kept.Value().opened.Add(-time.Minute)
		kept.ReleaseUnused()
	}
	server.CloseClientConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("message"))
	if err != nil {
		t.Fatal(err)
	}
	req.GetBody = nil
	res, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}

// refusing is the connection of a server that answers when it has heard some of a request, and hears no more.
type refusing struct {
	net.Conn

	answer io.Reader
	heard  int
}

var errHearsNoMore = errors.New("hears no more")

func (r *refusing) Write(p []byte) (int, error) {
	if r.heard > 0 {
		return 0, errHearsNoMore
	}
	r.heard = len(p)
	return len(p), nil
}

func (r *refusing) Read(p []byte) (int, error) { return r.answer.Read(p) }

// What a server answers to half a request counts more than that the rest cannot be written.
func TestAnswersToHalfARequest(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		want         int
	}{
		{"refused", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong", http.StatusRequestEntityTooLarge},
		{"no answer", "", 0},
		{"half a head", "HTTP/1.1 413 Conte", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := directTo(t, "http://127.0.0.1:1")
			d.next.DialContext = func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				t.Cleanup(func() { _ = theirs.Close() })
				return &refusing{Conn: ours, answer: strings.NewReader(tt.answer)}, nil
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1", strings.NewReader(strings.Repeat("message", 10_000)))
			if err != nil {
				t.Fatal(err)
			}
			res, err := d.RoundTrip(req)
			if tt.want == 0 {
				if !errors.Is(err, errHearsNoMore) {
					t.Fatalf("error %v, want %v", err, errHearsNoMore)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != tt.want {
				t.Errorf("answered %d, %v; want %d", res.StatusCode, err, tt.want)
			}
			if idle := d.conns.Stat().IdleResources(); idle != 0 {
				t.Error("the connection is kept, after half a request")
			}
		})
	}
}
