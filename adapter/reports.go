package adapter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"staffetta/adapter/desk"
	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/config"
	"staffetta/fhir"
)

// ReportsOptions are what `staffetta reports` writes, and how.
type ReportsOptions struct {
	JSON bool
	Out  io.Writer
}

// Reports is the desk of the command line. Nothing that it writes is personal.
type Reports struct {
	desk *desk.Desk
	ReportsOptions
}

// WithReports opens the ledger and the sources of the file for one errand.
func WithReports(ctx context.Context, cfg *config.Config, log *slog.Logger, o ReportsOptions, errand func(*Reports) error) error {
	sources, err := newSources(cfg, nil)
	if err != nil {
		return err
	}
	return withLedger(ctx, cfg, ledger.Options{Log: log}, func(led *ledger.Ledger) error {
		d := &desk.Desk{Ledger: led, Sources: map[string]*fhir.Source{}, Off: cfg.IO.Mode == config.ModeOff}
		for name, source := range sources {
			d.Sources[name] = source.Source
		}
		return errand(&Reports{desk: d, ReportsOptions: o})
	})
}

// told is what a citizen was told of a document, as it is shown.
type told struct {
	Publication string     `json:"publication"`
	At          *time.Time `json:"at,omitempty"`
	MessageID   string     `json:"message_id,omitempty"`
	Uncertain   bool       `json:"uncertain,omitempty"`
	ReadStatus  string     `json:"read_status,omitempty"`
}

// shown is one record, as it is shown.
type shown struct {
	Record   string     `json:"record"`
	Source   string     `json:"source,omitempty"`
	State    string     `json:"state"`
	Reason   string     `json:"reason,omitempty"`
	Detail   string     `json:"detail,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	Released []string   `json:"released,omitempty"`
	Release  string     `json:"release,omitempty"` // what a release would do, of a held record
	Told     *told      `json:"told,omitempty"`
	Due      *time.Time `json:"due,omitempty"`
	Asked    *time.Time `json:"delivery_asked,omitempty"`
	Timeline []happened `json:"timeline,omitempty"`
}

type happened struct {
	At     time.Time `json:"at"`
	Event  string    `json:"event"`
	State  string    `json:"state,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Who    string    `json:"who,omitempty"`
	Why    string    `json:"why,omitempty"`
}

func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func show(rec *ledger.Record) shown {
	s := shown{
		Record: rec.Key.String(), Source: rec.Source, State: string(rec.State), Reason: rec.Reason, Detail: rec.Detail,
		Since: known(rec.Since), Released: rec.Released,
	}
	if rec.State == ledger.Held {
		s.Release = string(policy.ReleaseOf(rec.Reason))
	}
	if t := rec.Told; t.Publication != ledger.NoPublication || t.Uncertain {
		s.Told = &told{
			Publication: string(t.Publication), At: known(t.At), MessageID: t.MessageID, Uncertain: t.Uncertain,
			ReadStatus: strings.ToLower(t.ReadStatus),
		}
	}
	return s
}

// List shows what is held, those that wait longest first.
func (r *Reports) List(ctx context.Context, f desk.Filter, most int) error {
	held, err := r.desk.Held(ctx, f)
	if err != nil {
		return err
	}
	all := make([]shown, 0, min(len(held), most))
	for i := range held[:min(len(held), most)] {
		all = append(all, show(&held[i]))
	}
	if r.JSON {
		return r.write(map[string]any{"held": len(held), "records": all})
	}
	if len(held) == 0 {
		return r.say("nothing is held\n")
	}
	table := tabwriter.NewWriter(r.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "RECORD\tSOURCE\tREASON\tDETAIL\tSINCE\tTOLD\tA RELEASE")
	for _, s := range all {
		publication := ""
		if s.Told != nil {
			publication = cmp.Or(s.Told.Publication, "perhaps")
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Record, s.Source, s.Reason, s.Detail, clock(s.Since), publication, s.Release)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return r.say("%d held, %d shown\n", len(held), len(all))
}

// Show shows one record with its timeline.
func (r *Reports) Show(ctx context.Context, name desk.Name) error {
	v, err := r.desk.Show(ctx, name)
	if err != nil {
		return err
	}
	s := show(&v.Record)
	s.Due, s.Asked = known(v.Due), known(v.Track)
	for _, e := range v.Timeline {
		s.Timeline = append(s.Timeline, happened{
			At: e.At, Event: e.Event, State: string(e.State), Reason: e.Reason, Who: e.By.Who, Why: e.By.Why,
		})
	}
	if r.JSON {
		return r.write(s)
	}
	for _, line := range [][2]string{
		{"record", s.Record},
		{"source", s.Source},
		{"state", s.State},
		{"reason", strings.TrimSpace(s.Reason + " " + s.Detail)},
		{"since", clock(s.Since)},
		{"told", inWords(s.Told)},
		{"released", strings.Join(s.Released, ", ")},
		{"a release", s.Release},
		{"next look", clock(s.Due)},
		{"delivery asked", clock(s.Asked)},
	} {
		if line[1] != "" {
			_, _ = fmt.Fprintf(r.Out, "%-15s%s\n", line[0], line[1])
		}
	}
	for _, h := range s.Timeline {
		line := fmt.Sprintf("%s  %-16s %-12s %s", clock(&h.At), h.Event, h.State, h.Reason)
		if h.Who != "" || h.Why != "" {
			line += fmt.Sprintf("  by %s: %s", h.Who, h.Why)
		}
		_, _ = fmt.Fprintln(r.Out, strings.TrimRight(line, " "))
	}
	return nil
}

func inWords(t *told) string {
	if t == nil {
		return "nothing"
	}
	words := cmp.Or(t.Publication, "perhaps")
	if at := clock(t.At); at != "" {
		words += " at " + at
	}
	if t.MessageID != "" {
		words += ", message " + t.MessageID
	}
	if t.Uncertain {
		words += ", perhaps more than once"
	}
	if t.ReadStatus != "" {
		words += ", " + t.ReadStatus
	}
	return words
}

// Release says a person's yes to one record.
func (r *Reports) Release(ctx context.Context, name desk.Name, o desk.Order) error {
	rec, err := r.desk.Release(ctx, name, o)
	return r.done("released", &rec, err)
}

// Retry has a record looked at now.
func (r *Reports) Retry(ctx context.Context, name desk.Name, o desk.Order) error {
	rec, err := r.desk.Retry(ctx, name, o)
	return r.done("looked at again", &rec, err)
}

// Forget ends a held record.
func (r *Reports) Forget(ctx context.Context, name desk.Name, o desk.Order) error {
	rec, err := r.desk.Forget(ctx, name, o)
	return r.done("forgotten: nobody is told", &rec, err)
}

func (r *Reports) done(what string, was *ledger.Record, err error) error {
	switch {
	case err != nil:
		return err
	case r.JSON:
		return r.write(map[string]any{"record": was.Key.String(), "was": show(was), "done": what})
	}
	return r.say("%s: %s, was %s\n", was.Key, what, strings.TrimSpace(string(was.State)+" "+was.Reason))
}

// ReleaseAll releases what is held, or was kept back by io.mode, for a reason.
func (r *Reports) ReleaseAll(ctx context.Context, f desk.Filter, o desk.Order, dry bool) error {
	done, err := r.desk.ReleaseAll(ctx, f, o, dry)
	if r.JSON {
		return errors.Join(r.write(map[string]any{"released": done.Released, "refused": done.Refused, "dry_run": dry}), err)
	}
	word := "released"
	if dry {
		word = "would be released"
	}
	_ = r.say("%d %s\n", done.Released, word)
	for _, why := range slices.Sorted(maps.Keys(done.Refused)) {
		_ = r.say("%d not: %s\n", done.Refused[why], why)
	}
	return err
}

// answered is one document of a citizen, as it is shown: its record, never its id.
type answered struct {
	shown

	Date     string `json:"date,omitempty"`
	Document string `json:"document_status"`
	Known    bool   `json:"known"`
	ToThem   bool   `json:"told_to_them"`
	ToOther  bool   `json:"told_to_somebody_else"`
}

// Reconcile answers whether a citizen was told, and when, of each of their documents at a source; all is false where the
// ledger does not know one of them.
func (r *Reports) Reconcile(ctx context.Context, source, who string) (all bool, err error) {
	found, err := r.desk.Reconcile(ctx, source, who)
	if err != nil {
		return false, err
	}
	all = true
	lines := make([]answered, 0, len(found.Answers))
	for i := range found.Answers {
		a := &found.Answers[i]
		line := answered{Document: a.Status, Known: a.Known, ToThem: a.ToThem, ToOther: !a.NobodyElse}
		line.shown = show(&a.Record)
		line.Record, line.Source = a.Key.String(), source
		if !a.Date.IsZero() {
			line.Date = a.Date.In(policy.Rome()).Format(time.DateOnly)
		}
		all = all && a.Known
		lines = append(lines, line)
	}
	if r.JSON {
		return all, r.write(map[string]any{"citizen": "***", "source": source, "documents": lines, "stopped": found.Stopped})
	}
	_ = r.say("citizen ***: %d documents at %s\n", len(lines), source)
	for i := range lines {
		_ = r.say("%s\n", lines[i].words())
	}
	if found.Stopped != "" {
		_ = r.say("these may not be all: %s\n", found.Stopped)
	}
	return all, nil
}

func (a *answered) words() string {
	words := fmt.Sprintf("%-10s  %-16s %s  ", cmp.Or(a.Date, "no date"), a.Document, a.Record)
	switch {
	case !a.Known:
		return words + "not known: it was never seen, or its record has expired"
	case a.ToThem:
		words += "told " + inWords(a.Told)
	case a.ToOther:
		words += "somebody else was told " + inWords(a.Told)
	default:
		words += "not told"
	}
	return words + ", " + strings.TrimSpace(a.State+" "+a.Reason)
}

func clock(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.In(policy.Rome()).Format("2006-01-02 15:04:05")
}

func (r *Reports) say(format string, args ...any) error {
	_, err := fmt.Fprintf(r.Out, format, args...)
	return err
}

func (r *Reports) write(value any) error {
	encoder := json.NewEncoder(r.Out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
