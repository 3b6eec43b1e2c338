package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

// claimOne claims the only record that is due.
func claimOne(t *testing.T, l *Ledger) Record {
	t.Helper()
	claimed, err := l.Claim(t.Context(), ClaimOptions{N: 16, Sources: []string{"north"}, Track: true})
	if err != nil || len(claimed.Records) != 1 {
		t.Fatalf("%d records, %v", len(claimed.Records), err)
	}
	return claimed.Records[0]
}

func settleOne(t *testing.T, l *Ledger, s Settlement) Settled {
	t.Helper()
	settled, err := l.Settle(t.Context(), []Settlement{s})
	if err != nil {
		t.Fatal(err)
	}
	return settled[0]
}

// A day's messages are given out once, whoever asks; the next day has its own, and an old day takes nothing from it.
func TestTheDailyCap(t *testing.T) {
	l := open(t, redistest.Start(t))
	take := func(day string, messages int) int {
		grant, err := l.Pace().Take(t.Context(), Want{Calls: 2, Rate: 1e6, Class: "messages", Messages: messages, Cap: 10, Day: day})
		if err != nil {
			t.Fatal(err)
		}
		if grant.Messages == 0 && grant.Calls != 0 {
			t.Errorf("calls for messages that may not be sent")
		}
		return grant.Messages
	}
	var given atomic.Int64
	var replicas sync.WaitGroup
	for range 8 {
		replicas.Go(func() { given.Add(int64(take("20261124", 3))) })
	}
	replicas.Wait()
	if given.Load() != 10 || take("20261124", 1) != 0 {
		t.Errorf("%d messages were given out, want 10", given.Load())
	}
	if got := take("20261125", 4); got != 4 {
		t.Errorf("%d on the next day, want 4", got)
	}
	if got := take("20261124", 9); got != 6 { // a clock that is late
		t.Errorf("%d of the day before, want what this one leaves", got)
	}
	err := redistest.Until(t.Context(), func(ctx context.Context) error { // calls are given out for each ms
		grant, err := l.Pace().Take(ctx, Want{Calls: 2, Rate: 1e6, Class: "messages"})
		if err == nil && grant.Calls == 0 {
			err = errors.New("no calls")
		}
		return err
	})
	if err != nil {
		t.Errorf("without a cap: %v", err)
	}
	state, err := l.Pace().Report(t.Context(), 7)
	if err != nil || state.Day != "20261125" || state.Messages != 10 || state.Steps != 7 {
		t.Errorf("%+v, %v", state, err)
	}
}

// Of several documents of one citizen one is the first; the others wait for it, are covered by it, or go on without it.
func TestCover(t *testing.T) {
	l := open(t, redistest.Start(t))
	jumped := time.Duration(0)
	l.skew = func() time.Duration { return jumped }
	person, other := Tag{1}, Tag{2}
	recs := make([]Record, 4)
	for i := range recs {
		recs[i] = Record{Key: Key{byte(i + 1)}, Source: "north"}
	}
	wants := func(what string, rec Record, person Tag, want Covered) Told {
		t.Helper()
		got, told, err := l.Cover(t.Context(), rec, person, time.Minute)
		if err != nil || got != want {
			t.Fatalf("%s: %s, %v; want %s", what, got, err, want)
		}
		return told
	}
	uncover := func(rec Record, told Told) {
		t.Helper()
		if err := l.Uncover(t.Context(), rec, person, told, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	wants("nothing was told", recs[0], person, First)
	wants("it is asked again", recs[0], person, First)
	wants("another document", recs[1], person, WaitFirst)
	wants("another citizen", recs[1], other, First)
	south := recs[1]
	south.Source = "south"
	wants("another source", south, person, First)
	uncover(recs[0], Told{})
	wants("the first came to nothing", recs[1], person, First)
	uncover(recs[0], Told{}) // late
	wants("and is not the first any more", recs[2], person, WaitFirst)
	jumped += 20 * time.Second
	wants("whose process died", recs[2], person, First)
	told := Told{Publication: Published, At: time.Now().Add(jumped).Truncate(time.Millisecond), MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
	uncover(recs[2], told)
	told.Person = person
	if diff := cmp.Diff(told, wants("the message covers", recs[3], person, ByFirst)); diff != "" {
		t.Error(diff)
	}
	jumped += 61 * time.Second
	wants("for a while", recs[3], person, First)
}

// A status that comes after the final one changes nothing, and is journaled.
func TestALateStatusChangesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		jumped := time.Duration(0)
		l.skew = func() time.Duration { return jumped }
		if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", 1)}); err != nil {
			t.Fatal(err)
		}
		sent := claimOne(t, l)
		sent.State = Sent
		sent.Told = Told{Publication: Published, At: sent.Now, MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Person: Tag{9}}
		settleOne(t, l, Settlement{Record: sent, Next: Next{Track: sent.Now}, Event: "created"})
		slow := claimOne(t, l)
		jumped = time.Minute
		final := claimOne(t, l)
		final.State, final.Told.ReadStatus = Delivered, "READ"
		settleOne(t, l, Settlement{Record: final, Event: "delivered"})
		before, _, _ := l.Lookup(t.Context(), sent.Key)
		for _, late := range []State{Rejected, Sent, Delivered} {
			slow.State = late
			next := Next{}
			if late == Sent {
				next.Track = slow.Now
			}
			if got := settleOne(t, l, Settlement{Record: slow, Next: next, Event: "late"}); got != StaleToken {
				t.Errorf("%s: %s", late, got)
			}
		}
		after, _, err := l.Lookup(t.Context(), sent.Key)
		if err != nil || after.State != Delivered || after.Told != before.Told || after.Told.ReadStatus != "READ" {
			t.Errorf("%s, told %+v, %v", after.State, after.Told, err)
		}
		timeline, err := l.Timeline(t.Context(), sent.Key)
		if err != nil {
			t.Fatal(err)
		}
		var late []State
		for _, e := range timeline {
			if e.Event == "late-status" {
				late = append(late, e.State)
			}
		}
		if diff := cmp.Diff([]State{Rejected, Sent, Delivered}, late); diff != "" {
			t.Errorf("journaled: %s", diff)
		}
	})
}

// What io.mode kept back is found again, with where its document is; what a rule suppressed has forgotten it.
func TestWhatWasKeptBackIsFound(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		for i, reason := range []string{"io-off", "hiv", "not-in-test"} {
			if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", i)}); err != nil {
				t.Fatal(err)
			}
			rec := claimOne(t, l)
			rec.State, rec.Reason, rec.Since = Suppressed, reason, rec.Now
			settleOne(t, l, Settlement{Record: rec, Event: "decided-silence"})
		}
		found := map[string]string{}
		if err := l.WalkKept(t.Context(), func(rec Record) error {
			found[rec.Reason] = rec.Locator.ID
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"io-off": "r0", "not-in-test": "r2"}, found); diff != "" {
			t.Error(diff)
		}
		hint := documentHint(l, "north", 0)
		rec, seized, err := l.Reopen(t.Context(), "north", hint.Key, fhir.Locator{})
		if err != nil || seized != Taken || rec.Locator != hint.Locator || rec.Reason != "io-off" {
			t.Fatalf("%s, %s, %v", seized, rec.Reason, err)
		}
		// A crash now: it is looked at again when the lease ends, and is not found a second time.
		if err := l.WalkKept(t.Context(), func(rec Record) error {
			if rec.Reason == "io-off" {
				t.Error("what is looked at is found among what rests")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, seized, err = l.Reopen(t.Context(), "north", hint.Key, hint.Locator); err != nil || seized != Busy {
			t.Errorf("in two hands: %s, %v", seized, err)
		}
	})
}

// A seal key that is taken out of the configuration too early is found by a check, before somebody opens a message; a walk
// gives what others sealed all the same.
func TestAMissingSealKeyIsFound(t *testing.T) {
	client := redistest.Start(t)
	before := openUnchecked(t, client) // after seals what it cannot open
	naming, seal, next := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal")), sha256.Sum256([]byte("next"))
	after, err := Open(t.Context(), Options{
		Redis: client, NamingKey: naming[:], SealKeys: []SealKey{{ID: 2, Key: next[:]}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range []*Ledger{before, before, after} {
		if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", i)}); err != nil {
			t.Fatal(err)
		}
		rec := claimOne(t, l)
		rec.Since = rec.Now
		if rec.State, rec.Reason = Suppressed, "io-off"; i == 1 {
			rec.State, rec.Reason, rec.Told = Delivered, "", Told{Publication: Published, At: rec.Now}
		}
		settleOne(t, l, Settlement{Record: rec, Event: "done", Referenced: i == 1})
	}
	checked, err := after.Check(t.Context(), testSources)
	want := []string{"where 2 documents are is sealed under key 1, which is not configured, or damaged"}
	if diff := cmp.Diff(want, checked.Findings); diff != "" || err != nil {
		t.Error(diff, err)
	}
	found := 0
	if err := after.WalkKept(t.Context(), func(Record) error { found++; return nil }); !errors.Is(err, errSealed) || found != 1 {
		t.Errorf("%d found, then %v", found, err)
	}
	both, err := Open(t.Context(), Options{
		Redis: client, NamingKey: naming[:], SealKeys: []SealKey{{ID: 2, Key: next[:]}, {ID: 1, Key: seal[:]}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked, err := both.Check(t.Context(), testSources); err != nil || len(checked.Findings) > 0 {
		t.Errorf("with both keys: %v, %v", checked.Findings, err)
	}
}

// A release is in the journal with who and why, and a held record goes on with what it was about.
func TestAReleaseIsJournaled(t *testing.T) {
	for _, from := range []State{Pending, Find, Sending} {
		t.Run(string(from), func(t *testing.T) {
			l := open(t, redistest.Embedded(t))
			hint := documentHint(l, "north", 1)
			if from == Find {
				hint.State = Find
			}
			if _, err := l.Admit(t.Context(), []Hint{hint}); err != nil {
				t.Fatal(err)
			}
			rec := claimOne(t, l)
			rec.State, rec.Reason = Held, "unlabelled"
			if from == Sending {
				rec.Recipient, rec.Reason = fiscalcode.TestRecipient(), "uncertain" // which is no valid code
			}
			settleOne(t, l, Settlement{Record: rec, Event: "decided-hold"})
			if got, _, err := l.Lookup(t.Context(), hint.Key); err != nil || got.State != Held || got.HeldFrom != from {
				t.Errorf("%s from %q, %v", got.State, got.HeldFrom, err)
			}
			if ok, err := l.Release(t.Context(), hint.Key, "retried", By{Who: "giulia", Why: "so"}); err != nil || !ok {
				t.Fatal(ok, err)
			}
			if got := claimOne(t, l); got.State != from || (from == Sending) != (got.Recipient == fiscalcode.TestRecipient()) {
				t.Errorf("goes on as %s", got.State)
			}
			timeline, err := l.Timeline(t.Context(), hint.Key)
			last := timeline[len(timeline)-1]
			if err != nil || last.Event != "retried" || last.By != (By{"giulia", "so"}) {
				t.Errorf("%+v, %v", last, err)
			}
		})
	}
}

func TestWhatWasReleasedIsRemembered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := Record{
			Publication: rapid.SampledFrom(publications).Draw(t, "publication"),
			Judged:      Tag(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "judged")),
			Told: Told{
				Publication: rapid.SampledFrom(publications[1:]).Draw(t, "told"), ReadStatus: rapid.SampledFrom(readStatuses).Draw(t, "read"),
				Uncertain: rapid.Bool().Draw(t, "uncertain"),
			},
		}
		if rapid.Bool().Draw(t, "released") {
			rec.Released = rapid.SliceOfN(rapid.StringMatching(`[a-z-]{1,20}`), 1, 4).Draw(t, "reasons")
		}
		for range rapid.IntRange(0, 3).Draw(t, "led to") {
			rec.LedTo = append(rec.LedTo, Key{7})
		}
		if rec.Publication != NoPublication {
			rec.Edition = Tag{3}
		}
		var got Record
		if err := got.unpack(string(rec.pack())); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got.Released, " ") != strings.Join(rec.Released, " ") || got.Judged != rec.Judged || got.Told != rec.Told ||
			got.Publication != rec.Publication || got.Edition != rec.Edition || len(got.LedTo) != len(rec.LedTo) {
			t.Fatalf("%+v is read as %+v", rec, got)
		}
	})
}
