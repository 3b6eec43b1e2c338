package adapter_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
)

// first is the first resource of a type in a case.
func first(c fse.Case, resourceType string) fse.Resource {
	for _, r := range c.Resources {
		if r["resourceType"] == resourceType {
			return r
		}
	}
	return nil
}

// relations are the ways in which a document says that it replaces another one (reference fse.md, 3.4), each with the orders
// that it is tried in.
var relations = map[string]struct {
	shape  fhir.Shape
	say    func(old, next fse.Case)
	orders map[string]bool
}{
	"the ministry's ids": {fhir.ShapeFSE2, func(fse.Case, fse.Case) {}, map[string]bool{
		"in one transaction": true, "the deletion first": true, "its successor first": true,
		"superseded, then its successor": true, "its successor, then superseded": true,
	}},
	"targetReference": {fhir.ShapeHL7IT, func(old, next fse.Case) {
		first(next, "Composition")["relatesTo"] = replaces("targetReference", fse.Resource{"reference": "Composition/" + old.ID})
	}, map[string]bool{"in one transaction": true, "the deletion first": true, "its successor first": true}},
	"targetIdentifier": {fhir.ShapeHL7IT, func(old, next fse.Case) {
		first(next, "Composition")["relatesTo"] = replaces("targetIdentifier", fse.Resource{"system": old.System, "value": old.Value})
	}, map[string]bool{"in one transaction": true, "the deletion first": true}},
	"the DocumentReference only": {fhir.ShapeFSE2, func(old, next fse.Case) {
		composition := first(next, "Composition")
		delete(composition, "relatesTo")
		composition["date"] = first(old, "Composition")["date"] // it is an update by that alone
		first(next, "DocumentReference")["relatesTo"] = replaces("id", first(old, "DocumentReference")["id"])
	}, map[string]bool{"in one transaction": true, "the deletion first": true, "its successor first": true}},
}

func replaces(element string, target any) []any {
	return []any{fse.Resource{"code": "replaces", element: target}}
}

// orders are how the parts of a replacement are heard of.
var orders = map[string]func(t *testing.T, w *town, minutes func(), old, next fse.Case){
	"in one transaction": func(t *testing.T, w *town, _ func(), old, next fse.Case) {
		t.Helper()
		gone := w.vanish(old)
		w.publish(next)
		w.notify(t, fse.R4IDOnly, append(next.Hints, gone...)...)
	},
	"the deletion first": func(t *testing.T, w *town, minutes func(), old, next fse.Case) {
		t.Helper()
		w.deleted(t, w.vanish(old))
		w.waits(t, identityOf(old), "missing")
		minutes()
		w.publish(next)
		w.notify(t, fse.R5, next.Hints...)
	},
	"its successor first": func(t *testing.T, w *town, minutes func(), old, next fse.Case) {
		t.Helper()
		w.publish(next)
		w.notify(t, fse.ClassicPut, next.Hints...)
		w.rests(t, identityOf(old), ledger.Replaced)
		minutes()
		w.deleted(t, w.vanish(old))
	},
	"superseded, then its successor": func(t *testing.T, w *town, minutes func(), old, next fse.Case) {
		t.Helper()
		w.supersede(t, old)
		w.rests(t, identityOf(old), ledger.Held)
		minutes()
		w.publish(next)
		w.notify(t, fse.R4Full, next.Hints...)
	},
	"its successor, then superseded": func(t *testing.T, w *town, minutes func(), old, next fse.Case) {
		t.Helper()
		w.publish(next)
		w.notify(t, fse.R4Full, next.Hints...)
		w.rests(t, identityOf(old), ledger.Replaced)
		minutes()
		w.supersede(t, old)
	},
}

// A replacement under new ids is one update, whatever says so, in whatever order its parts are heard of, and minutes apart
// (reference fse.md, 3.4).
func TestAReplacementUnderNewIDsIsOneUpdate(t *testing.T) {
	t.Parallel()
	for how, relation := range relations {
		for order, play := range orders {
			if !relation.orders[order] {
				continue
			}
			t.Run(how+", "+order, func(t *testing.T) {
				t.Parallel() // they wait most of the time
				w := build(t, relation.shape)
				var later atomic.Int64
				w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
				w.run(t)
				old := told(1, true)[0]
				w.publish(old)
				w.notify(t, fse.R4IDOnly, old.Hints...)
				w.rests(t, identityOf(old), ledger.Delivered)
				next := successor(old)
				relation.say(old, next)
				play(t, w, func() { later.Add(int64(9 * time.Minute)) }, old, next)
				w.rests(t, identityOf(next), ledger.Delivered)
				w.rests(t, identityOf(old), ledger.Replaced)
				w.quiet(t)
				w.updatedOnce(t, old.Code)
			})
		}
	}
}

// Hidden from its citizen, then shown under new ids with its old date: the age cut-off counts from when it was hidden.
func TestHiddenThenShownUnderNewIDsIsPublished(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"in one transaction", "its successor first", "the deletion first"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			w := build(t, fhir.ShapeFSE2)
			w.run(t)
			old := told(1, true)[0]
			next := successor(old)
			for _, c := range []fse.Case{old, next} {
				first(c, "Composition")["date"] = time.Now().AddDate(0, 0, -60).Format(time.RFC3339)
			}
			first(old, "DocumentReference")["context"].(fse.Resource)["event"] = []any{fse.Resource{"coding": []any{fse.Resource{"code": "P98"}}}}
			w.publish(old)
			w.notify(t, fse.R4IDOnly, old.Hints...)
			if got := decision(w.record(t, identityOf(old))); got != "suppress hidden-from-citizen" {
				t.Fatalf("got %s, want suppress hidden-from-citizen", got)
			}
			w.quiet(t)
			orders[order](t, w, func() {}, old, next)
			w.rests(t, identityOf(next), ledger.Delivered)
			w.rests(t, identityOf(old), ledger.Replaced)
			w.quiet(t)
			w.recipients(t, old.Code)
			w.well(t)
		})
	}
}

// That a document replaces another one is learned from a metadata update only when both were told: that is no update.
func TestARelationThatIsLearnedLateIsNoUpdate(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2)
	w.run(t)
	old := told(1, true)[0]
	next := successor(old)
	delete(first(next, "Composition"), "relatesTo")
	for _, c := range []fse.Case{old, next} {
		w.publish(c)
		w.notify(t, fse.R4IDOnly, c.Hints...)
		w.rests(t, identityOf(c), ledger.Delivered)
	}
	reference := first(next, "DocumentReference")
	reference["relatesTo"] = replaces("id", first(old, "DocumentReference")["id"])
	w.fse.Put(reference)
	w.notify(t, fse.R4IDOnly, fmt.Sprint("DocumentReference/", reference["id"]))
	w.rests(t, identityOf(old), ledger.Replaced)
	w.quiet(t)
	w.rests(t, identityOf(next), ledger.Delivered)
	w.recipients(t, old.Code, old.Code)
	w.well(t)
}

// waits waits until a document waits for a reason.
func (w *town) waits(t *testing.T, l fhir.Locator, reason string) {
	t.Helper()
	key := w.program.Ledger.DocumentKey(w.source, l)
	eventually(t, func() (string, bool) {
		rec, _, err := w.program.Ledger.Lookup(t.Context(), key)
		return rec.Reason, err == nil && rec.Reason == reason
	})
}

// supersede is what some servers do in place of a deletion.
func (w *town) supersede(t *testing.T, c fse.Case) {
	t.Helper()
	r := first(c, "DocumentReference")
	r["status"] = "superseded"
	w.fse.Put(r)
	w.notify(t, fse.R4IDOnly, fmt.Sprint("DocumentReference/", r["id"]))
}

// updatedOnce wants that one citizen was told of a document, and once of its update.
func (w *town) updatedOnce(t *testing.T, code string) {
	t.Helper()
	w.recipients(t, code, code)
	if messages := w.io.Messages(); len(messages) == 2 && !strings.HasPrefix(messages[1].Subject, "Errata corrige: ") {
		t.Errorf("the second message says %q", messages[1].Subject)
	}
	w.well(t)
}

// theDocument is the Composition of a sample, and what its document is known by.
func theDocument(sample fse.Resource) (composition fse.Resource, l fhir.Locator) {
	composition, _ = sample["entry"].([]any)[0].(fse.Resource)["resource"].(fse.Resource)
	identifier, _ := composition["identifier"].(fse.Resource)
	l = fhir.Locator{Type: "Composition", ID: fmt.Sprint(composition["id"])}
	l.System, _ = identifier["system"].(string)
	l.Value, _ = identifier["value"].(string)
	return composition, l
}

// A server that keeps whole documents only writes a new version as another Bundle.
func TestADocumentUnderANewBundleIsOneUpdate(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"the new one, then the deletion", "the deletion, then the new one", "the new one alone", "the new one, then the old one again", "the same, of another Composition"} {
		t.Run(order, func(t *testing.T) {
			w := build(t, fhir.ShapeHL7IT)
			w.atSampleTime()
			w.run(t)
			sample := load(t, "hl7it-document.json")
			w.fse.Put(sample)
			_, document := theDocument(sample)
			w.notify(t, fse.R4IDOnly, "Bundle/hl7it-1")
			w.rests(t, document, ledger.Delivered)
			next := load(t, "hl7it-document.json")
			next["id"] = "hl7it-2"
			composition, _ := theDocument(next)
			composition["status"], composition["date"] = "amended", "2026-11-23T11:30:00+01:00"
			if order == "the same, of another Composition" {
				composition["id"] = "of-its-own"
			}
			deletion := func() {
				w.fse.Delete("Bundle/hl7it-1")
				w.deleted(t, []string{"Bundle/hl7it-1"})
			}
			if order == "the deletion, then the new one" {
				deletion()
				w.waits(t, document, "missing")
			}
			w.fse.Put(next)
			w.notify(t, fse.R4IDOnly, "Bundle/hl7it-2")
			if order == "the new one, then the deletion" {
				deletion()
			}
			eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n >= 2 })
			w.rests(t, document, ledger.Delivered)
			if order == "the new one, then the old one again" || order == "the same, of another Composition" {
				w.notify(t, fse.R4IDOnly, "Bundle/hl7it-1")
				w.quiet(t)
			}
			w.updatedOnce(t, "BNCLCU75B68F205U")
		})
	}
}

// A rest-hook that carries the whole document names its Composition and itself: a server that keeps Bundles only has it as
// that alone.
func TestADocumentPostedByAServerThatKeepsBundlesOnly(t *testing.T) {
	t.Parallel()
	for _, flavour := range []fse.Flavour{fse.ClassicPut, fse.ClassicPost} {
		t.Run(string(flavour), func(t *testing.T) {
			w := build(t, fhir.ShapeHL7IT)
			w.atSampleTime()
			w.run(t)
			sample := load(t, "hl7it-document.json")
			w.fse.Put(sample)
			_, document := theDocument(sample)
			w.notify(t, flavour, "Bundle/hl7it-1")
			w.rests(t, document, ledger.Delivered)
			w.recipients(t, "BNCLCU75B68F205U")
			w.well(t)
		})
	}
}

// A label on the Bundle alone decides, though the Composition is kept beside it and hinted in its place.
func TestALabelOnTheBundleAloneDecides(t *testing.T) {
	t.Parallel()
	for _, hint := range []string{"Bundle/hl7it-1", "Composition/hl7it-comp", "DiagnosticReport/hl7it-dr"} {
		t.Run(hint, func(t *testing.T) {
			w := build(t, fhir.ShapeHL7IT)
			w.atSampleTime()
			w.run(t)
			sample := load(t, "hl7it-document.json")
			sample["meta"].(fse.Resource)["security"] = []any{
				fse.Resource{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"},
			}
			composition, document := theDocument(sample)
			composition["subject"] = fse.Resource{"reference": "Patient/hl7it-pat"} // as a server writes what it stores
			w.fse.Load(sample)
			w.notify(t, fse.R4IDOnly, hint)
			if got := decision(w.record(t, document)); got != "suppress restricted" {
				t.Errorf("got %s, want suppress restricted", got)
			}
			w.recipients(t)
		})
	}
}

// A document of more exams than a page of its server holds, one of them a test for HIV.
func TestAnExamBehindTheFirstPageDecides(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2)
	w.fse.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if query := r.URL.Query(); strings.Contains(query.Get("_id"), "exam-") {
			query.Set("_count", "20") // its most
			r.URL.RawQuery = query.Encode()
		}
		return false
	}
	w.run(t)
	c := told(1, true)[0]
	const exams = 25
	entries := make([]any, 0, exams)
	for i := range exams {
		code := "14957-5"
		if i == 21 {
			code = "20447-9"
		}
		id := fmt.Sprint("exam-", i)
		w.fse.Put(fse.Resource{
			"resourceType": "DiagnosticReport", "id": id, "status": "final",
			"code": fse.Resource{"coding": []any{fse.Resource{"system": "http://loinc.org", "code": code}}},
		})
		entries = append(entries, fse.Resource{"reference": "DiagnosticReport/" + id})
	}
	first(c, "Composition")["section"] = []any{fse.Resource{"section": []any{fse.Resource{"entry": entries}}}}
	document := w.publish(c)
	w.notify(t, fse.R4IDOnly, "Composition/"+c.ID)
	if got := decision(w.record(t, document)); got != "suppress hiv" {
		t.Errorf("got %s, want suppress hiv", got)
	}
	w.recipients(t)
}

// Hidden from its citizen, then shown by a metadata update: it is published then (reference fse.md, 3.4).
func TestHiddenThenShownIsPublished(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2)
	w.atSampleTime()
	w.fse.Now = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("CET", 3600)) }
	w.run(t)
	hints, document := w.loadSample(t, load(t, "fse2-hidden-p98.json"))
	w.notify(t, fse.R4IDOnly, hints...)
	if got := decision(w.record(t, document)); got != "suppress hidden-from-citizen" {
		t.Fatalf("got %s, want suppress hidden-from-citizen", got)
	}
	w.recipients(t)
	reference := w.fse.Get("DocumentReference/fse2-p98-doc")
	context := maps.Clone(reference["context"].(fse.Resource))
	context["event"] = []any{}
	reference["context"] = context
	w.fse.Put(reference)
	w.notify(t, fse.R4IDOnly, "DocumentReference/fse2-p98-doc")
	w.rests(t, document, ledger.Delivered)
	w.recipients(t, "MRNLNE70M71C351Q")
	if subject := w.io.Messages()[0].Subject; strings.HasPrefix(subject, "Errata corrige: ") {
		t.Errorf("the message says %q", subject)
	}
	w.well(t)
}

// A server that refuses includes leads from a report to its document; what a look finds of it leads there from then on.
func TestAServerWithoutIncludes(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2)
	w.fse.Fault = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.ParseForm() != nil || (!r.Form.Has("_revinclude") && !r.Form.Has("_include")) {
			return false
		}
		rw.WriteHeader(http.StatusBadRequest)
		return true
	}
	w.run(t)
	c := told(1, true)[0]
	document := w.publish(c)
	w.notify(t, fse.R4IDOnly, c.Hints[0])
	w.rests(t, document, ledger.Delivered)
	for _, r := range c.Resources {
		if r["resourceType"] == "Patient" {
			continue
		}
		key := w.program.Ledger.FindKey(w.source, fmt.Sprint(r["resourceType"]), fmt.Sprint(r["id"]))
		alias, _, err := w.program.Ledger.Lookup(t.Context(), key)
		if err != nil || len(alias.LedTo) != 1 || alias.LedTo[0] != w.program.Ledger.DocumentKey(w.source, document) {
			t.Errorf("%s leads to %d documents, %v", r["resourceType"], len(alias.LedTo), err)
		}
	}
	w.quiet(t)
	w.recipients(t, c.Code)
	w.well(t)
}
