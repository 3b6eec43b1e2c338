package sandbox

import (
	"strconv"
	"time"
)

// backport is the base of the R4 backport's profiles and extensions.
const backport = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"

// event is one change that a subscriber is owed.
type event struct {
	number  int64
	name    string // Type/id
	at      time.Time
	deleted bool
}

// notice is one notification of a topic, or an answer of $status and $events.
type notice struct {
	kind, status, topic string
	base, id            string // of the Subscription
	content             string
	count               int64
	events              []event
}

// bundle writes a notice as the server does. Resources come from get, which gives nil for what is not there.
func (t Traits) bundle(n notice, get func(name string) Resource) Resource {
	status := Resource{"fullUrl": "urn:uuid:0b1b2c3d-0000-4000-8000-000000000003", "resource": t.statusOf(n)}
	if !t.Bare {
		status["request"] = Resource{"method": "GET", "url": n.base + "Subscription/" + n.id + "/$status"}
		status["response"] = Resource{"status": "200"}
	}
	entries := []any{status}
	for _, e := range n.events {
		if entry := t.entryOf(n, e, get); entry != nil {
			entries = append(entries, entry)
		}
	}
	kind := "history"
	if t.Way == R5 {
		kind = "subscription-notification"
	}
	return Resource{"resourceType": "Bundle", "type": kind, "timestamp": time.Now().UTC().Format(time.RFC3339), "entry": entries}
}

// entryOf is the entry of an event; nil where the content names none.
func (t Traits) entryOf(n notice, e event, get func(name string) Resource) Resource {
	if n.content == "empty" {
		return nil
	}
	entry := Resource{"fullUrl": t.reference(n, e.name), "request": Resource{"method": "PUT", "url": e.name}, "response": Resource{"status": "200"}}
	if e.deleted {
		entry["request"] = Resource{"method": "DELETE", "url": e.name}
	} else if r := get(e.name); r != nil && n.content == "full-resource" {
		entry["resource"] = r
	}
	return entry
}

func (t Traits) reference(n notice, name string) string {
	if t.Relative {
		return name
	}
	return n.base + name
}

// statusOf is the first resource of a notification: Parameters in R4, SubscriptionStatus in R4B and R5.
func (t Traits) statusOf(n notice) Resource {
	if t.Way == R4B || t.Way == R5 {
		return t.statusResource(n)
	}
	subscription := Resource{"name": "subscription", "valueReference": Resource{"reference": t.reference(n, "Subscription/"+n.id)}}
	if t.PlainReference {
		subscription = Resource{"name": "subscription", "valueString": t.reference(n, "Subscription/"+n.id)}
	}
	parameters := []any{
		subscription,
		Resource{"name": "status", "valueCode": n.status},
		Resource{"name": "type", "valueCode": n.kind},
		Resource{"name": "events-since-subscription-start", "valueString": strconv.FormatInt(n.count, 10)},
	}
	if n.content != "empty" && n.topic != "" {
		parameters = append(parameters, Resource{"name": "topic", "valueCanonical": n.topic})
	}
	for _, e := range n.events {
		if t.unnumbered {
			break
		}
		parts := []any{
			Resource{"name": "event-number", "valueString": strconv.FormatInt(e.number, 10)},
			Resource{"name": "timestamp", "valueInstant": e.at.UTC().Format(time.RFC3339)},
		}
		if n.content != "empty" {
			parts = append(parts, Resource{"name": "focus", "valueReference": Resource{"reference": t.reference(n, e.name)}})
		}
		parameters = append(parameters, Resource{"name": "notification-event", "part": parts})
	}
	return Resource{"resourceType": "Parameters", "parameter": parameters}
}

func (t Traits) statusResource(n notice) Resource {
	number := func(i int64) any { return strconv.FormatInt(i, 10) }
	if t.Way == R5 {
		number = func(i int64) any { return i } // as published examples write it
	}
	status := Resource{
		"resourceType": "SubscriptionStatus", "status": n.status, "type": n.kind, "eventsSinceSubscriptionStart": number(n.count),
		"subscription": Resource{"reference": t.reference(n, "Subscription/"+n.id)},
	}
	if n.content != "empty" && n.topic != "" {
		status["topic"] = n.topic
	}
	events := make([]any, 0, len(n.events))
	for _, e := range n.events {
		if t.unnumbered {
			break
		}
		one := Resource{"eventNumber": number(e.number), "timestamp": e.at.UTC().Format(time.RFC3339)}
		if n.content != "empty" {
			one["focus"] = Resource{"reference": t.reference(n, e.name)}
		}
		events = append(events, one)
	}
	if len(events) > 0 {
		status["notificationEvent"] = events
	}
	return status
}
