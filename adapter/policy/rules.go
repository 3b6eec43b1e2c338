package policy

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"staffetta/fhir"
)

// HiddenFromCitizen is the reason of rule 5: the age cut-off counts from when a document was last seen so.
const HiddenFromCitizen = "hidden-from-citizen"

// Options are the times and ages of the default rules.
type Options struct {
	MaxAge          time.Duration // of documents that are announced for the first time
	ReplacementWait time.Duration // for the successor of a told document that is gone
	BelieveMissing  time.Duration // how long a 404 is asked again
	VisibleWait     time.Duration // how long a document that its citizen cannot open yet is asked for again
	Minors          string        // suppress, notify, or 14 to 17: the youngest age told
	Reach           Reach
}

// Rules decide by the default table.
type Rules struct {
	o        Options
	youngest int // age that is told
}

// NewRules makes the default rules.
func NewRules(o Options) (*Rules, error) {
	r := &Rules{o: o, youngest: 18}
	switch o.Minors {
	case "", "suppress":
	case "notify":
		r.youngest = 0
	default:
		age, err := strconv.Atoi(o.Minors)
		if err != nil || age < 14 || age > 17 {
			return nil, errors.New("policy.minors: want suppress, notify, or 14 to 17")
		}
		r.youngest = age
	}
	return r, nil
}

// Rome is where days begin for citizens.
var Rome = sync.OnceValue(func() *time.Location {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		return time.FixedZone("CET", 3600) // a machine without a time zone database: an hour around midnight at most
	}
	return rome
})

// Rule is one row of the table.
type Rule struct {
	Number string // of reference fse.md, 5.2
	If     string
	Ground string // the law, guideline or guide that it rests on
	decide func(*Rules, *Question) (Decision, bool)
}

// Table is the default rules in their order: the first that matches wins, the last one is the safe default.
var Table = []Rule{
	{"1", "HTEST on document or patient", "HL7 v3-ActReason: not a real person", (*Rules).testData},
	{"2", "the document is gone, in error, cancelled or superseded", "an erratum is an editorial act: a message on IO cannot be taken back", (*Rules).withdrawn},
	{"2b", "told, and about another person now", "the wrong citizen may have been told: whatever else is so, a person must know", (*Rules).patientChanged},
	{"3", "its status is not yet readable for the shape", "FHIR DiagnosticReport.status, Composition.status", (*Rules).notFinal},
	{"4", "class or type is no referto", "DPCM 178/2015; affinity domain, classes of documents", (*Rules).notAReport},
	{"5", "P98, T, D, TBOO or NOPAT", "affinity domain 2.5: hidden from the patient until a doctor has spoken", (*Rules).hidden},
	{"6", "P97; P99 where the source says so", "affinity domain 2.6.1; DM 7.9.2023 art. 6 and 9", (*Rules).obscured},
	{"7", "confidentiality V or R", "DM 7.9.2023 art. 6: data with greater protection of anonymity", (*Rules).restricted},
	{"8", "any sensitivity label", "DM 7.9.2023 art. 6; L. 194/1978, DPR 309/1990, L. 66/1996", (*Rules).sensitive},
	{"9", "genetic analyses", "DPCM 8.8.2013; Garante, guidelines on online reports, 19.11.2009", (*Rules).genetic},
	{"10", "HIV tests", "L. 135/1990 art. 5 c. 4; Garante 22.12.2022", (*Rules).hiv},
	{"11", "older than the cut-off", "policy.max_age: an announcement is news", (*Rules).tooOld},
	{"12", "about no person, nobody, or a patient that is not there", "the recipient must be certain", (*Rules).nobody},
	{"13", "the patient is dead, or the record is not in use", "access of heirs is another procedure", (*Rules).lifeless},
	{"14", "under age", "Civil Code art. 2 and 316: IO is for adults, no parent is guessed", (*Rules).minor},
	{"15", "no usable codice fiscale", "IO addresses people by their codice fiscale", (*Rules).noCode},
	{"15b", "an invalid code, two codes, a merge loop", "the recipient must be certain", (*Rules).badCode},
	{"15c", "no confidentiality label, and the source holds such", "sources[].unlabelled", (*Rules).unlabelled},
	{"15d", "its citizen cannot open it yet", "publication is not visibility: nobody is sent to an empty page", (*Rules).invisible},
	{"17", "else", "DM 7.9.2023 art. 22: the patient is told of operations on their record", (*Rules).notify},
}

// Decide asks the rules in their order. What was told already decides what a yes means: nothing new, an update, or a
// question for a person.
func (r *Rules) Decide(q Question) Decision {
	for _, rule := range Table {
		if d, matches := rule.decide(r, &q); matches && !q.skips(d) {
			d.Rule = rule.Number
			return q.askAgain(r.o.Reach.limit(d, q.Document.Person.Code))
		}
	}
	return Decision{Action: Hold, Reason: "no-rule"}
}

func suppress(reason string) (Decision, bool) {
	return Decision{Action: Suppress, Reason: reason}, true
}

func hold(reason, detail string) (Decision, bool) {
	return Decision{Action: Hold, Reason: reason, Detail: detail}, true
}

func no() (Decision, bool) { return Decision{}, false }

// has says whether any coding has one of the codes.
func has(codings []fhir.Coding, codes map[string]bool) bool {
	return slices.ContainsFunc(codings, func(c fhir.Coding) bool { return codes[c.Code] })
}

// hasIn is the same for codes of certain systems.
func hasIn(codings []fhir.Coding, systems, codes map[string]bool) bool {
	return slices.ContainsFunc(codings, func(c fhir.Coding) bool { return systems[c.System] && codes[c.Code] })
}

var testLabel = words("HTEST")

func (r *Rules) testData(q *Question) (Decision, bool) {
	if has(q.Document.Labels, testLabel) {
		return suppress("test-data")
	}
	return no()
}

// withdrawn is what is gone, or says of itself that it does not count. A 404 is asked again before it is believed, and a
// document that was told, or hidden from its citizen, waits for its successor.
func (r *Rules) withdrawn(q *Question) (Decision, bool) {
	standing, waited := q.Document.Standing, q.waited("missing")
	switch standing {
	case fhir.Missing:
		if waited < r.o.BelieveMissing {
			return Decision{Action: Wait, Reason: "missing", Until: q.Now.Add(lookAgain(q.looks("missing")))}, true
		}
	case fhir.Withdrawn, fhir.Gone:
	case fhir.Readable, fhir.NotFinal:
		if q.Document.ReplacedBy != (fhir.Locator{}) {
			return r.merged(q)
		}
		return no()
	}
	switch {
	case !q.Told.Any && !q.HiddenAt.IsZero() && waited < r.o.ReplacementWait: // its successor asks when it was hidden
		return r.untilReplaced(q, "missing", waited)
	case !q.Told.Any:
		return suppress("withdrawn")
	case q.Told.Withdrawn:
		return Decision{Action: Nothing}, true
	case q.released("withdrawn"):
		return r.announceWithdrawal(q)
	case standing != fhir.Withdrawn && waited < r.o.ReplacementWait:
		return r.untilReplaced(q, "missing", waited)
	case standing != fhir.Withdrawn && q.Document.Shape == fhir.ShapeFSE2:
		return Decision{Action: Note, Reason: "gone"}, true
	}
	return Decision{Action: Hold, Publication: "withdrawn", Reason: "withdrawn"}, true
}

// untilReplaced looks again each minute whether the successor is there, for as long as it is waited for.
func (r *Rules) untilReplaced(q *Question, reason string, waited time.Duration) (Decision, bool) {
	return Decision{Action: Wait, Reason: reason, Until: q.Now.Add(min(r.o.ReplacementWait-waited, time.Minute))}, true
}

// merged is a report that its server merged into another one, which inherits what was told: this one waits for that.
func (r *Rules) merged(q *Question) (Decision, bool) {
	waited := q.waited("replaced")
	switch {
	case !q.Told.Any:
		return suppress("replaced")
	case q.Told.Withdrawn:
		return Decision{Action: Nothing}, true
	case q.released("withdrawn"):
		return r.announceWithdrawal(q)
	case waited < r.o.ReplacementWait:
		return r.untilReplaced(q, "replaced", waited)
	}
	return Decision{Action: Hold, Publication: "withdrawn", Reason: "withdrawn"}, true
}

// patientChanged comes before all that may be said of the document or of the person that it is about now: who was told does
// not change with it. A person without a code is another one, since who was told had one.
func (r *Rules) patientChanged(q *Question) (Decision, bool) {
	person := &q.Document.Person
	known := person.Trouble == fhir.NoTrouble || person.Trouble == fhir.NoFiscalCode
	if q.Told.Any && !q.Told.SamePerson && known && q.Document.Standing == fhir.Readable {
		return hold("patient-changed", "")
	}
	return no()
}

// lookAgain is the pause after n looks in vain.
func lookAgain(n int) time.Duration {
	const first, longest = 5 * time.Second, 2 * time.Minute
	if n > 5 {
		return longest
	}
	return min(longest, first<<max(0, n))
}

// notFinal is looked at after 1 h, 6 h, then daily until the cut-off, then suppressed: `registered` may stay for ever.
func (r *Rules) notFinal(q *Question) (Decision, bool) {
	if q.Document.Standing != fhir.NotFinal {
		return no()
	}
	if q.Told.Any { // told, and back to work at the source: its correction will come
		return Decision{Action: Nothing}, true
	}
	if q.waited("not-final") >= r.o.MaxAge {
		return suppress("not-final")
	}
	gaps := []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour}
	return Decision{Action: Wait, Reason: "not-final", Until: q.Now.Add(gaps[min(q.looks("not-final"), len(gaps)-1)])}, true
}

func (r *Rules) notAReport(q *Question) (Decision, bool) {
	doc := &q.Document
	switch {
	case has(doc.Type, summary):
		return suppress("not-a-report")
	case !doc.Shape.OfCompositions():
		return no() // a report has no class: every one counts
	case len(doc.Class) > 0 && has(doc.Class, referto), len(doc.Class) == 0 && has(doc.Type, referti):
		return no()
	}
	return suppress("not-a-report")
}

func (r *Rules) hidden(q *Question) (Decision, bool) {
	doc := &q.Document
	if has(doc.Access, hiddenAccess) || has(doc.Labels, hiddenAccess) || has(doc.Labels, hiddenLabels) {
		return Decision{Action: Suppress, Reason: HiddenFromCitizen, Hidden: true}, true
	}
	return no()
}

var (
	fromParent = words("P97")
	fromStaff  = words("P99")
)

func (r *Rules) obscured(q *Question) (Decision, bool) {
	doc := &q.Document
	switch {
	case has(doc.Access, fromParent) || has(doc.Labels, fromParent):
		return suppress("obscured-from-parent")
	case q.Source.ObscuredSuppress && (has(doc.Access, fromStaff) || has(doc.Labels, fromStaff)):
		return suppress("obscured")
	}
	return no()
}

func (r *Rules) restricted(q *Question) (Decision, bool) {
	switch labels := q.Document.Labels; {
	case has(labels, veryRestricted):
		return suppress("very-restricted")
	case has(labels, restrictedOnly):
		return suppress("restricted")
	}
	return no()
}

func (r *Rules) sensitive(q *Question) (Decision, bool) {
	if has(q.Document.Labels, sensitive) {
		return suppress("sensitive")
	}
	return no()
}

func (r *Rules) genetic(q *Question) (Decision, bool) {
	doc := &q.Document
	if hasIn(doc.Categories, sectionSystems, geneticCategories) || has(doc.Type, geneticCodes) || has(doc.Codes, geneticCodes) ||
		has(doc.Categories, geneticCodes) {
		return suppress("genetic")
	}
	return no()
}

func (r *Rules) hiv(q *Question) (Decision, bool) {
	doc := &q.Document
	if has(doc.Type, hivCodes) || has(doc.Codes, hivCodes) || has(doc.Categories, hivCodes) {
		return suppress("hiv")
	}
	return no()
}

// DailyCap is the reason of a message that waits for the next day, since those of this one are sent.
const DailyCap = "daily-cap"

// tooOld concerns first announcements only, and counts from the latest of the document's date and the last time that it
// was hidden, until we heard of it: what waited for us since then (a pause, the daily cap, IO being away) is no older for that.
func (r *Rules) tooOld(q *Question) (Decision, bool) {
	from := q.Document.Date
	if q.HiddenAt.After(from) {
		from = q.HiddenAt
	}
	heard := q.HeardAt
	if heard.IsZero() {
		heard = q.Now
	}
	if q.Told.Any || from.IsZero() || heard.Sub(from) <= r.o.MaxAge || q.WaitingFor == DailyCap {
		return no()
	}
	return suppress("too-old")
}

func (r *Rules) nobody(q *Question) (Decision, bool) {
	person := &q.Document.Person
	switch person.Trouble {
	case fhir.NotAPerson, fhir.NoSubject:
		return hold(string(person.Trouble), person.Detail)
	case fhir.NoPatient:
		if person.Missing && q.waited("no-patient") < r.o.BelieveMissing {
			return Decision{Action: Wait, Reason: "no-patient", Until: q.Now.Add(lookAgain(q.looks("no-patient")))}, true
		}
		return hold(string(person.Trouble), person.Detail)
	case fhir.NoTrouble, fhir.NoFiscalCode, fhir.InvalidFiscalCode, fhir.TwoCodes, fhir.LinkLoop:
	}
	return no()
}

func (r *Rules) lifeless(q *Question) (Decision, bool) {
	switch person := &q.Document.Person; {
	case person.Deceased:
		return suppress("deceased")
	case person.Inactive:
		return hold("inactive-patient", "")
	}
	return no()
}

// minor counts in whole years, in Italy, by the birth date of the record, else by the younger reading of the code.
func (r *Rules) minor(q *Question) (Decision, bool) {
	birth := q.Document.Person.Birth
	if birth.IsZero() {
		for _, one := range q.Document.Person.Code.Births(q.Now) {
			birth = one
			break
		}
	}
	if birth.IsZero() || r.youngest == 0 {
		return no()
	}
	today := q.Now.In(Rome())
	of := time.Date(birth.Year()+r.youngest, birth.Month(), birth.Day(), 0, 0, 0, 0, Rome())
	if today.Before(of) {
		return suppress("minor")
	}
	return no()
}

func (r *Rules) noCode(q *Question) (Decision, bool) {
	if person := &q.Document.Person; person.Trouble == fhir.NoFiscalCode {
		return Decision{Action: Unreach, Reason: string(person.Trouble), Detail: person.Detail}, true
	}
	return no()
}

func (r *Rules) badCode(q *Question) (Decision, bool) {
	switch person := &q.Document.Person; person.Trouble {
	case fhir.InvalidFiscalCode, fhir.TwoCodes, fhir.LinkLoop:
		return hold(string(person.Trouble), person.Detail)
	case fhir.NoTrouble, fhir.NotAPerson, fhir.NoSubject, fhir.NoPatient, fhir.NoFiscalCode:
	}
	return no()
}

func (r *Rules) unlabelled(q *Question) (Decision, bool) {
	if !q.Source.UnlabelledHold || hasIn(q.Document.Labels, confidentialitySystems, graded) {
		return no()
	}
	if q.Told.Any && q.Told.SameEdition {
		return no() // it was released before
	}
	return hold("unlabelled", "")
}

// invisible is asked again with widening gaps, since documents were seen hours and days after their publication.
func (r *Rules) invisible(q *Question) (Decision, bool) {
	if q.Document.Visible || (q.Told.Any && q.Told.SameEdition) {
		return no()
	}
	if q.waited("not-visible") >= r.o.VisibleWait {
		return hold("not-visible", "")
	}
	gaps := []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	return Decision{
		Action: Wait, Reason: "not-visible", Until: q.Now.Add(gaps[min(q.looks("not-visible"), len(gaps)-1)]), Hidden: true,
	}, true
}

// notify is a yes: what it means depends on what was told.
func (r *Rules) notify(q *Question) (Decision, bool) {
	switch {
	case !q.Told.Any:
		return Decision{Action: Notify, Publication: "published"}, true
	case !q.Told.SamePerson: // and a person released it, see patientChanged
		return Decision{Action: Notify, Publication: "published"}, true
	case q.Told.SameEdition && !q.Told.Withdrawn:
		return Decision{Action: Nothing}, true
	}
	return Decision{Action: Notify, Publication: "updated"}, true
}
