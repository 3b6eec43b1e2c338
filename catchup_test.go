package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"staffetta/fhir/sandbox"
)

// catchUp runs the command.
func (r *region) catchUp(t *testing.T, flags ...string) (code int, out, logs string) {
	t.Helper()
	code, out, logs = command(t, append([]string{"catchup", "regione", "--config", r.file}, flags...)...)
	out = regexp.MustCompile(`since \S+ \S+\n`).ReplaceAllString(out, "since WHEN\n")
	return code, out, logs
}

// published keeps a report that changed and was issued on the noon so many days ago.
func (r *region) published(n int, status string, daysAgo int) {
	year, month, day := time.Now().Date()
	at := time.Date(year, month, day-daysAgo, 12, 0, 0, 0, time.Local)
	birth := time.Date(1970, 1, 1+n%28, 0, 0, 0, 0, time.UTC)
	patient := fmt.Sprint("p", n)
	r.server.Load(sandbox.Patient(patient, sandbox.CodeOf(n, birth), birth))
	r.server.Load(sandbox.Resource{
		"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", n), "status": status, "issued": at.Format(time.RFC3339),
		"subject": sandbox.Resource{"reference": "Patient/" + patient},
		"meta":    sandbox.Resource{"versionId": "1", "lastUpdated": at.UTC().Format(time.RFC3339Nano)},
	})
}

func dayBefore(n int) string {
	year, month, day := time.Now().Date()
	return time.Date(year, month, day-n, 12, 0, 0, 0, time.Local).Format(time.DateOnly)
}

const (
	embeddedBacklog = "redis      embedded: nothing is known of what was told\nsource     regione, shape report: what changed since WHEN\n"
	dryLine         = "dry run    nobody is told now; each document is read once, on the day of its last change\n\n"
	searchedLine    = "searched   DiagnosticReport?status=final%%2Camended%%2Ccorrected%%2Cappended%%2Ccancelled%%2Centered-in-error%%2Cmodified: %d resources in N calls\n"
)

// A dry run counts per day and decision, and tells nobody.
func TestCatchUpDryRun(t *testing.T) {
	r := found(t, "HAPI", "report", "")
	r.published(1, "final", 3)
	r.published(2, "final", 3)
	r.published(3, "entered-in-error", 3)
	r.published(4, "final", 20)
	r.published(5, "final", 40)
	r.published(6, "registered", 3)

	code, out, _ := r.catchUp(t, "--dry-run")
	wantHead := func(hits int) string { return embeddedBacklog + fmt.Sprintf(searchedLine, hits) + dryLine }
	plain := func(out string) string { return regexp.MustCompile(`\d+ calls`).ReplaceAllString(out, "N calls") }
	r.wants(t, "a month", code, 0, plain(out), wantHead(4)+`day         resources  documents  decision
`+dayBefore(3)+`  3          2          notify
                       1          suppress withdrawn
`+dayBefore(20)+`  1          1          notify
all         4          3          notify
                       1          suppress withdrawn
`)

	code, out, _ = r.catchUp(t, "--dry-run", "--since", "60d", "--resources", "2")
	r.wants(t, "longer, and only two are looked at", code, 0, plain(out), wantHead(5)+`day         resources  documents  decision
`+dayBefore(3)+`  3          2          notify
                                  not looked at: 1 resources
`+dayBefore(20)+`  1                     not looked at: 1 resources
`+dayBefore(40)+`  1                     not looked at: 1 resources
all         5          2          notify
                                  not looked at: 3 resources
`)

	if _, out, _ = r.catchUp(t, "--dry-run", "--since", dayBefore(60)); !strings.Contains(out, dayBefore(40)+"  1          1          suppress too-old\n") {
		t.Errorf("what is too old is told to nobody:\n%s", out)
	}
	if _, out, _ = r.catchUp(t, "--dry-run", "--since", "1h"); !strings.Contains(out, "0 resources in") {
		t.Errorf("nothing changed within an hour:\n%s", out)
	}
}

func TestCatchUpSaysWhatIsWrong(t *testing.T) {
	r := found(t, "HAPI", "report", "")
	for _, tt := range []struct {
		name  string
		flags []string
		code  int
		want  string
	}{
		{"a ledger that lives in another process", nil, exitFinding, "embedded"},
		{"a time that has not come", []string{"--since", "2999-01-01"}, exitUsage, "--since"},
		{"no time", []string{"--since", "yesterday"}, exitUsage, "--since"},
		{"a length of nothing", []string{"--since", "0d"}, exitUsage, "--since"},
		{"one thing at a time", []string{"--dry-run", "--forgo"}, exitUsage, "--dry-run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, out, logs := r.catchUp(t, tt.flags...); code != tt.code || !strings.Contains(logs, tt.want) {
				t.Errorf("exit code %d, want %d; %q is not in\n%s%s", code, tt.code, tt.want, out, logs)
			}
		})
	}
	r.published(1, "final", 1)
	r.server.Misbehave(sandbox.Quirks{ErrorInside: true})
	if code, out, logs := r.catchUp(t, "--dry-run"); code != exitFinding || !strings.Contains(logs, "not credible") {
		t.Errorf("a list that may be wrong: exit code %d\n%s%s", code, out, logs)
	}
	if code, _, logs := command(t, "catchup", "nobody", "--dry-run", "--config", r.file); code != exitFinding || !strings.Contains(logs, "want the name of a source: regione") {
		t.Errorf("an unknown source: exit code %d, %s", code, logs)
	}
}
