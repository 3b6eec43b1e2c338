package sandbox

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws"
)

// TokenServer is an authorization server with one client, which proves itself by a secret or by a key (SMART Backend
// Services), and as strict as SMART lets one be. It says too much when it refuses, as some do.
type TokenServer struct {
	ClientID string
	Secret   string // "": the client has Keys
	InBody   bool   // the secret comes as a parameter, not as basic authentication
	// Keys are the client's public keys by their ids.
	Keys     map[string]crypto.PublicKey
	Scopes   []string      // those that may be asked for
	Lifetime time.Duration // of tokens, default 5 minutes
	// Fault may answer a request in the server's place; it says whether it did.
	Fault func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	valid map[string]time.Time // token -> its end
	used  map[string]bool      // ids of assertions
	asked int
}

// SmartConfiguration is the path, under the base of a FHIR server, where its token endpoint is named.
const SmartConfiguration = "/.well-known/smart-configuration"

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ServeHTTP gives tokens, wherever it is asked, and names itself as the token endpoint under /token.
func (s *TokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Fault != nil && s.Fault(w, r) {
		return
	}
	if strings.HasSuffix(r.URL.Path, SmartConfiguration) {
		write(w, http.StatusOK, Resource{
			"token_endpoint": origin(r) + "/token", "token_endpoint_auth_methods_supported": []string{"private_key_jwt"},
			"token_endpoint_auth_signing_alg_values_supported": []string{"RS384", "ES384"},
		})
		return
	}
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	if r.Method != http.MethodPost || r.ParseForm() != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", r)
		return
	}
	if code := s.doubts(r); code != "" {
		refuse(w, http.StatusUnauthorized, code, r)
		return
	}
	for scope := range strings.FieldsSeq(r.PostForm.Get("scope")) {
		if !slices.Contains(s.Scopes, scope) {
			refuse(w, http.StatusBadRequest, "invalid_scope", r)
			return
		}
	}
	token, lifetime := s.grant()
	write(w, http.StatusOK, Resource{"access_token": token, "token_type": "bearer", "expires_in": int(lifetime.Seconds())})
}

// doubts gives the error code of a client that is not believed.
func (s *TokenServer) doubts(r *http.Request) string {
	form := r.PostForm
	if s.Secret == "" {
		if form.Get("client_assertion_type") != assertionType || !s.signed(form.Get("client_assertion"), origin(r)+r.URL.Path) {
			return "invalid_client"
		}
		return ""
	}
	id, secret, basic := r.BasicAuth() // encoded as a form is (RFC 6749, 2.3.1)
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if s.InBody {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	if basic == s.InBody || id != s.ClientID || secret != s.Secret {
		return "invalid_client"
	}
	return ""
}

// signed checks an assertion (SMART App Launch 2, Asymmetric Authentication).
func (s *TokenServer) signed(assertion, audience string) bool {
	message, err := jws.Parse([]byte(assertion), jws.WithCompact())
	if err != nil {
		return false
	}
	header := message.Signatures()[0].ProtectedHeaders()
	id, _ := header.KeyID()
	kind, _ := header.Type()
	algorithm, _ := header.Algorithm()
	key := s.Keys[id]
	if key == nil || kind != "JWT" || !slices.Contains([]string{"RS384", "ES384"}, algorithm.String()) {
		return false
	}
	text, err := jws.Verify([]byte(assertion), jws.WithKey(algorithm, key))
	var said struct {
		Iss, Sub, Aud, Jti string
		Exp                int64
	}
	if err != nil || json.Unmarshal(text, &said) != nil {
		return false
	}
	left := time.Until(time.Unix(said.Exp, 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		s.used = map[string]bool{}
	}
	fresh := said.Jti != "" && !s.used[said.Jti]
	s.used[said.Jti] = true
	return fresh && said.Iss == s.ClientID && said.Sub == s.ClientID && said.Aud == audience && left > 0 && left <= 5*time.Minute
}

func (s *TokenServer) grant() (token string, lifetime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lifetime = s.Lifetime; lifetime == 0 {
		lifetime = 5 * time.Minute
	}
	if s.valid == nil {
		s.valid = map[string]time.Time{}
	}
	token = "granted-" + rand.Text()
	s.valid[token] = time.Now().Add(lifetime)
	return token, lifetime
}

// Guard answers who shows no token that is valid, as the Fault of a Server.
func (s *TokenServer) Guard(w http.ResponseWriter, r *http.Request) bool {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	until, granted := s.valid[token]
	s.mu.Unlock()
	if granted && time.Now().Before(until) {
		return false
	}
	outcome(w, http.StatusUnauthorized, "login")
	return true
}

// Revoke ends all tokens before their time.
func (s *TokenServer) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.valid)
}

// Asked counts the requests for a token.
func (s *TokenServer) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func origin(r *http.Request) string {
	if r.TLS == nil {
		return "http://" + r.Host
	}
	return "https://" + r.Host
}

// refuse repeats what it was sent: a client must not.
func refuse(w http.ResponseWriter, status int, code string, r *http.Request) {
	write(w, status, Resource{"error": code, "error_description": r.Header.Get("Authorization") + " " + r.PostForm.Encode()})
}
