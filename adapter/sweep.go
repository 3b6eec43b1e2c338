package adapter

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/catchup"
	"staffetta/adapter/ledger"
	"staffetta/adapter/relay"
	"staffetta/config"
	"staffetta/fhir"
)

// newSweeper looks for what the sources have never posted.
func newSweeper(
	cfg *config.Config, sources map[string]relay.Source, led *ledger.Ledger, keeper *catchup.Keeper, admitted func(time.Duration),
	registry prometheus.Registerer, log *slog.Logger,
) (*catchup.Sweeper, error) {
	o := catchup.SweeperOptions{
		Ledger: led, Admitted: admitted, Keeper: keeper, Metrics: registry, Log: log,
	}
	for _, s := range cfg.Sources {
		swept := catchup.Swept{
			Name: s.Name, Shape: fhir.Shape(s.Shape), Source: sources[s.Name].Source, Searches: searches(s), Spare: spareSearches(s),
			Every: time.Duration(*s.Sweep.Every), Since: time.Duration(s.Sweep.Since), Overlap: time.Duration(s.Sweep.Overlap),
			Settle: cfg.SettleAt(s), Kept: s.Subscribe == "auto",
		}
		if s.Subscribe != "never" {
			swept.Subscriber = newSubscriber(cfg, s, swept.Source, nil)
		}
		o.Sources = append(o.Sources, swept)
	}
	return catchup.NewSweeper(o)
}

// searches are those of a source's sweeps.
func searches(s config.Source) []string {
	return fhir.Searches(fhir.Shape(s.Shape), searchCriteria(s), s.Subscription.Filters)
}

// spareSearches are those beside them that not every server knows.
func spareSearches(s config.Source) []string {
	return fhir.SpareSearches(fhir.Shape(s.Shape), searchCriteria(s), s.Subscription.Filters)
}

func searchCriteria(s config.Source) []string {
	if len(s.Sweep.Criteria) > 0 {
		return s.Sweep.Criteria
	}
	return s.Subscription.Criteria
}

// newTally notes what the sources post.
func newTally(cfg *config.Config, led *ledger.Ledger, log *slog.Logger) *catchup.Tally {
	o := catchup.TallyOptions{Ledger: led, Log: log}
	for _, s := range cfg.Sources {
		o.Sources = append(o.Sources, s.Name)
	}
	return catchup.NewTally(o)
}
