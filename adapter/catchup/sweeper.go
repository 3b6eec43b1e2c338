package catchup

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// Swept is one source that is looked at for what it has never posted.
type Swept struct {
	Name       string
	Shape      fhir.Shape
	Source     *fhir.Source
	Subscriber *fhir.Subscriber // asks for old events and for statuses, and writes nothing; nil: the source has no Subscription
	Searches   []string         // what finds all that we want to be told of
	Spare      []string         // searches beside them, where the server lists them; that it refuses them is no failure
	Every      time.Duration    // between two periodic sweeps; 0: none
	Since      time.Duration    // how far back the first one goes
	Overlap    time.Duration    // how far each goes back behind what the last one saw
	Settle     time.Duration    // for hints on documents
	Kept       bool             // a Keeper keeps its Subscriptions: it repairs them
}

// subscribed says whether the source should post.
func (s Swept) subscribed() bool { return s.Subscriber != nil }

// SweeperOptions are what a Sweeper needs.
type SweeperOptions struct {
	Ledger  *ledger.Ledger
	Sources []Swept
	// Admitted, where set, is called after hints were written that somebody must look at after so long. It must not block.
	Admitted func(after time.Duration)
	Keeper   *Keeper // is woken where a Subscription was stopped; may be nil
	Metrics  prometheus.Registerer
	Log      *slog.Logger

	Lease   time.Duration // zero: 15 s; after a crash another replica takes over so much later
	Tick    time.Duration // between two looks at what is wanted; zero: 1 s
	Grace   time.Duration // that event numbers may be out of order; zero: 20 s
	PageGap time.Duration // between two calls of a sweep; zero: 200 ms
	Rest    time.Duration // between two sweeps that are asked for; zero: 1 s. It widens where they find nothing, or fail.
	// Fresh is how long what changed is left to the Subscription by periodic sweeps, as long as they are apart at most; zero:
	// 30 s. A server that posts has that long to do so.
	Fresh time.Duration
}

// Sweeper looks for what sources have never posted: by searches for what changed, and by the numbers of events. One replica
// at a time looks after a source. What was deleted is in no search: a hint tells of it, the events of a gap, the history of its type
// where the server lists one, or the look at a document before it is sent.
type Sweeper struct {
	SweeperOptions

	wakes // Wake: a sweep is wanted

	metrics *metrics
}

const (
	wantedMost = 30   // rests, where sweeps that are asked for find nothing: a sender could make us ask for ever
	failedRest = 5    // rests after a sweep that failed, twice as many after each further one
	backlogMax = 2000 // records of a source that are due: more are not added at once
	backlogFor = 30   // seconds that a page waits for them at most
)

// NewSweeper makes a Sweeper; Run starts it. It fails where a search is none.
func NewSweeper(o SweeperOptions) (*Sweeper, error) {
	for _, source := range o.Sources {
		if _, err := kindsOfSearches(source.Source, slices.Concat(source.Searches, source.Spare)); err != nil {
			return nil, err
		}
	}
	s := &Sweeper{SweeperOptions: o, metrics: newMetrics(o.Metrics), wakes: wakes{}}
	for _, source := range o.Sources {
		s.add(source.Name)
	}
	if s.Admitted == nil {
		s.Admitted = func(time.Duration) {}
	}
	s.Lease, s.Tick = cmp.Or(s.Lease, 15*time.Second), cmp.Or(s.Tick, time.Second)
	s.Grace, s.PageGap = cmp.Or(s.Grace, 20*time.Second), cmp.Or(s.PageGap, 200*time.Millisecond)
	s.Rest, s.Fresh = cmp.Or(s.Rest, time.Second), cmp.Or(s.Fresh, 30*time.Second)
	return s, nil
}

// Run looks after all sources until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	var sources sync.WaitGroup
	for _, source := range s.Sources {
		sources.Go(func() {
			lead(ctx, s.Ledger.Lease("sweep:"+source.Name, s.Lease), s.Log, func(ctx context.Context) { s.attend(ctx, source) })
		})
	}
	sources.Wait()
	return nil
}

// attend looks after one source until ctx ends.
func (s *Sweeper) attend(ctx context.Context, source Swept) {
	defer s.metrics.forget(source.Name)
	w, err := s.watchman(source)
	if err != nil {
		return // NewSweeper has seen that there is none
	}
	for ctx.Err() == nil {
		w.round(ctx)
		timer := time.NewTimer(s.Tick)
		select {
		case <-ctx.Done():
		case <-s.wakes[source.Name]:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *Sweeper) watchman(source Swept) (*watchman, error) {
	kinds, err := kindsOfSearches(source.Source, source.Searches)
	return &watchman{
		Sweeper: s, source: source, kinds: kinds, log: s.Log.With(slog.String("source", source.Name)), gap: s.Rest,
		spare: spare{refused: map[string]time.Time{}}, deleted: deletions{until: map[string]time.Time{}, seen: map[string]time.Time{}},
		ignored: map[string]bool{}, snapshots: map[string]snapshot{}, inquiries: map[string]*inquiry{}, repaired: map[string]time.Time{},
	}, err
}

// kindOfSearches is one resource type, with all searches for it.
type kindOfSearches struct {
	name     string
	searches []*fhir.Changes
}

// kindsOfSearches prepares the searches of a source, those of one type together: they share a checkpoint.
func kindsOfSearches(source *fhir.Source, searches []string) (kinds []kindOfSearches, err error) {
	for _, text := range searches {
		search, err := source.Changes(text)
		if err != nil {
			return nil, err
		}
		known := false
		for i := range kinds {
			if kinds[i].name == search.Kind() {
				kinds[i].searches, known = append(kinds[i].searches, search), true
			}
		}
		if !known {
			kinds = append(kinds, kindOfSearches{search.Kind(), []*fhir.Changes{search}})
		}
	}
	return kinds, nil
}

// watchman looks after one source.
type watchman struct {
	*Sweeper

	source  Swept
	kinds   []kindOfSearches
	spare   spare
	deleted deletions
	log     *slog.Logger
	state   ledger.CatchUp

	read     time.Time     // when the state was asked for
	begun    time.Time     // when the last sweep began: when what it goes by was asked for; zero: none did
	rest     time.Time     // no sweep before
	gap      time.Duration // between two sweeps that are asked for
	failures int           // in a row
	why      string        // of the last sweep
	said     string        // the trouble that was logged last
	gapOpen  bool          // events did not come back: a sweep must find them
	ahead    time.Duration // of the server's clock before Redis'
	// snapshots are what was there at the first connection, by type, for as long as sweeps look behind it.
	snapshots map[string]snapshot
	ignored   map[string]bool // parameters that the server was said to ignore

	here      time.Time            // since when it has listened without a break, by Redis' clock
	listed    time.Time            // when Subscriptions were read last
	inquiries map[string]*inquiry  // for old events, by Subscription
	repaired  map[string]time.Time // when a repair was asked for, by Subscription
}

// round does what is to be done now.
func (w *watchman) round(ctx context.Context) {
	asked := time.Now()
	state, heard, err := w.Ledger.CatchUp(ctx, w.source.Name)
	if err != nil {
		w.here = time.Time{}
		return // the ledger says aloud that redis is away; the tally asks for a sweep when it is back
	}
	if w.state, w.read = state, asked; w.here.IsZero() {
		w.here = state.Now
	}
	w.listen(ctx, heard)
	w.gauge()
	if why := w.due(); why != "" && ctx.Err() == nil {
		w.sweep(ctx, why)
	}
	w.gauge()
}

func (w *watchman) gauge() {
	oldest := w.state.Now
	for _, kind := range w.kinds {
		oldest = earlier(oldest, cmp.Or(w.state.Kinds[kind.name].Swept, w.state.Begun[kind.name], w.state.Now))
	}
	for _, kind := range w.spare.kinds {
		oldest = earlier(oldest, cmp.Or(w.state.Kinds[kind.name].Swept, w.state.Now)) // it may be refused
	}
	w.metrics.age.set(w.source.Name, time.Now().Add(-w.state.Now.Sub(oldest)))
	undecided := 0.0
	if w.state.Undecided() {
		undecided = 1
	}
	w.metrics.undecided.WithLabelValues(w.source.Name).Set(undecided)
}

// The reasons of sweeps that nobody else asks for.
const (
	whyStart  = "start"
	whyPeriod = "period"
	whyGap    = "gap"
)

// due is why a sweep is to be made now; "" where none is.
func (w *watchman) due() string {
	now := time.Now()
	switch {
	case now.Before(w.rest):
	case w.begun.IsZero():
		return whyStart
	case w.state.Open(): // also where another one has failed: this one leaves nothing to the Subscription
		return w.state.Why
	case w.gapOpen:
		return whyGap
	case w.failures > 0:
		return w.why
	case w.source.Every > 0 && now.Sub(w.begun) >= w.source.Every:
		return whyPeriod
	}
	return ""
}
