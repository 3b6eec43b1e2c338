package ledger

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Seized is what became of an attempt to take one record out of its turn.
type Seized string

// The results of Seize.
const (
	Unknown Seized = "unknown" // nothing is known of it
	Busy    Seized = "busy"    // in other hands, or a message of it is on its way: ask again
	Taken   Seized = "taken"   // leased, like a claim
)

// Seize leases one record of a source by its key, whenever it is due: a document that replaces another one ends its record
// (design, section 4, Replacement). A record that rests is opened for it; one that is held stays held until it is settled.
func (l *Ledger) Seize(ctx context.Context, source string, key Key) (Record, Seized, error) {
	return l.seize(ctx, Hint{Key: key, Source: source, State: Pending})
}

// seize opens a record that rests by a hint of unknown order, which does not say that anything newer was seen.
func (l *Ledger) seize(ctx context.Context, opening Hint) (Record, Seized, error) {
	rec, seized, err := l.seizeLive(ctx, opening.Source, opening.Key)
	if err != nil || seized != Unknown {
		return rec, seized, err
	}
	if _, rests, err := l.Lookup(ctx, opening.Key); err != nil || !rests {
		return rec, Unknown, err
	}
	if _, err := l.Admit(ctx, []Hint{opening}); err != nil {
		return rec, "", err
	}
	rec, seized, err = l.seizeLive(ctx, opening.Source, opening.Key)
	if seized == Unknown {
		seized = Busy // another worker was quicker: it took what was opened, and has ended it again
	}
	return rec, seized, err
}

func (l *Ledger) seizeLive(ctx context.Context, source string, key Key) (Record, Seized, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	p := key.Partition()
	c := &call{script: seizeScript, key: dueKey(p, source), args: []any{prefix(p), key.String(), l.lease.Milliseconds(), l.skewMS()}}
	if err := l.run(ctx, []*call{c}); err != nil {
		return Record{}, "", err
	}
	return l.readSeized(key, c.cmd)
}

func (l *Ledger) readSeized(key Key, cmd *redis.Cmd) (Record, Seized, error) {
	if word, err := cmd.Text(); err == nil {
		return Record{}, Seized(word), nil
	}
	values, err := cmd.Slice()
	if err != nil {
		return Record{}, "", unavailable(err)
	}
	rec, err := l.readRecord(key, liveOf(values[1:]))
	rec.Now = time.UnixMilli(number(values[0]))
	return rec, Taken, err
}
