package config

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func directTo(t *testing.T, base string) *direct {
	t.Helper()
	trust, err := clientTLS("", "", "")
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDirect(at, 10*time.Second, newTransport(trust, Duration(10*time.Second), 4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.CloseIdleConnections)
	return d
}

// trusts lets an upstream show the certificate of that server.
func (d *direct) trusts(server *httptest.Server) {
	if d.trust != nil {
		d.trust.RootCAs = x509.NewCertPool()
		d.trust.RootCAs.AddCert(server.Certificate())
	}
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
	if _, err := d.take(ctx, time.Now().Add(time.Minute)); !errors.Is(err, context.Canceled) {
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

// played is a connection whose server answers a text, and hears some bytes of each request that it is told to hear.
type played struct {
	net.Conn

	answer io.Reader
	hears  int
}

var errHearsNoMore = errors.New("hears no more")

func (p *played) Write(text []byte) (int, error) {
	n := min(len(text), p.hears)
	if p.hears -= n; n < len(text) {
		return n, errHearsNoMore
	}
	return n, nil
}

func (p *played) Read(into []byte) (int, error) { return p.answer.Read(into) }

// playing is a transport whose connections answer a text each, once they have heard so many bytes.
func playing(t *testing.T, hears int, answers ...string) *direct {
	t.Helper()
	d := directTo(t, "http://127.0.0.1:1")
	d.next.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		answer := answers[0]
		answers = answers[1:]
		return &played{Conn: ours, answer: strings.NewReader(answer), hears: hears}, nil
	}
	return d
}

// post sends a message; it says whether the server may have seen it.
func post(t *testing.T, d *direct, message string, again bool) (res *http.Response, written bool, err error) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaders: func() { written = true }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:1", strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	if !again {
		req.GetBody = nil
	}
	res, err = d.RoundTrip(req)
	return res, written, err
}

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
			d := playing(t, 4096, tt.answer)
			res, written, err := post(t, d, strings.Repeat("message", 10_000), false)
			if !written {
				t.Error("said not to be written")
			}
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

// A message of which the server heard nothing is not said to be written, and is sent again where its body can be had again.
func TestMessagesOfWhichNothingWasHeard(t *testing.T) {
	const (
		fine    = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
		unasked = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nslow"
	)
	for _, tt := range []struct {
		name           string
		hears          int    // of it, on a connection that was kept
		says           string // there
		again, written bool
		want           int
	}{
		{"nothing, its body is gone", 0, "", false, false, 0},
		{"nothing, its body can be had again", 0, "", true, true, http.StatusOK},
		{"nothing, and what was said is no answer to it", 0, unasked, true, true, http.StatusOK},
		{"one byte", 1, "", true, true, 0},
		{"one byte, which was answered", 1, unasked, true, true, http.StatusRequestTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := playing(t, 1<<20, tt.says, fine)
			kept, err := d.take(t.Context(), time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			kept.Value().used = true
			kept.Value().Conn.(*played).hears = tt.hears //nolint:forcetypeassert // see playing
			kept.Release()
			res, written, err := post(t, d, "message", tt.again)
			got := 0
			if err == nil {
				got = res.StatusCode
				_ = res.Body.Close()
			}
			if written != tt.written || got != tt.want {
				t.Errorf("answered %d, written %t, %v; want %d, written %t", got, written, err, tt.want, tt.written)
			}
		})
	}
}

// A connection is not kept where its answer was not read to its end.
func TestConnectionsAreNotKeptBeforeTheEnd(t *testing.T) {
	for name, answer := range map[string]string{
		"left":   "Content-Length: 9\r\n\r\n",
		"broken": "Transfer-Encoding: chunked\r\n\r\nno chunk\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := playing(t, 1<<20, "HTTP/1.1 200 OK\r\n"+answer)
			res, _, err := post(t, d, "message", false)
			if err != nil {
				t.Fatal(err)
			}
			if name == "broken" {
				if _, err := io.ReadAll(res.Body); err == nil {
					t.Error("no error")
				}
			}
			_ = res.Body.Close()
			if idle := d.conns.Stat().IdleResources(); idle != 0 {
				t.Error("is kept")
			}
		})
	}
}

func TestWhereIsDialled(t *testing.T) {
	errEnough := errors.New("enough")
	for base, want := range map[string]string{
		"http://lab.example/fhir": "lab.example:80", "https://lab.example/fhir": "lab.example:443",
		"https://LAB.example:8443": "LAB.example:8443", "http://[::1]/fhir": "[::1]:80", "http://[::1]:8080": "[::1]:8080",
	} {
		d := directTo(t, base)
		var got string
		d.next.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
			got = address
			return nil, errEnough
		}
		if _, err := d.take(t.Context(), time.Now().Add(time.Minute)); !errors.Is(err, errEnough) || got != want {
			t.Errorf("%s is dialled at %s, %v; want %s", base, got, err, want)
		}
	}
}

// A request in clear is none to an upstream that speaks TLS, and the other way round.
func TestTheSchemeIsAPartOfTheUpstream(t *testing.T) {
	for base, other := range map[string]string{"https://lab.example:1": "http://lab.example:1", "http://lab.example:1": "https://lab.example:1"} {
		for url, want := range map[string]bool{base: true, other: false} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			if got := directTo(t, base).concerns(req); got != want {
				t.Errorf("%s concerns %s: %t", url, base, got)
			}
		}
	}
}

// A server that does not answer TLS is left.
func TestHandshakesThatAreNone(t *testing.T) {
	for _, says := range []string{"", "HTTP/1.1 400 Bad Request\r\n\r\n"} {
		ours, theirs := net.Pipe()
		left := make(chan struct{})
		go func() {
			_, _ = theirs.Read(make([]byte, 1<<14))
			_, _ = io.WriteString(theirs, says)
			_, _ = io.Copy(io.Discard, theirs)
			close(left)
		}()
		d := directTo(t, "https://lab.example")
		if says == "" {
			d.next.TLSHandshakeTimeout = time.Millisecond
		}
		d.next.DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		if _, err := d.take(t.Context(), time.Now().Add(time.Minute)); err == nil || errors.Is(err, context.DeadlineExceeded) != (says == "") {
			t.Errorf("error %v where the server says %q", err, says)
		}
		<-left
	}
}

// What is young is left by tidy; what is not is closed each time.
func TestTidying(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	d := directTo(t, server.URL)
	_ = ask(t, d, server.URL)
	d.tidy()
	if idle := d.conns.Stat().IdleResources(); idle != 1 {
		t.Errorf("%d connections are kept, want 1", idle)
	}
	if !d.tidiness.Load() {
		t.Error("tidy does not come again")
	}
	d.CloseIdleConnections()
	for d.conns.Stat().TotalResources() > 0 {
		runtime.Gosched()
	}
	d.tidy()
	if d.tidiness.Load() {
		t.Error("tidy comes again for nothing")
	}
}

func TestWhatIsAskedForPacked(t *testing.T) {
	for _, tt := range []struct {
		method, header string
		want           bool
	}{
		{http.MethodGet, "Accept", true},
		{http.MethodGet, "Range", false},
		{http.MethodGet, "Accept-Encoding", false},
		{http.MethodHead, "Accept", false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://lab.example", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(tt.header, "something")
		asked, got := directTo(t, "http://lab.example").askingForGzip(req)
		if got != tt.want || (asked.Header.Get("Accept-Encoding") == "gzip") != tt.want {
			t.Errorf("%s with %s: %t", tt.method, tt.header, got)
		}
		if tt.want && req.Header["Accept-Encoding"] != nil {
			t.Error("the caller's request was changed")
		}
	}
}

// IO is not asked for what is packed: its answers are short.
func TestAnUpstreamOfShortAnswers(t *testing.T) {
	client, err := IO{BaseURL: "https://io.example/api/v1", Timeout: Duration(time.Second), Connections: 1}.Client()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://io.example/api/v1/profiles", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if asked, packed := client.Transport.(*direct).askingForGzip(req); packed || asked != req { //nolint:forcetypeassert // what it is
		t.Error("packed answers are asked for")
	}
}

// A call has its time, whatever it waits for, and what ran out of it is not sent again.
func TestTheTimeOfACall(t *testing.T) {
	soon := 20 * time.Millisecond
	asked, left := make(chan struct{}, 16), make(chan struct{}) // asked is for what is never answered
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			asked <- struct{}{}
			<-left
		case "/half":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			<-left
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(left) })
	outOfTime := func(t *testing.T, d *direct, path string) {
		t.Helper()
		d.timeout = soon
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := d.RoundTrip(req)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
		}
	}
	t.Run("for an answer", func(t *testing.T) {
		d := directTo(t, server.URL)
		_ = ask(t, d, server.URL)     // what is kept could have been closed meanwhile
		soon = 250 * time.Millisecond // it is sent before that
		outOfTime(t, d, "/silent")
		soon = 20 * time.Millisecond
		<-asked
		d.timeout = time.Minute
		_ = ask(t, d, server.URL)
		if again := len(asked); again > 0 {
			t.Errorf("asked %d times more", again)
		}
	})
	t.Run("for the rest of an answer", func(t *testing.T) {
		outOfTime(t, directTo(t, server.URL), "/half")
	})
	t.Run("the usual way", func(t *testing.T) {
		d := directTo(t, "http://elsewhere.example")
		outOfTime(t, d, "/silent")
		outOfTime(t, d, "/half")
	})
	t.Run("for a connection", func(t *testing.T) {
		d := directTo(t, server.URL)
		for range d.conns.Stat().MaxResources() {
			kept, err := d.take(t.Context(), time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			defer d.giveUp(kept)
		}
		outOfTime(t, d, "/")
	})
	t.Run("until it is open", func(t *testing.T) {
		d := directTo(t, server.URL)
		d.next.DialContext = func(context.Context, string, string) (net.Conn, error) {
			<-left
			return nil, net.ErrClosed
		}
		outOfTime(t, d, "/")
	})
	t.Run("until another one is open, in place of one that is too old", func(t *testing.T) {
		d := directTo(t, server.URL)
		_ = ask(t, d, server.URL)
		d.keep = 0
		d.next.DialContext = func(context.Context, string, string) (net.Conn, error) {
			<-left
			return nil, net.ErrClosed
		}
		outOfTime(t, d, "/")
	})
}

// What looks whether TLS holds something back takes the time of the call from the connection, and must give it again.
func TestTheTimeOfACallOverAKeptConnectionWithTLS(t *testing.T) {
	left := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/silent" {
			<-left
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(left) })
	d := directTo(t, server.URL)
	d.trusts(server)
	_ = ask(t, d, server.URL)
	d.timeout = 20 * time.Millisecond
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/silent", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) { //nolint:bodyclose // there is none
		t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
	}
}

// The time of a call says nothing of its connection: that one is used again when it has passed.
func TestAConnectionOutlivesTheTimeOfACall(t *testing.T) {
	for _, start := range []func(http.Handler) *httptest.Server{httptest.NewServer, httptest.NewTLSServer} {
		server := start(remote)
		t.Cleanup(server.Close)
		d := directTo(t, server.URL)
		d.trusts(server)
		before := ask(t, d, server.URL)
		for _, kept := range d.conns.AcquireAllIdle() {
			_ = kept.Value().SetDeadline(time.Unix(1, 0))
			kept.ReleaseUnused()
		}
		if after := ask(t, d, server.URL); after != before {
			t.Errorf("%s is asked from %s, and then from %s", server.URL, before, after)
		}
	}
}

var remote = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })

// What counts the connections that calls have comes back to nothing, whatever became of them.
func TestNobodyHasAConnectionInTheEnd(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/closed" {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "something")
	}))
	t.Cleanup(server.Close)
	d := directTo(t, server.URL)
	for _, path := range []string{"/", "/closed", "/", "/left", "/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := d.RoundTrip(req)
		if err != nil {
			continue
		}
		if path != "/left" {
			_, _ = io.Copy(io.Discard, res.Body)
		}
		_ = res.Body.Close()
	}
	d.next.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	d.keep = 0 // what is kept is too old
	if _, err := d.take(t.Context(), time.Now().Add(time.Minute)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v, want %v", err, net.ErrClosed)
	}
	if d.out.Load() != 0 {
		t.Errorf("calls have %d connections", d.out.Load())
	}
	d.CloseIdleConnections()
	for d.conns.Stat().TotalResources() > 0 {
		runtime.Gosched()
	}
	if d.open.Load() != 0 {
		t.Errorf("%d connections are open", d.open.Load())
	}
}

// fromElsewhere is an upstream of the usual way that says what became of its call.
type fromElsewhere struct {
	ctx    context.Context //nolint:containedctx // of the call
	closed bool
}

func (e *fromElsewhere) RoundTrip(req *http.Request) (*http.Response, error) {
	e.ctx = req.Context()
	return &http.Response{StatusCode: http.StatusOK, Body: e, Request: req}, nil
}

func (*fromElsewhere) Read([]byte) (int, error) { return 0, io.EOF }

func (e *fromElsewhere) Close() error {
	e.closed = true
	return nil
}

// The time of a call that goes the usual way ends with its answer, and takes nothing with it.
func TestTheEndOfTheUsualWay(t *testing.T) {
	d := directTo(t, "http://lab.example")
	var upstream fromElsewhere
	d.next.RegisterProtocol("elsewhere", &upstream)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "elsewhere://other.example", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.Request != req || upstream.ctx.Err() != nil {
		t.Errorf("the answer is not that of our request, or cut off: %v", upstream.ctx.Err())
	}
	if err := res.Body.Close(); err != nil || !upstream.closed || upstream.ctx.Err() == nil {
		t.Errorf("closed %t with %v, and its time goes on", upstream.closed, err)
	}
}

// What is sent again is a copy: http.RoundTripper must leave a request as it is.
func TestARequestThatIsSentAgainStaysAsItIs(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, _ = io.Copy(io.Discard, r.Body); asked.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	d := directTo(t, server.URL)
	d.next.DisableCompression = true
	_ = ask(t, d, server.URL)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/_search", strings.NewReader("status=final"))
	if err != nil {
		t.Fatal(err)
	}
	before := req.Body
	res, err := d.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if asked.Load() != 3 || req.Body != before {
		t.Errorf("asked %d times, with the same body: %t", asked.Load(), req.Body == before)
	}
}
