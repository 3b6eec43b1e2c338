package adapter

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"staffetta/adapter/catchup"
	"staffetta/config"
	"staffetta/fhir"
)

// takeSample looks at what changed last at a source, as a Subscription by searches and the rules would: o says how many
// resources, and how long. Its calls are counted, and go by a way of their own.
func takeSample(ctx context.Context, cfg *config.Config, source config.Source, searches []string, o catchup.SampleOptions) (catchup.Sample, error) {
	rules, err := newRules(cfg)
	if err != nil {
		return catchup.Sample{}, err
	}
	client, err := source.Client()
	if err != nil {
		return catchup.Sample{}, err
	}
	defer client.CloseIdleConnections()
	read, err := newSource(cfg, source, catchup.Allowed(client, catchup.Allowance(o.N)), nil)
	if err != nil {
		return catchup.Sample{}, err
	}
	o.Searches = searches
	o.Source, o.Shape, o.Rules, o.Choices, o.Now = read.Source, fhir.Shape(source.Shape), rules, read.Rules, time.Now()
	return catchup.TakeSample(ctx, o)
}

// sampledBy are the searches of the Subscription that was chosen.
func sampledBy(source config.Source, choice fhir.Choice) []string {
	if choice.Flavour == fhir.FlavourClassic {
		return choice.Criteria
	}
	return source.Subscription.Filters
}

// proposals say which systems of identifiers may have to be configured: codici fiscali stand there, and those people have no
// other one.
func proposals(systems map[string]int) []string {
	lines := make([]string, 0, len(systems))
	for _, system := range slices.Sorted(maps.Keys(systems)) {
		lines = append(lines, fmt.Sprintf(
			"%d without a codice fiscale have one under %s: only where that holds the person's own may fiscal_code_systems name it", systems[system], system))
	}
	return lines
}

// What serve looks at before it subscribes: the first Subscription waits for it.
const (
	sampledByServe = 100
	sampleMost     = 30 * time.Second
)

// logSample says in one line what a Subscription and the rules will make of what changed last. That it cannot be taken holds
// up nothing.
func logSample(ctx context.Context, cfg *config.Config, source config.Source, choice fhir.Choice, log *slog.Logger) {
	log = log.With(slog.String("source", source.Name))
	s, err := takeSample(ctx, cfg, source, sampledBy(source, choice), catchup.SampleOptions{N: sampledByServe, Most: sampleMost})
	if err != nil {
		if ctx.Err() == nil {
			log.WarnContext(ctx, "no sample was taken before subscribing", slog.Any("error", err))
		}
		return
	}
	level, matches := slog.LevelInfo, make([]string, len(s.Matches))
	for i, m := range s.Matches {
		if matches[i] = matched(m); m.Unknown == "" && m.Of > 0 && m.Matched == 0 {
			level = slog.LevelWarn // the Subscription may be about nothing
		}
	}
	log.Log(ctx, level, "sampled before subscribing, as if nobody had been told", slog.String("resource_type", s.Kind), slog.Int("resources", s.Resources),
		slog.String("criteria", strings.Join(matches, "; ")), slog.String("rules", strings.Join(verdicts(s.Verdicts), ", ")), slog.String("stopped", s.Stopped))
}

// matched says how much of a sample one search matches.
func matched(m catchup.Match) string {
	switch {
	case m.Unknown != "":
		return m.Search + ": " + m.Unknown
	case m.Of == 0:
		return fmt.Sprintf("%s: there is no %s", m.Search, m.Kind)
	}
	return fmt.Sprintf("%s: %d of %d match%s", m.Search, m.Matched, m.Of, rest(m))
}

// rest says what those are that do not match.
func rest(m catchup.Match) string {
	lines := make([]string, 0, len(m.Statuses))
	for status, n := range m.Statuses {
		line := fmt.Sprintf("%d `%s`", n, status)
		if len(m.Statuses) == 1 {
			line = fmt.Sprintf("all are `%s`", status)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	switch {
	case len(lines) == 0:
		return ""
	case m.Matched == 0:
		return ": " + strings.Join(lines, ", ")
	}
	return "; of the others " + strings.Join(lines, ", ")
}

// verdicts are one line each, the frequent ones first.
func verdicts(counts map[catchup.Verdict]int) []string {
	all := frequent(counts)
	lines := make([]string, len(all))
	for i, v := range all {
		lines[i] = fmt.Sprintf("%d %s", counts[v], v)
	}
	return lines
}

// frequent are verdicts, the frequent ones first.
func frequent(counts map[catchup.Verdict]int) []catchup.Verdict {
	all := make([]catchup.Verdict, 0, len(counts))
	for v := range counts {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b catchup.Verdict) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.Action, b.Action), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}
