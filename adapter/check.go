package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"staffetta/adapter/catchup"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
)

// CheckSources asks each source how it stands with us, and says how far it was looked through. It changes nothing; well is false
// where something is wrong.
func CheckSources(ctx context.Context, cfg *config.Config, log *slog.Logger, out io.Writer) (well bool, err error) {
	if cfg.Redis.Embedded() {
		_, _ = fmt.Fprintln(out, "redis: embedded: what was heard of sources, and when they were looked through, is known to the running process only")
		return checkSources(ctx, cfg, nil, out)
	}
	err = withLedger(ctx, cfg, ledger.Options{Log: log, Looks: true}, func(led *ledger.Ledger) error {
		well, err = checkSources(ctx, cfg, led, out)
		return err
	})
	if errors.Is(err, ledger.ErrUnavailable) && ctx.Err() == nil {
		_, _ = fmt.Fprintf(out, "finding: what is remembered of sources cannot be read: %v\n", err)
		_, err = checkSources(ctx, cfg, nil, out)
		return false, err
	}
	return well, err
}

func checkSources(ctx context.Context, cfg *config.Config, led *ledger.Ledger, out io.Writer) (well bool, err error) {
	well = true
	for _, s := range cfg.Sources {
		c := sourceCheck{errand: errand{cfg: cfg, source: s, ledger: led, out: out}, well: true}
		if err := c.run(ctx); err != nil {
			return false, err
		}
		well = well && c.well
	}
	return well, nil
}

// sourceCheck is the check of one source.
type sourceCheck struct {
	errand

	well  bool
	state ledger.CatchUp
}

// sourceTime is how long one source may take to answer.
const sourceTime = 30 * time.Second

// find says what is wrong.
func (c *sourceCheck) find(format string, args ...any) {
	c.well = false
	c.say("finding", format, args...)
}

func (c *sourceCheck) run(ctx context.Context) error {
	c.say("source", "%s, shape %s, subscribe %s", c.source.Name, c.source.Shape, c.source.Subscribe)
	client, err := c.source.Client()
	if err != nil {
		return err
	}
	read, err := newSource(c.cfg, c.source, client, nil)
	if err != nil {
		return err
	}
	if c.ledger != nil {
		if c.state, err = c.ledger.LookAtCatchUp(ctx, c.source.Name); err != nil {
			return err
		}
	}
	asking, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	if err := c.issuer(asking); err != nil {
		return err
	}
	if c.reach(asking, read.Source) {
		if c.source.Subscribe != "never" {
			c.subscriber = newSubscriber(c.cfg, c.source, read.Source, nil)
			c.subscription(asking)
		}
		c.people(asking)
	}
	if c.ledger != nil {
		c.swept()
	}
	return ctx.Err()
}

// issuer asks who signs the source's JWTs for its keys: without them each of its notifications is answered 503.
func (c *sourceCheck) issuer(ctx context.Context) error {
	jwt, err := newJWT(c.source.Receive.JWT)
	if err != nil || jwt == nil {
		return err
	}
	defer jwt.Client.CloseIdleConnections()
	n, err := jwt.Keys(ctx)
	if err != nil {
		c.find("the keys of the issuer of its JWTs cannot be fetched: %v", err)
		return nil
	}
	c.say("issuer", "of its JWTs, keys for signatures: %d", n)
	return nil
}

// reach asks the server what it is.
func (c *sourceCheck) reach(ctx context.Context, source *fhir.Source) bool {
	server, err := source.Capability(ctx)
	switch {
	case err != nil:
		c.find("the server cannot be asked: %v", err)
	case server == nil:
		c.say("server", "says nothing of itself")
	default:
		c.say("server", "%s, FHIR %s", cmp.Or(server.Software, "of no name"), cmp.Or(server.FHIRVersion, "of no version"))
	}
	return err == nil
}

// subscription says how ours stand. That there is none is wrong where serve keeps them, and has begun to.
func (c *sourceCheck) subscription(ctx context.Context) {
	if c.cfg.Public.URL == "" {
		c.say("found", "public.url is missing: nobody can say which Subscriptions are ours")
		return
	}
	n, well, err := c.look(ctx)
	switch {
	case err != nil:
		c.find("our Subscriptions cannot be looked at: %v", err)
	case !well:
		c.find("our Subscriptions do not work, see above")
	case n == 0 && c.source.Subscribe == "auto" && !c.state.First.IsZero():
		c.find("serve should have created a Subscription: its log says why not")
	}
}

// people looks at whom the latest documents are about, and proposes where their codici fiscali may stand (reference fse.md, 6).
func (c *sourceCheck) people(ctx context.Context) {
	const latest, most = 20, 10 * time.Second
	s, err := takeSample(ctx, c.cfg, c.source, nil, catchup.SampleOptions{N: latest, Most: most})
	if err != nil {
		c.say("people", "of the latest documents could not be looked at: %v", err)
	}
	for _, line := range proposals(s.Systems) {
		c.say("proposal", "%s", line)
	}
}

// swept says how far sweeps have come.
func (c *sourceCheck) swept() {
	if len(c.state.Kinds) == 0 {
		c.say("swept", "never: serve was not here yet")
	}
	for _, kind := range slices.Sorted(maps.Keys(c.state.Kinds)) {
		p := c.state.Kinds[kind]
		when := "no whole sweep yet"
		if !p.Swept.IsZero() {
			when = "last " + c.ago(p.Swept)
		}
		c.say("swept", "%s: %s; checkpoint %s", kind, when, c.ago(p.Checkpoint))
	}
	if c.state.Undecided() {
		c.say("undecided", "what was published before %s is told to nobody until a person says so: see staffetta catchup", minute(c.state.First))
	}
	if c.state.Trouble != "" {
		c.find("the last sweep was none: %s", c.state.Trouble)
	}
}

// ago is a time, and how long it is past by Redis' clock.
func (c *sourceCheck) ago(at time.Time) string {
	return fmt.Sprintf("%s (%s ago)", minute(at), config.Duration(max(0, c.state.Now.Sub(at)).Truncate(time.Second)))
}
