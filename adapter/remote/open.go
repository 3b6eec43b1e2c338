package remote

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/gin-gonic/gin"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir/fiscalcode"
	"staffetta/notifier"
)

// answerWithin is when an opening is answered at the latest: IO's app waits for 8 s, and a citizen for less (reference io.md, 5,
// wants 2 s). What is not known by then is not said.
const answerWithin = 1500 * time.Millisecond

// opening is one request of IO.
type opening struct {
	call  string // details or precondition
	id    string // as it came
	of    ledger.Reference
	began time.Time
}

// notice is the message, as the composer takes it.
func (o *opening) notice() notifier.Notice {
	return notifier.Notice{Publication: string(o.of.Publication), Languages: []string{o.of.Language}, Reference: o.id}
}

// remoteContent is IO's answer body (remote content contract, RemoteContentDetailsResponse).
type remoteContent struct {
	Details remoteDetails `json:"details"`
}

type remoteDetails struct {
	Subject  string `json:"subject"`
	Markdown string `json:"markdown"`
}

// preconditionContent is the other one (PreconditionContent).
type preconditionContent struct {
	Title    string `json:"title"`
	Markdown string `json:"markdown"`
}

// details is GET /io/messages/{id}. Once it is known that the message is the citizen's it answers 200, whatever happened: any
// other answer, and they cannot open the message (reference io.md, 5).
func (s *Server) details(c *gin.Context) {
	o, ok := s.begin(c, "details")
	if !ok {
		return
	}
	content, why := s.content(c.Request.Context(), o)
	answer := "details"
	if why != "" {
		answer = "unavailable"
	}
	s.metrics.opened(o, answer, why)
	s.Log.DebugContext(c.Request.Context(), "message opened", slog.String("record", o.of.Document.String()), slog.String("answer", answer),
		slog.String("reason", why))
	c.JSON(http.StatusOK, remoteContent{Details: remoteDetails(content)})
}

// precondition is GET /io/messages/{id}/precondition.
func (s *Server) precondition(c *gin.Context) {
	o, ok := s.begin(c, "precondition")
	if !ok {
		return
	}
	content, err := s.Composer.Precondition(o.notice())
	if err != nil { // every text was rendered at start
		s.Log.ErrorContext(c.Request.Context(), "precondition not composed", slog.Any("error", err))
	}
	s.metrics.opened(o, "precondition", "")
	c.JSON(http.StatusOK, preconditionContent{Title: content.Subject, Markdown: content.Markdown})
}

// ioPattern is what IO takes for a fiscal code: no check letter is tested.
var ioPattern = regexp.MustCompile(`^[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]$`)

// begin finds out who asks, for whom, and for which message. Of a message that is somebody else's it says what it says of one
// that does not exist. The headers that LolliPoP adds (signature, x-pagopa-lollipop-...) are let through and mean nothing here.
func (s *Server) begin(c *gin.Context, call string) (*opening, bool) {
	o := &opening{call: call, id: c.Param("id"), began: time.Now()}
	turnedDown := func(answer string, status int, title string) (*opening, bool) {
		s.metrics.opened(o, answer, "")
		if status == http.StatusUnauthorized {
			s.Log.InfoContext(c.Request.Context(), "remote content refused: no valid API key")
			c.AbortWithStatus(status) // its contract has no body
		} else {
			refuse(c, status, title)
		}
		return nil, false
	}
	if !s.keys.Know(only(c.Request.Header, s.Header)) {
		return turnedDown("unauthorized", http.StatusUnauthorized, "")
	}
	written := only(c.Request.Header, recipientHeader)
	if !ioPattern.MatchString(written) {
		return turnedDown("bad-request", http.StatusBadRequest, "Want the citizen's code in the header fiscal_code")
	}
	var ours bool
	if o.of, ours = s.Ledger.OpenReference(o.id); !ours || !s.isRecipient(written, o.of) {
		return turnedDown("not-found", http.StatusNotFound, "Message not found")
	}
	return o, true
}

// recipientHeader has an underscore, as IO has it: a proxy in front may drop it (nginx: underscores_in_headers on).
const recipientHeader = "fiscal_code"

// only is the value of a header, "" where there is none or where there are several.
func only(header http.Header, name string) string {
	values := header.Values(name)
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// isRecipient says whether a message was written to the person with this code. The reference itself knows: also while Redis is
// away nobody reads anything of somebody else's.
func (s *Server) isRecipient(written string, of ledger.Reference) bool {
	code, err := fiscalcode.Recipient(written)
	return err == nil && ledger.SamePerson(of.Person, s.Ledger.PersonTag(code))
}

// content is what the citizen reads, and why that is not the document's details. It always has a text.
func (s *Server) content(ctx context.Context, o *opening) (content notifier.Content, why string) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin-time.Since(o.began))
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.Log.ErrorContext(ctx, "an opening panicked", slog.String("record", o.of.Document.String()))
			content, why = s.unavailable(ctx, o), "panic"
		}
	}()
	if o.of.Publication == ledger.WithdrawnPub {
		return s.unavailable(ctx, o), "withdrawn" // whatever became of the document, this message says that it was withdrawn
	}
	v := s.judge(ctx, o.of)
	if !v.shown {
		return s.unavailable(ctx, o), v.why
	}
	content, err := s.Composer.Details(o.notice(), s.facts(v))
	if err != nil {
		s.Log.ErrorContext(ctx, "details not composed", slog.String("record", o.of.Document.String()), slog.Any("error", err))
		return s.unavailable(ctx, o), "not-composed"
	}
	return content, ""
}

func (s *Server) unavailable(ctx context.Context, o *opening) notifier.Content {
	content, err := s.Composer.Unavailable(o.notice())
	if err != nil { // every text was rendered at start
		s.Log.ErrorContext(ctx, "harmless text not composed", slog.Any("error", err))
	}
	return content
}

// facts are what is said of a document, as far as the institution lets it be said.
func (s *Server) facts(v verdict) (f notifier.Facts) {
	if s.shows("kind") {
		f.Kind = notifier.DocumentKind(policy.KindOf(v.doc))
	}
	if s.shows("date") {
		f.Date = v.doc.Date
	}
	if s.shows("institution") {
		f.Institution = s.Institutions[v.name]
	}
	return f
}
