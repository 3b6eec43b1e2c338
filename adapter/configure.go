package adapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"staffetta/config"
	"staffetta/notifier"
)

// ConfigureOptions are how IO is configured.
type ConfigureOptions struct {
	DryRun  bool      // change nothing
	Secrets bool      // with DryRun: print secrets and fiscal codes, too
	Out     io.Writer // what was done; with DryRun the exact JSON
	Aside   io.Writer // with DryRun: what would be done
}

// ConfigureIO makes IO's remote content configuration what the file says: the one of remote.configuration_id, else ours by its
// name, else a new one.
func ConfigureIO(ctx context.Context, cfg *config.Config, o ConfigureOptions) error {
	wanted, err := wantedConfiguration(cfg)
	if err != nil {
		return err
	}
	api, err := newConfigurations(cfg)
	if err != nil {
		return err
	}
	found, err := findConfiguration(ctx, api, cfg.Remote)
	if err != nil {
		return err
	}
	if o.DryRun {
		return configureDryRun(found, wanted, o)
	}
	// A name alone is a default that another installation of the organisation may have: what has its messages opened elsewhere
	// is not taken over.
	if cfg.Remote.ConfigurationID == "" && found.ID != "" && found.Production.BaseURL != wanted.Production.BaseURL {
		return fmt.Errorf("IO has a configuration of the name in remote.name that asks another server: change remote.name, or, where it "+
			"is ours, put its id into remote.configuration_id: %s", found.ID)
	}
	switch {
	case found.ID == "":
		if found.ID, err = api.Create(ctx, wanted); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(o.Out, "created: IO's configuration of remote content is %s\n", found.ID)
	case found.Same(wanted):
		_, _ = fmt.Fprintf(o.Out, "IO's configuration %s is as the file wants it\n", found.ID)
	default:
		if err := api.Replace(ctx, found.ID, wanted); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(o.Out, "replaced: IO's configuration %s is now as the file wants it\n", found.ID)
	}
	if cfg.Remote.ConfigurationID == "" {
		_, _ = fmt.Fprintf(o.Out, "put it into the file:\n  remote:\n    configuration_id: %s\n", found.ID)
	}
	return nil
}

// wantedConfiguration is what the file says. Of the API keys IO is given the first one.
func wantedConfiguration(cfg *config.Config) (notifier.Configuration, error) {
	r := cfg.Remote
	base, err := cfg.RemoteBase()
	if err != nil {
		return notifier.Configuration{}, err
	}
	if len(r.APIKeys) == 0 {
		return notifier.Configuration{}, errors.New("remote.api_keys: none, want the one by which IO proves itself")
	}
	c := notifier.Configuration{
		Name: r.Name, Description: r.Description, Precondition: strings.ToUpper(r.Precondition),
		Production: notifier.Environment{BaseURL: base, Header: r.Header, Key: string(r.APIKeys[0])},
	}
	if r.Test.BaseURL != "" {
		c.Test = notifier.Environment{BaseURL: strings.TrimSuffix(r.Test.BaseURL, "/"), Header: r.Header, Key: string(r.APIKeys[0])}
		c.TestUsers = inClear(r.Test.Users)
	}
	return c, nil
}

func newConfigurations(cfg *config.Config) (*notifier.Configurations, error) {
	if cfg.Remote.ManageKey == "" {
		return nil, errors.New("remote.manage_key: missing, want the organisation's or the group's manage key, here or as manage_key_file")
	}
	client, err := cfg.IO.Client()
	if err != nil {
		return nil, err
	}
	return notifier.NewConfigurations(notifier.ClientOptions{BaseURL: cfg.IO.BaseURL, Keys: func() []string { return []string{string(cfg.Remote.ManageKey)} }, HTTP: client})
}

// findConfiguration is ours as IO has it; without an id where there is none yet.
func findConfiguration(ctx context.Context, api *notifier.Configurations, r config.Remote) (notifier.Configuration, error) {
	if r.ConfigurationID != "" {
		return api.Get(ctx, r.ConfigurationID)
	}
	all, err := api.List(ctx)
	if err != nil {
		return notifier.Configuration{}, err
	}
	var ours []notifier.Configuration
	for _, one := range all {
		if one.Name == r.Name {
			ours = append(ours, one)
		}
	}
	switch len(ours) {
	case 0:
		return notifier.Configuration{}, nil
	case 1:
		return ours[0], nil
	}
	ids := make([]string, len(ours))
	for i, one := range ours {
		ids[i] = one.ID
	}
	return notifier.Configuration{}, fmt.Errorf("IO has %d configurations of the name in remote.name: put the id of ours into "+
		"remote.configuration_id, one of %s", len(ours), strings.Join(ids, ", "))
}

func configureDryRun(found, wanted notifier.Configuration, o ConfigureOptions) error {
	text, err := wanted.JSON(o.Secrets)
	if err != nil {
		return err
	}
	_, _ = o.Out.Write(text)
	would := "create this configuration (POST)"
	switch {
	case found.ID != "" && found.Same(wanted):
		would = "change nothing: configuration " + found.ID + " is as the file wants it"
	case found.ID != "":
		would = "replace configuration " + found.ID + " by this (PUT)"
	}
	_, _ = fmt.Fprintf(o.Aside, "dry run: would %s\n", would)
	return nil
}
