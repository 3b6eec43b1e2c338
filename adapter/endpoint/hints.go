package endpoint

import (
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
		hint, usable := e.ledger.HintOf(sender.name, sender.shape, &events[i], sender.settle)
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

// merged is one hint for two on the same record: the newer one, and look wins over any order.
func merged(a, b ledger.Hint) ledger.Hint {
	if a.Order == 0 || (b.Order != 0 && b.Order < a.Order) {
		return a
	}
	return b
}
