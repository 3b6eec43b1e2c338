package endpoint

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"staffetta/fhir"
)

// The answers of reference fhir-subscriptions.md, 2.4: HAPI needs a Bundle for a Bundle, and nothing at all for a bare
// resource; others take exactly 200. They are JSON also where XML came, whatever Accept says: HAPI reads an answer by the
// answer's own Content-Type, and the other senders look at its status only.
var (
	fhirJSON     = []string{"application/fhir+json"}
	bundleAnswer = []byte(`{"resourceType":"Bundle","type":"transaction-response"}`)
)

// retryAfterSeconds is what a sender is asked to wait while nothing can be written.
const retryAfterSeconds = 5

// accept answers that everything is written.
func (e *Endpoint) accept(c *gin.Context, x *exchange, bundle bool) {
	if bundle {
		c.Writer.Header()["Content-Type"] = fhirJSON
		c.Status(http.StatusOK)
		_, _ = c.Writer.Write(bundleAnswer) // who does not hear it sends again
	} else {
		c.Status(http.StatusOK)
		c.Writer.WriteHeaderNow()
	}
	e.metrics.observe(x, http.StatusOK)
}

// refuse answers with an OperationOutcome.
func (e *Endpoint) refuse(c *gin.Context, x *exchange, issue *fhir.Issue) {
	header := c.Writer.Header()
	switch issue.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	case http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		header.Set("Connection", "close") // the rest of the body is not worth reading
	}
	writeOutcome(c, issue)
	e.metrics.observe(x, issue.Status)
	e.logRefusal(c.Request.Context(), x, issue)
}

// logRefusal names what a sender did wrong. An outage of ours has its own line, once; who cannot authenticate is
// anybody on the network, and may be the source whose credentials have expired: so the line says whom it named.
func (e *Endpoint) logRefusal(ctx context.Context, x *exchange, issue *fhir.Issue) {
	if issue.Status == http.StatusServiceUnavailable || ctx.Err() != nil {
		return
	}
	level, why := slog.LevelWarn, issue.Diagnostics
	if issue.Status == http.StatusUnauthorized {
		level, why = slog.LevelInfo, string(x.doubt)
	}
	attrs := []slog.Attr{
		slog.String("source", x.named), slog.Int("status", issue.Status), slog.String("code", issue.Code), slog.String("diagnostics", why),
	}
	if element := elementForLog(issue.Expression); element != "" {
		attrs = append(attrs, slog.String("element", element))
	}
	e.log.LogAttrs(ctx, level, "notification refused", attrs...)
}

func writeOutcome(c *gin.Context, issue *fhir.Issue) {
	c.Writer.Header()["Content-Type"] = fhirJSON
	c.Status(issue.Status)
	_, _ = c.Writer.Write(fhir.Outcome(issue)) // who does not hear it sends again
}

// notFound answers paths that lead nowhere.
func (e *Endpoint) notFound(c *gin.Context) {
	writeOutcome(c, refusal(http.StatusNotFound, "not-found", "no such path: want /fhir/{source}, with type and id where they are known"))
}

// methodNotAllowed answers other methods; gin has set Allow.
func (e *Endpoint) methodNotAllowed(c *gin.Context) {
	writeOutcome(c, refusal(http.StatusMethodNotAllowed, "not-supported", "method is none of POST, PUT and DELETE"))
}

func refusal(status int, code, diagnostics string) *fhir.Issue {
	return &fhir.Issue{Status: status, Code: code, Diagnostics: diagnostics}
}

// unauthenticated does not tell an unknown source from wrong credentials, nor one kind of credentials from another.
func unauthenticated() *fhir.Issue {
	return refusal(http.StatusUnauthorized, "login", "no valid credentials for this source")
}

func unavailable() *fhir.Issue {
	return refusal(http.StatusServiceUnavailable, "transient", "nothing was written, send it again later")
}

// outage remembers that nothing can be written, so that a storm of notifications is not a storm of log lines.
type outage struct{ on atomic.Bool }

func (o *outage) began(ctx context.Context, log *slog.Logger, err error) {
	if o.on.CompareAndSwap(false, true) {
		log.ErrorContext(ctx, "notifications are refused, the ledger cannot be written", slog.Any("error", err))
	}
}

// ended says whether an outage has ended now.
func (o *outage) ended(ctx context.Context, log *slog.Logger) bool {
	if !o.on.Load() || !o.on.CompareAndSwap(true, false) {
		return false
	}
	log.WarnContext(ctx, "notifications are accepted again")
	return true
}
