// Package sandbox is an IO that runs in-process, as strict as the real one, for the demo and for tests: it refuses what the
// real one would refuse, and keeps what it took.
package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"go.yaml.in/yaml/v4"

	"staffetta/fhir/fiscalcode"
)

// Profile is what IO knows of a citizen.
type Profile int

// The profiles.
const (
	Reachable  Profile = iota // on IO, the service is allowed
	NotOnIO                   // 404
	NotAllowed                // sender_allowed: false
	Forbidden                 // 403 Recipient forbidden
)

// Options are how the sandbox behaves.
type Options struct {
	Keys      []string                      // valid subscription keys
	Profile   func(fiscalcode.Code) Profile // nil: everybody is reachable
	Rate      int                           // requests in 5 s for the whole account; 0 = no limit
	Delay     time.Duration                 // from ACCEPTED to PROCESSED
	Processed string                        // the final status, PROCESSED where it is empty
	// Fault may answer a request in IO's place; it says whether it did. taken calls say that the message was taken before.
	Fault func(w http.ResponseWriter, r *http.Request, taken bool) bool
}

// Taken is a message that the sandbox took.
type Taken struct {
	ID        string
	Recipient fiscalcode.Code
	Subject   string
	Markdown  string
	At        time.Time

	code string // as it was sent
}

// Sandbox is the API under /api/v1.
type Sandbox struct {
	o   Options
	mux *http.ServeMux

	mu       sync.Mutex
	messages []Taken
	byID     map[string]int
	calls    map[string]int
	window   []time.Time
}

// New makes an IO that has no messages yet.
func New(o Options) *Sandbox {
	s := &Sandbox{o: o, mux: http.NewServeMux(), byID: map[string]int{}, calls: map[string]int{}}
	if s.o.Processed == "" {
		s.o.Processed = "PROCESSED"
	}
	s.mux.HandleFunc("POST /api/v1/profiles", s.profile)
	s.mux.HandleFunc("POST /api/v1/messages", s.message)
	s.mux.HandleFunc("GET /api/v1/messages/{code}/{id}", s.status)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { gateway(w, http.StatusNotFound, "Resource not found") })
	return s
}

// Messages are all messages taken so far, in order.
func (s *Sandbox) Messages() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Calls are how often each of profile, message and status was called.
func (s *Sandbox) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]int{}
	maps.Copy(all, s.calls)
	return all
}

// ServeHTTP is the gateway: key and rate limit, then the functions behind it.
func (s *Sandbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(s.o.Keys, r.Header.Get("Ocp-Apim-Subscription-Key")) {
		gateway(w, http.StatusUnauthorized, "Access denied due to invalid subscription key.")
		return
	}
	if wait := s.limited(time.Now()); wait > 0 {
		w.Header().Set("x-rate-limit-retry-after", strconv.Itoa(int(wait.Seconds())+1))
		gateway(w, http.StatusTooManyRequests, "Rate limit is exceeded.")
		return
	}
	if s.o.Fault != nil && s.o.Fault(w, r, false) {
		return
	}
	s.mux.ServeHTTP(w, r)
}

const window = 5 * time.Second

// limited counts a request; it says how long to wait where it was one too many.
func (s *Sandbox) limited(now time.Time) time.Duration {
	if s.o.Rate == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.window) > 0 && now.Sub(s.window[0]) >= window {
		s.window = s.window[1:]
	}
	if len(s.window) >= s.o.Rate {
		return window - now.Sub(s.window[0])
	}
	s.window = append(s.window, now)
	return 0
}

func (s *Sandbox) count(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[name]++
}

// pattern is IO's own pattern of a codice fiscale: no check letter, no days, capitals only.
var pattern = regexp.MustCompile(`^[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]$`)

func (s *Sandbox) of(code string) Profile {
	if s.o.Profile == nil {
		return Reachable
	}
	parsed, err := fiscalcode.Parse(code)
	if err != nil {
		return NotOnIO
	}
	return s.o.Profile(parsed)
}

func (s *Sandbox) profile(w http.ResponseWriter, r *http.Request) {
	s.count("profile")
	var body struct {
		FiscalCode string `json:"fiscal_code"`
	}
	if err := strictly(r, &body); err != nil {
		problem(w, http.StatusBadRequest, "Bad request", err.Error())
		return
	}
	if !pattern.MatchString(body.FiscalCode) {
		problem(w, http.StatusBadRequest, "Bad request", "fiscal_code does not match the pattern")
		return
	}
	switch s.of(body.FiscalCode) {
	case NotOnIO:
		problem(w, http.StatusNotFound, "Profile not found", "The profile you requested was not found in the system.")
	case Forbidden:
		problem(w, http.StatusForbidden, "Recipient forbidden", "You are not allowed to issue requests for this recipient.")
	case NotAllowed:
		answer(w, http.StatusOK, map[string]any{"sender_allowed": false})
	case Reachable:
		answer(w, http.StatusOK, map[string]any{"sender_allowed": true, "preferred_languages": []string{"it_IT"}})
	}
}

type newMessage struct {
	FiscalCode       string   `json:"fiscal_code"`
	FeatureLevelType string   `json:"feature_level_type"`
	TimeToLive       *int     `json:"time_to_live"`
	Content          *content `json:"content"`
}

type content struct {
	Subject               string `json:"subject"`
	Markdown              string `json:"markdown"`
	RequireSecureChannels *bool  `json:"require_secure_channels"`
}

func (s *Sandbox) message(w http.ResponseWriter, r *http.Request) {
	s.count("message")
	var body newMessage
	if err := errors.Join(strictly(r, &body)); err != nil {
		problem(w, http.StatusBadRequest, "Bad request", err.Error())
		return
	}
	if err := body.check(); err != nil {
		problem(w, http.StatusBadRequest, "Bad request", err.Error())
		return
	}
	if s.of(body.FiscalCode) == Forbidden {
		problem(w, http.StatusForbidden, "Recipient forbidden", "You are not allowed to issue requests for this recipient.")
		return
	}
	taken, err := s.take(body)
	if err != nil {
		problem(w, http.StatusInternalServerError, "Internal server error", "")
		return
	}
	if s.o.Fault != nil && s.o.Fault(w, r, true) {
		return
	}
	w.Header().Set("Location", "/api/v1/messages/"+body.FiscalCode+"/"+taken.ID)
	answer(w, http.StatusCreated, map[string]any{"id": taken.ID})
}

// take keeps a message that is well.
func (s *Sandbox) take(body newMessage) (Taken, error) {
	code, err := fiscalcode.Parse(body.FiscalCode)
	if err != nil {
		return Taken{}, err
	}
	taken := Taken{ID: ulid(time.Now()), Recipient: code, Subject: body.Content.Subject, Markdown: body.Content.Markdown, At: time.Now(), code: body.FiscalCode}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[taken.ID] = len(s.messages)
	s.messages = append(s.messages, taken)
	return taken, nil
}

// check is what IO refuses, and beyond it what its app would show wrongly.
func (m newMessage) check() error {
	switch {
	case !pattern.MatchString(m.FiscalCode):
		return errors.New("fiscal_code does not match the pattern")
	case m.FeatureLevelType != "" && m.FeatureLevelType != "STANDARD":
		return errors.New("feature_level_type: only STANDARD is contracted")
	case m.TimeToLive != nil && (*m.TimeToLive < 3600 || *m.TimeToLive > 604800):
		return errors.New("time_to_live is out of range")
	case m.Content == nil:
		return errors.New("content is required")
	case units(m.Content.Subject) < 10 || units(m.Content.Subject) > 120:
		return errors.New("content.subject: wrong length")
	case units(m.Content.Markdown) < 80 || units(m.Content.Markdown) > 10000:
		return errors.New("content.markdown: wrong length")
	case m.Content.RequireSecureChannels == nil || !*m.Content.RequireSecureChannels:
		return errors.New("content.require_secure_channels: a health service always sets it")
	}
	return checkFrontMatter(m.Content.Markdown)
}

func units(text string) int { return len(utf16.Encode([]rune(text))) }

type cta struct {
	Text   string `yaml:"text"`
	Action string `yaml:"action"`
}

// checkFrontMatter reads the buttons as the app does; a citizen must have them in both languages.
func checkFrontMatter(markdown string) error {
	rest, has := strings.CutPrefix(markdown, "---\n")
	if !has {
		return nil
	}
	block, _, closed := strings.Cut(rest, "\n---\n")
	if !closed {
		return errors.New("front matter: not closed")
	}
	var front map[string]map[string]cta
	if err := yaml.Load([]byte(block), &front); err != nil {
		return errors.New("front matter: no YAML")
	}
	for _, language := range []string{"it", "en"} {
		first, has := front[language]["cta_1"]
		switch {
		case !has || first.Text == "":
			return fmt.Errorf("front matter: no button in %s", language)
		case !strings.HasPrefix(first.Action, "iosso://https://") && !strings.HasPrefix(first.Action, "iohandledlink://https://"):
			return fmt.Errorf("front matter: the app ignores the action in %s", language)
		}
	}
	return nil
}

func (s *Sandbox) status(w http.ResponseWriter, r *http.Request) {
	s.count("status")
	s.mu.Lock()
	at, known := s.byID[r.PathValue("id")]
	var taken Taken
	if known {
		taken = s.messages[at]
	}
	s.mu.Unlock()
	if !known || taken.code != r.PathValue("code") {
		problem(w, http.StatusNotFound, "Message not found", "The message that you requested was not found in the system.")
		return
	}
	status, message := "ACCEPTED", map[string]any{
		"id": taken.ID, "fiscal_code": taken.code, "created_at": taken.At.UTC().Format("2006-01-02T15:04:05.000Z"),
		"time_to_live": 3600, "feature_level_type": "STANDARD", "sender_service_id": "01JBSANDBOX00000000000000",
		"content": map[string]any{"subject": taken.Subject, "markdown": taken.Markdown},
	}
	if time.Since(taken.At) >= s.o.Delay {
		status = s.o.Processed
	}
	answer(w, http.StatusOK, map[string]any{"message": message, "status": status})
}

// maxRequest is more than the largest message.
const maxRequest = 64 << 10

// strictly reads a JSON body, refusing what the contract does not know.
func strictly(r *http.Request, into any) error {
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return errors.New("want Content-Type application/json")
	}
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return errors.New("the body is not what the contract says")
	}
	return nil
}

// problem answers as IO's functions do, gateway as what stands in front of them.
func problem(w http.ResponseWriter, status int, title, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": title, "detail": detail, "status": status})
}

func gateway(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"statusCode": status, "message": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// ulid makes an id as IO's are: 48 bits of time and 80 of chance.
func ulid(now time.Time) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	id := make([]byte, 26)
	ms := now.UnixMilli()
	for i := 9; i >= 0; i-- {
		id[i] = alphabet[ms&31]
		ms >>= 5
	}
	_, _ = rand.Read(id[10:]) // never fails (crypto/rand)
	for i := 10; i < len(id); i++ {
		id[i] = alphabet[id[i]&31]
	}
	return string(id)
}
