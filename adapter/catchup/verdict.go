package catchup

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// posting is what the server should post.
type posting struct {
	since  time.Time // what changed since then: all our active Subscriptions were active; zero: not known
	nobody bool      // none of them is
}

// posting looks it up when a sweep begins: what becomes active meanwhile is judged by the next one.
func (w *watchman) posting(ctx context.Context) (p posting) {
	all, err := w.Ledger.Subscriptions(ctx, w.source.Name)
	if err != nil {
		return p
	}
	for _, one := range all {
		if w.source.subscribed() && one.Ours() && one.Status == "active" {
			p.since = later(p.since, one.Since)
		}
	}
	p.nobody = p.since.IsZero()
	return p
}

// weighed looks at a type. What no active Subscription of ours is about, nobody was to post.
func (s *sweep) weighed(ctx context.Context, kind kindOfSearches) error {
	judged, missed := s.judged, s.missed
	err := s.kind(ctx, kind)
	if s.missed > missed && !s.subscribedTo(ctx, kind) {
		s.judged, s.missed = judged, missed
	}
	return err
}

// judge notes what a hit says of the server's posts: what it has had time to post, and what nobody has heard of.
func (s *sweep) judge(e *fhir.Event, admission ledger.Admission) {
	switch {
	case s.posting.since.IsZero(), s.why == whyUnnamed, !e.LastUpdated.After(s.before.Checkpoint):
	case e.LastUpdated.Before(s.posting.since.Add(s.ahead)): // before there was a Subscription
	case admission == ledger.Newer: // it may have been posted, and wait to be looked at
	case admission == ledger.New:
		s.missed++
		s.judged++
	default:
		s.judged++
	}
}

// verdict says by name what a server does that takes our Subscription and does not post. Sweeps in a row that find such add
// up; one that finds none ends it.
func (s *sweep) verdict(ctx context.Context) {
	w := s.watchman
	if s.missed > 0 {
		w.log.WarnContext(ctx, "a sweep found what was not posted", slog.String("why", s.why), slog.Int("missed", s.missed), slog.Int("of", s.judged))
	}
	c := &w.state
	switch {
	case s.posting.nobody:
		c.Judged, c.Missed, c.Since = 0, 0, time.Time{}
	case s.judged == 0 || (s.why != whyPeriod && s.why != whyGap):
		return // we may have been away ourselves
	case s.missed == 0 && s.again:
		return
	case s.missed == 0:
		c.Judged, c.Missed, c.Since = 0, 0, time.Time{}
	case c.Judged == 0:
		c.Since = s.began
		fallthrough
	default:
		c.Judged += int64(s.judged)
		c.Missed += int64(s.missed)
	}
	w.saveVerdict(ctx, PostVerdict(*c))
}

// PostVerdict is what sweeps say of a server's posts, for people; "" for nothing.
func PostVerdict(c ledger.CatchUp) string {
	if c.Missed == 0 {
		return ""
	}
	return fmt.Sprintf("accepted our Subscription and has not posted %d of %d reports", c.Missed, c.Judged)
}

// saveVerdict writes it to our Subscriptions at the source.
func (w *watchman) saveVerdict(ctx context.Context, verdict string) {
	all, err := w.Ledger.Subscriptions(ctx, w.source.Name)
	if err != nil {
		return
	}
	for _, one := range all {
		if one.Ours() && one.Verdict != verdict {
			if err := w.Ledger.SaveVerdict(ctx, w.source.Name, one.ID, verdict); err != nil {
				return
			}
		}
	}
}
