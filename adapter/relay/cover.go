package relay

import (
	"context"
	"log/slog"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// behindFirst is the reason of a document that waits for the message about another one of its citizen.
const behindFirst = "behind-first"

// behindFirstAgain is when a document looks again whether that message was sent.
const behindFirstAgain = time.Second

// coverable says whether the message about another document of the citizen may stand for this one: for what is new only, and
// never for what may have been sent already.
func (r *Relay) coverable(c claimed, publication ledger.Publication) bool {
	return r.OneMessage > 0 && publication == ledger.Published && c.State != ledger.Sending && c.Told.Publication == ledger.NoPublication
}

// cover asks whether the message about another document of the citizen stands for this one; nil says that this is the first.
func (r *Relay) cover(ctx context.Context, c claimed, doc fhir.Document) *outcome {
	covered, told, err := r.Ledger.Cover(ctx, c.Record, r.Ledger.PersonTag(doc.Person.Code), r.OneMessage)
	if err != nil {
		o := r.Timetable.givenBack(c.Record, c.now())
		return &o
	}
	switch covered {
	case ledger.First:
		return nil
	case ledger.ByFirst:
		rec := c.Record
		rec.Publication, rec.Edition, rec.Recipient = ledger.Published, c.edition, doc.Person.Code
		o := r.Timetable.coveredBy(rec, told, c.now())
		return &o
	case ledger.WaitFirst:
	}
	now := c.now()
	o := happen(because(c.Record, behindFirst, now), NotYet, ledger.Next{Due: now.Add(behindFirstAgain), Wait: ledger.WaitFixed})
	return &o
}

// uncover lets those go on that wait for this one: covered by its message, or on their own.
func (r *Relay) uncover(ctx context.Context, c claimed, doc fhir.Document, o outcome) {
	var told ledger.Told
	if o.happened == Created || o.happened == DeliveredByIO {
		told = o.record.Told
	}
	err := r.Ledger.Uncover(context.WithoutCancel(ctx), c.Record, r.Ledger.PersonTag(doc.Person.Code), told, r.OneMessage)
	if err != nil { // the others go on when they have waited long enough
		r.Log.WarnContext(ctx, "cover not written", slog.String("record", c.Key.String()), slog.Any("error", err))
	}
}

// coveredBy is a document that the message about another one stands for. It is followed as that one is: where the message
// fails, neither citizen's document was announced.
func (t Timetable) coveredBy(rec ledger.Record, first ledger.Told, now time.Time) outcome {
	rec = unreleased(calm(rec))
	first.Edition = rec.Edition
	rec.Told = first
	rec.Reason, rec.Detail, rec.Since, rec.Polls = "", "", now, 0
	o := happen(rec, Covered, ledger.Next{})
	if !t.Track || first.MessageID == "" {
		o = t.ends(noRecipient(o.record), DeliveredByIO, now)
		o.happened = Covered
		return o
	}
	o.next = t.rest(o.record, now)
	return o
}
