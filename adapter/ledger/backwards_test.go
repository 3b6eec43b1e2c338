package ledger

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

// A node of a source whose clock is behind writes newer versions with an older time: they are looked for, as long as clocks
// can explain it. What was read is known again by its version, however often it is hinted.
func TestNewerVersionsWithAnOlderTime(t *testing.T) {
	const read = int64(1_700_000_000_123)
	for _, tt := range []struct {
		name    string
		earlier time.Duration // than what was read
		version byte          // 0: unknown; 1 was read
		want    Admission
	}{
		{"another version, a moment older", time.Millisecond, 2, Newer},
		{"another version, ten minutes older", 10 * time.Minute, 2, Newer},
		{"another version, older than clocks differ", 10*time.Minute + time.Millisecond, 2, Stale},
		{"the version that was read, with an older time", 5 * time.Minute, 1, Stale},
		{"no version, five minutes older", 5 * time.Minute, 0, Newer},
		{"no version, older than clocks differ", 11 * time.Minute, 0, Stale},
		{"what was read", 0, 1, Duplicate},
		{"another version of the same moment", 0, 2, Newer},
		{"no version, of the same moment", 0, 0, Duplicate},
	} {
		redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
			t.Helper()
			r := handOpen(t, client)
			hint := documentHint(r.Ledger, "north", 1)
			late := versioned(hint, read-tt.earlier.Milliseconds(), tt.version, 0)
			settle := func(rec Record, state State, next Next) Settled {
				rec.State, rec.ReadOrder, rec.ReadVersion, rec.Reason, rec.Since = state, read, Tag{1}, "not-final", rec.Now
				return r.settle(rec, next, "test")
			}
			r.admit(versioned(hint, read, 1, 0))
			settle(r.claimOne(), Suppressed, Next{})
			if got := r.admit(late)[0]; got != tt.want {
				t.Fatalf("%s, of a finished record: %s, want %s", tt.name, got, tt.want)
			}
			if n := len(r.claims()); n != map[bool]int{true: 1}[tt.want == Newer] {
				t.Errorf("%s: %d looks", tt.name, n)
			}
			r.jumped += time.Minute
			r.admit(versioned(hint, 0, 0, 0))
			rec := r.claimOne()
			settle(rec, Pending, Next{Due: rec.Now.Add(time.Hour), Wait: WaitSource})
			if got := r.admit(late)[0]; got != tt.want {
				t.Errorf("%s, of a record that waits: %s, want %s", tt.name, got, tt.want)
			}
			r.jumped += 2 * time.Hour
			rec = r.claimOne()
			r.admit(late) // after it was read, before that is settled
			want := Written
			if tt.want == Newer {
				want = DueAgain
			}
			if got := settle(rec, Suppressed, Next{}); got != want {
				t.Errorf("%s, during a step: %s, want %s", tt.name, got, want)
			}
		})
	}
}

// A source without versions: what was read at a time in ms is known again, so that sweeps do not look at it for ever. Whole
// seconds may hold two changes.
func TestWithoutVersionsATimeIsKnownAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		for n, tt := range []struct {
			order int64
			want  Admission
		}{{1_700_000_000_123, Duplicate}, {1_700_000_000_000, Newer}} {
			r := handOpen(t, client)
			hint := documentHint(r.Ledger, "north", n)
			hint.Order = tt.order
			r.admit(hint)
			rec := r.claimOne()
			rec.State, rec.ReadOrder, rec.Reason = Suppressed, tt.order, "not-final"
			r.settle(rec, Next{}, "test")
			if got := r.admit(hint)[0]; got != tt.want {
				t.Errorf("read at %d, and hinted again: %s, want %s", tt.order, got, tt.want)
			}
			for _, rec := range r.claims() { // and once more of a record that waits
				rec.State, rec.ReadOrder, rec.Reason = Pending, tt.order, "not-final"
				r.settle(rec, Next{Due: rec.Now.Add(time.Hour), Wait: WaitSource}, "test")
				if got := r.admit(hint)[0]; got != tt.want {
					t.Errorf("waits at %d: %s, want %s", tt.order, got, tt.want)
				}
			}
		}
	})
}
