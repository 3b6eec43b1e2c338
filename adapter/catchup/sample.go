package catchup

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"staffetta/adapter/policy"
	"staffetta/fhir"
)

// SampleOptions are what a sample is taken with.
type SampleOptions struct {
	Source   *fhir.Source // over a client with an Allowance
	Shape    fhir.Shape
	Rules    *policy.Rules
	Choices  policy.SourceRules
	Searches []string // criteria or filters of the Subscription
	N        int      // resources of each type
	Now      time.Time
	// Known, where set, adds to a question what is known of its document; else it is decided as if nothing were. A verdict
	// that is not zero stands in place of the rules'.
	Known func(context.Context, *policy.Question) (Verdict, error)
	Pace  func(context.Context) error // called before each look; nil: no wait
	Most  time.Duration               // that it may take; zero: 2 min
}

// Sample is what a Subscription and the rules would make of what changed last at a source. It counts, and names nobody.
type Sample struct {
	Kind      string // of the resources that the documents were found by
	Resources int
	Matches   []Match
	Verdicts  map[Verdict]int // of the documents behind them, and of resources that led to none
	Systems   map[string]int  // of the documents' persons without a codice fiscale: where one stands that fiscal_code_systems does not name
	Stopped   string          // why not all were looked at; "" where they were
}

// Match is how much of a sample one search of the Subscription matches.
type Match struct {
	Search   string
	Kind     string
	Of       int
	Matched  int
	Unknown  string         // why the server cannot say; "" where it can
	Statuses map[string]int // of those that do not match
}

// Verdict is what the rules say.
type Verdict struct{ Action, Reason string }

// String is the action with its reason.
func (v Verdict) String() string { return strings.TrimSpace(v.Action + " " + v.Reason) }

// sampleTime bounds the taking of a sample, and atOnce the calls at one time.
const (
	sampleTime = 2 * time.Minute
	atOnce     = 4
)

// TakeSample looks at the latest resources of a source as a Subscription and the rules would, and tells nobody.
func TakeSample(ctx context.Context, o SampleOptions) (Sample, error) {
	o.Most = cmp.Or(o.Most, sampleTime)
	ctx, cancel := context.WithTimeout(ctx, o.Most)
	defer cancel()
	s := Sample{Verdicts: map[Verdict]int{}}
	latest, refused, err := s.latest(ctx, o)
	if err != nil {
		return s, err
	}
	for _, search := range o.Searches {
		m, err := match(ctx, o.Source, search, latest)
		if err != nil {
			return s, err
		}
		if refusal := refused[m.Kind]; refusal != nil {
			m.Unknown = refusal.Error()
		}
		s.Matches = append(s.Matches, m)
	}
	return s, s.decide(ctx, o, latest[s.Kind], map[string]bool{})
}

// latest lists each type; the documents are those of the first one that there is any of. A type that the server does not list
// keeps us from no other.
func (s *Sample) latest(ctx context.Context, o SampleOptions) (latest map[string][]fhir.Sampled, refused map[string]error, err error) {
	latest, refused = map[string][]fhir.Sampled{}, map[string]error{}
	kinds := kindsOf(o)
	for _, kind := range kinds {
		found, err := o.Source.Latest(ctx, kind, o.N)
		trouble, is := errors.AsType[*fhir.Trouble](err)
		switch {
		case errors.Is(err, fhir.ErrUnsorted), is && trouble.Kind == fhir.Unusable:
			if refused[kind] = err; len(refused) == len(kinds) {
				return nil, nil, err
			}
			continue
		case err != nil:
			return nil, nil, err
		}
		latest[kind] = found
		if s.Kind == "" || s.Resources == 0 {
			s.Kind, s.Resources = kind, len(found)
		}
	}
	return latest, refused, nil
}

// kindsOf are the types that the searches are about, or else what a document of the shape is.
func kindsOf(o SampleOptions) (kinds []string) {
	for _, search := range o.Searches {
		if kind, _, err := fhir.ParseCriteria(search); err == nil && kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) > 0 {
		return kinds
	}
	switch {
	case o.Shape == fhir.ShapeHL7IT:
		return []string{"Composition", "Bundle"}
	case o.Shape.OfCompositions():
		return []string{"Composition"}
	}
	return []string{"DiagnosticReport"}
}

func match(ctx context.Context, source *fhir.Source, search string, latest map[string][]fhir.Sampled) (Match, error) {
	kind, _, err := fhir.ParseCriteria(search)
	m := Match{Search: search, Kind: kind, Of: len(latest[kind]), Statuses: map[string]int{}}
	if err != nil {
		return m, err
	}
	matching, err := source.Matching(ctx, search, latest[kind])
	if errors.Is(err, fhir.ErrCriteria) {
		m.Unknown = err.Error()
		return m, nil
	}
	if err != nil {
		return m, err
	}
	for _, one := range latest[kind] {
		if matching[one.ID] {
			m.Matched++
		} else {
			m.Statuses[one.Status]++
		}
	}
	return m, nil
}

// decide asks the rules about the documents behind resources. One document may be behind many of them: it is read once, also
// where another sample has seen it.
func (s *Sample) decide(ctx context.Context, o SampleOptions, resources []fhir.Sampled, seen map[string]bool) error {
	looks := looks{o: o, sample: s, seen: seen}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, one := range resources {
		if o.Pace != nil && o.Pace(ctx) != nil {
			break // ctx has ended
		}
		group.Go(func() error {
			if err := looks.at(ctx, one.Locator()); err != nil {
				return looks.trouble(ctx, err)
			}
			return nil
		})
	}
	err := group.Wait()
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// looks counts what several looks at once see.
type looks struct {
	o SampleOptions

	mu     sync.Mutex
	sample *Sample
	seen   map[string]bool // identities of documents
}

// at looks at the documents behind one resource.
func (l *looks) at(ctx context.Context, at fhir.Locator) error {
	if !l.o.Shape.OfCompositions() {
		return l.document(ctx, at)
	}
	found, err := l.o.Source.Find(ctx, at)
	switch {
	case err != nil:
		return err
	case found.Ambiguous:
		l.count(Verdict{string(policy.Hold), "ambiguous-document"})
	case len(found.Documents) == 0 && found.Standing == fhir.Readable:
		l.count(Verdict{string(policy.Wait), "no-document"})
	case len(found.Documents) == 0:
		l.count(Verdict{string(policy.Wait), "missing"})
	}
	for _, doc := range found.Documents {
		if err := l.document(ctx, doc.Locator); err != nil {
			return err
		}
	}
	return nil
}

// document reads one document, and asks the rules as if nothing had been told yet.
func (l *looks) document(ctx context.Context, at fhir.Locator) error {
	l.mu.Lock()
	again := l.seen[at.Identity()]
	l.seen[at.Identity()] = true
	l.mu.Unlock()
	if again {
		return nil
	}
	doc, err := l.o.Source.Read(ctx, at)
	if err != nil {
		return err
	}
	l.countSystem(doc.Person.System)
	q := policy.Question{Document: doc, Source: l.o.Choices, Now: l.o.Now}
	if l.o.Known != nil {
		verdict, err := l.o.Known(ctx, &q)
		if err != nil {
			return err
		}
		if verdict != (Verdict{}) {
			l.count(verdict)
			return nil
		}
	}
	d := l.o.Rules.Decide(q)
	l.count(Verdict{Action: string(d.Action), Reason: d.Reason})
	return nil
}

func (l *looks) count(v Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sample.Verdicts[v]++
}

func (l *looks) countSystem(system string) {
	if system == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sample.Systems == nil {
		l.sample.Systems = map[string]int{}
	}
	l.sample.Systems[system]++
}

// errStopped ends a sample that has said why.
var errStopped = errors.New("the sample was stopped")

// trouble counts one resource that cannot be read; trouble of the whole source ends the sample.
func (l *looks) trouble(ctx context.Context, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sample
	trouble, is := errors.AsType[*fhir.Trouble](err)
	switch {
	case errors.Is(err, errSpent):
		s.Stopped = errSpent.Error()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.Stopped = "it took longer than " + l.o.Most.String()
	case s.Stopped != "":
	case is && trouble.Kind == fhir.Unusable:
		s.Verdicts[Verdict{"cannot be read", ""}]++
		return nil
	case is:
		s.Stopped = trouble.Error()
	default:
		return err
	}
	return errStopped
}

// errSpent says that a sample has made all the calls that it may make.
var errSpent = errors.New("all calls that a sample may make were made")

// Allowance is how many calls a sample may make for so many resources: a search and a few reads for each.
func Allowance(n int) int64 { return 50 + 8*int64(n) }

// Allowed is a client that makes so many calls, and no more.
func Allowed(client *http.Client, calls int64) *http.Client {
	limited := *client
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	counted := &counted{next: next}
	counted.left.Store(calls)
	limited.Transport = counted
	return &limited
}

type counted struct {
	next http.RoundTripper
	left atomic.Int64
}

// RoundTrip makes a call while calls are left.
func (c *counted) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.left.Add(-1) < 0 {
		return nil, errSpent
	}
	return c.next.RoundTrip(req)
}
