package fhir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// recovered asks a server for events of its only Subscription, after n reports changed and the first one was deleted.
func recovered(t *testing.T, traits sandbox.Traits, n int, from, to int64) ([]fhir.Event, bool, error) {
	t.Helper()
	c := open(t, traits)
	c.ensure(t)
	for i := range n {
		c.server.Put(resource{"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", i+1), "status": "final"})
	}
	c.server.Delete("DiagnosticReport/r1")
	return c.events(t, from, to)
}

// events asks for a range of events of the only Subscription.
func (c *clinic) events(t *testing.T, from, to int64) (events []fhir.Event, covered bool, err error) {
	t.Helper()
	covered, err = c.subscriber().Events(t.Context(), fhir.EventRange{
		Subscription: c.known[0].ID, From: from, To: to,
		Take: func(_ context.Context, some []fhir.Event) error { events = append(events, some...); return nil },
	})
	return events, covered, err
}

func TestOldEvents(t *testing.T) {
	few := func(traits sandbox.Traits) sandbox.Traits { traits.EventsAtMost = 3; return traits }
	latest := func(traits sandbox.Traits) sandbox.Traits { traits.EventsKept = 4; return traits }
	products := sandbox.Products()
	for _, tt := range []struct {
		name     string
		traits   sandbox.Traits
		n        int
		from, to int64
		want     int
		covered  bool
	}{
		{"all that were missed", products["R5"], 10, 3, 7, 5, true},
		{"only one", products["R5"], 10, 3, 3, 1, true},
		{"a few at a time", few(products["R5"]), 10, 1, 10, 10, true},
		{"only the latest are kept", latest(products["R5"]), 10, 5, 10, 3, false},
		{"none of them is kept", latest(products["R5"]), 10, 1, 3, 0, false},
		{"more than there were", products["R5"], 10, 10, 20, 2, false},
		{"in ten calls at most", few(products["R5"]), 40, 1, 40, 30, false},
		{"Aidbox names no numbers: they cover nothing", products["Aidbox"], 10, 3, 7, 5, false},
		{"Aidbox, a hundred at a time", products["Aidbox"], 250, 1, 250, 250, false},
		{"Aidbox, only the latest are kept", latest(products["Aidbox"]), 10, 5, 10, 3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			events, covered, err := recovered(t, tt.traits, tt.n, tt.from, tt.to)
			if err != nil || len(events) != tt.want || covered != tt.covered {
				t.Errorf("%d events, covered %t, %v; want %d, %t", len(events), covered, err, tt.want, tt.covered)
			}
		})
	}
	for _, name := range []string{"R5", "Aidbox"} {
		events, _, err := recovered(t, products[name], 2, 3, 3)
		if err != nil || len(events) != 1 || !events[0].Deleted || events[0].ID != "r1" {
			t.Errorf("%s: %v, %v; want the deletion", name, events, err)
		}
	}
	for _, name := range []string{"HAPI topics", "fhir-candle", "Inferno"} {
		if _, _, err := recovered(t, products[name], 2, 1, 2); !errors.Is(err, fhir.ErrNoEvents) {
			t.Errorf("%s: %v, want %v", name, err, fhir.ErrNoEvents)
		}
	}
}

// A server that takes the operation as a POST only, or knows no content.
func TestOldEventsByAnotherForm(t *testing.T) {
	for name, refuses := range map[string]func(*http.Request) bool{
		"POST only":            func(r *http.Request) bool { return r.Method == http.MethodGet },
		"content is not known": func(r *http.Request) bool { return r.URL.Query().Has("content") },
	} {
		c := open(t, sandbox.Products()["R5"])
		c.ensure(t)
		c.server.Put(resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final"})
		c.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
			if !refuses(r) {
				return false
			}
			w.WriteHeader(http.StatusMethodNotAllowed)
			return true
		}
		events, covered, err := c.events(t, 1, 1)
		if err != nil || len(events) != 1 || !covered {
			t.Errorf("%s: %d events, covered %t, %v", name, len(events), covered, err)
		}
	}
}

// What covers a range are its own numbers, in an answer about its own Subscription. Whatever else comes is taken, and a sweep
// must close the gap.
func TestWhatCoversARange(t *testing.T) {
	answer := func(subscription string, numbers ...int) string {
		events, entries := make([]string, 0, len(numbers)), make([]string, 0, len(numbers))
		for i, number := range numbers {
			events = append(events, fmt.Sprintf(`{"eventNumber":"%d","focus":{"reference":"DiagnosticReport/r%d"}}`, number, i))
			entries = append(entries, fmt.Sprintf(`,{"fullUrl":"https://fse.example/fhir/DiagnosticReport/r%d"}`, i))
		}
		return fmt.Sprintf(`{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"SubscriptionStatus","type":"query-event",`+
			`"status":"active"%s,"notificationEvent":[%s]}}%s]}`, subscription, strings.Join(events, ","), strings.Join(entries, ""))
	}
	ours := `,"subscription":{"reference":"Subscription/s1"}`
	for _, tt := range []struct {
		name, body string
		events     int
		covered    bool
	}{
		{"all numbers", answer(ours, 3, 4, 5), 3, true},
		{"and later ones", answer(ours, 3, 4, 5, 6), 4, true},
		{"all that there ever were: the earlier ones have reached us, or were before us", answer(ours, 1, 2, 3, 4, 5), 3, true},
		{"in any order, some of them twice", answer(ours, 5, 3, 4, 3), 4, true},
		{"one is missing", answer(ours, 3, 5), 2, false},
		{"numbers that are counted within the answer", answer(ours, 1, 2, 3), 3, false},
		{"as many without numbers", strings.ReplaceAll(answer(ours, 3, 4, 5), `"eventNumber"`, `"timestamp"`), 3, false},
		{"another Subscription", answer(`,"subscription":{"reference":"Subscription/s2"}`, 3, 4, 5), 3, false},
		{"no Subscription at all", answer("", 3, 4, 5), 3, false},
		{"events that name nothing", strings.ReplaceAll(answer(ours, 3, 4, 5), `"reference":"DiagnosticReport`, `"display":"DiagnosticReport`), 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := source(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.body) }), fhir.ShapeReport)
			taken := 0
			covered, err := fhir.NewSubscriber(fhir.SubscriberOptions{Source: s}).Events(t.Context(), fhir.EventRange{
				Subscription: "s1", From: 3, To: 5, Take: func(_ context.Context, some []fhir.Event) error { taken += len(some); return nil },
			})
			if err != nil || covered != tt.covered || taken != tt.events {
				t.Errorf("%d events, covered %t, %v; want %d, %t", taken, covered, err, tt.events, tt.covered)
			}
		})
	}
}

// A server is asked a few times at most, at the pace that it is given, and left alone as soon as it is in trouble.
func TestHowOftenOldEventsAreAskedFor(t *testing.T) {
	const (
		unknown = `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-supported"}]}`
		expired = `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing"}]}`
		one     = `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"SubscriptionStatus","type":"query-event","status":"active",` +
			`"subscription":{"reference":"Subscription/s1"},"notificationEvent":[{"eventNumber":"%s","focus":{"reference":"DiagnosticReport/r%s"}}]}}]}`
	)
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, call int)
		calls  int
		kind   fhir.TroubleKind
		never  bool // asked again
	}{
		{"one event at a time, for ever", func(w http.ResponseWriter, r *http.Request, _ int) {
			since := r.URL.Query().Get("eventsSinceNumber")
			_, _ = fmt.Fprintf(w, one, since, since)
		}, 10, "", false},
		{"only as a POST: the other forms are not tried again", func(w http.ResponseWriter, r *http.Request, call int) {
			if r.Method == http.MethodGet {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			number := strconv.Itoa(call - 2) // its first is the third call
			_, _ = fmt.Fprintf(w, one, number, number)
		}, 10, "", false},
		{"too many requests", func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}, 1, fhir.Throttled, false},
		{"it is down", func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusBadGateway) }, 1, fhir.Unavailable, false},
		{"not found", func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusNotFound) }, 1, "", true},
		{"not supported", func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, unknown)
		}, 3, "", true},
		{"this range is refused", func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, expired)
		}, 3, fhir.Unusable, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var calls, paced atomic.Int64
			s := source(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.answer(w, r, int(calls.Add(1))) }), fhir.ShapeReport)
			covered, err := fhir.NewSubscriber(fhir.SubscriberOptions{Source: s}).Events(t.Context(), fhir.EventRange{
				Subscription: "s1", From: 1, To: 1000, Pace: func(context.Context) error { paced.Add(1); return nil },
			})
			kind := fhir.TroubleKind("")
			if trouble, is := errors.AsType[*fhir.Trouble](err); is {
				kind = trouble.Kind
			}
			if covered || kind != tt.kind || errors.Is(err, fhir.ErrNoEvents) != tt.never {
				t.Errorf("covered %t, %v; want trouble %q, not asked again %t", covered, err, tt.kind, tt.never)
			}
			if n := calls.Load(); n != int64(tt.calls) || paced.Load() != n {
				t.Errorf("%d calls, %d of them paced; want %d", n, paced.Load(), tt.calls)
			}
		})
	}
	wait := errors.New("the source is paused")
	s := source(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a source that is paused is asked") }), fhir.ShapeReport)
	_, err := fhir.NewSubscriber(fhir.SubscriberOptions{Source: s}).Events(t.Context(), fhir.EventRange{
		Subscription: "s1", From: 1, To: 9, Pace: func(context.Context) error { return wait },
	})
	if !errors.Is(err, wait) {
		t.Errorf("%v, want %v", err, wait)
	}
}

func TestTheStatusOfASubscription(t *testing.T) {
	for _, tt := range []struct {
		product string
		events  int64
	}{{"R5", 2}, {"Aidbox", 2}, {"HAPI topics", -1}, {"Medplum", -1}} {
		c := open(t, sandbox.Products()[tt.product])
		c.ensure(t)
		for i := range 2 {
			c.server.Put(resource{"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", i), "status": "final"})
		}
		id := c.known[0].ID
		status, there, err := c.subscriber().Status(t.Context(), id)
		if err != nil || !there || status.Status != "active" || status.Events != tt.events {
			t.Errorf("%s: %+v, there %t, %v", tt.product, status, there, err)
		}
		c.server.SetStatus(id, "error")
		if status, _, err = c.subscriber().Status(t.Context(), id); err != nil || status.Status != "error" {
			t.Errorf("%s: %+v, %v", tt.product, status, err)
		}
		c.server.Delete("Subscription/" + id)
		if _, there, err = c.subscriber().Status(t.Context(), id); err != nil || there {
			t.Errorf("%s: it is there, after it was deleted, %v", tt.product, err)
		}
	}
}

// Numbers are counted also of events that are none of our business: they leave no gap.
func TestNumbersOfAllEvents(t *testing.T) {
	server := sandbox.NewServer()
	patient := resource{"resourceType": "Patient", "id": "p1"}
	server.Put(patient)
	server.Put(resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final"})
	for _, flavour := range []sandbox.Flavour{sandbox.R4Full, sandbox.R4B, sandbox.R5, sandbox.R4IDOnly} {
		var told fhir.Notification
		poster := sandbox.Poster{Server: server, Client: new(http.Client)}
		poster.URL = listen(t, func(r *http.Request) {
			var err error
			if told, err = fhir.DecodeNotification(fhir.NotificationRequest{Method: r.Method, Body: r.Body, Limits: limits}); err != nil {
				t.Error(err)
			}
		})
		if err := poster.Notify(t.Context(), flavour, "Patient/p1", "DiagnosticReport/r1"); err != nil {
			t.Fatal(err)
		}
		if len(told.Numbers) != 2 || told.Numbers[0] != 1 || told.Numbers[1] != 2 || len(told.Events) != 1 {
			t.Errorf("%s: numbers %v, %d events", flavour, told.Numbers, len(told.Events))
		}
	}
}

// listen is the URL of an endpoint that takes everything.
func listen(t *testing.T, take func(*http.Request)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { take(r) }))
	t.Cleanup(server.Close)
	return server.URL
}

// A server without numbers that gives whatever it has, whatever it is asked for: what came before is known again, also where its
// times are in another zone than ours, and it is not asked ten times.
func TestTheSameOldEventsAgain(t *testing.T) {
	calls := 0
	s := source(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = io.WriteString(w, `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"SubscriptionStatus","type":"query-event","status":"active",`+
			`"subscription":{"reference":"Subscription/s1"},"notificationEvent":[{"focus":{"reference":"DiagnosticReport/r1"}}]}},`+
			`{"fullUrl":"https://fse.example.it/fhir/DiagnosticReport/r1","resource":{"resourceType":"DiagnosticReport","id":"r1","status":"final",`+
			`"meta":{"versionId":"1","lastUpdated":"2026-01-10T09:00:00+05:45"}}}]}`)
	}), fhir.ShapeReport)
	taken := 0
	covered, err := fhir.NewSubscriber(fhir.SubscriberOptions{Source: s}).Events(t.Context(), fhir.EventRange{
		Subscription: "s1", From: 1, To: 40,
		Take: func(_ context.Context, events []fhir.Event) error { taken += len(events); return nil },
	})
	if err != nil || covered || taken != 1 || calls != 2 {
		t.Errorf("covered %t, %d events taken in %d calls, %v; want 1 in 2", covered, taken, calls, err)
	}
}
