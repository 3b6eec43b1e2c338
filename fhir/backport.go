package fhir

import (
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// Extensions of a Subscription of the R4 backport (reference fhir-subscriptions.md, 3.5).
const (
	filterCriteria  = backportStructure + "backport-filter-criteria"
	heartbeatPeriod = backportStructure + "backport-heartbeat-period"
	deliveryTimeout = backportStructure + "backport-timeout"
	maxCount        = backportStructure + "backport-max-count"
	payloadContent  = backportStructure + "backport-payload-content"
)

// topicR4 is the Subscription of the R4 backport. The models that we use elsewhere cannot write _criteria and _payload.
type topicR4 struct {
	ResourceType string       `json:"resourceType"`
	ID           string       `json:"id,omitzero"`
	Meta         profiled     `json:"meta"`
	Status       string       `json:"status"`
	Contact      []contact    `json:"contact,omitempty"`
	End          string       `json:"end,omitzero"`
	Reason       string       `json:"reason"`
	Criteria     string       `json:"criteria"`
	Filters      *extended    `json:"_criteria,omitempty"`
	Channel      topicChannel `json:"channel"`
}

type profiled struct {
	Profile []string `json:"profile"`
}

type contact struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

type extended struct {
	Extension []value `json:"extension"`
}

// value is an extension with one of the values that the backport has.
type value struct {
	URL      string `json:"url"`
	Boolean  bool   `json:"valueBoolean,omitzero"`
	Code     string `json:"valueCode,omitzero"`
	String   string `json:"valueString,omitzero"`
	Unsigned int    `json:"valueUnsignedInt,omitzero"`
	Positive int    `json:"valuePositiveInt,omitzero"`
}

type topicChannel struct {
	Extension []value  `json:"extension,omitempty"`
	Type      string   `json:"type"`
	Endpoint  string   `json:"endpoint"`
	Payload   string   `json:"payload"`
	Content   extended `json:"_payload"`
	Header    []string `json:"header,omitempty"`
}

const restHook = "rest-hook"

func (w *wanted) backport(id, end string) ([]byte, error) {
	subscription := topicR4{
		ResourceType: "Subscription", ID: id, Meta: profiled{[]string{backportProfile}}, Status: w.status(), Contact: w.contacts(),
		End: end, Reason: w.reason(), Criteria: w.criteria,
		Channel: topicChannel{
			Type: restHook, Endpoint: w.Endpoint, Payload: fhirJSON, Header: w.headers(),
			Content: extended{[]value{{URL: payloadContent, Code: w.Content}}},
		},
	}
	for _, filter := range w.Filters {
		if subscription.Filters == nil {
			subscription.Filters = &extended{}
		}
		subscription.Filters.Extension = append(subscription.Filters.Extension, value{URL: filterCriteria, String: filter})
	}
	channel := &subscription.Channel
	if w.Heartbeat > 0 {
		channel.Extension = append(channel.Extension, value{URL: heartbeatPeriod, Unsigned: seconds(w.Heartbeat)})
	}
	if w.Timeout > 0 {
		channel.Extension = append(channel.Extension, value{URL: deliveryTimeout, Unsigned: seconds(w.Timeout)})
	}
	if w.MaxCount > 0 {
		channel.Extension = append(channel.Extension, value{URL: maxCount, Positive: w.MaxCount})
	}
	if w.product == HAPI {
		channel.Extension = append(channel.Extension, value{URL: sendDeletes, Boolean: true})
	}
	return json.Marshal(subscription)
}

func (w *wanted) contacts() []contact {
	if w.Contact == "" {
		return nil
	}
	system := contactSystem(w.Contact)
	return []contact{{System: system.Code(), Value: w.Contact}}
}

// topicR5 is the Subscription of R5.
type topicR5 struct {
	ResourceType string      `json:"resourceType"`
	ID           string      `json:"id,omitzero"`
	Name         string      `json:"name"`
	Status       string      `json:"status"`
	Topic        string      `json:"topic"`
	Contact      []contact   `json:"contact,omitempty"`
	End          string      `json:"end,omitzero"`
	Reason       string      `json:"reason"`
	FilterBy     []filterBy  `json:"filterBy,omitempty"`
	ChannelType  plainCoding `json:"channelType"`
	Endpoint     string      `json:"endpoint"`
	Parameter    []named     `json:"parameter,omitempty"`
	Heartbeat    int         `json:"heartbeatPeriod,omitzero"`
	Timeout      int         `json:"timeout,omitzero"`
	ContentType  string      `json:"contentType"`
	Content      string      `json:"content"`
	MaxCount     int         `json:"maxCount,omitzero"`
}

type filterBy struct {
	ResourceType    string `json:"resourceType,omitzero"`
	FilterParameter string `json:"filterParameter"`
	Modifier        string `json:"modifier,omitzero"`
	Value           string `json:"value"`
}

type plainCoding struct {
	System string `json:"system"`
	Code   string `json:"code"`
}

type named struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (w *wanted) r5(id, end string) ([]byte, error) {
	subscription := topicR5{
		ResourceType: "Subscription", ID: id, Name: "Staffetta " + w.source, Status: w.status(), Topic: w.criteria, Contact: w.contacts(),
		End: end, Reason: w.reason(),
		ChannelType: plainCoding{System: "http://terminology.hl7.org/CodeSystem/subscription-channel-type", Code: restHook},
		Endpoint:    w.Endpoint, ContentType: fhirJSON, Content: w.Content,
		Heartbeat: seconds(w.Heartbeat), Timeout: seconds(w.Timeout), MaxCount: w.MaxCount,
	}
	if w.Token != "" {
		subscription.Parameter = []named{{"Authorization", w.authorization()}}
	}
	for _, filter := range w.Filters {
		kind, query, err := ParseCriteria(filter)
		if err != nil {
			return nil, err
		}
		subscription.FilterBy = append(subscription.FilterBy, filtersOf(kind, query)...)
	}
	return json.Marshal(subscription)
}

// filtersOf writes a search as R5 has it: one filter for each parameter.
func filtersOf(kind string, query url.Values) (all []filterBy) {
	for parameter, values := range query {
		parameter, modifier, _ := strings.Cut(parameter, ":")
		for _, v := range values {
			all = append(all, filterBy{ResourceType: kind, FilterParameter: parameter, Modifier: modifier, Value: v})
		}
	}
	slices.SortStableFunc(all, func(a, b filterBy) int { return strings.Compare(a.FilterParameter, b.FilterParameter) })
	return all
}
