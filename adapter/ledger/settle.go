package ledger

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"staffetta/fhir/fiscalcode"
)

// Settle writes outcomes, those of callers at the same time in one round trip, and says what became of each.
func (l *Ledger) Settle(ctx context.Context, settlements []Settlement) ([]Settled, error) {
	if len(settlements) == 0 {
		return nil, nil
	}
	if err := l.admitFirst(ctx, settlements); err != nil {
		return nil, err
	}
	a := &asked{settlements: settlements}
	l.settles.do(ctx, a)
	if a.err == nil {
		l.sends.remember(settlements)
	}
	return a.settled, a.err
}

// admitFirst admits what the settlements lead to, and writes their aliases: repeated after a crash it changes nothing.
func (l *Ledger) admitFirst(ctx context.Context, settlements []Settlement) error {
	var hints []Hint
	aliases := false
	for i := range settlements {
		hints = append(hints, settlements[i].Admit...)
		aliases = aliases || len(settlements[i].Aliases) > 0
	}
	if _, err := l.Admit(ctx, hints); err != nil {
		return err
	}
	if !aliases {
		return nil
	}
	return l.writeAliases(ctx, settlements)
}

func (l *Ledger) writeAliases(ctx context.Context, settlements []Settlement) error {
	var calls [Partitions]*call
	var list []*call
	month, expiry := l.ending()
	for i := range settlements {
		for _, alias := range settlements[i].Aliases {
			p := alias.Key.Partition()
			if calls[p] == nil {
				calls[p] = &call{script: aliasScript, key: journalKey(p), args: []any{prefix(p)}}
				list = append(list, calls[p])
			}
			rec := Record{State: FindEnded, LedTo: []Key{alias.Document}}
			calls[p].args = append(calls[p].args, alias.Key.String(), string(alias.Key[:]), alias.Key.bucket(), month, expiry,
				rec.finished())
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return l.run(ctx, list)
}

// settleAll writes the settlements of several callers, one script for each partition.
func (l *Ledger) settleAll(ctx context.Context, all []*asked) {
	var (
		calls   [Partitions]*call
		back    [Partitions][]admission
		list    []*call
		durable bool
	)
	month, expiry := l.ending()
	for i, a := range all {
		a.settled = make([]Settled, len(a.settlements))
		for j := range a.settlements {
			s := &a.settlements[j]
			p := s.Record.Key.Partition()
			if calls[p] == nil {
				calls[p] = &call{script: settleScript, key: journalKey(p), args: make([]any, 0, 4+21*4)}
				calls[p].args = append(calls[p].args, prefix(p), l.journalMax, l.skewMS(), l.lease.Milliseconds())
				list = append(list, calls[p])
			}
			calls[p].args = l.appendSettlement(calls[p].args, s, month, expiry)
			back[p] = append(back[p], admission{i, j})
			durable = durable || s.Record.State == Sending
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := l.run(ctx, list)
	if err == nil && durable && l.replicas > 0 {
		err = l.waitForReplicas(ctx)
	}
	for p, c := range calls {
		if c == nil {
			continue
		}
		answers, own := c.cmd.StringSlice()
		for n, to := range back[p] {
			a := all[to.asked]
			switch {
			case own != nil:
				a.err = unavailable(own)
			case err != nil && l.replicas > 0:
				a.err = unavailable(err)
			case n < len(answers):
				a.settled[to.hint] = Settled(answers[n])
			}
		}
	}
}

// waitForReplicas makes `sending` durable before a POST (WAIT).
func (l *Ledger) waitForReplicas(ctx context.Context) error {
	const patience = time.Second
	got, err := l.redis.Do(ctx, "WAIT", l.replicas, patience.Milliseconds()).Int()
	if err != nil {
		return unavailable(err)
	}
	if got < l.replicas {
		return fmt.Errorf("%w: %d of %d replicas have the last write", ErrUnavailable, got, l.replicas)
	}
	return nil
}

func (l *Ledger) appendSettlement(args []any, s *Settlement, month string, expiry int64) []any {
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
	keep := "0"
	if s.Next.Keep {
		keep = "1"
	}
	return append(args, rec.Key.String(), string(rec.Key[:]), rec.Key.bucket(), month, expiry, rec.token, keep,
		milliseconds(s.Next.Due), waits[s.Next.Wait], milliseconds(s.Next.Track), letters[rec.State], order, version,
		string(rec.pack()), recipient, finished, told, s.Event, rec.Reason, rec.Source, locator)
}

func milliseconds(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}
