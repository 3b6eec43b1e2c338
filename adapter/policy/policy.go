// Package policy decides what a citizen is owed: facts and what was told go in, a decision comes out. It asks nobody.
package policy

import (
	"time"

	"staffetta/fhir"
)

// Action is what policy says of a publication.
type Action string

// The actions.
const (
	Notify   Action = "notify"      // tell the citizen now
	Suppress Action = "suppress"    // tell nobody; recorded, and a person may release it
	Wait     Action = "wait"        // look again at Until; a hint pulls it forward
	Defer    Action = "defer"       // an embargo or a sending window: not before Until, whatever hints say
	Hold     Action = "hold"        // a person must look
	Unreach  Action = "unreachable" // nobody can be told and nobody can act on it
	Nothing  Action = "nothing"     // nothing new is owed: the citizen already knows this edition
	Note     Action = "note"        // told, and gone since, where gone says nothing (fse2)
)

// Question is all that a decision depends on.
type Question struct {
	Document fhir.Document
	Source   SourceRules
	Told     Told
	// HiddenAt is when the document was last seen hidden from the citizen (rule 5); zero when never.
	HiddenAt time.Time
	// WaitingFor is the reason for which the record waits for its source, and WaitingSince since when; zero when it does not.
	WaitingFor   string
	WaitingSince time.Time
	Waits        int // looks in vain so far, for the widening gaps of «not final»
	// HeardAt is when we first heard of what is decided on; zero for now. The age cut-off counts until then.
	HeardAt time.Time
	// Released are the reasons that a person has overridden for this edition (see ReleaseOf).
	Released []string
	Now      time.Time
}

// waited is for how long the record has waited for one reason.
func (q *Question) waited(reason string) time.Duration {
	if q.WaitingFor != reason || q.WaitingSince.IsZero() {
		return 0
	}
	return q.Now.Sub(q.WaitingSince)
}

// looks is how often it was looked in vain for one reason.
func (q *Question) looks(reason string) int {
	if q.WaitingFor != reason {
		return 0
	}
	return q.Waits
}

// Told is what the citizen was told about the document so far.
type Told struct {
	Any         bool
	SameEdition bool // the edition that was told is the one read now
	SamePerson  bool // the person that was told is the one resolved now; meaningless where the person has trouble
	Withdrawn   bool // the last publication told was withdrawn
}

// SourceRules are the choices that each source makes in the file.
type SourceRules struct {
	UnlabelledHold   bool // sources[].unlabelled: hold
	ObscuredSuppress bool // sources[].obscured: suppress (P99)
}

// Decision is what policy says.
type Decision struct {
	Action      Action
	Publication string // published, updated, withdrawn; with Notify, and with Hold `withdrawn`
	Reason      string // the words of reference fse.md, section 5.2; "" with Notify and Nothing
	Detail      string // a fixed word more, e.g. stp
	Rule        string // the number of the rule in the table, e.g. 5, 15b
	Until       time.Time
	Hidden      bool // the document is hidden from its citizen now (rule 5): the age cut-off will count from here
}
