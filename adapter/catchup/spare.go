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
	asked time.Time // when the server was asked what it knows; zero: it must be
	said  bool      // that it does not say
}

// spareFor is how long we believe what a server says it knows, and what it has refused.
const spareFor = 6 * time.Hour

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
			s.dropSpare(ctx, kind, err)
			continue
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
	if len(w.source.Spare) == 0 || (!w.spare.asked.IsZero() && time.Since(w.spare.asked) < spareFor) {
		return
	}
	known, err := w.source.Source.Knows(ctx, w.source.Spare)
	if err == nil {
		w.spare.kinds, err = kindsOfSearches(w.source.Source, known)
	}
	if err == nil {
		w.spare.asked, w.spare.said = time.Now(), false
		return
	}
	if !w.spare.said && ctx.Err() == nil {
		w.spare.said = true
		w.log.WarnContext(ctx, "the server does not say which searches it knows: it is asked again at each sweep", slog.Any("error", err))
	}
}

// dropSpare does without a type that the server lists, and refuses.
func (s *sweep) dropSpare(ctx context.Context, kind kindOfSearches, err error) {
	w := s.watchman
	w.spare.kinds = slices.DeleteFunc(w.spare.kinds, func(k kindOfSearches) bool { return k.name == kind.name })
	w.log.WarnContext(ctx, "a search that the server lists is refused: sweeps do without it", slog.String("resource_type", kind.name), slog.Any("error", err))
}
