package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"
)

// soon is how long before its end a certificate is named, or within its last quarter if that is shorter: who renews does so
// before.
const soon = 30 * day

// ailing is what is wrong with files at one time.
type ailing struct {
	now   time.Time
	found mistakes
}

// Ailing says what is wrong at a time with files that were well at start, one line each, by key. What cannot be read is not
// used: what it held before remains in use, so nothing else says it. It never holds a secret or a path.
func (c *Config) Ailing(now time.Time) []string {
	a := ailing{now: now}
	a.pair("public.tls", c.Public.TLS.CertFile, c.Public.TLS.KeyFile)
	a.pair("redis.tls", c.Redis.TLS.CertFile, c.Redis.TLS.KeyFile)
	a.authorities("redis.tls.ca_file", c.Redis.TLS.CAFile)
	a.secret("io.key_file", c.IO.KeyFile)
	a.secret("io.secondary_key_file", c.IO.SecondaryKeyFile)
	for i := range c.Sources {
		s, key := &c.Sources[i], fmt.Sprintf("sources[%d].", i)
		a.authorities(key+"receive.jwt.ca_file", s.Receive.JWT.CAFile)
		a.authorities(key+"receive.mtls.ca_file", s.Receive.MTLS.CAFile)
		a.read(key+"read", s.Read)
		a.read(key+"gate.read", s.Gate.Read)
	}
	return a.found
}

func (a *ailing) read(key string, r Read) {
	a.secret(key+".bearer_token_file", r.BearerTokenFile)
	a.secret(key+".password_file", r.PasswordFile)
	a.secret(key+".oauth2.client_secret_file", r.OAuth2.ClientSecretFile)
	if r.OAuth2.KeyFile != "" {
		if _, err := r.OAuth2.signingKey(); err != nil {
			a.found.add(key+".oauth2.key_file", "%s", withoutPath(err))
		}
	}
	a.pair(key, r.CertFile, r.KeyFile)
	if n := r.ModI; n.SigningCertFile != "" {
		if _, err := n.certificate(); err != nil {
			a.found.add(key+".modi.signing_cert_file", "%s", withoutPath(err))
		} else {
			a.pairOf(key+".modi.signing_cert_file", n.SigningCertFile, n.SigningKeyFile)
		}
	}
	a.authorities(key+".ca_file", r.CAFile)
}

func (a *ailing) secret(key, path string) {
	if path == "" {
		return
	}
	if _, err := readSecretFile(path); err != nil {
		a.found.add(key, "%s", withoutPath(err))
	}
}

func (a *ailing) pair(key, certFile, keyFile string) {
	if certFile != "" {
		a.pairOf(key+".cert_file", certFile, keyFile)
	}
}

func (a *ailing) pairOf(key, certFile, keyFile string) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		a.found.add(key, "%s", withoutPath(err))
		return
	}
	a.validity(key, pair.Leaf)
}

// authorities are well while one of them is valid: files of authorities keep old ones for long.
func (a *ailing) authorities(key, path string) {
	if path == "" {
		return
	}
	last, err := lastOf(path)
	if err != nil {
		a.found.add(key, "%s", withoutPath(err))
		return
	}
	a.validity(key, last)
}

// lastOf is the certificate of a file that is valid for longest.
func lastOf(path string) (last *x509.Certificate, err error) {
	rest, err := os.ReadFile(path) //nolint:gosec // the path comes from the operator's own file
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (last == nil || one.NotAfter.After(last.NotAfter)) {
			last = one
		}
	}
	if last == nil {
		return nil, errNoCertificate
	}
	return last, nil
}

func (a *ailing) validity(key string, one *x509.Certificate) {
	early := min(soon, one.NotAfter.Sub(one.NotBefore)/4)
	switch {
	case a.now.Before(one.NotBefore):
		a.found.add(key, "the certificate is valid from %s on", moment(one.NotBefore))
	case a.now.After(one.NotAfter):
		a.found.add(key, "the certificate has expired on %s", moment(one.NotAfter))
	case a.now.After(one.NotAfter.Add(-early)):
		a.found.add(key, "the certificate expires on %s", moment(one.NotAfter))
	}
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
