package catchup

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// deleting is a watchman at a server that lists a history, in which one report is deleted when it is told to, at a time that it
// may not say.
func deleting(t *testing.T, lastModified string) (w *watchman, deleted *atomic.Bool) {
	t.Helper()
	deleted = &atomic.Bool{}
	ward := sandbox.NewServer()
	ward.Traits = sandbox.Products()["HAPI"]
	ward.Traits.History = true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/fhir/DiagnosticReport/_history" || !deleted.Load() {
			ward.ServeHTTP(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"DiagnosticReport/r1/_history/2"},` +
			`"response":{` + lastModified + `}}]}`))
	}))
	t.Cleanup(server.Close)
	w = sweeping(t, server, func() time.Duration { return 0 })
	w.source.Subscriber = fhir.NewSubscriber(fhir.SubscriberOptions{Source: w.source.Source})
	return w, deleted
}

// deletedSoFar is how many deletions were admitted.
func (w *watchman) deletedSoFar(t *testing.T) float64 {
	t.Helper()
	figures, _ := w.Metrics.(*prometheus.Registry)
	families, err := figures.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "staffetta_sweep_hits_total" {
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == "deleted" {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// HAPI does not say when something was deleted: it is admitted once all the same, however many looks come upon it. What says to
// be of the far future is not left to the Subscription for ever.
func TestADeletionIsAdmittedOnceWhateverItsTime(t *testing.T) {
	for name, lastModified := range map[string]string{
		"no time": "", "the far future": `"lastModified":"2126-01-10T09:00:00Z"`,
	} {
		t.Run(name, func(t *testing.T) {
			w, deleted := deleting(t, lastModified)
			w.round(t.Context()) // the first connection
			deleted.Store(true)
			for range 3 {
				w.deleted.looked = time.Time{} // it is time for another look
				w.sweep(t.Context(), whyPeriod)
			}
			if n := w.deletedSoFar(t); n != 1 {
				t.Errorf("%v deletions were admitted, want one", n)
			}
		})
	}
}
