package adapter_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/config"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

const (
	ioKey     = "io-key-0123456789abcdef"
	postToken = "post-token-0123456789abcdef0123456789"
	readToken = "read-token-0123456789abcdef0123456789"
)

// town is the whole relay between an FSE and an IO, in one process.
type town struct {
	fse     *fse.Server
	poster  *fse.Poster
	io      *sandbox.Sandbox
	cfg     *config.Config
	redis   *redis.Client
	logs    *logs
	program *adapter.Program
	options []adapter.Option
	source  string
	stop    func()
	damaged string // why the ledger is not checked when the test has ended; "" where it is
}

type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

type change func(*config.Config, *sandbox.Options)

// build makes a town whose one source has a shape; nothing runs yet.
func build(t *testing.T, shape fhir.Shape, changes ...change) *town {
	t.Helper()
	server, ok := redistest.Start(t).(*redis.Client)
	if !ok {
		t.Fatal("no single Redis")
	}
	w := &town{fse: fse.NewServer(), redis: server, logs: &logs{}, source: "fonte"}
	w.fse.Token = readToken
	source := httptest.NewServer(w.fse)
	t.Cleanup(source.Close)
	options := sandbox.Options{Keys: []string{ioKey}}
	cfg := config.Default()
	cfg.Public.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Redis.URL = config.Secret("redis://" + server.Options().Addr + "/0")
	seal := sha256.Sum256([]byte("seal"))
	cfg.Ledger.SealKey = config.Secret(base64.StdEncoding.EncodeToString(seal[:]))
	cfg.Sources = []config.Source{{
		Name: w.source, BaseURL: source.URL + "/fhir", Aliases: []string{"https://fse.example/fhir", "https://fse.example.it/fhir"},
		Shape: string(shape), Unlabelled: "notify",
		Receive: config.Receive{BearerTokens: []config.Secret{postToken}}, Read: config.Read{BearerToken: readToken},
	}}
	cfg.IO.Key, cfg.IO.Rate = ioKey, 10_000
	cfg.IO.Polls = []config.Duration{config.Duration(20 * time.Millisecond)}
	cfg.Message.ButtonURL = "https://fascicolo.example.it/referti"
	cfg.Policy.Settle, cfg.Log.Level = 0, "debug"
	for _, change := range changes {
		change(cfg, &options)
	}
	w.io = sandbox.New(options)
	io := httptest.NewServer(w.io)
	t.Cleanup(io.Close)
	cfg.IO.BaseURL = io.URL + "/api/v1"
	if err := cfg.Complete(); err != nil {
		t.Fatal(err)
	}
	w.cfg = cfg
	t.Cleanup(func() { w.sound(t) }) // when the programs have ended, which begin later, and before Redis does
	return w
}

// sound walks the whole ledger after every test, over all sources: whatever a test does, every record has a next time, is
// held, or has a named end. A test that damages the ledger on purpose says so in damaged.
func (w *town) sound(t *testing.T) {
	t.Helper()
	if w.damaged != "" {
		t.Log("the ledger is not checked:", w.damaged)
		return
	}
	var said strings.Builder
	well, err := adapter.CheckLedger(context.WithoutCancel(t.Context()), w.cfg, slog.New(slog.DiscardHandler), &said)
	if err != nil || !well {
		t.Errorf("the ledger is not sound: %s%v", said.String(), err)
	}
}

// run starts the program; it ends with the test, or by stop.
func (w *town) run(t *testing.T) {
	t.Helper()
	program, err := adapter.Open(t.Context(), w.cfg, slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), w.options...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- program.Run(ctx) }()
	w.program = program
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	w.poster = &fse.Poster{
		URL: "http://" + program.PublicAddr().String() + "/fhir/" + w.source, Token: postToken, Server: w.fse, Client: new(http.Client),
	}
}

// record is what the ledger knows of a document, once it is at an end, held, or waits with a reason.
func (w *town) record(t *testing.T, l fhir.Locator) ledger.Record {
	t.Helper()
	key := w.program.Ledger.DocumentKey(w.source, l)
	return eventually(t, func() (ledger.Record, bool) {
		rec, known, err := w.program.Ledger.Lookup(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		moving := !known || rec.State == ledger.Sending || rec.State == ledger.Sent || (rec.State == ledger.Pending && rec.Reason == "")
		return rec, !moving
	})
}

// eventually asks until something is so.
func eventually[T any](t *testing.T, ask func() (T, bool)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		value, is := ask()
		if is {
			return value
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it never came to be: %v", value)
		case <-ticker.C:
		}
	}
}

// await waits for an event.
func await(t *testing.T, event <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	select {
	case <-event:
	case <-ctx.Done():
		t.Fatal("it never happened")
	}
}

// well checks the whole ledger.
func (w *town) well(t *testing.T) {
	t.Helper()
	checked, err := w.program.Ledger.Check(t.Context(), []string{w.source})
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range checked.Findings {
		t.Error(finding)
	}
}

func (w *town) notify(t *testing.T, flavour fse.Flavour, names ...string) {
	t.Helper()
	if err := w.poster.Notify(t.Context(), flavour, names...); err != nil {
		t.Fatal(err)
	}
}

// decision is a state and a reason as the samples' README writes them.
func decision(rec ledger.Record) string {
	switch rec.State {
	case ledger.Delivered:
		return "notify"
	case ledger.Suppressed:
		return "suppress " + rec.Reason
	case ledger.Held:
		return "hold " + rec.Reason
	case ledger.Unreachable:
		return "unreachable " + rec.Reason
	case ledger.Pending:
		return "wait " + rec.Reason
	}
	return string(rec.State) + " " + rec.Reason
}

func load(t *testing.T, path string) fse.Resource {
	t.Helper()
	return parse(t, read(t, filepath.Join("..", "testdata", "fse-samples", path)))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// reference is a file of the reference, which is not part of the project. In CI it must be there.
func reference(t *testing.T, path string) []byte {
	t.Helper()
	path = filepath.Join("..", "..", "shared", "reference", path)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs the reference beside the project")
		}
		t.Skip("the sample payloads of others are not part of the project: no reference beside it")
	}
	return read(t, path)
}

// parse reads a sample, JSON or XML.
func parse(t *testing.T, text []byte) (r fse.Resource) {
	t.Helper()
	var err error
	if bytes.HasPrefix(text, []byte("<")) {
		r, err = fse.FromXML(text)
	} else {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// atSampleTime lets a program live at the time of testdata/fse-samples: ages and cut-offs depend on it.
func (w *town) atSampleTime() {
	skew := time.Until(time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("CET", 3600)))
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return skew }))
}

// inBothForms runs a test with an FSE that speaks JSON, and with one that speaks XML only, whatever a sample is written in.
func inBothForms(t *testing.T, name string, shape fhir.Shape, test func(t *testing.T, w *town)) {
	t.Helper()
	for form, xml := range map[string]bool{"JSON": false, "XML": true} {
		t.Run(name+" as "+form, func(t *testing.T) {
			w := build(t, shape)
			w.atSampleTime()
			w.fse.XML = xml
			w.run(t)
			w.poster.XML = xml
			test(t, w)
		})
	}
}

// The documents of testdata/fse-samples are decided as their README says.
func TestSampleDocuments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file            string
		shape           fhir.Shape
		hint            string
		locator         fhir.Locator
		want, recipient string
	}{
		{"lab-report.json", fhir.ShapeReport, "", fhir.Locator{}, "notify", "RSSMRA80A01H501U"},
		{"radiology-contained.xml", fhir.ShapeReport, "", fhir.Locator{}, "notify", "BNCLCU75B68F205U"},
		{"pathology-identifier-only.json", fhir.ShapeReport, "", fhir.Locator{}, "notify", "RCCPLA66L31L736E"},
		{"hiv-label.json", fhir.ShapeReport, "", fhir.Locator{}, "suppress restricted", ""},
		{"hiv-code.json", fhir.ShapeReport, "", fhir.Locator{}, "suppress hiv", ""},
		{"genetics-category.json", fhir.ShapeReport, "", fhir.Locator{}, "suppress genetic", ""},
		{"psychiatry-label.json", fhir.ShapeReport, "", fhir.Locator{}, "suppress sensitive", ""},
		{"preliminary.json", fhir.ShapeReport, "", fhir.Locator{}, "wait not-final", ""},
		{"entered-in-error.json", fhir.ShapeReport, "", fhir.Locator{}, "suppress withdrawn", ""},
		{"fse2-laboratory.json", fhir.ShapeFSE2, "", fhir.Locator{}, "notify", "MRNLNE70M71C351Q"},
		{"fse2-obscured-p99.json", fhir.ShapeFSE2, "", fhir.Locator{}, "suppress very-restricted", ""},
		{"fse2-p99-alone.json", fhir.ShapeFSE2, "", fhir.Locator{}, "notify", "MRNLNE70M71C351Q"},
		{"fse2-hidden-p98.json", fhir.ShapeFSE2, "", fhir.Locator{}, "suppress hidden-from-citizen", ""},
		{"fse2-patient-summary.json", fhir.ShapeFSE2, "", fhir.Locator{}, "suppress not-a-report", ""},
		{"hl7it-document.json", fhir.ShapeHL7IT, "", fhir.Locator{}, "notify", "BNCLCU75B68F205U"},
	} {
		inBothForms(t, tt.file, tt.shape, func(t *testing.T, w *town) {
			t.Helper()
			sample := load(t, tt.file)
			hints, locator := w.loadSample(t, sample)
			w.notify(t, fse.R4IDOnly, hints...)
			if got := decision(w.record(t, locator)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			w.recipients(t, tt.recipient)
			w.well(t)
		})
	}
}

// loadSample keeps a sample and every patient at the FSE, and says what to hint on and which document it is.
func (w *town) loadSample(t *testing.T, sample fse.Resource) (hints []string, document fhir.Locator) {
	t.Helper()
	for _, name := range []string{"lucia", "mario"} {
		w.fse.Load(load(t, "patients/"+name+".json"))
	}
	w.fse.Load(sample)
	if sample["resourceType"] == "DiagnosticReport" {
		id, _ := sample["id"].(string)
		return []string{"DiagnosticReport/" + id}, fhir.Locator{Type: "DiagnosticReport", ID: id}
	}
	entries, _ := sample["entry"].([]any)
	for _, e := range entries {
		r, _ := e.(fse.Resource)["resource"].(fse.Resource)
		id, _ := r["id"].(string)
		switch r["resourceType"] {
		case "DiagnosticReport":
			hints = append(hints, "DiagnosticReport/"+id)
		case "Composition":
			identifier, _ := r["identifier"].(fse.Resource)
			document = fhir.Locator{Type: "Composition", ID: id}
			document.System, _ = identifier["system"].(string)
			document.Value, _ = identifier["value"].(string)
		}
	}
	return hints, document
}

// recipients wants one message for each code, and no other.
func (w *town) recipients(t *testing.T, codes ...string) {
	t.Helper()
	messages := w.io.Messages()
	var want []string
	got := make([]string, 0, len(messages))
	for _, code := range codes {
		if code != "" {
			want = append(want, code)
		}
	}
	for _, taken := range messages {
		got = append(got, taken.Recipient.Reveal())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d messages, want %d, to whom the sample says", len(got), len(want))
	}
}

func TestSamplePatients(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ file, want, recipient, detail string }{
		{"lucia.json", "notify", "BNCLCU75B68F205U", ""},
		{"mario.json", "notify", "RSSMRA80A01H501U", ""},
		{"omocodia.json", "notify", "SPSGNR58C31F8PVE", ""},
		{"stp-only.json", "unreachable no-fiscal-code", "", "stp"},
		{"eni-only.xml", "unreachable no-fiscal-code", "", "eni"},
		{"team-foreign.json", "unreachable no-fiscal-code", "", "team"},
		{"two-codes-periods.json", "notify", "VRDNNA80B69A944R", ""},
		{"merged.json", "notify", "GRCLCU95P30A662C", ""},
		{"survivor.json", "notify", "GRCLCU95P30A662C", ""},
		{"deceased.json", "suppress deceased", "", ""},
		{"minor.json", "suppress minor", "", ""},
		{"newborn.json", "suppress minor", "", ""},
		{"old-sid.json", "notify", "CLMGLI88H49F205O", ""},
	} {
		inBothForms(t, tt.file, fhir.ShapeReport, func(t *testing.T, w *town) {
			t.Helper()
			w.reportOf(t, load(t, "patients/"+tt.file), tt.want, tt.recipient)
			eventually(t, func() (string, bool) { // why there is no code is said in the log
				return "its detail in the log", tt.detail == "" || strings.Contains(w.logs.String(), `"reason":"no-fiscal-code","detail":"`+tt.detail+`"`)
			})
		})
	}
	inBothForms(t, "Patient-cf-residenza.xml", fhir.ShapeReport, func(t *testing.T, w *town) {
		t.Helper()
		w.reportOf(t, parse(t, reference(t, "fhir-samples/patients/Patient-cf-residenza.xml")), "notify", "TSTPSN80A01D612A")
	})
}

// reportOf publishes an ordinary report of a patient, and wants a decision on it.
func (w *town) reportOf(t *testing.T, patient fse.Resource, want, recipient string) {
	t.Helper()
	w.fse.Load(load(t, "patients/survivor.json"))
	w.fse.Load(patient)
	report := load(t, "lab-report.json")
	report["subject"] = fse.Resource{"reference": fmt.Sprint("Patient/", patient["id"])}
	w.fse.Load(report)
	locator := fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint(report["id"])}
	w.notify(t, fse.ClassicPut, "DiagnosticReport/"+locator.ID)
	if got := decision(w.record(t, locator)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	w.recipients(t, recipient)
	w.well(t)
}

func TestAHandshakeInXMLIsAnsweredAsAnyBundle(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	w.run(t)
	body := bytes.NewReader(reference(t, "fhir-samples/drafts/Bundle-notification-handshake.xml"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.poster.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+postToken)
	req.Header.Set("Content-Type", "application/fhir+xml")
	res, err := w.poster.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer fse.Resource
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK || answer["resourceType"] != "Bundle" {
		t.Errorf("answer %d with a %v, %v", res.StatusCode, answer["resourceType"], err)
	}
	w.well(t)
}

// publish keeps a case at the FSE.
func (w *town) publish(c fse.Case) fhir.Locator {
	for _, r := range c.Resources {
		w.fse.Put(r)
	}
	return fhir.Locator{Type: c.Type, ID: c.ID, System: c.System, Value: c.Value}
}

// told are ordinary cases of a population.
func told(n int, composition bool) (cases []fse.Case) {
	for _, c := range fse.Population(4*n+40, 3, composition) {
		if c.Outcome == "told" && len(cases) < n {
			cases = append(cases, c)
		}
	}
	return cases
}

func mustParse(t *testing.T, code string) fiscalcode.Code {
	t.Helper()
	parsed, err := fiscalcode.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
