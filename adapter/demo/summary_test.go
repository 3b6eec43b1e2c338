package demo

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// One published document, what its rules demand, and what IO took: whatever does not fit is said, and is exit code 1.
func TestTheSummaryNoticesWhatIsWrong(t *testing.T) {
	code := fse.CodeOf(1, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC))
	parsed, err := fiscalcode.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		outcome  string
		messages int
		stopped  bool
		balances bool
		says     string
	}{
		{"told once", "told", 1, false, true, "balances"},
		{"told twice", "told", 2, false, false, "told twice 1"},
		{"told twice, and stopped", "told", 2, true, false, "told twice 1"},
		{"lost", "told", 0, false, false, "lost 1"},
		{"on its way when a person stopped it", "told", 0, true, true, ""},
		{"silence was due, and kept", "suppressed", 0, false, true, "balances"},
		{"silence was due, and broken", "suppressed", 1, false, false, "told unasked 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sum := &summary{outcomes: map[string]map[string]int{}, published: 1, stopped: tt.stopped}
			sum.count(tt.outcome, "")
			taken := make([]sandbox.Taken, tt.messages)
			err := sum.compare(&role{Case: fse.Case{Code: code, Outcome: tt.outcome}}, map[fiscalcode.Code][]sandbox.Taken{parsed: taken})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			sum.print(&out)
			if sum.balanced() != tt.balances || !strings.Contains(out.String(), tt.says) {
				t.Errorf("balanced %t, want %t with %q:\n%s", sum.balanced(), tt.balances, tt.says, out.String())
			}
		})
	}
}
