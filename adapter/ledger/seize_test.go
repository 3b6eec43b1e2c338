package ledger

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

// TestSeizedUnderOurHands lets another worker take a record that was opened to be seized, and end it at once: it must not
// look as if nothing were known of it, because who replaces it would then leave it as it is.
func TestSeizedUnderOurHands(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		first := handOpen(t, client)
		hint := documentHint(first.Ledger, "north", 1)
		end := func(r *byHand) {
			t.Helper()
			rec := r.claimOne()
			rec.State = Delivered
			r.settle(rec, Next{}, "delivered")
		}
		first.admit(versioned(hint, 1000, 1, 0))
		end(first)

		other := connectAgain(t, client)
		second := handOpen(t, other)
		runs := 0
		other.AddHook(before{seizeScript, func() error {
			if runs++; runs == 2 {
				end(first)
			}
			return nil
		}})
		if _, seized, err := second.Seize(t.Context(), "north", hint.Key); err != nil || seized != Busy {
			t.Errorf("seized: %q (%v), want %q", seized, err, Busy)
		}
		rec, seized, err := second.Seize(t.Context(), "north", hint.Key)
		if err != nil || seized != Taken {
			t.Errorf("seized the second time: %q (%v), want %q", seized, err, Taken)
		}
		rec.State = Replaced
		second.settle(rec, Next{}, "taken-over")
	})
}

// connectAgain is another client of the same Redis.
func connectAgain(t *testing.T, client redis.UniversalClient) redis.UniversalClient {
	t.Helper()
	var again redis.UniversalClient
	switch c := client.(type) {
	case *redis.ClusterClient:
		again = redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Options().Addrs, DisableIdentity: true})
	case *redis.Client:
		again = redis.NewClient(&redis.Options{Addr: c.Options().Addr, MaxRetries: -1, DisableIdentity: true})
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}
