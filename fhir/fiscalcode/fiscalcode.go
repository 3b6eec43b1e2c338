// Package fiscalcode is the codice fiscale as a type that no print, log or JSON can show.
package fiscalcode

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
)

// Code is a valid codice fiscale of a person. The zero Code is «no citizen». Codes compare with == and serve as map keys.
//
// It is one block of AES, under a key that the process makes for itself and shows nobody: no method keeps fmt from printing what
// stands in the unexported fields of others.
type Code struct{ block [length]byte }

// veil makes texts of codes blocks.
var veil = newVeil()

func newVeil() cipher.Block {
	var key [32]byte
	_, _ = rand.Read(key[:]) // it never fails
	veil, err := aes.NewCipher(key[:])
	if err != nil {
		panic("AES knows keys of 32 bytes: " + err.Error())
	}
	return veil
}

// veiled is the Code of a text that was checked: it is exactly one block long.
func veiled(text string) (c Code) {
	veil.Encrypt(c.block[:], []byte(text))
	return c
}

// mask is what every print shows: no part of a code, since three letters and a birth date identify people (reference
// fse.md, 7.3).
const mask, nobody = "***", "(none)"

// Reveal is the code in clear, for IO's API and for sealing only; "" for the zero Code.
func (c Code) Reveal() string { return c.clear() }

func (c Code) clear() string {
	if c == (Code{}) {
		return ""
	}
	var text [length]byte
	veil.Decrypt(text[:], c.block[:])
	return string(text[:])
}

// String is the mask.
func (c Code) String() string {
	if c == (Code{}) {
		return nobody
	}
	return mask
}

// GoString is the mask.
func (c Code) GoString() string { return c.String() }

// Format writes the mask, whatever the verb.
func (c Code) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, c.String()) }

// LogValue is the mask.
func (c Code) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText writes the mask: JSON and YAML use it.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
