package config_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"staffetta/config"
	"staffetta/config/tlstest"
)

// guarded is a source behind TLS that lets in who shows one of a bearer token, a password and a client certificate.
type guarded struct {
	*httptest.Server

	ca     *tlstest.Authority
	folder string
}

func guard(t *testing.T, asks tls.ClientAuthType, lets func(*http.Request) bool) *guarded {
	t.Helper()
	g := &guarded{ca: tlstest.NewAuthority(t, "town"), folder: t.TempDir()}
	g.Server = overTLS(t, g.ca, func(trust *tls.Config) { trust.ClientAuth, trust.ClientCAs = asks, g.ca.Pool() },
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !lets(r) {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
	return g
}

// read asks once, and gives the status; 0 where there was no answer.
func (g *guarded) read(t *testing.T, client *http.Client) int {
	t.Helper()
	status, _, err := ask(t, client, http.MethodGet, g.URL+"/Patient/1", nil)
	if err != nil {
		return 0
	}
	return status
}

func (g *guarded) trusted(t *testing.T) config.Read {
	t.Helper()
	return config.Read{CAFile: tlstest.Write(t, g.folder, "ca.pem", g.ca.PEM())}
}

func TestStaticCredentialsOverTLS(t *testing.T) {
	g := guard(t, tls.NoClientCert, func(r *http.Request) bool {
		name, word, basic := r.BasicAuth()
		return r.Header.Get("Authorization") == "Bearer right" || (basic && name == "reader" && word == "right")
	})
	strangers := tlstest.Write(t, g.folder, "strangers.pem", tlstest.NewAuthority(t, "strangers").PEM())
	for _, tt := range []struct {
		name   string
		change func(*config.Read)
		want   int
	}{
		{"the right token", func(r *config.Read) { r.BearerToken = "right" }, 200},
		{"a wrong token", func(r *config.Read) { r.BearerToken = "wrong" }, 401},
		{"the right password", func(r *config.Read) { r.Username, r.Password = "reader", "right" }, 200},
		{"a wrong password", func(r *config.Read) { r.Username, r.Password = "reader", "wrong" }, 401},
		{"nothing", func(*config.Read) {}, 401},
		{"a server that strangers vouch for is told nothing", func(r *config.Read) { r.BearerToken, r.CAFile = "right", strangers }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := g.trusted(t)
			tt.change(&read)
			if got := g.read(t, clientOf(t, g.URL, read)); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
}

func TestClientCertificatesOfReaders(t *testing.T) {
	g := guard(t, tls.RequireAndVerifyClientCert, func(*http.Request) bool { return true })
	for _, tt := range []struct {
		name string
		pair func() tlstest.Pair
		want int
	}{
		{"a known one", func() tlstest.Pair { return g.ca.Issue(t, tlstest.Holder{}) }, 200},
		{"a stranger's", func() tlstest.Pair { return tlstest.NewAuthority(t, "strangers").Issue(t, tlstest.Holder{}) }, 0},
		{"an expired one", func() tlstest.Pair { return g.ca.Issue(t, tlstest.Holder{NotAfter: time.Now().Add(-time.Hour)}) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := g.trusted(t)
			read.CertFile, read.KeyFile = tt.pair().Files(t, t.TempDir(), "client")
			if got := g.read(t, clientOf(t, g.URL, read)); got != tt.want {
				t.Errorf("status %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		if got := g.read(t, clientOf(t, g.URL, g.trusted(t))); got != 0 {
			t.Errorf("status %d, want no answer", got)
		}
	})
}

func TestAClientCertificateIsReadAgain(t *testing.T) {
	g := guard(t, tls.RequireAndVerifyClientCert, func(*http.Request) bool { return true })
	read := g.trusted(t)
	read.CertFile, read.KeyFile = g.ca.Issue(t, tlstest.Holder{NotAfter: time.Now().Add(-time.Hour)}).Files(t, g.folder, "client")
	client := clientOf(t, g.URL, read)
	if got := g.read(t, client); got != 0 {
		t.Fatalf("status %d with an expired certificate, want no answer", got)
	}
	g.ca.Issue(t, tlstest.Holder{}).Files(t, g.folder, "client")
	eventually(t, func() bool { return g.read(t, client) == http.StatusOK })
}

func TestAPasswordIsReadAgain(t *testing.T) {
	g := guard(t, tls.NoClientCert, func(r *http.Request) bool {
		_, word, _ := r.BasicAuth()
		return word == "next"
	})
	read := g.trusted(t)
	read.Username, read.PasswordFile = "reader", tlstest.Write(t, g.folder, "password", []byte("expired\n"))
	client := clientOf(t, g.URL, read)
	if got := g.read(t, client); got != http.StatusUnauthorized {
		t.Fatalf("status %d with an expired password, want 401", got)
	}
	tlstest.Write(t, g.folder, "password", []byte("next\n"))
	eventually(t, func() bool { return g.read(t, client) == http.StatusOK })
}
