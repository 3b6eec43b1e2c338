package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

var (
	ulid = regexp.MustCompile(`^[0-9a-hjkmnp-tv-zA-HJKMNP-TV-Z]{26}$`)
	// headerName is a token of HTTP, without the marks that nobody uses.
	headerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	// fiscalCode is IO's own pattern.
	fiscalCode = regexp.MustCompile(`^[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]$`)
)

// validateRemote looks at remote content by itself, and at what message.content: remote wants of it.
func (c *Config) validateRemote(m *mistakes) {
	r := c.Remote
	if r.ConfigurationID != "" && !ulid.MatchString(r.ConfigurationID) {
		m.add("remote.configuration_id", "want a ULID, as IO gives it: 26 letters and digits")
	}
	if c.Message.Content == "remote" {
		if r.ConfigurationID == "" && !c.toConfigure {
			m.add("remote.configuration_id", "missing, want it for message.content: remote (`staffetta io configure` says it)")
		}
		if len(r.APIKeys)+len(r.APIKeyFiles) == 0 {
			m.add("remote.api_keys", "none, want at least one for message.content: remote")
		}
	}
	m.tokens("remote.api_keys", r.APIKeys)
	if !headerName.MatchString(r.Header) || strings.EqualFold(r.Header, "fiscal_code") {
		m.add("remote.header", "want the name of a header, e.g. X-API-Key")
	}
	m.between("remote.retention", r.Retention, day, 3650*day)
	m.oneOf("remote.precondition", r.Precondition, "never", "once", "always")
	for i, fact := range r.Show {
		m.oneOf(fmt.Sprintf("remote.show[%d]", i), fact, "kind", "date", "institution")
	}
	r.validateConfiguration(m)
}

// validateConfiguration looks at what IO is given.
func (r Remote) validateConfiguration(m *mistakes) {
	if strings.TrimSpace(r.Name) == "" || strings.TrimSpace(r.Description) == "" {
		m.add("remote.name", "name or description is empty, want a few words: IO asks for both")
	}
	m.fetched("remote.base_url", r.BaseURL)
	m.fetched("remote.test.base_url", r.Test.BaseURL)
	if r.Test.BaseURL == "" && len(r.Test.Users) > 0 {
		m.add("remote.test.base_url", "missing, but there are users")
	}
	for i, user := range r.Test.Users {
		if !fiscalCode.MatchString(string(user)) {
			m.add(fmt.Sprintf("remote.test.users[%d]", i), "want a codice fiscale in capitals")
		}
	}
	if r.ManageKey != "" && !validToken(r.ManageKey) {
		m.add("remote.manage_key", "want visible ASCII characters without blanks")
	}
}

// fetched checks a base URL that IO fetches from.
func (m *mistakes) fetched(key, base string) {
	if base == "" {
		return
	}
	m.webURL(key, base)
	if u, err := url.Parse(base); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		m.add(key, "want https: fiscal codes and the API key would travel in clear")
	}
}

func (d Documents) validate(m *mistakes) {
	m.tokens("documents.bearer_tokens", d.BearerTokens)
	m.oneOf("documents.answer", d.Answer, "json", "redirect")
}

func (m *mistakes) tokens(key string, tokens []Secret) {
	for i, token := range tokens {
		if !validToken(token) {
			m.add(fmt.Sprintf("%s[%d]", key, i), "want visible ASCII characters without blanks")
		}
	}
}

// shortToken is what 128 bits in base64 have: shorter ones can be guessed.
const shortToken = 22

func (c *Config) findUnwiseRemote() {
	c.findFirstOnly()
	c.findShort("remote.api_keys", c.Remote.APIKeys)
	c.findShort("documents.bearer_tokens", c.Documents.BearerTokens)
	if len(c.Remote.APIKeys) > 0 && time.Duration(c.Remote.Retention) < time.Duration(c.Ledger.Retention) {
		c.warn("remote.retention: shorter than ledger.retention, messages open without details while their documents are remembered")
	}
}

// findFirstOnly is about a message that stands for several documents: it has one reference.
func (c *Config) findFirstOnly() {
	if refers := c.Message.Content == "remote" || strings.Contains(c.Message.ButtonURL+c.Message.SecondButtonURL, "{ref}"); refers && c.Policy.OneMessage > 0 {
		c.warn("policy.one_message: a message that stands for several documents opens, and leads the portal to, the first of them only")
	}
}

func (c *Config) findShort(key string, tokens []Secret) {
	for i, token := range tokens {
		if len(token) < shortToken {
			c.warn("%s[%d]: shorter than %d characters, whoever guesses it reads what citizens read", key, i, shortToken)
		}
	}
}
