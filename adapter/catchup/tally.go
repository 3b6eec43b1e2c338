package catchup

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// TallyOptions are what a Tally needs.
type TallyOptions struct {
	Ledger  *ledger.Ledger
	Sources []string
	Log     *slog.Logger
	Every   time.Duration // between two writes; zero: 1 s
	// Patience is for how long nobody may have been there to be posted to without a sweep; zero: 15 s. Servers try for longer.
	Patience time.Duration
}

// Tally is what sources have posted, by Subscription and event number. It is noted in memory and written once a second: no
// notification waits for it. What a crash loses of it looks like a gap, and is asked for once more.
type Tally struct {
	TallyOptions

	sources map[string]*posts
}

// posts are what one source has posted since it was written last.
type posts struct {
	mu    sync.Mutex
	heard []ledger.Heard // a few
}

const (
	heardMost = 64  // Subscriptions of a source that are told apart: whoever posts may make up more
	spansMost = 256 // of one Subscription within a second
)

// NewTally makes a Tally; Run writes it.
func NewTally(o TallyOptions) *Tally {
	t := &Tally{TallyOptions: o, sources: map[string]*posts{}}
	for _, name := range o.Sources {
		t.sources[name] = &posts{}
	}
	if t.Every <= 0 {
		t.Every = time.Second
	}
	if t.Patience <= 0 {
		t.Patience = 15 * time.Second
	}
	return t
}

// Note notes a notification whose hints are written. It does not block.
func (t *Tally) Note(source string, n fhir.Notification) {
	if n.Subscription == "" {
		return // classic ones have no numbers
	}
	if p := t.sources[source]; p != nil {
		p.note(&n)
	}
}

func (p *posts) note(n *fhir.Notification) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.of(n.Subscription)
	if h == nil {
		return
	}
	if n.Status != "" {
		h.Status = statusWord(n.Status)
	}
	if n.Kind == fhir.KindHandshake || n.Kind == fhir.KindHeartbeat {
		if n.EventCount >= 0 {
			h.Beat = n.EventCount
		}
		h.Handshake = h.Handshake || n.Kind == fhir.KindHandshake
	} else {
		h.Counted = max(h.Counted, n.EventCount)
	}
	for _, number := range n.Numbers {
		h.Numbers = withNumber(h.Numbers, number)
	}
}

// statusWord is a status that we know; anything else is none.
func statusWord(status string) string {
	switch status {
	case "requested", "active", "error", "off":
		return status
	}
	return ""
}

// of is what is noted of one Subscription; nil where there are too many.
func (p *posts) of(id string) *ledger.Heard {
	for i := range p.heard {
		if p.heard[i].Subscription == id {
			return &p.heard[i]
		}
	}
	if len(p.heard) >= heardMost {
		return nil
	}
	p.heard = append(p.heard, ledger.Heard{Subscription: id, Counted: -1, Beat: -1})
	return &p.heard[len(p.heard)-1]
}

// withNumber adds a number to ascending spans; most often it follows the last one.
func withNumber(spans []ledger.Span, number int64) []ledger.Span {
	if n := len(spans); n > 0 && spans[n-1].To == number-1 {
		spans[n-1].To = number
		return spans
	}
	at, within := slices.BinarySearchFunc(spans, number, func(s ledger.Span, number int64) int {
		switch {
		case s.To < number:
			return -1
		case s.From > number:
			return 1
		}
		return 0
	})
	if within {
		return spans
	}
	before, after := at > 0 && spans[at-1].To == number-1, at < len(spans) && spans[at].From == number+1
	switch {
	case before && after:
		spans[at-1].To = spans[at].To
		return slices.Delete(spans, at, at+1)
	case before:
		spans[at-1].To = number
		return spans
	case after:
		spans[at].From = number
		return spans
	case len(spans) >= spansMost:
		return spans // it will look like a gap
	}
	return slices.Insert(spans, at, ledger.Span{From: number, To: number})
}

// Run writes what was noted, until ctx ends.
func (t *Tally) Run(ctx context.Context) error {
	troubled := map[string]bool{} // what could not be written was an outage
	restarts := t.Ledger.Restarts()
	for {
		now := t.Ledger.Restarts()
		for _, name := range t.Sources {
			why := ""
			switch {
			case now != restarts:
				why = "redis-restarted"
			case troubled[name]:
				why = "outage"
			}
			troubled[name] = !t.write(ctx, name, why)
		}
		restarts = now
		if !sleep(ctx, t.Every) {
			t.last(ctx)
			return nil
		}
	}
}

// last writes what is left, if that can be done soon.
func (t *Tally) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for _, name := range t.Sources {
		if !t.write(ctx, name, "") {
			return
		}
	}
}

// write writes what one source has posted; false where that failed: it is written with the next.
func (t *Tally) write(ctx context.Context, source, why string) bool {
	p := t.sources[source]
	p.mu.Lock()
	heard := p.heard
	p.heard = nil
	p.mu.Unlock()
	away, err := t.Ledger.Hear(ctx, source, t.Patience, why, heard)
	if err != nil {
		p.giveBack(heard)
		if ctx.Err() == nil {
			t.Log.DebugContext(ctx, "what was posted is not noted", slog.String("source", source), slog.Any("error", err)) // the ledger says aloud that redis is away
		}
		return false
	}
	if away > t.Patience {
		t.Log.WarnContext(ctx, "nobody was there to be posted to: what was missed is looked for", slog.String("source", source),
			slog.String("away", away.Truncate(time.Second).String()))
	}
	return true
}

// giveBack adds what could not be written to what came since.
func (p *posts) giveBack(heard []ledger.Heard) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, was := range heard {
		h := p.of(was.Subscription)
		if h == nil {
			continue
		}
		for _, s := range was.Numbers {
			h.Numbers = withSpan(h.Numbers, s)
		}
		h.Counted, h.Handshake = max(h.Counted, was.Counted), h.Handshake || was.Handshake
		if h.Beat < 0 {
			h.Beat = was.Beat
		}
		if h.Status == "" {
			h.Status = was.Status
		}
	}
}

// withSpan adds a span to ascending ones.
func withSpan(spans []ledger.Span, more ledger.Span) []ledger.Span {
	var merged []ledger.Span
	for _, s := range slices.SortedFunc(slices.Values(append(slices.Clone(spans), more)), func(a, b ledger.Span) int {
		if a.From < b.From {
			return -1
		}
		return 1
	}) {
		if n := len(merged); n > 0 && s.From <= merged[n-1].To+1 {
			merged[n-1].To = max(merged[n-1].To, s.To)
			continue
		}
		merged = append(merged, s)
	}
	return merged[max(0, len(merged)-spansMost):]
}
