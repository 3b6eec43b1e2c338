package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"staffetta/config"
)

const unlabelledMatters = "sources[0].unlabelled: want notify or hold; there is no default, because only the institution " +
	"knows whether a document without a confidentiality label may be announced here (notify), or a person must look at " +
	"it first (hold)"

// TestMistakes loads one small file per mistake: each is refused with exactly this text.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"an unknown key is refused with its line", "unknown-key.yaml", []string{
			`line 10: unknown key "wokers"`,
		}},
		{"an unknown key inside a source too", "unknown-key-in-source.yaml", []string{
			`line 6: unknown key "unlabeled" in sources[0]`,
		}},
		{"a repeated key is refused with its line", "duplicate-key.yaml", []string{
			`line 10: mapping key "io" already defined at line 8`,
		}},
		{"a value of another type is refused without repeating it", "value-of-wrong-type.yaml", []string{
			`line 10: workers: want a whole number, not a text`,
		}},
		{"a secret at the wrong place is not repeated", "secret-at-wrong-place.yaml", []string{
			`line 7: sources[0].receive.bearer_tokens: want a list, not a text`,
		}},
		{"all wrong lines at once", "several-lines.yaml", []string{
			`line 1: unknown key "uri" in redis`,
			`line 10: workers: want a whole number, not a text`,
			`line 11: policy.settle: not a duration: want e.g. 90s, 15m, 72h or 90d`,
			`line 12: public.max_body: not a size: want e.g. 512KiB, 64MiB, 1GiB or a plain number of bytes`,
		}},
		{"wherever a wrong value stands, its key is named, and no type of Go", "wrong-values.yaml", []string{
			`line 1: redis: want a mapping, not a list`,
			`line 3: ledger.seal_key: want a text, not a list`,
			`line 4: unknown key "odd key" in ledger`,
			`line 5: policy.settle: not a duration: want e.g. 90s, 15m, 72h or 90d`,
			`line 8: sources[0].base_url: want a text, not a mapping`,
			`line 11: unknown key "odd" in sources[0].receive`,
			`line 12: sources[1]: want a mapping, not a text`,
			`line 14: io.rate: want a number, not a text`,
			`line 15: io.track: want true or false, not a text`,
			`line 16: io.polls[1]: not a duration: want e.g. 90s, 15m, 72h or 90d`,
		}},
		{"a tag that a value does not fit is refused without repeating it", "wrong-tag.yaml", []string{
			`want a number, not a text`,
		}},
		{"what is not YAML has its line", "not-yaml.yaml", []string{
			`line 11: did not find expected node content`,
		}},
		{"an empty file is no configuration", "empty.yaml", []string{
			`no documents in stream`,
		}},
		{"only one document", "two-documents.yaml", []string{
			`expected single document, found multiple`,
		}},
		{"at least one worker", "workers-none.yaml", []string{
			`workers: 0, want at least 1`,
		}},
		{"a level that slog knows", "log-level.yaml", []string{
			`log.level: want debug, info, warn or error`,
		}},
		{"a listener has a port", "public-address.yaml", []string{
			`public.listen: want host:port`,
		}},
		{"limits that let something through", "public-limits.yaml", []string{
			`public.max_body: 100, want at least 1KiB`,
			`public.max_depth: 2, want at least 8`,
			`public.max_entries: 0, want at least 1`,
			`public.read_timeout: 10ms, want 1s to 1h`,
		}},
		{"a certificate needs its key", "public-tls-half.yaml", []string{
			`public.tls: cert_file and key_file go together`,
		}},
		{"a certificate must be there at start", "public-tls-absent.yaml", []string{
			`public.tls.cert_file: testdata/no-such.pem: no such file or directory`,
			`public.tls.key_file: testdata/no-such.key: no such file or directory`,
		}},
		{"people and servers have different ports", "same-listener.yaml", []string{
			`admin.listen: the same as public.listen, want another port`,
		}},
		{"there is no ledger without Redis", "redis-nowhere.yaml", []string{
			`redis: neither url nor addresses, want one of them`,
		}},
		{"one Redis, not two", "redis-twice.yaml", []string{
			`redis: both url and addresses, want one of them`,
		}},
		{"a URL that Redis clients know, not repeated because of its password", "redis-url.yaml", []string{
			`redis.url: want embedded, redis://host:port/db or rediss://host:port/db`,
		}},
		{"addresses have ports", "redis-addresses.yaml", []string{
			`redis.addresses[0]: want host:port`,
		}},
		{"a master is asked for at Sentinel", "redis-master-alone.yaml", []string{
			`redis.master: without addresses, want those of Sentinel`,
			`redis.username: without addresses, want it in the URL`,
		}},
		{"TLS and Sentinel where they are", "redis-tls.yaml", []string{
			`redis.sentinel_password: without master, want Sentinel's name of it`,
			`redis.tls: Redis is not met by TLS, want a rediss:// URL, or addresses and enabled: true`,
			`redis.tls: cert_file and key_file go together`,
			`redis.tls.ca_file: testdata/absent.pem: no such file or directory`,
		}},
		{"nothing is written unsealed", "seal-key-absent.yaml", []string{
			`ledger.seal_key: missing, want it here or as seal_key_file`,
		}},
		{"a seal key has 32 bytes", "seal-key-short.yaml", []string{
			`ledger.seal_key: want base64 of 32 bytes`,
		}},
		{"a seal key is base64", "seal-key-no-base64.yaml", []string{
			`ledger.seal_key: want base64 of 32 bytes`,
		}},
		{"a secret is given once", "seal-key-twice.yaml", []string{
			`ledger.seal_key: given twice, here and as seal_key_file`,
		}},
		{"a secret file must be there", "seal-key-file-absent.yaml", []string{
			`ledger.seal_key_file: testdata/no-such.key: no such file or directory`,
		}},
		{"a secret file holds something", "seal-key-file-empty.yaml", []string{
			`ledger.seal_key_file: testdata/empty.key: the file is empty`,
		}},
		{"an environment variable that is not set is named", "seal-key-unset.yaml", []string{
			`ledger.seal_key: the environment variable STAFFETTA_TEST_NOT_SET is not set`,
		}},
		{"a naming key has 32 bytes", "naming-key-short.yaml", []string{
			`ledger.naming_key: want base64 of 32 bytes`,
		}},
		{"older seal keys are whole and have ids of their own", "older-seal-keys.yaml", []string{
			`ledger.older_seal_keys[1].key: missing, want it here or as key_file`,
			`ledger.older_seal_keys[0].key: want base64 of 32 bytes`,
			`ledger.older_seal_keys[0].id: 1, want an id that no other seal key has`,
		}},
		{"the ledger within its bounds", "ledger-limits.yaml", []string{
			`ledger.retention: 1h, want 1d to 3650d`,
			`ledger.lease: 16s, want 1s to 15s`,
			`ledger.wait_replicas: -1, want at least 0`,
			`ledger.give_up_after: 1s, want 1m to 365d`,
			`ledger.journal_entries: -1, want at least 0`,
		}},
		{"at least one source", "no-source.yaml", []string{
			`sources: none, want at least one`,
		}},
		{"a source name fits routes, labels and keys", "source-name.yaml", []string{
			`sources[0].name: want 1 to 32 of a-z, 0-9 and -, and not metadata`,
		}},
		{"metadata is a word of FHIR", "source-name-reserved.yaml", []string{
			`sources[0].name: want 1 to 32 of a-z, 0-9 and -, and not metadata`,
		}},
		{"each source has a name of its own", "source-name-twice.yaml", []string{
			`sources[1].name: lab, want a name that no other source has`,
		}},
		{"a base URL is absolute", "source-base-url.yaml", []string{
			`sources[0].base_url: want an https:// or http:// URL`,
		}},
		{"credentials are no part of a URL", "source-base-url-credentials.yaml", []string{
			`sources[0].base_url: holds credentials, want them under their own keys`,
		}},
		{"a base URL is only a base", "source-base-url-query.yaml", []string{
			`sources[0].base_url: holds a query or a fragment, want only the base`,
		}},
		{"an alias is a URL too", "source-alias.yaml", []string{
			`sources[0].aliases[0]: want an https:// or http:// URL`,
		}},
		{"words of a source that nobody knows", "source-words.yaml", []string{
			`sources[0].shape: want report, hl7-it or fse2`,
			`sources[0].obscured: want notify or suppress`,
			`sources[0].fiscal_code_systems[0]: empty, want the URI of an identifier system`,
		}},
		{"what no label means has no default", "source-unlabelled-absent.yaml", []string{
			unlabelledMatters,
		}},
		{"what no label means is notify or hold", "source-unlabelled-other.yaml", []string{
			unlabelledMatters,
		}},
		{"a source without any proof does not start", "source-no-token.yaml", []string{
			`sources[0].receive: nothing, want bearer_tokens, hmac_secrets, jwt or mtls: without one of them anybody could post`,
		}},
		{"one way to authenticate, not two", "source-read-ways.yaml", []string{
			`sources[0].read: both bearer_token and oauth2, want one of them`,
		}},
		{"an empty secret signs nothing", "source-hmac-empty.yaml", []string{
			`sources[0].receive.hmac_secret_files[0]: testdata/absent.key: no such file or directory`,
			`sources[0].receive.hmac_secrets[1]: empty, want a secret`,
		}},
		{"JWTs are of one issuer, for one audience, with known keys", "source-jwt-half.yaml", []string{
			`sources[0].receive.jwt.audience: missing`,
			`sources[0].receive.jwt.jwks_url: missing`,
			`sources[0].receive.jwt.ca_file: testdata/absent.pem: no such file or directory`,
		}},
		{"keys of an issuer do not come in clear", "source-jwt-in-clear.yaml", []string{
			`sources[0].receive.jwt.jwks_url: want https: who is in between could change it`,
		}},
		{"client certificates have an authority, a name, and TLS", "source-mtls-half.yaml", []string{
			`sources[0].receive.mtls.ca_file: missing`,
			`sources[0].receive.mtls.allowed_names[1]: missing`,
			`sources[0].receive.mtls: without public.tls, want it: client certificates are seen only where TLS ends`,
		}},
		{"not every certificate of an authority lets in", "source-mtls-anybody.yaml", []string{
			`sources[0].receive.mtls.ca_file: testdata/empty.key: no certificate in it`,
			`sources[0].receive.mtls.allowed_names: none, want at least one: an authority vouches for more than this source`,
			`sources[0].receive.mtls: without public.tls, want it: client certificates are seen only where TLS ends`,
		}},
		{"a client has a name, and a secret or a key", "source-oauth2-half.yaml", []string{
			`sources[0].read.oauth2.client_id: missing`,
			`sources[0].read.oauth2.scopes[0]: want one scope, without blanks`,
			`sources[0].read.oauth2: neither client_secret nor key_file, want one of them`,
		}},
		{"a client has not both", "source-oauth2-both.yaml", []string{
			`sources[0].read.oauth2: both client_secret and key_file, want one of them`,
		}},
		{"a secret goes to a known endpoint, and needs nothing of a key", "source-oauth2-secret.yaml", []string{
			`sources[0].read.oauth2.auth_method: want client_secret_basic or client_secret_post`,
			`sources[0].read.oauth2.token_url: missing: it is discovered only for a key_file, since a secret shall not go where a server points`,
			`sources[0].read.oauth2.key_id: without key_file, which it belongs to`,
			`sources[0].read.oauth2.algorithm: without key_file, which it belongs to`,
			`sources[0].read.oauth2.audience: without key_file, which it belongs to`,
		}},
		{"a key has all that belongs to it", "source-oauth2-key.yaml", []string{
			`sources[0].read.oauth2.token_url: want https: who is in between could change it`,
			`sources[0].read.oauth2.auth_method: want private_key_jwt: there is a key_file`,
			`sources[0].read.oauth2.scopes: none, want at least one, e.g. system/DiagnosticReport.rs`,
			`sources[0].read.oauth2.algorithm: want RS384 or ES384`,
			`sources[0].read.oauth2.key_file: testdata/absent.pem: no such file or directory`,
		}},
		{"a token endpoint has no credentials in its address", "source-oauth2-url.yaml", []string{
			`sources[0].read.oauth2.token_url: holds credentials or a fragment, want only the address`,
		}},
		{"ModI has two certificates, and claims that are its own", "source-modi-half.yaml", []string{
			`sources[0].read.modi: without a client certificate, want cert_file and key_file of read as well`,
			`sources[0].read.modi.signing_cert_file: missing`,
			`sources[0].read.modi.signing_key_file: missing`,
			`sources[0].read.modi.algorithm: want RS256, RS384 or RS512`,
			`sources[0].read.modi.lifetime: 1s, want 10s to 1d`,
			`sources[0].read.modi.claims: iss, which is said already`,
			`sources[0].read.modi.claims: jti, which is said already`,
			`sources[0].read.modi.claims: want what JSON can say`,
		}},
		{"ModI's certificates must be there at start", "source-modi-files.yaml", []string{
			`sources[0].read.modi.signing_cert_file: testdata/absent.pem: no such file or directory`,
			`sources[0].read.modi.signing_key_file: testdata/absent.key: no such file or directory`,
			`sources[0].read.cert_file: testdata/absent.pem: no such file or directory`,
			`sources[0].read.key_file: testdata/absent.key: no such file or directory`,
		}},
		{"an empty token lets nobody in", "source-token-empty.yaml", []string{
			`sources[0].receive.bearer_tokens[0]: want visible ASCII characters without blanks`,
		}},
		{"a token fits a header", "source-token-blank.yaml", []string{
			`sources[0].receive.bearer_tokens[0]: want visible ASCII characters without blanks`,
		}},
		{"a token file must be there", "source-token-file-absent.yaml", []string{
			`sources[0].receive.bearer_token_files[0]: testdata/no-such.token: no such file or directory`,
		}},
		{"a token from the environment must be set", "source-token-unset.yaml", []string{
			`sources[0].receive.bearer_tokens[0]: the environment variable STAFFETTA_TEST_NOT_SET is not set`,
		}},
		{"one way to authenticate, and whole", "source-read-auth.yaml", []string{
			`sources[0].read: both bearer_token and username, want one of them`,
			`sources[0].read: username and password go together`,
		}},
		{"reading within its bounds", "source-read-limits.yaml", []string{
			`sources[0].read: cert_file and key_file go together`,
			`sources[0].read.ca_file: testdata/no-such.pem: no such file or directory`,
			`sources[0].read.timeout: 1ms, want 100ms to 10m`,
			`sources[0].read.max_body: 1, want at least 1KiB`,
			`sources[0].read.connections: -1, want at least 1`,
		}},
		{"fiscal codes do not travel in clear", "io-base-url-in-clear.yaml", []string{
			`io.base_url: want https: fiscal codes and the key would travel in clear`,
		}},
		{"who subscribes says how it is reached", "subscribe-without-url.yaml", []string{
			`sources[0].subscribe: auto, and public.url is missing: how does the server reach us?`,
		}},
		{"how we are reached is a URL", "public-url.yaml", []string{
			`public.url: want an https:// or http:// URL`,
		}},
		{"a sweep within its bounds, and a source that is looked at", "sweep-limits.yaml", []string{
			`sources[0].sweep.every: 100ms, want 1s to 1d`,
			`sources[0].sweep.since: 4000d, want 0s to 3650d`,
			`sources[0].sweep.overlap: 10ms, want 1s to 7d`,
			`sources[0].sweep.criteria[0]: want Type?parameter=value`,
			`sources[1].sweep.every: 0s, and subscribe is never: nothing would ever be noticed`,
		}},
		{"a Subscription within its bounds", "subscription-limits.yaml", []string{
			`sources[0].flavour: want auto, classic, backport or r5`,
			`sources[0].subscribe: want auto, manual or never`,
			`sources[0].subscription.criteria[1]: want Type?parameter=value`,
			`sources[0].subscription.criteria[2]: want Type?parameter=value`,
			`sources[0].subscription.filters[0]: want Type?parameter=value`,
			`sources[0].subscription.topic: want the canonical URL of a topic`,
			`sources[0].subscription.content: want id-only, full-resource or empty`,
			`sources[0].subscription.heartbeat: 1s, want 10s to 1d`,
			`sources[0].subscription.timeout: 1h, want 1s to 10m`,
			`sources[0].subscription.max_count: -1, want at least 0`,
			`sources[0].subscription.end: 1m, want 1h to 3650d`,
			`sources[0].subscription.contact: want a URL, a mail address or a telephone number`,
			`sources[0].subscription.base_url: want the scheme and host of base_url: our credentials are shown to no other one`,
		}},
		{"topics are canonicals, each once", "subscription-topics.yaml", []string{
			`sources[0].subscription.topic[1]: want the canonical URL of a topic`,
			`sources[0].subscription.topic[2]: named twice`,
		}},
		{"a topic is a text, or a list", "subscription-topic-words.yaml", []string{
			`line 9: sources[0].subscription.topic: want a text, or a list of texts`,
		}},
		{"IO needs a key", "io-key-absent.yaml", []string{
			`io.key: missing, want it here or as key_file`,
		}},
		{"IO within its bounds", "io-words.yaml", []string{
			`io.rate: 0, want more than 0 calls per second`,
			`io.polls: none, want at least one gap (or track: false)`,
			`io.timeout: 0s, want 100ms to 1m`,
			`io.connections: 0, want at least 1`,
			`io.uncertain: want resend or hold`,
			`io.mode: want off, test or live`,
			`io.daily_cap: -1, want at least 0`,
		}},
		{"who may get messages in a test has a codice fiscale, which no mistake repeats", "io-allow.yaml", []string{
			`io.allow_file: testdata/testers.absent: no such file or directory`,
			`io.allow[2]: no codice fiscale of a person: bad-check`,
		}},
		{"a test needs somebody to test with", "io-allow-nobody.yaml", []string{
			`io.allow: none, want at least one codice fiscale in mode test, or allow_file`,
		}},
		{"a status is not asked for at once", "io-polls.yaml", []string{
			`io.polls[1]: 0s, want 1ms to 30d`,
		}},
		{"a message has a button", "button-absent.yaml", []string{
			`message.button_url: want the https:// address of the portal, the same for everybody or with {ref}`,
		}},
		{"a button leads to https", "button-not-https.yaml", []string{
			`message.button_url: want the https:// address of the portal, the same for everybody or with {ref}`,
		}},
		{"secure channels cannot be turned off", "message-secure-channels.yaml", []string{
			`line 11: unknown key "require_secure_channels" in message (secure channels are required by every ` +
				`message, and nothing can turn that off: remove the key, and set the service's own flag)`,
		}},
		{"a wording that ships with Staffetta", "message-words.yaml", []string{
			`message.wording: want referto or novita`,
		}},
		{"a button speaks both languages", "message-button-texts.yaml", []string{
			`message.button_text: want it and en: without the English text, who reads IO in English has no button`,
			`message.second_button_text: want it and en: without the English text, who reads IO in English has no button`,
		}},
		{"a button speaks no other language", "message-button-language.yaml", []string{
			`line 11: unknown key "de" in message.button_text (IO's app reads buttons in it and en only: readers of other ` +
				`languages see the Italian text)`,
		}},
		{"a folder of texts must be there", "message-templates-absent.yaml", []string{
			`message.templates: testdata/no-such-folder: no such file or directory`,
		}},
		{"texts are in a folder, and a second button leads somewhere", "message-templates-file.yaml", []string{
			`message.templates: testdata/good.yaml: want a folder`,
			`message.second_button_url: missing, but the second button has a text or SSO`,
		}},
		{"remote content has a configuration and a key", "remote-absent.yaml", []string{
			"remote.configuration_id: missing, want it for message.content: remote (`staffetta io configure` says it)",
			`remote.api_keys: none, want at least one for message.content: remote`,
		}},
		{"remote content and the portal's exchange within their bounds", "remote-wrong.yaml", []string{
			`message.content: want static or remote`,
			`remote.configuration_id: want a ULID, as IO gives it: 26 letters and digits`,
			`remote.api_keys[0]: want visible ASCII characters without blanks`,
			`remote.header: want the name of a header, e.g. X-API-Key`,
			`remote.retention: 1h, want 1d to 3650d`,
			`remote.precondition: want never, once or always`,
			`remote.show[1]: want kind, date or institution`,
			`remote.name: name or description is empty, want a few words: IO asks for both`,
			`remote.base_url: want https: fiscal codes and the API key would travel in clear`,
			`remote.test.base_url: missing, but there are users`,
			`remote.test.users[0]: want a codice fiscale in capitals`,
			`remote.manage_key: want visible ASCII characters without blanks`,
			`documents.bearer_tokens[0]: want visible ASCII characters without blanks`,
			`documents.answer: want json or redirect`,
		}},
		{"policy within its bounds", "policy-limits.yaml", []string{
			`policy.settle: -1s, want 0s to 1d`,
			`policy.max_age: 1s, want 1h to 3650d`,
			`policy.replacement_wait: -1s, want 0s to 30d`,
			`policy.minors: want suppress, notify, 14, 15, 16 or 17`,
			`policy.visible_wait: -1s, want 0s to 365d`,
			`policy.believe_missing: 365d, want 0s to 30d`,
			`policy.one_message: 2d, want 0s to 1d`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join("testdata", tt.file)
			_, err := config.Load(path)
			if err == nil {
				t.Fatal("loaded, want an error")
			}
			got := strings.Split(err.Error(), "\n")
			if diff := cmp.Diff(append([]string{path + ":"}, tt.want...), got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("loaded, want an error")
	}
}
