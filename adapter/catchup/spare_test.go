package catchup

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// spareWard is a server that lists a spare search, which it may refuse, and that may say nothing of itself.
type spareWard struct {
	*sandbox.Server

	refuses, silent, lacks atomic.Bool
	asked                  atomic.Int64 // how often for the spare search
}

func (s *spareWard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/metadata") && s.silent.Load():
		w.WriteHeader(http.StatusBadGateway)
	case strings.HasSuffix(r.URL.Path, "/metadata") && s.lacks.Load():
		_, _ = w.Write([]byte(`{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"mode":"server","resource":[{"type":"DiagnosticReport"}]}]}`))
	case strings.HasSuffix(r.URL.Path, "/metadata"):
		_, _ = w.Write([]byte(`{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"mode":"server","resource":[{"type":"Bundle"}]}]}`))
	case strings.HasSuffix(r.URL.Path, "/Bundle"):
		if s.asked.Add(1); s.refuses.Load() {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		s.Server.ServeHTTP(w, r)
	default:
		s.Server.ServeHTTP(w, r)
	}
}

// sparing is a watchman at such a server.
func sparing(t *testing.T, skew *time.Duration) (*spareWard, *watchman) {
	t.Helper()
	ward := &spareWard{Server: sandbox.NewServer()}
	ward.Now = func() time.Time { return time.Now().Add(*skew) }
	server := httptest.NewServer(ward)
	t.Cleanup(server.Close)
	w := sweeping(t, server, func() time.Duration { return *skew })
	w.source.Spare, w.source.Shape = []string{"Bundle?type=document"}, fhir.ShapeHL7IT
	return ward, w
}

func (s *spareWard) publish(id string) {
	s.Put(sandbox.Resource{"resourceType": "Bundle", "id": id, "type": "document"})
}

// A server that is being installed anew refuses for a moment what it lists: it is asked again by the next sweep. One that always
// refuses is left alone for hours.
func TestOneRefusalOfASpareSearchIsNotForHours(t *testing.T) {
	var skew time.Duration
	ward, w := sparing(t, &skew)
	w.round(t.Context())
	ward.refuses.Store(true)
	ward.publish("b1")
	for range 3 {
		w.again(t)
	}
	ward.refuses.Store(false)
	w.again(t)
	if n := w.known(t); n != 1 {
		t.Errorf("%d are known after a refusal that was for a moment, want 1", n)
	}
	ward.refuses.Store(true)
	for range 4 {
		w.again(t)
		skew += refusedFor / 2
	}
	before := ward.asked.Load()
	w.again(t)
	if asked := ward.asked.Load() - before; asked > 0 {
		t.Errorf("asked %d times for what it has refused for an hour", asked)
	}
	ward.publish("b2")
	ward.refuses.Store(false)
	skew += spareFor
	w.again(t)
	if n := w.known(t); n != 2 {
		t.Errorf("%d are known when the server was asked anew, want 2", n)
	}
}

// Where a server does not say what it knows when it is connected, its spare searches begin then all the same; where it says that
// it does not know them, they begin when it does.
func TestSpareSearchesBeginWhenTheServerMayKnowThem(t *testing.T) {
	var skew time.Duration
	ward, w := sparing(t, &skew)
	ward.publish("old")
	ward.silent.Store(true)
	w.round(t.Context())
	skew += time.Hour
	ward.publish("new")
	skew += time.Hour
	ward.silent.Store(false)
	w.again(t)
	if n := w.known(t); n != 1 {
		t.Errorf("%d are known, want what was published since the source was connected", n)
	}
	ward, w = sparing(t, &skew)
	ward.silent.Store(true)
	w.round(t.Context())
	ward.silent.Store(false)
	ward.lacks.Store(true)
	w.again(t)
	ward.publish("old")
	ward.lacks.Store(false)
	skew += spareFor
	w.again(t)
	ward.publish("new")
	w.again(t)
	if n := w.known(t); n != 1 {
		t.Errorf("%d are known, want what was published since the server knows the search", n)
	}
}
