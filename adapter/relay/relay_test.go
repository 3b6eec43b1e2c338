package relay

import "testing"

func TestSlotsFollowTheRateOfIO(t *testing.T) {
	for _, tt := range []struct {
		workers int
		rate    float64
		want    int
	}{
		{64, 20, 16},   // the defaults
		{64, 1, 16},    // some look at documents that IO is not asked about
		{64, 50, 40},   // 25 messages a second
		{64, 1000, 64}, // no more than configured
		{4, 1000, 4},
		{1, 1, 1},
	} {
		r := &Relay{Options: Options{Workers: tt.workers, Rate: tt.rate}}
		if got := r.slots(); got != tt.want {
			t.Errorf("workers: %d at %g calls per second: %d slots, want %d", tt.workers, tt.rate, got, tt.want)
		}
	}
}
