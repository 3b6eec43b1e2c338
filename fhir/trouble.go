package fhir

import "fmt"

// Error says what was being done and what happened, without ids, URLs or bodies.
func (t *Trouble) Error() string {
	text := t.Doing + ": " + string(t.Kind)
	if t.Status != 0 {
		text += fmt.Sprintf(" (HTTP %d)", t.Status)
	}
	if t.Err != nil {
		text += ": " + t.Err.Error()
	}
	return text
}

// Unwrap gives the cause, where there is one.
func (t *Trouble) Unwrap() error { return t.Err }
