package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/catchup"
	"staffetta/adapter/ledger"
	"staffetta/adapter/relay"
	"staffetta/config"
	"staffetta/fhir"
)

// newKeeper keeps the Subscriptions of the sources that ask for it.
func newKeeper(cfg *config.Config, sources map[string]relay.Source, led *ledger.Ledger, registry prometheus.Registerer, log *slog.Logger) *catchup.Keeper {
	o := catchup.KeeperOptions{Ledger: led, Metrics: registry, Log: log}
	for _, s := range cfg.Sources {
		if s.Subscribe == "auto" {
			first := func(ctx context.Context, choice fhir.Choice) { logSample(ctx, cfg, s, choice, log) }
			o.Sources = append(o.Sources, catchup.Source{Name: s.Name, Subscriber: newSubscriber(cfg, s, sources[s.Name].Source, first)})
		}
	}
	return catchup.NewKeeper(o)
}

// newSubscriber subscribes at a source as the file says. First, where set, is called before the first Subscription is created.
func newSubscriber(cfg *config.Config, s config.Source, source *fhir.Source, first func(context.Context, fhir.Choice)) *fhir.Subscriber {
	sub := s.Subscription
	w := fhir.Wish{
		Flavour: fhir.Flavour(s.Flavour), BaseURL: sub.BaseURL, Criteria: sub.Criteria, Topics: sub.Topic, Filters: sub.Filters, Content: sub.Content, Heartbeat: time.Duration(*sub.Heartbeat),
		Timeout: time.Duration(*sub.Timeout), MaxCount: *sub.MaxCount, End: time.Duration(sub.End), Contact: sub.Contact,
	}
	if tokens := s.Receive.Tokens(); len(tokens) > 0 {
		w.Token = string(tokens[0]) // the first one is shown; the others are for rotation
	}
	if secrets := s.Receive.Secrets(); len(secrets) > 0 {
		w.Secret = string(secrets[0])
	}
	if cfg.Public.URL != "" {
		w.Endpoint = strings.TrimSuffix(cfg.Public.URL, "/") + "/fhir/" + s.Name
	}
	return fhir.NewSubscriber(fhir.SubscriberOptions{Source: source, Wish: w, First: first})
}

// SubscribeMode is what is done about our Subscription.
type SubscribeMode string

// The modes.
const (
	SubscribeEnsure SubscribeMode = ""        // create, renew, repair, replace
	SubscribeShow   SubscribeMode = "show"    // look
	SubscribeRemove SubscribeMode = "remove"  //
	SubscribeDryRun SubscribeMode = "dry-run" // say what Ensure would do
)

// SubscribeOptions are what `staffetta subscribe` is asked for.
type SubscribeOptions struct {
	Source  string
	Mode    SubscribeMode
	Secrets bool // a dry run shows the token
	Sample  int  // resources that are looked at first; 0: none
	// Out is for people; of a dry run, JSON and nothing else. Aside takes what a dry run has to say beside it.
	Out, Aside io.Writer
}

// noSuchSource never repeats what was typed in place of a source: it may be personal.
func noSuchSource(cfg *config.Config) error {
	names := make([]string, len(cfg.Sources))
	for i, s := range cfg.Sources {
		names[i] = s.Name
	}
	return fmt.Errorf("want the name of a source: %s", strings.Join(names, ", "))
}

// Subscribe creates, renews, shows or removes our Subscription at a source; well is false where it does not work now.
func Subscribe(ctx context.Context, cfg *config.Config, log *slog.Logger, o SubscribeOptions) (well bool, err error) {
	at := slices.IndexFunc(cfg.Sources, func(s config.Source) bool { return s.Name == o.Source })
	if at < 0 {
		return false, noSuchSource(cfg)
	}
	e := errand{cfg: cfg, o: o, source: cfg.Sources[at], out: o.Out}
	if err := e.allowed(); err != nil {
		return false, err
	}
	client, err := e.source.Client()
	if err != nil {
		return false, err
	}
	read, err := newSource(cfg, e.source, client, nil)
	if err != nil {
		return false, err
	}
	e.subscriber = newSubscriber(cfg, e.source, read.Source, nil)
	if cfg.Redis.Embedded() {
		e.say("redis", "embedded: nothing is remembered of what was created; it is found again by its endpoint")
		well, err = e.run(ctx)
		return well, err
	}
	looks := o.Mode == SubscribeShow || o.Mode == SubscribeDryRun
	err = withLedger(ctx, cfg, ledger.Options{Log: log, Looks: looks}, func(led *ledger.Ledger) error {
		e.ledger = led
		well, err = e.run(ctx)
		return err
	})
	return well, err
}

// errand is one run of the command.
type errand struct {
	cfg        *config.Config
	o          SubscribeOptions
	source     config.Source
	subscriber *fhir.Subscriber
	ledger     *ledger.Ledger // nil: embedded, nothing is remembered
	out        io.Writer
}

// allowed says what the file forbids.
func (e *errand) allowed() error {
	switch {
	case e.cfg.Public.URL == "":
		return errors.New("public.url is missing: how does the server reach us, and which Subscriptions are ours?")
	case e.source.Subscribe == "never" && (e.o.Mode == SubscribeEnsure || e.o.Mode == SubscribeDryRun):
		return errors.New("its source says `subscribe: never`: want manual or auto")
	case e.source.Subscribe == "auto" && e.o.Mode == SubscribeRemove:
		return errors.New("its source says `subscribe: auto`: serve would create it again at once; want manual or never first")
	}
	if e.o.Mode == SubscribeDryRun {
		e.out = e.o.Aside
	}
	return nil
}

func (e *errand) run(ctx context.Context) (bool, error) {
	switch e.o.Mode {
	case SubscribeShow:
		return e.show(ctx)
	case SubscribeRemove:
		return true, e.remove(ctx)
	case SubscribeDryRun:
		return true, e.dryRun(ctx)
	case SubscribeEnsure:
	}
	return e.ensure(ctx)
}

// say writes one line: a word in front, what is said behind it.
func (e *errand) say(word, format string, args ...any) {
	_, _ = fmt.Fprintf(e.out, "%-10s %s\n", word, fmt.Sprintf(format, args...))
}

// introduce says what the server is and how we subscribe there, and takes the sample.
func (e *errand) introduce(ctx context.Context) error {
	server, choice, err := e.subscriber.Learn(ctx)
	switch {
	case server != nil:
		e.say("server", "%s, FHIR %s", cmp.Or(server.Software, "of no name"), cmp.Or(server.FHIRVersion, "of no version"))
	case err == nil:
		e.say("server", "says nothing of itself")
	}
	if err != nil {
		return err
	}
	e.say("flavour", "%s: %s", choice.Flavour, choice.Why)
	for _, topic := range choice.Topics {
		e.say("topic", "%s", topic)
	}
	for _, warning := range choice.Warnings {
		e.say("warning", "%s", warning)
	}
	return e.sample(ctx, choice)
}

// sample looks at what changed last. That it cannot be taken is no reason not to subscribe.
func (e *errand) sample(ctx context.Context, choice fhir.Choice) error {
	if e.o.Sample == 0 {
		return nil
	}
	s, err := takeSample(ctx, e.cfg, e.source, sampledBy(e.source, choice), catchup.SampleOptions{N: e.o.Sample})
	if err != nil {
		e.say("sample", "none was taken: %v", err)
		return ctx.Err()
	}
	e.saySample(s)
	return nil
}

func (e *errand) saySample(s catchup.Sample) {
	e.say("sample", "the last %d %s, as if nobody had been told of them; nobody is told now", s.Resources, s.Kind)
	for _, m := range s.Matches {
		e.say("", "%s", matched(m))
	}
	for _, line := range verdicts(s.Verdicts) {
		e.say("", "rules: %s", line)
	}
	for _, line := range proposals(s.Systems) {
		e.say("proposal", "%s", line)
	}
	if s.Stopped != "" {
		e.say("", "not all were looked at: %s", s.Stopped)
	}
}

// known is what is remembered.
func (e *errand) known(ctx context.Context) ([]fhir.Remembered, error) {
	if e.ledger == nil {
		return nil, nil
	}
	return catchup.Remembered(ctx, e.ledger, e.source.Name)
}

// looksUntilActive is how many seconds a new Subscription is watched.
const looksUntilActive = 15

// ensure creates, renews, repairs, replaces.
func (e *errand) ensure(ctx context.Context) (bool, error) {
	if err := e.introduce(ctx); err != nil {
		return false, err
	}
	ensured, err := e.apply(ctx)
	for _, k := range ensured.Kept {
		e.sayKept(k)
	}
	for _, refused := range ensured.Refused {
		e.sayRefused(refused)
	}
	e.sayForeign(ensured.Foreign)
	if err != nil {
		return false, err
	}
	kept, err := e.subscriber.AwaitActive(ctx, ensured.Kept, looksUntilActive)
	if e.ledger != nil {
		err = errors.Join(err, catchup.Note(ctx, e.ledger, e.source.Name, kept))
	}
	well := err == nil
	for _, k := range kept {
		if k.Deed == fhir.Removed {
			continue
		}
		e.sayState(k)
		well = well && k.Active()
	}
	return well, err
}

func (e *errand) apply(ctx context.Context) (fhir.Ensured, error) {
	if e.ledger == nil {
		return e.subscriber.Ensure(ctx, nil)
	}
	return catchup.Ensure(ctx, e.ledger, e.source.Name, e.subscriber)
}

func (e *errand) sayKept(k fhir.Kept) {
	why := ""
	if k.Why != "" {
		why = " (" + k.Why + ")"
	}
	if k.Recreated {
		why += ", as a new one: the server forbids updates"
	}
	e.say(string(k.Deed), "Subscription/%s %s%s", k.ID, k.Criteria, why)
}

func (e *errand) sayRefused(r fhir.Refused) {
	rest := ""
	if r.Spare {
		rest = "; not every server knows this one, and sweeps look for the same"
	}
	e.say("refused", "%s: %v%s", r.Criteria, r.Err, rest)
}

func (e *errand) sayState(k fhir.Kept) {
	text := k.Status
	if k.Trouble != "" {
		text += " (" + k.Trouble + ")"
	}
	if k.Events >= 0 {
		text += fmt.Sprintf(", %d events so far", k.Events)
	}
	if k.Content != "" {
		text += ", " + k.Content
	}
	if k.Heartbeat > 0 {
		text += fmt.Sprintf(", heartbeat every %s", config.Duration(k.Heartbeat))
	}
	if !k.End.IsZero() {
		text += ", until " + k.End.UTC().Format(time.RFC3339)
	}
	e.say("status", "Subscription/%s %s", k.ID, text)
}

func (e *errand) sayForeign(n int) {
	if n > 0 {
		e.say("foreign", "%d other Subscriptions post to our endpoint and are not ours: they were left alone", n)
	}
}

// show looks; a finding where none works.
func (e *errand) show(ctx context.Context) (bool, error) {
	n, well, err := e.look(ctx)
	return well && n > 0, err
}

// look says how our n Subscriptions stand; well is false where one of them does not work.
func (e *errand) look(ctx context.Context) (n int, well bool, err error) {
	known, err := e.known(ctx)
	if err != nil {
		return 0, false, err
	}
	ours, foreign, err := e.subscriber.Look(ctx, known)
	if err != nil {
		return 0, false, err
	}
	well = true
	for _, k := range ours {
		e.say("found", "Subscription/%s %s", k.ID, k.Criteria)
		e.sayState(k)
		well = well && k.Active()
	}
	accused, err := e.sayRemembered(ctx)
	if err != nil {
		return 0, false, err
	}
	if len(ours) == 0 {
		e.say("found", "no Subscription of ours")
	}
	well = e.sayAbsent(ours) && well && !accused
	e.sayForeign(foreign)
	return len(ours), well, nil
}

// sayAbsent says what is wanted and has no Subscription; false where it should have one. Whatever is not there at all was said.
func (e *errand) sayAbsent(ours []fhir.Kept) (well bool) {
	well = true
	for _, one := range e.subscriber.Absent(ours) {
		switch {
		case len(ours) == 0:
		case one.Spare:
			e.say("absent", "%s has no Subscription: the server refuses it, or `staffetta subscribe` made none yet; sweeps look for the same", one.Criteria)
		default:
			e.say("absent", "%s has no Subscription", one.Criteria)
			well = false
		}
	}
	return well
}

// sayRemembered says what has reached us of Subscriptions, and what sweeps have found of the server's posts; true where it does not
// post.
func (e *errand) sayRemembered(ctx context.Context) (accused bool, err error) {
	if e.ledger == nil {
		return false, nil
	}
	all, err := e.ledger.Subscriptions(ctx, e.source.Name)
	if err != nil {
		return false, fmt.Errorf("read what is remembered of subscriptions: %w", err)
	}
	for _, one := range all {
		if !one.Count.Heard.IsZero() {
			e.say("heard", "Subscription/%s was heard of last on %s", one.ID, minute(one.Count.Heard))
		}
		if n := len(one.Count.Gaps); n > 0 {
			e.say("gaps", "Subscription/%s events of %d ranges have not reached us, and are looked for", one.ID, n)
		}
		if one.Verdict != "" {
			e.say("verdict", "Subscription/%s the server %s", one.ID, one.Verdict)
			accused = true
		}
	}
	return accused, nil
}

// remove removes ours.
func (e *errand) remove(ctx context.Context) error {
	known, err := e.known(ctx)
	if err != nil {
		return err
	}
	removed, foreign, err := e.subscriber.Remove(ctx, known)
	for _, k := range removed {
		e.sayKept(k)
	}
	if len(removed) == 0 && err == nil {
		e.say("removed", "nothing: the server has no Subscription of ours")
	}
	e.sayForeign(foreign)
	if e.ledger != nil {
		err = errors.Join(err, catchup.Forget(context.WithoutCancel(ctx), e.ledger, e.source.Name, removed))
	}
	return err
}

// dryRun writes what would be sent, and says the rest aside.
func (e *errand) dryRun(ctx context.Context) error {
	if err := e.introduce(ctx); err != nil {
		return err
	}
	known, err := e.known(ctx)
	if err != nil {
		return err
	}
	intended, ensured, err := e.subscriber.Intend(ctx, known, e.o.Secrets)
	if err != nil {
		return err
	}
	for _, i := range intended {
		word := "would be " + string(i.Deed)
		if i.Why != "" {
			word += " (" + i.Why + ")"
		}
		e.say("dry run", "%s %s: %s", cmp.Or(i.ID, "a new Subscription"), i.Criteria, word)
		if i.JSON != nil {
			_, _ = fmt.Fprintf(e.o.Out, "%s\n", i.JSON)
		}
	}
	e.sayForeign(ensured.Foreign)
	return nil
}
