package config

import (
	"crypto/tls"
	"net/http"
	"strings"

	"staffetta/fhir"
)

// tokenConnections are enough: one request for a token is under way at a time.
const tokenConnections = 2

// oauth2 shows access tokens, asked for as the source wants them, and gets another one when the server refuses it.
func (s Source) oauth2(trust *tls.Config) (*credential, error) {
	o := s.Read.OAuth2
	client := newClient(trust, s.Read.Timeout, tokenConnections)
	options := fhir.TokenOptions{
		Client: client, BaseURL: s.BaseURL, TokenURL: o.TokenURL, ClientID: o.ClientID, Scopes: o.Scopes,
		SecretInBody: o.AuthMethod == clientSecretPost, Audience: o.Audience,
	}
	switch {
	case o.KeyFile != "":
		key, err := newReread(o.signingKey, o.KeyFile)
		if err != nil {
			return nil, err
		}
		options.Key = key.get
	case o.ClientSecretFile != "":
		secret, err := newReread(func() (Secret, error) { return readSecretFile(o.ClientSecretFile) }, o.ClientSecretFile)
		if err != nil {
			return nil, err
		}
		options.Secret = func() string { return string(secret.get()) }
	default:
		options.Secret = func() string { return string(o.ClientSecret) }
	}
	tokens, err := fhir.NewTokens(options)
	if err != nil {
		return nil, err
	}
	return &credential{
		show: func(req *http.Request) error {
			token, err := tokens.Token(req.Context())
			req.Header.Set(authorization, bearerScheme+token)
			return err
		},
		renew: func(req *http.Request, refused string) error {
			token, err := tokens.Renew(req.Context(), strings.TrimPrefix(refused, bearerScheme))
			req.Header.Set(authorization, bearerScheme+token)
			return err
		},
		closeIdle: client.CloseIdleConnections,
	}, nil
}
