package catchup

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"staffetta/fhir"
)

// spare are the searches that not every server knows, as far as this one does.
type spare struct {
	kinds []kindOfSearches
	asked time.Time // when the server was asked what it knows, by Redis' clock; zero: it must be
	said  bool      // that it does not say
	// refused are since when the server refuses, by type; what it has answered since is not among them.
	refused map[string]time.Time
}

// spareFor is how long we believe what a server says it knows, and what it has refused.
const spareFor = 6 * time.Hour

// refusedFor is how long a server must refuse a search that it lists before sweeps do without it: one that is being installed
// anew refuses a few.
const refusedFor = 15 * time.Minute

// spares looks at the types of spare searches. That a server does not know them is no failure.
func (s *sweep) spares(ctx context.Context) error {
	s.learnSpares(ctx)
	var errs []error
	for _, kind := range slices.Clone(s.spare.kinds) {
		if ctx.Err() != nil {
			break
		}
		err := s.weighed(ctx, kind)
		if errors.Is(err, fhir.ErrCannotList) {
			s.spareRefused(ctx, kind, err)
			continue
		}
		if err == nil {
			delete(s.spare.refused, kind.name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// subscribedTo says whether the server should post a type: it may have refused our Subscription. Where it does not say, it is
// accused of nothing.
func (s *sweep) subscribedTo(ctx context.Context, kind kindOfSearches) bool {
	known, err := Remembered(ctx, s.Ledger, s.source.Name)
	if err != nil {
		return false
	}
	watches, err := s.source.Subscriber.Watches(ctx, kind.name, known)
	return err == nil && watches
}

// learnSpares asks the server which of the spare searches it knows. Where it does not answer, what was known of it stands.
func (s *sweep) learnSpares(ctx context.Context) {
	w := s.watchman
	if len(w.source.Spare) == 0 || (!w.spare.asked.IsZero() && s.began.Sub(w.spare.asked) < spareFor) {
		return
	}
	all, err := kindsOfSearches(w.source.Source, w.source.Spare)
	if err != nil {
		return // NewSweeper has seen that there is none
	}
	known, err := w.source.Source.Knows(ctx, w.source.Spare)
	if err == nil {
		w.spare.kinds, err = kindsOfSearches(w.source.Source, known)
	}
	if err == nil {
		w.spare.asked, w.spare.said = s.began, false
		s.forgetFirsts(ctx, all)
		return
	}
	_ = s.begin(ctx, all) // where it does not answer now, what it has since is news; Redis away ends the sweep elsewhere
	if !w.spare.said && ctx.Err() == nil {
		w.spare.said = true
		w.log.WarnContext(ctx, "the server does not say which searches it knows: it is asked again at each sweep", slog.Any("error", err))
	}
}

// forgetFirsts is for spare types that the server does not know: they begin when it does.
func (s *sweep) forgetFirsts(ctx context.Context, all []kindOfSearches) {
	var unknown []string
	for _, kind := range all {
		if !slices.ContainsFunc(s.spare.kinds, func(k kindOfSearches) bool { return k.name == kind.name }) {
			unknown = append(unknown, kind.name)
		}
	}
	if err := s.Ledger.Disconnect(ctx, s.source.Name, unknown...); err != nil {
		s.spare.asked = time.Time{} // once more with the next sweep
	}
}

// spareRefused does without a type that the server lists and refuses: it is asked for by the next sweep again, until it was
// refused for a while.
func (s *sweep) spareRefused(ctx context.Context, kind kindOfSearches, err error) {
	w := s.watchman
	about := []any{slog.String("resource_type", kind.name), slog.Any("error", err)}
	since, before := w.spare.refused[kind.name]
	switch {
	case !before:
		w.spare.refused[kind.name] = s.began
		w.log.WarnContext(ctx, "a search that the server lists is refused: sweeps do without it", about...)
	case s.began.Sub(since) >= refusedFor:
		w.spare.kinds = slices.DeleteFunc(w.spare.kinds, func(k kindOfSearches) bool { return k.name == kind.name })
		w.log.WarnContext(ctx, "a search that the server lists is still refused: it is not asked for any more for hours", about...)
	}
}
