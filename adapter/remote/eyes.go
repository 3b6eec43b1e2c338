package remote

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"staffetta/adapter/ledger"
	"staffetta/adapter/relay"
	"staffetta/fhir"
)

// How long a document that was looked at is believed, and how many are remembered; how long one look may take, while those who
// asked for it may have gone; how many looks one source gets at once.
const (
	fresh       = 5 * time.Second
	remembered  = 4096
	longestLook = 5 * time.Second
	atOnce      = 16
)

// A source that fails so often in a row is left alone for a while: a storm of openings must not keep it down.
const (
	failsInARow = 5
	leftAlone   = 5 * time.Second
)

// Why a document could not be looked at.
var (
	errForgotten = errors.New("forgotten")         // its whereabouts are no longer kept
	errNoSource  = errors.New("source-unknown")    // its source is no longer configured
	errSource    = errors.New("source-in-trouble") // it does not answer, or not usably
	errTooSlow   = errors.New("source-too-slow")   // it has not answered yet
	errLedger    = errors.New("ledger-in-trouble") // Redis, or a seal that no key opens
)

// sight is a document as its source showed it.
type sight struct {
	source relay.Source
	name   string // of the source
	doc    fhir.Document
	at     time.Time

	released    []string // by a person, for that edition only
	releasedFor ledger.Tag
}

// eyes look at documents. Many who ask for the same one at once share one look, and a moment later it is still believed.
type eyes struct {
	ledger *ledger.Ledger
	log    *slog.Logger
	doors  map[string]*door // by source
	flying sync.WaitGroup
	now    func() time.Time

	mu     sync.Mutex
	looks  map[ledger.Key]*look
	sights map[ledger.Key]sight
}

// look is one look that is under way.
type look struct {
	done  chan struct{}
	sight sight
	err   error
}

// door leads to one source.
type door struct {
	source  relay.Source
	slots   chan struct{}
	breaker *gobreaker.CircuitBreaker[fhir.Document]
}

func newEyes(o Options) *eyes {
	e := &eyes{
		ledger: o.Ledger, log: o.Log, doors: map[string]*door{}, looks: map[ledger.Key]*look{}, sights: map[ledger.Key]sight{},
		now: o.Now,
	}
	for name, source := range o.Sources {
		e.doors[name] = &door{
			source: source, slots: make(chan struct{}, atOnce),
			breaker: gobreaker.NewCircuitBreaker[fhir.Document](gobreaker.Settings{
				Name: name, Timeout: leftAlone,
				ReadyToTrip:  func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= failsInARow },
				IsSuccessful: answered,
			}),
		}
	}
	return e
}

// answered says whether the source did, though maybe with something that cannot be used: that says nothing of other documents.
func answered(err error) bool {
	trouble, is := errors.AsType[*fhir.Trouble](err)
	return err == nil || is && trouble.Kind == fhir.Unusable
}

// see is how a document stands now, or why that cannot be said before ctx ends.
func (e *eyes) see(ctx context.Context, key ledger.Key) (sight, error) {
	seen, one := e.lookFor(ctx, key)
	if one == nil {
		return seen, nil
	}
	select {
	case <-one.done:
		return one.sight, one.err
	case <-ctx.Done():
		return sight{}, errTooSlow
	}
}

// lookFor is what was seen a moment ago, or else the look that is under way now.
func (e *eyes) lookFor(ctx context.Context, key ledger.Key) (sight, *look) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if seen, has := e.sights[key]; has && e.isFresh(seen) {
		return seen, nil
	}
	one := e.looks[key]
	if one == nil {
		one = &look{done: make(chan struct{})}
		e.looks[key] = one
		// It goes on when who asked has gone: others may be waiting for it, and the next one finds it done.
		e.flying.Go(func() { e.fly(context.WithoutCancel(ctx), key, one) })
	}
	return sight{}, one
}

// fly takes one look and leaves what it saw for others.
func (e *eyes) fly(ctx context.Context, key ledger.Key, one *look) {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	defer close(one.done)
	one.err = errSource // where it does not come back
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(ctx, "a look at a document panicked", slog.String("record", key.String()))
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.looks, key)
		if one.err == nil {
			e.remember(key, one.sight)
		}
	}()
	one.sight, one.err = e.look(ctx, key)
}

func (e *eyes) isFresh(s sight) bool { return e.now().Sub(s.at) < fresh }

// remember keeps what was seen; where that is too much, what is old gives way, and where nothing is, all of it.
func (e *eyes) remember(key ledger.Key, seen sight) {
	if len(e.sights) >= remembered {
		for other, s := range e.sights {
			if !e.isFresh(s) {
				delete(e.sights, other)
			}
		}
	}
	if len(e.sights) >= remembered {
		clear(e.sights)
	}
	e.sights[key] = seen
	time.AfterFunc(fresh, func() { e.forget(key, seen) }) // nothing clinical stays longer than it is of use
}

// forget drops what was seen, unless it was seen anew.
func (e *eyes) forget(key ledger.Key, seen sight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sights[key].at.Equal(seen.at) {
		delete(e.sights, key)
	}
}

// look finds out where the document is, and reads it there.
func (e *eyes) look(ctx context.Context, key ledger.Key) (sight, error) {
	at, known, err := e.ledger.Whereabouts(ctx, key)
	switch {
	case err != nil:
		e.log.WarnContext(ctx, "whereabouts of a document not read", slog.String("record", key.String()), slog.Any("error", err))
		return sight{}, errLedger
	case !known:
		return sight{}, errForgotten
	}
	through := e.doors[at.Source]
	if through == nil {
		return sight{}, errNoSource
	}
	began := e.now() // what changes while the source answers is seen by the next look
	doc, err := through.read(ctx, at.Locator)
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return sight{}, errSource // it is left alone, and was named
	case err != nil:
		e.log.WarnContext(ctx, "source in trouble", slog.String("record", key.String()), slog.String("source", at.Source), slog.Any("error", err))
		return sight{}, errSource
	}
	return sight{source: through.source, name: at.Source, doc: doc, at: began, released: at.Released, releasedFor: at.ReleasedFor}, nil
}

// read reads a document, with a citizen's eyes too where the source has such (reference fse.md, 4.1).
func (d *door) read(ctx context.Context, l fhir.Locator) (fhir.Document, error) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return fhir.Document{}, ctx.Err()
	}
	return d.breaker.Execute(func() (fhir.Document, error) {
		doc, err := d.source.Read(ctx, l)
		if err != nil || d.source.Gate == nil || doc.Standing != fhir.Readable {
			return doc, err
		}
		shown, err := d.source.Gate.Shows(ctx, doc.Locator)
		doc.Visible = doc.Visible && shown
		return doc, err
	})
}
