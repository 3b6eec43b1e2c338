package fhir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"staffetta/fhir"
)

var limits = fhir.Limits{MaxBytes: 64 << 20, MaxDepth: 64, MaxEntries: 1000}

func decode(body io.Reader, documents bool) (fhir.Notification, error) {
	return fhir.DecodeNotification(fhir.NotificationRequest{
		Method: http.MethodPost, ContentType: "application/fhir+json", Body: body, Limits: limits, Documents: documents,
	})
}

// events writes events down as tests read them.
func events(n fhir.Notification) string {
	var all []string
	for _, e := range n.Events {
		text := e.Type + "/" + e.ID
		if e.Version != "" {
			text += "@" + e.Version
		}
		if !e.LastUpdated.IsZero() {
			text += "#" + e.LastUpdated.UTC().Format("15:04:05")
		}
		if e.Number != 0 {
			text += fmt.Sprintf(" %d", e.Number)
		}
		if e.Deleted {
			text = "-" + text
		}
		all = append(all, text)
	}
	if n.CatchUp {
		all = append(all, "catch up")
	}
	return strings.Join(all, ", ")
}

func TestFlavours(t *testing.T) {
	for _, tt := range []struct {
		file         string
		kind         fhir.Kind
		subscription string
		count        int64
		want         string
	}{
		{"r4-handshake.json", fhir.KindHandshake, "s1", 0, ""},
		{"r4-empty.json", fhir.KindEvent, "s1", 7, "catch up"},
		{"r4-id-only.json", fhir.KindEvent, "s1", -1, "DiagnosticReport/r1 7"},
		{"r4-full-two-events.json", fhir.KindEvent, "s1", 8, "DiagnosticReport/r1@2#09:05:00 7, DiagnosticReport/r2@1#09:05:30 8"},
		{"r4b-event.json", fhir.KindEvent, "s1", 8, "DiagnosticReport/r2 8"},
		{"r5-heartbeat.json", fhir.KindHeartbeat, "s1", 8, ""},
		{"r5-urn-focus.json", fhir.KindEvent, "s1", -1, "DiagnosticReport/r9@a-b#09:05:00 1"},
		{"aidbox-destination.json", fhir.KindEvent, "d1", -1, "DiagnosticReport/r1 1"},
		{"aidbox-old.json", fhir.KindClassic, "", -1, "DiagnosticReport/r1@4"},
		{"hapi-delete.json", fhir.KindEvent, "s1", -1, "-DiagnosticReport/r3 3"},
		{"hapi-transaction.json", fhir.KindBatch, "", -1, "DiagnosticReport/r1@3, DiagnosticReport/r2"},
		{"backport-0.1.json", fhir.KindEvent, "s1", 4, "DiagnosticReport/r7"},
		{"message.json", fhir.KindEvent, "s1", -1, "DiagnosticReport/r1 1"},
		{"orca.json", fhir.KindEvent, "s1", -1, "DiagnosticReport/r1"},
		{"composition-and-reference.json", fhir.KindEvent, "s1", -1, ""},
	} {
		t.Run(tt.file, func(t *testing.T) {
			for form, body := range forms(t, read(t, "../testdata/notifications/"+tt.file)) {
				n, err := decode(strings.NewReader(body), false)
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if n.Kind != tt.kind || n.Subscription != tt.subscription || n.EventCount != tt.count || events(n) != tt.want {
					t.Errorf("%s: got %s of %q with count %d: %s\nwant %s of %q with count %d: %s", form,
						n.Kind, n.Subscription, n.EventCount, events(n), tt.kind, tt.subscription, tt.count, tt.want)
				}
			}
		})
	}
}

func TestCompositionsAreHintsWhereTheyAreDocuments(t *testing.T) {
	for form, body := range forms(t, read(t, "../testdata/notifications/composition-and-reference.json")) {
		n, err := decode(strings.NewReader(body), true)
		if want := "Composition/c1 1, DocumentReference/d1 2"; err != nil || events(n) != want {
			t.Errorf("%s: got %s, %v; want %s", form, events(n), err, want)
		}
	}
}

func read(tb testing.TB, path string) string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// reference is a file of the reference, which is not part of the project. In CI it must be there.
func reference(tb testing.TB, path string) string {
	tb.Helper()
	path = filepath.Join("..", "..", "shared", "reference", path)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatal("CI needs the reference beside the project")
		}
		tb.Skip("the sample payloads of others are not part of the project: no reference beside it")
	}
	return read(tb, path)
}

// Every sample of the reference is read as its README says.
func TestSamplesOfOthers(t *testing.T) {
	for _, tt := range []struct {
		file string
		kind fhir.Kind
		want string
	}{
		{"backport-r4/handshake_bundle_example.json", fhir.KindHandshake, ""},
		{"backport-r4/heartbeat_bundle_example.json", fhir.KindHeartbeat, ""},
		{"backport-r4/empty_notification_bundle_example.json", fhir.KindEvent, "catch up"},
		{"backport-r4/id_only_notification_bundle_example.json", fhir.KindEvent, ""},
		{"backport-r4/full_resource_notification_bundle_example.json", fhir.KindEvent, ""},
		{"backport-r4/subscription_status_example.json", fhir.KindEvent, ""}, // its own type says so, not query-status,
		{"backport-r4/subscription_resource_example.json", fhir.KindIgnored, ""},
		{"backport-r4/Subscription_id-only.json", fhir.KindIgnored, ""},
		{"backport-r4/Subscription_full-resource.json", fhir.KindIgnored, ""},
		{"backport-r4/candle-r4-handshake.json", fhir.KindHandshake, ""},
		{"r4b/notification-handshake.json", fhir.KindHandshake, ""},
		{"r4b/notification-heartbeat.json", fhir.KindHeartbeat, ""},
		{"r4b/notification-empty.json", fhir.KindEvent, "catch up"},
		{"r4b/notification-full-resource-with-patient.json", fhir.KindEvent, ""},
		{"r4b/notification-id-only-query.json", fhir.KindQueryEvent, ""},
		{"r4b/notification-query-status.json", fhir.KindQueryStatus, ""},
		{"r5/notification-handshake.json", fhir.KindHandshake, ""},
		{"r5/notification-heartbeat.json", fhir.KindHeartbeat, ""},
		{"r5/notification-id-only.json", fhir.KindEvent, ""},
		{"r5/notification-full-resource-with-patient.json", fhir.KindEvent, ""},
		{"r5/notification-query-status.json", fhir.KindQueryStatus, ""},
		{"r5/subscription-example.json", fhir.KindIgnored, ""},
		{"drafts/Bundle-notification-full-resource.json", fhir.KindEvent, ""},
		{"drafts/Bundle-notification-handshake.xml", fhir.KindHandshake, ""},
		{"classic-r4/diagnosticreport-example-ultrasound.json", fhir.KindClassic, "DiagnosticReport/ultrasound"},
		{"classic-r4/diagnosticreport-example-papsmear.json", fhir.KindClassic, "DiagnosticReport/pap"},
		{"classic-r4/diagnosticreport-example-f201-brainct.json", fhir.KindClassic, "DiagnosticReport/f201"},
		{"patients/patient-example.json", fhir.KindIgnored, ""},
		{"patients/patient-example-a.json", fhir.KindIgnored, ""},
		{"patients/Patient-cf-residenza.xml", fhir.KindIgnored, ""},
	} {
		t.Run(tt.file, func(t *testing.T) {
			for form, body := range forms(t, reference(t, "fhir-samples/"+tt.file)) {
				n, err := decode(strings.NewReader(body), false)
				if err != nil || n.Kind != tt.kind || events(n) != tt.want {
					t.Errorf("%s: got %s: %s, %v; want %s: %s", form, n.Kind, events(n), err, tt.kind, tt.want)
				}
				if strings.HasPrefix(string(n.Kind), "event") && n.Subscription == "" {
					t.Errorf("%s: the subscription is not known", form)
				}
			}
		})
	}
}

func TestWithoutBody(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  fhir.NotificationRequest
		kind fhir.Kind
		want string
	}{
		{"a ping", fhir.NotificationRequest{Method: "POST"}, fhir.KindPing, "catch up"},
		{"an id in the path", fhir.NotificationRequest{Method: "PUT", PathType: "DiagnosticReport", PathID: "r1", IfMatch: `W/"3"`}, fhir.KindClassic, "DiagnosticReport/r1@3"},
		{"a delete", fhir.NotificationRequest{Method: "DELETE", PathType: "DiagnosticReport", PathID: "r1"}, fhir.KindClassic, "-DiagnosticReport/r1"},
		{"a delete of nothing of ours", fhir.NotificationRequest{Method: "DELETE", PathType: "Patient", PathID: "p1"}, fhir.KindIgnored, ""},
		{"Medplum's delete", fhir.NotificationRequest{Method: "POST", MedplumDeleted: "DiagnosticReport/r1"}, fhir.KindClassic, "-DiagnosticReport/r1"},
		{"blanks", fhir.NotificationRequest{Method: "POST", Body: strings.NewReader(" \r\n ")}, fhir.KindPing, "catch up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.req.Body == nil {
				tt.req.Body = http.NoBody
			}
			tt.req.Limits = limits
			n, err := fhir.DecodeNotification(tt.req)
			if err != nil || n.Kind != tt.kind || events(n) != tt.want {
				t.Errorf("got %s: %s, %v; want %s: %s", n.Kind, events(n), err, tt.kind, tt.want)
			}
		})
	}
}

func TestWhatIsWrongIsSaidWithoutValues(t *testing.T) {
	for _, tt := range []struct{ name, body, code, expression string }{
		{"a bare status", `{"resourceType":"SubscriptionStatus","type":"handshake"}`, "invalid", ""},
		{"no type", `{"id":"RSSMRA80A01H501U"}`, "invalid", ""},
		{"a report without an id", `{"resourceType":"DiagnosticReport"}`, "required", "DiagnosticReport.id"},
		{"a name twice", `{"resourceType":"DiagnosticReport","id":"r1","id":"r2"}`, "structure", "id"},
		{"a Bundle without a type", `{"resourceType":"Bundle","entry":[]}`, "required", "Bundle.type"},
		{"a Bundle whose type is a number", `{"resourceType":"Bundle","type":5,"entry":[]}`, "value", "Bundle.type"},
		{"a Bundle whose type is no code", `{"resourceType":"Bundle","type":"RSSMRA80A01H501U"}`, "value", "Bundle.type"},
		{"a Bundle whose entries are a number", `{"resourceType":"Bundle","type":"history","entry":5}`, "structure", "Bundle.entry"},
		{"a Bundle with an entry that is none", `{"resourceType":"Bundle","type":"transaction","entry":[{},"a"]}`, "structure", "Bundle.entry"},
		{"a name twice, deep inside", `{"resourceType":"Bundle","type":"history","entry":[{},{"resource":{"id":"1","id":"1"}}]}`, "structure", "entry[1].resource.id"},
		{"cut in an entry", `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"id":tru`, "structure", "entry[0].resource.id"},
		{"a made-up name is not repeated", `{"RSSMRA80A01H501U":tru`, "structure", ""},
		{"two values", `{"resourceType":"Patient"} {}`, "structure", ""},
		{"an array", `[]`, "structure", ""},
		{"an id that is no UTF-8", "{\"resourceType\":\"DiagnosticReport\",\"id\":\"\xff\"}", "required", "DiagnosticReport.id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decode(strings.NewReader(tt.body), true)
			issue, ok := errors.AsType[*fhir.Issue](err)
			if !ok || issue.Code != tt.code || issue.Expression != tt.expression {
				t.Fatalf("got %+v, want %s at %q", err, tt.code, tt.expression)
			}
			if outcome := string(fhir.Outcome(issue)); strings.Contains(outcome, "RSSMRA") || !strings.Contains(outcome, `"code":"`+tt.code+`"`) {
				t.Errorf("outcome %s", outcome)
			}
		})
	}
}

// pdf is a body whose string never ends before n bytes.
type pdf struct{ left int }

func (p *pdf) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b), p.left)
	for i := range b[:n] {
		b[i] = "JVBERi0xLjQK"[i%12]
	}
	p.left -= n
	return n, nil
}

func TestAPDFIsNeverHeld(t *testing.T) {
	const size = 20 << 20
	body := func() io.Reader {
		return io.MultiReader(strings.NewReader(`{"resourceType":"DiagnosticReport","presentedForm":[{"data":"`), &pdf{size},
			strings.NewReader(`"}],"id":"r1"}`))
	}
	if n, err := decode(body(), false); err != nil || events(n) != "DiagnosticReport/r1" {
		t.Fatalf("got %s, %v", events(n), err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := decode(body(), false)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if held := after.TotalAlloc - before.TotalAlloc; held > 512<<10 {
		t.Errorf("%d bytes were allocated for a report with a PDF of %d", held, size)
	}
}

func TestTooLargeTooDeepTooMany(t *testing.T) {
	tight := fhir.Limits{MaxBytes: 1 << 20, MaxDepth: 16, MaxEntries: 10}
	for name, body := range map[string]io.Reader{
		"too large":         io.MultiReader(strings.NewReader(`{"a":"`), &pdf{2 << 20}),
		"too large, blanks": strings.NewReader(strings.Repeat(" ", 2<<20)),
		"too deep":          strings.NewReader(strings.Repeat(`{"a":`, 1000)),
		"too many names":    strings.NewReader(`{"resourceType":"Patient","a":{` + strings.Repeat(`"a":1,`, 1000)),
		"too many entries":  strings.NewReader(`{"resourceType":"Bundle","type":"batch","entry":[` + strings.Repeat(`{},`, 1000) + `{}]}`),
	} {
		_, err := fhir.DecodeNotification(fhir.NotificationRequest{Method: "POST", Body: body, Limits: tight})
		issue, ok := errors.AsType[*fhir.Issue](err)
		if !ok || issue.Status < 400 || issue.Status > 413 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A notification that is not quite one is never taken and forgotten: what it names is looked at, or its sender hears of it.
func TestNotificationsWithoutAStatusInItsPlace(t *testing.T) {
	const (
		report  = `{"resource":{"resourceType":"DiagnosticReport","id":"r1"},"request":{"method":"PUT","url":"DiagnosticReport/r1"}}`
		patient = `{"resource":{"resourceType":"Patient","id":"p1"}}`
		status  = `{"resource":{"resourceType":"SubscriptionStatus","type":"event-notification","subscription":{"reference":"Subscription/s1"},` +
			`"notificationEvent":[{"eventNumber":"3","focus":{"reference":"DiagnosticReport/r1"}}]}}`
		nobodys = `{"resource":{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"event-notification"},{"name":"notification-event",` +
			`"part":[{"name":"event-number","valueString":"3"},{"name":"focus","valueReference":{"reference":"DiagnosticReport/r1"}}]}]}}`
	)
	for _, tt := range []struct {
		name, kind, entries string
		wantKind            fhir.Kind
		want                string
		wantCode            string
	}{
		{"the status stands last", "subscription-notification", report + "," + status, fhir.KindEvent, "DiagnosticReport/r1 3", ""},
		{"the same in R4B", "history", report + "," + status, fhir.KindEvent, "DiagnosticReport/r1 3", ""},
		{"the status names no Subscription", "history", nobodys, fhir.KindEvent, "DiagnosticReport/r1 3", ""},
		{"no status", "subscription-notification", report, fhir.KindBatch, "DiagnosticReport/r1", ""},
		{"no status in R4B", "history", patient + "," + report, fhir.KindBatch, "DiagnosticReport/r1", ""},
		{"no status, and nothing of ours", "subscription-notification", patient, "", "", "required"},
		{"nothing at all", "subscription-notification", "", "", "", "required"},
		{"a history of nothing of ours", "history", patient, fhir.KindIgnored, "", ""},
		{"a history of nothing", "history", "", "", "", "required"},
		{"a history of null", "history", "null", "", "", "required"},
		{"a history of what is no resource", "history", `{"resource":{"resourceType":"../x"}}`, "", "", "required"},
		{"a status without parameters", "history", `{"resource":{"resourceType":"Parameters","parameter":"x"}}`, "", "", "required"},
		{"a status of nothing that we know", "history", `{"resource":{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"x"}]}}`, "", "", "required"},
		{
			"a status that names its Subscription only", "history",
			`{"resource":{"resourceType":"Parameters","parameter":[{"name":"subscription","valueReference":{"reference":"Subscription/s1"}}]}}`, fhir.KindEvent, "catch up", "",
		},
		{"a status that says its type only", "history", `{"resource":{"resourceType":"Parameters","parameter":[{"name":"type","valueCode":"heartbeat"}]}}`, fhir.KindHeartbeat, "", ""},
		{"a Bundle of no type that we know", "zzz", patient + "," + report, fhir.KindBatch, "DiagnosticReport/r1", ""},
		{"the same with nothing of ours", "zzz", patient, fhir.KindIgnored, "", ""},
		{"a transaction is none, whatever it holds", "transaction", report + "," + status, fhir.KindBatch, "DiagnosticReport/r1", ""},
	} {
		n, err := decode(strings.NewReader(`{"resourceType":"Bundle","type":"`+tt.kind+`","entry":[`+tt.entries+`]}`), false)
		issue, _ := errors.AsType[*fhir.Issue](err)
		if issue == nil {
			issue = &fhir.Issue{}
		}
		if n.Kind != tt.wantKind || events(n) != tt.want || issue.Code != tt.wantCode {
			t.Errorf("%s: %s with %q, %v; want %s with %q, %q", tt.name, n.Kind, events(n), err, tt.wantKind, tt.want, tt.wantCode)
		}
	}
}

// max_entries bounds events too, in the form of either version, and what they are named by: whoever may not be known yet can send
// tens of millions of bytes that are a few thousand on the wire.
func TestTooManyEvents(t *testing.T) {
	tight := fhir.Limits{MaxBytes: 64 << 20, MaxDepth: 16, MaxEntries: 10}
	status := func(events int) string {
		one := `{"eventNumber":"1","focus":{"reference":"DiagnosticReport/r1"}}`
		return `{"resource":{"resourceType":"SubscriptionStatus","type":"event-notification","notificationEvent":[` +
			strings.TrimSuffix(strings.Repeat(one+",", events), ",") + `]}}`
	}
	parameters := func(events int) string {
		one := `,{"name":"notification-event","part":[{"name":"focus","valueReference":{"reference":"DiagnosticReport/r1"}}]}`
		return `{"resource":{"resourceType":"Parameters","parameter":[{"name":"subscription","valueReference":{"reference":"Subscription/s1"}},` +
			`{"name":"type","valueCode":"event-notification"}` + strings.Repeat(one, events) + `]}}`
	}
	long := strings.Repeat("a", 2000)
	named := func(entries int) string {
		return strings.TrimSuffix(strings.Repeat(`{"fullUrl":"`+long+`","resource":{"resourceType":"`+long+`"}},`, entries), ",")
	}
	for _, tt := range []struct {
		name, entries string
		want          int
	}{
		{"as many events as there may be", status(10), 0},
		{"one more", status(11), http.StatusRequestEntityTooLarge},
		{"as many events as there may be, in Parameters", parameters(10), 0},
		{"one more in Parameters", parameters(11), http.StatusRequestEntityTooLarge},
		{"one with very long names", named(1), 0},
		{"as many entries as there may be, with very long names", named(10), http.StatusRequestEntityTooLarge},
	} {
		body := strings.NewReader(`{"resourceType":"Bundle","type":"history","entry":[` + tt.entries + `]}`)
		_, err := fhir.DecodeNotification(fhir.NotificationRequest{Method: "POST", Body: body, Limits: tight})
		issue, _ := errors.AsType[*fhir.Issue](err)
		if got := statusOf(issue); got != tt.want {
			t.Errorf("%s: got %d (%v), want %d", tt.name, got, err, tt.want)
		}
	}
}

func statusOf(issue *fhir.Issue) int {
	if issue == nil {
		return 0
	}
	return issue.Status
}

func TestADuplicateNameIsCalledSo(t *testing.T) {
	for body, want := range map[string]string{
		`{"resourceType":"Patient","meta":{"versionId":"1","versionId":"2"}}`: "meta.versionId: the body is JSON with a duplicate name in one object",
		`{"RSSMRA80A01H501U":1,"RSSMRA80A01H501U":2}`:                         "the body is JSON with a duplicate name in one object",
	} {
		if _, err := decode(strings.NewReader(body), false); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestContentTypes(t *testing.T) {
	for header, want := range map[string]int{
		"": 0, "application/fhir+json": 0, "application/json; charset=utf-8": 0, "text/json": 0, "application/fhir+json; fhirVersion=4.0": 0,
		"application/json; charset": 0, "application/fhir+json;": 0, "application/json; charset=": 0, "APPLICATION/JSON": 0,
		"text/html": 415, "text/html; charset": 415, "application": 415, ";": 415, "json; a=b": 415,
	} {
		_, err := decodeAs(header, strings.NewReader(`{"resourceType":"DiagnosticReport","id":"r1"}`), limits)
		issue, _ := errors.AsType[*fhir.Issue](err)
		if (want == 0) != (err == nil) || (issue != nil && issue.Status != want) {
			t.Errorf("%q: got %v, want %d", header, err, want)
		}
	}
}

func FuzzDecodeNotification(f *testing.F) {
	files, err := filepath.Glob("../testdata/*/*.json")
	if err != nil || len(files) < 20 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		f.Add([]byte(read(f, file)), true)
	}
	tight := fhir.Limits{MaxBytes: 1 << 20, MaxDepth: 32, MaxEntries: 100}
	f.Fuzz(func(t *testing.T, body []byte, documents bool) {
		n, err := fhir.DecodeNotification(fhir.NotificationRequest{
			Method: http.MethodPost, ContentType: "application/json", Body: bytes.NewReader(body), Limits: tight, Documents: documents,
		})
		if err != nil {
			if issue, ok := errors.AsType[*fhir.Issue](err); !ok || issue.Status < 400 || issue.Status > 422 {
				t.Fatalf("no clear issue: %v", err)
			}
			return
		}
		if n.Kind == "" || len(n.Events) > 100*6 {
			t.Fatalf("%d events of kind %q", len(n.Events), n.Kind)
		}
		for _, e := range n.Events {
			if !fhir.IsID(e.ID) {
				t.Fatal("an event names no id")
			}
		}
	})
}

func BenchmarkDecodeNotification(b *testing.B) {
	report := `{"resourceType":"DiagnosticReport","id":"r1","meta":{"versionId":"2","lastUpdated":"2026-01-10T09:05:00Z"},"presentedForm":[{"data":"%s"}]}`
	for name, body := range map[string]string{
		"2KB report":   fmt.Sprintf(report, strings.Repeat("x", 1900)),
		"1MB with PDF": fmt.Sprintf(report, strings.Repeat("JVBERi0xLjQK", 1<<20/12)),
		"id-only":      read(b, "../testdata/notifications/r4-id-only.json"),
		"printed":      printed(b, read(b, "../testdata/notifications/r4-id-only.json")),
	} {
		b.Run(name, func(b *testing.B) { benchmarkDecode(b, body) })
		translated, err := inXML(body)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+" in XML", func(b *testing.B) { benchmarkDecode(b, translated) })
	}
}

// printed is JSON in lines, as HL7's own examples are.
func printed(b *testing.B, body string) string {
	b.Helper()
	var lines bytes.Buffer
	if err := json.Indent(&lines, []byte(body), "", "  "); err != nil {
		b.Fatal(err)
	}
	return lines.String()
}

func benchmarkDecode(b *testing.B, body string) {
	b.Helper()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(strings.NewReader(body), false); err != nil {
			b.Fatal(err)
		}
	}
}
