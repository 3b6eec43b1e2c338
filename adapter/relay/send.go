package relay

import (
	"context"
	"log/slog"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	"staffetta/notifier"
)

// callsPerMessage is what a message costs before its delivery is followed: profile and message.
const callsPerMessage = 2

// send asks whether the citizen may be written to, writes `sending`, and posts the message.
func (r *Relay) send(ctx context.Context, c claimed, doc fhir.Document, publication ledger.Publication) outcome {
	resend := c.State == ledger.Sending
	if resend && c.Recipient != doc.Person.Code {
		return r.Timetable.silentAfterUnclear(c.Record, c.now()) // a resend goes to exactly that person, or to nobody
	}
	if !r.coverable(c, publication) {
		return r.announce(ctx, c, doc, publication)
	}
	if covered := r.cover(ctx, c, doc); covered != nil {
		return *covered
	}
	o := r.announce(ctx, c, doc, publication)
	r.uncover(ctx, c, doc, o)
	return o
}

// announce takes what a message costs from the budget and goes on; what was not sent in the end is given back.
func (r *Relay) announce(ctx context.Context, c claimed, doc fhir.Document, publication ledger.Publication) outcome {
	got, today := r.budget.takeOf(ctx, callsPerMessage, forMessages, r.Lease/2)
	switch got {
	case notInTime:
		return r.Timetable.givenBack(c.Record, c.now())
	case tomorrow:
		return r.Timetable.capped(c.Record, dayOf(c.now()).ends, c.now())
	case granted:
	}
	languages, refused := r.askProfile(ctx, c, doc)
	if refused != nil {
		r.budget.notPosted(today, 1)
		return *refused
	}
	sending, msg, err := r.compose(c, doc, publication, languages)
	if err != nil {
		r.budget.notPosted(today, 1)
		return holdFor(c.Record, "message-not-composed")
	}
	c.last.Wait() // no more records than slots are ever in sending
	// That may have taken a while, and what is begun after we were asked to stop would not be heard to the end.
	if ctx.Err() != nil || !r.writeSending(ctx, sending) {
		r.budget.notPosted(today, 1)
		return r.Timetable.givenBack(c.Record, c.now())
	}
	answer := r.IO.Send(c.posting, msg) //nolint:contextcheck // it outlives the step's: what IO says of a message is heard
	if answer.Kind != notifier.Created && answer.Kind != notifier.Unclear {
		r.budget.notPosted(today, 0)
	}
	r.heard(ctx, "message", answer, forMessages)
	r.Metrics.sent(c.Source, sending.Publication, answer)
	o := r.Timetable.afterSend(sending, answer, r.Ledger.PersonTag(sending.Recipient), c.now())
	o.referenced = r.Composer.WantsReference() && answer.Kind == notifier.Created
	o.released, o.releasedFor = sending.Released, sending.Edition
	return o
}

// How long a POST in flight may go on when the process is asked to stop, and how long outcomes may be tried to be written:
// both within the 10 s of a graceful shutdown. A POST that is cut is uncertain, and known to be.
const (
	postAtShutdown   = 4 * time.Second
	settleAtShutdown = 5 * time.Second
)

// Beyond is ctx, ending later than ctx by the grace.
func Beyond(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// askProfile asks right before each send whether the citizen may be written to, and in which languages; no outcome says yes.
func (r *Relay) askProfile(ctx context.Context, c claimed, doc fhir.Document) ([]string, *outcome) {
	answer := r.IO.Profile(ctx, doc.Person.Code)
	if ctx.Err() != nil { // our own shutdown is nobody's trouble
		o := r.Timetable.givenBack(c.Record, c.now())
		return nil, &o
	}
	r.heard(ctx, "profile", answer, forMessages)
	o := r.Timetable.afterProfile(c.Record, answer, c.now())
	if o.happened == AboutToSend {
		return answer.Languages, nil
	}
	refused := o // o itself stays where it is cheap
	return nil, &refused
}

// compose is the record as it goes into `sending`, with its message in the citizen's language.
func (r *Relay) compose(
	c claimed, doc fhir.Document, publication ledger.Publication, languages []string,
) (ledger.Record, notifier.Message, error) {
	rec := c.Record
	if rec.State != ledger.Sending {
		rec.Told.Uncertain = false // what was unclear about an earlier publication says nothing of this one
		rec.Publication, rec.Recipient = publication, doc.Person.Code
	}
	rec.Edition = c.edition // a resend, too, announces what is there now
	attempts := rec.Attempts
	rec = because(rec, "", c.now())
	rec.Attempts = attempts
	o := happen(rec, AboutToSend, ledger.Next{Keep: true})
	notice := notifier.Notice{Publication: string(o.record.Publication), Recipient: o.record.Recipient, Languages: languages}
	if r.Composer.WantsReference() {
		notice.Reference = r.Ledger.Reference(ledger.Reference{
			Document: o.record.Key, Person: r.Ledger.PersonTag(o.record.Recipient), Edition: o.record.Edition,
			Publication: o.record.Publication, Language: r.Composer.Language(languages),
		})
	}
	msg, err := r.Composer.Compose(notice)
	return o.record, msg, err
}

// writeSending makes it known, durably, that a POST may follow. Where it cannot be written, or another claim took over,
// or a person has paused all sending, nothing is posted.
func (r *Relay) writeSending(ctx context.Context, rec ledger.Record) bool {
	if r.gates.paused() {
		return false
	}
	settled, err := r.Ledger.Settle(ctx, []ledger.Settlement{{
		Record: rec, Next: ledger.Next{Keep: true}, Event: string(AboutToSend), Referenced: r.Composer.WantsReference(),
		Released: rec.Released, ReleasedFor: rec.Edition,
	}})
	if err != nil {
		r.Log.WarnContext(ctx, "sending not written", slog.String("record", rec.Key.String()), slog.Any("error", err))
		return false
	}
	return settled[0] == ledger.Written
}

// unclearClaim is a record claimed in `sending`: the process that wrote it may have sent, and we do not know.
func (r *Relay) unclearClaim(ctx context.Context, c claimed) (claimed, *outcome) {
	if c.Reason != "" {
		return c, nil // known already: it waits, or a person released it
	}
	r.Metrics.uncertain.Inc()
	r.Log.WarnContext(ctx, "send uncertain", slog.String("record", c.Key.String()), slog.String("source", c.Source))
	c.Record = because(c.Record, reasonUncertain, c.now())
	if r.Timetable.HoldUncertain {
		held := holdFor(c.Record, reasonUncertain)
		return c, &held
	}
	return c, nil
}
