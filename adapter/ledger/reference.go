package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"sync"
)

// Reference is what one message says of itself to those who ask for its document again: IO when a citizen opens it, the
// portal when they press its button. Outside it is a text that means nothing (see Ledger.Reference).
type Reference struct {
	Document    Key
	Person      Tag // who was told
	Edition     Tag // of these, a message remembers the first half
	Publication Publication
	Language    string // that the message was written in, two letters
}

// OfEdition says whether the message was about this edition.
func (r Reference) OfEdition(edition Tag) bool {
	return [halfTag]byte(r.Edition[:]) == [halfTag]byte(edition[:])
}

const halfTag = len(Tag{}) / 2

// Lengths in bytes. 47 of them are 63 characters: a button's address has room for 64.
const (
	referenceMAC    = 16
	referenceSays   = len(Key{}) + len(Tag{}) + halfTag + 1 + 2
	referenceLength = referenceMAC + referenceSays
)

// references write and read references.
//
// A reference is what it says, encrypted and authenticated (a synthetic IV, as in RFC 5297, with HMAC-SHA-256 cut to 128 bits
// as its function): so there is no second index that could be lost or out of step, whom it was written to is known also
// while Redis is away, and a message that is sent again has the same one. Who has one reference, or a million, learns no
// other: each one that we did not write is a guess at 128 bits, one request a try, and what it says is encrypted, since a
// record's key stands in logs and in the journal. Its keys come from the naming key, which never changes, and not from the
// seal keys: references live as long as IO keeps messages.
type references struct {
	macs  sync.Pool
	block cipher.Block
}

func newReferences(naming []byte) (*references, error) {
	keys, err := hkdf.Key(sha256.New, naming, nil, "staffetta reference keys", 2*sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive reference keys: %w", err)
	}
	r := &references{}
	r.macs.New = newMAC(keys[:sha256.Size])
	if r.block, err = aes.NewCipher(keys[sha256.Size:]); err != nil {
		return nil, fmt.Errorf("reference keys: %w", err)
	}
	return r, nil
}

// mac is the synthetic IV of what a reference says.
func (r *references) mac(says []byte) []byte {
	return macOf(&r.macs, says)[:referenceMAC]
}

// inPlace encrypts, and decrypts.
func (r *references) inPlace(iv, text []byte) { cipher.NewCTR(r.block, iv).XORKeyStream(text, text) }

// strictBase64 takes one spelling of a reference only.
var strictBase64 = base64.RawURLEncoding.Strict()

// Reference is a message's opaque reference: 63 characters of base64url, the same each time.
func (l *Ledger) Reference(of Reference) string {
	says := make([]byte, 0, referenceLength)
	says = append(says, of.Document[:]...)
	says = append(says, of.Person[:]...)
	says = append(says, of.Edition[:halfTag]...)
	says = append(says, place(publications, of.Publication))
	says = append(says, (of.Language + "  ")[:2]...)
	iv := l.references.mac(says)
	l.references.inPlace(iv, says)
	return base64.RawURLEncoding.EncodeToString(append(iv, says...))
}

// OpenReference reads a reference; false where we did not write it.
func (l *Ledger) OpenReference(text string) (Reference, bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(referenceLength) {
		return Reference{}, false
	}
	raw, err := strictBase64.DecodeString(text)
	if err != nil || len(raw) != referenceLength { // the decoder skips ends of lines
		return Reference{}, false
	}
	iv, says := raw[:referenceMAC], raw[referenceMAC:]
	l.references.inPlace(iv, says)
	if !hmac.Equal(iv, l.references.mac(says)) {
		return Reference{}, false
	}
	in := reader{rest: says}
	of := Reference{Document: Key(in.bytes(len(Key{}))), Person: in.tag()}
	copy(of.Edition[:], in.bytes(halfTag))
	of.Publication = at(publications, in.byte())
	of.Language = string(in.bytes(2))
	return of, of.Publication != NoPublication
}

// SamePerson compares in constant time: where one of two is a stranger's, time must not tell how near they came.
func SamePerson(a, b Tag) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && a != Tag{} }
