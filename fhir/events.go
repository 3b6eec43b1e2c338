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

// ErrNoEvents says that a server keeps no old events of a Subscription, or shows them to nobody.
var ErrNoEvents = errors.New("the server has no $events")

// eventCalls is how many calls we make for one range at most: servers give few events at a time (Aidbox: 100), and keep only
// some.
const eventCalls = 10

// eventsAtOnce bounds the entries of one answer.
const eventsAtOnce = 10_000

// EventRange are events of a Subscription that have not reached us.
type EventRange struct {
	Subscription string
	From, To     int64                                // their numbers, both ends included
	Pace         func(context.Context) error          // called before every call; nil: no wait
	Take         func(context.Context, []Event) error // takes the events of one answer, whatever they are; nil: nobody
}

// Events asks for old events of a Subscription by their numbers. Covered says that the server gave all of them: it may keep
// only the latest. Events without numbers of their own, or of another Subscription, are taken and cover nothing.
func (s *Subscriber) Events(ctx context.Context, m EventRange) (covered bool, err error) {
	q := inquiry{Subscriber: s, EventRange: m, left: eventCalls, got: map[int64]bool{}, seen: map[Event]bool{}}
	for next := m.From; next <= m.To && q.left > 0; {
		r, err := q.ask(ctx, next)
		if err != nil {
			return false, err
		}
		n, err := q.read(r)
		if err != nil {
			return false, err
		}
		fresh := q.fresh(q.asked(n))
		if m.Take != nil {
			if err := m.Take(ctx, fresh); err != nil {
				return false, err
			}
		}
		if next = q.after(next, n, len(fresh)); next == 0 {
			break
		}
	}
	return !q.doubtful && int64(len(q.got)) == m.To-m.From+1, nil
}

// inquiry is one range that is asked for.
type inquiry struct {
	*Subscriber
	EventRange

	left     int            // calls that may be made
	form     int            // of the call, the first that the server takes
	got      map[int64]bool // numbers in the range
	seen     map[Event]bool // that were taken
	doubtful bool           // what came may be something else, or names nothing
}

const askingEvents = "ask for events of Subscription"

// ask makes one call, in the first form that the server takes. The operation changes nothing, so that a GET is always right by
// the standard; not every server has it.
func (q *inquiry) ask(ctx context.Context, from int64) (reply, error) {
	var refused error
	forms, err := q.forms(from)
	if err != nil {
		return reply{}, err
	}
	for ; q.form < len(forms) && q.left > 0; q.form++ {
		if q.Pace != nil {
			if err := q.Pace(ctx); err != nil {
				return reply{}, err
			}
		}
		q.left--
		r, err := q.source.exchange(ctx, forms[q.form])
		switch {
		case err != nil || r.fine():
			return r, err
		case r.missing():
			return r, ErrNoEvents // it is not there in any form
		case refused == nil && !r.unsupported():
			refused = r.refusal(askingEvents)
		}
	}
	if refused == nil {
		refused = ErrNoEvents
	}
	return reply{}, refused
}

// unsupported says that a server does not know what it was asked to do, whatever the range.
func (r reply) unsupported() bool {
	return r.status == http.StatusMethodNotAllowed || r.status == http.StatusNotImplemented || r.issue == "not-supported"
}

// forms are the ways to ask for the events from a number on.
func (q *inquiry) forms(from int64) ([]call, error) {
	since, until := strconv.FormatInt(from, 10), strconv.FormatInt(q.To, 10)
	target := q.at(q.Subscription) + "/$events"
	query := url.Values{"eventsSinceNumber": {since}, "eventsUntilNumber": {until}, "content": {ContentID}}
	plain := url.Values{"eventsSinceNumber": {since}, "eventsUntilNumber": {until}}
	body, err := json.Marshal(map[string]any{"resourceType": "Parameters", "parameter": []any{
		map[string]any{"name": "eventsSinceNumber", "valueString": since}, map[string]any{"name": "eventsUntilNumber", "valueString": until},
	}}, json.Deterministic(true))
	return []call{
		{method: http.MethodGet, target: target + "?" + query.Encode(), doing: askingEvents},
		{method: http.MethodGet, target: target + "?" + plain.Encode(), doing: askingEvents},
		{method: http.MethodPost, target: target, body: body, doing: askingEvents},
	}, err
}

// read reads an answer, which is a notification.
func (q *inquiry) read(r reply) (Notification, error) {
	n, err := DecodeNotification(NotificationRequest{
		Method: http.MethodPost, Body: bytes.NewReader(r.body), Documents: q.source.o.Shape.OfCompositions(),
		Limits: Limits{MaxBytes: q.source.o.MaxBody, MaxDepth: q.source.o.MaxDepth, MaxEntries: eventsAtOnce},
	})
	if err != nil || !n.Bundle {
		return n, &Trouble{Kind: Unusable, Doing: askingEvents, Err: errors.New("the answer holds no events")}
	}
	return n, nil
}

// asked are the events without those before the range, where the answer has all of it: they have reached us, or belong to a time
// before we were connected. One that has only some of these numbers may count within itself.
func (q *inquiry) asked(n Notification) []Event {
	within := map[int64]bool{}
	for _, number := range n.Numbers {
		if number >= q.From && number <= q.To {
			within[number] = true
		}
	}
	if int64(len(within)) <= q.To-q.From {
		return n.Events
	}
	return slices.DeleteFunc(n.Events, func(e Event) bool { return e.Number > 0 && e.Number < q.From })
}

// fresh are the events that did not come before.
func (q *inquiry) fresh(events []Event) (fresh []Event) {
	for _, e := range events {
		known := e
		known.LastUpdated = e.LastUpdated.UTC() // a zone is another one each time that it is read
		if !q.seen[known] {
			q.seen[known], fresh = true, append(fresh, e)
		}
	}
	return fresh
}

// after notes what came, and says where to go on; 0 where nothing more can come. Aidbox' answers have no numbers: its events
// are taken to be in order, without a hole, which is good enough to ask for the next ones, and covers nothing.
func (q *inquiry) after(from int64, n Notification, fresh int) (next int64) {
	q.doubtful = q.doubtful || n.CatchUp || n.Subscription != q.Subscription
	if n.Subscription != "" && n.Subscription != q.Subscription {
		return 0
	}
	highest := int64(0)
	for _, number := range n.Numbers {
		if number >= from && number <= q.To {
			q.got[number], highest = true, max(highest, number)
		}
	}
	if highest == q.To || (highest == 0 && len(n.Numbers) > 0) {
		return 0
	}
	if highest > 0 {
		return highest + 1
	}
	q.doubtful = true
	if more := int64(fresh); more == int64(len(n.Events)) && more > 0 && more <= q.To-from { // else it gives all that it has, whatever it is asked for
		return from + more
	}
	return 0
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
