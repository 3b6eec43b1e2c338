package endpoint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"staffetta/config/tlstest"
)

// shown is a request that its source believes.
type shown struct {
	name   string
	source Source
	header http.Header
	tls    *tls.ConnectionState
	key    crypto.PublicKey // of the issuer
}

// everyKind is a source for each kind of proof, with what it shows.
func everyKind(tb testing.TB) []shown {
	tb.Helper()
	authority := tlstest.NewAuthority(tb, "ward")
	pool := authority.Pool()
	client := authority.Issue(tb, tlstest.Holder{CommonName: "ward"}).Certificate.Leaf
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	token, err := jws.Sign([]byte(`{"iss":"i","aud":"a","exp":9999999999}`), jws.WithKey(jwa.ES256(), key))
	if err != nil {
		tb.Fatal(err)
	}
	return []shown{
		{"token", Source{Tokens: []string{"a-token", "another-token"}}, http.Header{"Authorization": {"Bearer a-token"}}, nil, nil},
		{"jwt", Source{JWT: &JWT{Issuer: "i", Audience: "a", KeysURL: "https://i.example", Client: new(http.Client)}}, http.Header{"Authorization": {"Bearer " + string(token)}}, nil, key.Public()},
		{"certificate", Source{Certificates: &Certificates{Authorities: func() *x509.CertPool { return pool }, Names: []string{"ward"}}}, nil, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{client}}, nil},
	}
}

// believed are senders of one source, and a request that it believes.
func (s shown) believed(tb testing.TB) (*senders, *http.Request) {
	tb.Helper()
	s.source.Name = "ward"
	all, err := newSenders(Options{Sources: []Source{s.source}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	if s.key != nil {
		all.byName["ward"].jwt.keys.keys.Store(&[]publicKey{{key: s.key}})
	}
	req := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "/fhir/ward", http.NoBody)
	req.Header, req.TLS = s.header, s.tls
	return all, req
}

func TestATokenCostsNothingButItsComparison(t *testing.T) {
	all, req := everyKind(t)[0].believed(t)
	if n := testing.AllocsPerRun(100, func() {
		if _, doubt := all.authenticate("ward", req); doubt != noDoubt {
			t.Fatal(doubt)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// FuzzToken shows anything as a token: it may not crash, whatever it is.
func FuzzToken(f *testing.F) {
	jwt := everyKind(f)[1]
	token := strings.TrimPrefix(jwt.header["Authorization"][0], "Bearer ")
	for _, seed := range []string{token, "", ".", "..", "e30.e30.", token[:20], token + "." + token, "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	all, req := jwt.believed(f)
	all.byName["ward"].jwt.keys.tried = time.Now().Add(24 * time.Hour) // nobody is asked for keys
	f.Fuzz(func(t *testing.T, text string) {
		req := req.Clone(t.Context())
		req.Header.Set("Authorization", "Bearer "+text)
		if _, doubt := all.authenticate("ward", req); (doubt == noDoubt) != (text == token) && !strings.HasPrefix(text, token[:strings.LastIndexByte(token, '.')]) {
			t.Errorf("%q: doubt %q", text, doubt)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, kind := range everyKind(b) {
		b.Run(kind.name, func(b *testing.B) {
			all, req := kind.believed(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, doubt := all.authenticate("ward", req); doubt != noDoubt {
					b.Fatal(doubt)
				}
			}
		})
	}
}

// BenchmarkSignature is what signatures cost on top of reading.
func BenchmarkSignature(b *testing.B) {
	text := bytes.Repeat([]byte("x"), 1<<20)
	for n, name := range []string{"none", "one secret", "two secrets"} {
		b.Run(name, func(b *testing.B) {
			secrets := [][]byte{[]byte("one"), []byte("two")}[:n]
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				read := body{wire: bytes.NewReader(text)}
				if n > 0 {
					read.signature = newSignature(http.Header{}, secrets)
				}
				if _, err := io.Copy(io.Discard, &read); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
