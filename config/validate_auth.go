package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

func (r Receive) validate(key string, m *mistakes) {
	if len(r.BearerTokens)+len(r.BearerTokenFiles)+len(r.HMACSecrets)+len(r.HMACSecretFiles) == 0 && r.JWT.absent() && r.MTLS.absent() {
		m.add(key, "nothing, want bearer_tokens, hmac_secrets, jwt or mtls: without one of them anybody could post")
	}
	for i, token := range r.BearerTokens {
		if !validToken(token) {
			m.add(fmt.Sprintf("%s.bearer_tokens[%d]", key, i), "want visible ASCII characters without blanks")
		}
	}
	for i, secret := range r.HMACSecrets {
		if secret == "" {
			m.add(fmt.Sprintf("%s.hmac_secrets[%d]", key, i), "empty, want a secret")
		}
	}
	r.JWT.validate(key+".jwt", m)
	r.MTLS.validate(key+".mtls", m)
}

func (j JWT) validate(key string, m *mistakes) {
	if j.absent() {
		return
	}
	m.given(key+".issuer", j.Issuer)
	m.given(key+".audience", j.Audience)
	if m.given(key+".jwks_url", j.JWKSURL) {
		m.secureURL(key+".jwks_url", j.JWKSURL)
	}
	m.authorities(key+".ca_file", j.CAFile)
}

func (t MTLS) validate(key string, m *mistakes) {
	if t.absent() {
		return
	}
	if m.given(key+".ca_file", t.CAFile) {
		m.authorities(key+".ca_file", t.CAFile)
	}
	if len(t.AllowedNames) == 0 {
		m.add(key+".allowed_names", "none, want at least one: an authority vouches for more than this source")
	}
	for i, name := range t.AllowedNames {
		m.given(fmt.Sprintf("%s.allowed_names[%d]", key, i), name)
	}
}

func (r Read) validate(key string, m *mistakes) {
	if r.BearerToken != "" && !validToken(r.BearerToken) {
		m.add(key+".bearer_token", "want visible ASCII characters without blanks")
	}
	var ways []string
	for _, way := range []struct {
		name  string
		given bool
	}{
		{"bearer_token", r.BearerToken != ""},
		{"username", r.Username != ""},
		{"oauth2", !r.OAuth2.absent()},
		{"modi", !r.ModI.absent()},
	} {
		if way.given {
			ways = append(ways, way.name)
		}
	}
	if len(ways) > 1 {
		m.add(key, "both %s, want one of them", strings.Join(ways, " and "))
	}
	if (r.Username == "") != (r.Password == "") {
		m.add(key, "username and password go together")
	}
	r.OAuth2.validate(key+".oauth2", m)
	r.ModI.validate(key+".modi", r, m)
	m.pair(key, r.CertFile, r.KeyFile)
	m.authorities(key+".ca_file", r.CAFile)
	m.between(key+".timeout", r.Timeout, 100*time.Millisecond, 10*time.Minute)
	m.size(key+".max_body", r.MaxBody)
	m.atLeast(key+".connections", r.Connections, 1)
}

func (o OAuth2) validate(key string, m *mistakes) {
	if o.absent() {
		return
	}
	m.given(key+".client_id", o.ClientID)
	if o.TokenURL != "" {
		m.secureURL(key+".token_url", o.TokenURL)
	}
	for i, scope := range o.Scopes {
		if !validToken(Secret(scope)) {
			m.add(fmt.Sprintf("%s.scopes[%d]", key, i), "want one scope, without blanks")
		}
	}
	bySecret, byKey := o.ClientSecret != "" || o.ClientSecretFile != "", o.KeyFile != ""
	switch {
	case bySecret && byKey:
		m.add(key, "both client_secret and key_file, want one of them")
	case bySecret:
		o.validateSecret(key, m)
	case byKey:
		o.validateKey(key, m)
	default:
		m.add(key, "neither client_secret nor key_file, want one of them")
	}
}

func (o OAuth2) validateSecret(key string, m *mistakes) {
	m.oneOf(key+".auth_method", o.AuthMethod, clientSecretBasic, clientSecretPost)
	if o.TokenURL == "" {
		m.add(key+".token_url", "missing: it is discovered only for a key_file, since a secret shall not go where a server points")
	}
	for _, one := range []struct{ name, value string }{
		{"key_id", o.KeyID}, {"algorithm", o.Algorithm}, {"audience", o.Audience},
	} {
		if one.value != "" {
			m.add(key+"."+one.name, "without key_file, which it belongs to")
		}
	}
}

func (o OAuth2) validateKey(key string, m *mistakes) {
	if o.AuthMethod != privateKeyJWT {
		m.add(key+".auth_method", "want %s: there is a key_file", privateKeyJWT)
	}
	if len(o.Scopes) == 0 {
		m.add(key+".scopes", "none, want at least one, e.g. system/DiagnosticReport.rs")
	}
	if o.Algorithm != "" {
		m.oneOf(key+".algorithm", o.Algorithm, "RS384", "ES384")
	}
	if _, err := o.signingKey(); err != nil {
		m.file(key+".key_file", o.KeyFile, err)
	}
}

func (n ModI) validate(key string, r Read, m *mistakes) {
	if n.absent() {
		return
	}
	if r.CertFile == "" {
		m.add(key, "without a client certificate, want cert_file and key_file of read as well")
	}
	before := len(*m)
	m.given(key+".signing_cert_file", n.SigningCertFile)
	m.given(key+".signing_key_file", n.SigningKeyFile)
	m.readable(key+".signing_cert_file", n.SigningCertFile)
	m.readable(key+".signing_key_file", n.SigningKeyFile)
	if len(*m) == before {
		if _, err := n.certificate(); err != nil {
			m.add(key+".signing_cert_file", "%s", err)
		}
	}
	m.oneOf(key+".algorithm", n.Algorithm, "RS256", "RS384", "RS512")
	m.between(key+".lifetime", n.Lifetime, 10*time.Second, day)
	for _, name := range ownClaims {
		if _, given := n.Claims[name]; given {
			m.add(key+".claims", "%s, which is said already", name)
		}
	}
	if _, err := json.Marshal(n.Claims); err != nil {
		m.add(key+".claims", "want what JSON can say")
	}
}

// findUnwiseProofs warns of how a source authenticates where that works and is probably not meant.
func (c *Config) findUnwiseProofs(i int) {
	source := c.Sources[i]
	for _, kind := range []struct {
		key     string
		secrets []Secret
	}{{"bearer_tokens", source.Receive.BearerTokens}, {"hmac_secrets", source.Receive.HMACSecrets}} {
		for j, secret := range kind.secrets {
			if len(secret) < 16 {
				c.warn("sources[%d].receive.%s[%d]: %d characters can be guessed, want 16 or more", i, kind.key, j, len(secret))
			}
		}
	}
	for j, other := range c.Sources[:i] {
		if slices.ContainsFunc(source.Receive.BearerTokens, func(token Secret) bool { return slices.Contains(other.Receive.BearerTokens, token) }) {
			c.warn("sources[%d].receive.bearer_tokens: one of them is a token of sources[%d], each may post as the other one", i, j)
		}
		if jwt := source.Receive.JWT; !jwt.absent() && jwt.Issuer == other.Receive.JWT.Issuer && jwt.Audience == other.Receive.JWT.Audience {
			c.warn("sources[%d].receive.jwt: issuer and audience are those of sources[%d], each may post as the other one", i, j)
		}
	}
	if source.Read.ModI.SigningCertFile != "" && source.Read.ModI.SigningCertFile == source.Read.CertFile {
		c.warn("sources[%d].read.modi.signing_cert_file: the same as read.cert_file, ModI wants two certificates", i)
	}
}

// given says whether there is a value, and notes where there is none.
func (m *mistakes) given(key, value string) bool {
	if strings.TrimSpace(value) == "" {
		m.add(key, "missing")
		return false
	}
	return true
}

// secureURL is where secrets go, or where trust comes from. It does not repeat the URL.
func (m *mistakes) secureURL(key, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil, !slices.Contains([]string{"http", "https"}, u.Scheme), u.Hostname() == "":
		m.add(key, "want an https:// URL")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		m.add(key, "want https: who is in between could change it")
	case u.User != nil || u.Fragment != "":
		m.add(key, "holds credentials or a fragment, want only the address")
	}
}

// authorities checks a file of certificate authorities, where there is one.
func (m *mistakes) authorities(key, path string) {
	if path == "" {
		return
	}
	if _, err := readCAs(path); err != nil {
		m.file(key, path, err)
	}
}
