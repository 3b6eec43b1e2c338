package ledger

import (
	"context"
	"slices"
	"strconv"
	"time"

	"staffetta/fhir/fiscalcode"
)

// Settle writes outcomes, those of callers at the same time in one round trip, and says what became of each. The end of ctx does
// not cut it: what was done must be remembered.
func (l *Ledger) Settle(ctx context.Context, settlements []Settlement) ([]Settled, error) {
	if len(settlements) == 0 {
		return nil, nil
	}
	if err := l.admitFirst(ctx, settlements); err != nil {
		return nil, err
	}
	a := &asked{settlements: settlements}
	trips := l.trips
	if l.replicas > 0 && slices.ContainsFunc(settlements, func(s Settlement) bool { return s.Record.State == Sending }) {
		trips = l.durable // not with the others: they need not wait for replicas
	}
	trips.do(ctx, a)
	l.sends.remember(settlements, a.err == nil)
	return a.settled, a.err
}

// admitFirst writes the aliases of settlements, then admits what they lead to: repeated after a crash it changes nothing. Whoever
// is told of a document before that is found again by all that belongs to it, though some of it may be gone.
func (l *Ledger) admitFirst(ctx context.Context, settlements []Settlement) error {
	var hints []Hint
	aliases := false
	for i := range settlements {
		hints = append(hints, settlements[i].Admit...)
		aliases = aliases || len(settlements[i].Aliases) > 0
	}
	if len(hints) == 0 && !aliases {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if aliases {
		if err := l.writeAliases(ctx, settlements); err != nil {
			return err
		}
	}
	_, err := l.Admit(ctx, hints)
	return err
}

func (l *Ledger) writeAliases(ctx context.Context, settlements []Settlement) error {
	var calls [Partitions]*call
	var list []*call
	today := l.today()
	for i := range settlements {
		for _, alias := range settlements[i].Aliases {
			p := alias.Key.Partition()
			if calls[p] == nil {
				calls[p] = &call{script: aliasScript, key: journalKey(p), args: []any{prefix(p)}}
				list = append(list, calls[p])
			}
			rec := Record{State: FindEnded, LedTo: []Key{alias.Document}}
			calls[p].args = append(calls[p].args, alias.Key.String(), string(alias.Key[:]), alias.Key.bucket(), today.ending,
				today.expiry-l.now().Add(l.skew()).Unix(),
				rec.finished())
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return l.run(ctx, list)
}

// settlements adds the settlements of one caller.
func (d *load) settlements(a *asked) {
	a.settled = make([]Settled, len(a.settlements))
	for i := range a.settlements {
		s := &a.settlements[i]
		c := d.room(&d.settles, s.Record.Key, d.startSettle)
		c.args = d.appendSettlement(c.args, s)
		c.items = append(c.items, item{a, i})
	}
}

const settlementArgs = 21

func (d *load) startSettle(partition int) *call {
	today := d.today()
	args := d.args(d.settled, settlementArgs, d.journalMax, d.skewMS(), d.lease.Milliseconds(), today.forEnds, today.expiry, today.toldExpiry)
	return &call{script: settleScript, key: journalKey(partition), args: args, stride: settlementArgs}
}

func (l *Ledger) appendSettlement(args []any, s *Settlement) []any {
	rec := &s.Record
	order, version, finished, told, recipient := "", "", "", "", ""
	if rec.ReadOrder > 0 {
		order = strconv.FormatInt(rec.ReadOrder, 10)
	}
	if rec.ReadVersion != (Tag{}) {
		version = string(rec.ReadVersion[:])
	}
	if rec.State != Held && !s.Next.Keep && s.Next.Due.IsZero() && s.Next.Track.IsZero() {
		finished = rec.finished()
	}
	if rec.State == Sent || rec.State == Delivered {
		told = string(rec.Told.pack(nil))
	}
	if rec.Recipient != (fiscalcode.Code{}) {
		recipient = l.seals.seal(rec.Key, []byte(rec.Recipient.Reveal())) //nolint:forbidigo // sealed
	}
	locator := ""
	if told != "" && rec.Locator.Type != "" {
		locator = l.seals.seal(rec.Key, packLocator(rec.Locator))
	}
	keep, polled := "0", "0"
	if rec.Tracking {
		polled = "1"
	}
	if s.Next.Keep {
		keep = "1"
	}
	kept := "0"
	if finished != "" && rec.keepsLocator() {
		kept = "1"
	}
	return texts(args, rec.Key.String(), string(rec.Key[:]), strconv.FormatInt(rec.token, 10), keep,
		milliseconds(s.Next.Due), waits[s.Next.Wait], milliseconds(s.Next.Track), letters[rec.State], order, version,
		string(rec.pack()), recipient, finished, told, s.Event, rec.Reason, rec.Source, locator, polled, kept, l.sealWhereabouts(s))
}

// keepsLocator says whether a record that ends must still be found. A document of several resources is more than its members:
// when one of them goes, it is still to be found. What io.mode kept back is to be released later.
func (r *Record) keepsLocator() bool {
	toldOfSeveral := r.Told.Publication != NoPublication && (r.Locator.Type == "Composition" || r.Locator.Type == "Bundle")
	return toldOfSeveral || KeptBack(r.Reason)
}

// KeptBack says whether a record ended for the sake of io.mode only: it can be released by its reason.
func KeptBack(reason string) bool { return reason == "io-off" || reason == "not-in-test" }

func milliseconds(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// toldNow says whether IO took a message in this claim.
func toldNow(rec *Record) bool {
	return (rec.State == Sent || rec.State == Delivered) && rec.Told.Publication != NoPublication && !rec.Told.At.Before(rec.Now)
}
