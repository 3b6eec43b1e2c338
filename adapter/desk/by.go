package desk

import (
	"strings"

	"staffetta/adapter/ledger"
	"staffetta/fhir/fiscalcode"
)

// longestWord is how long a name or a reason may be, in bytes; the journal is no diary.
const longestWord = 200

// CheckBy refuses what must not be kept of who does something, and why. Its error never repeats it.
func CheckBy(by ledger.By) error {
	for _, one := range []struct{ what, text string }{{"a name (--who)", by.Who}, {"a reason (--why)", by.Why}} {
		switch text := strings.TrimSpace(one.text); {
		case text == "":
			return refuse("want %s", one.what)
		case len(text) > longestWord || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' }):
			return refuse("want %s of one line and at most %d bytes", one.what, longestWord)
		case holdsCode(text):
			return refuse("who or why holds a codice fiscale: both are kept, where nothing personal may be")
		}
	}
	return nil
}

// codeLength is that of a codice fiscale.
const codeLength = 16

// holdsCode looks for a codice fiscale, also in groups and glued to other words.
func holdsCode(text string) bool {
	kept := strings.Map(func(c rune) rune {
		if isAlphanumeric(c) {
			return c
		}
		return -1
	}, text)
	for from := 0; from+codeLength <= len(kept); from++ {
		if _, err := fiscalcode.Parse(kept[from : from+codeLength]); err == nil {
			return true
		}
	}
	return false
}

func isAlphanumeric(c rune) bool {
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}
