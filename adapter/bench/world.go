package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// benchToken is what senders show; the bare handlers do not look at it.
const benchToken = "bench-token-0123456789abcdef0123456789"

// world is an FSE and an IO that answer at once with as little work as possible: what is measured stands between them.
type world struct {
	addr   string
	server *http.Server
	calls  atomic.Int64 // to IO
	posts  atomic.Int64 // POST /messages

	content string // message.content

	mu   sync.Mutex
	told map[string]int // fiscal code -> messages
	last time.Time      // of the last message
}

func startWorld(ctx context.Context) (*world, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &world{addr: l.Addr().String(), told: map[string]int{}, content: "static"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /fhir/DiagnosticReport", w.searchReport)
	mux.HandleFunc("GET /fhir/DiagnosticReport/{id}", w.readReport)
	mux.HandleFunc("GET /fhir/Patient/{id}", w.readPatient)
	mux.HandleFunc("POST /io/api/v1/profiles", w.profile)
	mux.HandleFunc("POST /io/api/v1/messages", w.message)
	mux.HandleFunc("GET /io/api/v1/messages/{code}/{id}", w.status)
	w.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		if err := w.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			_, _ = fmt.Fprintln(os.Stderr, "bench world:", err)
		}
	}()
	return w, nil
}

func (w *world) stop() { _ = w.server.Close() }

func (w *world) fse() string { return "http://" + w.addr + "/fhir" }
func (w *world) io() string  { return "http://" + w.addr + "/io/api/v1" }

// reset forgets what was told.
func (w *world) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.told)
	w.calls.Store(0)
	w.posts.Store(0)
}

// tally is how many were told, and how many of them more than once.
func (w *world) tally() (told, twice int, last time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.told {
		if n > 1 {
			twice++
		}
	}
	return len(w.told), twice, w.last
}

func (w *world) searchReport(rw http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("_id")
	answerFHIR(rw, `{"resourceType":"Bundle","type":"searchset","entry":[{"search":{"mode":"match"},"resource":`+report(id)+
		`},{"search":{"mode":"include"},"resource":`+patient(id)+`}]}`)
}

func (w *world) readReport(rw http.ResponseWriter, r *http.Request) {
	answerFHIR(rw, report(r.PathValue("id")))
}

func (w *world) readPatient(rw http.ResponseWriter, r *http.Request) {
	answerFHIR(rw, patient(strings.TrimPrefix(r.PathValue("id"), "p-")))
}

func answerFHIR(rw http.ResponseWriter, text string) {
	rw.Header().Set("Content-Type", "application/fhir+json")
	_, _ = rw.Write([]byte(text)) //nolint:gosec // a FHIR server of the bench
}

func (w *world) profile(rw http.ResponseWriter, _ *http.Request) {
	w.calls.Add(1)
	answerJSON(rw, http.StatusOK, `{"sender_allowed":true,"preferred_languages":["it_IT"]}`)
}

func (w *world) message(rw http.ResponseWriter, r *http.Request) {
	w.calls.Add(1)
	var message struct {
		FiscalCode string `json:"fiscal_code"`
	}
	if json.NewDecoder(r.Body).Decode(&message) != nil {
		answerJSON(rw, http.StatusBadRequest, `{}`)
		return
	}
	n := w.posts.Add(1)
	w.mu.Lock()
	w.told[message.FiscalCode]++
	w.last = time.Now()
	w.mu.Unlock()
	answerJSON(rw, http.StatusCreated, fmt.Sprintf(`{"id":"01J%023d"}`, n))
}

func (w *world) status(rw http.ResponseWriter, r *http.Request) {
	w.calls.Add(1)
	answerJSON(rw, http.StatusOK, `{"message":{"id":"`+url.PathEscape(r.PathValue("id"))+`","fiscal_code":"`+
		url.PathEscape(r.PathValue("code"))+`","created_at":"2026-11-24T10:00:00.000Z","content":{"subject":"`+bareSubject+`"},"sender_service_id":"01J00000000000000000000000"},"status":"PROCESSED"}`)
}

func answerJSON(rw http.ResponseWriter, status int, text string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte(text))
}

// configured writes the file of a Staffetta between redis and this world, with lines of yaml added, and names it.
func (w *world) configured(dir, redisURL, settle, io string, more string) (string, error) {
	text := `public: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
redis: {url: "` + redisURL + `"}
ledger: {seal_key: "c3RhZmZldHRhLWJlbmNoLXNlYWwta2V5LTMyYnl0ZXM="` + more + `}
sources:
  - name: bench
    base_url: ` + w.fse() + `
    unlabelled: notify
    receive: {bearer_tokens: ["` + benchToken + `"]}
io: {base_url: "` + io + `", key: "bench-key-0123456789abcdef", rate: 100000}
message: {button_url: "https://fascicolo.example.it/referti", content: ` + w.content + `}
remote: {configuration_id: 01ARZ3NDEKTSV4RRFFQ69G5FAV, api_keys: ["bench-remote-key-0123456789abcdef"]}
policy: {settle: ` + settle + `}
log: {level: error}
`
	path := filepath.Join(dir, "staffetta.yaml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}
