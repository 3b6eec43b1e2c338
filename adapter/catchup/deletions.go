package catchup

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// deletions are what is known of what a source deletes. No search finds it: where the server lists the history of a type, that
// names it.
type deletions struct {
	kinds  []string             // whose history it lists
	ask    time.Time            // when the server is asked again which
	looked time.Time            // when the last look began, by Redis' clock
	until  map[string]time.Time // by type: from when on the next look must look, by Redis' clock
	seen   map[string]time.Time // deletions that were admitted, and when they were made, else admitted
	said   bool                 // that a history cannot be read
}

const (
	askAgainIn = 15 * time.Minute // what a server that did not answer knows
	seenMost   = 100_000          // deletions that are known one by one
)

// deletions looks at what was deleted. A history takes more calls than a search, so that sweeps which are made often, by
// themselves or with each notification that names nothing, look less often. That it cannot be read is no failure of a sweep.
func (s *sweep) deletions(ctx context.Context) {
	d, often := &s.deleted, s.why == whyPeriod || s.why == whyUnnamed
	if ctx.Err() != nil || (often && s.began.Sub(d.looked) < s.source.Overlap) {
		return
	}
	s.learnHistories(ctx)
	if len(d.kinds) == 0 {
		return
	}
	d.looked = s.began
	failed := false
	for _, kind := range d.kinds {
		err := s.deletionsOf(ctx, kind)
		if ctx.Err() != nil {
			return
		}
		failed = failed || err != nil
		if err != nil && !d.said {
			s.log.WarnContext(ctx, "what was deleted cannot be looked for", slog.String("resource_type", kind), slog.Any("error", err))
		}
	}
	d.said = failed
}

// learnHistories asks the server whose history it lists.
func (s *sweep) learnHistories(ctx context.Context) {
	d := &s.deleted
	if time.Now().Before(d.ask) {
		return
	}
	var names []string
	for _, kind := range slices.Concat(s.kinds, s.spare.kinds) {
		names = append(names, kind.name)
	}
	kinds, err := s.source.Source.Keeps(ctx, names)
	if err != nil {
		d.ask = time.Now().Add(askAgainIn) // what was known of it stands
		return
	}
	d.kinds, d.ask = kinds, time.Now().Add(spareFor)
}

// deletionsOf looks at the history of one type.
func (s *sweep) deletionsOf(ctx context.Context, kind string) error {
	if s.state.Kinds[kind].Floor.IsZero() {
		return nil // it is not connected yet
	}
	from, known := s.deleted.until[kind]
	if !known {
		from = s.sofar[kind].Swept   // where no replica has looked at a history then, something may be missed
		s.deleted.until[kind] = from // sweeps go on, also while the history cannot be read
	}
	since := later(from.Add(s.ahead).Add(-max(s.source.Overlap, s.Fresh)), s.state.Kinds[kind].Floor)
	pages, err := s.source.Source.Deleted(ctx, kind, fhir.Look{Since: since, Pace: s.pace, Take: s.takeDeleted})
	s.metrics.pages.WithLabelValues(s.source.Name).Add(float64(pages))
	s.pages += pages
	if err == nil || errors.Is(err, fhir.ErrHistoryTooLong) { // the latest came first
		s.deleted.until[kind] = s.began
		s.deleted.forget(since)
	}
	return err
}

// forget drops what no look comes upon again.
func (d *deletions) forget(before time.Time) {
	for name, at := range d.seen {
		if at.Before(before) || len(d.seen) > seenMost {
			delete(d.seen, name)
		}
	}
}

// takeDeleted admits deletions, as if they had been posted, each once. Of what belongs to a time before the first connection
// nobody was told.
func (s *sweep) takeDeleted(ctx context.Context, events []fhir.Event) error {
	now := s.now().Add(s.ahead)
	hints, names := make([]ledger.Hint, 0, len(events)), make(map[string]time.Time, len(events))
	for i := range events {
		e := &events[i]
		name := e.Type + "/" + e.ID + " " + e.Version + " " + strconv.FormatInt(e.LastUpdated.UnixMilli(), 10)
		if _, known := s.deleted.seen[name]; known || s.left(e.LastUpdated, now) {
			continue
		}
		if hint, usable := s.Ledger.HintOf(s.source.Name, s.source.Shape, e, s.source.Settle); usable {
			hints, names[name] = append(hints, hint), cmp.Or(e.LastUpdated, now)
		}
	}
	if len(hints) == 0 {
		return nil
	}
	if _, err := s.Ledger.Admit(ctx, hints); err != nil {
		return err
	}
	if maps.Copy(s.deleted.seen, names); len(s.deleted.seen) > seenMost { // its history is not read to the end, again and again
		s.deleted.forget(time.Time{})
	}
	s.metrics.hits.WithLabelValues(s.source.Name, "deleted").Add(float64(len(hints)))
	s.Admitted(0)
	return nil
}
