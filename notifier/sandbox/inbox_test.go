package sandbox_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"staffetta/notifier/sandbox"
)

// look reads a page of the inbox.
func look(t *testing.T, page http.Handler, path string) string {
	t.Helper()
	recorded := httptest.NewRecorder()
	page.ServeHTTP(recorded, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	if recorded.Code != http.StatusOK {
		t.Fatalf("%s: %d", path, recorded.Code)
	}
	policy := recorded.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
		t.Errorf("policy %q", policy)
	}
	text := recorded.Body.String()
	for _, unwanted := range []string{"<script", "onclick", "style=", "<img"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("%s holds %s", path, unwanted)
		}
	}
	return text
}

func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

const buttons = "---\nit:\n  cta_1:\n    text: \"Vai al Fascicolo\"\n    action: \"iosso://https://fse.example/x\"\n" +
	"en:\n  cta_1:\n    text: \"Go to your record\"\n    action: \"iohandledlink://https://fse.example/x\"\n---\n\n"

func TestAnInboxShowsWhatAPhoneWould(t *testing.T) {
	from := newInstitution(t, says(details("C'è un nuovo referto", buttons+"Un **documento** di oggi, con dettagli che solo tu leggi, da ASL Esempio, e altro ancora.")))
	s, id := sendRemote(t, from.url)
	page := s.Site(sandbox.InboxOptions{})
	overview := look(t, page, "/inbox/")
	wants(t, overview, "Citizen 1", "Not IO", "1 message so far")
	if strings.Contains(overview, code) {
		t.Error("a fiscal code is shown")
	}
	list := look(t, page, "/inbox/1/")
	wants(t, list, "Hai un nuovo messaggio", "Entra nell&#39;app per leggerlo", "C&#39;è un nuovo referto", `class="unread"`)
	if strings.Contains(list, "ASL Esempio") || from.asked.Load() != 0 {
		t.Error("the list shows what only an opened message does")
	}
	opened := look(t, page, "/inbox/1/"+id)
	wants(t, opened, "<strong>documento</strong>", "ASL Esempio", ">Vai al Fascicolo<", "iosso://https://fse.example/x", "Single sign-on", "fetched just now")
	if strings.Contains(opened, "cta_1") {
		t.Error("front matter is shown")
	}
	wants(t, look(t, page, "/inbox/1/"+id+"?lang=en"), ">Go to your record<", "Opens the phone&#39;s browser.")
	if strings.Contains(look(t, page, "/inbox/1/"), `class="unread"`) {
		t.Error("it is still unread")
	}
	wants(t, look(t, s.Site(sandbox.InboxOptions{Codes: true}), "/inbox/"), code)
}

// Whether the push tells the title depends on the service's flag, not on the message's (reference io.md, 3).
func TestAPushOfAServiceThatIsNotFlagged(t *testing.T) {
	s := sandbox.New(sandbox.Options{Keys: []string{key}})
	send(t, s, message())
	list := look(t, s.Site(sandbox.InboxOptions{ServiceNotSensitive: true}), "/inbox/1/")
	wants(t, list, "<strong>Prestazioni sanitarie</strong></p><p>C&#39;è un nuovo referto</p>", "not flagged as sensitive")
}

// What others write can neither run nor load anything.
func TestAnInboxIsSafe(t *testing.T) {
	s := sandbox.New(sandbox.Options{Keys: []string{key}})
	id := send(t, s, message("content.markdown", strings.Join([]string{
		"Testo <script>alert(1)</script> e <b onclick=alert(1)>HTML</b>, che non si vede, ma il resto si legge.",
		"[un link](javascript:alert(1)) e [un altro](https://fse.example/x)", "> un avviso",
	}, "\n\n")))
	opened := look(t, s.Site(sandbox.InboxOptions{}), "/inbox/1/"+id)
	wants(t, opened, "HTML", `href="https://fse.example/x"`, "<blockquote>")
	if strings.Contains(opened, "javascript:") || strings.Contains(opened, "<b ") {
		t.Error("something runs")
	}
}

func TestAnInboxShowsWhatGoesWrong(t *testing.T) {
	away := newInstitution(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	s, id := sendRemote(t, away.url)
	opened := look(t, s.Site(sandbox.InboxOptions{}), "/inbox/1/"+id)
	wants(t, opened, "Non è possibile aprire il messaggio", "500: the institution refuses IO&#39;s key", "stays unread") //nolint:misspell // Italian
	unquoted := newInstitution(t, says(details("C'è un nuovo referto", "---\nit:\n  cta_1:\n    text: Vai: qui\n---\n\nUn documento di oggi, con dettagli che solo tu leggi, e altro.")))
	s, id = sendRemote(t, unquoted.url)
	wants(t, look(t, s.Site(sandbox.InboxOptions{}), "/inbox/1/"+id), "non può essere mostrato", "The app shows a warning")
}

func TestAPreconditionComesFirst(t *testing.T) {
	from := newInstitution(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/precondition") {
			says(`{"title": "Prima di aprire", "markdown": "Aprilo da **solo**."}`)(w, r)
			return
		}
		says(details("C'è un nuovo referto", markdown))(w, r)
	})
	s, id := sendRemote(t, from.url, "content.third_party_data.has_precondition", "ALWAYS")
	page := s.Site(sandbox.InboxOptions{})
	gate := look(t, page, "/inbox/1/"+id)
	wants(t, gate, "Prima di aprire", "<strong>solo</strong>", "?go=1")
	if s.Read(id) {
		t.Error("a precondition opened the message")
	}
	wants(t, look(t, page, "/inbox/1/"+id+"?go=1"), "fetched just now")
}

func TestWhatIsNotInAnInbox(t *testing.T) {
	s := sandbox.New(sandbox.Options{Keys: []string{key}, Delay: time.Hour})
	page := s.Site(sandbox.InboxOptions{})
	wants(t, look(t, page, "/inbox/"), "Nobody has a message yet")
	id := send(t, s, message())
	wants(t, look(t, page, "/inbox/"), "1 message so far", "it is on its way")
	for _, path := range []string{"/inbox/1/", "/inbox/1/" + id, "/inbox/0/", "/inbox/x/", "/inbox/99999999999999999999/", "/elsewhere"} {
		recorded := httptest.NewRecorder()
		page.ServeHTTP(recorded, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		if recorded.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, recorded.Code)
		}
	}
}
