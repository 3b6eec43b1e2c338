package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// deletion is a version that says that a resource is no more.
type deletion struct {
	name string
	at   time.Time
}

// history serves the history of a type since a time: deletions and latest versions, the latest first. False where the server keeps
// none.
func (s *Server) history(w http.ResponseWriter, r *http.Request, kind string) bool {
	if !s.Traits.History {
		return false
	}
	query := r.URL.Query()
	since, err := time.Parse(time.RFC3339Nano, query.Get("_since"))
	if err != nil {
		outcome(w, http.StatusBadRequest, "invalid")
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["history"]++
	all := s.versions(base(r), kind, since)
	from, _ := strconv.Atoi(query.Get(offset))
	count, _ := strconv.Atoi(query.Get("_count"))
	from, to := min(from, len(all)), min(from+count, len(all))
	bundle := Resource{"resourceType": "Bundle", "type": "history", "total": len(all), "entry": all[from:to]}
	if to < len(all) {
		next := url.Values{"_since": query["_since"], "_count": query["_count"], offset: {strconv.Itoa(to)}}
		bundle["link"] = []any{Resource{"relation": "next", "url": base(r) + kind + "/_history?" + next.Encode()}}
	}
	write(w, http.StatusOK, bundle)
	return true
}

// versions are entries of a history.
func (s *Server) versions(base, kind string, since time.Time) []any {
	type version struct {
		at    time.Time
		entry Resource
	}
	var all []version
	add := func(name, method, status string, at time.Time, r Resource) {
		if !strings.HasPrefix(name, kind+"/") || at.Before(since) {
			return
		}
		entry := Resource{
			"fullUrl": base + name, "request": Resource{"method": method, "url": name},
			"response": Resource{"status": status, "lastModified": at.UTC().Format(time.RFC3339Nano)},
		}
		if r != nil {
			entry["resource"] = r
		}
		all = append(all, version{at, entry})
	}
	for name, r := range s.kept {
		add(name, http.MethodPut, "200", lastUpdated(r), r)
	}
	for _, d := range s.deletions {
		add(d.name, http.MethodDelete, "204", d.at, nil)
	}
	slices.SortFunc(all, func(a, b version) int { return b.at.Compare(a.at) })
	entries := make([]any, len(all))
	for i, v := range all {
		entries[i] = v.entry
	}
	return entries
}
