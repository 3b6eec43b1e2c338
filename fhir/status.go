package fhir

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// addStatus adds what the server says of a Subscription beside the resource itself, by $status. Classic Subscriptions have
// none; a server without it says all in the resource.
func (s *Subscriber) addStatus(ctx context.Context, h *held) error {
	if s.choice.Flavour == FlavourClassic || s.noStatus {
		return nil
	}
	r, err := s.source.exchange(ctx, call{method: http.MethodGet, target: s.at(h.id) + "/$status", doing: "ask for the status of Subscription"})
	if err != nil {
		return err
	}
	status, ok := statusIn(r)
	if !ok {
		s.noStatus = true
		return nil
	}
	if status.Status != "" {
		h.status = status.Status
	}
	h.events, h.trouble = status.Events, status.Trouble
	return nil
}

// SubscriptionStatus is what $status says.
type SubscriptionStatus struct {
	Status  string
	Events  int64  // since it began; -1 unknown
	Trouble string // code of its error; "" for none
}

// statusResource is SubscriptionStatus (R4B, R5) or Parameters (R4), whatever value[x] a server writes.
type statusResource struct {
	ResourceType text                  `json:"resourceType"`
	Status       text                  `json:"status"`
	Events       text                  `json:"eventsSinceSubscriptionStart"`
	Error        list[concept]         `json:"error"`
	Parameter    list[statusParameter] `json:"parameter"`
}

type statusParameter struct {
	Name     text          `json:"name"`
	Code     text          `json:"valueCode"`
	String   text          `json:"valueString"`
	Unsigned text          `json:"valueUnsignedInt"`
	Integer  text          `json:"valueInteger"`
	Long     text          `json:"valueInteger64"`
	Concept  list[concept] `json:"valueCodeableConcept"`
}

func (p statusParameter) value() string {
	return string(p.Code + p.String + p.Unsigned + p.Integer + p.Long)
}

// statusIn finds the status in an answer: a searchset, a history or a notification Bundle (reference
// fhir-subscriptions.md, 3.3), or the resource alone.
func statusIn(r reply) (SubscriptionStatus, bool) {
	if !r.fine() {
		return SubscriptionStatus{}, false
	}
	var bundle page
	if unmarshal(r.body, &bundle) != nil {
		return SubscriptionStatus{}, false
	}
	if bundle.ResourceType != "Bundle" {
		return readStatus(r.body)
	}
	for _, e := range bundle.Entry {
		if status, ok := readStatus(e.Resource); ok {
			return status, true
		}
	}
	return SubscriptionStatus{}, false
}

func readStatus(raw jsontext.Value) (SubscriptionStatus, bool) {
	var from statusResource
	if len(raw) == 0 || unmarshal(raw, &from) != nil {
		return SubscriptionStatus{}, false
	}
	switch from.ResourceType {
	case "SubscriptionStatus":
	case "Parameters":
		from.byName()
	default:
		return SubscriptionStatus{}, false
	}
	status := SubscriptionStatus{Status: string(from.Status), Events: count(string(from.Events))}
	for _, one := range codings(from.Error) {
		status.Trouble = shown(one.Code)
	}
	return status, true
}

// byName reads the R4 form.
func (from *statusResource) byName() {
	for _, p := range from.Parameter {
		switch p.Name {
		case "status":
			from.Status = text(p.value())
		case "events-since-subscription-start":
			from.Events = text(p.value())
		case "error":
			from.Error = append(from.Error, p.Concept...)
		}
	}
}

// AwaitActive asks until our Subscriptions are active, have failed, or looks are used up, and gives them as they stand then.
func (s *Subscriber) AwaitActive(ctx context.Context, kept []Kept, looks int) ([]Kept, error) {
	for i := range kept {
		for range looks {
			if k := &kept[i]; k.Status != "requested" || k.Deed == Removed {
				break
			}
			if err := s.pause(ctx, time.Second); err != nil {
				return kept, err
			}
			h, err := s.read(ctx, kept[i].ID)
			if err != nil || h == nil {
				return kept, err
			}
			if err := s.addStatus(ctx, h); err != nil {
				return kept, err
			}
			kept[i].Status, kept[i].Events, kept[i].Trouble = shown(strings.TrimSpace(h.status)), h.events, h.trouble
		}
	}
	return kept, nil
}
