package probe

import (
	"net/http"
	"time"
)

// What servers write.
const (
	fhirJSON  = "application/fhir+json"
	fhirXML   = "application/fhir+xml"
	hapiJSON  = "application/fhir+json; charset=UTF-8"
	byType    = "/{type}/{id}"
	rule2xx   = "any 2xx"
	ruleHAPI  = "2xx; after a Bundle 204 or a Bundle, else no JSON or XML that is no resource"
	hapiAgent = "HAPI-FHIR/7.6.0 (FHIR Client; FHIR 4.0.1/R4; apache)"
)

// What they do otherwise.
var (
	hapiRetries  = Otherwise{Retried, "be sent about 20 times within 60 s, and then dropped"}
	neverActive  = Otherwise{Disabled, "leave the Subscription in error: nothing else is ever sent"}
	neverAgain   = Otherwise{Lost, "not be sent again"}
	withoutEnd   = Otherwise{Retried, "be sent again without end"}
	notConfirmed = Otherwise{Retried, "be taken for a failure; what follows is not known"}
)

// Senders are all of them, in the order of the reference. Servers without rest-hooks (Microsoft, Google, LinuxForHealth,
// Blaze, Spark) send nothing that could be played.
func Senders() []Sender {
	return []Sender{
		hapiClassic(), hapiTopics(), hapiSearchCriteria(), medplum(), firely(), fhirWorks(), aidboxOld(), aidboxTopic(), aidboxDestination(),
		candle(), orca(), nhs(), gematik(), bonfhir(), r4b(), r5(), inferno(),
	}
}

func hapiClassic() Sender {
	header := map[string]string{"User-Agent": hapiAgent, "Accept-Charset": "utf-8"}
	versioned := map[string]string{"User-Agent": hapiAgent, "Accept-Charset": "utf-8", "If-Match": `"3"`}
	return Sender{
		Name: "HAPI, classic", Rule: ruleHAPI, takes: hapiTakes, Otherwise: hapiRetries,
		Requests: []Request{
			{What: "create or update", Method: http.MethodPut, Path: byType, ContentType: hapiJSON, Header: header, Body: "{resource}", Changes: 1},
			{What: "with its version", Method: http.MethodPut, Path: byType, ContentType: hapiJSON, Header: versioned, Body: "{resource}", Changes: 1},
			{What: "in XML", Method: http.MethodPut, Path: byType, ContentType: fhirXML + "; charset=UTF-8", Header: header, Body: "{xml}", Changes: 1},
			{What: "delete", Method: http.MethodDelete, Path: byType, Header: header, Changes: 1},
			{What: "payload empty", Method: http.MethodPost, Header: header, Unnamed: true},
		},
	}
}

// hapiTopics: one event in a Bundle, everything relative, and entries that lack what the profile wants.
func hapiTopics() Sender {
	event := func(kind, focus, entry string) string {
		return `{"resourceType":"Bundle","id":"b1","type":"` + kind + `","timestamp":"{now}","entry":[{"fullUrl":"urn:uuid:0b1b2c3d-0000-4000-8000-000000000001",` +
			`"resource":{"resourceType":"Parameters","id":"1","parameter":[{"name":"subscription","valueReference":{"reference":"Subscription/s1"}},` +
			`{"name":"topic","valueCanonical":"{base}/topics/report-final"},{"name":"status","valueCode":"active"},{"name":"type","valueCode":"event-notification"},` +
			`{"name":"events-since-subscription-start","valueString":"1"},{"name":"notification-event","part":[{"name":"event-number","valueString":"1"},` +
			`{"name":"timestamp","valueDate":"2026-01-10"},{"name":"focus","valueReference":{"reference":"` + focus + `"}}]}]}},` + entry + `]}`
	}
	post := func(what, body string) Request {
		return Request{What: what, Method: http.MethodPost, ContentType: hapiJSON, Header: map[string]string{"User-Agent": hapiAgent}, Body: body, Changes: 1}
	}
	full := `{"fullUrl":"{type}/{id}/_history/2","resource":{resource},"request":{"method":"PUT","url":"{type}/{id}"}}`
	return Sender{
		Name: "HAPI, topics", Rule: ruleHAPI, takes: hapiTakes, Otherwise: hapiRetries,
		Requests: []Request{
			post("event", event("history", "{type}/{id}", full)),
			post("delete", event("history", "{type}/{id}", `{"request":{"method":"DELETE","url":"{type}/{id}"}}`)),
			post("as of 2023: a transaction, the type twice", event("transaction", "{type}/{type}/{id}", full)),
		},
	}
}

func hapiSearchCriteria() Sender {
	return Sender{
		Name: "HAPI, search criteria", Rule: ruleHAPI, takes: hapiTakes, Otherwise: hapiRetries,
		Requests: []Request{{
			What: "what a search finds", Method: http.MethodPost, ContentType: hapiJSON, Header: map[string]string{"User-Agent": hapiAgent}, Changes: 1,
			Body: `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{resource},"request":{"method":"PUT","url":"{type}/{id}"}},` +
				`{"resource":{"resourceType":"Organization","id":"o1","name":"staffetta probe"},"request":{"method":"PUT","url":"Organization/o1"}}]}`,
		}},
	}
}

func medplum() Sender {
	header := func(interaction string) map[string]string {
		return map[string]string{
			"X-Medplum-Subscription": "5f0e6f5c-0000-4000-8000-000000000001", "X-Medplum-Interaction": interaction,
			"X-Trace-Id": "7a1c0b5e-0000-4000-8000-000000000001", "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		}
	}
	deleted := header("delete")
	deleted["X-Medplum-Deleted-Resource"] = byType[1:]
	return Sender{
		Name: "Medplum", Rule: "200 to 399", takes: upTo399, Patience: 120 * time.Second,
		Otherwise: Otherwise{Retried, "be sent again, 4 times or as configured (19 times within 73 hours); the Subscription is switched off after many failures"},
		Requests: []Request{
			{What: "create", Method: http.MethodPost, ContentType: fhirJSON, Header: header("create"), Body: "{resource}", Signed: true, Changes: 1},
			{What: "update", Method: http.MethodPost, ContentType: fhirJSON, Header: header("update"), Body: "{resource}", Signed: true, Changes: 1},
			{What: "delete", Method: http.MethodPost, ContentType: fhirJSON, Header: deleted, Body: "{}", Signed: true, Changes: 1},
		},
	}
}

func firely() Sender {
	return Sender{
		Name: "Firely Server", Rule: "any 2xx (not confirmed)", takes: any2xx,
		Otherwise: Otherwise{Disabled, "be sent again 3 times, 60 s apart, and then the Subscription is in error (not confirmed)"},
		Requests: []Request{
			{What: "update", Method: http.MethodPut, Path: byType, ContentType: fhirJSON, Body: "{resource}", Changes: 1},
			{What: "SendRestHookAsCreate", Method: http.MethodPost, Path: "/{type}", ContentType: fhirJSON, Body: "{resource}", Changes: 1},
			{What: "in XML", Method: http.MethodPut, Path: byType, ContentType: fhirXML, Body: "{xml}", Changes: 1},
			{What: "payload empty", Method: http.MethodPost, Unnamed: true},
		},
	}
}

func fhirWorks() Sender {
	return Sender{
		Name: "FHIR Works on AWS", Rule: rule2xx, takes: any2xx, Patience: 5 * time.Second,
		Otherwise: Otherwise{Retried, "be sent once more, and then rest in a dead-letter queue"},
		Requests: []Request{
			{What: "id in the path", Method: http.MethodPut, Path: byType, ContentType: fhirJSON, Changes: 1},
			{What: "payload empty", Method: http.MethodPost, Unnamed: true},
		},
	}
}

func aidboxOld() Sender {
	told := func(event string) Request {
		return Request{
			What: event, Method: http.MethodPost, ContentType: "application/json", Changes: 1,
			Body: `{"id":"n1","type":"notification","event":"` + event + `","resource":{resource}}`,
		}
	}
	return Sender{
		Name: "Aidbox, SubsSubscription", Rule: "exactly 200", takes: exactly200, Otherwise: notConfirmed,
		Requests: []Request{
			{What: "handshake", Method: http.MethodPost, ContentType: "application/json", Body: `{"id":"h1","type":"handshake"}`, Handshake: true},
			told("create"), told("update"), told("delete"),
		},
	}
}
