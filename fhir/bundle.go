package fhir

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// bundle is a notification Bundle of any version, a transaction of HAPI's search-criteria payload, a document, or a
// message with one of these inside.
func (req *NotificationRequest) bundle(b *wireResource) (Notification, error) {
	if b.noEntries {
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "structure", Diagnostics: "want a list of objects", Expression: "Bundle.entry"}
	}
	if status := statusOf(b); status != nil {
		return req.notified(b, status)
	}
	switch b.code {
	case "transaction", "batch", "collection":
		return Notification{Kind: KindBatch, Bundle: true, EventCount: -1, Events: req.fromEntries(b)}, nil
	case "document":
		return Notification{Kind: KindBatch, Bundle: true, EventCount: -1, Events: req.fromDocument(b)}, nil
	case "message":
		return req.message(b)
	case "history", "subscription-notification":
		return req.withoutStatus(b)
	case "":
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "required", Diagnostics: "the Bundle has no type", Expression: "Bundle.type"}
	}
	if !word.MatchString(b.code) {
		return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "value", Diagnostics: "want the code of a type of Bundles", Expression: "Bundle.type"}
	}
	return req.unknown(b), nil // to look once too often harms nobody
}

// unknown is a Bundle that says nothing but what its entries do, if they name anything of ours.
func (req *NotificationRequest) unknown(b *wireResource) Notification {
	n := Notification{Kind: KindIgnored, Bundle: true, EventCount: -1, Events: req.fromEntries(b)}
	if len(n.Events) > 0 {
		n.Kind = KindBatch
	}
	return n
}

// withoutStatus is a notification whose status does not stand first, or is missing: it is found further behind, or the entries
// speak for themselves. What only a notification can be is refused where it names nothing: its sender would think that we know.
func (req *NotificationRequest) withoutStatus(b *wireResource) (Notification, error) {
	for i := range b.entries {
		if status := b.entries[i].resource.asStatus(); status != nil {
			return req.notified(b, status)
		}
	}
	if n := req.unknown(b); len(n.Events) > 0 || b.code == "history" && b.isOfOthers() {
		return n, nil
	}
	return Notification{}, &Issue{Status: http.StatusBadRequest, Code: "required", Diagnostics: "no entry holds the status of a Subscription", Expression: "Bundle.entry[0]"}
}

// isOfOthers says whether a Bundle names resources, and none of them is what is left of a status.
func (r *wireResource) isOfOthers() bool {
	named := false
	for _, e := range r.entries {
		if e.resource != nil && e.resource.kind == "Parameters" {
			return false
		}
		named = named || e.fullURL != "" || e.url != "" || (e.resource != nil && isType(e.resource.kind))
	}
	return named
}

// message looks one level inside.
func (req *NotificationRequest) message(b *wireResource) (Notification, error) {
	for i := range b.entries {
		if inner := b.entries[i].resource; inner != nil && inner.kind == "Bundle" && inner.code != "message" {
			return req.bundle(inner)
		}
	}
	return Notification{Kind: KindBatch, Bundle: true, EventCount: -1, Events: req.fromEntries(b)}, nil
}

// status is the status resource of a notification, whatever its version.
type status struct {
	kind, code, subscription, count string
	events                          []wireEvent
}

// statusOf finds the status resource, which stands first.
func statusOf(b *wireResource) *status {
	if len(b.entries) == 0 {
		return nil
	}
	return b.entries[0].resource.asStatus()
}

// asStatus is a resource as the status resource; nil where it is none.
func (r *wireResource) asStatus() *status {
	if r == nil {
		return nil
	}
	switch r.kind {
	case "SubscriptionStatus", "AidboxSubscriptionStatus":
		return &status{kind: r.code, code: r.status, subscription: r.subscription, count: r.eventCount, events: r.events}
	case "Parameters":
		return statusInParameters(r.parameters)
	}
	return nil
}

// statusInParameters reads the R4 backport's form by name, in any order; nil where it is none.
func statusInParameters(parameters []wireParameter) *status {
	var s status
	for _, p := range parameters {
		switch p.name {
		case "subscription", "topic-destination":
			s.subscription = p.value
		case "type":
			s.kind = p.value
		case "status":
			s.code = p.value
		case "events-since-subscription-start":
			s.count = p.value
		case "notification-event":
			var e wireEvent
			for _, part := range p.parts {
				switch part.name {
				case "event-number":
					e.number = part.value
				case "focus":
					e.focus = part.value
				}
			}
			s.events = append(s.events, e)
		}
	}
	if s.subscription == "" && kinds[s.kind] == "" && len(s.events) == 0 { // one of them says what it is
		return nil
	}
	return &s
}

// kinds are the types of SubscriptionStatus.
var kinds = map[string]Kind{
	"handshake": KindHandshake, "heartbeat": KindHeartbeat, "event-notification": KindEvent,
	"query-status": KindQueryStatus, "query-event": KindQueryEvent,
}

// notified is a notification with its events, wherever they stand.
func (req *NotificationRequest) notified(b *wireResource, s *status) (Notification, error) {
	if len(s.events) > req.Limits.MaxEntries {
		return Notification{}, unreadable(errTooMany)
	}
	n := Notification{Kind: kinds[s.kind], Bundle: true, Status: s.code, EventCount: count(s.count)}
	if n.Kind == "" {
		n.Kind = KindEvent
	}
	if subscription, ok := parseReference(s.subscription); ok {
		n.Subscription = subscription.id
	} else if IsID(s.subscription) {
		n.Subscription = s.subscription
	}
	find := indexed(b.entries)
	for _, e := range s.events {
		event, named := find.event(e)
		if event.Number > 0 {
			n.Numbers = append(n.Numbers, event.Number)
		}
		if !named {
			n.CatchUp = true
			continue
		}
		if concerns(event.Type, req.Documents) {
			n.Events = append(n.Events, event)
		}
	}
	if n.Kind != KindEvent && n.Kind != KindQueryEvent {
		return n, nil
	}
	if len(s.events) == 0 { // backport 0.1 names its foci in the entries only
		n.Events = req.fromEntries(b)
		n.CatchUp = len(n.Events) == 0 && !otherEntries(b)
	}
	return n, nil
}

// otherEntries says whether entries beside the status name something, if nothing of ours.
func otherEntries(b *wireResource) bool { return len(b.entries) > 1 }

// index finds the entry of a focus.
type index map[string]*wireEntry

// indexed maps fullUrls, with and without version, and Type/id to entries.
func indexed(entries []wireEntry) index {
	find := make(index, 2*len(entries))
	for i := range entries {
		e := &entries[i]
		if i == 0 && e.resource != nil && e.method != http.MethodDelete && e.resource.kind != "" && len(entries) > 0 {
			continue // the status itself
		}
		for _, name := range []string{e.fullURL, withoutVersion(e.fullURL), tail(e.fullURL), tail(e.url), e.resource.name()} {
			if name != "" && find[name] == nil {
				find[name] = e
			}
		}
	}
	return find
}

// tail is Type/id of a reference; "" where it has none.
func tail(text string) string {
	r, ok := parseReference(text)
	if !ok {
		return ""
	}
	return r.tail
}

func (r *wireResource) name() string {
	if r == nil || r.id == "" {
		return ""
	}
	return r.kind + "/" + r.id
}

// event joins an event with the entry of its focus; named is false where it names nothing that could be looked at.
func (find index) event(e wireEvent) (event Event, named bool) {
	focus, literal := parseReference(e.focus)
	entry := find[e.focus]
	for _, name := range []string{withoutVersion(e.focus), focus.tail} {
		if entry == nil && e.focus != "" {
			entry = find[name]
		}
	}
	if literal {
		event = Event{Type: focus.kind, ID: focus.id, Version: focus.version}
	}
	if entry != nil {
		event = entry.added(event)
	}
	event.Number = max(0, count(e.number))
	return event, event.Type != "" && IsID(event.ID)
}

// added is the event with what its entry says more.
func (e *wireEntry) added(event Event) Event {
	if r := e.resource; r != nil && isType(r.kind) && (event.Type == "" || event.Type == r.kind) && (event.ID == "" || r.id == event.ID) {
		if event.ID == "" && IsID(r.id) {
			event.Type, event.ID = r.kind, r.id
		}
		if r.version != "" {
			event.Version = r.version
		}
		event.LastUpdated = parseInstant(r.updated)
	}
	if event.ID == "" {
		for _, named := range []string{e.url, e.fullURL} {
			if r, ok := parseReference(named); ok {
				event.Type, event.ID = r.kind, r.id
				break
			}
		}
	}
	event.Deleted = strings.EqualFold(e.method, http.MethodDelete)
	return event
}

// fromEntries are the events of a Bundle whose entries speak for themselves.
func (req *NotificationRequest) fromEntries(b *wireResource) []Event {
	var events []Event
	for i := range b.entries {
		event := b.entries[i].added(Event{})
		if concerns(event.Type, req.Documents) && event.Type != "Bundle" && IsID(event.ID) {
			events = append(events, event)
		}
	}
	return events
}

// fromDocument is the document's Composition, its first entry, and the Bundle itself, since a server may keep only one of
// them; or its reports where the source keeps no Compositions.
func (req *NotificationRequest) fromDocument(b *wireResource) []Event {
	events := req.fromEntries(b)
	if !req.Documents {
		return events
	}
	var document []Event
	if at := slices.IndexFunc(events, func(e Event) bool { return e.Type == "Composition" }); at >= 0 {
		document = append(document, events[at])
	}
	if whole := req.bareEvent(b); IsID(whole.ID) {
		document = append(document, whole)
	}
	if len(document) > 0 {
		return document
	}
	return events
}

// String is for test failures; it shows no ids.
func (n Notification) String() string {
	return string(n.Kind) + " with " + strconv.Itoa(len(n.Events)) + " events"
}
