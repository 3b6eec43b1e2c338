package fhir_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"staffetta/fhir"
)

// roundTrip is a transport that answers by itself.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// A transport that keeps the time of a call itself ends an answer in its middle: the source is slow, and what it says may
// well be readable.
func TestAnAnswerThatTakesTooLong(t *testing.T) {
	for name, begins := range map[string]string{
		"JSON": `{"resourceType":"Bundle","entry":[`,
		"XML":  `<Bundle xmlns="http://hl7.org/fhir"><entry>`,
		"":     "",
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t, http.NotFoundHandler(), fhir.ShapeReport, func(o *fhir.SourceOptions) {
				o.Client = &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					body := io.MultiReader(strings.NewReader(begins), iotest.ErrReader(context.DeadlineExceeded))
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Request: req}, nil
				})}
			})
			_, readErr := s.Read(t.Context(), fhir.Locator{Type: "DiagnosticReport", ID: "r1"})
			_, changesErr := changes(t, s, finals).Since(t.Context(), fhir.Look{})
			_, capableErr := s.Capability(t.Context())
			for what, err := range map[string]error{"read": readErr, "changes": changesErr, "capability": capableErr} {
				trouble, is := errors.AsType[*fhir.Trouble](err)
				if !is || trouble.Kind != fhir.Unavailable {
					t.Errorf("%s: %v, want a source that is unavailable", what, err)
				}
			}
		})
	}
}

// untilCalled is a body that goes on until somebody ends the call.
type untilCalled func()

func (end untilCalled) Read([]byte) (int, error) {
	end()
	return 0, context.Canceled
}

// Whether an answer that was not awaited is trouble depends on why: our own wish is none, a step that took too long is.
func TestAnAnswerThatIsNotAwaited(t *testing.T) {
	for name, call := range map[string]func(context.Context, *fhir.Source) error{
		"read": func(ctx context.Context, s *fhir.Source) error {
			_, err := s.Read(ctx, fhir.Locator{Type: "DiagnosticReport", ID: "r1"})
			return err
		},
		"changes": func(ctx context.Context, s *fhir.Source) error {
			_, err := changes(t, s, finals).Since(ctx, fhir.Look{})
			return err
		},
		"capability": func(ctx context.Context, s *fhir.Source) error {
			_, err := s.Capability(ctx)
			return err
		},
	} {
		for _, why := range []error{nil, errors.New("a step that took too long")} {
			ctx, cancel := context.WithCancelCause(t.Context())
			s := source(t, http.NotFoundHandler(), fhir.ShapeReport, func(o *fhir.SourceOptions) {
				o.Client = &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					body := io.MultiReader(strings.NewReader(`{"resourceType":`), untilCalled(func() { cancel(why) }))
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Request: req}, nil
				})}
			})
			err := call(ctx, s)
			trouble, is := errors.AsType[*fhir.Trouble](err)
			if is != (why != nil) || is && trouble.Kind != fhir.Unavailable || !is && !errors.Is(err, context.Canceled) {
				t.Errorf("%s, ended because of %v: %v", name, why, err)
			}
		}
	}
}
