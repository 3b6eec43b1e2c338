package notifier_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"staffetta/notifier"
)

// Why IO gave no answer is said in a word of ours, as the real client meets it.
func TestWhyThereWasNoAnswer(t *testing.T) {
	cutting := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	closed := httptest.NewServer(cutting)
	closed.Close()
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-never }))
	impatient := hanging.Client()
	impatient.Timeout = 50 * time.Millisecond
	secure := httptest.NewTLSServer(cutting)
	t.Cleanup(secure.Close)
	for _, tt := range []struct {
		want   string
		client *notifier.Client
	}{
		{"connection-cut", client(t, cutting)},
		{"connection-refused", clientOf(t, closed.URL+"/api/v1", closed.Client())},
		{"timeout", clientOf(t, hanging.URL+"/api/v1", impatient)},
		{"tls", clientOf(t, secure.URL+"/api/v1", &http.Client{Transport: new(http.Transport)})},
	} {
		if got := tt.client.Profile(t.Context(), person(t)); got.Cause != tt.want || got.Reason != "no-answer" {
			t.Errorf("cause %q (%s), want %q", got.Cause, got.Reason, tt.want)
		}
	}
}

func TestCausesAreWordsOfOurs(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "timeout"},
		{&net.DNSError{Err: "no such host", Name: "api.io.example", IsNotFound: true}, "unknown-host"},
		{io.EOF, "connection-cut"},
		{errors.New("whatever a server sent"), "no-answer"},
		{nil, "no-answer"},
	} {
		if got := notifier.CauseOf(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
