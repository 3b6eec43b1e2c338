package desk

import (
	"context"
	"slices"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

// The events of what a person does, as the journal has them.
const (
	released  = "released"
	retried   = "retried"
	forgotten = "forgotten"
)

// uncertain is the reason of a record of which nobody knows whether its message reached IO.
const uncertain = "uncertain"

// Order is what a person wants done, who that is, and why.
type Order struct {
	By         ledger.By
	EvenHidden bool // also what the citizen's portal hides from them: they will be sent to an empty page
}

// ordered finds the record of an order that may stand in the journal.
func (d *Desk) ordered(ctx context.Context, name Name, o Order) (named, error) {
	if err := CheckBy(o.By); err != nil {
		return named{}, err
	}
	return d.find(ctx, name)
}

// Release lets a person's yes have its effect: what is held or suppressed by a rule that a person may override is looked at
// again without that rule, and anything else that waits for a person is looked at again.
func (d *Desk) Release(ctx context.Context, name Name, o Order) (ledger.Record, error) {
	n, err := d.ordered(ctx, name, o)
	if err != nil {
		return n.rec, err
	}
	return n.rec, d.release(ctx, n, o)
}

func (d *Desk) release(ctx context.Context, n named, o Order) error {
	rec := n.rec
	kind := policy.ReleaseOf(rec.Reason)
	if err := d.allows(&rec, kind, o); err != nil {
		return err
	}
	if kind == policy.LooksAgain && rec.State == ledger.Held {
		return d.letGo(ctx, rec, released, o.By)
	}
	return d.change(ctx, n, released, o.By, func(rec ledger.Record) ledger.Record {
		if kind != policy.LooksAgain && !slices.Contains(rec.Released, n.rec.Reason) {
			rec.Released = append(rec.Released, n.rec.Reason)
		}
		return rec
	})
}

// allows says whether a person may release this.
func (d *Desk) allows(rec *ledger.Record, kind policy.Release, o Order) error {
	switch {
	case !releasable(rec, kind):
		return refuse("it is %s: there is nothing to release", standing(rec))
	case d.Off:
		return refuse("io.mode is off: nothing would be sent")
	case kind == policy.Never:
		return refuse("%s cannot be released: it is put right at the source, and then looked at again (retry)", rec.Reason)
	case kind == policy.EvenHidden && !o.EvenHidden:
		return refuse("%s: the portal shows its citizen nothing, or a doctor must speak first; if that is over, say so (--even-hidden)", rec.Reason)
	}
	return nil
}

// releasable says whether a record has something that a release could change.
func releasable(rec *ledger.Record, kind policy.Release) bool {
	switch rec.State {
	case ledger.Held, ledger.Suppressed, ledger.Unreachable:
		return true
	case ledger.Pending: // e.g. a document that its citizen cannot open yet, as far as the source says
		return kind == policy.Overrides
	case ledger.Delivered, ledger.Rejected, ledger.Noted: // its correction was kept back
		return ledger.KeptBack(rec.Reason)
	case ledger.Find, ledger.FindEnded, ledger.Sending, ledger.Sent, ledger.Replaced:
	}
	return false
}

func standing(rec *ledger.Record) string {
	if rec.Reason == "" {
		return string(rec.State)
	}
	return string(rec.State) + " (" + rec.Reason + ")"
}

// Retry has a record looked at now, whatever it waits for.
func (d *Desk) Retry(ctx context.Context, name Name, o Order) (ledger.Record, error) {
	n, err := d.ordered(ctx, name, o)
	switch {
	case err != nil:
		return n.rec, err
	case n.rec.State == ledger.Held && n.rec.Reason == uncertain:
		return n.rec, refuse("its citizen may have been told: a release sends it, perhaps once more; forget ends it")
	case n.rec.State == ledger.Held:
		return n.rec, d.letGo(ctx, n.rec, retried, o.By)
	}
	return n.rec, d.change(ctx, n, retried, o.By, func(rec ledger.Record) ledger.Record { return rec })
}

// Forget ends a held record without telling anybody.
func (d *Desk) Forget(ctx context.Context, name Name, o Order) (ledger.Record, error) {
	n, err := d.ordered(ctx, name, o)
	if err != nil {
		return n.rec, err
	}
	if n.rec.State != ledger.Held {
		return n.rec, refuse("it is %s: only what is held can be forgotten", standing(&n.rec))
	}
	rec, err := d.take(ctx, n)
	if err != nil {
		return n.rec, err
	}
	if err := d.Ledger.Note(ctx, rec, forgotten, n.rec.Reason, o.By); err != nil {
		return n.rec, err
	}
	return n.rec, d.settle(ctx, d.forgotten(rec, n.rec.HeldFrom), ledger.Next{})
}

// forgotten is the end of a held record: what was told stays told, and what may have been told stays known to be uncertain.
func (d *Desk) forgotten(rec ledger.Record, from ledger.State) ledger.Record {
	if from == ledger.Sending && rec.Recipient != (fiscalcode.Code{}) {
		rec.Told = ledger.Told{
			Publication: rec.Publication, Edition: rec.Edition, At: rec.Now, Person: d.Ledger.PersonTag(rec.Recipient), Uncertain: true,
		}
	}
	switch {
	case from == ledger.Find:
		rec.State = ledger.FindEnded
	case rec.Told.Publication != ledger.NoPublication:
		rec.State = ledger.Delivered
	default:
		rec.State = ledger.Suppressed
	}
	rec.Reason, rec.Since, rec.Recipient = forgotten, rec.Now, fiscalcode.Code{}
	return rec
}

// letGo lets a held record go on with what it was about.
func (d *Desk) letGo(ctx context.Context, rec ledger.Record, event string, by ledger.By) error {
	went, err := d.Ledger.Release(ctx, rec.Key, event, by)
	if err == nil && !went {
		return ErrBusy
	}
	return err
}

// change has a record looked at now, after a change.
func (d *Desk) change(ctx context.Context, n named, event string, by ledger.By, how func(ledger.Record) ledger.Record) error {
	rec, err := d.take(ctx, n)
	if err != nil {
		return err
	}
	if err := d.Ledger.Note(ctx, rec, event, n.rec.Reason, by); err != nil {
		return err
	}
	rec = how(rec)
	switch rec.State { //nolint:exhaustive // all others go on as they are
	case ledger.Held, ledger.Suppressed, ledger.Unreachable:
		if rec.Reason == policy.HiddenFromCitizen && rec.HiddenAt.IsZero() {
			rec.HiddenAt = rec.Since // a record that rests remembers only since when
		}
		rec.State = ledger.Pending
	}
	rec.Attempts, rec.Trouble = 0, time.Time{}
	return d.settle(ctx, rec, ledger.Next{Due: rec.Now})
}

// take leases a record, whether it is due, held or rests. What is held stays so until it is settled.
func (d *Desk) take(ctx context.Context, n named) (ledger.Record, error) {
	if n.rec.Source == "" {
		return n.rec, refuse("it rests, and has forgotten where its document is: name it by its source and Type/id")
	}
	rec, seized, err := d.Ledger.Reopen(ctx, n.rec.Source, n.rec.Key, n.locator)
	switch {
	case err != nil:
		return rec, err
	case seized == ledger.Unknown:
		return rec, ErrUnknown
	case seized == ledger.Busy:
		return rec, ErrBusy
	case rec.Reason != n.rec.Reason:
		// Somebody else was quicker: what is leased waits for the end of the lease, and stays as it is.
		return rec, refuse("it has changed in the meantime: look at it again")
	}
	if rec.Locator == (fhir.Locator{}) {
		return rec, refuse("it has forgotten where its document is: name it by its source and Type/id")
	}
	return rec, nil
}

func (d *Desk) settle(ctx context.Context, rec ledger.Record, next ledger.Next) error {
	settled, err := d.Ledger.Settle(ctx, []ledger.Settlement{{Record: rec, Next: next}}) // the journal has it already
	if err == nil && settled[0] == ledger.StaleToken {
		return ErrBusy
	}
	return err
}

// Done is what became of a release of many.
type Done struct {
	Released int
	Refused  map[string]int // by why
}

// ReleaseAll releases all that is held for a reason, and all that io.mode kept back by it (io-off, not-in-test). With dry it
// only counts. What is hidden from its citizen is released one by one only.
func (d *Desk) ReleaseAll(ctx context.Context, f Filter, o Order, dry bool) (Done, error) {
	done := Done{Refused: map[string]int{}}
	if err := CheckBy(o.By); err != nil {
		return done, err
	}
	o.EvenHidden = false
	held, err := d.Held(ctx, f)
	if err != nil {
		return done, err
	}
	for _, rec := range held {
		if err := d.releaseOne(ctx, named{rec: rec}, o, dry, &done); err != nil {
			return done, err
		}
	}
	if !ledger.KeptBack(f.Reason) {
		return done, nil
	}
	return done, d.Ledger.WalkKept(ctx, func(rec ledger.Record) error {
		if rec.Source = d.sourceOf(&rec); !f.takes(&rec) {
			return nil
		}
		return d.releaseOne(ctx, named{rec: rec, locator: rec.Locator}, o, dry, &done)
	})
}

func (d *Desk) releaseOne(ctx context.Context, n named, o Order, dry bool, done *Done) error {
	err := d.allows(&n.rec, policy.ReleaseOf(n.rec.Reason), o)
	if err == nil && n.rec.Source == "" {
		err = refuse("its source is not configured any more")
	}
	if err == nil && !dry {
		err = d.release(ctx, n, o)
	}
	if err == nil {
		done.Released++
		return nil
	}
	if reason, is := asRefusal(err); is {
		done.Refused[reason]++
		return nil
	}
	return err
}

// sourceOf is the source that a record's key was made from; "" where none of those configured.
func (d *Desk) sourceOf(rec *ledger.Record) string {
	for name := range d.Sources {
		if d.Ledger.DocumentKey(name, rec.Locator) == rec.Key {
			return name
		}
	}
	return ""
}
