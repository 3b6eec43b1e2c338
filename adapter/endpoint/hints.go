package endpoint

import (
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// unusable counts, beside the ledger's admissions, the events that name nothing that could be looked at.
const unusable = "unusable"

// hints are what the events of one notification ask for: one hint for each record, in the order of the events.
func (e *Endpoint) hints(sender *sender, events []fhir.Event) []ledger.Hint {
	hints := make([]ledger.Hint, 0, len(events))
	var at map[ledger.Key]int
	if len(events) > 1 {
		at = make(map[ledger.Key]int, len(events))
	}
	for i := range events {
		hint, usable := e.hint(sender, &events[i])
		if !usable {
			e.metrics.hints.WithLabelValues(sender.name, unusable).Inc()
			continue
		}
		if first, again := at[hint.Key]; again {
			hints[first] = merged(hints[first], hint)
			continue
		}
		if at != nil {
			at[hint.Key] = len(hints)
		}
		hints = append(hints, hint)
	}
	return hints
}

// hint is what one event asks for: in shape report to look at the report itself, else to find its document first.
func (e *Endpoint) hint(sender *sender, event *fhir.Event) (ledger.Hint, bool) {
	if !concerns(sender.shape, event.Type) || !isID(event.ID) {
		return ledger.Hint{}, false
	}
	hint := ledger.Hint{
		Source:  sender.name,
		Locator: fhir.Locator{Type: event.Type, ID: event.ID},
		Order:   orderOf(event),
		Version: e.ledger.VersionTag(event.Version),
	}
	if sender.shape.OfCompositions() {
		hint.Key, hint.State = e.ledger.FindKey(sender.name, event.Type, event.ID), ledger.Find
		return hint, true
	}
	hint.Key, hint.State, hint.Settle = e.ledger.DocumentKey(sender.name, hint.Locator), ledger.Pending, e.settle
	return hint, true
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

// isID says whether a text is a FHIR id (R4 datatypes: [A-Za-z0-9\-\.]{1,64}): only such a one is ever put into a URL.
func isID(text string) bool {
	for i := range len(text) {
		if !isIDByte(text[i]) {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 64
}

func isIDByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.'
}

// orderOf is the order that an event claims, in ms; 0, which means look, where it claims none, and for what was deleted:
// its time would be that of the last version, which we may have read already.
func orderOf(event *fhir.Event) int64 {
	if event.Deleted || event.LastUpdated.IsZero() || event.LastUpdated.Before(time.UnixMilli(1)) {
		return 0
	}
	return event.LastUpdated.UnixMilli()
}

// merged is one hint for two on the same record: the newer one, and look wins over any order.
func merged(a, b ledger.Hint) ledger.Hint {
	if a.Order == 0 || (b.Order != 0 && b.Order < a.Order) {
		return a
	}
	return b
}
