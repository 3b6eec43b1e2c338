package adapter_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"staffetta/adapter"
	"staffetta/config"
	"staffetta/config/tlstest"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
)

const (
	hmacSecret    = "hmac-secret-0123456789abcdef"
	loginIssuer   = "https://login.example/realms/fhir"
	loginAudience = "https://staffetta.example/fonte"
	smartClient   = "staffetta-client"
)

// secured is a town behind TLS: its source shows a JWT, a signature and a client certificate to us, and we show access
// tokens (SMART Backend Services) to it.
type secured struct {
	*town

	ca     *tlstest.Authority
	folder string
	login  *fse.TokenServer
	sender tlstest.Pair // the source's certificate, with the key that signs its JWTs too
	client tlstest.Pair // our key at the token endpoint
}

func secure(t *testing.T) *secured {
	t.Helper()
	s := &secured{ca: tlstest.NewAuthority(t, "town"), folder: t.TempDir()}
	s.sender = s.ca.Issue(t, tlstest.Holder{CommonName: "fonte", URIs: []string{"urn:fonte"}})
	s.client = s.ca.Issue(t, tlstest.Holder{RSA: true})
	s.login = &fse.TokenServer{
		ClientID: smartClient, Keys: map[string]crypto.PublicKey{"k1": s.client.Certificate.Leaf.PublicKey}, Scopes: []string{"system/*.rs"},
	}
	s.town = build(t, fhir.ShapeReport)
	s.atSampleTime()
	s.fse.Token, s.fse.Fault = "", s.login.Guard
	public := s.ca.Issue(t, tlstest.Holder{})
	source, caFile := &s.cfg.Sources[0], tlstest.Write(t, s.folder, "ca.pem", s.ca.PEM())
	s.cfg.Public.TLS.CertFile, s.cfg.Public.TLS.KeyFile = public.Files(t, s.folder, "public")
	source.BaseURL = s.over(t, s) + "/fhir"
	source.Receive = config.Receive{
		HMACSecrets: []config.Secret{hmacSecret},
		JWT:         config.JWT{Issuer: loginIssuer, Audience: loginAudience, JWKSURL: s.over(t, s.keys(t)), CAFile: caFile},
		MTLS:        config.MTLS{CAFile: caFile, AllowedNames: []string{"urn:fonte"}},
	}
	_, keyFile := s.client.Files(t, s.folder, "client")
	source.Read.BearerToken, source.Read.CAFile = "", caFile
	source.Read.OAuth2 = config.OAuth2{ClientID: smartClient, KeyFile: keyFile, KeyID: "k1", Scopes: []string{"system/*.rs"}}
	if err := s.cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	return s
}

// over serves a handler over TLS and gives its address.
func (s *secured) over(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*s.ca.Issue(t, tlstest.Holder{}).Certificate}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// ServeHTTP is the FSE and its authorization server on one host.
func (s *secured) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" || strings.HasSuffix(r.URL.Path, fse.SmartConfiguration) {
		s.login.ServeHTTP(w, r)
		return
	}
	s.fse.ServeHTTP(w, r)
}

// keys are those of the issuer of JWTs.
func (s *secured) keys(t *testing.T) http.Handler {
	t.Helper()
	key, err := jwk.Import(s.sender.Certificate.Leaf.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	_ = key.Set(jwk.KeyIDKey, "login")
	set := jwk.NewSet()
	_ = set.AddKey(key)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) })
}

func (s *secured) jwt(t *testing.T, end time.Duration) string {
	t.Helper()
	headers := jws.NewHeaders()
	_ = headers.Set(jws.KeyIDKey, "login")
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"exp":%d}`, loginIssuer, loginAudience, time.Now().Add(end).Unix())
	token, err := jws.Sign([]byte(claims), jws.WithKey(jwa.ES256(), s.sender.Certificate.PrivateKey, jws.WithProtectedHeaders(headers)))
	if err != nil {
		t.Fatal(err)
	}
	return string(token)
}

// proof is what a sender shows.
type proof struct {
	jwt, secret string
	certificate *tls.Certificate
}

// proving is a sender's transport: it shows a proof with each request.
type proving struct {
	next  http.RoundTripper
	proof proof
}

func (p proving) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	sum := hmac.New(sha256.New, []byte(p.proof.secret))
	_, _ = sum.Write(body)
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+p.proof.jwt)
	req.Header.Set("X-Signature", hex.EncodeToString(sum.Sum(nil)))
	res, err := p.next.RoundTrip(req)
	if err == nil && res.ProtoMajor != 1 {
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s, want HTTP/1.1, whatever a client offers", res.Proto)
	}
	return res, err
}

// posting makes the poster show a proof.
func (s *secured) posting(t *testing.T, p proof) {
	t.Helper()
	trust := &tls.Config{RootCAs: s.ca.Pool()}
	if p.certificate != nil {
		trust.Certificates = []tls.Certificate{*p.certificate}
	}
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	s.poster.URL = "https://" + s.program.PublicAddr().String() + "/fhir/" + s.source
	s.poster.Client = &http.Client{Transport: proving{transport, p}}
}

// silent looks for secrets in the logs.
func (s *secured) silent(t *testing.T) {
	t.Helper()
	logs := s.logs.String()
	for _, private := range []string{hmacSecret, "eyJ", "granted-", loginIssuer, loginAudience, smartClient, "client_assertion", "urn:fonte"} {
		if strings.Contains(logs, private) {
			t.Errorf("%q is in the logs", private)
		}
	}
}

func TestServeAuthenticatesBothWays(t *testing.T) {
	s := secure(t)
	s.run(t)
	eventually(t, func() (string, bool) { return "the first sweep asks for a token", s.login.Asked() > 0 })
	hints, locator := s.loadSample(t, load(t, "lab-report.json"))
	all := proof{s.jwt(t, time.Hour), hmacSecret, s.sender.Certificate}
	without := func(change func(*proof)) proof {
		p := all
		change(&p)
		return p
	}
	for _, tt := range []struct {
		name  string
		proof proof
	}{
		{"no certificate", without(func(p *proof) { p.certificate = nil })},
		{"another one's certificate", without(func(p *proof) { p.certificate = s.client.Certificate })},
		{"a JWT that has expired", without(func(p *proof) { p.jwt = s.jwt(t, -time.Hour) })},
		{"no JWT", without(func(p *proof) { p.jwt = "" })},
		{"another secret", without(func(p *proof) { p.secret = "another" })},
	} {
		s.posting(t, tt.proof)
		if err := s.poster.Notify(t.Context(), fse.ClassicPut, hints...); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("%s: %v, want 401", tt.name, err)
		}
	}
	if n := s.fse.Calls()["search"] + s.fse.Calls()["read"]; n != 0 {
		t.Errorf("%d times something was asked before a notification was believed", n)
	}
	s.posting(t, all)
	s.notify(t, fse.R4IDOnly, hints...)
	if got := decision(s.record(t, locator)); got != "notify" {
		t.Errorf("got %s, want notify", got)
	}
	if n := s.login.Asked(); n != 1 {
		t.Errorf("%d tokens were asked for, want 1", n)
	}
	s.recipients(t, "RSSMRA80A01H501U")
	s.silent(t)
	s.well(t)
}

func TestAClientThatIsNotKnownPausesItsSource(t *testing.T) {
	s := secure(t)
	s.login.Keys = nil
	s.run(t)
	hints, locator := s.loadSample(t, load(t, "lab-report.json"))
	s.posting(t, proof{s.jwt(t, time.Hour), hmacSecret, s.sender.Certificate})
	s.notify(t, fse.ClassicPut, hints...)
	eventually(t, func() (string, bool) {
		logs := s.logs.String()
		return logs, strings.Contains(logs, `"msg":"upstream paused","upstream":"fonte","reason":"unauthorized"`) &&
			strings.Contains(logs, "ask for an access token: unauthorized (HTTP 401): invalid_client")
	})
	rec, known, err := s.program.Ledger.Lookup(t.Context(), s.program.Ledger.DocumentKey(s.source, locator))
	if err != nil || !known || rec.Attempts != 0 || !rec.Trouble.IsZero() {
		t.Errorf("%+v, %t, %v; want a record that has lost nothing", rec, known, err)
	}
	s.silent(t)
}

func TestCheckAsksTheIssuerForItsKeys(t *testing.T) {
	s := secure(t)
	for _, tt := range []struct{ name, url, want string }{
		{"that are there", s.cfg.Sources[0].Receive.JWT.JWKSURL, "of its JWTs, keys for signatures: 1"},
		{"that are not", s.cfg.Sources[0].BaseURL + "/keys", "finding    the keys of the issuer of its JWTs cannot be fetched: HTTP 401"},
	} {
		s.cfg.Sources[0].Receive.JWT.JWKSURL = tt.url
		var said strings.Builder
		if _, err := adapter.CheckSources(t.Context(), s.cfg, slog.New(slog.DiscardHandler), &said); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said.String(), tt.want) || strings.Contains(said.String(), tt.url) {
			t.Errorf("keys %s: got %s, want %s", tt.name, said.String(), tt.want)
		}
	}
}

func TestATokenEndpointInTroubleLosesNothing(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"is down":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"hangs up":         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"answers nonsense": func(w http.ResponseWriter, r *http.Request) { _ = r.ParseForm(); _, _ = fmt.Fprint(w, r.Form) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := secure(t)
			var ill atomic.Bool
			ill.Store(true)
			s.login.Fault = func(w http.ResponseWriter, r *http.Request) bool {
				faulty := ill.Load() && r.URL.Path == "/token"
				if faulty {
					answer(w, r)
				}
				return faulty
			}
			s.run(t)
			hints, locator := s.loadSample(t, load(t, "lab-report.json"))
			s.posting(t, proof{s.jwt(t, time.Hour), hmacSecret, s.sender.Certificate})
			if err := s.poster.Notify(t.Context(), fse.ClassicPut, hints...); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() (string, bool) {
				logs := s.logs.String()
				return logs, strings.Contains(logs, `"msg":"source in trouble"`) && strings.Contains(logs, "ask for an access token: unavailable")
			})
			ill.Store(false)
			if got := decision(s.record(t, locator)); got != "notify" {
				t.Errorf("got %s, want notify", got)
			}
			s.recipients(t, "RSSMRA80A01H501U")
			s.silent(t)
			s.well(t)
		})
	}
}
