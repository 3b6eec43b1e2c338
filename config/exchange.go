package config

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"syscall"
	"time"

	"github.com/jackc/puddle/v2"
)

// conn is a connection of direct, with one exchange at a time.
type conn struct {
	net.Conn // with TLS, where that is spoken

	below syscall.RawConn // without; nil where it is none of the operating system's
	r     *bufio.Reader
	w     *bufio.Writer

	opened   time.Time
	used     bool // there was an exchange before, or could have been
	trace    *httptrace.ClientTrace
	wrote    bool  // some of the request may have reached the server
	answered bool  // some of the answer came
	head     int   // bytes that its head may still have; whole once it has been read
	cut      error // how writing came to an end, before the end of the request
	broken   error // how reading came to an end
}

// Limits of an answer: bytes of its head, and answers 1xx before the one that counts.
const (
	maxHead        = 1 << 20
	maxInformation = 5
	whole          = -1
)

var (
	errLongHead    = errors.New("the head of the answer is too long")
	errInformation = errors.New("too many informational answers")
	errSwitched    = errors.New("the server wants to speak another protocol")
	// errNotHTTP says nothing of what came: it may be a piece of a document.
	errNotHTTP = errors.New("the answer is not HTTP")
)

// begin makes the connection ready for an exchange, and says whether it had others before.
func (c *conn) begin(trace *httptrace.ClientTrace) (used bool) {
	used = c.used
	c.used, c.trace, c.wrote, c.answered, c.head, c.cut, c.broken = true, trace, false, false, maxHead, nil, nil
	return used
}

// exchange sends a request and reads the head of its answer.
func (c *conn) exchange(req *http.Request) (*http.Response, error) {
	err := req.Write(c.w)
	if err == nil {
		err = c.w.Flush()
	}
	switch {
	case c.cut != nil && c.wrote:
		// A server may refuse a request before it has heard all of it, and hear no more.
		if res, err := c.hear(req); err == nil {
			res.Close = true
			return res, nil
		}
		return nil, fmt.Errorf("write request: %w", c.cut)
	case err != nil:
		return nil, fmt.Errorf("write request: %w", err)
	}
	return c.hear(req)
}

// hear reads the head of an answer.
func (c *conn) hear(req *http.Request) (*http.Response, error) {
	for range maxInformation + 1 {
		res, err := http.ReadResponse(c.r, req)
		switch {
		case err != nil && c.broken != nil:
			return nil, fmt.Errorf("read answer: %w", c.broken)
		case err != nil:
			return nil, errNotHTTP
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode >= http.StatusOK:
			c.head = whole
			return res, nil
		}
	}
	return nil, errInformation
}

// Write says when the server may know of the request.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 && !c.wrote {
		c.wrote = true
		if c.trace != nil && c.trace.WroteHeaders != nil {
			c.trace.WroteHeaders()
		}
	}
	if err != nil {
		c.cut = err
	}
	return n, err
}

// Read reads no endless head.
func (c *conn) Read(p []byte) (n int, err error) {
	switch c.head {
	case whole:
		n, err = c.Conn.Read(p)
	case 0:
		err = errLongHead
	default:
		n, err = c.Conn.Read(p[:min(len(p), c.head)])
		c.head -= n
	}
	c.answered = c.answered || n > 0
	if err != nil {
		c.broken = err
	}
	return n, err
}

// holdsBack says whether TLS has read more than it gave: what stood in one record with the last answer, or that the server
// closes. The system below knows nothing of it any more. Looking takes the connection's deadline, and gives it again.
func (c *conn) holdsBack(until time.Time) bool {
	if _, encrypted := c.Conn.(*tls.Conn); !encrypted {
		return false
	}
	_ = c.SetReadDeadline(time.Unix(1, 0)) // nothing is waited for
	_, err := c.Conn.Read(make([]byte, 1))
	_ = c.SetReadDeadline(until)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// body is what an answer holds. Read to its end it gives its connection back; closed before, it gives it up.
type body struct {
	io.ReadCloser

	ctx    context.Context //nolint:containedctx // the request's: reading its answer is a part of it
	stop   func() bool
	of     *direct
	kept   *puddle.Resource[*conn] // nil when it has been given back
	closes bool                    // the server closes the connection after this answer
	ended  error                   // how reading came to an end
}

func (b *body) Read(p []byte) (int, error) {
	if b.ended != nil {
		return 0, b.ended
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.ended = io.EOF
	case isLineOfHead(err):
		b.ended = errNotHTTP
	default:
		b.ended = cmp.Or(cutBy(b.ctx, err), err)
	}
	b.release(b.ended == io.EOF) //nolint:errorlint // set above
	return n, b.ended
}

// isLineOfHead says whether an error of a trailer tells what stood in it.
func isLineOfHead(err error) bool {
	_, tells := errors.AsType[textproto.ProtocolError](err)
	return tells
}

func (b *body) Close() error {
	if b.ended == nil {
		b.ended = http.ErrBodyReadAfterClose
	}
	b.release(false)
	return nil
}

// release gives the connection back, where another exchange can follow on it.
func (b *body) release(read bool) {
	if b.kept == nil {
		return
	}
	kept := b.kept
	b.kept = nil
	if b.stop() && read && !b.closes && kept.Value().r.Buffered() == 0 {
		b.of.giveBack(kept)
		return
	}
	b.of.giveUp(kept)
}

// bounded is a body whose call has a time of its own.
type bounded struct {
	io.ReadCloser

	end context.CancelFunc
}

func (b *bounded) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}

// unpacked is a body that came as gzip.
type unpacked struct {
	io.ReadCloser

	zip *gzip.Reader
	err error
}

// unpack gives an answer the body that was packed.
func unpack(res *http.Response) {
	res.Header.Del("Content-Encoding")
	res.Header.Del("Content-Length")
	res.ContentLength, res.Uncompressed, res.Body = -1, true, &unpacked{ReadCloser: res.Body}
}

func (u *unpacked) Read(p []byte) (int, error) {
	if u.zip == nil && u.err == nil {
		u.zip, u.err = gzip.NewReader(u.ReadCloser)
	}
	if u.err != nil {
		return 0, u.err
	}
	return u.zip.Read(p)
}
