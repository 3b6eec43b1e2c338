package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// The times of an opening (reference io.md, 5): IO waits for as long as it takes, its app and its edge do not.
const (
	appWaits  = 8 * time.Second
	edgeWaits = 10 * time.Second
)

// Opened is what the app has when a citizen opens a message.
type Opened struct {
	Subject, Markdown string // what the citizen reads, where Problem is ""
	Remote            bool   // it was fetched from the institution just now
	Status            int    // that IO answers its app
	// Problem is why the message cannot be opened: REMOTE_CONTENT_NOT_PRESENT, MARKDOWN_VALIDATION_ERROR,
	// SUBJECT_VALIDATION_ERROR, ATTACHMENTS_NOT_PRESENT, or a few words.
	Problem string
	Took    time.Duration // of the institution's answer
}

// Gate is what the app shows before it opens a message that has a precondition.
type Gate struct{ Title, Markdown string }

// ErrNoMessage says that there is no such message, or that it is not in its citizen's inbox yet.
var ErrNoMessage = errors.New("no such message in the inbox")

// Open opens a message as its citizen does: IO's backend fetches what the institution has to say of it, once, and passes it on
// as it does. The citizen sees an error for whatever goes wrong, and the message stays unread.
func (s *Sandbox) Open(ctx context.Context, id string) (Opened, error) {
	taken, known := s.find(id)
	if !known || s.statusOf(taken) != statusProcessed {
		return Opened{}, ErrNoMessage
	}
	opened := Opened{Subject: taken.Subject, Markdown: taken.Markdown, Status: http.StatusOK}
	if pointer := taken.ThirdParty; pointer != nil {
		began := s.now()
		opened = s.fetchDetails(ctx, taken, opened)
		opened.Took = s.now().Sub(began)
	}
	if opened.Problem == "" {
		s.mu.Lock()
		s.read[id] = true
		s.mu.Unlock()
	}
	return opened, nil
}

// Read says whether a citizen has opened a message, without an error.
func (s *Sandbox) Read(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read[id]
}

// Precondition is what a citizen reads before the message is opened; nil where it has no precondition.
func (s *Sandbox) Precondition(ctx context.Context, id string) (*Gate, error) {
	taken, known := s.find(id)
	if !known || s.statusOf(taken) != statusProcessed {
		return nil, ErrNoMessage
	}
	if !s.hasPrecondition(taken) {
		return nil, nil
	}
	body, status, err := s.fetch(ctx, taken, "/precondition")
	var gate struct {
		Title    *string `json:"title"`
		Markdown *string `json:"markdown"`
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &gate) != nil || gate.Title == nil || gate.Markdown == nil {
		return nil, errors.New("the institution gives no precondition")
	}
	return &Gate{*gate.Title, *gate.Markdown}, nil
}

// hasPrecondition is the message's own word, else that of its configuration. ONCE is over once it was read.
func (s *Sandbox) hasPrecondition(taken Taken) bool {
	pointer := taken.ThirdParty
	if pointer == nil {
		return false
	}
	word := pointer.HasPrecondition
	if word == "" {
		word = s.configuration(pointer.ConfigurationID).text("has_precondition")
	}
	return word == "ALWAYS" || word == "ONCE" && !s.Read(taken.ID)
}

// fetchDetails is the call that every message with third_party_data makes, and what IO's backend makes of its answer.
func (s *Sandbox) fetchDetails(ctx context.Context, taken Taken, opened Opened) Opened {
	body, status, err := s.fetch(ctx, taken, "")
	if err != nil {
		return unopened(http.StatusInternalServerError, "the institution does not answer in time, or not at all")
	}
	switch status {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
		return unopened(status, "the institution refuses")
	case http.StatusUnauthorized: // IO takes it for a misconfiguration
		return unopened(http.StatusInternalServerError, "the institution refuses IO's key")
	default: // redirects are not followed
		return unopened(http.StatusInternalServerError, fmt.Sprintf("the institution answers %d, which IO does not expect", status))
	}
	var found struct {
		Details *struct {
			Subject  *string `json:"subject"`
			Markdown *string `json:"markdown"`
		} `json:"details"`
		Attachments []json.RawMessage `json:"attachments"`
	}
	if json.Unmarshal(body, &found) != nil {
		return unopened(http.StatusInternalServerError, "the institution's answer is no JSON")
	}
	pointer := taken.ThirdParty
	switch details := found.Details; {
	case pointer.HasAttachments && len(found.Attachments) == 0:
		return unopened(http.StatusBadGateway, "ATTACHMENTS_NOT_PRESENT")
	case !pointer.HasRemoteContent:
		return opened // whatever came is dropped
	case details == nil || details.Subject == nil || details.Markdown == nil:
		return unopened(http.StatusBadGateway, "REMOTE_CONTENT_NOT_PRESENT")
	case text(80, 10_000)("markdown", *details.Markdown) != nil:
		return unopened(http.StatusBadGateway, "MARKDOWN_VALIDATION_ERROR")
	case text(10, 120)("subject", *details.Subject) != nil:
		return unopened(http.StatusBadGateway, "SUBJECT_VALIDATION_ERROR")
	default:
		return Opened{Subject: *details.Subject, Markdown: *details.Markdown, Remote: true, Status: http.StatusOK}
	}
}

func unopened(status int, problem string) Opened { return Opened{Status: status, Problem: problem} }

// maxRemote is more than any answer that IO takes.
const maxRemote = 1 << 20

// fetch asks the institution as IO's backend does: with the key of the configuration, and with the code of the citizen who has
// authenticated. It follows no redirects.
func (s *Sandbox) fetch(ctx context.Context, taken Taken, what string) (body []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(appWaits, edgeWaits))
	defer cancel()
	from, known := s.environment(taken)
	if !known {
		return nil, 0, errors.New("no environment to fetch from")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.BaseURL+"/messages/"+taken.ThirdParty.ID+what, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set(from.Header, from.Key)
	req.Header["fiscal_code"] = []string{taken.code} // as it is: with an underscore, in lower case
	res, err := s.institution.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxRemote))
	return body, res.StatusCode, err
}

// environment is where IO asks: test for test users, else production, else test where there is nothing else.
func (s *Sandbox) environment(taken Taken) (Environment, bool) {
	configuration := s.configuration(taken.ThirdParty.ConfigurationID)
	test, hasTest := environmentOf(configuration, "test_environment")
	production, hasProduction := environmentOf(configuration, "prod_environment")
	if hasTest && (!hasProduction || slices.Contains(testUsers(configuration), taken.code)) {
		return test, true
	}
	return production, hasProduction
}

// newInstitution calls institutions.
func newInstitution() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: appWaits},
	}
}
