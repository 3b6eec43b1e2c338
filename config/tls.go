package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Server is the TLS configuration of the listener, nil where none is configured. The certificate is read again when its
// files change.
func (t TLS) Server() (*tls.Config, error) {
	if t.CertFile == "" {
		return nil, nil
	}
	certificate, err := rereadCertificate(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificate.get(), nil
		},
	}, nil
}

// clientTLS is how we meet a server: whom we trust, and who we are.
func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pool, err := readCAs(caFile)
		if err != nil {
			return nil, err
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

func readCAs(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the path comes from the operator's own file
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("read ca_file: no certificate in it")
	}
	return pool, nil
}
