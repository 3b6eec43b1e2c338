package catchup

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

var noon = time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)

// said is one thing that was heard, so long after noon.
type said struct {
	after time.Duration
	heard ledger.Heard
}

func numbers(after time.Duration, spans ...ledger.Span) said {
	return said{after, ledger.Heard{Numbers: spans, Counted: -1, Beat: -1}}
}

func beat(after time.Duration, count int64) said {
	return said{after, ledger.Heard{Counted: -1, Beat: count}}
}

func handshake(after time.Duration, count int64) said {
	return said{after, ledger.Heard{Counted: -1, Beat: count, Handshake: true}}
}

func one(number int64) ledger.Span { return ledger.Span{From: number, To: number} }

func TestCounter(t *testing.T) {
	const grace = 20 * time.Second
	for _, tt := range []struct {
		name    string
		said    []said
		highest int64
		gaps    []ledger.Span
		anew    bool
	}{
		{"in order", []said{handshake(0, 0), numbers(1, one(1)), numbers(2, one(2)), numbers(3, ledger.Span{From: 3, To: 9})}, 9, nil, false},
		{"one is missing", []said{handshake(0, 0), numbers(1, one(1)), numbers(2, one(3))}, 3, []ledger.Span{one(2)}, false},
		{"the first ones are missing", []said{handshake(0, 0), numbers(1, one(4))}, 4, []ledger.Span{{From: 1, To: 3}}, false},
		{"of what was before we listened nothing is known", []said{numbers(0, one(40)), numbers(1, one(41))}, 41, nil, false},
		{"parallel senders: a late one fills its gap", []said{handshake(0, 0), numbers(1, one(2)), numbers(2, one(1))}, 2, nil, false},
		{"a late one in the middle of a gap", []said{handshake(0, 0), numbers(1, one(9)), numbers(2, one(4))}, 9, []ledger.Span{{From: 1, To: 3}, {From: 5, To: 8}}, false},
		{"several replicas hear parts", []said{handshake(0, 0), numbers(1, one(1), one(3), one(5)), numbers(1, one(2), one(4))}, 5, nil, false},
		{"a heartbeat counts more than we hold", []said{handshake(0, 0), numbers(1, one(1)), beat(2, 4)}, 4, []ledger.Span{{From: 2, To: 4}}, false},
		{"a notification counts more than it holds", []said{{0, ledger.Heard{Numbers: []ledger.Span{one(3)}, Counted: 5, Beat: -1}}}, 5, []ledger.Span{{From: 4, To: 5}}, false},
		{"a heartbeat that an event has overtaken", []said{handshake(0, 0), numbers(time.Second, one(1)), beat(2*time.Second, 0)}, 1, nil, false},
		{"a heartbeat of a server that was restarted", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), beat(time.Minute, 0)}, 0, nil, true},
		{"once more is no restart", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), numbers(time.Minute, one(3))}, 9, nil, false},
		{"once more, twice", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), numbers(time.Minute, one(3)), numbers(time.Minute, one(3))}, 9, nil, false},
		{"HAPI counts anew after a restart", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), numbers(time.Minute, one(1)), numbers(2*time.Minute, one(2))}, 2, nil, true},
		{"and loses some right away", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), numbers(time.Minute, one(1)), numbers(2*time.Minute, one(5))}, 5, []ledger.Span{{From: 2, To: 4}}, true},
		{"once more, and then it goes on", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), numbers(1, one(3)), numbers(2, one(10)), numbers(3, one(5))}, 10, nil, false},
		{"a Subscription that was renewed counts on", []said{handshake(0, 0), numbers(0, one(1)), handshake(time.Minute, 3)}, 3, []ledger.Span{{From: 2, To: 3}}, false},
		{"or anew", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), handshake(time.Minute, 0), numbers(time.Minute, one(1))}, 1, nil, true},
		{"a handshake that does not say where it stands, in the middle", []said{handshake(0, 0), numbers(0, ledger.Span{From: 1, To: 9}), handshake(time.Minute, -1), numbers(time.Minute, one(10))}, 10, nil, false},
		{"a handshake that does not say where it stands, at the beginning", []said{handshake(0, -1), numbers(1, one(2))}, 2, []ledger.Span{one(1)}, false},
		{"orca has no numbers", []said{numbers(0), numbers(1)}, 0, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := counter{&ledger.Count{}, grace}
			anew := false
			for _, s := range tt.said {
				anew = c.hear(s.heard, noon.Add(s.after)) || anew
			}
			gaps := make([]ledger.Span, 0, len(c.Gaps))
			for _, gap := range c.Gaps {
				gaps = append(gaps, gap.Span)
			}
			if diff := cmp.Diff(tt.gaps, gaps, cmpopts.EquateEmpty()); c.Highest != tt.highest || anew != tt.anew || diff != "" {
				t.Errorf("highest %d, want %d; anew %t, want %t; gaps (-want +got)\n%s", c.Highest, tt.highest, anew, tt.anew, diff)
			}
		})
	}
}

// Numbers that begin with each message, and processes that count each for itself, are no numbers of ours.
func TestNumbersThatSayNothing(t *testing.T) {
	c := counter{&ledger.Count{}, 20 * time.Second}
	for i := range 40 {
		c.hear(ledger.Heard{Numbers: []ledger.Span{{From: 1, To: int64(1 + i*7%5)}}, Counted: -1, Beat: -1}, noon.Add(time.Duration(i)*time.Minute))
	}
	if !c.Useless || len(c.Gaps) > 0 {
		t.Errorf("useless %t, %d gaps", c.Useless, len(c.Gaps))
	}
	for i, count := range []int64{90, 80, 70, 0} { // long after it rose, and each below the last
		if c.hear(ledger.Heard{Counted: -1, Beat: count}, noon.Add(time.Hour+time.Duration(i)*time.Minute)) || !c.Useless || len(c.Gaps) > 0 {
			t.Errorf("a heartbeat of %d raises an alarm over a count that says nothing", count)
		}
	}
	again := counter{new(*c.Count), c.grace}
	if anew := again.hear(ledger.Heard{Counted: -1, Beat: 70, Handshake: true}, noon.Add(time.Hour)); anew || again.Useless || again.Highest != 70 || len(again.Gaps) > 0 {
		t.Errorf("anew %t, %+v; want a new beginning at 70", anew, again.Count)
	}
	// Many servers never shake hands again: a day later the numbers have another chance.
	c.hear(ledger.Heard{Numbers: []ledger.Span{one(40)}, Counted: -1, Beat: -1}, noon.Add(25*time.Hour))
	c.hear(ledger.Heard{Numbers: []ledger.Span{one(42)}, Counted: -1, Beat: -1}, noon.Add(25*time.Hour))
	if c.Useless || len(c.Gaps) != 1 || c.Gaps[0].Span != one(41) {
		t.Errorf("useless %t, gaps %v; want that of 41", c.Useless, c.Gaps)
	}
}

// What was heard within one second, in which a heartbeat that says no count follows a handshake that does.
func TestAHeartbeatWithoutACountTakesNothingBack(t *testing.T) {
	tally := NewTally(TallyOptions{Sources: []string{"north"}})
	tally.Note("north", fhir.Notification{Subscription: "s1", Kind: fhir.KindHandshake, EventCount: 7})
	tally.Note("north", fhir.Notification{Subscription: "s1", Kind: fhir.KindHeartbeat, EventCount: -1})
	want := []ledger.Heard{{Subscription: "s1", Counted: -1, Beat: 7, Handshake: true}}
	if diff := cmp.Diff(want, tally.sources["north"].heard); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Whatever is lost, repeated and reordered: each number that never came stands in a gap, or a new count was noticed.
func TestNothingIsLostSilently(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 60).Draw(t, "events")
		lost := map[int64]bool{}
		var order []int64
		for number := int64(1); number <= n; number++ {
			if number < n && rapid.Float64().Draw(t, "loss") < 0.2 {
				lost[number] = true
				continue
			}
			order = append(order, number)
			if rapid.Float64().Draw(t, "repeat") < 0.1 {
				order = append(order, number)
			}
		}
		for i := 1; i < len(order); i++ { // parallel senders
			if rapid.Bool().Draw(t, "swap") {
				order[i-1], order[i] = order[i], order[i-1]
			}
		}
		c, anew := counter{&ledger.Count{}, time.Minute}, false
		c.hear(ledger.Heard{Counted: -1, Beat: 0, Handshake: true}, noon)
		for len(order) > 0 { // in flushes of a few
			k := rapid.IntRange(1, len(order)).Draw(t, "flush")
			var spans []ledger.Span
			for _, number := range order[:k] {
				spans = withNumber(spans, number)
			}
			if !slices.IsSortedFunc(spans, func(a, b ledger.Span) int { return int(a.To - b.From + 1) }) {
				t.Fatalf("spans %v are not apart and in order", spans)
			}
			anew = c.hear(ledger.Heard{Numbers: spans, Counted: -1, Beat: -1}, noon) || anew
			order = order[k:]
		}
		missing := map[int64]bool{}
		for _, gap := range c.Gaps {
			for number := gap.From; number <= gap.To; number++ {
				missing[number] = true
			}
		}
		if diff := cmp.Diff(lost, missing); diff != "" && !anew {
			t.Errorf("(-lost +missing)\n%s", diff)
		}
	})
}

func TestGapsAreBounded(t *testing.T) {
	c := counter{&ledger.Count{}, 0}
	c.hear(ledger.Heard{Counted: -1, Beat: 0, Handshake: true}, noon)
	for i := int64(1); i <= 1000; i++ {
		c.hear(ledger.Heard{Numbers: []ledger.Span{one(2 * i)}, Counted: -1, Beat: -1}, noon)
	}
	if n := len(c.Gaps); n > gapsMost || c.Gaps[0].From != 1 || c.Gaps[n-1].To != 1999 {
		t.Errorf("%d gaps from %d to %d", n, c.Gaps[0].From, c.Gaps[n-1].To)
	}
	if closed := c.recovered(noon.Add(time.Second)); closed == 0 || len(c.Gaps) > 0 {
		t.Errorf("%d were closed, %d are left", closed, len(c.Gaps))
	}
}

func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfN(rapid.Int64Range(1, 40), 0, 40).Draw(t, "numbers")
		var single, whole []ledger.Span
		for _, number := range drawn {
			single = withNumber(single, number)
			whole = withSpan(whole, one(number))
		}
		if diff := cmp.Diff(whole, single); diff != "" && len(drawn) > 0 {
			t.Errorf("(-spans +numbers)\n%s", diff)
		}
	})
	var spans []ledger.Span
	for i := range int64(10_000) {
		spans = withNumber(spans, 2*i+2)
	}
	if len(spans) > spansMost {
		t.Errorf("%d spans", len(spans))
	}
}
