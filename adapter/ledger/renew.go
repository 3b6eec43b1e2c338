package ledger

import "context"

// Renew begins the lease of a claimed record anew; false where the record is settled, or in other hands by now.
func (l *Ledger) Renew(ctx context.Context, rec Record) (bool, error) { return l.renew(ctx, rec, "0") }

// Begin is Renew for a suspect: it counts that a step with it begins, until that step is settled.
func (l *Ledger) Begin(ctx context.Context, rec Record) (bool, error) { return l.renew(ctx, rec, "1") }

func (l *Ledger) renew(ctx context.Context, rec Record, begins string) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	p := rec.Key.Partition()
	c := &call{script: renewScript, key: dueKey(p, rec.Source), args: []any{
		prefix(p), rec.Key.String(), rec.token, l.lease.Milliseconds(), l.skewMS(), begins,
	}}
	if err := l.run(ctx, []*call{c}); err != nil {
		return false, err
	}
	n, err := c.cmd.Int()
	return n == 1, err
}
