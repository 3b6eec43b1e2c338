package remote

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"staffetta/adapter/endpoint"
	"staffetta/adapter/ledger"
)

// located is where the portal finds a document.
type located struct {
	Source     string             `json:"source"` // as the configuration names it
	Type       string             `json:"type"`
	ID         string             `json:"id"`
	Identifier *locatedIdentifier `json:"identifier,omitempty"`
	URL        string             `json:"url"` // rebuilt from the source's base_url
}

type locatedIdentifier struct {
	System string `json:"system,omitempty"`
	Value  string `json:"value"`
}

// exchangeWithin is how long the portal waits: it may, since it shows a page of its own meanwhile.
const exchangeWithin = 4 * time.Second

// exchange is GET /documents/{ref}: the portal learns which document a reference is about, so that no address has to say it. Who
// is signed in there, and may see the document, is the portal's to know; where it sends their code in fiscal_code, a reference
// that was written to somebody else is none.
func (s *Server) exchange(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), exchangeWithin)
	defer cancel()
	if !s.tokens.Know(endpoint.Bearer(c.Request.Header)) {
		s.metrics.exchanged("unauthorized")
		c.Header("WWW-Authenticate", "Bearer")
		refuse(c, http.StatusUnauthorized, "No valid token")
		return
	}
	of, ours := s.Ledger.OpenReference(c.Param("ref"))
	if written := c.Request.Header.Values(recipientHeader); ours && len(written) > 0 {
		ours = len(written) == 1 && s.isRecipient(written[0], of)
	}
	if !ours {
		s.metrics.exchanged("not-found")
		refuse(c, http.StatusNotFound, "No such document")
		return
	}
	v := s.judge(ctx, of)
	status, word := exchanged(v)
	if err := s.audit(ctx, of, v, word); err != nil {
		status, word = http.StatusServiceUnavailable, "unavailable" // who was shown what must be known afterwards
	}
	s.metrics.exchanged(word)
	switch status {
	case http.StatusOK:
		s.give(c, v)
	case http.StatusServiceUnavailable:
		c.Header("Retry-After", strconv.Itoa(int(leftAlone.Seconds())))
		refuse(c, status, "Not known at the moment")
	default:
		refuse(c, status, map[int]string{
			http.StatusGone: "The document is gone", http.StatusConflict: "The document is not visible now", http.StatusNotFound: "No such document",
		}[status])
	}
}

// exchanged is the answer to a verdict: 410 for what is gone, 409 for what its citizen cannot see now, 404 for what is no longer
// known, 503 for what cannot be found out.
func exchanged(v verdict) (status int, word string) {
	if v.shown {
		return http.StatusOK, "given"
	}
	switch v.why {
	case "gone", "missing", "withdrawn", "replaced":
		return http.StatusGone, "gone"
	case errForgotten.Error(), errNoSource.Error():
		return http.StatusNotFound, "not-found"
	case errSource.Error(), errTooSlow.Error(), errLedger.Error():
		return http.StatusServiceUnavailable, "unavailable"
	}
	return http.StatusConflict, "not-visible"
}

// audit writes down that the portal asked, and what it was answered.
func (s *Server) audit(ctx context.Context, of ledger.Reference, v verdict, word string) error {
	s.Log.InfoContext(ctx, "document exchanged", slog.String("record", of.Document.String()), slog.String("source", v.name),
		slog.String("answer", word), slog.String("reason", v.why))
	return s.Ledger.Note(ctx, ledger.Record{Key: of.Document, Source: v.name}, "exchange-"+word, v.why, ledger.By{Who: "portal"})
}

// give says where the document is.
func (s *Server) give(c *gin.Context, v verdict) {
	l := v.doc.Locator
	address := v.source.Address(l)
	if s.Redirect && address != "" {
		c.Header("Location", address)
		c.Status(http.StatusSeeOther)
		return
	}
	found := located{Source: v.name, Type: l.Type, ID: l.ID, URL: address}
	if l.Value != "" {
		found.Identifier = &locatedIdentifier{System: l.System, Value: l.Value}
	}
	c.JSON(http.StatusOK, found)
}
