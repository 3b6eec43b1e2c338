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
