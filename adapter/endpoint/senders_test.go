package endpoint_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"staffetta/adapter/endpoint"
	"staffetta/fhir/probe"
)

const signingSecret = "hmac-secret-0123456789abcdef"

// Every server that posts is satisfied by our answer, by its own rule, and what it says has changed is to be looked at.
func TestEverySenderIsSatisfied(t *testing.T) {
	h := open(t, func(o *endpoint.Options) {
		signed := o.Sources[0]
		signed.Name, signed.Secrets = "signed", []string{signingSecret}
		o.Sources = append(o.Sources, signed)
	})
	for _, at := range []struct{ path, kind, token, secret string }{
		{"/fhir/lab", "DiagnosticReport", labToken, ""},
		{"/fhir/lab/", "DiagnosticReport", labNextToken, ""},
		{"/fhir/region", "Composition", regionToken, ""},
		{"/fhir/signed", "DiagnosticReport", labToken, signingSecret}, // Medplum's alone
	} {
		for _, sender := range probe.Senders() {
			if at.secret != "" && sender.Name != "Medplum" {
				continue
			}
			o := probe.Options{
				URL: h.url + at.path, Header: http.Header{"Authorization": {"Bearer " + at.token}}, Secret: at.secret, Kind: at.kind,
				ID: probe.NewID(), Client: h.client, Timeout: time.Minute,
			}
			t.Run(sender.Name+" to "+at.path, func(t *testing.T) { h.plays(t, sender, o) })
		}
	}
}

func (h *house) plays(t *testing.T, sender probe.Sender, o probe.Options) {
	t.Helper()
	if err := o.Check(false); err != nil {
		t.Fatal(err)
	}
	heard := 0
	hints, catchUps := h.count(t, "staffetta_hints_total"), h.count(t, "staffetta_catchup_wanted_total")
	sender.Play(t.Context(), o, func(x probe.Exchange) {
		heard++
		if x.Verdict != probe.Accepted || x.Status != http.StatusOK {
			t.Errorf("%s: %d, %s: %s", x.What, x.Status, x.Verdict, x.Reason)
		}
		nowHints, nowCatchUps := h.count(t, "staffetta_hints_total"), h.count(t, "staffetta_catchup_wanted_total")
		if got, want := nowHints-hints, float64(x.Request.Changes); got != want {
			t.Errorf("%s: %v hints, want %v", x.What, got, want)
		}
		if got := nowCatchUps > catchUps; got != x.Request.Unnamed {
			t.Errorf("%s: catching up is wanted: %t, want %t", x.What, got, x.Request.Unnamed)
		}
		hints, catchUps = nowHints, nowCatchUps
	})
	if heard != len(sender.Requests) {
		t.Errorf("%d of %d requests were played", heard, len(sender.Requests))
	}
	if n := h.count(t, "staffetta_hints_total", "admission=unusable"); n != 0 {
		t.Errorf("%v hints could not be used", n)
	}
}

// What only follows a handshake that succeeded is not sent after another one, and has its verdict all the same.
func TestNothingFollowsAFailedHandshake(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	o := probe.Options{URL: server.URL, Kind: "DiagnosticReport", ID: probe.NewID(), Client: server.Client(), Timeout: time.Minute}
	var verdicts []string
	for _, sender := range probe.Senders() {
		if sender.Name == "Inferno, client suite" {
			sender.Play(t.Context(), o, func(x probe.Exchange) { verdicts = append(verdicts, string(x.Verdict)) })
		}
	}
	if got, want := strings.Join(verdicts, ", "), "violates, not sent, not sent, not sent"; got != want || requests != 1 {
		t.Errorf("%s after %d requests, want %s after one", got, requests, want)
	}
}

// The verdicts of the probe on receivers that get it wrong, in the ways that were seen.
func TestWhatSendersDoNotTake(t *testing.T) {
	answer := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			if contentType != "" {
				w.Header().Set("Content-Type", contentType)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, tt := range []struct {
		name      string
		receiver  http.Handler
		satisfied []string // senders; all others are not
	}{
		{"200 with nothing: HAPI wants a Bundle for a Bundle", answer(200, "", ""), []string{
			"HAPI, classic", "Medplum", "Firely Server", "FHIR Works on AWS", "Aidbox, SubsSubscription", "Aidbox, topic", "Aidbox, topic destination",
			"fhir-candle", "orca", "NHS, MNS style", "gematik ISiK", "bonfhir (both classic forms)", "R4B, backport", "R5", "Inferno, client suite",
		}},
		{"204: HAPI and candle do, exactly 200 does not", answer(204, "", ""), []string{
			"HAPI, classic", "HAPI, topics", "HAPI, search criteria", "Medplum", "Firely Server", "FHIR Works on AWS", "Aidbox, topic",
			"Aidbox, topic destination", "fhir-candle", "orca", "NHS, MNS style", "bonfhir (both classic forms)", "R4B, backport", "R5",
		}},
		{"200 with a status in JSON: HAPI does not", answer(200, "application/json", `{"status":"ok"}`), []string{
			"Medplum", "Firely Server", "FHIR Works on AWS", "Aidbox, SubsSubscription", "Aidbox, topic", "Aidbox, topic destination", "fhir-candle",
			"orca", "NHS, MNS style", "gematik ISiK", "bonfhir (both classic forms)", "R4B, backport", "R5", "Inferno, client suite",
		}},
		{"201: candle does not either", answer(201, "", ""), []string{
			"HAPI, classic", "Medplum", "Firely Server", "FHIR Works on AWS", "Aidbox, topic", "Aidbox, topic destination", "orca", "NHS, MNS style",
			"bonfhir (both classic forms)", "R4B, backport", "R5",
		}},
		{"a redirect: Medplum alone", http.RedirectHandler("/elsewhere", http.StatusFound), []string{"Medplum"}},
		{"a failure", answer(500, "", ""), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.receiver)
			defer server.Close()
			client := server.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			o := probe.Options{URL: server.URL, Kind: "DiagnosticReport", ID: probe.NewID(), Client: client, Timeout: time.Minute}
			var satisfied []string
			for _, sender := range probe.Senders() {
				well := true
				sender.Play(t.Context(), o, func(x probe.Exchange) {
					well = well && x.Verdict == probe.Accepted
					if x.Verdict != probe.Accepted && x.Reason == "" {
						t.Errorf("%s, %s: %s without a reason", x.Sender, x.What, x.Verdict)
					}
				})
				if well {
					satisfied = append(satisfied, sender.Name)
				}
			}
			if got, want := strings.Join(satisfied, "; "), strings.Join(tt.satisfied, "; "); got != want {
				t.Errorf("satisfied are\n%s; want\n%s", got, want)
			}
			var out bytes.Buffer
			if well, err := probe.Run(t.Context(), o, &out, false); err != nil || well {
				t.Errorf("well %t, %v:\n%s", well, err, out.String())
			}
		})
	}
}
