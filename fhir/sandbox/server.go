// Package sandbox is an FSE that runs in-process, for trials and tests: it keeps documents in every shape, serves reads and
// searches, keeps Subscriptions as one of several products does, and posts notifications in many flavours.
package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Resource is one FHIR resource as JSON.
type Resource = map[string]any

// Server keeps resources and serves them under its base.
type Server struct {
	// Token, where set, is the bearer token that reads must show.
	Token string
	// Lenient ignores parameters that it does not know, also where strict handling is asked for, as many servers do.
	Lenient bool
	// XML answers in XML whatever is asked for, as a server does that knows nothing else.
	XML bool
	// Fault may answer a request in the server's place; it says whether it did.
	Fault func(w http.ResponseWriter, r *http.Request) bool
	// Traits are its ways with Subscriptions; the zero ones know none. What it owes to subscribers is sent by Run, or by
	// Deliver.
	Traits Traits
	// Now is its clock; nil: time.Now.
	Now func() time.Time

	mu        sync.Mutex
	kept      map[string]Resource // Type/id
	gone      map[string]bool
	deletions []deletion
	names     []string // in the order of their first version
	version   int
	calls     map[string]int

	quirks Quirks
	shrunk int // pages that shrank

	subscribers []*subscriber
	owed        chan delivery
	dropped     int
}

// NewServer makes an empty one.
func NewServer() *Server {
	return &Server{kept: map[string]Resource{}, gone: map[string]bool{}, calls: map[string]int{}, owed: make(chan delivery, owedAtMost)}
}

// Put writes a new version of a resource and gives it back with its meta. Those who subscribed are owed a notification.
func (s *Server) Put(r Resource) Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	r = s.put(r)
	s.changed(r, false)
	return r
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Server) put(r Resource) Resource {
	s.version++
	meta, _ := r["meta"].(Resource)
	meta = maps.Clone(meta)
	if meta == nil {
		meta = Resource{}
	}
	meta["versionId"], meta["lastUpdated"] = strconv.Itoa(s.version), s.now().UTC().Format("2006-01-02T15:04:05.000Z")
	r = maps.Clone(r)
	r["meta"] = meta
	s.keep(r)
	return r
}

// Load keeps a resource as it is, with whatever meta it has; of a Bundle, its entries too.
func (s *Server) Load(r Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, _ := r["entry"].([]any)
	for _, e := range entries {
		if entry, _ := e.(Resource); entry != nil {
			if inner, _ := entry["resource"].(Resource); inner != nil {
				s.keep(inner)
			}
		}
	}
	if text(r["id"]) != "" {
		s.keep(r)
	}
}

func (s *Server) keep(r Resource) {
	name := text(r["resourceType"]) + "/" + text(r["id"])
	if s.kept[name] == nil {
		s.names = append(s.names, name)
	}
	s.kept[name] = r
	delete(s.gone, name)
}

// Delete removes a resource: 410 from now on.
func (s *Server) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.kept[name]; r != nil {
		s.changed(r, true)
		s.deletions = append(s.deletions, deletion{name, s.now()})
	}
	delete(s.kept, name)
	s.gone[name] = true
}

// Get gives a resource by Type/id, nil where there is none. Whoever changes an element of it changes nothing here.
func (s *Server) Get(name string) Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.kept[name])
}

// Calls are how often each of read, search and changes (a search for what changed) was called.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// ServeHTTP serves reads and searches; the base is whatever stands before the type.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Fault != nil && s.Fault(w, r) {
		return
	}
	if s.XML || wantsXML(r) {
		w = inXML{w}
	}
	if s.Now != nil {
		w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	}
	if s.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.Token {
		outcome(w, http.StatusUnauthorized, "login")
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	administration := parts[0] == "administration"
	if parts[0] == "fhir" || administration {
		parts = parts[1:]
	}
	switch {
	case s.Traits.Software != "" && len(parts) > 0 && s.subscriptions(w, r, parts, administration):
	case len(parts) == 1 && r.Method == http.MethodGet:
		s.search(w, r, parts[0], r.URL.Query())
	case len(parts) == 2 && parts[1] == "_search" && r.Method == http.MethodPost:
		if r.ParseForm() != nil {
			outcome(w, http.StatusBadRequest, "invalid")
			return
		}
		s.search(w, r, parts[0], r.Form)
	case len(parts) == 2 && parts[1] == "_history" && r.Method == http.MethodGet && s.history(w, r, parts[0]):
	case len(parts) == 2 && r.Method == http.MethodGet:
		s.read(w, parts[0]+"/"+parts[1])
	default:
		outcome(w, http.StatusNotFound, "not-found")
	}
}

func (s *Server) read(w http.ResponseWriter, name string) {
	s.mu.Lock()
	s.calls["read"]++
	r, gone := s.kept[name], s.gone[name]
	s.mu.Unlock()
	switch {
	case r != nil:
		write(w, http.StatusOK, r)
	case gone:
		outcome(w, http.StatusGone, "deleted")
	default:
		outcome(w, http.StatusNotFound, "not-found")
	}
}

// parameters that the searches know, and how a resource matches; nil for those that only shape the answer.
var parameters = map[string]func(r Resource, value string) bool{
	"_id":                    func(r Resource, v string) bool { return slices.Contains(strings.Split(v, ","), text(r["id"])) },
	"identifier":             matchesIdentifier,
	"entry":                  func(r Resource, v string) bool { return refersTo(topEntries(r), v) },
	"encounter":              func(r Resource, v string) bool { return refersTo(list(r["encounter"]), v) },
	"subject":                func(r Resource, v string) bool { return refersTo(list(r["subject"]), v) },
	"related":                func(r Resource, v string) bool { return refersTo(related(r), v) },
	"composition":            func(r Resource, v string) bool { return nameOf(beginning(r)) == v },
	"composition.identifier": func(r Resource, v string) bool { return matchesIdentifier(beginning(r), v) },
	"status":                 func(r Resource, v string) bool { return slices.Contains(strings.Split(v, ","), text(r["status"])) },
	"type":                   func(r Resource, v string) bool { return text(r["type"]) == v }, // of a Bundle
	"_lastUpdated":           matchesLastUpdated,
	"_include":               nil, "_revinclude": nil, "_revinclude:iterate": nil, "_sort": nil, "_count": nil, "_elements": nil, offset: nil,
}

// beginning is the first resource of a Bundle; nil where it has none.
func beginning(bundle Resource) Resource {
	for _, one := range list(bundle["entry"]) {
		entry, _ := one.(Resource)
		first, _ := entry["resource"].(Resource)
		return first
	}
	return nil
}

func (s *Server) search(w http.ResponseWriter, req *http.Request, kind string, query url.Values) {
	strict := strings.Contains(strings.Join(req.Header["Prefer"], ","), "handling=strict") && !s.Lenient
	for name := range query {
		if _, known := parameters[name]; !known && strict {
			outcome(w, http.StatusBadRequest, "not-supported")
			return
		}
	}
	if s.refuses(w, query) {
		return
	}
	write(w, http.StatusOK, s.searchset(base(req), kind, query))
}

// searchset is the answer to a search.
func (s *Server) searchset(base, kind string, query url.Values) Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[callOf(query)]++
	heeded := s.quirks.heeded(query)
	match := s.found(kind, heeded)
	total := len(match)
	sortBy(match, heeded.Get("_sort"))
	match, next := pageOf(match, heeded)
	include := s.included(match, heeded)
	entries := make([]any, 0, len(match)+len(include))
	for _, r := range match {
		entries = append(entries, Resource{"fullUrl": base + nameOf(r), "resource": r, "search": Resource{"mode": "match"}})
	}
	for _, r := range include {
		entries = append(entries, Resource{"fullUrl": base + nameOf(r), "resource": r, "search": Resource{"mode": "include"}})
	}
	links := []any{Resource{"relation": "self", "url": base + kind + "?" + known(heeded).Encode()}}
	if next != nil {
		links = append(links, Resource{"relation": "next", "url": base + kind + "?" + next.Encode()})
	}
	bundle := Resource{"resourceType": "Bundle", "type": "searchset", "total": total, "entry": entries, "link": links}
	s.spoil(bundle, query)
	return bundle
}

// callOf is how a search is counted: those that look for what changed are others.
func callOf(query url.Values) string {
	if query.Has("_lastUpdated") || query.Has("_sort") {
		return "changes"
	}
	return "search"
}

// known is a query without the parameters that no search knows.
func known(query url.Values) url.Values {
	heeded := url.Values{}
	for name, values := range query {
		if _, is := parameters[name]; is {
			heeded[name] = values
		}
	}
	return heeded
}

func base(req *http.Request) string { return "http://" + req.Host + "/fhir/" }

func nameOf(r Resource) string { return text(r["resourceType"]) + "/" + text(r["id"]) }

// found are the matches, in the order of their first version.
func (s *Server) found(kind string, query url.Values) (match []Resource) {
	for _, name := range s.names {
		r := s.kept[name]
		if r != nil && text(r["resourceType"]) == kind && matches(r, query) {
			match = append(match, r)
		}
	}
	return match
}

// matches says whether a resource fits all parameters that are known.
func matches(r Resource, query url.Values) bool {
	for parameter, values := range query {
		test := parameters[parameter]
		for _, value := range values {
			if test != nil && !test(r, value) {
				return false
			}
		}
	}
	return true
}

// included is what comes along with matches.
func (s *Server) included(match []Resource, query url.Values) (include []Resource) {
	add := func(r Resource) {
		named := func(other Resource) bool { return nameOf(other) == nameOf(r) }
		if r != nil && !slices.ContainsFunc(match, named) && !slices.ContainsFunc(include, named) {
			include = append(include, r)
		}
	}
	for _, r := range match {
		for _, what := range query["_include"] {
			for _, reference := range follows(r, what) {
				add(s.kept[tail(reference)])
			}
		}
		for _, what := range query["_revinclude"] {
			s.reverse(r, what, add)
		}
	}
	for _, r := range slices.Clone(include) {
		for _, what := range query["_revinclude:iterate"] {
			s.reverse(r, what, add)
		}
	}
	return include
}

// follows are the references that an _include follows.
func follows(r Resource, what string) (references []string) {
	var from []any
	switch what {
	case "DiagnosticReport:subject", "Composition:subject":
		from = list(r["subject"])
	case "Composition:entry":
		from = topEntries(r)
	}
	for _, one := range from {
		if reference, _ := one.(Resource); reference != nil {
			references = append(references, text(reference["reference"]))
		}
	}
	return references
}

// reverse adds what refers to r.
func (s *Server) reverse(r Resource, what string, add func(Resource)) {
	for _, name := range s.names {
		other := s.kept[name]
		switch {
		case other == nil:
		case what == "Composition:entry" && text(other["resourceType"]) == "Composition" && refersTo(topEntries(other), nameOf(r)),
			what == "DocumentReference:related" && text(other["resourceType"]) == "DocumentReference" && refersTo(related(other), nameOf(r)):
			add(other)
		}
	}
}

// topEntries are the entries of top-level sections: R4's search parameter goes no deeper.
func topEntries(r Resource) (entries []any) {
	for _, one := range list(r["section"]) {
		if section, _ := one.(Resource); section != nil {
			entries = append(entries, list(section["entry"])...)
		}
	}
	return entries
}

func related(r Resource) (references []any) {
	for _, one := range list(r["context"]) {
		if context, _ := one.(Resource); context != nil {
			references = append(references, list(context["related"])...)
		}
	}
	return references
}

func refersTo(references []any, name string) bool {
	return slices.ContainsFunc(references, func(one any) bool {
		reference, _ := one.(Resource)
		return reference != nil && tail(text(reference["reference"])) == name
	})
}

// escapes of a token: what they stand for must not divide it.
var escapes = strings.NewReplacer(`\\`, "\x00", `\|`, "\x01", `\,`, "\x02", `\$`, "\x03")

var unescaped = strings.NewReplacer("\x00", `\`, "\x01", "|", "\x02", ",", "\x03", "$")

func matchesIdentifier(r Resource, value string) bool {
	return slices.ContainsFunc(strings.Split(escapes.Replace(value), ","), func(token string) bool { return matchesToken(r, token) })
}

func matchesToken(r Resource, token string) bool {
	system, code, both := strings.Cut(token, "|")
	if !both {
		code, system = system, ""
	}
	system, code = unescaped.Replace(system), unescaped.Replace(code)
	return slices.ContainsFunc(list(r["identifier"]), func(one any) bool {
		id, _ := one.(Resource)
		return id != nil && text(id["value"]) == code && (!both || text(id["system"]) == system)
	})
}

// tail is Type/id of a reference.
func tail(reference string) string {
	reference, _, _ = strings.Cut(reference, "/_history/")
	parts := strings.Split(reference, "/")
	if len(parts) < 2 {
		return reference
	}
	return strings.Join(parts[len(parts)-2:], "/")
}

// list is an array, or one element in its place.
func list(value any) []any {
	switch v := value.(type) {
	case []any:
		return v
	case nil:
		return nil
	}
	return []any{value}
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func outcome(w http.ResponseWriter, status int, code string) {
	write(w, status, Resource{"resourceType": "OperationOutcome", "issue": []any{Resource{"severity": "error", "code": code}}})
}

func write(w http.ResponseWriter, status int, r Resource) {
	body, err := json.Marshal(r)
	if err != nil {
		body, status = []byte(fmt.Sprintf("%q", err.Error())), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/fhir+json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
