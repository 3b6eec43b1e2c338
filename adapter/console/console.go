// Package console is what people and monitoring look at, on the admin listener: one live page, metrics, health. It only
// shows; nothing on it changes anything.
package console

import (
	"bytes"
	"context"
	_ "embed" // the page
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/notifier"
)

// Options are what the console looks at.
type Options struct {
	Ledger   *ledger.Ledger
	Registry *prometheus.Registry
	Sources  []string
	IO       IO
	Log      *slog.Logger
}

// IO is what of the way to IO the ledger does not know.
type IO struct {
	Mode     string         // io.mode; "" where it is none of this process' business
	DailyCap int            // io.daily_cap
	StepRate func() float64 // records a second that all replicas take a step with, lately
	Today    func() string  // the day that the cap counts, as the pace names it
}

// used is how many messages of the daily cap are granted today.
func (io IO) used(state ledger.PaceState) int {
	if io.Today == nil || state.Day != io.Today() {
		return 0
	}
	return state.Messages
}

// total is how many there are at all sources.
func total(bySource map[string]int64) (sum int64) {
	for _, n := range bySource {
		sum += n
	}
	return sum
}

// days is how many days what waits takes at least, once the messages of today are sent; 0 where the daily cap does not decide.
func (io IO) days(stats ledger.Stats, state ledger.PaceState) int64 {
	most := int64(io.DailyCap)
	if most == 0 || io.Mode == "off" || int64(io.used(state)) < most {
		return 0
	}
	return (total(stats.Due) + most - 1) / most
}

// backlog is when what is due by now will be done, at the present rate; ok is false where it will not be, or nobody knows. Where
// the daily cap decides, it is when all that waits will be.
func (io IO) backlog(stats ledger.Stats, state ledger.PaceState) (lasts time.Duration, ok bool) {
	const slowest, day = 1.0 / 3600, 24 * time.Hour // one record an hour is none
	if days := io.days(stats, state); days > 0 {
		return time.Duration(days) * day, true
	}
	due := total(stats.Overdue)
	if due == 0 {
		return 0, true
	}
	if io.StepRate == nil {
		return 0, false
	}
	rate := io.StepRate()
	if rate < slowest {
		return 0, false
	}
	return time.Duration(float64(due) / rate * float64(time.Second)), true
}

//go:embed page.html
var pageText string

//go:embed style.css
var style []byte

var page = template.Must(template.New("page").Funcs(template.FuncMap{"ago": ago, "clock": clock}).Parse(pageText))

// New is the handler of the admin listener.
func New(o Options) http.Handler {
	c := &console{Options: o}
	o.Registry.MustRegister(&collector{ledger: o.Ledger, sources: o.Sources, io: o.IO})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/console/", http.StatusFound) })
	mux.HandleFunc("GET /console/{$}", c.page)
	mux.HandleFunc("GET /console/style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(style)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "well") })
	mux.HandleFunc("GET /readyz", c.ready)
	return secured(mux)
}

type console struct{ Options }

// secured sets what every answer carries: nothing is loaded from elsewhere, nothing is framed, no script runs.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// askLimit bounds what a page or a probe waits for.
const askLimit = 3 * time.Second

// ready says whether notifications can be taken in.
func (c *console) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askLimit)
	defer cancel()
	if err := c.Ledger.Ping(ctx); err != nil {
		c.Log.WarnContext(ctx, "not ready", slog.Any("error", err))
		answer(w, http.StatusServiceUnavailable, "the ledger in redis cannot be used: see the log")
		return
	}
	answer(w, http.StatusOK, "ready")
}

// view is what the page shows.
type view struct {
	Now     time.Time
	Trouble bool
	IO      IO
	Sent    int    // of the daily cap, today
	Backlog string // when what is due is done
	Pace    ledger.PaceState
	Paused  []pause
	Cards   []card
	Sources []sourceLine
	Held    []heldLine
	Ends    []endLine
	Journal []ledger.Entry
}

// SecureChannels is what the institution itself must look after.
func (view) SecureChannels() string { return notifier.SecureChannels }

type card struct {
	Name, Help, Tone string
	Value            int64
}

type pause struct {
	Upstream, Why string
	Until         time.Time
}

type sourceLine struct {
	Name         string
	Due, Overdue int64
	Oldest       time.Duration
	CaughtUp     time.Time // when all of it was looked through last; zero: never
	Gaps         int       // ranges of events that have not reached us
	Words        []string  // what a person should know of it
}

type heldLine struct {
	Key, Source, Reason string
	Since               time.Time
}

type endLine struct {
	State, Reason string
	Count         int64
}

const journalLines, heldLines = 40, 25

func (c *console) page(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askLimit)
	defer cancel()
	v, err := c.look(ctx)
	status := http.StatusOK
	if err != nil {
		c.Log.WarnContext(ctx, "console cannot read the ledger", slog.Any("error", err))
		v, status = view{Now: time.Now(), Trouble: true, IO: c.IO}, http.StatusServiceUnavailable
	}
	var text bytes.Buffer
	if err := page.Execute(&text, v); err != nil {
		c.Log.ErrorContext(ctx, "console page", slog.Any("error", err))
		answer(w, http.StatusServiceUnavailable, "the page cannot be shown: see the log")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes())
}

// look reads all that the page shows.
func (c *console) look(ctx context.Context) (view, error) {
	v := view{Now: time.Now(), IO: c.IO}
	stats, err := c.Ledger.Stats(ctx, c.Sources)
	if err != nil {
		return v, err
	}
	if v.Pace, err = c.Ledger.Pace().State(ctx); err != nil {
		return v, err
	}
	held, err := c.Ledger.HeldRecords(ctx, heldLines)
	if err != nil {
		return v, err
	}
	if v.Journal, err = c.Ledger.Journal(ctx, journalLines); err != nil {
		return v, err
	}
	for _, rec := range held[:min(len(held), heldLines)] {
		v.Held = append(v.Held, heldLine{Key: rec.Key.String(), Source: rec.Source, Reason: rec.Reason, Since: rec.Since})
	}
	v.Sent, v.Backlog = c.IO.used(v.Pace), c.forecast(stats, v.Pace, v.Now)
	v.Paused = paused(v.Pace, v.Now)
	v.count(stats, c.Sources)
	for i := range v.Sources {
		if err := c.catchUp(ctx, &v.Sources[i]); err != nil {
			return v, err
		}
	}
	return v, nil
}

// catchUp reads what is known of a source's posts and of the sweeps that look for what it does not post.
func (c *console) catchUp(ctx context.Context, line *sourceLine) error {
	state, err := c.Ledger.LookAtCatchUp(ctx, line.Name)
	if err != nil {
		return err
	}
	subscriptions, err := c.Ledger.Subscriptions(ctx, line.Name)
	if err != nil {
		return err
	}
	line.CaughtUp = state.Swept()
	if state.Undecided() {
		line.Words = append(line.Words, "nobody has decided what becomes of what was published before it was connected: see staffetta catchup")
	}
	if state.Trouble != "" {
		line.Words = append(line.Words, "the last sweep was none: "+state.Trouble)
	}
	for _, one := range subscriptions {
		line.Gaps += len(one.Count.Gaps)
		if one.Verdict != "" && !slices.Contains(line.Words, one.Verdict) {
			line.Words = append(line.Words, one.Verdict)
		}
	}
	return nil
}

// forecast says in words when what is due is done.
func (c *console) forecast(stats ledger.Stats, state ledger.PaceState, now time.Time) string {
	days, waiting := c.IO.days(stats, state), total(stats.Due)
	lasts, ok := c.IO.backlog(stats, state)
	switch {
	case days == 1:
		return fmt.Sprintf("at %d messages a day, what waits (%d) is done in 1 day", c.IO.DailyCap, waiting)
	case days > 1:
		return fmt.Sprintf("at %d messages a day, what waits (%d) is done in %d days", c.IO.DailyCap, waiting, days)
	case !ok:
		return "what is due does not come to an end at the present rate"
	case lasts < time.Second && waiting > 0:
		return fmt.Sprintf("nothing waits for us, %d wait for their time", waiting)
	case lasts < time.Second:
		return "nothing waits"
	}
	return "at the present rate what is due is done in " + lasts.Round(time.Second).String() + ", at " + clock(now.Add(lasts))
}

func paused(state ledger.PaceState, now time.Time) (all []pause) {
	if state.IOPausedUntil.After(now) {
		all = append(all, pause{"io", state.IOPausedWhy, state.IOPausedUntil})
	}
	for name, until := range state.SourcesPausedUntil {
		if until.After(now) {
			all = append(all, pause{name, state.SourcesPausedWhy[name], until})
		}
	}
	return all
}

// count fills the cards and tables.
func (v *view) count(stats ledger.Stats, sources []string) {
	var waiting, told, suppressed, unreachable int64
	for _, name := range sources {
		waiting += stats.Due[name]
		v.Sources = append(v.Sources, sourceLine{
			Name: name, Due: stats.Due[name], Overdue: stats.Overdue[name], Oldest: stats.Oldest[name].Truncate(time.Second),
		})
	}
	for end, n := range stats.Ends {
		switch end.State {
		case ledger.Delivered, ledger.Rejected, ledger.Noted:
			told += n
		case ledger.Suppressed:
			suppressed += n
		case ledger.Unreachable:
			unreachable += n
		case ledger.Replaced, ledger.FindEnded, ledger.Find, ledger.Pending, ledger.Sending, ledger.Sent, ledger.Held:
			continue
		}
		if n != 0 {
			v.Ends = append(v.Ends, endLine{string(end.State), end.Reason, n})
		}
	}
	slices.SortFunc(v.Ends, func(a, b endLine) int {
		return strings.Compare(a.State+a.Reason, b.State+b.Reason)
	})
	heldTone := ""
	if stats.HeldTotal > 0 {
		heldTone = "alarm"
	}
	v.Cards = []card{
		{"Told", "citizens' messages that came to an end", "good", told},
		{"On their way", "messages that IO has and whose delivery is followed", "", stats.Tracked},
		{"Waiting", "records that still need a step", "", waiting},
		{"Held", "a person must look at them", heldTone, stats.HeldTotal},
		{"Suppressed", "nobody is told, by rule", "", suppressed},
		{"Unreachable", "nobody can be told", "", unreachable},
	}
}

func ago(now, at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return now.Sub(at).Truncate(time.Second).String()
}

// clock is in Italian time, as staffetta reports is: the machine of who asks may be anywhere.
func clock(at time.Time) string { return at.In(policy.Rome()).Format("2006-01-02 15:04:05") }
