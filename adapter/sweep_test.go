package adapter_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// sweptOften makes sweeps as often as the file allows.
func sweptOften(cfg *config.Config, _ *sandbox.Options) {
	cfg.Sources[0].Sweep.Every = new(config.Duration(time.Second))
}

// bySweepsAlone has no Subscription at the source.
func bySweepsAlone(cfg *config.Config, _ *sandbox.Options) { cfg.Sources[0].Subscribe = "never" }

// believedSoon believes after a second that something is not there.
func believedSoon(cfg *config.Config, _ *sandbox.Options) {
	cfg.Policy.BelieveMissing = config.Duration(time.Second)
}

// connected waits until the source is known: what is published from now on is news.
func (w *town) connected(t *testing.T) {
	t.Helper()
	kinds := 1
	if fhir.Shape(w.cfg.Sources[0].Shape).OfCompositions() {
		kinds = 2 // Composition and DocumentReference
	}
	w.connectedTo(t, kinds)
}

// connectedTo waits until so many resource types of the source are known.
func (w *town) connectedTo(t *testing.T, kinds int) {
	t.Helper()
	eventually(t, func() (ledger.CatchUp, bool) {
		c, err := w.program.Ledger.LookAtCatchUp(t.Context(), w.source)
		return c, err == nil && len(c.Kinds) == kinds && !c.Swept().IsZero()
	})
}

// keeping waits until the program knows that its Subscriptions are active, and has looked for what they did not tell of before:
// from then on it may blame the server.
func (w *town) keeping(t *testing.T) {
	t.Helper()
	w.active(t)
	eventually(t, func() (string, bool) {
		all, err := w.program.Ledger.Subscriptions(t.Context(), w.source)
		c, lookErr := w.program.Ledger.LookAtCatchUp(t.Context(), w.source)
		idle := func(s ledger.Subscription) bool { return s.Status != "active" }
		return "it is known", err == nil && lookErr == nil && !c.Open() && len(all) > 0 && !slices.ContainsFunc(all, idle)
	})
}

// are wants a decision on each of some cases. Who posts or sweeps while they are published may have seen a part of one, which
// waits for the rest.
func (w *town) are(t *testing.T, want string, cases ...fse.Case) {
	t.Helper()
	for _, c := range cases {
		got := eventually(t, func() (string, bool) {
			got := decision(w.record(t, identityOf(c)))
			return got, got == want || !strings.HasPrefix(got, "wait ")
		})
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// once wants one message for each of some cases, and no other.
func (w *town) once(t *testing.T, cases ...fse.Case) {
	t.Helper()
	n := w.perCode()
	for _, c := range cases {
		if got := n[mustParse(t, c.Code)]; got != 1 {
			t.Errorf("a citizen was told %d times, want once", got)
		}
	}
	if len(w.io.Messages()) != len(cases) {
		t.Errorf("%d messages, want %d", len(w.io.Messages()), len(cases))
	}
}

// HAPI tries for a minute (here: for a moment) and drops what nobody took. What was published while we were away is told when
// we are back; what was published before we came first is not.
func TestAnOutageOfOurEndpointLosesNothing(t *testing.T) {
	t.Parallel()
	w := subscribed(t, "HAPI")
	w.active(t)
	w.connected(t)
	cases := told(6, false)
	w.publish(cases[0])
	w.are(t, "notify", cases[0])
	w.stop()
	for _, c := range cases[1:5] {
		w.publish(c)
	}
	eventually(t, func() (int, bool) { return w.fse.Dropped(), w.fse.Dropped() == 4 })
	w.run(t)
	w.are(t, "notify", cases[:5]...)
	w.quiet(t)
	w.once(t, cases[:5]...)
	w.well(t)
}

// Only the way to us is broken: we are there, and cannot know. Classic notifications have no numbers and no heartbeat; the
// periodic sweep finds what HAPI has dropped, and says so.
func TestABrokenWayToUsLosesNothing(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	w := build(t, fhir.ShapeReport, sweptOften, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Public.URL, cfg.Sources[0].Subscribe = f.url, "auto"
	})
	w.behind(t, f, "HAPI")
	w.keeping(t)
	w.connected(t)
	cases := told(4, false)
	f.cut.Store(true)
	for _, c := range cases {
		w.publish(c)
	}
	eventually(t, func() (int, bool) { return w.fse.Dropped(), w.fse.Dropped() == len(cases) })
	w.are(t, "notify", cases...)
	w.quiet(t)
	w.once(t, cases...)
	missed := fmt.Sprintf("staffetta_missed_hints_total{source=\"fonte\"} %d\n", len(cases))
	eventually(t, func() (string, bool) { // a sweep counts when it has ended, which may be after its documents were told
		metrics := w.metrics(t)
		return metrics, strings.Contains(metrics, missed)
	})
	w.well(t)
}

// subscribe: never. Everything is found by sweeps, in both kinds of shape, and rests no longer than these are apart; what was
// there before is told to nobody.
func TestSweepsAreEnough(t *testing.T) {
	t.Parallel()
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeFSE2} {
		t.Run(string(shape), func(t *testing.T) {
			w := build(t, shape, sweptOften, bySweepsAlone, func(cfg *config.Config, _ *sandbox.Options) {
				cfg.Policy.Settle = config.Duration(time.Hour)
			})
			w.fse.Traits = fse.Products()["HAPI"]
			cases := told(6, shape.OfCompositions())
			w.publish(cases[0])
			w.publish(cases[1])
			w.run(t)
			w.connected(t)
			for _, c := range cases[2:] {
				w.publish(c)
			}
			w.are(t, "notify", cases[2:]...)
			w.quiet(t)
			w.once(t, cases[2:]...)
			if n := w.fse.Calls()["POST Subscription"]; n > 0 || len(w.fse.Subscriptions()) > 0 {
				t.Error("never means never: a Subscription was created")
			}
			w.well(t)
		})
	}
}

// Told within the interval: what a sweep finds has been there for a while, and so much of the settle time is over. In both kinds
// of shape, where it settles as a document that was found.
func TestTheSettleTimeOfASweepCountsFromThePublication(t *testing.T) {
	t.Parallel()
	settle := time.Duration(config.Default().Policy.Settle)
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeFSE2} {
		t.Run(string(shape), func(t *testing.T) {
			w := build(t, shape, sweptOften, func(cfg *config.Config, _ *sandbox.Options) {
				cfg.Policy.Settle = config.Duration(settle)
			})
			w.run(t)
			w.connected(t)
			cases := told(4, shape.OfCompositions())
			ages := []time.Duration{0, settle - 20*time.Second, settle - 40*time.Second, settle + 30*time.Second}
			documents, now := make([]fhir.Locator, len(cases)), time.Now()
			for i, c := range cases {
				documents[i] = w.publishAt(c, now.Add(-ages[i]))
			}
			for i, document := range documents[:3] {
				published := now.Add(-ages[i])
				if waits := w.due(t, document).Sub(published); (waits - settle).Abs() > 10*time.Second {
					t.Errorf("published %s before a sweep, and due %s after that, want %s", ages[i], waits, settle)
				}
			}
			w.rests(t, documents[3], ledger.Delivered) // its settle time was over when it was found
			w.once(t, cases[3])
		})
	}
}

// A correction that is written by a node whose clock is four minutes behind the one that wrote the report is told all the same.
// The source seems to show less than it did: what it shows is believed after policy.believe_missing.
func TestACorrectionWhoseTimeGoesBackIsTold(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeReport, sweptOften, bySweepsAlone, believedSoon)
	w.run(t)
	w.connected(t)
	c := told(1, false)[0]
	document := w.publish(c)
	w.rests(t, document, ledger.Delivered)
	amended := c
	amended.Resources = nil
	for _, r := range c.Resources {
		if r = maps.Clone(r); r["resourceType"] == "DiagnosticReport" {
			r["status"] = "amended"
		}
		amended.Resources = append(amended.Resources, r)
	}
	w.publishAt(amended, time.Now().Add(-4*time.Minute))
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n == 2 })
	w.rests(t, document, ledger.Delivered)
	if rec := w.record(t, document); rec.Told.Publication != ledger.Updated {
		t.Errorf("told as %s, want %s", rec.Told.Publication, ledger.Updated)
	}
	w.quiet(t)
	w.well(t)
}

// publishAt keeps a case at the FSE as if it had been published then, by a node whose clock is behind where that was before the
// source was connected.
func (w *town) publishAt(c fse.Case, at time.Time) fhir.Locator {
	all := fse.Resource{"resourceType": "Bundle"}
	entries := make([]any, 0, len(c.Resources))
	for _, r := range c.Resources {
		r = maps.Clone(r)
		meta, _ := r["meta"].(fse.Resource)
		if meta = maps.Clone(meta); meta == nil {
			meta = fse.Resource{}
		}
		meta["versionId"], meta["lastUpdated"] = fmt.Sprint("v", at.UnixMilli()), at.UTC().Format("2006-01-02T15:04:05.000Z")
		r["meta"] = meta
		entries = append(entries, fse.Resource{"resource": r})
	}
	all["entry"] = entries
	w.fse.Load(all)
	return fhir.Locator{Type: c.Type, ID: c.ID, System: c.System, Value: c.Value}
}

// due is when a document is to be looked at, once it is known.
func (w *town) due(t *testing.T, document fhir.Locator) time.Time {
	t.Helper()
	key := w.program.Ledger.DocumentKey(w.source, document)
	set := fmt.Sprintf("staffetta:{%d}:due:%s", key.Partition(), w.source)
	return eventually(t, func() (time.Time, bool) {
		ms, err := w.redis.ZScore(t.Context(), set, key.String()).Result()
		return time.UnixMilli(int64(ms)), err == nil
	})
}

// A server that is asked to post nothing but pings: each is a look through the source.
func TestAnEmptyNotificationIsLookedInto(t *testing.T) {
	t.Parallel()
	w := subscribed(t, "HAPI", func(cfg *config.Config, _ *sandbox.Options) { cfg.Sources[0].Subscription.Content = "empty" })
	w.active(t)
	w.connected(t)
	cases := told(3, false)
	for _, c := range cases {
		w.publish(c)
	}
	w.are(t, "notify", cases...)
	w.quiet(t)
	w.once(t, cases...)
	w.well(t)
}

// What hides a document lies in its metadata. Nobody posts that these changed; the sweep sees it, and the citizen is told once
// it can be seen.
func TestASweepNoticesAChangeOfVisibility(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2, sweptOften)
	w.run(t)
	w.connected(t)
	var hidden fse.Case
	for _, c := range fse.Population(200, 3, true) {
		if c.Reason == "hidden-from-citizen" {
			hidden = c
			break
		}
	}
	w.publish(hidden)
	w.are(t, "suppress hidden-from-citizen", hidden)
	for _, r := range hidden.Resources {
		if r["resourceType"] != "DocumentReference" {
			continue
		}
		shown := maps.Clone(r)
		shown["context"] = maps.Clone(r["context"].(fse.Resource)) //nolint:forcetypeassert // as the sandbox makes it
		delete(shown["context"].(fse.Resource), "event")
		w.fse.Put(shown)
	}
	w.rests(t, identityOf(hidden), ledger.Delivered)
	w.once(t, hidden)
	w.well(t)
}

// A server that takes our Subscription and never fires: its reports are told all the same, and the verdict stands on the
// console and in `staffetta subscribe --show`, whose exit code is a finding.
func TestAServerThatNeverFiresGetsItsVerdict(t *testing.T) {
	t.Parallel()
	w := subscribed(t, "mute", sweptOften)
	w.keeping(t)
	w.connected(t)
	show := func() (bool, string) {
		t.Helper()
		var out bytes.Buffer
		well, err := adapter.Subscribe(t.Context(), w.cfg, adapter.NewLog(io.Discard, "error"), adapter.SubscribeOptions{
			Source: w.source, Mode: adapter.SubscribeShow, Out: &out, Aside: io.Discard,
		})
		if err != nil {
			t.Fatal(err)
		}
		return well, out.String()
	}
	if well, out := show(); !well {
		t.Errorf("nothing was published yet, and it is accused:\n%s", out)
	}
	cases := told(4, false)
	for _, c := range cases {
		w.publish(c)
	}
	w.are(t, "notify", cases...)
	const verdict = "accepted our Subscription and has not posted 4 of 4 reports"
	eventually(t, func() (string, bool) {
		well, out := show()
		return out, !well && strings.Contains(out, verdict)
	})
	check := func() (bool, string) {
		t.Helper()
		var out bytes.Buffer
		well, err := adapter.CheckSources(t.Context(), w.cfg, adapter.NewLog(io.Discard, "error"), &out)
		if err != nil {
			t.Fatal(err)
		}
		return well, out.String()
	}
	if well, out := check(); well || !strings.Contains(out, verdict) || !strings.Contains(out, "finding    our Subscriptions do not work") ||
		!strings.Contains(out, "\nswept      DiagnosticReport: last ") || !strings.Contains(out, "\nundecided  ") {
		t.Errorf("check: well %t\n%s", well, out)
	}
	if page := get(t, "http://"+w.program.AdminAddr().String()+"/console/"); !strings.Contains(page, verdict) {
		t.Errorf("the console does not say so:\n%s", page)
	}
	w.quiet(t)
	w.once(t, cases...)
	w.fse.Speak()
	w.publish(told(6, false)[5])
	eventually(t, func() (string, bool) { well, out := show(); return "it posts, and is acquitted: " + out, well })
	if well, out := check(); !well || !strings.Contains(out, "server     Blaze, FHIR 4.0.1") {
		t.Errorf("check: well %t\n%s", well, out)
	}
	w.fse.Misbehave(fse.Quirks{ErrorInside: true})
	eventually(t, func() (string, bool) {
		well, out := check()
		return out, !well && strings.Contains(out, "finding    the last sweep was none: ")
	})
}

// Of several replicas one sweeps; when it stops, another one goes on, and nothing is lost or told twice.
func TestOneReplicaSweepsForAll(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeReport, sweptOften)
	type replica struct {
		admin string
		stop  func()
	}
	replicas := make([]replica, 2)
	for i := range replicas {
		w.run(t)
		replicas[i] = replica{"http://" + w.program.AdminAddr().String() + "/metrics", w.stop}
	}
	sweeps := func(r replica) bool { return strings.Contains(get(t, r.admin), `staffetta_sweeps_total{`) }
	w.connected(t)
	cases := told(4, false)
	w.publish(cases[0])
	w.publish(cases[1])
	w.are(t, "notify", cases[:2]...)
	// A sweep counts when it has ended, which may be after its documents were told.
	first := eventually(t, func() (int, bool) {
		i := slices.IndexFunc(replicas, sweeps)
		return i, i >= 0
	})
	second := 1 - first
	if sweeps(replicas[second]) {
		t.Error("both replicas sweep, want one")
	}
	replicas[first].stop()
	w.publish(cases[2])
	w.publish(cases[3])
	eventually(t, func() (string, bool) { return "another one sweeps", sweeps(replicas[second]) })
	w.are(t, "notify", cases...)
	w.once(t, cases...)
}

// What was published before the first connection is told when a person says so, after a dry run, and once.
func TestABacklogIsToldWhenAPersonSaysSo(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeReport)
	cases := told(3, false)
	for _, c := range cases {
		w.publish(c)
	}
	w.run(t)
	w.connected(t)
	catchUp := func(o adapter.CatchUpOptions) string {
		t.Helper()
		var out bytes.Buffer
		o.Source, o.Resources, o.Out = w.source, 100, &out
		if err := adapter.CatchUp(t.Context(), w.cfg, adapter.NewLog(io.Discard, "error"), o); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	undecided := func() bool {
		t.Helper()
		c, err := w.program.Ledger.LookAtCatchUp(t.Context(), w.source)
		if err != nil {
			t.Fatal(err)
		}
		return c.Undecided()
	}
	dry := catchUp(adapter.CatchUpOptions{DryRun: true})
	if !strings.Contains(dry, "nobody has decided") || !strings.Contains(dry, "3          notify") {
		t.Errorf("dry run:\n%s", dry)
	}
	if len(w.io.Messages()) > 0 || !undecided() {
		t.Error("a dry run has told somebody, or has decided")
	}
	if out := catchUp(adapter.CatchUpOptions{}); !strings.Contains(out, "3 that were not known") {
		t.Errorf("done:\n%s", out)
	}
	w.are(t, "notify", cases...)
	w.quiet(t)
	if out := catchUp(adapter.CatchUpOptions{}); !strings.Contains(out, "0 that were not known, 0 that had changed, 3 that are known as they are") {
		t.Errorf("once more:\n%s", out)
	}
	if dry := catchUp(adapter.CatchUpOptions{DryRun: true}); !strings.Contains(dry, "3          nothing") || !strings.Contains(dry, "decided on") {
		t.Errorf("dry run afterwards:\n%s", dry)
	}
	w.once(t, cases...)
	if undecided() {
		t.Error("a person has decided, and it is not noted")
	}
	w.well(t)
}

// A backlog may be left alone: that is a decision, too.
func TestABacklogMayBeForgone(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	w.publish(told(1, false)[0])
	w.run(t)
	w.connected(t)
	if err := adapter.CatchUp(t.Context(), w.cfg, adapter.NewLog(io.Discard, "error"), adapter.CatchUpOptions{Source: w.source, Forgo: true, Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	if c, err := w.program.Ledger.LookAtCatchUp(t.Context(), w.source); err != nil || c.Undecided() {
		t.Errorf("undecided %t, %v", c.Undecided(), err)
	}
	if n := len(w.io.Messages()); n > 0 {
		t.Errorf("%d messages", n)
	}
}

// A first connection asks for a person only where none has decided before.
func TestAFirstConnectionAsksForNobodyOnceItIsDecided(t *testing.T) {
	t.Parallel()
	const asks = `"level":"ERROR","msg":"first connection: what was published before is told to nobody until a person says so`
	w := build(t, fhir.ShapeReport)
	w.run(t)
	w.connected(t)
	if logs := w.logs.String(); strings.Count(logs, asks) != 1 {
		t.Errorf("want one line that asks for a person\n%s", logs)
	}

	w = build(t, fhir.ShapeReport)
	if err := adapter.CatchUp(t.Context(), w.cfg, adapter.NewLog(io.Discard, "error"), adapter.CatchUpOptions{Source: w.source, Forgo: true, Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	w.run(t)
	w.connected(t)
	if logs := w.logs.String(); strings.Contains(logs, asks) || !strings.Contains(logs, "what becomes of what was published before is decided") {
		t.Errorf("it is decided, and it says\n%s", logs)
	}
}
