package ledger

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Covered says how a new document stands to the message about another one of the same citizen (policy.one_message).
type Covered string

// The results of Cover.
const (
	First     Covered = "first"   // it is to be sent, and others wait for it: Uncover must follow
	WaitFirst Covered = "wait"    // another one is being sent
	ByFirst   Covered = "covered" // another one was sent: its message stands for this one, too
)

// Cover asks whether the message about another document of a citizen covers this one: a message covers what comes within the
// window after it. Told is what that citizen was told, with ByFirst. Others wait for one that is being sent for as long as a
// lease at most: its process may have died.
func (l *Ledger) Cover(ctx context.Context, rec Record, person Tag, window time.Duration) (Covered, Told, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c := &call{script: coverScript, key: coverKey(rec.Source, person), args: []any{
		rec.Key.String(), window.Milliseconds(), l.lease.Milliseconds(), l.skewMS(),
	}}
	if err := l.run(ctx, []*call{c}); err != nil {
		return "", Told{}, err
	}
	word, err := c.cmd.Text()
	if err != nil {
		return "", Told{}, unavailable(err)
	}
	told, is := strings.CutPrefix(word, "t:")
	if !is {
		return Covered(word), Told{}, nil
	}
	at, id, _ := strings.Cut(told, ":")
	return ByFirst, Told{Publication: Published, At: time.UnixMilli(decimal(at)), MessageID: id, Person: person}, nil
}

// Uncover lets those go on that wait for the first message: covered by what was told, or on their own where that is zero.
func (l *Ledger) Uncover(ctx context.Context, rec Record, person Tag, told Told, window time.Duration) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	value := ""
	if told.Publication != NoPublication {
		value = "t:" + strconv.FormatInt(told.At.UnixMilli(), 10) + ":" + told.MessageID
	}
	c := &call{script: uncoverScript, key: coverKey(rec.Source, person), args: []any{rec.Key.String(), value, window.Milliseconds()}}
	return l.run(ctx, []*call{c})
}

// Lapse ends that the message of a record, which was not delivered, covers other documents of the person told.
func (l *Ledger) Lapse(ctx context.Context, rec Record) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c := &call{script: lapseScript, key: coverKey(rec.Source, rec.Told.Person), args: []any{rec.Told.MessageID}}
	return l.run(ctx, []*call{c})
}
