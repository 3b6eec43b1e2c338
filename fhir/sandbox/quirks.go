package sandbox

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// Quirks are ways in which the searches of a server mislead whoever looks for what changed.
type Quirks struct {
	IgnoresTime bool // _lastUpdated, whatever handling is asked for
	IgnoresSort bool // _sort: the order is that of first versions
	RefusesTime bool // _lastUpdated is answered with 400
	RefusesSort bool
	NoElements  bool // _elements is answered with 400
	NoMeta      bool // with _elements, hits come without meta
	NoTotal     bool
	NoNext      bool // there is never a link to the next page
	PageMost    int  // hits of a page, whatever is asked for; 0: as many as that
	NextIsGone  int  // the status by which every next page is answered; 0: with the page
	Shrinks     bool // every page says a smaller total than the one before
	ErrorInside bool // 200, with an OperationOutcome that says error
	Empty       bool // 200, with nothing
}

// Misbehave sets the quirks.
func (s *Server) Misbehave(q Quirks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quirks, s.shrunk = q, 0
}

// refuses answers a search that the server does not want to know.
func (s *Server) refuses(w http.ResponseWriter, query url.Values) bool {
	s.mu.Lock()
	q := s.quirks
	s.mu.Unlock()
	switch {
	case q.NextIsGone != 0 && query.Has(offset):
		outcome(w, q.NextIsGone, "not-found")
	case q.RefusesTime && query.Has("_lastUpdated"), q.RefusesSort && query.Has("_sort"), q.NoElements && query.Has("_elements"):
		outcome(w, http.StatusBadRequest, "not-supported")
	case q.Empty:
		write(w, http.StatusOK, Resource{"resourceType": "Bundle", "type": "searchset", "total": 0})
	default:
		return false
	}
	return true
}

// heeded is the query without what the server ignores.
func (q Quirks) heeded(query url.Values) url.Values {
	query = maps.Clone(query)
	if q.IgnoresTime {
		query.Del("_lastUpdated")
	}
	if q.IgnoresSort {
		query.Del("_sort")
	}
	if size, err := strconv.Atoi(query.Get("_count")); q.PageMost > 0 && (err != nil || size > q.PageMost) {
		query.Set("_count", strconv.Itoa(q.PageMost))
	}
	return query
}

// spoil makes of an honest answer what this server gives. The server is locked.
func (s *Server) spoil(bundle Resource, query url.Values) {
	q := s.quirks
	if total, _ := bundle["total"].(int); q.Shrinks {
		s.shrunk++
		bundle["total"] = max(0, total-s.shrunk)
	}
	if q.NoTotal {
		delete(bundle, "total")
	}
	if links := list(bundle["link"]); q.NoNext {
		bundle["link"] = slices.DeleteFunc(links, func(one any) bool { link, _ := one.(Resource); return link["relation"] == "next" })
	}
	entries := list(bundle["entry"])
	if q.NoMeta && query.Has("_elements") {
		for i, one := range entries {
			entry := maps.Clone(one.(Resource)) //nolint:forcetypeassert // we made it
			resource := maps.Clone(entry["resource"].(Resource))
			delete(resource, "meta")
			entry["resource"] = resource
			entries[i] = entry
		}
	}
	if q.ErrorInside {
		entries = append(entries, Resource{"search": Resource{"mode": "outcome"}, "resource": Resource{
			"resourceType": "OperationOutcome", "issue": []any{Resource{"severity": "error", "code": "timeout"}},
		}})
	}
	bundle["entry"] = entries
}
