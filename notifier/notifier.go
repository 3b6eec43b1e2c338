// Package notifier is IO: it composes a message within IO's limits, asks whether a citizen may be written to, sends, and
// asks how the delivery stands. A client tries once and says what it knows; retrying belongs to the ledger's timetable.
package notifier

import (
	"time"

	"staffetta/fhir/fiscalcode"
)

// Message is one IO message. Secure channels are always required: there is no field to say otherwise.
type Message struct {
	Recipient fiscalcode.Code
	Subject   string // 10 to 120 UTF-16 units, nothing personal
	Markdown  string // front matter with buttons and text, together 80 to 10,000 UTF-16 units
	// Remote is where IO fetches what the citizen reads, in place of Markdown; without an ID it does not.
	Remote Pointer
}

// Pointer leads IO to remote content (third_party_data, reference io.md, 2.3).
type Pointer struct {
	ID              string // opaque, of this message alone
	ConfigurationID string // of the remote content configuration, a ULID
	Precondition    string // NEVER, ONCE or ALWAYS: whether IO asks for what is read before the message is opened
}

// Kind is what an answer of IO means for us (reference io.md, table 2.6).
type Kind string

// The kinds of answers.
const (
	Allowed            Kind = "allowed"             // POST /profiles 200, sender_allowed
	NotAllowed         Kind = "not-allowed"         // 200, sender_allowed false: the citizen switched the service off
	NotOnIO            Kind = "not-on-io"           // 404 Profile not found
	Created            Kind = "created"             // POST /messages 201
	StatusKnown        Kind = "status-known"        // GET status 200: see Answer.Status
	Throttled          Kind = "throttled"           // 429: nothing was processed; all of IO pauses for RetryAfter
	Refused            Kind = "refused"             // 400, 404 and other 4xx: permanent, certainly nothing was created
	RecipientForbidden Kind = "recipient-forbidden" // 403 Recipient forbidden: concerns this recipient only
	KeyRefused         Kind = "key-refused"         // 401: both keys refused; all of IO pauses, a person must act
	Forbidden          Kind = "forbidden"           // other 403: all of IO pauses, a person must act
	Unavailable        Kind = "unavailable"         // certainly nothing was created: refused connection, handler 500
	Unclear            Kind = "unclear"             // 502, 503, 504, a cut or time-out after writing: a message may have been created
)

// Answer is what IO said to one call, without any text of IO's (it may echo input).
type Answer struct {
	Kind       Kind
	HTTPStatus int    // 0 when there was no answer
	MessageID  string // with Created
	Status     string // with StatusKnown: ACCEPTED, THROTTLED, PROCESSED, REJECTED, FAILED, or what IO comes up with
	ReadStatus string // with StatusKnown: READ, UNREAD, UNAVAILABLE, or "" where the contract has none
	Languages  []string
	Reason     string        // a fixed word of ours for logs and held records, e.g. bad-request, no-configuration
	Cause      string        // where there was no answer: why, see CauseOf
	RetryAfter time.Duration // with Throttled; 0 when IO named none
	InVain     int           // calls before the one that was answered so, whose key was refused
}
