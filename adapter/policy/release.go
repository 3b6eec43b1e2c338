package policy

import (
	"slices"

	"staffetta/fhir/fiscalcode"
)

// Reasons of a silence that is not the document's own.
const (
	IOOff     = "io-off"      // io.mode: off
	NotInTest = "not-in-test" // io.mode: test, and the citizen is not among io.allow
)

// Reach is whom messages may go to at all (io.mode); zero for everybody.
type Reach struct {
	Off  bool                     // nobody: everything is decided and written down, and IO is asked nothing
	Only map[fiscalcode.Code]bool // only these; nil for everybody
}

// limit turns a yes into the named silence of io.mode.
func (r Reach) limit(d Decision, to fiscalcode.Code) Decision {
	switch {
	case d.Action != Notify:
		return d
	case r.Off:
		return Decision{Action: Suppress, Reason: IOOff, Rule: "io.mode"}
	case r.Only != nil && !r.Only[to]:
		return Decision{Action: Suppress, Reason: NotInTest, Rule: "io.mode"}
	}
	return d
}

// Release is what a person's release does to a record that has a reason to be silent.
type Release string

// The releases.
const (
	Overrides  Release = "overrides"   // exactly the rule with that reason is skipped
	EvenHidden Release = "even-hidden" // the same, but only where that person says so in so many words
	LooksAgain Release = "looks-again" // there is no rule to override: how things stand is asked anew
	Never      Release = "never"       // nobody can say yes to that: it is put right at the source
)

var (
	overridable = words(`obscured-from-parent obscured very-restricted restricted sensitive genetic hiv too-old inactive-patient minor
		unlabelled not-visible withdrawn patient-changed`)
	never = words(`test-data not-final not-a-report replaced not-a-person no-subject no-patient deceased no-fiscal-code
		invalid-fiscal-code two-codes link-loop no-recipient ambiguous-document`)
)

// ReleaseOf is what a release does where this is the reason (reference fse.md, 5.2, last lines).
func ReleaseOf(reason string) Release {
	switch {
	case reason == HiddenFromCitizen:
		return EvenHidden
	case overridable[reason]:
		return Overrides
	case never[reason]:
		return Never
	}
	return LooksAgain
}

// released says whether a person has overridden a reason.
func (q *Question) released(reason string) bool { return slices.Contains(q.Released, reason) }

// skips says whether a person has overridden what a rule says.
func (q *Question) skips(d Decision) bool {
	switch ReleaseOf(d.Reason) {
	case Overrides, EvenHidden:
		return q.released(d.Reason) && d.Reason != "withdrawn" // of which its rule makes a message, see announceWithdrawal
	case LooksAgain, Never:
	}
	return false
}

// askAgain keeps a document that a person has released in front of that person: what else there is to say against it they may
// override, too.
func (q *Question) askAgain(d Decision) Decision {
	if len(q.Released) == 0 || d.Action != Suppress || q.released(d.Reason) {
		return d
	}
	if kind := ReleaseOf(d.Reason); kind == Overrides || kind == EvenHidden || d.Reason == IOOff || d.Reason == NotInTest {
		d.Action = Hold
	}
	return d
}

// announceWithdrawal is for a withdrawal that a person released: it goes to whom the document was announced, or to nobody.
func (r *Rules) announceWithdrawal(q *Question) (Decision, bool) {
	switch person := &q.Document.Person; {
	case person.Deceased:
		return hold("no-recipient", "deceased")
	case person.Code == (fiscalcode.Code{}) || !q.Told.SamePerson:
		return hold("no-recipient", string(person.Trouble))
	}
	return Decision{Action: Notify, Publication: "withdrawn"}, true
}
