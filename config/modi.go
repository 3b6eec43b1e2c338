package config

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/lestrrat-go/jwx/v3/cert"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
)

// modiSigner signs requests as ModI has it (reference fse.md, 1.3).
type modiSigner struct {
	ModI

	algorithm jwa.SignatureAlgorithm
	files     *reread[*modiCertificate]
	now       func() time.Time
}

// modiCertificate is the signing certificate, as tokens name it.
type modiCertificate struct {
	key     *rsa.PrivateKey
	headers jws.Headers // typ and x5c
	issuer  string
}

// agidSignature carries the token of integrity.
const agidSignature = "Agid-JWT-Signature"

// ownClaims are said by us.
var ownClaims = []string{"iss", "aud", "iat", "exp", "jti", "signed_headers"}

var (
	errSigningKey   = errors.New("want an RSA key of 2048 bits or more")
	errNoCommonName = errors.New("the certificate has no common name, which tokens are issued by")
)

func newModISigner(m ModI) (*modiSigner, error) {
	files, err := newReread(m.certificate, m.SigningCertFile, m.SigningKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read signing certificate: %w", err)
	}
	algorithm, known := jwa.LookupSignatureAlgorithm(m.Algorithm)
	if !known {
		return nil, errors.New("modi.algorithm is not known")
	}
	return &modiSigner{ModI: m, algorithm: algorithm, files: files, now: time.Now}, nil
}

// certificate reads the signing certificate and its key.
func (m ModI) certificate() (*modiCertificate, error) {
	pair, err := tls.LoadX509KeyPair(m.SigningCertFile, m.SigningKeyFile)
	if err != nil {
		return nil, err
	}
	key, isRSA := pair.PrivateKey.(*rsa.PrivateKey)
	switch {
	case !isRSA || key.Size() < 2048/8:
		return nil, errSigningKey
	case pair.Leaf.Subject.CommonName == "":
		return nil, errNoCommonName
	}
	chain := &cert.Chain{}
	for _, der := range pair.Certificate {
		if err := chain.AddString(base64.StdEncoding.EncodeToString(der)); err != nil {
			return nil, err
		}
	}
	headers := jws.NewHeaders()
	err = errors.Join(headers.Set(jws.TypeKey, "JWT"), headers.Set(jws.X509CertChainKey, chain))
	return &modiCertificate{key: key, headers: headers, issuer: "integrity:" + pair.Leaf.Subject.CommonName}, err
}

// show signs a request. Both tokens are new for each one: their ids are used once.
func (s *modiSigner) show(req *http.Request) error {
	signed, err := s.signedHeaders(req)
	if err != nil {
		return err
	}
	certificate := s.files.get()
	bearer, err := s.token(certificate, nil)
	if err != nil {
		return err
	}
	integrity, err := s.token(certificate, signed)
	if err != nil {
		return err
	}
	req.Header.Set(authorization, bearerScheme+bearer)
	req.Header.Set(agidSignature, integrity)
	return nil
}

// signedHeaders adds the digest of a body (INTEGRITY_REST_01) and gives what its token says of it. A request without a body
// has none: the model leaves open whether that is an empty payload, and what most services run (GovWay) says no by default.
func (s *modiSigner) signedHeaders(req *http.Request) ([]map[string]string, error) {
	if !s.Digest || req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	body, err := io.ReadAll(req.Body)
	_ = req.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the body to sign it: %w", err)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(body)
	digest := "SHA-256=" + base64.StdEncoding.EncodeToString(sum[:])
	req.Header.Set("Digest", digest)
	signed := []map[string]string{{"digest": digest}}
	for _, name := range []string{"content-type", "content-encoding"} {
		if value := req.Header.Get(name); value != "" {
			signed = append(signed, map[string]string{name: value})
		}
	}
	return signed, nil
}

// token is one signed token.
func (s *modiSigner) token(by *modiCertificate, signedHeaders []map[string]string) (string, error) {
	now := s.now()
	claims := maps.Clone(s.Claims)
	if claims == nil {
		claims = map[string]any{}
	}
	claims["iss"], claims["aud"], claims["jti"] = by.issuer, s.Audience, rand.Text()
	claims["iat"], claims["exp"] = now.Unix(), now.Add(time.Duration(s.Lifetime)).Unix()
	if signedHeaders != nil {
		claims["signed_headers"] = signedHeaders
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", errors.New("the claims are not JSON")
	}
	token, err := jws.Sign(text, jws.WithKey(s.algorithm, by.key, jws.WithProtectedHeaders(by.headers)))
	if err != nil {
		return "", errors.New("the signing key does not sign")
	}
	return string(token), nil
}
