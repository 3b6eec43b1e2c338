package notifier

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// front is what the app reads: Italian and English, no other language. Without the English block an English citizen has
// no button (reference io.md, 4), so both are always written.
type front struct {
	IT buttons `yaml:"it"`
	EN buttons `yaml:"en"`
}

type buttons struct {
	First  button `yaml:"cta_1"`
	Second button `yaml:"cta_2,omitempty"`
}

type button struct {
	Text   quoted `yaml:"text"`
	Action quoted `yaml:"action"`
}

// quoted is always written in quotes: the app's parser is not ours.
type quoted string

// MarshalYAML writes the quotes.
func (q quoted) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: string(q)}, nil
}

// UnmarshalYAML takes nothing but a string in quotes: what is none by its looks is none for the app.
func (q *quoted) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.ScalarNode || node.Tag != "!!str" || node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
		return errors.New("want a text in quotes")
	}
	*q = quoted(node.Value)
	return nil
}

// frontOf puts buttons into both languages.
func frontOf(first, second Button) front {
	in := func(language string) buttons {
		b := buttons{First: button{quoted(first.text(language)), quoted(first.action())}}
		if second.exists() {
			b.Second = button{quoted(second.text(language)), quoted(second.action())}
		}
		return b
	}
	return front{IT: in("it"), EN: in("en")}
}

const fence = "---\n"

// encode writes the block with a YAML encoder and reads it back: one wrong quote, and the app replaces the whole message
// by a warning.
func (f front) encode() (string, error) {
	text, err := yaml.Dump(f, yaml.WithIndent(2), yaml.WithLineWidth(-1), yaml.WithUnicode())
	if err != nil {
		return "", fmt.Errorf("front matter: %w", err)
	}
	block := fence + string(text) + fence
	again, err := parseFront(block)
	if err != nil {
		return "", err
	}
	if again != f {
		return "", errors.New("front matter: reads otherwise than it was written")
	}
	return block, nil
}

// parseFront reads the buttons of a markdown. Unlike the app it forgives nothing: what the app would show without buttons,
// or as raw text, is an error. The error never holds text.
func parseFront(markdown string) (front, error) {
	rest, has := strings.CutPrefix(markdown, fence)
	if !has {
		return front{}, errors.New("front matter: does not begin with a line ---")
	}
	block, _, closed := strings.Cut(rest, "\n"+fence)
	if !closed {
		return front{}, errors.New("front matter: has no closing line ---")
	}
	var f front
	if yaml.Load([]byte(block), &f, yaml.WithKnownFields()) != nil {
		return front{}, errors.New("front matter: want cta_1, and cta_2 or not, with text and action in quotes, in it and en")
	}
	return f, f.check()
}

// check says whether the app would draw all buttons, for Italian and English alike.
func (f front) check() error {
	var none button
	if (f.IT.Second == none) != (f.EN.Second == none) {
		return errors.New("front matter: one language has two buttons, the other one")
	}
	all := []button{f.IT.First, f.EN.First}
	if f.IT.Second != none {
		all = append(all, f.IT.Second, f.EN.Second)
	}
	for _, b := range all {
		if err := b.check(); err != nil {
			return err
		}
	}
	return nil
}

func (b button) check() error {
	link := string(b.Action)
	after, handled := strings.CutPrefix(link, "iohandledlink://")
	if !handled {
		after, handled = strings.CutPrefix(link, "iosso://")
		handled = handled && strings.HasPrefix(after, "https://")
	}
	known := strings.HasPrefix(after, "https://") || strings.HasPrefix(after, "mailto:") || strings.HasPrefix(after, "tel:")
	switch {
	case b.Text == "" || !handled || !known:
		return errors.New("front matter: a button without text, or with an action that the app ignores")
	case strings.ContainsFunc(string(b.Text)+link, unicode.IsControl):
		return errors.New("front matter: a control character or a line end in a button")
	}
	return nil
}
