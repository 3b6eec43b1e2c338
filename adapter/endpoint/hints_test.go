package endpoint

import (
	"testing"

	"staffetta/adapter/ledger"
)

func TestMerged(t *testing.T) {
	for _, tt := range []struct {
		name    string
		a, b, w int64
	}{
		{"the newer one second", 1, 2, 2},
		{"the newer one first", 2, 1, 2},
		{"look wins over any order", 0, 2, 0},
		{"look wins in second place too", 2, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := merged(ledger.Hint{Order: tt.a}, ledger.Hint{Order: tt.b}); got.Order != tt.w {
				t.Errorf("order %d, want %d", got.Order, tt.w)
			}
		})
	}
}
