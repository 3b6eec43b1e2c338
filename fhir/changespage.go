package fhir

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// changesPage is one page of changes.
type changesPage struct {
	ResourceType text               `json:"resourceType"`
	Total        text               `json:"total"`
	Entry        list[changesEntry] `json:"entry"`
	Link         list[pageLink]     `json:"link"`

	total int // -1: it does not say
	next  string
	hits  []changed
}

type changesEntry struct {
	Resource list[changesResource] `json:"resource"`
	Search   list[mode]            `json:"search"`
}

type changesResource struct {
	ResourceType text              `json:"resourceType"`
	ID           text              `json:"id"`
	Meta         list[changesMeta] `json:"meta"`
	Status       text              `json:"status"`
	Issue        list[issue]       `json:"issue"`
}

type changesMeta struct {
	VersionID   text `json:"versionId"`
	LastUpdated text `json:"lastUpdated"`
}

// changed is one hit.
type changed struct {
	Event
	status string
}

// changes asks for one page; errUnsupported where the server refuses it, or has it not any more. It says the server's clock as
// soon as an answer begins.
func (s *Source) changes(ctx context.Context, target, doing string, dated func(time.Time)) (*changesPage, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, &Trouble{Kind: Unusable, Doing: doing}
	}
	req.Header["Accept"], req.Header["Prefer"], req.Header["Cache-Control"] = bothForms, strictly, fresh
	res, err := s.send(req, doing)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusGone, searchRefused(res.StatusCode):
		return nil, errUnsupported
	case res.StatusCode != http.StatusOK:
		return nil, refused(res, doing)
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		dated(date)
	}
	p, err := readChanges(res, Limits{MaxBytes: s.o.MaxBody, MaxDepth: s.o.MaxDepth})
	if cut := cutOff(ctx, err, doing); cut != nil {
		return nil, cut
	}
	switch {
	case errors.Is(err, errTooLarge):
		return nil, err
	case err != nil:
		return nil, &Trouble{Kind: Unusable, Status: res.StatusCode, Doing: doing, Err: err}
	}
	return p, nil
}

func readChanges(res *http.Response, limits Limits) (*changesPage, error) {
	var p changesPage
	body, err := openBody(res.Body, limits.MaxBytes)
	if err == nil {
		err = json.UnmarshalRead(body.asJSON(limits), &p, anyText)
	}
	switch {
	case err != nil && body != nil && body.xml:
		return nil, unreadableAnswer(asXMLTrouble(err, ""))
	case err != nil:
		return nil, unreadableAnswer(err)
	case p.ResourceType != "Bundle":
		return nil, errors.New("the answer is no Bundle")
	}
	return &p, nil
}

// read understands the entries.
func (p *changesPage) read(kind string) error {
	if p.total = -1; p.Total != "" {
		p.total = int(count(string(p.Total)))
	}
	for _, l := range p.Link {
		if l.Relation == "next" {
			p.next = string(l.URL)
		}
	}
	p.hits = make([]changed, 0, len(p.Entry))
	for i := range p.Entry {
		r := p.Entry[i].Resource.first()
		if err := r.credible(); err != nil {
			return err
		}
		if mode := p.Entry[i].Search.first().Mode; mode != "" && mode != "match" || r.ResourceType == "OperationOutcome" {
			continue
		}
		m := r.Meta.first()
		hit := changed{Event{Type: kind, ID: string(r.ID), Version: string(m.VersionID), LastUpdated: parseInstant(string(m.LastUpdated))}, string(r.Status)}
		switch {
		case string(r.ResourceType) != kind || !IsID(hit.ID):
			return notCredible("it holds what is no " + kind)
		case hit.LastUpdated.IsZero():
			return errNoTimes
		}
		p.hits = append(p.hits, hit)
	}
	return nil
}

// credible is an error where a resource says that the list that it stands in is wrong, or not whole.
func (r changesResource) credible() error {
	switch {
	case r.ResourceType != "OperationOutcome":
	case slices.ContainsFunc(r.Issue, issue.isError):
		return notCredible(errOutcome.Error())
	case slices.ContainsFunc(r.Issue, issue.saysLess):
		return notCredible("it says itself that it is not whole")
	}
	return nil
}

func (i issue) isError() bool { return i.Severity == "error" || i.Severity == "fatal" }

// saysLess says whether an issue means that there is more than what came, however severe the server thinks that is: too-costly,
// and transient with all that it stands for (FHIR, IssueType).
func (i issue) saysLess() bool {
	return slices.Contains([]text{"incomplete", "timeout", "too-costly", "throttled", "transient", "exception", "lock-error", "no-store"}, i.Code)
}

// last is the moment of the last hit.
func (p *changesPage) last() time.Time { return p.hits[len(p.hits)-1].LastUpdated }

// ignored is a parameter of the search that the server did not use, by its own words: the self link has what was (FHIR,
// search). Without one, or with an empty one, nothing is known.
func (p *changesPage) ignored(search url.Values) string {
	at := slices.IndexFunc(p.Link, func(l pageLink) bool { return l.Relation == "self" })
	if at < 0 {
		return ""
	}
	self, err := url.Parse(string(p.Link[at].URL))
	if err != nil || !self.Query().Has("_lastUpdated") { // it is abridged, or opaque
		return ""
	}
	for name := range search {
		if name != "status" && !self.Query().Has(name) { // a status is checked by us
			return name
		}
	}
	return ""
}
