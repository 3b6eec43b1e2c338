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
	"time"
)

// subscriber is what the server knows of a Subscription beside the resource.
type subscriber struct {
	id      string
	ignored bool // created where the server does not look
	events  []event
}

func (s *subscriber) count() int64 { return int64(len(s.events)) }

// Subscriptions are all that the server keeps, in the order of their creation.
func (s *Server) Subscriptions() (all []Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.subscribers {
		if r := s.kept["Subscription/"+one.id]; r != nil {
			all = append(all, r)
		}
	}
	return all
}

// SetStatus sets the status of a Subscription, as the server itself would: error, off.
func (s *Server) SetStatus(id, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setStatus(id, status)
}

func (s *Server) setStatus(id, status string) {
	r := s.kept["Subscription/"+id]
	if r == nil {
		return
	}
	r = maps.Clone(r)
	r["status"] = status
	s.put(r)
}

// Keep keeps a Subscription that somebody else has made.
func (s *Server) Keep(r Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers = append(s.subscribers, &subscriber{id: text(s.put(r)["id"])})
}

// subscriptions serves what has to do with Subscriptions; false for everything else.
func (s *Server) subscriptions(w http.ResponseWriter, r *http.Request, parts []string, administration bool) bool {
	s.mu.Lock()
	s.calls[r.Method+" "+parts[0]]++
	s.mu.Unlock()
	switch {
	case parts[0] == "metadata":
		write(w, http.StatusOK, s.Traits.capability())
	case parts[0] == "SubscriptionTopic" && s.Traits.TopicSearch:
		write(w, http.StatusOK, Resource{"resourceType": "Bundle", "type": "searchset", "entry": s.Traits.topicResources()})
	case parts[0] != "Subscription":
		return false
	case len(parts) == 1 && r.Method == http.MethodPost:
		s.createSubscription(w, r, administration)
	case len(parts) == 1 && r.Method == http.MethodGet:
		s.searchSubscriptions(w, r)
	case len(parts) == 2:
		s.oneSubscription(w, r, parts[1])
	case len(parts) == 3 && parts[2] == "$status" && s.Traits.StatusOperation:
		s.statusOperation(w, r, parts[1])
	case len(parts) == 3 && parts[2] == "$events" && s.Traits.EventsOperation:
		s.eventsOperation(w, r, parts[1])
	default:
		outcome(w, http.StatusNotFound, "not-supported")
	}
	return true
}

func (s *Server) oneSubscription(w http.ResponseWriter, r *http.Request, id string) {
	switch r.Method {
	case http.MethodGet:
		s.mu.Lock()
		found, gone := s.kept["Subscription/"+id], s.gone["Subscription/"+id]
		s.mu.Unlock()
		switch {
		case found != nil:
			write(w, http.StatusOK, s.shown(found))
		case gone:
			outcome(w, http.StatusGone, "deleted")
		default:
			outcome(w, http.StatusNotFound, "not-found")
		}
	case http.MethodPut:
		s.updateSubscription(w, r, id)
	case http.MethodDelete:
		s.Delete("Subscription/" + id)
		w.WriteHeader(http.StatusNoContent)
	default:
		outcome(w, http.StatusMethodNotAllowed, "not-supported")
	}
}

func (s *Server) createSubscription(w http.ResponseWriter, r *http.Request, administration bool) {
	subscription, issue := s.readSubscription(r)
	if issue != "" {
		outcome(w, http.StatusBadRequest, issue)
		return
	}
	s.mu.Lock()
	if s.Traits.OnlyOne && slices.ContainsFunc(s.subscribers, func(one *subscriber) bool { return s.kept["Subscription/"+one.id] != nil }) {
		s.mu.Unlock()
		outcome(w, http.StatusBadRequest, "business-rule")
		return
	}
	one := &subscriber{id: strconv.Itoa(1000 + s.version), ignored: s.Traits.Administration && !administration}
	s.subscribers = append(s.subscribers, one)
	subscription["id"] = one.id
	stored := s.put(subscription)
	s.mu.Unlock()
	if s.Traits.EarlyHandshake {
		s.deliver(r.Context(), delivery{subscriber: one, kind: "handshake"})
	}
	w.Header().Set("Location", base(r)+"Subscription/"+one.id+"/_history/1")
	write(w, http.StatusCreated, s.shown(stored))
	if s.Traits.Forgets {
		s.Delete("Subscription/" + one.id)
		return
	}
	s.begin(one)
}

func (s *Server) updateSubscription(w http.ResponseWriter, r *http.Request, id string) {
	subscription, issue := s.readSubscription(r)
	s.mu.Lock()
	known := s.kept["Subscription/"+id] != nil
	s.mu.Unlock()
	switch {
	case s.Traits.NoUpdate || s.Traits.LiesOfUpdate:
		outcome(w, http.StatusMethodNotAllowed, "not-supported")
	case issue != "" || text(subscription["id"]) != id:
		outcome(w, http.StatusBadRequest, "invalid")
	case !known:
		outcome(w, http.StatusNotFound, "not-found")
	default:
		s.mu.Lock()
		stored := s.put(subscription)
		one := s.subscriber(id)
		s.mu.Unlock()
		write(w, http.StatusOK, s.shown(stored))
		s.begin(one)
	}
}

// begin makes a requested Subscription active, in the server's way.
func (s *Server) begin(one *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text(s.kept["Subscription/"+one.id]["status"]) != "requested" {
		return
	}
	switch {
	case s.Traits.Handshake:
		s.owe(delivery{subscriber: one, kind: "handshake"})
	case s.Traits.Activates && !one.ignored:
		s.setStatus(one.id, "active")
	}
}

func (s *Server) subscriber(id string) *subscriber {
	at := slices.IndexFunc(s.subscribers, func(one *subscriber) bool { return one.id == id })
	if at < 0 {
		return &subscriber{id: id}
	}
	return s.subscribers[at]
}

// readSubscription reads and checks what a client sends; issue is a code of OperationOutcome.
func (s *Server) readSubscription(r *http.Request) (subscription Resource, issue string) {
	if err := json.NewDecoder(r.Body).Decode(&subscription); err != nil || text(subscription["resourceType"]) != "Subscription" {
		return nil, "invalid"
	}
	kind, _, search := strings.Cut(criteriaOf(subscription), "?")
	switch {
	case endpointOf(subscription) == "" || !slices.Contains([]string{"requested", "active", "off"}, text(subscription["status"])):
		return nil, "required"
	case s.Traits.classic() && (!search || strings.Contains(kind, "/")):
		return nil, "value"
	case s.Traits.Refuses != "" && (kind == s.Traits.Refuses || s.Traits.Topics[criteriaOf(subscription)] == s.Traits.Refuses):
		return nil, "not-supported"
	case !s.Traits.classic() && s.Traits.Topics[criteriaOf(subscription)] == "":
		return nil, "not-supported"
	case s.Traits.NoHeartbeat && heartbeatOf(subscription) > 0:
		return nil, "not-supported"
	case s.Traits.Way == R5 && subscription["channel"] != nil, s.Traits.Way != R5 && subscription["channel"] == nil:
		return nil, "structure"
	}
	if s.Traits.Stores != nil {
		s.Traits.Stores(subscription)
	}
	return subscription, ""
}

// shown is a Subscription as the server shows it.
func (s *Server) shown(r Resource) Resource {
	if !s.Traits.HidesHeaders {
		return r
	}
	r = maps.Clone(r)
	delete(r, "parameter")
	if channel, _ := r["channel"].(Resource); channel != nil {
		channel = maps.Clone(channel)
		delete(channel, "header")
		r["channel"] = channel
	}
	return r
}

func (s *Server) searchSubscriptions(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if s.Traits.NoSearch || (s.Traits.NoURLSearch && query.Has("url")) {
		outcome(w, http.StatusBadRequest, "not-supported")
		return
	}
	var match []Resource
	for _, one := range s.Subscriptions() {
		if at := query.Get("url"); at == "" || at == endpointOf(one) {
			match = append(match, s.shown(one))
		}
	}
	match, next := pageOf(match, query)
	entries := []any{}
	for _, one := range match {
		entries = append(entries, Resource{"fullUrl": base(r) + nameOf(one), "resource": one, "search": Resource{"mode": "match"}})
	}
	bundle := Resource{"resourceType": "Bundle", "type": "searchset", "entry": entries}
	if next != nil {
		bundle["link"] = []any{Resource{"relation": "next", "url": base(r) + "Subscription?" + next.Encode()}}
	}
	write(w, http.StatusOK, bundle)
}

func (s *Server) statusOperation(w http.ResponseWriter, r *http.Request, id string) {
	n, known := s.notice(id, "query-status", base(r))
	if !known {
		outcome(w, http.StatusNotFound, "not-found")
		return
	}
	bundle := s.Traits.bundle(n, s.Get)
	bundle["type"] = "searchset"
	write(w, http.StatusOK, bundle)
}

// eventsOperation gives old events with their numbers, both ends of the range included.
func (s *Server) eventsOperation(w http.ResponseWriter, r *http.Request, id string) {
	n, known := s.notice(id, "query-event", base(r))
	if !known {
		outcome(w, http.StatusNotFound, "not-found")
		return
	}
	asked := eventsAsked(r)
	since, err1 := strconv.ParseInt(asked.Get("eventsSinceNumber"), 10, 64)
	until, err2 := strconv.ParseInt(asked.Get("eventsUntilNumber"), 10, 64)
	s.mu.Lock()
	kept := s.subscriber(id).events
	if most := s.Traits.EventsKept; most > 0 {
		kept = kept[max(0, len(kept)-most):]
	}
	for _, e := range kept {
		if most := s.Traits.EventsAtMost; most > 0 && len(n.events) >= most {
			break
		}
		if (err1 != nil || e.number >= since) && (err2 != nil || e.number <= until) {
			n.events = append(n.events, e)
		}
	}
	s.mu.Unlock()
	traits := s.Traits
	traits.unnumbered = traits.EventsUnnumbered
	write(w, http.StatusOK, traits.bundle(n, s.Get))
}

// eventsAsked are the parameters of $events, from the query or from Parameters.
func eventsAsked(r *http.Request) url.Values {
	asked := r.URL.Query()
	var body Resource
	if json.NewDecoder(r.Body).Decode(&body) == nil {
		for _, one := range list(body["parameter"]) {
			p, _ := one.(Resource)
			asked.Set(text(p["name"]), fmt.Sprint(p["valueString"]))
		}
	}
	return asked
}

// notice is what the server would say of a Subscription now.
func (s *Server) notice(id, kind, at string) (n notice, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.kept["Subscription/"+id]
	if r == nil {
		return n, false
	}
	return notice{
		kind: kind, status: text(r["status"]), topic: criteriaOf(r), base: at, id: id, content: contentOf(r), count: s.subscriber(id).count(),
	}, true
}

// changed notes for whoever subscribed that a resource changed.
func (s *Server) changed(r Resource, deleted bool) {
	for _, one := range s.subscribers {
		subscription := s.kept["Subscription/"+one.id]
		if subscription == nil || text(subscription["status"]) != "active" || one.ignored || s.Traits.Mute || s.ended(subscription) {
			continue
		}
		if !s.wants(subscription, r) || (deleted && s.Traits.classic() && !deletesOf(subscription)) {
			continue
		}
		e := event{number: one.count() + 1, name: nameOf(r), at: s.now(), deleted: deleted}
		one.events = append(one.events, e)
		s.owe(delivery{subscriber: one, kind: "event-notification", events: []event{e}})
	}
}

func (s *Server) ended(subscription Resource) bool {
	end, err := time.Parse(time.RFC3339, text(subscription["end"]))
	return err == nil && s.now().After(end)
}

// wants says whether a Subscription is about a resource.
func (s *Server) wants(subscription, r Resource) bool {
	if s.Traits.classic() {
		kind, query, _ := strings.Cut(criteriaOf(subscription), "?")
		values, err := url.ParseQuery(query)
		return err == nil && text(r["resourceType"]) == kind && matches(r, values)
	}
	if s.Traits.Topics[criteriaOf(subscription)] != text(r["resourceType"]) {
		return false
	}
	for _, filter := range filtersOf(subscription) {
		if !matches(r, filter) {
			return false
		}
	}
	return true
}

func channelOf(subscription Resource) Resource {
	channel, _ := subscription["channel"].(Resource)
	return channel
}

func criteriaOf(subscription Resource) string {
	return text(subscription["criteria"]) + text(subscription["topic"])
}

func endpointOf(subscription Resource) string {
	return text(subscription["endpoint"]) + text(channelOf(subscription)["endpoint"])
}

// headersOf are the headers that each notification carries.
func headersOf(subscription Resource) http.Header {
	headers := http.Header{}
	for _, line := range list(channelOf(subscription)["header"]) {
		name, value, _ := strings.Cut(text(line), ":")
		headers.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	for _, one := range list(subscription["parameter"]) {
		p, _ := one.(Resource)
		headers.Add(text(p["name"]), text(p["value"]))
	}
	return headers
}

// extensionIn is the extension of a URL among those of an element.
func extensionIn(element any, of string) Resource {
	holder, _ := element.(Resource)
	for _, one := range list(holder["extension"]) {
		if e, _ := one.(Resource); text(e["url"]) == of {
			return e
		}
	}
	return nil
}

func contentOf(subscription Resource) string {
	content := text(subscription["content"]) + text(extensionIn(channelOf(subscription)["_payload"], backport+"backport-payload-content")["valueCode"])
	if content == "" {
		return "full-resource"
	}
	return content
}

func heartbeatOf(subscription Resource) float64 {
	period, _ := subscription["heartbeatPeriod"].(float64)
	inChannel, _ := extensionIn(channelOf(subscription), backport+"backport-heartbeat-period")["valueUnsignedInt"].(float64)
	return period + inChannel
}

func deletesOf(subscription Resource) bool {
	const sendDeletes = "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages"
	yes, _ := extensionIn(channelOf(subscription), sendDeletes)["valueBoolean"].(bool)
	return yes
}

// filtersOf are the filters of a topic's Subscription, as searches.
func filtersOf(subscription Resource) (all []url.Values) {
	criteria, _ := subscription["_criteria"].(Resource)
	for _, one := range list(criteria["extension"]) {
		e, _ := one.(Resource)
		_, query, _ := strings.Cut(text(e["valueString"]), "?")
		if values, err := url.ParseQuery(query); err == nil {
			all = append(all, values)
		}
	}
	for _, one := range list(subscription["filterBy"]) {
		f, _ := one.(Resource)
		all = append(all, url.Values{text(f["filterParameter"]): {text(f["value"])}})
	}
	return all
}
