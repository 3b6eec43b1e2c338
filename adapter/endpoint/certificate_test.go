package endpoint_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter/endpoint"
	"staffetta/config/tlstest"
	"staffetta/fhir"
)

// asking is an endpoint behind TLS that asks for client certificates, as config makes its listener. The ward must show a
// certificate; the clinic a certificate, a token and a signature.
type asking struct {
	*house

	url         string
	server      *tlstest.Authority
	authorities atomic.Pointer[x509.CertPool]
}

func ask(t *testing.T, ward *tlstest.Authority, now func() time.Time) *asking {
	t.Helper()
	a := &asking{server: tlstest.NewAuthority(t, "ours")}
	a.authorities.Store(ward.Pool())
	certificates := &endpoint.Certificates{
		Authorities: a.authorities.Load, Names: []string{"fhir.ward.example", "urn:ward:fhir", "Ward FHIR server"},
	}
	a.house = open(t, func(o *endpoint.Options) {
		o.Now = now
		o.Sources = append(
			o.Sources,
			endpoint.Source{Name: "ward", Certificates: certificates, Shape: fhir.ShapeReport},
			endpoint.Source{Name: "clinic", Certificates: certificates, Tokens: []string{"clinic-token"}, Secrets: []string{"clinic-secret"}, Shape: fhir.ShapeReport},
		)
	})
	trust := showing(t, a.server)
	trust.ClientAuth = tls.RequestClientCert
	a.url = "https://" + serveWith(t, endpoint.ServerOptions{Handler: a.handler, ReadTimeout: time.Minute, TLS: trust}).addr
	return a
}

// showing is a listener's TLS, with a certificate of an authority.
func showing(t *testing.T, authority *tlstest.Authority) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{*authority.Issue(t, tlstest.Holder{}).Certificate}, MinVersion: tls.VersionTLS12}
}

// with sends over TLS with a client certificate, nil for none.
func (a *asking) with(t *testing.T, certificate *tls.Certificate, s sent) got {
	t.Helper()
	trust := &tls.Config{RootCAs: a.server.Pool()}
	if certificate != nil { // whatever the server says that it wants
		trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: trust}
	defer transport.CloseIdleConnections()
	over := &house{url: a.url, client: &http.Client{Transport: transport}}
	return over.send(t, s)
}

func TestClientCertificates(t *testing.T) {
	ward, other := tlstest.NewAuthority(t, "ward"), tlstest.NewAuthority(t, "ward")
	h := ask(t, ward, nil)
	of := func(authority *tlstest.Authority, holder tlstest.Holder) *tls.Certificate {
		return authority.Issue(t, holder).Certificate
	}
	named := func(name string) tlstest.Holder { return tlstest.Holder{CommonName: name} }
	expired := tlstest.Holder{CommonName: "Ward FHIR server", NotAfter: time.Now().Add(-time.Minute)}
	const right, wrong = http.StatusOK, http.StatusUnauthorized
	for _, tt := range []struct {
		name        string
		certificate *tls.Certificate
		want        int
		doubt       string
	}{
		{"with its common name", of(ward, named("Ward FHIR server")), right, ""},
		{"with its DNS name", of(ward, tlstest.Holder{DNS: []string{"a.example", "fhir.ward.example"}}), right, ""},
		{"with its URI", of(ward, tlstest.Holder{URIs: []string{"urn:ward:fhir"}}), right, ""},
		{"none", nil, wrong, "no client certificate"},
		{"with another name", of(ward, named("Another server")), wrong, "the client certificate has another name"},
		{"without a name", of(ward, tlstest.Holder{}), wrong, "the client certificate has another name"},
		{"with the beginning of its name", of(ward, named("Ward FHIR")), wrong, "the client certificate has another name"},
		{"with its name and more", of(ward, tlstest.Holder{DNS: []string{"fhir.ward.example.org"}}), wrong, "the client certificate has another name"},
		{"with a wildcard over its name", of(ward, tlstest.Holder{DNS: []string{"*.ward.example"}}), wrong, "the client certificate has another name"},
		{"of an authority that only has the same name", of(other, named("Ward FHIR server")), wrong, "no authority of this source vouches for the client certificate"},
		{"of our own server's authority", of(h.server, named("Ward FHIR server")), wrong, "no authority of this source vouches for the client certificate"},
		{"expired", of(ward, expired), wrong, "the client certificate is not valid at this time"},
		{"for servers only", of(ward, tlstest.Holder{CommonName: "Ward FHIR server", ServerOnly: true}), wrong, "no authority of this source vouches for the client certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := h.with(t, tt.certificate, sent{"POST", "/fhir/ward", report, map[string]string{"Authorization": ""}})
			if answer.status != tt.want {
				t.Fatalf("status %d, want %d; logs:\n%s", answer.status, tt.want, lastLine(h.logs.String()))
			}
			if tt.want == wrong {
				checkLogin(t, answer)
				if line := lastLine(h.logs.String()); !strings.Contains(line, tt.doubt) {
					t.Errorf("the log says %s, want %s", line, tt.doubt)
				}
			}
		})
	}
	if answer := h.send(t, sent{"POST", "/fhir/ward", report, map[string]string{"Authorization": ""}}); answer.status != wrong {
		t.Errorf("without TLS: status %d, want 401", answer.status)
	}
	if answer := h.with(t, nil, sent{"POST", "/fhir/lab", report, nil}); answer.status != right {
		t.Errorf("a source that shows a token, without a certificate: status %d, want 200", answer.status)
	}
	for _, private := range []string{"Ward FHIR server", "ward.example", "Another server"} {
		if logs := h.logs.String(); strings.Contains(logs, private) {
			t.Errorf("%q is in the logs:\n%s", private, logs)
		}
	}
}

func TestEveryKindMustHold(t *testing.T) {
	ward := tlstest.NewAuthority(t, "ward")
	h := ask(t, ward, nil)
	certificate := ward.Issue(t, tlstest.Holder{CommonName: "Ward FHIR server"}).Certificate
	signature := signed("clinic-secret", report)
	for _, tt := range []struct {
		name             string
		certificate      *tls.Certificate
		token, signature string
		want             int
	}{
		{"all three", certificate, "Bearer clinic-token", signature, 200},
		{"no certificate", nil, "Bearer clinic-token", signature, 401},
		{"no token", certificate, "", signature, 401},
		{"no signature", certificate, "Bearer clinic-token", "", 401},
		{"another token", certificate, "Bearer " + labToken, signature, 401},
		{"another signature", certificate, "Bearer clinic-token", signed("clinic-secret", "{}"), 401},
		{"only a certificate", certificate, "", "", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := h.with(t, tt.certificate, sent{"POST", "/fhir/clinic", report, withSignature(tt.signature, "Authorization", tt.token)})
			if answer.status != tt.want {
				t.Errorf("status %d, want %d", answer.status, tt.want)
			}
		})
	}
}

// A certificate that held is remembered until its whole chain has ended, not only itself.
func TestAClientCertificateOutlivesNoAuthority(t *testing.T) {
	root, clock := tlstest.NewAuthority(t, "root"), &clock{}
	h := ask(t, root, clock.now)
	holder := tlstest.Holder{CommonName: "Ward FHIR server", NotAfter: time.Now().Add(100 * time.Hour)}
	for _, between := range []*tlstest.Authority{root, root.Under(t, "department")} {
		certificate := between.Issue(t, holder).Certificate
		for _, step := range []struct {
			name string
			do   func()
			want int
		}{
			{"it holds", func() {}, 200},
			{"and is remembered", func() {}, 200},
			{"to the end of its authority", func() { clock.advance(25 * time.Hour) }, 401},
		} {
			step.do()
			answer := h.with(t, certificate, sent{"POST", "/fhir/ward", report, map[string]string{"Authorization": ""}})
			if answer.status != step.want {
				t.Errorf("%d certificates, %s: status %d, want %d", len(certificate.Certificate), step.name, answer.status, step.want)
			}
		}
		clock.advance(-25 * time.Hour)
	}
}

func TestAuthoritiesOfClientCertificatesRotate(t *testing.T) {
	old, next, clock := tlstest.NewAuthority(t, "old"), tlstest.NewAuthority(t, "next"), &clock{}
	h := ask(t, old, clock.now)
	holder := tlstest.Holder{CommonName: "Ward FHIR server"}
	of := map[string]*tls.Certificate{"old": old.Issue(t, holder).Certificate, "next": next.Issue(t, holder).Certificate}
	for _, step := range []struct {
		name string
		do   func()
		with string
		want int
	}{
		{"the old one's is believed", func() {}, "old", 200},
		{"again", func() {}, "old", 200},
		{"the next one's is not yet", func() {}, "next", 401},
		{"the old one's no longer, when its authority is gone", func() { h.authorities.Store(next.Pool()) }, "old", 401},
		{"but the next one's, whose authority is there", func() {}, "next", 200},
		{"nor the next one's after its end", func() { clock.advance(90 * time.Minute) }, "next", 401},
	} {
		step.do()
		answer := h.with(t, of[step.with], sent{"POST", "/fhir/ward", report, map[string]string{"Authorization": ""}})
		if answer.status != step.want {
			t.Errorf("%s: status %d, want %d", step.name, answer.status, step.want)
		}
	}
}
