package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"staffetta/fhir"
)

// SealKey seals what records hold of a person, with AES-256-GCM. The id stands in front of what it sealed.
type SealKey struct {
	ID  uint8
	Key []byte // 32 bytes
}

// errSealed says that what is sealed cannot be opened with any key that we have.
var errSealed = errors.New("sealed under a key that is not configured, or damaged")

// seals are all keys; the first one seals.
type seals struct {
	first uint8
	by    map[uint8]cipher.AEAD
}

func newSeals(keys []SealKey) (*seals, error) {
	if len(keys) == 0 {
		return nil, errors.New("no seal key")
	}
	s := &seals{first: keys[0].ID, by: map[uint8]cipher.AEAD{}}
	for _, key := range keys {
		block, err := aes.NewCipher(key.Key)
		if err != nil || len(key.Key) != 32 {
			return nil, fmt.Errorf("seal key %d: want 32 bytes", key.ID)
		}
		if s.by[key.ID], err = cipher.NewGCM(block); err != nil {
			return nil, fmt.Errorf("seal key %d: %w", key.ID, err)
		}
	}
	return s, nil
}

// seal hides a text; only the record of that key can show it again.
func (s *seals) seal(key Key, text []byte) string {
	aead := s.by[s.first]
	sealed := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(text)+aead.Overhead())
	sealed[0] = s.first
	_, _ = rand.Read(sealed[1:])                               // never fails (crypto/rand)
	return string(aead.Seal(sealed, sealed[1:], text, key[:])) //nolint:gosec // the nonce is random, see above
}

func (s *seals) open(key Key, sealed string) ([]byte, error) {
	if sealed == "" {
		return nil, nil
	}
	aead := s.by[sealed[0]]
	if aead == nil || len(sealed) < 1+aead.NonceSize() {
		return nil, errSealed
	}
	nonce, text := sealed[1:1+aead.NonceSize()], sealed[1+aead.NonceSize():]
	opened, err := aead.Open(nil, []byte(nonce), []byte(text), key[:])
	if err != nil {
		return nil, errSealed
	}
	return opened, nil
}

// locatorTypes stand for a locator's type in one byte.
var locatorTypes = [...]string{"DiagnosticReport", "Composition", "DocumentReference", "Bundle"}

// packLocator is type, packed id, system and value.
func packLocator(l fhir.Locator) []byte {
	kind := byte(len(locatorTypes))
	for i, name := range locatorTypes {
		if name == l.Type {
			kind = byte(i)
		}
	}
	packed := appendText([]byte{kind}, packID(l.ID))
	if l.Value != "" {
		packed = appendText(appendText(packed, l.System), l.Value)
	}
	return packed
}

func unpackLocator(packed []byte) (fhir.Locator, error) {
	if len(packed) == 0 {
		return fhir.Locator{}, nil
	}
	r := reader{rest: packed}
	kind := r.byte()
	l := fhir.Locator{ID: unpackID(r.text())}
	if len(r.rest) > 0 {
		l.System, l.Value = r.text(), r.text()
	}
	if r.short || int(kind) >= len(locatorTypes) {
		return fhir.Locator{}, errPacked
	}
	l.Type = locatorTypes[kind]
	return l, nil
}

// packID writes a lower case UUID, as most servers' ids are, in 17 bytes instead of 36.
func packID(id string) string {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' || strings.ToLower(id) != id {
		return id
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || len(raw) != 16 {
		return id
	}
	return "\x00" + string(raw)
}

func unpackID(packed string) string {
	if len(packed) != 17 || packed[0] != 0 {
		return packed
	}
	text := hex.EncodeToString([]byte(packed[1:]))
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
