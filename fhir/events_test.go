package fhir_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	return c.subscriber().Events(t.Context(), c.known[0].ID, from, to)
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
		{"Aidbox names no numbers", products["Aidbox"], 10, 3, 7, 5, true},
		{"Aidbox, a hundred at a time", products["Aidbox"], 250, 1, 250, 250, true},
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
		events, covered, err := c.subscriber().Events(t.Context(), c.known[0].ID, 1, 1)
		if err != nil || len(events) != 1 || !covered {
			t.Errorf("%s: %d events, covered %t, %v", name, len(events), covered, err)
		}
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
