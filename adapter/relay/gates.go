package relay

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	"staffetta/notifier"
)

// The pauses of a whole upstream.
const (
	pauseForPerson = time.Minute      // 401, 403: a person must act; asked again once a minute
	pauseUnnamed   = 5 * time.Second  // throttled without a word for how long (IO counts in windows of 5 s)
	breakerFails   = 8                // calls in a row without an answer that open the breaker
	breakerPause   = 15 * time.Second // until one call may try again
	refreshPace    = 400 * time.Millisecond
)

// gates know which upstreams are worth a step: a paused one costs nothing, and burns nobody's attempts. Pauses that were
// named (throttled, refused, a person's) are shared by all replicas in Redis; the breakers are this process' own.
type gates struct {
	pace     *ledger.Pace
	ioOff    bool // io.mode: off
	rate     *throughput
	windows  *windows
	metrics  *Metrics
	log      *slog.Logger
	breakers map[string]*gobreaker.CircuitBreaker[struct{}] // by source name; IO under ""
	change   chan struct{}

	mu     sync.Mutex
	state  ledger.PaceState
	causes map[string]string // why an upstream gave no usable answer the last time, a fixed word; by name as the breakers
}

// errNoAnswer is what a breaker counts.
var errNoAnswer = errors.New("no usable answer")

// opened is what may be claimed now.
type opened struct {
	sources []string
	track   bool
	few     bool // a breaker is half open: one record is a try
	tryIO   bool // it is that of IO: a few are in hands at most
}

func newGates(pace *ledger.Pace, sources []string, rate *throughput, metrics *Metrics, log *slog.Logger) *gates {
	g := &gates{
		pace: pace, rate: rate, metrics: metrics, log: log, change: make(chan struct{}, 1),
		breakers: map[string]*gobreaker.CircuitBreaker[struct{}]{}, causes: map[string]string{},
	}
	for _, name := range append(slices.Clone(sources), "") {
		g.breakers[name] = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
			Name: name, MaxRequests: breakerFails, Timeout: breakerPause,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= breakerFails },
			OnStateChange: func(_ string, _, to gobreaker.State) {
				metrics.upstreamOpen(name, to != gobreaker.StateOpen)
				g.logMove(name, to)
			},
		})
	}
	return g
}

// logMove says that a breaker has moved, and why it has opened.
func (g *gates) logMove(name string, to gobreaker.State) {
	log := g.log.With(slog.String("upstream", upstream(name)), slog.String("breaker", to.String()))
	if to == gobreaker.StateOpen {
		g.mu.Lock()
		log = log.With(slog.String("cause", g.causes[name]))
		g.mu.Unlock()
	}
	log.Warn("upstream breaker moved")
}

// upstream is the name of a source, or IO.
func upstream(name string) string {
	if name == "" {
		return "io"
	}
	return name
}

// watch keeps the shared pauses in mind until ctx ends.
func (g *gates) watch(ctx context.Context) {
	ticker := time.NewTicker(refreshPace)
	defer ticker.Stop()
	for {
		g.refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// refresh reads the shared pauses once.
func (g *gates) refresh(ctx context.Context) {
	steps := g.rate.unreported.Swap(0)
	state, err := g.pace.Report(ctx, steps)
	if err != nil {
		g.rate.unreported.Add(steps)
		return // without Redis nothing is claimed anyway
	}
	g.rate.saw(state.Steps, time.Now())
	g.mu.Lock()
	was := g.state
	g.state = state
	g.mu.Unlock()
	switch {
	case state.OperatorPaused && !was.OperatorPaused:
		g.log.WarnContext(ctx, "sending paused", slog.String("by", state.PausedBy), slog.String("why", state.PausedWhy))
		g.changedNow()
	case was.OperatorPaused && !state.OperatorPaused: // by whom, nobody writes down
		g.log.WarnContext(ctx, "sending resumed", slog.String("paused_by", was.PausedBy),
			slog.String("paused_for", time.Since(was.PausedSince).Round(time.Second).String()))
		g.changedNow()
	}
}

func (g *gates) changedNow() {
	select {
	case g.change <- struct{}{}:
	default:
	}
}

// changed says that other sources may be open than before.
func (g *gates) changed() <-chan struct{} { return g.change }

// open is what is worth claiming now.
func (g *gates) open(sources []string) opened {
	g.mu.Lock()
	state := g.state
	g.mu.Unlock()
	now := time.Now()
	var o opened
	if !g.ioOff {
		io := g.breakers[""].State()
		o.track, o.tryIO = io != gobreaker.StateOpen && now.After(state.IOPausedUntil), io == gobreaker.StateHalfOpen
		o.few = o.tryIO
	}
	if (!o.track && !g.ioOff) || state.OperatorPaused {
		return o
	}
	for _, name := range sources {
		at := g.breakers[name].State()
		if at != gobreaker.StateOpen && now.After(state.SourcesPausedUntil[name]) {
			o.sources = append(o.sources, name)
			o.few = o.few || at == gobreaker.StateHalfOpen
		}
	}
	return o
}

// closed says whether a step with a record of the source is doomed by now.
func (g *gates) closed(source string, tracking bool) bool {
	if _, known := g.breakers[source]; !known {
		return false
	}
	o := g.open([]string{source})
	if tracking {
		return !o.track
	}
	return len(o.sources) == 0
}

// paused says whether a person has paused all sending.
func (g *gates) paused() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.OperatorPaused
}

// well notes that an upstream gave a usable answer.
func (g *gates) well(name string) {
	_, _ = g.breakers[name].Execute(func() (struct{}, error) { return struct{}{}, nil })
}

// ill notes that an upstream gave none, and why.
func (g *gates) ill(name, cause string) {
	g.mu.Lock()
	g.causes[name] = cause
	g.mu.Unlock()
	_, _ = g.breakers[name].Execute(func() (struct{}, error) { return struct{}{}, errNoAnswer })
}

// trouble notes what a source's error says of the whole source.
func (g *gates) trouble(ctx context.Context, name string, trouble *fhir.Trouble) {
	switch trouble.Kind {
	case fhir.Unauthorized:
		g.pauseSource(ctx, name, pauseForPerson, string(trouble.Kind))
	case fhir.Throttled:
		g.windows.troubled(name)
		g.pauseSource(ctx, name, orElse(trouble.RetryAfter, pauseUnnamed), string(trouble.Kind))
	case fhir.Unavailable:
		g.windows.troubled(name)
		g.ill(name, sourceCause(trouble))
	case fhir.Unusable: // says nothing of other documents
	}
}

// answered notes what an answer of IO says of all of IO.
func (g *gates) answered(ctx context.Context, answer notifier.Answer) {
	switch answer.Kind {
	case notifier.Throttled:
		g.pauseIO(ctx, orElse(answer.RetryAfter, pauseUnnamed), string(answer.Kind))
	case notifier.KeyRefused, notifier.Forbidden:
		g.pauseIO(ctx, pauseForPerson, string(answer.Kind))
	case notifier.Unavailable, notifier.Unclear:
		g.ill("", ioCause(answer))
	case notifier.Allowed, notifier.NotAllowed, notifier.NotOnIO, notifier.Created, notifier.StatusKnown, notifier.Refused,
		notifier.RecipientForbidden:
		g.well("")
	}
}

// sourceCause is why a source gave no usable answer, in a fixed word; behind the trouble may be that of who gives its tokens.
func sourceCause(trouble *fhir.Trouble) string {
	if trouble.Status > 0 {
		return statusWord(trouble.Status)
	}
	if before, ok := errors.AsType[*fhir.Trouble](trouble.Err); ok {
		return sourceCause(before)
	}
	return notifier.CauseOf(trouble.Err)
}

// ioCause is why IO gave no usable answer, in a fixed word.
func ioCause(answer notifier.Answer) string {
	if answer.HTTPStatus >= http.StatusInternalServerError {
		return statusWord(answer.HTTPStatus)
	}
	return cmp.Or(answer.Cause, answer.Reason)
}

func statusWord(status int) string { return "http-" + strconv.Itoa(status) }

func orElse(named, otherwise time.Duration) time.Duration {
	if named > 0 {
		return named
	}
	return otherwise
}

// pauseIO pauses all of IO for all replicas.
func (g *gates) pauseIO(ctx context.Context, d time.Duration, why string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	g.mu.Lock()
	known := time.Now().Add(d / 2).Before(g.state.IOPausedUntil)
	g.state.IOPausedUntil = later(g.state.IOPausedUntil, time.Now().Add(d))
	g.mu.Unlock()
	if known {
		return
	}
	g.metrics.paused.WithLabelValues("io", why).Inc()
	g.logPause(ctx, "io", d, why)
	if err := g.pace.PauseIO(ctx, d, why); err != nil {
		g.log.WarnContext(ctx, "pause not shared", slog.String("upstream", "io"), slog.Any("error", err))
	}
}

// pauseSource pauses one source for all replicas.
func (g *gates) pauseSource(ctx context.Context, name string, d time.Duration, why string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	g.mu.Lock()
	until := map[string]time.Time{} // a copy: open reads the other one without the lock
	maps.Copy(until, g.state.SourcesPausedUntil)
	known := time.Now().Add(d / 2).Before(until[name])
	until[name] = later(until[name], time.Now().Add(d))
	g.state.SourcesPausedUntil = until
	g.mu.Unlock()
	if known {
		return
	}
	g.metrics.paused.WithLabelValues(name, why).Inc()
	g.logPause(ctx, name, d, why)
	if err := g.pace.PauseSource(ctx, name, d, why); err != nil {
		g.log.WarnContext(ctx, "pause not shared", slog.String("upstream", name), slog.Any("error", err))
	}
}

// logPause is an error where a person must act, else a warning.
func (g *gates) logPause(ctx context.Context, upstream string, d time.Duration, why string) {
	level := slog.LevelWarn
	if d >= pauseForPerson {
		level = slog.LevelError
	}
	g.log.Log(ctx, level, "upstream paused", slog.String("upstream", upstream), slog.String("reason", why), slog.String("for", d.Round(time.Millisecond).String()))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
