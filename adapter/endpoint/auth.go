package endpoint

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"staffetta/fhir"
)

// sender is a source as the endpoint knows it. Its tokens are kept as digests only.
type sender struct {
	name   string
	shape  fhir.Shape
	tokens [][sha256.Size]byte
}

// senders are all sources by name.
type senders map[string]*sender

func newSenders(sources []Source) (senders, error) {
	all := make(senders, len(sources))
	for _, source := range sources {
		if all[source.Name] != nil {
			return nil, fmt.Errorf("endpoint: source %s twice", source.Name)
		}
		one := &sender{name: source.Name, shape: source.Shape}
		for _, token := range source.Tokens {
			if token == "" {
				return nil, fmt.Errorf("endpoint: source %s has an empty token", source.Name)
			}
			one.tokens = append(one.tokens, sha256.Sum256([]byte(token)))
		}
		if len(one.tokens) == 0 {
			return nil, fmt.Errorf("endpoint: source %s has no token", source.Name)
		}
		all[source.Name] = one
	}
	return all, nil
}

// stranger stands in for a source that does not exist: it is asked like any other one, so that neither answer nor time
// tells which names exist. No token has this digest.
var stranger = &sender{tokens: make([][sha256.Size]byte, 1)}

// authenticate finds the source and checks its bearer token; nil where either is wrong, without saying which.
func (s senders) authenticate(name string, header http.Header) *sender {
	one, known := s[name]
	if !known {
		one = stranger
	}
	if one.knows(bearer(header)) && known {
		return one
	}
	return nil
}

// knows compares with every token, in constant time: during a rotation two of them are valid.
func (s *sender) knows(token string) bool {
	digest := sha256.Sum256([]byte(token))
	found := 0
	for i := range s.tokens {
		found |= subtle.ConstantTimeCompare(digest[:], s.tokens[i][:])
	}
	return found == 1
}

// bearer is the token of the Authorization header (RFC 6750, 2.1), "" where there is none or where there are several.
func bearer(header http.Header) string {
	values := header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimLeft(token, " ")
}
