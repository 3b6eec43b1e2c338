package fhir

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// SourceOptions are what one FHIR server is read with.
type SourceOptions struct {
	Name              string
	BaseURL           string   // FHIR service base; every URL is rebuilt from it
	Aliases           []string // other base URLs by which the server calls itself
	Shape             Shape
	FiscalCodeSystems []string // besides the two official ones
	TestRecipient     bool     // IO's own test recipient, which is no valid code, counts as one
	Client            *http.Client
	MaxBody           int64 // bytes of an answer
	MaxDepth          int
	Now               func() time.Time // for periods of identifiers; nil: time.Now
}

// Source reads documents and patients at one FHIR server.
type Source struct {
	o SourceOptions
	// http sends one request and follows nothing: what http.Client does beyond that is not wanted, and costs.
	http    http.RoundTripper
	timeout time.Duration // of one call; 0: none
	// patients that several documents name are read once
	patients patients
	bases    []string // of references that are its own, without a slash at their end
	systems  []string
	way      atomic.Int32 // the way from a report to its Composition that worked last
	refuses  refusals     // what this server refuses of a search
}

// officialSystems are those of the codice fiscale (reference fse.md, 6).
var officialSystems = []string{"http://hl7.it/sid/codiceFiscale", "urn:oid:2.16.840.1.113883.2.9.4.3.2"}

// NewSource makes a reader of one FHIR server; it calls nobody yet.
func NewSource(o SourceOptions) (*Source, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" {
		return nil, errors.New("base_url is no URL")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxDepth == 0 {
		o.MaxDepth = 64
	}
	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/")
	s := &Source{o: o, http: http.DefaultTransport, patients: newPatients(), bases: []string{o.BaseURL}, systems: append(slices.Clone(officialSystems), o.FiscalCodeSystems...)}
	if o.Client != nil {
		s.timeout = o.Client.Timeout
		if o.Client.Transport != nil {
			s.http = o.Client.Transport
		}
	}
	for _, alias := range o.Aliases {
		s.bases = append(s.bases, strings.TrimSuffix(alias, "/"))
	}
	return s, nil
}

// Address is where a resource is read at this server, rebuilt from its base; "" for what has no id of FHIR's form.
func (s *Source) Address(l Locator) string {
	if !isType(l.Type) || !IsID(l.ID) {
		return ""
	}
	return s.o.BaseURL + "/" + l.Type + "/" + l.ID
}

// Shape is how the source keeps its documents.
func (s *Source) Shape() Shape { return s.o.Shape }

// own says whether a reference is one of this server's own resources.
func (s *Source) own(r reference) bool { return r.base == "" || slices.Contains(s.bases, r.base) }

// errUnsupported says that the server does not know a search: another way may do.
var errUnsupported = errors.New("the server does not support this search")

// read reads one resource by type and id; nil with Missing or Gone where it is not there.
func (s *Source) read(ctx context.Context, kind, id string) (*node, Standing, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.o.BaseURL+"/"+kind+"/"+id, nil)
	if err != nil {
		return nil, "", &Trouble{Kind: Unusable, Doing: "read " + kind}
	}
	n, standing, err := s.call(req, "read "+kind)
	if err != nil || n == nil {
		return nil, standing, err
	}
	if n.ResourceType != kind || string(n.ID) != id {
		return nil, "", &Trouble{Kind: Unusable, Doing: "read " + kind, Err: errors.New("the answer is another resource")}
	}
	return n, Readable, nil
}

func searchRefused(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusUnprocessableEntity, http.StatusNotAcceptable:
		return true
	}
	return false
}

var errOutcome = errors.New("an OperationOutcome with an error in a successful answer")

func (n *node) isError() bool {
	return slices.ContainsFunc(n.Issue, func(i issue) bool { return i.Severity == "error" || i.Severity == "fatal" })
}

// bounded is the time of one call.
func (s *Source) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

// bothForms is what we read.
var bothForms = []string{"application/fhir+json, application/fhir+xml;q=0.5"}

// call sends one request and reads the answer; nil with Missing or Gone on 404 and 410.
func (s *Source) call(req *http.Request, doing string) (*node, Standing, error) {
	req.Header["Accept"] = bothForms
	res, err := s.send(req, doing)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	switch res.StatusCode {
	case http.StatusOK:
		return s.decode(req.Context(), res, doing)
	case http.StatusNotFound:
		return nil, Missing, nil
	case http.StatusGone:
		return nil, Gone, nil
	}
	return nil, "", refused(res, doing)
}

// send sends one request; its answer must be closed.
func (s *Source) send(req *http.Request, doing string) (*http.Response, error) {
	res, err := s.http.RoundTrip(req)
	if err == nil {
		return res, nil
	}
	if ctx := req.Context(); cancelled(ctx) {
		return nil, fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	return nil, unanswered(err, doing)
}

// cancelled says whether it was our own wish that something ended.
func cancelled(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled)
}

// cutOff is the error of an answer that was not awaited to its end: our own wish, or trouble of a server that takes too long;
// nil where it was.
func cutOff(ctx context.Context, err error, doing string) error {
	switch {
	case err == nil:
	case cancelled(ctx):
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded): // the transport may keep the time of a call
		return &Trouble{Kind: Unavailable, Doing: doing, Err: context.DeadlineExceeded}
	}
	return nil
}

func (s *Source) decode(ctx context.Context, res *http.Response, doing string) (*node, Standing, error) {
	n, err := readNode(res.Body, Limits{MaxBytes: s.o.MaxBody, MaxDepth: s.o.MaxDepth})
	if cut := cutOff(ctx, err, doing); cut != nil {
		return nil, "", cut
	}
	switch {
	case err != nil:
		return nil, "", &Trouble{Kind: Unusable, Status: res.StatusCode, Doing: doing, Err: err}
	case n.ResourceType == "OperationOutcome" && n.isError():
		return nil, "", &Trouble{Kind: Unusable, Doing: doing, Err: errOutcome}
	}
	return n, Readable, nil
}

// unanswered is what it means that a request got no answer. It may not have been sent: then what kept the client from
// authenticating says it.
func unanswered(err error, doing string) *Trouble {
	if before, ok := errors.AsType[*Trouble](err); ok {
		return &Trouble{Kind: before.Kind, RetryAfter: before.RetryAfter, Doing: doing, Err: before}
	}
	return &Trouble{Kind: Unavailable, Doing: doing, Err: withoutURL(err)}
}

// refused is what a status means for the source.
func refused(res *http.Response, doing string) *Trouble {
	t := &Trouble{Kind: Unusable, Status: res.StatusCode, Doing: doing}
	after := retryAfter(res.Header.Get("Retry-After"))
	switch {
	case res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden:
		t.Kind = Unauthorized
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusServiceUnavailable && after > 0:
		t.Kind, t.RetryAfter = Throttled, after
	case res.StatusCode >= http.StatusInternalServerError:
		t.Kind = Unavailable
	}
	return t
}

// retryAfter reads seconds or an HTTP date; an hour at most is believed.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return min(time.Duration(seconds)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, time.Until(at)), time.Hour)
	}
	return 0
}

// withoutURL drops the URL of an HTTP error: it may hold an id, and an id may hold a codice fiscale.
func withoutURL(err error) error {
	if one, ok := errors.AsType[*url.Error](err); ok {
		return one.Err
	}
	return err
}

// pool is what came in one or more answers.
type pool struct {
	byName map[string]*node // Type/id
	byURL  map[string]*node // fullUrl
	order  []*node
}

func newPool() *pool { return &pool{byName: map[string]*node{}, byURL: map[string]*node{}} }

func (p *pool) add(fullURL string, n *node) {
	name := n.ResourceType + "/" + string(n.ID)
	if p.byName[name] == nil {
		p.byName[name] = n
		p.order = append(p.order, n)
	}
	if fullURL != "" && p.byURL[fullURL] == nil {
		p.byURL[fullURL] = n
	}
}

// addEntries adds a Bundle and what is inside.
func (p *pool) addEntries(bundle *node) {
	p.add("", bundle)
	for i := range bundle.Entry {
		if e := &bundle.Entry[i]; len(e.Resource) > 0 && e.Resource[0].ResourceType != "" {
			p.add(string(e.FullURL), &e.Resource[0])
		}
	}
}

func (p *pool) addAll(other *pool) {
	for _, n := range other.order {
		p.add("", n)
	}
	for fullURL, n := range other.byURL {
		if p.byURL[fullURL] == nil {
			p.byURL[fullURL] = n
		}
	}
}

// of are all resources of one type.
func (p *pool) of(kind string) (all []*node) {
	for _, n := range p.order {
		if n.ResourceType == kind {
			all = append(all, n)
		}
	}
	return all
}

// lookup finds what a reference names, without asking anybody.
func (p *pool) lookup(s *Source, text string) *node {
	if n := p.byURL[text]; n != nil {
		return n
	}
	if r, ok := parseReference(text); ok && s.own(r) {
		return p.byName[r.kind+"/"+r.id]
	}
	return nil
}
