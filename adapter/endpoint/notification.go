package endpoint

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// exchange is one request on its way through the endpoint, for its answer and for the metrics.
type exchange struct {
	began  time.Time
	source string // unknown until authenticated
	named  string // the source of the path, also where the sender is not believed to be it; unknown where there is none
	kind   fhir.Kind
	doubt  doubt
	body   body
}

// notification receives one notification: authenticate, decode, admit, answer.
func (e *Endpoint) notification(c *gin.Context) {
	x := exchange{began: time.Now(), source: unknown, named: unknown, kind: unknown}
	defer e.recover(c, &x)
	name := c.Param("source")
	if e.senders.byName[name] != nil {
		x.named = name
	}
	sender, doubt := e.senders.authenticate(name, c.Request)
	if doubt != noDoubt {
		e.refuse(c, &x, e.turnAway(c, sender, &x, doubt))
		return
	}
	x.source = sender.name
	told, err := e.receive(c, sender, &x)
	if err == nil {
		x.kind = told.Kind
		err = e.admit(c.Request.Context(), sender, told)
	}
	if err != nil {
		e.refuse(c, &x, e.issueOf(c.Request.Context(), err))
		return
	}
	e.accept(c, &x, told.Bundle)
}

// turnAway is the answer to who is not believed, the same one for every doubt but those that are ours. Where some source
// proves itself by signature alone, a request with a signature is read to its end first, as that one's would be.
func (e *Endpoint) turnAway(c *gin.Context, stranger *sender, x *exchange, why doubt) *fhir.Issue {
	x.doubt = why
	if why == keysAway {
		return unavailable()
	}
	if len(stranger.secrets) > 0 && hasSignature(c.Request.Header) {
		_, err := e.receive(c, stranger, x)
		x.doubt = why
		return e.issueOf(c.Request.Context(), err)
	}
	return unauthenticated()
}

// receive decodes a request. Where its source signs, nothing is said of what is in it before the signature holds, and that
// is known only at its end.
func (e *Endpoint) receive(c *gin.Context, sender *sender, x *exchange) (fhir.Notification, error) {
	if len(sender.secrets) == 0 {
		return e.decode(c, sender, x)
	}
	x.body.signature = newSignature(c.Request.Header, sender.secrets)
	told, err := e.decode(c, sender, x)
	if issue := x.body.finish(); issue != nil {
		return told, issue
	}
	if !x.body.signature.holds() {
		x.source, x.doubt = unknown, signatureWrong
		return told, unauthenticated()
	}
	return told, err
}

// decode reads the request.
func (e *Endpoint) decode(c *gin.Context, sender *sender, x *exchange) (fhir.Notification, error) {
	header := c.Request.Header
	if issue := x.body.open(c.Writer, c.Request, e.limits.MaxBytes); issue != nil {
		return fhir.Notification{}, issue
	}
	defer x.body.close()
	told, err := fhir.DecodeNotification(fhir.NotificationRequest{
		Method:         c.Request.Method,
		PathType:       c.Param("type"),
		PathID:         c.Param("id"),
		ContentType:    header.Get("Content-Type"),
		MedplumDeleted: header.Get("X-Medplum-Deleted-Resource"),
		IfMatch:        header.Get("If-Match"),
		Body:           &x.body,
		Limits:         e.limits,
		Documents:      sender.shape.OfCompositions(),
	})
	if issue := x.body.trouble(); err != nil && issue != nil {
		return told, issue
	}
	return told, err
}

// admit writes the hints of one notification, all of them in one call. What it does not understand as a hint is counted:
// it is no reason for the sender to send again.
func (e *Endpoint) admit(ctx context.Context, sender *sender, told fhir.Notification) error {
	if told.CatchUp {
		if err := e.wantCatchUp(ctx, sender, told.Kind); err != nil {
			return err
		}
	}
	hints := e.hints(sender, told.Events)
	if len(hints) == 0 {
		e.heard(sender.name, told)
		return nil
	}
	admissions, err := e.ledger.Admit(ctx, hints)
	if err != nil {
		return err
	}
	e.heard(sender.name, told)
	if e.away.ended(ctx, e.log) {
		e.wantAfterOutage(ctx)
	}
	e.noteAdmissions(ctx, sender, hints, admissions)
	return nil
}

// wantCatchUp asks for a look through the source: the notification says that something changed, and not what. It is written
// before the notification is answered, as a hint is.
func (e *Endpoint) wantCatchUp(ctx context.Context, sender *sender, kind fhir.Kind) error {
	e.metrics.catchUp.WithLabelValues(sender.name).Inc()
	if err := e.ledger.WantCatchUp(ctx, sender.name, "unnamed"); err != nil {
		return err
	}
	e.wanted(sender.name)
	e.log.DebugContext(ctx, "notification names nothing that changed: its source is looked through",
		slog.String("source", sender.name), slog.String("kind", string(kind)))
	return nil
}

// wantAfterOutage asks for a look through every source: none could post for a while, and not every server tries for long.
func (e *Endpoint) wantAfterOutage(ctx context.Context) {
	for name := range e.senders.byName {
		if err := e.ledger.WantCatchUp(ctx, name, "outage"); err != nil {
			return // another outage, and another look after it
		}
		e.wanted(name)
	}
}

// noteAdmissions counts, and wakes the workers where there is something to look at.
func (e *Endpoint) noteAdmissions(ctx context.Context, sender *sender, hints []ledger.Hint, admissions []ledger.Admission) {
	toLookAt, soonest := false, sender.settle
	verbose := e.log.Enabled(ctx, slog.LevelDebug)
	for i, admission := range admissions {
		e.metrics.hints.WithLabelValues(sender.name, string(admission)).Inc()
		if admission == ledger.New || admission == ledger.Newer {
			toLookAt, soonest = true, min(soonest, hints[i].Settle)
		}
		if verbose {
			e.log.DebugContext(ctx, "hint admitted", slog.String("record", hints[i].Key.String()),
				slog.String("source", sender.name), slog.String("admission", string(admission)))
		}
	}
	if toLookAt {
		e.admitted(soonest)
	}
}

// issueOf is the answer to an error. Whatever is not the sender's fault is transient: the sender shall try again.
func (e *Endpoint) issueOf(ctx context.Context, err error) *fhir.Issue {
	if issue, ok := errors.AsType[*fhir.Issue](err); ok {
		return issue
	}
	if ctx.Err() == nil { // else the sender has gone, and nobody reads the answer
		e.away.began(ctx, e.log, err)
	}
	return unavailable()
}

// recover answers a panic as transient: the promise is never a 500, and the sender shall try again. What it said is not
// logged, it may hold what somebody wrote.
func (e *Endpoint) recover(c *gin.Context, x *exchange) {
	trouble := recover()
	if trouble == nil {
		return
	}
	if trouble == http.ErrAbortHandler { //nolint:errorlint // recover gives no error to unwrap
		panic(trouble)
	}
	e.metrics.panics.Inc()
	e.log.ErrorContext(c.Request.Context(), "a notification crashed its handler", slog.String("source", x.source),
		slog.String("kind", string(x.kind)))
	if !c.Writer.Written() {
		e.refuse(c, x, unavailable())
	}
}
