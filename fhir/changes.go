package fhir

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNotCredible says that a server's list of changes may lack some: nothing may be concluded from it.
var ErrNotCredible = errors.New("the list of changes is not credible")

// ErrCannotList says that a server has no usable list of changes.
var ErrCannotList = errors.New("the server cannot list what changed")

func notCredible(why string) error { return fmt.Errorf("%w: %s", ErrNotCredible, why) }
func cannotList(why string) error  { return fmt.Errorf("%w: %s", ErrCannotList, why) }

// Changes lists what one search finds that changed since a time (meta.lastUpdated), oldest first. It pages by that time and
// not by the server's links: a page that begins at what was seen last cannot skip what moved in between, needs no link that
// expires, and proves its own end. Links are followed only where more resources share a moment than a page holds. It is used
// by one goroutine at a time.
type Changes struct {
	source   *Source
	kind     string
	query    url.Values
	statuses []string   // that the search asks for; nil: any
	older    url.Values // the query without statuses of R5; nil: it has none

	way   int       // of listings, the best one that works here
	chose time.Time // when
	old   bool      // what is asked for now is without statuses of R5
	olds  bool      // it has refused them before
	most  int       // hits of a page, where more would be too large; 0: as many as the way asks for
	sorts bool      // it was seen to sort
}

// Changes prepares a search, Type?parameter=value.
func (s *Source) Changes(search string) (*Changes, error) {
	kind, query, err := ParseCriteria(search)
	if err != nil || kind == "" {
		return nil, errors.New("want Type?parameter=value")
	}
	c := &Changes{source: s, kind: kind, query: query}
	for _, one := range query["status"] {
		c.statuses = append(c.statuses, strings.Split(one, ",")...)
	}
	if older, has := withoutR5(kind, query); has {
		c.older = older
	}
	return c, nil
}

// Kind is the resource type that is searched for.
func (c *Changes) Kind() string { return c.kind }

// Look is what is asked for.
type Look struct {
	Since time.Time
	// Expected is the latest change that is known from before: where it lies in the time that is asked for, a list without
	// anything is not believed at once. Zero: none.
	Expected time.Time
	Pace     func(context.Context) error          // called before every page but the first; nil: no wait
	Clock    func(time.Time)                      // is told the server's clock, in whole seconds, when its first answer begins; nil: nobody
	Take     func(context.Context, []Event) error // takes what was not given before, page by page; nil: nobody
}

// Listed is what a look has seen.
type Listed struct {
	Pages, Hits int
	Newest      time.Time // the latest change; zero where there was none
	Whole       bool      // everything had to be read: the server cannot ask by time, or cannot sort
	Ignores     []string  // names of parameters that the server ignores
}

// listing is one way to ask.
type listing struct {
	elements, byTime, sorted bool
	count                    int // hits of a page
}

// listings are tried in order: a server may refuse or ignore any of these parameters.
var listings = []listing{
	{elements: true, byTime: true, sorted: true, count: 200},
	{byTime: true, sorted: true, count: 50},
	{byTime: true, count: 50},
	{count: 50},
}

const (
	unsorted  = 2      // the first way that reads everything
	wholeMost = 20_000 // resources that are read where everything must be
	countMost = 2_000  // hits of a page, where so many share a moment
	precision = time.Second
)

// errIgnored says that the server ignored what a list depends upon.
type errIgnored struct{ parameter string }

// Error names the parameter.
func (e errIgnored) Error() string { return "the server ignores " + e.parameter }

var (
	errNoTimes = errors.New("hits without meta.lastUpdated")
	errNoLink  = errors.New("there is no link to the next page")
)

// Since lists. The list is whole and credible where there is no error: ErrNotCredible and ErrCannotList say what is wrong with
// the server, *Trouble that it is in trouble.
func (c *Changes) Since(ctx context.Context, o Look) (Listed, error) {
	if now := c.source.o.Now(); now.Sub(c.chose) > askAgain {
		c.way, c.most, c.chose, c.sorts, c.olds = 0, 0, now, false, false
	}
	c.old = false // a refusal may have been for a moment: what is not asked for now is asked for with the next list
	var sofar Listed
	for {
		r := &run{Changes: c, Look: o, listing: listings[c.way], key: o.Since, seen: map[string]time.Time{}, left: -1}
		if c.most > 0 {
			r.count = min(r.count, c.most)
		}
		list := r.ordered
		if r.Whole = !r.sorted; r.Whole {
			list = r.whole
		}
		err := list(ctx)
		r.Pages += sofar.Pages
		r.note(sofar.Ignores...)
		next, known := c.after(err, r.count)
		switch {
		case known != nil:
			if errors.Is(err, errUnsupported) { // maybe for this moment only: the next list begins with the best way again
				c.way, c.chose = 0, time.Time{}
			}
			return r.Listed, known
		case err == nil:
			return r.Listed, nil
		}
		if ignored, is := errors.AsType[errIgnored](err); is {
			r.note(ignored.parameter)
		}
		c.way, sofar = next, r.Listed
	}
}

// after is the way to try after an error, or the error that is the answer.
func (c *Changes) after(err error, count int) (way int, known error) {
	_, ignored := errors.AsType[errIgnored](err)
	switch {
	case err == nil:
		return c.way, nil
	case errors.Is(err, errTooLarge) && count > 1:
		c.most = max(1, count/4)
		return c.way, nil
	case errors.Is(err, errTooLarge):
		return c.way, cannotList("one resource is larger than an answer may be")
	case ignored && c.way < unsorted:
		return unsorted, nil
	case ignored:
		return c.way, cannotList(err.Error())
	case errors.Is(err, errUnsupported) && c.olds && !c.old:
		c.old = true
		return c.way, nil
	case errors.Is(err, errNoTimes) && c.way == 0, errors.Is(err, errUnsupported) && c.way < len(listings)-1:
		return c.way + 1, nil
	case errors.Is(err, errNoTimes):
		return c.way, cannotList(err.Error())
	case errors.Is(err, errUnsupported) && c.older != nil && !c.old:
		c.old, c.olds = true, true
		return 0, nil
	case errors.Is(err, errUnsupported):
		return c.way, cannotList("it refuses the search")
	}
	return c.way, err
}

// run is one list being read.
type run struct {
	*Changes
	Look
	Listed
	listing

	key  time.Time            // from when on is asked for now
	seen map[string]time.Time // resources that lie at or after key, by id and version
	left int                  // how many the totals say are still to come; -1: they do not say
	told bool                 // the server's clock was

	followed map[string]bool // links, since a page was asked for that is no link
	vain     int             // how many in a row led to nothing that was not seen
	grown    int             // what was seen by then
}

func (r *run) note(ignores ...string) {
	for _, one := range ignores {
		if !slices.Contains(r.Ignores, one) {
			r.Ignores = append(r.Ignores, one)
		}
	}
}

// ordered reads on from what was seen last, until there is nothing more.
func (r *run) ordered(ctx context.Context) error {
	if err := r.checkSorting(ctx); err != nil {
		return err
	}
	for {
		p, err := r.page(ctx)
		if err != nil {
			return err
		}
		if len(p.hits) == 0 {
			return r.nothing(ctx)
		}
		if p.total >= 0 && p.total < r.left {
			return notCredible("its total shrinks")
		}
		fresh, err := r.take(ctx, p)
		if err != nil {
			return err
		}
		switch moved := r.move(p); {
		case p.next == "" && (p.total < 0 && fresh == 0 || p.total >= 0 && p.total <= len(p.hits)):
			return nil
		case moved:
			continue
		case p.next != "" && !r.leadsOn(p):
			return nil
		}
		if ended, err := r.through(ctx, p); ended || err != nil {
			return err
		}
	}
}

// page is the next page that holds anything, or the last one.
func (r *run) page(ctx context.Context) (*changesPage, error) {
	r.followed, r.vain = nil, 0
	p, err := r.ask(ctx, r.target(r.key))
	if errors.Is(err, errUnsupported) && r.Hits > 0 {
		err = notCredible("it refuses a page in the middle")
	}
	for err == nil && len(p.hits) == 0 && r.leadsOn(p) {
		p, err = r.follow(ctx, p.next)
	}
	return p, err
}

// leadsOn says whether a page has a link to more. Against a total that says that this is all, one to the server itself is
// believed, and one to another server is not.
func (r *run) leadsOn(p *changesPage) bool {
	_, own := r.source.within(p.next)
	return p.next != "" && (own || p.total < 0 || p.total > len(p.hits))
}

// checkSorting makes sure that the server sorts at all. One that does not may have its first page in order by chance, and then
// what lies behind it would never be asked for.
func (r *run) checkSorting(ctx context.Context) error {
	if r.sorts {
		return nil
	}
	var ends [2]*changesPage
	for i, by := range []string{"_lastUpdated", "-_lastUpdated"} {
		query := r.search()
		query.Set("_sort", by)
		query.Set("_count", "1")
		p, err := r.ask(ctx, r.source.o.BaseURL+"/"+r.kind+"?"+query.Encode())
		if err != nil {
			return err
		}
		ends[i] = p
	}
	oldest, newest := ends[0].hits, ends[1].hits
	switch {
	case len(oldest) == 0 || len(newest) == 0, oldest[0].ID == newest[0].ID && ends[0].total <= 1 && !r.leadsOn(ends[0]):
		return nil // there is nothing to be sorted yet
	case oldest[0].ID == newest[0].ID:
		alone, err := r.isAllThereIs(ctx, oldest[0].LastUpdated)
		if err != nil || alone {
			return err
		}
		return errIgnored{"_sort"}
	case oldest[0].LastUpdated.After(newest[0].LastUpdated):
		return errIgnored{"_sort"}
	}
	r.sorts = true
	return nil
}

// isAllThereIs says whether everything was written in one moment, as what is loaded in one transaction is: then every order is
// right. A server that answers otherwise than with nothing has others, or does not look at times.
func (r *run) isAllThereIs(ctx context.Context, moment time.Time) (bool, error) {
	for _, than := range []string{"lt", "gt"} {
		query := r.search()
		query.Set("_count", "1")
		query.Add("_lastUpdated", than+instantOf(moment))
		p, err := r.ask(ctx, r.source.o.BaseURL+"/"+r.kind+"?"+query.Encode())
		switch {
		case errors.Is(err, errUnsupported):
			return false, nil
		case err != nil:
			return false, err
		case len(p.hits) > 0, r.leadsOn(p):
			return false, nil
		}
	}
	return true, nil
}

// instantOf is a time as searches name it.
func instantOf(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// move lets the next page begin at the last moment of this one, with all that share it; false where this page has only that.
func (r *run) move(p *changesPage) bool {
	if len(p.hits) == 0 || !r.beyond(p) {
		return false
	}
	key := p.last().Add(-time.Millisecond)
	if r.key, r.left = key, -1; p.total >= 0 {
		r.left = p.total
		for _, hit := range p.hits {
			if hit.LastUpdated.Before(key) {
				r.left--
			}
		}
	}
	for name, at := range r.seen {
		if at.Before(key) {
			delete(r.seen, name)
		}
	}
	return true
}

// through follows the server's links through a moment that more resources share than a page holds, again and again until
// nothing new turns up: what is changed meanwhile leaves its place, and others take it. Ended where nothing comes after it.
func (r *run) through(ctx context.Context, p *changesPage) (ended bool, err error) {
	fresh := 0
	for range walksMost {
		last, more, err := r.walk(ctx, p)
		if err != nil {
			return false, err
		}
		if fresh+more == 0 {
			moved := r.move(last)
			r.left = -1 // these totals count from where the first of these pages began
			return !moved, nil
		}
		if p, err = r.page(ctx); err == nil && len(p.hits) == 0 {
			err = r.nothing(ctx)
		}
		if err != nil || len(p.hits) == 0 {
			return true, err
		}
		if fresh, err = r.take(ctx, p); err != nil {
			return false, err
		}
	}
	return false, notCredible("it changes faster than it can be read")
}

// walksMost is how often one moment is gone through.
const walksMost = 8

// walk follows links to the first page that leads out of the moment, or to the last one; fresh is what was new on the way.
func (r *run) walk(ctx context.Context, p *changesPage) (last *changesPage, fresh int, err error) {
	for total := p.total; ; {
		switch {
		case len(p.hits) > 0 && r.beyond(p):
			return p, fresh, nil
		case p.next == "" && r.enough(p, total):
			return p, fresh, nil
		case p.next == "" && r.count < countMost && len(p.hits) >= r.count && r.most == 0:
			r.count = min(countMost, 10*r.count)
			return p, fresh + 1, nil // once more, with larger pages
		case p.next == "":
			return p, fresh, notCredible(errNoLink.Error())
		}
		if p, err = r.follow(ctx, p.next); err != nil {
			return p, fresh, err
		}
		if p.total >= 0 && p.total < total {
			return p, fresh, notCredible("its total shrinks")
		}
		more, err := r.take(ctx, p)
		if fresh += more; err != nil {
			return p, fresh, err
		}
	}
}

// beyond says whether a page leads on.
func (r *run) beyond(p *changesPage) bool { return p.last().Add(-time.Millisecond).After(r.key) }

// enough says whether a page without a link is the last one.
func (r *run) enough(p *changesPage, total int) bool {
	if total < 0 {
		return len(p.hits) < r.count
	}
	return r.distinct() >= total
}

// distinct is how many resources were seen, each once whatever its versions.
func (r *run) distinct() int {
	ids := map[string]bool{}
	for name := range r.seen {
		id, _, _ := strings.Cut(name, " ")
		ids[id] = true
	}
	return len(ids)
}

// nothing says whether an empty page may be believed.
func (r *run) nothing(ctx context.Context) error {
	if r.Hits > 0 {
		return notCredible("an empty page where something was a moment ago")
	}
	if r.Expected.Before(r.Look.Since) {
		return nil
	}
	// What was there before is gone, or the answer is wrong: it is believed of a server that shows anything at all.
	p, err := r.ask(ctx, r.source.o.BaseURL+"/"+r.kind+"?_count=1")
	switch {
	case err != nil && !errors.Is(err, errUnsupported):
		return err
	case err != nil || len(p.hits) == 0:
		return notCredible("it is empty, and so is the server, where something was before")
	}
	return nil
}

// whole reads everything, by the server's links, and takes what is new.
func (r *run) whole(ctx context.Context) error {
	p, err := r.ask(ctx, r.target(r.key))
	if err != nil {
		return err
	}
	if len(p.hits) == 0 && p.next == "" {
		return r.nothing(ctx)
	}
	for total := p.total; ; {
		switch {
		case p.total > wholeMost, len(r.seen) > wholeMost:
			return cannotList(fmt.Sprintf("it must be read as a whole, and has more than %d", wholeMost))
		case p.total >= 0 && p.total < total:
			return notCredible("its total shrinks")
		}
		if _, err := r.take(ctx, p); err != nil {
			return err
		}
		if p.next == "" {
			if total > r.distinct() {
				return notCredible(errNoLink.Error())
			}
			return nil
		}
		if p, err = r.follow(ctx, p.next); err != nil {
			return err
		}
	}
}

// target is the URL of a page.
func (r *run) target(since time.Time) string {
	query := r.search()
	query.Set("_count", strconv.Itoa(r.count))
	if r.byTime {
		query.Add("_lastUpdated", "ge"+instantOf(since))
	}
	if r.sorted {
		query.Set("_sort", "_lastUpdated")
	}
	return r.source.o.BaseURL + "/" + r.kind + "?" + query.Encode()
}

// search is what every page has.
func (r *run) search() url.Values {
	query, from := url.Values{}, r.query
	if r.old {
		from = r.older
	}
	for name, values := range from {
		query[name] = slices.Clone(values)
	}
	if r.elements {
		query.Set("_elements", "meta,status") // whole resources may be large
	}
	return query
}

// follow asks for the page behind a link.
func (r *run) follow(ctx context.Context, link string) (*changesPage, error) {
	target, own := r.source.within(link)
	if !own {
		return nil, cannotList(errStrayLink.Error())
	}
	if r.roundAndRound(target) {
		return nil, notCredible("the links to its next pages lead round and round")
	}
	p, err := r.ask(ctx, target)
	if errors.Is(err, errUnsupported) {
		return nil, notCredible("the link to its next page is not there any more")
	}
	return p, err
}

// roundAndRound says whether links lead nowhere: to where they led before, or ever on without anything new.
func (r *run) roundAndRound(target string) bool {
	const most = 100
	if len(r.seen) != r.grown {
		r.grown, r.vain = len(r.seen), 0
	}
	if r.followed == nil {
		r.followed = map[string]bool{}
	}
	again := r.followed[target]
	r.followed[target] = true
	r.vain++
	return again || r.vain > most
}

// ask asks for one page, and checks what came.
func (r *run) ask(ctx context.Context, target string) (*changesPage, error) {
	if r.Pages > 0 && r.Pace != nil {
		if err := r.Pace(ctx); err != nil {
			return nil, err
		}
	}
	p, err := r.source.changes(ctx, target, "list changes of "+r.kind, r.dated)
	if err != nil {
		return nil, err
	}
	r.Pages++
	if name := p.ignored(r.query); name != "" {
		return nil, cannotList("the server ignores " + name) // it would list what nobody asked for
	}
	return p, p.read(r.kind)
}

// dated notes the server's clock, once: what follows takes its time.
func (r *run) dated(date time.Time) {
	if !r.told && r.Clock != nil {
		r.Clock(date)
	}
	r.told = true
}

// take gives what was not seen yet, and checks that the server did as it was asked.
func (r *run) take(ctx context.Context, p *changesPage) (fresh int, err error) {
	var events []Event
	last := time.Time{}
	for _, hit := range p.hits {
		switch {
		case r.sorted && hit.LastUpdated.Before(r.key.Add(-precision)):
			return 0, errIgnored{"_lastUpdated"}
		case r.sorted && hit.LastUpdated.Before(last):
			return 0, errIgnored{"_sort"}
		case hit.LastUpdated.Before(r.Look.Since.Add(-precision)):
			r.seen[hit.ID] = hit.LastUpdated
			if r.byTime {
				r.note("_lastUpdated")
			}
			continue
		}
		last = hit.LastUpdated
		name := hit.ID + " " + hit.Version
		if _, again := r.seen[name]; again {
			continue
		}
		r.seen[name] = hit.LastUpdated
		fresh++
		if len(r.statuses) > 0 && hit.status != "" && !slices.Contains(r.statuses, hit.status) {
			r.note("status")
			continue
		}
		events = append(events, hit.Event)
		if r.Hits++; hit.LastUpdated.After(r.Newest) {
			r.Newest = hit.LastUpdated
		}
	}
	if len(events) > 0 && r.Take != nil {
		err = r.Take(ctx, events)
	}
	return fresh, err
}
