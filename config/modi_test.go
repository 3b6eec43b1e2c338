package config_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v3/jws"

	"staffetta/config"
	"staffetta/config/tlstest"
)

// region is a national service: it wants a client certificate of the ministry's, and two tokens signed with another one.
type region struct {
	ministry *tlstest.Authority
	server   *httptest.Server
	base     string
	folder   string

	mu     sync.Mutex
	used   map[string]bool // ids of tokens
	header http.Header     // of the last request
	bearer modiToken
	agid   modiToken
	body   string
}

// modiToken is a token as the service reads it.
type modiToken struct {
	Iss, Aud, Jti, Sub string
	Iat, Exp           int64
	Roles              []string
	SignedHeaders      []map[string]string `json:"signed_headers"`
}

func openRegion(t *testing.T) *region {
	t.Helper()
	r := &region{ministry: tlstest.NewAuthority(t, "ministry"), used: map[string]bool{}, folder: t.TempDir()}
	r.server = overTLS(t, r.ministry, func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, r.ministry.Pool()
	}, r)
	r.base = r.server.URL + "/fse/v1"
	return r
}

// ServeHTTP is as strict as the reference has it: 401 with no more than that.
func (r *region) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.header, r.body = req.Header, string(body)
	bearer, plain := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	var ok [2]bool
	r.bearer, ok[0] = r.verify(bearer)
	r.agid, ok[1] = r.verify(req.Header.Get("Agid-JWT-Signature"))
	if !plain || !ok[0] || !ok[1] {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (r *region) verify(token string) (said modiToken, valid bool) {
	message, err := jws.Parse([]byte(token), jws.WithCompact())
	if err != nil {
		return said, false
	}
	header := message.Signatures()[0].ProtectedHeaders()
	chain, _ := header.X509CertChain()
	kind, _ := header.Type()
	algorithm, _ := header.Algorithm()
	if chain == nil || kind != "JWT" || !slices.Contains([]string{"RS256", "RS384", "RS512"}, algorithm.String()) {
		return said, false
	}
	text, _ := chain.Get(0)
	der, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return said, false
	}
	by, err := x509.ParseCertificate(der)
	if err != nil {
		return said, false
	}
	_, err = by.Verify(x509.VerifyOptions{Roots: r.ministry.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	payload, wrong := jws.Verify([]byte(token), jws.WithKey(algorithm, by.PublicKey))
	if err != nil || wrong != nil || json.Unmarshal(payload, &said) != nil {
		return said, false
	}
	fresh := said.Jti != "" && !r.used[said.Jti]
	r.used[said.Jti] = true
	now := time.Now().Unix()
	return said, fresh && said.Iss == "integrity:"+by.Subject.CommonName && said.Aud == r.base && said.Iat <= now && now < said.Exp
}

// read is how the service is read: a certificate for TLS, another one for signing.
func (r *region) read(t *testing.T, signing tlstest.Pair, m config.ModI) config.Read {
	t.Helper()
	authentication := r.ministry.Issue(t, tlstest.Holder{CommonName: "region-auth"})
	read := config.Read{CAFile: tlstest.Write(t, r.folder, "ca.pem", r.ministry.PEM()), ModI: m}
	read.CertFile, read.KeyFile = authentication.Files(t, r.folder, "auth")
	read.ModI.SigningCertFile, read.ModI.SigningKeyFile = signing.Files(t, r.folder, "signing")
	return read
}

// client fills in the defaults as loading does.
func (r *region) client(t *testing.T, read config.Read) *http.Client {
	t.Helper()
	cfg := config.Default()
	cfg.Sources = []config.Source{{Name: "region", BaseURL: r.base, Read: read}}
	_ = cfg.Complete() // much else is missing
	client, err := cfg.Sources[0].Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestModI(t *testing.T) {
	r := openRegion(t)
	signing := r.ministry.Issue(t, tlstest.Holder{CommonName: "region-sign", RSA: true})
	form := "identifier=urn%3As%7C1"
	digest := sha256.Sum256([]byte(form))
	sum := "SHA-256=" + base64.StdEncoding.EncodeToString(digest[:])
	withDigest := []map[string]string{{"digest": sum}, {"content-type": "application/x-www-form-urlencoded"}}
	for _, tt := range []struct {
		name          string
		m             config.ModI
		body          string
		signedHeaders []map[string]string
		lifetime      int64
	}{
		{"a read", config.ModI{}, "", nil, 300},
		{"RS384", config.ModI{Algorithm: "RS384"}, "", nil, 300},
		{"RS512", config.ModI{Algorithm: "RS512"}, "", nil, 300},
		{"a lifetime of its own", config.ModI{Lifetime: config.Duration(time.Minute)}, "", nil, 60},
		{"a search, without a digest by default", config.ModI{}, form, nil, 300},
		{"a search with a digest", config.ModI{Digest: true}, form, withDigest, 300},
		{"a read has nothing to digest", config.ModI{Digest: true}, "", nil, 300},
		{"more claims", config.ModI{Claims: map[string]any{"sub": "urn:staffetta", "roles": []any{"a", "b"}}}, "", nil, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := r.client(t, r.read(t, signing, tt.m))
			method, url := http.MethodGet, r.base+"/DocumentReference?_id=1"
			if tt.body != "" {
				method, url = http.MethodPost, r.base+"/DocumentReference/_search"
			}
			req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.body != "" {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK || r.body != tt.body {
				t.Fatalf("status %d and body %q, want 200 and %q", resp.StatusCode, r.body, tt.body)
			}
			if diff := cmp.Diff(tt.signedHeaders, r.agid.SignedHeaders); diff != "" || r.bearer.SignedHeaders != nil {
				t.Errorf("signed_headers (-want +got):\n%s", diff)
			}
			if got := r.header.Get("Digest"); (got == sum) != (tt.signedHeaders != nil) {
				t.Errorf("Digest %q", got)
			}
			for name, token := range map[string]modiToken{"Authorization": r.bearer, "Agid-JWT-Signature": r.agid} {
				if token.Iss != "integrity:region-sign" || token.Exp-token.Iat != tt.lifetime {
					t.Errorf("%s: issuer %s, lifetime %d s", name, token.Iss, token.Exp-token.Iat)
				}
				if sub, _ := tt.m.Claims["sub"].(string); token.Sub != sub || (sub != "" && len(token.Roles) != 2) {
					t.Errorf("%s: claims %+v", name, token)
				}
			}
			if len(tt.m.Claims) > 2 {
				t.Error("the claims of the file were changed")
			}
		})
	}
}

func TestModIIsRefused(t *testing.T) {
	r := openRegion(t)
	signing := r.ministry.Issue(t, tlstest.Holder{CommonName: "region-sign", RSA: true})
	other := tlstest.NewAuthority(t, "ministry")
	for _, tt := range []struct {
		name    string
		signing tlstest.Pair
		change  func(*config.Read)
		status  int // 0: no connection
	}{
		{"unless all is right", signing, func(*config.Read) {}, 200},
		{"with a signing certificate that has expired", r.ministry.Issue(t, tlstest.Holder{CommonName: "region-sign", RSA: true, NotAfter: time.Now().Add(-time.Minute)}), func(*config.Read) {}, 401},
		{"with a signing certificate of somebody else", other.Issue(t, tlstest.Holder{CommonName: "region-sign", RSA: true}), func(*config.Read) {}, 401},
		{"for another audience", signing, func(r *config.Read) { r.ModI.Audience = "https://other.example" }, 401},
		{"without a client certificate", signing, func(r *config.Read) { r.CertFile, r.KeyFile = "", "" }, 0},
		{"with a client certificate of somebody else", signing, func(r *config.Read) {
			r.CertFile, r.KeyFile = other.Issue(t, tlstest.Holder{CommonName: "region-auth"}).Files(t, t.TempDir(), "auth")
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := r.read(t, tt.signing, config.ModI{})
			tt.change(&read)
			status, _, err := ask(t, r.client(t, read), http.MethodGet, r.base+"/DocumentReference/1", nil)
			if status != tt.status || (err != nil) != (tt.status == 0) {
				t.Errorf("status %d, %v; want %d", status, err, tt.status)
			}
			if err != nil && strings.Contains(err.Error(), "eyJ") {
				t.Errorf("a token is in the error: %v", err)
			}
		})
	}
}

func TestModIRotates(t *testing.T) {
	r := openRegion(t)
	folder := r.folder
	read := r.read(t, r.ministry.Issue(t, tlstest.Holder{CommonName: "region-2026", RSA: true}), config.ModI{})
	client := r.client(t, read)
	signedBy := func() string {
		if status, _, err := ask(t, client, http.MethodGet, r.base+"/DocumentReference/1", nil); err != nil || status != http.StatusOK {
			t.Fatalf("status %d, %v", status, err)
		}
		return r.agid.Iss
	}
	if got := signedBy(); got != "integrity:region-2026" {
		t.Fatalf("signed by %s", got)
	}
	next := r.ministry.Issue(t, tlstest.Holder{CommonName: "region-2027", RSA: true})
	tlstest.Write(t, folder, "signing.pem", next.CertPEM) // half of a rotation: the old one goes on
	if got := signedBy(); got != "integrity:region-2026" {
		t.Fatalf("in the middle of a rotation signed by %s", got)
	}
	tlstest.Write(t, folder, "signing.key", next.KeyPEM)
	eventually(t, func() bool { return signedBy() == "integrity:region-2027" })
}

func TestModITokensStayWithTheirHost(t *testing.T) {
	r := openRegion(t)
	client := r.client(t, r.read(t, r.ministry.Issue(t, tlstest.Holder{CommonName: "region-sign", RSA: true}), config.ModI{}))
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		for name := range req.Header {
			if name == "Authorization" || name == "Agid-Jwt-Signature" || name == "Digest" {
				t.Errorf("another host got %s", name)
			}
		}
	}))
	t.Cleanup(other.Close)
	if _, _, err := ask(t, client, http.MethodGet, other.URL, nil); err != nil {
		t.Fatal(err)
	}
}
