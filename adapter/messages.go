package adapter

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"staffetta/config"
	"staffetta/notifier"
)

// newComposer renders every message that the file can lead to; what cannot be sent is said here, at start and at check.
func newComposer(cfg *config.Config) (*notifier.Composer, error) {
	m := cfg.Message
	composer, err := notifier.NewComposer(notifier.ComposerOptions{
		Wording: notifier.Wording(m.Wording), Folder: m.Templates, Remote: pointerOf(cfg),
		First:  notifier.Button{URL: m.ButtonURL, Italian: m.ButtonText.Italian, English: m.ButtonText.English, SSO: m.SSO},
		Second: notifier.Button{URL: m.SecondButtonURL, Italian: m.SecondButtonText.Italian, English: m.SecondButtonText.English, SSO: m.SecondButtonSSO},
	})
	if err != nil {
		return nil, fmt.Errorf("messages:\n%w", err)
	}
	if composer.HasPlaceholder() && len(cfg.Documents.BearerTokens) == 0 {
		return nil, errors.New("message.button_url, message.second_button_url: {ref} is there, and documents.bearer_tokens is not: " +
			"nobody could exchange a reference for its document")
	}
	for i, source := range cfg.Sources {
		if err := notifier.CheckInstitution(source.Institution); err != nil {
			return nil, fmt.Errorf("sources[%d].institution: %w", i, err)
		}
	}
	return composer, nil
}

// pointerOf is what every message points to; zero where IO keeps what the citizen reads.
func pointerOf(cfg *config.Config) notifier.Pointer {
	if cfg.Message.Content != "remote" {
		return notifier.Pointer{}
	}
	return notifier.Pointer{ConfigurationID: cfg.Remote.ConfigurationID, Precondition: strings.ToUpper(cfg.Remote.Precondition)}
}

// CheckMessages says whether every message can be sent, and what the institution must do that Staffetta cannot.
func CheckMessages(cfg *config.Config, out io.Writer) error {
	composer, err := newComposer(cfg)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "messages: wording %s, in %s: every one is within IO's limits and the manual's style\n",
		cfg.Message.Wording, strings.Join(composer.Languages(), ", "))
	for _, path := range composer.Overridden() {
		_, _ = fmt.Fprintf(out, "messages: %s stands in for the shipped text\n", path)
	}
	checkRemote(cfg, out)
	_, _ = fmt.Fprintf(out, "secure channels: %s\n", notifier.SecureChannels)
	return nil
}

// checkRemote says what is served to IO and to the portal.
func checkRemote(cfg *config.Config, out io.Writer) {
	if cfg.Message.Content == "remote" {
		_, _ = fmt.Fprintf(out, "remote content: IO keeps the neutral text, and asks configuration %s at each opening\n", cfg.Remote.ConfigurationID)
	}
	if len(cfg.Remote.APIKeys) > 0 {
		_, _ = fmt.Fprintf(out, "remote content: served at /io/messages/{id}, with %d valid API keys in %s; shown: %s\n",
			len(cfg.Remote.APIKeys), cfg.Remote.Header, cmp.Or(strings.Join(cfg.Remote.Show, ", "), "nothing"))
	}
	if len(cfg.Documents.BearerTokens) > 0 {
		_, _ = fmt.Fprintf(out, "documents: exchanged at /documents/{ref}, with %d valid tokens, as %s\n", len(cfg.Documents.BearerTokens), cfg.Documents.Answer)
	}
}
