package notifier

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
)

// CauseOf is why a call, to IO or to anybody else, had no answer: a fixed word of ours, because an error may repeat what a server
// sent.
func CauseOf(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	if one, ok := errors.AsType[net.Error](err); ok && one.Timeout() {
		return "timeout"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "unknown-host"
	}
	if isTLS(err) {
		return "tls"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection-refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection-cut"
	}
	return "no-answer"
}

// isTLS says whether two did not agree on TLS, or on a certificate.
func isTLS(err error) bool {
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, inClear := errors.AsType[tls.RecordHeaderError](err)
	return badCertificate || alert || inClear
}
