package fhir

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Deed is what was done about a Subscription, or is to be done.
type Deed string

// The deeds.
const (
	Unchanged   Deed = "unchanged"
	Created     Deed = "created"
	Renewed     Deed = "renewed"     // its end was near
	Replaced    Deed = "replaced"    // something else is wanted than it was
	Reactivated Deed = "reactivated" // its server had stopped it
	Removed     Deed = "removed"     // it is no longer wanted
)

// Remembered is what its owner remembers of a Subscription of ours. Where nothing is remembered, ours are found by their
// endpoint and their mark.
type Remembered struct {
	ID          string
	Endpoint    string // as the server wrote it down
	Fingerprint string // of what was wanted when it was written
}

// Kept is one Subscription of ours, as Ensure left it.
type Kept struct {
	Remembered

	Deed      Deed
	Why       string // what was different; fixed words
	Recreated bool   // the server forbids updates: it has another id now
	Lapsed    bool   // its end had passed
	Criteria  string // or the topic
	Status    string // as the server says: requested, active, error, off
	Events    int64  // since it began; -1 unknown
	Trouble   string // code of the error that the server names; "" for none
	Content   string // as the server keeps it
	Heartbeat time.Duration
	End       time.Time // zero: for ever
}

// Active says whether the server delivers.
func (k Kept) Active() bool { return k.Status == "active" }

// Interrupted says whether there may be something that it has not told of: it is new, it was stopped or had ended, or it was about
// something else.
func (k Kept) Interrupted() bool {
	switch k.Deed {
	case Created, Replaced, Reactivated:
		return true
	case Renewed:
		return k.Lapsed || k.Recreated
	case Unchanged, Removed:
	}
	return false
}

// Ensured is how our Subscriptions at one source stand after Ensure.
type Ensured struct {
	Server  *Capability // nil: it says nothing of itself
	Choice  Choice
	Kept    []Kept
	Refused []Refused
	Foreign int // post to our endpoint and are not ours: left alone
}

// Refused is a Subscription that the server does not take. Where it is a spare one, whose search not every server knows, this
// is no failure: sweeps look for the same.
type Refused struct {
	Criteria string // or the topic
	Spare    bool
	Err      error
}

// SubscriberOptions are what a Subscriber needs.
type SubscriberOptions struct {
	Source *Source
	Wish   Wish
	Now    func() time.Time                                 // nil: time.Now
	Pause  func(ctx context.Context, d time.Duration) error // nil: a timer
	// First, where set, is called once before the first Subscription is created at a server that has none of ours.
	First func(ctx context.Context, choice Choice)
}

// Subscriber keeps our Subscriptions at one source. It is used by one goroutine at a time.
type Subscriber struct {
	source *Source
	base   string // below which the server keeps Subscriptions
	wish   Wish
	now    func() time.Time
	pause  func(context.Context, time.Duration) error
	first  func(context.Context, Choice)

	asked    time.Time // when the server was asked what it speaks
	server   *Capability
	choice   Choice
	noStatus bool     // it has no $status
	refused  []string // spare criteria, since then
	begun    bool     // First was called, or need not be
}

// NewSubscriber makes a Subscriber; it calls nobody yet.
func NewSubscriber(o SubscriberOptions) *Subscriber {
	s := &Subscriber{source: o.Source, base: strings.TrimSuffix(o.Wish.BaseURL, "/"), wish: o.Wish, now: o.Now, pause: o.Pause, first: o.First}
	if s.base == "" {
		s.base = o.Source.o.BaseURL
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.pause == nil {
		s.pause = pauseFor
	}
	return s
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// askAgain is how long we believe what a server said of itself: it may be upgraded.
const askAgain = 6 * time.Hour

// Learn asks what the server speaks and chooses the flavour.
func (s *Subscriber) Learn(ctx context.Context) (*Capability, Choice, error) {
	if !s.asked.IsZero() && s.now().Sub(s.asked) < askAgain {
		return s.server, s.choice, nil
	}
	server, err := s.source.Capability(ctx)
	if err != nil {
		return nil, Choice{}, err
	}
	s.server = server
	if s.choice, err = choose(server, s.wish, s.source.o.Shape); err != nil {
		return server, Choice{}, err
	}
	s.refused = nil
	for _, w := range s.wanted() {
		if err := w.check(); err != nil {
			return server, s.choice, err
		}
	}
	s.asked, s.noStatus = s.now(), false
	return s.server, s.choice, nil
}

// Ensure makes the server have exactly the Subscriptions of ours that are wanted. It is idempotent. One that the server
// refuses keeps us from none of the others. Where it fails, what was done is given with the error.
func (s *Subscriber) Ensure(ctx context.Context, known []Remembered) (Ensured, error) {
	var e Ensured
	steps, err := s.plan(ctx, known, &e)
	if err != nil {
		return e, err
	}
	s.beforeFirst(ctx, steps)
	var errs []error
	for _, step := range steps {
		if step.deed == Removed && len(errs) > 0 {
			continue // it is better than none
		}
		kept, err := s.take(ctx, step)
		switch trouble, is := errors.AsType[*Trouble](err); {
		case err == nil:
			e.Kept = append(e.Kept, kept)
		case !is || trouble.Kind != Unusable || ctx.Err() != nil:
			return e, errors.Join(append(errs, err)...)
		case !s.refuse(&e, step, err):
			errs = append(errs, err)
		}
	}
	return e, errors.Join(errs...)
}

// beforeFirst calls First where nothing of ours is there yet.
func (s *Subscriber) beforeFirst(ctx context.Context, steps []step) {
	if s.begun || s.first == nil {
		return
	}
	if s.begun = true; !slices.ContainsFunc(steps, func(st step) bool { return st.held != nil }) {
		s.first(ctx, s.choice)
	}
}

// refuse notes what the server does not take; true where we can do without. Such a one is not asked for again, as long as we
// believe what the server said of itself.
func (s *Subscriber) refuse(e *Ensured, st step, err error) bool {
	if st.wanted == nil {
		return false
	}
	e.Refused = append(e.Refused, Refused{Criteria: st.wanted.criteria, Spare: st.wanted.spare, Err: err})
	if !st.wanted.spare || st.held != nil {
		return false
	}
	s.refused = append(s.refused, st.wanted.criteria)
	return true
}

// Intended is one thing that Ensure would do.
type Intended struct {
	Deed     Deed
	Why      string
	ID       string // "" for one that would be created
	Criteria string
	Status   string
	JSON     []byte // what is wanted there: it is sent unless it is so already; nil for one that would be removed
}

// Intend says what Ensure would do, and changes nothing. Secrets are shown as <secret>, unless they are asked for.
func (s *Subscriber) Intend(ctx context.Context, known []Remembered, secrets bool) ([]Intended, Ensured, error) {
	var e Ensured
	steps, err := s.plan(ctx, known, &e)
	if err != nil {
		return nil, e, err
	}
	all := make([]Intended, len(steps))
	for i, step := range steps {
		all[i] = Intended{Deed: step.deed, Why: step.why, Criteria: step.criteria()}
		if step.held != nil {
			all[i].ID, all[i].Status = step.held.id, step.held.status
		}
		if step.wanted == nil {
			continue
		}
		shown := step.wanted
		if !secrets {
			shown = shown.masked()
		}
		id := all[i].ID
		if s.recreates() && step.deed != Unchanged {
			id = "" // it is sent as a new one
		}
		text, err := shown.body(id, s.now())
		if err != nil {
			return nil, e, err
		}
		value := jsontext.Value(text)
		if err := value.Indent(); err != nil {
			return nil, e, err
		}
		all[i].JSON = value
	}
	return all, e, nil
}

// plan asks the server and says what is to be done.
func (s *Subscriber) plan(ctx context.Context, known []Remembered, e *Ensured) ([]step, error) {
	var err error
	if e.Server, e.Choice, err = s.Learn(ctx); err != nil {
		return nil, err
	}
	ours, foreign, err := s.find(ctx, known)
	if err != nil {
		return nil, err
	}
	e.Foreign = foreign
	return plan(s.wanted(), ours, known, s.now())
}

// step is one thing to do: have wanted in the place of held.
type step struct {
	deed   Deed
	why    string
	wanted *wanted // nil: remove held
	held   *held   // nil: create wanted
}

func (st step) criteria() string {
	if st.wanted != nil {
		return st.wanted.criteria
	}
	return st.held.criteria
}

// plan pairs what is wanted with what is there: by criteria, then whatever is left over.
func plan(wants []*wanted, ours []*held, known []Remembered, now time.Time) ([]step, error) {
	left := slices.Clone(ours)
	pairs := make([]step, len(wants))
	for i, w := range wants {
		pairs[i].wanted = w
		if at := slices.IndexFunc(left, func(h *held) bool { return same(h.criteria, w.criteria) }); at >= 0 {
			pairs[i].held = left[at]
			left = slices.Delete(left, at, at+1)
		}
	}
	for i := range pairs {
		if pairs[i].held == nil && len(left) > 0 {
			pairs[i].held, left = left[0], left[1:]
		}
		if err := pairs[i].decide(known, now); err != nil {
			return nil, err
		}
	}
	for _, h := range left {
		pairs = append(pairs, step{deed: Removed, why: "not wanted", held: h})
	}
	return pairs, nil
}

// decide says what a pair needs. Where we remember that the same was wanted before, the server may keep something else than
// we asked for: it is used as it is (reference fhir-subscriptions.md, 3.5).
func (st *step) decide(known []Remembered, now time.Time) error {
	if st.held == nil {
		st.deed = Created
		return nil
	}
	fingerprint, err := st.wanted.fingerprint()
	if err != nil {
		return err
	}
	st.why = st.held.differs(st.wanted)
	at := slices.IndexFunc(known, func(r Remembered) bool { return r.ID == st.held.id })
	if at >= 0 && known[at].Fingerprint == fingerprint && st.held.unchangedSince(known[at]) && st.why != "criteria" {
		st.why = ""
	}
	if st.why == "" && at >= 0 && known[at].Fingerprint != "" && known[at].Fingerprint != fingerprint {
		st.why = "configuration"
	}
	switch {
	case st.why != "":
		st.deed = Replaced
	case st.held.stopped():
		st.deed, st.why = Reactivated, shown(st.held.status)
	case st.held.ending(st.wanted.End, now):
		st.deed, st.why = Renewed, "end"
	default:
		st.deed = Unchanged
	}
	return nil
}

// unchangedSince says whether it still posts to where it did when it was written.
func (h *held) unchangedSince(r Remembered) bool {
	return h.endpoint == "" || sameEndpoint(h.endpoint, r.Endpoint)
}

// take does one step.
func (s *Subscriber) take(ctx context.Context, st step) (Kept, error) {
	switch st.deed {
	case Removed:
		return s.kept(st, st.held), s.remove(ctx, st.held)
	case Unchanged:
		return s.kept(st, st.held), nil
	case Created:
		h, err := s.create(ctx, st.wanted)
		return s.kept(st, h), err
	case Replaced, Renewed, Reactivated:
	}
	h, err := s.update(ctx, st)
	kept := s.kept(st, h)
	kept.Recreated = h != nil && h.id != st.held.id
	return kept, err
}

// kept is a Subscription as its owner shall remember it.
func (s *Subscriber) kept(st step, h *held) Kept {
	k := Kept{Deed: st.deed, Why: st.why, Criteria: st.criteria(), Events: -1}
	k.Lapsed = st.held != nil && !st.held.end.IsZero() && !st.held.end.After(s.now())
	if h == nil {
		return k
	}
	k.ID, k.Endpoint, k.Status, k.Events, k.Trouble = h.id, h.endpoint, shown(h.status), h.events, h.trouble
	k.Content, k.Heartbeat, k.End = h.content, time.Duration(h.heartbeat)*time.Second, h.end
	if st.wanted == nil {
		return k
	}
	if k.Endpoint == "" {
		k.Endpoint = st.wanted.Endpoint // the server does not show it
	}
	k.Fingerprint, _ = st.wanted.fingerprint() // it was made before, in decide or create
	return k
}

// create makes a new one. What the server made of it is read from its answer, or asked for: the handshake may have come
// before, which nobody waits for.
func (s *Subscriber) create(ctx context.Context, w *wanted) (*held, error) {
	const doing = "create Subscription"
	text, err := w.body("", s.now())
	if err != nil {
		return nil, err
	}
	r, err := s.source.exchange(ctx, call{method: http.MethodPost, target: s.base + "/Subscription", body: text, doing: doing})
	if err != nil {
		return nil, err
	}
	if !r.fine() {
		return nil, r.refusal(doing)
	}
	return s.answered(ctx, r, "", doing)
}

// answered is what the server made of what we sent.
func (s *Subscriber) answered(ctx context.Context, r reply, id, doing string) (*held, error) {
	if h, err := readHeld(r.body); err == nil && h.id != "" {
		return h, nil
	}
	if at, ok := parseReference(r.location); id == "" && ok && at.kind == "Subscription" {
		id = at.id
	}
	if id == "" {
		return nil, &Trouble{Kind: Unusable, Status: r.status, Doing: doing, Err: errors.New("the answer names no id")}
	}
	h, err := s.read(ctx, id)
	if err == nil && h == nil {
		err = &Trouble{Kind: Unusable, Doing: doing, Err: errors.New("what was written is not there")}
	}
	return h, err
}

// update writes what is wanted over what is there. A server that forbids updates gets a new one, and only then loses the old
// one: nothing is missed between them.
func (s *Subscriber) update(ctx context.Context, st step) (*held, error) {
	const doing = "update Subscription"
	text, err := st.wanted.body(st.held.id, s.now())
	if err != nil {
		return nil, err
	}
	if s.recreates() {
		return s.recreate(ctx, st, nil)
	}
	r, err := s.source.exchange(ctx, call{method: http.MethodPut, target: s.at(st.held.id), body: text, doing: doing})
	switch {
	case err != nil:
		return nil, err
	case r.fine():
		return s.answered(ctx, r, st.held.id, doing)
	case r.missing():
		return s.create(ctx, st.wanted)
	}
	return s.recreate(ctx, st, r.refusal(doing))
}

// recreates says whether the server lists that it can create, and not that it can update.
func (s *Subscriber) recreates() bool {
	return !s.server.canWrite("update") && s.server.canWrite("create")
}

// recreate makes another one and removes the old one. Where the server forbids updates and allows only one of a kind at a
// time, the old one goes first.
func (s *Subscriber) recreate(ctx context.Context, st step, refused *Trouble) (*held, error) {
	h, err := s.create(ctx, st.wanted)
	if err == nil {
		return h, s.remove(ctx, st.held)
	}
	trouble, is := errors.AsType[*Trouble](err)
	forbidden := refused == nil || refused.Status == http.StatusMethodNotAllowed || refused.Status == http.StatusNotImplemented
	switch {
	case !is || trouble.Kind != Unusable:
		return nil, err
	case !forbidden:
		return nil, refused // what we want is refused, not the update
	case !trouble.conflict():
		return nil, err // the old one is better than none
	}
	if err := s.remove(ctx, st.held); err != nil {
		return nil, err
	}
	return s.create(ctx, st.wanted)
}

// conflict says that a server refuses something because of what it has already.
func (t *Trouble) conflict() bool {
	return t.Status == http.StatusConflict || slices.Contains([]string{"business-rule", "conflict", "duplicate"}, t.issue)
}

func (s *Subscriber) at(id string) string { return s.base + "/Subscription/" + id }

// read reads one; nil where it is not there.
func (s *Subscriber) read(ctx context.Context, id string) (*held, error) {
	const doing = "read Subscription"
	r, err := s.source.exchange(ctx, call{method: http.MethodGet, target: s.at(id), doing: doing})
	switch {
	case err != nil:
		return nil, err
	case r.missing():
		return nil, nil //nolint:nilnil // it is not there, and nothing is wrong
	case !r.fine():
		return nil, r.refusal(doing)
	}
	h, err := readHeld(r.body)
	if err != nil || h.id != id {
		return nil, &Trouble{Kind: Unusable, Doing: doing, Err: errNoSubscription}
	}
	return h, nil
}

// find are our Subscriptions at the server: those that we remember, and those that post to our endpoint and carry our mark.
// Foreign ones post to our endpoint as well.
func (s *Subscriber) find(ctx context.Context, known []Remembered) (ours []*held, foreign int, err error) {
	seen := map[string]bool{}
	for _, r := range known {
		if !IsID(r.ID) || seen[r.ID] {
			continue
		}
		h, err := s.read(ctx, r.ID)
		if err != nil {
			return nil, 0, err
		}
		if seen[r.ID] = true; h != nil && s.remembers(r, h) {
			ours = append(ours, h)
		}
	}
	found, err := s.search(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, h := range found {
		switch {
		case seen[h.id] || !sameEndpoint(h.endpoint, s.wish.Endpoint):
		case strings.HasPrefix(h.reason, mark(s.source.o.Name)):
			ours = append(ours, h)
		default:
			foreign++
		}
		seen[h.id] = true
	}
	for _, h := range ours {
		if err := s.addStatus(ctx, h); err != nil {
			return nil, 0, err
		}
	}
	return ours, foreign, nil
}

// remembers says whether what stands under a remembered id is still what we wrote: it posts to where we told it to. A server
// that was emptied may have given the id to somebody else.
func (s *Subscriber) remembers(r Remembered, h *held) bool {
	return h.unchangedSince(r) || sameEndpoint(h.endpoint, s.wish.Endpoint)
}

// searchPages is how many pages of Subscriptions are read.
const searchPages = 20

// search are the Subscriptions of the server: those that post to our endpoint, else all that it lists. A server that has no
// search shows none.
func (s *Subscriber) search(ctx context.Context) ([]*held, error) {
	for _, query := range []url.Values{{"url": {s.wish.Endpoint}}, {"_count": {"100"}}} {
		found, err := s.searchBy(ctx, query)
		if err != nil || slices.ContainsFunc(found, func(h *held) bool { return sameEndpoint(h.endpoint, s.wish.Endpoint) }) {
			return found, err
		}
	}
	return nil, nil
}

func (s *Subscriber) searchBy(ctx context.Context, query url.Values) (all []*held, err error) {
	found, err := s.source.pages(ctx, call{
		method: http.MethodGet, target: s.base + "/Subscription?" + query.Encode(), doing: "search Subscription",
	}, searchPages, nil)
	if err != nil && !partial(err) && !errors.Is(err, errUnsupported) {
		return nil, err
	}
	for _, raw := range found {
		if h, err := readHeld(raw); err == nil && h.id != "" {
			all = append(all, h)
		}
	}
	return all, nil
}
