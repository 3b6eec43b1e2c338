package sandbox

import (
	"fmt"
	"time"
)

// CodeOf makes a valid codice fiscale of a made-up person: n stands in the letters of the name, which no Italian has.
func CodeOf(n int, birth time.Time) string {
	name := make([]byte, 6)
	for i := range name {
		name[i] = 'A' + byte(n%26) //nolint:gosec // 0 to 25
		n /= 26
	}
	const months = "ABCDEHLMPRST"
	text := fmt.Sprintf("%s%02d%c%02dX999", name, birth.Year()%100, months[birth.Month()-1], birth.Day())
	return text + string(checkLetter(text))
}

// checkLetter follows DM 23.12.1976 (reference fse.md, 7.1).
func checkLetter(text string) byte {
	odd := [26]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i := range len(text) {
		value := int(text[i] - 'A')
		if text[i] <= '9' {
			value = int(text[i] - '0')
		}
		if i%2 == 0 {
			value = odd[value]
		}
		sum += value
	}
	return 'A' + byte(sum%26)
}

// codeSystem is one of the two systems of the codice fiscale.
const codeSystem = "http://hl7.it/sid/codiceFiscale"

// Patient is a made-up adult.
func Patient(id, code string, birth time.Time) Resource {
	return Resource{
		"resourceType": "Patient", "id": id, "active": true, "birthDate": birth.Format(time.DateOnly),
		"identifier": []any{Resource{"system": codeSystem, "value": code}},
		"name":       []any{Resource{"family": "Inventato" + id, "given": []any{"Persona"}}},
	}
}
