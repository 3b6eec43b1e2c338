package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const keyHeader = "Ocp-Apim-Subscription-Key"

// ServeHTTP is the gateway: key and rate limit, then the functions behind it.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.knows(r.Header.Get(keyHeader)) {
		gateway(w, http.StatusUnauthorized, "Access denied due to invalid subscription key.")
		return
	}
	if s.o.Rate > 0 {
		left, wait := s.spend(s.now())
		if wait > 0 {
			w.Header().Set("x-rate-limit-retry-after", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
			gateway(w, http.StatusTooManyRequests, "Rate limit is exceeded.")
			return
		}
		w.Header().Set("x-rate-limit-remaining", strconv.Itoa(left))
	}
	if s.o.Fault != nil && s.o.Fault(w, r, false) {
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Sandbox) knows(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.keys, key) || slices.Contains(s.o.RemoteContent.ManageKeys, key)
}

// isService says whether a key is one of the service's: a manage key sends nothing.
func (s *Sandbox) isService(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.keys, key)
}

const window = 5 * time.Second

// spend counts a request of the account; it says how many are left, or how long to wait where it was one too many.
func (s *Sandbox) spend(now time.Time) (left int, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.window) > 0 && now.Sub(s.window[0]) >= window {
		s.window = s.window[1:]
	}
	if len(s.window) >= s.o.Rate {
		return 0, window - now.Sub(s.window[0])
	}
	s.window = append(s.window, now)
	return s.o.Rate - len(s.window), 0
}

// function is one of IO's functions behind the gateway.
func (s *Sandbox) function(name string, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // Go's mux takes it for a GET
			gateway(w, http.StatusNotFound, "Resource not found")
			return
		}
		s.mu.Lock()
		s.calls[name]++
		s.mu.Unlock()
		title := s.o.Refusal
		if title == "" && name != "configuration" && !s.isService(r.Header.Get(keyHeader)) {
			title = "You are not allowed here"
		}
		if title != "" {
			refuse(w, forbidden(title))
			return
		}
		answer(w, r)
	}
}

// refusal is an error of IO's functions. Its detail never repeats what was sent.
type refusal struct {
	status        int
	title, detail string
}

func forbidden(title string) *refusal {
	return &refusal{http.StatusForbidden, title, "The account may not do that."}
}

func badRequest(detail string) *refusal {
	return &refusal{http.StatusBadRequest, "Bad request", detail}
}

// refuse answers as IO's functions do, gateway as what stands in front of them.
func refuse(w http.ResponseWriter, r *refusal) {
	answer(w, r.status, map[string]any{"title": r.title, "detail": r.detail, "status": r.status})
}

func gateway(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"statusCode": status, "message": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
