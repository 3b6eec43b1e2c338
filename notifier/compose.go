package notifier

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"staffetta/fhir/fiscalcode"
)

// ComposerOptions are what all messages share.
type ComposerOptions struct {
	Wording Wording // which of the shipped sets of texts
	Folder  string  // of files that stand in for shipped ones: published.it.md and so on; "" for none
	First   Button
	Second  Button
	// Remote, where its ConfigurationID is set, makes every message a pointer: IO keeps the neutral text that it would have been,
	// and fetches what a citizen reads (see Details).
	Remote Pointer
}

// Notice is all that a message is composed from. Nothing of the document is in it.
type Notice struct {
	Publication string // published, updated or withdrawn
	Recipient   fiscalcode.Code
	Languages   []string // as IO's profile names them, the preferred one first: de_DE, it_IT
	// Reference stands in the buttons' URLs for {ref}, and is the id of remote content: opaque, 22 to 64 characters of
	// base64url. Where neither is wanted it may be empty, and is used for nothing.
	Reference string
}

// Composer writes messages. All of them are rendered at start, from templates and the configuration, before any document
// is known: they are neutral by construction.
type Composer struct {
	messages   map[string]map[string]written // by language and publication
	overridden []string
	reference  bool // a button's URL holds {ref}
	remote     Pointer
	opener     *opener
}

// written is a message without its recipient.
type written struct{ subject, front, body string }

func (w written) message(to fiscalcode.Code) Message {
	return Message{Recipient: to, Subject: w.subject, Markdown: w.front + "\n" + w.body}
}

// longest is the message with the longest reference there may be.
func (w written) longest() Message {
	w.front = strings.ReplaceAll(w.front, Placeholder, sampleReference)
	return w.message(fiscalcode.Code{})
}

// fallback is the language of citizens who prefer none that there are texts in. It also follows below every other one: the
// buttons and the portal speak it, it is the language of those who help, and in the bilingual provinces of both offices.
const fallback, fallbackHeading = "it", "## Italiano\n"

// NewComposer reads the templates and renders every message in every language and every state, configured or not: what
// cannot be sent, or is not written as IO's manual wants, is an error at start that names everything at once.
func NewComposer(o ComposerOptions) (*Composer, error) {
	if o.Wording != Referto && o.Wording != Novita {
		return nil, errors.New("message.wording: want referto or novita")
	}
	all, v := readTexts(o.Wording, o.Folder)
	v = append(v, o.First.check(firstKey, o.Wording)...)
	if o.Second.exists() {
		v = append(v, o.Second.check(secondKey, o.Wording)...)
	}
	c := &Composer{reference: strings.Contains(o.First.URL+o.Second.URL, Placeholder), remote: o.Remote}
	for _, s := range all.inOrder() {
		v = append(v, s.check(o.Wording)...)
		if s.override {
			c.overridden = append(c.overridden, s.path)
		}
	}
	if len(v) > 0 {
		return nil, v
	}
	if err := c.renderAll(all, o); err != nil {
		return nil, err
	}
	return c, nil
}

// renderAll renders every state and keeps the configured one.
func (c *Composer) renderAll(all texts, o ComposerOptions) error {
	f := findings{}
	kept, opened, rome := all.only(publications), all.only(openings), timeOfRome()
	for _, sso := range []bool{false, true} {
		for _, second := range []Button{{}, o.Second.or(o.First)} {
			s := state{wording: o.Wording, first: o.First.withSSO(sso), second: second, found: f}
			messages := s.messages(kept)
			opener := &opener{texts: opened, messages: messages, first: s.first, second: second, rome: rome}
			s.checkOpener(opener)
			if sso == o.First.SSO && second.exists() == o.Second.exists() {
				c.messages, c.opener = messages, opener
			}
		}
	}
	return f.violations().err()
}

// Compose is the message about a publication to one person, in the first of the person's languages that there are texts in.
func (c *Composer) Compose(n Notice) (Message, error) {
	w, known := c.messages[c.Language(n.Languages)][n.Publication]
	if !known {
		return Message{}, errors.New("there is no such message")
	}
	if n.Recipient == (fiscalcode.Code{}) {
		return Message{}, errors.New("a message to nobody")
	}
	if !c.WantsReference() {
		return w.message(n.Recipient), nil // checked at start
	}
	if err := checkReference(n.Reference); err != nil {
		return Message{}, err
	}
	w.front = strings.ReplaceAll(w.front, Placeholder, n.Reference)
	m := w.message(n.Recipient)
	if c.remote.ConfigurationID != "" {
		m.Remote = c.remote
		m.Remote.ID = n.Reference
	}
	return m, m.Check()
}

// Language is the one that a message is written in, of a profile's languages (de_DE, it_IT).
func (c *Composer) Language(preferred []string) string {
	for _, name := range preferred {
		language, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(name, "-", "_")), "_")
		if _, has := c.messages[language]; has {
			return language
		}
	}
	return fallback
}

// WantsReference says whether a message needs a reference: for its buttons, or for remote content.
func (c *Composer) WantsReference() bool { return c.reference || c.remote.ConfigurationID != "" }

// HasPlaceholder says whether a button's URL holds {ref}.
func (c *Composer) HasPlaceholder() bool { return c.reference }

// Languages are those that there are texts in.
func (c *Composer) Languages() []string { return slices.Sorted(maps.Keys(c.messages)) }

// Overridden are the institution's own files that stand in for shipped texts.
func (c *Composer) Overridden() []string { return c.overridden }
