package fhir

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// ErrNoEvents says that a server keeps no old events, or shows them to nobody.
var ErrNoEvents = errors.New("the server has no $events")

// eventCalls is how often we ask for one range at most: servers give few at a time (Aidbox: 100), and keep only some.
const eventCalls = 50

// eventsAtOnce bounds the entries of one answer.
const eventsAtOnce = 10_000

// Events asks for the old events of a Subscription by their numbers, both ends included. Covered says that the server had all
// of them: it may keep only the latest.
func (s *Subscriber) Events(ctx context.Context, id string, from, to int64) (events []Event, covered bool, err error) {
	got, nameless, next := map[int64]bool{}, false, from
	for calls := 0; next <= to && calls < eventCalls; calls++ {
		n, highest, err := s.eventsFrom(ctx, id, next, to, got)
		if err != nil || len(n.Numbers) == 0 && again(n.Events, events) {
			return events, false, err
		}
		events, nameless = append(events, n.Events...), nameless || n.CatchUp
		if highest < next {
			break
		}
		next = highest + 1
	}
	return events, !nameless && int64(len(got)) == to-from+1, nil
}

// again says whether events without numbers came before: then they are not those that were asked for, but all that is left.
func again(events, before []Event) bool {
	return slices.ContainsFunc(events, func(e Event) bool { return slices.Contains(before, e) })
}

// eventsFrom is one call. Aidbox' answers have no numbers: its events are taken to be in order, without a hole.
func (s *Subscriber) eventsFrom(ctx context.Context, id string, from, to int64, got map[int64]bool) (n Notification, highest int64, err error) {
	r, err := s.askEvents(ctx, id, from, to)
	if err != nil {
		return n, 0, err
	}
	n, err = DecodeNotification(NotificationRequest{
		Method: http.MethodPost, Body: bytes.NewReader(r.body), Documents: s.source.o.Shape.OfCompositions(),
		Limits: Limits{MaxBytes: s.source.o.MaxBody, MaxDepth: s.source.o.MaxDepth, MaxEntries: eventsAtOnce},
	})
	if err != nil || !n.Bundle {
		return n, 0, &Trouble{Kind: Unusable, Doing: askingEvents, Err: errors.New("the answer holds no events")}
	}
	note := func(number int64) {
		if number >= from && number <= to {
			got[number] = true
			highest = max(highest, number)
		}
	}
	for _, number := range n.Numbers {
		note(number)
	}
	if len(n.Numbers) == 0 {
		for i := range n.Events {
			note(from + int64(i))
		}
	}
	return n, highest, nil
}

const askingEvents = "ask for events of Subscription"

// askEvents asks in the first form that the server takes. The operation changes nothing, so that a GET is always right by the
// standard; not every server has it.
func (s *Subscriber) askEvents(ctx context.Context, id string, from, to int64) (reply, error) {
	since, until := strconv.FormatInt(from, 10), strconv.FormatInt(to, 10)
	target := s.at(id) + "/$events"
	query := url.Values{"eventsSinceNumber": {since}, "eventsUntilNumber": {until}, "content": {ContentID}}
	plain := url.Values{"eventsSinceNumber": {since}, "eventsUntilNumber": {until}}
	body, err := json.Marshal(map[string]any{"resourceType": "Parameters", "parameter": []any{
		map[string]any{"name": "eventsSinceNumber", "valueString": since}, map[string]any{"name": "eventsUntilNumber", "valueString": until},
	}}, json.Deterministic(true))
	if err != nil {
		return reply{}, err
	}
	for _, one := range []call{
		{method: http.MethodGet, target: target + "?" + query.Encode(), doing: askingEvents},
		{method: http.MethodGet, target: target + "?" + plain.Encode(), doing: askingEvents},
		{method: http.MethodPost, target: target, body: body, doing: askingEvents},
	} {
		r, err := s.source.exchange(ctx, one)
		if err != nil || r.fine() {
			return r, err
		}
		if r.missing() {
			break // it is not there in any form
		}
	}
	return reply{}, ErrNoEvents
}

// Status asks how a Subscription stands: by $status, else by the resource itself; false where it is no more.
func (s *Subscriber) Status(ctx context.Context, id string) (SubscriptionStatus, bool, error) {
	r, err := s.source.exchange(ctx, call{method: http.MethodGet, target: s.at(id) + "/$status", doing: "ask for the status of Subscription"})
	if err != nil {
		return SubscriptionStatus{}, false, err
	}
	if status, ok := statusIn(r); ok && status.Status != "" {
		status.Status = shown(strings.TrimSpace(status.Status))
		return status, true, nil
	}
	h, err := s.read(ctx, id)
	if err != nil || h == nil {
		return SubscriptionStatus{}, false, err
	}
	return SubscriptionStatus{Status: shown(strings.TrimSpace(h.status)), Events: -1}, true, nil
}

// Searches are what finds all that a Subscription would tell of: its criteria, or the searches of the shape narrowed by the
// filters of a topic.
func Searches(shape Shape, criteria, filters []string) []string {
	if len(criteria) > 0 {
		return criteria
	}
	if others := othersOf(shape, filters); len(others) > 0 {
		return narrowed(others, filters)
	}
	return narrowed(sweptOf(shape), filters)
}

// SpareSearches are those beside them that not every server knows.
func SpareSearches(shape Shape, criteria, filters []string) []string {
	if len(criteria) > 0 || len(othersOf(shape, filters)) > 0 {
		return nil
	}
	return narrowed(spareCriteriaOf(shape), filters)
}

// narrowed are searches with the filters that are for their types.
func narrowed(searches, filters []string) (all []string) {
	for _, search := range searches {
		kind, query, err := ParseCriteria(search)
		if err != nil {
			continue
		}
		for _, filter := range filters {
			of, more, err := ParseCriteria(filter)
			if err != nil || (of != "" && of != kind) {
				continue
			}
			if more.Has("status") {
				query.Del("status") // it says itself which
			}
			for name, values := range more {
				query[name] = append(query[name], values...)
			}
		}
		all = append(all, kind+"?"+query.Encode())
	}
	return all
}

// othersOf are searches for the types that filters name; none where one of these is the shape's.
func othersOf(shape Shape, filters []string) (others []string) {
	usual := slices.Concat(criteriaOf(shape), spareCriteriaOf(shape))
	for _, filter := range filters {
		kind, _, err := ParseCriteria(filter)
		if err != nil || kind == "" {
			continue
		}
		if slices.ContainsFunc(usual, func(search string) bool { return strings.HasPrefix(search, kind+"?") }) {
			return nil
		}
		others = append(others, kind+"?")
	}
	slices.Sort(others)
	return slices.Compact(others)
}
