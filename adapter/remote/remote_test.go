package remote

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/adapter/policy"
	"staffetta/adapter/relay"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	oldKey, newKey = "old-remote-key-0123456789", "new-remote-key-0123456789"
	portalToken    = "portal-token-0123456789"
	institution    = "ASL Esempio"
)

// house is a server with one document that its citizen was told of.
type house struct {
	*Server

	fse      *fse.Server
	redis    redis.UniversalClient
	document fse.Case
	id       string // the message's reference
	log      *bytes.Buffer

	mu    sync.Mutex
	clock time.Time
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clock
}

// later lets what was seen grow old.
func (h *house) later() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = h.clock.Add(2 * fresh)
}

func build(t *testing.T, changes ...func(*Options)) *house {
	t.Helper()
	h := &house{fse: fse.NewServer(), redis: redistest.Start(t), log: &bytes.Buffer{}, clock: time.Now()}
	source := httptest.NewServer(h.fse)
	t.Cleanup(source.Close)
	naming, seal := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal"))
	led, err := ledger.Open(t.Context(), ledger.Options{
		Redis: h.redis, NamingKey: naming[:], SealKeys: []ledger.SealKey{{ID: 1, Key: seal[:]}}, JournalEntries: 100, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.NewRules(policy.Options{MaxAge: 30 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	composer, err := notifier.NewComposer(notifier.ComposerOptions{Wording: notifier.Referto, First: notifier.Button{
		URL: "https://fascicolo.example.it/documenti/{ref}", Italian: "Vai al Fascicolo Sanitario", English: "Go to your health record",
	}})
	if err != nil {
		t.Fatal(err)
	}
	read, err := fhir.NewSource(fhir.SourceOptions{
		Name: "regione", BaseURL: source.URL + "/fhir", Aliases: []string{"https://fse.example.it/fhir"}, Shape: fhir.ShapeFSE2, Client: source.Client(), MaxBody: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Ledger: led, Sources: map[string]relay.Source{"regione": {Source: read}}, Institutions: map[string]string{"regione": institution},
		Rules: rules, Composer: composer, APIKeys: []string{oldKey, newKey}, Header: "X-API-Key", Show: []string{"kind", "date", "institution"},
		Tokens: []string{portalToken}, Metrics: prometheus.NewRegistry(), Now: h.now,
		Log: slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range changes {
		change(&o)
	}
	if h.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Wait)
	h.publish()
	h.id = h.tell(t, ledger.Published, "it")
	return h
}

// publish keeps a document at the FSE.
func (h *house) publish() {
	for _, c := range fse.Population(40, 3, true) {
		if c.Outcome == "told" {
			h.document = c
			break
		}
	}
	for _, r := range h.document.Resources {
		h.fse.Put(r)
	}
}

func (h *house) locator() fhir.Locator {
	c := h.document
	return fhir.Locator{Type: c.Type, ID: c.ID, System: c.System, Value: c.Value}
}

// tell lets the ledger know that the citizen was told, and gives the message's reference.
func (h *house) tell(t *testing.T, publication ledger.Publication, language string, released ...string) string {
	t.Helper()
	key := h.Ledger.DocumentKey("regione", h.locator())
	if _, err := h.Ledger.Admit(t.Context(), []ledger.Hint{{Key: key, Source: "regione", Locator: h.locator(), State: ledger.Pending}}); err != nil {
		t.Fatal(err)
	}
	got, err := h.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 1, Sources: []string{"regione"}})
	if err != nil || len(got.Records) != 1 {
		t.Fatalf("%d records, %v", len(got.Records), err)
	}
	rec := got.Records[0]
	person, err := fiscalcode.Parse(h.document.Code)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := h.Sources["regione"].Read(t.Context(), h.locator())
	if err != nil {
		t.Fatal(err)
	}
	rec.State = ledger.Delivered
	rec.Told = ledger.Told{Publication: publication, At: rec.Now.Add(time.Second), Person: h.Ledger.PersonTag(person), Edition: h.Ledger.EditionTag(doc.Edition)}
	if _, err := h.Ledger.Settle(t.Context(), []ledger.Settlement{{Record: rec, Event: "delivered", Referenced: true, Released: released, ReleasedFor: rec.Told.Edition}}); err != nil {
		t.Fatal(err)
	}
	return h.Ledger.Reference(ledger.Reference{
		Document: key, Person: rec.Told.Person, Edition: rec.Told.Edition, Publication: publication, Language: language,
	})
}

// reply is what was said to IO or to the portal.
type reply struct {
	status int
	header http.Header
	text   string
	body   struct {
		Details  *struct{ Subject, Markdown string }
		Title    string
		Markdown string
		Status   int
		located
	}
}

// ask sends a request; headers come in pairs, and an empty one is not sent.
func (h *house) ask(t *testing.T, method, path string, headers ...string) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	recorded := httptest.NewRecorder()
	h.ServeHTTP(recorded, r)
	a := reply{status: recorded.Code, header: recorded.Header(), text: recorded.Body.String()}
	if a.text != "" {
		if err := json.Unmarshal([]byte(a.text), &a.body); err != nil {
			t.Fatalf("%d: %v", a.status, err)
		}
	}
	keepsTheContract(t, r, recorded)
	return a
}

// open opens the message as IO does.
func (h *house) open(t *testing.T, id string) reply {
	t.Helper()
	return h.ask(t, http.MethodGet, "/io/messages/"+id, "X-API-Key", newKey, "fiscal_code", h.document.Code)
}

var contract = sync.OnceValues(func() (routers.Router, error) {
	path := filepath.Join("..", "..", "..", "shared", "reference", "io", "remote-content.openapi.yaml")
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromFile(path)
	if err != nil {
		return nil, err
	}
	doc.Servers = openapi3.Servers{{URL: "/io"}}
	return gorillamux.NewRouter(doc)
})

// keepsTheContract holds an answer to IO against its OpenAPI file, whatever was asked.
func keepsTheContract(t *testing.T, r *http.Request, recorded *httptest.ResponseRecorder) {
	t.Helper()
	router, err := contract()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs IO's OpenAPI file in the reference")
		}
		t.Log("IO's OpenAPI file is not part of the project, and not beside it: answers are not held against it")
		return
	}
	route, params, err := router.FindRoute(r)
	if err != nil {
		return // none of IO's calls
	}
	answer := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 recorded.Code, Header: recorded.Header(), Body: io.NopCloser(bytes.NewReader(recorded.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), answer); err != nil {
		t.Errorf("answer %d is none of the contract: %v", recorded.Code, err)
	}
}

// harmless wants the text that says nothing of the document.
func harmless(t *testing.T, a reply) {
	t.Helper()
	switch {
	case a.status != http.StatusOK || a.body.Details == nil:
		t.Fatalf("answer %d, want a text", a.status)
	case !strings.Contains(a.body.Details.Markdown, "I dettagli di questo documento non si possono mostrare qui"):
		t.Error("another text than the harmless one")
	case strings.Contains(a.body.Details.Markdown, institution), strings.Contains(a.body.Details.Markdown, "Referto di"):
		t.Error("the harmless text says something of the document")
	}
	wellFormed(t, a)
}

// detailed wants the document's details.
func detailed(t *testing.T, a reply) {
	t.Helper()
	if a.status != http.StatusOK || a.body.Details == nil {
		t.Fatalf("answer %d, want details", a.status)
	}
	for _, want := range []string{"**Referto di laboratorio**", "- Ente: " + institution, "- Data: ", "documenti/"} {
		if !strings.Contains(a.body.Details.Markdown, want) {
			t.Errorf("no %q in\n%s", want, a.body.Details.Markdown)
		}
	}
	wellFormed(t, a)
}

func wellFormed(t *testing.T, a reply) {
	t.Helper()
	if err := (notifier.Message{Subject: a.body.Details.Subject, Markdown: a.body.Details.Markdown}).Check(); err != nil {
		t.Error(err)
	}
	if a.header.Get("Content-Type") != "application/json; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", a.header)
	}
}

// gate puts citizens' eyes before the source, which see what the source has, or are answered with a status.
func (h *house) gate(t *testing.T, status int) {
	t.Helper()
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		h.fse.ServeHTTP(w, r)
	}))
	t.Cleanup(portal.Close)
	eyes, err := fhir.NewSource(fhir.SourceOptions{Name: "regione", BaseURL: portal.URL + "/fhir", Shape: fhir.ShapeFSE2, Client: portal.Client(), MaxBody: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	h.eyes.doors["regione"].source.Gate = &fhir.Gate{Source: eyes}
}

// edit changes the document's resources of one type at the FSE.
func (h *house) edit(kind string, change func(fse.Resource)) {
	for _, r := range h.document.Resources {
		if r["resourceType"] == kind {
			r = maps.Clone(r)
			change(r)
			h.fse.Put(r)
		}
	}
}

// Whatever becomes of a document, its message opens: with its details while its citizen may see it, else with a text that does
// not say why.
func TestWhatACitizenReads(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *house)
		shown  bool
		status int // of the portal's exchange
	}{
		{"as it was told", func(*testing.T, *house) {}, true, 200},
		{"a year later", func(_ *testing.T, h *house) { h.mu.Lock(); h.clock = h.clock.AddDate(1, 0, 0); h.mu.Unlock() }, true, 200},
		{"hidden from the citizen", func(_ *testing.T, h *house) {
			h.edit("DocumentReference", func(r fse.Resource) {
				r["context"] = fse.Resource{"related": r["context"].(fse.Resource)["related"], "event": []any{
					fse.Resource{"coding": []any{fse.Resource{"code": "P98"}}},
				}}
			})
		}, false, 409},
		{"sensitive by now", func(_ *testing.T, h *house) {
			h.edit("Composition", func(r fse.Resource) { r["confidentiality"] = "V" })
		}, false, 409},
		{"its DocumentReference is gone: its citizen sees nothing", func(_ *testing.T, h *house) {
			for _, r := range h.document.Resources {
				if r["resourceType"] == "DocumentReference" {
					h.fse.Delete("DocumentReference/" + r["id"].(string))
				}
			}
		}, false, 409},
		{"back to work", func(_ *testing.T, h *house) {
			h.edit("Composition", func(r fse.Resource) { r["status"] = "preliminary" })
		}, false, 409},
		{"the citizens' portal does not show it", func(t *testing.T, h *house) {
			t.Helper()
			h.gate(t, http.StatusForbidden)
		}, false, 409},
		{"the citizens' portal shows it", func(t *testing.T, h *house) {
			t.Helper()
			h.gate(t, http.StatusOK)
		}, true, 200},
		{"the citizens' portal is down", func(t *testing.T, h *house) {
			t.Helper()
			h.gate(t, http.StatusBadGateway)
		}, false, 503},
		{"withdrawn", func(_ *testing.T, h *house) {
			h.edit("Composition", func(r fse.Resource) { r["status"] = "entered-in-error" })
		}, false, 410},
		{"deleted", func(_ *testing.T, h *house) {
			for _, r := range h.document.Resources {
				h.fse.Delete(r["resourceType"].(string) + "/" + r["id"].(string))
			}
		}, false, 410},
		{"another person's by now", func(_ *testing.T, h *house) {
			birth := time.Date(1970, 3, 3, 0, 0, 0, 0, time.UTC)
			h.fse.Put(fse.Patient("somebody", fse.CodeOf(4242, birth), birth))
			for _, kind := range []string{"Composition", "DocumentReference", "DiagnosticReport"} {
				h.edit(kind, func(r fse.Resource) { r["subject"] = fse.Resource{"reference": "Patient/somebody"} })
			}
		}, false, 409},
		{"the source is down", func(_ *testing.T, h *house) {
			h.fse.Fault = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
		}, false, 503},
		{"the source refuses us", func(_ *testing.T, h *house) { h.fse.Token = "another one" }, false, 503},
		{"the source speaks nonsense", func(_ *testing.T, h *house) {
			h.fse.Fault = func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, "<html>"); return true }
		}, false, 503},
		{"the source is no longer configured", func(_ *testing.T, h *house) { delete(h.eyes.doors, "regione") }, false, 404},
		{"a look that panics", func(_ *testing.T, h *house) { h.eyes.doors["regione"].source = relay.Source{} }, false, 503},
		{"its whereabouts are no longer kept", func(t *testing.T, h *house) {
			t.Helper()
			keys, err := h.redis.Keys(t.Context(), "*:told:*").Result()
			if err != nil || len(keys) != 1 {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			h.redis.Del(t.Context(), keys...)
		}, false, 404},
		{"Redis is away", func(_ *testing.T, h *house) { _ = h.redis.Close() }, false, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := build(t)
			tt.change(t, h)
			if a := h.open(t, h.id); tt.shown {
				detailed(t, a)
			} else {
				harmless(t, a)
			}
			if a := h.exchangeAs(t, h.id); a.status != tt.status {
				t.Errorf("the portal is answered %d, want %d", a.status, tt.status)
			}
			if a := h.ask(t, http.MethodGet, "/io/messages/"+h.id, "X-API-Key", newKey, "fiscal_code", "BNCLCU75B68F205U"); a.status != http.StatusNotFound {
				t.Errorf("somebody else is answered %d", a.status)
			}
			if a := h.ask(t, http.MethodGet, "/io/messages/"+h.id+"/precondition", "X-API-Key", newKey, "fiscal_code", h.document.Code); a.status != http.StatusOK ||
				a.body.Title != "Prima di aprire il messaggio" {
				t.Errorf("precondition %d %q", a.status, a.body.Title)
			}
			for _, private := range []string{h.document.Code, h.document.ID, h.document.Value, h.id, newKey, portalToken} {
				if strings.Contains(h.log.String(), private) {
					t.Error("the log holds something private")
				}
			}
		})
	}
}

// What a person has released over its label is shown to who was told, and nothing else is.
func TestWhatWasReleasedOpens(t *testing.T) {
	h := build(t)
	h.edit("Composition", func(r fse.Resource) { r["confidentiality"] = "V" })
	id := h.tell(t, ledger.Published, "it", "very-restricted")
	exchanged := func() int {
		return h.ask(t, http.MethodGet, "/documents/"+id, "Authorization", "Bearer "+portalToken).status
	}
	told := h.open(t, id)
	if got := exchanged(); got != http.StatusOK {
		t.Errorf("released: exchanged with %d", got)
	}

	key := h.Ledger.DocumentKey("regione", h.locator())
	h.eyes.mu.Lock()
	seen := h.eyes.sights[key]
	seen.releasedFor = h.Ledger.EditionTag("another")
	h.eyes.sights[key] = seen
	h.eyes.mu.Unlock()
	if got := exchanged(); got != http.StatusConflict {
		t.Errorf("another edition was released: exchanged with %d", got)
	}
	if other := h.open(t, id); told.status != http.StatusOK || other.status != http.StatusOK || other.text == told.text {
		t.Errorf("opened with %d and %d, or with the same text", told.status, other.status)
	}
}

// A message about a withdrawn document says that, and asks no source; one in another language is opened in it.
func TestTheMessageDecidesWhatIsWritten(t *testing.T) {
	h := build(t)
	before := h.fse.Calls()
	withdrawn := h.open(t, h.Ledger.Reference(ledger.Reference{
		Document: h.Ledger.DocumentKey("regione", h.locator()), Person: h.person(t), Publication: ledger.WithdrawnPub, Language: "it",
	}))
	if withdrawn.status != http.StatusOK || !strings.Contains(withdrawn.body.Details.Markdown, "lo ha ritirato") || !maps.Equal(before, h.fse.Calls()) {
		t.Errorf("withdrawn: %d %s", withdrawn.status, withdrawn.text)
	}
	for language, want := range map[string]string{"de": "liegt dieses Dokument bereit", "en": "This document is available", "xx": "è disponibile questo documento"} {
		a := h.open(t, h.Ledger.Reference(ledger.Reference{
			Document: h.Ledger.DocumentKey("regione", h.locator()), Person: h.person(t), Publication: ledger.Published, Language: language,
		}))
		if a.status != http.StatusOK || !strings.Contains(a.body.Details.Markdown, want) {
			t.Errorf("%s: %d, no %q", language, a.status, want)
		}
	}
	updated := h.open(t, h.Ledger.Reference(ledger.Reference{
		Document: h.Ledger.DocumentKey("regione", h.locator()), Person: h.person(t), Publication: ledger.Updated, Language: "it",
	}))
	if !strings.Contains(updated.body.Details.Markdown, "la versione aggiornata") || updated.body.Details.Subject != "Errata corrige: C'è un nuovo referto" {
		t.Errorf("updated: %s", updated.text)
	}
}

func (h *house) person(t *testing.T) ledger.Tag {
	t.Helper()
	code, err := fiscalcode.Parse(h.document.Code)
	if err != nil {
		t.Fatal(err)
	}
	return h.Ledger.PersonTag(code)
}

func TestTheInstitutionChoosesWhatIsSaid(t *testing.T) {
	h := build(t, func(o *Options) { o.Show = nil })
	a := h.open(t, h.id)
	if a.status != http.StatusOK || strings.Contains(a.body.Details.Markdown, institution) || strings.Contains(a.body.Details.Markdown, "Data:") ||
		!strings.Contains(a.body.Details.Markdown, "- **Documento**\n") {
		t.Errorf("%d %s", a.status, a.text)
	}
}

// Whose message it is, who asks, and what for: answers that depend on nothing else.
func TestWhoMayAsk(t *testing.T) {
	h := build(t)
	path, code := "/io/messages/"+h.id, h.document.Code
	stranger := h.Ledger.Reference(ledger.Reference{Document: ledger.Key{1}, Person: ledger.Tag{1}, Publication: ledger.Published, Language: "it"})
	trial := h.Ledger.Reference(ledger.Reference{
		Document: ledger.Key{1}, Person: h.Ledger.PersonTag(fiscalcode.TestRecipient()), Publication: ledger.Published, Language: "it",
	})
	for _, tt := range []struct {
		name    string
		method  string
		path    string
		headers []string
		status  int
	}{
		{"the new key", "GET", path, []string{"X-API-Key", newKey, "fiscal_code", code}, 200},
		{"the old key, during the rotation", "GET", path, []string{"X-API-Key", oldKey, "fiscal_code", code}, 200},
		{"a header in other case", "GET", path, []string{"x-api-key", newKey, "Fiscal_Code", code}, 200},
		{"a key that begins like ours", "GET", path, []string{"X-API-Key", newKey[:10], "fiscal_code", code}, 401},
		{"no key", "GET", path, []string{"fiscal_code", code}, 401},
		{"an empty key", "GET", path, []string{"X-API-Key", "", "fiscal_code", code}, 401},
		{"two keys", "GET", path, []string{"X-API-Key", newKey, "X-API-Key", oldKey, "fiscal_code", code}, 401},
		{"the portal's token", "GET", path, []string{"Authorization", "Bearer " + portalToken, "fiscal_code", code}, 401},
		{"no code", "GET", path, []string{"X-API-Key", newKey}, 400},
		{"the code in a header with a hyphen, as a proxy may write it", "GET", path, []string{"X-API-Key", newKey, "fiscal-code", code}, 400},
		{"a code in lower case", "GET", path, []string{"X-API-Key", newKey, "fiscal_code", strings.ToLower(code)}, 400},
		{"a company's code", "GET", path, []string{"X-API-Key", newKey, "fiscal_code", "12345678901"}, 400},
		{"two codes", "GET", path, []string{"X-API-Key", newKey, "fiscal_code", code, "fiscal_code", code}, 400},
		{"somebody else's code", "GET", path, []string{"X-API-Key", newKey, "fiscal_code", "BNCLCU75B68F205U"}, 404},
		{"a code that nobody has", "GET", path, []string{"X-API-Key", newKey, "fiscal_code", "AAAAAA00A00A000A"}, 404},
		{"IO's test recipient, whose code is none", "GET", "/io/messages/" + trial, []string{"X-API-Key", newKey, "fiscal_code", "AAAAAA00A00A000A"}, 200},
		{"somebody else's message", "GET", "/io/messages/" + stranger, []string{"X-API-Key", newKey, "fiscal_code", code}, 404},
		{"an id that is none of ours", "GET", "/io/messages/0b0e9c1e-7d6b-4b63-a0a0-6a6f1e2d3c4b", []string{"X-API-Key", newKey, "fiscal_code", code}, 404},
		{"no id", "GET", "/io/messages/", []string{"X-API-Key", newKey, "fiscal_code", code}, 404},
		{"an attachment, which no message has", "GET", path + "/referto.pdf", []string{"X-API-Key", newKey, "fiscal_code", code}, 404},
		{"somebody else's precondition", "GET", path + "/precondition", []string{"X-API-Key", newKey, "fiscal_code", "BNCLCU75B68F205U"}, 404},
		{"a precondition without a key", "GET", path + "/precondition", []string{"fiscal_code", code}, 401},
		{"a POST", "POST", path, []string{"X-API-Key", newKey, "fiscal_code", code}, 405},
		{"LolliPoP's headers are let through, and mean nothing", "GET", path, []string{
			"X-API-Key", newKey, "fiscal_code", code, "signature", "sig1=:AAAA:", "signature-input", `sig1=("x")`, "x-pagopa-lollipop-user-id", "BNCLCU75B68F205U",
			"x-pagopa-lollipop-original-method", "GET", "x-pagopa-lollipop-original-url", "https://ente.example", "x-pagopa-lollipop-assertion-type", "SAML",
		}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := h.ask(t, tt.method, tt.path, tt.headers...)
			if a.status != tt.status {
				t.Errorf("answer %d, want %d", a.status, tt.status)
			}
			if a.status >= 400 && a.text != "" && (a.body.Status != a.status || a.body.Title == "" || strings.Contains(a.text, code)) {
				t.Errorf("problem %s", a.text)
			}
		})
	}
	mine := h.ask(t, "GET", path, "X-API-Key", newKey, "fiscal_code", "BNCLCU75B68F205U")
	none := h.ask(t, "GET", "/io/messages/none", "X-API-Key", newKey, "fiscal_code", "BNCLCU75B68F205U")
	if mine.text != none.text {
		t.Error("somebody else's message is told from one that does not exist")
	}
}

// A source that does not answer keeps nobody waiting: the harmless text is there while the source is still at it, and what it
// says in the end is there for who opens the message again.
func TestASlowSourceKeepsNobodyWaiting(t *testing.T) {
	h := build(t)
	answer, asked := make(chan struct{}), make(chan struct{}, 100)
	h.fse.Fault = func(_ http.ResponseWriter, _ *http.Request) bool {
		asked <- struct{}{}
		<-answer
		return false
	}
	harmless(t, h.open(t, h.id)) // the source has not answered: it cannot
	<-asked
	close(answer)
	h.Wait()
	h.fse.Fault = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	detailed(t, h.open(t, h.id))
}

func TestAStormOfOpeningsIsOneLook(t *testing.T) {
	h := build(t)
	open, asked := make(chan struct{}), atomic.Int64{}
	h.fse.Fault = func(_ http.ResponseWriter, _ *http.Request) bool {
		<-open
		asked.Add(1)
		return false
	}
	var openings sync.WaitGroup
	answers := make([]reply, 50)
	for i := range answers {
		openings.Go(func() { answers[i] = h.open(t, h.id) })
	}
	close(open)
	openings.Wait()
	for _, a := range answers {
		detailed(t, a)
	}
	one := asked.Load()
	detailed(t, h.open(t, h.id))
	if asked.Load() != one {
		t.Error("a moment later the source was asked again")
	}
	h.later()
	h.edit("Composition", func(r fse.Resource) { r["confidentiality"] = "V" })
	harmless(t, h.open(t, h.id))
	if n := asked.Load() - one; n < 1 || one > 2*n {
		t.Errorf("%d calls for 50 openings, %d for one", one, n)
	}
}

func TestASourceInTroubleIsLeftAlone(t *testing.T) {
	h := build(t)
	var asked atomic.Int64
	h.fse.Fault = func(w http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
		return true
	}
	for range failsInARow {
		harmless(t, h.open(t, h.id))
	}
	n := asked.Load()
	for range 20 {
		harmless(t, h.open(t, h.id))
	}
	if asked.Load() != n {
		t.Errorf("asked %d times more", asked.Load()-n)
	}
}

func TestWhatWasSeenIsForgotten(t *testing.T) {
	h := build(t)
	for i := range remembered + 10 {
		h.eyes.remember(ledger.Key{byte(i), byte(i >> 8)}, sight{at: h.now()})
	}
	if n := len(h.eyes.sights); n > remembered {
		t.Errorf("%d sights are kept", n)
	}
	h.later()
	h.eyes.remember(ledger.Key{1, 1, 1}, sight{at: h.now()})
}

func (h *house) exchangeAs(t *testing.T, ref string) reply {
	t.Helper()
	return h.ask(t, http.MethodGet, "/documents/"+ref, "Authorization", "Bearer "+portalToken)
}

func TestThePortalExchangesAReference(t *testing.T) {
	h := build(t)
	a := h.exchangeAs(t, h.id)
	c := h.document
	if a.status != http.StatusOK || a.body.Source != "regione" || a.body.Type != "Composition" || a.body.ID != c.ID ||
		a.body.Identifier == nil || a.body.Identifier.System != c.System || a.body.Identifier.Value != c.Value ||
		!strings.HasSuffix(a.body.URL, "/fhir/Composition/"+c.ID) {
		t.Errorf("answer %d", a.status)
	}
	for _, tt := range []struct {
		name    string
		ref     string
		headers []string
		status  int
	}{
		{"no token", h.id, nil, 401},
		{"IO's key", h.id, []string{"X-API-Key", newKey}, 401},
		{"a wrong token", h.id, []string{"Authorization", "Bearer " + portalToken + "x"}, 401},
		{"the recipient is signed in", h.id, []string{"Authorization", "Bearer " + portalToken, "fiscal_code", c.Code}, 200},
		{"somebody else is signed in", h.id, []string{"Authorization", "Bearer " + portalToken, "fiscal_code", "BNCLCU75B68F205U"}, 404},
		{"a reference that is none", "x" + h.id[1:], []string{"Authorization", "Bearer " + portalToken}, 404},
		{"a codice fiscale", c.Code, []string{"Authorization", "Bearer " + portalToken}, 404},
	} {
		if a := h.ask(t, http.MethodGet, "/documents/"+tt.ref, tt.headers...); a.status != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, a.status, tt.status)
		}
	}
	entries, err := h.Ledger.Timeline(t.Context(), h.Ledger.DocumentKey("regione", h.locator()))
	if err != nil {
		t.Fatal(err)
	}
	given := 0
	for _, e := range entries {
		if e.Event == "exchange-given" && e.Source == "regione" {
			given++
		}
	}
	if given != 2 {
		t.Errorf("%d entries in the journal, want one for each exchange", given)
	}
}

// Whatever breaks, the one who asks is told to come again, and nothing of them is logged.
func TestACrashIsNoServerError(t *testing.T) {
	breaks := false
	var h *house
	h = build(t, func(o *Options) {
		o.Now = func() time.Time {
			if breaks {
				panic("about " + h.document.Code)
			}
			return h.now()
		}
	})
	h.exchangeAs(t, h.id) // its look at the source is over: what breaks from now on is in the request's own hands
	breaks = true
	if a := h.exchangeAs(t, h.id); a.status != http.StatusServiceUnavailable {
		t.Errorf("answer %d, want 503", a.status)
	}
	if said := h.log.String(); strings.Contains(said, h.document.Code) || !strings.Contains(said, `"route":"/documents/:ref"`) {
		t.Errorf("the log says %s", said)
	}
}

func TestThePortalIsRedirected(t *testing.T) {
	h := build(t, func(o *Options) { o.Redirect = true })
	a := h.exchangeAs(t, h.id)
	if a.status != http.StatusSeeOther || !strings.HasSuffix(a.header.Get("Location"), "/fhir/Composition/"+h.document.ID) {
		t.Errorf("answer %d", a.status)
	}
}

func TestWithoutAKeyAndWithoutATokenNothingIsServed(t *testing.T) {
	h := build(t, func(o *Options) { o.APIKeys, o.Tokens = nil, nil })
	for _, path := range []string{"/io/messages/" + h.id, "/documents/" + h.id} {
		if h.Serves(path) {
			t.Errorf("%s is served", path[:8])
		}
		if a := h.ask(t, http.MethodGet, path, "X-API-Key", newKey, "fiscal_code", h.document.Code); a.status != http.StatusNotFound {
			t.Errorf("answer %d", a.status)
		}
	}
	both := build(t)
	for path, want := range map[string]bool{
		"/io/messages/x": true, "/io": true, "/iox": false, "/documents/x": true, "/fhir/regione": false, "/": false, "": false,
	} {
		if both.Serves(path) != want {
			t.Errorf("%q is served: %t", path, !want)
		}
	}
	if _, err := New(Options{APIKeys: []string{""}, Metrics: prometheus.NewRegistry()}); err == nil {
		t.Error("an empty key")
	}
}
