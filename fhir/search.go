package fhir

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// pagesAtMost is how many pages of one search are read: what a document is decided by must be seen whole, and a server
	// that ignores a parameter shows all that it has.
	pagesAtMost = 20
	// latestAtMost is how many of the latest are looked through, on one page.
	latestAtMost = "50"
)

// search asks for all resources of one type that fit, page by page. It gives errUnsupported where the server refuses the
// search itself; where it refuses only that more comes along (`_revinclude`, `_include`), that is left out.
func (s *Source) search(ctx context.Context, kind string, query url.Values) (*pool, error) {
	return s.searchFor(ctx, searched{kind: kind, query: query, pages: pagesAtMost})
}

// only asks for one resource by its id: whatever does not come along on the first page is asked for by its own id.
func (s *Source) only(ctx context.Context, kind string, query url.Values) (*pool, error) {
	return s.searchFor(ctx, searched{kind: kind, query: query, pages: 1, part: true})
}

// newest asks for the latest resources of one type that fit; those behind them are given up.
func (s *Source) newest(ctx context.Context, kind string, query url.Values) (*pool, error) {
	query["_sort"], query["_count"] = []string{"-_lastUpdated"}, []string{latestAtMost}
	return s.searchFor(ctx, searched{kind: kind, query: query, pages: 1, part: true})
}

// bundles are the document Bundles that begin with a Composition, by its id.
func (s *Source) bundles(ctx context.Context, composition *node) (*pool, error) {
	if !IsID(string(composition.ID)) {
		return nil, errUnsupported
	}
	return s.bundlesBy(ctx, "composition", "Composition/"+string(composition.ID), composition.isFirstOf)
}

// bundlesOfIdentifier are those that begin with a Composition of the same identifier.
func (s *Source) bundlesOfIdentifier(ctx context.Context, composition *node) (*pool, error) {
	id := composition.Identifier.first()
	return s.bundlesBy(ctx, firstIdentifier, token(string(id.System), string(id.Value)), func(bundle *node) bool {
		first := bundle.beginning()
		return slices.ContainsFunc(first.Identifier, func(i identifier) bool { return i.Value == id.Value })
	})
}

// firstIdentifier is the search parameter of the identifier of a Bundle's first entry.
const firstIdentifier = "composition.identifier"

// bundlesBy is one search for document Bundles. A server that has no such search, or gives us no right to it, keeps no labels
// there that we could see: it is asked again after a while only.
func (s *Source) bundlesBy(ctx context.Context, parameter, value string, fits func(*node) bool) (*pool, error) {
	name := "Bundle?" + parameter
	if s.refuses.level(name, s.o.Now()) > 0 {
		return nil, errUnsupported
	}
	p, err := s.searchFor(ctx, searched{kind: "Bundle", query: url.Values{parameter: {value}}, pages: pagesAtMost, fits: fits})
	if trouble, is := errors.AsType[*Trouble](err); is && (trouble.Status == http.StatusForbidden ||
		(parameter == firstIdentifier && trouble.Status == http.StatusInternalServerError)) { // few servers know a chain, and some fail on it
		err = errUnsupported
	}
	if errors.Is(err, errUnsupported) {
		s.refuses.remember(name, 1, s.o.Now())
	}
	return p, err
}

// searched is one search.
type searched struct {
	kind  string
	query url.Values
	pages int
	part  bool             // the first pages will do
	fits  func(*node) bool // a hit that does not fit says that the server ignores the search; nil: all fit
}

// leftOut are the parameters that are left out of a search, step by step.
var leftOut = [][]string{nil, {"_revinclude", "_revinclude:iterate"}, {"_revinclude", "_revinclude:iterate", "_include"}}

// searchFor asks with everything that should come along, then with less of it.
func (s *Source) searchFor(ctx context.Context, q searched) (*pool, error) {
	name := q.kind + "?" + strings.Join(slices.Sorted(maps.Keys(q.query)), "&")
	asked := -1 // how many parameters the last try had
	for level := s.refuses.level(name, s.o.Now()); level < len(leftOut); level++ {
		less := q
		less.query = maps.Clone(q.query)
		maps.DeleteFunc(less.query, func(parameter string, _ []string) bool { return slices.Contains(leftOut[level], parameter) })
		if len(less.query) == asked {
			continue
		}
		asked = len(less.query)
		p, err := s.pagesOf(ctx, less)
		if errors.Is(err, errUnsupported) {
			continue
		}
		if err == nil {
			s.refuses.remember(name, level, s.o.Now())
		}
		return p, err
	}
	return nil, errUnsupported
}

// pagesOf asks for the pages of one search. Identifiers, which may hold a codice fiscale, travel in the body.
func (s *Source) pagesOf(ctx context.Context, q searched) (*pool, error) {
	p, doing := newPool(), "search "+q.kind
	method, target, form := http.MethodGet, s.o.BaseURL+"/"+q.kind+"?"+q.query.Encode(), ""
	if q.query.Has("identifier") || q.query.Has(firstIdentifier) {
		method, target, form = http.MethodPost, s.o.BaseURL+"/"+q.kind+"/_search", q.query.Encode()
	}
	for n := range q.pages {
		bundle, err := s.hits(ctx, method, target, form, doing)
		switch {
		case errors.Is(err, errUnsupported) && n > 0:
			return nil, &Trouble{Kind: Unusable, Doing: doing, Err: errNoPage}
		case err != nil:
			return nil, err
		}
		if err := p.addHits(bundle, q, doing); err != nil {
			return nil, err
		}
		next := bundle.next()
		if next == "" || q.part {
			return p, nil
		}
		to, own := s.within(next)
		if !own {
			return nil, &Trouble{Kind: Unusable, Doing: doing, Err: errStrayLink}
		}
		method, target, form = http.MethodGet, to, ""
	}
	return nil, &Trouble{Kind: Unusable, Doing: doing, Err: errTooMuch}
}

var errNoPage = errors.New("the next page of a search is not there")

// Values of headers that stand in every search.
var strictly, fresh = []string{"handling=strict"}, []string{"no-cache"}

// hits asks for one page.
func (s *Source) hits(ctx context.Context, method, target, form, doing string) (*node, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form))
	if err != nil {
		return nil, &Trouble{Kind: Unusable, Doing: doing}
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header["Prefer"], req.Header["Cache-Control"] = strictly, fresh
	n, standing, err := s.call(req, doing)
	if trouble, ok := errors.AsType[*Trouble](err); ok && searchRefused(trouble.Status) {
		return nil, errUnsupported
	}
	switch {
	case err != nil:
		return nil, err
	case standing == Missing || standing == Gone:
		return nil, errUnsupported
	case n.ResourceType != "Bundle":
		return nil, &Trouble{Kind: Unusable, Doing: doing, Err: errors.New("the answer is no Bundle")}
	}
	return n, nil
}

// addHits adds what is on one page of a search.
func (p *pool) addHits(bundle *node, q searched, doing string) error {
	for i := range bundle.Entry {
		e := &bundle.Entry[i]
		if len(e.Resource) == 0 {
			continue
		}
		switch r := &e.Resource[0]; {
		case r.ResourceType == "":
			continue
		case r.ResourceType == "OperationOutcome" && r.isError():
			return &Trouble{Kind: Unusable, Doing: doing, Err: errOutcome}
		case q.fits != nil && r.ResourceType == q.kind && !q.fits(r):
			return errUnsupported
		}
		p.add(string(e.FullURL), &e.Resource[0])
	}
	return nil
}

// next is the link to the following page, as the server wrote it; "" on the last one.
func (n *node) next() string {
	for _, l := range n.Link {
		if l.Relation == "next" {
			return string(l.URL)
		}
	}
	return ""
}

// refusedFor is how long a refusal is remembered: a server may learn.
const refusedFor = time.Hour

// refusals are what a server refuses, by the form of a search: how much is left out of it.
type refusals struct {
	mu sync.Mutex
	by map[string]refusal
}

type refusal struct {
	level int
	until time.Time
}

func (r *refusals) level(name string, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.by[name]; now.Before(known.until) {
		return known.level
	}
	return 0
}

func (r *refusals) remember(name string, level int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, is := r.by[name]; level == 0 && !is || known.level == level && now.Before(known.until) {
		return
	}
	if r.by == nil {
		r.by = map[string]refusal{}
	}
	r.by[name] = refusal{level: level, until: now.Add(refusedFor)}
}
