// Package probe plays the FHIR servers that post notifications, each with the requests that it really sends and the rule by
// which it judges the answer (reference fhir-subscriptions.md, 2.1, 2.4, 3.7 and 4.1): an endpoint goes in, verdicts come out.
// What it sends is about a resource that does not exist, and says so.
package probe

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sender is one kind of server.
type Sender struct {
	Name string
	// Rule is what it takes for success, in words; takes decides.
	Rule  string
	takes func(Request, Answer) string
	// Otherwise is what it does after an answer that it does not take.
	Otherwise Otherwise
	// Patience is how long it waits for an answer; 0: not known.
	Patience time.Duration
	Requests []Request
}

// Otherwise is what a sender does after an answer that it does not take.
type Otherwise struct {
	Verdict Verdict
	Words   string // behind «would»
}

// Verdict is how an exchange ends for its sender.
type Verdict string

// The verdicts.
const (
	Accepted    Verdict = "accepted"
	Retried     Verdict = "retried"     // the same again, until it gives up
	Disabled    Verdict = "disabled"    // the Subscription is switched off, or never becomes active
	Lost        Verdict = "lost"        // never again
	Violates    Verdict = "violates"    // a rule of a specification or of its test suite
	Unreachable Verdict = "unreachable" // no answer
	NotSent     Verdict = "not sent"    // it would not have come to that
)

// Request is one notification as its server sends it. In path, body and headers {type}, {id}, {other}, {base} and {now}
// stand for the resource, for a second one, for the server's own address and for the time.
type Request struct {
	What        string
	Method      string
	Path        string // behind the URL of the endpoint
	ContentType string
	Header      map[string]string
	Body        string
	Signed      bool // X-Signature, where there is a secret
	Handshake   bool // nothing else is sent before this one succeeded
	// Changes is how many resources it says have changed, and Unnamed that something has that it does not name.
	Changes int
	Unnamed bool
}

// Answer is what came back.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte // its beginning
}

// fill puts the resource that does not exist into a text.
type fill struct{ *strings.Replacer }

// Nowhere is a name that never resolves (RFC 2606), for receivers that would fetch what a notification names.
const Nowhere = "https://staffetta-probe.invalid/fhir"

func newFill(o Options, now time.Time) fill {
	values := []string{
		"{type}", o.Kind, "{id}", o.ID, "{other}", o.ID + "-2", "{base}", cmp.Or(o.Base, Nowhere), "{now}", now.UTC().Format(time.RFC3339),
	}
	plain := strings.NewReplacer(values...)
	whole := []string{"{resource}", plain.Replace(resources[o.Kind]), "{xml}", plain.Replace(xmlResource)}
	return fill{strings.NewReplacer(slices.Concat(values, whole)...)}
}

// resources are marked as test data, are about nobody, and are not final: no receiver has a reason to tell anybody.
var resources = map[string]string{
	"DiagnosticReport": `{"resourceType":"DiagnosticReport","id":"{id}","meta":{"versionId":"2","lastUpdated":"{now}",` + testTag +
		`},"status":"registered","code":{"text":"staffetta probe: this report does not exist"}}`,
	"Composition": `{"resourceType":"Composition","id":"{id}","meta":{"versionId":"2","lastUpdated":"{now}",` + testTag +
		`},"status":"preliminary","type":{"text":"staffetta probe: this document does not exist"},"date":"{now}","author":[{"display":"staffetta probe"}],"title":"staffetta probe"}`,
}

const (
	testTag     = `"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}]`
	xmlResource = `<{type} xmlns="http://hl7.org/fhir"><id value="{id}"/><meta><versionId value="2"/><lastUpdated value="{now}"/><tag>` +
		`<system value="http://terminology.hl7.org/CodeSystem/v3-ActReason"/><code value="HTEST"/></tag></meta><status value="registered"/></{type}>`
)

// header is what the request carries, beside what every request to the endpoint does.
func (r Request) header(f fill, secret string) http.Header {
	header := http.Header{}
	if r.ContentType != "" {
		header.Set("Content-Type", r.ContentType)
	}
	for name, value := range r.Header {
		header.Set(name, f.Replace(value))
	}
	if r.Signed && secret != "" {
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = mac.Write([]byte(f.Replace(r.Body)))
		header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	}
	return header
}

// isBundle says whether the request carries a Bundle.
func (r Request) isBundle() bool { return strings.HasPrefix(r.Body, `{"resourceType":"Bundle"`) }
