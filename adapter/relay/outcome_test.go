package relay

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier"
	iobox "staffetta/notifier/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a relay whose steps are taken by hand, at any time.
type stage struct {
	*Relay
	fse    *fse.Server
	io     *iobox.Sandbox
	source Source
	now    time.Time
}

func newStage(t *testing.T, options iobox.Options) *stage {
	t.Helper()
	return newStageOn(t, redistest.Embedded(t), nil, options)
}

// newStageOn is a stage over some Redis, whose clock goes before ours.
func newStageOn(t *testing.T, client redis.UniversalClient, skew func() time.Duration, options iobox.Options) *stage {
	t.Helper()
	w := &stage{fse: fse.NewServer(), now: time.Now()}
	server := httptest.NewServer(w.fse)
	t.Cleanup(server.Close)
	options.Keys = []string{"key"}
	w.io = iobox.New(options)
	ioServer := httptest.NewServer(w.io)
	t.Cleanup(ioServer.Close)
	key := sha256.Sum256([]byte("k"))
	led, err := ledger.Open(t.Context(), ledger.Options{
		Redis: client, NamingKey: key[:], SealKeys: []ledger.SealKey{{ID: 1, Key: key[:]}}, Log: slog.New(slog.DiscardHandler), JournalEntries: 100, Skew: skew,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // whatever a step does, every record has a next time, is held, or has a named end
		checked, err := led.Check(context.WithoutCancel(t.Context()), []string{"north"})
		if err != nil {
			t.Errorf("the ledger cannot be checked: %v", err)
		}
		for _, finding := range checked.Findings {
			t.Errorf("finding: %s", finding)
		}
	})
	source, err := fhir.NewSource(fhir.SourceOptions{Name: "north", BaseURL: server.URL + "/fhir", Shape: fhir.ShapeReport, Client: new(http.Client), MaxBody: 1 << 20, MaxDepth: 64})
	if err != nil {
		t.Fatal(err)
	}
	w.source = Source{Source: source}
	rules := must(policy.NewRules(policy.Options{MaxAge: 30 * 24 * time.Hour, ReplacementWait: 15 * time.Minute, BelieveMissing: 10 * time.Minute}))
	ioClient := must(notifier.NewClient(notifier.ClientOptions{BaseURL: ioServer.URL + "/api/v1", Keys: func() []string { return []string{"key"} }, HTTP: new(http.Client)}))
	w.Relay = New(Options{
		Ledger: led, Sources: map[string]Source{"north": w.source}, Rules: rules, IO: ioClient,
		Composer: must(notifier.NewComposer(notifier.ComposerOptions{
			Wording: notifier.Referto, First: notifier.Button{URL: "https://fascicolo.example.it/referti", Italian: "Apri il fascicolo", English: "Open the record"},
		})),
		Timetable: Timetable{
			GiveUpAfter: 72 * time.Hour, BelieveMissing: 10 * time.Minute, Polls: []time.Duration{10 * time.Second, time.Minute, time.Hour},
			PollsEnd: 7 * 24 * time.Hour, Track: true, PersonTag: led.PersonTag,
		},
		Rate: 1e5, Workers: 4, Lease: 15 * time.Second, Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	})
	return w
}

// sendingRecord is a record that was claimed in `sending`, as kill -9 leaves it.
func sendingRecord(w *stage) ledger.Record {
	l := fhir.Locator{Type: "DiagnosticReport", ID: "r1"}
	return ledger.Record{
		Key: w.Ledger.DocumentKey("north", l), Source: "north", State: ledger.Sending, Locator: l, Publication: ledger.Published,
		Edition: w.Ledger.EditionTag(""), Recipient: someone, HintAt: w.now, Since: w.now, Claims: 1,
	}
}

// walk takes steps with a record until it rests or a time is over, and says how many.
func (w *stage) walk(t *testing.T, rec ledger.Record, until time.Duration) (ledger.Record, int) {
	t.Helper()
	end := w.now.Add(until)
	steps := 0
	for w.now.Before(end) && steps < 2000 {
		steps++
		rec.Now, rec.Claims = w.now, 1
		o := w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
		rec = o.record
		if o.next.Due.IsZero() || o.happened == GivenBack { // given back: it came as far as sending again
			if o.happened == GivenBack {
				rec.State = ledger.Sent
			}
			return rec, steps
		}
		w.now = o.next.Due.Add(time.Millisecond)
	}
	return rec, steps
}

// Waits widen: 1 h, 6 h, then daily.
func TestWaitsWiden(t *testing.T) {
	w := newStage(t, iobox.Options{})
	w.fse.Put(fse.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "registered"})
	rec := sendingRecord(w)
	rec.State, rec.Publication, rec.Edition, rec.Recipient = ledger.Pending, "", ledger.Tag{}, ledger.Record{}.Recipient
	rec, steps := w.walk(t, rec, 31*24*time.Hour)
	if rec.State != ledger.Suppressed || steps > 40 {
		t.Errorf("%s after %d looks in 31 days, want suppressed after about 33", rec.State, steps)
	}
}

// What is not there is asked for again for minutes, and then believed, however often it was asked for meanwhile.
func TestAWaitForWhatIsNotThereEnds(t *testing.T) {
	final := fse.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": fse.Resource{"reference": "Patient/p9"}}
	told := ledger.Told{Publication: ledger.Published, At: time.Now(), Person: ledger.Tag{1}}
	for _, tt := range []struct {
		name     string
		kept     fse.Resource
		told     ledger.Told
		state    ledger.State
		reason   string
		from, to time.Duration
	}{
		{"the patient", final, ledger.Told{}, ledger.Held, "no-patient", 10 * time.Minute, 13 * time.Minute},
		{"the document", nil, ledger.Told{}, ledger.Suppressed, "withdrawn", 10 * time.Minute, 13 * time.Minute},
		{"the document, of which somebody was told", nil, told, ledger.Held, "withdrawn", 15 * time.Minute, 17 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			if tt.kept != nil {
				w.fse.Put(tt.kept)
			}
			rec := sendingRecord(w)
			rec.State, rec.Publication, rec.Edition, rec.Recipient, rec.Told = ledger.Pending, "", ledger.Tag{}, ledger.Record{}.Recipient, tt.told
			began := w.now
			rec, steps := w.walk(t, rec, 24*time.Hour)
			if took := w.now.Sub(began); rec.State != tt.state || rec.Reason != tt.reason || took < tt.from || took > tt.to || steps < 5 {
				t.Errorf("%s %s after %s and %d looks, want %s %s after %s", rec.State, rec.Reason, took, steps, tt.state, tt.reason, tt.from)
			}
		})
	}
}

// What its citizen cannot open is looked at for as long as policy.visible_wait, then a person must look: however often it was
// looked at meanwhile.
func TestWhatIsNeverVisibleIsHeldInTheEnd(t *testing.T) {
	w := newStage(t, iobox.Options{})
	w.fse.Put(fse.Patient("p1", someone.Reveal(), time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)))
	w.fse.Put(fse.Resource{
		"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "issued": w.now.Format(time.RFC3339), "subject": fse.Resource{"reference": "Patient/p1"},
	})
	portal := httptest.NewServer(fse.NewServer()) // which shows nothing
	t.Cleanup(portal.Close)
	eyes := must(fhir.NewSource(fhir.SourceOptions{BaseURL: portal.URL + "/fhir", Client: new(http.Client), MaxBody: 1 << 20}))
	w.source.Gate = &fhir.Gate{Source: eyes}
	w.Sources["north"] = w.source
	w.Rules = must(policy.NewRules(policy.Options{MaxAge: 30 * 24 * time.Hour, VisibleWait: 72 * time.Hour}))
	rec := sendingRecord(w)
	rec.State, rec.Publication, rec.Edition, rec.Recipient = ledger.Pending, "", ledger.Tag{}, ledger.Record{}.Recipient
	began := w.now
	rec, steps := w.walk(t, rec, 10*24*time.Hour)
	if took := w.now.Sub(began); rec.State != ledger.Held || rec.Reason != "not-visible" || took < 72*time.Hour || took > 74*time.Hour {
		t.Errorf("%s %s after %s and %d looks, want held after three days", rec.State, rec.Reason, took, steps)
	}
}

// A record in sending whose document is gone comes to a person, and is counted once.
func TestSendingWhoseDocumentIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		put    fse.Resource
		hinted time.Duration
		within time.Duration
	}{
		{"404", nil, 0, time.Hour},
		{"back to registered", fse.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "registered"}, 0, 40 * 24 * time.Hour},
		{"behind a hint", fse.Resource{
			"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "issued": time.Now().Format(time.RFC3339),
			"subject": fse.Resource{"reference": "Patient/p1"},
		}, 24 * 365 * time.Hour, time.Hour},
		{"patient 404", fse.Resource{
			"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "issued": time.Now().Format(time.RFC3339),
			"subject": fse.Resource{"reference": "Patient/p9"},
		}, 0, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			birth := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
			w.fse.Put(fse.Patient("p1", "RSSMRA80A01H501U", birth))
			if tt.put != nil {
				w.fse.Put(tt.put)
			}
			rec := sendingRecord(w)
			if tt.hinted > 0 {
				rec.HintedOrder = w.now.Add(tt.hinted).UnixMilli()
			}
			rec, steps := w.walk(t, rec, tt.within)
			if rec.State == ledger.Sending {
				t.Errorf("still sending after %d steps in %s", steps, tt.within)
			}
			if n := countOf(w.Metrics.uncertain); n != 1 {
				t.Errorf("counted as %v uncertain sends, want 1", n)
			}
		})
	}
}

// Unclear answers are repeated with growing pauses: each of them may be a message.
func TestUnclearSendsBackOff(t *testing.T) {
	w := newStage(t, iobox.Options{Fault: func(rw http.ResponseWriter, _ *http.Request, taken bool) bool {
		if taken { // the gateway gives up, IO has it
			rw.WriteHeader(http.StatusGatewayTimeout)
			return true
		}
		return false
	}})
	birth := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	w.fse.Put(fse.Patient("p1", "RSSMRA80A01H501U", birth))
	w.fse.Put(fse.Resource{
		"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "issued": time.Now().Format(time.RFC3339),
		"subject": fse.Resource{"reference": "Patient/p1"},
	})
	h := ledger.Hint{
		Key: w.Ledger.DocumentKey("north", fhir.Locator{Type: "DiagnosticReport", ID: "r1"}), Source: "north",
		Locator: fhir.Locator{Type: "DiagnosticReport", ID: "r1"}, State: ledger.Pending,
	}
	if _, err := w.Ledger.Admit(t.Context(), []ledger.Hint{h}); err != nil {
		t.Fatal(err)
	}
	got, err := w.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 16, Sources: []string{"north"}})
	if err != nil || len(got.Records) != 1 {
		t.Fatal(got, err)
	}
	rec := got.Records[0]
	begin := w.now
	steps := 0
	for w.now.Sub(begin) < 10*time.Minute && steps < 500 {
		steps++
		rec.Now, rec.Claims = w.now, 1
		o := w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
		rec = o.record
		if o.next.Due.IsZero() {
			t.Fatal(rec.State, rec.Reason)
		}
		w.now = o.next.Due
	}
	if n := len(w.io.Messages()); n > 12 {
		t.Errorf("the citizen got %d messages in 10 minutes", n)
	}
}

// A person who releases an uncertain record sends to exactly that person, and it stays known to be uncertain.
func TestReleasedUncertain(t *testing.T) {
	w := newStage(t, iobox.Options{})
	w.Timetable.HoldUncertain = true
	l := fhir.Locator{Type: "DiagnosticReport", ID: "r1"}
	h := ledger.Hint{Key: w.Ledger.DocumentKey("north", l), Source: "north", Locator: l, State: ledger.Pending}
	claim := func() ledger.Record {
		got, err := w.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 16, Sources: []string{"north"}})
		if err != nil || len(got.Records) != 1 {
			t.Fatal(got, err)
		}
		return got.Records[0]
	}
	_, _ = w.Ledger.Admit(t.Context(), []ledger.Hint{h})
	rec := claim()
	rec.State, rec.Publication, rec.Edition, rec.Recipient = ledger.Sending, ledger.Published, w.Ledger.EditionTag(""), someone
	unclear := w.Timetable.unclear(rec, w.now)
	if _, err := w.Ledger.Settle(t.Context(), []ledger.Settlement{unclear.settlement()}); err != nil {
		t.Fatal(err)
	}
	if ok, err := w.Ledger.Release(t.Context(), h.Key, "released", ledger.By{}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	rec = startOf(claim())
	if rec.Recipient != someone && rec.Told.Person == (ledger.Tag{}) {
		t.Error("nobody knows any more who may have been told: a message may go to another person, as if it were the first")
	}
	if rec.State == ledger.Pending {
		t.Error("it is announced as if nothing had been sent, and not known to be uncertain")
	}
}

// Whatever stops a record in sending, it stays known that the person may have been told.
func TestWhoWasSendingStaysUncertain(t *testing.T) {
	now := time.Now()
	timetable := Timetable{GiveUpAfter: 72 * time.Hour, Polls: []time.Duration{time.Second}, PersonTag: func(fiscalcode.Code) ledger.Tag { return ledger.Tag{1} }}
	for _, tt := range []struct {
		name string
		end  func(*stage, ledger.Record) outcome
	}{
		{"the source was away for three days", func(_ *stage, rec ledger.Record) outcome {
			rec.Told.Uncertain, rec.Reason, rec.Trouble = true, reasonUncertain, now.Add(-73*time.Hour)
			return timetable.afterTrouble(rec, &fhir.Trouble{Kind: fhir.Unavailable}, now)
		}},
		{"crashed too often", func(w *stage, rec ledger.Record) outcome {
			rec.Claims, rec.Begun, rec.Now = 4, 3, now
			return w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
		}},
		{"its source is not configured any more", func(w *stage, rec ledger.Record) outcome {
			rec.Source, rec.Now = "gone", now
			return w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
		}},
		{"an earlier POST was unclear, this one is refused", func(_ *stage, rec ledger.Record) outcome {
			rec.Told.Uncertain = true
			return timetable.afterSend(rec, notifier.Answer{Kind: notifier.Refused}, ledger.Tag{1}, now)
		}},
		{"profile is refused", func(_ *stage, rec ledger.Record) outcome {
			rec.Told.Uncertain, rec.Reason = true, reasonUncertain
			return timetable.afterProfile(rec, notifier.Answer{Kind: notifier.Refused}, now)
		}},
		{"uncertain: hold", func(_ *stage, rec ledger.Record) outcome {
			hold := timetable
			hold.HoldUncertain = true
			return hold.unclear(rec, now)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			o := tt.end(w, sendingRecord(w))
			if o.record.State != ledger.Held {
				t.Fatal(o.record.State)
			}
			known := o.record.Recipient == someone || o.record.Told.Person != ledger.Tag{}
			if !known || !o.record.Told.Uncertain || o.record.Reason != reasonUncertain {
				t.Errorf("held as %s, uncertain %t, person known %t: a release would tell again without knowing", o.record.Reason, o.record.Told.Uncertain, known)
			}
		})
	}
}

// A FAILED update does not forget that the original was told, and to whom.
func TestFailedUpdate(t *testing.T) {
	now := time.Now()
	rec := ledger.Record{State: ledger.Sent, Recipient: someone, Told: ledger.Told{Publication: ledger.Updated, Edition: ledger.Tag{2}, At: now, Person: ledger.Tag{1}}}
	o := Timetable{Polls: []time.Duration{time.Second}}.afterStatus(rec, notifier.Answer{Kind: notifier.StatusKnown, Status: "FAILED"}, now)
	if o.record.Told.Publication == ledger.NoPublication || o.record.Told.Person != (ledger.Tag{1}) {
		t.Error("after a release the document is `published` for the first time, to whoever is its patient by then")
	}
}

// The age cut-off counts from when the document was last seen hidden, not first.
func TestHiddenIsLastSeen(t *testing.T) {
	w := newStage(t, iobox.Options{})
	hidden := policy.Decision{Action: policy.Suppress, Reason: policy.HiddenFromCitizen, Hidden: true}
	day := 24 * time.Hour
	first := w.Timetable.afterDecision(ledger.Record{State: ledger.Pending}, hidden, w.now).record
	first.HiddenAt = time.Time{} // a finished record keeps Since only
	again := w.Timetable.afterDecision(startOf(first), hidden, w.now.Add(20*day)).record
	again.HiddenAt = time.Time{}
	rec := startOf(again)
	if got := rec.HiddenAt.Sub(w.now); got != 20*day {
		t.Errorf("last seen hidden on day %d, want 20: too old ten days later", int(got/day))
	}
}

// A 404 is asked again for 10 minutes, whatever the record waited for before.
func TestA404IsNotBelievedAtOnce(t *testing.T) {
	for _, before := range []string{"not-final", "rejected", policy.HiddenFromCitizen} {
		t.Run(before, func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			rec := sendingRecord(w)
			rec.State, rec.Publication, rec.Edition, rec.Recipient = ledger.Pending, "", ledger.Tag{}, ledger.Record{}.Recipient
			rec.Reason, rec.Since, rec.Now = before, w.now.Add(-5*24*time.Hour), w.now
			o := w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
			if o.happened != NotYet {
				t.Errorf("%s (%s) at the first 404, want not-yet", o.happened, o.record.Reason)
			}
		})
	}
	t.Run("patient", func(t *testing.T) {
		w := newStage(t, iobox.Options{})
		w.fse.Put(fse.Resource{
			"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "issued": time.Now().Format(time.RFC3339),
			"subject": fse.Resource{"reference": "Patient/p9"},
		})
		rec := sendingRecord(w)
		rec.State, rec.Publication, rec.Edition, rec.Recipient = ledger.Pending, "", ledger.Tag{}, ledger.Record{}.Recipient
		rec.Reason, rec.Since, rec.Now = "not-final", w.now.Add(-5*24*time.Hour), w.now
		o := w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
		if o.happened != NotYet {
			t.Errorf("%s (%s) at the first look that misses its patient, want not-yet", o.happened, o.record.Reason)
		}
	})
}

// A status that IO never gives ends too, and does not cost a call each 10 s.
func TestPollsEnd(t *testing.T) {
	for _, kind := range []notifier.Kind{notifier.RecipientForbidden, notifier.Unavailable} {
		t.Run(string(kind), func(t *testing.T) {
			w := newStage(t, iobox.Options{})
			rec := ledger.Record{State: ledger.Sent, Recipient: someone, Told: ledger.Told{Publication: ledger.Published, At: w.now, MessageID: "x"}}
			now, polls := w.now, 0
			for now.Sub(w.now) < 8*24*time.Hour && polls < 100_000 {
				polls++
				o := w.Timetable.afterStatus(rec, notifier.Answer{Kind: kind}, now)
				if rec = o.record; rec.State != ledger.Sent {
					break
				}
				now = o.next.Track
			}
			if polls > 300 {
				t.Errorf("%d status calls in %s for one message", polls, now.Sub(w.now))
			}
		})
	}
}

// A resend announces what is there now: its edition is told.
func TestResendTellsTheEditionReadNow(t *testing.T) {
	w := newStage(t, iobox.Options{})
	birth := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	w.fse.Put(fse.Patient("p1", "RSSMRA80A01H501U", birth))
	w.fse.Put(fse.Resource{
		"resourceType": "DiagnosticReport", "id": "r1", "status": "amended", "issued": time.Now().Format(time.RFC3339),
		"subject": fse.Resource{"reference": "Patient/p1"},
	})
	h := ledger.Hint{
		Key: w.Ledger.DocumentKey("north", fhir.Locator{Type: "DiagnosticReport", ID: "r1"}), Source: "north",
		Locator: fhir.Locator{Type: "DiagnosticReport", ID: "r1"}, State: ledger.Pending,
	}
	if _, err := w.Ledger.Admit(t.Context(), []ledger.Hint{h}); err != nil {
		t.Fatal(err)
	}
	got, err := w.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 16, Sources: []string{"north"}})
	if err != nil || len(got.Records) != 1 {
		t.Fatal(got, err)
	}
	rec := got.Records[0]
	rec.State, rec.Publication, rec.Edition, rec.Recipient = ledger.Sending, ledger.Published, w.Ledger.EditionTag(""), someone
	o := w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
	if o.record.State != ledger.Sent {
		t.Fatal(o.record.State, o.record.Reason)
	}
	sent := o.record
	sent.Now = time.Now()
	again := w.step(t.Context(), claimed{Record: sent, at: time.Now(), slot: &slot{posting: t.Context()}})
	if again.happened != NothingOwed && o.next.Due.IsZero() {
		t.Errorf("sent after the amendment was read, never to be looked at again, and yet owed an update (%s) that any touch sets free", again.happened)
	}
}

// A poll that waited too long in the queue is asked again; it is no reason to read the document.
func TestAPollGivenBackStaysAPoll(t *testing.T) {
	w := newStage(t, iobox.Options{})
	rec := ledger.Record{State: ledger.Sent, Tracking: true, Recipient: someone, Told: ledger.Told{Publication: ledger.Published, At: w.now, MessageID: messageID}}
	if o := w.Timetable.givenBack(startOf(rec), w.now); !o.next.Due.IsZero() || o.next.Track.After(w.now) {
		t.Errorf("due for a look %t, polled in %s", !o.next.Due.IsZero(), o.next.Track.Sub(w.now))
	}
}

const messageID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

// A document that waits for the one that it replaces asks with growing pauses: that one may be on its way for days.
func TestWaitingForAPredecessorBacksOff(t *testing.T) {
	w := newStage(t, iobox.Options{})
	rec, now, looks := ledger.Record{State: ledger.Pending}, w.now, 0
	for now.Sub(w.now) < 24*time.Hour && looks < 20_000 {
		rec.Now = now
		c := claimed{Record: rec, at: time.Now()}
		o := c.waitFor(predecessorBusy)
		rec, now, looks = o.record, o.next.Due, looks+1
	}
	if looks > 500 {
		t.Errorf("%d looks at the source in a day", looks)
	}
}

// A report merged into one that was itself replaced leads on to that one's successor, and holds nobody.
func TestAnHeirThatWasReplaced(t *testing.T) {
	o := happen(startOf(ledger.Record{State: ledger.Replaced}), Inherited, ledger.Next{Due: time.Now()})
	if o.record.State == ledger.Held {
		t.Errorf("held as %s", o.record.Reason)
	}
}

// Our own shutdown is nobody's trouble, at IO either.
func TestShutdownBurnsNoAttempt(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	w := newStage(t, iobox.Options{Fault: func(_ http.ResponseWriter, r *http.Request, _ bool) bool {
		if strings.HasSuffix(r.URL.Path, "/profiles") {
			_, _ = io.Copy(io.Discard, r.Body)
			stop()
			<-r.Context().Done()
			return true
		}
		return false
	}})
	birth := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	w.fse.Put(fse.Patient("p1", "RSSMRA80A01H501U", birth))
	w.fse.Put(fse.Resource{
		"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "issued": time.Now().Format(time.RFC3339),
		"subject": fse.Resource{"reference": "Patient/p1"},
	})
	rec := sendingRecord(w)
	rec.State, rec.Publication, rec.Edition, rec.Recipient = ledger.Pending, "", ledger.Tag{}, ledger.Record{}.Recipient
	rec.Now = w.now
	o := w.step(ctx, claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
	if o.happened != GivenBack {
		t.Errorf("%s, %d attempts, want given-back", o.happened, o.record.Attempts)
	}
}

func countOf(c prometheus.Counter) float64 {
	var m dto.Metric
	_ = c.Write(&m)
	return m.GetCounter().GetValue()
}
