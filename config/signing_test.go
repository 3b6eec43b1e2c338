package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"staffetta/config/tlstest"
)

func pemOf(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pemOf(t, "PRIVATE KEY", der, err)
}

func jwkOf(t *testing.T, key any, id string) []byte {
	t.Helper()
	one, err := jwk.Import(key)
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		_ = one.Set(jwk.KeyIDKey, id)
	}
	text, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSigningKeys(t *testing.T) {
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, p256 := ecKey(t, elliptic.P384()), ecKey(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(p384)
	ecPEM := pemOf(t, "EC PRIVATE KEY", sec1, err)
	pkix, err := x509.MarshalPKIXPublicKey(p384.Public())
	public := pemOf(t, "PUBLIC KEY", pkix, err)
	with := func(id, algorithm string) OAuth2 { return OAuth2{KeyID: id, Algorithm: algorithm} }
	for _, tt := range []struct {
		name          string
		file          []byte
		o             OAuth2
		algorithm, id string
		err           error
	}{
		{"RSA in PKCS #8 is for RS384", pkcs8(t, big), with("k", ""), "RS384", "k", nil},
		{"RSA in PKCS #1 too", pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(big), nil), with("k", "RS384"), "RS384", "k", nil},
		{"P-384 in PKCS #8 is for ES384", pkcs8(t, p384), with("k", ""), "ES384", "k", nil},
		{"P-384 in SEC 1 too", ecPEM, with("k", "ES384"), "ES384", "k", nil},
		{"a JWK brings its id", jwkOf(t, p384, "own"), with("", ""), "ES384", "own", nil},
		{"unless the file gives another one", jwkOf(t, big, "own"), with("k", ""), "RS384", "k", nil},
		{"nobody knows a key without an id", pkcs8(t, big), with("", ""), "", "", errNoKeyID},
		{"nor a JWK without one", jwkOf(t, p384, ""), with("", ""), "", "", errNoKeyID},
		{"RSA is not for ES384", pkcs8(t, big), with("k", "ES384"), "", "", errAlgorithm},
		{"P-384 is not for RS384", pkcs8(t, p384), with("k", "RS384"), "", "", errAlgorithm},
		{"P-256 is for neither", pkcs8(t, p256), with("k", ""), "", "", errNoKey},
		{"a public key signs nothing", public, with("k", ""), "", "", errNoKey},
		{"nor a public JWK", jwkOf(t, p384.Public(), "own"), with("k", ""), "", "", errNoKey},
		{"nor a symmetric one", []byte(`{"kty":"oct","k":"c2VjcmV0","kid":"own"}`), with("k", ""), "", "", errNoKey},
		{"nor a certificate", tlstest.NewAuthority(t, "a").PEM(), with("k", ""), "", "", errNoKey},
		{"nor nonsense", []byte("secret nonsense"), with("k", ""), "", "", errNoKey},
		{"nor JSON that is no key", []byte(`{"secret":"nonsense"}`), with("k", ""), "", "", errNoKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.KeyFile = tlstest.Write(t, t.TempDir(), "a.key", tt.file)
			got, err := tt.o.signingKey()
			if got.Algorithm != tt.algorithm || got.ID != tt.id || !errors.Is(err, tt.err) {
				t.Errorf("got %q %q and %v, want %q %q and %v", got.Algorithm, got.ID, err, tt.algorithm, tt.id, tt.err)
			}
		})
	}
}

func TestModICertificates(t *testing.T) {
	authority := tlstest.NewAuthority(t, "ministry")
	right := authority.Issue(t, tlstest.Holder{CommonName: "region", RSA: true})
	onCurve := authority.Issue(t, tlstest.Holder{CommonName: "region"})
	nameless := authority.Issue(t, tlstest.Holder{RSA: true})
	for _, tt := range []struct {
		name      string
		cert, key []byte
		want      string // of the error
	}{
		{"RSA, with a common name", right.CertPEM, right.KeyPEM, ""},
		{"with its authority behind it", append(right.CertPEM, authority.PEM()...), right.KeyPEM, ""},
		{"on a curve", onCurve.CertPEM, onCurve.KeyPEM, "want an RSA key"},
		{"without a common name", nameless.CertPEM, nameless.KeyPEM, "no common name"},
		{"with another one's key", right.CertPEM, nameless.KeyPEM, "does not match"},
		{"without a certificate", []byte("-"), right.KeyPEM, "failed to find any PEM data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := t.TempDir()
			m := ModI{
				SigningCertFile: tlstest.Write(t, folder, "a.pem", tt.cert), SigningKeyFile: tlstest.Write(t, folder, "a.key", tt.key),
			}
			_, err := m.certificate()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), folder) {
				t.Errorf("the path is in the error: %v", err)
			}
		})
	}
	if _, err := (ModI{SigningCertFile: "absent", SigningKeyFile: "absent"}).certificate(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file is not there", err)
	}
}
