package adapter

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"staffetta/config"
	"staffetta/notifier"
)

// newComposer renders every message that the file can lead to; what cannot be sent is said here, at start and at check.
func newComposer(m config.Message) (*notifier.Composer, error) {
	composer, err := notifier.NewComposer(notifier.ComposerOptions{
		Wording: notifier.Wording(m.Wording), Folder: m.Templates,
		First:  notifier.Button{URL: m.ButtonURL, Italian: m.ButtonText.Italian, English: m.ButtonText.English, SSO: m.SSO},
		Second: notifier.Button{URL: m.SecondButtonURL, Italian: m.SecondButtonText.Italian, English: m.SecondButtonText.English, SSO: m.SecondButtonSSO},
	})
	if err != nil {
		return nil, fmt.Errorf("messages:\n%w", err)
	}
	if composer.WantsReference() {
		return nil, errors.New("message.button_url, message.second_button_url: {ref} is there, and nothing that exchanges a reference for its document")
	}
	return composer, nil
}

// CheckMessages says whether every message can be sent, and what the institution must do that Staffetta cannot.
func CheckMessages(cfg *config.Config, out io.Writer) error {
	composer, err := newComposer(cfg.Message)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "messages: wording %s, in %s: every one is within IO's limits and the manual's style\n",
		cfg.Message.Wording, strings.Join(composer.Languages(), ", "))
	for _, path := range composer.Overridden() {
		_, _ = fmt.Fprintf(out, "messages: %s stands in for the shipped text\n", path)
	}
	_, _ = fmt.Fprintf(out, "secure channels: %s\n", notifier.SecureChannels)
	return nil
}
