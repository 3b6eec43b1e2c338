package config_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"staffetta/config"
	"staffetta/config/tlstest"
	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// hospital is a FHIR server behind tokens, and the authorization server that grants them, both over TLS.
type hospital struct {
	caFile string
	login  *sandbox.TokenServer
	fhir   *httptest.Server
	tokens *httptest.Server

	mu   sync.Mutex
	seen []string // method, path and Authorization of each request that the FHIR server got
}

func openHospital(t *testing.T) *hospital {
	t.Helper()
	authority := tlstest.NewAuthority(t, "hospital")
	h := &hospital{
		caFile: tlstest.Write(t, t.TempDir(), "ca.pem", authority.PEM()),
		login:  &sandbox.TokenServer{ClientID: "staffetta", Secret: spoken, Scopes: []string{"system/Patient.rs"}},
	}
	h.fhir = overTLS(t, authority, nil, http.HandlerFunc(h.read))
	h.tokens = overTLS(t, authority, nil, h.login)
	return h
}

// overTLS serves a handler with a certificate of an authority; where change is there, it changes the TLS of the server.
func overTLS(t *testing.T, authority *tlstest.Authority, change func(*tls.Config), handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*authority.Issue(t, tlstest.Holder{}).Certificate}}
	if change != nil {
		change(server.TLS)
	}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// read is the FHIR server: it names its token endpoint, and echoes bodies to who has a token.
func (h *hospital) read(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, sandbox.SmartConfiguration) {
		_, _ = fmt.Fprintf(w, `{"token_endpoint":%q}`, h.tokens.URL+"/token")
		return
	}
	h.mu.Lock()
	h.seen = append(h.seen, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
	h.mu.Unlock()
	if !h.login.Guard(w, r) {
		_, _ = io.Copy(w, r.Body)
	}
}

// requests are what the FHIR server got since the last time.
func (h *hospital) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := h.seen
	h.seen = nil
	return seen
}

func (h *hospital) client(t *testing.T, o config.OAuth2) *http.Client {
	t.Helper()
	return clientOf(t, h.fhir.URL+"/fhir", config.Read{CAFile: h.caFile, OAuth2: o})
}

func (h *hospital) bySecret() config.OAuth2 {
	return config.OAuth2{TokenURL: h.tokens.URL + "/token", ClientID: "staffetta", ClientSecret: spoken}
}

// ask sends a request with a body, and gives status and body of the answer.
func ask(t *testing.T, client *http.Client, method, url string, body io.Reader) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), nil
}

func TestAccessTokens(t *testing.T) {
	h := openHospital(t)
	client := h.client(t, h.bySecret())
	patient, search := h.fhir.URL+"/fhir/Patient/1", h.fhir.URL+"/fhir/Patient/_search"
	for _, step := range []struct {
		name, method, url string
		body              io.Reader
		do                func()
		wantStatus        int
		wantSeen          int // by the FHIR server
		wantAsked         int // of the token server, so far
	}{
		{"a read", http.MethodGet, patient, nil, func() {}, 200, 1, 1},
		{"the next one has the same token", http.MethodGet, patient, nil, func() {}, 200, 1, 1},
		{"a token that is refused is renewed, and the read repeated", http.MethodGet, patient, nil, h.login.Revoke, 200, 2, 2},
		{"a search by POST is repeated, with its body", http.MethodPost, search, strings.NewReader("identifier=1"), h.login.Revoke, 200, 2, 3},
		{"a body that cannot be sent again is not", http.MethodPost, search, io.MultiReader(strings.NewReader("identifier=1")), h.login.Revoke, 401, 1, 3},
		{"what changes something is not", http.MethodPost, h.fhir.URL + "/fhir/Subscription", strings.NewReader("{}"), func() {}, 401, 1, 3},
		{"nor a delete", http.MethodDelete, patient, nil, func() {}, 401, 1, 3},
	} {
		step.do()
		status, body, err := ask(t, client, step.method, step.url, step.body)
		if err != nil || status != step.wantStatus {
			t.Fatalf("%s: status %d, %v; want %d", step.name, status, err, step.wantStatus)
		}
		if step.method == http.MethodPost && status == http.StatusOK && body != "identifier=1" {
			t.Errorf("%s: the server got %q", step.name, body)
		}
		if seen := h.requests(); len(seen) != step.wantSeen || h.login.Asked() != step.wantAsked {
			t.Errorf("%s: %d requests and %d tokens asked for, want %d and %d", step.name, len(seen), h.login.Asked(), step.wantSeen, step.wantAsked)
		}
	}
}

func TestATokenThatIsAlwaysRefusedIsRenewedOnce(t *testing.T) {
	h := openHospital(t)
	h.login.Lifetime = time.Nanosecond // it never holds, and does not say so: expires_in is 0
	status, _, err := ask(t, h.client(t, h.bySecret()), http.MethodGet, h.fhir.URL+"/fhir/Patient/1", nil)
	if err != nil || status != http.StatusUnauthorized || len(h.requests()) != 2 || h.login.Asked() != 2 {
		t.Errorf("status %d, %v, %d tokens; want 401 after two requests with two tokens", status, err, h.login.Asked())
	}
}

func TestTokensStayWithTheirHost(t *testing.T) {
	h := openHospital(t)
	client := h.client(t, h.bySecret())
	other := authorizations(t)
	if _, got := get(t, client, other.URL); got != "" {
		t.Errorf("another host got %q, want nothing", got)
	}
	if n := h.login.Asked(); n != 0 {
		t.Errorf("%d tokens were asked for another host, want none", n)
	}
	h.login.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.Header.Get("Authorization"), "Bearer") {
			t.Error("the token endpoint got a token")
		}
		return false
	}
	if status, _ := get(t, client, h.fhir.URL+"/fhir/Patient/1"); status != http.StatusOK {
		t.Errorf("status %d, want 200", status)
	}
}

func TestSecretAndKeyOfAClientRotate(t *testing.T) {
	authority := tlstest.NewAuthority(t, "keys")
	first, second := authority.Issue(t, tlstest.Holder{RSA: true}), authority.Issue(t, tlstest.Holder{RSA: true})
	for _, tt := range []struct {
		name   string
		change func(*config.OAuth2, string) // to read from a file
		before func(*sandbox.TokenServer)
		after  func(*sandbox.TokenServer)
		old    []byte
		next   []byte
	}{
		{
			"a secret", func(o *config.OAuth2, file string) { o.ClientSecretFile = file },
			func(s *sandbox.TokenServer) { s.Secret = "the-old-one" }, func(s *sandbox.TokenServer) { s.Secret = "the-next-one" },
			[]byte("the-old-one\n"), []byte("the-next-one\n"),
		},
		{
			"a key", func(o *config.OAuth2, file string) { o.KeyFile, o.KeyID, o.TokenURL = file, "k", "" },
			func(s *sandbox.TokenServer) { s.Secret, s.Keys = "", publicOf(first) }, func(s *sandbox.TokenServer) { s.Keys = publicOf(second) },
			first.KeyPEM, second.KeyPEM,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := openHospital(t)
			folder := t.TempDir()
			o := h.bySecret()
			o.ClientSecret, o.Scopes = "", []string{"system/Patient.rs"}
			tt.change(&o, tlstest.Write(t, folder, "file", tt.old))
			tt.before(h.login)
			client := h.client(t, o)
			read := func() (int, error) {
				status, _, err := ask(t, client, http.MethodGet, h.fhir.URL+"/fhir/Patient/1", nil)
				return status, err
			}
			if status, err := read(); err != nil || status != http.StatusOK {
				t.Fatalf("status %d, %v; want 200", status, err)
			}
			tt.after(h.login)
			h.login.Revoke()
			if _, err := read(); !isUnauthorized(err) {
				t.Fatalf("with the old one: %v, want unauthorized", err)
			}
			tlstest.Write(t, folder, "file", tt.next)
			eventually(t, func() bool {
				status, err := read()
				return err == nil && status == http.StatusOK
			})
		})
	}
}

func publicOf(pair tlstest.Pair) map[string]crypto.PublicKey {
	return map[string]crypto.PublicKey{"k": pair.Certificate.Leaf.PublicKey}
}

func isUnauthorized(err error) bool {
	trouble, ok := errors.AsType[*fhir.Trouble](err)
	return ok && trouble.Kind == fhir.Unauthorized
}

// eventually asks again until something is so: files are looked at once a second.
func eventually(t *testing.T, so func() bool) {
	t.Helper()
	end := time.After(90 * time.Second)
	for !so() {
		select {
		case <-end:
			t.Fatal("it never was")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestWrongCredentialsAreATroubleThatSaysNothing(t *testing.T) {
	h := openHospital(t)
	authority := tlstest.NewAuthority(t, "keys")
	stranger := authority.Issue(t, tlstest.Holder{RSA: true})
	folder := t.TempDir()
	keyFile := tlstest.Write(t, folder, "stranger.key", stranger.KeyPEM)
	for _, tt := range []struct {
		name string
		o    config.OAuth2
		keys map[string]crypto.PublicKey
	}{
		{"another secret", config.OAuth2{TokenURL: h.tokens.URL + "/token", ClientID: "staffetta", ClientSecret: "not-" + spoken}, nil},
		{"a secret that is expected elsewhere", config.OAuth2{TokenURL: h.tokens.URL + "/token", ClientID: "staffetta", ClientSecret: spoken, AuthMethod: "client_secret_post"}, nil},
		{"a key that is not registered", config.OAuth2{ClientID: "staffetta", KeyFile: keyFile, KeyID: "k", Scopes: []string{"system/Patient.rs"}}, map[string]crypto.PublicKey{}},
		{"scopes that are not granted", config.OAuth2{TokenURL: h.tokens.URL + "/token", ClientID: "staffetta", ClientSecret: spoken, Scopes: []string{"system/*.cruds"}}, nil},
		{"a key that signs for another audience", config.OAuth2{ClientID: "staffetta", KeyFile: keyFile, KeyID: "k", Audience: "https://other.example", Scopes: []string{"system/Patient.rs"}}, publicOf(stranger)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.login.Secret, h.login.Keys = spoken, tt.keys
			if tt.keys != nil {
				h.login.Secret = ""
			}
			_, _, err := ask(t, h.client(t, tt.o), http.MethodGet, h.fhir.URL+"/fhir/Patient/1", nil)
			if !isUnauthorized(err) {
				t.Fatalf("got %v, want unauthorized", err)
			}
			if seen := h.requests(); len(seen) != 0 {
				t.Errorf("the FHIR server was asked without a token: %q", seen)
			}
			var out bytes.Buffer
			slog.New(slog.NewJSONHandler(&out, nil)).Error("trouble", slog.Any("error", err))
			fmt.Fprintf(&out, "%v %+v %#v %s", err, err, err, err.Error())
			for _, private := range []string{spoken, "eyJ", "Basic", "client_assertion=", filepath.Base(keyFile)} {
				if strings.Contains(out.String(), private) {
					t.Errorf("%q is in the error: %s", private, out.String())
				}
			}
		})
	}
}
