package policy

import (
	"cmp"

	"staffetta/fhir"
)

// Shows says whether a document that a citizen was told of may be shown to them again now, where they open its message; if
// not, why. It is Decide's table asked once more, and stricter: what Decide lets rest because nothing new is owed (a document
// that went back to work, that was merged, or that its citizen cannot open for the moment) is not shown either. Told of the
// question is what the message told.
func (r *Rules) Shows(q Question) (shown bool, why string) {
	q.WaitingFor, q.Waits = "", 0
	switch doc := &q.Document; {
	case doc.Standing != fhir.Readable:
		return false, string(doc.Standing)
	case doc.ReplacedBy != (fhir.Locator{}):
		return false, "replaced"
	case !doc.Visible:
		return false, "not-visible"
	}
	// Who released a changed patient wanted the new one to be told. The message of the one before shows them nothing.
	if d, changed := r.patientChanged(&q); changed {
		return false, d.Reason
	}
	reaching := *r
	reaching.o.Reach = Reach{} // io.mode is about what is sent; this citizen was told
	d := reaching.Decide(q)
	if d.Action == Notify || d.Action == Nothing {
		return true, ""
	}
	return false, cmp.Or(d.Reason, string(d.Action))
}
