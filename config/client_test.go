package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"staffetta/config"
)

// authorizations is a server that gives the Authorization header of each request as its answer.
func authorizations(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	}))
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if req.Header.Get("Authorization") != "" {
		t.Error("the caller's request was changed")
	}
	return resp.StatusCode, string(text)
}

func clientOf(t *testing.T, baseURL string, read config.Read) *http.Client {
	t.Helper()
	read.Timeout, read.Connections = config.Duration(10*time.Second), 4
	client, err := config.Source{Name: "lab", BaseURL: baseURL, Read: read}.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func TestCredentials(t *testing.T) {
	server := authorizations(t)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "from-a-file\n")
	for _, tt := range []struct {
		name string
		read config.Read
		want string
	}{
		{"none where none are configured", config.Read{}, ""},
		{"a bearer token", config.Read{BearerToken: "in-the-file"}, "Bearer in-the-file"},
		{"a bearer token in a file", config.Read{BearerTokenFile: file}, "Bearer from-a-file"},
		{"basic authentication", config.Read{Username: "reader", Password: "word"}, "Basic cmVhZGVyOndvcmQ="},
		{"a password in a file", config.Read{Username: "reader", Password: "of-the-start", PasswordFile: file}, "Basic cmVhZGVyOmZyb20tYS1maWxl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := get(t, clientOf(t, server.URL+"/fhir", tt.read), server.URL+"/fhir/Patient/1"); got != tt.want {
				t.Errorf("Authorization %q, want %q", got, tt.want)
			}
		})
	}
}

// What it takes to ask for a credential is a part of the call; where there is none to be asked for the transport keeps the time
// itself.
func TestTheTimeOfACallWithCredentials(t *testing.T) {
	const base = "https://fhir.example"
	oauth2 := config.OAuth2{TokenURL: "https://login.example/token", ClientID: "us", ClientSecret: "secret"}
	for _, tt := range []struct {
		read config.Read
		want time.Duration
	}{{config.Read{}, 0}, {config.Read{BearerToken: "token"}, 0}, {config.Read{OAuth2: oauth2}, 10 * time.Second}} {
		if got := clientOf(t, base, tt.read).Timeout; got != tt.want {
			t.Errorf("a timeout of %s, want %s", got, tt.want)
		}
	}
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	server, other := authorizations(t), authorizations(t)
	client := clientOf(t, server.URL, config.Read{BearerToken: "for-one-host"})
	if _, got := get(t, client, other.URL); got != "" {
		t.Errorf("another host got %q, want nothing", got)
	}
	if _, got := get(t, client, server.URL); got != "Bearer for-one-host" {
		t.Errorf("the host itself got %q", got)
	}
	overTLS := clientOf(t, strings.Replace(server.URL, "http:", "https:", 1), config.Read{BearerToken: "for-tls"})
	if _, got := get(t, overTLS, server.URL); got != "" {
		t.Errorf("the host got %q in clear, want nothing: its base is https", got)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	server := authorizations(t)
	if status, _ := get(t, clientOf(t, server.URL, config.Read{}), server.URL+"/elsewhere"); status != http.StatusFound {
		t.Errorf("status %d, want %d", status, http.StatusFound)
	}
	client, err := config.Default().IO.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	if status, _ := get(t, client, server.URL+"/elsewhere"); status != http.StatusFound {
		t.Errorf("IO: status %d, want %d", status, http.StatusFound)
	}
}

func TestFilesAreThereAtStart(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	empty := filepath.Join(t.TempDir(), "empty")
	write(t, empty, "")
	for _, tt := range []struct {
		name string
		read config.Read
	}{
		{"the token's", config.Read{BearerTokenFile: absent}},
		{"the password's", config.Read{Username: "reader", PasswordFile: absent}},
		{"the authority's", config.Read{CAFile: absent}},
		{"the authority's, with a certificate in it", config.Read{CAFile: empty}},
		{"the certificate's", config.Read{CertFile: absent, KeyFile: absent}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := (config.Source{Name: "lab", BaseURL: "https://fhir.example", Read: tt.read}).Client(); err == nil {
				t.Error("made a client, want an error")
			}
		})
	}
}

// certificate writes a new self-signed certificate for 127.0.0.1.
func certificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "staffetta test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func TestMutualTLS(t *testing.T) {
	folder := t.TempDir()
	certFile, keyFile := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	certificate(t, certFile, keyFile, 7)
	trust, err := config.TLS{CertFile: certFile, KeyFile: keyFile}.Server()
	if err != nil {
		t.Fatal(err)
	}
	trust.ClientAuth = tls.RequireAnyClientCert
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].SerialNumber.String())
	}))
	server.Listener = tls.NewListener(server.Listener, trust) // StartTLS would bring a certificate of its own
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	address := strings.Replace(server.URL, "http:", "https:", 1)
	client := clientOf(t, address, config.Read{CAFile: certFile, CertFile: certFile, KeyFile: keyFile})
	if _, got := get(t, client, address); got != "7" {
		t.Errorf("the server saw certificate %s, want 7", got)
	}
	resp, err := clientOf(t, address, config.Read{}).Get(address)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !isUntrusted(err) {
		t.Errorf("without ca_file: %v, want an untrusted certificate", err)
	}
}

func isUntrusted(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return untrusted
}

func TestPlainListenerHasNoTLS(t *testing.T) {
	trust, err := config.TLS{}.Server()
	if trust != nil || err != nil {
		t.Errorf("got TLS: %t and error %v, want neither", trust != nil, err)
	}
	if _, err := (config.TLS{CertFile: "no-such.pem", KeyFile: "no-such.key"}).Server(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file is not there", err)
	}
}
