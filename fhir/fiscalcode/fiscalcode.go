// Package fiscalcode is the codice fiscale as a type that no print, log or JSON can show.
package fiscalcode

import "unique"

// Code is a valid codice fiscale of a person. The zero Code is «no citizen». Codes compare with == and serve as map keys.
type Code struct{ text unique.Handle[string] }
