package fhir

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// storedSubscription is a Subscription of any release, as far as we use it.
type storedSubscription struct {
	ResourceType text                `json:"resourceType"`
	ID           text                `json:"id"`
	Meta         list[meta]          `json:"meta"`
	Status       text                `json:"status"`
	End          text                `json:"end"`
	Reason       text                `json:"reason"`
	Criteria     text                `json:"criteria"`
	Filters      list[storedMore]    `json:"_criteria"`
	Channel      list[storedChannel] `json:"channel"`
	// R5:
	Topic     text               `json:"topic"`
	FilterBy  list[storedFilter] `json:"filterBy"`
	Endpoint  text               `json:"endpoint"`
	Parameter list[storedNamed]  `json:"parameter"`
	Heartbeat text               `json:"heartbeatPeriod"`
	Timeout   text               `json:"timeout"`
	Content   text               `json:"content"`
	MaxCount  text               `json:"maxCount"`
}

type storedMore struct {
	Extension list[storedValue] `json:"extension"`
}

type storedChannel struct {
	Endpoint  text              `json:"endpoint"`
	Payload   text              `json:"payload"`
	Content   list[storedMore]  `json:"_payload"`
	Header    texts             `json:"header"`
	Extension list[storedValue] `json:"extension"`
}

type storedValue struct {
	URL      text `json:"url"`
	Code     text `json:"valueCode"`
	String   text `json:"valueString"`
	Unsigned text `json:"valueUnsignedInt"`
	Positive text `json:"valuePositiveInt"`
	Integer  text `json:"valueInteger"`
}

type storedFilter struct {
	ResourceType text `json:"resourceType"`
	Parameter    text `json:"filterParameter"`
	Modifier     text `json:"modifier"`
	Value        text `json:"value"`
}

type storedNamed struct {
	Name  text `json:"name"`
	Value text `json:"value"`
}

// held is one Subscription as its server shows it.
type held struct {
	id, status, endpoint, reason string
	criteria                     string // or the topic
	content                      string // "" where it is not said
	filters                      []string
	authorization                string // the header that it sends; "" where the server does not show it
	heartbeat, timeout, maxCount int64  // seconds, and a number; 0: none
	end, written                 time.Time
	events                       int64  // since it began; -1 unknown
	trouble                      string // code of the error that the server names; a fixed word
	raw                          jsontext.Value
}

var errNoSubscription = errors.New("the answer is no Subscription")

// readHeld reads a Subscription of any release.
func readHeld(raw jsontext.Value) (*held, error) {
	var from storedSubscription
	if unmarshal(raw, &from) != nil || from.ResourceType != "Subscription" {
		return nil, errNoSubscription
	}
	m, channel := from.Meta.first(), from.Channel.first()
	h := &held{
		id: string(from.ID), status: string(from.Status), reason: string(from.Reason), raw: raw, events: -1,
		end: parseInstant(string(from.End)), written: parseInstant(string(m.LastUpdated)),
		endpoint: string(channel.Endpoint + from.Endpoint), criteria: string(from.Criteria + from.Topic),
		content: string(from.Content + channel.Content.first().extension(payloadContent).Code),
	}
	if h.id != "" && !IsID(h.id) {
		return nil, errNoSubscription
	}
	if from.Topic != "" {
		h.readR5(&from)
	} else {
		h.readR4(&from, channel)
	}
	return h, nil
}

func (h *held) readR4(from *storedSubscription, channel storedChannel) {
	for _, e := range from.Filters.first().Extension {
		if e.URL == filterCriteria {
			h.filters = append(h.filters, string(e.String))
		}
	}
	h.authorization = authorizationIn([]string(channel.Header))
	at := storedMore{Extension: channel.Extension}
	h.heartbeat, h.timeout, h.maxCount = at.number(heartbeatPeriod), at.number(deliveryTimeout), at.number(maxCount)
}

func (h *held) readR5(from *storedSubscription) {
	for _, f := range from.FilterBy {
		parameter := string(f.Parameter)
		if f.Modifier != "" {
			parameter += ":" + string(f.Modifier)
		}
		text := url.Values{parameter: {string(f.Value)}}.Encode()
		if kind := lastPart(string(f.ResourceType)); kind != "" {
			text = kind + "?" + text
		}
		h.filters = append(h.filters, text)
	}
	for _, p := range from.Parameter {
		if strings.EqualFold(string(p.Name), "Authorization") {
			h.authorization = string(p.Value)
		}
	}
	h.heartbeat, h.timeout, h.maxCount = max(0, count(string(from.Heartbeat))), max(0, count(string(from.Timeout))), max(0, count(string(from.MaxCount)))
}

func (m storedMore) extension(of string) (found storedValue) {
	for _, e := range m.Extension {
		if string(e.URL) == of {
			return e
		}
	}
	return found
}

func (m storedMore) number(of string) int64 {
	e := m.extension(of)
	return max(0, count(string(e.Unsigned+e.Positive+e.Integer)))
}

// authorizationIn is the value of the Authorization header among header lines.
func authorizationIn(lines []string) string {
	for _, line := range lines {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(strings.TrimSpace(name), "Authorization") {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// sameEndpoint compares URLs as servers keep them: a slash at the end, and the case of scheme and host, mean nothing.
func sameEndpoint(a, b string) bool {
	plain := func(text string) string {
		u, err := url.Parse(strings.TrimSuffix(text, "/"))
		if err != nil {
			return text
		}
		u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
		return u.String()
	}
	return a != "" && plain(a) == plain(b)
}

// differs names what is not as it is wanted, in fixed words; "" where all is. What the server does not show is taken to be
// right.
func (h *held) differs(w *wanted) string {
	switch {
	case h.endpoint != "" && !sameEndpoint(h.endpoint, w.Endpoint):
		return "endpoint"
	case !same(h.criteria, w.criteria):
		return "criteria"
	case h.authorization != "" && h.authorization != w.authorization():
		return "token"
	case (w.End == 0) != h.end.IsZero():
		return "end"
	case w.flavour == FlavourClassic:
		return ""
	}
	return h.differsInTopic(w)
}

func (h *held) differsInTopic(w *wanted) string {
	switch {
	case !sameTexts(spelled(h.filters), spelled(w.Filters)):
		return "filters"
	case h.content != "" && h.content != w.Content:
		return "content"
	case h.heartbeat != int64(seconds(w.Heartbeat)):
		return "heartbeat"
	case h.timeout != int64(seconds(w.Timeout)):
		return "timeout"
	case h.maxCount != int64(w.MaxCount):
		return "max_count"
	}
	return ""
}

// spelled writes filters in one spelling: R5 keeps each parameter of one on its own.
func spelled(filters []string) (all []string) {
	for _, f := range filters {
		kind, query, err := ParseCriteria(f)
		if err != nil {
			all = append(all, f)
			continue
		}
		for parameter, values := range query {
			for _, v := range values {
				all = append(all, kind+"?"+parameter+"="+v)
			}
		}
	}
	return all
}

// stopped says whether the server no longer delivers, and will not by itself.
func (h *held) stopped() bool {
	return slices.Contains([]string{"error", "off", "entered-in-error"}, h.status)
}

// ending says whether it must be renewed: less than a third of the life that it was given is left. A server may give less
// than was asked for.
func (h *held) ending(asked time.Duration, now time.Time) bool {
	if h.end.IsZero() {
		return false
	}
	life := asked
	if !h.written.IsZero() && h.end.After(h.written) {
		life = h.end.Sub(h.written)
	}
	if life <= 0 {
		life = 24 * time.Hour
	}
	return h.end.Sub(now) < life/3
}

// withStatus is the Subscription as the server shows it, with another status and without its narrative, which was cut short.
func (h *held) withStatus(status string) ([]byte, error) {
	var all map[string]jsontext.Value
	if err := unmarshal(h.raw, &all); err != nil {
		return nil, errNoSubscription
	}
	delete(all, "text")
	all["status"] = jsontext.Value(`"` + status + `"`)
	return json.Marshal(all, json.Deterministic(true), anyText)
}
