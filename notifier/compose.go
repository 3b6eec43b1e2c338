package notifier

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v4"

	"staffetta/fhir/fiscalcode"
)

//go:embed templates/*.md
var templates embed.FS

// ComposerOptions are what all messages share.
type ComposerOptions struct {
	ButtonURL string // https address of the portal, the same for everybody
	SSO       bool   // the portal is registered with IO: iosso:// instead of iohandledlink://
}

// Composer writes messages. Its texts are neutral: they name no exam, place, date or person (DM 7.9.2023 art. 22: the
// notice contains no personal data).
type Composer struct {
	messages map[string]Message // by publication, without recipient
}

// publications are the messages that there are, one template each.
var publications = []string{"published", "updated", "withdrawn"}

// NewComposer reads the templates, adds the button, and checks every message against IO's limits: what cannot be sent is
// an error at start.
func NewComposer(o ComposerOptions) (*Composer, error) {
	front, err := frontMatter(o)
	if err != nil {
		return nil, err
	}
	c := &Composer{messages: map[string]Message{}}
	for _, publication := range publications {
		text, err := templates.ReadFile("templates/" + publication + ".md")
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", publication, err)
		}
		subject, body, found := strings.Cut(string(text), "\n\n")
		subject, isTitle := strings.CutPrefix(subject, "# ")
		if !found || !isTitle {
			return nil, fmt.Errorf("template %s: want a title, an empty line and a text", publication)
		}
		m := Message{Subject: subject, Markdown: front + "\n" + body}
		if err := m.Check(); err != nil {
			return nil, fmt.Errorf("template %s: %w", publication, err)
		}
		c.messages[publication] = m
	}
	return c, nil
}

// Compose is the message about a publication to one person.
func (c *Composer) Compose(publication string, recipient fiscalcode.Code) (Message, error) {
	m, known := c.messages[publication]
	if !known {
		return Message{}, fmt.Errorf("no message for publication %q", publication)
	}
	if recipient == (fiscalcode.Code{}) {
		return Message{}, errors.New("a message to nobody")
	}
	m.Recipient = recipient
	return m, nil
}

type button struct {
	Text   quoted `yaml:"text"`
	Action quoted `yaml:"action"`
}

// quoted is always written in quotes: the app's parser is not ours.
type quoted string

// MarshalYAML writes the quotes.
func (q quoted) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: string(q)}, nil
}

type buttons struct {
	CTA1 button `yaml:"cta_1"`
}

// front is what the app reads: Italian and English, no other language. Without the English block an English citizen has
// no button (reference io.md, 4).
type front struct {
	IT buttons `yaml:"it"`
	EN buttons `yaml:"en"`
}

// frontMatter writes the button with a YAML encoder: one wrong quote, and the app replaces the whole text by a warning.
func frontMatter(o ComposerOptions) (string, error) {
	address, err := action(o)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	err = encoder.Encode(front{
		IT: buttons{button{Text: "Apri il Fascicolo", Action: quoted(address)}},
		EN: buttons{button{Text: "Open your health record", Action: quoted(address)}},
	})
	if err != nil {
		return "", fmt.Errorf("front matter: %w", err)
	}
	return "---\n" + text.String() + "---\n", nil
}

func action(o ComposerOptions) (string, error) {
	portal, err := url.Parse(o.ButtonURL)
	switch {
	case err != nil || portal.Host == "" || portal.Scheme != "https":
		return "", errors.New("message.button_url: want an https address")
	case portal.User != nil:
		return "", errors.New("message.button_url: holds a user or a password")
	case strings.ContainsFunc(o.ButtonURL, func(r rune) bool { return r <= ' ' || r == '"' || r == '\'' || r == '\\' || r == 0x7f }):
		return "", errors.New("message.button_url: holds a blank, a quote or a control character")
	case o.SSO:
		return "iosso://" + o.ButtonURL, nil
	}
	return "iohandledlink://" + o.ButtonURL, nil
}
