package relay

import (
	"context"
	"slices"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// predecessorBusy is the reason of a document that waits for the one that it replaces.
const predecessorBusy = "predecessor-busy"

// takeOver lets a document inherit what was told of those that it replaces, and ends them (design, section 4, Replacement):
// it is settled first, with what it inherited, and then they are, so that a crash between the two changes nothing. Nil says
// that nothing of it is left to be done.
func (r *Relay) takeOver(ctx context.Context, c *claimed, doc fhir.Document) (*outcome, error) {
	if c.State == ledger.Sending || c.State == ledger.Sent {
		return nil, nil // first things first
	}
	if len(c.LedTo) > 0 {
		return r.endReplaced(ctx, c, doc)
	}
	old, err := r.predecessors(ctx, c, doc)
	if err != nil || len(old) == 0 {
		return nil, err
	}
	rec := c.Record
	for i := range old {
		if old[i].State == ledger.Sending || old[i].State == ledger.Sent || old[i].Reason == reasonUncertain {
			return c.waitFor(predecessorBusy), nil // or a person must say what was told
		}
		rec.LedTo = append(rec.LedTo, old[i].Key)
		rec = inherit(rec, &old[i], doc, c.Told.Publication == ledger.NoPublication)
	}
	o := happen(calm(rec), Inherited, ledger.Next{Due: c.now()})
	return &o, nil
}

// inherit is a record with what was told of another one, the latest where there are several. Of a document that replaces
// another one no edition was told, whatever both say of theirs; reports that were merged may be one edition.
func inherit(rec ledger.Record, old *ledger.Record, doc fhir.Document, told bool) ledger.Record {
	if told && old.Told.At.After(rec.Told.At) {
		if rec.Told = old.Told; doc.Shape.OfCompositions() {
			rec.Told.Edition = ledger.Tag{}
		}
	}
	if hidden := hiddenAt(old); hidden.After(rec.HiddenAt) {
		rec.HiddenAt = hidden
	}
	return rec
}

// waitFor looks again in a moment, then less and less often.
func (c *claimed) waitFor(reason string) *outcome {
	now := c.now()
	rec := because(c.Record, reason, now)
	rec.Attempts++
	o := happen(rec, NotYet, ledger.Next{Due: now.Add(pauseAfter(rec.Attempts)), Wait: ledger.WaitFixed})
	return &o
}

// predecessors are the records of documents that this one says it replaces, as far as we know them.
func (r *Relay) predecessors(ctx context.Context, c *claimed, doc fhir.Document) (old []ledger.Record, err error) {
	var seen []ledger.Key
	for _, l := range doc.Replaces {
		key, known, err := r.documentOf(ctx, c.Source, l)
		if err != nil {
			return nil, err
		}
		if !known || key == c.Key || slices.Contains(seen, key) {
			continue
		}
		seen = append(seen, key)
		rec, known, err := r.Ledger.Lookup(ctx, key)
		if err != nil {
			return nil, err
		}
		if known && rec.State != ledger.Replaced && rec.State != ledger.Find && rec.State != ledger.FindEnded {
			old = append(old, rec)
		}
	}
	return old, nil
}

// documentOf is the document that a resource belongs to, over its alias where it has one.
func (r *Relay) documentOf(ctx context.Context, source string, l fhir.Locator) (ledger.Key, bool, error) {
	if l.Value == "" {
		alias, known, err := r.Ledger.Lookup(ctx, r.Ledger.FindKey(source, l.Type, l.ID))
		if err != nil {
			return ledger.Key{}, false, err
		}
		if known && len(alias.LedTo) > 0 {
			return alias.LedTo[0], true, nil
		}
	}
	return r.Ledger.DocumentKey(source, l), l.Type == "Composition" || l.Type == "DiagnosticReport", nil
}

// endReplaced ends the records of those that this document replaces. One of them may have been in another worker's hands when
// this document inherited, and its citizen was told meanwhile: that is inherited now, from the ended record again after a crash.
func (r *Relay) endReplaced(ctx context.Context, c *claimed, doc fhir.Document) (*outcome, error) {
	rec := c.Record
	for _, key := range c.LedTo {
		old, ended, err := r.endOne(ctx, c.Source, key)
		switch {
		case err != nil:
			return nil, err
		case !ended:
			return c.waitFor(predecessorBusy), nil
		}
		rec = inherit(rec, &old, doc, c.Told.Publication == ledger.NoPublication)
	}
	c.Record = rec
	c.State = begin(rec.State, rec.Told.Publication != ledger.NoPublication)
	c.LedTo = nil
	return nil, nil
}

// endOne ends one record that is replaced, and gives it as it was; false where it is in other hands, or a person must say first
// whether its citizen was told.
func (r *Relay) endOne(ctx context.Context, source string, key ledger.Key) (old ledger.Record, ended bool, err error) {
	known, _, err := r.Ledger.Lookup(ctx, key)
	if err != nil || (known.State == ledger.Held && known.Reason == reasonUncertain) {
		return ledger.Record{}, false, err
	}
	old, seized, err := r.Ledger.Seize(ctx, source, key)
	if err != nil || seized != ledger.Taken {
		return ledger.Record{}, seized == ledger.Unknown, err
	}
	o := happen(because(calm(startOf(old)), "replaced", old.Now), TakenOver, ledger.Next{})
	settled, err := r.Ledger.Settle(ctx, []ledger.Settlement{o.settlement()})
	if err != nil {
		return old, false, err
	}
	return old, settled[0] == ledger.Written, nil
}

// handOver is for a report that its server merged into another one: that one inherits, also where it does not say itself
// what it replaces.
func (r *Relay) handOver(ctx context.Context, c *claimed, doc fhir.Document) error {
	key := r.Ledger.DocumentKey(c.Source, doc.ReplacedBy)
	if known, _, err := r.Ledger.Lookup(ctx, key); err != nil || known.State == ledger.Replaced {
		return err // it is over itself: its own successor speaks for both, or a person
	}
	// It settles for a moment: another worker that takes it before us would tell its citizen again.
	hint := ledger.Hint{Key: key, Source: c.Source, Locator: doc.ReplacedBy, State: ledger.Pending, Settle: 5 * time.Second}
	if _, err := r.Ledger.Admit(ctx, []ledger.Hint{hint}); err != nil {
		return err
	}
	heir, seized, err := r.Ledger.Seize(ctx, c.Source, key)
	if err != nil || seized != ledger.Taken {
		return err // it is in other hands: the next look tries again
	}
	if heir.State == ledger.Held && heir.Reason == reasonUncertain {
		return nil // it stays held: a person must say whether its citizen was told
	}
	heir = startOf(heir)
	if !slices.Contains(heir.LedTo, c.Key) {
		heir.LedTo = append(heir.LedTo, c.Key)
	}
	heir = inherit(heir, &c.Record, doc, heir.Told.Publication == ledger.NoPublication)
	o := happen(heir, Inherited, ledger.Next{Due: heir.Now})
	_, err = r.Ledger.Settle(ctx, []ledger.Settlement{o.settlement()})
	return err
}
