package endpoint_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"staffetta/adapter/endpoint"
	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// due claims everything that is due at a source, by key.
func (h *house) due(t *testing.T, source string) map[ledger.Key]ledger.Record {
	t.Helper()
	records := map[ledger.Key]ledger.Record{}
	for {
		claimed, err := h.ledger.Claim(t.Context(), ledger.ClaimOptions{N: 100, Sources: []string{source}})
		if err != nil {
			t.Fatal(err)
		}
		if len(claimed.Records) == 0 {
			return records
		}
		for _, record := range claimed.Records {
			records[record.Key] = record
		}
	}
}

// atOnce lets documents be due without settling.
func atOnce(o *endpoint.Options) {
	for i := range o.Sources {
		o.Sources[i].Settle = 0
	}
}

func TestHintsBecomeRecords(t *testing.T) {
	for _, tt := range []struct {
		name, source, body string
		want               map[fhir.Locator]ledger.State
	}{
		{
			"shape report: the report itself is looked at", "lab", report,
			map[fhir.Locator]ledger.State{{Type: "DiagnosticReport", ID: "r1"}: ledger.Pending},
		},
		{
			"shape report: nothing but reports", "lab",
			events(focus("1", "Composition/c1"), focus("2", "DiagnosticReport/r1"), focus("3", "Observation/o1")),
			map[fhir.Locator]ledger.State{{Type: "DiagnosticReport", ID: "r1"}: ledger.Pending},
		},
		{
			"shape composition: the document of each is to be found", "region",
			events(focus("1", "Composition/c1"), focus("2", "DiagnosticReport/r1"), focus("3", "DocumentReference/d1"), focus("4", "Patient/p1")),
			map[fhir.Locator]ledger.State{
				{Type: "Composition", ID: "c1"}:       ledger.Find,
				{Type: "DiagnosticReport", ID: "r1"}:  ledger.Find,
				{Type: "DocumentReference", ID: "d1"}: ledger.Find,
			},
		},
		{
			"one resource twice in one notification is one hint", "lab",
			events(focus("1", "DiagnosticReport/r1"), focus("2", "https://ehr.example/fhir/DiagnosticReport/r1")),
			map[fhir.Locator]ledger.State{{Type: "DiagnosticReport", ID: "r1"}: ledger.Pending},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, atOnce)
			token := map[string]string{"lab": labToken, "region": regionToken}[tt.source]
			h.send(t, sent{"POST", "/fhir/" + tt.source, tt.body, map[string]string{"Authorization": "Bearer " + token}})
			records := h.due(t, tt.source)
			if len(records) != len(tt.want) {
				t.Errorf("%d records are due, want %d", len(records), len(tt.want))
			}
			for _, record := range records {
				if want := tt.want[record.Locator]; record.State != want || record.Source != tt.source {
					t.Errorf("a record of a %s is %s at %s, want %q at %s", record.Locator.Type, record.State, record.Source, want, tt.source)
				}
			}
			if h.admitted.Load() != 1 {
				t.Errorf("the workers were woken %d times, want once", h.admitted.Load())
			}
		})
	}
}

func TestThousandCopiesAreOneRecord(t *testing.T) {
	h := open(t, atOnce)
	var senders sync.WaitGroup
	for range 50 {
		senders.Go(func() {
			for range 20 {
				answer, err := h.trySend(t.Context(), sent{"PUT", "/fhir/lab/DiagnosticReport/r1", report, nil})
				if err != nil || answer.status != http.StatusOK {
					t.Errorf("status %d, error %v", answer.status, err)
				}
			}
		})
	}
	senders.Wait()
	if n := len(h.due(t, "lab")); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	if n := h.count(t, "staffetta_hints_total", "source=lab", "admission=new"); n != 1 {
		t.Errorf("%v of the hints were new, want 1", n)
	}
	if n := h.count(t, "staffetta_notifications_total", "source=lab", "kind=classic", "answer=200"); n != 1000 {
		t.Errorf("%v notifications were counted, want 1000", n)
	}
}

func TestManyEventsAreOneRoundTrip(t *testing.T) {
	h := open(t, atOnce)
	h.send(t, sent{"POST", "/fhir/lab", report, nil}) // connects, and loads what must be loaded
	foci := make([]string, 64)
	for i := range foci {
		foci[i] = focus(strconv.Itoa(i), fmt.Sprintf("DiagnosticReport/many-%d", i))
	}
	before := h.redis.trips.Load()
	h.send(t, sent{"POST", "/fhir/lab", events(foci...), nil})
	if trips := h.redis.trips.Load() - before; trips != 1 {
		t.Errorf("%d round trips for 64 events, want 1", trips)
	}
	if n := len(h.due(t, "lab")); n != 65 {
		t.Errorf("%d records, want 65", n)
	}
}

func TestRedisAway(t *testing.T) {
	h := open(t, atOnce)
	put := sent{"PUT", "/fhir/lab/DiagnosticReport/r1", report, nil}
	h.redis.cut.Store(true)
	for range 3 {
		answer := h.send(t, put)
		if answer.status != http.StatusServiceUnavailable || answer.outcome() != "transient" || answer.header.Get("Retry-After") == "" {
			t.Errorf("while Redis is away: %d %q, Retry-After %q, want 503 transient with Retry-After",
				answer.status, answer.outcome(), answer.header.Get("Retry-After"))
		}
	}
	if answer := h.send(t, sent{"POST", "/fhir/lab", handshake, nil}); answer.status != http.StatusOK {
		t.Errorf("what needs no ledger: %d, want 200", answer.status)
	}
	h.redis.cut.Store(false)
	if answer := h.send(t, put); answer.status != http.StatusOK {
		t.Errorf("when Redis is back: %d, want 200", answer.status)
	}
	if n := len(h.due(t, "lab")); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	for _, line := range []string{"notifications are refused", "notifications are accepted again"} {
		if n := strings.Count(h.logs.String(), line); n != 1 {
			t.Errorf("%q is logged %d times, want once", line, n)
		}
	}
}

// What names nothing is written before it is answered, as a hint is.
func TestWhatNamesNothingIsWanted(t *testing.T) {
	var wanted atomic.Int64
	h := open(t, func(o *endpoint.Options) {
		o.Wanted = func(source string) {
			if source == "lab" {
				wanted.Add(1)
			}
		}
	})
	wants := func(want int64) {
		t.Helper()
		c, err := h.ledger.LookAtCatchUp(t.Context(), "lab")
		if err != nil || c.Wanted != want || wanted.Load() != want {
			t.Errorf("%d sweeps are wanted, woken %d times, %v; want %d", c.Wanted, wanted.Load(), err, want)
		}
	}
	h.send(t, sent{"POST", "/fhir/lab", nothing, nil})
	h.send(t, sent{"POST", "/fhir/lab", "", nil})
	wants(2)
	if n := h.count(t, "staffetta_catchup_wanted_total", "source=lab"); n != 2 {
		t.Errorf("%v catch-ups wanted, want 2", n)
	}
	if n := h.admitted.Load(); n != 0 {
		t.Errorf("the workers were woken %d times, want never", n)
	}
	h.redis.cut.Store(true)
	if answer := h.send(t, sent{"POST", "/fhir/lab", nothing, nil}); answer.status != http.StatusServiceUnavailable {
		t.Errorf("while Redis is away: %d, want 503", answer.status)
	}
	h.redis.cut.Store(false)
	wants(2)
	h.send(t, sent{"PUT", "/fhir/lab/DiagnosticReport/r1", report, nil})
	wants(3) // after the outage, whatever was refused
}

// Each notification that was taken is heard, once, and none that was refused.
func TestWhatIsTakenIsHeard(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	h := open(t, atOnce, func(o *endpoint.Options) {
		o.Heard = func(source string, n fhir.Notification) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, source+" "+n.String())
		}
	})
	for _, body := range []string{handshake, nothing, events(focus("1", "DiagnosticReport/r1")), "{garbage"} {
		h.send(t, sent{"POST", "/fhir/lab", body, nil})
	}
	h.redis.cut.Store(true)
	h.send(t, sent{"POST", "/fhir/lab", events(focus("2", "DiagnosticReport/r2")), nil})
	h.redis.cut.Store(false)
	want := "lab handshake with 0 events, lab event-notification with 0 events, lab event-notification with 1 events"
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(heard, ", "); got != want {
		t.Errorf("heard %s, want %s", got, want)
	}
}

func TestPanicIsTransient(t *testing.T) {
	h := open(t, func(o *endpoint.Options) { o.Ledger = nil })
	answer := h.send(t, sent{"PUT", "/fhir/lab/DiagnosticReport/r1", report, nil})
	if answer.status != http.StatusServiceUnavailable || answer.outcome() != "transient" {
		t.Errorf("answer %d %q, want 503 transient", answer.status, answer.outcome())
	}
	if n := h.count(t, "staffetta_notification_panics_total"); n != 1 {
		t.Errorf("%v panics were counted, want 1", n)
	}
	if logs := h.logs.String(); !strings.Contains(logs, `"level":"ERROR"`) || strings.Contains(logs, "nil pointer") {
		t.Errorf("want an error without values:\n%s", logs)
	}
}

func TestLogsNameNothingPrivate(t *testing.T) {
	h := open(t, atOnce)
	for _, one := range []sent{
		{"PUT", "/fhir/lab/DiagnosticReport/r1", report, nil},
		{"POST", "/fhir/lab", events(focus("1", "https://ehr.example/fhir/DiagnosticReport/RSSMRA80A01H501U")), nil},
		{"POST", "/fhir/lab?fiscalcode=RSSMRA80A01H501U", report + "}", nil},
		{"PUT", "/fhir/lab/DiagnosticReport/r9", report, nil},
		{"POST", "/fhir/RSSMRA80A01H501U", report, nil},
	} {
		h.send(t, one)
	}
	logs := h.logs.String()
	for _, private := range []string{"RSSMRA80A01H501U", "r1", "r9", "Emocromo", labToken, "ehr.example"} {
		if strings.Contains(logs, private) {
			t.Errorf("%q is in the logs:\n%s", private, logs)
		}
	}
	if !strings.Contains(logs, `"record":"`+h.ledger.DocumentKey("lab", fhir.Locator{Type: "DiagnosticReport", ID: "r1"}).String()) {
		t.Errorf("the record's key is not in the logs:\n%s", logs)
	}
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sources []endpoint.Source
		wantErr string
	}{
		{
			"a source without any proof does not start",
			[]endpoint.Source{{Name: "lab"}},
			"endpoint: source lab: no token, no JWT, no signature and no certificate: anybody could post",
		},
		{
			"nor one with an empty token",
			[]endpoint.Source{{Name: "lab", Tokens: []string{""}}},
			"endpoint: source lab: an empty token or secret",
		},
		{
			"nor one with an empty secret",
			[]endpoint.Source{{Name: "lab", Secrets: []string{"a", ""}}},
			"endpoint: source lab: an empty token or secret",
		},
		{
			"nor one whose JWTs may be for anybody",
			[]endpoint.Source{{Name: "lab", JWT: &endpoint.JWT{Issuer: "a", KeysURL: "https://b"}}},
			"endpoint: source lab: JWTs want an issuer, an audience, the URL of its keys, and a client",
		},
		{
			"nor one whose certificates may have any name",
			[]endpoint.Source{{Name: "lab", Certificates: &endpoint.Certificates{}}},
			"endpoint: source lab: client certificates want authorities and names",
		},
		{
			"nor two of one name",
			[]endpoint.Source{{Name: "lab", Tokens: []string{"a"}}, {Name: "lab", Tokens: []string{"b"}}},
			"endpoint: source lab twice",
		},
		{"nor an endpoint without a limit", []endpoint.Source{{Name: "lab", Tokens: []string{"a"}}}, "endpoint: no limit for bodies"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := endpoint.New(endpoint.Options{Sources: tt.sources}); err == nil || err.Error() != tt.wantErr {
				t.Errorf("got %v, want %s", err, tt.wantErr)
			}
		})
	}
}
