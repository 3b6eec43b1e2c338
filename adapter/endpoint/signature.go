package endpoint

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/http"
)

// signatureHeader carries the lower-case hex of HMAC-SHA256(secret, body), as Medplum signs (reference
// fhir-subscriptions.md, 2.1). The body is what came over the wire, before any decompression; a request without a body is
// signed over none. Neither path nor time is signed: who saw one may send it again, and is told "duplicate".
const signatureHeader = "X-Signature"

// signature sums the body up while it is read, once for each secret: during a rotation two of them are valid.
type signature struct {
	want [sha256.Size]byte
	sums []hash.Hash
}

// newSignature begins to check the signature of a request; hasSignature has looked at its form.
func newSignature(header http.Header, secrets [][]byte) *signature {
	s := &signature{sums: make([]hash.Hash, len(secrets))}
	_, _ = hex.Decode(s.want[:], []byte(header.Get(signatureHeader)))
	for i, secret := range secrets {
		s.sums[i] = hmac.New(sha256.New, secret)
	}
	return s
}

func (s *signature) write(p []byte) {
	for _, sum := range s.sums {
		_, _ = sum.Write(p) // a hash never fails
	}
}

// holds says whether one of the secrets has signed what was read, in constant time.
func (s *signature) holds() bool {
	found := false
	var got [sha256.Size]byte
	for _, sum := range s.sums {
		if hmac.Equal(sum.Sum(got[:0]), s.want[:]) {
			found = true
		}
	}
	return found
}

// hasSignature says whether there is one signature, and looks like one.
func hasSignature(header http.Header) bool {
	values := header[signatureHeader]
	if len(values) != 1 || len(values[0]) != hex.EncodedLen(sha256.Size) {
		return false
	}
	for _, c := range []byte(values[0]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
