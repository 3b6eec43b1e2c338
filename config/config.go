// Package config is the one YAML file: its types, defaults, strict loading, validation and secrets from files.
package config

import "time"

// Config is the whole file.
type Config struct {
	Public  Public   `yaml:"public"`
	Admin   Admin    `yaml:"admin"`
	Redis   Redis    `yaml:"redis"`
	Ledger  Ledger   `yaml:"ledger"`
	Sources []Source `yaml:"sources"`
	IO      IO       `yaml:"io"`
	Message Message  `yaml:"message"`
	Policy  Policy   `yaml:"policy"`
	Log     Log      `yaml:"log"`
	// Workers is how many documents are worked on at once by this process.
	Workers int `yaml:"workers"`
}

// Public is the listener that FHIR servers post to.
type Public struct {
	Listen      string        `yaml:"listen"`       // host:port
	TLS         TLS           `yaml:"tls"`          // absent: plain HTTP, for a proxy in front or for trials
	MaxBody     ByteSize      `yaml:"max_body"`     // largest body, default 64 MiB
	MaxDepth    int           `yaml:"max_depth"`    // deepest nesting of a body, default 64
	MaxEntries  int           `yaml:"max_entries"`  // most entries of a Bundle, default 10,000
	ReadTimeout time.Duration `yaml:"read_timeout"` // for a whole request, default 60 s
}

// TLS is a listener's certificate.
type TLS struct {
	CertFile string `yaml:"cert_file"` // PEM
	KeyFile  string `yaml:"key_file"`  // PEM
}

// Admin is the listener for people and monitoring: loopback by default.
type Admin struct {
	Listen string `yaml:"listen"`
}

// Redis says where the ledger lives.
type Redis struct {
	// URL is redis://, rediss:// or `embedded` (in memory only: trials and tests).
	URL string `yaml:"url"`
	// Addresses are the nodes of a Cluster, or of Sentinel where Master is set.
	Addresses    []string `yaml:"addresses"`
	Master       string   `yaml:"master"` // Sentinel's name of the master
	Username     string   `yaml:"username"`
	Password     Secret   `yaml:"password"`
	PasswordFile string   `yaml:"password_file"`
}

// Ledger is what we remember and how it is protected.
type Ledger struct {
	SealKey        Secret        `yaml:"seal_key"`        // base64 of 32 bytes
	SealKeyFile    string        `yaml:"seal_key_file"`   //
	OlderSealKeys  []SealKey     `yaml:"older_seal_keys"` // still opened, no longer used for sealing; the first key ever must stay unless naming_key_file is set
	NamingKeyFile  string        `yaml:"naming_key_file"` // base64 of 32 bytes; absent: HKDF of the first seal key
	SealKeyID      uint8         `yaml:"seal_key_id"`     // id of seal_key, default 1; raise it when you rotate
	Retention      time.Duration `yaml:"retention"`       // finished records, default 90 days (and up to a month more)
	Lease          time.Duration `yaml:"lease"`           // of a claimed record, at most 15 s
	WaitReplicas   int           `yaml:"wait_replicas"`   // replicas that must have `sending` before the POST; 0 = none
	GiveUpAfter    time.Duration `yaml:"give_up_after"`   // of transient trouble, default 72 h, then held
	JournalEntries int           `yaml:"journal_entries"` // per partition
}

// SealKey is a key for opening what was sealed before a rotation.
type SealKey struct {
	ID      uint8  `yaml:"id"`
	Key     Secret `yaml:"key"`
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
	Receive    Receive  `yaml:"receive"`
	Read       Read     `yaml:"read"`
}

// Receive is how the source authenticates to us.
type Receive struct {
	BearerTokens     []Secret `yaml:"bearer_tokens"` // any of them is valid: two during a rotation
	BearerTokenFiles []string `yaml:"bearer_token_files"`
}

// Read is how we read from the source.
type Read struct {
	BearerToken     Secret        `yaml:"bearer_token"`
	BearerTokenFile string        `yaml:"bearer_token_file"`
	Username        string        `yaml:"username"` // basic authentication
	Password        Secret        `yaml:"password"`
	PasswordFile    string        `yaml:"password_file"`
	CAFile          string        `yaml:"ca_file"`   // PEM; absent: the system's
	CertFile        string        `yaml:"cert_file"` // client certificate, PEM
	KeyFile         string        `yaml:"key_file"`
	Timeout         time.Duration `yaml:"timeout"`     // of one call, default 10 s
	MaxBody         ByteSize      `yaml:"max_body"`    // largest answer, default 64 MiB
	Connections     int           `yaml:"connections"` // at once, default 64
}

// IO is the IO API.
type IO struct {
	BaseURL          string          `yaml:"base_url"` // with /api/v1
	Key              Secret          `yaml:"key"`
	KeyFile          string          `yaml:"key_file"`
	SecondaryKey     Secret          `yaml:"secondary_key"`
	SecondaryKeyFile string          `yaml:"secondary_key_file"`
	Rate             float64         `yaml:"rate"`      // calls per second, all replicas together, default 20
	Track            bool            `yaml:"track"`     // follow delivery, default true
	Polls            []time.Duration `yaml:"polls"`     // gaps before each status call, default 10s 1m 10m 1h 24h
	Timeout          time.Duration   `yaml:"timeout"`   // of one call, default 10 s
	Uncertain        string          `yaml:"uncertain"` // a POST of which we do not know whether IO took it: resend (default) or hold
}

// Message is what the citizen reads.
type Message struct {
	ButtonURL string `yaml:"button_url"` // https address of the portal; {ref} is replaced by nothing personal
	SSO       bool   `yaml:"sso"`        // the portal is registered with IO: iosso:// instead of iohandledlink://
}

// Policy is the times and ages of the default rules.
type Policy struct {
	Settle          time.Duration `yaml:"settle"`           // default 1 min
	MaxAge          time.Duration `yaml:"max_age"`          // of first announcements, default 30 days
	ReplacementWait time.Duration `yaml:"replacement_wait"` // default 15 min
	Minors          string        `yaml:"minors"`           // suppress (default), notify, or 14 to 17: the youngest age told
	BelieveMissing  time.Duration `yaml:"believe_missing"`  // how long a 404 is asked again before it is believed, default 10 min
}

// Log is what is written on stderr.
type Log struct {
	Level string `yaml:"level"` // debug, info (default), warn, error
}
