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
	Total        text               `json:"total"`
	Entry        list[historyEntry] `json:"entry"`
	Link         list[pageLink]     `json:"link"`
}

type historyEntry struct {
	FullURL  text                  `json:"fullUrl"`
	Resource list[changesResource] `json:"resource"`
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
// large it is begun anew with smaller ones, and deletions may be given twice. Where there is no error, or ErrHistoryTooLong, the
// latest of that time came.
func (s *Source) Deleted(ctx context.Context, kind string, look Look) (pages int, err error) {
	for most := versionsOnce; ; most = max(1, most/10) {
		h := historyRun{Source: s, Look: look, kind: kind, most: most, pages: pages, followed: map[string]bool{}}
		err = h.read(ctx)
		if pages = h.pages; !errors.Is(err, errTooLarge) || most == 1 {
			return pages, err
		}
	}
}

// historyRun is one history being read.
type historyRun struct {
	*Source
	Look

	kind     string
	most     int // versions of a page
	pages    int
	versions int
	followed map[string]bool // links

	last         time.Time // of the version before
	falls, rises bool      // so do the times of versions; a server should give the latest first
}

const readingHistory = "read history"

// read follows the links to what is older than we ask for, or to the end.
func (h *historyRun) read(ctx context.Context) error {
	query := url.Values{"_since": {h.Since.UTC().Format(time.RFC3339Nano)}, "_count": {strconv.Itoa(h.most)}}
	target := h.o.BaseURL + "/" + h.kind + "/_history?" + query.Encode()
	for range versionPages {
		p, err := h.page(ctx, target)
		if err != nil {
			return err
		}
		if events := h.take(p); h.Take != nil && len(events) > 0 {
			if err := h.Take(ctx, events); err != nil {
				return err
			}
		}
		link := (&page{Link: p.Link}).next()
		if link == "" || h.falls && !h.rises && h.older(h.last) {
			return h.whole(p, link)
		}
		next, own := h.within(link)
		switch {
		case !own:
			return errStrayLink
		case h.followed[next]:
			return notCredible("the links to its next pages lead round and round")
		}
		h.followed[next], target = true, next
	}
	if h.rises {
		return notCredible("its history is longer than is read, and the latest does not come first")
	}
	return ErrHistoryTooLong
}

// whole says whether the last page may be the last one: a full one without a link is not, where there is more.
func (h *historyRun) whole(p *historyPage, link string) error {
	if link == "" && len(p.Entry) >= h.most && count(string(p.Total)) > int64(h.versions) {
		return notCredible(errNoLink.Error())
	}
	return nil
}

// older says that a server gives more than it is asked for.
func (h *historyRun) older(at time.Time) bool {
	return !at.IsZero() && at.Before(h.Since.Add(-precision))
}

func (h *historyRun) page(ctx context.Context, target string) (*historyPage, error) {
	if h.Pace != nil && h.pages > 0 {
		if err := h.Pace(ctx); err != nil {
			return nil, err
		}
	}
	r, err := h.exchange(ctx, call{method: http.MethodGet, target: target, doing: readingHistory})
	switch {
	case err != nil:
		return nil, err
	case !r.fine():
		return nil, r.refusal(readingHistory)
	}
	h.pages++
	var p historyPage
	if unmarshal(r.body, &p) != nil || p.ResourceType != "Bundle" {
		return nil, &Trouble{Kind: Unusable, Doing: readingHistory, Err: errors.New("the answer is no Bundle")}
	}
	for _, e := range p.Entry {
		if err := e.Resource.first().credible(); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

// take are the deletions of a page, as far as they are asked for.
func (h *historyRun) take(p *historyPage) (events []Event) {
	h.versions += len(p.Entry)
	for _, e := range p.Entry {
		at := e.at()
		if !at.IsZero() {
			h.falls, h.rises = h.falls || at.Before(h.last), h.rises || (!h.last.IsZero() && at.After(h.last.Add(precision)))
			h.last = at
		}
		if of, is := e.deleted(); is && of.kind == h.kind && IsID(of.id) && !h.older(at) {
			events = append(events, Event{Type: h.kind, ID: of.id, Version: of.version, Deleted: true, LastUpdated: at})
		}
	}
	return events
}

// at is when a version was made; zero where its server does not say so.
func (e *historyEntry) at() time.Time {
	if at := parseInstant(string(e.Response.first().LastModified)); !at.IsZero() {
		return at
	}
	return parseInstant(string(e.Resource.first().Meta.first().LastUpdated))
}

// deleted is what a version says is no more.
func (e *historyEntry) deleted() (of reference, is bool) {
	request := e.Request.first()
	if !strings.EqualFold(string(request.Method), http.MethodDelete) {
		return of, false
	}
	if of, is = parseReference(string(request.URL)); !is {
		of, is = parseReference(string(e.FullURL))
	}
	return of, is
}
