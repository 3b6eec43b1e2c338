package relay

import (
	"math/rand/v2"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	"staffetta/notifier"
)

// Timetable is how long the relay waits for whom.
type Timetable struct {
	GiveUpAfter    time.Duration   // of transient trouble, then the record is held
	BelieveMissing time.Duration   // until a 404, a missing Composition or a source behind its own hint is believed
	Polls          []time.Duration // gaps before each status call; the last one repeats
	PollsEnd       time.Duration   // after the message; without a final status by then the record is held
	HoldUncertain  bool            // io.uncertain: hold
	Track          bool            // io.track
	PersonTag      func(fiscalcode.Code) ledger.Tag
}

// outcome is what a step learned, as the ledger shall write it.
type outcome struct {
	happened Happened
	record   ledger.Record
	next     ledger.Next
	admit    []ledger.Hint
	aliases  []ledger.Alias
	// referenced says that a message with a reference was sent.
	referenced bool
	// released is what a person had overridden for that message, releasedFor its edition.
	released    []string
	releasedFor ledger.Tag
}

// settlement is the outcome in the ledger's terms.
func (o *outcome) settlement() ledger.Settlement {
	return ledger.Settlement{
		Record: o.record, Next: o.next, Event: string(o.happened), Admit: o.admit, Aliases: o.aliases, Referenced: o.referenced,
		Released: o.released, ReleasedFor: o.releasedFor,
	}
}

// happen moves a record by the table. A transition that the table does not know is held.
func happen(rec ledger.Record, happened Happened, next ledger.Next) outcome {
	state, known := after(rec.State, happened)
	if !known {
		rec.Detail = string(rec.State) + " " + string(happened)
		return holdFor(rec, "impossible-transition")
	}
	if state == ledger.Held {
		return held(happened, rec)
	}
	rec.State = state
	return outcome{happened: happened, record: rec, next: next}
}

// holdFor asks for a person, from any state.
func holdFor(rec ledger.Record, reason string) outcome {
	return held(DecidedHold, because(rec, reason, rec.Now))
}

// held asks for a person. What only waits for its source looks by itself when the source has something new to say (design,
// section 4).
func held(happened Happened, rec ledger.Record) outcome {
	if rec.State == ledger.Sending && rec.Told.Uncertain && rec.Reason != reasonUncertain {
		rec.Detail, rec.Reason = rec.Reason, reasonUncertain // whatever stops it: the person may have been told
	}
	rec.State = ledger.Held
	rec = calm(rec) // once a person has acted, its troubles are counted anew
	next := ledger.Next{}
	if rec.Reason == "no-document" || rec.Reason == "not-visible" {
		next.Wait = ledger.WaitSource
	}
	return outcome{happened: happened, record: forgetful(rec), next: next}
}

// forgetful is a held record without its recipient, but where a resend would have to go to exactly that person.
func forgetful(rec ledger.Record) ledger.Record {
	if rec.Reason == reasonUncertain {
		return rec
	}
	return noRecipient(rec)
}

// because notes why the record is where it is; Since stays while the reason stays.
func because(rec ledger.Record, reason string, now time.Time) ledger.Record {
	if rec.Reason != reason || rec.Since.IsZero() {
		rec.Reason, rec.Since, rec.Attempts = reason, now, 0
	}
	return rec
}

// calm forgets the trouble that a record had: something went well.
func calm(rec ledger.Record) ledger.Record {
	rec.Attempts, rec.Trouble = 0, time.Time{}
	return rec
}

// judge keeps what a person has released to the edition that they looked at: of another one they know nothing.
func judge(rec ledger.Record, edition ledger.Tag) ledger.Record {
	if rec.Judged != (ledger.Tag{}) && rec.Judged != edition {
		rec.Released = nil
	}
	if rec.Judged = edition; len(rec.Released) == 0 {
		return unreleased(rec)
	}
	return rec
}

// unreleased forgets what a person has released: it was told, or nothing speaks against it.
func unreleased(rec ledger.Record) ledger.Record {
	rec.Released, rec.Judged = nil, ledger.Tag{}
	return rec
}

// rest is when a record that is not looked at any more needs attention: never, or for its delivery.
func (t Timetable) rest(rec ledger.Record, now time.Time) ledger.Next {
	if rec.State != ledger.Sent {
		return ledger.Next{}
	}
	return ledger.Next{Track: now.Add(t.pollGap(rec.Polls)), Wait: ledger.WaitDelivery}
}

// pollGap is the time before the status call after n calls.
func (t Timetable) pollGap(n int) time.Duration {
	return t.Polls[min(n, len(t.Polls)-1)]
}

// later is a time for the next look, keeping the delivery in sight.
func (t Timetable) later(rec ledger.Record, due time.Time, wait ledger.Wait, now time.Time) ledger.Next {
	next := t.rest(rec, now)
	next.Due, next.Wait = due, wait
	return next
}

// afterDecision is what policy's word means for the record. With Notify it says AboutToSend, and the caller goes on to IO.
func (t Timetable) afterDecision(rec ledger.Record, d policy.Decision, now time.Time) outcome {
	looks := 0 // in vain, for the same reason
	if rec.Trouble.IsZero() && rec.Reason == d.Reason {
		looks = rec.Attempts
	}
	rec = calm(rec)
	if d.Hidden {
		rec.HiddenAt = now
	}
	if rec.State == ledger.Sending && d.Action != policy.Notify && d.Action != policy.Wait && d.Action != policy.Defer {
		return t.silentAfterUnclear(rec, now)
	}
	rec = because(rec, d.Reason, now)
	rec.Detail = d.Detail
	if d.Hidden && d.Action != policy.Wait { // which counts from the first look
		rec.Since = now // a finished record remembers Since: last seen hidden, not first
	}
	switch d.Action {
	case policy.Notify:
		return happen(rec, AboutToSend, ledger.Next{Keep: true})
	case policy.Suppress:
		return t.ends(rec, DecidedSilence, now)
	case policy.Unreach:
		return t.ends(rec, NobodyToTell, now)
	case policy.Nothing:
		return t.ends(rec, NothingOwed, now)
	case policy.Note:
		return t.ends(rec, NotedGone, now)
	case policy.Wait:
		rec.Attempts = looks + 1
		return happen(rec, NotYet, t.later(rec, d.Until, ledger.WaitSource, now))
	case policy.Defer:
		return happen(rec, Deferred, t.later(rec, d.Until, ledger.WaitFixed, now))
	case policy.Hold:
		return happen(rec, DecidedHold, ledger.Next{})
	}
	return holdFor(rec, "unknown-decision")
}

// ends settles a record without a further look; a delivery that is followed goes on.
func (t Timetable) ends(rec ledger.Record, happened Happened, now time.Time) outcome {
	o := happen(rec, happened, ledger.Next{})
	o.next = t.rest(o.record, now)
	return o
}

// silentAfterUnclear is for a document that may have been announced and must not be announced now: whether we spoke is
// unknown, so a person is asked.
func (t Timetable) silentAfterUnclear(rec ledger.Record, now time.Time) outcome {
	rec.Told = t.toldUncertainly(rec, now)
	o := holdFor(rec, reasonUncertain)
	o.record = noRecipient(o.record) // a release believes that the person knows
	return o
}

// reasonUncertain names a record of whose POST we do not know whether it reached IO.
const reasonUncertain = "uncertain"

// toldUncertainly remembers that the person may know.
func (t Timetable) toldUncertainly(rec ledger.Record, now time.Time) ledger.Told {
	told := rec.Told
	if t.PersonTag != nil {
		told.Person = t.PersonTag(rec.Recipient)
	}
	told.Publication, told.Edition, told.At, told.Uncertain = rec.Publication, rec.Edition, now, true
	return told
}

// afterProfile is what IO's answer to POST /profiles means; Allowed goes on to the message.
func (t Timetable) afterProfile(rec ledger.Record, answer notifier.Answer, now time.Time) outcome {
	switch answer.Kind {
	case notifier.NotAllowed, notifier.NotOnIO, notifier.RecipientForbidden:
		if rec.State == ledger.Sending {
			return t.silentAfterUnclear(rec, now)
		}
		return t.ends(because(calm(rec), string(answer.Kind), now), NobodyToTell, now)
	case notifier.Refused:
		return holdFor(withDetail(rec, answer.Reason), "refused-by-io")
	case notifier.Throttled, notifier.KeyRefused, notifier.Forbidden:
		return t.givenBack(rec, now)
	case notifier.Unavailable, notifier.Unclear:
		return t.troubled(rec, "io-unavailable", now)
	case notifier.Allowed, notifier.Created, notifier.StatusKnown:
		return happen(rec, AboutToSend, ledger.Next{Keep: true})
	}
	return holdFor(rec, "unknown-answer")
}

// afterSend is what IO's answer to POST /messages means (reference io.md, table 2.6). rec is Sending.
func (t Timetable) afterSend(rec ledger.Record, answer notifier.Answer, person ledger.Tag, now time.Time) outcome {
	switch answer.Kind {
	case notifier.Created:
		return t.told(rec, answer, person, now)
	case notifier.Unclear:
		return t.unclear(rec, now)
	case notifier.RecipientForbidden, notifier.NotOnIO, notifier.NotAllowed:
		if rec.Told.Uncertain {
			return t.silentAfterUnclear(rec, now)
		}
		return t.ends(because(noLongerSending(rec), string(answer.Kind), now), NobodyToTell, now)
	case notifier.Refused:
		return holdFor(withDetail(rec, answer.Reason), "refused-by-io")
	case notifier.Throttled, notifier.KeyRefused, notifier.Forbidden:
		return t.notCreated(rec, ledger.Next{Due: now, Wait: ledger.WaitFixed})
	case notifier.Unavailable:
		o := t.troubled(rec, "io-unavailable", now)
		if o.record.State == ledger.Held {
			return o
		}
		return t.notCreated(o.record, o.next)
	case notifier.Allowed, notifier.StatusKnown:
	}
	return holdFor(rec, "unknown-answer")
}

// capped waits for the next day, since the messages of this one are sent. What is uncertain stays known to be.
func (t Timetable) capped(rec ledger.Record, ends, now time.Time) outcome {
	if rec.State != ledger.Sending {
		rec = because(calm(rec), policy.DailyCap, now)
	}
	return happen(rec, Deferred, t.later(rec, ends.Add(turnOf(ends.Sub(rec.HintAt))), ledger.WaitFixed, now))
}

// turnOf is when, in the first hour of a day, it is the turn of what waits for that long by then: what waits longest comes
// first, and everything after the day's first second.
func turnOf(waits time.Duration) time.Duration {
	const first, last, day = time.Second, time.Hour, 24 * time.Hour
	share := 1 / (1 + max(0, waits).Seconds()/day.Seconds())
	return first + time.Duration(share*float64(last-first))
}

// told is a record whose message IO has taken.
func (t Timetable) told(rec ledger.Record, answer notifier.Answer, person ledger.Tag, now time.Time) outcome {
	rec = unreleased(calm(rec))
	rec.Told = ledger.Told{
		Publication: rec.Publication, Edition: rec.Edition, At: now, MessageID: answer.MessageID, Person: person,
		Uncertain: rec.Told.Uncertain,
	}
	rec.Reason, rec.Detail, rec.Since, rec.Polls = "", "", now, 0
	if !t.Track || answer.MessageID == "" {
		rec.State = ledger.Sent
		return t.ends(noRecipient(rec), DeliveredByIO, now)
	}
	o := happen(rec, Created, ledger.Next{})
	o.next = t.rest(o.record, now)
	return o
}

// unclear is a POST of which we do not know whether IO took it.
func (t Timetable) unclear(rec ledger.Record, now time.Time) outcome {
	rec.Told.Uncertain = true
	if t.HoldUncertain {
		return holdFor(rec, reasonUncertain)
	}
	attempts := rec.Attempts
	rec = because(rec, reasonUncertain, now)
	rec.Attempts = attempts
	rec = withTrouble(rec, now)
	if now.Sub(rec.Trouble) > t.GiveUpAfter {
		return holdFor(rec, reasonUncertain)
	}
	return happen(rec, Unclear, ledger.Next{Due: now.Add(pauseAfter(rec.Attempts)), Wait: ledger.WaitFixed})
}

// notCreated goes back to looking at the document: IO certainly made nothing of this POST. Where an earlier POST of the
// same message stays unclear the record stays in sending, since a resend must go to exactly that person.
func (t Timetable) notCreated(rec ledger.Record, next ledger.Next) outcome {
	if rec.Told.Uncertain {
		return happen(because(rec, reasonUncertain, rec.Now), Unclear, next)
	}
	return happen(noLongerSending(rec), NotCreated, next)
}

// noLongerSending forgets the message that certainly was not created.
func noLongerSending(rec ledger.Record) ledger.Record {
	rec.Publication, rec.Edition = ledger.NoPublication, ledger.Tag{}
	return noRecipient(rec)
}

// afterStatus is what IO says of a message that it has. rec is Sent.
func (t Timetable) afterStatus(rec ledger.Record, answer notifier.Answer, now time.Time) outcome {
	switch answer.Kind {
	case notifier.StatusKnown:
		return t.afterStatusWord(rec, answer, now)
	case notifier.RecipientForbidden, notifier.Unavailable, notifier.Unclear:
		return t.pollAgain(rec, "no-final-status", now)
	case notifier.Throttled, notifier.KeyRefused, notifier.Forbidden:
		return happen(rec, StillOnItsWay, ledger.Next{Track: now.Add(t.pollGap(rec.Polls)), Wait: ledger.WaitDelivery})
	case notifier.Refused, notifier.NotOnIO, notifier.NotAllowed, notifier.Allowed, notifier.Created:
		return t.pollAgain(rec, "message-not-found", now)
	}
	return holdFor(rec, "unknown-answer")
}

// The final statuses (reference io.md, 2.4).
const processed, rejected, failed = "PROCESSED", "REJECTED", "FAILED"

// afterStatusWord reads IO's open list of statuses (reference io.md, 2.4).
func (t Timetable) afterStatusWord(rec ledger.Record, answer notifier.Answer, now time.Time) outcome {
	switch answer.Status {
	case processed:
		rec.Told.ReadStatus = readStatus(answer.ReadStatus)
		return t.ends(noRecipient(rec), DeliveredByIO, now)
	case rejected:
		return t.ends(because(noRecipient(rec), "rejected", now), RejectedByIO, now)
	case failed:
		rec = because(noRecipient(rec), "failed", now)
		rec.Told = unsaid(rec.Told)
		return happen(rec, FailedByIO, ledger.Next{})
	}
	return t.pollAgain(rec, "no-final-status", now)
}

// readStatus is what IO says of the reading, where it is one of its words (reference io.md, 2.4).
func readStatus(word string) string {
	switch word {
	case "READ", "UNREAD", "UNAVAILABLE":
		return word
	}
	return ""
}

// unsaid is what the citizen still knows where IO failed to deliver: a release announces it again.
func unsaid(told ledger.Told) ledger.Told {
	if told.Publication == ledger.Published || told.Publication == ledger.NoPublication {
		return ledger.Told{}
	}
	return ledger.Told{Publication: ledger.Published, At: told.At, Person: told.Person} // of no edition: any is an update
}

// pollAgain asks once more after a wider gap, and holds the record when IO never comes to an end.
func (t Timetable) pollAgain(rec ledger.Record, reason string, now time.Time) outcome {
	rec.Polls++
	if now.Sub(rec.Told.At) > t.PollsEnd {
		return happen(because(noRecipient(rec), reason, now), FailedByIO, ledger.Next{})
	}
	return happen(rec, StillOnItsWay, ledger.Next{Track: now.Add(t.pollGap(rec.Polls)), Wait: ledger.WaitDelivery})
}

// afterTrouble is what an error of a source means: with the whole source the record waits unharmed, else it backs off.
func (t Timetable) afterTrouble(rec ledger.Record, trouble *fhir.Trouble, now time.Time) outcome {
	switch trouble.Kind {
	case fhir.Unauthorized, fhir.Throttled:
		return t.givenBack(rec, now)
	case fhir.Unavailable, fhir.Unusable:
		return t.troubled(rec, "source-"+string(trouble.Kind), now)
	}
	return t.troubled(rec, "source-unusable", now)
}

// givenBack leaves the record as it was; the pause of its upstream decides when it is claimed again.
func (t Timetable) givenBack(rec ledger.Record, now time.Time) outcome {
	if rec.Tracking && rec.State == ledger.Sent {
		return happen(rec, StillOnItsWay, ledger.Next{Track: now, Wait: ledger.WaitDelivery})
	}
	return happen(rec, GivenBack, t.later(rec, now, ledger.WaitFixed, now))
}

// troubled backs off, up to GiveUpAfter.
func (t Timetable) troubled(rec ledger.Record, reason string, now time.Time) outcome {
	rec = withTrouble(rec, now)
	if now.Sub(rec.Trouble) > t.GiveUpAfter {
		return holdFor(rec, reason)
	}
	return happen(rec, Troubled, t.later(rec, now.Add(pauseAfter(rec.Attempts)), ledger.WaitFixed, now))
}

// withTrouble counts one more failed try.
func withTrouble(rec ledger.Record, now time.Time) ledger.Record {
	if rec.Trouble.IsZero() {
		rec.Trouble = now
	}
	rec.Attempts++
	return rec
}

// withDetail notes one more fixed word.
func withDetail(rec ledger.Record, detail string) ledger.Record {
	rec.Detail = detail
	return rec
}

// noRecipient drops the sealed codice fiscale: it is kept only until a final status.
func noRecipient(rec ledger.Record) ledger.Record {
	rec.Recipient = ledger.Record{}.Recipient
	return rec
}

// pauseAfter is the pause after n failed tries in a row: 5 s doubling to an hour, with half of it as jitter.
func pauseAfter(n int) time.Duration {
	const first, longest = 5 * time.Second, time.Hour
	pause := longest
	if n < 12 { // 5 s << 11 is more than the longest
		pause = min(longest, first<<max(n-1, 0))
	}
	return pause/2 + rand.N(pause/2+1)
}
