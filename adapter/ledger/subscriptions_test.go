package ledger

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

func TestALeaseBelongsToOne(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		one, other := l.Lease("work", time.Minute), l.Lease("work", time.Minute)
		takes := func(who string, a *Lease, want bool) {
			t.Helper()
			if got, err := a.Take(t.Context()); err != nil || got != want {
				t.Errorf("%s: %t, %v; want %t", who, got, err, want)
			}
		}
		takes("the first", one, true)
		takes("another", other, false)
		takes("the first keeps it", one, true)
		takes("of another name", l.Lease("other work", time.Minute), true)
		if err := other.GiveBack(t.Context()); err != nil {
			t.Fatal(err)
		}
		takes("nobody gives back what is not theirs", other, false)
		if err := one.GiveBack(t.Context()); err != nil {
			t.Fatal(err)
		}
		takes("another, after it was given back", other, true)
		if left := client.PTTL(t.Context(), leaseKey("work")).Val(); left <= 0 || left > time.Minute {
			t.Errorf("it lasts for %s, want a minute at most", left)
		}
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		takes("after redis forgot its scripts", other, true)
		if err := client.Del(t.Context(), leaseKey("work")).Err(); err != nil { // as if it had ended
			t.Fatal(err)
		}
		takes("whoever comes when it has ended", one, true)
	})
}

func TestSubscriptionsAreRemembered(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		jumped := time.Duration(0)
		l.skew = func() time.Duration { return jumped }
		first := Subscription{ID: "s1", Endpoint: "https://adapter.example/fhir/north", Fingerprint: "f", Status: "requested", Events: 7}
		remember := func(source string, s Subscription) {
			t.Helper()
			if err := l.RememberSubscription(t.Context(), source, s); err != nil {
				t.Fatal(err)
			}
		}
		remember("north", first)
		remember("north", Subscription{ID: "s2", Status: "active", Events: -1})
		remember("south", Subscription{ID: "s1", Status: "error", Events: -1})
		if err := client.HSet(t.Context(), subKey("north", "s1"), "g", "3").Err(); err != nil { // a field of somebody else
			t.Fatal(err)
		}
		jumped = time.Hour
		first.Events = -1 // no longer said: what was said is kept
		remember("north", first)
		got, err := l.Subscriptions(t.Context(), "north")
		if err != nil || len(got) != 2 {
			t.Fatalf("%d, %v; want both of the source", len(got), err)
		}
		first.Events = 7
		if diff := cmp.Diff(first, got[0], cmpopts.IgnoreFields(Subscription{}, "Since", "Checked")); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if age := got[0].Checked.Sub(got[0].Since); age < time.Hour || age > time.Hour+time.Minute {
			t.Errorf("its status holds for %s, want an hour: it has not changed", age)
		}
		first.Status = "active"
		remember("north", first)
		if got, err = l.Subscriptions(t.Context(), "north"); err != nil || !got[0].Since.Equal(got[0].Checked) {
			t.Errorf("a new status since %s, checked %s, %v", got[0].Since, got[0].Checked, err)
		}
		if kept := client.HGet(t.Context(), subKey("north", "s1"), "g").Val(); kept != "3" {
			t.Error("somebody else's field is gone")
		}
		if err := l.ForgetSubscription(t.Context(), "north", "s1"); err != nil {
			t.Fatal(err)
		}
		if got, err = l.Subscriptions(t.Context(), "north"); err != nil || len(got) != 1 || got[0].ID != "s2" {
			t.Errorf("%v, %v; want s2 only", got, err)
		}
		if checked, err := l.Check(t.Context(), []string{"north"}); err != nil || len(checked.Findings) > 0 {
			t.Errorf("the checker finds %v, %v", checked.Findings, err)
		}
		if err := l.RememberSubscription(t.Context(), "north", Subscription{ID: "s:1"}); err == nil {
			t.Error("what is no id became part of a key")
		}
	})
}

func TestWithoutRedisNoLeaseIsTaken(t *testing.T) {
	client := redistest.Start(t)
	lease := openUnchecked(t, client).Lease("work", time.Minute) // its Redis goes away
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if taken, err := lease.Take(t.Context()); taken || !errors.Is(err, ErrUnavailable) {
		t.Errorf("taken %t, %v; want %v", taken, err, ErrUnavailable)
	}
}
