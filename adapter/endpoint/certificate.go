package endpoint

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// Certificates says which TLS client certificates let a source in: those of its authorities that carry one of its names.
// The listener only asks for a certificate and sees that the client holds its key; whom to trust differs by source, so it
// is decided here. Revocation lists are not asked: who is no longer to be let in is taken out of the names, or the
// authority out of its file.
type Certificates struct {
	Authorities func() *x509.CertPool // as they are now
	// Names match exactly a DNS name or a URI of the certificate, or its common name.
	Names []string
}

// clients checks client certificates. The last one that held is remembered: a source sends with one for months.
type clients struct {
	Certificates

	last atomic.Pointer[vouched]
}

// vouched is a certificate that an authority has vouched for.
type vouched struct {
	certificate *x509.Certificate
	by          *x509.CertPool // as it was then; another one is asked again
	from, to    time.Time      // the validity of its whole chain
}

const (
	certificateNone    doubt = "no client certificate"
	certificateName    doubt = "the client certificate has another name"
	certificateExpired doubt = "the client certificate is not valid at this time"
	certificateUnknown doubt = "no authority of this source vouches for the client certificate"
)

func newClients(c Certificates) (*clients, error) {
	if c.Authorities == nil || len(c.Names) == 0 || slices.Contains(c.Names, "") {
		return nil, errors.New("client certificates want authorities and names")
	}
	return &clients{Certificates: c}, nil
}

// doubts checks the certificate of a connection; state is nil where there is no TLS.
func (c *clients) doubts(state *tls.ConnectionState, now time.Time) doubt {
	if state == nil || len(state.PeerCertificates) == 0 {
		return certificateNone
	}
	leaf, authorities := state.PeerCertificates[0], c.Authorities()
	if last := c.last.Load(); last != nil && last.holds(leaf, authorities, now) {
		return noDoubt
	}
	if !c.named(leaf) {
		return certificateName
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: poolOf(state.PeerCertificates[1:]), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return certificateExpired
	}
	if err != nil {
		return certificateUnknown
	}
	c.last.Store(newVouched(chains[0], authorities))
	return noDoubt
}

func (c *clients) named(leaf *x509.Certificate) bool {
	for _, name := range c.Names {
		if name == leaf.Subject.CommonName || slices.Contains(leaf.DNSNames, name) {
			return true
		}
		for _, uri := range leaf.URIs {
			if name == uri.String() {
				return true
			}
		}
	}
	return false
}

func newVouched(chain []*x509.Certificate, by *x509.CertPool) *vouched {
	v := &vouched{certificate: chain[0], by: by, from: chain[0].NotBefore, to: chain[0].NotAfter}
	for _, one := range chain[1:] {
		if one.NotBefore.After(v.from) {
			v.from = one.NotBefore
		}
		if one.NotAfter.Before(v.to) {
			v.to = one.NotAfter
		}
	}
	return v
}

func (v *vouched) holds(leaf *x509.Certificate, authorities *x509.CertPool, now time.Time) bool {
	return v.by == authorities && !now.Before(v.from) && !now.After(v.to) && bytes.Equal(v.certificate.Raw, leaf.Raw)
}

func poolOf(certificates []*x509.Certificate) *x509.CertPool {
	if len(certificates) == 0 {
		return nil
	}
	pool := x509.NewCertPool()
	for _, one := range certificates {
		pool.AddCert(one)
	}
	return pool
}
