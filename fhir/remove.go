package fhir

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// Remove removes all our Subscriptions: off, until nothing more is delivered, then deleted. Those that are not ours are
// counted and left alone.
func (s *Subscriber) Remove(ctx context.Context, known []Remembered) (removed []Kept, foreign int, err error) {
	ours, foreign, err := s.look(ctx, known)
	if err != nil {
		return nil, 0, err
	}
	for _, h := range ours {
		if err := s.remove(ctx, h); err != nil {
			return removed, foreign, err
		}
		removed = append(removed, s.kept(step{deed: Removed, held: h}, h))
	}
	return removed, foreign, nil
}

// Look shows all our Subscriptions as they stand, and changes nothing.
func (s *Subscriber) Look(ctx context.Context, known []Remembered) (ours []Kept, foreign int, err error) {
	all, foreign, err := s.look(ctx, known)
	for _, h := range all {
		ours = append(ours, s.kept(step{deed: Unchanged, held: h}, h))
	}
	return ours, foreign, err
}

// Absent is what is wanted and not there.
type Absent struct {
	Criteria string // or the topic
	Spare    bool   // a server may refuse it
}

// Absent are the searches and topics that none of our Subscriptions is about; nothing where the server was not asked yet, or
// cannot have what is configured.
func (s *Subscriber) Absent(ours []Kept) (all []Absent) {
	if s.asked.IsZero() {
		return nil
	}
	for _, w := range s.wanted() {
		if !slices.ContainsFunc(ours, func(k Kept) bool { return same(k.Criteria, w.criteria) }) {
			all = append(all, Absent{w.criteria, w.spare})
		}
	}
	return all
}

// Watches says whether one of our active Subscriptions at the server tells of a resource type. A topic of which nothing is known
// may.
func (s *Subscriber) Watches(ctx context.Context, kind string, known []Remembered) (bool, error) {
	ours, _, err := s.look(ctx, known)
	return slices.ContainsFunc(ours, func(h *held) bool {
		if h.status != "active" {
			return false
		}
		if of, _, err := ParseCriteria(h.criteria); err == nil {
			return of == kind
		}
		topic := s.server.topic(h.criteria)
		return topic == nil || topic.watches(kind)
	}), err
}

// look finds ours also where what is configured now cannot be had from the server.
func (s *Subscriber) look(ctx context.Context, known []Remembered) ([]*held, int, error) {
	if _, _, err := s.Learn(ctx); err != nil {
		if _, is := errors.AsType[*Trouble](err); is || ctx.Err() != nil {
			return nil, 0, err
		}
	}
	return s.find(ctx, known)
}

// remove deletes one Subscription after it was switched off, so that what is under way comes to its end.
func (s *Subscriber) remove(ctx context.Context, h *held) error {
	const doing = "delete Subscription"
	if err := s.switchOff(ctx, h); err != nil {
		return err
	}
	r, err := s.source.exchange(ctx, call{method: http.MethodDelete, target: s.at(h.id), doing: doing})
	if err != nil {
		return err
	}
	if !r.fine() && !r.missing() {
		return r.refusal(doing)
	}
	return nil
}

// The bounds of waiting for a Subscription to be off.
const (
	offLooks = 10
	offPause = time.Second
)

// switchOff asks for status off and waits until it is so. A server that forbids updates only knows deletion.
func (s *Subscriber) switchOff(ctx context.Context, h *held) error {
	if !s.server.canWrite("update") || h.status == "off" {
		return nil
	}
	text, err := h.withStatus("off")
	if err != nil {
		return err
	}
	r, err := s.source.exchange(ctx, call{method: http.MethodPut, target: s.at(h.id), body: text, doing: "switch Subscription off"})
	if err != nil || !r.fine() {
		return err // refused: it is deleted all the same
	}
	for range offLooks {
		now, err := s.read(ctx, h.id)
		if err != nil || now == nil || now.status == "off" {
			return err
		}
		if err := s.pause(ctx, offPause); err != nil {
			return err
		}
	}
	return nil // it was asked to be: deletion ends it
}
