package fhir

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Flavour is the kind of Subscription that we ask a server for.
type Flavour string

// The flavours of `sources[].flavour`.
const (
	FlavourAuto     Flavour = "auto"     // as the server's CapabilityStatement says
	FlavourClassic  Flavour = "classic"  // R4: criteria
	FlavourBackport Flavour = "backport" // R4, R4B: a topic, by the backport's profile
	FlavourR5       Flavour = "r5"       // R5 and later: a topic
)

// ErrNoSubscriptions says that a server does not list the resource at all.
var ErrNoSubscriptions = errors.New("the server lists no Subscription: set flavour where it has them all the same, else `subscribe: never`")

// Choice is the flavour in which we subscribe, and why. Each topic or search has a Subscription of its own.
type Choice struct {
	Flavour  Flavour
	Topics   []string // of backport and r5
	Criteria []string // of classic
	Why      string   // for people
	Warnings []string

	spare []string // of the criteria, those that a server may refuse
}

// choose decides by what the server says of itself (nil: nothing) and by what is configured.
func choose(c *Capability, w Wish, shape Shape) (Choice, error) {
	choice, err := chooseFlavour(c, w, shape)
	if err != nil {
		return Choice{}, err
	}
	if choice.Flavour == FlavourClassic {
		choice.chooseCriteria(c, w, shape)
	} else if choice.Topics, err = chooseTopics(c, w, shape); err != nil {
		return Choice{}, err
	}
	choice.warn(c, w, shape)
	return choice, nil
}

// chooseCriteria are the configured ones, or those of the shape, with the spare ones that the server lists.
func (choice *Choice) chooseCriteria(c *Capability, w Wish, shape Shape) {
	if choice.Criteria = w.Criteria; len(w.Criteria) > 0 {
		return
	}
	choice.Criteria = criteriaOf(shape)
	for _, criteria := range spareCriteriaOf(shape) {
		if c.Searches(criteria) {
			choice.Criteria, choice.spare = append(choice.Criteria, criteria), append(choice.spare, criteria)
		}
	}
}

func chooseFlavour(c *Capability, w Wish, shape Shape) (Choice, error) {
	switch {
	case w.Flavour != FlavourAuto && w.Flavour != "":
		return Choice{Flavour: w.Flavour, Why: "as configured"}, nil
	case c == nil:
		return Choice{}, errors.New("the server shows no CapabilityStatement: set flavour to classic, backport or r5")
	case !c.Subscription:
		return Choice{}, ErrNoSubscriptions
	}
	switch release := c.Release(); release {
	case "R5", "R6":
		return Choice{Flavour: FlavourR5, Why: release + " knows topics only"}, nil
	case "R4", "R4B":
		return chooseR4(c, w, shape, release)
	}
	return Choice{}, fmt.Errorf("its FHIR version, %s, is none that is known here: set flavour to classic, backport or r5", orNone(c.FHIRVersion))
}

// chooseR4 prefers a topic where the server has one for us: classic notifications have no numbers, no heartbeat and no status.
// One for Bundles alone is none: classic searches tell of more.
func chooseR4(c *Capability, w Wish, shape Shape, release string) (Choice, error) {
	kinds := singleKindsOf(shape)
	switch {
	case len(w.Topics) > 0:
		return Choice{Flavour: FlavourBackport, Why: release + ", and a topic is configured"}, nil
	case slices.ContainsFunc(kinds, func(kind string) bool { return len(fitting(c.Topics, kind)) > 0 }):
		return Choice{Flavour: FlavourBackport, Why: release + ", and the server has a topic for " + orOf(kinds)}, nil
	case c.Backport:
		_, err := chooseTopics(c, w, shape)
		return Choice{Flavour: FlavourBackport, Why: release + ", by the backport's profile"}, err
	case len(c.Topics) > 0:
		return Choice{Flavour: FlavourClassic, Why: fmt.Sprintf("%s, and none of its %d topics is one for %s", release, len(c.Topics), orOf(kinds))}, nil
	}
	return Choice{Flavour: FlavourClassic, Why: release + ", without the backport's profile and without topics"}, nil
}

// chooseTopics are the configured topics, or the only one for each of our resource types that has any: a wrong topic would be
// silence, and all that fit would be too many.
func chooseTopics(c *Capability, w Wish, shape Shape) (topics []string, err error) {
	if len(w.Topics) > 0 {
		return w.Topics, nil
	}
	const want = "name one as subscription.topic"
	if c == nil || len(c.Topics) == 0 {
		return nil, errors.New("the server lists no topics: " + want + ", as its operators say, or set flavour: classic")
	}
	kinds := kindsOf(shape)
	for _, kind := range kinds {
		fit := fitting(c.Topics, kind)
		switch {
		case len(fit) > 1:
			return nil, fmt.Errorf("several topics watch %s: name those that are meant as subscription.topic (%s)", kind, urls(fit))
		case len(fit) == 1 && !slices.Contains(topics, fit[0].URL):
			topics = append(topics, fit[0].URL)
		}
	}
	if len(topics) == 0 {
		return nil, fmt.Errorf("none of the server's %d topics says that it watches %s: %s (%s), or set flavour: classic",
			len(c.Topics), orOf(kinds), want, urls(c.Topics))
	}
	return topics, nil
}

// kindsOf are the resource types whose changes tell of a document of the shape. One of hl7-it may be kept as a Bundle alone.
func kindsOf(shape Shape) []string {
	if shape == ShapeHL7IT {
		return append(singleKindsOf(shape), "Bundle")
	}
	return singleKindsOf(shape)
}

func singleKindsOf(shape Shape) []string {
	if shape.OfCompositions() {
		return []string{"Composition", "DocumentReference", "DiagnosticReport"}
	}
	return []string{"DiagnosticReport"}
}

func orOf(kinds []string) string { return strings.Join(kinds, " or ") }

// fitting are the topics that watch a resource type: as they say themselves, or else by their name.
func fitting(topics []Topic, kind string) (fit []Topic) {
	for _, t := range topics {
		if t.watches(kind) {
			fit = append(fit, t)
		}
	}
	return fit
}

// filtersFor are the filters of one topic among several: those of types that it is known not to watch are for the others.
func filtersFor(t Topic, filters []string, shape Shape) (all []string) {
	known := len(t.Types) > 0 || slices.ContainsFunc(kindsOf(shape), t.watches)
	for _, filter := range filters {
		if kind, _, err := ParseCriteria(filter); err != nil || kind == "" || !known || t.watches(kind) {
			all = append(all, filter)
		}
	}
	return all
}

func (t Topic) watches(kind string) bool {
	if len(t.Types) > 0 {
		return slices.Contains(t.Types, kind)
	}
	name := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(lastPart(t.URL)))
	return strings.Contains(name, strings.ToLower(kind))
}

// urls are a few canonicals, for people.
func urls(topics []Topic) string {
	const few = 5
	var all []string
	for _, t := range topics[:min(len(topics), few)] {
		all = append(all, printable(t.URL))
	}
	if len(topics) > few {
		all = append(all, "…")
	}
	return strings.Join(all, ", ")
}

// warn says what works and is probably not meant.
func (choice *Choice) warn(c *Capability, w Wish, shape Shape) {
	add := func(text string) { choice.Warnings = append(choice.Warnings, text) }
	if c == nil {
		add("the server shows no CapabilityStatement: nothing of what is configured could be checked against it")
		return
	}
	if c.Product == Firely && w.BaseURL == "" {
		add("Firely Server keeps Subscriptions that are created here and never looks at them: it evaluates those below /administration, " +
			"set subscription.base_url")
	}
	if choice.Flavour == FlavourClassic && len(w.Topics) > 0 {
		add("subscription.topic is not used by a classic Subscription")
	}
	for _, topic := range choice.Topics {
		if len(c.Topics) > 0 && c.topic(topic) == nil {
			add("the server does not list a configured topic: " + printable(topic))
		}
	}
	if len(choice.Topics) > 0 && len(w.Topics) == 0 {
		for _, criteria := range criteriaOf(shape) {
			if kind, _, _ := strings.Cut(criteria, "?"); len(fitting(c.Topics, kind)) == 0 {
				add("the server has no topic for " + kind + ": what changes there is noticed by sweeps only")
			}
		}
	}
	if !c.canWrite("create") {
		add("the server says that Subscriptions cannot be created")
	}
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}
