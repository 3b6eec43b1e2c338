package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"staffetta/fhir/sandbox"
)

const subscribeToken = "token-0123456789abcdef"

// region is an FSE, an endpoint for it, and a file that knows both.
type region struct {
	server *sandbox.Server
	file   string
	base   string
}

// found begins a region with a server of some product. More is YAML for its source.
func found(t *testing.T, product, shape, more string) *region {
	t.Helper()
	r := &region{server: sandbox.NewServer(), file: filepath.Join(t.TempDir(), "staffetta.yaml")}
	r.server.Traits = sandbox.Products()[product]
	served := httptest.NewServer(r.server)
	t.Cleanup(served.Close)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer "+subscribeToken {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(endpoint.Close)
	r.base = served.URL
	r.write(t, endpoint.URL, shape, more)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *region) write(t *testing.T, endpoint, shape, more string) {
	t.Helper()
	text := fmt.Sprintf(`public: {url: %q}
redis: {url: embedded}
ledger: {seal_key: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
sources:
  - name: regione
    base_url: %q
    shape: %s
    unlabelled: notify
    receive: {bearer_tokens: [%s]}
    %s
io: {key: a-key-for-tests}
message: {button_url: https://fse.ente.example/referti}
`, endpoint, r.base+"/fhir", shape, subscribeToken, more)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rewrite changes the file.
func (r *region) rewrite(t *testing.T, before, after string) {
	t.Helper()
	text, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file, []byte(strings.Replace(string(text), before, after, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// subscribe runs the command; what changes from run to run is written as the test has it.
func (r *region) subscribe(t *testing.T, flags ...string) (code int, out, logs string) {
	t.Helper()
	code, out, logs = command(t, append([]string{"subscribe", "regione", "--config", r.file}, flags...)...)
	number := regexp.MustCompile(`Subscription/\d+|"id": "\d+"`)
	endpoint := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	plain := func(text string) string {
		text = number.ReplaceAllStringFunc(text, func(found string) string { return regexp.MustCompile(`\d+`).ReplaceAllString(found, "N") })
		return endpoint.ReplaceAllString(text, "http://adapter")
	}
	return code, plain(out), plain(logs)
}

// publish keeps some reports of each status, with a patient for each.
func (r *region) publish(statuses ...string) {
	for i, status := range statuses {
		birth := time.Date(1970, 1, 1+i%28, 0, 0, 0, 0, time.UTC)
		patient := fmt.Sprint("p", i)
		r.server.Put(sandbox.Patient(patient, sandbox.CodeOf(i, birth), birth))
		r.server.Put(sandbox.Resource{
			"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", i), "status": status, "issued": time.Now().Format(time.RFC3339),
			"subject": sandbox.Resource{"reference": "Patient/" + patient},
		})
	}
}

func (r *region) wants(t *testing.T, what string, code, wantCode int, out, want string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("%s: exit code %d, want %d", what, code, wantCode)
	}
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), out); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", what, diff)
	}
}

const embeddedLine = `redis      embedded: nothing is remembered of what was created; it is found again by its endpoint
`

func TestSubscribe(t *testing.T) {
	r := found(t, "HAPI", "report", "")
	r.publish("final", "final", "registered", "cancelled")
	const head = embeddedLine + `server     HAPI FHIR Server 7.6.0, FHIR 4.0.1
flavour    classic: R4, without the backport's profile and without topics
sample     the last 4 DiagnosticReport, as if nobody had been told of them; nobody is told now
` + "           DiagnosticReport?status=final,amended,corrected,appended,cancelled,entered-in-error: 3 of 4 match; of the others all are `registered`" + `
           rules: 2 notify
           rules: 1 suppress withdrawn
           rules: 1 wait not-final
`
	const criteria = "DiagnosticReport?status=final,amended,corrected,appended,cancelled,entered-in-error"

	code, out, _ := r.subscribe(t, "--show")
	r.wants(t, "shown before", code, exitFinding, out, embeddedLine+"found      no Subscription of ours\n")

	code, out, _ = r.subscribe(t)
	r.wants(t, "first", code, 0, out, head+"created    Subscription/N "+criteria+"\nstatus     Subscription/N active\n")

	code, out, _ = r.subscribe(t)
	r.wants(t, "again", code, 0, out, head+"unchanged  Subscription/N "+criteria+"\nstatus     Subscription/N active\n")

	code, out, _ = r.subscribe(t, "--show")
	r.wants(t, "shown", code, 0, out, embeddedLine+"found      Subscription/N "+criteria+"\nstatus     Subscription/N active\n")

	r.server.Keep(sandbox.Resource{
		"resourceType": "Subscription", "id": "77", "status": "active", "reason": "a trial", "criteria": "Patient?",
		"channel": sandbox.Resource{"type": "rest-hook", "endpoint": channelOf(r.server.Subscriptions()[0])["endpoint"]},
	})
	code, out, _ = r.subscribe(t, "--remove")
	r.wants(t, "removed", code, 0, out, embeddedLine+"removed    Subscription/N "+criteria+
		"\nforeign    1 other Subscriptions post to our endpoint and are not ours: they were left alone\n")

	code, out, _ = r.subscribe(t, "--remove")
	r.wants(t, "removed again", code, 0, out, embeddedLine+"removed    nothing: the server has no Subscription of ours\n"+
		"foreign    1 other Subscriptions post to our endpoint and are not ours: they were left alone\n")
}

func channelOf(subscription sandbox.Resource) sandbox.Resource {
	channel, _ := subscription["channel"].(sandbox.Resource)
	return channel
}

func TestSubscribeDryRun(t *testing.T) {
	r := found(t, "Aidbox", "report", `subscription: {filters: ["DiagnosticReport?status=final"], heartbeat: 0s, contact: it@ente.example}`)
	r.publish("registered", "registered", "registered")
	const want = `
{
	"resourceType": "Subscription",
	"meta": {
		"profile": [
			"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription"
		]
	},
	"status": "requested",
	"contact": [
		{
			"system": "email",
			"value": "it@ente.example"
		}
	],
	"reason": "Staffetta/regione: tells citizens on IO that a medical report is ready",
	"criteria": "https://fse.example.it/topics/diagnosticreport-changed",
	"_criteria": {
		"extension": [
			{
				"url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-filter-criteria",
				"valueString": "DiagnosticReport?status=final"
			}
		]
	},
	"channel": {
		"extension": [
			{
				"url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-timeout",
				"valueUnsignedInt": 30
			},
			{
				"url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-max-count",
				"valuePositiveInt": 20
			}
		],
		"type": "rest-hook",
		"endpoint": "http://adapter/fhir/regione",
		"payload": "application/fhir+json",
		"_payload": {
			"extension": [
				{
					"url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content",
					"valueCode": "id-only"
				}
			]
		},
		"header": [
			"Authorization: Bearer <secret>"
		]
	}
}
`
	code, out, aside := r.subscribe(t, "--dry-run")
	r.wants(t, "dry run", code, 0, out, want)
	for _, line := range []string{
		"flavour    backport: R4, and the server has a topic for DiagnosticReport",
		"DiagnosticReport?status=final: 0 of 3 match: all are `registered`",
		"rules: 3 wait not-final",
		"dry run    a new Subscription https://fse.example.it/topics/diagnosticreport-changed: would be created",
	} {
		if !strings.Contains(aside, line) {
			t.Errorf("beside it: no %q in\n%s", line, aside)
		}
	}
	if strings.Contains(out+aside, subscribeToken) {
		t.Error("the token is shown")
	}
	if _, out, _ = r.subscribe(t, "--dry-run", "--reveal"); !strings.Contains(out, "Bearer "+subscribeToken) {
		t.Error("the token is asked for, and not shown")
	}
	if len(r.server.Subscriptions()) > 0 {
		t.Error("a dry run created something")
	}
}

func TestSubscribeSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name, product, more string
		flags               []string
		code                int
		want                string
	}{
		{"never means never", "HAPI", "subscribe: never", nil, exitFinding, "subscribe: never"},
		{"what serve keeps is not removed behind its back", "HAPI", "subscribe: auto", []string{"--remove"}, exitFinding, "serve would create it again"},
		{"topics that do not fit are named", "R5", "subscription: {topic: 'https://fse.example.it/topics/other'}", nil, exitFinding, "issue not-supported"},
		{"one thing at a time", "HAPI", "", []string{"--show", "--remove"}, exitUsage, "--show"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := found(t, tt.product, "report", tt.more)
			code, out, logs := r.subscribe(t, append(tt.flags, "--sample", "0")...)
			if code != tt.code || !strings.Contains(logs, tt.want) {
				t.Errorf("exit code %d, want %d; %q is not in\n%s%s", code, tt.code, tt.want, out, logs)
			}
		})
	}
	if code, _, logs := command(t, "subscribe", "nobody", "--config", found(t, "HAPI", "report", "").file); code != exitFinding || !strings.Contains(logs, "want the name of a source: ") {
		t.Errorf("an unknown source: exit code %d, %s", code, logs)
	}
}

// In shape fse2 the sample is of Compositions, and one document is counted once.
func TestSubscribeSamplesDocuments(t *testing.T) {
	r := found(t, "HAPI", "fse2", "")
	for _, c := range sandbox.Population(5, 1, true) {
		for _, one := range c.Resources {
			r.server.Put(one)
		}
	}
	_, out, _ := r.subscribe(t, "--dry-run")
	_, _, aside := r.subscribe(t, "--dry-run")
	if !strings.Contains(aside, "the last 5 Composition") || !strings.Contains(aside, "DocumentReference?status=current,superseded,entered-in-error: 5 of 5 match") {
		t.Errorf("beside it\n%s", aside)
	}
	if got := strings.Count(out, `"resourceType": "Subscription"`); got != 2 {
		t.Errorf("%d Subscriptions would be written, want one for each criteria", got)
	}
	for _, c := range sandbox.Population(5, 1, true) {
		if strings.Contains(aside, c.Code) || strings.Contains(aside, c.ID) {
			t.Error("the sample names a person or a document")
		}
	}
}
