package ledger

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

// A hint that comes while a person does something with a held record is not lost: what that person wrote is looked at again. Who
// comes between them, or after them, is told so.
func TestAHintDuringADeedIsNotLost(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		for _, wait := range []Wait{WaitNone, WaitSource} {
			if err := redistest.Flush(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			l := open(t, client)
			h := documentHint(l, "north", 1)
			if _, err := l.Admit(t.Context(), []Hint{h}); err != nil {
				t.Fatal(err)
			}
			held := claimOne(t, l)
			held.State, held.Reason = Held, "two-codes"
			settleOne(t, l, Settlement{Record: held, Next: Next{Wait: wait}, Event: "held"})
			taken, seized, err := l.Seize(t.Context(), "north", h.Key)
			if err != nil || seized != Taken || taken.State != Held {
				t.Fatal(seized, taken.State, err)
			}
			if _, seized, err := l.Seize(t.Context(), "north", h.Key); err != nil || seized != Busy {
				t.Errorf("a second person: %s, %v", seized, err)
			}
			if ok, err := l.Release(t.Context(), h.Key, "released", By{}); err != nil || ok {
				t.Errorf("a release in between: %t, %v", ok, err)
			}
			if _, err := l.Admit(t.Context(), []Hint{h}); err != nil {
				t.Fatal(err)
			}
			taken.State, taken.Reason = Suppressed, "forgotten"
			if got := settleOne(t, l, Settlement{Record: taken}); got != DueAgain {
				t.Errorf("%s", got)
			}
			if rec := claimOne(t, l); rec.Key != h.Key {
				t.Error("another record is due")
			}
			checked, err := l.Check(t.Context(), []string{"north"})
			if err != nil || len(checked.Findings) > 0 || checked.Held > 0 {
				t.Error(checked, err)
			}
		}
	})
}
