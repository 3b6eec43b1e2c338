package catchup

import (
	"slices"
	"time"

	"staffetta/adapter/ledger"
)

// Event numbers are an alarm, never a key (reference fhir-subscriptions.md, 3.6): HAPI counts in memory and begins anew with
// each process, orca says 0 for ever, others count within each message. What they can say is that something is missing.

const (
	gapsMost     = 64             // that are remembered of one Subscription; more become one
	restartsMost = 5              // within restartsFor: then its numbers say nothing
	restartsFor  = time.Hour      //
	uselessFor   = 24 * time.Hour // after that they are listened to again
)

// counter is what has reached us of a Subscription's events.
type counter struct {
	*ledger.Count

	grace time.Duration // that parallel senders may need to get into order
}

// hear adds what one replica has heard. It says whether the count began anew: what happened before is not known then.
func (c counter) hear(h ledger.Heard, now time.Time) (anew bool) {
	c.Heard = now
	if c.Useless && (h.Handshake || now.Sub(c.Raised) >= uselessFor) {
		*c.Count = ledger.Count{Heard: now, Asked: c.Asked}
	}
	if h.Handshake {
		anew = c.begin(h.Beat, now)
	} else if h.Beat >= 0 {
		anew = c.beat(h.Beat, now)
	}
	if c.Useless {
		return anew
	}
	for _, numbers := range h.Numbers {
		anew = c.arrive(numbers, now) || anew
	}
	if h.Counted > 0 {
		c.raise(h.Counted, now)
	}
	return anew
}

// begin is a handshake: the server says where its count stands. One that does not say so is at nothing where nothing was known,
// else its next events tell.
func (c counter) begin(count int64, now time.Time) (anew bool) {
	if count < 0 && c.Known {
		count = c.Highest
	}
	if c.Known && count < c.Highest {
		anew = true
		c.Highest, c.Gaps, c.Low = count, nil, 0
	}
	c.Restarts = 0
	c.raise(max(0, count), now)
	return anew
}

// beat is a count that is no event itself. One below ours may have been overtaken by an event; not for long. A count that says
// nothing raises no alarm.
func (c counter) beat(count int64, now time.Time) (anew bool) {
	if c.Useless {
		return false
	}
	if c.Known && count < c.Highest {
		if now.Sub(c.Raised) <= c.grace {
			return false
		}
		c.Highest, c.Gaps = count, nil
		c.restarted(now)
		return true
	}
	c.raise(count, now)
	return false
}

// raise notes that the server has counted so far: what lies between has not reached us.
func (c counter) raise(to int64, now time.Time) {
	switch {
	case !c.Known:
		c.Known, c.Highest, c.Raised = true, to, now // of what was before nothing is known
	case to > c.Highest:
		c.open(ledger.Span{From: c.Highest + 1, To: to}, now)
		c.Highest, c.Raised = to, now
	}
}

// arrive notes that events have reached us.
func (c counter) arrive(numbers ledger.Span, now time.Time) (anew bool) {
	if !c.Known || numbers.To > c.Highest {
		if c.Known && numbers.From > c.Highest+1 {
			c.open(ledger.Span{From: c.Highest + 1, To: numbers.From - 1}, now)
		}
		c.fill(numbers)
		c.Known, c.Highest, c.Raised, c.Low = true, numbers.To, now, 0
		return false
	}
	again := c.fill(numbers)
	if again == 0 || again <= c.Low {
		return false
	}
	if c.Low == 0 { // once more: a retry, or the first of a new count
		c.Low = again
		return false
	}
	low := c.Low // low ones that rise are a new count
	c.Highest, c.Gaps = numbers.To, nil
	if numbers.From > low+1 {
		c.open(ledger.Span{From: low + 1, To: numbers.From - 1}, now)
	}
	c.restarted(now)
	return true
}

// restarted notes a new count. One that begins anew again and again says nothing.
func (c counter) restarted(now time.Time) {
	c.Low, c.Raised = 0, now
	if now.Sub(c.RestartsSince) > restartsFor {
		c.Restarts, c.RestartsSince = 0, now
	}
	if c.Restarts++; c.Restarts >= restartsMost {
		c.Useless, c.Gaps = true, nil
	}
}

// open adds a gap.
func (c counter) open(numbers ledger.Span, now time.Time) {
	c.Gaps = append(c.Gaps, ledger.Gap{Span: numbers, Since: now})
	if len(c.Gaps) > gapsMost { // the lowest two become one: it asks for more than is missing
		c.Gaps[1].From = c.Gaps[0].From
		c.Gaps = slices.Delete(c.Gaps, 0, 1)
	}
}

// fill closes gaps, and gives the highest of the numbers that were in none; 0 where all were.
func (c counter) fill(numbers ledger.Span) (again int64) {
	var left []ledger.Gap
	next := numbers.To // the highest that was in no gap, seen from above
	for _, gap := range slices.Backward(c.Gaps) {
		from, to := max(gap.From, numbers.From), min(gap.To, numbers.To)
		if from > to {
			left = append(left, gap)
			continue
		}
		if to == next {
			next = from - 1
		}
		if to < gap.To {
			left = append(left, ledger.Gap{Span: ledger.Span{From: to + 1, To: gap.To}, Since: gap.Since})
		}
		if gap.From < from {
			left = append(left, ledger.Gap{Span: ledger.Span{From: gap.From, To: from - 1}, Since: gap.Since})
		}
	}
	slices.Reverse(left)
	c.Gaps = left
	if next < numbers.From {
		return 0
	}
	return next
}

// due are the gaps that have been open for longer than the grace.
func (c counter) due(now time.Time) (gaps []ledger.Gap) {
	for _, gap := range c.Gaps {
		if now.Sub(gap.Since) >= c.grace {
			gaps = append(gaps, gap)
		}
	}
	return gaps
}

// recovered closes what was found another way, of all that was open before a time.
func (c counter) recovered(before time.Time) (closed int) {
	n := len(c.Gaps)
	c.Gaps = slices.DeleteFunc(c.Gaps, func(gap ledger.Gap) bool { return gap.Since.Before(before) })
	return n - len(c.Gaps)
}
