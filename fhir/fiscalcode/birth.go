package fiscalcode

import (
	"strings"
	"time"
)

// Births are the days of birth, in UTC, that the code may mean and that are not after now, the latest first: the year
// has two digits. None for the zero Code.
func (c Code) Births(now time.Time) []time.Time {
	code := c.clear()
	if code == "" {
		return nil
	}
	year, month, day := decoded(code, 6), time.Month(strings.IndexByte(months, code[8])+1), decoded(code, 9)
	if day > women {
		day -= women
	}
	var births []time.Time
	century := now.Year() / 100 * 100
	for _, base := range []int{century, century - 100} {
		birth := time.Date(base+year, month, day, 0, 0, 0, 0, time.UTC)
		if birth.Month() == month && !birth.After(now) { // 29 February 1900 was none
			births = append(births, birth)
		}
	}
	return births
}

// Female says what the code says of the sex at birth.
func (c Code) Female() bool {
	code := c.clear()
	return code != "" && decoded(code, 9) > women
}

// Birthplace is the Belfiore code of the place of birth, with omocodia letters decoded; Z and a number for other countries.
func (c Code) Birthplace() string {
	code := c.clear()
	if code == "" {
		return ""
	}
	place := []byte{code[11]}
	for _, c := range []byte(code[12:15]) {
		place = append(place, '0'+byte(digit(c))) //nolint:gosec // 0 to 9
	}
	return string(place)
}
