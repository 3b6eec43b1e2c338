package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

// Records of a source that the file does not name any more are counted, due and held ones, over all partitions; each such source
// is one finding. A message on its way waits for IO only.
func TestRecordsOfASourceThatIsGoneAreCounted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		hints := make([]Hint, 3*Partitions, 3*Partitions+4)
		for n := range hints {
			hints[n] = documentHint(l, "north", n)
		}
		hints = append(hints, documentHint(l, "south", 1), documentHint(l, "south", 2), documentHint(l, "south", 3), documentHint(l, "calm", 1))
		if _, err := l.Admit(t.Context(), hints); err != nil {
			t.Fatal(err)
		}
		claimed, err := l.Claim(t.Context(), ClaimOptions{N: 3, Sources: []string{"south"}})
		if err != nil || len(claimed.Records) != 3 {
			t.Fatal(len(claimed.Records), err)
		}
		held, sent, gone := claimed.Records[0], claimed.Records[1], claimed.Records[2]
		held.State, held.Reason = Held, "two-codes"
		sent = sentRecord(sent, 1000, 1, messageA, sent.Now)
		gone.State, gone.Reason = Suppressed, "obscured"
		settleOne(t, l, Settlement{Record: held, Event: "test"})
		settleOne(t, l, Settlement{Record: sent, Next: Next{Track: sent.Now, Wait: WaitDelivery}, Event: "test"})
		settleOne(t, l, Settlement{Record: gone, Event: "test"})

		for _, tt := range []struct {
			name    string
			sources []string
			want    map[string]int64
			finds   []string
		}{
			{"all are named", []string{"north", "south", "calm"}, map[string]int64{}, nil},
			{"one was renamed", []string{"north-new", "south", "calm"}, map[string]int64{"north": 3 * Partitions}, []string{
				"source north is not configured, and 48 live records wait for it",
			}},
			{"two are gone", []string{"calm"}, map[string]int64{"north": 3 * Partitions, "south": 1}, []string{
				"source north is not configured, and 48 live records wait for it",
				"source south is not configured, and 1 live records wait for it",
			}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				got, err := l.Strays(t.Context(), tt.sources)
				if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
					t.Errorf("%v, -want +got:\n%s", err, diff)
				}
				checked, err := l.Check(t.Context(), tt.sources)
				if diff := cmp.Diff(tt.finds, checked.Findings); err != nil || diff != "" {
					t.Errorf("%v, -want +got:\n%s", err, diff)
				}
			})
		}
	})
}
