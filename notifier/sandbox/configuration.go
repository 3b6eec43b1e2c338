package sandbox

import (
	"maps"
	"net/http"
	"slices"
)

// Environment is a server that remote content is fetched from.
type Environment struct {
	BaseURL string
	Header  string // that carries the key
	Key     string
}

// environmentOf reads one from a configuration; false where it has none.
func environmentOf(configuration object, name string) (Environment, bool) {
	e := configuration.inner(name)
	authentication := e.inner("details_authentication")
	return Environment{
		BaseURL: e.text("base_url"), Header: authentication.text("header_key_name"), Key: authentication.text("key"),
	}, e.text("base_url") != ""
}

// Configure makes a configuration of the account's own that fetches from one server, as its owner does over the API.
func (s *Sandbox) Configure(id string, from Environment) {
	configuration := object{
		"name": "sandbox", "description": "sandbox", "has_precondition": "NEVER", "disable_lollipop_for": []any{}, "is_lollipop_enabled": false,
	}
	if from.BaseURL != "" {
		configuration["prod_environment"] = map[string]any{"base_url": from.BaseURL, "details_authentication": map[string]any{
			"type": "API-KEY", "header_key_name": from.Header, "key": from.Key,
		}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configurations[id] = configuration
}

// configuration is one of the account's own; nil where there is none.
func (s *Sandbox) configuration(id string) object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.configurations[id]
}

// stored is a configuration as its owner reads it, secret and all.
func stored(id string, configuration object) object {
	all := maps.Clone(configuration)
	all["configuration_id"], all["user_id"] = id, "01JBSANDBOXUSER0000000000"
	return all
}

// manager lets in who shows a manage key, of an account that may have configurations (reference io.md, 6).
func (s *Sandbox) manager(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.o.RemoteContent.Allowed || !slices.Contains(s.o.RemoteContent.ManageKeys, r.Header.Get(keyHeader)) {
			refuse(w, forbidden("You are not allowed here"))
			return
		}
		next(w, r)
	}
}

func (s *Sandbox) createConfiguration(w http.ResponseWriter, r *http.Request) {
	body, wrong := read(r, newConfiguration)
	if wrong != nil {
		refuse(w, wrong)
		return
	}
	id := ulid(s.now())
	s.mu.Lock()
	s.configurations[id] = body
	s.mu.Unlock()
	created := stored(id, body)
	delete(created, "user_id")
	answer(w, http.StatusCreated, created)
}

func (s *Sandbox) listConfigurations(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]object, 0, len(s.configurations))
	for _, id := range slices.Sorted(maps.Keys(s.configurations)) {
		list = append(list, stored(id, s.configurations[id]))
	}
	answer(w, http.StatusOK, map[string]any{"rcConfigList": list})
}

// noConfiguration is also the answer about another account's.
var noConfiguration = &refusal{http.StatusNotFound, "Remote Content Configuration NOT FOUND", "There is no such configuration."}

func (s *Sandbox) readConfiguration(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("configuration")
	if configurationID("configurationId", id) != nil {
		refuse(w, badRequest("configurationId does not match the pattern"))
		return
	}
	known := s.configuration(id)
	if known == nil {
		refuse(w, noConfiguration)
		return
	}
	answer(w, http.StatusOK, stored(id, known))
}

func (s *Sandbox) replaceConfiguration(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("configuration")
	if configurationID("configurationId", id) != nil {
		refuse(w, badRequest("configurationId does not match the pattern"))
		return
	}
	body, wrong := read(r, newConfiguration)
	if wrong == nil && s.configuration(id) == nil {
		wrong = noConfiguration
	}
	if wrong != nil {
		refuse(w, wrong)
		return
	}
	s.mu.Lock()
	s.configurations[id] = body
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// What the contract says of a configuration (NewRCConfigurationPublic), with the one environment at least that its text asks for.
var (
	newConfiguration = every(record(fields{
		"name": text(1, 0), "description": text(1, 0), "has_precondition": oneOf("ALWAYS", "ONCE", "NEVER"),
		"disable_lollipop_for": list(fiscalCode), "is_lollipop_enabled": flag,
		"test_environment": record(fields{"base_url": text(1, 0), "details_authentication": authentication, "test_users": list(fiscalCode)},
			"base_url", "details_authentication", "test_users"),
		"prod_environment": record(fields{"base_url": text(1, 0), "details_authentication": authentication}, "base_url", "details_authentication"),
	}, "name", "description", "has_precondition", "disable_lollipop_for", "is_lollipop_enabled"), someEnvironment)
	authentication = record(fields{"type": oneOf("API-KEY"), "header_key_name": text(1, 0), "key": text(1, 0)}, "type", "header_key_name", "key")
)

func someEnvironment(path string, value any) error {
	all, _ := value.(map[string]any)
	if all["test_environment"] == nil && all["prod_environment"] == nil {
		return wrong(path)
	}
	return nil
}

// list has elements of one kind.
func list(each rule) rule {
	return func(path string, value any) error {
		all, is := value.([]any)
		if !is {
			return wrong(path)
		}
		for _, one := range all {
			if err := each(path+"[]", one); err != nil {
				return err
			}
		}
		return nil
	}
}

// every follows all of the rules.
func every(rules ...rule) rule {
	return func(path string, value any) error {
		for _, one := range rules {
			if err := one(path, value); err != nil {
				return err
			}
		}
		return nil
	}
}

// testUsers are those who are sent to the test environment.
func testUsers(configuration object) (codes []string) {
	users, _ := configuration.inner("test_environment")["test_users"].([]any)
	for _, one := range users {
		code, _ := one.(string)
		codes = append(codes, code)
	}
	return codes
}
