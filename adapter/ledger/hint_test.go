package ledger

import (
	"strings"
	"testing"
	"time"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

func TestOrderOf(t *testing.T) {
	at := time.Date(2026, 1, 10, 9, 5, 0, int(250*time.Millisecond), time.UTC)
	for _, tt := range []struct {
		name  string
		event fhir.Event
		want  int64
	}{
		{"meta.lastUpdated in ms", fhir.Event{LastUpdated: at}, at.UnixMilli()},
		{"no time: look", fhir.Event{}, 0},
		{"deleted: look, whatever its last version claims", fhir.Event{LastUpdated: at, Deleted: true}, 0},
		{"before 1970: look", fhir.Event{LastUpdated: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)}, 0},
		{"the year 9999 is as given", fhir.Event{LastUpdated: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, 253370764800000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := orderOf(&tt.event); got != tt.want {
				t.Errorf("order %d, want %d", got, tt.want)
			}
		})
	}
}

func TestWhatNamesNoResourceIsNoHint(t *testing.T) {
	l := open(t, redistest.Embedded(t))
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"letters, digits, minus and point", "aZ-0.9", true},
		{"64 characters", strings.Repeat("a", 64), true},
		{"65 characters", strings.Repeat("a", 65), false},
		{"none", "", false},
		{"a path", "a/b", false},
		{"a query", "a?b", false},
		{"an underscore", "a_b", false},
		{"not ASCII", "à", false},
		{"the byte before a digit", "/", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := l.HintOf("lab", fhir.ShapeReport, &fhir.Event{Type: "DiagnosticReport", ID: tt.text}, 0); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}
