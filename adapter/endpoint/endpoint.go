// Package endpoint is where FHIR servers post to: a request comes in, its source is authenticated, its body becomes events,
// the events become hints in the ledger, and only then an answer leaves, as FHIR.
package endpoint

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// Source is one sender of notifications. Every kind of proof that is set must hold, except that a token and a JWT, which
// share the Authorization header, stand for each other. At least one kind is set.
type Source struct {
	Name         string
	Tokens       []string // any of them is valid: two during a rotation
	JWT          *JWT
	Secrets      []string // of X-Signature, any of them is valid
	Certificates *Certificates
	Shape        fhir.Shape
	Settle       time.Duration // for hints on documents; finding them never waits
}

// Options are what an endpoint needs.
type Options struct {
	Sources []Source
	Ledger  *ledger.Ledger
	Limits  fhir.Limits
	Metrics prometheus.Registerer
	Log     *slog.Logger
	Now     func() time.Time // for the validity of tokens and certificates; nil: time.Now
	// Admitted, where set, is called after hints were written that somebody must look at after so long: it wakes the
	// workers. It must not block.
	Admitted func(after time.Duration)
	// Heard, where set, is called with each notification that was taken, after its hints were written; Wanted after it was
	// written that a source must be looked through, because a notification did not say what changed, or none could be taken
	// for a while. They must not block.
	Heard  func(source string, n fhir.Notification)
	Wanted func(source string)
}

// Endpoint receives notifications.
type Endpoint struct {
	senders  *senders
	ledger   *ledger.Ledger
	limits   fhir.Limits
	metrics  *metrics
	log      *slog.Logger
	admitted func(after time.Duration)
	heard    func(source string, n fhir.Notification)
	wanted   func(source string)
	away     outage

	statement statement
	engine    *gin.Engine
}

// New makes an endpoint of at least one source, each with at least one kind of proof.
func New(o Options) (*Endpoint, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	senders, err := newSenders(o)
	if err != nil {
		return nil, err
	}
	if o.Limits.MaxBytes <= 0 {
		return nil, errors.New("endpoint: no limit for bodies")
	}
	e := &Endpoint{
		senders: senders, ledger: o.Ledger, limits: o.Limits,
		metrics: newMetrics(o.Metrics), log: o.Log, admitted: o.Admitted, heard: o.Heard, wanted: o.Wanted,
	}
	if e.admitted == nil {
		e.admitted = func(time.Duration) {}
	}
	if e.heard == nil {
		e.heard = func(string, fhir.Notification) {}
	}
	if e.wanted == nil {
		e.wanted = func(string) {}
	}
	if e.statement, err = newStatement(); err != nil {
		return nil, err
	}
	e.engine = e.routes()
	return e, nil
}

// Handler serves the routes of the public listener.
func (e *Endpoint) Handler() http.Handler { return e.engine }

// Run keeps the keys of those who sign JWTs fresh, until ctx ends.
func (e *Endpoint) Run(ctx context.Context) error {
	var keyrings sync.WaitGroup
	for _, one := range e.senders.byName {
		if one.jwt != nil {
			keyrings.Go(func() { one.jwt.keys.Run(ctx) })
		}
	}
	<-ctx.Done()
	keyrings.Wait()
	return nil
}

// quietGin keeps gin from printing its routes. Its mode is global.
var quietGin = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

// NewEngine is the gin of everything that listens publicly. Nothing is ever redirected: many senders turn a redirected POST
// into a GET (reference fhir-subscriptions.md, 2.4), and IO follows none.
func NewEngine() *gin.Engine {
	quietGin()
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.HandleMethodNotAllowed = true
	return engine
}

// routes are all that FHIR servers may call.
func (e *Endpoint) routes() *gin.Engine {
	engine := NewEngine()
	engine.NoRoute(e.notFound)
	engine.NoMethod(e.methodNotAllowed)
	for _, path := range []string{"/fhir/metadata", "/fhir/metadata/"} {
		engine.GET(path, e.metadata)
		engine.HEAD(path, e.metadata)
	}
	for _, path := range []string{"/fhir/:source", "/fhir/:source/:type", "/fhir/:source/:type/:id"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			engine.Handle(method, path, e.notification)
			engine.Handle(method, path+"/", e.notification)
		}
	}
	return engine
}
