package config_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/config"
	"staffetta/config/tlstest"
)

// scripted is a server that does with the n-th connection (from 0) what it is told to, and counts connections.
type scripted struct {
	url         string
	connections atomic.Int32
}

func script(t *testing.T, play func(n int, c net.Conn, requests *bufio.Reader)) *scripted {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{url: "http://" + l.Addr().String()}
	var players sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); players.Wait() })
	players.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(s.connections.Add(1)) - 1
			players.Go(func() {
				defer func() { _ = c.Close() }()
				play(n, c, bufio.NewReader(c))
			})
		}
	})
	return s
}

// hear reads one request; false where the client closed the connection.
func hear(requests *bufio.Reader) bool {
	req, err := http.ReadRequest(requests)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// saying answers every request on a connection with the same bytes.
func saying(answer string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, requests *bufio.Reader) {
		for {
			if !hear(requests) {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"

// call sends one request as IO's client and the sources' do; it says whether the server may have seen it.
func call(ctx context.Context, t *testing.T, client *http.Client, method, url string, again bool) (answer string, written bool, err error) {
	t.Helper()
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	var content io.Reader = http.NoBody
	if method == http.MethodPost {
		content = strings.NewReader("content")
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		t.Fatal(err)
	}
	if !again {
		req.GetBody = nil
	}
	res, err := client.Transport.RoundTrip(req)
	if err != nil {
		return "", wrote.Load(), err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return string(text), wrote.Load(), err
}

// headOf asks for a URL, and leaves the body of the answer to be read.
func headOf(ctx context.Context, t *testing.T, url string) (*http.Request, *http.Response) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := clientOf(t, url, config.Read{}).Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return req, res
}

func TestConnectionsAreKept(t *testing.T) {
	long := strings.Repeat("long", 1<<19) // more than a head may have
	for _, tt := range []struct {
		name, answer string
		want         string
		connections  int32
	}{
		{"with a length", fine, "fine", 1},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n", "fine", 1},
		{"a long one", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), long, 1},
		{"without content", "HTTP/1.1 204 No Content\r\n\r\n", "", 1},
		{"after information", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + fine, "fine", 1},
		{"not, when the server closes", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine", "fine", 3},
		{"not, in HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine", "fine", 3},
		{"not, when more is said than was asked for", fine + fine, "fine", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := script(t, saying(tt.answer))
			client := clientOf(t, s.url, config.Read{})
			for range 3 {
				if got, _, err := call(t.Context(), t, client, http.MethodGet, s.url, true); got != tt.want || err != nil {
					t.Errorf("answered %.99q, %v; want %.99q", got, err, tt.want)
				}
			}
			if got := s.connections.Load(); got != tt.connections {
				t.Errorf("%d connections, want %d", got, tt.connections)
			}
		})
	}
}

func TestAnswersUntilTheConnectionCloses(t *testing.T) {
	s := script(t, func(_ int, c net.Conn, requests *bufio.Reader) {
		hear(requests)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nfine")
	})
	client := clientOf(t, s.url, config.Read{})
	for range 2 {
		if got, _, err := call(t.Context(), t, client, http.MethodGet, s.url, true); got != "fine" || err != nil {
			t.Errorf("answered %q, %v", got, err)
		}
	}
}

// What a server does to a connection that was kept, and what is asked again because of it.
func TestKeptConnectionsThatBreak(t *testing.T) {
	for _, tt := range []struct {
		name, method, path string
		again              bool   // its body can be had once more
		closed             bool   // before it is asked; else once it has been
		half               string // of an answer, before
		want               string
		heard              int32
	}{
		{"a message, closed before", http.MethodPost, "/messages", false, true, "", "fine", 1},
		{"a read, closed before", http.MethodGet, "/Patient/1", true, true, "", "fine", 1},
		{"a message, closed when it was sent", http.MethodPost, "/messages", false, false, "", "", 1},
		{"what may change something, closed when it was sent", http.MethodPost, "/Subscription", true, false, "", "", 1},
		{"a read, closed when it was sent", http.MethodGet, "/Patient/1", true, false, "", "fine", 2},
		{"a read, closed when half of its answer was sent", http.MethodGet, "/Patient/1", true, false, "HTTP/1.1 200", "", 1},
		{"a search by POST, closed when it was sent", http.MethodPost, "/Bundle/_search", true, false, "", "fine", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var heard atomic.Int32
			closed := make(chan struct{})
			s := script(t, func(n int, c net.Conn, requests *bufio.Reader) {
				for i := 0; ; i++ {
					if n == 0 && i == 1 && tt.closed {
						_ = c.Close()
						close(closed)
						return
					}
					if !hear(requests) {
						return
					}
					if n > 0 || i > 0 {
						heard.Add(1)
					}
					if n == 0 && i == 1 {
						_, _ = io.WriteString(c, tt.half)
						return
					}
					_, _ = io.WriteString(c, fine)
				}
			})
			client := clientOf(t, s.url, config.Read{})
			if _, _, err := call(t.Context(), t, client, http.MethodGet, s.url, true); err != nil {
				t.Fatal(err)
			}
			if tt.closed {
				<-closed
			}
			got, written, err := call(t.Context(), t, client, tt.method, s.url+tt.path, tt.again)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("answered %q, %v; want %q", got, err, tt.want)
			}
			if heard.Load() != tt.heard {
				t.Errorf("the server heard it %d times, want %d", heard.Load(), tt.heard)
			}
			if !written {
				t.Error("said not to be written")
			}
		})
	}
}

// A server that never answers is asked once.
func TestNewConnectionsThatBreak(t *testing.T) {
	s := script(t, func(_ int, _ net.Conn, requests *bufio.Reader) { hear(requests) })
	client := clientOf(t, s.url, config.Read{})
	if got, written, err := call(t.Context(), t, client, http.MethodGet, s.url, true); err == nil || !written {
		t.Errorf("answered %q, written %t; want an error of a request that was written", got, written)
	}
	if got := s.connections.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestNothingIsWrittenWhereNobodyListens(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	_ = l.Close()
	_, written, err := call(t.Context(), t, clientOf(t, url, config.Read{}), http.MethodPost, url, false)
	if written {
		t.Error("said to be written")
	}
	if one, ok := errors.AsType[*net.OpError](err); !ok || one.Op != "dial" {
		t.Errorf("error %v, want one of dialling", err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	const secret = "RSSMRA85T10A562S"
	for _, tt := range []struct {
		name, answer, want string
	}{
		{"not HTTP", `{"resourceType":"Patient","identifier":"` + secret + `"}` + "\r\n\r\n", "not HTTP"},
		{"a head that is none", "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n", "not HTTP"},
		{"only information", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 7), "informational"},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "another protocol"},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + secret, "unexpected EOF"},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + secret, "unexpected EOF"},
		{"a trailer that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n" + secret + "\r\n\r\n", "not HTTP"},
		{"half of what is packed", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "EOF"},
		{"said to be packed", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 16\r\n\r\n" + secret, "gzip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := script(t, func(_ int, c net.Conn, requests *bufio.Reader) {
				hear(requests)
				_, _ = io.WriteString(c, tt.answer)
			})
			_, _, err := call(t.Context(), t, clientOf(t, s.url, config.Read{}), http.MethodGet, s.url, true)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("error %v, want one with %q that tells nothing of the answer", err, tt.want)
			}
		})
	}
}

// Half a body stays half a body, however often it is read.
func TestAnErrorOfABodyStays(t *testing.T) {
	s := script(t, func(_ int, c net.Conn, requests *bufio.Reader) {
		hear(requests)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfine")
	})
	req, res := headOf(t.Context(), t, s.url)
	defer func() { _ = res.Body.Close() }()
	if res.Request != req {
		t.Error("the answer is not said to be one to the request")
	}
	for range 2 {
		if _, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error %v, want %v", err, io.ErrUnexpectedEOF)
		}
	}
}

func TestAnEndlessHead(t *testing.T) {
	var said atomic.Int64
	ended := make(chan struct{})
	s := script(t, func(_ int, c net.Conn, requests *bufio.Reader) {
		defer close(ended)
		hear(requests)
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for line := "X-More: " + strings.Repeat("m", 1000) + "\r\n"; err == nil; said.Add(int64(len(line))) {
			_, err = io.WriteString(c, line)
		}
	})
	_, _, err := call(t.Context(), t, clientOf(t, s.url, config.Read{}), http.MethodGet, s.url, true)
	if err == nil || !strings.Contains(err.Error(), "head of the answer is too long") {
		t.Errorf("error %v, want one about the head", err)
	}
	<-ended
	if said.Load() < 1<<20 {
		t.Errorf("gave up after %d bytes", said.Load())
	}
}

// What a server says unasked is no answer to the next request, at whatever moment it says it.
func TestUnaskedAnswers(t *testing.T) {
	asked, said := make(chan struct{}), make(chan struct{})
	s := script(t, func(n int, c net.Conn, requests *bufio.Reader) {
		if n > 0 {
			saying(fine)(n, c, requests)
			return
		}
		hear(requests)
		_, _ = io.WriteString(c, fine)
		<-asked
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nsomebody else's")
		close(said)
		hear(requests)
	})
	client := clientOf(t, s.url, config.Read{})
	for i := range 2 {
		if got, _, err := call(t.Context(), t, client, http.MethodGet, s.url, true); got != "fine" || err != nil {
			t.Errorf("answered %q, %v", got, err)
		}
		if i == 0 {
			close(asked)
			<-said
		}
	}
}

// holding is a connection whose server says at once what it said since it was told to hold.
type holding struct {
	net.Conn

	held *bytes.Buffer // nil: nothing is held
}

func (h *holding) Write(p []byte) (int, error) {
	if h.held != nil {
		return h.held.Write(p)
	}
	return h.Conn.Write(p)
}

// Over TLS, more can have been read than the answer, without the system below knowing of it any more.
func TestUnaskedAnswersOverTLS(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: "
	ca := tlstest.NewAuthority(t, "town")
	trust := &tls.Config{Certificates: []tls.Certificate{*ca.Issue(t, tlstest.Holder{}).Certificate}, DynamicRecordSizingDisabled: true}
	long := strings.Repeat("l", 4096-len(head+"4057\r\n\r\n")) // fills what is read at once
	for _, tt := range []struct {
		name, want string
		say        func(c *tls.Conn)
	}{
		{"an answer in the same record", long, func(c *tls.Conn) {
			_, _ = fmt.Fprintf(c, "%s%d\r\n\r\n%s%s15\r\n\r\nsomebody else's", head, len(long), long, head)
		}},
		{"that it closes", "fine", func(c *tls.Conn) {
			_, _ = io.WriteString(c, fine)
			_ = c.CloseWrite()
		}},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+" in "+tls.VersionName(version), func(t *testing.T) {
				trust := trust.Clone()
				trust.MaxVersion = version
				s := script(t, func(n int, plain net.Conn, _ *bufio.Reader) {
					below := &holding{Conn: plain}
					c := tls.Server(below, trust)
					requests := bufio.NewReader(c)
					if n > 0 {
						saying(fine)(n, c, requests)
						return
					}
					hear(requests)
					below.held = new(bytes.Buffer)
					tt.say(c)
					_ = plain.SetWriteDeadline(time.Time{}) // CloseWrite wants nothing more to be written
					_, _ = below.held.WriteTo(plain)
					hear(requests)
				})
				url := strings.Replace(s.url, "http:", "https:", 1)
				client := clientOf(t, url, config.Read{CAFile: tlstest.Write(t, t.TempDir(), "ca.pem", ca.PEM())})
				for _, want := range []string{tt.want, "fine", "fine"} {
					if got, _, err := call(t.Context(), t, client, http.MethodPost, url, false); got != want || err != nil {
						t.Errorf("answered %q, %v; want %q", got, err, want)
					}
				}
				if got := s.connections.Load(); got != 2 {
					t.Errorf("%d connections, want 2", got)
				}
			})
		}
	}
}

func TestACallThatIsCut(t *testing.T) {
	for _, tt := range []struct{ name, before string }{
		{"before its answer", ""},
		{"in the head of its answer", "HTTP/1.1 200 OK\r\n"},
		{"in the body of its answer", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfine"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cut := context.WithCancel(t.Context())
			left := make(chan struct{})
			s := script(t, func(n int, c net.Conn, requests *bufio.Reader) {
				if n > 0 {
					saying(fine)(n, c, requests)
					return
				}
				hear(requests)
				_, _ = io.WriteString(c, tt.before)
				cut()
				_, _ = requests.ReadByte() // until the client leaves
				close(left)
			})
			client := clientOf(t, s.url, config.Read{})
			if got, _, err := call(ctx, t, client, http.MethodGet, s.url, true); !errors.Is(err, context.Canceled) {
				t.Errorf("answered %q, %v; want %v", got, err, context.Canceled)
			}
			<-left
			if got, _, err := call(t.Context(), t, client, http.MethodGet, s.url, true); got != "fine" || err != nil {
				t.Errorf("afterwards answered %q, %v", got, err)
			}
		})
	}
}

// Its context cuts the reading of an answer, too.
func TestABodyThatIsCut(t *testing.T) {
	s := script(t, func(_ int, c net.Conn, requests *bufio.Reader) {
		hear(requests)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfine")
		hear(requests)
	})
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	_, res := headOf(ctx, t, s.url)
	defer func() { _ = res.Body.Close() }()
	cut()
	if _, err := io.ReadAll(res.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// A body that is closed before its end is not read to it.
func TestABodyThatIsLeft(t *testing.T) {
	left := make(chan struct{})
	s := script(t, func(_ int, c net.Conn, requests *bufio.Reader) {
		defer close(left)
		hear(requests)
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for err == nil {
			_, err = io.WriteString(c, "more and more")
		}
	})
	_, res := headOf(t.Context(), t, s.url)
	_ = res.Body.Close()
	<-left
	if _, err := res.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after it was closed: %v, want an error", err)
	}
}

// As many connections as configured, and who waits for one waits no longer than allowed.
func TestNoMoreConnectionsThanConfigured(t *testing.T) {
	const connections = 4 // of clientOf
	release, all := make(chan struct{}), make(chan struct{})
	var here atomic.Int32
	s := script(t, func(_ int, c net.Conn, requests *bufio.Reader) {
		for {
			if !hear(requests) {
				return
			}
			if here.Add(1) == connections {
				close(all)
			}
			<-release
			_, _ = io.WriteString(c, fine)
		}
	})
	client := clientOf(t, s.url, config.Read{})
	var callers sync.WaitGroup
	for range connections {
		callers.Go(func() {
			if _, _, err := call(t.Context(), t, client, http.MethodGet, s.url, true); err != nil {
				t.Error(err)
			}
		})
	}
	<-all
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, written, err := call(ctx, t, client, http.MethodPost, s.url, false); !errors.Is(err, context.DeadlineExceeded) || written {
		t.Errorf("the one too many: %v, written %t; want %v", err, written, context.DeadlineExceeded)
	}
	close(release)
	callers.Wait()
	if got := s.connections.Load(); got != connections {
		t.Errorf("%d connections, want %d", got, connections)
	}
}

// peers are the connections that requests came over.
type peers struct{ sync.Map }

func (p *peers) saw(r *http.Request) { p.Store(r.RemoteAddr, true) }

func (p *peers) count() (n int) {
	p.Range(func(any, any) bool { n++; return true })
	return n
}

func TestPackedAnswers(t *testing.T) {
	text := strings.Repeat("a document ", 10_000)
	var (
		asked atomic.Value
		seen  peers
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.saw(r)
		asked.Store(r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "GZip") // in whatever case
		zip := gzip.NewWriter(w)
		_, _ = io.WriteString(zip, text)
		_ = zip.Close()
	}))
	t.Cleanup(server.Close)
	client := clientOf(t, server.URL, config.Read{})
	for range 3 {
		if got, _, err := call(t.Context(), t, client, http.MethodGet, server.URL, true); got != text || err != nil {
			t.Errorf("%d bytes, %v; want %d", len(got), err, len(text))
		}
	}
	if asked.Load() != "gzip" || seen.count() != 1 {
		t.Errorf("asked for %q over %d connections; want gzip, over 1", asked.Load(), seen.count())
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip") // who asks for it gets it
	res, err := client.Transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if packed, err := io.ReadAll(res.Body); err != nil || len(packed) > len(text)/10 || res.Header.Get("Content-Encoding") != "GZip" {
		t.Errorf("%d bytes, %v", len(packed), err)
	}
}

// Over TLS, too, connections are kept, and one that was closed loses no message.
func TestKeptConnectionsOverTLS(t *testing.T) {
	ca := tlstest.NewAuthority(t, "town")
	var (
		heard atomic.Int32
		seen  peers
	)
	server := overTLS(t, ca, func(*tls.Config) {}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard.Add(1)
		seen.saw(r)
		_, _ = fmt.Fprint(w, r.Proto)
	}))
	client := clientOf(t, server.URL, config.Read{CAFile: tlstest.Write(t, t.TempDir(), "ca.pem", ca.PEM())})
	for range 3 {
		if got, _, err := call(t.Context(), t, client, http.MethodPost, server.URL, false); got != "HTTP/1.1" || err != nil {
			t.Errorf("answered %q, %v", got, err)
		}
	}
	if got := seen.count(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
	server.CloseClientConnections()
	if got, _, err := call(t.Context(), t, client, http.MethodPost, server.URL, false); got != "HTTP/1.1" || err != nil {
		t.Errorf("after the server had closed: answered %q, %v", got, err)
	}
	if heard.Load() != 4 {
		t.Errorf("the server heard %d, want 4", heard.Load())
	}
}

// Whatever is cut, and however many ask at once: an answer is that to its own request.
func TestAnswersBelongToTheirRequests(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength >= 0 {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		_, _ = io.WriteString(w, r.URL.Path)
		if len(r.URL.Path)%2 == 0 {
			_ = http.NewResponseController(w).Flush() // in chunks
			_, _ = io.WriteString(w, r.URL.Path)
		}
	}))
	t.Cleanup(server.Close)
	client := clientOf(t, server.URL, config.Read{})
	var callers sync.WaitGroup
	var answered atomic.Int32
	for caller := range 16 {
		callers.Go(func() {
			for i := range 200 {
				path := fmt.Sprintf("/%d/%d", caller, i)
				want := strings.Repeat(path, 1+(len(path)+1)%2)
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(3) == 0 {
					go cancel() // at any moment
				}
				got, _, err := call(ctx, t, client, []string{http.MethodGet, http.MethodPost}[i%2], server.URL+path, true)
				switch {
				case err == nil && got != want:
					t.Errorf("%s answered %q", path, got)
				case err == nil:
					answered.Add(1)
				case !errors.Is(err, context.Canceled):
					t.Errorf("%s: %v", path, err)
				}
				cancel()
			}
		})
	}
	callers.Wait()
	if answered.Load() < 16*100 {
		t.Errorf("only %d answered", answered.Load())
	}
}
