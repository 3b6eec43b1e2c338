// Package remote answers those who come back for a document that a citizen was told of: IO, each time that a message is opened,
// and the portal, when a message's button was pressed. A reference comes in; the document is looked at where it is kept, the
// rules decide once more, and what may be shown goes out.
package remote

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/endpoint"
	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/adapter/relay"
	"staffetta/notifier"
)

// Options are what a server needs.
type Options struct {
	Ledger       *ledger.Ledger
	Sources      map[string]relay.Source
	Institutions map[string]string // by source, as remote content names them
	Rules        *policy.Rules
	Composer     *notifier.Composer

	APIKeys []string // of IO, any of them is valid: two during a rotation; none: no remote content
	Header  string   // that carries the key
	Show    []string // what remote content says of a document: kind, date, institution

	Tokens   []string // of the portal, any of them is valid; none: no exchange
	Redirect bool     // the exchange answers 303 to the document at its source

	Metrics prometheus.Registerer
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Server answers on the public listener.
type Server struct {
	Options

	keys, tokens endpoint.Tokens
	eyes         *eyes
	metrics      *metrics
	engine       *gin.Engine
}

// New makes a server. Without a key and without a token it knows no path.
func New(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{Options: o, metrics: newMetrics(o.Metrics)}
	var err, wrong error
	s.keys, err = endpoint.NewTokens(o.APIKeys)
	s.tokens, wrong = endpoint.NewTokens(o.Tokens)
	if err := errors.Join(err, wrong); err != nil {
		return nil, err
	}
	s.eyes = newEyes(o)
	s.engine = s.routes()
	return s, nil
}

// Serves says whether a path is this server's.
func (s *Server) Serves(path string) bool {
	return under(path, "/io") && len(s.keys) > 0 || under(path, "/documents") && len(s.tokens) > 0
}

func under(path, root string) bool {
	return path == root || len(path) > len(root) && path[:len(root)] == root && path[len(root)] == '/'
}

// ServeHTTP answers.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.engine.ServeHTTP(w, r) }

// Wait waits for looks at sources that nobody waits for any more. No request may come after it.
func (s *Server) Wait() { s.eyes.flying.Wait() }

// routes are all that IO and the portal call.
func (s *Server) routes() *gin.Engine {
	engine := endpoint.NewEngine()
	engine.Use(private, gin.CustomRecoveryWithWriter(nil, s.crashed)) // what a panic says may hold what somebody wrote: it is not logged
	engine.NoRoute(func(c *gin.Context) { refuse(c, http.StatusNotFound, "No such path") })
	engine.NoMethod(func(c *gin.Context) { refuse(c, http.StatusMethodNotAllowed, "Want GET") })
	if len(s.keys) > 0 {
		engine.GET("/io/messages/:id", s.details)
		engine.GET("/io/messages/:id/precondition", s.precondition)
	}
	if len(s.tokens) > 0 {
		engine.GET("/documents/:ref", s.exchange)
	}
	return engine
}

// crashed answers a panic as transient: the promise is never a 500.
func (s *Server) crashed(c *gin.Context, _ any) {
	s.Log.ErrorContext(c.Request.Context(), "a request crashed its handler", slog.String("route", c.FullPath()))
	refuse(c, http.StatusServiceUnavailable, "Not available now")
}

// private keeps answers about one person out of caches.
func private(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// problem is an error as IO's contract has it (RFC 7807). It repeats nothing of what was asked.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
}

func refuse(c *gin.Context, status int, title string) {
	c.AbortWithStatusJSON(status, problem{Title: title, Status: status})
}

// shows says whether a fact is one of those that the institution lets be said.
func (s *Server) shows(fact string) bool { return slices.Contains(s.Show, fact) }
