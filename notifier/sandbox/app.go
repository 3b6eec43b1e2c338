package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Button is a button as the app draws it.
type Button struct{ Text, Action string }

// Buttons reads the buttons of a markdown as the app does (reference io.md, 4), by language: it and en. Where the app would
// show something else than was meant (a warning, raw text, no button, a button that does nothing), that is an error: so a
// sender's mistake is found in the sandbox. A markdown without front matter has no buttons.
func Buttons(markdown string) (map[string][]Button, error) {
	if !strings.HasPrefix(strings.TrimLeft(markdown, "\ufeff \t\r\n"), "---") {
		return nil, nil
	}
	lines := strings.ReplaceAll(strings.TrimPrefix(markdown, "\ufeff"), "\r\n", "\n")
	rest, begins := strings.CutPrefix(lines, "---\n")
	block, _, closed := strings.Cut(rest, "\n---\n")
	if !begins || !closed {
		return nil, errors.New("front matter: the app shows it as text")
	}
	var front map[string]map[string]map[string]yaml.Node
	if yaml.Load([]byte(block), &front) != nil {
		return nil, errors.New("front matter: no YAML of languages, buttons, text and action")
	}
	shown := map[string][]Button{}
	for _, language := range []string{"it", "en"} {
		buttons, err := buttonsIn(front[language])
		if err != nil {
			return nil, fmt.Errorf("front matter: in %s: %w", language, err)
		}
		shown[language] = buttons
	}
	return shown, nil
}

func buttonsIn(written map[string]map[string]yaml.Node) ([]Button, error) {
	var shown []Button
	for _, name := range []string{"cta_1", "cta_2"} {
		fields, has := written[name]
		if !has && name == "cta_2" {
			return shown, nil
		}
		text, action := fields["text"], fields["action"]
		switch {
		case text.Kind != yaml.ScalarNode || text.Tag != "!!str" || text.Value == "":
			return nil, errors.New(name + " has no text that is a string")
		case action.Tag != "!!str" || !works(action.Value):
			return nil, errors.New(name + " has an action that the app ignores")
		}
		shown = append(shown, Button{text.Value, action.Value})
	}
	return shown, nil
}

// works says whether pressing the button does something.
func works(action string) bool {
	if strings.HasPrefix(action, "iosso://https://") || strings.HasPrefix(action, "ioit://") {
		return true
	}
	link, handled := strings.CutPrefix(action, "iohandledlink://")
	for _, scheme := range []string{"https://", "http://", "mailto:", "tel:", "sms:", "copy:"} {
		if handled && strings.HasPrefix(link, scheme) {
			return true
		}
	}
	return false
}
