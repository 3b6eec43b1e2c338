package sandbox_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"staffetta/notifier/sandbox"
)

const manage = "0123456789abcdef-manage"

// configuration is one that IO takes, with changes as message has them.
func configuration(changes ...any) string {
	m := map[string]any{
		"name": "FSE", "description": "Testi", "has_precondition": "NEVER", "disable_lollipop_for": []any{}, "is_lollipop_enabled": false,
		"prod_environment": map[string]any{"base_url": "https://ente.example/io", "details_authentication": map[string]any{
			"type": "API-KEY", "header_key_name": "X-API-Key", "key": "k",
		}},
	}
	for i := 0; i < len(changes); i += 2 {
		set(m, strings.Split(changes[i].(string), "."), changes[i+1])
	}
	text, _ := json.Marshal(m)
	return string(text)
}

const configurationsPath = "/messages-sending/remote-contents/configurations"

func TestConfigurationsHaveTheSameVerdictAsTheContract(t *testing.T) {
	c := newContract(t, sandbox.Options{RemoteContent: sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manage}}})
	test := map[string]any{
		"base_url": "https://test.ente.example/io", "test_users": []any{code},
		"details_authentication": map[string]any{"type": "API-KEY", "header_key_name": "X-API-Key", "key": "k"},
	}
	for _, tt := range []struct {
		name    string
		changes []any
		want    bool
		purpose bool // the sandbox is stricter on purpose
	}{
		{"as the guide has it", nil, true, false},
		{"with a test environment", []any{"test_environment", test}, true, false},
		{"a test environment alone", []any{"test_environment", test, "prod_environment", nil}, true, false},
		{"no environment", []any{"prod_environment", nil}, false, true},
		{"no name", []any{"name", nil}, false, false},
		{"an empty name", []any{"name", ""}, false, false},
		{"a precondition that is true", []any{"has_precondition", true}, false, false},
		{"NONE, as the guide writes", []any{"has_precondition", "NONE"}, false, false},
		{"no list for LolliPoP", []any{"disable_lollipop_for", nil}, false, false},
		{"a list with a name in it", []any{"disable_lollipop_for", []any{"Mario Rossi"}}, false, false},
		{"no word on LolliPoP", []any{"is_lollipop_enabled", nil}, false, false},
		{"no key", []any{"prod_environment.details_authentication.key", nil}, false, false},
		{"no header", []any{"prod_environment.details_authentication.header_key_name", ""}, false, false},
		{"a bearer token", []any{"prod_environment.details_authentication.type", "BEARER"}, false, true},
		{"no base URL", []any{"prod_environment.base_url", nil}, false, false},
		{"test users that are none", []any{"test_environment", test, "test_environment.test_users", []any{"x"}}, false, false},
		{"a field that is misspelt", []any{"base_url", "https://ente.example/io"}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := post(configurationsPath, configuration(tt.changes...))
			q.key = manage
			allowed, status, _ := c.ask(t, q)
			if (status == http.StatusCreated) != tt.want || allowed != (tt.want || tt.purpose) {
				t.Errorf("the contract allows it: %t, the sandbox answers %d, want taken: %t", allowed, status, tt.want)
			}
			q.method, q.path = http.MethodPut, configurationsPath+"/"+ours
			if allowed, status, _ := c.ask(t, q); (status == http.StatusNoContent) != tt.want || allowed != (tt.want || tt.purpose) {
				t.Errorf("PUT: the contract allows it: %t, the sandbox answers %d, want taken: %t", allowed, status, tt.want)
			}
		})
	}
}

func TestWhoMayHaveConfigurations(t *testing.T) {
	for name, tt := range map[string]struct {
		key  string
		o    sandbox.RemoteContent
		want int
	}{
		"a manage key":                     {manage, sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manage}}, 200},
		"a manage key without its group":   {manage, sandbox.RemoteContent{ManageKeys: []string{manage}}, 403},
		"the service's key":                {key, sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manage}}, 403},
		"nobody's key":                     {"x", sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manage}}, 401},
		"an account that has no such keys": {manage, sandbox.RemoteContent{Allowed: true}, 401},
	} {
		c := newContract(t, sandbox.Options{RemoteContent: tt.o})
		q := get(configurationsPath)
		q.key = tt.key
		if _, status, _ := c.ask(t, q); status != tt.want {
			t.Errorf("%s: %d, want %d", name, status, tt.want)
		}
	}
}
