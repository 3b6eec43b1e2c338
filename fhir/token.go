package fhir

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// TokenOptions are what access tokens for one FHIR server are asked with: OAuth 2.0 client credentials (RFC 6749, 4.4), by a
// secret, or by a key (SMART App Launch 2, Backend Services).
type TokenOptions struct {
	Client   *http.Client // for the token endpoint, and to discover it; it follows no redirects
	BaseURL  string       // of the FHIR server; asked for the token endpoint where TokenURL is empty
	TokenURL string
	ClientID string
	Scopes   []string
	// Secret gives the client secret as it is now; nil where the client has a key. It is sent as basic authentication, or with
	// SecretInBody as a parameter.
	Secret       func() string
	SecretInBody bool
	// Key gives the client's key as it is now; nil where the client has a secret.
	Key      func() SigningKey
	Audience string           // of what the key signs; "": the token endpoint
	Now      func() time.Time // nil: time.Now
}

// SigningKey is a private key with the names that a server knows it by.
type SigningKey struct {
	Key       crypto.Signer
	Algorithm string // RS384 or ES384
	ID        string
}

// Tokens gets access tokens, and keeps the current one until shortly before its end.
type Tokens struct {
	o          TokenOptions
	current    atomic.Pointer[grant]
	turn       chan struct{} // of one place: who has put something in renews
	discovered string        // the token endpoint; only who has the turn touches it
	failed     failure       // the same
}

// grant is one access token.
type grant struct {
	token string
	renew time.Time // from then on a new one is asked for; zero: never by itself
	until time.Time // zero: not known
}

// failure is the last one, shared by those who waited for it.
type failure struct {
	at  time.Time
	err error
}

const (
	// assertionLifetime is well within the 5 minutes that SMART allows, for clocks that differ.
	assertionLifetime = 3 * time.Minute
	renewBefore       = 30 * time.Second // the end of a token, or within its last quarter if that is shorter
	failureShared     = time.Second
	smartBytes        = 1 << 20
)

// NewTokens makes a getter of tokens; it asks nobody yet.
func NewTokens(o TokenOptions) (*Tokens, error) {
	switch {
	case (o.Secret == nil) == (o.Key == nil):
		return nil, errors.New("tokens want a client secret or a key")
	case o.TokenURL == "" && o.Secret != nil:
		return nil, errors.New("a token endpoint for a client secret is not discovered")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/")
	return &Tokens{o: o, turn: make(chan struct{}, 1)}, nil
}

// Token gives a token that is valid now. An error is a *Trouble of the whole source, or that of ctx.
func (t *Tokens) Token(ctx context.Context) (string, error) {
	now, held := t.o.Now(), t.current.Load()
	switch {
	case held == nil || held.ended(now):
		return t.next(ctx, held)
	case held.renew.IsZero() || now.Before(held.renew):
		return held.token, nil
	}
	select {
	case t.turn <- struct{}{}: // one renews early, the others go on with what they have
	default:
		return held.token, nil
	}
	defer func() { <-t.turn }()
	if token, err := t.renew(ctx, held); err == nil {
		return token, nil
	}
	return held.token, nil
}

// Renew gives another token than one that the server has refused.
func (t *Tokens) Renew(ctx context.Context, refused string) (string, error) {
	held := t.current.Load()
	if held != nil && held.token != refused && !held.ended(t.o.Now()) {
		return held.token, nil // somebody else was refused before
	}
	return t.next(ctx, held)
}

// next waits for its turn to replace a token. Who finds then that it was replaced, or that it just could not be, has an
// answer too.
func (t *Tokens) next(ctx context.Context, replaced *grant) (string, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-t.turn }()
	return t.renew(ctx, replaced)
}

// renew asks for a token; its caller has the turn.
func (t *Tokens) renew(ctx context.Context, replaced *grant) (string, error) {
	now := t.o.Now()
	if held := t.current.Load(); held != replaced && held != nil && !held.ended(now) {
		return held.token, nil
	}
	if t.failed.err != nil && now.Sub(t.failed.at) < failureShared {
		return "", t.failed.err
	}
	asking, done := halfOf(ctx)
	defer done()
	granted, err := t.ask(asking)
	switch {
	case err == nil:
		t.failed = failure{}
		t.current.Store(granted)
		return granted.token, nil
	case ctx.Err() != nil:
		return "", ctx.Err() // that says nothing of the token endpoint
	}
	t.failed = failure{t.o.Now(), err}
	t.discovered = ""
	return "", err
}

// halfOf leaves half of the time that a request has for the request itself, and for who waits behind it.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

func (g *grant) ended(now time.Time) bool { return !g.until.IsZero() && !now.Before(g.until) }

// The doings of a Trouble.
const (
	askingForToken = "ask for an access token" //nolint:gosec // G101: no credential, only words about one
	discovering    = "discover the token endpoint"
)

// ask asks the token endpoint once.
func (t *Tokens) ask(ctx context.Context) (*grant, error) {
	endpoint, err := t.endpoint(ctx)
	if err != nil {
		return nil, err
	}
	request, err := t.request(endpoint)
	if err != nil {
		return nil, &Trouble{Kind: Unauthorized, Doing: askingForToken, Err: err}
	}
	asked := t.o.Now()
	token, err := request.Token(context.WithValue(ctx, oauth2.HTTPClient, t.o.Client))
	if err != nil {
		return nil, tokenTrouble(err)
	}
	if !strings.EqualFold(token.Type(), "bearer") || !isHeaderText(token.AccessToken) {
		return nil, &Trouble{Kind: Unavailable, Doing: askingForToken, Err: errors.New("the answer holds no bearer token")}
	}
	granted := &grant{token: token.AccessToken, until: token.Expiry}
	if !token.Expiry.IsZero() {
		lifetime := time.Until(token.Expiry)
		granted.until = asked.Add(lifetime)
		granted.renew = granted.until.Add(-min(renewBefore, lifetime/4))
	}
	return granted, nil
}

// request is the request for a token. The assertion of a client with a key is new each time: its id is used once.
func (t *Tokens) request(endpoint string) (*clientcredentials.Config, error) {
	request := &clientcredentials.Config{
		ClientID: t.o.ClientID, TokenURL: endpoint, Scopes: t.o.Scopes, AuthStyle: oauth2.AuthStyleInHeader,
	}
	if t.o.Key == nil {
		request.ClientSecret = t.o.Secret()
		if t.o.SecretInBody {
			request.AuthStyle = oauth2.AuthStyleInParams
		}
		return request, nil
	}
	assertion, err := t.assertion(endpoint)
	if err != nil {
		return nil, err
	}
	request.AuthStyle = oauth2.AuthStyleInParams
	request.EndpointParams = url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	}
	return request, nil
}

// assertion says who we are, signed with our key (RFC 7523; reference fhir-subscriptions.md, 5).
func (t *Tokens) assertion(endpoint string) (string, error) {
	key := t.o.Key()
	audience := t.o.Audience
	if audience == "" {
		audience = endpoint
	}
	claims, err := json.Marshal(map[string]any{
		"iss": t.o.ClientID, "sub": t.o.ClientID, "aud": audience,
		"exp": t.o.Now().Add(assertionLifetime).Unix(), "jti": rand.Text(),
	})
	if err != nil {
		return "", err
	}
	algorithm, known := jwa.LookupSignatureAlgorithm(key.Algorithm)
	if !known {
		return "", errors.New("the key has no algorithm that is known")
	}
	headers := jws.NewHeaders()
	if err := errors.Join(headers.Set(jws.TypeKey, "JWT"), headers.Set(jws.KeyIDKey, key.ID)); err != nil {
		return "", err
	}
	signed, err := jws.Sign(claims, jws.WithKey(algorithm, key.Key, jws.WithProtectedHeaders(headers)))
	return string(signed), err
}

// endpoint is the token endpoint. What was discovered is kept until a token could not be got there.
func (t *Tokens) endpoint(ctx context.Context) (string, error) {
	if t.o.TokenURL != "" {
		return t.o.TokenURL, nil
	}
	if t.discovered == "" {
		endpoint, err := t.discover(ctx)
		if err != nil {
			return "", err
		}
		t.discovered = endpoint
	}
	return t.discovered, nil
}

// discover asks the FHIR server for its token endpoint (SMART App Launch 2, Conformance).
func (t *Tokens) discover(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.o.BaseURL+"/.well-known/smart-configuration", http.NoBody)
	if err != nil {
		return "", &Trouble{Kind: Unauthorized, Doing: discovering}
	}
	req.Header.Set("Accept", "application/json")
	res, err := t.o.Client.Do(req)
	if err != nil {
		return "", &Trouble{Kind: Unavailable, Doing: discovering, Err: withoutURL(err)}
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", statusTrouble(res, discovering)
	}
	var said struct {
		TokenEndpoint string `json:"token_endpoint"`
	}
	if json.NewDecoder(io.LimitReader(res.Body, smartBytes)).Decode(&said) != nil || !t.mayBeTold(said.TokenEndpoint) {
		return "", &Trouble{Kind: Unauthorized, Doing: discovering, Err: errors.New("the answer names no token endpoint that is safe")}
	}
	return said.TokenEndpoint, nil
}

// mayBeTold says whether our assertion may go to an endpoint that the FHIR server named: never in clear where the server
// itself is not.
func (t *Tokens) mayBeTold(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && u.Host != "" && u.User == nil && u.Fragment == "" &&
		(u.Scheme == "https" || u.Scheme == "http" && strings.HasPrefix(t.o.BaseURL, "http://"))
}

// tokenErrors are the codes of RFC 6749, 5.2, and of RFC 7523: what else an endpoint says is not repeated.
var tokenErrors = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	"access_denied", "server_error", "temporarily_unavailable",
}

// tokenTrouble is what an error of the token endpoint means for the source. It repeats nothing of what was said but a code
// that is known: the library's own error holds the whole answer.
func tokenTrouble(err error) *Trouble {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		trouble := &Trouble{Kind: Unavailable, Doing: askingForToken, Err: errors.New("no answer that could be read")}
		if at, sent := errors.AsType[*url.Error](err); sent {
			trouble.Err = at.Err
		}
		return trouble
	}
	trouble := statusTrouble(refused.Response, askingForToken)
	if slices.Contains(tokenErrors, refused.ErrorCode) {
		trouble.Err = errors.New(refused.ErrorCode)
	}
	if refused.ErrorCode == "temporarily_unavailable" || refused.ErrorCode == "server_error" {
		trouble.Kind = Unavailable
	}
	return trouble
}

// statusTrouble is what the status of an authorization server means: what is neither its own trouble nor a pause is
// something that a person must put right.
func statusTrouble(res *http.Response, doing string) *Trouble {
	trouble := refused(res, doing)
	if trouble.Kind == Unusable {
		trouble.Kind = Unauthorized
	}
	return trouble
}

// isHeaderText says whether a header can carry a text whole.
func isHeaderText(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' })
}
