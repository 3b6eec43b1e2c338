package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"
)

// mistakes is all that is wrong with a file, one line each: the key (or the line) and what is wanted.
type mistakes []string

// Error has one mistake per line.
func (m mistakes) Error() string { return strings.Join(m, "\n") }

func (m *mistakes) add(key, format string, args ...any) {
	*m = append(*m, key+": "+fmt.Sprintf(format, args...))
}

// Load reads the file over Default, strictly: an unknown or repeated key is refused with its line. It reports all
// mistakes at once. Paths in the file are relative to its folder. What is not wrong but unwise is in Warnings.
func Load(path string) (*Config, error) { return load(path, Default()) }

// LoadToConfigure is Load for who asks IO for remote.configuration_id: that it is still missing is no mistake.
func LoadToConfigure(path string) (*Config, error) {
	c := Default()
	c.toConfigure = true
	return load(path, c)
}

func load(path string, c *Config) (*Config, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := yaml.Load(text, c, yaml.WithKnownFields()); err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, inLines(text, err))
	}
	c.relativeTo(filepath.Dir(path))
	if err := c.Complete(); err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, err)
	}
	return c, nil
}

// Complete makes a file that was read, or a Config that was written in code, ready for use: it fills in what each source
// leaves open, reads the secrets from files and environment, and checks everything. It is called once.
func (c *Config) Complete() error {
	for i := range c.Sources {
		c.Sources[i].fillIn()
	}
	m := append(c.resolveSecrets(), c.validate()...)
	if len(m) > 0 {
		return m
	}
	return nil
}

func lastPart(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// relativeTo makes the paths in the file relative to the folder of the file, so that the working directory does not matter.
func (c *Config) relativeTo(folder string) {
	paths := []*string{
		&c.Public.TLS.CertFile, &c.Public.TLS.KeyFile, &c.Redis.TLS.CAFile, &c.Redis.TLS.CertFile, &c.Redis.TLS.KeyFile,
		&c.Message.Templates, &c.IO.AllowFile,
	}
	for _, field := range c.secrets() {
		paths = append(paths, field.file)
	}
	for i := range c.Sources {
		source := &c.Sources[i]
		paths = append(paths, source.paths()...)
	}
	for _, files := range [][]string{c.Remote.APIKeyFiles, c.Documents.BearerTokenFiles} {
		for i := range files {
			paths = append(paths, &files[i])
		}
	}
	for _, path := range paths {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
}

// paths are those of a source that are no secrets of one value.
func (s *Source) paths() []*string {
	receive := &s.Receive
	paths := make([]*string, 0, 14+len(receive.BearerTokenFiles)+len(receive.HMACSecretFiles))
	paths = append(paths, &receive.JWT.CAFile, &receive.MTLS.CAFile)
	for _, read := range []*Read{&s.Read, &s.Gate.Read} {
		paths = append(
			paths, &read.CAFile, &read.CertFile, &read.KeyFile, &read.OAuth2.KeyFile, &read.ModI.SigningCertFile, &read.ModI.SigningKeyFile,
		)
	}
	for i := range receive.BearerTokenFiles {
		paths = append(paths, &receive.BearerTokenFiles[i])
	}
	for i := range receive.HMACSecretFiles {
		paths = append(paths, &receive.HMACSecretFiles[i])
	}
	return paths
}
