package config

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client is the HTTP client for reading from the source. It follows no redirects, and shows the source's credentials to
// the host of base_url only.
func (s Source) Client() (*http.Client, error) {
	trust, err := clientTLS(s.Read.CAFile, s.Read.CertFile, s.Read.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	base, err := url.Parse(s.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("source %s: base_url is no URL", s.Name)
	}
	client, err := newUpstream(base, s.Read.Timeout, newTransport(trust, s.Read.Timeout, s.Read.Connections))
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	shown, err := s.credential(trust)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	if shown == nil {
		return client, nil
	}
	client.Transport = &authorized{next: client.Transport, scheme: base.Scheme, host: base.Host, credential: shown}
	if shown.renew != nil {
		client.Timeout = time.Duration(s.Read.Timeout) // what it takes to ask for the credential is a part of the call
	}
	return client, nil
}

// AsGate is the source as its gate reads it; false where it has none.
func (s Source) AsGate() (Source, bool) {
	there := !s.Gate.absent()
	s.BaseURL, s.Aliases, s.Read = s.Gate.BaseURL, nil, s.Gate.Read
	return s, there
}

// Client is the HTTP client for the keys of the issuer. It follows no redirects.
func (j JWT) Client() (*http.Client, error) {
	trust, err := clientTLS(j.CAFile, "", "")
	if err != nil {
		return nil, err
	}
	return newClient(trust, jwksTimeout, 1), nil
}

const jwksTimeout = Duration(10 * time.Second)

// Client is the HTTP client for IO. It follows no redirects; the key travels in a header of IO's own, which its caller sets.
func (io IO) Client() (*http.Client, error) {
	trust, err := clientTLS("", "", "")
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(io.BaseURL)
	if err != nil {
		return nil, errors.New("io.base_url is no URL")
	}
	transport := newTransport(trust, io.Timeout, io.Connections)
	transport.DisableCompression = true // its answers are shorter than what it takes to ask for that
	return newUpstream(base, io.Timeout, transport)
}

// newClient keeps as many connections alive as it may open: with Go's default of 2 per host, most calls of many workers
// would begin with a handshake.
func newClient(trust *tls.Config, timeout Duration, connections int) *http.Client {
	return withoutRedirects(newTransport(trust, timeout, connections), timeout)
}

// newUpstream is newClient for those that are asked for each document: at base it is asked directly.
func newUpstream(base *url.URL, timeout Duration, transport *http.Transport) (*http.Client, error) {
	direct, err := newDirect(base, time.Duration(timeout), transport)
	if err != nil {
		return nil, err
	}
	return withoutRedirects(direct, 0), nil // it bounds each call itself
}

func withoutRedirects(transport http.RoundTripper, timeout Duration) *http.Client {
	return &http.Client{
		Timeout: time.Duration(timeout), Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport(trust *tls.Config, timeout Duration, connections int) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: time.Duration(timeout), KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       trust.Clone(), // it writes into it
		TLSHandshakeTimeout:   time.Duration(timeout),
		ForceAttemptHTTP2:     true,
		MaxConnsPerHost:       connections,
		MaxIdleConns:          connections,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// credential shows who we are on the requests to one server.
type credential struct {
	// show puts it into the headers of a request that is ours to change.
	show func(req *http.Request) error
	// renew puts another one there than the Authorization that the server refused; nil where there is no other one.
	renew func(req *http.Request, refused string) error
	// closeIdle closes the connections that it keeps alive; nil where it keeps none.
	closeIdle func()
}

const (
	authorization = "Authorization"
	bearerScheme  = "Bearer "
)

// credential is how the source wants us to authenticate, beside a client certificate; nil where it does not.
func (s Source) credential(trust *tls.Config) (*credential, error) {
	r := s.Read
	switch {
	case !r.OAuth2.absent():
		return s.oauth2(trust)
	case !r.ModI.absent():
		signer, err := newModISigner(r.ModI)
		if err != nil {
			return nil, err
		}
		return &credential{show: signer.show}, nil
	case r.Username != "" && r.PasswordFile != "":
		header, err := newReread(r.basicFromFile, r.PasswordFile)
		if err != nil {
			return nil, err
		}
		return static(header.get), nil
	case r.Username != "":
		header := r.basic(r.Password)
		return static(func() string { return header }), nil
	case r.BearerTokenFile != "":
		header, err := newReread(r.bearerFromFile, r.BearerTokenFile)
		if err != nil {
			return nil, err
		}
		return static(header.get), nil
	case r.BearerToken != "":
		header := bearerScheme + string(r.BearerToken)
		return static(func() string { return header }), nil
	}
	return nil, nil
}

func static(header func() string) *credential {
	return &credential{show: func(req *http.Request) error {
		req.Header.Set(authorization, header())
		return nil
	}}
}

func (r Read) basic(password Secret) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(r.Username+":"+string(password)))
}

func (r Read) basicFromFile() (string, error) {
	password, err := readSecretFile(r.PasswordFile)
	return r.basic(password), err
}

func (r Read) bearerFromFile() (string, error) {
	token, err := readSecretFile(r.BearerTokenFile)
	return bearerScheme + string(token), err
}

// authorized adds credentials to the requests that go to the configured host, and to no other one.
type authorized struct {
	next         http.RoundTripper
	scheme, host string
	credential   *credential
}

// RoundTrip sends the request; once more, with other credentials, where the server refused those that we had and asking
// twice does no harm. The request itself stays as it was, as http.RoundTripper demands.
func (a *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != a.host || req.URL.Scheme != a.scheme {
		return a.next.RoundTrip(req)
	}
	first := copyOf(req)
	if err := a.credential.show(first); err != nil {
		closeBody(req)
		return nil, err
	}
	res, err := a.next.RoundTrip(first)
	if err != nil || res.StatusCode != http.StatusUnauthorized || a.credential.renew == nil || !repeatable(req) {
		return res, err
	}
	drain(res.Body)
	second := copyOf(req)
	if req.GetBody != nil {
		if second.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	if err := a.credential.renew(second, first.Header.Get(authorization)); err != nil {
		closeBody(second)
		return nil, err
	}
	return a.next.RoundTrip(second)
}

// repeatable says whether a request changes nothing at the server and can be sent again: a read, or a search.
func repeatable(req *http.Request) bool {
	reads := req.Method == http.MethodGet || (req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/_search"))
	return reads && hasBodyAgain(req)
}

// hasBodyAgain says whether the body of a request can be had once more.
func hasBodyAgain(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

func copyOf(req *http.Request) *http.Request {
	one := *req
	one.Header = req.Header.Clone()
	if one.Header == nil {
		one.Header = http.Header{}
	}
	return &one
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// drain gives the connection back, unless what is left on it is longer than opening another one.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 64<<10))
	_ = body.Close()
}

// CloseIdleConnections lets http.Client close what it keeps alive.
func (a *authorized) CloseIdleConnections() {
	if a.credential.closeIdle != nil {
		a.credential.closeIdle()
	}
	if closer, ok := a.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
