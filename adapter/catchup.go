package adapter

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"staffetta/adapter/catchup"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
)

// CatchUpOptions are what `staffetta catchup` is asked for.
type CatchUpOptions struct {
	Source    string
	Since     time.Time // zero: policy.max_age before now
	DryRun    bool
	Forgo     bool // tell nobody of what was published before the first connection, and be done with it
	Resources int  // that a dry run looks at
	Out       io.Writer
}

// CatchUp tells, or says who would be told, of what a source published before it was connected.
func CatchUp(ctx context.Context, cfg *config.Config, log *slog.Logger, o CatchUpOptions) error {
	at := slices.IndexFunc(cfg.Sources, func(s config.Source) bool { return s.Name == o.Source })
	if at < 0 {
		return noSuchSource(cfg)
	}
	r := retrieval{cfg: cfg, o: o, source: cfg.Sources[at], now: time.Now()}
	if o.DryRun && cfg.Redis.Embedded() {
		r.say("redis", "embedded: nothing is known of what was told")
		return r.dryRun(ctx, nil)
	}
	return withLedger(ctx, cfg, ledger.Options{Log: log, Looks: o.DryRun}, func(led *ledger.Ledger) error {
		switch {
		case o.DryRun:
			return r.dryRun(ctx, led)
		case o.Forgo:
			return r.forgo(ctx, led)
		}
		return r.add(ctx, led)
	})
}

// retrieval is one run of the command.
type retrieval struct {
	cfg    *config.Config
	o      CatchUpOptions
	source config.Source
	now    time.Time
}

// say writes one line: a word in front, what is said behind it.
func (r *retrieval) say(word, format string, args ...any) {
	_, _ = fmt.Fprintf(r.o.Out, "%-10s %s\n", word, fmt.Sprintf(format, args...))
}

// backlog is what is looked through.
func (r *retrieval) backlog(ctx context.Context, led *ledger.Ledger) (b catchup.Backlog, err error) {
	client, err := r.source.Client()
	if err != nil {
		return b, err
	}
	read, err := newSource(r.cfg, r.source, client, nil)
	if err != nil {
		return b, err
	}
	since := r.o.Since
	if since.IsZero() {
		since = r.now.Add(-time.Duration(r.cfg.Policy.MaxAge))
	}
	r.say("source", "%s, shape %s: what changed since %s", r.source.Name, r.source.Shape, minute(since))
	if led != nil {
		if err := r.sayState(ctx, led); err != nil {
			return b, err
		}
	}
	return catchup.Backlog{
		Name: r.source.Name, Shape: fhir.Shape(r.source.Shape), Source: read.Source, Searches: searches(r.source), Spare: spareSearches(r.source), Since: since,
		Ledger: led, Settle: r.cfg.SettleAt(r.source),
	}, nil
}

// sayState says what is known of the source.
func (r *retrieval) sayState(ctx context.Context, led *ledger.Ledger) error {
	c, err := led.LookAtCatchUp(ctx, r.source.Name)
	if err != nil {
		return err
	}
	switch {
	case c.First.IsZero():
		r.say("connected", "never by `staffetta serve`")
	case c.Decided.IsZero():
		r.say("connected", "first on %s; nobody has decided what becomes of what was published before", minute(c.First))
	default:
		r.say("connected", "first on %s; decided on %s", minute(c.First), minute(c.Decided))
	}
	return nil
}

func minute(at time.Time) string { return at.Local().Format("2006-01-02 15:04") }

func (r *retrieval) sayFound(found []catchup.Found) {
	for _, f := range found {
		r.say("searched", "%s: %d resources in %d calls", f.Search, f.Hits, f.Pages)
		if f.Refused != "" {
			r.say("", "the server lists this search, and refuses it: %s", f.Refused)
		}
		for _, name := range f.Ignores {
			r.say("", "the server ignores %s", name)
		}
	}
}

// add admits all of it, as if it had been posted now.
func (r *retrieval) add(ctx context.Context, led *ledger.Ledger) error {
	b, err := r.backlog(ctx, led)
	if err != nil {
		return err
	}
	found, admitted, err := catchup.AddBacklog(ctx, b)
	r.sayFound(found)
	r.say("admitted", "%d that were not known, %d that had changed, %d that are known as they are",
		admitted[ledger.New], admitted[ledger.Newer], admitted[ledger.Duplicate]+admitted[ledger.Stale])
	if err != nil {
		return fmt.Errorf("not all was admitted, run it again: %w", err)
	}
	r.say("done", "`staffetta serve` decides on each as on any other, and tells at the pace that IO allows")
	return nil
}

// forgo decides that nobody is told.
func (r *retrieval) forgo(ctx context.Context, led *ledger.Ledger) error {
	if err := led.Decide(ctx, r.source.Name); err != nil {
		return err
	}
	r.say("decided", "nobody is told of what %s published before it was connected", r.source.Name)
	return nil
}

// dryRun says what would become of it.
func (r *retrieval) dryRun(ctx context.Context, led *ledger.Ledger) error {
	rules, err := newRules(r.cfg)
	if err != nil {
		return err
	}
	b, err := r.backlog(ctx, led)
	if err != nil {
		return err
	}
	preview, err := catchup.PreviewBacklog(ctx, b, catchup.PreviewOptions{
		Rules: rules, Choices: choices(r.source), Resources: r.o.Resources, Now: r.now,
	})
	r.sayFound(preview.Found)
	if err != nil {
		return err
	}
	if preview.Stopped != "" {
		r.say("stopped", "%s", preview.Stopped)
	}
	r.say("dry run", "nobody is told now; each document is read once, on the day of its last change")
	return r.table(preview)
}

// table is the count per day and decision, with a line for all days.
func (r *retrieval) table(p catchup.Preview) error {
	_, _ = fmt.Fprintln(r.o.Out)
	w := tabwriter.NewWriter(r.o.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "day\tresources\tdocuments\tdecision")
	all := catchup.Day{Verdicts: map[catchup.Verdict]int{}}
	for _, day := range p.Days {
		rows(w, day.Date.Format(time.DateOnly), day)
		all.Resources += day.Resources
		all.Decided += day.Decided
		for verdict, n := range day.Verdicts {
			all.Verdicts[verdict] += n
		}
	}
	rows(w, "all", all)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// rows are the lines of one day: its date and its resources stand in the first.
func rows(w io.Writer, name string, day catchup.Day) {
	resources := strconv.Itoa(day.Resources)
	row := func(documents, decision string) {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", name, resources, documents, decision)
		name, resources = "", ""
	}
	for _, v := range frequent(day.Verdicts) {
		row(strconv.Itoa(day.Verdicts[v]), v.String())
	}
	switch left := day.Resources - day.Decided; {
	case left > 0:
		row("", fmt.Sprintf("not looked at: %d resources", left))
	case len(day.Verdicts) == 0:
		row("0", "of documents that changed again later")
	}
}
