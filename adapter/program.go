package adapter

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"staffetta/adapter/catchup"
	"staffetta/adapter/console"
	"staffetta/adapter/endpoint"
	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/adapter/relay"
	"staffetta/adapter/remote"
	"staffetta/config"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	"staffetta/notifier"
)

// Program is the adapter, wired and listening. Run makes it work.
type Program struct {
	Ledger *ledger.Ledger

	endpoint      *endpoint.Endpoint
	public, admin *endpoint.Server
	relay         *relay.Relay
	remote        *remote.Server
	keeper        *catchup.Keeper
	sweeper       *catchup.Sweeper
	tally         *catchup.Tally
	files         *files
	closeRedis    func()
	log           *slog.Logger
	skew          func() time.Duration
	sources       []string // their names
}

// Option changes how a program is opened.
type Option func(*Program)

// AtAnotherTime lets the program live at another time than now: the samples of documents have a clock of their own.
func AtAnotherTime(skew func() time.Duration) Option {
	return func(p *Program) { p.skew = skew }
}

// Open wires the program that the file describes and opens its listeners. It waits for Redis until ctx ends.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger, options ...Option) (*Program, error) {
	client, closeRedis, err := Connect(cfg.Redis)
	if err != nil {
		return nil, err
	}
	p := &Program{closeRedis: sync.OnceFunc(closeRedis), log: log, sources: sourceNames(cfg)}
	for _, option := range options {
		option(p)
	}
	if err := p.wire(ctx, cfg, client); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close gives back what Open took, for a program that is not run. Run closes by itself.
func (p *Program) Close() {
	p.closeRedis()
}

// PublicAddr is where notifications are taken in.
func (p *Program) PublicAddr() net.Addr { return p.public.Addr() }

// AdminAddr is where people and monitoring look.
func (p *Program) AdminAddr() net.Addr { return p.admin.Addr() }

// Run works until ctx ends. Open requests and claimed records are then finished or given back.
func (p *Program) Run(ctx context.Context) error {
	defer p.closeRedis()
	collectSeldom()
	// The ledger outlives the others: what they finish must still be written.
	remembering, forget := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan error, 1)
	go func() { watched <- p.Ledger.Run(remembering) }()

	parts, ctx := errgroup.WithContext(ctx)
	heard, stopped := relay.Beyond(ctx, redisAtShutdown)
	defer stopped()
	context.AfterFunc(heard, p.closeRedis)
	parts.Go(func() error { return p.endpoint.Run(ctx) })
	parts.Go(func() error { return p.public.Run(ctx) })
	parts.Go(func() error { return p.admin.Run(ctx) })
	parts.Go(func() error { return p.relay.Run(ctx) })
	parts.Go(func() error { return p.keeper.Run(ctx) })
	parts.Go(func() error { return p.tally.Run(ctx) })
	parts.Go(func() error { return p.sweeper.Run(ctx) })
	parts.Go(func() error { return p.files.Run(ctx) })
	parts.Go(func() error { p.sayStrays(ctx); return nil })
	err := parts.Wait()
	p.remote.Wait()
	forget()
	return errors.Join(err, <-watched)
}

// redisAtShutdown is how long Redis is heard once we are asked to stop, as long as outcomes are tried to be written. One that is
// silent lets every round trip wait for its whole time, one after the other; what is not written by then is due again when its
// lease ends.
const redisAtShutdown = 5 * time.Second

// sayStrays logs once which sources are missing in the file although records wait for them: a source that was renamed or removed.
// Nobody waits for it: it walks all keys of Redis.
func (p *Program) sayStrays(ctx context.Context) {
	strays, err := p.Ledger.Strays(ctx, p.sources)
	if err != nil && ctx.Err() == nil {
		p.log.WarnContext(ctx, "it is not known whether records wait for sources that are not configured", slog.Any("error", err))
	}
	for _, source := range slices.Sorted(maps.Keys(strays)) {
		p.log.ErrorContext(ctx, "records wait for a source that is not configured: put it back into the file, or they wait for ever",
			slog.String("source", source), slog.Int64("records", strays[source]))
	}
}

// gcPercent lets the heap grow to four times what lives in it before it is collected: a few MB live, and everything else is
// gone with its request. GOGC and GOMEMLIMIT, where an operator sets them, have the last word.
const gcPercent = 300

func collectSeldom() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// wire builds every room, in the order of a document's way.
func (p *Program) wire(ctx context.Context, cfg *config.Config, client redis.UniversalClient) error {
	log := p.log
	if err := waitForRedis(ctx, client, func(err error) {
		log.ErrorContext(ctx, "waiting for redis", slog.Any("error", err))
	}); err != nil {
		return err
	}
	if !cfg.Redis.Embedded() {
		sayWeaknesses(ctx, client, log)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if p.Ledger, err = openLedger(ctx, cfg, client, ledger.Options{Log: log, Skew: p.skew}); err != nil {
		return err
	}
	sources, err := newSources(cfg, p.skew)
	if err != nil {
		return err
	}
	rules, err := newRules(cfg)
	if err != nil {
		return err
	}
	io, composer, err := newIO(cfg)
	if err != nil {
		return err
	}
	p.relay = newRelay(cfg, relay.Options{
		Ledger: p.Ledger, Sources: sources, Rules: rules, IO: io, Composer: composer, Metrics: relay.NewMetrics(registry), Log: log,
	})
	if p.remote, err = newRemote(cfg, remote.Options{
		Ledger: p.Ledger, Sources: sources, Rules: rules, Composer: composer, Metrics: registry, Log: log, Now: nowWith(p.skew),
	}); err != nil {
		return err
	}
	p.keeper = newKeeper(cfg, sources, p.Ledger, registry, log)
	p.tally = newTally(cfg, p.Ledger, log)
	p.files = newFiles(cfg, registry, log)
	if p.sweeper, err = newSweeper(cfg, sources, p.Ledger, p.keeper, p.relay.Wake, registry, log); err != nil {
		return err
	}
	if err := p.listenPublic(ctx, cfg, registry); err != nil {
		return err
	}
	return p.listenAdmin(ctx, cfg, registry)
}

// openLedger opens the ledger of the file over its Redis; o holds what the file does not say.
func openLedger(ctx context.Context, cfg *config.Config, client redis.UniversalClient, o ledger.Options) (*ledger.Ledger, error) {
	sealing, err := cfg.Ledger.SealKeys()
	if err != nil {
		return nil, err
	}
	naming, err := namingKey(cfg.Ledger, sealing)
	if err != nil {
		return nil, err
	}
	for _, key := range sealing {
		o.SealKeys = append(o.SealKeys, ledger.SealKey{ID: key.ID, Key: key.Key})
	}
	o.Redis, o.NamingKey = client, naming
	o.Lease, o.Retention, o.References = time.Duration(cfg.Ledger.Lease), time.Duration(cfg.Ledger.Retention), time.Duration(cfg.Remote.Retention)
	o.WaitReplicas, o.JournalEntries = cfg.Ledger.WaitReplicas, cfg.Ledger.JournalEntries
	led, err := ledger.Open(ctx, o)
	if errors.Is(err, ledger.ErrNamingKey) {
		return nil, fmt.Errorf("%w: look at %s", err, cfg.Ledger.NamedBy())
	}
	return led, err
}

// namingKey is the configured naming key, or HKDF of the first seal key (design, section 4, Identity).
func namingKey(l config.Ledger, sealing []config.RawKey) ([]byte, error) {
	naming, err := l.Naming()
	if err != nil || naming != nil {
		return naming, err
	}
	naming, err = hkdf.Key(sha256.New, config.FirstSealKey(sealing), nil, "staffetta naming key", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive naming key: %w", err)
	}
	return naming, nil
}

// newRelay builds the worker with the file's timetable.
func newRelay(cfg *config.Config, o relay.Options) *relay.Relay {
	polls := make([]time.Duration, len(cfg.IO.Polls))
	for i, gap := range cfg.IO.Polls {
		polls[i] = time.Duration(gap)
	}
	o.Timetable = relay.Timetable{
		GiveUpAfter: time.Duration(cfg.Ledger.GiveUpAfter), BelieveMissing: time.Duration(cfg.Policy.BelieveMissing),
		Polls: polls, PollsEnd: pollsEnd, HoldUncertain: cfg.IO.Uncertain == "hold", Track: cfg.IO.Track,
		PersonTag: o.Ledger.PersonTag,
	}
	o.Rate, o.DailyCap, o.OneMessage = cfg.IO.Rate, cfg.IO.DailyCap, time.Duration(cfg.Policy.OneMessage)
	o.Workers, o.Off = cfg.Workers, cfg.IO.Mode == config.ModeOff
	o.Lease = time.Duration(cfg.Ledger.Lease)
	return relay.New(o)
}

// newRemote builds what answers IO and the portal.
func newRemote(cfg *config.Config, o remote.Options) (*remote.Server, error) {
	o.APIKeys, o.Header, o.Show = inClear(cfg.Remote.APIKeys), cfg.Remote.Header, cfg.Remote.Show
	o.Tokens, o.Redirect = inClear(cfg.Documents.BearerTokens), cfg.Documents.Answer == "redirect"
	o.Institutions = make(map[string]string, len(cfg.Sources))
	for _, source := range cfg.Sources {
		o.Institutions[source.Name] = source.Institution
	}
	return remote.New(o)
}

// pollsEnd is how long IO is asked for a final status; it keeps a message for days at most (reference io.md, 2.4).
const pollsEnd = 7 * 24 * time.Hour

func newRules(cfg *config.Config) (*policy.Rules, error) {
	return policy.NewRules(policy.Options{
		MaxAge: time.Duration(cfg.Policy.MaxAge), ReplacementWait: time.Duration(cfg.Policy.ReplacementWait),
		BelieveMissing: time.Duration(cfg.Policy.BelieveMissing), VisibleWait: time.Duration(cfg.Policy.VisibleWait),
		Minors: cfg.Policy.Minors, Reach: reach(cfg.IO),
	})
}

// reach is whom io.mode lets messages go to.
func reach(io config.IO) policy.Reach {
	switch io.Mode {
	case config.ModeOff:
		return policy.Reach{Off: true}
	case config.ModeTest:
		only := map[fiscalcode.Code]bool{}
		for _, code := range io.Recipients() {
			only[code] = true
		}
		return policy.Reach{Only: only}
	}
	return policy.Reach{}
}

// sourceNames are those of the file.
func sourceNames(cfg *config.Config) []string {
	names := make([]string, len(cfg.Sources))
	for i, s := range cfg.Sources {
		names[i] = s.Name
	}
	return names
}

// newSources are the FHIR servers to read from.
func newSources(cfg *config.Config, skew func() time.Duration) (map[string]relay.Source, error) {
	sources := make(map[string]relay.Source, len(cfg.Sources))
	for _, s := range cfg.Sources {
		client, err := s.Client()
		if err != nil {
			return nil, err
		}
		source, err := newSource(cfg, s, client, skew)
		if err != nil {
			return nil, err
		}
		if source.Gate, err = newGate(cfg, s, skew); err != nil {
			return nil, err
		}
		sources[s.Name] = source
	}
	return sources, nil
}

// newGate reads a source as its citizens do; nil where the file has no such.
func newGate(cfg *config.Config, s config.Source, skew func() time.Duration) (*fhir.Gate, error) {
	s, there := s.AsGate()
	if !there {
		return nil, nil //nolint:nilnil // a source without a gate is the rule
	}
	client, err := s.Client()
	if err != nil {
		return nil, err
	}
	read, err := newSource(cfg, s, client, skew)
	return &fhir.Gate{Source: read.Source}, err
}

// newSource is one FHIR server, read through a client.
func newSource(cfg *config.Config, s config.Source, client *http.Client, skew func() time.Duration) (relay.Source, error) {
	source, err := fhir.NewSource(fhir.SourceOptions{
		Name: s.Name, BaseURL: s.BaseURL, Aliases: s.Aliases, Shape: fhir.Shape(s.Shape), FiscalCodeSystems: s.Systems,
		Client: client, MaxBody: int64(s.Read.MaxBody), MaxDepth: cfg.Public.MaxDepth, Now: nowWith(skew),
		TestRecipient: reach(cfg.IO).Only[fiscalcode.TestRecipient()],
	})
	if err != nil {
		return relay.Source{}, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return relay.Source{
		Source: source, Rules: choices(s), Settle: cfg.SettleAt(s), Timeout: time.Duration(s.Read.Timeout),
	}, nil
}

// choices are those that a source makes in the file.
func choices(s config.Source) policy.SourceRules {
	return policy.SourceRules{UnlabelledHold: s.Unlabelled == "hold", ObscuredSuppress: s.Obscured == "suppress"}
}

// nowWith is the time of trials at another time; nil is now.
func nowWith(skew func() time.Duration) func() time.Time {
	if skew == nil {
		return time.Now
	}
	return func() time.Time { return time.Now().Add(skew()) }
}

// newIO is the way to IO.
func newIO(cfg *config.Config) (*notifier.Client, *notifier.Composer, error) {
	client, err := cfg.IO.Client()
	if err != nil {
		return nil, nil, err
	}
	keys, err := cfg.IO.Keys()
	if err != nil {
		return nil, nil, err
	}
	io, err := notifier.NewClient(notifier.ClientOptions{BaseURL: cfg.IO.BaseURL, Keys: keys, HTTP: client, Premium: cfg.IO.Premium})
	if err != nil {
		return nil, nil, err
	}
	composer, err := newComposer(cfg)
	return io, composer, err
}

// listenPublic opens the listener that FHIR servers post to.
func (p *Program) listenPublic(ctx context.Context, cfg *config.Config, registry prometheus.Registerer) error {
	senders, err := newSenders(cfg)
	if err != nil {
		return err
	}
	p.endpoint, err = endpoint.New(endpoint.Options{
		Sources: senders, Ledger: p.Ledger,
		Limits:  fhir.Limits{MaxBytes: int64(cfg.Public.MaxBody), MaxDepth: cfg.Public.MaxDepth, MaxEntries: cfg.Public.MaxEntries},
		Metrics: registry, Log: p.log, Admitted: p.relay.Wake, Heard: p.tally.Note, Wanted: p.sweeper.Wake,
	})
	if err != nil {
		return err
	}
	trust, err := cfg.Public.TLS.Server(cfg.ClientCAs()...)
	if err != nil {
		return fmt.Errorf("public listener: %w", err)
	}
	p.public, err = endpoint.Listen(ctx, endpoint.ServerOptions{
		Listen: cfg.Public.Listen, TLS: trust, Handler: p.publicHandler(), ReadTimeout: time.Duration(cfg.Public.ReadTimeout), Log: p.log,
		FHIR: true,
	})
	if err != nil {
		return fmt.Errorf("public listener: %w", err)
	}
	return nil
}

// publicHandler serves IO and the portal where they are let in, and FHIR servers else.
func (p *Program) publicHandler() http.Handler {
	notifications := p.endpoint.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.remote.Serves(r.URL.Path) {
			p.remote.ServeHTTP(w, r)
			return
		}
		notifications.ServeHTTP(w, r)
	})
}

// newSenders are the FHIR servers that post to us, with all by which they prove that they are these.
func newSenders(cfg *config.Config) ([]endpoint.Source, error) {
	senders := make([]endpoint.Source, len(cfg.Sources))
	for i, s := range cfg.Sources {
		senders[i] = endpoint.Source{
			Name: s.Name, Shape: fhir.Shape(s.Shape), Settle: cfg.SettleAt(s), Tokens: inClear(s.Receive.Tokens()), Secrets: inClear(s.Receive.Secrets()),
		}
		jwt, err := newJWT(s.Receive.JWT)
		if err != nil {
			return nil, fmt.Errorf("source %s: jwt: %w", s.Name, err)
		}
		senders[i].JWT = jwt
		if mtls := s.Receive.MTLS; mtls.CAFile != "" {
			authorities, err := mtls.Authorities()
			if err != nil {
				return nil, fmt.Errorf("source %s: mtls: %w", s.Name, err)
			}
			senders[i].Certificates = &endpoint.Certificates{Authorities: authorities, Names: mtls.AllowedNames}
		}
	}
	return senders, nil
}

// newJWT is nil where the source shows none.
func newJWT(jwt config.JWT) (*endpoint.JWT, error) {
	if jwt.JWKSURL == "" {
		return nil, nil
	}
	client, err := jwt.Client()
	if err != nil {
		return nil, err
	}
	return &endpoint.JWT{Issuer: jwt.Issuer, Audience: jwt.Audience, KeysURL: jwt.JWKSURL, Client: client}, nil
}

func inClear(secrets []config.Secret) []string {
	texts := make([]string, len(secrets))
	for i, secret := range secrets {
		texts[i] = string(secret)
	}
	return texts
}

// listenAdmin opens the listener for people and monitoring.
func (p *Program) listenAdmin(ctx context.Context, cfg *config.Config, registry *prometheus.Registry) error {
	var err error
	p.admin, err = endpoint.Listen(ctx, endpoint.ServerOptions{
		Listen:  cfg.Admin.Listen,
		Handler: p.newConsole(cfg, registry), ReadTimeout: adminTimeout, Grace: adminGrace, Log: p.log,
	})
	if err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

const (
	adminTimeout = 10 * time.Second
	adminGrace   = time.Second
)

func (p *Program) newConsole(cfg *config.Config, registry *prometheus.Registry) http.Handler {
	return console.New(console.Options{
		Ledger: p.Ledger, Registry: registry, Sources: p.sources, Log: p.log,
		IO: console.IO{Mode: cfg.IO.Mode, DailyCap: cfg.IO.DailyCap, StepRate: p.relay.StepRate, Today: p.relay.Today},
	})
}
