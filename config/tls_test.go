package config_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"staffetta/config"
	"staffetta/config/tlstest"
)

// listener is a listener as config makes it, with the files that it is made of.
type listener struct {
	ours, ward        *tlstest.Authority
	folder, caFile    string
	certFile, keyFile string
	url               string
}

func listen(t *testing.T, asking bool) *listener {
	t.Helper()
	l := &listener{ours: tlstest.NewAuthority(t, "ours"), ward: tlstest.NewAuthority(t, "ward"), folder: t.TempDir()}
	l.certFile, l.keyFile = l.ours.Issue(t, tlstest.Holder{CommonName: "first"}).Files(t, l.folder, "public")
	l.caFile = tlstest.Write(t, l.folder, "ward.pem", l.ward.PEM())
	cfg := config.Default()
	cfg.Public.TLS = config.TLS{CertFile: l.certFile, KeyFile: l.keyFile}
	cfg.Sources = []config.Source{{Name: "lab"}}
	if asking {
		mtls := config.MTLS{CAFile: l.caFile, AllowedNames: []string{"ward"}}
		cfg.Sources = append(cfg.Sources, config.Source{Receive: config.Receive{MTLS: mtls}}, config.Source{Receive: config.Receive{MTLS: mtls}})
	}
	trust, err := cfg.Public.TLS.Server(cfg.ClientCAs()...)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Listener = tls.NewListener(server.Listener, trust) // StartTLS would bring a certificate of its own
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	l.url = "https://" + server.Listener.Addr().String()
	return l
}

// met is what a client saw of the listener.
type met struct {
	name    string   // of its certificate
	asked   bool     // for a client certificate
	by      [][]byte // authorities that it named
	resumed bool
}

// meet opens a connection with a certificate, nil for none.
func (l *listener) meet(t *testing.T, certificate *tls.Certificate, sessions tls.ClientSessionCache) met {
	t.Helper()
	var m met
	trust := &tls.Config{
		RootCAs: l.ours.Pool(), ClientSessionCache: sessions,
		GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			m.asked, m.by = true, info.AcceptableCAs
			if certificate == nil {
				return new(tls.Certificate), nil
			}
			return certificate, nil
		},
	}
	transport := &http.Transport{TLSClientConfig: trust}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	m.name, m.resumed = resp.TLS.PeerCertificates[0].Subject.CommonName, resp.TLS.DidResume
	return m
}

func subjectOf(t *testing.T, authority *tlstest.Authority) []byte {
	t.Helper()
	block, _ := pem.Decode(authority.PEM())
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate.RawSubject
}

func TestListenerAsksForCertificates(t *testing.T) {
	asking := listen(t, true)
	stranger := tlstest.NewAuthority(t, "stranger").Issue(t, tlstest.Holder{CommonName: "ward"}).Certificate
	ward := [][]byte{subjectOf(t, asking.ward)}
	for _, tt := range []struct {
		name        string
		listener    *listener
		certificate *tls.Certificate
		want        met
	}{
		{"never, where no source shows one", listen(t, false), nil, met{name: "first"}},
		{"where one does, and names its authority once", asking, asking.ward.Issue(t, tlstest.Holder{CommonName: "ward"}).Certificate, met{name: "first", asked: true, by: ward}},
		{"and serves who has none", asking, nil, met{name: "first", asked: true, by: ward}},
		{"and leaves it to the source whom to believe", asking, stranger, met{name: "first", asked: true, by: ward}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.listener.meet(t, tt.certificate, nil), cmp.AllowUnexported(met{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	l := listen(t, true)
	for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: l.ours.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: version}}
		status, _, err := ask(t, &http.Client{Transport: transport}, http.MethodGet, l.url, nil)
		transport.CloseIdleConnections()
		if (err == nil) != want {
			t.Errorf("listener, %s: status %d, %v", tls.VersionName(version), status, err)
		}
		server := overTLS(t, l.ours, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, version },
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		read := config.Read{CAFile: tlstest.Write(t, l.folder, "ours.pem", l.ours.PEM())}
		if status, _, err = ask(t, clientOf(t, server.URL, read), http.MethodGet, server.URL, nil); (err == nil) != want {
			t.Errorf("client, %s: status %d, %v", tls.VersionName(version), status, err)
		}
	}
}

func TestListenerResumesSessions(t *testing.T) {
	l, sessions := listen(t, true), tls.NewLRUClientSessionCache(1)
	certificate := l.ward.Issue(t, tlstest.Holder{CommonName: "ward"}).Certificate
	l.meet(t, certificate, sessions)
	if m := l.meet(t, certificate, sessions); !m.resumed {
		t.Error("every connection is a handshake")
	}
}

func TestListenerReadsItsFilesAgain(t *testing.T) {
	l := listen(t, true)
	next := tlstest.NewAuthority(t, "next ward")
	authorities, err := config.MTLS{CAFile: l.caFile}.Authorities()
	if err != nil {
		t.Fatal(err)
	}
	if first := authorities(); !first.Equal(l.ward.Pool()) || first != authorities() {
		t.Error("the authorities are others than those of the file, or others each time")
	}
	l.ours.Issue(t, tlstest.Holder{CommonName: "second"}).Files(t, l.folder, "public")
	tlstest.Write(t, l.folder, "ward.pem", next.PEM())
	want := subjectOf(t, next)
	eventually(t, func() bool {
		m := l.meet(t, nil, nil)
		return m.name == "second" && len(m.by) == 1 && bytes.Equal(m.by[0], want) && authorities().Equal(next.Pool())
	})
	if err := os.WriteFile(l.caFile, nil, 0o600); err != nil { // a rotation in the middle of writing
		t.Fatal(err)
	}
	if m := l.meet(t, nil, nil); len(m.by) != 1 {
		t.Errorf("%d authorities, want the one of before", len(m.by))
	}
}

func TestListenerWantsItsFilesAtStart(t *testing.T) {
	l := listen(t, true)
	trust := config.TLS{CertFile: l.certFile, KeyFile: l.keyFile}
	for _, file := range []string{"absent.pem", l.keyFile} {
		if _, err := trust.Server(l.caFile, file); err == nil {
			t.Errorf("%s is taken for a file of authorities", file)
		}
		if _, err := (config.MTLS{CAFile: file}).Authorities(); err == nil {
			t.Errorf("%s is taken for a file of authorities", file)
		}
		if _, err := (config.JWT{CAFile: file}).Client(); err == nil {
			t.Errorf("%s is taken for a file of authorities", file)
		}
	}
}
