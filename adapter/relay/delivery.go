package relay

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/notifier"
)

// track asks IO how the delivery stands.
func (r *Relay) track(ctx context.Context, c claimed) outcome {
	answer, waits := r.delivery(ctx, c)
	if waits != nil {
		return *waits
	}
	o := r.Timetable.afterStatus(c.Record, answer, c.now())
	if o.happened == FailedByIO || o.happened == RejectedByIO {
		return r.lapse(ctx, c, o)
	}
	return o
}

// delivery is IO's answer; an outcome says that there is none now.
func (r *Relay) delivery(ctx context.Context, c claimed) (notifier.Answer, *outcome) {
	if r.OneMessage == 0 {
		return r.askIO(ctx, c)
	}
	mine, known, err := r.Ledger.Ask(ctx, c.Record)
	switch {
	case err != nil:
		o := r.Timetable.givenBack(c.Record, c.now())
		return notifier.Answer{}, &o
	case known.Status != "":
		return notifier.Answer{Kind: notifier.StatusKnown, Status: known.Status, ReadStatus: known.ReadStatus}, nil
	case !mine: // another document shares the message, and its record asks for this one, too
		o := r.Timetable.pollAgain(c.Record, "no-final-status", c.now())
		return notifier.Answer{}, &o
	}
	answer, waits := r.askIO(ctx, c)
	if waits == nil && answer.Kind == notifier.StatusKnown {
		r.answered(ctx, c, answer)
	}
	return answer, waits
}

// askIO makes the call.
func (r *Relay) askIO(ctx context.Context, c claimed) (notifier.Answer, *outcome) {
	later := func() *outcome {
		o := happen(c.Record, StillOnItsWay, ledger.Next{Track: c.now(), Wait: ledger.WaitDelivery})
		return &o
	}
	if r.budget.take(ctx, 1, forPolls, r.Lease/2) != granted {
		return notifier.Answer{}, later()
	}
	answer := r.IO.Status(ctx, c.Recipient, c.Told.MessageID)
	if ctx.Err() != nil {
		return answer, later()
	}
	r.heard(ctx, "status", answer, forPolls)
	if read := readStatus(answer.ReadStatus); read != "" && answer.Status == processed {
		r.Metrics.read.WithLabelValues(strings.ToLower(read)).Inc()
	}
	return answer, nil
}

// keptLonger is for how long a final status is kept beyond the time in which its message covers documents: the last of them
// asks by then.
const keptLonger = time.Hour

// answered keeps what IO said for the other documents that share the message.
func (r *Relay) answered(ctx context.Context, c claimed, answer notifier.Answer) {
	said, during := ledger.Delivery{}, r.Timetable.pollGap(c.Polls+1)/2 // this record asks again by then
	switch answer.Status {
	case processed, rejected, failed:
		said = ledger.Delivery{Status: answer.Status, ReadStatus: readStatus(answer.ReadStatus)}
		during = r.OneMessage + keptLonger
	}
	if err := r.Ledger.Answered(context.WithoutCancel(ctx), c.Record, said, during); err != nil { // the others ask by themselves
		r.Log.WarnContext(ctx, "status not shared", slog.String("record", c.Key.String()), slog.Any("error", err))
	}
}

// lapse ends that a message covers documents which was not delivered: none is told by it, and least of all its own.
func (r *Relay) lapse(ctx context.Context, c claimed, o outcome) outcome {
	if r.OneMessage == 0 || c.Told.Publication != ledger.Published {
		return o
	}
	if err := r.Ledger.Lapse(context.WithoutCancel(ctx), c.Record); err != nil {
		return r.Timetable.givenBack(c.Record, c.now())
	}
	return o
}
