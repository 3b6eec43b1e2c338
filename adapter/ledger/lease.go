package ledger

import (
	"context"
	"crypto/rand"
	"time"
)

// Lease is the right to do one thing, which one replica has at a time. A process that dies loses it when it ends.
type Lease struct {
	ledger *Ledger
	name   string
	token  string
	length time.Duration
}

// Lease is a lease by name; nobody has it before it is taken. Length is how long it lasts without being kept.
func (l *Ledger) Lease(name string, length time.Duration) *Lease {
	return &Lease{ledger: l, name: name, token: rand.Text(), length: length}
}

// Take takes the lease, or keeps it for its length from now; false where somebody else has it.
func (a *Lease) Take(ctx context.Context) (bool, error) {
	word, err := a.ask(ctx, a.length)
	return word == "held", err
}

// Length is how long it lasts without being kept.
func (a *Lease) Length() time.Duration { return a.length }

// GiveBack lets others have it at once.
func (a *Lease) GiveBack(ctx context.Context) error {
	_, err := a.ask(ctx, 0)
	return err
}

func (a *Lease) ask(ctx context.Context, length time.Duration) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c := &call{script: leaseScript, key: leaseKey(a.name), args: []any{a.token, length.Milliseconds()}}
	if err := a.ledger.run(ctx, []*call{c}); err != nil {
		return "", err
	}
	return c.cmd.Text()
}
