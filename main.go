// Command staffetta tells a citizen, on the public app IO, that a medical report is ready, the moment the health record
// publishes it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"staffetta/adapter"
	"staffetta/adapter/demo"
	"staffetta/config"
	"staffetta/fhir/fiscalcode"
	"staffetta/fhir/probe"
	"staffetta/notifier/sandbox"
)

// commands is the command line: one struct a command.
type commands struct {
	Serve     serve     `cmd:"" help:"Run the adapter: take notifications in, send messages."`
	Demo      trial     `cmd:"" help:"Run the whole relay on this machine, with nothing to install: an FSE that publishes synthetic documents, the adapter, an IO that runs in-process."`
	Check     check     `cmd:"" help:"Check what is configured and remembered."`
	Subscribe subscribe `cmd:"" help:"Create, renew, show or remove our Subscription at a source."`
	Catchup   retrieval `cmd:"" help:"Tell of what a source published before it was connected, or say first who would be told (--dry-run)."`
	IO        ioCommand `cmd:"" name:"io" help:"What IO must know of us."`
	Sandbox   ioSandbox `cmd:"" help:"Serve an IO to try against, as strict as the real one, with a page that shows what citizens' phones would."`
	Reports   reports   `cmd:"" help:"Look at documents and act on them: list, show, release, retry, forget, reconcile."`
	Probe     tryout    `cmd:"" help:"Play the servers that post notifications against any endpoint, ours or another's: would each be satisfied by the answers?"`
	Pause     pause     `cmd:"" help:"Stop all sending, on all replicas. Nothing is lost: notifications are taken in and wait."`
	Resume    resume    `cmd:"" help:"Start sending again."`

	Version kong.VersionFlag `help:"Print the version, and the commit that it was built from."`
}

// Exit codes: a finding (the command ran, and what it found is bad) and wrong usage.
const (
	exitFinding = 1
	exitUsage   = 2
)

// errFinding ends a command that has already said what it found; errUsage one that was called wrongly.
var (
	errFinding = errors.New("finding")
	errUsage   = errors.New("wrong usage")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: its exit code is 0 when all went well.
func run(ctx context.Context, args []string, out, logs io.Writer) int {
	return runWith(ctx, args, streams{in: os.Stdin, out: out, logs: logs})
}

func runWith(ctx context.Context, args []string, s streams) int {
	if len(args) == 0 { // who does not know the commands yet reads them; it is wrong usage all the same
		runWith(ctx, []string{"--help"}, streams{in: s.in, out: s.logs, logs: s.logs})
	}
	var line commands
	exited := -1
	parser := kong.Must(&line, kong.Name("staffetta"), kong.Writers(s.out, s.logs), kong.UsageOnError(),
		kong.Description("Tells a citizen on IO that a medical report is ready."), kong.Vars{"version": version()},
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s))
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		_, _ = fmt.Fprintf(s.logs, "staffetta: %v\n", err)
		return exitUsage
	}
	switch err := parsed.Run(); {
	case err == nil:
		return 0
	case errors.Is(err, errFinding):
		return exitFinding
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(s.logs, "staffetta: %v\n", err)
		return exitUsage
	default:
		_, _ = fmt.Fprintf(s.logs, "staffetta: %v\n", err)
		return exitFinding
	}
}

// version is what was built: the module's version, and the commit where it was built from a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "staffetta (unknown build)"
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, one := range info.Settings {
		settings[one.Key] = one.Value
	}
	text := "staffetta " + cmp.Or(info.Main.Version, "(devel)")
	if commit := settings["vcs.revision"]; commit != "" {
		text += ", commit " + commit
	}
	if settings["vcs.modified"] == "true" {
		text += ", with changes that are not committed"
	}
	return text + ", " + info.GoVersion
}

// streams are where a command writes: out for people, logs for what runs beside them; and where it reads what must not stand
// on the command line.
type streams struct {
	in        io.Reader
	out, logs io.Writer
}

// file is the configuration file that most commands read.
type file struct {
	Config string `required:"" type:"path" placeholder:"FILE" help:"Configuration file (YAML); config/example.yaml explains every key."`
}

// load reads the file and says on the logs what is unwise about it.
func (f file) load(ctx context.Context, s streams) (*config.Config, *slog.Logger, error) {
	return f.loadBy(ctx, s, config.Load)
}

func (f file) loadBy(ctx context.Context, s streams, read func(string) (*config.Config, error)) (*config.Config, *slog.Logger, error) {
	cfg, err := read(f.Config)
	if err != nil {
		return nil, nil, err
	}
	log := adapter.NewLog(s.logs, cfg.Log.Level)
	adapter.TakeOverLogs(log)
	for _, warning := range cfg.Warnings {
		log.WarnContext(ctx, "unwise configuration", slog.String("warning", warning))
	}
	return cfg, log, nil
}

type serve struct{ file }

// Run works until it is told to stop.
func (c serve) Run(ctx context.Context, s streams) error {
	cfg, log, err := c.load(ctx, s)
	if err != nil {
		return err
	}
	program, err := adapter.Open(ctx, cfg, log)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		log.InfoContext(context.WithoutCancel(ctx), "staffetta has stopped before it served")
		return nil // as it was asked to, while it waited for its Redis
	}
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "staffetta serves", slog.String("public", program.PublicAddr().String()),
		slog.String("admin", program.AdminAddr().String()), slog.String("io_mode", cfg.IO.Mode))
	if cfg.IO.Mode != config.ModeLive {
		log.WarnContext(ctx, "not everybody is told: io.mode is not live", slog.String("io_mode", cfg.IO.Mode))
	}
	err = program.Run(ctx)
	log.InfoContext(context.WithoutCancel(ctx), "staffetta has stopped")
	return err
}

type trial struct {
	Reports int     `default:"0" help:"How many documents the FSE publishes; 0 goes on until you stop it."`
	Exit    bool    `help:"Stop when all of them came to an end, and print the summary."`
	Rate    float64 `default:"400" help:"Calls per second that the demo's IO allows; the real one allows far less."`
	Seed    uint64  `default:"1" help:"Another number publishes other documents."`
	Admin   string  `default:"127.0.0.1:9090" help:"Address of the admin page; a free port is taken where this one is not."`
	Redis   string  `default:"embedded" help:"Redis to use, redis://host:port/db. The embedded one is in memory only."`
	Logs    string  `type:"path" placeholder:"FILE" help:"Where the adapter's log goes; nowhere by default."`
}

// Run plays the whole relay.
func (c trial) Run(ctx context.Context, s streams) error {
	if c.Exit && c.Reports == 0 {
		return fmt.Errorf("%w: --exit needs --reports: an endless demo never ends", errUsage)
	}
	balanced, err := demo.Run(ctx, demo.Options{
		Reports: c.Reports, Exit: c.Exit, Rate: c.Rate, Seed: c.Seed, Admin: c.Admin, Redis: config.Secret(c.Redis), Logs: c.Logs, Out: s.out,
	})
	if err == nil && !balanced {
		return errFinding
	}
	return err
}

type check struct {
	file

	Sources bool `default:"true" negatable:"" help:"Ask each source how it stands with us: the server, our Subscription, sweeps. --no-sources asks nobody."`
	Ledger  bool `help:"Walk the whole ledger in Redis: every record has a next time, or is held, or has a named end."`
}

// Run checks; a finding is exit code 1.
func (c check) Run(ctx context.Context, s streams) error {
	cfg, log, err := c.load(ctx, s)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(s.out, "%s: the file is well\n", c.Config)
	adapter.CheckIO(cfg, s.out)
	if err := adapter.CheckMessages(cfg, s.out); err != nil {
		return err
	}
	well := true
	if c.Sources || c.Ledger {
		if well, err = adapter.CheckRedis(ctx, cfg, s.out); err != nil {
			return err
		}
	}
	if c.Sources {
		sound, err := adapter.CheckSources(ctx, cfg, log, s.out)
		if err != nil {
			return err
		}
		well = well && sound
	}
	if c.Ledger {
		sound, err := adapter.CheckLedger(ctx, cfg, log, s.out)
		if err != nil {
			return err
		}
		well = well && sound
	}
	if !well {
		return errFinding
	}
	return nil
}

type subscribe struct {
	file

	Source  string `arg:"" help:"Name of the source, as in the file."`
	Show    bool   `xor:"mode" help:"Show our Subscriptions at the server, and change nothing; exit code 1 where they are not active."`
	Remove  bool   `xor:"mode" help:"Remove our Subscriptions: switch them off, wait, delete. Those that are not ours are left alone."`
	DryRun  bool   `xor:"mode" help:"Change nothing at the server: print the exact JSON on stdout, and what would be done with it on stderr."`
	Secrets bool   `name:"reveal" help:"With --dry-run: print the bearer token too; it is shown as <secret> otherwise."`
	Sample  int    `default:"100" help:"How many of the source's latest resources are looked at first, to say how many the criteria and the rules would match; 0: none."`
}

// Run subscribes; a finding is exit code 1.
func (c subscribe) Run(ctx context.Context, s streams) error {
	cfg, log, err := c.load(ctx, s)
	if err != nil {
		return err
	}
	mode := adapter.SubscribeEnsure
	switch {
	case c.Show:
		mode = adapter.SubscribeShow
	case c.Remove:
		mode = adapter.SubscribeRemove
	case c.DryRun:
		mode = adapter.SubscribeDryRun
	}
	well, err := adapter.Subscribe(ctx, cfg, log, adapter.SubscribeOptions{
		Source: c.Source, Mode: mode, Secrets: c.Secrets, Sample: min(max(0, c.Sample), 1000), Out: s.out, Aside: s.logs,
	})
	if err == nil && !well {
		return errFinding
	}
	return err
}

type retrieval struct {
	file

	Source    string `arg:"" help:"Name of the source, as in the file."`
	Since     string `placeholder:"WHEN" help:"From when on, by meta.lastUpdated: a length of time before now (14d, 36h), a day (2026-01-31) or an instant; policy.max_age before now by default."`
	DryRun    bool   `xor:"mode" help:"Tell nobody: print how much changed on each day, and what the rules would make of it."`
	Forgo     bool   `xor:"mode" help:"Tell nobody, and be done with it: what was published before the first connection stays untold, and the alert ends."`
	Resources int    `default:"5000" help:"With --dry-run: of how many resources, the latest, the documents are read and decided; the others are only counted."`
}

// Run catches up.
func (c retrieval) Run(ctx context.Context, s streams) error {
	since, err := sinceWhen(c.Since, time.Now())
	if err != nil {
		return err
	}
	cfg, log, err := c.load(ctx, s)
	if err != nil {
		return err
	}
	return adapter.CatchUp(ctx, cfg, log, adapter.CatchUpOptions{
		Source: c.Source, Since: since, DryRun: c.DryRun, Forgo: c.Forgo, Resources: max(0, c.Resources), Out: s.out,
	})
}

// sinceWhen reads a point of time; zero for "".
func sinceWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if length, err := config.ParseDuration(text); err == nil && length > 0 {
		return now.Add(-time.Duration(length)), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil && at.Before(now) {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: --since: want a length of time (14d, 36h), a day (2026-01-31) or an instant that has passed", errUsage)
}

type ioCommand struct {
	Configure configure `cmd:"" help:"Create or update IO's configuration of remote content, with the manage key."`
}

type configure struct {
	file

	DryRun  bool `help:"Change nothing at IO: print the exact JSON on stdout, and what would be done with it on stderr."`
	Secrets bool `name:"reveal" help:"With --dry-run: print the API key and the test users' codes too; they are masked otherwise."`
}

// Run configures IO.
func (c configure) Run(ctx context.Context, s streams) error {
	cfg, _, err := c.loadBy(ctx, s, config.LoadToConfigure)
	if err != nil {
		return err
	}
	return adapter.ConfigureIO(ctx, cfg, adapter.ConfigureOptions{DryRun: c.DryRun, Secrets: c.Secrets, Out: s.out, Aside: s.logs})
}

type ioSandbox struct {
	Listen     string        `default:"127.0.0.1:8081" help:"Address to serve at. It has no sign-in: keep it on this machine."`
	Delay      time.Duration `default:"2s" help:"How long a message is on its way."`
	Rate       int           `default:"150" help:"Requests that the account may make in 5 s, as at IO; 0 is no limit."`
	Language   string        `default:"it_IT" help:"Language that every citizen prefers, as IO's profiles name it: it_IT, en_GB, de_DE, fr_FR, es_ES."`
	NotOnIO    []string      `name:"not-on-io" placeholder:"CODE" help:"Fiscal codes of invented people who are not on IO."`
	NotAllowed []string      `placeholder:"CODE" help:"Fiscal codes of invented people who switched the service off."`
	Cut        float64       `default:"0" help:"Share (0 to 1) of messages that are created without their sender hearing of it."`
	Codes      bool          `name:"reveal" help:"Show fiscal codes on the page; citizens are numbered otherwise."`
	Lax        bool          `name:"service-not-sensitive" help:"Show what pushes say while the service's own flag is off."`
}

// Run serves an IO to try against.
func (c ioSandbox) Run(ctx context.Context, s streams) error {
	notOnIO, err := codes(c.NotOnIO)
	notAllowed, wrong := codes(c.NotAllowed)
	if err := errors.Join(err, wrong); err != nil {
		return err
	}
	return sandbox.Serve(ctx, sandbox.ServeOptions{
		Listen: c.Listen, Delay: c.Delay, Rate: c.Rate, Language: c.Language, NotOnIO: notOnIO, NotAllowed: notAllowed, Cut: c.Cut,
		Inbox: sandbox.InboxOptions{Codes: c.Codes, ServiceNotSensitive: c.Lax}, Out: s.out,
	})
}

// codes reads fiscal codes; its error repeats none.
func codes(texts []string) (all []fiscalcode.Code, err error) {
	for i, text := range texts {
		code, err := fiscalcode.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: code %d: %w", errUsage, i+1, err)
		}
		all = append(all, code)
	}
	return all, nil
}

type tryout struct {
	URL        string            `arg:"" help:"The endpoint, as a Subscription would have it, e.g. https://adapter.example/fhir/source."`
	Token      string            `env:"STAFFETTA_PROBE_TOKEN" help:"Bearer token to show."`
	Secret     string            `env:"STAFFETTA_PROBE_SECRET" help:"Secret of X-Signature, with which Medplum signs."`
	Header     map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"One more header to send; may be given several times."`
	SourceType string            `default:"report" enum:"report,composition" help:"What the endpoint's source keeps: notifications are of a DiagnosticReport, or of a Composition."`
	ID         string            `name:"id" placeholder:"ID" help:"Id of the resource, which must not exist; a random one by default."`
	InsecureCA string            `name:"insecure-ca" type:"existingfile" placeholder:"FILE" help:"Trust these authorities (PEM) too, for a trial with certificates of your own."`
	Timeout    time.Duration     `default:"30s" help:"For one answer; a server that is known to wait less waits less."`
	JSON       bool              `name:"json" help:"One line of JSON for each exchange."`
	Remote     bool              `help:"The endpoint may be on another machine, and nobody minds notifications about a report that does not exist."`
}

// Run probes; a sender that would not be satisfied is a finding.
func (c tryout) Run(ctx context.Context, s streams) error {
	kind := map[string]string{"report": "DiagnosticReport", "composition": "Composition"}[c.SourceType]
	o := probe.Options{URL: c.URL, Header: http.Header{}, Secret: c.Secret, Kind: kind, ID: cmp.Or(c.ID, probe.NewID()), Timeout: c.Timeout}
	if err := o.Check(c.Remote); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if c.Token != "" {
		o.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for name, value := range c.Header {
		o.Header.Set(name, value)
	}
	var err error
	if o.Client, err = probe.NewClient(c.InsecureCA); err != nil {
		return err
	}
	well, err := probe.Run(ctx, o, s.out, c.JSON)
	if err == nil && !well {
		return errFinding
	}
	return err
}

type pause struct {
	file

	Why string `default:"not said" help:"Why, for those who wonder later. No personal data."`
	Who string `env:"USER" default:"unknown" help:"Who pauses."`
}

// Run stops all sending.
func (c pause) Run(ctx context.Context, s streams) error {
	cfg, log, err := c.load(ctx, s)
	if err != nil {
		return err
	}
	return adapter.PauseSending(ctx, cfg, log, c.Who, c.Why, s.out)
}

type resume struct{ file }

// Run starts sending again.
func (c resume) Run(ctx context.Context, s streams) error {
	cfg, log, err := c.load(ctx, s)
	if err != nil {
		return err
	}
	return adapter.ResumeSending(ctx, cfg, log, s.out)
}
