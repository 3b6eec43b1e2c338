package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Server is the TLS configuration of the listener, nil where none is configured. Its files are read again when they change.
// Where some source shows a client certificate, the listener asks for one, and names the authorities in these files so
// that a client with several knows which. It takes any, or none: whom to believe differs by source, so that is decided
// where the source is known, and other sources need none.
func (t TLS) Server(clientCAs ...string) (*tls.Config, error) {
	if t.CertFile == "" {
		return nil, nil
	}
	certificate, err := rereadCertificate(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, err
	}
	trust := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // the endpoint does not speak HTTP/2
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificate.get(), nil
		},
	}
	if len(clientCAs) == 0 {
		return trust, nil
	}
	asking, err := newReread(func() (*tls.Config, error) { return askingFor(trust, clientCAs) }, clientCAs...)
	if err != nil {
		return nil, err
	}
	answer := trust.Clone()
	answer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return asking.get(), nil }
	return answer, nil
}

// askingFor is a listener that asks for a client certificate.
func askingFor(trust *tls.Config, clientCAs []string) (*tls.Config, error) {
	pool, err := readCAs(clientCAs...)
	if err != nil {
		return nil, err
	}
	asking := trust.Clone()
	asking.ClientAuth, asking.ClientCAs = tls.RequestClientCert, pool
	return asking, nil
}

// Authorities are those of the source as its file names them now.
func (m MTLS) Authorities() (func() *x509.CertPool, error) {
	pool, err := newReread(func() (*x509.CertPool, error) { return readCAs(m.CAFile) }, m.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	return pool.get, nil
}

// ClientCAs are the files of the authorities of all client certificates that sources show.
func (c *Config) ClientCAs() []string {
	var files []string
	for i := range c.Sources {
		if file := c.Sources[i].Receive.MTLS.CAFile; file != "" && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}

// Encrypted says whether Redis is met by TLS.
func (r Redis) Encrypted() bool {
	if len(r.Addresses) > 0 {
		return r.TLS.Enabled
	}
	return strings.HasPrefix(string(r.URL), "rediss://")
}

// Client is how we meet Redis and Sentinel; nil where they speak no TLS.
func (r Redis) Client() (*tls.Config, error) {
	if !r.Encrypted() {
		return nil, nil
	}
	return clientTLS(r.TLS.CAFile, r.TLS.CertFile, r.TLS.KeyFile)
}

// clientTLS is how we meet a server: whom we trust, and who we are.
func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pool, err := readCAs(caFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		trust.RootCAs = pool
	}
	if certFile != "" {
		certificate, err := rereadCertificate(certFile, keyFile)
		if err != nil {
			return nil, err
		}
		trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate.get(), nil
		}
	}
	return trust, nil
}

func rereadCertificate(certFile, keyFile string) (*reread[*tls.Certificate], error) {
	return newReread(func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		return &pair, nil
	}, certFile, keyFile)
}

var errNoCertificate = errors.New("no certificate in it")

func readCAs(paths ...string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, path := range paths {
		text, err := os.ReadFile(path) //nolint:gosec // the path comes from the operator's own file
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, errNoCertificate
		}
	}
	return pool, nil
}
