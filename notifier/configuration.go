package notifier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// Configuration is what IO knows of remote content: where to fetch it, and how it proves itself there (reference io.md, 6).
type Configuration struct {
	ID           string // a ULID, given by IO; "" for one that does not exist yet
	Name         string
	Description  string
	Precondition string // NEVER, ONCE or ALWAYS, where a message does not say otherwise
	Production   Environment
	Test         Environment // asked in place of the other one for TestUsers; zero: none
	TestUsers    []string    // codici fiscali
	// Lollipop says that IO passes the phone's signature on, for some citizens at least. We never want it: who signs a request
	// proves which phone it was, and nothing here asks.
	Lollipop bool
}

// Environment is a server that IO fetches from: BaseURL/messages/{id}.
type Environment struct {
	BaseURL string
	Header  string // that carries the key
	Key     string
}

// Same says whether IO would do the same with both.
func (c Configuration) Same(other Configuration) bool {
	return c.Name == other.Name && c.Description == other.Description && c.Precondition == other.Precondition &&
		c.Production == other.Production && c.Test == other.Test && slices.Equal(c.TestUsers, other.TestUsers) &&
		c.Lollipop == other.Lollipop
}

// The configuration on the wire (NewRCConfigurationPublic, RCConfigurationResponse).
type wireConfiguration struct {
	ID              string        `json:"configuration_id,omitempty"`
	Name            string        `json:"name"`
	Description     string        `json:"description"`
	Precondition    string        `json:"has_precondition"`
	NoLollipopFor   []string      `json:"disable_lollipop_for"`
	LollipopEnabled bool          `json:"is_lollipop_enabled"`
	Test            *wireTestBase `json:"test_environment,omitempty"`
	Production      *wireBase     `json:"prod_environment,omitempty"`
}

type wireBase struct {
	BaseURL        string             `json:"base_url"`
	Authentication wireAuthentication `json:"details_authentication"`
}

type wireTestBase struct {
	wireBase

	Users []string `json:"test_users"`
}

type wireAuthentication struct {
	Type   string `json:"type"` // a constant
	Header string `json:"header_key_name"`
	Key    string `json:"key"`
}

func (e Environment) wire() wireBase {
	return wireBase{BaseURL: e.BaseURL, Authentication: wireAuthentication{Type: "API-KEY", Header: e.Header, Key: e.Key}}
}

func (w wireBase) environment() Environment {
	return Environment{BaseURL: w.BaseURL, Header: w.Authentication.Header, Key: w.Authentication.Key}
}

// wire is what IO is sent.
func (c Configuration) wire() wireConfiguration {
	w := wireConfiguration{
		Name: c.Name, Description: c.Description, Precondition: c.Precondition, NoLollipopFor: []string{},
		LollipopEnabled: c.Lollipop, Production: new(c.Production.wire()),
	}
	if c.Test.BaseURL != "" {
		w.Test = &wireTestBase{c.Test.wire(), append([]string{}, c.TestUsers...)}
	}
	return w
}

func (w wireConfiguration) configuration() Configuration {
	c := Configuration{ID: w.ID, Name: w.Name, Description: w.Description, Precondition: w.Precondition, Lollipop: w.LollipopEnabled}
	if w.Production != nil {
		c.Production = w.Production.environment()
	}
	if w.Test != nil {
		c.Test, c.TestUsers = w.Test.environment(), w.Test.Users
	}
	return c
}

// JSON is the body that IO is sent, for people: without revealed secrets and codes only say that they are there.
func (c Configuration) JSON(reveal bool) ([]byte, error) {
	if !reveal {
		c.Production.Key, c.TestUsers = hidden(c.Production.Key), slices.Clone(c.TestUsers)
		c.Test.Key = hidden(c.Test.Key)
		for i := range c.TestUsers {
			c.TestUsers[i] = "<fiscal code>"
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(c.wire())
	return text.Bytes(), err
}

func hidden(secret string) string {
	if secret == "" {
		return ""
	}
	return "<secret>"
}

// Configurations is the part of IO's API that keeps configurations; its key is a manage key.
type Configurations struct{ client *Client }

// NewConfigurations makes a client; Keys of the options are manage keys.
func NewConfigurations(o ClientOptions) (*Configurations, error) {
	client, err := NewClient(o)
	return &Configurations{client: client}, err
}

// at is where the configurations are, or one of them.
func (c *Configurations) at(id ...string) *url.URL {
	return c.client.base.JoinPath(append([]string{"messages-sending", "remote-contents", "configurations"}, id...)...)
}

// ErrNoConfiguration says that IO knows no configuration by that id.
var ErrNoConfiguration = errors.New("IO knows no remote content configuration by that id")

// List gives all configurations of the account. What it returns holds their secrets.
func (c *Configurations) List(ctx context.Context) ([]Configuration, error) {
	got := c.client.call(ctx, http.MethodGet, c.at(), nil)
	if got.status == http.StatusNotFound && got.title() != "" {
		return nil, nil // there is none
	}
	if got.status != http.StatusOK {
		return nil, got.configurationTrouble("list the configurations")
	}
	var list struct {
		Configurations []wireConfiguration `json:"rcConfigList"`
	}
	if got.decode(&list) != nil {
		return nil, errors.New("list the configurations: IO's answer cannot be read")
	}
	all := make([]Configuration, len(list.Configurations))
	for i, w := range list.Configurations {
		all[i] = w.configuration()
	}
	return all, nil
}

// Get gives one configuration; ErrNoConfiguration where there is none.
func (c *Configurations) Get(ctx context.Context, id string) (Configuration, error) {
	got := c.client.call(ctx, http.MethodGet, c.at(id), nil)
	if got.status != http.StatusOK {
		return Configuration{}, got.configurationTrouble("read the configuration")
	}
	var w wireConfiguration
	if got.decode(&w) != nil || w.ID == "" {
		return Configuration{}, errors.New("read the configuration: IO's answer cannot be read")
	}
	return w.configuration(), nil
}

// Create makes a new configuration and gives its id.
func (c *Configurations) Create(ctx context.Context, wanted Configuration) (id string, err error) {
	got := c.client.call(ctx, http.MethodPost, c.at(), wanted.wire())
	if got.status != http.StatusCreated {
		return "", got.configurationTrouble("create the configuration")
	}
	var created wireConfiguration
	if got.decode(&created) != nil || created.ID == "" {
		return "", errors.New("create the configuration: it is created, but IO's answer does not say its id; run this again")
	}
	return created.ID, nil
}

// Replace makes a configuration what is wanted; it keeps its id, and messages that point to it follow.
func (c *Configurations) Replace(ctx context.Context, id string, wanted Configuration) error {
	got := c.client.call(ctx, http.MethodPut, c.at(id), wanted.wire())
	if got.status != http.StatusNoContent && got.status != http.StatusOK {
		return got.configurationTrouble("replace the configuration")
	}
	return nil
}

// configurationTrouble says what a person can do, without any word of IO's.
func (a answered) configurationTrouble(doing string) error {
	why := fmt.Sprintf("IO answers %d", a.status)
	switch a.status {
	case 0:
		why = "IO does not answer"
	case http.StatusUnauthorized:
		why = "IO refuses the key: want the organisation's or the group's manage key, which is not that of the service"
	case http.StatusForbidden:
		why = "IO does not allow it: want a manage key, of an account in the group ApiRemoteContentConfigurationWrite (ask PagoPA for it)"
	case http.StatusNotFound:
		if a.title() != "" {
			return fmt.Errorf("%s: %w", doing, ErrNoConfiguration)
		}
		why = "IO does not know the path: look at io.base_url"
	case http.StatusBadRequest:
		why = "IO does not like what it is sent"
	case http.StatusTooManyRequests:
		why = "IO is asked too often, by all that the account does: try again in a moment"
	}
	return fmt.Errorf("%s: %s", doing, why)
}
