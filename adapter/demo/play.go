package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// role is one published document.
type role struct {
	fse.Case
	source    *source
	key       ledger.Key
	published time.Time
}

// cast is who plays: all documents published so far.
type cast struct {
	mu       sync.Mutex
	roles    []*role
	profiles map[fiscalcode.Code]sandbox.Profile
	ended    atomic.Int64
}

func newCast() *cast { return &cast{profiles: map[fiscalcode.Code]sandbox.Profile{}} }

// profile is what the demo's IO knows of a citizen.
func (c *cast) profile(code fiscalcode.Code) sandbox.Profile {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.profiles[code]
}

func (c *cast) add(r *role) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roles = append(c.roles, r)
	profile := map[string]sandbox.Profile{fse.NotOnIO: sandbox.NotOnIO, fse.NotAllowed: sandbox.NotAllowed}[r.Name]
	if r.Code == "" || profile == sandbox.Reachable {
		return nil
	}
	code, err := fiscalcode.Parse(r.Code)
	c.profiles[code] = profile
	return err
}

func (c *cast) all() []*role {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.roles)
}

const (
	posters     = 8                      // documents published at once
	endlessGap  = 500 * time.Millisecond // between documents where the demo goes on
	patience    = 60 * time.Second       // without any progress, then what is missing is lost
	chunk       = 1000                   // documents made at a time where the demo goes on
	watchPeriod = 250 * time.Millisecond
	linePeriod  = 2 * time.Second // of progress where there is no terminal
)

// isTerminal says whether bars can be drawn.
func isTerminal(out io.Writer) bool {
	file, isFile := out.(*os.File)
	if !isFile {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// play publishes everything and waits until it came to its end, or ctx ends.
func (s *stage) play(ctx context.Context) error {
	for _, one := range s.sources {
		if err := one.poster.Handshake(ctx); err != nil {
			return err
		}
	}
	stopShow := s.show()
	err := s.publishAll(ctx)
	if err == nil && s.o.Reports > 0 {
		s.waitForEnds(ctx)
	}
	stopShow()
	if err == nil && s.o.Reports > 0 && !s.o.Exit && ctx.Err() == nil {
		_, _ = fmt.Fprintln(s.out, "\nall documents came to their end; the admin page stays until you stop the demo (Ctrl-C)")
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = nil // a person stopped it
	}
	return err
}

func (s *stage) publishAll(ctx context.Context) error {
	queue := make(chan *role)
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		failed  error
	)
	for i := range posters {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(s.o.Seed, uint64(i))) //nolint:gosec // synthetic, the same for the same seed
			for r := range queue {
				if err := s.publish(ctx, random, r); err != nil && ctx.Err() == nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	if s.o.Reports > 0 {
		s.feed(ctx, queue, 0, s.o.Reports)
	}
	for first := 0; s.o.Reports == 0 && ctx.Err() == nil; first += chunk {
		s.feed(ctx, queue, first, chunk)
	}
	close(queue)
	workers.Wait()
	return failed
}

// feed hands out n documents of both sources, in turns.
func (s *stage) feed(ctx context.Context, queue chan<- *role, first, n int) {
	seed := s.o.Seed + uint64(first) //nolint:gosec // not negative
	reports, compositions := fse.PopulationFrom(first, (n+1)/2, seed, false), fse.PopulationFrom(first, n/2, seed, true)
	for i := range n {
		r := &role{source: s.sources[i%2]}
		if i%2 == 0 {
			r.Case = reports[i/2]
		} else {
			r.Case = compositions[i/2]
		}
		select {
		case <-ctx.Done():
			return
		case queue <- r:
		}
		if s.o.Reports == 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(endlessGap):
			}
		}
	}
}

// publish writes one document to its FSE and lets it be told of, in some flavour, some notifications twice, in any order.
func (s *stage) publish(ctx context.Context, random *rand.Rand, r *role) error {
	r.key = s.program.Ledger.DocumentKey(r.source.name, fhir.Locator{Type: r.Type, ID: r.ID, System: r.System, Value: r.Value})
	r.published = time.Now()
	if err := s.cast.add(r); err != nil {
		return err
	}
	for _, resource := range r.Resources {
		r.source.server.Put(resource)
	}
	hints := slices.Clone(r.Hints)
	random.Shuffle(len(hints), func(i, j int) { hints[i], hints[j] = hints[j], hints[i] })
	flavour := fse.Flavours[random.IntN(len(fse.Flavours))]
	if err := r.source.poster.Notify(ctx, flavour, hints...); err != nil {
		return err
	}
	if random.IntN(3) == 0 { // from another subscription, in another flavour
		again := fse.Flavours[random.IntN(len(fse.Flavours))]
		return r.source.poster.Notify(ctx, again, hints[:1+random.IntN(len(hints))]...)
	}
	return nil
}

// show draws progress until it is stopped: bars on a terminal where the end is known, lines elsewhere.
func (s *stage) show() (stop func()) {
	draw, period, finish := s.line, linePeriod, func() {}
	if isTerminal(s.out) && s.o.Reports > 0 {
		draw, finish = s.bars()
		period = watchPeriod
	}
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			select {
			case <-stopped:
				draw()
				finish()
				return
			case <-ticker.C:
				draw()
			}
		}
	}()
	return func() {
		close(stopped)
		<-ended
	}
}

func (s *stage) line() {
	published := len(s.cast.all())
	ended := fmt.Sprintf(", at an end %d", s.cast.ended.Load())
	if s.o.Reports == 0 {
		ended = ""
	}
	_, _ = fmt.Fprintf(s.out, "published %d, messages %d%s\n", published, len(s.io.Messages()), ended)
}

// bars are three: published, messages, at an end.
func (s *stage) bars() (draw, finish func()) {
	progress := mpb.New(mpb.WithOutput(s.out))
	names := []string{"published", "messages ", "at an end"}
	all := make([]*mpb.Bar, 0, len(names))
	for _, name := range names {
		all = append(all, progress.AddBar(int64(s.o.Reports), mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersNoUnit("%d / %d"))))
	}
	draw = func() {
		for i, n := range []int64{int64(len(s.cast.all())), int64(len(s.io.Messages())), s.cast.ended.Load()} {
			all[i].SetCurrent(n)
		}
	}
	finish = func() {
		for _, bar := range all {
			bar.Abort(false) // not everybody is told: its bar ends where it is
		}
		progress.Wait()
	}
	return draw, finish
}

// waitForEnds waits until every document came to its end, is held, or waits for its source; or until nothing moves.
func (s *stage) waitForEnds(ctx context.Context) {
	open := s.cast.all()
	moved := time.Now()
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	for len(open) > 0 && time.Since(moved) < patience {
		before := len(open)
		open = slices.DeleteFunc(open, func(r *role) bool { return s.atItsEnd(ctx, r) })
		s.cast.ended.Store(int64(len(s.cast.all()) - len(open)))
		if len(open) < before {
			moved = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *stage) atItsEnd(ctx context.Context, r *role) bool {
	rec, known, err := s.program.Ledger.Lookup(ctx, r.key)
	if err != nil || !known {
		return false
	}
	outcome, _ := outcomeOf(rec)
	return outcome != stillMoving
}
