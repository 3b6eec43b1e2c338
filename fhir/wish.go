package fhir

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Wish is the Subscription that we want at a source, as its configuration says. Token and Secret are secrets: a Wish is
// never printed.
type Wish struct {
	Flavour  Flavour
	BaseURL  string // where the server keeps Subscriptions; "": its service base
	Endpoint string // our own URL for this source
	Token    string // that the server must show us: Authorization: Bearer; "": it proves itself in another way
	Secret   string // Medplum signs its bodies with it; "": none
	// Criteria are searches of the classic flavour, one Subscription each; none: those of the shape.
	Criteria []string
	// Topics are canonicals, one Subscription each; none: the server's only one for each of our resource types.
	Topics    []string
	Filters   []string // of a topic: Type?parameter=value, all of which must hold
	Content   string   // empty, id-only, full-resource
	Heartbeat time.Duration
	Timeout   time.Duration
	MaxCount  int
	End       time.Duration // how long a Subscription lives; 0: for ever
	Contact   string        // whom to ask: URL, mail address or telephone number
}

// Contents of `sources[].subscription.content` (reference fhir-subscriptions.md, 3.2).
const (
	ContentEmpty = "empty"
	ContentID    = "id-only"
	ContentFull  = "full-resource"
)

// criteriaOf are what a document of the shape is noticed by: whatever a citizen may be told, and whatever takes it back. A
// report that is not final yet says nothing.
func criteriaOf(shape Shape) []string {
	if shape.OfCompositions() {
		return []string{
			"Composition?status=final,amended,entered-in-error",
			"DocumentReference?status=current,superseded,entered-in-error",
		}
	}
	return []string{"DiagnosticReport?status=final,amended,corrected,appended,cancelled,entered-in-error"}
}

// statusesOfR5 are those beside those of criteriaOf that R5 knows: sweeps ask for them as well, of every server, since what it
// speaks may change. Codes that a server does not know find nothing there, or are left out where it refuses them.
var statusesOfR5 = map[string][]string{
	"Composition":      {"corrected", "appended", "cancelled", "deprecated"},
	"DiagnosticReport": {"modified"},
}

// sweptOf are the searches of sweeps.
func sweptOf(shape Shape) (all []string) {
	for _, search := range criteriaOf(shape) {
		kind, _, _ := strings.Cut(search, "?")
		all = append(all, strings.Join(append([]string{search}, statusesOfR5[kind]...), ","))
	}
	return all
}

// withoutR5 is a query without the statuses of R5; false where there is none among others.
func withoutR5(kind string, query url.Values) (url.Values, bool) {
	less, left := url.Values{}, false
	for name, values := range query {
		for _, value := range values {
			if name == "status" {
				codes := strings.Split(value, ",")
				known := slices.DeleteFunc(slices.Clone(codes), func(code string) bool { return slices.Contains(statusesOfR5[kind], code) })
				if len(known) > 0 && len(known) < len(codes) {
					value, left = strings.Join(known, ","), true
				}
			}
			less[name] = append(less[name], value)
		}
	}
	return less, left
}

// spareCriteriaOf are criteria of the shape beside those of criteriaOf, at servers that list them: documents of hl7-it may be
// kept as Bundles only (reference fse.md, 3.1). A server that refuses them keeps us from nothing else.
func spareCriteriaOf(shape Shape) []string {
	if shape == ShapeHL7IT {
		return []string{"Bundle?type=document"}
	}
	return nil
}

// ParseCriteria takes a search apart: Type?parameter=value. What stands before the question mark may be missing in filters.
func ParseCriteria(text string) (kind string, query url.Values, err error) {
	kind, parameters, has := strings.Cut(text, "?")
	if !has && strings.Contains(kind, "=") {
		kind, parameters = "", text
	}
	// One of the published forms of a filter: Encounter.patient=Patient/1.
	if before, after, dotted := strings.Cut(parameters, "."); !has && dotted && isType(before) {
		kind, parameters = before, after
	}
	query, err = url.ParseQuery(parameters)
	if err != nil || (kind != "" && !isType(kind)) || (kind == "" && len(query) == 0) {
		return "", nil, errors.New("want Type?parameter=value")
	}
	return kind, query, nil
}

// wanted is one Subscription to have.
type wanted struct {
	Wish
	flavour  Flavour
	product  Product
	source   string
	criteria string // a search, or the canonical of a topic
	spare    bool   // that the server refuses it is no failure
}

// all that is wanted at a server that was asked.
func (s *Subscriber) wanted() []*wanted {
	var product Product
	if s.server != nil {
		product = s.server.Product
	}
	one := wanted{Wish: s.wish, flavour: s.choice.Flavour, product: product, source: s.source.o.Name}
	var all []*wanted
	for _, criteria := range slices.Concat(s.choice.Topics, s.choice.Criteria) {
		each := one
		each.criteria, each.spare = criteria, slices.Contains(s.choice.spare, criteria)
		if len(s.choice.Topics) > 1 {
			topic := Topic{URL: criteria}
			if listed := s.server.topic(criteria); listed != nil {
				topic = *listed
			}
			each.Filters = filtersFor(topic, one.Filters, s.source.o.Shape)
		}
		if !each.spare || !slices.Contains(s.refused, criteria) {
			all = append(all, &each)
		}
	}
	return all
}

// mark begins the reason of every Subscription that we write: it tells ours from others that post to the same endpoint, and
// people who look at their server whose it is.
func mark(source string) string { return "Staffetta/" + source + ":" }

func (w *wanted) reason() string {
	return mark(w.source) + " tells citizens on IO that a medical report is ready"
}

// status is what a Subscription is written with: the server makes it active once it has seen that we answer. Medplum never
// does, it fires what is written as active.
func (w *wanted) status() string {
	if w.product == Medplum {
		return "active"
	}
	return "requested"
}

// body is the Subscription as it is sent: under an id for an update, alive until its end.
func (w *wanted) body(id string, now time.Time) ([]byte, error) {
	end := ""
	if w.End > 0 {
		end = now.Add(w.End).UTC().Format(time.RFC3339)
	}
	switch w.flavour {
	case FlavourClassic:
		return w.classic(id, end)
	case FlavourBackport:
		return w.backport(id, end)
	case FlavourR5:
		return w.r5(id, end)
	case FlavourAuto:
	}
	return nil, fmt.Errorf("no flavour %q", w.flavour)
}

// masked is what is wanted, with the secrets hidden.
func (w *wanted) masked() *wanted {
	masked := *w
	for _, secret := range []*string{&masked.Token, &masked.Secret} {
		if *secret != "" {
			*secret = "<secret>"
		}
	}
	return &masked
}

// fingerprint tells whether something else is wanted than before. Only its owner keeps it: it is a hash of the token too.
func (w *wanted) fingerprint() (string, error) {
	forEver := *w
	forEver.End = 0
	text, err := forEver.body("", time.Time{})
	sum := sha256.Sum256(append(text, w.End.String()...))
	return base64.RawURLEncoding.EncodeToString(sum[:16]), err
}

// same compares criteria by what they mean: servers write them anew in their own spelling.
func same(a, b string) bool {
	kindA, queryA, errA := ParseCriteria(a)
	kindB, queryB, errB := ParseCriteria(b)
	if a == b || errA != nil || errB != nil {
		return a == b
	}
	return kindA == kindB && queryA.Encode() == queryB.Encode()
}

// check says what a product cannot carry.
func (w *wanted) check() error {
	if w.product == Medplum && strings.Contains(w.Token, ":") {
		return errors.New("the server cuts a header at its second colon (Medplum): want a bearer token without one")
	}
	if w.Endpoint == "" {
		return errors.New("public.url is missing: how does the server reach us?")
	}
	return nil
}

// seconds are whole seconds, at least one of what is not nothing.
func seconds(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return max(1, int(d/time.Second))
}

// sameTexts compares lists whatever their order is.
func sameTexts(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
