package catchup

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// Old events that could not be had for the moment are asked for again: of the server in trouble, and where what it gave could not
// be admitted since Redis is away. What is refused is not.
func TestTroubleWithOldEvents(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		again bool
	}{
		{"throttled", &fhir.Trouble{Kind: fhir.Throttled}, true},
		{"unavailable", &fhir.Trouble{Kind: fhir.Unavailable}, true},
		{"Redis is away", fmt.Errorf("admit: %w", ledger.ErrUnavailable), true},
		{"unauthorized", &fhir.Trouble{Kind: fhir.Unauthorized}, false},
		{"unusable", &fhir.Trouble{Kind: fhir.Unusable}, false},
		{"no such operation", fhir.ErrNoEvents, false},
	} {
		w := &watchman{Sweeper: &Sweeper{SweeperOptions: SweeperOptions{Rest: time.Second}}, log: slog.New(slog.DiscardHandler)}
		q := &inquiry{}
		if again := w.waits(t.Context(), q, tt.err); again != tt.again || (q.tries > 0) != tt.again || w.gapOpen != tt.again || !q.not.After(time.Now()) {
			t.Errorf("%s: asked again %t after %d tries, not before %s, a sweep %t; want %t", tt.name, again, q.tries, q.not, w.gapOpen, tt.again)
		}
	}
}
