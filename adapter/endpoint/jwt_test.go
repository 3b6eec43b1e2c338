package endpoint_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"staffetta/adapter/endpoint"
	"staffetta/config/tlstest"
	"staffetta/fhir"
)

const (
	issuerName   = "https://login.example/realms/fhir"
	audienceName = "https://staffetta.example/fhir/hospital"
)

// issuer is an authorization server: it publishes keys over TLS, and signs tokens with them.
type issuer struct {
	server *httptest.Server

	mu      sync.Mutex
	set     jwk.Set
	status  int
	fetches int
	fetched chan struct{}
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{set: jwk.NewSet(), status: http.StatusOK, fetched: make(chan struct{}, 1000)}
	authority := tlstest.NewAuthority(t, "login")
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(i.publish))
	i.server.TLS = &tls.Config{Certificates: []tls.Certificate{*authority.Issue(t, tlstest.Holder{}).Certificate}}
	i.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	i.server.StartTLS()
	t.Cleanup(i.server.Close)
	i.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs = authority.Pool()
	i.server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return i
}

func (i *issuer) publish(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fetches++
	i.fetched <- struct{}{}
	if i.status != http.StatusOK {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(i.status)
		return
	}
	_ = json.NewEncoder(w).Encode(i.set)
}

// answers makes the server give another status in place of its keys.
func (i *issuer) answers(status int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status = status
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// adds publishes the public half of a key, with more members in pairs.
func (i *issuer) adds(t *testing.T, id string, key crypto.Signer, members ...string) {
	t.Helper()
	public, err := jwk.Import(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for m := 0; m < len(members); m += 2 {
		if err := public.Set(members[m], members[m+1]); err != nil {
			t.Fatal(err)
		}
	}
	if id != "" {
		_ = public.Set(jwk.KeyIDKey, id)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.set.AddKey(public); err != nil {
		t.Fatal(err)
	}
}

// replaces publishes one key in place of all others.
func (i *issuer) replaces(t *testing.T, id string, key crypto.Signer) {
	t.Helper()
	i.mu.Lock()
	i.set = jwk.NewSet()
	i.mu.Unlock()
	i.adds(t, id, key)
}

// trusting adds a source that shows JWTs of the issuer, or a token.
func (i *issuer) trusting(now func() time.Time) setting {
	return func(o *endpoint.Options) {
		o.Now = now
		o.Sources = append(o.Sources, endpoint.Source{
			Name: "hospital", Tokens: []string{"token-of-the-hospital"}, Shape: fhir.ShapeReport,
			JWT: &endpoint.JWT{
				Issuer: issuerName, Audience: audienceName, KeysURL: i.server.URL + "/keys", Client: i.server.Client(),
				Refresh: time.Millisecond,
			},
		})
	}
}

type claims = map[string]any

// said are claims that hold, with changes; nil takes a claim away.
func said(changes claims) claims {
	all := claims{"iss": issuerName, "aud": audienceName, "exp": time.Now().Add(time.Hour).Unix(), "sub": "fhir-server"}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// token signs claims, with more of its header in pairs.
func token(t *testing.T, alg jwa.SignatureAlgorithm, key any, id string, said claims, header ...any) string {
	t.Helper()
	headers := jws.NewHeaders()
	if id != "" {
		_ = headers.Set(jws.KeyIDKey, id)
	}
	for i := 0; i < len(header); i += 2 {
		_ = headers.Set(header[i].(string), header[i+1])
	}
	text, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.Sign(text, jws.WithKey(alg, key, jws.WithProtectedHeaders(headers)))
	if err != nil {
		t.Fatal(err)
	}
	return string(compact)
}

// show posts a report with a token.
func (h *house) show(t *testing.T, token string) got {
	t.Helper()
	return h.send(t, sent{"POST", "/fhir/hospital", report, map[string]string{"Authorization": "Bearer " + token}})
}

func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEC(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestJWT(t *testing.T) {
	rsaKey, ec256, ec384, ec521 := newRSA(t, 2048), newEC(t, elliptic.P256()), newEC(t, elliptic.P384()), newEC(t, elliptic.P521())
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forEncryption, foreign := newEC(t, elliptic.P256()), newEC(t, elliptic.P256())
	i := newIssuer(t)
	i.adds(t, "rsa", rsaKey)
	i.adds(t, "p256", ec256, "use", "sig", "alg", "ES256")
	i.adds(t, "p384", ec384)
	i.adds(t, "p521", ec521)
	i.adds(t, "ed", edKey)
	i.adds(t, "enc", forEncryption, "use", "enc")
	i.adds(t, "ps", rsaKey, "alg", "PS256")
	_ = i.set.AddKey(must(jwk.Import([]byte("a symmetric key of thirty-two by"))))
	h := open(t, i.trusting(nil))

	es256 := func(changes claims, header ...any) string {
		return token(t, jwa.ES256(), ec256, "p256", said(changes), header...)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(rsaKey.Public()))})
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	const right, wrong = http.StatusOK, http.StatusUnauthorized
	for _, tt := range []struct {
		name, token string
		want        int
		doubt       string
	}{
		{"RS256", token(t, jwa.RS256(), rsaKey, "rsa", said(nil)), right, ""},
		{"RS384", token(t, jwa.RS384(), rsaKey, "rsa", said(nil)), right, ""},
		{"RS512", token(t, jwa.RS512(), rsaKey, "rsa", said(nil)), right, ""},
		{"PS256", token(t, jwa.PS256(), rsaKey, "rsa", said(nil)), right, ""},
		{"ES256", es256(nil), right, ""},
		{"ES384", token(t, jwa.ES384(), ec384, "p384", said(nil)), right, ""},
		{"ES512", token(t, jwa.ES512(), ec521, "p521", said(nil)), right, ""},
		{"EdDSA", token(t, jwa.EdDSA(), edKey, "ed", said(nil)), right, ""},
		{"without a key id, where one of the keys fits", token(t, jwa.ES384(), ec384, "", said(nil)), right, ""},
		{"for several audiences", es256(claims{"aud": []string{"https://other.example", audienceName}}), right, ""},
		{"of a type of its own", es256(nil, "typ", "at+jwt"), right, ""},
		{"expired within the leeway", es256(claims{"exp": ago(30 * time.Second)}), right, ""},
		{"to begin within the leeway", es256(claims{"nbf": ago(-30 * time.Second), "iat": ago(-30 * time.Second)}), right, ""},
		{"the bearer token, which stands for it", "token-of-the-hospital", right, ""},

		{"expired", es256(claims{"exp": ago(2 * time.Minute)}), wrong, "the JWT has expired"},
		{"not valid yet", es256(claims{"nbf": ago(-2 * time.Minute)}), wrong, "the JWT is not valid yet"},
		{"from the future", es256(claims{"iat": ago(-2 * time.Minute)}), wrong, "the JWT is not valid yet"},
		{"without an end", es256(claims{"exp": nil}), wrong, "the JWT lacks a claim, or one is wrong"},
		{"with an end that is a text", es256(claims{"exp": "tomorrow"}), wrong, "the token is no JWT"},
		{"of another issuer", es256(claims{"iss": "https://login.example/realms/other"}), wrong, "the JWT is of another issuer"},
		{"of an issuer with a slash at its end", es256(claims{"iss": issuerName + "/"}), wrong, "the JWT is of another issuer"},
		{"without an issuer", es256(claims{"iss": nil}), wrong, "the JWT is of another issuer"},
		{"for another audience", es256(claims{"aud": "https://other.example"}), wrong, "the JWT is for another audience"},
		{"without an audience", es256(claims{"aud": nil}), wrong, "the JWT is for another audience"},
		{"signed with a key that is not published", token(t, jwa.ES256(), foreign, "p256", said(nil)), wrong, "the signature of the JWT is wrong"},
		{"signed with a key of a foreign id", token(t, jwa.ES256(), foreign, "foreign", said(nil)), wrong, "the JWT is signed with a key that its issuer does not publish"},
		{"signed with a key for encryption", token(t, jwa.ES256(), forEncryption, "enc", said(nil)), wrong, "the JWT is signed with a key that its issuer does not publish"},
		{"signed with a key of another algorithm", token(t, jwa.RS256(), rsaKey, "ps", said(nil)), wrong, "the JWT is signed with a key that its issuer does not publish"},
		{"signed on another curve", token(t, jwa.ES256(), ec384, "p384", said(nil)), wrong, "the JWT is signed with a key that its issuer does not publish"},
		{"changed after it was signed", changed(t, es256(nil), es256(claims{"sub": "somebody"})), wrong, "the signature of the JWT is wrong"},
		{"not signed at all", unsigned(said(nil)), wrong, "the JWT is not signed with an algorithm that is accepted"},
		{"signed with the public key as an HMAC secret", token(t, jwa.HS256(), publicPEM, "rsa", said(nil)), wrong, "the JWT is not signed with an algorithm that is accepted"},
		{"signed with the published symmetric key", token(t, jwa.HS256(), []byte("a symmetric key of thirty-two by"), "", said(nil)), wrong, "the JWT is not signed with an algorithm that is accepted"},
		{"with an extension that we would have to know", es256(nil, "crit", []string{"lock"}, "lock", "shut"), wrong, "the JWT is not signed with an algorithm that is accepted"},
		{"with another encoding of what is signed", es256(nil, "b64", true), wrong, "the JWT is not signed with an algorithm that is accepted"},
		{"cut", es256(nil)[:100], wrong, "the token is no JWT"},
		{"none", "", wrong, "the token is no JWT"},
		{"another source's bearer token", labToken, wrong, "the token is no JWT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := h.show(t, tt.token)
			if answer.status != tt.want {
				t.Fatalf("status %d, want %d; logs:\n%s", answer.status, tt.want, lastLine(h.logs.String()))
			}
			if tt.want == wrong {
				checkLogin(t, answer)
				if line := lastLine(h.logs.String()); !strings.Contains(line, `"diagnostics":"`+tt.doubt+`"`) {
					t.Errorf("the log says %s, want %s", line, tt.doubt)
				}
			}
			if len(tt.token) > 20 && strings.Contains(h.logs.String(), tt.token[len(tt.token)-20:]) {
				t.Error("the token is in the logs")
			}
		})
	}
	for _, private := range []string{issuerName, audienceName, "fhir-server", "p256", "hospital-token"} {
		if logs := h.logs.String(); strings.Contains(logs, private) {
			t.Errorf("%q is in the logs:\n%s", private, logs)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// changed has the signature of one token under what another one says.
func changed(t *testing.T, signed, other string) string {
	t.Helper()
	a, b := strings.Split(signed, "."), strings.Split(other, ".")
	return a[0] + "." + b[1] + "." + a[2]
}

func unsigned(said claims) string {
	return string(must(jws.Sign(must(json.Marshal(said)), jws.WithInsecureNoSignature())))
}

// clock is real time with a shift.
type clock struct {
	mu    sync.Mutex
	shift time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.shift)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shift += d
}

func TestKeysOfAnIssuer(t *testing.T) {
	i, clock := newIssuer(t), &clock{}
	first, second := newEC(t, elliptic.P256()), newEC(t, elliptic.P256())
	i.adds(t, "first", first)
	h := open(t, i.trusting(clock.now))
	of := func(id string, key crypto.Signer, changes claims) string {
		return token(t, jwa.ES256(), key, id, said(changes))
	}
	longLived := of("first", first, claims{"exp": time.Now().Add(time.Hour).Unix()})
	for _, step := range []struct {
		name    string
		do      func()
		token   string
		want    int
		fetches int
	}{
		{"cannot be fetched: that is no fault of the sender", func() { i.answers(500) }, of("first", first, nil), 503, 1},
		{"are not asked for again at once", func() { i.answers(200) }, of("first", first, nil), 503, 1},
		{"but soon", func() { clock.advance(10 * time.Second) }, of("first", first, nil), 200, 2},
		{"are kept", func() {}, of("first", first, nil), 200, 2},
		{"were checked for a token a moment ago", func() {}, longLived, 200, 2},
		{"need not be checked for it again", func() {}, longLived, 200, 2},
		{"are not believed of somebody who names one that is not there", func() { clock.advance(10 * time.Second) }, of("second", second, nil), 401, 3},
		{"are fetched once for a storm of made-up names", func() {}, of("third", second, nil), 401, 3},
		{"are not fetched for who names another audience", func() { clock.advance(10 * time.Second) }, of("third", second, claims{"aud": "x"}), 401, 3},
		{"rotate: the new one is found", func() { i.replaces(t, "second", second) }, of("second", second, nil), 200, 4},
		{"rotate: a token of the old one that held holds no longer", func() {}, longLived, 401, 4},
		{"rotate: the old one is forgotten", func() { clock.advance(10 * time.Second) }, of("first", first, nil), 401, 5},
		{"stay when their server is away", func() { i.answers(503); clock.advance(24 * time.Hour) }, of("second", second, claims{"exp": clock.now().Add(48 * time.Hour).Unix()}), 200, 5},
		{"away, and one is named that is not there: nobody knows", func() {}, of("first", first, claims{"exp": clock.now().Add(48 * time.Hour).Unix()}), 503, 6},
		{"away, and the token has expired: that is known", func() {}, of("first", first, nil), 401, 6},
		{"are not looked for elsewhere", func() { i.answers(302); clock.advance(time.Minute) }, of("first", first, claims{"exp": clock.now().Add(48 * time.Hour).Unix()}), 503, 7},
		{"their server shows none: nobody knows", func() { i.answers(200); i.set = jwk.NewSet(); clock.advance(time.Minute) }, of("first", first, claims{"exp": clock.now().Add(48 * time.Hour).Unix()}), 503, 8},
		{"stay when their server shows none", func() {}, of("second", second, claims{"exp": clock.now().Add(48 * time.Hour).Unix()}), 200, 8},
	} {
		step.do()
		answer := h.show(t, step.token)
		if answer.status != step.want || i.count() != step.fetches {
			t.Errorf("%s: status %d after %d fetches, want %d after %d", step.name, answer.status, i.count(), step.want, step.fetches)
		}
		if step.want == http.StatusServiceUnavailable && (answer.header.Get("Retry-After") == "" || answer.outcome() != "transient") {
			t.Errorf("%s: no Retry-After, or outcome %q", step.name, answer.outcome())
		}
	}
	if n := strings.Count(h.logs.String(), "cannot be fetched, those of the last time remain"); n != 2 {
		t.Errorf("%d lines about keys that cannot be fetched, want one for each outage:\n%s", n, h.logs.String())
	}
	if logs := h.logs.String(); strings.Contains(logs, i.server.URL) {
		t.Errorf("the URL is in the logs:\n%s", logs)
	}
}

func TestAnswersThatAreNoKeySet(t *testing.T) {
	key := newEC(t, elliptic.P256())
	for _, tt := range []struct {
		name          string
		status        int
		before, after string // the set
		want          int
	}{
		{"a set", http.StatusOK, " ", "\n", 200},
		{"none", 0, "", "", 503},
		{"a set under a status that is an error", http.StatusForbidden, "", "", 503},
		{"a set in a page", http.StatusOK, "<pre>", "</pre>", 503},
		{"a set behind more than is read", http.StatusOK, strings.Repeat(" ", 2<<20), "", 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer(t)
			i.adds(t, "k", key)
			i.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.before)
				_ = json.NewEncoder(w).Encode(i.set)
				_, _ = io.WriteString(w, tt.after)
			})
			h := open(t, i.trusting(nil))
			if answer := h.show(t, token(t, jwa.ES256(), key, "k", said(nil))); answer.status != tt.want {
				t.Errorf("status %d, want %d", answer.status, tt.want)
			}
			if logs := h.logs.String(); strings.Contains(logs, "cannot be fetched") != (tt.want == 503) || strings.Contains(logs, i.server.URL) {
				t.Errorf("the log says %s", logs)
			}
		})
	}
}

func TestWhoHangsUpSpoilsNoFetch(t *testing.T) {
	i, key := newIssuer(t), newEC(t, elliptic.P256())
	i.adds(t, "k", key)
	h := open(t, i.trusting(nil))
	right := token(t, jwa.ES256(), key, "k", said(nil))
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	req := httptest.NewRequestWithContext(gone, http.MethodDelete, "/fhir/hospital/DiagnosticReport/r1", http.NoBody)
	req.Header.Set("Authorization", "Bearer "+right)
	h.handler.ServeHTTP(httptest.NewRecorder(), req)
	if answer := h.show(t, right); answer.status != http.StatusOK {
		t.Errorf("the next one: status %d, want 200", answer.status)
	}
}

// The last token that held is remembered, not believed for ever.
func TestATokenThatHeldIsCheckedAgain(t *testing.T) {
	i, clock := newIssuer(t), &clock{}
	first, second := newEC(t, elliptic.P256()), newEC(t, elliptic.P256())
	i.adds(t, "first", first)
	h := open(t, i.trusting(clock.now))
	ending := func(d time.Duration) string {
		return token(t, jwa.ES256(), first, "first", said(claims{"exp": time.Now().Add(d).Unix()}))
	}
	short, long := ending(10*time.Minute), ending(10*time.Hour)
	unknown := token(t, jwa.ES256(), second, "unknown", said(claims{"exp": time.Now().Add(10 * time.Hour).Unix()}))
	for _, step := range []struct {
		name, token string
		do          func()
		want        int
	}{
		{"it holds", short, func() {}, 200},
		{"and is remembered", short, func() {}, 200},
		{"until its end", short, func() { clock.advance(12 * time.Minute) }, 401},
		{"another one holds", long, func() {}, 200},
		{"its key is taken back, which is learned when a stranger names another key", unknown, func() { i.replaces(t, "second", second) }, 401},
		{"and it holds no longer", long, func() {}, 401},
	} {
		step.do()
		if answer := h.show(t, step.token); answer.status != step.want {
			t.Errorf("%s: status %d, want %d", step.name, answer.status, step.want)
		}
	}
}

func TestManyUnknownKeysAreOneFetch(t *testing.T) {
	i := newIssuer(t)
	key := newEC(t, elliptic.P256())
	i.adds(t, "known", key)
	h := open(t, i.trusting(nil))
	var senders sync.WaitGroup
	for n := range 32 {
		forged := token(t, jwa.ES256(), key, "made-up-"+string(rune('a'+n)), said(nil))
		senders.Go(func() {
			if answer, err := h.trySend(t.Context(), sent{"POST", "/fhir/hospital", report, map[string]string{"Authorization": "Bearer " + forged}}); err != nil || answer.status != 401 {
				t.Errorf("status %d, %v; want 401", answer.status, err)
			}
		})
	}
	senders.Wait()
	if n := i.count(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestRunKeepsKeysFresh(t *testing.T) {
	i, clock := newIssuer(t), &clock{}
	i.adds(t, "first", newEC(t, elliptic.P256()))
	h := open(t, i.trusting(clock.now))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.endpoint.Run(ctx) }()
	<-i.fetched // nobody had to ask
	clock.advance(time.Minute)
	<-i.fetched
	stop()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A token says where its key is to be had; nobody looks there.
func TestKeysAreNotFetchedWhereATokenSays(t *testing.T) {
	i, key := newIssuer(t), newEC(t, elliptic.P256())
	i.adds(t, "its own", newEC(t, elliptic.P256()))
	h := open(t, i.trusting(nil))
	elsewhere := newIssuer(t)
	elsewhere.adds(t, "mine", key)
	for _, name := range []string{"jku", "x5u"} {
		answer := h.show(t, token(t, jwa.ES256(), key, "mine", said(nil), name, elsewhere.server.URL+"/keys"))
		if answer.status != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, answer.status)
		}
	}
	if n := elsewhere.count(); n != 0 {
		t.Errorf("keys were fetched %d times where the token says", n)
	}
}
