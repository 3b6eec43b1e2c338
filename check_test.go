package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir/sandbox"
)

// check runs the command, and gives what it says of sources.
func (r *region) check(t *testing.T) (code int, sources string) {
	t.Helper()
	code, out, _ := command(t, "check", "--config", r.file)
	_, sources, _ = strings.Cut(out, "source     ")
	return code, regexp.MustCompile(`Subscription/\d+`).ReplaceAllString(sources, "Subscription/N")
}

const (
	hapiLine     = "server     HAPI FHIR Server 7.6.0, FHIR 4.0.1\n"
	criteriaText = "DiagnosticReport?status=final,amended,corrected,appended,cancelled,entered-in-error"
)

// check says of each source how it stands; that nothing is there yet is not wrong.
func TestCheckSources(t *testing.T) {
	r := found(t, "HAPI", "report", "")
	code, out := r.check(t)
	r.wants(t, "before anything", code, 0, out, "regione, shape report, subscribe manual\n"+hapiLine+"found      no Subscription of ours\n")

	if code, out, logs := r.subscribe(t, "--sample", "0"); code != 0 {
		t.Fatal(out, logs)
	}
	code, out = r.check(t)
	r.wants(t, "subscribed", code, 0, out, "regione, shape report, subscribe manual\n"+hapiLine+
		"found      Subscription/N "+criteriaText+"\nstatus     Subscription/N active\n")

	r.server.SetStatus(r.server.Subscriptions()[0]["id"].(string), "error")
	code, out = r.check(t)
	r.wants(t, "stopped", code, exitFinding, out, "regione, shape report, subscribe manual\n"+hapiLine+
		"found      Subscription/N "+criteriaText+"\nstatus     Subscription/N error\nfinding    our Subscriptions do not work, see above\n")
	if code, out, _ := command(t, "check", "--no-sources", "--config", r.file); code != 0 || strings.Contains(out, "Subscription") {
		t.Errorf("with --no-sources: exit code %d\n%s", code, out)
	}
}

func TestCheckSourcesFindsWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name, more string
		change     func(*region)
		code       int
		want       string
	}{
		{"it is swept only", "subscribe: never", func(*region) {}, 0, "regione, shape report, subscribe never\n" + hapiLine},
		{"serve will subscribe", "subscribe: auto", func(*region) {}, 0, "regione, shape report, subscribe auto\n" + hapiLine + "found      no Subscription of ours\n"},
		{
			"we are not let in", "", func(r *region) { r.server.Token = "another" }, exitFinding,
			"regione, shape report, subscribe manual\nfinding    the server cannot be asked: read CapabilityStatement: unauthorized (HTTP 401)\n",
		},
		{
			"it is no FHIR server", "subscribe: never", func(r *region) { r.server.Traits = sandbox.Traits{} }, exitFinding,
			"regione, shape report, subscribe never\nfinding    the server cannot be asked: read CapabilityStatement: unusable: the answer is no CapabilityStatement\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := found(t, "HAPI", "report", tt.more)
			tt.change(r)
			code, out := r.check(t)
			r.wants(t, "check", code, tt.code, out, tt.want)
		})
	}
}

// Whom the latest documents are about has a codice fiscale where the file does not look for it: check proposes to.
func TestCheckProposesSystems(t *testing.T) {
	r := found(t, "HAPI", "report", "")
	r.publish("final", "final", "registered")
	for i := range 2 {
		birth := time.Date(1970, 1, 1+i, 0, 0, 0, 0, time.UTC)
		patient := sandbox.Patient(fmt.Sprint("p", i), sandbox.CodeOf(i, birth), birth)
		patient["identifier"] = []any{sandbox.Resource{"system": "urn:oid:1.2.3", "value": sandbox.CodeOf(i, birth)}}
		r.server.Put(patient)
	}
	code, out := r.check(t)
	r.wants(t, "check", code, 0, out, "regione, shape report, subscribe manual\n"+hapiLine+"found      no Subscription of ours\n"+
		"proposal   2 without a codice fiscale have one under urn:oid:1.2.3: only where that holds the person's own may fiscal_code_systems name it\n")
	if _, _, logs := r.subscribe(t, "--dry-run"); !strings.Contains(logs, "\nproposal   2 without a codice fiscale have one under urn:oid:1.2.3: ") {
		t.Error("subscribe does not propose it:", logs)
	}
}

// Where Redis is away, the servers are asked all the same.
func TestCheckSourcesWithoutRedis(t *testing.T) {
	r := found(t, "HAPI", "report", "")
	r.rewrite(t, "url: embedded", `url: "redis://127.0.0.1:1/0"`)
	code, out, _ := command(t, "check", "--config", r.file)
	if code != exitFinding || strings.Count(out, "finding: ") != 1 || !strings.Contains(out, hapiLine) {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// What only looks leaves an empty ledger empty, so that who comes to write says aloud that it is.
func TestWhatLooksWritesNothing(t *testing.T) {
	client, is := redistest.Start(t).(*redis.Client)
	if !is {
		t.Fatal("not one Redis")
	}
	r := found(t, "HAPI", "report", "")
	r.rewrite(t, "url: embedded", `url: "redis://`+client.Options().Addr+`/0"`)
	for name, looks := range map[string]func() string{
		"check":               func() string { _, _, logs := command(t, "check", "--config", r.file, "--ledger"); return logs },
		"subscribe --show":    func() string { _, _, logs := r.subscribe(t, "--show"); return logs },
		"subscribe --dry-run": func() string { _, _, logs := r.subscribe(t, "--dry-run"); return logs },
		"catchup --dry-run":   func() string { _, _, logs := r.catchUp(t, "--dry-run"); return logs },
	} {
		logs := looks()
		if keys := client.Keys(t.Context(), "*").Val(); len(keys) > 0 || strings.Contains(logs, "the ledger is empty") {
			t.Errorf("%s writes %q, and says %s", name, keys, logs)
		}
	}
}
