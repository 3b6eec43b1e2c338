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

// Choice is the flavour in which we subscribe, and why.
type Choice struct {
	Flavour  Flavour
	Topic    string // of backport and r5
	Why      string // for people
	Warnings []string
}

// choose decides by what the server says of itself (nil: nothing) and by what is configured.
func choose(c *Capability, w Wish, shape Shape) (Choice, error) {
	choice, err := chooseFlavour(c, w, shape)
	if err != nil {
		return Choice{}, err
	}
	if choice.Flavour != FlavourClassic && choice.Topic == "" {
		if choice.Topic, err = chooseTopic(c, w, shape); err != nil {
			return Choice{}, err
		}
	}
	choice.warn(c, w)
	return choice, nil
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
func chooseR4(c *Capability, w Wish, shape Shape, release string) (Choice, error) {
	fitting := fitting(c.Topics, shape)
	switch {
	case w.Topic != "":
		return Choice{Flavour: FlavourBackport, Why: release + ", and a topic is configured"}, nil
	case len(fitting) > 0:
		return Choice{Flavour: FlavourBackport, Why: release + ", and the server has a topic for " + strings.Join(kindsOf(shape), " or ")}, nil
	case c.Backport:
		_, err := chooseTopic(c, w, shape)
		return Choice{}, err
	case len(c.Topics) > 0:
		return Choice{Flavour: FlavourClassic, Why: fmt.Sprintf("%s, and none of its %d topics is one for %s", release, len(c.Topics), strings.Join(kindsOf(shape), " or "))}, nil
	}
	return Choice{Flavour: FlavourClassic, Why: release + ", without the backport's profile and without topics"}, nil
}

// chooseTopic is the configured topic, or the only one that watches our resources: a wrong topic would be silence.
func chooseTopic(c *Capability, w Wish, shape Shape) (string, error) {
	if w.Topic != "" {
		return w.Topic, nil
	}
	const want = "name one as subscription.topic"
	if c == nil || len(c.Topics) == 0 {
		return "", errors.New("the server lists no topics: " + want + ", as its operators say, or set flavour: classic")
	}
	switch fit := fitting(c.Topics, shape); len(fit) {
	case 1:
		return fit[0].URL, nil
	case 0:
		return "", fmt.Errorf("none of the server's %d topics says that it watches %s: %s (%s), or set flavour: classic",
			len(c.Topics), strings.Join(kindsOf(shape), " or "), want, urls(c.Topics))
	default:
		return "", fmt.Errorf("several topics watch %s: %s (%s)", strings.Join(kindsOf(shape), " or "), want, urls(fit))
	}
}

// kindsOf are the resource types whose changes tell of a document of the shape.
func kindsOf(shape Shape) []string {
	if shape.OfCompositions() {
		return []string{"Composition", "DocumentReference", "DiagnosticReport"}
	}
	return []string{"DiagnosticReport"}
}

// fitting are the topics that watch our resources: as they say themselves, or else by their name.
func fitting(topics []Topic, shape Shape) (fit []Topic) {
	for _, t := range topics {
		if slices.ContainsFunc(kindsOf(shape), t.watches) {
			fit = append(fit, t)
		}
	}
	return fit
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
func (choice *Choice) warn(c *Capability, w Wish) {
	add := func(text string) { choice.Warnings = append(choice.Warnings, text) }
	if c == nil {
		add("the server shows no CapabilityStatement: nothing of what is configured could be checked against it")
		return
	}
	if c.Product == Firely && w.BaseURL == "" {
		add("Firely Server keeps Subscriptions that are created here and never looks at them: it evaluates those below /administration, " +
			"set subscription.base_url")
	}
	if choice.Flavour == FlavourClassic && w.Topic != "" {
		add("subscription.topic is not used by a classic Subscription")
	}
	listed := func(t Topic) bool { return t.URL == choice.Topic }
	if choice.Topic != "" && len(c.Topics) > 0 && !slices.ContainsFunc(c.Topics, listed) {
		add("the server does not list the configured topic")
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
