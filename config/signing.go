package config

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"os"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"staffetta/fhir"
)

var (
	errNoKey     = errors.New("want a private key, PEM or JWK, RSA of 2048 bits or more or P-384")
	errNoKeyID   = errors.New("want key_id, by which the server knows the key: the file names none")
	errAlgorithm = errors.New("the key does not fit the algorithm: RSA is for RS384, P-384 for ES384")
)

// signingKey reads the key of a client and its names.
func (o OAuth2) signingKey() (fhir.SigningKey, error) {
	key, id, err := readPrivateKey(o.KeyFile)
	if err != nil {
		return fhir.SigningKey{}, err
	}
	signing := fhir.SigningKey{Key: key, Algorithm: algorithmOf(key), ID: cmp.Or(o.KeyID, id)}
	switch {
	case signing.Algorithm == "":
		return fhir.SigningKey{}, errNoKey
	case o.Algorithm != "" && o.Algorithm != signing.Algorithm:
		return fhir.SigningKey{}, errAlgorithm
	case signing.ID == "":
		return fhir.SigningKey{}, errNoKeyID
	}
	return signing, nil
}

// algorithmOf is the one of SMART Backend Services that a key is for; "" where there is none.
func algorithmOf(key crypto.Signer) string {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		if public.Size() >= 2048/8 {
			return "RS384"
		}
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P384() {
			return "ES384"
		}
	}
	return ""
}

// readPrivateKey reads a private key with its id, which only a JWK has. Its error repeats nothing of the file.
func readPrivateKey(path string) (key crypto.Signer, id string, err error) {
	text, err := os.ReadFile(path) //nolint:gosec // the path comes from the operator's own file
	if err != nil {
		return nil, "", err
	}
	inPEM := !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{"))
	read, err := jwk.ParseKey(text, jwk.WithPEM(inPEM))
	if err != nil {
		return nil, "", errNoKey
	}
	var raw any
	if err := jwk.Export(read, &raw); err != nil {
		return nil, "", errNoKey
	}
	key, ok := raw.(crypto.Signer)
	if !ok {
		return nil, "", errNoKey
	}
	id, _ = read.KeyID()
	return key, id, nil
}
