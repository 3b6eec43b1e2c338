package endpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"staffetta/fhir"
)

// speaking accepts connections on which also those requests are answered as FHIR that no handler ever sees: net/http refuses by
// itself, as text or without a word, what it cannot read. That is why TLS is ours here and HTTP/2 is not spoken: what net/http
// writes over its own TLS could only be seen encrypted, and what it refuses of HTTP/2 in frames.
type speaking struct {
	net.Listener
	trust *tls.Config   // nil: plain HTTP
	wait  time.Duration // for a TLS handshake
	log   *slog.Logger
}

// Accept waits for the next connection.
func (l speaking) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if l.trust != nil {
		return secret{tls.Server(conn, l.trust), l.wait, l.log}, nil
	}
	if tcp, is := conn.(*net.TCPConn); is {
		return spoken{tcp}, nil
	}
	return conn, nil
}

// spoken is a connection in clear.
type spoken struct{ *net.TCPConn }

// Write writes an answer.
func (c spoken) Write(p []byte) (int, error) { return speak(c.TCPConn, p) }

// secret is a connection over TLS.
type secret struct {
	*tls.Conn
	wait time.Duration
	log  *slog.Logger
}

// Write writes an answer.
func (c secret) Write(p []byte) (int, error) { return speak(c.Conn, p) }

// ConnectionState is what net/http asks for, in the connection's own goroutine, before it reads: it shakes hands first, so that
// there is a state. If that fails, so does all that is read or written later.
func (c secret) ConnectionState() tls.ConnectionState {
	ctx, cancel := context.WithTimeout(context.Background(), c.wait)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		c.log.Debug("TLS handshake failed", slog.String("from", c.RemoteAddr().String()), slog.Any("error", err))
		c.inClear(err)
	}
	return c.Conn.ConnectionState()
}

// inClear answers a sender that does not speak TLS, in its own words, and reads what else it had to say: to close a connection
// with anything unread would take the answer back.
func (c secret) inClear(err error) {
	var plain tls.RecordHeaderError
	if !errors.As(err, &plain) || plain.Conn == nil {
		return
	}
	_ = plain.Conn.SetDeadline(time.Now().Add(c.wait))
	refused := refusal(http.StatusBadRequest, "security", "this server speaks HTTPS here")
	if _, err := plain.Conn.Write(outcomeAnswer([]byte("HTTP/1.1 400 Bad Request"), refused)); err != nil {
		return
	}
	if tcp, is := plain.Conn.(*net.TCPConn); is {
		_ = tcp.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, plain.Conn, maxHeaderBytes)
}

// spokenVersion begins a status line.
var spokenVersion = []byte("HTTP/1.1 ")

// unreadHeader follows the status line of what net/http writes by itself, in one piece. No handler of ours answers so: its
// answers have a date.
var unreadHeader = []byte("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// expectation is what net/http answers without a word to an Expect other than 100-continue. No handler of ours answers so.
var expectation = []byte("417 ")

// speak writes what net/http wrote, and an OperationOutcome in place of what it refuses by itself.
func speak(w io.Writer, p []byte) (int, error) {
	if !bytes.HasPrefix(p, spokenVersion) {
		return w.Write(p)
	}
	line, rest, _ := bytes.Cut(p, []byte("\r\n"))
	if !bytes.HasPrefix(rest, unreadHeader) && !bytes.HasPrefix(line[len(spokenVersion):], expectation) {
		return w.Write(p)
	}
	if _, err := w.Write(outcomeAnswer(line, unread(line))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// outcomeAnswer is a whole answer, after which the connection is closed.
func outcomeAnswer(line []byte, refused *fhir.Issue) []byte {
	outcome := fhir.Outcome(refused)
	answer := append(bytes.Clone(line), "\r\nContent-Type: application/fhir+json\r\nConnection: close\r\nContent-Length: "...)
	answer = append(strconv.AppendInt(answer, int64(len(outcome)), 10), "\r\n\r\n"...)
	return append(answer, outcome...)
}

// unread says what is wrong with a request by the status line that it is refused with.
func unread(line []byte) *fhir.Issue {
	code, _, _ := bytes.Cut(bytes.TrimPrefix(line, spokenVersion), []byte(" "))
	status, _ := strconv.Atoi(string(code))
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		return refusal(status, "too-long", "the header is larger than this server accepts")
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return refusal(status, "not-supported", "this version of HTTP, or this transfer coding, is not supported")
	case http.StatusExpectationFailed:
		return refusal(status, "not-supported", "nothing but 100-continue can be expected")
	}
	return refusal(status, "structure", "the request is no HTTP, or its path or a header is malformed")
}
