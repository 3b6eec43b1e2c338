package endpoint

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// JWT says which tokens of an authorization server let a source in (RFC 7519, as RFC 8725 wants them checked).
type JWT struct {
	Issuer, Audience string
	KeysURL          string        // of the issuer's JSON Web Key Set
	Client           *http.Client  // for KeysURL; it follows no redirects
	Refresh          time.Duration // how often the keys are fetched again, default 15 minutes
}

// issuer checks JWTs. The last one that held is remembered: a source shows the same one until it ends.
type issuer struct {
	issuer, audience string
	keys             *keyring
	now              func() time.Time

	last atomic.Pointer[proven]
}

// proven is a token that held.
type proven struct {
	digest [sha256.Size]byte
	keys   *[]publicKey // of its issuer at that time; with others it is checked again
	until  time.Time
}

const (
	leeway      = time.Minute // between the issuer's clock and ours
	minRSABytes = 2048 / 8
)

const (
	jwtUnreadable doubt = "the token is no JWT"
	jwtAlgorithm  doubt = "the JWT is not signed with an algorithm that is accepted"
	jwtIssuer     doubt = "the JWT is of another issuer"
	jwtAudience   doubt = "the JWT is for another audience"
	jwtExpired    doubt = "the JWT has expired"
	jwtTooEarly   doubt = "the JWT is not valid yet"
	jwtClaims     doubt = "the JWT lacks a claim, or one is wrong"
	jwtKey        doubt = "the JWT is signed with a key that its issuer does not publish"
	jwtSignature  doubt = "the signature of the JWT is wrong"
	keysAway      doubt = "the keys of the issuer cannot be fetched"
)

func newIssuer(source string, j JWT, o Options) (*issuer, error) {
	if j.Issuer == "" || j.Audience == "" || j.KeysURL == "" || j.Client == nil {
		return nil, errors.New("JWTs want an issuer, an audience, the URL of its keys, and a client")
	}
	if j.Refresh == 0 {
		j.Refresh = keysRefresh
	}
	return &issuer{issuer: j.Issuer, audience: j.Audience, now: o.Now, keys: newKeyring(source, j, o)}, nil
}

// doubts checks a token, unless it is the last one that held.
func (i *issuer) doubts(ctx context.Context, token string) doubt {
	digest := sha256.Sum256([]byte(token))
	if last := i.last.Load(); last != nil && subtle.ConstantTimeCompare(last.digest[:], digest[:]) == 1 &&
		last.keys == i.keys.keys.Load() && i.now().Before(last.until) {
		return noDoubt
	}
	keys := i.keys.keys.Load() // those that are not newer than what is checked
	until, why := i.check(ctx, []byte(token))
	if why == noDoubt {
		i.last.Store(&proven{digest, keys, until})
	}
	return why
}

// check gives the end of a token that holds. It looks first at what the token says, which costs little, then by whom it is
// signed. So keysAway, the only doubt that is ours and no fault of the sender, is only told to who names issuer and
// audience of the source already.
func (i *issuer) check(ctx context.Context, raw []byte) (until time.Time, why doubt) {
	message, err := jws.Parse(raw, jws.WithCompact())
	if err != nil || len(message.Signatures()) != 1 {
		return until, jwtUnreadable
	}
	header := message.Signatures()[0].ProtectedHeaders()
	named, _ := header.Algorithm()
	algorithm, accepted := algorithms[named.String()]
	if !accepted || header.Has(jws.CriticalKey) || header.Has("b64") {
		return until, jwtAlgorithm
	}
	if until, why = i.claims(raw); why != noDoubt {
		return until, why
	}
	id, _ := header.KeyID()
	keys, why := i.keys.find(ctx, id, algorithm)
	if why != noDoubt {
		return until, why
	}
	for _, key := range keys {
		if _, err := jws.Verify(raw, jws.WithKey(algorithm.SignatureAlgorithm, key)); err == nil {
			return until, noDoubt
		}
	}
	return until, jwtSignature
}

// claims checks what the token says, and gives its end. One is wanted: a token without it would be valid for ever.
func (i *issuer) claims(raw []byte) (until time.Time, why doubt) {
	token, err := jwt.ParseInsecure(raw) // the signature is checked next
	if err != nil {
		return until, jwtUnreadable
	}
	err = jwt.Validate(token, jwt.WithIssuer(i.issuer), jwt.WithAudience(i.audience), jwt.WithRequiredClaim(jwt.ExpirationKey),
		jwt.WithClock(jwt.ClockFunc(i.now)), jwt.WithAcceptableSkew(leeway))
	switch {
	case err == nil:
		end, _ := token.Expiration()
		return end.Add(leeway), noDoubt
	case errors.Is(err, jwt.InvalidIssuerError()):
		return until, jwtIssuer
	case errors.Is(err, jwt.InvalidAudienceError()):
		return until, jwtAudience
	case errors.Is(err, jwt.TokenExpiredError()):
		return until, jwtExpired
	case errors.Is(err, jwt.TokenNotYetValidError()), errors.Is(err, jwt.InvalidIssuedAtError()):
		return until, jwtTooEarly
	}
	return until, jwtClaims
}

// algorithm is one that is accepted, with the keys that it fits: a token must not choose how its key is used.
type algorithm struct {
	jwa.SignatureAlgorithm

	fits func(crypto.PublicKey) bool
}

// algorithms are those with a key pair. There is no `none`, and no HMAC: its secret would be the issuer's public key.
var algorithms = map[string]algorithm{
	"RS256": {jwa.RS256(), isRSA}, "RS384": {jwa.RS384(), isRSA}, "RS512": {jwa.RS512(), isRSA},
	"PS256": {jwa.PS256(), isRSA}, "PS384": {jwa.PS384(), isRSA}, "PS512": {jwa.PS512(), isRSA},
	"ES256": {jwa.ES256(), isOn(elliptic.P256())}, "ES384": {jwa.ES384(), isOn(elliptic.P384())},
	"ES512": {jwa.ES512(), isOn(elliptic.P521())}, "EdDSA": {jwa.EdDSA(), isEd25519},
}

func isRSA(key crypto.PublicKey) bool {
	public, ok := key.(*rsa.PublicKey)
	return ok && public.Size() >= minRSABytes
}

func isOn(curve elliptic.Curve) func(crypto.PublicKey) bool {
	return func(key crypto.PublicKey) bool {
		public, ok := key.(*ecdsa.PublicKey)
		return ok && public.Curve == curve
	}
}

func isEd25519(key crypto.PublicKey) bool {
	_, ok := key.(ed25519.PublicKey)
	return ok
}
