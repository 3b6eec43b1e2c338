package catchup

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir"
)

// Backlog is what a source published before it was connected: nobody is told of it until a person says so.
type Backlog struct {
	Name     string
	Shape    fhir.Shape
	Source   *fhir.Source
	Searches []string
	Spare    []string       // searches beside them, where the server lists them
	Since    time.Time      // meta.lastUpdated, by the server's clock
	Ledger   *ledger.Ledger // nil: nothing is known of what was told, and nothing can be admitted
	Settle   time.Duration  // for hints on documents
	PageGap  time.Duration  // between two calls; zero: 200 ms
}

// Found is what a search for a backlog has found.
type Found struct {
	Search string
	fhir.Listed

	Refused string // why a spare search was none; "" where it was one
}

// AddBacklog admits a whole backlog by the same way as notifications, and notes that a person has decided. It counts what the
// ledger made of it, also where it fails half way: it can be done again.
func AddBacklog(ctx context.Context, b Backlog) (found []Found, admitted map[ledger.Admission]int, err error) {
	admitted = map[ledger.Admission]int{}
	found, err = b.list(ctx, func(ctx context.Context, events []fhir.Event) error {
		hints := make([]ledger.Hint, 0, len(events))
		for i := range events {
			if hint, usable := b.Ledger.HintOf(b.Name, b.Shape, &events[i], b.Settle); usable {
				hints = append(hints, hint)
			}
		}
		admissions, err := b.Ledger.Admit(ctx, hints)
		for _, admission := range admissions {
			admitted[admission]++
		}
		return err
	})
	if err != nil {
		return found, admitted, err
	}
	return found, admitted, b.Ledger.Decide(ctx, b.Name)
}

// list goes through all searches.
func (b Backlog) list(ctx context.Context, take func(context.Context, []fhir.Event) error) (found []Found, err error) {
	for _, search := range b.Searches {
		one, err := b.search(ctx, search, take)
		found = append(found, one)
		if err != nil {
			return found, err
		}
	}
	known, err := b.Source.Knows(ctx, b.Spare)
	if err != nil {
		return found, err
	}
	for _, search := range known {
		one, err := b.search(ctx, search, take)
		if errors.Is(err, fhir.ErrCannotList) {
			one.Refused, err = err.Error(), nil
		}
		found = append(found, one)
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

func (b Backlog) search(ctx context.Context, search string, take func(context.Context, []fhir.Event) error) (Found, error) {
	changes, err := b.Source.Changes(search)
	if err != nil {
		return Found{Search: search}, err
	}
	listed, err := changes.Since(ctx, fhir.Look{Since: b.Since, Pace: b.pace, Take: take})
	return Found{Search: search, Listed: listed}, err
}

// pace waits between two calls, as sweeps do.
func (b Backlog) pace(ctx context.Context) error {
	if !sleep(ctx, cmp.Or(b.PageGap, 200*time.Millisecond)) {
		return ctx.Err()
	}
	if b.Ledger == nil {
		return nil
	}
	if err := unlessPaused(ctx, b.Ledger, b.Name); err != nil {
		return err
	}
	return waitForBacklog(ctx, b.Ledger, b.Name)
}

// PreviewOptions are how a backlog is decided without telling anybody.
type PreviewOptions struct {
	Rules     *policy.Rules
	Choices   policy.SourceRules
	Resources int // the latest, whose documents are read and decided; the others are only counted
	Now       time.Time
}

// Preview is what would become of a backlog. It counts, and names nobody.
type Preview struct {
	Found   []Found
	Days    []Day // latest first
	Decided int   // resources that were looked at
	Stopped string
}

// Day is what changed last on one day, by local time. A document counts on the day of its last change.
type Day struct {
	Date      time.Time
	Resources int
	Decided   int // of these
	Verdicts  map[Verdict]int
}

// lookGap is between two looks at a document: others read from the source too.
const lookGap = 10 * time.Millisecond

// backlogAtMost bounds what a dry run remembers of what it has listed: about 100 bytes each.
const backlogAtMost = 1_000_000

var errTooMany = errors.New("more than a million resources: say a later --since")

// PreviewBacklog lists a backlog and says what the rules would make of it.
func PreviewBacklog(ctx context.Context, b Backlog, o PreviewOptions) (Preview, error) {
	latest := map[string]fhir.Sampled{} // a resource that two searches find is one
	found, err := b.list(ctx, func(_ context.Context, events []fhir.Event) error {
		for i := range events {
			one := fhir.Sampled{Type: events[i].Type, ID: events[i].ID, LastUpdated: events[i].LastUpdated}
			latest[one.Type+"/"+one.ID] = one
		}
		if len(latest) > backlogAtMost {
			return errTooMany
		}
		return nil
	})
	p := Preview{Found: found}
	if err != nil {
		return p, err
	}
	return p, p.decide(ctx, b, o, byDay(latest))
}

// byDay groups what changed by day, latest first, within a day too.
func byDay(latest map[string]fhir.Sampled) (days [][]fhir.Sampled) {
	all := make([]fhir.Sampled, 0, len(latest))
	for _, one := range latest {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b fhir.Sampled) int {
		return cmp.Or(b.LastUpdated.Compare(a.LastUpdated), cmp.Compare(a.ID, b.ID))
	})
	for _, one := range all {
		if n := len(days); n > 0 && dateOf(days[n-1][0]).Equal(dateOf(one)) {
			days[n-1] = append(days[n-1], one)
			continue
		}
		days = append(days, []fhir.Sampled{one})
	}
	return days
}

func dateOf(one fhir.Sampled) time.Time {
	year, month, day := one.LastUpdated.Local().Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.Local)
}

// decide asks the rules about the latest resources.
func (p *Preview) decide(ctx context.Context, b Backlog, o PreviewOptions, days [][]fhir.Sampled) error {
	seen := map[string]bool{}
	so := SampleOptions{
		Source: b.Source, Shape: b.Shape, Rules: o.Rules, Choices: o.Choices, Now: o.Now,
		Pace: func(ctx context.Context) error { sleep(ctx, lookGap); return ctx.Err() },
	}
	if b.Ledger != nil {
		so.Known = b.known
	}
	for _, resources := range days {
		sample := Sample{Verdicts: map[Verdict]int{}}
		looked := resources[:min(len(resources), max(0, o.Resources-p.Decided))]
		if p.Stopped != "" {
			looked = nil
		}
		if err := sample.decide(ctx, so, looked, seen); err != nil {
			return err
		}
		p.Decided += len(looked)
		p.Stopped = cmp.Or(p.Stopped, sample.Stopped)
		p.Days = append(p.Days, Day{Date: dateOf(resources[0]), Resources: len(resources), Decided: len(looked), Verdicts: sample.Verdicts})
	}
	return ctx.Err()
}

// known is what the ledger knows of a document. One that is on its way is left to that.
func (b Backlog) known(ctx context.Context, q *policy.Question) (Verdict, error) {
	rec, known, err := b.Ledger.Lookup(ctx, b.Ledger.DocumentKey(b.Name, q.Document.Locator))
	if err != nil || !known {
		return Verdict{}, err
	}
	switch rec.State {
	case ledger.Pending, ledger.Sending, ledger.Sent, ledger.Held, ledger.Find:
		return Verdict{Action: "already " + string(rec.State), Reason: rec.Reason}, nil
	case ledger.Replaced:
		return Verdict{Action: "already " + string(rec.State)}, nil
	case ledger.FindEnded, ledger.Suppressed, ledger.Unreachable, ledger.Delivered, ledger.Rejected, ledger.Noted:
	}
	q.Told = policy.Told{
		Any:         rec.Told.Publication != ledger.NoPublication,
		SameEdition: rec.Told.Edition == b.Ledger.EditionTag(q.Document.Edition),
		SamePerson:  rec.Told.Person == b.Ledger.PersonTag(q.Document.Person.Code),
		Withdrawn:   rec.Told.Publication == ledger.WithdrawnPub,
	}
	if q.HiddenAt = rec.HiddenAt; rec.State == ledger.Suppressed && rec.Reason == policy.HiddenFromCitizen && q.HiddenAt.IsZero() {
		q.HiddenAt = rec.Since // a finished record remembers only since when it rests
	}
	q.Released = rec.Released
	return Verdict{}, nil
}
