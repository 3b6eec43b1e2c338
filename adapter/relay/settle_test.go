package relay

import (
	"testing"
	"time"

	"staffetta/adapter/ledger"
)

func TestWhatIsLeftOfTheSettleTime(t *testing.T) {
	now := time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name     string
		heard    time.Time
		attempts int
		want     time.Duration
	}{
		{"found at once: all of it", now, 0, time.Minute},
		{"published a while ago: the rest", now.Add(-20 * time.Second), 0, 40 * time.Second},
		{"published long ago: none", now.Add(-time.Hour), 0, 0},
		{"the document had to be waited for: all of it", now.Add(-time.Hour), 1, time.Minute},
		{"heard of later than now: not more than all of it", now.Add(time.Hour), 0, time.Minute},
		{"not known since when: all of it", time.Time{}, 0, time.Minute},
	} {
		c := claimed{}
		c.Record = ledger.Record{HintAt: tt.heard, Attempts: tt.attempts, Now: now}
		if got := settleLeft(c, time.Minute); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
