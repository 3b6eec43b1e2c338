package ledger

import (
	"context"
	"strconv"
)

// Admit writes hints, all of them in one round trip, and says what became of each. Only when it returns without error is
// all of it in Redis; on an error some may be, and all may be sent again.
func (l *Ledger) Admit(ctx context.Context, hints []Hint) ([]Admission, error) {
	if len(hints) == 0 {
		return nil, nil
	}
	a := &asked{hints: hints}
	l.trips.do(ctx, a)
	return a.admissions, a.err
}

// hints adds the hints of one caller.
func (d *load) hints(a *asked) {
	a.admissions = make([]Admission, len(a.hints))
	for i := range a.hints {
		h := &a.hints[i]
		c := d.room(&d.admits, h.Key, d.startAdmit)
		c.args = d.appendHint(c.args, h)
		c.items = append(c.items, item{a, i})
	}
}

const hintArgs = 10

func (d *load) startAdmit(partition int) *call {
	args := d.args(d.hinted, hintArgs, d.fingerprint, d.journalMax, d.skewMS(), d.today().forAdmit)
	return &call{script: admitScript, key: journalKey(partition), args: args, stride: hintArgs}
}

func (l *Ledger) appendHint(args []any, h *Hint) []any {
	order, version := "", ""
	if h.Order > 0 {
		order = string(appendOrder(nil, h.Order))
	}
	if h.Version != (Tag{}) {
		version = string(h.Version[:])
	}
	locator := ""
	if h.Locator.Type != "" {
		locator = l.seals.seal(h.Key, packLocator(h.Locator))
	}
	found := ""
	if h.Found {
		found = "1"
	}
	return texts(args, h.Key.String(), string(h.Key[:]), h.Source, letters[h.State], order, version,
		strconv.FormatInt(max(0, h.Settle.Milliseconds()), 10), locator, found, strconv.FormatInt(max(0, h.Ago.Milliseconds()), 10))
}
