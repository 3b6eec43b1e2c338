// Package tlstest issues certificates for tests: an authority, and the servers and clients that it vouches for, also as
// the PEM files that an operator has.
package tlstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is a certificate authority.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	chain       [][]byte // what those whom it vouches for show besides their own certificate
}

// Holder is whom a certificate is for. It is always valid for 127.0.0.1, as a server and as a client.
type Holder struct {
	CommonName string
	DNS        []string
	URIs       []string
	RSA        bool      // an RSA key of 2048 bits instead of P-256
	NotAfter   time.Time // in an hour where zero
	ServerOnly bool      // not for clients
}

// Pair is a certificate with its key.
type Pair struct {
	Certificate *tls.Certificate
	CertPEM     []byte
	KeyPEM      []byte
}

// NewAuthority makes an authority of its own.
func NewAuthority(tb testing.TB, name string) *Authority {
	tb.Helper()
	a, template := &Authority{key: newKey(tb, false)}, authority(tb, name)
	a.certificate = sign(tb, template, template, a.key.Public(), a.key)
	return a
}

// Under makes an authority that this one vouches for.
func (a *Authority) Under(tb testing.TB, name string) *Authority {
	tb.Helper()
	below := &Authority{key: newKey(tb, false)}
	below.certificate = sign(tb, authority(tb, name), a.certificate, below.key.Public(), a.key)
	below.chain = append([][]byte{below.certificate.Raw}, a.chain...)
	return below
}

func authority(tb testing.TB, name string) *x509.Certificate {
	tb.Helper()
	return &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

// Issue makes a certificate for its holder.
func (a *Authority) Issue(tb testing.TB, holder Holder) Pair {
	tb.Helper()
	key := newKey(tb, holder.RSA)
	if holder.NotAfter.IsZero() {
		holder.NotAfter = time.Now().Add(time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: holder.CommonName}, DNSNames: holder.DNS,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: holder.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if !holder.ServerOnly {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, text := range holder.URIs {
		uri, err := url.Parse(text)
		if err != nil {
			tb.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	return pairOf(tb, sign(tb, template, a.certificate, key.Public(), a.key), key, a.chain)
}

// Pool trusts the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Files writes the pair into a folder, as name.pem and name.key.
func (p Pair) Files(tb testing.TB, folder, name string) (certFile, keyFile string) {
	tb.Helper()
	return Write(tb, folder, name+".pem", p.CertPEM), Write(tb, folder, name+".key", p.KeyPEM)
}

// Write writes one file and gives its path.
func Write(tb testing.TB, folder, name string, text []byte) string {
	tb.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func pairOf(tb testing.TB, certificate *x509.Certificate, key crypto.Signer, chain [][]byte) Pair {
	tb.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	shown := append([][]byte{certificate.Raw}, chain...)
	text := make([]byte, 0, len(shown)<<10)
	for _, der := range shown {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return Pair{
		Certificate: &tls.Certificate{Certificate: shown, PrivateKey: key, Leaf: certificate},
		CertPEM:     text,
		KeyPEM:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

func sign(tb testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		tb.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return certificate
}

func newKey(tb testing.TB, wantRSA bool) crypto.Signer {
	tb.Helper()
	var key crypto.Signer
	var err error
	if wantRSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func serial(tb testing.TB) *big.Int {
	tb.Helper()
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	return number
}
