package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"pgregory.net/rapid"

	"staffetta/notifier/sandbox"
)

const (
	key     = "0123456789abcdef-primary"
	code    = "RSSMRA80A01H501U"
	ours    = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	theirs  = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
	unknown = "01BX5ZZKBKACTAV9WEVGEMMVS0"
)

// contract is IO's OpenAPI file beside the sandbox: both are asked the same.
type contract struct {
	doc    *openapi3.T
	router routers.Router
	io     http.Handler
}

func newContract(t *testing.T, o sandbox.Options) *contract {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "reference", "io", "io-services.openapi.yaml")
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
	o.Keys, o.RemoteContent.Own = []string{key}, []string{ours}
	return &contract{doc: doc, router: router, io: sandbox.New(o)}
}

// request is what both are asked.
type request struct{ method, path, kind, key, body string }

func post(path, body string) request {
	return request{http.MethodPost, path, "application/json; charset=utf-8", key, body}
}

func get(path string) request { return request{method: http.MethodGet, path: path, key: key} }

func (q request) http() *http.Request {
	r := httptest.NewRequest(q.method, "/api/v1"+q.path, strings.NewReader(q.body))
	if q.kind != "" {
		r.Header.Set("Content-Type", q.kind)
	}
	r.Header["Ocp-Apim-Subscription-Key"] = []string{q.key}
	return r
}

// ask gives both verdicts. What the sandbox answers must itself be an answer of the contract.
func (c *contract) ask(t interface {
	Helper()
	Errorf(string, ...any)
}, q request,
) (allowed bool, status int, answer string) {
	t.Helper()
	recorded := httptest.NewRecorder()
	c.io.ServeHTTP(recorded, q.http())
	answer = recorded.Body.String()
	if recorded.Code >= 300 && recorded.Code < 400 || recorded.Code >= 500 {
		t.Errorf("the sandbox answers %d", recorded.Code)
	}
	r := q.http()
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		return false, recorded.Code, answer
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: authenticate, SkipSettingDefaults: true}, // null is no default
	}
	allowed = openapi3filter.ValidateRequest(r.Context(), input) == nil
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: recorded.Code, Header: recorded.Header(), Body: io.NopCloser(strings.NewReader(answer)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(r.Context(), out); err != nil {
		t.Errorf("answer %d is none of the contract: %v", recorded.Code, err)
	}
	return allowed, recorded.Code, answer
}

func authenticate(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	if shown := in.RequestValidationInput.Request.Header.Get("Ocp-Apim-Subscription-Key"); shown != key && shown != manage {
		return errors.New("no such key")
	}
	return nil
}

const markdown = "Nel tuo Fascicolo Sanitario Elettronico (FSE) è disponibile un nuovo documento. Leggilo quando vuoi."

// message is one that IO takes, with changes: a value of nil takes a field away, a dot leads into an object.
func message(changes ...any) string {
	m := map[string]any{"fiscal_code": code, "content": map[string]any{
		"subject": "C'è un nuovo referto", "markdown": markdown, "require_secure_channels": true,
	}}
	for i := 0; i < len(changes); i += 2 {
		set(m, strings.Split(changes[i].(string), "."), changes[i+1])
	}
	text, _ := json.Marshal(m)
	return string(text)
}

func set(in map[string]any, path []string, value any) {
	for ; len(path) > 1; path = path[1:] {
		next, is := in[path[0]].(map[string]any)
		if !is {
			next = map[string]any{}
			in[path[0]] = next
		}
		in = next
	}
	if value == nil {
		delete(in, path[0])
		return
	}
	in[path[0]] = value
}

// null is JSON's, where nil would take the field away.
var null = json.RawMessage("null")

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// TestSameVerdictAsTheContract: what the contract can say, the sandbox says too.
func TestSameVerdictAsTheContract(t *testing.T) {
	const remote = "content.third_party_data."
	c := newContract(t, sandbox.Options{RemoteContent: sandbox.RemoteContent{Allowed: true}})
	_, _, created := c.ask(t, post("/messages", message()))
	var sent struct{ ID string }
	if err := json.Unmarshal([]byte(created), &sent); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		q    request
		want bool
	}{
		{"a profile", post("/profiles", `{"fiscal_code": "`+code+`"}`), true},
		{"a profile by its path", get("/profiles/" + code), true},
		{"IO's own test code, with a check letter that is wrong", post("/profiles", `{"fiscal_code": "AAAAAA00A00A000A"}`), true},
		{"omocodia", post("/profiles", `{"fiscal_code": "RSSMRA80A01HRLMU"}`), true},
		{"a lower-case code", post("/profiles", `{"fiscal_code": "rssmra80a01h501u"}`), false},
		{"a lower-case code in the path", get("/profiles/rssmra80a01h501u"), false},
		{"a provisional code of eleven digits", post("/profiles", `{"fiscal_code": "12345678901"}`), false},
		{"a code with a line end", post("/profiles", `{"fiscal_code": "`+code+`\n"}`), false},
		{"a code that is null", post("/profiles", `{"fiscal_code": null}`), false},
		{"a code that is a number", post("/profiles", `{"fiscal_code": 1}`), false},
		{"a profile of nobody", post("/profiles", `{}`), false},
		{"a list", post("/profiles", `["`+code+`"]`), false},
		{"a text", post("/profiles", `"`+code+`"`), false},
		{"null", post("/profiles", `null`), false},
		{"nothing", post("/profiles", ``), false},
		{"half a JSON", post("/profiles", `{"fiscal_code": "`), false},
		{"a form", request{http.MethodPost, "/profiles", "application/x-www-form-urlencoded", key, "fiscal_code=" + code}, false},
		{"no content type", request{http.MethodPost, "/profiles", "", key, `{"fiscal_code": "` + code + `"}`}, false},
		{"almost JSON", request{http.MethodPost, "/profiles", "application/jsonp", key, `{"fiscal_code": "` + code + `"}`}, false},
		{"a content type in capitals", request{http.MethodPost, "/profiles", "Application/JSON", key, `{"fiscal_code": "` + code + `"}`}, true},
		{"no key", request{http.MethodPost, "/profiles", "application/json", "", `{"fiscal_code": "` + code + `"}`}, false},
		{"another key", request{http.MethodPost, "/profiles", "application/json", "x", `{"fiscal_code": "` + code + `"}`}, false},
		{"another key to a call that is none", request{http.MethodGet, "/profile", "", "x", ""}, false},
		{"a call that is none", get("/profile"), false},
		{"a method that is none", request{http.MethodDelete, "/messages", "", key, ""}, false},
		{"a method that is almost GET", request{http.MethodHead, "/profiles/" + code, "", key, ""}, false},
		{"a path that ends too early", get("/messages/" + code), false},
		{"a path with an empty part", post("/messages/", message("fiscal_code", nil)), false},

		{"a message", post("/messages", message()), true},
		{"a message with the code in the path", post("/messages/"+code, message("fiscal_code", nil)), true},
		{"a message with a wrong code in the path", post("/messages/RSSMRA80A01H501", message("fiscal_code", nil)), false},
		{"a message without content", post("/messages", message("content", nil)), false},
		{"content that is null", post("/messages", message("content", null)), false},
		{"content that is a list", post("/messages", message("content", []any{})), false},
		{"the same field twice, the last one counts", post("/messages", strings.Replace(message(), `"subject":`, `"subject":"x","subject":`, 1)), true},
		{"the same field twice, the last one is wrong", post("/messages", strings.Replace(message(), `"markdown":`, `"markdown":"`+markdown+`","markdown":1,"x":`, 1)), false},
		{"no title", post("/messages", message("content.subject", nil)), false},
		{"a title of 10", post("/messages", message("content.subject", strings.Repeat("è", 10))), true},
		{"a title of 9", post("/messages", message("content.subject", strings.Repeat("è", 9))), false},
		{"a title of 120", post("/messages", message("content.subject", strings.Repeat("è", 120))), true},
		{"a title of 121", post("/messages", message("content.subject", strings.Repeat("è", 121))), false},
		{"no text", post("/messages", message("content.markdown", nil)), false},
		{"a text of 80", post("/messages", message("content.markdown", strings.Repeat("è", 80))), true},
		{"a text of 79", post("/messages", message("content.markdown", strings.Repeat("è", 79))), false},
		{"a text of 10,000", post("/messages", message("content.markdown", strings.Repeat("è", 10_000))), true},
		{"a text of 10,001", post("/messages", message("content.markdown", strings.Repeat("è", 10_001))), false},
		{"a text of 10,000, escaped", post("/messages", strings.Replace(message(), markdown, strings.Repeat(`\u00e8`, 10_000), 1)), true},
		{"a text that is a list", post("/messages", message("content.markdown", []string{markdown})), false},
		{"secure channels that are a text", post("/messages", message("content.require_secure_channels", "true")), false},
		{"secure channels that are null", post("/messages", message("content.require_secure_channels", null)), false},
		{"a time to live", post("/messages", message("time_to_live", 3600)), true},
		{"a time to live with a point", post("/messages", message("time_to_live", raw("3600.0"))), true},
		{"a time to live with an exponent", post("/messages", message("time_to_live", raw("3.6e3"))), true},
		{"the longest time to live", post("/messages", message("time_to_live", 604800)), true},
		{"a shorter time to live", post("/messages", message("time_to_live", 3599)), false},
		{"a longer time to live", post("/messages", message("time_to_live", 604801)), false},
		{"half a second to live", post("/messages", message("time_to_live", 3600.5)), false},
		{"for ever", post("/messages", message("time_to_live", raw("1e300"))), false},
		{"a time to live that is a text", post("/messages", message("time_to_live", "3600")), false},
		{"a time to live that is null", post("/messages", message("time_to_live", null)), false},
		{"STANDARD", post("/messages", message("feature_level_type", "STANDARD")), true},
		{"another level", post("/messages", message("feature_level_type", "BASIC")), false},
		{"a level in lower case", post("/messages", message("feature_level_type", "standard")), false},
		{"an address that is ignored", post("/messages", message("default_addresses.email", "foobar@example.com")), true},
		{"an address that is a number", post("/messages", message("default_addresses.email", 1)), false},
		{"a due date", post("/messages", message("content.due_date", "2026-12-31T23:59:59.000Z")), true},
		{"a due date with an offset", post("/messages", message("content.due_date", "2026-12-31T23:59:59+01:00")), true},
		{"a due date without zone", post("/messages", message("content.due_date", "2026-12-31T23:59:59")), false},
		{"a due date without time", post("/messages", message("content.due_date", "2026-12-31")), false},
		{"a due date on a day that there is not", post("/messages", message("content.due_date", "2026-02-30T00:00:00Z")), false},
		{"a due date on a leap day", post("/messages", message("content.due_date", "2028-02-29T00:00:00Z")), true},
		{"a due date in the 25th hour", post("/messages", message("content.due_date", "2026-12-31T24:00:00Z")), false},
		{"a payment", post("/messages", message("content.payment_data", raw(`{"amount": 1, "notice_number": "012345678901234567"}`))), true},
		{"a payment to somebody", post("/messages", message("content.payment_data", raw(`{"amount": 9999999999, "notice_number": "012345678901234567", "invalid_after_due_date": true, "payee": {"fiscal_code": "12345678901"}}`))), true},
		{"a payment of nothing", post("/messages", message("content.payment_data", raw(`{"amount": 0, "notice_number": "012345678901234567"}`))), false},
		{"a payment without number", post("/messages", message("content.payment_data.amount", 1)), false},
		{"a payment to nobody", post("/messages", message("content.payment_data", raw(`{"amount": 1, "notice_number": "012345678901234567", "payee": {}}`))), false},
		{"a covid certificate", post("/messages", message("content.eu_covid_cert.auth_code", "")), true},
		{"a covid certificate without code", post("/messages", message("content.eu_covid_cert", raw("{}"))), false},

		{"remote content", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"has_remote_content", true)), true},
		{"remote content with a precondition", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"has_precondition", "ONCE")), true},
		{"a precondition as the guide's samples have it", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"has_precondition", true)), false},
		{"a precondition that there is not", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"has_precondition", "NONE")), false},
		{"remote content without id", post("/messages", message(remote+"configuration_id", ours)), false},
		{"remote content with an empty id", post("/messages", message(remote+"id", "", remote+"configuration_id", ours)), false},
		{"remote content without configuration", post("/messages", message(remote+"id", "x")), false},
		{"a configuration as the guide's samples have it", post("/messages", message(remote+"id", "x", remote+"configuration_id", "0123456789abcdef0123456789abcdef")), false},
		{"all that is reserved", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"summary", "x", remote+"original_sender", "x", remote+"original_receipt_date", "2026-01-01T00:00:00Z")), true},
		{"a reserved date that is a day", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"original_receipt_date", "2026-01-01")), false},
		{"an empty summary", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"summary", "")), false},
		{"remote content that is a text", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"has_remote_content", "yes")), false},
		{"no attachments", post("/messages", message(remote+"id", "x", remote+"configuration_id", ours, remote+"has_attachments", false)), true},

		{"a status", get("/messages/" + code + "/" + sent.ID), true},
		{"a status with a lower-case code", get("/messages/" + strings.ToLower(code) + "/" + sent.ID), false},
		{"a status with half a code", get("/messages/RSSMRA80A01/" + sent.ID), false},
		{"a status of nothing", get("/messages/" + code + "/"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowed, status, answer := c.ask(t, tt.q)
			if allowed != tt.want {
				t.Errorf("the contract allows it: %t, want %t", allowed, tt.want)
			}
			if (status < 300) != tt.want {
				t.Errorf("the sandbox answers %d %s, want allowed: %t", status, answer, tt.want)
			}
		})
	}
}

// stricter is all that the sandbox refuses on purpose though the contract allows it: IO's code refuses it, or its app shows
// it wrongly, or a health service never does it.
var stricter = []struct {
	name   string
	q      request
	status int
	title  string
}{
	{"secure channels off", post("/messages", message("content.require_secure_channels", false)), 400, "Bad request"},
	{"secure channels left to the service", post("/messages", message("content.require_secure_channels", nil)), 400, "Bad request"},
	{"front matter that the app does not read", post("/messages", message("content.markdown", broken)), 400, "Bad request"},
	{"an unknown field, which IO would ignore", post("/messages", message("content.require_secure_channel", true)), 400, "Bad request"},
	{"data that left the contract", post("/messages", message("content.prescription_data", raw(`{"nre": "1"}`))), 400, "Bad request"},
	{"an unknown field beside the content", post("/messages", message("priority", 1)), 400, "Bad request"},
	{"something after the JSON", post("/messages", message()+"{}"), 400, "Bad request"},
	{"no recipient", post("/messages", message("fiscal_code", nil)), 400, "Bad request"},
	{"two recipients", post("/messages/"+code, message()), 400, "Bad request"},
	{"ADVANCED without the Premium contract", post("/messages", message("feature_level_type", "ADVANCED")), 403, "You are not allowed here"},
	{"attachments on a STANDARD message", post("/messages", pointing(ours, "has_attachments", true)), 403, "Attachments call forbidden"},
	{"another account's configuration", post("/messages", pointing(theirs)), 403, "Not your configuration"},
	{"a configuration that there is not", post("/messages", pointing(unknown)), 404, "Remote Content Configuration NOT FOUND"},
}

const broken = "---\nit: {}\n---\n" + markdown

func pointing(configuration string, more ...any) string {
	const remote = "content.third_party_data."
	changes := []any{remote + "id", "x", remote + "configuration_id", configuration}
	for i := 0; i < len(more); i += 2 {
		changes = append(changes, remote+more[i].(string), more[i+1])
	}
	return message(changes...)
}

func TestStricterThanTheContractOnPurpose(t *testing.T) {
	c := newContract(t, sandbox.Options{RemoteContent: sandbox.RemoteContent{Allowed: true, Foreign: []string{theirs}}})
	for _, tt := range stricter {
		t.Run(tt.name, func(t *testing.T) {
			allowed, status, answer := c.ask(t, tt.q)
			if !allowed {
				t.Error("the contract refuses it too: it belongs into the other table")
			}
			if status != tt.status || !strings.Contains(answer, `"title":"`+tt.title+`"`) {
				t.Errorf("answer %d %s, want %d %s", status, answer, tt.status, tt.title)
			}
		})
	}
	t.Run("remote content without its group", func(t *testing.T) {
		c := newContract(t, sandbox.Options{})
		if allowed, status, _ := c.ask(t, post("/messages", pointing(ours))); !allowed || status != http.StatusForbidden {
			t.Errorf("answer %d, want 403", status)
		}
	})
	t.Run("what Premium has", func(t *testing.T) {
		c := newContract(t, sandbox.Options{Premium: true, RemoteContent: sandbox.RemoteContent{Allowed: true}})
		attached := strings.Replace(pointing(ours, "has_attachments", true), "{", `{"feature_level_type":"ADVANCED",`, 1)
		if _, status, answer := c.ask(t, post("/messages", attached)); status != http.StatusCreated {
			t.Errorf("answer %d %s, want 201", status, answer)
		}
	})
}

// TestLengthsAreCountedAsIODoes: validators count characters, IO counts UTF-16 units (reference io/README.md).
func TestLengthsAreCountedAsIODoes(t *testing.T) {
	c := newContract(t, sandbox.Options{})
	for _, tt := range []struct {
		name, field, text   string
		contract, sandboxed bool
	}{
		{"five emoji are a title of 10", "subject", strings.Repeat("🏥", 5), false, true},
		{"61 emoji are a title of 122", "subject", strings.Repeat("🏥", 61), true, false},
		{"40 emoji are a text of 80", "markdown", strings.Repeat("🏥", 40), false, true},
		{"5,001 emoji are a text of 10,002", "markdown", strings.Repeat("🏥", 5001), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowed, status, _ := c.ask(t, post("/messages", message("content."+tt.field, tt.text)))
			if allowed != tt.contract || (status == http.StatusCreated) != tt.sandboxed {
				t.Errorf("the contract allows it: %t, the sandbox answers %d", allowed, status)
			}
		})
	}
}

// TestSameVerdictWhateverIsSent changes a message in any way: the verdicts are the same, but for what the sandbox is
// stricter in on purpose.
func TestSameVerdictWhateverIsSent(t *testing.T) {
	c := newContract(t, sandbox.Options{RemoteContent: sandbox.RemoteContent{Allowed: true}})
	known := c.paths(t)
	rapid.Check(t, func(t *rapid.T) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(message()), &m); err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "remote") {
			set(m, []string{"content", "third_party_data"}, map[string]any{"id": "x", "configuration_id": ours})
		}
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			path := rapid.SampledFrom(known).Draw(t, "path")
			set(m, strings.Split(path, "."), anyValue.Draw(t, "value"))
		}
		where := rapid.SampledFrom([]string{"/messages", "/messages", "/messages/" + code, "/profiles"}).Draw(t, "where")
		body, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var sent any // as whoever reads it sees it
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatal(err)
		}
		reasons := onPurpose(where, sent.(map[string]any), known)
		allowed, status, answer := c.ask(t, post(where, string(body)))
		if got, want := status < 300, allowed && len(reasons) == 0; got != want && !slices.Contains(reasons, "UTF-16") {
			t.Errorf("%s %s\nthe contract allows it: %t, stricter in %q, the sandbox answers %d %s", where, body, allowed, reasons, status, answer)
		}
	})
}

// anyValue is what a field may be given: a value of every kind, near every limit.
var anyValue = rapid.OneOf(
	rapid.SampledFrom([]any{
		nil, null, true, false, 0, 1, -1, 3600, 604800, 604801, 3600.5, raw("3600.0"), raw("1e3"), raw("9999999999"), "", "x", "STANDARD", "ADVANCED",
		"ALWAYS", "ONCE", "NEVER", "NONE", code, strings.ToLower(code), "12345678901", "012345678901234567", ours, theirs, markdown, broken,
		"2026-12-31T23:59:59Z", "2026-12-31T23:59:59.5+02:00", "2026-12-31", "2026-02-30T00:00:00Z", raw("[]"), raw(`["x"]`), raw("{}"),
		raw(`{"id": "x"}`), raw(`{"fiscal_code": "12345678901"}`), raw(`{"amount": 1, "notice_number": "012345678901234567"}`),
	}),
	rapid.Map(rapid.String(), func(s string) any { return s }),
	rapid.Map(rapid.SampledFrom([]int{9, 10, 11, 79, 80, 81, 119, 120, 121, 9999, 10_000, 10_001}), func(n int) any { return strings.Repeat("è", n) }),
)

// onPurpose names why the sandbox is stricter than the contract with a body. It knows the contract's fields from the
// contract, and nothing of the sandbox.
func onPurpose(where string, m map[string]any, known []string) (reasons []string) {
	if strangers(m, "", known) || where == "/profiles" && len(m) > 1 {
		reasons = append(reasons, "an unknown field")
	}
	if where == "/profiles" {
		return reasons
	}
	content, _ := m["content"].(map[string]any)
	remote, _ := content["third_party_data"].(map[string]any)
	_, named := m["fiscal_code"]
	for name, applies := range map[string]bool{
		"secure channels":     content["require_secure_channels"] != true,
		"front matter":        content["markdown"] == broken,
		"one recipient":       named == (where != "/messages"),
		"ADVANCED":            m["feature_level_type"] == "ADVANCED",
		"attachments":         remote["has_attachments"] == true,
		"whose configuration": remote != nil && remote["configuration_id"] != ours,
		"UTF-16":              counted(content["subject"]) || counted(content["markdown"]),
	} {
		if applies {
			reasons = append(reasons, name)
		}
	}
	return reasons
}

// counted says whether a text has another length in UTF-16.
func counted(value any) bool {
	text, _ := value.(string)
	return len(utf16.Encode([]rune(text))) != len([]rune(text))
}

// strangers says whether an object holds fields that the contract does not know.
func strangers(m map[string]any, path string, known []string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(m)), func(name string) bool {
		inner, _ := m[name].(map[string]any)
		return !slices.Contains(known, path+name) || strangers(inner, path+name+".", known)
	})
}

// paths are all fields of a message, as the contract has them.
func (c *contract) paths(t *testing.T) []string {
	t.Helper()
	var all []string
	var walk func(path string, schema *openapi3.Schema)
	walk = func(path string, schema *openapi3.Schema) {
		for _, part := range schema.AllOf {
			walk(path, part.Value)
		}
		for name, property := range schema.Properties {
			all = append(all, path+name)
			walk(path+name+".", property.Value)
		}
	}
	walk("", c.doc.Components.Schemas["NewMessage"].Value)
	slices.Sort(all)
	if len(all) < 25 {
		t.Fatalf("%d fields, want all of a message", len(all))
	}
	return all
}
