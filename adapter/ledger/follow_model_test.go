package ledger

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir/fiscalcode"
)

// A second model, of what the first one leaves out: messages whose delivery is followed, outcomes that are settled twice,
// and workers that come late.
type followModel struct {
	l      *Ledger
	ctx    context.Context //nolint:containedctx // a test's
	jumped time.Duration
	source map[Key]int64 // the order that the source shows
	owed   map[Key]bool  // hinted, and not looked at since
	told   map[Key]Told
	open   []Record
	done   []Settlement
	n      int
}

func TestSecondModel(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		rapid.Check(t, func(rt *rapid.T) {
			if err := redistest.Flush(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			m := &followModel{l: open(t, client), ctx: t.Context(), source: map[Key]int64{}, owed: map[Key]bool{}, told: map[Key]Told{}}
			m.l.skew = func() time.Duration { return m.jumped }
			rt.Repeat(map[string]func(*rapid.T){
				"admit": m.admit, "claim": m.claim, "settle": m.settle, "settle again": m.again, "jump": m.jump, "release": m.release,
				"seize": m.seize, "": m.check,
			})
			m.drain(rt)
		})
	})
}

func (m *followModel) hint(t *rapid.T) Hint {
	return documentHint(m.l, "north", rapid.IntRange(0, 2).Draw(t, "key"))
}

func (m *followModel) admit(t *rapid.T) {
	h := m.hint(t)
	if rapid.Bool().Draw(t, "newer") {
		m.source[h.Key] += 1000
	}
	h.Order, h.Version = max(m.source[h.Key], 1000), Tag{1}
	m.source[h.Key] = h.Order
	h.Settle = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "settle")
	got, err := m.l.Admit(m.ctx, []Hint{h})
	if err != nil {
		t.Fatal(err)
	}
	if got[0] == New || got[0] == Newer {
		m.owed[h.Key] = true
	}
}

func (m *followModel) claim(t *rapid.T) {
	got, err := m.l.Claim(m.ctx, ClaimOptions{N: 8, Sources: rapid.SampledFrom([][]string{{"north"}, nil}).Draw(t, "open"), Track: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range got.Records {
		m.took(t, rec)
	}
}

func (m *followModel) took(t *rapid.T, rec Record) {
	if want := m.told[rec.Key]; rec.Told.MessageID != want.MessageID && !want.At.IsZero() {
		t.Fatalf("claimed as told %q, the last one was %q", rec.Told.MessageID, want.MessageID)
	}
	m.open = append(m.open, rec)
}

func (m *followModel) settle(t *rapid.T) {
	if len(m.open) == 0 {
		t.Skip("nothing claimed")
	}
	i := rapid.IntRange(0, len(m.open)-1).Draw(t, "claim")
	rec := m.open[i]
	m.open = append(m.open[:i:i], m.open[i+1:]...)
	m.settleAs(t, rec, rapid.SampledFrom([]string{"send", "rest", "wait", "backoff", "hold", "nothing"}).Draw(t, "outcome"))
}

func (m *followModel) settleAs(t *rapid.T, rec Record, outcome string) {
	s := Settlement{Event: outcome}
	read := true
	now := time.UnixMilli(time.Now().UnixMilli()).Add(m.jumped)
	poll := rec.Tracking && rec.State == Sent
	switch {
	case poll && (outcome == "rest" || outcome == "nothing"):
		read, rec.State, rec.Recipient = false, Delivered, fiscalcode.Code{}
	case poll:
		read, s.Next = false, Next{Track: now.Add(time.Minute), Wait: WaitDelivery}
	case outcome == "send":
		m.n++
		rec.State, rec.Recipient, rec.Publication, rec.Edition = Sent, somebody, Published, Tag{byte(m.n)}
		rec.Told = Told{Publication: Published, Edition: Tag{byte(m.n)}, At: now.Add(time.Duration(m.n) * time.Millisecond), MessageID: fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ6%06d", m.n), Person: Tag{7}}
		s.Next = Next{Track: now.Add(10 * time.Second), Wait: WaitDelivery}
	case outcome == "backoff":
		read, s.Next = false, Next{Due: now.Add(time.Hour), Wait: WaitFixed}
	case outcome == "wait":
		s.Next = Next{Due: now.Add(time.Hour), Wait: WaitSource}
	case outcome == "hold":
		rec.State, rec.Recipient = Held, fiscalcode.Code{}
	case rec.State == Sent:
		s.Next = Next{Track: now.Add(10 * time.Second), Wait: WaitDelivery}
	case rec.Told.Publication != NoPublication:
		rec.State = Delivered
	default:
		rec.State = Suppressed
	}
	if rec.State == Held || (s.Next.Due.IsZero() && s.Next.Track.IsZero()) {
		rec.Reason = "withdrawn"
	} else if rec.State != Sent && rec.State != Pending { // what was reopened waits as it rested
		rec.State = Pending
	}
	if read {
		rec.ReadOrder, rec.ReadVersion, rec.HintedOrder = max(m.source[rec.Key], 1000), Tag{1}, 0
	}
	s.Record = rec
	m.write(t, s, read)
	m.done = append(m.done, s)
}

func (m *followModel) write(t *rapid.T, s Settlement, read bool) {
	got, err := m.l.Settle(m.ctx, []Settlement{s})
	if err != nil {
		t.Fatal(err)
	}
	if told := s.Record.Told; s.Event == "send" && told.At.After(m.told[s.Record.Key].At) {
		m.told[s.Record.Key] = told
	}
	if got[0] != StaleToken && (read || s.Record.State == Held) {
		m.owed[s.Record.Key] = false
	}
}

// again settles once more what was settled: its answer was lost.
func (m *followModel) again(t *rapid.T) {
	if len(m.done) == 0 {
		t.Skip("nothing settled")
	}
	s := rapid.SampledFrom(m.done[max(0, len(m.done)-3):]).Draw(t, "settlement")
	m.write(t, s, false)
}

func (m *followModel) jump(t *rapid.T) {
	m.jumped += rapid.SampledFrom([]time.Duration{5 * time.Second, 20 * time.Second, 10 * time.Minute, 2 * time.Hour}).Draw(t, "jump")
}

func (m *followModel) release(t *rapid.T) {
	_, _ = m.l.Release(m.ctx, m.hint(t).Key, "released", By{})
}

// seize is a person's deed, which is settled, late or never.
func (m *followModel) seize(t *rapid.T) {
	h := m.hint(t)
	rec, got, err := m.l.Reopen(m.ctx, h.Source, h.Key, h.Locator)
	if err != nil {
		t.Fatal(err)
	}
	if got != Taken {
		return
	}
	if rec.State == Held {
		rec.State = Pending // as a deed settles it
	}
	m.took(t, rec)
}

func (m *followModel) check(t *rapid.T) {
	checked, err := m.l.Check(m.ctx, []string{"north"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range checked.Findings {
		t.Fatal(f)
	}
}

func (m *followModel) drain(t *rapid.T) {
	m.open = nil
	for range 30 {
		m.jumped += 3 * time.Hour
		got, err := m.l.Claim(m.ctx, ClaimOptions{N: 100, Sources: []string{"north"}, Track: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Records) == 0 {
			break
		}
		for _, rec := range got.Records {
			m.took(t, rec)
			m.settleAs(t, rec, "nothing")
		}
	}
	for key, owed := range m.owed {
		rec, known, err := m.l.Lookup(m.ctx, key)
		held := m.l.redis.ZScore(m.ctx, heldKey(key.Partition()), key.String()).Err() == nil // what is told late shows in State
		if err != nil || (owed && (!known || !held)) {
			t.Fatalf("a hint was never looked at (%s, %v)", rec.State, err)
		}
		if want := m.told[key]; !want.At.IsZero() && rec.Told.MessageID != want.MessageID {
			t.Fatalf("told %q at the end, the last one was %q", rec.Told.MessageID, want.MessageID)
		}
	}
}
