package config

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"github.com/jackc/puddle/v2"
)

// direct calls one upstream over HTTP/1.1, and each call runs where its caller is. http.Transport has two goroutines for each
// connection, which hand every call over and back: a sixth of all that a document costs us. What is spoken is the standard
// library's (Request.Write, ReadResponse), connections are kept by puddle; what goes to another host, or through a proxy,
// goes the usual way.
type direct struct {
	host  string      // as it stands in URLs
	trust *tls.Config // nil where the upstream speaks no TLS
	conns *puddle.Pool[*conn]
	next  *http.Transport

	timeout   time.Duration // of one call, its answer read to the end
	keep      time.Duration // how long an idle connection is kept
	tidiness  atomic.Bool   // tidy is going to be called
	open, out atomic.Int32  // connections that are open, and those that calls have
}

// newDirect makes a transport for the upstream at a base URL; everything else goes to next, whose limits it shares. It bounds
// each call itself, by the deadline of the connection: a context that ends is a dozen times as dear.
func newDirect(at *url.URL, timeout time.Duration, next *http.Transport) (*direct, error) {
	d := &direct{host: at.Host, next: next, timeout: timeout, keep: next.IdleConnTimeout}
	if strings.ContainsFunc(at.Host, func(r rune) bool { return r > unicode.MaxASCII }) {
		d.host = "" // of no request: http.Transport knows how DNS and TLS write such a name
	}
	port := at.Port()
	switch {
	case at.Scheme == "https":
		d.trust = next.TLSClientConfig.Clone()
		d.trust.ServerName, d.trust.NextProtos = at.Hostname(), []string{"http/1.1"}
		if port == "" {
			port = "443"
		}
	case port == "":
		port = "80"
	}
	address := net.JoinHostPort(at.Hostname(), port)
	var err error
	d.conns, err = puddle.NewPool(&puddle.Config[*conn]{
		Constructor: func(ctx context.Context) (*conn, error) { return d.connect(ctx, address) },
		Destructor:  func(c *conn) { _ = c.Close() },
		MaxSize:     int32(next.MaxConnsPerHost), //nolint:gosec // a setting, validated
	})
	return d, err
}

// connect opens a connection, within the time of the whole call: puddle gives it no end.
func (d *direct) connect(ctx context.Context, address string) (*conn, error) {
	plain, err := d.next.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: plain}
	if system, is := plain.(syscall.Conn); is {
		if c.below, err = system.SyscallConn(); err != nil {
			_ = plain.Close()
			return nil, err
		}
	}
	if d.trust != nil {
		ctx, cancel := context.WithTimeout(ctx, d.next.TLSHandshakeTimeout)
		defer cancel()
		secret := tls.Client(plain, d.trust)
		if err := secret.HandshakeContext(ctx); err != nil {
			_ = plain.Close()
			return nil, err
		}
		c.Conn = secret
	}
	c.r, c.w, c.opened = bufio.NewReader(c), bufio.NewWriter(c), time.Now()
	d.open.Add(1)
	d.tidyLater()
	return c, nil
}

// RoundTrip sends one request. It sends it again only where the server had closed the connection that was kept, and where
// nothing can have come of it: it only reads, or no byte of it was written.
func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if !d.concerns(req) {
		return d.usual(req)
	}
	defer closeBody(req)
	ctx, until := req.Context(), time.Now().Add(d.timeout)
	asked, unpacks := d.askingForGzip(req)
	for {
		res, again, err := d.once(ctx, until, asked)
		if again {
			if req.GetBody != nil {
				asked = new(*asked) // the caller's own stays as it is
				if asked.Body, err = req.GetBody(); err != nil {
					return nil, err
				}
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		res.Request = req
		if unpacks && strings.EqualFold(res.Header.Get("Content-Encoding"), "gzip") {
			unpack(res)
		}
		return res, nil
	}
}

// usual asks in the usual way.
func (d *direct) usual(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), d.timeout)
	res, err := d.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	res.Request, res.Body = req, &bounded{ReadCloser: res.Body, end: cancel}
	return res, nil
}

// concerns says whether a request goes to our upstream, and straight.
func (d *direct) concerns(req *http.Request) bool {
	if req.URL.Host != d.host || (req.URL.Scheme == "https") != (d.trust != nil) {
		return false
	}
	proxy, err := d.next.Proxy(req)
	return proxy == nil && err == nil
}

// askingForGzip is a request that asks for what we unpack, where its caller does not ask for anything himself. It has no
// trace: Request.Write would say of headers that they are written while they are only on their way.
func (d *direct) askingForGzip(req *http.Request) (asked *http.Request, unpacks bool) {
	asked = req
	if httptrace.ContextClientTrace(req.Context()) != nil {
		asked = req.WithContext(context.Background()) //nolint:contextcheck // it has none, on purpose
	}
	if d.next.DisableCompression || req.Header["Accept-Encoding"] != nil || req.Header["Range"] != nil || req.Method == http.MethodHead {
		return asked, false
	}
	if asked == req {
		asked = new(*req)
	}
	asked.Header = maps.Clone(req.Header)
	if asked.Header == nil {
		asked.Header = http.Header{}
	}
	asked.Header["Accept-Encoding"] = acceptGzip
	return asked, true
}

var acceptGzip = []string{"gzip"}

// once sends a request over one connection, and says whether it may be sent again over another one.
func (d *direct) once(ctx context.Context, until time.Time, req *http.Request) (res *http.Response, again bool, err error) {
	kept, err := d.take(ctx, until)
	if err != nil {
		return nil, false, err
	}
	c := kept.Value()
	used := c.begin(httptrace.ContextClientTrace(ctx))
	// The end of ctx cuts what is written or read at that moment, and all that follows.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	if res, err = c.exchange(req); err != nil {
		stop()
		d.giveUp(kept)
		if cut := cutBy(ctx, err); cut != nil {
			return nil, false, cut
		}
		return nil, used && !c.answered && (repeatable(req) || !c.wrote && hasBodyAgain(req)), err
	}
	b := &body{ReadCloser: res.Body, ctx: ctx, stop: stop, of: d, kept: kept, closes: res.Close}
	if res.Body == http.NoBody {
		b.release(true)
		return res, false, nil
	}
	res.Body = b
	return res, false, nil
}

// cutBy is why a call was cut off; nil where it was not.
func cutBy(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.DeadlineExceeded
	}
	return nil
}

// take gives a connection that is open as far as can be known, until a time.
func (d *direct) take(ctx context.Context, until time.Time) (*puddle.Resource[*conn], error) {
	for {
		kept, err := d.acquire(ctx, until)
		if err != nil {
			return nil, err
		}
		c := kept.Value()
		_ = c.SetDeadline(until) // that of the call before may have passed
		// One whose call ended while it was opened can have waited, too. Of a new one silent would know too much: TLS says
		// something of its own at first.
		c.used = c.used || time.Since(c.opened) > time.Second
		if !c.used || (kept.IdleDuration() < d.keep && !c.holdsBack(until) && c.silent()) {
			return kept, nil
		}
		d.giveUp(kept)
	}
}

// acquire gets a connection. Where one has to be opened, or waited for, the time of the call bounds that, too.
func (d *direct) acquire(ctx context.Context, until time.Time) (*puddle.Resource[*conn], error) {
	if d.out.Add(1) > d.open.Load() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	kept, err := d.conns.Acquire(ctx)
	if err != nil {
		d.out.Add(-1)
	}
	return kept, err
}

// giveBack keeps a connection for the next call. It is there before it counts as such.
func (d *direct) giveBack(kept *puddle.Resource[*conn]) {
	kept.Release()
	d.out.Add(-1)
}

// giveUp closes a connection.
func (d *direct) giveUp(kept *puddle.Resource[*conn]) {
	d.destroy(kept)
	d.out.Add(-1)
}

// destroy closes a connection. It counts as open no longer, though closing it takes a while: puddle does that beside us.
func (d *direct) destroy(kept *puddle.Resource[*conn]) {
	d.open.Add(-1)
	kept.Destroy()
}

// CloseIdleConnections lets http.Client close what is kept.
func (d *direct) CloseIdleConnections() {
	for _, kept := range d.conns.AcquireAllIdle() {
		d.destroy(kept)
	}
	d.next.CloseIdleConnections()
}

// tidy closes what has been idle for too long, and comes again while anything is kept.
func (d *direct) tidy() {
	d.tidiness.Store(false)
	for _, kept := range d.conns.AcquireAllIdle() {
		if kept.IdleDuration() < d.keep {
			kept.ReleaseUnused()
			continue
		}
		d.destroy(kept)
	}
	if d.conns.Stat().TotalResources() > 0 {
		d.tidyLater()
	}
}

func (d *direct) tidyLater() {
	if d.tidiness.CompareAndSwap(false, true) {
		time.AfterFunc(d.keep, d.tidy)
	}
}
