package ledger

import (
	"time"

	"staffetta/fhir"
)

// HintOf is what one event asks for: in shape report to look at the report itself, else to find its document first. False
// where the event names nothing that could be looked at. Whoever learns of a change makes its hint here, so that each
// becomes the same record, and is known again.
func (l *Ledger) HintOf(source string, shape fhir.Shape, event *fhir.Event, settle time.Duration) (Hint, bool) {
	if !concerns(shape, event.Type) || !fhir.IsID(event.ID) {
		return Hint{}, false
	}
	hint := Hint{
		Source: source, Locator: fhir.Locator{Type: event.Type, ID: event.ID},
		Order: orderOf(event), Version: l.VersionTag(event.Version),
	}
	if shape.OfCompositions() {
		hint.Key, hint.State = l.FindKey(source, event.Type, event.ID), Find
		return hint, true
	}
	hint.Key, hint.State, hint.Settle = l.DocumentKey(source, hint.Locator), Pending, settle
	return hint, true
}

// longestSettle is that of policy.settle.
const longestSettle = 24 * time.Hour

// Aged is a hint of what was published so long ago: so much of the settle time is over.
func (h Hint) Aged(age time.Duration) Hint {
	age = min(max(0, age), longestSettle)
	if h.Settle = max(0, h.Settle-age); h.State == Find {
		h.Ago = age
	}
	return h
}

// concerns says whether a resource of the type can lead to a document in the shape (reference fhir-subscriptions.md, 9).
func concerns(shape fhir.Shape, resourceType string) bool {
	switch resourceType {
	case "DiagnosticReport":
		return true
	case "Composition", "DocumentReference", "Bundle":
		return shape.OfCompositions()
	}
	return false
}

// orderOf is the order that an event claims, in ms; 0, which means look, where it claims none, and for what was deleted:
// its time would be that of the last version, which we may have read already.
func orderOf(event *fhir.Event) int64 {
	if event.Deleted || event.LastUpdated.IsZero() || event.LastUpdated.Before(time.UnixMilli(1)) {
		return 0
	}
	return event.LastUpdated.UnixMilli()
}
