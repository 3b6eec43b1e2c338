package fhir

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// reply is an answer to a call that writes or asks about Subscriptions: unlike a reader of documents, its caller must know
// the status.
type reply struct {
	status   int
	location string
	issue    string // code of the first error of an OperationOutcome, a fixed word; "" where there was none
	body     jsontext.Value
}

// fine says whether the server did what it was asked for.
func (r reply) fine() bool { return r.status >= 200 && r.status < 300 }

// missing says that the resource is not there.
func (r reply) missing() bool { return r.status == http.StatusNotFound || r.status == http.StatusGone }

// refusal is the reply as an error.
func (r reply) refusal(doing string) *Trouble {
	t := &Trouble{Kind: Unusable, Status: r.status, Doing: doing, issue: r.issue}
	if r.issue != "" {
		t.Err = errors.New("issue " + r.issue)
	}
	return t
}

// call is one request by its parts.
type call struct {
	method, target string
	body           []byte // JSON; nil for none
	form           url.Values
	doing          string
}

// exchange makes a call. Its error is trouble of the whole source; whatever says something of this one call is a reply.
func (s *Source) exchange(ctx context.Context, c call) (reply, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	kind, body := "application/fhir+json", c.body
	if c.form != nil {
		kind, body = "application/x-www-form-urlencoded", []byte(c.form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.target, bytes.NewReader(body))
	if err != nil {
		return reply{}, &Trouble{Kind: Unusable, Doing: c.doing}
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	req.Header.Set("Accept", "application/fhir+json")
	req.Header["Prefer"] = []string{"return=representation", "handling=strict"}
	req.Header.Set("Cache-Control", "no-cache")
	res, err := s.send(req, c.doing)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	if trouble := refused(res, c.doing); trouble.Kind != Unusable && res.StatusCode != http.StatusNotImplemented {
		return reply{}, trouble
	}
	return s.reply(ctx, res, c.doing)
}

// reply reads an answer to its end, with long strings cut short.
func (s *Source) reply(ctx context.Context, res *http.Response, doing string) (reply, error) {
	r := reply{status: res.StatusCode, location: res.Header.Get("Location")}
	var clip clipReader
	clip.reset(res.Body, Limits{MaxBytes: s.o.MaxBody, MaxDepth: s.o.MaxDepth})
	text, err := io.ReadAll(bufio.NewReader(&clip)) // whose reads are never too short for the clipper
	if cut := cutOff(ctx, err, doing); cut != nil {
		return r, cut
	}
	switch {
	case err != nil && r.fine():
		return r, &Trouble{Kind: Unusable, Status: res.StatusCode, Doing: doing, Err: plainly(err)}
	case err != nil, len(bytes.TrimSpace(text)) == 0:
		return r, nil //nolint:nilerr // the body of a refusal that cannot be read leaves its status
	case !jsontext.Value(text).IsValid(anyText):
		if r.fine() && res.StatusCode != http.StatusNoContent {
			return r, &Trouble{Kind: Unusable, Status: res.StatusCode, Doing: doing, Err: errNotFHIR}
		}
		return r, nil
	}
	r.body = text
	if bad := outcomeIn(r.body); bad != "" {
		r.issue = bad
		if r.fine() {
			return r, &Trouble{Kind: Unusable, Status: res.StatusCode, Doing: doing, Err: errOutcome}
		}
	}
	return r, nil
}

// plainly is an error of reading, without what was read.
func plainly(err error) error {
	if errors.Is(err, errTooLarge) || errors.Is(err, errTooDeep) {
		return err
	}
	return errors.New("the answer cannot be read")
}

// word is a code that may be shown: a server may write anything in its place.
var word = regexp.MustCompile(`^[a-z][a-z-]{1,39}$`)

// shown is a code of a server, or `other` where it is none.
func shown(code string) string {
	if word.MatchString(code) {
		return code
	}
	return "other"
}

// outcomeIn is the code of the first error of an OperationOutcome; "" where the resource is none, or holds no error.
func outcomeIn(resource jsontext.Value) string {
	var outcome struct {
		ResourceType text        `json:"resourceType"`
		Issue        list[issue] `json:"issue"`
	}
	if unmarshal(resource, &outcome) != nil || outcome.ResourceType != "OperationOutcome" {
		return ""
	}
	at := slices.IndexFunc(outcome.Issue, func(i issue) bool { return i.Severity == "error" || i.Severity == "fatal" })
	if at < 0 {
		return ""
	}
	return shown(string(outcome.Issue[at].Code))
}

// page is one page of a search, its resources as they came.
type page struct {
	ResourceType text            `json:"resourceType"`
	Entry        list[pageEntry] `json:"entry"`
	Link         list[pageLink]  `json:"link"`
}

// rawResource is a resource as it came.
type rawResource = jsontext.Value

type pageEntry struct {
	Resource rawResource `json:"resource"`
	Search   list[mode]  `json:"search"`
}

type pageLink struct {
	Relation text `json:"relation"`
	URL      text `json:"url"`
}

// next is the link to the following page, as the server wrote it; "" on the last one.
func (p *page) next() string {
	for _, l := range p.Link {
		if l.Relation == "next" {
			return string(l.URL)
		}
	}
	return ""
}

// matches are the resources of the page that were searched for.
func (p *page) matches() (all []rawResource) {
	for _, e := range p.Entry {
		if mode := e.Search.first().Mode; len(e.Resource) > 0 && (mode == "" || mode == "match") {
			all = append(all, e.Resource)
		}
	}
	return all
}

// Errors of a search that went well as far as it went.
var (
	errStrayLink = errors.New("the link to the next page leads to another server: name it among the aliases")
	errTooMuch   = errors.New("more pages than are read")
)

// pages asks for the matches of a search, page by page, until there are no more or enough says so. Where it does not reach
// the end, what it has is given with errStrayLink or errTooMuch; errUnsupported says that the server refuses the search.
func (s *Source) pages(ctx context.Context, first call, atMost int, enough func([]rawResource) bool) (all []rawResource, err error) {
	next := first
	for range atMost {
		p, err := s.page(ctx, next)
		if err != nil {
			return all, err
		}
		all = append(all, p.matches()...)
		link := p.next()
		if link == "" || (enough != nil && enough(all)) {
			return all, nil
		}
		target, own := s.within(link)
		if !own {
			return all, errStrayLink
		}
		next = call{method: http.MethodGet, target: target, doing: first.doing}
	}
	return all, errTooMuch
}

func (s *Source) page(ctx context.Context, c call) (*page, error) {
	r, err := s.exchange(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case searchRefused(r.status) || r.missing():
		return nil, errUnsupported
	case !r.fine():
		return nil, r.refusal(c.doing)
	}
	var p page
	if unmarshal(r.body, &p) != nil || p.ResourceType != "Bundle" {
		return nil, &Trouble{Kind: Unusable, Doing: c.doing, Err: errors.New("the answer is no Bundle")}
	}
	for _, e := range p.Entry {
		if outcomeIn(e.Resource) != "" {
			return nil, &Trouble{Kind: Unusable, Doing: c.doing, Err: errOutcome}
		}
	}
	return &p, nil
}

// within rebuilds a link of the server on its configured base; false where it leads elsewhere: a link is never fetched as it
// is written (reference fhir-subscriptions.md, 5).
func (s *Source) within(link string) (target string, own bool) {
	base, err := url.Parse(s.o.BaseURL + "/")
	if err != nil {
		return "", false
	}
	to, err := base.Parse(link)
	if err != nil || to.User != nil || strings.Contains(to.Path, "..") {
		return "", false
	}
	query := to.RawQuery
	to.RawQuery, to.Fragment = "", ""
	for _, own := range s.bases {
		rest, is := strings.CutPrefix(strings.TrimSuffix(to.String(), "/"), own)
		if !is || (rest != "" && rest[0] != '/') {
			continue
		}
		if target = s.o.BaseURL + rest; query != "" {
			target += "?" + query
		}
		return target, true
	}
	return "", false
}
