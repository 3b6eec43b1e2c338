package endpoint

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"staffetta/fhir"
)

// sender is a source as the endpoint knows it: every kind of proof that is set must hold. Bearer tokens, of which only
// digests are kept, and JWTs share a header, so either of the two will do.
type sender struct {
	name         string
	shape        fhir.Shape
	settle       time.Duration
	tokens       Tokens
	jwt          *issuer
	certificates *clients
	secrets      [][]byte // of X-Signature, which holds for the body and is checked after it
}

// senders are all sources by name.
type senders struct {
	byName map[string]*sender
	// stranger stands in for a source that does not exist: it is asked like any other one, so that neither answer nor time
	// tells which names exist. No token has its digest. It signs where some source proves itself by signature alone.
	stranger *sender
	now      func() time.Time
}

func newSenders(o Options) (*senders, error) {
	all := &senders{
		byName: make(map[string]*sender, len(o.Sources)), now: o.Now, stranger: &sender{tokens: make(Tokens, 1)},
	}
	for _, source := range o.Sources {
		if all.byName[source.Name] != nil {
			return nil, fmt.Errorf("endpoint: source %s twice", source.Name)
		}
		one, err := newSender(source, o)
		if err != nil {
			return nil, fmt.Errorf("endpoint: source %s: %w", source.Name, err)
		}
		all.byName[source.Name] = one
		if len(one.secrets) > 0 && len(one.tokens) == 0 && one.jwt == nil && one.certificates == nil {
			all.stranger.secrets = [][]byte{[]byte(rand.Text())}
		}
	}
	return all, nil
}

func newSender(source Source, o Options) (*sender, error) {
	one := &sender{name: source.Name, shape: source.Shape, settle: source.Settle}
	var err error
	if one.tokens, err = NewTokens(source.Tokens); err != nil {
		return nil, err
	}
	for _, secret := range source.Secrets {
		if secret == "" {
			return nil, errEmptySecret
		}
		one.secrets = append(one.secrets, []byte(secret))
	}
	if source.JWT != nil {
		if one.jwt, err = newIssuer(source.Name, *source.JWT, o); err != nil {
			return nil, err
		}
	}
	if source.Certificates != nil {
		if one.certificates, err = newClients(*source.Certificates); err != nil {
			return nil, err
		}
	}
	if len(one.tokens) == 0 && len(one.secrets) == 0 && one.jwt == nil && one.certificates == nil {
		return nil, errNoProof
	}
	return one, nil
}

var (
	errEmptySecret = errors.New("an empty token or secret")
	errNoProof     = errors.New("no token, no JWT, no signature and no certificate: anybody could post")
)

// doubt is why a sender is not believed: for the log, never for the answer.
type doubt string

const (
	noDoubt        doubt = ""
	sourceUnknown  doubt = "no such source"
	tokenWrong     doubt = "no valid token"
	signatureNone  doubt = "no signature of the form that is wanted"
	signatureWrong doubt = "the signature is not that of the body"
)

// authenticate finds the source and checks all that is shown before the body. Where that does not hold it gives the
// stranger, whom nobody believes.
func (s *senders) authenticate(name string, req *http.Request) (*sender, doubt) {
	one, known := s.byName[name]
	if !known {
		one = s.stranger
	}
	why := one.doubts(req, s.now)
	switch {
	case !known:
		return s.stranger, sourceUnknown
	case why != noDoubt:
		return s.stranger, why
	}
	return one, noDoubt
}

// doubts checks all that a request shows before its body, the cheapest first.
func (s *sender) doubts(req *http.Request, now func() time.Time) doubt {
	if len(s.secrets) > 0 && !hasSignature(req.Header) {
		return signatureNone
	}
	if s.certificates != nil {
		if why := s.certificates.doubts(req.TLS, now()); why != noDoubt {
			return why
		}
	}
	if len(s.tokens) == 0 && s.jwt == nil {
		return noDoubt
	}
	token := Bearer(req.Header)
	switch {
	case s.tokens.Know(token):
		return noDoubt
	case s.jwt != nil:
		return s.jwt.doubts(req.Context(), token)
	}
	return tokenWrong
}

// Tokens are secrets of which any one will do, as digests.
type Tokens [][sha256.Size]byte

// NewTokens keeps the digests of secrets; an empty one is an error.
func NewTokens(secrets []string) (Tokens, error) {
	all := make(Tokens, 0, len(secrets))
	for _, secret := range secrets {
		if secret == "" {
			return nil, errEmptySecret
		}
		all = append(all, sha256.Sum256([]byte(secret)))
	}
	return all, nil
}

// Know compares with every token, in constant time: during a rotation two of them are valid.
func (t Tokens) Know(token string) bool {
	digest := sha256.Sum256([]byte(token))
	found := 0
	for i := range t {
		found |= subtle.ConstantTimeCompare(digest[:], t[i][:])
	}
	return found == 1
}

// Bearer is the token of the Authorization header (RFC 6750, 2.1), "" where there is none or where there are several.
func Bearer(header http.Header) string {
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
