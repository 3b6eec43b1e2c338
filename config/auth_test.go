package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"staffetta/config"
	"staffetta/config/tlstest"
)

// everyProof is a file with every way in which the two sides authenticate; its paths are relative.
const everyProof = `
public: {tls: {cert_file: public.pem, key_file: public.key}}
redis: {url: "redis://127.0.0.1:6379"}
ledger: {seal_key: ` + sealKey + `}
io: {key: k}
message: {button_url: https://fse.ente.example/referti}
sources:
  - name: hospital
    base_url: https://fhir.hospital.example/fhir
    unlabelled: hold
    receive:
      bearer_tokens: [a-token-for-tests]
      bearer_token_files: [two.token]
      hmac_secrets: [a-secret-for-tests]
      hmac_secret_files: [hmac.key]
      jwt: {issuer: https://login.example, audience: hospital, jwks_url: "https://login.example/keys?p=1", ca_file: ca.pem}
      mtls: {ca_file: ca.pem, allowed_names: [fhir.hospital.example, "urn:hospital"]}
    read:
      ca_file: ca.pem
      oauth2: {client_id: c, key_file: client.key, key_id: k, scopes: [system/Patient.rs]}
  - name: clinic
    base_url: https://fhir.clinic.example/fhir
    unlabelled: hold
    receive: {hmac_secret_files: [hmac.key]}
    read:
      oauth2: {client_id: c, client_secret_file: secret.key, token_url: https://login.example/token, auth_method: client_secret_post}
  - name: region
    base_url: https://fse.region.example/fhir
    shape: fse2
    unlabelled: hold
    receive: {mtls: {ca_file: ca.pem, allowed_names: [region]}}
    read:
      cert_file: public.pem
      key_file: public.key
      modi: {signing_cert_file: signing.pem, signing_key_file: signing.key, claims: {sub: "urn:staffetta", roles: [a]}}
`

// proofFiles writes the files that everyProof names, and everyProof itself.
func proofFiles(t *testing.T) string {
	t.Helper()
	folder, authority := t.TempDir(), tlstest.NewAuthority(t, "a")
	authority.Issue(t, tlstest.Holder{}).Files(t, folder, "public")
	authority.Issue(t, tlstest.Holder{CommonName: "signing", RSA: true}).Files(t, folder, "signing")
	authority.Issue(t, tlstest.Holder{RSA: true}).Files(t, folder, "client")
	tlstest.Write(t, folder, "ca.pem", authority.PEM())
	for _, name := range []string{"two.token", "hmac.key", "secret.key"} {
		tlstest.Write(t, folder, name, []byte("held-by-"+name+"\n"))
	}
	return tlstest.Write(t, folder, "staffetta.yaml", []byte(everyProof))
}

func TestEveryProofIsLoaded(t *testing.T) {
	c, err := config.Load(proofFiles(t))
	if err != nil {
		t.Fatal(err)
	}
	hospital, clinic, region := c.Sources[0], c.Sources[1], c.Sources[2]
	if diff := cmp.Diff([]config.Secret{"a-token-for-tests", "held-by-two.token"}, hospital.Receive.Tokens()); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]config.Secret{"a-secret-for-tests", "held-by-hmac.key"}, hospital.Receive.Secrets()); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	if got, want := hospital.Read.OAuth2.AuthMethod, "private_key_jwt"; got != want {
		t.Errorf("method of a key: %s, want %s", got, want)
	}
	if got, want := string(clinic.Read.OAuth2.ClientSecret), "held-by-secret.key"; got != want {
		t.Error("the client secret is not that of its file")
	}
	if m := region.Read.ModI; m.Audience != region.BaseURL || m.Algorithm != "RS256" || m.Lifetime.String() != "5m" || m.Digest {
		t.Errorf("defaults of modi: %+v", m)
	}
	if got := c.ClientCAs(); len(got) != 1 || !filepath.IsAbs(got[0]) {
		t.Errorf("files of authorities: %q, want one, once", got)
	}
	for _, source := range c.Sources {
		client, err := source.Client()
		if err != nil {
			t.Fatal(err)
		}
		client.CloseIdleConnections()
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %q, want none", c.Warnings)
	}
}

func TestACertificateMustFitItsKey(t *testing.T) {
	for _, tt := range []struct{ name, file, with, want string }{
		{"another one's key", "public.key", "signing.key", "tls: private key type does not match public key type"},
		{"no certificate in its file", "public.pem", "two.token", "tls: failed to find any PEM data in certificate input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := proofFiles(t)
			other, err := os.ReadFile(filepath.Join(filepath.Dir(path), tt.with))
			if err != nil {
				t.Fatal(err)
			}
			tlstest.Write(t, filepath.Dir(path), tt.file, other)
			_, err = config.Load(path)
			if err == nil {
				t.Fatal("loaded, want an error")
			}
			want := []string{path + ":", "public.tls.cert_file: " + tt.want, "sources[2].read.cert_file: " + tt.want}
			if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnwiseProofs(t *testing.T) {
	path := proofFiles(t)
	for _, tt := range []struct{ name, old, next, want string }{
		{
			"a secret that can be guessed", "a-secret-for-tests", "short",
			"sources[0].receive.hmac_secrets[0]: 5 characters can be guessed, want 16 or more",
		},
		{
			"a token that can be guessed", "a-token-for-tests", "short",
			"sources[0].receive.bearer_tokens[0]: 5 characters can be guessed, want 16 or more",
		},
		{
			"two sources with one token", "receive: {hmac_secret_files: [hmac.key]}", "receive: {bearer_tokens: [another-token-for-tests, a-token-for-tests]}",
			"sources[1].receive.bearer_tokens: one of them is a token of sources[0], each may post as the other one",
		},
		{
			"two sources with the same JWTs", "receive: {hmac_secret_files: [hmac.key]}",
			"receive: {jwt: {issuer: https://login.example, audience: hospital, jwks_url: https://login.example/keys}}",
			"sources[1].receive.jwt: issuer and audience are those of sources[0], each may post as the other one",
		},
		{
			"one certificate for both of ModI's purposes", "cert_file: public.pem\n      key_file: public.key", "cert_file: signing.pem\n      key_file: signing.key",
			"sources[2].read.modi.signing_cert_file: the same as read.cert_file, ModI wants two certificates",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(everyProof, tt.old, tt.next, 1)
			if text == everyProof {
				t.Fatal("nothing was replaced")
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.want}, c.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
