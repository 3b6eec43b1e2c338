// Package fiscalcode is the codice fiscale as a type that no print, log or JSON can show.
package fiscalcode

import (
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Code is a valid codice fiscale of a person. The zero Code is «no citizen». Codes compare with == and serve as map keys.
type Code struct{ text unique.Handle[string] }

// mask is what every print shows: no part of a code, since three letters and a birth date identify people (reference
// fse.md, 7.3).
const mask, nobody = "***", "(none)"

// Reveal is the code in clear, for IO's API and for sealing only; "" for the zero Code.
func (c Code) Reveal() string { return c.clear() }

func (c Code) clear() string {
	if c == (Code{}) {
		return ""
	}
	return c.text.Value()
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
