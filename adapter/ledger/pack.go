package ledger

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"
)

// errPacked says that a record in Redis is not what this version writes.
var errPacked = errors.New("a record in Redis is not readable")

// letters stand for the states in Redis, where scripts look at them.
var letters = map[State]string{
	Find: "F", Pending: "P", Sending: "S", Sent: "T", Held: "H",
	FindEnded: "f", Suppressed: "s", Unreachable: "u", Delivered: "D", Rejected: "R", Noted: "g", Replaced: "r",
}

var states = func() map[string]State {
	byLetter := make(map[string]State, len(letters))
	for state, letter := range letters {
		byLetter[letter] = state
	}
	return byLetter
}()

// waits stand for what a due record waits for.
var waits = map[Wait]string{WaitNone: "", WaitSettle: "", WaitSource: "o", WaitFixed: "f", WaitDelivery: ""}

// publications by their place, which is what is packed: only ever append.
var publications = []Publication{NoPublication, Published, Updated, WithdrawnPub}

// reasons by their place, for finished records: only ever append. A reason that is not here is `other`.
var reasons = []string{
	"", "other", "not-on-io", "not-allowed", "recipient-forbidden", "rejected", "gone", "missing", "test-data", "withdrawn",
	"not-final", "not-a-report", "hidden-from-citizen", "obscured-from-parent", "obscured", "very-restricted", "restricted",
	"sensitive", "genetic", "hiv", "too-old", "deceased", "minor", "no-fiscal-code", "replaced", "io-off", "not-in-test", "forgotten",
}

// readStatuses by their place in two bits: never another order, nor more than four.
var readStatuses = []string{"", "READ", "UNREAD", "UNAVAILABLE"}

const (
	flagTold byte = 1 << iota
	flagUncertain
	flagMessage
	// Two bits more are the place of the read status.
	readShift = 3
	readMask  = 3
)

// judged says, in the byte of the publication, that what a person released follows.
const judged byte = 1 << 7

// pack is what scripts do not look at, of a live record.
func (r *Record) pack() []byte {
	b := make([]byte, 0, 64)
	b = r.Told.pack(b)
	b = appendText(appendText(b, r.Reason), r.Detail)
	for _, at := range []time.Time{r.Since, r.HiddenAt, r.Trouble} {
		b = appendTime(b, at)
	}
	b = binary.AppendUvarint(b, uint64(max(0, r.Attempts)))
	b = binary.AppendUvarint(b, uint64(max(0, r.Polls)))
	b = binary.AppendUvarint(b, uint64(max(0, r.HintedOrder)))
	publication := place(publications, r.Publication)
	released := len(r.Released) > 0 || r.Judged != Tag{}
	if released {
		publication |= judged
	}
	b = append(b, publication)
	if r.Publication != NoPublication {
		b = append(b, r.Edition[:]...)
	}
	if released {
		b = append(appendText(b, strings.Join(r.Released, " ")), r.Judged[:]...)
	}
	for _, key := range r.LedTo {
		b = append(b, key[:]...)
	}
	return b
}

func (r *Record) unpack(packed string) error {
	in := reader{rest: []byte(packed)}
	r.Told = in.told()
	r.Reason, r.Detail = in.text(), in.text()
	r.Since, r.HiddenAt, r.Trouble = in.time(), in.time(), in.time()
	r.Attempts, r.Polls = int(in.uvarint()), int(in.uvarint()) //nolint:gosec // counters of ours
	r.HintedOrder = int64(in.uvarint())                        //nolint:gosec // ms since 1970
	publication := in.byte()
	r.Publication = at(publications, publication&^judged)
	if r.Publication != NoPublication {
		r.Edition = in.tag()
	}
	if publication&judged != 0 {
		r.Released, r.Judged = strings.Fields(in.text()), in.tag()
	}
	for len(in.rest) > 0 && !in.short {
		r.LedTo = append(r.LedTo, Key(in.bytes(16)))
	}
	return in.err()
}

// appendOrder writes an order as scripts read it.
func appendOrder(b []byte, order int64) []byte {
	return append(b, byte(order>>40), byte(order>>32), byte(order>>24), byte(order>>16), byte(order>>8), byte(order)) //nolint:gosec // 48 bits reach beyond the year 9999
}

// readOrder reads what begins with an order; 0 for what is empty.
func readOrder(tag string) (order int64) {
	for i := range min(len(tag), 6) {
		order = order<<8 | int64(tag[i])
	}
	return order
}

// finished is the record as it rests: at most 64 bytes, so that its bucket keeps Redis' compact encoding. Scripts look
// at the state, the order, the version and the reason.
func (r *Record) finished() string {
	b := make([]byte, 0, 64)
	b = append(b, letters[r.State]...)
	b = appendOrder(b, r.ReadOrder)
	b = append(b, r.ReadVersion[:]...)
	b = append(b, reasonPlace(r.Reason))
	if r.State == FindEnded {
		if len(r.LedTo) > 0 {
			b = append(b, r.LedTo[0][:]...)
		}
		return string(b)
	}
	b = appendTime(b, r.Since.Truncate(time.Second))
	return string(r.Told.pack(b))
}

// reopen reads what a finished record knew.
func (r *Record) reopen(value string) error {
	if len(value) < 16 || states[value[:1]] == "" {
		return errPacked
	}
	in := reader{rest: []byte(value)}
	r.State = states[string(in.bytes(1))]
	r.ReadOrder = readOrder(string(in.bytes(6)))
	r.ReadVersion = in.tag()
	r.Reason = at(reasons, in.byte())
	if r.State == FindEnded {
		if len(in.rest) >= 16 {
			r.LedTo = []Key{Key(in.bytes(16))}
		}
		return in.err()
	}
	r.Since = in.time()
	r.Told = in.told()
	return in.err()
}

func (t *Told) pack(b []byte) []byte {
	if t.Publication == NoPublication && !t.Uncertain {
		return append(b, 0)
	}
	flags := flagTold | place(readStatuses, t.ReadStatus)<<readShift
	if t.Uncertain {
		flags |= flagUncertain
	}
	id, isULID := packULID(t.MessageID)
	if isULID {
		flags |= flagMessage
	}
	b = append(b, flags, place(publications, t.Publication))
	b = append(b, t.Edition[:]...)
	b = appendTime(b, t.At)
	b = append(b, t.Person[:]...)
	return append(b, id...)
}

func (in *reader) told() Told {
	flags := in.byte()
	if flags&flagTold == 0 {
		return Told{}
	}
	t := Told{Publication: at(publications, in.byte()), Edition: in.tag(), Uncertain: flags&flagUncertain != 0}
	t.At, t.Person = in.time(), in.tag()
	if flags&flagMessage != 0 {
		t.MessageID = unpackULID(in.bytes(16))
	}
	t.ReadStatus = at(readStatuses, flags>>readShift&readMask)
	return t
}

func reasonPlace(reason string) byte {
	if i := slices.Index(reasons, reason); i >= 0 {
		return byte(i) //nolint:gosec // two dozen reasons
	}
	return 1
}

func place[T comparable](all []T, one T) byte {
	return byte(max(0, slices.Index(all, one))) //nolint:gosec // a handful
}

func at[T any](all []T, place byte) (one T) {
	if int(place) < len(all) {
		return all[place]
	}
	return one
}

// crockford is the alphabet of ULIDs.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// packULID writes the 26 characters of IO's message ids in 16 bytes. What is not a ULID is not kept: it leads nowhere.
func packULID(id string) ([]byte, bool) {
	if len(id) != 26 || id[0] > '7' {
		return nil, false
	}
	packed := make([]byte, 17) // 130 bits: two zero bits in front
	var bits, have uint
	n := 0
	acc := uint64(strings.IndexByte(crockford, id[0])) //nolint:gosec // checked to be a digit up to 7
	have = 3
	for i := 1; i < 26; i++ {
		value := strings.IndexByte(crockford, id[i])
		if value < 0 {
			return nil, false
		}
		acc, have = acc<<5|uint64(value), have+5
		for have >= 8 {
			bits = have - 8
			packed[n] = byte(acc >> bits) //nolint:gosec // the next eight bits
			acc, have, n = acc&(1<<bits-1), bits, n+1
		}
	}
	return packed[:16], id[0] >= '0'
}

func unpackULID(packed []byte) string {
	if len(packed) != 16 {
		return ""
	}
	text := make([]byte, 26)
	high, low := binary.BigEndian.Uint64(packed[:8]), binary.BigEndian.Uint64(packed[8:])
	for i := 25; i >= 0; i-- {
		text[i] = crockford[low&31]
		low = low>>5 | high<<59
		high >>= 5
	}
	return string(text)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// appendTime writes ms since 1970, 0 for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(max(0, t.UnixMilli())))
}

// reader reads what was packed; short says that it ended too early.
type reader struct {
	rest  []byte
	short bool
}

func (in *reader) err() error {
	if in.short {
		return errPacked
	}
	return nil
}

func (in *reader) bytes(n int) []byte {
	if len(in.rest) < n {
		in.short, in.rest = true, nil
		return make([]byte, n)
	}
	b := in.rest[:n]
	in.rest = in.rest[n:]
	return b
}

func (in *reader) byte() byte { return in.bytes(1)[0] }

func (in *reader) tag() Tag { return Tag(in.bytes(8)) }

func (in *reader) uvarint() uint64 {
	value, n := binary.Uvarint(in.rest)
	if n <= 0 {
		in.short, in.rest = true, nil
		return 0
	}
	in.rest = in.rest[n:]
	return value
}

func (in *reader) text() string {
	n := in.uvarint()
	if n > uint64(len(in.rest)) {
		in.short, in.rest = true, nil
		return ""
	}
	return string(in.bytes(int(n))) //nolint:gosec // not longer than the rest
}

func (in *reader) time() time.Time {
	ms := in.uvarint()
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms)) //nolint:gosec // written by appendTime
}
