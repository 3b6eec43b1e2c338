package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/fhir/fiscalcode"
	"staffetta/notifier/sandbox"
)

const remoteKey = "remote-key-0123456789abcdef"

// institution answers IO's requests for remote content, and counts them.
type institution struct {
	answer func(w http.ResponseWriter, r *http.Request)
	asked  atomic.Int64
	url    string
}

func newInstitution(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *institution {
	t.Helper()
	i := &institution{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.answer(w, r)
	}))
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

// says answers 200 with a body.
func says(body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func details(subject, markdown string) string {
	text, _ := json.Marshal(map[string]any{"details": map[string]any{"subject": subject, "markdown": markdown}})
	return string(text)
}

// sendRemote gives an IO with one message of remote content, and its id.
func sendRemote(t *testing.T, from string, changes ...any) (*sandbox.Sandbox, string) {
	t.Helper()
	s := sandbox.New(sandbox.Options{Keys: []string{key}, RemoteContent: sandbox.RemoteContent{Allowed: true}, Premium: true})
	s.Configure(ours, sandbox.Environment{BaseURL: from, Header: "X-API-Key", Key: remoteKey})
	pointer := map[string]any{"id": "opaque-and-unguessable", "configuration_id": ours, "has_remote_content": true}
	return s, send(t, s, message(append([]any{"content.third_party_data", pointer}, changes...)...))
}

// What IO's backend makes of an answer (reference io.md, 5).
func TestOpeningAMessage(t *testing.T) {
	good := details("C'è un nuovo referto", markdown)
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = io.WriteString(w, good) }
	}
	for _, tt := range []struct {
		name    string
		answer  func(http.ResponseWriter, *http.Request)
		changes []any
		status  int
		problem string // a part of it
	}{
		{"remote content is shown", says(good), nil, 200, ""},
		{"no details", says(`{"attachments": []}`), nil, 502, "REMOTE_CONTENT_NOT_PRESENT"},
		{"no subject in the details", says(`{"details": {"markdown": "` + markdown + `"}}`), nil, 502, "REMOTE_CONTENT_NOT_PRESENT"},
		{"a text of 79", says(details("C'è un nuovo referto", strings.Repeat("è", 79))), nil, 502, "MARKDOWN_VALIDATION_ERROR"},
		{"a text of 80", says(details("C'è un nuovo referto", strings.Repeat("è", 80))), nil, 200, ""},
		{"a text of 10,000 units", says(details("C'è un nuovo referto", strings.Repeat("🏥", 5000))), nil, 200, ""},
		{"a text of 10,002 units", says(details("C'è un nuovo referto", strings.Repeat("🏥", 5001))), nil, 502, "MARKDOWN_VALIDATION_ERROR"},
		{"a title of 9", says(details("123456789", markdown)), nil, 502, "SUBJECT_VALIDATION_ERROR"},
		{"a title of 121", says(details(strings.Repeat("x", 121), markdown)), nil, 502, "SUBJECT_VALIDATION_ERROR"},
		{"no JSON", says("<html>"), nil, 500, "JSON"},
		{"attachments that are missing", says(good), []any{"feature_level_type", "ADVANCED", "content.third_party_data.has_attachments", true}, 502, "ATTACHMENTS_NOT_PRESENT"},
		{"the key is refused", status(401), nil, 500, "refuses IO's key"},
		{"not the recipient", status(404), nil, 404, "refuses"},
		{"bad request", status(400), nil, 400, "refuses"},
		{"too many requests", status(429), nil, 429, "refuses"},
		{"a redirect is not followed", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, nil, 500, "does not expect"},
		{"broken", status(500), nil, 500, "does not expect"},
		{"cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, 500, "does not answer"},
		{"the flag is false: the answer is dropped", says(good), []any{"content.third_party_data.has_remote_content", false}, 200, ""},
		{"the flag is false, and the institution is away", status(500), []any{"content.third_party_data.has_remote_content", false}, 500, "does not expect"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := newInstitution(t, tt.answer)
			s, id := sendRemote(t, from.url, tt.changes...)
			opened, err := s.Open(t.Context(), id)
			if err != nil || opened.Status != tt.status || !strings.Contains(opened.Problem, tt.problem) || (opened.Problem == "") != (tt.status == 200) {
				t.Errorf("%d %q, %v, want %d %q", opened.Status, opened.Problem, err, tt.status, tt.problem)
			}
			if n := from.asked.Load(); n != 1 {
				t.Errorf("asked %d times, want once", n)
			}
			if s.Read(id) != (tt.problem == "") {
				t.Errorf("read: %t", s.Read(id))
			}
		})
	}
}

func TestWhatIOAsksTheInstitution(t *testing.T) {
	from := newInstitution(t, func(w http.ResponseWriter, r *http.Request) {
		got := fmt.Sprintln(r.Method, r.URL.Path, r.Header.Get("X-API-Key"), r.Header.Get("fiscal_code"), r.Header.Get("Authorization") == "")
		if want := fmt.Sprintln("GET", "/messages/opaque-and-unguessable", remoteKey, code, true); got != want {
			t.Error("IO asks otherwise")
		}
		says(details("C'è un nuovo referto", markdown))(w, r)
	})
	s, id := sendRemote(t, from.url)
	for range 3 { // nothing is cached
		if opened, err := s.Open(t.Context(), id); err != nil || !opened.Remote {
			t.Fatalf("%+v, %v", opened, err)
		}
	}
	if n := from.asked.Load(); n != 3 {
		t.Errorf("asked %d times, want each time", n)
	}
}

func TestAStaticMessageAsksNobody(t *testing.T) {
	s := sandbox.New(sandbox.Options{Keys: []string{key}})
	id := send(t, s, message())
	opened, err := s.Open(t.Context(), id)
	if err != nil || opened.Remote || opened.Markdown != markdown || !s.Read(id) {
		t.Errorf("%+v, %v", opened, err)
	}
}

func TestAMessageOpensWhenItIsInTheInbox(t *testing.T) {
	delayed := sandbox.New(sandbox.Options{Keys: []string{key}, Delay: time.Hour})
	if _, err := delayed.Open(t.Context(), send(t, delayed, message())); !errors.Is(err, sandbox.ErrNoMessage) {
		t.Errorf("still on its way: %v", err)
	}
	rejected := sandbox.New(sandbox.Options{Keys: []string{key}, Profile: func(fiscalcode.Code) sandbox.Profile { return sandbox.NotAllowed }})
	if _, err := rejected.Open(t.Context(), send(t, rejected, message())); !errors.Is(err, sandbox.ErrNoMessage) {
		t.Errorf("rejected: %v", err)
	}
	if _, err := rejected.Precondition(t.Context(), "01ARZ3NDEKTSV4RRFFQ69G5FAV"); !errors.Is(err, sandbox.ErrNoMessage) {
		t.Errorf("unknown: %v", err)
	}
}

func TestPreconditions(t *testing.T) {
	for _, tt := range []struct {
		word          string
		first, second bool // whether it is asked before the first opening, and before the second
	}{{"NEVER", false, false}, {"ONCE", true, false}, {"ALWAYS", true, true}} {
		from := newInstitution(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/precondition") {
				says(`{"title": "Prima", "markdown": "Apri"}`)(w, r)
				return
			}
			says(details("C'è un nuovo referto", markdown))(w, r)
		})
		s, id := sendRemote(t, from.url, "content.third_party_data.has_precondition", tt.word)
		for i, want := range []bool{tt.first, tt.second} {
			gate, err := s.Precondition(t.Context(), id)
			if err != nil || (gate != nil) != want || want && gate.Title != "Prima" {
				t.Errorf("%s, opening %d: %v, %v", tt.word, i+1, gate, err)
			}
			if _, err := s.Open(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	broken := newInstitution(t, says(`{"title": "Prima"}`))
	s, id := sendRemote(t, broken.url, "content.third_party_data.has_precondition", "ALWAYS")
	if _, err := s.Precondition(t.Context(), id); err == nil {
		t.Error("a precondition without text is none")
	}
}

// Test users are sent to the test environment, everybody else to production; what there is serves where the other is missing.
func TestWhichEnvironmentIsAsked(t *testing.T) {
	ask := func(name string) *institution {
		return newInstitution(t, says(details("Da "+name+" per te", markdown)))
	}
	test, production := ask("test"), ask("produzione")
	at := func(i *institution) map[string]any {
		return map[string]any{"base_url": i.url, "details_authentication": map[string]any{"type": "API-KEY", "header_key_name": "X-API-Key", "key": remoteKey}}
	}
	with := func(users ...any) map[string]any {
		e := at(test)
		e["test_users"] = append([]any{}, users...)
		return e
	}
	for _, tt := range []struct {
		name             string
		test, production any
		want             string
	}{
		{"production", nil, at(production), "Da produzione per te"},
		{"a test user", with(code), at(production), "Da test per te"},
		{"not a test user", with("AAAAAA00A00A000A"), at(production), "Da produzione per te"},
		{"test alone", with(), nil, "Da test per te"},
	} {
		s := sandbox.New(sandbox.Options{Keys: []string{key}, RemoteContent: sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manage}}})
		q := post(configurationsPath, configuration("test_environment", tt.test, "prod_environment", tt.production))
		q.key = manage
		created := create(t, s, q)
		id, _ := created.body["configuration_id"].(string)
		sent := send(t, s, message("content.third_party_data", map[string]any{"id": "opaque", "configuration_id": id, "has_remote_content": true}))
		if opened, err := s.Open(t.Context(), sent); err != nil || opened.Subject != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, opened, err)
		}
	}
}

func create(t *testing.T, s *sandbox.Sandbox, q request) answered {
	t.Helper()
	a := ask(t, s, q)
	if a.status != http.StatusCreated {
		t.Fatalf("answer %d", a.status)
	}
	return a
}
