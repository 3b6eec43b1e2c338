package fhir_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"staffetta/config/tlstest"
	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

const (
	clientID     = "staffetta-at-the-hospital"
	clientSecret = "p@ss word/with:everything"
)

var scopes = []string{"system/DiagnosticReport.rs", "system/Patient.rs"}

// overTLS serves a handler with a certificate of an authority of its own.
func overTLS(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	authority := tlstest.NewAuthority(t, "login")
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*authority.Issue(t, tlstest.Holder{}).Certificate}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.RootCAs = authority.Pool()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return server
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func p384Key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// asks is a client with a secret, with changes.
func asks(t *testing.T, server *httptest.Server, change func(*fhir.TokenOptions)) *fhir.Tokens {
	t.Helper()
	o := fhir.TokenOptions{
		Client: server.Client(), BaseURL: server.URL + "/fhir/", TokenURL: server.URL + "/token", ClientID: clientID, Scopes: scopes,
		Secret: func() string { return clientSecret },
	}
	if change != nil {
		change(&o)
	}
	tokens, err := fhir.NewTokens(o)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// byKey makes a client with a key of a client with a secret.
func byKey(key crypto.Signer, algorithm, id string) func(*fhir.TokenOptions) {
	return func(o *fhir.TokenOptions) {
		o.Secret, o.Key = nil, func() fhir.SigningKey { return fhir.SigningKey{Key: key, Algorithm: algorithm, ID: id} }
	}
}

func and(changes ...func(*fhir.TokenOptions)) func(*fhir.TokenOptions) {
	return func(o *fhir.TokenOptions) {
		for _, change := range changes {
			change(o)
		}
	}
}

func TestClientsAtATokenEndpoint(t *testing.T) {
	rs, es, other := rsaKey(t), p384Key(t), p384Key(t)
	keys := map[string]crypto.PublicKey{"rs": rs.Public(), "es": es.Public()}
	bySecret := &sandbox.TokenServer{ClientID: clientID, Secret: clientSecret, Scopes: scopes}
	inBody := &sandbox.TokenServer{ClientID: clientID, Secret: clientSecret, InBody: true, Scopes: scopes}
	withKeys := &sandbox.TokenServer{ClientID: clientID, Keys: keys, Scopes: scopes}
	discovered := func(o *fhir.TokenOptions) { o.TokenURL = "" }
	at := func(d time.Duration) func(*fhir.TokenOptions) {
		return func(o *fhir.TokenOptions) { o.Now = func() time.Time { return time.Now().Add(d) } }
	}
	for _, tt := range []struct {
		name   string
		server *sandbox.TokenServer
		change func(*fhir.TokenOptions)
		code   string // of the refusal
	}{
		{"a secret as basic authentication", bySecret, nil, ""},
		{"a secret as a parameter", inBody, func(o *fhir.TokenOptions) { o.SecretInBody = true }, ""},
		{"a key, RS384", withKeys, byKey(rs, "RS384", "rs"), ""},
		{"a key, ES384", withKeys, byKey(es, "ES384", "es"), ""},
		{"a key, at a token endpoint that the FHIR server names", withKeys, and(byKey(es, "ES384", "es"), discovered), ""},
		{"a clock that is a minute ahead", withKeys, and(byKey(es, "ES384", "es"), at(time.Minute)), ""},
		{"a clock that is a minute behind", withKeys, and(byKey(es, "ES384", "es"), at(-time.Minute)), ""},
		{"without scopes", bySecret, func(o *fhir.TokenOptions) { o.Scopes = nil }, ""},

		{"another secret", bySecret, func(o *fhir.TokenOptions) { o.Secret = func() string { return "another" } }, "invalid_client"},
		{"a secret at the wrong place", inBody, nil, "invalid_client"},
		{"another client", bySecret, func(o *fhir.TokenOptions) { o.ClientID = "another" }, "invalid_client"},
		{"another client with the key", withKeys, and(byKey(es, "ES384", "es"), func(o *fhir.TokenOptions) { o.ClientID = "another" }), "invalid_client"},
		{"a key that the server does not know", withKeys, byKey(other, "ES384", "es"), "invalid_client"},
		{"a key under another name", withKeys, byKey(es, "ES384", "other"), "invalid_client"},
		{"a key with an algorithm that the server does not take", withKeys, byKey(rs, "RS512", "rs"), "invalid_client"},
		{"an assertion for another audience", withKeys, and(byKey(es, "ES384", "es"), func(o *fhir.TokenOptions) { o.Audience = "https://other.example" }), "invalid_client"},
		{"an assertion that has expired", withKeys, and(byKey(es, "ES384", "es"), at(-4*time.Minute)), "invalid_client"},
		{"an assertion that is valid too long", withKeys, and(byKey(es, "ES384", "es"), at(3*time.Minute)), "invalid_client"},
		{"a scope that is not granted", bySecret, func(o *fhir.TokenOptions) { o.Scopes = []string{"system/*.*"} }, "invalid_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := overTLS(t, tt.server)
			token, err := asks(t, server, tt.change).Token(t.Context())
			if tt.code == "" {
				if err != nil || !strings.HasPrefix(token, "granted-") {
					t.Fatalf("got %v, want a token", err)
				}
				return
			}
			trouble, ok := errors.AsType[*fhir.Trouble](err)
			if !ok || trouble.Kind != fhir.Unauthorized || !strings.Contains(err.Error(), tt.code) {
				t.Fatalf("got %v, want %s for %s", err, fhir.Unauthorized, tt.code)
			}
			checkSilent(t, err, server.URL)
		})
	}
}

// checkSilent looks for what an error must not hold, however it is printed.
func checkSilent(t *testing.T, err error, more ...string) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		text := fmt.Sprintf(verb, err)
		for _, private := range append(more, clientID, clientSecret, "p%40ss", "eyJ", "granted-", "assertion", "Basic", "error_description") {
			if strings.Contains(text, private) {
				t.Errorf("%q is in the error: %s", private, text)
			}
		}
	}
}

func TestTroublesOfATokenEndpoint(t *testing.T) {
	answer := func(status int, header, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", header)
			w.Header().Set("Location", "https://elsewhere.example/?"+r.Form.Encode())
			w.WriteHeader(status)
			_, _ = w.Write([]byte(strings.ReplaceAll(body, "*", r.Header.Get("Authorization"))))
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.Handler
		want    fhir.TroubleKind
		after   time.Duration
	}{
		{"400 with a code", answer(400, "", `{"error":"invalid_client","error_description":"*"}`), fhir.Unauthorized, 0},
		{"400 with a code of its own", answer(400, "", `{"error":"*","error_description":"*"}`), fhir.Unauthorized, 0},
		{"401 without a body", answer(401, "", ""), fhir.Unauthorized, 0},
		{"403 with a page of HTML", answer(403, "", "<html>*"), fhir.Unauthorized, 0},
		{"404", answer(404, "", "*"), fhir.Unauthorized, 0},
		{"200 with an error", answer(200, "", `{"error":"unauthorized_client","error_description":"*"}`), fhir.Unauthorized, 0},
		{"a redirect is not followed", answer(302, "", ""), fhir.Unauthorized, 0},
		{"400 while it cannot", answer(400, "", `{"error":"temporarily_unavailable"}`), fhir.Unavailable, 0},
		{"500", answer(500, "", "*"), fhir.Unavailable, 0},
		{"503", answer(503, "", "*"), fhir.Unavailable, 0},
		{"503 with Retry-After", answer(503, "7", "*"), fhir.Throttled, 7 * time.Second},
		{"429", answer(429, "9", "*"), fhir.Throttled, 9 * time.Second},
		{"200 with nonsense", answer(200, "", "<html>*"), fhir.Unavailable, 0},
		{"200 without a token", answer(200, "", `{"token_type":"bearer","note":"*"}`), fhir.Unavailable, 0},
		{"200 with a token of another type", answer(200, "", `{"access_token":"*","token_type":"mac"}`), fhir.Unavailable, 0},
		{"200 with a token that no header carries", answer(200, "", `{"access_token":"a\nb","token_type":"bearer"}`), fhir.Unavailable, 0},
		{"no answer", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), fhir.Unavailable, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := overTLS(t, tt.handler)
			_, err := asks(t, server, nil).Token(t.Context())
			trouble, ok := errors.AsType[*fhir.Trouble](err)
			if !ok || trouble.Kind != tt.want || trouble.RetryAfter != tt.after {
				t.Fatalf("got %v, want %s after %s", err, tt.want, tt.after)
			}
			checkSilent(t, err, "elsewhere")
		})
	}
}

func TestATokenEndpointThatIsNotTrusted(t *testing.T) {
	server := overTLS(t, &sandbox.TokenServer{})
	_, err := asks(t, server, func(o *fhir.TokenOptions) { o.Client = new(http.Client) }).Token(t.Context())
	trouble, ok := errors.AsType[*fhir.Trouble](err)
	if !ok || trouble.Kind != fhir.Unavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v, want unavailable, and why", err)
	}
	checkSilent(t, err, "127.0.0.1:")
}

func TestDiscovery(t *testing.T) {
	key := p384Key(t)
	answers := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/fhir"+sandbox.SmartConfiguration {
				return false
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   fhir.TroubleKind
	}{
		{"is not there", 404, "", fhir.Unauthorized},
		{"is not there for now", 503, "", fhir.Unavailable},
		{"is no JSON", 200, "<html>", fhir.Unauthorized},
		{"names no endpoint", 200, "{}", fhir.Unauthorized},
		{"names an endpoint in clear", 200, `{"token_endpoint":"http://login.example/token"}`, fhir.Unauthorized},
		{"names an endpoint that is none", 200, `{"token_endpoint":"file:///etc/passwd"}`, fhir.Unauthorized},
		{"names an endpoint with a password", 200, `{"token_endpoint":"https://a:b@login.example/token"}`, fhir.Unauthorized},
		{"leads elsewhere", 302, "", fhir.Unauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			login := &sandbox.TokenServer{ClientID: clientID, Keys: map[string]crypto.PublicKey{"k": key.Public()}, Scopes: scopes}
			login.Fault = answers(tt.status, tt.body)
			tokens := asks(t, overTLS(t, login), and(byKey(key, "ES384", "k"), func(o *fhir.TokenOptions) { o.TokenURL = "" }))
			_, err := tokens.Token(t.Context())
			trouble, ok := errors.AsType[*fhir.Trouble](err)
			if !ok || trouble.Kind != tt.want {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			checkSilent(t, err, "login.example", "passwd", "a:b")
		})
	}
}

// A token endpoint that was discovered is asked for again where no token can be got there any more.
func TestATokenEndpointThatHasMovedIsFoundAgain(t *testing.T) {
	key, clock := p384Key(t), &clock{}
	login := &sandbox.TokenServer{ClientID: clientID, Keys: map[string]crypto.PublicKey{"k": key.Public()}, Scopes: scopes}
	var server *httptest.Server
	var moved atomic.Bool
	login.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/old/token":
			w.WriteHeader(http.StatusNotFound)
		case !moved.Load() && r.URL.Path == "/fhir"+sandbox.SmartConfiguration:
			_, _ = fmt.Fprintf(w, `{"token_endpoint":%q}`, server.URL+"/old/token")
		default:
			return false
		}
		return true
	}
	server = overTLS(t, login)
	tokens := asks(t, server, and(byKey(key, "ES384", "k"), func(o *fhir.TokenOptions) { o.TokenURL, o.Now = "", clock.now }))
	if _, err := tokens.Token(t.Context()); err == nil {
		t.Fatal("got a token where there is none")
	}
	moved.Store(true)
	clock.advance(2 * time.Second)
	if _, err := tokens.Token(t.Context()); err != nil {
		t.Errorf("after the move: %v", err)
	}
}

// clock is real time with a shift.
type clock struct{ shift atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.shift.Load())) }
func (c *clock) advance(d time.Duration) { c.shift.Add(int64(d)) }

func TestTokensAreKeptUntilTheyEnd(t *testing.T) {
	login, clock := &sandbox.TokenServer{ClientID: clientID, Secret: clientSecret, Scopes: scopes}, &clock{}
	var faulty atomic.Bool
	login.Fault = func(w http.ResponseWriter, _ *http.Request) bool {
		if faulty.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return faulty.Load()
	}
	tokens := asks(t, overTLS(t, login), func(o *fhir.TokenOptions) { o.Now = clock.now })
	last := ""
	for _, step := range []struct {
		name    string
		do      func()
		fresh   bool
		trouble bool
	}{
		{"the first one is asked for", func() {}, true, false},
		{"and kept", func() {}, false, false},
		{"for as long as it lasts", func() { clock.advance(4*time.Minute + 20*time.Second) }, false, false},
		{"it is renewed before its end", func() { clock.advance(20 * time.Second) }, true, false},
		{"the next one is used to its end where there is no other one", func() { faulty.Store(true); clock.advance(4*time.Minute + 50*time.Second) }, false, false},
		{"and not beyond", func() { clock.advance(10 * time.Second) }, false, true},
		{"trouble is remembered for a moment", func() { faulty.Store(false) }, false, true},
		{"and over when the endpoint is well again", func() { clock.advance(2 * time.Second) }, true, false},
	} {
		step.do()
		token, err := tokens.Token(t.Context())
		if (err != nil) != step.trouble {
			t.Fatalf("%s: %v", step.name, err)
		}
		if fresh := token != last; err == nil && fresh != step.fresh {
			t.Errorf("%s: another token: %t, want %t", step.name, fresh, step.fresh)
		}
		if err == nil {
			last = token
		}
	}
	if n := login.Asked(); n != 3 {
		t.Errorf("%d tokens were granted, want 3", n)
	}
}

// A token that lasts for less than we renew before the end is not asked for anew with each request.
func TestAShortTokenIsKeptToo(t *testing.T) {
	login, clock := &sandbox.TokenServer{ClientID: clientID, Secret: clientSecret, Scopes: scopes, Lifetime: 20 * time.Second}, &clock{}
	tokens := asks(t, overTLS(t, login), func(o *fhir.TokenOptions) { o.Now = clock.now })
	for _, step := range []struct {
		name  string
		after time.Duration
		asked int
	}{
		{"the first one", 0, 1},
		{"is kept", 10 * time.Second, 1},
		{"and renewed in its last quarter", 6 * time.Second, 2},
	} {
		clock.advance(step.after)
		if _, err := tokens.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := login.Asked(); n != step.asked {
			t.Errorf("%s: asked %d times, want %d", step.name, n, step.asked)
		}
	}
}

func TestRefusedTokensAreRenewedOnceForAll(t *testing.T) {
	login := &sandbox.TokenServer{ClientID: clientID, Secret: clientSecret, Scopes: scopes}
	tokens := asks(t, overTLS(t, login), nil)
	refused, err := tokens.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if token, err := tokens.Renew(t.Context(), refused); err != nil || token == refused {
				t.Errorf("the same token, or %v", err)
			}
		})
	}
	all.Wait()
	if n := login.Asked(); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}

func TestTroubleOfOneIsThatOfAllWhoWait(t *testing.T) {
	login := &sandbox.TokenServer{ClientID: clientID, Secret: "another", Scopes: scopes}
	tokens := asks(t, overTLS(t, login), func(o *fhir.TokenOptions) { o.Now = func() time.Time { return time.Unix(0, 0) } })
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := tokens.Token(t.Context()); err == nil {
				t.Error("got a token")
			}
		})
	}
	all.Wait()
	if n := login.Asked(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestWhoHangsUpIsNobodysTrouble(t *testing.T) {
	login := &sandbox.TokenServer{ClientID: clientID, Secret: clientSecret, Scopes: scopes}
	arrived, wait := make(chan struct{}, 1), make(chan struct{})
	var slow atomic.Bool
	slow.Store(true)
	login.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if slow.Load() {
			arrived <- struct{}{}
			select {
			case <-wait:
			case <-r.Context().Done():
			}
		}
		return false
	}
	tokens := asks(t, overTLS(t, login), nil)
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := tokens.Token(ctx)
		ended <- err
	}()
	<-arrived
	slow.Store(false)
	hangUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	close(wait)
	if _, err := tokens.Token(t.Context()); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestTheSourceSaysWhatKeptItsClientFromAuthenticating(t *testing.T) {
	before := &fhir.Trouble{Kind: fhir.Throttled, RetryAfter: time.Minute, Doing: "ask for an access token", Status: 429}
	s, err := fhir.NewSource(fhir.SourceOptions{
		Name: "test", BaseURL: "https://fhir.example", MaxBody: 1 << 20, Shape: fhir.ShapeReport,
		Client: &http.Client{Transport: refusing{before}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(t.Context(), r1)
	trouble, ok := errors.AsType[*fhir.Trouble](err)
	if !ok || trouble.Kind != fhir.Throttled || trouble.RetryAfter != time.Minute || !strings.Contains(err.Error(), "ask for an access token") {
		t.Errorf("got %v, want the trouble of its client", err)
	}
}

// refusing is a client that cannot authenticate.
type refusing struct{ err error }

func (r refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, r.err }

// silent is a token endpoint that never answers.
type silent struct{}

func (silent) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestASilentEndpointLeavesHalfOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, err := fhir.NewTokens(fhir.TokenOptions{
			Client: &http.Client{Transport: silent{}}, TokenURL: "https://login.example", ClientID: clientID,
			Secret: func() string { return clientSecret },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		_, err = tokens.Token(ctx)
		trouble, ok := errors.AsType[*fhir.Trouble](err)
		if took := time.Since(began); !ok || trouble.Kind != fhir.Unavailable || took != 5*time.Second {
			t.Errorf("got %v after %s, want unavailable after 5s", err, took)
		}
	})
}
