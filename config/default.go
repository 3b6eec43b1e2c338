package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// EmbeddedRedis is the value of redis.url for a Redis inside this process, in memory only.
const EmbeddedRedis = "embedded"

// Default is the file before anything is read over it. It lacks what only an operator knows: Redis, keys, sources, button.
func Default() *Config {
	return &Config{
		Public: Public{
			Listen: ":8080", MaxBody: 64 << 20, MaxDepth: 64, MaxEntries: 10_000, ReadTimeout: Duration(time.Minute),
		},
		Admin: Admin{Listen: "127.0.0.1:9090"},
		Ledger: Ledger{
			SealKeyID: 1, Retention: Duration(90 * day), Lease: Duration(15 * time.Second),
			GiveUpAfter: Duration(72 * time.Hour), JournalEntries: 4096,
		},
		IO: IO{
			BaseURL: "https://api.io.pagopa.it/api/v1", Rate: 20, Track: true, Polls: defaultPolls(),
			Timeout: Duration(10 * time.Second), Connections: 64, Uncertain: "resend", Mode: ModeLive,
		},
		Message: Message{
			Wording: "referto", Content: "static", ButtonText: ButtonText{Italian: "Vai al Fascicolo Sanitario", English: "Go to your health record"},
		},
		Remote: Remote{
			Header: "X-API-Key", Retention: Duration(400 * day), Precondition: "never", Show: []string{"kind", "date", "institution"},
			Name: "Staffetta", Description: "Testi dei messaggi sui documenti del Fascicolo",
		},
		Documents: Documents{Answer: "json"},
		Policy: Policy{
			Settle: Duration(time.Minute), MaxAge: Duration(30 * day), ReplacementWait: Duration(15 * time.Minute),
			Minors: "suppress", VisibleWait: Duration(72 * time.Hour), BelieveMissing: Duration(10 * time.Minute),
		},
		Log:     Log{Level: "info"},
		Workers: 64,
	}
}

// defaultPolls asks for the first status when most messages are through, so that one call is the rule.
func defaultPolls() []Duration {
	return []Duration{
		Duration(10 * time.Second), Duration(time.Minute), Duration(10 * time.Minute), Duration(time.Hour), Duration(day),
	}
}

// fillIn gives a source its defaults. They are not in Default, because a list has no element before it is read; 0 and
// absent are the same here.
func (s *Source) fillIn() {
	if s.Shape == "" {
		s.Shape = "report"
	}
	if s.Obscured == "" {
		s.Obscured = "notify"
	}
	if s.Flavour == "" {
		s.Flavour = "auto"
	}
	if s.Subscribe == "" {
		s.Subscribe = "manual"
	}
	s.Read.fillIn(s.BaseURL)
	if !s.Gate.absent() {
		s.Gate.Read.fillIn(s.Gate.BaseURL)
	}
	s.Subscription.fillIn()
	s.Sweep.fillIn()
}

func (s *Sweep) fillIn() {
	if s.Every == nil {
		s.Every = new(Duration(5 * time.Minute))
	}
	if s.Overlap == 0 {
		s.Overlap = Duration(15 * time.Minute)
	}
}

func (r *Read) fillIn(baseURL string) {
	r.Timeout = cmp.Or(r.Timeout, Duration(10*time.Second))
	r.MaxBody = cmp.Or(r.MaxBody, 64<<20)
	r.Connections = cmp.Or(r.Connections, 64)
	r.OAuth2.fillIn()
	r.ModI.fillIn(baseURL)
}

func (s *Subscription) fillIn() {
	if s.Content == "" {
		s.Content = "id-only"
	}
	if s.Heartbeat == nil {
		s.Heartbeat = new(Duration(5 * time.Minute))
	}
	if s.Timeout == nil {
		s.Timeout = new(Duration(30 * time.Second))
	}
	if s.MaxCount == nil {
		s.MaxCount = new(20)
	}
}

func (o *OAuth2) fillIn() {
	switch {
	case o.AuthMethod != "":
	case o.KeyFile != "":
		o.AuthMethod = privateKeyJWT
	case o.ClientSecret != "" || o.ClientSecretFile != "":
		o.AuthMethod = clientSecretBasic
	}
}

func (m *ModI) fillIn(baseURL string) {
	if m.absent() {
		return
	}
	m.Audience = cmp.Or(m.Audience, baseURL)
	m.Algorithm = cmp.Or(m.Algorithm, "RS256")
	m.Lifetime = cmp.Or(m.Lifetime, Duration(5*time.Minute))
}

// SettleAt is for how long a document of a source rests before it is looked at: policy.settle. Where the source has no
// Subscription (`subscribe: never`) it is no longer than sweep.every: what sweeps alone find is told within that and 5 s.
func (c *Config) SettleAt(s Source) time.Duration {
	settle := time.Duration(c.Policy.Settle)
	if s.Subscribe == "never" {
		settle = min(settle, time.Duration(*s.Sweep.Every))
	}
	return settle
}

// The methods of a client at a token endpoint, by their registered names (RFC 7591, token_endpoint_auth_method).
const (
	clientSecretBasic = "client_secret_basic"
	clientSecretPost  = "client_secret_post"
	privateKeyJWT     = "private_key_jwt"
)

// absent says whether nothing of the section is in the file.
func (o OAuth2) absent() bool { return reflect.ValueOf(o).IsZero() }

// absent says whether nothing of the section is in the file.
func (m ModI) absent() bool { return reflect.ValueOf(m).IsZero() }

// absent says whether nothing of the section is in the file.
func (g Gate) absent() bool { return reflect.ValueOf(g).IsZero() }

// absent says whether nothing of the section is in the file.
func (j JWT) absent() bool { return j == JWT{} }

// absent says whether nothing of the section is in the file.
func (m MTLS) absent() bool { return m.CAFile == "" && len(m.AllowedNames) == 0 }

// Embedded says whether the ledger lives in the memory of this process.
func (r Redis) Embedded() bool { return r.URL == EmbeddedRedis }

// RemoteBase is the base URL under which IO finds /messages/{id}; an error where there is none that it may be given.
func (c *Config) RemoteBase() (string, error) {
	base := strings.TrimSuffix(c.Remote.BaseURL, "/")
	if base == "" && c.Public.URL != "" {
		base = strings.TrimSuffix(c.Public.URL, "/") + "/io"
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "https" && !isLoopback(u.Hostname()) {
		return "", errors.New("remote.base_url: want an https address, here or as public.url: where does IO fetch from?")
	}
	return base, nil
}

// Tokens are all bearer tokens by which the source may authenticate to us, once Complete has read their files.
func (r Receive) Tokens() []Secret { return r.BearerTokens }

// Secrets are all secrets with which the source may sign, once Complete has read their files.
func (r Receive) Secrets() []Secret { return r.HMACSecrets }

func (c *Config) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}
