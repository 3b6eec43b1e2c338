package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/notifier"
)

// A record whose last claim was never settled is a suspect: its steps are counted before they begin, one suspect at a time,
// so that what crashes a process is told from what only was there. The third crash is poison.
const crashesUntilPoison = 2 // counted ones: the first was not

// startOf is the record as a step begins with it (see begin).
func startOf(rec ledger.Record) ledger.Record {
	rec.HiddenAt = hiddenAt(&rec)
	rec.State = begin(rec.State, rec.Told.Publication != ledger.NoPublication)
	if rec.State == ledger.Sending {
		rec.Told.Uncertain = true // whoever wrote it may have sent
	}
	if rec.State != ledger.Sending && rec.State != ledger.Sent {
		rec = noLongerSending(rec)
	}
	return rec
}

// hiddenAt is when a document was last seen hidden: a finished record remembers only since when it rests.
func hiddenAt(rec *ledger.Record) time.Time {
	if rec.State == ledger.Suppressed && rec.Reason == policy.HiddenFromCitizen && rec.HiddenAt.IsZero() {
		return rec.Since
	}
	return rec.HiddenAt
}

// step takes one claimed record one step further, with at most one outside effect.
func (r *Relay) step(ctx context.Context, c claimed) outcome {
	c.Record = startOf(c.Record)
	source, known := r.Sources[c.Source]
	switch {
	case c.Begun >= crashesUntilPoison:
		return happen(because(c.Record, "poison", c.now()), CrashedTooOften, ledger.Next{})
	case c.Tracking && c.State == ledger.Sent:
		return r.track(ctx, c)
	case c.State == ledger.Replaced:
		return r.Timetable.ends(c.Record, NothingOwed, c.now())
	case !known:
		return holdFor(c.Record, "source-not-configured")
	case c.State == ledger.Find:
		return r.find(ctx, c, source)
	}
	return r.look(ctx, c, source)
}

// find asks the source for the documents behind a hint.
func (r *Relay) find(ctx context.Context, c claimed, source Source) outcome {
	asked := time.Now()
	found, err := source.Find(ctx, c.Locator)
	if err != nil {
		return r.sourceTrouble(ctx, c, err)
	}
	r.sourceAnswered(c, asked)
	if found.Order != 0 || len(found.Documents) > 0 { // what leads nowhere is known again, too: sweeps see it each time
		c.ReadOrder, c.ReadVersion = found.Order, r.Ledger.VersionTag(found.Version)
	}
	switch {
	case found.Ambiguous:
		return holdFor(c.Record, "ambiguous-document")
	case len(found.Documents) > 0:
		c.LedTo = nil
		return r.led(c, found.Documents)
	case len(c.LedTo) > 0:
		return r.led(c, nil) // it belonged to a document that we know: that one is looked at, through what was hinted
	}
	return r.foundNothing(c, found.Standing)
}

// led ends a find record: its documents are admitted, and later hints on their members lead there.
func (r *Relay) led(c claimed, documents []fhir.Document) outcome {
	rec := calm(because(c.Record, "", c.now()))
	o, settle := outcome{}, settleLeft(c, r.Sources[c.Source].Settle)
	for _, key := range rec.LedTo {
		// The hinted version belongs to a member, not to the document: it says «look», no more.
		o.admit = append(o.admit, ledger.Hint{
			Key: key, Source: c.Source, Locator: c.Locator, State: ledger.Pending, Settle: settle,
		})
	}
	for _, doc := range documents {
		key := r.Ledger.DocumentKey(c.Source, doc.Locator)
		rec.LedTo = append(rec.LedTo, key)
		o.admit = append(o.admit, ledger.Hint{
			// Of unknown order: a find sees less of a document than a look, and must not say what a look has to find.
			Key: key, Source: c.Source, Locator: doc.Locator, Found: true, State: ledger.Pending, Settle: settle,
		})
		o.aliases = append(o.aliases, r.aliases(c, doc.Members, key)...)
	}
	moved := happen(rec, Led, ledger.Next{})
	moved.admit, moved.aliases = o.admit, o.aliases
	return moved
}

// settleLeft is what is left of the settle time for a document that was just found: it counts from its hint, or from when a sweep
// saw that it was published. A document that had to be waited for is younger than that.
func settleLeft(c claimed, settle time.Duration) time.Duration {
	if c.Attempts > 0 || c.HintAt.IsZero() {
		return settle
	}
	return min(settle, max(0, settle-c.Now.Sub(c.HintAt)))
}

// aliases remember for each member of a document where its hints lead. Also for the one whose hint we follow: it may be gone when
// it is followed once more, where we end before that is written.
func (r *Relay) aliases(c claimed, members []fhir.Locator, document ledger.Key) []ledger.Alias {
	var aliases []ledger.Alias
	for _, member := range members {
		if key := r.Ledger.FindKey(c.Source, member.Type, member.ID); key != document {
			aliases = append(aliases, ledger.Alias{Key: key, Document: document})
		}
	}
	return aliases
}

// lateAliases are those of the members that no find saw: where the source shows something new, or nobody was told yet.
func (r *Relay) lateAliases(c claimed, doc fhir.Document) []ledger.Alias {
	if doc.Order != 0 && doc.Order == c.ReadOrder && c.Told.Publication != ledger.NoPublication {
		return nil
	}
	return r.aliases(c, doc.Late, c.Key)
}

// foundNothing waits for a document that may not be written yet, for as long as a 404 is not believed.
func (r *Relay) foundNothing(c claimed, standing fhir.Standing) outcome {
	now, rec := c.now(), calm(c.Record)
	if standing == fhir.Gone {
		return happen(because(rec, "gone", now), LedNowhere, ledger.Next{})
	}
	reason := "no-document"
	if standing == fhir.Missing {
		reason = "missing"
	}
	rec = because(rec, reason, now)
	if now.Sub(rec.Since) < r.Timetable.BelieveMissing {
		rec.Attempts = c.Attempts + 1
		return happen(rec, NotYet, ledger.Next{Due: now.Add(pauseAfter(rec.Attempts)), Wait: ledger.WaitSource})
	}
	if standing == fhir.Missing {
		return happen(rec, LedNowhere, ledger.Next{})
	}
	return happen(rec, DecidedHold, ledger.Next{})
}

// look asks how the document stands now, lets policy decide, and follows its word.
func (r *Relay) look(ctx context.Context, c claimed, source Source) outcome {
	if c.State == ledger.Sending {
		unclear, held := r.unclearClaim(ctx, c)
		if held != nil {
			return *held
		}
		c = unclear
	}
	read := source.Read
	if slices.Contains(c.Released, string(ledger.WithdrawnPub)) {
		read = source.ReadWithPerson
	}
	asked := time.Now()
	doc, err := read(ctx, c.Locator)
	if err != nil {
		return r.sourceTrouble(ctx, c, err)
	}
	r.sourceAnswered(c, asked)
	doc = r.ownDocument(c, doc)
	if behind := r.behindItsHint(c, doc); behind != nil {
		return *behind
	}
	late := r.lateAliases(c, doc)
	c.edition = r.Ledger.EditionTag(doc.Edition)
	c.Record = judge(asRead(c.Record, doc, r.Ledger.VersionTag(doc.Version)), c.edition)
	if o, err := r.takeOver(ctx, &c, doc); o != nil || err != nil {
		return r.orGivenBack(ctx, c, o, err)
	}
	if doc.ReplacedBy != (fhir.Locator{}) {
		if err := r.handOver(ctx, &c, doc); err != nil {
			return r.orGivenBack(ctx, c, nil, err)
		}
	}
	decision, err := r.decide(ctx, c, source, doc)
	if err != nil {
		return r.sourceTrouble(ctx, c, err)
	}
	r.Metrics.decided(c.Source, decision)
	o := r.Timetable.afterDecision(c.Record, decision, c.now())
	o.aliases = late
	if o.record.State == ledger.Held {
		o.record.Judged = c.edition // who releases it has seen this one
	}
	if o.happened != AboutToSend {
		return o
	}
	o = r.send(ctx, c, doc, ledger.Publication(decision.Publication))
	o.aliases = late
	return o
}

// ownDocument is what was read, or that it is gone: all that was left of it may have been a member that belongs to another
// document by now, which has a record of its own.
func (r *Relay) ownDocument(c claimed, doc fhir.Document) fhir.Document {
	whole := !doc.Shape.OfCompositions() || c.Locator.Type == "Composition" || c.Locator.Type == "Bundle"
	if whole || doc.Locator == c.Locator || r.Ledger.DocumentKey(c.Source, doc.Locator) == c.Key {
		return doc
	}
	return fhir.Document{Locator: c.Locator, Shape: doc.Shape, Standing: fhir.Gone}
}

// decide asks policy. Where it says yes, the gate looks with a citizen's eyes, where the source has such (reference fse.md,
// 4.1): publication is not visibility.
func (r *Relay) decide(ctx context.Context, c claimed, source Source, doc fhir.Document) (policy.Decision, error) {
	decision := r.Rules.Decide(r.question(c, doc, source.Rules))
	if decision.Action != policy.Notify || source.Gate == nil {
		return decision, nil
	}
	shown, err := source.Gate.Shows(ctx, doc.Locator)
	if err != nil || shown {
		return decision, err
	}
	doc.Visible = false
	return r.Rules.Decide(r.question(c, doc, source.Rules)), nil
}

// orGivenBack is an outcome, or the record as it was where Redis is in trouble.
func (r *Relay) orGivenBack(ctx context.Context, c claimed, o *outcome, err error) outcome {
	if err != nil {
		r.Log.WarnContext(ctx, "replacement not written", slog.String("record", c.Key.String()), slog.Any("error", err))
		return r.Timetable.givenBack(c.Record, c.now())
	}
	return *o
}

// behindItsHint is for a source that shows less than was hinted: it is asked again for a while before what it shows is
// believed, since a replica that lags may still show what has been withdrawn.
func (r *Relay) behindItsHint(c claimed, doc fhir.Document) *outcome {
	const reason = "behind-hint"
	if doc.Order == 0 || !less(doc.Order, max(c.HintedOrder, c.ReadOrder)) {
		return nil
	}
	now := c.now()
	rec := because(c.Record, reason, now)
	if now.Sub(rec.Since) >= r.Timetable.BelieveMissing {
		return nil
	}
	rec.Attempts = c.Attempts + 1
	o := happen(rec, NotYet, r.Timetable.later(rec, now.Add(pauseAfter(rec.Attempts)), ledger.WaitSource, now))
	return &o
}

// less compares orders; a source that keeps whole seconds is not behind a hint of the same second.
func less(read, hinted int64) bool {
	if read%1000 == 0 {
		hinted -= hinted % 1000
	}
	return read < hinted
}

// asRead notes what was read: from now on hints are judged against it.
func asRead(rec ledger.Record, doc fhir.Document, version ledger.Tag) ledger.Record {
	if doc.Order != 0 {
		rec.ReadOrder, rec.ReadVersion = doc.Order, version
	}
	rec.HintedOrder = 0
	return rec
}

// question puts together all that policy decides upon.
func (r *Relay) question(c claimed, doc fhir.Document, rules policy.SourceRules) policy.Question {
	told := c.Told
	reason, since := c.waiting()
	return policy.Question{
		Document: doc, Source: rules,
		Told: policy.Told{
			Any:         told.Publication != ledger.NoPublication,
			SameEdition: told.Edition == c.edition,
			SamePerson:  told.Person == r.Ledger.PersonTag(doc.Person.Code),
			Withdrawn:   told.Publication == ledger.WithdrawnPub,
		},
		HiddenAt: c.HiddenAt, WaitingFor: reason, WaitingSince: since, Waits: c.Attempts, Now: c.now(), Released: c.Released,
		HeardAt: c.HintAt,
	}
}

// waiting is what the record waits for, and since when; nothing when it has other trouble.
func (c *claimed) waiting() (reason string, since time.Time) {
	if !c.Trouble.IsZero() {
		return "", time.Time{}
	}
	return c.Reason, c.Since
}

// sourceTrouble notes what an error says of the whole source, and what it means for the record.
func (r *Relay) sourceTrouble(ctx context.Context, c claimed, err error) outcome {
	trouble := &fhir.Trouble{Kind: fhir.Unavailable}
	if !errors.As(err, &trouble) && ctx.Err() != nil {
		return r.Timetable.givenBack(c.Record, c.now()) // our own shutdown is nobody's trouble
	}
	r.gates.trouble(ctx, c.Source, trouble)
	r.Log.WarnContext(ctx, "source in trouble", slog.String("record", c.Key.String()), slog.String("source", c.Source),
		slog.Any("error", err))
	return r.Timetable.afterTrouble(c.Record, trouble, c.now())
}

// sourceAnswered notes that a source was asked since then, and has answered.
func (r *Relay) sourceAnswered(c claimed, since time.Time) {
	r.gates.well(c.Source)
	r.gates.windows.answered(c.Source, time.Since(since), r.Sources[c.Source].Timeout)
}

// heard counts an answer of IO, and what was asked in vain before it, and notes what it says of all of IO.
func (r *Relay) heard(ctx context.Context, call string, answer notifier.Answer, purpose class) {
	if answer.InVain > 0 {
		r.budget.made(answer.InVain, purpose)
		r.Metrics.calls.WithLabelValues(call, string(notifier.KeyRefused)).Add(float64(answer.InVain))
	}
	r.Metrics.calls.WithLabelValues(call, string(answer.Kind)).Inc()
	r.gates.answered(ctx, answer)
}

// tell writes the one log line for what happened to a document.
func (r *Relay) tell(ctx context.Context, c *claimed, o *outcome) {
	rec := &o.record
	sent := o.happened == Created || (o.happened == DeliveredByIO && !c.Tracking)
	age := rec.Told.At.Sub(rec.HintAt)
	if sent {
		r.Metrics.delay.Observe(age.Seconds())
	}
	level, message := slog.LevelInfo, "document looked at"
	switch {
	case rec.State == ledger.Held:
		level, message = slog.LevelError, "record held"
	case sent:
		message = "message sent"
	case o.happened == Unclear:
		level, message = slog.LevelWarn, "send uncertain"
	case o.happened == Led, o.happened == GivenBack, o.happened == StillOnItsWay, o.happened == NotYet:
		level = slog.LevelDebug
	}
	if !r.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("record", rec.Key.String()), slog.String("source", rec.Source),
		slog.String("happened", string(o.happened)), slog.String("state", string(rec.State)),
	}
	switch {
	case rec.State == ledger.Held:
		attrs = append(attrs, slog.String("held_reason", rec.Reason))
	case sent:
		attrs = append(attrs, slog.String("message_id", rec.Told.MessageID), slog.String("publication", string(rec.Told.Publication)),
			slog.Float64("since_hint_seconds", age.Seconds()))
	case rec.State == ledger.Unreachable && rec.Detail != "": // it rests, and then only its reason is known
		attrs = append(attrs, slog.String("reason", rec.Reason), slog.String("detail", rec.Detail))
	case rec.Reason != "":
		attrs = append(attrs, slog.String("reason", rec.Reason))
	}
	r.Log.LogAttrs(ctx, level, message, attrs...) //nolint:sloglint // one of the constants above
}
