package adapter_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// soon shortens how long a told document that is gone waits for its successor.
func soon(wait time.Duration) change {
	return func(cfg *config.Config, _ *sandbox.Options) { cfg.Policy.ReplacementWait = config.Duration(wait) }
}

// successor is a case under new ids that replaces another one, as the ministry's server writes it: the old ids in the ids of
// relatesTo, and no target.
func successor(old fse.Case) fse.Case {
	next := told(2, true)[1]
	for _, r := range next.Resources {
		switch r["resourceType"] {
		case "Composition":
			r["subject"] = subjectOf(old)
			r["relatesTo"] = []any{fse.Resource{"code": "replaces", "id": old.ID}}
		case "DocumentReference":
			r["subject"] = subjectOf(old)
		}
	}
	next.Code = old.Code
	return next
}

func subjectOf(c fse.Case) any {
	for _, r := range c.Resources {
		if r["resourceType"] == "Composition" {
			return r["subject"]
		}
	}
	return nil
}

// vanish deletes the documents' resources, but not the patient, as the ministry's server does.
func (w *town) vanish(c fse.Case) (names []string) {
	for _, r := range c.Resources {
		if r["resourceType"] != "Patient" {
			name := fmt.Sprintf("%s/%s", r["resourceType"], r["id"])
			w.fse.Delete(name)
			names = append(names, name)
		}
	}
	return names
}

func (w *town) deleted(t *testing.T, names []string) {
	t.Helper()
	for _, name := range names {
		if err := w.poster.Deleted(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

func identityOf(c fse.Case) fhir.Locator {
	return fhir.Locator{Type: c.Type, ID: c.ID, System: c.System, Value: c.Value}
}

// rests waits until a document is in a state.
func (w *town) rests(t *testing.T, l fhir.Locator, want ledger.State) {
	t.Helper()
	key := w.program.Ledger.DocumentKey(w.source, l)
	eventually(t, func() (ledger.Record, bool) {
		rec, _, err := w.program.Ledger.Lookup(t.Context(), key)
		return rec, err == nil && rec.State == want
	})
}

func TestAReplacementOfWhatWasNeverToldIsPublished(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2)
	w.run(t)
	old := told(1, true)[0]
	for _, r := range old.Resources {
		if r["resourceType"] == "Composition" {
			r["status"] = "preliminary"
		}
	}
	w.publish(old)
	w.notify(t, fse.R4IDOnly, old.Hints...)
	w.record(t, identityOf(old))
	next := successor(old)
	w.publish(next)
	w.notify(t, fse.R4IDOnly, next.Hints...)
	w.rests(t, identityOf(next), ledger.Delivered)
	w.rests(t, identityOf(old), ledger.Replaced)
	w.quiet(t)
	w.recipients(t, next.Code)
	if subject := w.io.Messages()[0].Subject; strings.HasPrefix(subject, "Errata corrige: ") {
		t.Errorf("the message says %q", subject)
	}
	w.well(t)
}

// afterDeletion is what becomes of a document that somebody was told of and that is no more. In fse2, where gone may mean
// obscured, it is only noted.
var afterDeletion = map[fhir.Shape]ledger.State{
	fhir.ShapeReport: ledger.Held, fhir.ShapeHL7IT: ledger.Held, fhir.ShapeFSE2: ledger.Noted,
}

// A DELETE alone is looked at, waited for, then withdrawn: held for a person.
func TestADeletionAlone(t *testing.T) {
	t.Parallel()
	for shape, want := range afterDeletion {
		t.Run(string(shape), func(t *testing.T) {
			w := build(t, shape, soon(100*time.Millisecond))
			w.run(t)
			c := told(1, shape.OfCompositions())[0]
			w.publish(c)
			w.notify(t, fse.R4IDOnly, c.Hints...)
			w.rests(t, identityOf(c), ledger.Delivered)
			w.deleted(t, w.vanish(c))
			w.rests(t, identityOf(c), want)
			w.quiet(t)
			w.recipients(t, c.Code)
			w.well(t)
		})
	}
}

// A DELETE while nobody is there is in no search: the history tells of it, at a server that says it lists one.
func TestADeletionThatNobodyHeardOf(t *testing.T) {
	t.Parallel()
	for shape, want := range afterDeletion {
		t.Run(string(shape), func(t *testing.T) {
			t.Parallel()
			w := build(t, shape, soon(100*time.Millisecond))
			w.fse.Traits = fse.Products()["HAPI"]
			w.fse.Traits.History = true
			w.run(t)
			kinds := 1
			if shape.OfCompositions() {
				kinds = 2
			}
			w.connectedTo(t, kinds)
			c := told(1, shape.OfCompositions())[0]
			w.publish(c)
			w.notify(t, fse.R4IDOnly, c.Hints...)
			w.rests(t, identityOf(c), ledger.Delivered)
			w.stop()
			w.vanish(c)
			w.run(t)
			w.rests(t, identityOf(c), want)
			w.quiet(t)
			w.recipients(t, c.Code)
			w.well(t)
		})
	}
}

// A document of the ministry's shape without its DocumentReference is in no list of the portal's: it waits.
func TestWhatItsCitizenCannotOpenWaits(t *testing.T) {
	w := build(t, fhir.ShapeFSE2)
	w.run(t)
	c := told(1, true)[0]
	w.publish(c)
	var reference fse.Resource
	for _, r := range c.Resources {
		if r["resourceType"] == "DocumentReference" {
			reference = r
		}
	}
	w.fse.Delete(fmt.Sprintf("DocumentReference/%s", reference["id"]))
	w.notify(t, fse.R4IDOnly, c.Hints...)
	if got := decision(w.record(t, identityOf(c))); got != "wait not-visible" {
		t.Errorf("got %s, want wait not-visible", got)
	}
	w.fse.Put(reference)
	w.notify(t, fse.ClassicPut, fmt.Sprintf("DocumentReference/%s", reference["id"]))
	w.rests(t, identityOf(c), ledger.Delivered)
	w.recipients(t, c.Code)
	w.well(t)
}

// HAPI merges reports: the dead one points to its survivor, which tells nobody again, whether it says so itself or not.
func TestAMergedReportIsNotToldAgain(t *testing.T) {
	pointer := func(what, to string) []any {
		return []any{fse.Resource{"url": "http://hapifhir.io/fhir/StructureDefinition/" + what, "valueReference": fse.Resource{"reference": to}}}
	}
	for _, tt := range []struct {
		name string
		says bool
	}{{"both say so", true}, {"the dead one alone says so", false}} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, fhir.ShapeReport)
			w.run(t)
			c := told(1, false)[0]
			w.publish(c)
			w.notify(t, fse.ClassicPut, c.Hints...)
			w.rests(t, identityOf(c), ledger.Delivered)
			dead := w.fse.Get(c.Hints[0])
			survivor := maps.Clone(dead)
			survivor["id"] = "survivor"
			dead["extension"] = pointer("replaced-by", "DiagnosticReport/survivor")
			hints := c.Hints[:1]
			if tt.says {
				survivor["extension"] = pointer("replaces", c.Hints[0])
				hints = append(hints, "DiagnosticReport/survivor")
			}
			w.fse.Put(survivor)
			w.fse.Put(dead)
			w.notify(t, fse.ClassicPut, hints...)
			w.rests(t, fhir.Locator{Type: "DiagnosticReport", ID: "survivor"}, ledger.Delivered)
			w.rests(t, identityOf(c), ledger.Replaced)
			w.quiet(t)
			w.recipients(t, c.Code)
			w.well(t)
		})
	}
}

// holding makes a town in which a document is published and IO holds back its first answer: a worker waits for it, with the
// record in its hands.
func holding(t *testing.T, shape fhir.Shape, c fse.Case) (w *town, answer func()) {
	t.Helper()
	first, all := make(chan struct{}), make(chan struct{})
	var begun sync.Once
	w = build(t, shape, func(_ *config.Config, o *sandbox.Options) {
		o.Fault = func(http.ResponseWriter, *http.Request, bool) bool {
			begun.Do(func() { close(first) })
			<-all
			return false
		}
	})
	answer = sync.OnceFunc(func() { close(all) })
	t.Cleanup(answer)
	w.run(t)
	w.publish(c)
	w.notify(t, fse.R4IDOnly, c.Hints...)
	<-first
	return w, answer
}

// A document may be told of while the one that replaces it is looked at: that one is its update all the same, and tells nobody
// again where it is none.
func TestWhatIsToldWhileItIsReplaced(t *testing.T) {
	t.Parallel()
	t.Run("by an update", func(t *testing.T) {
		t.Parallel()
		old := told(1, true)[0]
		w, answer := holding(t, fhir.ShapeFSE2, old)
		next := successor(old)
		w.publish(next)
		w.notify(t, fse.R4IDOnly, next.Hints...)
		w.waits(t, identityOf(next), "predecessor-busy")
		answer()
		w.rests(t, identityOf(next), ledger.Delivered)
		w.rests(t, identityOf(old), ledger.Replaced)
		w.quiet(t)
		w.updatedOnce(t, old.Code)
		if rec, _, err := w.program.Ledger.Lookup(t.Context(), w.program.Ledger.DocumentKey(w.source, identityOf(old))); err != nil || rec.Told.Publication != ledger.Published {
			t.Errorf("of the old one %q was told, %v: after a crash it is inherited again", rec.Told.Publication, err)
		}
	})
	t.Run("by what it was merged into", func(t *testing.T) {
		t.Parallel()
		c := told(1, false)[0]
		w, answer := holding(t, fhir.ShapeReport, c)
		survivor := maps.Clone(w.fse.Get(c.Hints[0]))
		survivor["id"] = "survivor"
		survivor["extension"] = []any{fse.Resource{
			"url": "http://hapifhir.io/fhir/StructureDefinition/replaces", "valueReference": fse.Resource{"reference": c.Hints[0]},
		}}
		w.fse.Put(survivor)
		w.notify(t, fse.ClassicPut, "DiagnosticReport/survivor")
		heir := fhir.Locator{Type: "DiagnosticReport", ID: "survivor"}
		w.waits(t, heir, "predecessor-busy")
		answer()
		w.rests(t, heir, ledger.Delivered)
		w.rests(t, identityOf(c), ledger.Replaced)
		w.quiet(t)
		w.recipients(t, c.Code)
		w.well(t)
	})
}

// Publication is not visibility (reference fse.md, 4.1): where the source has a gate, its citizen must be able to open the
// document before they are told of it.
func TestTheGateLooksWithACitizensEyes(t *testing.T) {
	var portal *fse.Server
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		portal = fse.NewServer()
		portal.Token = "the-portal"
		server := httptest.NewServer(portal)
		t.Cleanup(server.Close)
		cfg.Sources[0].Gate = config.Gate{BaseURL: server.URL + "/fhir", Read: config.Read{BearerToken: "the-portal"}}
	})
	var refusing atomic.Bool
	refusing.Store(true)
	portal.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
		if refusing.Load() { // as a portal does where the citizen has no consent there
			rw.WriteHeader(http.StatusForbidden)
		}
		return refusing.Load()
	}
	w.run(t)
	c := told(1, false)[0]
	document := w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	key := w.program.Ledger.DocumentKey(w.source, document)
	waits := func() (string, bool) {
		rec, _, err := w.program.Ledger.Lookup(t.Context(), key)
		return fmt.Sprint(rec.State, " ", rec.Reason, " ", err), err == nil && rec.State == ledger.Pending && rec.Reason == "not-visible"
	}
	eventually(t, waits)
	refusing.Store(false) // it answers, and has nothing yet
	w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	eventually(t, func() (string, bool) { return fmt.Sprint(portal.Calls()), portal.Calls()["read"] > 0 })
	eventually(t, waits)
	for _, r := range c.Resources {
		portal.Put(r)
	}
	w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	eventually(t, func() (string, bool) {
		rec, _, err := w.program.Ledger.Lookup(t.Context(), key)
		return fmt.Sprint(rec.State, " ", rec.Reason, " ", err), err == nil && rec.State == ledger.Delivered
	})
	if got := len(w.io.Messages()); got != 1 {
		t.Errorf("messages: %d, want 1", got)
	}
}
