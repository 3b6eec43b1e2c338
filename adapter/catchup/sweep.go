package catchup

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// sweep is one look at a source for what was never posted.
type sweep struct {
	*watchman

	why   string
	began time.Time // by Redis' clock
	// leaves says that what is fresh is left to the Subscription. A sweep that was asked for leaves nothing: something was
	// missed, or was not named.
	leaves bool
	progress,
	before ledger.Progress // of the type that is being looked at, now and before
	newest time.Time // of what was admitted of it
	there  snapshot  // what was there of it at the first connection; nil: not known

	pages, hits, added int // added: hints that the ledger did not know
	judged, missed     int
	posting            posting
	again              bool                       // the last one failed, and may have admitted what this one finds
	sofar              map[string]ledger.Progress // of each type when it began
}

// sweep looks at the source, and writes what came of it.
func (w *watchman) sweep(ctx context.Context, why string) {
	s := &sweep{watchman: w, why: why, began: w.state.Now, leaves: why == whyPeriod && w.source.subscribed(), again: w.failures > 0}
	w.begun, w.why = w.read, why // not now: began is Redis' clock of then, and asking for old events may have taken long
	s.posting, s.sofar = w.posting(ctx), maps.Clone(w.state.Kinds)
	err := s.all(ctx)
	if ctx.Err() != nil {
		return
	}
	s.end(ctx, err)
}

// all looks at each type. One that cannot be looked at does not keep us from the others.
func (s *sweep) all(ctx context.Context) error {
	if err := s.begin(ctx, s.kinds); err != nil {
		return err
	}
	if err := unlessPaused(ctx, s.Ledger, s.source.Name); err != nil {
		return err
	}
	var errs []error
	for _, kind := range s.kinds {
		if err := s.weighed(ctx, kind); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := s.spares(ctx); err != nil {
		errs = append(errs, err)
	}
	s.deletions(ctx)
	return errors.Join(errs...)
}

// begin notes that types are looked at from now on. One that cannot be looked at yet begins now, too: what is published until
// it can is news.
func (s *sweep) begin(ctx context.Context, kinds []kindOfSearches) error {
	var unknown []string
	for _, kind := range kinds {
		if s.state.Kinds[kind.name].Floor.IsZero() {
			unknown = append(unknown, kind.name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	_, err := s.Ledger.Connect(ctx, s.source.Name, unknown...)
	return err
}

// unlessPaused is an error where the source is left alone by everybody.
func unlessPaused(ctx context.Context, led *ledger.Ledger, source string) error {
	state, err := led.Pace().State(ctx)
	if err != nil {
		return err
	}
	if wait := time.Until(state.SourcesPausedUntil[source]); wait > 0 {
		return &fhir.Trouble{Kind: fhir.Throttled, RetryAfter: wait, Doing: "sweep", Err: errors.New("the source is paused")}
	}
	return nil
}

// kind looks at one type. Its checkpoint moves only where all that was asked for came, and may be believed.
func (s *sweep) kind(ctx context.Context, kind kindOfSearches) error {
	progress := s.state.Kinds[kind.name]
	if progress.Floor.IsZero() {
		var err error
		if progress, err = s.connect(ctx, kind); err != nil {
			return err
		}
	}
	s.progress, s.before, s.newest = progress, progress, time.Time{}
	since, err := s.window(ctx, kind.name)
	if err != nil {
		return err
	}
	some := false
	for i, search := range kind.searches {
		expected := time.Time{}
		if i == len(kind.searches)-1 && !some {
			expected = s.before.Newest // of which search that was is not known: of the last one, where the others find nothing
		}
		listed, err := search.Since(ctx, fhir.Look{
			Since: since, Expected: expected, Pace: s.pace, Clock: s.clock, Take: s.take,
		})
		s.noted(listed)
		if err != nil {
			return err
		}
		some = some || listed.Hits > 0
		s.progress.Newest = later(s.progress.Newest, listed.Newest)
	}
	s.progress = advanced(s.progress, s.began, s.ahead, s.newest)
	if err := s.Ledger.SaveProgress(ctx, s.source.Name, kind.name, s.progress); err != nil {
		return err
	}
	s.state.Kinds[kind.name] = s.progress
	return nil
}

// window is from when on a sweep asks. While what was there at the first connection is known one by one, it looks also behind
// the time of that: a node whose clock is behind dates there what it writes now.
func (s *sweep) window(ctx context.Context, kind string) (since time.Time, err error) {
	since = s.before.Checkpoint.Add(-s.source.Overlap)
	there, known := s.snapshots[kind]
	s.there = there
	if !since.Before(s.before.Floor) {
		if s.there != nil || !known {
			_ = s.Ledger.ForgetThere(ctx, s.source.Name, kind) // else it ends by itself
		}
		s.there, s.snapshots[kind] = nil, nil
		return since, nil
	}
	if !known { // this replica has not been here before
		if s.there, err = s.Ledger.There(ctx, s.source.Name, kind); err != nil {
			return since, err
		}
		s.snapshots[kind] = s.there
	}
	if s.there == nil {
		return s.before.Floor, nil
	}
	return since, nil
}

// advanced is the progress after a whole sweep that began at a time, at a server whose clock is so much ahead of Redis', and that
// admitted changes up to newest. The checkpoint is a time of the server, and never later than we began, by either clock: what
// is dated in the future hides nothing.
func advanced(p ledger.Progress, began time.Time, ahead time.Duration, newest time.Time) ledger.Progress {
	now := began.Add(min(0, ahead))
	p.Checkpoint, p.Swept = later(p.Checkpoint, earlier(newest, now)), began
	p.Newest = earlier(p.Newest, now)
	return p
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// connect begins with a type that was never looked at: from now on, by the server's clock. What was published before is told
// to nobody, until a person says so.
func (s *sweep) connect(ctx context.Context, kind kindOfSearches) (p ledger.Progress, err error) {
	firsts, err := s.Ledger.Connect(ctx, s.source.Name, kind.name)
	if err != nil {
		return p, err
	}
	first := firsts[kind.name]
	there, err := s.snapshot(ctx, kind, first)
	if err != nil {
		return p, err
	}
	if s.source.Since == 0 && there != nil {
		if err := s.Ledger.SaveThere(ctx, s.source.Name, kind.name, there); err != nil {
			return p, err
		}
	}
	delete(s.snapshots, kind.name)
	p.Floor = first.Add(s.ahead).Add(-s.source.Since).Truncate(time.Millisecond)
	p.Checkpoint = p.Floor
	if err := s.Ledger.SaveProgress(ctx, s.source.Name, kind.name, p); err != nil {
		return p, err
	}
	if s.state.First.IsZero() {
		s.state.First = first
	}
	level, said := slog.LevelError, "first connection: what was published before is told to nobody until a person says so, see staffetta catchup"
	if !s.state.Decided.IsZero() {
		level, said = slog.LevelInfo, "first connection: what becomes of what was published before is decided"
	}
	s.log.Log(ctx, level, said, slog.String("resource_type", kind.name), slog.Time("from", p.Floor)) //nolint:sloglint // one of the two above
	return p, nil
}

// snapshot is what is there of a type that changed of late, by id, version and time.
type snapshot map[ledger.Tag]bool

// snapshotMost bounds it; of a server that writes more in that time, nothing is known one by one.
const snapshotMost = 100_000

func (s *sweep) tagOf(e *fhir.Event) ledger.Tag {
	return s.Ledger.StateTag(s.source.Name, e.Type+"/"+e.ID+" "+e.Version+" "+strconv.FormatInt(e.LastUpdated.UnixMilli(), 10))
}

// snapshot is what is there of what sweeps will look behind the time of the first connection for. That is a time of Redis, and the
// server's clock is learned on the way: where it is further behind than was known, what is there is asked for once more.
func (s *sweep) snapshot(ctx context.Context, kind kindOfSearches, first time.Time) (there snapshot, err error) {
	const margin = time.Minute // a clock in whole seconds
	behind := func() time.Time { return first.Add(s.ahead - s.source.Overlap) }
	for {
		since := behind().Add(-margin)
		if there, err = s.isThere(ctx, kind, since); err != nil || !behind().Before(since) {
			return there, err
		}
	}
}

// isThere lists what is there since a time of the server.
func (s *sweep) isThere(ctx context.Context, kind kindOfSearches, since time.Time) (snapshot, error) {
	there := snapshot{}
	for _, search := range kind.searches {
		listed, err := search.Since(ctx, fhir.Look{
			Since: since, Pace: s.pace, Clock: s.clock,
			Take: func(_ context.Context, events []fhir.Event) error {
				for i := range events {
					if len(there) <= snapshotMost {
						there[s.tagOf(&events[i])] = true
					}
				}
				return nil
			},
		})
		s.noted(listed)
		if err != nil {
			return nil, err
		}
	}
	if len(there) > snapshotMost {
		return nil, nil //nolint:nilnil // what was there is known by its time only
	}
	return there, nil
}

// clock learns how far the server's clock is before Redis', as an answer begins.
func (s *sweep) clock(date time.Time) {
	if s.ahead = date.Sub(s.now()); s.ahead.Abs() < clocksSame {
		s.ahead = 0
	}
}

// noted counts what a list took, and says once what the server ignores.
func (s *sweep) noted(listed fhir.Listed) {
	w := s.watchman
	w.metrics.pages.WithLabelValues(w.source.Name).Add(float64(listed.Pages))
	s.pages += listed.Pages
	s.hits += listed.Hits
	for _, name := range listed.Ignores {
		if !w.ignored[name] {
			w.ignored[name] = true
			w.log.Warn("the server ignores a parameter of sweeps", slog.String("parameter", name), slog.Bool("read_as_a_whole", listed.Whole))
		}
	}
}

// clocksSame is a difference of clocks that is none: the server's is known to the second.
const clocksSame = 2 * time.Second

// clocksDiffer is by how much the clock of a node may be ahead of the server's. What is dated later than that never becomes
// old enough to be no longer left to the Subscription.
const clocksDiffer = 5 * time.Minute

// now is Redis' clock.
func (s *sweep) now() time.Time { return s.began.Add(time.Since(s.begun)) }

// pace waits between two calls: others read from the source too, and its records shall not pile up.
func (w *watchman) pace(ctx context.Context) error {
	if !sleep(ctx, w.PageGap) {
		return ctx.Err()
	}
	if err := unlessPaused(ctx, w.Ledger, w.source.Name); err != nil {
		return err
	}
	return waitForBacklog(ctx, w.Ledger, w.source.Name)
}

// waitForBacklog waits while many records of the source are due, but not for ever: they may wait for a person.
func waitForBacklog(ctx context.Context, led *ledger.Ledger, source string) error {
	for range backlogFor {
		n, err := led.Backlog(ctx, source)
		if err != nil || n <= backlogMax {
			return err
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
	return nil
}

// fresh says whether the server may not have had time to post a change.
func (s *sweep) fresh(at, now time.Time) bool {
	return at.After(now.Add(-min(s.Fresh, s.source.Every)))
}

// left says whether a change is left to the Subscription: it is fresh, and will not be for ever.
func (s *sweep) left(at, now time.Time) bool {
	return s.leaves && s.fresh(at, now) && at.Before(now.Add(clocksDiffer))
}

// take admits one page of changes, by the same way as a notification.
func (s *sweep) take(ctx context.Context, events []fhir.Event) error {
	now := s.now().Add(s.ahead)
	hints, of := make([]ledger.Hint, 0, len(events)), make([]*fhir.Event, 0, len(events))
	for i := range events {
		e := &events[i]
		switch {
		case e.LastUpdated.Before(s.before.Floor) && (s.there == nil || s.there[s.tagOf(e)]):
			continue // it was there before the first connection
		case s.left(e.LastUpdated, now):
			s.metrics.hits.WithLabelValues(s.source.Name, "left").Inc()
			continue
		}
		if hint, usable := s.Ledger.HintOf(s.source.Name, s.source.Shape, e, s.source.Settle); usable {
			hints, of = append(hints, hint.Aged(now.Sub(e.LastUpdated))), append(of, e)
		}
	}
	admissions, err := s.Ledger.Admit(ctx, hints)
	if err != nil {
		return err
	}
	soonest, woken := s.source.Settle, false
	for i, admission := range admissions {
		s.metrics.hits.WithLabelValues(s.source.Name, string(admission)).Inc()
		s.newest = later(s.newest, of[i].LastUpdated)
		if admission == ledger.New || admission == ledger.Newer {
			soonest, woken = min(soonest, hints[i].Settle), true
		}
		if admission == ledger.New {
			s.added++
		}
		if !s.fresh(of[i].LastUpdated, now) {
			s.judge(of[i], admission)
		}
	}
	if woken {
		s.Admitted(soonest)
	}
	return nil
}

// whyUnnamed is the reason of a sweep that a notification asked for, which did not say what changed: what it finds was posted.
const whyUnnamed = "unnamed"

// end writes what came of a sweep. It is counted last: whoever sees it counted sees all that came of it.
func (s *sweep) end(ctx context.Context, err error) {
	w := s.watchman
	result := resultOf(err)
	s.metrics.missed.WithLabelValues(s.source.Name).Add(float64(s.missed))
	if err != nil {
		w.failures++
		w.rest = time.Now().Add(w.pauseAfter(err))
		w.state.Trouble = troubleText(err)
		s.tellTrouble(ctx, result, err)
	} else {
		w.succeeded(ctx, s)
	}
	s.verdict(ctx)
	if err := w.Ledger.SweepEnded(ctx, w.source.Name, w.state); err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "what came of a sweep is not written", slog.Any("error", err))
	}
	s.metrics.sweeps.WithLabelValues(s.source.Name, s.why, result).Inc()
}

// succeeded is a whole sweep: it answers whatever was asked for before it began.
func (w *watchman) succeeded(ctx context.Context, s *sweep) {
	w.failures, w.said, w.gapOpen = 0, "", false
	w.state.Served, w.state.Trouble = w.state.Wanted, ""
	switch {
	case s.added > 0 || s.why == whyPeriod:
		w.gap = w.Rest
	default:
		w.gap = min(2*w.gap, wantedMost*w.Rest)
	}
	w.rest = w.begun.Add(w.gap)
	w.closeGaps(ctx, s.began.Add(-w.Grace+time.Millisecond))
	level := slog.LevelDebug
	if s.added > 0 {
		level = slog.LevelInfo
	}
	w.log.Log(ctx, level, "swept", slog.String("why", s.why), slog.Int("pages", s.pages), slog.Int("hits", s.hits), slog.Int("new", s.added))
}

// The results of sweeps.
const (
	complete    = "complete"
	notCredible = "not-credible"
	cannotList  = "cannot-list"
	failed      = "failed"
)

func resultOf(err error) string {
	switch {
	case err == nil:
		return complete
	case errors.Is(err, fhir.ErrCannotList):
		return cannotList
	case errors.Is(err, fhir.ErrNotCredible):
		return notCredible
	}
	return failed
}

// troubleText is the first trouble, as people are told; no error holds what the source wrote.
func troubleText(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// tellTrouble says once what is wrong. Where a server cannot be swept, or does not let us, a person must act.
func (s *sweep) tellTrouble(ctx context.Context, result string, err error) {
	w := s.watchman
	if errors.Is(err, ledger.ErrUnavailable) || w.said == w.state.Trouble {
		w.log.DebugContext(ctx, "sweep again without success", slog.String("result", result), slog.Any("error", err))
		return
	}
	w.said = w.state.Trouble
	level := slog.LevelWarn
	trouble, is := errors.AsType[*fhir.Trouble](err)
	if result == cannotList || (is && trouble.Kind == fhir.Unauthorized) {
		level = slog.LevelError
	}
	w.log.Log(ctx, level, "what was never posted cannot be looked for", slog.String("why", s.why), slog.String("result", result), slog.Any("error", err))
}

// pauseAfter is how long to wait after a failure.
func (w *watchman) pauseAfter(err error) time.Duration {
	longest := max(w.source.Every, time.Minute)
	pause := longest
	if n := w.failures - 1; n < 10 {
		pause = min(longest, failedRest*w.Rest<<n)
	}
	if resultOf(err) == cannotList {
		pause = longest
	}
	if trouble, is := errors.AsType[*fhir.Trouble](err); is {
		pause = max(pause, trouble.RetryAfter)
	}
	return pause
}
