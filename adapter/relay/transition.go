package relay

import (
	"maps"
	"slices"
	"strings"

	"staffetta/adapter/ledger"
)

// Happened is what one step learned, or did, with a record.
type Happened string

// What can happen to a record in one step.
const (
	Led             Happened = "led"              // a hint led to its documents
	LedNowhere      Happened = "led-nowhere"      // the hinted resource is gone and no document is known by it
	NotYet          Happened = "not-yet"          // not final, not found, not visible yet: the source is asked again
	Deferred        Happened = "deferred"         // embargo or sending window
	Troubled        Happened = "troubled"         // trouble with an upstream: the same again later
	GivenBack       Happened = "given-back"       // nothing was done: a pause, a shutdown, no budget in time
	DecidedSilence  Happened = "decided-silence"  // policy: suppress
	DecidedHold     Happened = "decided-hold"     // policy, or the relay, asks for a person
	NobodyToTell    Happened = "nobody-to-tell"   // no fiscal code, not on IO, not allowed
	NothingOwed     Happened = "nothing-owed"     // the citizen already knows this edition
	NotedGone       Happened = "noted-gone"       // told, and gone where gone says nothing
	Inherited       Happened = "inherited"        // it replaces documents that we know, and has what was told of them
	TakenOver       Happened = "taken-over"       // another document replaces it
	AboutToSend     Happened = "about-to-send"    // everything says yes: `sending` is written before the call
	Created         Happened = "created"          // IO has the message
	NotCreated      Happened = "not-created"      // IO certainly has no message: look again
	Unclear         Happened = "unclear"          // we do not know whether IO has the message
	Covered         Happened = "covered"          // the message about another document of the citizen stands for this one
	StillOnItsWay   Happened = "still-on-its-way" // IO has no final status yet
	DeliveredByIO   Happened = "delivered"        // PROCESSED
	RejectedByIO    Happened = "rejected"         // REJECTED
	FailedByIO      Happened = "failed"           // FAILED, or no final status ever
	CrashedTooOften Happened = "crashed-too-often"
)

// looked is what can come of looking at a document that nothing is being sent about.
func looked(also map[Happened]ledger.State) map[Happened]ledger.State {
	states := map[Happened]ledger.State{
		NotYet:          ledger.Pending,
		Deferred:        ledger.Pending,
		Troubled:        ledger.Pending,
		GivenBack:       ledger.Pending,
		DecidedSilence:  ledger.Suppressed,
		DecidedHold:     ledger.Held,
		NobodyToTell:    ledger.Unreachable,
		NotedGone:       ledger.Noted,
		AboutToSend:     ledger.Sending,
		CrashedTooOften: ledger.Held,
	}
	maps.Copy(states, also)
	return states
}

// transitions mirrors the picture in section 5 of the design. What the table does not know is held, never guessed.
var transitions = map[ledger.State]map[Happened]ledger.State{
	ledger.Find: {
		Led:             ledger.FindEnded,
		LedNowhere:      ledger.FindEnded,
		NotYet:          ledger.Find,
		Troubled:        ledger.Find,
		GivenBack:       ledger.Find,
		DecidedHold:     ledger.Held,
		CrashedTooOften: ledger.Held,
	},
	// Nothing owed and not told cannot come together: a told document is Delivered or Sent when it is looked at again.
	ledger.Pending: looked(map[Happened]ledger.State{
		Inherited: ledger.Pending, TakenOver: ledger.Replaced, Covered: ledger.Sent,
	}),
	ledger.Sending: {
		Created:         ledger.Sent,
		NotCreated:      ledger.Pending,
		Unclear:         ledger.Sending,
		NotYet:          ledger.Sending,
		Deferred:        ledger.Sending,
		Troubled:        ledger.Sending,
		GivenBack:       ledger.Sending,
		AboutToSend:     ledger.Sending, // a resend
		DecidedHold:     ledger.Held,
		NobodyToTell:    ledger.Unreachable,
		CrashedTooOften: ledger.Held,
	},
	ledger.Sent: looked(map[Happened]ledger.State{
		NotYet:         ledger.Sent,
		Deferred:       ledger.Sent,
		Troubled:       ledger.Sent,
		GivenBack:      ledger.Sent,
		NothingOwed:    ledger.Sent,
		DecidedSilence: ledger.Sent, // what was told stays told: a hidden correction is not announced
		NobodyToTell:   ledger.Sent,
		StillOnItsWay:  ledger.Sent,
		DeliveredByIO:  ledger.Delivered,
		RejectedByIO:   ledger.Rejected,
		FailedByIO:     ledger.Held,
	}),
	ledger.Delivered: toldBefore(ledger.Delivered),
	ledger.Rejected:  toldBefore(ledger.Rejected),
	ledger.Noted:     toldBefore(ledger.Noted),
	// What is replaced is over: whatever is hinted, its successor speaks for it.
	ledger.Replaced: {NothingOwed: ledger.Replaced, Inherited: ledger.Replaced, TakenOver: ledger.Replaced, GivenBack: ledger.Replaced, CrashedTooOften: ledger.Held},
}

// toldBefore is a finished record of a told document that a newer hint opened again.
func toldBefore(state ledger.State) map[Happened]ledger.State {
	return looked(map[Happened]ledger.State{
		NotYet: state, Deferred: state, Troubled: state, GivenBack: state, Inherited: state, TakenOver: ledger.Replaced,
		NothingOwed: state, DecidedSilence: state, NobodyToTell: state,
	})
}

// begin is the state from which a record is looked at: a finished one that a newer hint opened again starts anew, and a
// held one that was released looks again.
func begin(state ledger.State, told bool) ledger.State {
	switch state {
	case ledger.Find, ledger.FindEnded:
		return ledger.Find
	case ledger.Suppressed, ledger.Unreachable, ledger.Held, ledger.Pending:
		if told {
			return ledger.Delivered
		}
		return ledger.Pending
	case ledger.Sending, ledger.Sent, ledger.Delivered, ledger.Rejected, ledger.Noted, ledger.Replaced:
		return state
	}
	return state
}

// after is the state that follows; ok is false where the table knows no answer.
func after(state ledger.State, happened Happened) (next ledger.State, ok bool) {
	next, ok = transitions[state][happened]
	return next, ok
}

// diagram prints the table, one transition a line, for people and for the golden test.
func diagram() string {
	var lines []string
	for from, row := range transitions {
		for happened, to := range row {
			lines = append(lines, string(from)+" --"+string(happened)+"--> "+string(to))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}
