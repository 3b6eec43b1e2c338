package ledger

import (
	"context"
	"strings"
	"time"
)

// Delivery is what IO said of a message in the end; zero as long as it is on its way.
type Delivery struct{ Status, ReadStatus string }

// Ask says who asks IO how a message stands that several documents share (policy.one_message): this record, where mine is true,
// or another one. What is known in the end is given to all of them. Others wait for this one's answer as long as a lease at
// most: its process may have died.
func (l *Ledger) Ask(ctx context.Context, rec Record) (mine bool, known Delivery, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c := &call{script: askScript, key: askedKey(rec.Told.MessageID), args: []any{rec.Key.String(), l.lease.Milliseconds()}}
	if err := l.run(ctx, []*call{c}); err != nil {
		return false, Delivery{}, err
	}
	word, err := c.cmd.Text()
	if err != nil {
		return false, Delivery{}, unavailable(err)
	}
	if status, is := strings.CutPrefix(word, "!"); is {
		known.Status, known.ReadStatus, _ = strings.Cut(status, " ")
		return false, known, nil
	}
	return word == "ask", Delivery{}, nil
}

// Answered keeps for a while what IO said; while that is nothing final, nobody asks again.
func (l *Ledger) Answered(ctx context.Context, rec Record, said Delivery, during time.Duration) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	value := "-"
	if said != (Delivery{}) {
		value = "!" + said.Status + " " + said.ReadStatus
	}
	if err := l.redis.Set(ctx, askedKey(rec.Told.MessageID), value, max(during, time.Millisecond)).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}
