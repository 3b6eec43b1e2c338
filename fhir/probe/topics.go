package probe

import (
	"net/http"
	"time"
)

// form is how a server writes R4 notifications.
type form struct {
	subscription string // the parameter
	status       string
	kind         string // the name of value[x] of the type
	count        string // the parameter events-since-subscription-start; "": none
	request      string // request and response of the status entry; "": none
}

var (
	byReference = `{"name":"subscription","valueReference":{"reference":"{base}/Subscription/s1"}}`
	asProfiled  = form{
		subscription: byReference, status: "active", kind: "valueCode", count: `{"name":"events-since-subscription-start","valueString":"2"}`,
		request: `,"request":{"method":"GET","url":"{base}/Subscription/s1/$status"},"response":{"status":"200"}`,
	}
)

// bundle is an R4 notification: events are parameters, entries what follows the status.
func (f form) bundle(kind, events, entries string) string {
	count := ""
	if f.count != "" {
		count = "," + f.count
	}
	return `{"resourceType":"Bundle","type":"history","timestamp":"{now}","entry":[{"fullUrl":"urn:uuid:0b1b2c3d-0000-4000-8000-000000000001",` +
		`"resource":{"resourceType":"Parameters","id":"0b1b2c3d-0000-4000-8000-000000000001","parameter":[` + f.subscription +
		`,{"name":"topic","valueCanonical":"{base}/topics/report-final"},{"name":"status","valueCode":"` + f.status + `"},{"name":"type","` + f.kind + `":"` + kind +
		`"}` + count + events + `]}` + f.request + `}` + entries + `]}`
}

// event is one event in R4; timestamp is the name of its value[x].
func event(number, timestamp, focus string) string {
	at := `{"name":"timestamp","valueInstant":"{now}"}`
	if timestamp == "valueDate" {
		at = `{"name":"timestamp","valueDate":"2026-01-10"}`
	}
	return `,{"name":"notification-event","part":[{"name":"event-number","valueString":"` + number + `"},` + at +
		`,{"name":"focus","valueReference":{"reference":"` + focus + `"}}]}`
}

func entry(fullURL string) string {
	return `,{"fullUrl":"` + fullURL + `","resource":{resource},"request":{"method":"PUT","url":"{type}/{id}"},"response":{"status":"200"}}`
}

const (
	absolute = "{base}/{type}/{id}"
	second   = "{base}/{type}/{other}"
	instant  = "valueInstant"
)

func handshake(f form) Request {
	if f.status == "active" && f.request != "" {
		f.status = "requested"
	}
	return Request{What: "handshake", Method: http.MethodPost, ContentType: fhirJSON, Body: f.bundle("handshake", "", ""), Handshake: true}
}

func told(what, body string, changes int) Request {
	return Request{What: what, Method: http.MethodPost, ContentType: fhirJSON, Body: body, Changes: changes, Unnamed: changes == 0}
}

func heartbeat(body string) Request {
	return Request{What: "heartbeat", Method: http.MethodPost, ContentType: fhirJSON, Body: body}
}

func aidboxTopic() Sender {
	f := asProfiled
	return Sender{
		Name: "Aidbox, topic", Rule: rule2xx, takes: any2xx, Otherwise: withoutEnd, Patience: 30 * time.Second,
		Requests: []Request{
			handshake(f),
			told("two events in one Bundle", f.bundle("event-notification", event("1", instant, absolute)+event("2", instant, second), entry(absolute)), 2),
			heartbeat(f.bundle("heartbeat", "", "")),
		},
	}
}

func aidboxDestination() Sender {
	return Sender{
		Name: "Aidbox, topic destination", Rule: rule2xx, takes: any2xx, Otherwise: withoutEnd, Patience: 30 * time.Second,
		Requests: []Request{told("event", `{"resourceType":"Bundle","type":"history","timestamp":"{now}","entry":[{"resource":{"resourceType":"AidboxSubscriptionStatus",`+
			`"status":"active","type":"event-notification","notificationEvent":[{"eventNumber":1,"focus":{"reference":"{type}/{id}"}}],"topic":"{base}/topics/report-final",`+
			`"topic-destination":{"reference":"AidboxTopicDestination/d1"}}}`+entry("{type}/{id}")+`]}`, 1)},
	}
}

func candle() Sender {
	f := asProfiled
	f.subscription, f.request = `{"name":"subscription","valueString":"{base}/Subscription/s1"}`, ""
	return Sender{
		Name: "fhir-candle", Rule: "200, 202 or 204", takes: candleTakes, Otherwise: neverAgain,
		Requests: []Request{handshake(f), told("event", f.bundle("event-notification", event("1", instant, absolute), entry(absolute)), 1)},
	}
}

func orca() Sender {
	f := asProfiled
	f.kind, f.count = "valueString", ""
	return Sender{
		Name: "orca", Rule: rule2xx, takes: any2xx, Otherwise: neverAgain,
		Requests: []Request{told("event", f.bundle("event-notification", event("0", instant, absolute),
			`,{"fullUrl":"`+absolute+`","request":{"method":"PUT","url":"{type}/{id}"},"response":{"status":"200 OK"}}`), 1)},
	}
}

func nhs() Sender {
	f := asProfiled
	return Sender{
		Name: "NHS, MNS style", Rule: rule2xx, takes: any2xx, Otherwise: notConfirmed,
		Requests: []Request{told("id-only, absolute, numbers as valueString", f.bundle("event-notification", event("2", instant, absolute), ""), 1)},
	}
}

func gematik() Sender {
	f := asProfiled
	f.request = ""
	return Sender{
		Name: "gematik ISiK", Rule: "exactly 200 (stufe 6 draft)", takes: exactly200, Otherwise: notConfirmed,
		Requests: []Request{told("event", f.bundle("event-notification", event("1", "valueDate", absolute), entry(absolute+"/_history/2")), 1)},
	}
}

// bonfhir is a receiver for both HAPI and Medplum: who posts to one posts either form to the same endpoint.
func bonfhir() Sender {
	return Sender{
		Name: "bonfhir (both classic forms)", Rule: rule2xx, takes: any2xx, Otherwise: notConfirmed,
		Requests: []Request{
			{What: "as HAPI", Method: http.MethodPut, Path: byType, ContentType: fhirJSON, Body: "{resource}", Changes: 1},
			{What: "as Medplum", Method: http.MethodPost, ContentType: fhirJSON, Body: "{resource}", Changes: 1},
		},
	}
}

// statusBundle is a notification with a SubscriptionStatus; counts are as they stand in JSON.
func statusBundle(bundle, kind, count, events, entries string) string {
	return `{"resourceType":"Bundle","type":"` + bundle + `","timestamp":"{now}","entry":[{"fullUrl":"urn:uuid:0b1b2c3d-0000-4000-8000-000000000001",` +
		`"resource":{"resourceType":"SubscriptionStatus","status":"active","type":"` + kind + `","eventsSinceSubscriptionStart":` + count + events +
		`,"subscription":{"reference":"{base}/Subscription/s1"},"topic":"{base}/topics/report-final"},` +
		`"request":{"method":"GET","url":"{base}/Subscription/s1/$status"},"response":{"status":"200"}}` + entries + `]}`
}

func r4b() Sender {
	one := `,"notificationEvent":[{"eventNumber":"1","timestamp":"{now}","focus":{"reference":"` + absolute + `"}}]`
	return Sender{
		Name: "R4B, backport", Rule: rule2xx, takes: any2xx, Otherwise: neverActive,
		Requests: []Request{
			{What: "handshake", Method: http.MethodPost, ContentType: fhirJSON, Body: statusBundle("history", "handshake", `"0"`, "", ""), Handshake: true},
			told("event", statusBundle("history", "event-notification", `"1"`, one, entry(absolute)), 1),
			told("content empty", statusBundle("history", "event-notification", `"2"`, `,"notificationEvent":[{"eventNumber":"2"}]`, ""), 0),
			heartbeat(statusBundle("history", "heartbeat", `"2"`, "", "")),
		},
	}
}

func r5() Sender {
	const kind = "subscription-notification"
	two := `,"notificationEvent":[{"eventNumber":1,"focus":{"reference":"` + absolute + `"}},{"eventNumber":2,"focus":{"reference":"` + second + `"}}]`
	return Sender{
		Name: "R5", Rule: rule2xx, takes: any2xx, Otherwise: neverActive,
		Requests: []Request{
			{What: "handshake", Method: http.MethodPost, ContentType: fhirJSON, Body: statusBundle(kind, "handshake", "0", "", ""), Handshake: true},
			told("two events, counts as numbers", statusBundle(kind, "event-notification", "2", two, entry(absolute)), 2),
			told("content empty", statusBundle(kind, "event-notification", "3", `,"notificationEvent":[{"eventNumber":3}]`, ""), 0),
			heartbeat(statusBundle(kind, "heartbeat", "3", "", "")),
		},
	}
}

func inferno() Sender {
	f := asProfiled
	return Sender{
		Name: "Inferno, client suite", Rule: "handshake exactly 200, then any 2xx", takes: infernoTakes,
		Otherwise: Otherwise{Violates, "fail the suite (1.2.01, 1.2.02); after a handshake without 200 the event is never sent"},
		Requests: []Request{
			handshake(f),
			told("id-only", f.bundle("event-notification", event("1", instant, absolute),
				`,{"fullUrl":"`+absolute+`","request":{"method":"PUT","url":"{type}/{id}"},"response":{"status":"200"}}`), 1),
			told("full-resource", f.bundle("event-notification", event("2", instant, absolute), entry(absolute)), 1),
			told("empty", f.bundle("event-notification", `,{"name":"notification-event","part":[{"name":"event-number","valueString":"3"}]}`, ""), 0),
		},
	}
}
