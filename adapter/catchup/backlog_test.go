package catchup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"staffetta/adapter/catchup"
	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// backlog is one of a ward, with a ledger or without.
func (w *ward) backlog(t *testing.T, shape fhir.Shape, led *ledger.Ledger) catchup.Backlog {
	t.Helper()
	source, err := fhir.NewSource(fhir.SourceOptions{
		Name: name, BaseURL: w.base, Shape: shape, Client: w.client, MaxBody: 8 << 20, Aliases: []string{"https://fse.example.it/fhir"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return catchup.Backlog{
		Name: name, Shape: shape, Source: source, Searches: fhir.Searches(shape, nil, nil), Since: time.Now().Add(-time.Hour), Ledger: led,
		PageGap: time.Nanosecond,
	}
}

func preview(t *testing.T, b catchup.Backlog) (catchup.Preview, error) {
	t.Helper()
	rules, err := policy.NewRules(policy.Options{MaxAge: 30 * 24 * time.Hour, BelieveMissing: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return catchup.PreviewBacklog(t.Context(), b, catchup.PreviewOptions{Rules: rules, Resources: 1000, Now: time.Now()})
}

// sum is what a preview says of all days.
func sum(p catchup.Preview) map[catchup.Verdict]int {
	all := map[catchup.Verdict]int{}
	for _, day := range p.Days {
		for v, n := range day.Verdicts {
			all[v] += n
		}
	}
	return all
}

// Of a document that is found by several resources, one decision is counted: that of the relay.
func TestAPreviewDecidesAsTheRelayDoes(t *testing.T) {
	w := open(t, "HAPI")
	want := map[catchup.Verdict]int{}
	for _, c := range sandbox.Population(30, 5, true) {
		for _, r := range c.Resources {
			w.server.Put(r)
		}
		want[verdict(c)]++
	}
	delete(want, catchup.Verdict{Action: "wait", Reason: "not-final"}) // the searches ask for what is final only
	p, err := preview(t, w.backlog(t, fhir.ShapeFSE2, nil))
	if err != nil || p.Stopped != "" {
		t.Fatalf("%v, %s", err, p.Stopped)
	}
	got := sum(p)
	delete(got, catchup.Verdict{Action: "wait", Reason: "not-final"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-the population +the preview)\n%s", diff)
	}
}

// What the ledger has on its way is left to that; a preview admits nothing.
func TestAPreviewKnowsWhatIsUnderWay(t *testing.T) {
	w := open(t, "HAPI")
	led := w.ledger(t)
	for _, id := range []string{"r1", "r2", "r3"} {
		w.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": id, "status": "entered-in-error"})
	}
	locator := fhir.Locator{Type: "DiagnosticReport", ID: "r2"}
	hint := ledger.Hint{Key: led.DocumentKey(name, locator), Source: name, Locator: locator, State: ledger.Pending}
	if _, err := led.Admit(t.Context(), []ledger.Hint{hint}); err != nil {
		t.Fatal(err)
	}
	p, err := preview(t, w.backlog(t, fhir.ShapeReport, led))
	if err != nil {
		t.Fatal(err)
	}
	want := map[catchup.Verdict]int{{Action: "suppress", Reason: "withdrawn"}: 2, {Action: "already pending"}: 1}
	if diff := cmp.Diff(want, sum(p)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if stats, err := led.Stats(t.Context(), []string{name}); err != nil || stats.Due[name] != 1 {
		t.Errorf("%d are due, %v; want the one that was", stats.Due[name], err)
	}
}

// A backlog that may have been listed wrongly is not decided upon: it can be added again.
func TestABacklogThatMayBeWrongDecidesNothing(t *testing.T) {
	w := open(t, "HAPI")
	led := w.ledger(t)
	for _, id := range []string{"r1", "r2", "r3"} {
		w.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": id, "status": "final"})
	}
	if _, err := led.Connect(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	decided := func() bool {
		t.Helper()
		c, err := led.LookAtCatchUp(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return !c.Undecided()
	}
	w.server.Misbehave(sandbox.Quirks{RefusesSort: true, PageMost: 2, NoNext: true})
	_, admitted, err := catchup.AddBacklog(t.Context(), w.backlog(t, fhir.ShapeReport, led))
	if !errors.Is(err, fhir.ErrNotCredible) || decided() {
		t.Errorf("%v, decided %t", err, decided())
	}
	before := admitted[ledger.New]
	w.server.Misbehave(sandbox.Quirks{})
	if _, admitted, err = catchup.AddBacklog(t.Context(), w.backlog(t, fhir.ShapeReport, led)); err != nil || before+admitted[ledger.New] != 3 || !decided() {
		t.Errorf("%d and then %v admitted, %v, decided %t", before, admitted, err, decided())
	}
}

// A source that everybody leaves alone is left alone by a backlog, too; and it stops when it is told to.
func TestABacklogLeavesAPausedSourceAlone(t *testing.T) {
	w := open(t, "HAPI")
	led := w.ledger(t)
	w.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final"})
	if err := led.Pace().PauseSource(t.Context(), name, time.Minute, "unavailable"); err != nil {
		t.Fatal(err)
	}
	_, _, err := catchup.AddBacklog(t.Context(), w.backlog(t, fhir.ShapeReport, led))
	if trouble, is := errors.AsType[*fhir.Trouble](err); !is || trouble.Kind != fhir.Throttled {
		t.Errorf("%v, want to be told that it is paused", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := catchup.AddBacklog(ctx, w.backlog(t, fhir.ShapeReport, led)); err == nil {
		t.Error("it was told to stop, and did not")
	}
}
