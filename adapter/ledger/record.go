package ledger

import (
	"encoding/base64"
	"errors"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

// ErrUnavailable says that Redis refused or did not answer: nothing may be taken for written.
var ErrUnavailable = errors.New("redis is unavailable")

// ErrNamingKey says that this ledger was written under another naming key (design, section 4, Identity).
var ErrNamingKey = errors.New("the ledger in Redis was written under another naming key")

// Partitions is the fixed number of partitions, each with a hash tag of its own.
const Partitions = 16

// Key is the pseudonymous name of a record: the first 16 bytes of an HMAC-SHA-256 under the naming key of source and identity.
type Key [16]byte

// String is the key as Redis and the logs show it: base64url, 22 characters.
func (k Key) String() string { return base64.RawURLEncoding.EncodeToString(k[:]) }

// Partition is the partition that holds the record.
func (k Key) Partition() int { return int(k[0]) % Partitions }

// Tag is a short keyed hash that compares and leads back to nothing without the naming key.
type Tag [8]byte

// State is what a record is at.
type State string

// The states of a record (design, section 5). Finished states are named ends.
const (
	Find    State = "find"    // a hint whose document is still to be found
	Pending State = "pending" // the document is to be looked at
	Sending State = "sending" // written before POST /messages: a claim in this state means that we may have sent
	Sent    State = "sent"    // IO has the message; its delivery is followed
	Held    State = "held"    // a person must look at it

	FindEnded   State = "found"       // the hint led to its documents
	Suppressed  State = "suppressed"  // nobody is told, by rule
	Unreachable State = "unreachable" // nobody can be told: not on IO, not allowed, no fiscal code
	Delivered   State = "delivered"   // IO says PROCESSED (or delivery is not followed)
	Rejected    State = "rejected"    // IO says REJECTED
	Replaced    State = "replaced"    // another document replaces it, and has inherited what was told
	Noted       State = "gone"        // told, and gone since, where the source cannot tell removed from obscured (fse2)
)

// Wait is what a due record waits for: it decides what a hint may do to its time.
type Wait string

// The waits.
const (
	WaitNone     Wait = ""        // due as soon as somebody claims it
	WaitSettle   Wait = "settle"  // policy.settle: a newer hint moves it, up to five times its length
	WaitSource   Wait = "source"  // not final, no document, not visible, 404: a hint pulls it forward
	WaitFixed    Wait = "fixed"   // embargo, sending window, backoff from upstream trouble: a hint changes nothing
	WaitDelivery Wait = "deliver" // only its delivery is followed
)

// Publication is a state of a document that a citizen may be owed a message about.
type Publication string

// The publications.
const (
	NoPublication Publication = ""
	Published     Publication = "published"
	Updated       Publication = "updated"
	WithdrawnPub  Publication = "withdrawn"
)

// Told is what a citizen was told last about a document; zero when nothing.
type Told struct {
	Publication Publication
	Edition     Tag       // of Document.Edition
	At          time.Time // when IO took the message, ms
	MessageID   string    // IO's id (a ULID); "" when unknown
	Person      Tag       // keyed hash of the codice fiscale that was told
	Uncertain   bool      // we never learned whether an earlier POST of this publication reached IO
	ReadStatus  string    // READ, UNREAD or UNAVAILABLE as IO said with the final status; "" where the contract has none
}

// Record is one claimed record, as a step gets it and settles it. Times are those of Redis' clock.
type Record struct {
	Key     Key
	Source  string
	State   State
	Locator fhir.Locator // opened from its seal

	// What a step has read at the source and settled; only against these is a hint a duplicate or stale.
	ReadOrder   int64
	ReadVersion Tag
	// The highest order that a hint claimed since, 0 when none (or only hints of unknown order).
	HintedOrder int64

	Told   Told
	Reason string    // why it waits, is held or ended, as policy named it; a short fixed word
	Detail string    // a fixed word more
	Since  time.Time // since when Reason holds
	HintAt time.Time // when the first hint of what is looked at now was admitted (see Hint.Ago): since_publication is counted from here
	// HiddenAt is when the document was last seen hidden from the citizen; the age cut-off counts from it.
	HiddenAt time.Time
	Attempts int       // failed tries in a row
	Trouble  time.Time // since when tries fail; give_up_after counts from here

	// Publication, Edition and Recipient of the message that is Sending or Sent; zero otherwise.
	Publication Publication
	Edition     Tag
	Recipient   fiscalcode.Code // sealed in Redis
	Polls       int             // status calls so far

	// LedTo are the documents that a finished find record led to (kept: the first); of a live document those that it
	// replaces and that are still to be ended.
	LedTo []Key

	// Released are the reasons that a person has overridden, for the edition Judged only; a zero Judged stands for the one
	// that is looked at next. Of a held record Judged is the edition that it is held for.
	Released []string
	Judged   Tag
	HeldFrom State // of a held record that Lookup read: what a release goes on with

	// Of this claim:
	Tracking bool      // claimed from the track set: poll the delivery
	Claims   int       // claims in a row that never settled, this one included: 1 is normal, more make it a suspect
	Begun    int       // steps in a row that a suspect began (see Renew) and never settled: poison is what crashes its process
	Now      time.Time // Redis' clock at the claim
	Due      time.Time // when it was due
	token    int64     // fencing token
}

// Hint asks for a look at one record.
type Hint struct {
	Key     Key
	Source  string
	Locator fhir.Locator  // sealed by admit
	Found   bool          // Locator was just found at the source: a record that is known takes it over
	State   State         // Find or Pending: what a new record starts as
	Order   int64         // ms; 0 unknown
	Version Tag           // zero unknown
	Settle  time.Duration // 0 for find records
	// Ago, of a find record, is when what is hinted at was published, where somebody knows better than that it was just now:
	// the settle time of its document counts from then.
	Ago time.Duration
}

// Admission is what admit made of a hint.
type Admission string

// The admissions.
const (
	New       Admission = "new"       // no record was known
	Newer     Admission = "newer"     // known; it will be looked at (again)
	Duplicate Admission = "duplicate" // exactly what a step has already read
	Stale     Admission = "stale"     // older than what a step has already read
)

// Next is when a settled record needs attention next.
type Next struct {
	// Keep keeps the claim: the lease starts anew and the token stays valid (settle as Sending, then POST).
	Keep bool
	// Due is the next look at the document; zero for none. Anything but a duplicate or stale hint admitted since the claim
	// makes it due instead (now, after the settle time of that hint).
	Due  time.Time
	Wait Wait // what Due waits for
	// Track is the next status poll; zero for none.
	Track time.Time
}

// Settlement is the outcome of a step.
type Settlement struct {
	Record Record // as it shall be from now on; State Held or a finished state with a zero Next
	Next   Next
	Event  string // the word for the journal
	// Admit are hints that this settlement gives to other records (a find that led to documents). They are admitted before
	// the record is settled.
	Admit []Hint
	// Aliases are finished find records written with it: resources that belong to a document, each under the key of its own
	// find record, with the order and version as read (0 when unknown).
	Aliases []Alias
	// Referenced says that a message about the document has a reference, or may have: its whereabouts are kept with this.
	Referenced bool
	// Released are the reasons that a person had overridden for the message, and ReleasedFor its edition: they go with the
	// whereabouts, since the record forgets them once somebody was told.
	Released    []string
	ReleasedFor Tag
}

// Alias remembers that hints on one resource speak of one document.
type Alias struct {
	Key      Key // of the resource's find record
	Document Key
}

// Settled is what settle made of a settlement.
type Settled string

// The results of a settlement.
const (
	Written    Settled = "written"
	DueAgain   Settled = "due-again"   // written, but a hint came since the claim: due again
	StaleToken Settled = "stale-token" // another claim took over: nothing was written (a told message was recorded all the same)
)
