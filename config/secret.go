package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
)

// Secret is a value that no print, log or marshalling shows. In the file it is written in clear or as ${NAME}, the name
// of an environment variable; every secret `x` may be given as `x_file` instead, the path of a file that holds it.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "<secret>"
}

// Format hides the secret from every verb of fmt: without it, one that does not fit a string would show the value.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON, YAML and text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// secretField is one secret of the file with the two ways of giving it.
type secretField struct {
	key   string // as in the file, e.g. io.key; its other way is key + "_file"
	value *Secret
	file  *string
	must  bool // there is no working without it
}

// secrets lists every secret that has one value. Those of which there may be several are not among them.
func (c *Config) secrets() []secretField {
	fields := make([]secretField, 0, 8+len(c.Ledger.OlderSealKeys)+6*len(c.Sources))
	fields = append(
		fields,
		secretField{"redis.password", &c.Redis.Password, &c.Redis.PasswordFile, false},
		secretField{"redis.sentinel_password", &c.Redis.SentinelPassword, &c.Redis.SentinelPasswordFile, false},
		secretField{"ledger.seal_key", &c.Ledger.SealKey, &c.Ledger.SealKeyFile, true},
		secretField{"ledger.naming_key", &c.Ledger.NamingKey, &c.Ledger.NamingKeyFile, false},
		secretField{"io.key", &c.IO.Key, &c.IO.KeyFile, c.IO.Mode != ModeOff},
		secretField{"io.secondary_key", &c.IO.SecondaryKey, &c.IO.SecondaryKeyFile, false},
		secretField{"remote.manage_key", &c.Remote.ManageKey, &c.Remote.ManageKeyFile, false},
	)
	for i := range c.Ledger.OlderSealKeys {
		older, key := &c.Ledger.OlderSealKeys[i], fmt.Sprintf("ledger.older_seal_keys[%d].key", i)
		fields = append(fields, secretField{key, &older.Key, &older.KeyFile, true})
	}
	for i := range c.Sources {
		key := fmt.Sprintf("sources[%d].", i)
		fields = append(fields, c.Sources[i].Read.secrets(key+"read.")...)
		fields = append(fields, c.Sources[i].Gate.Read.secrets(key+"gate.read.")...)
	}
	return fields
}

func (r *Read) secrets(key string) []secretField {
	return []secretField{
		{key + "bearer_token", &r.BearerToken, &r.BearerTokenFile, false},
		{key + "password", &r.Password, &r.PasswordFile, false},
		{key + "oauth2.client_secret", &r.OAuth2.ClientSecret, &r.OAuth2.ClientSecretFile, false},
	}
}

// resolveSecrets puts into every secret what its file or its environment variable holds.
func (c *Config) resolveSecrets() mistakes {
	var m mistakes
	m.expand("redis.url", &c.Redis.URL)
	for _, field := range c.secrets() {
		before := len(m)
		c.resolve(field, &m)
		if field.must && *field.value == "" && len(m) == before {
			m.add(field.key, "missing, want it here or as %s_file", lastPart(field.key))
		}
	}
	c.resolveSeveral("remote.api_key", &c.Remote.APIKeys, c.Remote.APIKeyFiles, &m)
	c.resolveSeveral("documents.bearer_token", &c.Documents.BearerTokens, c.Documents.BearerTokenFiles, &m)
	c.IO.resolveAllow(&m)
	for i := range c.Sources {
		receive, key := &c.Sources[i].Receive, fmt.Sprintf("sources[%d].receive.", i)
		c.resolveSeveral(key+"bearer_token", &receive.BearerTokens, receive.BearerTokenFiles, &m)
		c.resolveSeveral(key+"hmac_secret", &receive.HMACSecrets, receive.HMACSecretFiles, &m)
	}
	return m
}

// resolve puts into one secret what its file or its environment variable holds.
func (c *Config) resolve(field secretField, m *mistakes) {
	switch {
	case *field.file == "":
		m.expand(field.key, field.value)
	case *field.value != "":
		m.add(field.key, "given twice, here and as %s_file", lastPart(field.key))
	default:
		*field.value = c.readSecret(field.key+"_file", *field.file, m)
	}
}

// resolveSeveral adds the secrets in files to those in the file itself: all of them are valid.
func (c *Config) resolveSeveral(key string, secrets *[]Secret, files []string, m *mistakes) {
	for i := range *secrets {
		m.expand(fmt.Sprintf("%ss[%d]", key, i), &(*secrets)[i])
	}
	for i, path := range files {
		if secret := c.readSecret(fmt.Sprintf("%s_files[%d]", key, i), path, m); secret != "" {
			*secrets = append(*secrets, secret)
		}
	}
}

var environmentName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expand replaces ${NAME} by the environment variable of that name. One that is not set leaves the value as it is.
func (m *mistakes) expand(key string, value *Secret) {
	found := environmentName.FindStringSubmatch(string(*value))
	if found == nil {
		return
	}
	text := os.Getenv(found[1])
	if text == "" {
		m.add(key, "the environment variable %s is not set", found[1])
		return
	}
	*value = Secret(text)
}

// readSecret reads a secret from its file. It warns where other users of the machine can read it too.
func (c *Config) readSecret(key, path string, m *mistakes) Secret {
	secret, err := readSecretFile(path)
	if err != nil {
		m.file(key, path, err)
		return ""
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		c.warn("%s: mode %#o lets every user of this machine read it, want 0600", key, info.Mode().Perm())
	}
	return secret
}

var errEmptyFile = errors.New("the file is empty")

// readSecretFile reads what a file holds, without the blanks and the line end around it.
func readSecretFile(path string) (Secret, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the path comes from the operator's own file
	if err != nil {
		return "", err
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "", errEmptyFile
	}
	return Secret(text), nil
}

// file adds what happened to a file, with the path that was tried: a relative one is looked for beside the configuration, and whoever
// wrote it may have meant another folder.
func (m *mistakes) file(key, path string, err error) { m.add(key, "%s: %s", path, withoutPath(err)) }

// withoutPath is what happened to a file, without its name, which is said once.
func withoutPath(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}
