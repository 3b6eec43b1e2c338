package ledger

import (
	"context"
	"strconv"
	"strings"
)

// Admit writes hints, all of them in one round trip, and says what became of each. Only when it returns without error is
// all of it in Redis; on an error some may be, and all may be sent again.
func (l *Ledger) Admit(ctx context.Context, hints []Hint) ([]Admission, error) {
	if len(hints) == 0 {
		return nil, nil
	}
	a := &asked{hints: hints}
	l.admits.do(ctx, a)
	return a.admissions, a.err
}

// admission remembers where in a batch the answer to a script's n-th hint belongs.
type admission struct{ asked, hint int }

// admitAll writes the hints of several callers, one script for each partition.
func (l *Ledger) admitAll(ctx context.Context, all []*asked) {
	var (
		calls [Partitions]*call
		back  [Partitions][]admission
		list  []*call
	)
	months := strings.Join(l.months(), " ")
	for i, a := range all {
		a.admissions = make([]Admission, len(a.hints))
		for j := range a.hints {
			p := a.hints[j].Key.Partition()
			if calls[p] == nil {
				calls[p] = &call{script: admitScript, key: journalKey(p), args: make([]any, 0, 5+9*4)}
				calls[p].args = append(calls[p].args, prefix(p), l.fingerprint, l.journalMax, l.skewMS(), months)
				list = append(list, calls[p])
			}
			calls[p].args = l.appendHint(calls[p].args, &a.hints[j])
			back[p] = append(back[p], admission{i, j})
		}
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	_ = l.run(ctx, list)
	for p, c := range calls {
		if c == nil {
			continue
		}
		answers, err := c.cmd.StringSlice()
		for n, to := range back[p] {
			a := all[to.asked]
			switch {
			case err != nil:
				a.err = unavailable(err)
			case n < len(answers):
				a.admissions[to.hint] = Admission(answers[n])
			}
		}
	}
}

func (l *Ledger) appendHint(args []any, h *Hint) []any {
	order, version := "", ""
	if h.Order > 0 {
		order = strconv.FormatInt(h.Order, 10)
	}
	if h.Version != (Tag{}) {
		version = string(h.Version[:])
	}
	locator := ""
	if h.Locator.Type != "" {
		locator = l.seals.seal(h.Key, packLocator(h.Locator))
	}
	return append(args, h.Key.String(), string(h.Key[:]), h.Key.bucket(), h.Source, letters[h.State], order, version,
		max(0, h.Settle.Milliseconds()), locator)
}
