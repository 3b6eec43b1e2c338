package notifier

import (
	"bytes"
	"context"
	"crypto/tls"
	stdjson "encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"staffetta/fhir/fiscalcode"
)

// ClientOptions are what IO is called with.
type ClientOptions struct {
	BaseURL string // with /api/v1
	// Keys gives the service's keys, the primary one first. It is asked at each call, so that a rotation needs no restart; the
	// other key is tried where one is refused.
	Keys func() []string
	HTTP *http.Client
	// Premium says that the institution's contract is the Premium one: messages are ADVANCED (reference io.md, 2.2).
	Premium bool
}

// Client calls IO, once for each call: what an answer means for the future belongs to the ledger's timetable.
type Client struct {
	base, profiles, messages *url.URL
	// http sends one request and follows nothing: what http.Client does beyond that is not wanted, and costs.
	http http.RoundTripper
	// timeout of one call; 0: none
	timeout time.Duration
	keys    func() []string
	level   string       // of messages: STANDARD, ADVANCED
	valid   atomic.Int32 // place of the key that worked last
}

// NewClient makes a client; it calls nobody yet.
func NewClient(o ClientOptions) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" {
		return nil, errors.New("io.base_url is no URL")
	}
	if base.Path == "" {
		base.Path = "/" // else what is joined to it does not begin with a slash, and is no path of a request
	}
	c := &Client{
		base: base, profiles: base.JoinPath("profiles"), messages: base.JoinPath("messages"),
		http: o.HTTP.Transport, timeout: o.HTTP.Timeout, keys: o.Keys, level: "STANDARD",
	}
	if o.Premium {
		c.level = "ADVANCED"
	}
	if c.http == nil {
		c.http = http.DefaultTransport
	}
	return c, nil
}

// Profile asks whether the service may write to a citizen (POST /profiles).
func (c *Client) Profile(ctx context.Context, recipient fiscalcode.Code) Answer {
	got := c.call(ctx, http.MethodPost, c.profiles, profileRequest{FiscalCode: recipient.Reveal()})
	if got.status != http.StatusOK {
		return got.refused(forProfile)
	}
	var profile struct {
		SenderAllowed      *bool    `json:"sender_allowed"`
		PreferredLanguages []string `json:"preferred_languages"`
	}
	if got.decode(&profile) != nil || profile.SenderAllowed == nil {
		return got.unreadable()
	}
	answer := got.answer(NotAllowed)
	answer.Languages = profile.PreferredLanguages
	if *profile.SenderAllowed {
		answer.Kind = Allowed
	}
	return answer
}

// Send submits a message (POST /messages). IO has no idempotency: only an Unclear answer leaves open whether a message was
// created.
func (c *Client) Send(ctx context.Context, m Message) Answer {
	got := c.call(ctx, http.MethodPost, c.messages, messageRequest{
		FiscalCode: m.Recipient.Reveal(), FeatureLevelType: c.level,
		Content: messageContent{Subject: m.Subject, Markdown: m.Markdown, RequireSecureChannels: true, ThirdPartyData: m.Remote.data()},
	})
	if got.status != http.StatusCreated {
		return got.refused(forMessage)
	}
	var created struct {
		ID string `json:"id"`
	}
	if got.decode(&created) != nil || !ulid.MatchString(created.ID) {
		created.ID = "" // created all the same; its delivery cannot be followed
	}
	answer := got.answer(Created)
	answer.MessageID = created.ID
	return answer
}

// ulid is what IO's message ids are (reference io.md, 2.2).
var ulid = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

// Status asks how the delivery of a message stands (GET /messages/{fiscal_code}/{id}): the one URL that holds a codice
// fiscale, because IO's contract has no other.
func (c *Client) Status(ctx context.Context, recipient fiscalcode.Code, id string) Answer {
	got := c.call(ctx, http.MethodGet, c.messages.JoinPath(url.PathEscape(recipient.Reveal()), url.PathEscape(id)), nil)
	if got.status != http.StatusOK {
		return got.refused(forStatus)
	}
	var status struct {
		Status     string `json:"status"`
		ReadStatus string `json:"read_status"`
	}
	if got.decode(&status) != nil || status.Status == "" {
		return got.unreadable()
	}
	answer := got.answer(StatusKnown)
	answer.Status, answer.ReadStatus = status.Status, status.ReadStatus
	return answer
}

type profileRequest struct {
	FiscalCode string `json:"fiscal_code"`
}

type messageRequest struct {
	FiscalCode       string         `json:"fiscal_code"`
	FeatureLevelType string         `json:"feature_level_type"`
	Content          messageContent `json:"content"`
}

type messageContent struct {
	Subject               string `json:"subject"`
	Markdown              string `json:"markdown"`
	RequireSecureChannels bool   `json:"require_secure_channels"`

	ThirdPartyData *thirdPartyData `json:"third_party_data,omitempty"`
}

// thirdPartyData is the pointer as IO's contract has it.
type thirdPartyData struct {
	ID               string `json:"id"`
	ConfigurationID  string `json:"configuration_id"`
	HasRemoteContent bool   `json:"has_remote_content"`
	HasPrecondition  string `json:"has_precondition"`
}

// data is nil where IO fetches nothing.
func (p Pointer) data() *thirdPartyData {
	if p.ID == "" {
		return nil
	}
	return &thirdPartyData{ID: p.ID, ConfigurationID: p.ConfigurationID, HasRemoteContent: true, HasPrecondition: p.Precondition}
}

// answered is one HTTP exchange; status 0 where there was no answer.
type answered struct {
	status  int
	header  http.Header
	body    []byte
	written bool   // the request may have reached IO
	inVain  int    // exchanges before it, whose key was refused
	cause   string // why there was no answer
}

// decode reads JSON, as leniently as it may be written: nothing that we ask for depends on what is wrong beside it.
func (a answered) decode(into any) error {
	return json.Unmarshal(a.body, into, json.MatchCaseInsensitiveNames(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// answer is what it says, as far as every exchange says it.
func (a answered) answer(kind Kind) Answer {
	return Answer{Kind: kind, HTTPStatus: a.status, InVain: a.inVain}
}

func (a answered) unreadable() Answer {
	answer := a.answer(Unavailable)
	answer.Reason = "unreadable-answer"
	return answer
}

// maxAnswer is more than any answer of IO that we read.
const maxAnswer = 64 << 10

// call sends one request. A key that IO refuses gives way to the other one: nothing was processed.
func (c *Client) call(ctx context.Context, method string, at *url.URL, body any) answered {
	var content []byte
	if body != nil {
		var err error
		if content, err = stdjson.Marshal(body); err != nil {
			return answered{}
		}
	}
	keys, first := c.keys(), int(c.valid.Load())
	got := answered{status: http.StatusUnauthorized} // without any key IO would say no other
	for i := range keys {
		n := (first + i) % len(keys)
		got = c.once(ctx, method, at, content, keys[n])
		got.inVain = i
		if got.status != http.StatusUnauthorized {
			c.valid.Store(int32(n)) //nolint:gosec // one of two
			break
		}
	}
	return got
}

// Values of headers that stand in every request.
var inJSON, asJSON = []string{"application/json; charset=utf-8"}, []string{"application/json"}

func (c *Client) once(ctx context.Context, method string, at *url.URL, content []byte, key string) (got answered) {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	var written atomic.Bool
	if at == c.messages { // of anything else it does not matter: it is asked again
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	}
	req, err := http.NewRequestWithContext(ctx, method, "", bytes.NewReader(content))
	if err != nil {
		return got
	}
	req.URL, req.Host = at, at.Host // parsed once
	if content != nil {
		req.Header["Content-Type"] = inJSON
		req.GetBody = nil // Go must not send a message a second time by itself
	}
	req.Header["Ocp-Apim-Subscription-Key"] = []string{key}
	req.Header["Accept"] = asJSON
	res, err := c.http.RoundTrip(req)
	if err != nil {
		got.written, got.cause = written.Load() && !neverSent(err), CauseOf(err)
		return got
	}
	defer func() { _ = res.Body.Close() }()
	got = answered{status: res.StatusCode, header: res.Header, written: true}
	got.body = readAnswer(res)
	return got
}

// readAnswer reads what an answer holds, or its beginning: half an answer still has its status.
func readAnswer(res *http.Response) []byte {
	if res.ContentLength < 0 || res.ContentLength > maxAnswer {
		body, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		return body
	}
	body := make([]byte, res.ContentLength)
	n, _ := io.ReadFull(res.Body, body)
	return body[:n]
}

// neverSent are errors of getting there at all.
func neverSent(err error) bool {
	if one, ok := errors.AsType[*net.OpError](err); ok && one.Op == "dial" {
		return true
	}
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	return badCertificate
}

// purpose is what was asked for: the same status means different things.
type purpose int

const (
	forProfile purpose = iota
	forMessage
	forStatus
)

// problem is an error of IO's functions (title, detail) or of its gateway (message).
type problem struct {
	Title   string `json:"title"`
	Message string `json:"message"`
}

func (a answered) title() string {
	var p problem
	if a.decode(&p) != nil {
		return ""
	}
	return p.Title
}

// refused is what anything but success means (reference io.md, table 2.6).
func (a answered) refused(what purpose) Answer {
	answer := a.answer("")
	switch a.status {
	case 0:
		answer.Kind, answer.Reason, answer.Cause = Unavailable, "no-answer", a.cause
		if a.written {
			answer.Kind = Unclear
		}
	case http.StatusUnauthorized:
		answer.Kind, answer.Reason = KeyRefused, "key-refused"
	case http.StatusForbidden:
		answer.Kind, answer.Reason = a.forbidden()
	case http.StatusNotFound:
		answer.Kind, answer.Reason = a.notFound(what)
	case http.StatusTooManyRequests:
		answer.Kind, answer.Reason, answer.RetryAfter = Throttled, "rate-limit", a.retryAfter()
	case http.StatusInternalServerError:
		answer.Kind, answer.Reason = Unavailable, "internal-error" // the queue write had not been committed
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		answer.Kind, answer.Reason = Unclear, "edge"
	default:
		answer.Kind, answer.Reason = otherStatus(a.status)
	}
	if answer.Kind == Unclear && what != forMessage {
		answer.Kind = Unavailable // asking again harms nobody
	}
	return answer
}

func (a answered) forbidden() (Kind, string) {
	switch a.title() {
	case "Recipient forbidden":
		return RecipientForbidden, "recipient-forbidden"
	case "No configuration id for remote content", "Not your configuration", "Attachments call forbidden":
		return Refused, "forbidden-content"
	}
	return Forbidden, "forbidden"
}

// notFound tells what IO does not know from a path that its gateway does not know: that one is our configuration's, and
// says nothing of a citizen.
func (a answered) notFound(what purpose) (Kind, string) {
	switch title := a.title(); {
	case what == forProfile && title == "Profile not found":
		return NotOnIO, "profile-not-found"
	case what == forStatus && title == "Message not found":
		return Refused, "message-not-found"
	case what == forMessage && title == "Remote Content Configuration NOT FOUND":
		return Refused, "no-configuration"
	}
	return Forbidden, "wrong-path"
}

func otherStatus(status int) (Kind, string) {
	switch {
	case status == http.StatusBadRequest:
		return Refused, "bad-request"
	case status == http.StatusRequestTimeout:
		return Unclear, "timeout"
	case status >= 400 && status < 500:
		return Refused, "refused"
	case status >= 500:
		return Unclear, "edge"
	}
	return Unclear, "unexpected-status" // another 2xx, or a redirect that we do not follow
}

// retryAfter is for how long IO asks to wait; an hour at most is believed.
func (a answered) retryAfter() time.Duration {
	for _, name := range []string{"x-rate-limit-retry-after", "Retry-After"} {
		if seconds, err := strconv.Atoi(strings.TrimSpace(a.header.Get(name))); err == nil && seconds > 0 {
			return min(time.Duration(seconds)*time.Second, time.Hour)
		}
	}
	return 0
}
