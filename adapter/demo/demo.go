// Package demo runs the whole relay on one machine with nothing to install: an FSE that publishes synthetic documents in
// two shapes, the adapter exactly as serve runs it, and an IO that is as strict as the real one.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/config"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// Options are what is played.
type Options struct {
	Reports int  // documents; 0: until ctx ends
	Exit    bool // stop when all of them came to an end
	Rate    float64
	Seed    uint64
	Admin   string        // address of the admin page; another port where it is taken
	Redis   config.Secret // URL, or embedded
	Logs    string        // file of the adapter's log; "" for none
	Out     io.Writer
}

// The demo's own times: the real ones would make it last for minutes.
const (
	settle   = 200 * time.Millisecond
	delivery = 300 * time.Millisecond // IO's, from ACCEPTED to PROCESSED
	poll     = 600 * time.Millisecond
)

// source is one FSE of the demo.
type source struct {
	name, institution string

	shape  string
	server *fse.Server
	poster *fse.Poster
	base   string
	token  string
}

// stage is everybody on it.
type stage struct {
	o       Options
	out     io.Writer
	sources []*source
	io      *sandbox.Sandbox
	ioBase  string
	key     string
	program *adapter.Program
	cast    *cast
	servers []*http.Server
}

// Run plays, and says whether nothing was lost and nothing told twice.
func Run(ctx context.Context, o Options) (balanced bool, err error) {
	s := &stage{o: o, out: o.Out, cast: newCast()}
	defer s.close()
	log, closeLog, err := openLog(o.Logs)
	if err != nil {
		return false, err
	}
	defer closeLog()
	adapter.TakeOverLogs(log)
	if err := answers(ctx, config.Redis{URL: o.Redis}); err != nil {
		return false, err
	}
	if err := s.build(ctx, log); err != nil {
		return false, err
	}
	s.introduce()
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // it works until the summary is made
	ended := make(chan error, 1)
	go func() { ended <- s.program.Run(running) }()
	played := s.play(ctx)
	summary, sumErr := s.summarise(context.WithoutCancel(ctx))
	stop()
	if err := errors.Join(played, <-ended, sumErr); err != nil {
		return false, err
	}
	summary.stopped = ctx.Err() != nil
	summary.print(s.out)
	return summary.balanced(), nil
}

// redisPatience is how long the demo waits for a Redis of one's own; serve would wait for ever.
const redisPatience = 5 * time.Second

// answers says whether there is a Redis to play with.
func answers(ctx context.Context, r config.Redis) error {
	if r.Embedded() {
		return nil
	}
	client, closeAll, err := adapter.Connect(r)
	if err != nil {
		return fmt.Errorf("--redis: %w", err)
	}
	defer closeAll()
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("--redis: no Redis answers there: %w", err)
	}
	return nil
}

func openLog(path string) (*slog.Logger, func(), error) {
	if path == "" {
		return slog.New(slog.DiscardHandler), func() {}, nil
	}
	file, err := os.Create(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	return adapter.NewLog(file, "info"), func() { _ = file.Close() }, nil
}

func (s *stage) close() {
	for _, server := range s.servers {
		_ = server.Close()
	}
}

// build starts the FSEs, IO, and the adapter between them.
func (s *stage) build(ctx context.Context, log *slog.Logger) error {
	s.key = random()
	s.io = sandbox.New(sandbox.Options{
		Keys: []string{s.key}, Profile: s.cast.profile, Delay: delivery, Rate: int(s.o.Rate * 5 * 2),
		RemoteContent: sandbox.RemoteContent{Allowed: true, Own: []string{configuration}},
	})
	base, err := s.serve(ctx, s.io.Site(sandbox.InboxOptions{}))
	if err != nil {
		return err
	}
	s.ioBase = base + "/api/v1"
	for _, one := range []*source{
		{name: "laboratorio", institution: "Laboratorio Esempio", shape: "report"}, {name: "regione", institution: "Regione Esempio", shape: "fse2"},
	} {
		one.server, one.token = fse.NewServer(), random()
		if base, err = s.serve(ctx, one.server); err != nil {
			return err
		}
		one.base = base + "/fhir"
		s.sources = append(s.sources, one)
	}
	cfg := s.config()
	if err := cfg.Complete(); err != nil {
		return fmt.Errorf("the demo's configuration: %w", err)
	}
	if s.program, err = adapter.Open(ctx, cfg, log); err != nil && cfg.Admin.Listen != anyPort {
		cfg.Admin.Listen = anyPort // somebody else's admin page is there
		s.program, err = adapter.Open(ctx, cfg, log)
	}
	if errors.Is(err, ledger.ErrNamingKey) {
		return errors.New("this Redis already holds a ledger: the demo wants an empty database")
	}
	if err != nil {
		return err
	}
	public := "http://" + s.program.PublicAddr().String()
	s.io.Configure(configuration, sandbox.Environment{BaseURL: public + "/io", Header: cfg.Remote.Header, Key: string(cfg.Remote.APIKeys[0])})
	for _, one := range s.sources {
		if err := s.program.Ledger.Decide(ctx, one.name); err != nil { // the demo's FSE has published nothing before
			return err
		}
		one.poster = &fse.Poster{
			URL: public + "/fhir/" + one.name, Token: one.token, Server: one.server,
			Client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: posters}},
		}
	}
	return nil
}

const anyPort = "127.0.0.1:0"

// configuration is the id of remote content at the demo's IO.
const configuration = "01JBSTAFFETTADEMZ000000000"

// serve serves a handler on a free port, and gives its URL.
func (s *stage) serve(ctx context.Context, handler http.Handler) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", anyPort)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	s.servers = append(s.servers, server)
	go func() { _ = server.Serve(l) }() // ends by close
	return "http://" + l.Addr().String(), nil
}

// config is the file of the demo, written in code.
func (s *stage) config() *config.Config {
	cfg := config.Default()
	cfg.Public.Listen, cfg.Admin.Listen = anyPort, s.o.Admin
	cfg.Redis.URL = s.o.Redis
	cfg.Ledger.SealKey = config.Secret(base64.StdEncoding.EncodeToString([]byte(random())[:32]))
	for _, one := range s.sources {
		cfg.Sources = append(cfg.Sources, config.Source{
			Name: one.name, BaseURL: one.base, Aliases: []string{"https://fse.example.it/fhir"}, Shape: one.shape, Unlabelled: "notify",
			Receive: config.Receive{BearerTokens: []config.Secret{config.Secret(one.token)}}, Institution: one.institution,
		})
	}
	cfg.IO.BaseURL, cfg.IO.Key, cfg.IO.Rate = s.ioBase, config.Secret(s.key), s.o.Rate
	cfg.IO.Polls = []config.Duration{config.Duration(poll), config.Duration(2 * poll)}
	cfg.Message.ButtonURL, cfg.Message.Content = "https://fascicolo.example.it/referti", "remote"
	cfg.Remote.ConfigurationID, cfg.Remote.APIKeys = configuration, []config.Secret{config.Secret(random())}
	cfg.Policy.Settle = config.Duration(settle)
	return cfg
}

// random is a secret of the demo.
func random() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return hex.EncodeToString(raw)
}

func (s *stage) introduce() {
	redis := "embedded Redis: IN MEMORY ONLY, what it knows is gone when the demo ends"
	if s.o.Redis != config.EmbeddedRedis {
		redis = "your Redis"
	}
	_, _ = fmt.Fprintf(s.out, `Staffetta demo: synthetic documents and people only.
  FSE        two sources: laboratorio (shape report), regione (shape fse2)
  IO         in-process, as strict as the real one; %g calls a second (real: about 30 for a whole account)
  ledger     %s
  times      settle %s (real: 1m), delivery polled after %s (real: 10s)
  messages   remote content: IO keeps a neutral text, and asks the adapter when a message is opened
  admin page http://%s/console/
  inboxes    %s/inbox/ shows what citizens' phones would

`, s.o.Rate, redis, settle, poll, s.program.AdminAddr(), strings.TrimSuffix(s.ioBase, "/api/v1"))
}
