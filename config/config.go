// Package config is the one YAML file: its types, defaults, strict loading, validation and secrets from files.
package config

// Config is the whole file.
type Config struct {
	Public  Public   `yaml:"public"`
	Admin   Admin    `yaml:"admin"`
	Redis   Redis    `yaml:"redis"`
	Ledger  Ledger   `yaml:"ledger"`
	Sources []Source `yaml:"sources"`
	IO      IO       `yaml:"io"`
	Message Message  `yaml:"message"`
	// Remote and Documents serve what messages lead to, also those that were sent before message.content was changed.
	Remote    Remote    `yaml:"remote"`
	Documents Documents `yaml:"documents"`
	Policy    Policy    `yaml:"policy"`
	Log       Log       `yaml:"log"`
	// Workers is how many documents are worked on at once by this process, default 64; fewer (16 at 20 calls per second)
	// where io.rate is low.
	Workers int `yaml:"workers"`

	// Warnings are what Load found unwise, but not wrong. They never hold a secret.
	Warnings []string `yaml:"-"`

	// toConfigure says that remote.configuration_id may still be missing.
	toConfigure bool `yaml:"-"`
}

// Public is the listener that FHIR servers post to.
type Public struct {
	// URL is how FHIR servers reach this listener, the part before /fhir/{source}. Whoever subscribes needs it. No default.
	URL         string   `yaml:"url"`
	Listen      string   `yaml:"listen"`       // host:port, default :8080
	TLS         TLS      `yaml:"tls"`          // absent: plain HTTP, for a proxy in front or for trials
	MaxBody     ByteSize `yaml:"max_body"`     // largest body, also after decompression, default 64MiB
	MaxDepth    int      `yaml:"max_depth"`    // deepest nesting of a body, default 64
	MaxEntries  int      `yaml:"max_entries"`  // most entries of a Bundle, and events of a notification, default 10,000
	ReadTimeout Duration `yaml:"read_timeout"` // for reading a whole request, default 60s
}

// TLS is a listener's certificate. The files are read again when they change.
type TLS struct {
	CertFile string `yaml:"cert_file"` // PEM, the chain with our certificate first
	KeyFile  string `yaml:"key_file"`  // PEM
}

// Admin is the listener for people and monitoring.
type Admin struct {
	Listen string `yaml:"listen"` // host:port, default 127.0.0.1:9090: who reaches it may stop all sending
}

// Redis says where the ledger lives: a URL, or addresses.
type Redis struct {
	// URL is redis://, rediss:// or `embedded` (in memory only: trials and tests). It is a secret because it may hold a
	// password.
	URL Secret `yaml:"url"`
	// Addresses (host:port) are the nodes of a Cluster, or of Sentinel where Master is set.
	Addresses    []string `yaml:"addresses"`
	Master       string   `yaml:"master"`   // Sentinel's name of the master
	Username     string   `yaml:"username"` // with Addresses: a URL holds its own
	Password     Secret   `yaml:"password"` // with URL or Addresses
	PasswordFile string   `yaml:"password_file"`
	TLS          RedisTLS `yaml:"tls"`
	// What Sentinel itself asks for, where it asks.
	SentinelUsername     string `yaml:"sentinel_username"`
	SentinelPassword     Secret `yaml:"sentinel_password"`
	SentinelPasswordFile string `yaml:"sentinel_password_file"`
}

// RedisTLS is how we meet Redis and Sentinel where they speak TLS.
type RedisTLS struct {
	Enabled  bool   `yaml:"enabled"`   // with addresses; a rediss:// URL says so by itself
	CAFile   string `yaml:"ca_file"`   // PEM; absent: the system's authorities. Read at start.
	CertFile string `yaml:"cert_file"` // our client certificate, PEM; read again when it changes
	KeyFile  string `yaml:"key_file"`  // PEM
}

// Ledger is what we remember and how it is protected.
type Ledger struct {
	SealKey       Secret    `yaml:"seal_key"`        // base64 of 32 bytes: it seals what records hold of a person
	SealKeyFile   string    `yaml:"seal_key_file"`   //
	SealKeyID     uint8     `yaml:"seal_key_id"`     // id of seal_key, default 1; raise it when you rotate
	OlderSealKeys []SealKey `yaml:"older_seal_keys"` // still opened, no longer used for sealing
	// NamingKey (base64 of 32 bytes) names the records. It never changes: another one would tell everybody again. Absent:
	// derived from the seal key with the lowest id, which must then stay in the file for ever.
	NamingKey      Secret   `yaml:"naming_key"`
	NamingKeyFile  string   `yaml:"naming_key_file"`
	Retention      Duration `yaml:"retention"`       // of finished records, default 90d (and up to a month more)
	Lease          Duration `yaml:"lease"`           // of a claimed record, default and at most 15s
	WaitReplicas   int      `yaml:"wait_replicas"`   // replicas of Redis that must have `sending` before the POST; 0 = none
	GiveUpAfter    Duration `yaml:"give_up_after"`   // of transient trouble, default 72h, then a person must look
	JournalEntries int      `yaml:"journal_entries"` // kept for each of the 16 partitions, default 4096
}

// SealKey is a key for opening what was sealed before a rotation.
type SealKey struct {
	ID      uint8  `yaml:"id"`
	Key     Secret `yaml:"key"` // base64 of 32 bytes
	KeyFile string `yaml:"key_file"`
}

// Source is one FHIR server.
type Source struct {
	Name    string   `yaml:"name"`     // [a-z0-9-]{1,32}; stands in the route, in metrics and in Redis
	BaseURL string   `yaml:"base_url"` // FHIR service base
	Aliases []string `yaml:"aliases"`  // other base URLs by which the server calls itself
	Shape   string   `yaml:"shape"`    // report (default), hl7-it, fse2
	// Unlabelled says what a document without a confidentiality label means here: notify or hold. No default.
	Unlabelled string   `yaml:"unlabelled"`
	Obscured   string   `yaml:"obscured"`            // P99 alone: notify (default) or suppress
	Systems    []string `yaml:"fiscal_code_systems"` // besides the two official ones
	// Institution is who publishes here, as remote content names it, e.g. ASL Roma 1; "" (default) is not said.
	Institution string  `yaml:"institution"`
	Receive     Receive `yaml:"receive"`
	Read        Read    `yaml:"read"`
	Gate        Gate    `yaml:"gate"`
	Flavour     string  `yaml:"flavour"` // of our Subscription: auto (default), classic, backport, r5
	// Subscribe says who creates our Subscription: auto (serve, which then keeps it), manual (default: a person, by `staffetta
	// subscribe`; serve writes nothing at the server) or never (this source has none).
	Subscribe    string       `yaml:"subscribe"`
	Subscription Subscription `yaml:"subscription"`
	Sweep        Sweep        `yaml:"sweep"`
}

// Subscription is what we ask a source to tell us of, and how.
type Subscription struct {
	// Criteria are searches of the classic flavour, Type?parameter=value, one Subscription each. Default: whatever a citizen may
	// be told of in the source's shape.
	Criteria []string `yaml:"criteria"`
	// Topic is a canonical, of backport and r5, or a list of them, one Subscription each. Default: the server's only topic for
	// each resource type of the source's shape.
	Topic   OneOrMore `yaml:"topic"`
	Filters []string  `yaml:"filters"` // of topics, Type?parameter=value, all of which must hold; default none
	// Content is how much a notification says: id-only (default), full-resource or empty. A classic one carries the whole
	// resource, or nothing with empty.
	Content   string    `yaml:"content"`
	Heartbeat *Duration `yaml:"heartbeat"` // of the topic, default 5m; 0s: none
	Timeout   *Duration `yaml:"timeout"`   // of one delivery, default 30s; 0s: the server's own
	MaxCount  *int      `yaml:"max_count"` // events in one notification at most, default 20; 0: the server's own
	End       Duration  `yaml:"end"`       // how long it lives unless it is renewed, default 0s: for ever
	Contact   string    `yaml:"contact"`   // whom the server's operators may ask: URL, mail address or telephone number
	// BaseURL is where the server keeps Subscriptions, on the host of base_url; default base_url. Firely Server: /administration.
	BaseURL string `yaml:"base_url"`
}

// Sweep is how we look for what a source has never posted: by a search for what changed (_lastUpdated). It is made at start,
// after outages, when a notification does not say what changed, and periodically.
type Sweep struct {
	Every *Duration `yaml:"every"` // between two periodic ones, default 5m; 0s: none
	// Since is how far back the first one goes, default 0s: from now. What it finds is told, also where the ledger was emptied:
	// best leave it out, and see `staffetta catchup`.
	Since Duration `yaml:"since"`
	// Overlap is how far each goes back behind what the last one saw, default 15m: clocks differ, and writes take time. Periodic
	// sweeps look for deletions in histories as often.
	Overlap Duration `yaml:"overlap"`
	// Criteria are its searches, Type?parameter=value; default: what the Subscription asks to be told of.
	Criteria []string `yaml:"criteria"`
}

// Receive is how the source authenticates to us. Every kind that is given must hold, at least one is; only a bearer token
// and a JWT, which share the Authorization header, stand for each other.
type Receive struct {
	BearerTokens     []Secret `yaml:"bearer_tokens"`      // any of them is valid: two during a rotation; our Subscription asks for the first
	BearerTokenFiles []string `yaml:"bearer_token_files"` // as many more, read at start: Complete adds what they hold to BearerTokens
	// HMACSecrets sign the body, any of them: X-Signature is the lower-case hex of HMAC-SHA256 over the bytes on the wire,
	// before decompression, as Medplum sends it.
	HMACSecrets     []Secret `yaml:"hmac_secrets"`
	HMACSecretFiles []string `yaml:"hmac_secret_files"` // as many more, as with bearer_token_files
	JWT             JWT      `yaml:"jwt"`
	MTLS            MTLS     `yaml:"mtls"`
}

// JWT lets in tokens of an authorization server: signed (RS, PS, ES, EdDSA), with an end, a minute of leeway.
type JWT struct {
	Issuer   string `yaml:"issuer"`   // iss, exactly
	Audience string `yaml:"audience"` // one of aud; best one of this source alone, not of all of Staffetta
	JWKSURL  string `yaml:"jwks_url"` // https: the issuer's keys; fetched every 15m, and when a token names another one
	CAFile   string `yaml:"ca_file"`  // PEM, of jwks_url; absent: the system's. Read at start.
}

// MTLS lets in TLS client certificates; it wants public.tls, since only where TLS ends are they seen.
type MTLS struct {
	CAFile       string   `yaml:"ca_file"`       // PEM, the authorities of this source; read again when it changes
	AllowedNames []string `yaml:"allowed_names"` // exactly a DNS name, a URI or the common name of the certificate
}

// Read is how we read from the source. Of bearer_token, username, oauth2 and modi one at most is given; a client certificate
// goes with any of them.
type Read struct {
	BearerToken     Secret   `yaml:"bearer_token"`
	BearerTokenFile string   `yaml:"bearer_token_file"` // read again when it changes
	Username        string   `yaml:"username"`          // basic authentication
	Password        Secret   `yaml:"password"`
	PasswordFile    string   `yaml:"password_file"` // read again when it changes
	OAuth2          OAuth2   `yaml:"oauth2"`
	ModI            ModI     `yaml:"modi"`
	CAFile          string   `yaml:"ca_file"`     // PEM, also of the token endpoint; absent: the system's. Read at start.
	CertFile        string   `yaml:"cert_file"`   // client certificate, PEM; read again when it changes
	KeyFile         string   `yaml:"key_file"`    // of cert_file
	Timeout         Duration `yaml:"timeout"`     // of one call, default 10s
	MaxBody         ByteSize `yaml:"max_body"`    // largest answer, default 64MiB
	Connections     int      `yaml:"connections"` // at once, default 64
}

// Gate is how the source is read as the citizen's portal reads it: publication is not visibility (reference fse.md, 4.1).
// Right before a message is sent, its document must be there. Where it is not, or is refused, the document waits as
// not-visible; absent: what the source itself says of visibility is enough.
type Gate struct {
	BaseURL string `yaml:"base_url"` // FHIR service base; the source's own, with other rights in read, is one too
	Read    Read   `yaml:"read"`     // as sources[].read; nothing of that one is taken over
}

// OAuth2 is how we get access tokens: client credentials, by a secret or by a key (SMART Backend Services).
type OAuth2 struct {
	// TokenURL is the token endpoint, https. Absent, with key_file only: the server's .well-known/smart-configuration says it.
	TokenURL         string `yaml:"token_url"`
	ClientID         string `yaml:"client_id"`
	ClientSecret     Secret `yaml:"client_secret"`
	ClientSecretFile string `yaml:"client_secret_file"` // read again when it changes
	// AuthMethod is client_secret_basic (default with a secret), client_secret_post, or private_key_jwt (default with a key).
	AuthMethod string   `yaml:"auth_method"`
	KeyFile    string   `yaml:"key_file"`  // private key, PEM or JWK; read again when it changes
	KeyID      string   `yaml:"key_id"`    // kid of key_file as the server knows it; a JWK brings its own
	Algorithm  string   `yaml:"algorithm"` // RS384 or ES384; absent: what the key is for
	Scopes     []string `yaml:"scopes"`    // e.g. system/DiagnosticReport.rs
	Audience   string   `yaml:"audience"`  // of what key_file signs; absent: the token endpoint
}

// ModI signs our requests as the Italian interoperability model has it (ID_AUTH_REST_01, INTEGRITY_REST_01), for the
// national services of the FSE: `Authorization: Bearer` and `Agid-JWT-Signature`. The client certificate for TLS is
// read.cert_file; this is the other one, which only signs.
type ModI struct {
	SigningCertFile string         `yaml:"signing_cert_file"` // PEM, ours first; both files are read again when they change
	SigningKeyFile  string         `yaml:"signing_key_file"`  // PEM, RSA
	Audience        string         `yaml:"audience"`          // aud; absent: base_url
	Algorithm       string         `yaml:"algorithm"`         // RS256 (default), RS384 or RS512
	Digest          bool           `yaml:"digest"`            // sign a digest of bodies too, default false
	Claims          map[string]any `yaml:"claims"`            // more claims, in both tokens
	Lifetime        Duration       `yaml:"lifetime"`          // of a token, default 5m
}

// IO is the IO API.
type IO struct {
	BaseURL          string     `yaml:"base_url"`      // with /api/v1, default https://api.io.pagopa.it/api/v1
	Key              Secret     `yaml:"key"`           // a service's primary key; not needed in mode off
	KeyFile          string     `yaml:"key_file"`      // read again when it changes
	SecondaryKey     Secret     `yaml:"secondary_key"` // tried when the other one is refused, for rotation
	SecondaryKeyFile string     `yaml:"secondary_key_file"`
	Rate             float64    `yaml:"rate"`        // calls per second, all replicas together, default 20
	Track            bool       `yaml:"track"`       // follow delivery, default true
	Polls            []Duration `yaml:"polls"`       // gaps before each status call, default 10s 1m 10m 1h 24h
	Timeout          Duration   `yaml:"timeout"`     // of one call, default 10s
	Connections      int        `yaml:"connections"` // at once, default 64
	// Uncertain is what becomes of a POST of which we do not know whether IO took it: resend (default) or hold.
	Uncertain string `yaml:"uncertain"`
	// Mode is off (everything is decided and written down, IO is asked nothing), test (only those of allow reach IO) or live
	// (default). What off and test kept back ends as suppressed, io-off or not-in-test; `staffetta reports release` sends it.
	Mode string `yaml:"mode"`
	// Allow are the codici fiscali of those who may get messages in mode test; IO's own test recipient, AAAAAA00A00A000A,
	// may be among them.
	Allow     []Secret `yaml:"allow"`
	AllowFile string   `yaml:"allow_file"` // more of them, one a line; what follows # is a remark
	// DailyCap is how many messages are sent in one day of Europe/Rome, by all replicas together, default 0: without limit.
	// What is above it waits for the next day.
	DailyCap int `yaml:"daily_cap"`
	// Premium says that the institution's contract is the Premium one: messages are ADVANCED, and IO says whether they were
	// read. Default false; without that contract IO refuses every ADVANCED message.
	Premium bool `yaml:"premium"`
}

// Message is what the citizen reads. Secure channels are always required: there is no key to say otherwise.
type Message struct {
	// Wording is which of the shipped sets of texts: referto (default, after IO's model) or novita, which never says that
	// there is a report (a strict reading of DM 7.9.2023 art. 22). The institution's privacy officer chooses.
	Wording string `yaml:"wording"`
	// Content is where a citizen reads from: static (default: what IO keeps) or remote (IO asks us each time that the message is
	// opened, and keeps the neutral text only; see remote).
	Content string `yaml:"content"`
	// Templates is a folder of texts that stand in for shipped ones, by their names: published.it.md, details.de.md ...
	Templates string `yaml:"templates"`
	// ButtonURL is the https address of the portal. {ref} in it takes the opaque reference of a document; without it the
	// address is the same for everybody. Nothing in it may be personal or clinical.
	ButtonURL  string     `yaml:"button_url"`
	ButtonText ButtonText `yaml:"button_text"` // default: Vai al Fascicolo Sanitario, Go to your health record
	SSO        bool       `yaml:"sso"`         // the portal is registered with IO: iosso:// instead of iohandledlink://
	// SecondButtonURL is https, mailto: or tel:, e.g. of a help desk; absent: one button.
	SecondButtonURL  string     `yaml:"second_button_url"`
	SecondButtonText ButtonText `yaml:"second_button_text"` // in both languages, where there is a second button
	SecondButtonSSO  bool       `yaml:"second_button_sso"`  // as sso: only a page of the portal that starts the sign-in itself
}

// ButtonText is a button's text in the two languages that the app reads; readers of others see the Italian one.
type ButtonText struct {
	Italian string `yaml:"it"`
	English string `yaml:"en"`
}

// Remote is remote content: what IO fetches each time that a citizen opens a message. It is served at /io of the public listener
// where there is an API key.
type Remote struct {
	ConfigurationID string   `yaml:"configuration_id"` // ULID, of IO's remote content configuration; `staffetta io configure` says it
	APIKeys         []Secret `yaml:"api_keys"`         // by which IO proves itself; any of them is valid, two during a rotation
	APIKeyFiles     []string `yaml:"api_key_files"`    // as many more
	Header          string   `yaml:"header"`           // that carries the key, default X-API-Key
	// Retention is how long it is kept, sealed, where a document is read again, default 400d (and up to a month more). Afterwards
	// its message opens with a text that says nothing of it. Older seal keys must stay in the file for as long.
	Retention    Duration `yaml:"retention"`
	Precondition string   `yaml:"precondition"` // a text before the message is opened: never (default), once, always
	Show         []string `yaml:"show"`         // what is said of a document: kind, date, institution; default all, [] none
	// What `staffetta io configure` gives to IO; the first of the API keys goes with it.
	Name          string     `yaml:"name"`        // default Staffetta; without configuration_id ours is found by it
	Description   string     `yaml:"description"` // default: Testi dei messaggi sui documenti del Fascicolo
	BaseURL       string     `yaml:"base_url"`    // https, the part before /messages/{id}; default public.url with /io
	Test          RemoteTest `yaml:"test"`
	ManageKey     Secret     `yaml:"manage_key"` // the organisation's or group's key; nothing else needs it
	ManageKeyFile string     `yaml:"manage_key_file"`
}

// RemoteTest is another Staffetta, which IO asks in place of the first one for a few people.
type RemoteTest struct {
	BaseURL string   `yaml:"base_url"` // as remote.base_url; absent: none
	Users   []Secret `yaml:"users"`    // codici fiscali
}

// Documents is the exchange for the portal: GET /documents/{ref} gives the document of a reference in a button's address. It is
// served on the public listener where there is a token.
type Documents struct {
	BearerTokens     []Secret `yaml:"bearer_tokens"`      // of the portal, any of them is valid
	BearerTokenFiles []string `yaml:"bearer_token_files"` // as many more
	Answer           string   `yaml:"answer"`             // json (default), or redirect: 303 to the document at its source
}

// Policy is the times and ages of the default rules.
type Policy struct {
	Settle          Duration `yaml:"settle"`           // merges bursts of versions into one message, default 1m; 0 = at once (see SettleAt)
	MaxAge          Duration `yaml:"max_age"`          // of documents announced for the first time, when we hear of them; default 30d
	ReplacementWait Duration `yaml:"replacement_wait"` // for the successor of a document that is gone, default 15m
	Minors          string   `yaml:"minors"`           // suppress (default), notify, or 14 to 17: the youngest age told
	VisibleWait     Duration `yaml:"visible_wait"`     // for a document that its citizen cannot open yet, default 72h, then a person must look
	BelieveMissing  Duration `yaml:"believe_missing"`  // how long a 404 is asked again before it is believed, default 10m
	// OneMessage is for how long the message about a new document of a citizen also stands for others of the same source that
	// are published after it: they get none of their own. Default 0: every document has its own message.
	OneMessage Duration `yaml:"one_message"`
}

// Log is what is written on stderr.
type Log struct {
	Level string `yaml:"level"` // debug, info (default), warn, error
}
