package desk_test

import (
	"strings"
	"testing"

	"staffetta/adapter/desk"
	"staffetta/adapter/ledger"
)

// What a person types is kept: nothing personal may be in it, however it is written.
func TestCheckBy(t *testing.T) {
	const code = "RSSMRA80A01H501U"
	for _, tt := range []struct{ name, who, why, want string }{
		{"a name and a reason", "giulia", "the ward has said yes: report 4711 of 24/11/2026", ""},
		{"no reason", "giulia", " ", "want a reason (--why)"},
		{"no name", "", "well", "want a name (--who)"},
		{"a long reason", "giulia", strings.Repeat("x", 201), "want a reason (--why) of one line and at most 200 bytes"},
		{"a long name", strings.Repeat("x", 5000), "well", "want a name (--who) of one line and at most 200 bytes"},
		{"two lines", "giulia", "one\ntwo", "want a reason (--why) of one line and at most 200 bytes"},
		{"two lines of a name", "giulia\nmario", "well", "want a name (--who) of one line and at most 200 bytes"},
		{"a code", "giulia", code + " asked", "codice fiscale"},
		{"in small letters", "giulia", "asked by " + strings.ToLower(code), "codice fiscale"},
		{"in groups", "giulia", "RSS MRA 80A01 H501U asked", "codice fiscale"},
		{"with dashes and points", "giulia", "RSS-MRA.80A01/H501U", "codice fiscale"},
		{"glued to a word", "giulia", "cf" + code + "asked", "codice fiscale"},
		{"as a name", code, "well", "codice fiscale"},
		{"with omocodia", "giulia", "SPSGNR58C31F8PVE", "codice fiscale"},
		{"no code: another check letter", "giulia", "RSSMRA80A01H501V", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := desk.CheckBy(ledger.By{Who: tt.who, Why: tt.why})
			switch {
			case (err == nil) != (tt.want == ""):
				t.Errorf("%v, want %q", err, tt.want)
			case err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), code)):
				t.Errorf("%v, want %q and no code", err, tt.want)
			}
		})
	}
}
