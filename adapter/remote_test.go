package adapter_test

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

const (
	remoteConfiguration = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	oldRemoteKey        = "old-remote-key-0123456789"
	newRemoteKey        = "new-remote-key-0123456789"
	portalToken         = "portal-token-0123456789"
)

// remotely lets IO keep the neutral text only, and ask for what a citizen reads.
func remotely(cfg *config.Config, o *sandbox.Options) {
	cfg.Message.Content = "remote"
	cfg.Message.ButtonURL = "https://fascicolo.example.it/documenti/{ref}"
	cfg.Remote.ConfigurationID, cfg.Remote.APIKeys = remoteConfiguration, []config.Secret{newRemoteKey, oldRemoteKey}
	cfg.Documents.BearerTokens = []config.Secret{portalToken}
	cfg.Sources[0].Institution = "ASL Esempio"
	o.RemoteContent = sandbox.RemoteContent{Allowed: true, Own: []string{remoteConfiguration}}
}

// runRemote runs a town whose IO asks it with a key.
func (w *town) runRemote(t *testing.T, key string) {
	t.Helper()
	w.run(t)
	w.asksWith(key)
}

func (w *town) asksWith(key string) {
	w.io.Configure(remoteConfiguration, sandbox.Environment{BaseURL: w.public() + "/io", Header: "X-API-Key", Key: key})
}

func (w *town) public() string { return "http://" + w.program.PublicAddr().String() }

// tell publishes a case and waits until its citizen has a message.
func (w *town) tell(t *testing.T, c fse.Case) sandbox.Taken {
	t.Helper()
	before := len(w.io.Messages())
	w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	return eventually(t, func() (sandbox.Taken, bool) {
		all := w.io.Messages()
		if len(all) <= before {
			return sandbox.Taken{}, false
		}
		return all[len(all)-1], true
	})
}

// opens opens a message as its citizen does; it must open.
func (w *town) opens(t *testing.T, taken sandbox.Taken) sandbox.Opened {
	t.Helper()
	opened, err := w.io.Open(t.Context(), taken.ID)
	if err != nil || opened.Status != http.StatusOK || !opened.Remote {
		t.Fatalf("the citizen cannot open it: %d %s, %v", opened.Status, opened.Problem, err)
	}
	return opened
}

const harmlessText = "I dettagli di questo documento non si possono mostrare qui"

// tells says whether an opened message tells of its document; it does, or it has the harmless text.
func tells(t *testing.T, opened sandbox.Opened) bool {
	t.Helper()
	details := strings.Contains(opened.Markdown, "ASL Esempio")
	if details == strings.Contains(opened.Markdown, harmlessText) {
		t.Errorf("neither details nor the harmless text, or both:\n%s", opened.Markdown)
	}
	return details
}

// shows opens a message that tells of its document. While the source is still at it there is the harmless text, and who opens
// the message again reads what it says in the end.
func (w *town) shows(t *testing.T, taken sandbox.Taken) sandbox.Opened {
	t.Helper()
	return eventually(t, func() (sandbox.Opened, bool) {
		opened := w.opens(t, taken)
		return opened, tells(t, opened)
	})
}

// grows lets what was seen at a source grow old.
func (w *town) grows() (older func()) {
	var skew atomic.Int64
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(skew.Load()) }))
	return func() { skew.Add(int64(time.Minute)) }
}

// From the FSE to the phone: IO keeps nothing of the document, and its citizen reads of it.
func TestAMessageOpensWithItsDetails(t *testing.T) {
	t.Parallel()
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeFSE2} {
		t.Run(string(shape), func(t *testing.T) {
			w := build(t, shape, remotely, func(_ *config.Config, o *sandbox.Options) {
				o.Languages = func(fiscalcode.Code) []string { return []string{"de_DE"} }
			})
			w.runRemote(t, newRemoteKey)
			taken := w.tell(t, told(1, shape.OfCompositions())[0])
			if taken.ThirdParty == nil || !taken.ThirdParty.HasRemoteContent || taken.ThirdParty.HasPrecondition != "NEVER" {
				t.Fatal("the message points nowhere")
			}
			if strings.Contains(taken.Markdown, "ASL Esempio") || strings.Contains(taken.Subject, "ASL Esempio") {
				t.Error("IO keeps something of the document")
			}
			opened := w.shows(t, taken)
			for _, want := range []string{"liegt dieses Dokument bereit", "- Einrichtung: ASL Esempio", "\n## Italiano\n", "- Ente: ASL Esempio"} {
				if !strings.Contains(opened.Markdown, want) {
					t.Errorf("no %q in\n%s", want, opened.Markdown)
				}
			}
			if opened.Subject != taken.Subject {
				t.Errorf("listed as %q, opened as %q", taken.Subject, opened.Subject)
			}
			buttons, err := sandbox.Buttons(opened.Markdown)
			if err != nil || len(buttons["it"]) != 1 || !strings.HasSuffix(buttons["it"][0].Action, "/documenti/"+taken.ThirdParty.ID) {
				t.Errorf("buttons %v, %v", buttons, err)
			}
			w.quiet(t)
			w.well(t)
		})
	}
}

// Visibility is judged at each opening, and for two messages about the same document.
func TestADocumentThatIsHiddenLaterIsNotShown(t *testing.T) {
	w := build(t, fhir.ShapeReport, remotely)
	older := w.grows()
	w.runRemote(t, newRemoteKey)
	w.connected(t) // and no sweep is under way when the source's ways change
	c := told(1, false)[0]
	first := w.tell(t, c)
	w.shows(t, first)
	w.quiet(t)
	report := w.fse.Get(c.Hints[0])
	report["status"], report["issued"] = "amended", "2026-11-23T10:00:00+01:00"
	w.fse.Put(report)
	w.notify(t, fse.ClassicPut, c.Hints...)
	second := eventually(t, func() (sandbox.Taken, bool) {
		all := w.io.Messages()
		return all[len(all)-1], len(all) == 2
	})
	if first.ThirdParty.ID == second.ThirdParty.ID {
		t.Error("two messages share an id")
	}
	older()
	if opened := w.shows(t, second); !strings.Contains(opened.Markdown, "la versione aggiornata di questo documento") {
		t.Error("the correction does not say that it is one")
	}
	report["meta"] = fse.Resource{"security": []any{fse.Resource{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "TBOO"}}}
	w.fse.Put(report)
	older()
	for _, taken := range []sandbox.Taken{first, second} {
		if tells(t, w.opens(t, taken)) {
			t.Error("what is hidden from its citizen is shown")
		}
	}
	w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(http.StatusBadGateway); return true }
	older()
	if tells(t, w.opens(t, second)) {
		t.Error("what could not be looked at is shown")
	}
	w.fse.Fault = nil
	delete(report, "meta")
	w.fse.Put(report)
	older()
	w.shows(t, first)
	w.quiet(t)
	w.well(t)
}

// A document that another one replaces is not shown under its old message; the new one's is.
func TestAReplacedDocumentIsShownUnderItsNewMessage(t *testing.T) {
	w := build(t, fhir.ShapeFSE2, remotely, soon(time.Minute))
	w.runRemote(t, newRemoteKey)
	old := told(1, true)[0]
	first := w.tell(t, old)
	w.record(t, identityOf(old))
	w.quiet(t)
	next := successor(old)
	w.vanish(old)
	second := w.tell(t, next)
	if tells(t, w.opens(t, first)) {
		t.Error("what was replaced is shown")
	}
	w.shows(t, second)
	w.rests(t, identityOf(next), ledger.Delivered)
	w.well(t)
}

func TestTheRemoteKeyRotates(t *testing.T) {
	w := build(t, fhir.ShapeReport, remotely)
	w.runRemote(t, oldRemoteKey)
	taken := w.tell(t, told(1, false)[0])
	for _, key := range []string{oldRemoteKey, newRemoteKey} {
		w.asksWith(key)
		w.shows(t, taken)
	}
	w.asksWith("nobody's-key-0123456789")
	if opened, err := w.io.Open(t.Context(), taken.ID); err != nil || opened.Status != http.StatusInternalServerError {
		t.Errorf("with another key: %d, %v", opened.Status, err)
	}
	// The old one is retired: messages that are there already open with what is left.
	w.stop()
	w.cfg.Remote.APIKeys = w.cfg.Remote.APIKeys[:1]
	w.runRemote(t, newRemoteKey)
	w.shows(t, taken)
}

// A citizen may open a message that we do not know to exist: its answer was cut.
func TestAnUncertainMessageOpens(t *testing.T) {
	w := build(t, fhir.ShapeReport, remotely, func(cfg *config.Config, o *sandbox.Options) {
		cfg.IO.Uncertain = "hold"
		o.Cut = 1
	})
	w.runRemote(t, newRemoteKey)
	c := told(1, false)[0]
	taken := w.tell(t, c)
	w.rests(t, identityOf(c), ledger.Held)
	w.shows(t, taken)
	w.well(t)
}

// The seal key rotates, and remote content is switched off again: messages that IO keeps still open.
func TestOldMessagesOpenForAsLongAsTheyMay(t *testing.T) {
	w := build(t, fhir.ShapeReport, remotely)
	w.runRemote(t, newRemoteKey)
	taken := w.tell(t, told(1, false)[0])
	w.quiet(t)
	w.stop()
	w.cfg.Ledger.OlderSealKeys = []config.SealKey{{ID: w.cfg.Ledger.SealKeyID, Key: w.cfg.Ledger.SealKey}}
	w.cfg.Ledger.SealKeyID, w.cfg.Ledger.SealKey = 2, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	w.cfg.Message.Content, w.cfg.Message.ButtonURL = "static", "https://fascicolo.example.it/referti"
	w.runRemote(t, newRemoteKey)
	w.shows(t, taken)
	static := w.tell(t, told(2, false)[1])
	if static.ThirdParty != nil {
		t.Error("a static message points somewhere")
	}
	w.quiet(t)
	w.well(t)
}

// fetch is a GET at the public listener.
func (w *town) fetch(t *testing.T, path string, headers map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.public()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	res, err := w.poster.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// The portal learns which document a button was about, and nobody else does.
func TestThePortalLearnsWhichDocument(t *testing.T) {
	w := build(t, fhir.ShapeFSE2, remotely, func(cfg *config.Config, _ *sandbox.Options) { cfg.Message.Content = "static" })
	w.runRemote(t, newRemoteKey)
	c := told(1, true)[0]
	taken := w.tell(t, c)
	ref := regexp.MustCompile(`/documenti/([A-Za-z0-9_-]{22,64})"`).FindStringSubmatch(taken.Markdown)
	if ref == nil || taken.ThirdParty != nil {
		t.Fatal("no reference in the button, or a pointer")
	}
	status, text := w.fetch(t, "/documents/"+ref[1], map[string]string{"Authorization": "Bearer " + portalToken})
	var found struct{ Source, Type, ID, URL string }
	if err := json.Unmarshal([]byte(text), &found); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	if found.Source != w.source || found.Type != "Composition" || found.ID != c.ID || found.URL != w.cfg.Sources[0].BaseURL+"/Composition/"+c.ID {
		t.Error("another document, or an address that is not the source's")
	}
	if status, _ := w.fetch(t, "/documents/"+ref[1], nil); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	w.quiet(t)
	entries, err := w.program.Ledger.Timeline(t.Context(), w.program.Ledger.DocumentKey(w.source, identityOf(c)))
	if err != nil || !slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.Event == "exchange-given" }) {
		t.Errorf("the journal does not tell of the exchange (%v)", err)
	}
	if !strings.Contains(w.metrics(t), `staffetta_documents_exchanged_total{answer="given"} 1`) {
		t.Error("the exchange is not counted")
	}
}

// Who may not ask for remote content learns nothing, also by the way in which other paths of the listener answer.
func TestRemoteContentIsForItsRecipientAlone(t *testing.T) {
	w := build(t, fhir.ShapeReport, remotely)
	w.runRemote(t, newRemoteKey)
	c := told(1, false)[0]
	path := "/io/messages/" + w.tell(t, c).ThirdParty.ID
	for name, tt := range map[string]struct {
		headers map[string]string
		want    int
	}{
		"the recipient": {map[string]string{"X-API-Key": newRemoteKey, "fiscal_code": c.Code}, http.StatusOK},
		"somebody else": {map[string]string{"X-API-Key": newRemoteKey, "fiscal_code": "BNCLCU75B68F205U"}, http.StatusNotFound},
		"no key":        {map[string]string{"fiscal_code": c.Code}, http.StatusUnauthorized},
		"no code":       {map[string]string{"X-API-Key": newRemoteKey}, http.StatusBadRequest},
		"a source":      {map[string]string{"Authorization": "Bearer " + postToken, "fiscal_code": c.Code}, http.StatusUnauthorized},
	} {
		if status, _ := w.fetch(t, path, tt.headers); status != tt.want {
			t.Errorf("%s: %d, want %d", name, status, tt.want)
		}
	}
}

func TestNothingLeaksFromRemoteContent(t *testing.T) {
	w := build(t, fhir.ShapeFSE2, remotely)
	older := w.grows()
	w.runRemote(t, newRemoteKey)
	w.connected(t) // and no sweep is under way when the source's ways change
	c := told(1, true)[0]
	taken := w.tell(t, c)
	w.shows(t, taken)
	ref := taken.ThirdParty.ID
	for _, headers := range []map[string]string{
		{"X-API-Key": newRemoteKey, "fiscal_code": "BNCLCU75B68F205U"},
		{"X-API-Key": "guessed-0123456789", "fiscal_code": c.Code},
		{"X-API-Key": newRemoteKey, "fiscal_code": strings.ToLower(c.Code)},
	} {
		w.fetch(t, "/io/messages/"+ref, headers)
	}
	w.fetch(t, "/documents/"+ref, map[string]string{"Authorization": "Bearer " + portalToken, "fiscal_code": c.Code})
	w.quiet(t)
	w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(http.StatusBadGateway); return true }
	older()
	if tells(t, w.opens(t, taken)) {
		t.Error("what could not be looked at is shown")
	}
	metrics := w.metrics(t)
	w.stop()
	for place, text := range map[string]string{"logs": w.logs.String(), "metrics": metrics, "redis": dump(t, w.redis)} {
		for _, private := range []string{
			c.Code, strings.ToLower(c.Code), "BNCLCU75B68F205U", c.ID, c.Value, ref, newRemoteKey, oldRemoteKey, portalToken, "guessed-0123456789",
		} {
			if strings.Contains(text, private) {
				t.Errorf("%s hold something private: %.4s…", place, private)
			}
		}
	}
	if !strings.Contains(metrics, `staffetta_remote_content_total{answer="details",call="details",reason=""} 1`) ||
		!strings.Contains(metrics, `staffetta_remote_content_total{answer="not-found",call="details",reason=""} 1`) {
		t.Error("openings are not counted")
	}
}
