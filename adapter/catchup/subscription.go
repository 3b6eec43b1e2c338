package catchup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// Ensure makes a source have our Subscriptions as they are wanted, and remembers how they stand, also where it fails half
// way.
func Ensure(ctx context.Context, led *ledger.Ledger, source string, s *fhir.Subscriber) (fhir.Ensured, error) {
	known, err := Remembered(ctx, led, source)
	if err != nil {
		return fhir.Ensured{}, err
	}
	e, ensureErr := s.Ensure(ctx, known)
	if err := Note(ctx, led, source, e.Kept); err != nil || ensureErr != nil {
		return e, errors.Join(ensureErr, err)
	}
	for _, r := range known {
		if slices.ContainsFunc(e.Kept, func(k fhir.Kept) bool { return k.ID == r.ID && k.Deed != fhir.Removed }) {
			continue
		}
		if err := led.ForgetSubscription(ctx, source, r.ID); err != nil {
			return e, err
		}
	}
	return e, nil
}

const rememberTime = 10 * time.Second

// Remembered is what the ledger knows of our Subscriptions at a source.
func Remembered(ctx context.Context, led *ledger.Ledger, source string) ([]fhir.Remembered, error) {
	all, err := led.Subscriptions(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("read what is remembered of subscriptions: %w", err)
	}
	known := make([]fhir.Remembered, 0, len(all))
	for _, one := range all {
		if one.Ours() {
			known = append(known, fhir.Remembered{ID: one.ID, Endpoint: one.Endpoint, Fingerprint: one.Fingerprint})
		}
	}
	return known, nil
}

// Note remembers how our Subscriptions stand, and asks for a sweep where one may not have told of all until now. What was done at
// the server must not be forgotten because we are told to stop.
func Note(ctx context.Context, led *ledger.Ledger, source string, kept []fhir.Kept) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberTime)
	defer cancel()
	before, err := led.Subscriptions(ctx, source)
	if err != nil {
		return fmt.Errorf("read what is remembered of subscriptions: %w", err)
	}
	why := ""
	for _, k := range kept {
		if k.Deed != fhir.Removed {
			why = cmp.Or(whyInterrupted(k, before), why)
		}
	}
	if why != "" { // first: what is remembered is not asked about again
		if err := led.WantCatchUp(ctx, source, why); err != nil {
			return fmt.Errorf("ask for a sweep: %w", err)
		}
	}
	for _, k := range kept {
		if k.Deed == fhir.Removed {
			continue
		}
		if err := remember(ctx, led, source, k); err != nil {
			return err
		}
	}
	return nil
}

// whyInterrupted is why a Subscription may not have told of all until now, of which something else was known before; "" where it
// has. What is not active yet is asked about again when it is.
func whyInterrupted(k fhir.Kept, before []ledger.Subscription) string {
	if k.Deed == fhir.Reactivated {
		return "subscription-stopped"
	}
	if k.Interrupted() {
		return "subscription-" + string(k.Deed)
	}
	was := func(s ledger.Subscription) bool { return s.ID == k.ID && s.Status == "active" }
	if k.Active() && !slices.ContainsFunc(before, was) {
		return "subscription-active"
	}
	return ""
}

func remember(ctx context.Context, led *ledger.Ledger, source string, k fhir.Kept) error {
	err := led.RememberSubscription(ctx, source, ledger.Subscription{
		ID: k.ID, Endpoint: k.Endpoint, Fingerprint: k.Fingerprint, Status: k.Status, Events: k.Events, Heartbeat: k.Heartbeat,
		Anew: k.Interrupted(),
	})
	if err != nil {
		return fmt.Errorf("remember subscription: %w", err)
	}
	return nil
}

// Forget drops what the ledger knows of Subscriptions that were removed.
func Forget(ctx context.Context, led *ledger.Ledger, source string, removed []fhir.Kept) error {
	for _, k := range removed {
		if err := led.ForgetSubscription(ctx, source, k.ID); err != nil {
			return fmt.Errorf("forget subscription: %w", err)
		}
	}
	return nil
}

// Source is one source whose Subscriptions are kept.
type Source struct {
	Name       string
	Subscriber *fhir.Subscriber
}

// KeeperOptions are what a Keeper needs.
type KeeperOptions struct {
	Ledger  *ledger.Ledger
	Sources []Source
	Metrics prometheus.Registerer
	Log     *slog.Logger
	// First and Longest are the gaps between two looks at a server: they widen as long as nothing changes. Zero: 10 s, 15 min.
	First, Longest time.Duration
	Lease          time.Duration // zero: 15 s; after a crash another replica takes over so much later
	Poll           time.Duration // how often it is asked whether a look is wanted at once; zero: 2 s
	Soonest        time.Duration // after a look, another one that is wanted at once is made; zero: First
}

// Keeper keeps our Subscriptions healthy: it creates them, renews them before they end, and repairs what servers stopped.
type Keeper struct {
	KeeperOptions

	// Wake: it was heard that a Subscription was stopped. Where another replica keeps it, ledger.WantRepair tells that one.
	wakes

	active *prometheus.GaugeVec
	deeds  *prometheus.CounterVec
}

// NewKeeper makes a Keeper; Run starts it.
func NewKeeper(o KeeperOptions) *Keeper {
	k := &Keeper{
		KeeperOptions: o,
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "staffetta_subscription_active", Help: "1 while all our Subscriptions at the source are active; only the replica that keeps them has it.",
		}, []string{"source"}),
		deeds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "staffetta_subscription_deeds_total", Help: "What was done about our Subscriptions, or `failed`.",
		}, []string{"source", "deed"}),
	}
	if k.First <= 0 {
		k.First = 10 * time.Second
	}
	if k.Longest <= 0 {
		k.Longest = 15 * time.Minute
	}
	if k.Lease <= 0 {
		k.Lease = 15 * time.Second
	}
	if k.Poll <= 0 {
		k.Poll = 2 * time.Second
	}
	if k.Soonest <= 0 {
		k.Soonest = k.First
	}
	k.wakes = wakes{}
	for _, s := range k.Sources {
		k.add(s.Name)
	}
	o.Metrics.MustRegister(k.active, k.deeds)
	return k
}

// Run keeps the Subscriptions of all sources until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	var sources sync.WaitGroup
	for _, s := range k.Sources {
		sources.Go(func() {
			lead(ctx, k.Ledger.Lease("subscription:"+s.Name, k.Lease), k.Log, func(ctx context.Context) { k.keep(ctx, s) })
		})
	}
	sources.Wait()
	return nil
}

// keep looks at one server again and again, until ctx ends.
func (k *Keeper) keep(ctx context.Context, s Source) {
	defer k.active.DeleteLabelValues(s.Name) // whoever keeps them next says how they are
	watch := watch{keeper: k, source: s.Name, gap: k.First}
	watch.repairs, _ = k.Ledger.Repairs(ctx, s.Name) // one more look does no harm
	for {
		e, err := Ensure(ctx, k.Ledger, s.Name, s.Subscriber)
		if ctx.Err() != nil {
			return
		}
		watch.tell(ctx, e, err)
		if !watch.rest(ctx, watch.next(e, err)) {
			return
		}
	}
}

// watch is how a source stood at the last look.
type watch struct {
	keeper  *Keeper
	source  string
	looked  bool
	well    bool
	said    map[string]string // statuses by id, as they were said last: each is said once
	foreign int
	gap     time.Duration
	created int   // looks in a row that had to create
	repairs int64 // that were asked for by others so far
}

// A server on which what we create is not there afterwards gets no new Subscription at each look: after a few it is left for
// longer, and a person must see why.
const (
	createdInVain = 3
	vainGap       = 6 * time.Hour
)

// next is how long until the next look. The gaps widen, also while a repair does not help: a server that cannot reach us is
// not helped by more requests.
func (w *watch) next(e fhir.Ensured, err error) time.Duration {
	k := w.keeper
	well := err == nil && !slices.ContainsFunc(e.Kept, func(kept fhir.Kept) bool { return !kept.Active() || kept.Deed != fhir.Unchanged })
	if w.looked && well == w.well {
		w.gap = min(2*w.gap, k.Longest)
	} else {
		w.gap = k.First
	}
	w.looked, w.well = true, well
	if w.created <= 1 && slices.ContainsFunc(e.Kept, func(kept fhir.Kept) bool { return kept.Deed != fhir.Unchanged && kept.Status == "requested" }) {
		w.gap = k.First / 5 // most servers make it active within a moment
	}
	gap := w.gap
	for _, kept := range e.Kept {
		if !kept.End.IsZero() {
			gap = min(gap, max(k.First, time.Until(kept.End)/4)) // before less than a third of its life is left
		}
	}
	if w.created >= createdInVain {
		gap = vainGap
	}
	if trouble, is := errors.AsType[*fhir.Trouble](err); is {
		gap = max(gap, trouble.RetryAfter)
	}
	return gap
}

// rest waits until the next look, or until one is wanted at once; false where ctx has ended. A server that keeps nothing is
// left alone all the same, and nobody can make us look again and again.
func (w *watch) rest(ctx context.Context, gap time.Duration) bool {
	k, until := w.keeper, time.Now().Add(gap)
	if w.created >= createdInVain {
		return sleep(ctx, gap)
	}
	if !sleep(ctx, min(gap, k.Soonest)) {
		return false
	}
	for time.Until(until) > 0 {
		if n, err := k.Ledger.Repairs(ctx, w.source); err == nil && n != w.repairs {
			w.repairs = n
			return true
		}
		timer := time.NewTimer(min(k.Poll, time.Until(until)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-k.wakes[w.source]: // and it was counted, too
		case <-timer.C:
		}
		timer.Stop()
	}
	return true
}

// tell writes metrics and the log.
func (w *watch) tell(ctx context.Context, e fhir.Ensured, err error) {
	log, value := w.keeper.Log.With(slog.String("source", w.source)), 0.0
	for _, kept := range e.Kept {
		w.keeper.deeds.WithLabelValues(w.source, string(kept.Deed)).Inc()
		w.tellDeed(ctx, log, kept)
	}
	w.countCreated(ctx, log, e)
	for _, refused := range e.Refused {
		if refused.Spare { // any other one is in err
			log.WarnContext(ctx, "a subscription is refused by the server: what it would tell of is looked for by sweeps",
				slog.String("criteria", refused.Criteria), slog.Any("error", refused.Err))
		}
	}
	if !w.looked {
		for _, warning := range e.Choice.Warnings {
			log.WarnContext(ctx, "subscription may not work", slog.String("warning", warning))
		}
	}
	if e.Foreign != w.foreign && err == nil {
		if w.foreign = e.Foreign; e.Foreign > 0 {
			log.WarnContext(ctx, "subscriptions that are not ours post to our endpoint", slog.Int("subscriptions", e.Foreign))
		}
	}
	if err != nil {
		w.keeper.deeds.WithLabelValues(w.source, "failed").Inc()
		w.tellTrouble(ctx, log, err)
	} else {
		if !slices.ContainsFunc(e.Kept, func(kept fhir.Kept) bool { return kept.Deed != fhir.Removed && !kept.Active() }) {
			value = 1
		}
		w.tellState(ctx, log, e)
	}
	w.keeper.active.WithLabelValues(w.source).Set(value)
}

// countCreated notices a server that keeps nothing.
func (w *watch) countCreated(ctx context.Context, log *slog.Logger, e fhir.Ensured) {
	if !slices.ContainsFunc(e.Kept, func(kept fhir.Kept) bool { return kept.Deed == fhir.Created }) {
		w.created = 0
		return
	}
	if w.created++; w.created >= createdInVain {
		log.ErrorContext(ctx, "subscriptions that we create are not there afterwards", slog.Int("times", w.created))
	}
}

// tellDeed says what was done. What a server had stopped healed, and somebody should look why.
func (w *watch) tellDeed(ctx context.Context, log *slog.Logger, kept fhir.Kept) {
	level := slog.LevelInfo
	switch kept.Deed {
	case fhir.Unchanged:
		return
	case fhir.Reactivated:
		level = slog.LevelWarn
	case fhir.Created, fhir.Renewed, fhir.Replaced, fhir.Removed:
	}
	log.Log(ctx, level, "subscription kept", slog.String("subscription", kept.ID), slog.String("deed", string(kept.Deed)),
		slog.String("why", kept.Why), slog.String("status", kept.Status), slog.String("trouble", kept.Trouble))
}

// tellState says once that Subscriptions are active, or that they are not.
func (w *watch) tellState(ctx context.Context, log *slog.Logger, e fhir.Ensured) {
	said := map[string]string{}
	for _, kept := range e.Kept {
		if kept.Deed != fhir.Removed {
			said[kept.ID] = kept.Status
		}
	}
	if maps.Equal(said, w.said) {
		return
	}
	w.said = said
	for _, kept := range e.Kept {
		switch {
		case kept.Deed == fhir.Removed:
		case kept.Active():
			log.InfoContext(ctx, "subscription is active", slog.String("subscription", kept.ID), slog.String("flavour", string(e.Choice.Flavour)))
		case kept.Deed == fhir.Unchanged:
			log.WarnContext(ctx, "subscription is not active", slog.String("subscription", kept.ID), slog.String("status", kept.Status),
				slog.String("trouble", kept.Trouble))
		}
	}
}

// tellTrouble is an error where a person must act: we are not allowed, or what is configured cannot be had.
func (w *watch) tellTrouble(ctx context.Context, log *slog.Logger, err error) {
	level := slog.LevelError
	trouble, is := errors.AsType[*fhir.Trouble](err)
	if errors.Is(err, ledger.ErrUnavailable) || (is && (trouble.Kind == fhir.Unavailable || trouble.Kind == fhir.Throttled)) {
		level = slog.LevelWarn
	}
	log.Log(ctx, level, "subscription cannot be kept", slog.Any("error", err))
}
