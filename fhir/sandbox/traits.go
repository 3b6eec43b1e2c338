package sandbox

import (
	"slices"
	"time"
)

// Traits are a server's ways with Subscriptions (reference fhir-subscriptions.md, 2.1 and 3.7).
type Traits struct {
	Software, Version string // as its CapabilityStatement says; without a name it knows no Subscriptions
	FHIR              string // fhirVersion
	Way               Flavour
	Topics            map[string]string // canonical -> the resource type that it watches; nil: a classic server

	// What it says of itself.
	Profile     bool // the profile of the R4 backport
	ListsTopics bool // its topics, in the CapabilityStatement
	TopicSearch bool // SubscriptionTopic resources
	Documents   bool // Bundle, which it searches by type
	History     bool // of each type of documents, which it serves

	// What it allows.
	NoUpdate     bool   // PUT is refused, and not listed
	LiesOfUpdate bool   // PUT is listed, and refused
	NoURLSearch  bool   // Subscription has no search parameter url
	NoSearch     bool   // Subscription cannot be searched
	NoHeartbeat  bool   // a heartbeat period is refused
	OnlyOne      bool   // a second Subscription is refused
	Refuses      string // Subscriptions for this resource type are refused; "": for none

	// What it does.
	Activates       bool // requested becomes active by itself
	Handshake       bool // requested becomes active by a handshake that is answered with 2xx
	Exactly200      bool // and with no other one than 200
	EarlyHandshake  bool // the handshake comes before the answer to the create
	Mute            bool // it never fires
	Forgets         bool // what was created is not there afterwards
	Administration  bool // it fires only what was created below /administration
	StatusOperation bool
	EventsOperation bool
	HidesHeaders    bool           // headers are not shown
	Stores          func(Resource) // what it keeps other than it was asked to
	GivesUp         string         // the status after a notification that nobody took: error or off; "": it is dropped
	// Tries of one notification, and the time between them. HAPI's are about 20 within a minute: here a minute is a moment.
	Tries   int           // 0: 3
	Between time.Duration // 0: 5 ms

	// How it answers $events.
	EventsUnnumbered bool // entries only (Aidbox)
	EventsAtMost     int  // in one answer; 0: all
	EventsKept       int  // it remembers the latest; 0: all

	// How it writes.
	PlainReference bool // subscription as a string (fhir-candle)
	Relative       bool // relative references (HAPI)
	OneEvent       bool // one event in a Bundle (HAPI)
	Bare           bool // no request and response with the status (HAPI, fhir-candle)

	unnumbered bool // this answer names its events by its entries only
}

// ReportTopic is the topic of the servers that have one.
const ReportTopic = "https://fse.example.it/topics/diagnosticreport-changed"

func reportTopic() map[string]string { return map[string]string{ReportTopic: "DiagnosticReport"} }

// The servers.
func hapi() Traits {
	return Traits{Software: "HAPI FHIR Server", Version: "7.6.0", FHIR: "4.0.1", Way: ClassicPut, Activates: true, Tries: 20, Between: time.Millisecond}
}

func hapiTopics() Traits {
	return Traits{
		Software: "HAPI FHIR Server", Version: "7.6.0", FHIR: "4.3.0", Way: R4B, Topics: reportTopic(), TopicSearch: true, Activates: true,
		Relative: true, OneEvent: true, Bare: true,
	}
}

func medplum() Traits {
	return Traits{Software: "medplum", Version: "4.1.0", FHIR: "4.0.1", Way: ClassicPost, GivesUp: "off"}
}

func aidbox() Traits {
	return Traits{
		Software: "Aidbox", Version: "2512", FHIR: "4.0.1", Way: R4Full, Topics: reportTopic(), Profile: true, ListsTopics: true, NoUpdate: true,
		Handshake: true, StatusOperation: true, EventsOperation: true, GivesUp: "error", EventsUnnumbered: true, EventsAtMost: 100,
	}
}

func firely() Traits {
	return Traits{
		Software: "Firely Server", Version: "6.0.0", FHIR: "4.0.1", Way: ClassicPut, Activates: true, Administration: true, NoURLSearch: true,
		GivesUp: "error",
	}
}

func candle() Traits {
	return Traits{
		Software: "fhir-candle", FHIR: "4.0.1", Way: R4Full, Topics: reportTopic(), Profile: true, ListsTopics: true, Handshake: true,
		StatusOperation: true, PlainReference: true, Bare: true, LiesOfUpdate: true,
	}
}

func r5() Traits {
	return Traits{
		Software: "a server of R5", FHIR: "5.0.0", Way: R5, Topics: reportTopic(), TopicSearch: true, Handshake: true, EarlyHandshake: true,
		StatusOperation: true, EventsOperation: true, GivesUp: "error", HidesHeaders: true,
	}
}

func inferno() Traits {
	return Traits{
		Software: "Inferno Subscriptions Test Kit Client Suite", FHIR: "4.0.1", Way: R4Full, Topics: reportTopic(), Profile: true, NoUpdate: true,
		NoSearch: true, NoHeartbeat: true, OnlyOne: true, Handshake: true, Exactly200: true, StatusOperation: true,
	}
}

func mute() Traits {
	return Traits{Software: "Blaze", FHIR: "4.0.1", Way: ClassicPut, Activates: true, Mute: true}
}

// Products are the servers by name: a new value at each call.
func Products() map[string]Traits {
	return map[string]Traits{
		"HAPI": hapi(), "HAPI topics": hapiTopics(), "Medplum": medplum(), "Aidbox": aidbox(), "Firely": firely(),
		"fhir-candle": candle(), "R5": r5(), "Inferno": inferno(), "mute": mute(),
	}
}

// classic says whether it takes criteria.
func (t Traits) classic() bool { return t.Topics == nil }

// capability is its CapabilityStatement.
func (t Traits) capability() Resource {
	interactions := []any{}
	for _, code := range []string{"create", "read", "update", "delete", "search-type"} {
		if (code == "update" && t.NoUpdate) || (code == "search-type" && t.NoSearch) {
			continue
		}
		interactions = append(interactions, Resource{"code": code})
	}
	subscription := Resource{"type": "Subscription", "interaction": interactions}
	if t.Profile {
		subscription["supportedProfile"] = []any{backport + "backport-subscription"}
	}
	if t.ListsTopics {
		extensions := make([]any, 0, len(t.Topics))
		for _, canonical := range t.canonicals() {
			extensions = append(extensions, Resource{"url": backport + "capabilitystatement-subscriptiontopic-canonical", "valueCanonical": canonical})
		}
		subscription["extension"] = extensions
	}
	resources := []any{subscription}
	for _, kind := range []string{"DiagnosticReport", "Composition", "DocumentReference"} {
		switch {
		case t.History:
			resources = append(resources, Resource{"type": kind, "interaction": []any{
				Resource{"code": "read"}, Resource{"code": "search-type"}, Resource{"code": "history-type"},
			}})
		case kind == "DiagnosticReport":
			resources = append(resources, Resource{"type": kind})
		}
	}
	if t.TopicSearch {
		resources = append(resources, Resource{"type": "SubscriptionTopic", "interaction": []any{Resource{"code": "search-type"}}})
	}
	if t.Documents {
		resources = append(resources, Resource{
			"type": "Bundle", "interaction": []any{Resource{"code": "read"}, Resource{"code": "search-type"}},
			"searchParam": []any{Resource{"name": "composition", "type": "reference"}, Resource{"name": "type", "type": "token"}},
		})
	}
	return Resource{
		"resourceType": "CapabilityStatement", "status": "active", "kind": "instance", "fhirVersion": t.FHIR,
		"software": Resource{"name": t.Software, "version": t.Version}, "rest": []any{Resource{"mode": "server", "resource": resources}},
	}
}

func (t Traits) canonicals() (all []string) {
	for canonical := range t.Topics {
		all = append(all, canonical)
	}
	slices.Sort(all)
	return all
}

// topicResources are its SubscriptionTopics.
func (t Traits) topicResources() (all []any) {
	for _, canonical := range t.canonicals() {
		all = append(all, Resource{"resource": Resource{
			"resourceType": "SubscriptionTopic", "id": tail(canonical), "url": canonical, "status": "active",
			"resourceTrigger": []any{Resource{"resource": "http://hl7.org/fhir/StructureDefinition/" + t.Topics[canonical]}},
		}, "search": Resource{"mode": "match"}})
	}
	return all
}
