package fhir

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// The bounds of one look at the history of a type: all versions of its resources, the latest first. What was deleted is in no
// search, and there it is named.
const (
	versionsOnce = 100 // of a page
	versionPages = 50
)

// ErrHistoryTooLong says that a look at a history did not reach its end: it gives the latest first.
var ErrHistoryTooLong = errors.New("the history of that time is longer than is read")

// Keeps are those of some types whose history the server says it lists (CapabilityStatement, interaction history-type).
func (s *Source) Keeps(ctx context.Context, kinds []string) (kept []string, err error) {
	from, err := s.statement(ctx)
	if err != nil || from == nil {
		return nil, err
	}
	for _, kind := range kinds {
		if slices.ContainsFunc(from.resources(text(kind)), func(r restResource) bool {
			return slices.ContainsFunc(r.Interaction, func(i interaction) bool { return i.Code == "history-type" })
		}) {
			kept = append(kept, kind)
		}
	}
	return kept, nil
}

// historyPage is one page of a history.
type historyPage struct {
	ResourceType text               `json:"resourceType"`
	Entry        list[historyEntry] `json:"entry"`
	Link         list[pageLink]     `json:"link"`
}

type historyEntry struct {
	FullURL  text                  `json:"fullUrl"`
	Request  list[historyRequest]  `json:"request"`
	Response list[historyResponse] `json:"response"`
}

type historyRequest struct {
	Method text `json:"method"`
	URL    text `json:"url"`
}

type historyResponse struct {
	LastModified text `json:"lastModified"`
}

// Deleted lists what was deleted of a type since a time. Events have the time of their deletion as LastUpdated, where the server
// says it (HAPI does not). Look's Expected and Clock are not used. Versions hold whole documents: where a page of them is too
// large it is begun anew with smaller ones, and deletions may be given twice.
func (s *Source) Deleted(ctx context.Context, kind string, look Look) (pages int, err error) {
	for count := versionsOnce; ; count /= 10 {
		n, err := s.deletedBy(ctx, kind, count, look)
		pages += n
		if count == 1 || !errors.Is(err, errTooLarge) {
			return pages, err
		}
	}
}

// deletedBy lists by pages of so many versions.
func (s *Source) deletedBy(ctx context.Context, kind string, count int, look Look) (pages int, err error) {
	const doing = "read history"
	query := url.Values{"_since": {look.Since.UTC().Format(time.RFC3339Nano)}, "_count": {strconv.Itoa(count)}}
	next := call{method: http.MethodGet, target: s.o.BaseURL + "/" + kind + "/_history?" + query.Encode(), doing: doing}
	since := look.Since.Truncate(time.Second) // many servers keep no more
	for pages = range versionPages {
		if look.Pace != nil && pages > 0 {
			if err := look.Pace(ctx); err != nil {
				return pages, err
			}
		}
		p, err := s.historyPage(ctx, next)
		if err != nil {
			return pages, err
		}
		if events := p.deleted(kind, since); look.Take != nil && len(events) > 0 {
			if err := look.Take(ctx, events); err != nil {
				return pages, err
			}
		}
		link := (&page{Link: p.Link}).next()
		if link == "" || p.endsBefore(since) {
			return pages + 1, nil
		}
		target, own := s.within(link)
		if !own {
			return pages + 1, errStrayLink
		}
		next = call{method: http.MethodGet, target: target, doing: doing}
	}
	return versionPages, ErrHistoryTooLong
}

func (s *Source) historyPage(ctx context.Context, c call) (*historyPage, error) {
	r, err := s.exchange(ctx, c)
	switch {
	case err != nil:
		return nil, err
	case !r.fine():
		return nil, r.refusal(c.doing)
	}
	var p historyPage
	if json.Unmarshal(r.body, &p) != nil || p.ResourceType != "Bundle" {
		return nil, &Trouble{Kind: Unusable, Doing: c.doing, Err: errors.New("the answer is no Bundle")}
	}
	return &p, nil
}

// endsBefore says that what follows a page is older than a time: the latest versions come first, and the server may not heed _since.
func (p *historyPage) endsBefore(since time.Time) bool {
	if len(p.Entry) == 0 {
		return false
	}
	at := p.Entry[len(p.Entry)-1].at()
	return !at.IsZero() && at.Before(since)
}

// at is when a version was written; zero where the server does not say.
func (e *historyEntry) at() time.Time { return parseInstant(string(e.Response.first().LastModified)) }

// deleted are the deletions of a page since a time.
func (p *historyPage) deleted(kind string, since time.Time) (events []Event) {
	for i := range p.Entry {
		e := &p.Entry[i]
		request, at := e.Request.first(), e.at()
		if !strings.EqualFold(string(request.Method), http.MethodDelete) || (!at.IsZero() && at.Before(since)) {
			continue
		}
		of, ok := parseReference(string(request.URL))
		if !ok {
			of, ok = parseReference(string(e.FullURL))
		}
		if ok && of.kind == kind && IsID(of.id) {
			events = append(events, Event{Type: kind, ID: of.id, Version: of.version, Deleted: true, LastUpdated: at})
		}
	}
	return events
}
