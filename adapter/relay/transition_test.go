package relay

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	"staffetta/notifier"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestDiagramIsAsReviewed(t *testing.T) {
	golden := filepath.Join("testdata", "transitions.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(diagram()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), diagram()); diff != "" {
		t.Errorf("the transitions are not those of %s (-want +got):\n%s", golden, diff)
	}
}

// ended are the named ends.
var ended = map[ledger.State]bool{
	ledger.FindEnded: true, ledger.Suppressed: true, ledger.Unreachable: true, ledger.Delivered: true, ledger.Rejected: true,
	ledger.Noted: true,
}

func TestEveryStateGoesOnOrHasANamedEnd(t *testing.T) {
	for state, row := range transitions {
		for happened, to := range row {
			if len(transitions[to]) == 0 && to != ledger.Held && !ended[to] {
				t.Errorf("%s --%s--> %s, which is neither held, nor an end, nor goes on", state, happened, to)
			}
		}
	}
}

func TestUnknownTransitionIsHeld(t *testing.T) {
	o := happen(ledger.Record{State: ledger.Pending}, RejectedByIO, ledger.Next{Due: time.Unix(1, 0)})
	if o.record.State != ledger.Held || o.record.Reason != "impossible-transition" || o.next != (ledger.Next{}) {
		t.Errorf("got state %s, reason %s, next %v; want it held", o.record.State, o.record.Reason, o.next)
	}
}

// walker takes one record through random answers of everybody.
type walker struct {
	timetable Timetable
	rec       ledger.Record
	next      ledger.Next
	now       time.Time
	clear     bool // every POST of the current publication had a clear answer
	created   map[ledger.Tag]int
}

var (
	anyAnswer = rapid.SampledFrom([]notifier.Kind{
		notifier.Allowed, notifier.NotAllowed, notifier.NotOnIO, notifier.Created, notifier.StatusKnown, notifier.Throttled,
		notifier.Refused, notifier.RecipientForbidden, notifier.KeyRefused, notifier.Forbidden, notifier.Unavailable, notifier.Unclear,
	})
	anyTrouble = rapid.SampledFrom([]fhir.TroubleKind{fhir.Unauthorized, fhir.Throttled, fhir.Unavailable, fhir.Unusable})
	anyAction  = rapid.SampledFrom([]policy.Action{
		policy.Notify, policy.Notify, policy.Suppress, policy.Wait, policy.Defer, policy.Hold, policy.Unreach, policy.Nothing, policy.Note,
	})
	anyStatus = rapid.SampledFrom([]string{"ACCEPTED", "THROTTLED", "PROCESSED", "REJECTED", "FAILED", "NEWS"})
	someone   = must(fiscalcode.Parse("RSSMRA80A01H501U"))
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestRandomWalks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(1_800_000_000_000)
		w := &walker{
			timetable: Timetable{
				GiveUpAfter: 72 * time.Hour, BelieveMissing: 10 * time.Minute, Polls: []time.Duration{10 * time.Second, time.Hour},
				PollsEnd: 7 * 24 * time.Hour, HoldUncertain: rapid.Bool().Draw(t, "hold uncertain"), Track: rapid.Bool().Draw(t, "track"),
			},
			rec: ledger.Record{State: ledger.Pending, HintAt: now}, now: now, created: map[ledger.Tag]int{},
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.step(t)
			w.check(t)
		}
	})
}

// step is what Relay.step does, with drawn answers in place of effects.
func (w *walker) step(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "later")))
	w.rec.Now = w.now
	if !w.next.Track.IsZero() && (w.next.Due.IsZero() || rapid.Bool().Draw(t, "poll")) && w.rec.State == ledger.Sent {
		answer := notifier.Answer{Kind: anyAnswer.Draw(t, "status answer"), Status: anyStatus.Draw(t, "status")}
		w.take(w.timetable.afterStatus(w.rec, answer, w.now))
		return
	}
	// A hint, or a person's release, opens whatever rests.
	rec := startOf(w.rec)
	if rec.State == ledger.Sending {
		rec = because(rec, reasonUncertain, w.now)
		rec.Told.Uncertain = true
		w.clear = false
	}
	if rapid.IntRange(0, 4).Draw(t, "source answers") == 0 {
		w.take(w.timetable.afterTrouble(rec, &fhir.Trouble{Kind: anyTrouble.Draw(t, "trouble")}, w.now))
		return
	}
	o := w.timetable.afterDecision(rec, policy.Decision{
		Action: anyAction.Draw(t, "action"), Reason: "some-reason", Until: w.now.Add(time.Hour),
	}, w.now)
	if o.happened != AboutToSend {
		w.take(o)
		return
	}
	w.send(t, rec)
}

func (w *walker) send(t *rapid.T, rec ledger.Record) {
	if o := w.timetable.afterProfile(rec, notifier.Answer{Kind: anyAnswer.Draw(t, "profile")}, w.now); o.happened != AboutToSend {
		w.take(o)
		return
	}
	if rec.State != ledger.Sending {
		rec.Told.Uncertain, w.clear = false, true
		rec.Publication, rec.Edition = ledger.Published, ledger.Tag{byte(rapid.IntRange(1, 200).Draw(t, "edition"))}
		rec.Recipient = someone
	}
	sending := happen(rec, AboutToSend, ledger.Next{Keep: true}).record
	if rapid.IntRange(0, 9).Draw(t, "crash") == 0 {
		w.rec, w.next, w.clear = sending, ledger.Next{Due: w.now}, false // the lease ends, and it is claimed in `sending`
		return
	}
	answer := notifier.Answer{Kind: anyAnswer.Draw(t, "message answer"), MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
	if answer.Kind == notifier.Unclear {
		w.clear = false
	}
	w.take(w.timetable.afterSend(sending, answer, ledger.Tag{1}, w.now))
}

func (w *walker) take(o outcome) { w.rec, w.next = o.record, o.next }

// check holds after every step, whatever was answered.
func (w *walker) check(t *rapid.T) {
	rests := w.next.Due.IsZero() && w.next.Track.IsZero()
	switch {
	case w.rec.State == ledger.Held && !rests:
		t.Fatalf("held, and due all the same: %v", w.next)
	case rests && w.rec.State != ledger.Held && !ended[w.rec.State]:
		t.Fatalf("%s has no next time, is not held and is no end", w.rec.State)
	case w.next.Keep:
		t.Fatal("an outcome keeps its claim")
	}
	carries := w.rec.Recipient != fiscalcode.Code{}
	if resting := w.rec.State == ledger.Held || ended[w.rec.State]; carries && resting && w.rec.Reason != reasonUncertain {
		t.Fatalf("%s (%s) still carries the recipient", w.rec.State, w.rec.Reason)
	}
	if w.rec.State == ledger.Sending && !carries {
		t.Fatal("a record in sending has forgotten its recipient")
	}
	if w.rec.State == ledger.Sending && w.clear {
		t.Fatal("a record stays in sending although every answer was clear")
	}
	if ended[w.rec.State] && rests && w.rec.State == ledger.Delivered && w.rec.Told.Publication == ledger.NoPublication {
		t.Fatal("delivered, and nobody was told")
	}
}

func TestPausesGrowToAnHour(t *testing.T) {
	for _, tt := range []struct {
		tries       int
		least, most time.Duration
	}{
		{1, 2500 * time.Millisecond, 5 * time.Second},
		{2, 5 * time.Second, 10 * time.Second},
		{10, 1280 * time.Second, 2560 * time.Second},
		{11, 30 * time.Minute, time.Hour},
		{5000, 30 * time.Minute, time.Hour},
	} {
		if got := pauseAfter(tt.tries); got < tt.least || got > tt.most {
			t.Errorf("after %d tries: got %s, want %s to %s", tt.tries, got, tt.least, tt.most)
		}
	}
}
