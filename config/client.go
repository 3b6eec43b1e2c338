package config

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Client is the HTTP client for reading from the source. It follows no redirects, and shows the source's credentials to
// the host of base_url only.
func (s Source) Client() (*http.Client, error) {
	trust, err := clientTLS(s.Read.CAFile, s.Read.CertFile, s.Read.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	client := newClient(trust, s.Read.Timeout, s.Read.Connections)
	credentials, err := s.Read.credentials()
	if err != nil || credentials == nil {
		return client, err
	}
	base, err := url.Parse(s.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("source %s: base_url is no URL", s.Name)
	}
	client.Transport = &authorized{next: client.Transport, scheme: base.Scheme, host: base.Host, credentials: credentials}
	return client, nil
}

// Client is the HTTP client for IO. It follows no redirects; the key travels in a header of IO's own, which its caller sets.
func (io IO) Client() (*http.Client, error) {
	trust, err := clientTLS("", "", "")
	if err != nil {
		return nil, err
	}
	return newClient(trust, io.Timeout, io.Connections), nil
}

// newClient keeps as many connections alive as it may open: with Go's default of 2 per host, most calls of many workers
// would begin with a handshake.
func newClient(trust *tls.Config, timeout Duration, connections int) *http.Client {
	return &http.Client{
		Timeout: time.Duration(timeout),
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: time.Duration(timeout), KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       trust,
			TLSHandshakeTimeout:   time.Duration(timeout),
			ForceAttemptHTTP2:     true,
			MaxConnsPerHost:       connections,
			MaxIdleConns:          connections,
			MaxIdleConnsPerHost:   connections,
			IdleConnTimeout:       90 * time.Second,
			ExpectContinueTimeout: time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// credentials gives the Authorization header as it is now; nil where the source asks for none.
func (r Read) credentials() (func() string, error) {
	switch {
	case r.Username != "":
		header := "Basic " + base64.StdEncoding.EncodeToString([]byte(r.Username+":"+string(r.Password)))
		return func() string { return header }, nil
	case r.BearerTokenFile != "":
		return r.bearerFromFile()
	case r.BearerToken != "":
		header := "Bearer " + string(r.BearerToken)
		return func() string { return header }, nil
	}
	return nil, nil
}

func (r Read) bearerFromFile() (func() string, error) {
	header, err := newReread(func() (string, error) {
		token, err := readSecretFile(r.BearerTokenFile)
		return "Bearer " + string(token), err
	}, r.BearerTokenFile)
	if err != nil {
		return nil, err
	}
	return header.get, nil
}

// authorized adds credentials to the requests that go to the configured host, and to no other one.
type authorized struct {
	next         http.RoundTripper
	scheme, host string
	credentials  func() string
}

// RoundTrip sends the request. The request itself stays as it was, as http.RoundTripper demands.
func (a *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != a.host || req.URL.Scheme != a.scheme {
		return a.next.RoundTrip(req)
	}
	withCredentials := *req
	withCredentials.Header = req.Header.Clone()
	withCredentials.Header.Set("Authorization", a.credentials())
	return a.next.RoundTrip(&withCredentials)
}

// CloseIdleConnections lets http.Client close what it keeps alive.
func (a *authorized) CloseIdleConnections() {
	if closer, ok := a.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
