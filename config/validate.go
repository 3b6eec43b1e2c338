package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// validate finds everything that is wrong with the values. What is unwise goes to Warnings.
func (c *Config) validate() mistakes {
	var m mistakes
	c.Public.validate(&m)
	m.address("admin.listen", c.Admin.Listen)
	if c.Admin.Listen == c.Public.Listen && !strings.HasSuffix(c.Admin.Listen, ":0") {
		m.add("admin.listen", "the same as public.listen, want another port")
	}
	c.Redis.validate(&m)
	c.Ledger.validate(&m)
	c.validateSources(&m)
	c.IO.validate(&m)
	c.Message.validate(&m)
	c.validateRemote(&m)
	c.Documents.validate(&m)
	c.Policy.validate(&m)
	m.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	m.atLeast("workers", c.Workers, 1)
	c.findUnwise()
	return m
}

func (p Public) validate(m *mistakes) {
	if p.URL != "" {
		m.webURL("public.url", p.URL)
	}
	m.address("public.listen", p.Listen)
	m.pair("public.tls", p.TLS.CertFile, p.TLS.KeyFile)
	m.size("public.max_body", p.MaxBody)
	m.atLeast("public.max_depth", p.MaxDepth, 8)
	m.atLeast("public.max_entries", p.MaxEntries, 1)
	m.between("public.read_timeout", p.ReadTimeout, time.Second, time.Hour)
}

func (r Redis) validate(m *mistakes) {
	switch {
	case r.URL == "" && len(r.Addresses) == 0:
		m.add("redis", "neither url nor addresses, want one of them")
	case r.URL != "" && len(r.Addresses) > 0:
		m.add("redis", "both url and addresses, want one of them")
	case r.URL != "" && !r.Embedded():
		m.redisURL("redis.url", string(r.URL))
	}
	for i, address := range r.Addresses {
		m.address(fmt.Sprintf("redis.addresses[%d]", i), address)
	}
	if r.Master != "" && len(r.Addresses) == 0 {
		m.add("redis.master", "without addresses, want those of Sentinel")
	}
	if r.Username != "" && len(r.Addresses) == 0 {
		m.add("redis.username", "without addresses, want it in the URL")
	}
	if r.Master == "" && (r.SentinelUsername != "" || r.SentinelPassword != "") {
		m.add("redis.sentinel_password", "without master, want Sentinel's name of it")
	}
	r.validateTLS(m)
}

func (r Redis) validateTLS(m *mistakes) {
	t := r.TLS
	if !r.Encrypted() && t != (RedisTLS{}) {
		m.add("redis.tls", "Redis is not met by TLS, want a rediss:// URL, or addresses and enabled: true")
	}
	m.pair("redis.tls", t.CertFile, t.KeyFile)
	m.authorities("redis.tls.ca_file", t.CAFile)
}

func (m *mistakes) redisURL(key, text string) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "redis" && u.Scheme != "rediss") || u.Hostname() == "" {
		m.add(key, "want %s, redis://host:port/db or rediss://host:port/db", EmbeddedRedis)
	}
}

func (l Ledger) validate(m *mistakes) {
	m.key("ledger.seal_key", l.SealKey)
	m.key("ledger.naming_key", l.NamingKey)
	ids := map[uint8]bool{l.SealKeyID: true}
	for i, older := range l.OlderSealKeys {
		key := fmt.Sprintf("ledger.older_seal_keys[%d]", i)
		m.key(key+".key", older.Key)
		if ids[older.ID] {
			m.add(key+".id", "%d, want an id that no other seal key has", older.ID)
		}
		ids[older.ID] = true
	}
	m.between("ledger.retention", l.Retention, day, 3650*day)
	m.between("ledger.lease", l.Lease, time.Second, 15*time.Second)
	m.atLeast("ledger.wait_replicas", l.WaitReplicas, 0)
	m.between("ledger.give_up_after", l.GiveUpAfter, time.Minute, 365*day)
	m.atLeast("ledger.journal_entries", l.JournalEntries, 0)
}

func (c *Config) validateSources(m *mistakes) {
	if len(c.Sources) == 0 {
		m.add("sources", "none, want at least one")
	}
	names := map[string]bool{}
	for i, source := range c.Sources {
		key := fmt.Sprintf("sources[%d].", i)
		source.validate(key, m)
		if !source.Receive.MTLS.absent() && c.Public.TLS.CertFile == "" {
			m.add(key+"receive.mtls", "without public.tls, want it: client certificates are seen only where TLS ends")
		}
		if names[source.Name] {
			m.add(key+"name", "%s, want a name that no other source has", source.Name)
		}
		if source.Subscribe == "auto" && c.Public.URL == "" {
			m.add(key+"subscribe", "auto, and public.url is missing: how does the server reach us?")
		}
		names[source.Name] = true
	}
}

// sourceName is safe in a path, in a metric's label and in a Redis key.
var sourceName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func (s Source) validate(key string, m *mistakes) {
	if !sourceName.MatchString(s.Name) || s.Name == "metadata" { // GET /fhir/metadata is FHIR's own
		m.add(key+"name", "want 1 to 32 of a-z, 0-9 and -, and not metadata")
	}
	m.webURL(key+"base_url", s.BaseURL)
	for i, alias := range s.Aliases {
		m.webURL(fmt.Sprintf("%saliases[%d]", key, i), alias)
	}
	m.oneOf(key+"shape", s.Shape, "report", "hl7-it", "fse2")
	m.unlabelled(key+"unlabelled", s.Unlabelled)
	m.oneOf(key+"obscured", s.Obscured, "notify", "suppress")
	for i, system := range s.Systems {
		if strings.TrimSpace(system) == "" {
			m.add(fmt.Sprintf("%sfiscal_code_systems[%d]", key, i), "empty, want the URI of an identifier system")
		}
	}
	s.Receive.validate(key+"receive", m)
	s.Read.validate(key+"read", m)
	if !s.Gate.absent() {
		m.webURL(key+"gate.base_url", s.Gate.BaseURL)
		s.Gate.Read.validate(key+"gate.read", m)
	}
	m.oneOf(key+"flavour", s.Flavour, "auto", "classic", "backport", "r5")
	m.oneOf(key+"subscribe", s.Subscribe, "auto", "manual", "never")
	s.Subscription.validate(key+"subscription.", m)
	m.sameHost(key+"subscription.base_url", s.Subscription.BaseURL, s.BaseURL)
	s.Sweep.validate(key+"sweep.", m)
	if s.Subscribe == "never" && *s.Sweep.Every == 0 {
		m.add(key+"sweep.every", "0s, and subscribe is never: nothing would ever be noticed")
	}
}

func (s Sweep) validate(key string, m *mistakes) {
	if *s.Every != 0 {
		m.between(key+"every", *s.Every, time.Second, day)
	}
	m.between(key+"since", s.Since, 0, 3650*day)
	m.between(key+"overlap", s.Overlap, time.Second, 7*day)
	m.searches(key+"criteria", s.Criteria)
}

// search is a search as a Subscription has it: a type with its parameters.
var search = regexp.MustCompile(`^[A-Z][A-Za-z]+\?[!-~]*$`)

func (s Subscription) validate(key string, m *mistakes) {
	m.searches(key+"criteria", s.Criteria)
	m.searches(key+"filters", s.Filters)
	s.validateTopics(key+"topic", m)
	m.oneOf(key+"content", s.Content, "id-only", "full-resource", "empty")
	if *s.Heartbeat != 0 {
		m.between(key+"heartbeat", *s.Heartbeat, 10*time.Second, day)
	}
	if *s.Timeout != 0 {
		m.between(key+"timeout", *s.Timeout, time.Second, 10*time.Minute)
	}
	m.atLeast(key+"max_count", *s.MaxCount, 0)
	if s.End != 0 {
		m.between(key+"end", s.End, time.Hour, 3650*day)
	}
	if strings.ContainsFunc(s.Contact, func(c rune) bool { return c < ' ' || c > '~' }) {
		m.add(key+"contact", "want a URL, a mail address or a telephone number")
	}
}

func (s Subscription) validateTopics(key string, m *mistakes) {
	for i, topic := range s.Topic {
		at := key
		if len(s.Topic) > 1 {
			at = fmt.Sprintf("%s[%d]", key, i)
		}
		u, err := url.Parse(topic)
		switch {
		case err != nil || !u.IsAbs() || !validToken(Secret(topic)):
			m.add(at, "want the canonical URL of a topic")
		case slices.Contains(s.Topic[:i], topic):
			m.add(at, "named twice")
		}
	}
}

func (m *mistakes) searches(key string, texts []string) {
	for i, text := range texts {
		_, parameters, _ := strings.Cut(text, "?")
		if _, err := url.ParseQuery(parameters); err != nil || !search.MatchString(text) {
			m.add(fmt.Sprintf("%s[%d]", key, i), "want Type?parameter=value")
		}
	}
}

// sameHost wants a second URL of a server to be on its host: our credentials are shown to no other one.
func (m *mistakes) sameHost(key, text, base string) {
	if text == "" {
		return
	}
	m.webURL(key, text)
	there, err := url.Parse(text)
	here, other := url.Parse(base)
	if err == nil && other == nil && there.Hostname() != "" && (there.Scheme != here.Scheme || there.Host != here.Host) {
		m.add(key, "want the scheme and host of base_url: our credentials are shown to no other one")
	}
}

// unlabelled has no default, and its message says why (reference fse.md, 4.2): silence about a label is no permission.
func (m *mistakes) unlabelled(key, text string) {
	if text != "notify" && text != "hold" {
		m.add(key, "want notify or hold; there is no default, because only the institution knows whether a document "+
			"without a confidentiality label may be announced here (notify), or a person must look at it first (hold)")
	}
}

// validToken says whether a header can carry the token whole.
func validToken(token Secret) bool {
	return token != "" && !strings.ContainsFunc(string(token), func(c rune) bool { return c <= ' ' || c > '~' })
}

func (io IO) validate(m *mistakes) {
	m.webURL("io.base_url", io.BaseURL)
	if u, err := url.Parse(io.BaseURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		m.add("io.base_url", "want https: fiscal codes and the key would travel in clear")
	}
	if io.Rate <= 0 {
		m.add("io.rate", "%g, want more than 0 calls per second", io.Rate)
	}
	if io.Track && len(io.Polls) == 0 {
		m.add("io.polls", "none, want at least one gap (or track: false)")
	}
	for i, gap := range io.Polls {
		m.between(fmt.Sprintf("io.polls[%d]", i), gap, time.Millisecond, 30*day)
	}
	m.between("io.timeout", io.Timeout, 100*time.Millisecond, time.Minute) // a message on its way is heard to the end, within its step
	m.atLeast("io.connections", io.Connections, 1)
	m.oneOf("io.uncertain", io.Uncertain, "resend", "hold")
	m.oneOf("io.mode", io.Mode, ModeOff, ModeTest, ModeLive)
	m.atLeast("io.daily_cap", io.DailyCap, 0)
	io.validateAllow(m)
}

// validate looks at the form of the keys; the texts themselves are the composer's to judge.
func (msg Message) validate(m *mistakes) {
	u, err := url.Parse(msg.ButtonURL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || !validToken(Secret(msg.ButtonURL)) {
		m.add("message.button_url", "want the https:// address of the portal, the same for everybody or with {ref}")
	}
	m.oneOf("message.wording", msg.Wording, "referto", "novita")
	m.oneOf("message.content", msg.Content, "static", "remote")
	m.folder("message.templates", msg.Templates)
	m.bothLanguages("message.button_text", msg.ButtonText)
	if msg.SecondButtonURL != "" {
		m.bothLanguages("message.second_button_text", msg.SecondButtonText)
	} else if msg.SecondButtonSSO || msg.SecondButtonText != (ButtonText{}) {
		m.add("message.second_button_url", "missing, but the second button has a text or SSO")
	}
}

func (m *mistakes) bothLanguages(key string, text ButtonText) {
	if text.Italian == "" || text.English == "" {
		m.add(key, "want it and en: without the English text, who reads IO in English has no button")
	}
}

func (p Policy) validate(m *mistakes) {
	m.between("policy.settle", p.Settle, 0, day)
	m.between("policy.max_age", p.MaxAge, time.Hour, 3650*day)
	m.between("policy.replacement_wait", p.ReplacementWait, 0, 30*day)
	m.oneOf("policy.minors", p.Minors, "suppress", "notify", "14", "15", "16", "17")
	m.between("policy.visible_wait", p.VisibleWait, 0, 365*day)
	m.between("policy.believe_missing", p.BelieveMissing, 0, 30*day)
	m.between("policy.one_message", p.OneMessage, 0, day)
}

// enoughOverlap is how far sweeps must go back: clocks of nodes that are five minutes wrong, either way, and a write that takes a
// minute.
const enoughOverlap = 11 * time.Minute

// findUnwise warns of what works and is probably not meant.
func (c *Config) findUnwise() {
	if c.Redis.Embedded() {
		c.warn("redis.url: embedded Redis is in memory only, all that citizens were told is forgotten when the process ends")
	}
	if !strings.HasSuffix(strings.TrimSuffix(c.IO.BaseURL, "/"), "/api/v1") {
		c.warn("io.base_url: does not end in /api/v1, as IO's does")
	}
	if len(c.IO.Allow) > 0 && c.IO.Mode != ModeTest {
		c.warn("io.allow: looked at in io.mode test only, which is %s", c.IO.Mode)
	}
	if host, _, err := net.SplitHostPort(c.Admin.Listen); err == nil && !isLoopback(host) {
		c.warn("admin.listen: not loopback, who reaches it may stop all sending")
	}
	c.findUnwiseRemote()
	c.Warnings = append(c.Warnings, c.Ailing(time.Now())...)
	if u, err := url.Parse(c.Public.URL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		c.warn("public.url: not https, notifications and their tokens travel in clear")
	}
	for i, source := range c.Sources {
		if source.Subscribe == "manual" && source.Subscription.End != 0 {
			c.warn("sources[%d].subscription.end: with subscribe: manual nobody renews it in time, unless `staffetta subscribe` is run again", i)
		}
		if source.Sweep.Since != 0 {
			c.warn("sources[%d].sweep.since: where the ledger is emptied, %s of documents are told again; `staffetta catchup` asks first", i, source.Sweep.Since)
		}
		if source.Sweep.Overlap < Duration(enoughOverlap) {
			c.warn("sources[%d].sweep.overlap: %s, the clocks of a source's nodes may be five minutes wrong either way, want at least %s or what they write may be lost",
				i, source.Sweep.Overlap, Duration(enoughOverlap))
		}
		if u, err := url.Parse(source.BaseURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			c.warn("sources[%d].base_url: not https, health data travels in clear", i)
		}
		if u, err := url.Parse(source.Gate.BaseURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			c.warn("sources[%d].gate.base_url: not https, health data travels in clear", i)
		}
		c.findUnwiseProofs(i)
	}
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && address.IsLoopback())
}

func (m *mistakes) atLeast(key string, got, want int) {
	if got < want {
		m.add(key, "%d, want at least %d", got, want)
	}
}

func (m *mistakes) size(key string, got ByteSize) {
	if got < 1<<10 {
		m.add(key, "%s, want at least 1KiB", got)
	}
}

func (m *mistakes) between(key string, got Duration, least, most time.Duration) {
	if d := time.Duration(got); d < least || d > most {
		m.add(key, "%s, want %s to %s", got, Duration(least), Duration(most))
	}
}

func (m *mistakes) oneOf(key, got string, want ...string) {
	if !slices.Contains(want, got) {
		last := len(want) - 1
		m.add(key, "want %s or %s", strings.Join(want[:last], ", "), want[last])
	}
}

func (m *mistakes) key(key string, text Secret) {
	if text == "" || environmentName.MatchString(string(text)) {
		return // that it is missing was said when it was read
	}
	if _, err := rawKey(text); err != nil {
		m.add(key, "%s", err)
	}
}

func (m *mistakes) address(key, text string) {
	_, port, err := net.SplitHostPort(text)
	if err != nil || port == "" {
		m.add(key, "want host:port")
	}
}

// webURL does not repeat the URL: it may hold a password.
func (m *mistakes) webURL(key, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		m.add(key, "want an https:// or http:// URL")
	case u.User != nil:
		m.add(key, "holds credentials, want them under their own keys")
	case u.RawQuery != "" || u.Fragment != "":
		m.add(key, "holds a query or a fragment, want only the base")
	}
}

// pair checks a certificate and its key: both or neither, both there, and one made for the other.
func (m *mistakes) pair(key, certFile, keyFile string) {
	if (certFile == "") != (keyFile == "") {
		m.add(key, "cert_file and key_file go together")
		return
	}
	before := len(*m)
	m.readable(key+".cert_file", certFile)
	m.readable(key+".key_file", keyFile)
	if certFile == "" || len(*m) > before {
		return
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		m.add(key+".cert_file", "%s", withoutPath(err))
	}
}

func (m *mistakes) folder(key, path string) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		m.file(key, path, err)
	case !info.IsDir():
		m.add(key, "%s: want a folder", path)
	}
}

func (m *mistakes) readable(key, path string) {
	if path == "" {
		return
	}
	file, err := os.Open(path) //nolint:gosec // the path comes from the operator's own file
	if err != nil {
		m.file(key, path, err)
		return
	}
	_ = file.Close()
}
