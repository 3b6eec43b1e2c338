package fhir

import (
	"time"

	"staffetta/fhir/fiscalcode"
)

// Shape is how a source keeps its documents (design, section 2; reference fse.md, section 3).
type Shape string

// The shapes of `sources[].shape`.
const (
	ShapeReport Shape = "report" // the DiagnosticReport is the document
	ShapeHL7IT  Shape = "hl7-it" // a Composition with its reports, after HL7 Italia's laboratory guide
	ShapeFSE2   Shape = "fse2"   // a Composition with its reports, after the ministry's conversion of CDA2
)

// OfCompositions says whether the document is a Composition (hl7-it, fse2) and not the report itself.
func (s Shape) OfCompositions() bool { return s == ShapeHL7IT || s == ShapeFSE2 }

// Locator names what must be read to see a document (or the focus of a hint) again at its source. It may contain a
// fiscal code (reference fse.md, section 6): it is kept sealed and is never printed.
type Locator struct {
	Type string // DiagnosticReport, Composition, DocumentReference, Bundle
	ID   string // logical id, [A-Za-z0-9\-.]{1,64}
	// System and Value are the Composition's identifier, stable over versions whose logical id changes. Both empty in
	// shape report and for hints.
	System, Value string
}

// Identity is what makes two locators the same document: the identifier where there is one, else type and id.
func (l Locator) Identity() string {
	if l.Value != "" {
		return "identifier|" + l.System + "|" + l.Value
	}
	return l.Type + "/" + l.ID
}

// Event is one changed resource (the focus) inside a notification: a claim of the sender, never trusted beyond
// «look at this resource again».
type Event struct {
	Type        string    // the focus' resource type
	ID          string    // its logical id
	Version     string    // meta.versionId or the version in a URL; "" when unknown. May be a UUID: never sorted on.
	LastUpdated time.Time // meta.lastUpdated; zero when unknown
	Deleted     bool
	Number      int64 // event number; 0 when unknown. An alarm, never a key.
}

// Kind is what a notification is.
type Kind string

// The kinds of notification (reference fhir-subscriptions.md, section 9).
const (
	KindClassic     Kind = "classic"            // a bare resource, a DELETE, or an id without a body
	KindPing        Kind = "ping"               // no body and no id: something changed
	KindHandshake   Kind = "handshake"          //
	KindHeartbeat   Kind = "heartbeat"          //
	KindEvent       Kind = "event-notification" //
	KindQueryStatus Kind = "query-status"       //
	KindQueryEvent  Kind = "query-event"        //
	KindBatch       Kind = "batch"              // a transaction or batch Bundle with no status first (HAPI search-criteria payload), or a document Bundle
	KindIgnored     Kind = "ignored"            // valid FHIR that is none of our business
)

// Notification is anything that a source posts, understood.
type Notification struct {
	Kind         Kind
	Bundle       bool   // the body was a Bundle: the answer is a Bundle too (reference 2.4)
	Subscription string // logical id of the Subscription; "" when unknown
	Status       string // requested, active, error, off; "" when unknown
	EventCount   int64  // events since subscription start; -1 when unknown
	Events       []Event
	// Numbers are those of all its events, also of those that are none of our business; of what has no number, none.
	Numbers []int64
	// CatchUp says that something changed that the notification does not name (empty content, ping, event without a focus).
	CatchUp bool
}

// Standing is how a document stands at its source now.
type Standing string

// The standings; what a status means depends on the shape (design, section 6).
const (
	Readable  Standing = "readable"  // a citizen may open it
	NotFinal  Standing = "not-final" // exists, not yet a referto
	Withdrawn Standing = "withdrawn" // its status says cancelled, entered in error, superseded
	Missing   Standing = "missing"   // 404, or no search hit: perhaps too early
	Gone      Standing = "gone"      // 410
)

// Coding is a code with its system; displays are never read.
type Coding struct{ System, Code string }

// Document is one document as its source shows it now: the few fields that we use. Never clinical content or names.
type Document struct {
	Locator  Locator
	Shape    Shape
	Standing Standing
	// Order is the highest meta.lastUpdated among the resources that make the document, in ms since 1970, and Version the
	// versionId of that resource. 0 and "" when unknown.
	Order   int64
	Version string
	// Edition names what a citizen would call another version of the document (design, section 6): for a composition its
	// version number, date and status, and its id where it replaces another one; for a report "" for the original, or its status and issued once it is amended,
	// corrected, appended or modified.
	Edition string
	Date    time.Time // Composition.date, DocumentReference.date or DiagnosticReport.issued (else effective); zero when unknown
	Type    []Coding  // Composition.type and DocumentReference.type; shape report: DiagnosticReport.code
	Class   []Coding  // DocumentReference.category; empty in shape report
	// Labels is the union of meta.security (and HTEST in meta.tag) of every resource of the document, of its Bundle and its
	// patient, of Composition.confidentiality (as v3-Confidentiality) and DocumentReference.securityLabel.
	Labels []Coding
	Access []Coding // DocumentReference.context.event: P97, P98, P99, P00 among others
	// Categories and Codes are those of any report, section and Observation that came in the same answer (codes only).
	Categories []Coding
	Codes      []Coding
	// Members are the resources by which a later hint may speak of this document: Composition, DocumentReference, reports,
	// the document Bundle. Empty in shape report.
	Members []Locator
	// Late are those Members that no find sees, since they do not come along with their Composition: Read asked for them.
	Late []Locator
	// Replaces are the resources that this document says it replaces (relatesTo, HAPI's `replaces`): by type and id, or by
	// identifier. ReplacedBy is the report that this one was merged into (HAPI's `replaced-by`); zero where it was not.
	Replaces   []Locator
	ReplacedBy Locator
	// Visible says that the source itself shows the document to its citizen, as far as its own words go.
	Visible bool
	Person  Person
}

// PersonTrouble is why a document has no usable codice fiscale. The words are the reasons of reference fse.md, section 5.2.
type PersonTrouble string

// The troubles with a person.
const (
	NoTrouble         PersonTrouble = ""
	NotAPerson        PersonTrouble = "not-a-person"        // Group, Device, Location
	NoSubject         PersonTrouble = "no-subject"          // nobody named
	NoPatient         PersonTrouble = "no-patient"          // the Patient is 410, or 404
	NoFiscalCode      PersonTrouble = "no-fiscal-code"      // none, STP, ENI, TEAM, provisional: see Detail
	InvalidFiscalCode PersonTrouble = "invalid-fiscal-code" //
	TwoCodes          PersonTrouble = "two-codes"           // two valid codes, or two voices that disagree
	LinkLoop          PersonTrouble = "link-loop"           // replaced-by leads in a circle or too deep
)

// Person is whom a document is about: the outcome of resolving its subject.
type Person struct {
	Code     fiscalcode.Code // zero when Trouble is set
	Trouble  PersonTrouble
	Detail   string    // a fixed word, e.g. stp, eni, team, anpr, ana, provisional, other-system, none, bad-check; never a value
	System   string    // under which other-system stands, as it may be shown; "" where that is none
	Missing  bool      // the Patient answered 404: perhaps too early (only with NoPatient)
	Birth    time.Time // Patient.birthDate at its latest reading (a bare year: 31 December), UTC midnight; zero when unknown
	Deceased bool
	Inactive bool // active=false and no replaced-by link
}

// Found is where a hint led.
type Found struct {
	// Standing of the hinted resource itself: Missing and Gone come without documents. Readable without documents means
	// that no Composition names it (yet): «no-document».
	Standing  Standing
	Documents []Document
	Ambiguous bool // two different Composition identifiers claim to be its document: hold `ambiguous-document`
	// Order and Version of the hinted resource as read, for deduplication of its own hints; 0 and "" when unknown.
	Order   int64
	Version string
}

// TroubleKind is what went wrong at a source, by what is to be done about it.
type TroubleKind string

// The kinds of trouble. Missing and gone resources are no trouble: they are a Standing.
const (
	Unauthorized TroubleKind = "unauthorized" // 401, 403: the whole source is paused
	Throttled    TroubleKind = "throttled"    // 429, 503 with Retry-After: the whole source is paused for RetryAfter
	Unavailable  TroubleKind = "unavailable"  // network, time-out, 5xx: retried with backoff
	Unusable     TroubleKind = "unusable"     // 200 with an OperationOutcome error, not FHIR, too large, other 4xx: retried with backoff
)

// Trouble is an error of a source. Its text never holds a URL, an id or a body.
type Trouble struct {
	Kind       TroubleKind
	RetryAfter time.Duration // only with Throttled; 0 when the source named none
	Status     int           // HTTP status; 0 when there was no answer
	Doing      string        // what was being done, in fixed words: "read DiagnosticReport"
	Err        error         // may be nil; already without URL

	issue string // code of the OperationOutcome of a refusal
}
