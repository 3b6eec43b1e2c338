package notifier_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"staffetta/fhir/fiscalcode"
	"staffetta/notifier"
	"staffetta/notifier/sandbox"
)

const key, nextKey = "0123456789abcdef-primary", "0123456789abcdef-secondary"

func person(tb testing.TB) fiscalcode.Code {
	tb.Helper()
	code, err := fiscalcode.Parse("RSSMRA80A01H501U")
	if err != nil {
		tb.Fatal(err)
	}
	return code
}

func message(tb testing.TB) notifier.Message {
	tb.Helper()
	m, err := composer(tb, options()).Compose(notice(tb, "published"))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// client talks to a handler over HTTP.
func client(tb testing.TB, handler http.Handler) *notifier.Client {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return clientOf(tb, server.URL+"/api/v1", server.Client())
}

func clientOf(tb testing.TB, base string, http *http.Client) *notifier.Client {
	tb.Helper()
	c, err := notifier.NewClient(notifier.ClientOptions{BaseURL: base, Keys: func() []string { return []string{key, nextKey} }, HTTP: http})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestAMessageGoesItsWay(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{key}})
	c := client(t, io)
	if got := c.Profile(t.Context(), person(t)); got.Kind != notifier.Allowed || len(got.Languages) != 1 {
		t.Errorf("profile: %+v", got)
	}
	sent := c.Send(t.Context(), message(t))
	if sent.Kind != notifier.Created || len(sent.MessageID) != 26 {
		t.Fatalf("send: %+v", sent)
	}
	if got := c.Status(t.Context(), person(t), sent.MessageID); got.Kind != notifier.StatusKnown || got.Status != "PROCESSED" {
		t.Errorf("status: %+v", got)
	}
	taken := io.Messages()
	if len(taken) != 1 || taken[0].Recipient != person(t) || taken[0].ID != sent.MessageID {
		t.Errorf("taken: %d messages", len(taken))
	}
}

// What IO answers 201 to is created, whatever it calls it; an id that is none of IO's cannot be asked for.
// IO, or what stands before it, may be at the root of its host.
func TestWhereIOIs(t *testing.T) {
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { path = r.RequestURI }))
	t.Cleanup(server.Close)
	for base, want := range map[string]string{
		"": "/profiles", "/": "/profiles", "/api/v1": "/api/v1/profiles", "/api/v1/": "/api/v1/profiles",
	} {
		path = ""
		if clientOf(t, server.URL+base, server.Client()).Profile(t.Context(), person(t)); path != want {
			t.Errorf("at base %q it is asked at %q, want %q", base, path, want)
		}
	}
}

// However an answer is written, and however much of it comes, what it says is heard.
func TestHowAnAnswerMayBeWritten(t *testing.T) {
	const id = "01JD9GZ4Q8W3T5N7P2R6S8V0XY"
	for name, answer := range map[string]string{
		"as it should be":               "Content-Length: 35\r\n\r\n" + `{"id":"` + id + `"}`,
		"with no length":                "Connection: close\r\n\r\n" + `{"id":"` + id + `"}`,
		"shorter than it says":          "Content-Length: 60000\r\n\r\n" + `{"id":"` + id + `"}`,
		"of more than anybody can hold": "Content-Length: 1125899906842624\r\n\r\n" + `{"id":"` + id + `"}`,
		"a name that comes twice":       "Connection: close\r\n\r\n" + `{"note":1,"note":2,"id":"` + id + `"}`,
		"in capitals":                   "Connection: close\r\n\r\n" + `{"ID":"` + id + `"}`,
		"not in UTF-8":                  "Connection: close\r\n\r\n" + `{"note":"` + "\xe8" + `","id":"` + id + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, "HTTP/1.1 201 Created\r\n"+answer)
			})).Send(t.Context(), message(t))
			if got.Kind != notifier.Created || got.MessageID != id {
				t.Errorf("%s %q, want %s %q", got.Kind, got.MessageID, notifier.Created, id)
			}
		})
	}
}

func TestAnIDThatIsNoneIsNotFollowed(t *testing.T) {
	for _, body := range []string{`{"id":"6f1d9b1e-0000-4000-8000-000000000000"}`, `{"id":""}`, `{}`, `<html>`} {
		c := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, body)
		}))
		if got := c.Send(t.Context(), message(t)); got.Kind != notifier.Created || got.MessageID != "" {
			t.Errorf("%s: %s, id %q", body, got.Kind, got.MessageID)
		}
	}
}

func TestProfiles(t *testing.T) {
	for profile, want := range map[sandbox.Profile]notifier.Kind{
		sandbox.Reachable: notifier.Allowed, sandbox.NotOnIO: notifier.NotOnIO, sandbox.NotAllowed: notifier.NotAllowed,
		sandbox.Forbidden: notifier.RecipientForbidden,
	} {
		c := client(t, sandbox.New(sandbox.Options{Keys: []string{key}, Profile: func(fiscalcode.Code) sandbox.Profile { return profile }}))
		if got := c.Profile(t.Context(), person(t)); got.Kind != want {
			t.Errorf("profile %d: %s, want %s", profile, got.Kind, want)
		}
	}
}

// Table 2.6 of reference io.md: what each answer to each call means.
func TestAnswers(t *testing.T) {
	type kinds struct{ profile, message, status notifier.Kind }
	same := func(k notifier.Kind) kinds { return kinds{k, k, k} }
	for _, tt := range []struct {
		status     int
		body       string
		want       kinds
		retryAfter string
	}{
		{400, `{"title":"Bad request","status":400}`, same(notifier.Refused), ""},
		{401, `{"statusCode":401,"message":"Access denied"}`, same(notifier.KeyRefused), ""},
		{403, `{"title":"You are not allowed here","status":403}`, same(notifier.Forbidden), ""},
		{403, `{"title":"Recipient forbidden","status":403}`, same(notifier.RecipientForbidden), ""},
		{403, `{"title":"Production call forbidden"}`, same(notifier.Forbidden), ""},
		{403, `{"title":"Not your configuration"}`, same(notifier.Refused), ""},
		{403, `<html>`, same(notifier.Forbidden), ""},
		{404, `{"title":"Profile not found"}`, kinds{notifier.NotOnIO, notifier.Forbidden, notifier.Forbidden}, ""},
		{404, `{"title":"Message not found"}`, kinds{notifier.Forbidden, notifier.Forbidden, notifier.Refused}, ""},
		{404, `{"title":"Remote Content Configuration NOT FOUND"}`, kinds{notifier.Forbidden, notifier.Refused, notifier.Forbidden}, ""},
		{404, `{"statusCode":404,"message":"Resource not found"}`, same(notifier.Forbidden), ""},
		{413, ``, same(notifier.Refused), ""},
		{429, `{"statusCode":429}`, same(notifier.Throttled), "7"},
		{500, `{"title":"Internal server error"}`, same(notifier.Unavailable), ""},
		{502, ``, kinds{notifier.Unavailable, notifier.Unclear, notifier.Unavailable}, ""},
		{503, ``, kinds{notifier.Unavailable, notifier.Unclear, notifier.Unavailable}, ""},
		{504, ``, kinds{notifier.Unavailable, notifier.Unclear, notifier.Unavailable}, ""},
		{302, ``, kinds{notifier.Unavailable, notifier.Unclear, notifier.Unavailable}, ""},
		{200, `{"nothing":"known"}`, kinds{notifier.Unavailable, notifier.Unclear, notifier.Unavailable}, ""},
	} {
		t.Run(fmt.Sprint(tt.status, tt.body), func(t *testing.T) {
			c := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("x-rate-limit-retry-after", tt.retryAfter)
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}))
			answers := []notifier.Answer{
				c.Profile(t.Context(), person(t)), c.Send(t.Context(), message(t)), c.Status(t.Context(), person(t), "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
			}
			for i, want := range []notifier.Kind{tt.want.profile, tt.want.message, tt.want.status} {
				if answers[i].Kind != want || answers[i].HTTPStatus != tt.status {
					t.Errorf("call %d: %s (%d), want %s", i, answers[i].Kind, answers[i].HTTPStatus, want)
				}
				if want == notifier.Throttled && answers[i].RetryAfter != 7*time.Second {
					t.Errorf("retry after %s", answers[i].RetryAfter)
				}
				if text := fmt.Sprintf("%+v", answers[i]); strings.Contains(text, "RSSMRA") {
					t.Errorf("the answer holds what was asked: %s", text)
				}
			}
		})
	}
}

func TestWhetherAMessageMayHaveBeenCreated(t *testing.T) {
	cut := func(read bool) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if read {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			panic(http.ErrAbortHandler)
		})
	}
	if got := client(t, cut(true)).Send(t.Context(), message(t)); got.Kind != notifier.Unclear {
		t.Errorf("cut after the request: %s, want unclear", got.Kind)
	}
	closed := httptest.NewServer(cut(true))
	closed.Close()
	if got := clientOf(t, closed.URL, closed.Client()).Send(t.Context(), message(t)); got.Kind != notifier.Unavailable {
		t.Errorf("connection refused: %s, want unavailable", got.Kind)
	}
	asked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	hanging := client(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(asked)
		<-r.Context().Done()
	}))
	go func() { <-asked; cancel() }()
	if got := hanging.Send(ctx, message(t)); got.Kind != notifier.Unclear {
		t.Errorf("no answer in time: %s, want unclear", got.Kind)
	}
}

// A call with another key than the one that worked last is one call more.
func TestTheOtherKeyIsTried(t *testing.T) {
	io := sandbox.New(sandbox.Options{Keys: []string{nextKey}})
	c := client(t, io)
	if got := c.Send(t.Context(), message(t)); got.Kind != notifier.Created || got.InVain != 1 {
		t.Fatalf("with the secondary key: %s, after %d calls in vain", got.Kind, got.InVain)
	}
	if got := c.Profile(t.Context(), message(t).Recipient); got.Kind != notifier.Allowed || got.InVain != 0 {
		t.Errorf("once it is known: %s, after %d calls in vain", got.Kind, got.InVain)
	}
	io.SetKeys("third")
	if got := c.Status(t.Context(), message(t).Recipient, "01ARZ3NDEKTSV4RRFFQ69G5FAV"); got.Kind != notifier.KeyRefused || got.InVain != 1 {
		t.Errorf("neither works: %s, after %d calls in vain", got.Kind, got.InVain)
	}
	if n := len(io.Messages()); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

func TestSandboxLimitsTheRate(t *testing.T) {
	c := client(t, sandbox.New(sandbox.Options{Keys: []string{key}, Rate: 2}))
	for range 2 {
		if got := c.Profile(t.Context(), person(t)); got.Kind != notifier.Allowed {
			t.Fatalf("within the rate: %s", got.Kind)
		}
	}
	if got := c.Profile(t.Context(), person(t)); got.Kind != notifier.Throttled || got.RetryAfter <= 0 {
		t.Errorf("beyond it: %+v", got)
	}
}

// contract checks every request and every answer against IO's own OpenAPI file.
func contract(t *testing.T, next http.Handler) http.Handler {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "reference", "io", "io-services.openapi.yaml")
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs IO's OpenAPI file in the reference")
		}
		t.Skip("IO's OpenAPI file is not part of the project: no reference beside it")
	}
	doc, err := openapi3.NewLoader().LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = openapi3.Servers{{URL: "/api/v1"}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	noAuth := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, params, err := router.FindRoute(r)
		if err != nil {
			t.Errorf("%s: no such call in the contract", r.Method)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		request := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: noAuth}
		if err := openapi3filter.ValidateRequest(t.Context(), request); err != nil {
			t.Errorf("request: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		answer := &openapi3filter.ResponseValidationInput{
			RequestValidationInput: request, Status: recorded.Code, Header: recorded.Header(),
			Body: io.NopCloser(bytes.NewReader(recorded.Body.Bytes())), Options: noAuth,
		}
		if err := openapi3filter.ValidateResponse(t.Context(), answer); err != nil {
			t.Errorf("answer %d: %v", recorded.Code, err)
		}
		maps.Copy(w.Header(), recorded.Header())
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	})
}

func TestClientAndSandboxKeepTheContract(t *testing.T) {
	for profile := range 4 {
		io := sandbox.New(sandbox.Options{
			Keys: []string{key}, Profile: func(fiscalcode.Code) sandbox.Profile { return sandbox.Profile(profile) },
		})
		c := client(t, contract(t, io))
		c.Profile(t.Context(), person(t))
		sent := c.Send(t.Context(), message(t))
		if sent.Kind == notifier.Created {
			c.Status(t.Context(), person(t), sent.MessageID)
		}
		c.Status(t.Context(), person(t), "01ARZ3NDEKTSV4RRFFQ69G5FAV")
		if n := io.Calls()["status"]; n == 0 {
			t.Error("nothing was asked")
		}
	}
}
