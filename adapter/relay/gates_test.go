package relay

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	"staffetta/notifier"
	iobox "staffetta/notifier/sandbox"
)

// logged are gates of one source, and what they write.
func logged(t *testing.T) (*gates, *bytes.Buffer) {
	t.Helper()
	var logs bytes.Buffer
	w := newStageOn(t, redistest.Embedded(t), nil, iobox.Options{})
	g := newGates(w.Ledger.Pace(), []string{"north"}, new(throughput), NewMetrics(prometheus.NewRegistry()), slog.New(slog.NewJSONHandler(&logs, nil)))
	g.windows = w.gates.windows
	return g, &logs
}

func TestABreakerThatOpensSaysWhyInAWordOfOurs(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		name string
		ill  func(*gates)
		want string
	}{
		{"IO was not reached", func(g *gates) {
			g.answered(t.Context(), notifier.Answer{Kind: notifier.Unavailable, Reason: "no-answer", Cause: notifier.CauseOf(refused)})
		}, `"upstream":"io","breaker":"open","cause":"connection-refused"`},
		{"IO answered 5xx", func(g *gates) {
			g.answered(t.Context(), notifier.Answer{Kind: notifier.Unclear, Reason: "edge", HTTPStatus: 503})
		}, `"upstream":"io","breaker":"open","cause":"http-503"`},
		{"IO's answer is none", func(g *gates) {
			g.answered(t.Context(), notifier.Answer{Kind: notifier.Unavailable, Reason: "unreadable-answer", HTTPStatus: 200})
		}, `"upstream":"io","breaker":"open","cause":"unreadable-answer"`},
		{"a source was cut", func(g *gates) {
			g.trouble(t.Context(), "north", &fhir.Trouble{Kind: fhir.Unavailable, Err: io.ErrUnexpectedEOF})
		}, `"upstream":"north","breaker":"open","cause":"connection-cut"`},
		{"who gives a source's tokens answered 5xx", func(g *gates) {
			before := &fhir.Trouble{Kind: fhir.Unavailable, Status: 502}
			g.trouble(t.Context(), "north", &fhir.Trouble{Kind: fhir.Unavailable, Err: before})
		}, `"upstream":"north","breaker":"open","cause":"http-502"`},
		{"what a server wrote is not repeated", func(g *gates) {
			g.trouble(t.Context(), "north", &fhir.Trouble{Kind: fhir.Unavailable, Err: errors.New(`malformed HTTP response "RSSMRA"`)})
		}, `"upstream":"north","breaker":"open","cause":"no-answer"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, logs := logged(t)
			for range breakerFails {
				tt.ill(g)
			}
			if got := logs.String(); !strings.Contains(got, tt.want) || strings.Contains(got, "RSSMRA") {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAPauseOfAllSendingSaysWhichByWhomAndWhy(t *testing.T) {
	g, logs := logged(t)
	says := func(want string) {
		t.Helper()
		g.refresh(t.Context())
		if got := logs.String(); !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
		logs.Reset()
	}
	if err := g.pace.Pause(t.Context(), "Giulia", "trial"); err != nil {
		t.Fatal(err)
	}
	says(`"msg":"sending paused","by":"Giulia","why":"trial"`)
	if _, err := g.pace.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(`"msg":"sending resumed","paused_by":"Giulia","paused_for":`)
}
