package fhir

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sampled is one resource of a sample: enough to look at it, nothing of what it says.
type Sampled struct {
	Type, ID    string
	Status      string // a code, or `other`
	LastUpdated time.Time
}

// Locator is where it is read.
func (s Sampled) Locator() Locator { return Locator{Type: s.Type, ID: s.ID} }

// ErrUnsorted says that a server cannot list its latest resources.
var ErrUnsorted = errors.New("the server cannot list what changed last (_sort=-_lastUpdated)")

// samplePages bounds the calls for a sample: a server may give few at a time.
const samplePages = 12

// Latest are the last n resources of a type that changed, newest first.
func (s *Source) Latest(ctx context.Context, kind string, n int) (all []Sampled, err error) {
	// Whole resources may be large: first only what is needed, then fewer at a time.
	for _, query := range []url.Values{
		{"_elements": {"status"}, "_count": {strconv.Itoa(min(n, 100))}}, {"_count": {strconv.Itoa(min(n, 10))}},
	} {
		query["_sort"] = []string{"-_lastUpdated"}
		all, err = s.latest(ctx, kind, query, n)
		if err == nil || (!errors.Is(err, errUnsupported) && !errors.Is(err, errTooLarge)) {
			return all, err
		}
	}
	if errors.Is(err, errUnsupported) {
		err = ErrUnsorted
	}
	return nil, err
}

func (s *Source) latest(ctx context.Context, kind string, query url.Values, n int) (all []Sampled, err error) {
	found, err := s.pages(ctx, call{
		method: http.MethodGet, target: s.o.BaseURL + "/" + kind + "?" + query.Encode(), doing: "search " + kind,
	}, samplePages, func(sofar []rawResource) bool { return len(sofar) >= n })
	if err != nil && !partial(err) {
		return nil, err
	}
	for _, raw := range found[:min(len(found), n)] {
		var one node
		if unmarshal(raw, &one) == nil && one.ResourceType == kind && IsID(string(one.ID)) {
			all = append(all, Sampled{
				Type: kind, ID: string(one.ID), Status: shown(string(one.Status)), LastUpdated: parseInstant(string(one.Meta.first().LastUpdated)),
			})
		}
	}
	return all, nil
}

// matchAtOnce is how many ids are asked for in one search.
const matchAtOnce = 50

// Matching asks the server which resources of a sample its criteria match. ErrCriteria says that it does not know.
func (s *Source) Matching(ctx context.Context, criteria string, sample []Sampled) (map[string]bool, error) {
	kind, query, err := ParseCriteria(criteria)
	if err != nil {
		return nil, ErrCriteria
	}
	matching := map[string]bool{}
	for chunk := range slices.Chunk(sample, matchAtOnce) {
		var ids []string
		for _, one := range chunk {
			if kind == "" || one.Type == kind {
				ids = append(ids, one.ID)
			}
		}
		if len(ids) == 0 {
			continue
		}
		if err := s.matching(ctx, chunk[0].Type, query, ids, matching); err != nil {
			return nil, err
		}
	}
	return matching, nil
}

// ErrCriteria says that a server cannot say what criteria match.
var ErrCriteria = errors.New("the server cannot evaluate the criteria as a search")

// matching asks for some ids. They travel in the body: an id may hold a codice fiscale.
func (s *Source) matching(ctx context.Context, kind string, query url.Values, ids []string, into map[string]bool) (err error) {
	form := url.Values{"_id": {strings.Join(ids, ",")}, "_count": {strconv.Itoa(len(ids))}}
	maps.Copy(form, query)
	var found []rawResource
	for _, elements := range []string{"status", ""} { // whole resources may be large
		if form.Set("_elements", elements); elements == "" {
			form.Del("_elements")
		}
		found, err = s.pages(ctx, call{
			method: http.MethodPost, target: s.o.BaseURL + "/" + kind + "/_search", form: form, doing: "search " + kind,
		}, samplePages, nil)
		if !errors.Is(err, errUnsupported) && !errors.Is(err, errTooLarge) {
			break
		}
	}
	switch {
	case errors.Is(err, errUnsupported), errors.Is(err, errTooLarge), partial(err):
		return ErrCriteria
	case err != nil:
		return err
	}
	for _, raw := range found {
		var one node
		if unmarshal(raw, &one) == nil && slices.Contains(ids, string(one.ID)) {
			into[string(one.ID)] = true
		}
	}
	return nil
}
