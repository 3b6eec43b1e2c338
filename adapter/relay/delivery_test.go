package relay

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/adapter/policy"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier"
	iobox "staffetta/notifier/sandbox"
)

// The present rate follows what all replicas do, from the first look on, and forgets what was.
func TestThroughput(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	steps := int64(1_000_000) // of the time before
	var p throughput
	watch := func(perSecond int64, seconds int) {
		for range seconds {
			p.saw(steps, now)
			now, steps = now.Add(time.Second), steps+perSecond
		}
	}
	for _, tt := range []struct {
		name      string
		perSecond int64
		seconds   int
		want      float64
	}{
		{"nobody knows yet", 20, 1, 0},
		{"known from the second look on", 20, 2, 20},
		{"steady", 20, 60, 20},
		{"faster", 100, 200, 100},
		{"all stand still", 0, 400, 0},
	} {
		watch(tt.perSecond, tt.seconds)
		if got := p.perSecond(); math.Abs(got-tt.want) > 0.02*tt.want+0.01 {
			t.Errorf("%s: %.2f steps a second, want %.0f", tt.name, got, tt.want)
		}
	}
	before := p.perSecond()
	if p.saw(0, now.Add(time.Second)); p.perSecond() != before {
		t.Error("an emptied Redis makes a negative rate")
	}
}

// A day is one of Europe/Rome, also when its clocks change.
func TestDayOf(t *testing.T) {
	for at, want := range map[string]string{
		"2026-11-24T22:59:59Z": "20261124 2026-11-24T23:00:00Z",
		"2026-11-24T23:00:00Z": "20261125 2026-11-25T23:00:00Z",
		"2026-03-28T23:30:00Z": "20260329 2026-03-29T22:00:00Z",
		"2026-10-24T22:30:00Z": "20261025 2026-10-25T23:00:00Z",
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if d := dayOf(when); d.name+" "+d.ends.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s is in %s, which ends %s; want %s", at, d.name, d.ends.UTC().Format(time.RFC3339), want)
		}
	}
}

// What was taken of the cap and not sent is given back: a citizen who is not on IO costs no message of the day.
func TestTheCapCountsMessages(t *testing.T) {
	w := newStage(t, iobox.Options{})
	spent := 0
	b := newBudget(w.Ledger.Pace(), 1e5, 3, func(time.Time) { spent++ })
	take := func() taken { return b.take(t.Context(), callsPerMessage, forMessages, time.Minute) }
	for range 20 {
		got, of := b.takeOf(t.Context(), callsPerMessage, forMessages, time.Minute)
		if got != granted {
			t.Fatal(got)
		}
		b.notPosted(of, 1)
	}
	for range 3 {
		if got := take(); got != granted {
			t.Fatal(got)
		}
	}
	for range 3 {
		if got := take(); got != tomorrow {
			t.Fatalf("%s after the third message of three", got)
		}
	}
	if got := b.take(t.Context(), 1, forPolls, time.Minute); got != granted || spent != 1 {
		t.Errorf("polls: %s; said %d times that the day is over", got, spent)
	}
}

// A document that another one's message stands for is told by it; where delivery is not followed that is its end.
func TestCoveredBy(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	first := ledger.Told{Publication: ledger.Published, At: now.Add(-time.Minute), MessageID: messageID, Person: ledger.Tag{1}}
	for _, tt := range []struct {
		name  string
		track bool
		first ledger.Told
		state ledger.State
	}{
		{"its delivery is followed", true, first, ledger.Sent},
		{"deliveries are not followed", false, first, ledger.Delivered},
		{"IO's id is unknown", true, ledger.Told{Publication: ledger.Published, At: first.At, Person: first.Person}, ledger.Delivered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := ledger.Record{
				State: ledger.Pending, Edition: ledger.Tag{5}, Publication: ledger.Published, Recipient: someone, Released: []string{"hiv"}, Judged: ledger.Tag{5},
			}
			o := Timetable{Track: tt.track, Polls: []time.Duration{time.Second}}.coveredBy(rec, tt.first, now)
			want := tt.first
			want.Edition = rec.Edition
			if o.record.State != tt.state || o.happened != Covered || o.record.Told != want || len(o.record.Released) > 0 {
				t.Errorf("%s (%s), told %+v", o.record.State, o.happened, o.record.Told)
			}
			if followed := o.record.Recipient == someone; followed != (tt.state == ledger.Sent) || followed == o.next.Track.IsZero() {
				t.Error("who is asked for and when do not go together")
			}
		})
	}
}

// What IO says of the reading is kept, if it is a word of its contract, and with the final status only.
func TestReadStatusIsKept(t *testing.T) {
	now := time.Now()
	rec := ledger.Record{State: ledger.Sent, Recipient: someone, Told: ledger.Told{Publication: ledger.Published, At: now, MessageID: messageID}}
	for _, tt := range []struct{ status, said, kept string }{
		{"PROCESSED", "READ", "READ"},
		{"PROCESSED", "UNREAD", "UNREAD"},
		{"PROCESSED", "UNAVAILABLE", "UNAVAILABLE"},
		{"PROCESSED", "", ""},
		{"PROCESSED", "SEEN-BY-RSSMRA80A01H501U", ""},
		{"ACCEPTED", "READ", ""},
	} {
		answer := notifier.Answer{Kind: notifier.StatusKnown, Status: tt.status, ReadStatus: tt.said}
		o := Timetable{Polls: []time.Duration{time.Second}, PollsEnd: time.Hour}.afterStatus(rec, answer, now)
		if o.record.Told.ReadStatus != tt.kept {
			t.Errorf("%s, %s: kept %q", tt.status, tt.said, o.record.Told.ReadStatus)
		}
	}
}

// A withdrawal that IO failed to deliver leaves the announcement told, and may be released again.
func TestFailedWithdrawal(t *testing.T) {
	now := time.Now()
	rec := ledger.Record{State: ledger.Sent, Recipient: someone, Told: ledger.Told{Publication: ledger.WithdrawnPub, At: now, Person: ledger.Tag{1}}}
	o := Timetable{Polls: []time.Duration{time.Second}}.afterStatus(rec, notifier.Answer{Kind: notifier.StatusKnown, Status: "FAILED"}, now)
	if told := o.record.Told; o.record.State != ledger.Held || told.Publication != ledger.Published || told.Person != (ledger.Tag{1}) {
		t.Errorf("%s, told %q", o.record.State, told.Publication)
	}
}

// What waits for the next day is deferred; what may have been sent stays known to be.
func TestCapped(t *testing.T) {
	now := time.Now()
	ends := now.Add(time.Hour)
	for _, state := range []ledger.State{ledger.Pending, ledger.Sending, ledger.Sent, ledger.Delivered} {
		rec := ledger.Record{State: state, Reason: reasonUncertain, HintAt: now, Told: ledger.Told{At: now}}
		o := Timetable{Polls: []time.Duration{time.Second}}.capped(rec, ends, now)
		want := policy.DailyCap
		if state == ledger.Sending {
			want = reasonUncertain
		}
		if o.record.State != state || o.record.Reason != want || o.next.Due.Before(ends.Add(time.Second)) || o.next.Due.After(ends.Add(time.Hour)) || o.next.Wait != ledger.WaitFixed {
			t.Errorf("%s: %s (%s) until %s", state, o.record.State, o.record.Reason, o.next.Due)
		}
		if state == ledger.Sent && o.next.Track.IsZero() {
			t.Error("the delivery of what was sent before is not followed any more")
		}
	}
}

// Whatever a person released is forgotten with another edition, and kept while the same one only waits.
func TestWhatAPersonReleasedIsOfOneEdition(t *testing.T) {
	one, another := ledger.Tag{1}, ledger.Tag{2}
	released := func(judged ledger.Tag) ledger.Record { return ledger.Record{Released: []string{"hiv"}, Judged: judged} }
	for _, tt := range []struct {
		name     string
		rec      ledger.Record
		released int
		judged   ledger.Tag
	}{
		{"the edition that was looked at", released(one), 1, one},
		{"another one", released(another), 0, ledger.Tag{}},
		{"a record that rested: the one that is there now", released(ledger.Tag{}), 1, one},
		{"nothing was released", ledger.Record{Judged: another}, 0, ledger.Tag{}},
	} {
		if got := judge(tt.rec, one); len(got.Released) != tt.released || got.Judged != tt.judged {
			t.Errorf("%s: %v of %v", tt.name, got.Released, got.Judged)
		}
	}
}

// A held record knows which edition it is held for.
func TestAHeldRecordKnowsItsEdition(t *testing.T) {
	w := newStage(t, iobox.Options{})
	w.fse.Put(fse.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "amended", "issued": "2026-11-24T10:00:00Z"})
	rec := sendingRecord(w)
	rec.State, rec.Publication, rec.Edition, rec.Recipient, rec.Now = ledger.Pending, "", ledger.Tag{}, ledger.Record{}.Recipient, w.now
	o := w.step(t.Context(), claimed{Record: rec, at: time.Now(), slot: &slot{posting: t.Context()}})
	if o.record.Reason != "no-subject" || o.record.Judged != w.Ledger.EditionTag("amended|2026-11-24T10:00:00Z") {
		t.Errorf("held as %s for another edition", o.record.Reason)
	}
	if policy.ReleaseOf(o.record.Reason) != policy.Never {
		t.Error("nobody could be told")
	}
}

// On the next day what waits longest comes first, after the first second and within the first hour.
func TestTurnOf(t *testing.T) {
	before := turnOf(0)
	if before != time.Hour {
		t.Errorf("what was heard of at midnight has its turn after %s", before)
	}
	for waits := 10 * time.Minute; waits < 90*24*time.Hour; waits += 10 * time.Minute {
		turn := turnOf(waits)
		if turn >= before || turn < time.Second {
			t.Fatalf("what waits for %s has its turn after %s, ten minutes less after %s", waits, turn, before)
		}
		before = turn
	}
}

// What was taken before midnight and not sent is given back to the day that it was of, which is over.
func TestTheCapAtMidnight(t *testing.T) {
	var later atomic.Int64
	w := newStageOn(t, redistest.Embedded(t), func() time.Duration { return time.Duration(later.Load()) }, iobox.Options{})
	b := newBudget(w.Ledger.Pace(), 1e5, 3, func(time.Time) {})
	days := make([]string, 0, 3)
	for range 3 {
		got, of := b.takeOf(t.Context(), callsPerMessage, forMessages, time.Minute)
		if got != granted {
			t.Fatal(got)
		}
		days = append(days, of)
	}
	later.Add(int64(24 * time.Hour))
	for _, of := range days {
		b.notPosted(of, 1)
	}
	n := 0
	for b.take(t.Context(), callsPerMessage, forMessages, time.Minute) == granted {
		n++
	}
	if n != 3 {
		t.Errorf("%d messages on the next day, want 3", n)
	}
}

// A call whose key was refused, and that was made again with the other one, counts twice.
func TestACallWithTheOtherKeyCounts(t *testing.T) {
	w := newStage(t, iobox.Options{})
	w.heard(t.Context(), "profile", notifier.Answer{Kind: notifier.Allowed, InVain: 1}, forMessages)
	if have := w.budget.have[forMessages]; have != -1 {
		t.Errorf("%d calls are left of none", have)
	}
	refused := must(w.Metrics.calls.GetMetricWithLabelValues("profile", string(notifier.KeyRefused)))
	if countOf(refused) != 1 {
		t.Error("the call in vain is not counted")
	}
	if got := w.budget.take(t.Context(), callsPerMessage, forMessages, time.Minute); got != granted {
		t.Errorf("the next message: %s", got)
	}
}
