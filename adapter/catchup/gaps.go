package catchup

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

const (
	listAgain        = 5 * time.Second  // Subscriptions are read again, also where nothing is heard of them
	foreignMost      = 64               // Subscriptions that we did not write, and are told apart
	repairAgain      = time.Minute      // a repair of one Subscription is asked for
	statusGone       = "gone"           // of a Subscription that its server does not have any more
	noEventsFor      = 6 * time.Hour    // a Subscription without $events is not asked for again
	eventsRefusedFor = 10 * time.Minute // nor one whose events were refused for another reason
	eventTries       = 10               // to get the events of a gap from a server in trouble, ever further apart
	eventsRest       = 15 * time.Minute // and so far at most
)

// listen adds what was heard to what is known of each Subscription, and does what follows from it.
func (w *watchman) listen(ctx context.Context, heard []ledger.Heard) {
	if len(heard) == 0 && (!w.source.subscribed() || time.Since(w.listed) < min(listAgain, 5*w.Tick)) {
		return
	}
	all, err := w.Ledger.Subscriptions(ctx, w.source.Name)
	if err != nil {
		return // what was heard is lost, and will look like a gap
	}
	w.listed = time.Now()
	open := 0
	for i := range withHeard(&all, heard) {
		w.attendTo(ctx, &all[i], heard)
		open += len(all[i].Count.Gaps)
	}
	w.metrics.gapsOpen.WithLabelValues(w.source.Name).Set(float64(open))
}

// withHeard adds Subscriptions that are only heard of, as many as are told apart.
func withHeard(all *[]ledger.Subscription, heard []ledger.Heard) []ledger.Subscription {
	for _, h := range heard {
		named := func(s ledger.Subscription) bool { return s.ID == h.Subscription }
		if !slices.ContainsFunc(*all, named) && len(*all) < foreignMost {
			*all = append(*all, ledger.Subscription{ID: h.Subscription, Events: -1})
		}
	}
	return *all
}

// attendTo looks after one Subscription.
func (w *watchman) attendTo(ctx context.Context, s *ledger.Subscription, heard []ledger.Heard) {
	c, now := counter{&s.Count, w.Grace}, w.state.Now
	changed, useless := false, s.Count.Useless
	for _, h := range heard {
		if h.Subscription != s.ID {
			continue
		}
		changed = true
		if c.hear(h, now) {
			w.countedAnew(ctx, s)
		}
		switch h.Status {
		case "error", "off":
			w.stopped(ctx, s, h.Status)
		case "active":
			w.says(ctx, s, h.Status)
		}
	}
	if s.Count.Useless && !useless {
		w.log.WarnContext(ctx, "event numbers of a Subscription begin anew again and again: they say nothing, and are not looked at any more",
			slog.String("subscription", s.ID))
	}
	changed = w.silence(ctx, s, c) || changed
	changed = w.recover(ctx, s, c) || changed
	if changed {
		if err := w.Ledger.SaveCount(ctx, w.source.Name, s.ID, s.Count, s.Ours()); err != nil && ctx.Err() == nil {
			w.log.DebugContext(ctx, "what was heard is not written", slog.Any("error", err))
		}
	}
}

// countedAnew is a server that was restarted: what it had still to post may be lost.
func (w *watchman) countedAnew(ctx context.Context, s *ledger.Subscription) {
	w.metrics.gaps.WithLabelValues(w.source.Name, "counted-anew").Inc()
	w.log.WarnContext(ctx, "the server counts the events of a Subscription anew: what was missed is looked for", slog.String("subscription", s.ID))
	w.gapOpen = true
}

// silence is a Subscription that promised heartbeats and has not been heard of: what it had to tell may be lost, whatever its
// server says of it. A sweep is asked for once, and its status as often as it should have been heard of. While nobody was there to
// listen, nobody was silent.
func (w *watchman) silence(ctx context.Context, s *ledger.Subscription, c counter) (changed bool) {
	now, last := w.state.Now, later(later(c.Heard, s.Since), w.here)
	if !w.source.subscribed() || !s.Ours() || s.Heartbeat <= 0 || s.Status != "active" || now.Sub(last) <= s.Heartbeat*3/2 || now.Sub(c.Asked) <= s.Heartbeat {
		return false
	}
	first := !c.Asked.After(last)
	if first {
		if err := w.Ledger.WantCatchUp(ctx, w.source.Name, "silence"); err != nil {
			return false // in the next round
		}
	}
	c.Asked = now
	status, there, err := w.source.Subscriber.Status(ctx, s.ID)
	if err != nil {
		w.log.DebugContext(ctx, "status of a silent Subscription not known", slog.Any("error", err))
		return true
	}
	level := slog.LevelDebug
	if first {
		level = slog.LevelWarn
	}
	w.log.Log(ctx, level, "a Subscription is silent for longer than its heartbeat", slog.String("subscription", s.ID),
		slog.String("silent", now.Sub(last).Truncate(time.Second).String()), slog.String("status", status.Status), slog.String("trouble", status.Trouble))
	switch {
	case !there:
		w.stopped(ctx, s, statusGone)
	case status.Status == "error" || status.Status == "off":
		w.stopped(ctx, s, status.Status)
	}
	if status.Events >= 0 && there && c.beat(status.Events, now) {
		w.countedAnew(ctx, s)
	}
	return true
}

// says notes the status of a Subscription that nobody keeps but a person, as its server says. What happened before it was active
// is looked for.
func (w *watchman) says(ctx context.Context, s *ledger.Subscription, status string) {
	if w.source.Kept || !s.Ours() || s.Status == status {
		return
	}
	if status == "active" {
		if err := w.Ledger.WantCatchUp(ctx, w.source.Name, "subscription-active"); err != nil {
			return // it will say so again
		}
	}
	now := *s
	now.Status = status
	if err := w.Ledger.RememberSubscription(ctx, w.source.Name, now); err == nil {
		s.Status, s.Since = status, w.state.Now
	}
}

// stopped is a Subscription whose server does not deliver any more. Its keeper repairs it, or a person must.
func (w *watchman) stopped(ctx context.Context, s *ledger.Subscription, status string) {
	if last := w.repaired[s.ID]; (w.source.Kept && !s.Ours()) || time.Since(last) < repairAgain {
		return
	}
	w.repaired[s.ID] = time.Now()
	if !w.source.Kept {
		w.log.ErrorContext(ctx, "a Subscription was stopped by its server: see staffetta subscribe", slog.String("subscription", s.ID), slog.String("status", status))
		w.says(ctx, s, status)
		return
	}
	w.log.WarnContext(ctx, "a Subscription was stopped by its server, and is repaired", slog.String("subscription", s.ID), slog.String("status", status))
	if err := w.Ledger.WantRepair(ctx, w.source.Name); err != nil {
		delete(w.repaired, s.ID)
		return
	}
	if w.Keeper != nil {
		w.Keeper.Wake(w.source.Name)
	}
}

// inquiry is how asking for the old events of a Subscription has gone.
type inquiry struct {
	asked time.Time // up to when gaps that opened were asked for
	not   time.Time // not again before
	tries int       // in a row that failed for the moment: the gaps are kept, and asked for again
}

// inquiry is that of a Subscription.
func (w *watchman) inquiry(id string) *inquiry {
	if w.inquiries[id] == nil {
		w.inquiries[id] = &inquiry{}
	}
	return w.inquiries[id]
}

// recover gets what is missing: from the server where it still has it, else by a sweep.
func (w *watchman) recover(ctx context.Context, s *ledger.Subscription, c counter) (changed bool) {
	q := w.inquiry(s.ID)
	for _, gap := range c.due(w.state.Now) {
		switch {
		case !gap.Since.After(q.asked):
			continue // the server has not had all of it; the sweep is under way
		case q.tries >= eventTries:
			continue // a sweep must do
		case q.tries > 0 && time.Now().Before(q.not):
			return changed
		case q.tries == 0:
			w.log.WarnContext(ctx, "events of a Subscription are missing, and are looked for", slog.String("subscription", s.ID),
				slog.Int64("missing", gap.To-gap.From+1))
		}
		found, err := w.events(ctx, s, gap)
		switch {
		case ctx.Err() != nil:
			return changed
		case found:
			q.tries = 0
			c.fill(gap.Span)
			w.metrics.gaps.WithLabelValues(w.source.Name, "events").Inc()
			changed = true
			continue
		case err != nil && w.waits(ctx, q, err):
			return changed
		}
		w.gapOpen = true
	}
	if due := c.due(w.state.Now); len(due) > 0 {
		q.asked = due[len(due)-1].Since
	}
	q.tries = 0
	return changed
}

// waits notes why old events did not come. Where the server is in trouble for the moment, or Redis, a sweep looks at once, and the
// events are asked for again later: only they tell of what was deleted.
func (w *watchman) waits(ctx context.Context, q *inquiry, err error) bool {
	if errors.Is(err, fhir.ErrNoEvents) {
		if q.not.Before(time.Now()) {
			q.not = time.Now().Add(noEventsFor)
		}
		return false
	}
	w.log.WarnContext(ctx, "missing events not asked for", slog.Any("error", err))
	wait := time.Duration(0)
	switch trouble, is := errors.AsType[*fhir.Trouble](err); {
	case errors.Is(err, ledger.ErrUnavailable): // what came was not admitted
	case is && trouble.Kind == fhir.Throttled:
		wait = trouble.RetryAfter
		w.rest = later(w.rest, time.Now().Add(wait))
	case is && trouble.Kind == fhir.Unavailable:
		wait = trouble.RetryAfter
	default:
		q.not = time.Now().Add(eventsRefusedFor)
		return false
	}
	w.gapOpen = true
	if q.tries++; q.tries >= eventTries {
		return false
	}
	q.not = time.Now().Add(max(wait, min(failedRest*w.Rest<<q.tries, eventsRest)))
	return true
}

// events asks the server for the events of a gap; true where it had all of them.
func (w *watchman) events(ctx context.Context, s *ledger.Subscription, gap ledger.Gap) (bool, error) {
	if w.source.Subscriber == nil || (w.inquiry(s.ID).tries == 0 && time.Now().Before(w.inquiry(s.ID).not)) {
		return false, fhir.ErrNoEvents
	}
	return w.source.Subscriber.Events(ctx, fhir.EventRange{
		Subscription: s.ID, From: gap.From, To: gap.To, Pace: w.pace, Take: w.takeEvents,
	})
}

// takeEvents admits old events, as those of a notification.
func (w *watchman) takeEvents(ctx context.Context, events []fhir.Event) error {
	hints := make([]ledger.Hint, 0, len(events))
	for i := range events {
		if hint, usable := w.Ledger.HintOf(w.source.Name, w.source.Shape, &events[i], w.source.Settle); usable {
			hints = append(hints, hint)
		}
	}
	admissions, err := w.Ledger.Admit(ctx, hints)
	if err != nil {
		return err
	}
	missed := 0
	for _, admission := range admissions {
		if admission == ledger.New {
			missed++
		}
	}
	w.metrics.missed.WithLabelValues(w.source.Name).Add(float64(missed))
	if len(hints) > 0 {
		w.Admitted(0)
	}
	return nil
}

// closeGaps closes what was open before a time: a whole sweep has found it.
func (w *watchman) closeGaps(ctx context.Context, before time.Time) {
	all, err := w.Ledger.Subscriptions(ctx, w.source.Name)
	if err != nil {
		return
	}
	for i := range all {
		s := &all[i]
		if w.inquiry(s.ID).tries > 0 {
			continue // its events are asked for again: they tell of what was deleted
		}
		if closed := (counter{&s.Count, w.Grace}).recovered(before); closed > 0 {
			w.metrics.gaps.WithLabelValues(w.source.Name, "sweep").Add(float64(closed))
			if err := w.Ledger.SaveCount(ctx, w.source.Name, s.ID, s.Count, s.Ours()); err != nil {
				return
			}
		}
	}
}
