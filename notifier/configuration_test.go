package notifier_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"staffetta/notifier"
	"staffetta/notifier/sandbox"
)

const manageKey = "0123456789abcdef-manage"

// configurations talks to a handler over HTTP, with a key.
func configurations(t *testing.T, handler http.Handler, with string) *notifier.Configurations {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := notifier.NewConfigurations(notifier.ClientOptions{BaseURL: server.URL + "/api/v1", Keys: func() []string { return []string{with} }, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func managed() *sandbox.Sandbox {
	return sandbox.New(sandbox.Options{
		Keys: []string{key}, RemoteContent: sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manageKey}},
	})
}

func configured() notifier.Configuration {
	return notifier.Configuration{
		Name: "Staffetta", Description: "Testi dei messaggi", Precondition: "NEVER",
		Production: notifier.Environment{BaseURL: "https://ente.example/io", Header: "X-API-Key", Key: "first-key-of-two"},
	}
}

// Every request and every answer is held against IO's OpenAPI file.
func TestAConfigurationThroughItsLife(t *testing.T) {
	c := configurations(t, contract(t, managed()), manageKey)
	if all, err := c.List(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("%d configurations, %v", len(all), err)
	}
	wanted := configured()
	id, err := c.Create(t.Context(), wanted)
	if err != nil || len(id) != 26 {
		t.Fatalf("id %q, %v", id, err)
	}
	got, err := c.Get(t.Context(), id)
	if err != nil || got.ID != id || !got.Same(wanted) {
		t.Errorf("read back as another one: %v", err)
	}
	wanted.Production.Key, wanted.Precondition = "second-key-of-two", "ONCE"
	wanted.Test = notifier.Environment{BaseURL: "https://test.ente.example/io", Header: "X-API-Key", Key: "second-key-of-two"}
	wanted.TestUsers = []string{"AAAAAA00A00A000A"}
	if got.Same(wanted) {
		t.Error("another key, another test server: the same")
	}
	if err := c.Replace(t.Context(), id, wanted); err != nil {
		t.Fatal(err)
	}
	all, err := c.List(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != id || !all[0].Same(wanted) {
		t.Errorf("%d configurations, %v", len(all), err)
	}
}

// A configuration that somebody made by hand may have LolliPoP on: it is not as we want it, and replacing it turns that off.
func TestLollipopIsTurnedOff(t *testing.T) {
	c := configurations(t, contract(t, managed()), manageKey)
	byHand := configured()
	byHand.Lollipop = true
	id, err := c.Create(t.Context(), byHand)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(t.Context(), id); err != nil || !got.Lollipop || got.Same(configured()) {
		t.Errorf("with LolliPoP it is as it should be (%v)", err)
	}
	if err := c.Replace(t.Context(), id, configured()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(t.Context(), id); err != nil || got.Lollipop || !got.Same(configured()) {
		t.Errorf("LolliPoP is still on (%v)", err)
	}
}

func TestWhatIOSaysToConfigurations(t *testing.T) {
	const unknown = "01BX5ZZKBKACTAV9WEVGEMMVS0"
	if _, err := configurations(t, contract(t, managed()), manageKey).Get(t.Context(), unknown); !errors.Is(err, notifier.ErrNoConfiguration) {
		t.Errorf("an unknown id: %v", err)
	}
	for name, tt := range map[string]struct {
		key, want string
		o         sandbox.RemoteContent
	}{
		"a wrong key":      {"nobody's", "IO refuses the key", sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manageKey}}},
		"the service's":    {key, "want a manage key", sandbox.RemoteContent{Allowed: true, ManageKeys: []string{manageKey}}},
		"not in the group": {manageKey, "ApiRemoteContentConfigurationWrite", sandbox.RemoteContent{ManageKeys: []string{manageKey}}},
	} {
		io := sandbox.New(sandbox.Options{Keys: []string{key}, RemoteContent: tt.o})
		_, err := configurations(t, contract(t, io), tt.key).Create(t.Context(), configured())
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "first-key") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	c, err := notifier.NewConfigurations(notifier.ClientOptions{BaseURL: away.URL, Keys: func() []string { return []string{manageKey} }, HTTP: away.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.List(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("away: %v", err)
	}
}

// A manage key sends nothing: whoever has it is not the service.
func TestAManageKeySendsNothing(t *testing.T) {
	server := httptest.NewServer(managed())
	t.Cleanup(server.Close)
	c, err := notifier.NewClient(notifier.ClientOptions{BaseURL: server.URL + "/api/v1", Keys: func() []string { return []string{manageKey} }, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Send(t.Context(), message(t)); got.Kind != notifier.Forbidden {
		t.Errorf("%s, want forbidden", got.Kind)
	}
}

func TestWhatIsShownOfAConfiguration(t *testing.T) {
	c := configured()
	c.Test, c.TestUsers = c.Production, []string{"AAAAAA00A00A000A"}
	masked, err := c.JSON(false)
	if err != nil || strings.Contains(string(masked), "first-key") || strings.Contains(string(masked), "AAAAAA") {
		t.Errorf("%v\n%s", err, masked)
	}
	whole, err := c.JSON(true)
	if err != nil || strings.Count(string(whole), "first-key-of-two") != 2 || !strings.Contains(string(whole), "AAAAAA00A00A000A") {
		t.Errorf("%v\n%s", err, whole)
	}
	if c.Production.Key != "first-key-of-two" || c.TestUsers[0] != "AAAAAA00A00A000A" {
		t.Error("showing it changed it")
	}
}
