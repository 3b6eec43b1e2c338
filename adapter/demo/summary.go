package demo

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir/fiscalcode"
	"staffetta/notifier/sandbox"
)

// stillMoving is no end: the document waits for its turn, or its delivery is followed.
const stillMoving = "still moving"

// outcomeOf names what became of a document.
func outcomeOf(rec ledger.Record) (outcome, reason string) {
	switch rec.State {
	case ledger.Delivered:
		return "told", ""
	case ledger.Suppressed:
		return "suppressed", rec.Reason
	case ledger.Unreachable:
		return "unreachable", rec.Reason
	case ledger.Held:
		return "held", rec.Reason
	case ledger.Rejected:
		return "unreachable", "rejected"
	case ledger.Pending:
		if rec.Reason == "not-final" {
			return "waiting", rec.Reason
		}
	case ledger.Find, ledger.Sending, ledger.Sent, ledger.FindEnded, ledger.Noted, ledger.Replaced:
	}
	return stillMoving, string(rec.State)
}

// summary is what a run came to.
type summary struct {
	published       int
	outcomes        map[string]map[string]int // outcome -> reason -> documents
	unknown, wrong  int                       // not in the ledger; another outcome than the rules demand
	lost, twice     int                       // by what IO took
	unasked         int                       // messages about documents of which nobody was to be told
	stopped         bool                      // by a person, in the middle
	posted, retried int64
	named, hints    int64 // resources that notifications named, and how many of them there are
	messages        int
	calls           map[string]int
	delays          []time.Duration
}

// summarise compares what was published, what the ledger says, and what IO took.
func (s *stage) summarise(ctx context.Context) (*summary, error) {
	sum := &summary{outcomes: map[string]map[string]int{}, calls: s.io.Calls()}
	messages := map[fiscalcode.Code][]sandbox.Taken{}
	for _, taken := range s.io.Messages() {
		messages[taken.Recipient] = append(messages[taken.Recipient], taken)
		sum.messages++
	}
	for _, r := range s.cast.all() {
		rec, known, err := s.program.Ledger.Lookup(ctx, r.key)
		if err != nil {
			return nil, fmt.Errorf("look up a document: %w", err)
		}
		sum.published++
		sum.hints += int64(len(r.Hints))
		if !known {
			sum.unknown++
			continue
		}
		outcome, reason := outcomeOf(rec)
		sum.count(outcome, reason)
		if outcome != r.Outcome || reason != r.Reason {
			sum.wrong++
		}
		if err := sum.compare(r, messages); err != nil {
			return nil, err
		}
	}
	for _, one := range s.sources {
		posted, retried, _ := one.poster.Posted()
		sum.posted, sum.retried = sum.posted+posted, sum.retried+retried
		sum.named += one.poster.Named()
	}
	return sum, nil
}

func (sum *summary) count(outcome, reason string) {
	if sum.outcomes[outcome] == nil {
		sum.outcomes[outcome] = map[string]int{}
	}
	sum.outcomes[outcome][reason]++
}

// compare counts what IO took for the person of one document; every document has a person of its own.
func (sum *summary) compare(r *role, messages map[fiscalcode.Code][]sandbox.Taken) error {
	if r.Code == "" {
		return nil
	}
	code, err := fiscalcode.Parse(r.Code)
	if err != nil {
		return fmt.Errorf("a made-up code: %w", err)
	}
	taken := messages[code]
	switch {
	case len(taken) > 0 && r.Outcome != "told":
		sum.unasked++
	case len(taken) > 1:
		sum.twice++
	case len(taken) == 0 && r.Outcome == "told":
		sum.lost++
	case len(taken) == 1:
		sum.delays = append(sum.delays, taken[0].At.Sub(r.published))
	}
	return nil
}

// balanced says whether nothing was lost, nothing told twice, and every document is accounted for as the rules demand.
func (sum *summary) balanced() bool {
	if sum.twice > 0 || sum.unasked > 0 {
		return false
	}
	// Whoever stops it in the middle leaves documents that have not come to their end.
	return sum.stopped || (sum.lost == 0 && sum.unknown == 0 && sum.wrong == 0 && len(sum.outcomes[stillMoving]) == 0)
}

func (sum *summary) total(outcome string) (n int) {
	for _, count := range sum.outcomes[outcome] {
		n += count
	}
	return n
}

// print writes the balance.
func (sum *summary) print(out io.Writer) {
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	line("\npublished      %6d documents", sum.published)
	for _, outcome := range []string{"told", "suppressed", "unreachable", "held", "waiting", stillMoving} {
		if outcome == stillMoving && sum.total(outcome) == 0 {
			continue
		}
		line("  %-12s %6d", outcome, sum.total(outcome))
		for _, reason := range slices.Sorted(maps.Keys(sum.outcomes[outcome])) {
			if reason != "" {
				line("    %-22s %6d", reason, sum.outcomes[outcome][reason])
			}
		}
	}
	sumOf := sum.total("told") + sum.total("suppressed") + sum.total("unreachable") + sum.total("held") + sum.total("waiting")
	verdict := "balances"
	switch {
	case !sum.balanced():
		verdict = fmt.Sprintf("DOES NOT BALANCE: lost %d, told twice %d, told unasked %d, unknown %d, not as the rules demand %d, still moving %d",
			sum.lost, sum.twice, sum.unasked, sum.unknown, sum.wrong, sum.total(stillMoving))
	case sumOf != sum.published:
		verdict = fmt.Sprintf("stopped while %d were on their way; nothing was told twice", sum.published-sumOf)
	}
	line("told + suppressed + unreachable + held + waiting = %d: %s", sumOf, verdict)
	line("notifications  %6d posted (%d tries repeated), naming resources %d times: %d resources of %d documents, %d duplicates absorbed",
		sum.posted, sum.retried, sum.named, sum.hints, sum.published, max(0, sum.named-sum.hints))
	calls := 0
	for _, n := range sum.calls {
		calls += n
	}
	line("IO             %6d messages, %d calls", sum.messages, calls)
	if len(sum.delays) > 0 {
		slices.Sort(sum.delays)
		line("from publication to message: p50 %s, p99 %s", sum.delays[len(sum.delays)/2].Round(time.Millisecond),
			sum.delays[len(sum.delays)*99/100].Round(time.Millisecond))
	}
}
