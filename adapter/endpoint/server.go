package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerOptions are what a listener needs.
type ServerOptions struct {
	Listen      string      // host:port
	TLS         *tls.Config // nil: plain HTTP. HTTP/2 is not spoken, see speaking
	Handler     http.Handler
	ReadTimeout time.Duration // for a whole request
	FHIR        bool          // what no handler could read is answered as FHIR, too
	Grace       time.Duration // for requests that are open when the server stops, default 5 s
	Log         *slog.Logger
}

// Server serves one listener.
type Server struct {
	listener net.Listener
	http     *http.Server
	grace    time.Duration
	open     sync.RWMutex // held for reading by each request inside the handler, for good by Run when it has ended
}

const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	answerTime     = 30 * time.Second // beyond reading: waiting for the ledger, and writing
	maxHeaderBytes = 32 << 10
	defaultGrace   = 5 * time.Second
)

// Listen opens the listener, so that a port that is taken is an error at start.
func Listen(ctx context.Context, o ServerOptions) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	wait := min(headerTimeout, o.ReadTimeout)
	if o.FHIR || o.TLS != nil {
		listener = speaking{listener, o.TLS, wait, o.Log}
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	s := &Server{listener: listener, grace: o.Grace}
	s.http = &http.Server{
		Handler:           s.counted(o.Handler),
		ReadHeaderTimeout: wait,
		ReadTimeout:       o.ReadTimeout,
		WriteTimeout:      o.ReadTimeout + answerTime,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug), // noise of the network
	}
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// counted knows which requests are open, so that none is still writing when Run has returned.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.open.TryRLock() {
			panic(http.ErrAbortHandler) // Run has ended: the connection is gone
		}
		defer s.open.RUnlock()
		next.ServeHTTP(w, r)
	})
}

// Run serves until the context ends. Open requests then have the grace to finish; who is still sending after it is cut.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.grace)
	defer cancel()
	if err := s.http.Shutdown(stopping); err != nil {
		_ = s.http.Close()
	}
	s.open.Lock()
	return <-served
}

func (s *Server) serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
