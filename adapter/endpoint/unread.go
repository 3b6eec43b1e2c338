package endpoint

import (
	"bytes"
	"net"
	"net/http"
	"strconv"

	"staffetta/fhir"
)

// speaking accepts connections on which also those requests are answered as FHIR that no handler ever sees: net/http refuses by
// itself, as text, what it cannot read. Over TLS it does so still: there, what is written can only be seen encrypted.
type speaking struct{ net.Listener }

// Accept waits for the next connection.
func (l speaking) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, is := conn.(*net.TCPConn); is {
		return spoken{tcp}, err
	}
	return conn, err
}

type spoken struct{ *net.TCPConn }

// spokenVersion begins a status line.
var spokenVersion = []byte("HTTP/1.1 ")

// unreadHeader follows the status line of what net/http writes by itself, in one piece. No handler of ours answers so: its
// answers have a date.
var unreadHeader = []byte("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// Write writes an answer, and an OperationOutcome in place of that text.
func (c spoken) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(p, spokenVersion) {
		return c.TCPConn.Write(p)
	}
	line, rest, _ := bytes.Cut(p, []byte("\r\n"))
	if !bytes.HasPrefix(rest, unreadHeader) {
		return c.TCPConn.Write(p)
	}
	outcome := fhir.Outcome(unread(line))
	answer := append(bytes.Clone(line), "\r\nContent-Type: application/fhir+json\r\nConnection: close\r\nContent-Length: "...)
	answer = append(strconv.AppendInt(answer, int64(len(outcome)), 10), "\r\n\r\n"...)
	if _, err := c.TCPConn.Write(append(answer, outcome...)); err != nil {
		return 0, err
	}
	return len(p), nil
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
	}
	return refusal(status, "structure", "the request is no HTTP, or its path or a header is malformed")
}
