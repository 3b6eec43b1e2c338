package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

func documentHint(l *Ledger, source string, n int) Hint {
	locator := fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("r", n)}
	return Hint{Key: l.DocumentKey(source, locator), Source: source, Locator: locator, State: Pending}
}

// One source in a storm does not delay another's one: sources take turns, whatever waits at one of them.
func TestAStormDelaysNobodyElse(t *testing.T) {
	l := open(t, redistest.Start(t))
	const storm = 10_000 // of more, the embedded one scans for longer than a client waits on a slow machine
	hints := make([]Hint, 0, 1000)
	for i := range storm {
		if hints = append(hints, documentHint(l, "storm", i)); len(hints) == cap(hints) {
			if _, err := l.Admit(t.Context(), hints); err != nil {
				t.Fatal(err)
			}
			hints = hints[:0]
		}
	}
	calm := documentHint(l, "calm", 1)
	if _, err := l.Admit(t.Context(), []Hint{calm}); err != nil {
		t.Fatal(err)
	}
	claimed, err := l.Claim(t.Context(), ClaimOptions{N: 64, Sources: []string{"storm", "calm"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range claimed.Records {
		if rec.Key == calm.Key {
			return
		}
	}
	t.Errorf("the one report is not among the first %d of %d", len(claimed.Records), storm+1)
}

func TestAnotherNamingKeyIsRefused(t *testing.T) {
	client := redistest.Start(t)
	l := open(t, client)
	if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", 1)}); err != nil {
		t.Fatal(err)
	}
	other, seal := sha256.Sum256([]byte("another")), sha256.Sum256([]byte("seal"))
	_, err := Open(t.Context(), Options{Redis: client, NamingKey: other[:], SealKeys: []SealKey{{ID: 1, Key: seal[:]}}})
	if !errors.Is(err, ErrNamingKey) {
		t.Errorf("start: %v, want %v", err, ErrNamingKey)
	}
	l.fingerprint = "another"
	if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", 2)}); !errors.Is(err, ErrNamingKey) {
		t.Errorf("admit: %v, want %v", err, ErrNamingKey)
	}
}

func TestSealKeysRotate(t *testing.T) {
	client := redistest.Start(t)
	l := open(t, client)
	if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", 1)}); err != nil {
		t.Fatal(err)
	}
	naming, seal, next := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal")), sha256.Sum256([]byte("next"))
	rotated, err := Open(t.Context(), Options{
		Redis: client, NamingKey: naming[:], SealKeys: []SealKey{{ID: 2, Key: next[:]}, {ID: 1, Key: seal[:]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	claimed, err := rotated.Claim(t.Context(), ClaimOptions{N: 16, Sources: []string{"north"}})
	if err != nil || len(claimed.Records) != 1 || claimed.Records[0].Locator.ID != "r1" {
		t.Errorf("%d records, %v", len(claimed.Records), err)
	}
}

func TestAFinishedRecordIsReadAsItEnded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", 1)}); err != nil {
			t.Fatal(err)
		}
		claimed, err := l.Claim(t.Context(), ClaimOptions{N: 16, Sources: []string{"north"}})
		if err != nil || len(claimed.Records) != 1 {
			t.Fatalf("%d records, %v", len(claimed.Records), err)
		}
		code, err := fiscalcode.Parse("RSSMRA80A01H501U")
		if err != nil {
			t.Fatal(err)
		}
		rec := claimed.Records[0]
		rec.State, rec.ReadOrder, rec.ReadVersion = Delivered, 1_800_000_000_123, l.VersionTag("7")
		rec.Told = Told{
			Publication: Published, Edition: l.EditionTag(""), At: time.UnixMilli(1_800_000_000_456),
			MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Person: l.PersonTag(code), Uncertain: true,
		}
		if settled, err := l.Settle(t.Context(), []Settlement{{Record: rec, Event: "delivered"}}); err != nil || settled[0] != Written {
			t.Fatalf("%v, %v", settled, err)
		}
		got, known, err := l.Lookup(t.Context(), rec.Key)
		if err != nil || !known {
			t.Fatalf("known %t, %v", known, err)
		}
		if got.State != Delivered || got.ReadOrder != rec.ReadOrder || got.ReadVersion != rec.ReadVersion || got.Told != rec.Told {
			t.Errorf("got %+v, want %+v", got.Told, rec.Told)
		}
		timeline, err := l.Timeline(t.Context(), rec.Key)
		if err != nil || len(timeline) != 2 || timeline[1].Event != "delivered" {
			t.Errorf("timeline %v, %v", timeline, err)
		}
	})
}

func TestWhatWasToldIsNeverForgotten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		jumped := time.Duration(0)
		l.skew = func() time.Duration { return jumped }
		if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", 1)}); err != nil {
			t.Fatal(err)
		}
		claim := func() Record {
			claimed, err := l.Claim(t.Context(), ClaimOptions{N: 16, Sources: []string{"north"}, Track: true})
			if err != nil || len(claimed.Records) != 1 {
				t.Fatalf("%d records, %v", len(claimed.Records), err)
			}
			return claimed.Records[0]
		}
		stalled := claim()
		jumped = time.Minute
		claim() // another worker took over
		stalled.State = Sent
		stalled.Told = Told{Publication: Published, At: stalled.Now, MessageID: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
		settled, err := l.Settle(t.Context(), []Settlement{{Record: stalled, Next: Next{Track: stalled.Now}, Event: "created"}})
		if err != nil || settled[0] != StaleToken {
			t.Fatalf("%v, %v", settled, err)
		}
		jumped = 2 * time.Minute
		if got := claim(); got.Told.MessageID != stalled.Told.MessageID {
			t.Errorf("told %q, want %q", got.Told.MessageID, stalled.Told.MessageID)
		}
	})
}

func TestPace(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		jumped := time.Duration(0)
		l.skew = func() time.Duration { return jumped }
		taken, began := 0, time.Now()
		for range 100 { // 10 seconds, at 20 a second
			jumped += 100 * time.Millisecond
			grant, err := l.Pace().Take(t.Context(), Want{Calls: 5, Rate: 20, Class: "messages"})
			if err != nil || (grant.Calls == 0 && grant.Wait <= 0) {
				t.Fatal(grant, err)
			}
			taken += grant.Calls
		}
		took := time.Since(began) // which is time for more
		if taken < 190 || float64(taken) > 215+20*took.Seconds() {
			t.Errorf("%d calls in 10 s at 20 a second, and in the %s that it took to ask", taken, took)
		}
		if err := l.Pace().PauseIO(t.Context(), time.Minute, "throttled"); err != nil {
			t.Fatal(err)
		}
		state, err := l.Pace().State(t.Context())
		if left := time.Until(state.IOPausedUntil); err != nil || left < 50*time.Second || left > 61*time.Second || state.IOPausedWhy != "throttled" {
			t.Errorf("paused for %s (%s), %v", left, state.IOPausedWhy, err)
		}
	})
}

// A message that waits for the budget keeps polls off until it has asked again, however slow the rate.
func TestMessagesComeBeforePolls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		jumped := time.Duration(0)
		l.skew = func() time.Duration { return jumped }
		take := func(class string, n int) (int, time.Duration) {
			grant, err := l.Pace().Take(t.Context(), Want{Calls: n, Rate: 2, Class: class}) // two calls a second
			if err != nil {
				t.Fatal(err)
			}
			return grant.Calls, grant.Wait
		}
		if granted, _ := take("messages", 2); granted != 2 {
			t.Fatalf("%d calls at the start", granted)
		}
		const late = 199 * time.Millisecond // that a message may be with asking again, less what is rounded
		for range 100 {
			asked := time.Now()
			granted, wait := take("messages", 2)
			if granted > 0 {
				continue // while it was asked for, time went by
			}
			jumped += wait
			if granted, _ = take("polls", 1); granted > 0 && time.Since(asked) >= late {
				continue // this machine is too slow for once: the message has not asked again in time
			}
			if granted > 0 {
				t.Fatalf("a poll was granted after %s, while a message waits", wait)
			}
			if granted, _ = take("messages", 1); granted != 1 {
				t.Error("the message was not granted when its time had come")
			}
			return
		}
		t.Error("a message never waits, or never asks again in time")
	})
}

func TestPackedIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[0-7][0-9A-HJKMNP-TV-Z]{25}`).Draw(t, "id")
		packed, is := packULID(id)
		if !is || unpackULID(packed) != id {
			t.Fatalf("%s is read as %s", id, unpackULID(packed))
		}
		l := fhir.Locator{
			Type: "Composition", ID: rapid.StringMatching(`[A-Za-z0-9\-.]{1,64}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).Draw(t, "logical id"),
			Value: rapid.StringN(0, 40, -1).Draw(t, "value"),
		}
		if got, err := unpackLocator(packLocator(l)); err != nil || got != l {
			t.Fatalf("got %v, %v", got, err)
		}
		var rec Record
		_ = rec.unpack(rapid.StringN(0, 80, 200).Draw(t, "garbage")) // an error, never a panic
		_ = rec.reopen(rapid.StringN(0, 80, 200).Draw(t, "garbage"))
	})
}

func TestAFinishedRecordFitsIntoItsBucket(t *testing.T) {
	rec := Record{
		State: Delivered, ReadOrder: 253370764800000, ReadVersion: Tag{255}, Reason: "hidden-from-citizen", Since: time.UnixMilli(253370764800000),
		Told: Told{Publication: WithdrawnPub, Edition: Tag{255}, At: time.UnixMilli(253370764800000), MessageID: "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", Person: Tag{255}},
	}
	if n := len(rec.finished()); n > 64 {
		t.Errorf("%d bytes, want at most 64", n)
	}
}

func TestErrorsNeverHoldARecord(t *testing.T) {
	if _, err := ParseKey("RSSMRA80A01H501U"); err == nil || strings.Contains(err.Error(), "RSSMRA") {
		t.Errorf("got %v", err)
	}
}

// The checker walks a ledger that works: what it sees at different moments is no finding.
func TestTheCheckerSeesOneMoment(t *testing.T) {
	l := open(t, redistest.Start(t))
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- busy(l, stop) }()
	for range 20 {
		checked, err := l.Check(t.Context(), []string{"north"})
		if err != nil {
			t.Fatal(err)
		}
		if len(checked.Findings) > 0 {
			t.Fatalf("%d findings in a ledger that works: %s", len(checked.Findings), checked.Findings[0])
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// busy admits, claims and settles until it is stopped.
func busy(l *Ledger, stop <-chan struct{}) error {
	ctx := context.Background()
	for n := 0; ; n += 8 {
		select {
		case <-stop:
			return nil
		default:
		}
		if n >= 4000 {
			<-stop
			return nil
		}
		var hints []Hint
		for i := range 8 {
			hints = append(hints, documentHint(l, "north", n+i))
		}
		if _, err := l.Admit(ctx, hints); err != nil {
			return err
		}
		claimed, err := l.Claim(ctx, ClaimOptions{N: 8, Sources: []string{"north"}})
		if err != nil {
			return err
		}
		for i := range claimed.Records {
			rec := claimed.Records[i]
			rec.State, rec.Since = []State{Suppressed, Held}[i%2], rec.Now
			if _, err := l.Settle(ctx, []Settlement{{Record: rec, Event: "test"}}); err != nil {
				return err
			}
		}
	}
}

// Who only looks leaves an empty ledger as it is: the one who comes to write must find it so. Another naming key is refused.
func TestWhoLooksWritesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		look := func(naming string) (*Ledger, error) {
			key, seal := sha256.Sum256([]byte(naming)), sha256.Sum256([]byte("seal"))
			return Open(t.Context(), Options{Redis: client, NamingKey: key[:], SealKeys: []SealKey{{ID: 1, Key: seal[:]}}, Looks: true})
		}
		l, err := look("another")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Check(t.Context(), testSources); err != nil {
			t.Fatal(err)
		}
		open(t, client) // by the naming key that is right
		if _, err := look("another"); !errors.Is(err, ErrNamingKey) {
			t.Errorf("%v, want %v", err, ErrNamingKey)
		}
	})
}
