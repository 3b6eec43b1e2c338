package fhir

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Product is a server software whose ways with Subscriptions we know (reference fhir-subscriptions.md, 2.1 and 3.7).
type Product string

// The products.
const (
	AnyProduct Product = ""
	HAPI       Product = "hapi" // and Smile CDR, which is built on it
	Medplum    Product = "medplum"
	Aidbox     Product = "aidbox"
	Firely     Product = "firely"
)

// products are told by what their CapabilityStatement calls itself.
var products = []struct {
	named   string
	product Product
}{
	{"hapi fhir", HAPI}, {"smile cdr", HAPI}, {"medplum", Medplum}, {"aidbox", Aidbox}, {"firely server", Firely}, {"vonk", Firely},
}

// Capability is what a server says of itself, as far as Subscriptions go.
type Capability struct {
	Software     string // name and version, for people: printable and short
	Product      Product
	FHIRVersion  string // e.g. 4.0.1
	Subscription bool   // it lists the resource
	Interactions []string
	Backport     bool // it lists the profile of the R4 backport, or calls itself one of its servers
	Topics       []Topic

	resources []restResource // that it lists
}

// Topic is a topic that the server knows.
type Topic struct {
	URL   string   // its canonical
	Types []string // resource types that it watches; empty where the server does not say
}

// Release is the release of the server's FHIR version: R4, R4B, R5, R6, or "" for any other.
func (c *Capability) Release() string {
	for _, r := range []struct{ prefix, release string }{
		{"4.0", "R4"}, {"4.1", "R4B"}, {"4.3", "R4B"}, {"4.", "R5"}, {"5.", "R5"}, {"6.", "R6"},
	} {
		if strings.HasPrefix(c.FHIRVersion, r.prefix) {
			return r.release
		}
	}
	return ""
}

// canWrite says whether the server lists an interaction with Subscriptions; one that lists none may do anything.
func (c *Capability) canWrite(interaction string) bool {
	return c == nil || len(c.Interactions) == 0 || slices.Contains(c.Interactions, interaction)
}

// Searches says whether the server lists a search: its type, that it can be searched, and its parameters. Where a type is
// listed without interactions, or without parameters, nothing speaks against them.
func (c *Capability) Searches(criteria string) bool {
	kind, query, err := ParseCriteria(criteria)
	if c == nil || err != nil {
		return false
	}
	return slices.ContainsFunc(c.resources, func(r restResource) bool { return string(r.Type) == kind && r.searches(query) })
}

func (r restResource) searches(query url.Values) bool {
	if len(r.Interaction) > 0 && !slices.ContainsFunc(r.Interaction, func(i interaction) bool { return i.Code == "search-type" }) {
		return false
	}
	for name := range query {
		if len(r.SearchParam) > 0 && !slices.ContainsFunc(r.SearchParam, func(p searchParam) bool { return string(p.Name) == name }) {
			return false
		}
	}
	return true
}

// statement is a CapabilityStatement.
type statement struct {
	ResourceType text           `json:"resourceType"`
	FHIRVersion  text           `json:"fhirVersion"`
	Software     list[software] `json:"software"`
	Instantiates texts          `json:"instantiates"`
	Rest         list[rest]     `json:"rest"`
}

type software struct {
	Name    text `json:"name"`
	Version text `json:"version"`
}

type rest struct {
	Resource list[restResource] `json:"resource"`
}

type restResource struct {
	Type             text              `json:"type"`
	SupportedProfile texts             `json:"supportedProfile"`
	Interaction      list[interaction] `json:"interaction"`
	SearchParam      list[searchParam] `json:"searchParam"`
	Extension        list[canonical]   `json:"extension"`
}

type interaction struct {
	Code text `json:"code"`
}

type searchParam struct {
	Name text `json:"name"`
}

type canonical struct {
	URL       text `json:"url"`
	Canonical text `json:"valueCanonical"`
	URI       text `json:"valueUri"`
}

// texts is an array of strings, or one string in its place.
type texts []string

// UnmarshalJSONFrom reads texts; anything else among them is as good as absent.
func (t *texts) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return t.one(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if err := t.one(dec); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

func (t *texts) one(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '"' {
		return dec.SkipValue()
	}
	token, err := dec.ReadToken()
	if err == nil {
		*t = append(*t, token.String())
	}
	return err
}

// Names of the R4 backport (reference fhir-subscriptions.md, 1).
const (
	backport          = "http://hl7.org/fhir/uv/subscriptions-backport/"
	backportStructure = backport + "StructureDefinition/"
	backportProfile   = backportStructure + "backport-subscription"
	topicCanonical    = backportStructure + "capabilitystatement-subscriptiontopic-canonical"
)

// Capability reads what the server says of itself, with the topics that it knows; nil where it says nothing.
func (s *Source) Capability(ctx context.Context) (*Capability, error) {
	from, err := s.statement(ctx)
	if err != nil || from == nil {
		return nil, err
	}
	c := from.capability()
	if from.listsTopics() {
		more, err := s.topics(ctx)
		if err != nil && !errors.Is(err, errUnsupported) {
			return nil, err
		}
		c.addTopics(more)
	}
	return c, nil
}

// Knows are those of some searches that the server says it knows. Without any, nobody is asked.
func (s *Source) Knows(ctx context.Context, searches []string) (known []string, err error) {
	if len(searches) == 0 {
		return nil, nil
	}
	from, err := s.statement(ctx)
	if err != nil || from == nil {
		return nil, err
	}
	c := from.capability()
	for _, search := range searches {
		if c.Searches(search) {
			known = append(known, search)
		}
	}
	return known, nil
}

// statement is the server's CapabilityStatement; nil where it has none.
func (s *Source) statement(ctx context.Context) (*statement, error) {
	const doing = "read CapabilityStatement"
	r, err := s.exchange(ctx, call{method: http.MethodGet, target: s.o.BaseURL + "/metadata", doing: doing})
	switch {
	case err != nil:
		return nil, err
	case r.missing():
		return nil, nil //nolint:nilnil // nothing is said, and nothing is wrong
	case !r.fine():
		return nil, r.refusal(doing)
	}
	var from statement
	if unmarshal(r.body, &from) != nil || from.ResourceType != "CapabilityStatement" {
		return nil, &Trouble{Kind: Unusable, Doing: doing, Err: errors.New("the answer is no CapabilityStatement")}
	}
	return &from, nil
}

func (from *statement) capability() *Capability {
	named := from.Software.first()
	c := &Capability{
		Software: printable(string(named.Name) + " " + string(named.Version)), FHIRVersion: printable(string(from.FHIRVersion)),
		Backport: slices.ContainsFunc([]string(from.Instantiates), func(of string) bool { return strings.HasPrefix(of, backport) }),
	}
	for _, p := range products {
		if strings.Contains(strings.ToLower(string(named.Name)), p.named) {
			c.Product = p.product
		}
	}
	for _, r := range from.Rest {
		c.resources = append(c.resources, r.Resource...)
	}
	for _, r := range from.resources("Subscription") {
		c.Subscription = true
		for _, i := range r.Interaction {
			c.Interactions = append(c.Interactions, string(i.Code))
		}
		c.Backport = c.Backport || slices.ContainsFunc([]string(r.SupportedProfile), func(profile string) bool {
			return strings.HasPrefix(profile, backportProfile)
		})
		for _, e := range r.Extension {
			if of := string(e.Canonical + e.URI); e.URL == topicCanonical && of != "" {
				c.addTopics([]Topic{{URL: of}})
			}
		}
	}
	return c
}

func (from *statement) resources(kind text) (all []restResource) {
	for _, r := range from.Rest {
		for _, one := range r.Resource {
			if one.Type == kind {
				all = append(all, one)
			}
		}
	}
	return all
}

func (from *statement) listsTopics() bool { return len(from.resources("SubscriptionTopic")) > 0 }

// topic is one that the server lists; nil where it does not.
func (c *Capability) topic(canonical string) *Topic {
	if c == nil {
		return nil
	}
	at := slices.IndexFunc(c.Topics, func(t Topic) bool { return t.URL == canonical })
	if at < 0 {
		return nil
	}
	return &c.Topics[at]
}

// addTopics adds topics that are not known yet, and what is learned of known ones.
func (c *Capability) addTopics(more []Topic) {
	for _, t := range more {
		at := slices.IndexFunc(c.Topics, func(known Topic) bool { return known.URL == t.URL })
		switch {
		case at < 0:
			c.Topics = append(c.Topics, t)
		case len(c.Topics[at].Types) == 0:
			c.Topics[at].Types = t.Types
		}
	}
}

// subscriptionTopic is a SubscriptionTopic of R4B or R5.
type subscriptionTopic struct {
	URL      text          `json:"url"`
	Status   text          `json:"status"`
	Resource list[trigger] `json:"resourceTrigger"`
	Event    list[trigger] `json:"eventTrigger"`
}

type trigger struct {
	Resource text `json:"resource"`
}

// topicPages is how many pages of topics are read.
const topicPages = 5

// topics are the SubscriptionTopics that the server keeps.
func (s *Source) topics(ctx context.Context) (all []Topic, err error) {
	found, err := s.pages(ctx, call{
		method: http.MethodGet, target: s.o.BaseURL + "/SubscriptionTopic?_count=100", doing: "search SubscriptionTopic",
	}, topicPages, nil)
	if err != nil && !partial(err) {
		return nil, err
	}
	for _, one := range found {
		var t subscriptionTopic
		if unmarshal(one, &t) != nil || t.URL == "" || t.Status == "retired" {
			continue
		}
		topic := Topic{URL: string(t.URL)}
		for _, from := range append(t.Resource, t.Event...) {
			if kind := lastPart(string(from.Resource)); isType(kind) {
				topic.Types = append(topic.Types, kind)
			}
		}
		all = append(all, topic)
	}
	return all, nil
}

// partial says that a search went well as far as it went.
func partial(err error) bool { return errors.Is(err, errStrayLink) || errors.Is(err, errTooMuch) }

func lastPart(uri string) string { return uri[strings.LastIndexByte(uri, '/')+1:] }

// printable is what a server calls itself, as a terminal may show it.
func printable(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, strings.TrimSpace(text))
	const longest = 80
	return text[:min(len(text), longest)]
}
