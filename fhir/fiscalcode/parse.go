package fiscalcode

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reason is why a text is no codice fiscale of a person: a fixed word, never the text.
type Reason string

// The reasons.
const (
	BadLength   Reason = "bad-length"         // neither 16 characters nor one of the codes below
	BadCharset  Reason = "bad-charset"        // a character that cannot stand where it stands
	Whitespace  Reason = "whitespace"         // blanks inside
	Confusable  Reason = "unicode-confusable" // not ASCII
	BadMonth    Reason = "bad-month"          // a month letter that is not assigned
	BadDay      Reason = "bad-day"            // a day that the month does not have
	BadCheck    Reason = "bad-check"          // the check letter is wrong
	Provisional Reason = "provisional"        // eleven digits: a provisional code, or a company's
	STP         Reason = "stp"                // foreigner temporarily present
	ENI         Reason = "eni"                // European not registered
	TEAM        Reason = "team"               // number of a health card
	ANPR        Reason = "anpr"               // id of the national register
)

// Error says that a text is no codice fiscale, and why.
type Error struct{ Reason Reason }

// Error never holds the text.
func (e *Error) Error() string { return "no codice fiscale of a person: " + string(e.Reason) }

const length = 16

// The positions that hold a digit, or its omocodia letter (reference fse.md, 7.1).
var digitAt = [length]bool{6: true, 7: true, 9: true, 10: true, 12: true, 13: true, 14: true}

const (
	omocodia = "LMNPQRSTUV"   // the letters for 0 to 9
	months   = "ABCDEHLMPRST" // the letters for January to December
	women    = 40             // is added to a woman's day
)

// oddValues are what characters at odd places count, A to Z; a digit counts as the letter of its place (DM 23.12.1976).
var oddValues = [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}

// Parse reads a codice fiscale of a person, after trimming and upper-casing (reference fse.md, 7.2). It checks form, month,
// day and check letter; not whether the letters fit a name, nor whether the place exists. Its error is an *Error.
func Parse(text string) (Code, error) {
	upper, reason := normalized(text)
	if reason == "" {
		reason = check(upper)
	}
	if reason != "" {
		return Code{}, &Error{Reason: reason}
	}
	return veiled(upper), nil
}

// testRecipient is the text that IO's documentation sends tests to (reference io.md, 8).
const testRecipient = "AAAAAA00A00A000A"

// TestRecipient is IO's test recipient. It is no valid code (day 00, another check letter), so Parse refuses it: only
// `io.mode: test` may name it.
func TestRecipient() Code { return veiled(testRecipient) }

// Recipient reads exactly what Reveal gave: a valid code, or IO's test recipient.
func Recipient(text string) (Code, error) {
	if text == testRecipient {
		return TestRecipient(), nil
	}
	return Parse(text)
}

// normalized trims and upper-cases, ASCII only: Unicode would upper-case look-alikes to letters.
func normalized(text string) (string, Reason) {
	text = strings.TrimSpace(text)
	for _, r := range text {
		switch {
		case r >= utf8.RuneSelf:
			return "", Confusable
		case unicode.IsSpace(r):
			return "", Whitespace
		}
	}
	return strings.ToUpper(text), ""
}

func check(code string) Reason {
	if reason := otherCode(code); reason != "" {
		return reason
	}
	for i := range length {
		if !fits(code[i], i) {
			return BadCharset
		}
	}
	month := strings.IndexByte(months, code[8])
	switch {
	case month < 0:
		return BadMonth
	case !hasDay(decoded(code, 6), month, decoded(code, 9)):
		return BadDay
	case code[15] != checkLetter(code):
		return BadCheck
	}
	return ""
}

// otherCode tells the other codes that people carry.
func otherCode(code string) Reason {
	allDigits := strings.Trim(code, "0123456789") == ""
	switch {
	case len(code) == 11 && allDigits:
		return Provisional
	case len(code) == 20 && allDigits:
		return TEAM
	case len(code) == 9 && isLetter(code[0]) && isLetter(code[1]) && isLetter(code[7]) && isLetter(code[8]):
		return ANPR
	case len(code) != length:
		return BadLength
	case strings.Trim(code[3:], "0123456789") != "":
		return ""
	case code[:3] == "STP":
		return STP
	case code[:3] == "ENI":
		return ENI
	}
	return ""
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

func fits(c byte, at int) bool {
	if digitAt[at] {
		return isDigit(c) || strings.IndexByte(omocodia, c) >= 0
	}
	return isLetter(c)
}

// decoded is the number of two digits, or omocodia letters, that begins at a place.
func decoded(code string, at int) int { return digit(code[at])*10 + digit(code[at+1]) }

func digit(c byte) int {
	if isDigit(c) {
		return int(c - '0')
	}
	return strings.IndexByte(omocodia, c)
}

// hasDay says whether the day, of a man or a woman, is in the month. 29 February is where the year is a multiple of four: 00
// is 2000.
func hasDay(year, month, day int) bool {
	if day > women {
		day -= women
	}
	longest := [12]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month]
	if month == 1 && year%4 == 0 {
		longest = 29
	}
	return 1 <= day && day <= longest
}

// checkLetter is what the first fifteen characters demand, on the omocodia letters as they stand.
func checkLetter(code string) byte {
	sum := 0
	for i := range length - 1 {
		value := int(code[i] - 'A')
		if isDigit(code[i]) {
			value = int(code[i] - '0')
		}
		if i%2 == 0 { // the 1st, 3rd, ... place
			value = oddValues[value]
		}
		sum += value
	}
	return 'A' + byte(sum%26)
}
