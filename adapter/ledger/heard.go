package ledger

import (
	"context"
	"strconv"
	"strings"
	"time"

	"staffetta/fhir"
)

// Heard is what one replica has heard of one Subscription for a while. Numbers are an alarm, never a key.
type Heard struct {
	Subscription string
	Status       string // as the last notification said; "" where none did
	Numbers      []Span // of events that have reached us, ascending
	// Counted is the highest count that any notification said, and Beat that of the last handshake or heartbeat, which count
	// nothing themselves; -1 where none did.
	Counted, Beat int64
	Handshake     bool // it began, or began anew, with Beat events
}

// Span is a range of event numbers, both ends included.
type Span struct{ From, To int64 }

// Hear notes that this replica is there to be posted to, and what a source has posted since. Where nobody was there for longer
// than patience, or why is given, it asks for a sweep. It says for how long nobody was there; below zero: never before.
func (l *Ledger) Hear(ctx context.Context, source string, patience time.Duration, why string, heard []Heard) (away time.Duration, err error) {
	args := append(make([]any, 0, len(heard)+3), l.skewMS(), patience.Milliseconds(), why)
	for i := range heard {
		args = append(args, heard[i].text())
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	c := &call{script: heardScript, key: catchUpKey(source), args: args}
	if err := l.run(ctx, []*call{c}); err != nil {
		return 0, err
	}
	ms, err := c.cmd.Int64()
	return time.Duration(ms) * time.Millisecond, err
}

// text is how one Heard travels: six words with a blank between them.
func (h *Heard) text() string {
	handshake := "0"
	if h.Handshake {
		handshake = "1"
	}
	status := h.Status
	if status == "" {
		status = "-"
	}
	return strings.Join([]string{
		h.Subscription, status, strconv.FormatInt(h.Counted, 10), strconv.FormatInt(h.Beat, 10), handshake, spansText(h.Numbers),
	}, " ")
}

// parseHeard reads a text; false where it is none.
func parseHeard(text string) (h Heard, ok bool) {
	words := strings.Split(text, " ")
	if len(words) != 6 || !fhir.IsID(words[0]) {
		return h, false
	}
	h = Heard{
		Subscription: words[0], Status: strings.TrimPrefix(words[1], "-"), Counted: decimal(words[2]), Beat: decimal(words[3]),
		Handshake: words[4] == "1", Numbers: parseSpans(words[5]),
	}
	return h, true
}

func spansText(spans []Span) string {
	if len(spans) == 0 {
		return "-"
	}
	parts := make([]string, len(spans))
	for i, s := range spans {
		parts[i] = strconv.FormatInt(s.From, 10) + "-" + strconv.FormatInt(s.To, 10)
	}
	return strings.Join(parts, ",")
}

func parseSpans(text string) (spans []Span) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, ok := strings.Cut(part, "-")
		if s := (Span{decimal(from), decimal(to)}); ok && s.From > 0 && s.To >= s.From {
			spans = append(spans, s)
		}
	}
	return spans
}
