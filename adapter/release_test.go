package adapter_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/desk"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// published keeps one ordinary report at the FSE after a change, and notifies of it.
func (w *town) published(t *testing.T, change func(report, patient fse.Resource)) (fhir.Locator, fse.Case) {
	t.Helper()
	c := told(1, false)[0]
	if change != nil {
		change(c.Resources[1], c.Resources[0])
	}
	l := w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	return l, c
}

func (w *town) release(t *testing.T, l fhir.Locator, o desk.Order) error {
	t.Helper()
	_, err := w.reports(t, func(r *adapter.Reports) error { return r.Release(t.Context(), w.at(l), o) })
	return err
}

func refusedToDo(err error) bool {
	_, is := errors.AsType[*desk.Refusal](err)
	return is
}

// What a person releases has its effect: exactly one rule is skipped, and the journal says who did it and why.
func TestAReleaseHasItsEffect(t *testing.T) {
	t.Parallel()
	label := func(code string) func(report, patient fse.Resource) {
		return func(report, _ fse.Resource) {
			report["meta"] = fse.Resource{"security": []any{fse.Resource{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code}}}
		}
	}
	year := time.Now().AddDate(-1, 0, 0).Format(time.RFC3339)
	for _, tt := range []struct {
		name    string
		publish func(report, patient fse.Resource)
		before  string
	}{
		{"unlabelled", nil, "hold unlabelled"},
		{"hiv", func(report, _ fse.Resource) {
			report["code"] = fse.Resource{"coding": []any{fse.Resource{"system": "http://loinc.org", "code": "20447-9"}}}
		}, "suppress hiv"},
		{"too old", func(report, _ fse.Resource) { report["issued"], report["effectiveDateTime"] = year, year }, "suppress too-old"},
		{"minor", func(_, patient fse.Resource) {
			patient["birthDate"] = time.Now().AddDate(-16, 0, 0).Format(time.DateOnly)
		}, "suppress minor"},
		{"inactive", func(_, patient fse.Resource) { patient["active"] = false }, "hold inactive-patient"},
		{"restricted", func(report, _ fse.Resource) {
			report["meta"] = fse.Resource{"security": []any{fse.Resource{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}}}
		}, "suppress restricted"},
		{"sensitive", label("PSY"), "suppress sensitive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.Sources[0].Unlabelled = "hold" })
			w.run(t)
			l, c := w.published(t, tt.publish)
			w.become(t, l, tt.before)
			for steps := 0; len(w.io.Messages()) == 0; steps++ {
				rec := eventually(t, func() (ledger.Record, bool) { rec := w.record(t, l); return rec, decision(rec) != "notify" })
				if err := w.release(t, l, why("the ward has said yes")); err != nil || steps > 2 {
					t.Fatalf("%s after %d releases: %v", decision(rec), steps, err)
				}
				eventually(t, func() (string, bool) { // told, or the next thing to be said against it
					now := w.record(t, l)
					return now.Reason, now.State == ledger.Delivered || (now.State == ledger.Held && now.Reason != rec.Reason)
				})
			}
			w.become(t, l, "notify")
			w.recipients(t, c.Code)
			out, err := w.reports(t, func(r *adapter.Reports) error { return r.Show(t.Context(), w.at(l)) })
			if err != nil || !strings.Contains(out, "by giulia: the ward has said yes") || !strings.Contains(out, "told           published at ") {
				t.Errorf("%v, %s", err, out)
			}
			if strings.Contains(out, c.Code) || strings.Contains(out, c.ID) {
				t.Error("it shows whom or what it is about")
			}
			w.well(t)
		})
	}
}

// Some things no release says yes to, and what is hidden from its citizen only in so many words.
func TestWhatNoReleaseSaysYesTo(t *testing.T) {
	t.Parallel()
	security := func(codes ...string) []any {
		all := make([]any, 0, len(codes))
		for _, code := range codes {
			all = append(all, fse.Resource{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code})
		}
		return all
	}
	w := build(t, fhir.ShapeReport)
	w.run(t)
	cases := told(4, false)
	testData, twoCodes, hidden, ordinary := cases[0], cases[1], cases[2], cases[3]
	testData.Resources[1]["meta"] = fse.Resource{"security": security("HTEST")}
	twoCodes.Resources[0]["identifier"] = append(twoCodes.Resources[0]["identifier"].([]any),
		fse.Resource{"system": "http://hl7.it/sid/codiceFiscale", "value": fse.CodeOf(4242, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC))})
	hidden.Resources[1]["meta"] = fse.Resource{"security": security("TBOO")}
	for i, want := range []string{"suppress test-data", "hold two-codes", "suppress hidden-from-citizen", "notify"} {
		l := w.publish(cases[i])
		w.notify(t, fse.ClassicPut, cases[i].Hints...)
		w.become(t, l, want)
	}
	w.quiet(t)
	for _, c := range []fse.Case{testData, twoCodes, hidden, ordinary} {
		if err := w.release(t, identityOf(c), why("a try")); !refusedToDo(err) {
			t.Errorf("%s is released: %v", c.ID, err)
		}
	}
	if err := w.release(t, identityOf(hidden), why("of "+ordinary.Code)); !refusedToDo(err) || strings.Contains(err.Error(), ordinary.Code) {
		t.Errorf("the journal would hold a codice fiscale: %v", err)
	}
	if err := w.release(t, identityOf(hidden), desk.Order{EvenHidden: true}); !refusedToDo(err) {
		t.Errorf("nobody says why: %v", err)
	}
	if err := w.release(t, fhir.Locator{Type: "DiagnosticReport", ID: "never-seen"}, why("a try")); !errors.Is(err, desk.ErrUnknown) {
		t.Errorf("what nobody knows is released: %v", err)
	}
	order := why("the doctor has spoken")
	order.EvenHidden = true
	if err := w.release(t, identityOf(hidden), order); err != nil {
		t.Fatal(err)
	}
	w.become(t, identityOf(hidden), "notify")
	w.recipients(t, ordinary.Code, hidden.Code)
	// What is wrong is put right at the source, and looked at again.
	twoCodes.Resources[0]["identifier"] = twoCodes.Resources[0]["identifier"].([]any)[:1]
	w.fse.Put(twoCodes.Resources[0])
	if _, err := w.reports(t, func(r *adapter.Reports) error {
		return r.Retry(t.Context(), w.at(identityOf(twoCodes)), why("corrected"))
	}); err != nil {
		t.Fatal(err)
	}
	w.become(t, identityOf(twoCodes), "notify")
	w.well(t)
}

// A release is for the edition that the person looked at.
func TestAReleaseIsForOneEdition(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.Sources[0].Unlabelled = "hold" })
	w.run(t)
	l, c := w.published(t, nil)
	w.become(t, l, "hold unlabelled")
	report := w.fse.Get(c.Hints[0])
	report["status"] = "amended"
	w.fse.Put(report)
	w.notify(t, fse.ClassicPut, c.Hints...)
	for n := 1; n <= 2; n++ {
		if err := w.release(t, l, why("seen")); err != nil {
			t.Fatal(err)
		}
		if n == 1 { // held again: nobody has looked at the amended one
			eventually(t, func() (string, bool) {
				rec := w.record(t, l)
				return rec.Reason, rec.State == ledger.Held && len(rec.Released) == 0
			})
		}
	}
	w.become(t, l, "notify")
	w.recipients(t, c.Code)
	w.well(t)
}

// A withdrawal is told when a person says so, once, to whom the document was announced.
func TestAWithdrawalIsToldWhenAPersonSaysSo(t *testing.T) {
	t.Parallel()
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeHL7IT} {
		t.Run(string(shape), func(t *testing.T) {
			w := build(t, shape)
			w.run(t)
			c := told(1, shape.OfCompositions())[0]
			l := w.publish(c)
			w.notify(t, fse.ClassicPut, c.Hints...)
			w.become(t, l, "notify")
			w.quiet(t)
			document := w.fse.Get(l.Type + "/" + l.ID)
			document["status"] = "entered-in-error"
			w.fse.Put(document)
			w.notify(t, fse.ClassicPut, l.Type+"/"+l.ID)
			w.become(t, l, "hold withdrawn")
			if n := len(w.io.Messages()); n != 1 {
				t.Fatalf("%d messages before anybody said so", n)
			}
			if err := w.release(t, l, why("the ward asks for it")); err != nil {
				t.Fatal(err)
			}
			rec := eventually(t, func() (ledger.Record, bool) {
				rec := w.record(t, l)
				return rec, rec.State == ledger.Delivered && rec.Told.Publication == ledger.WithdrawnPub
			})
			w.notify(t, fse.ClassicPost, l.Type+"/"+l.ID)
			w.quiet(t)
			w.recipients(t, c.Code, c.Code)
			if subject := w.io.Messages()[1].Subject; !strings.HasPrefix(subject, "Errata corrige: ") || rec.Told.MessageID != w.io.Messages()[1].ID {
				t.Errorf("the second message says %q", subject)
			}
			w.well(t)
		})
	}
}

// Nobody else than the person told hears of a withdrawal; and a new person is told of a document only when somebody says so.
func TestWhomAReleaseTells(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeReport)
	w.run(t)
	birth := time.Date(1970, 3, 3, 0, 0, 0, 0, time.UTC)
	other := fse.CodeOf(4242, birth)
	w.fse.Put(fse.Patient("somebody", other, birth))
	l, c := w.published(t, nil)
	w.become(t, l, "notify")
	w.quiet(t)
	report := w.fse.Get(c.Hints[0])
	report["subject"], report["status"] = fse.Resource{"reference": "Patient/somebody"}, "corrected"
	w.fse.Put(report)
	w.notify(t, fse.ClassicPut, c.Hints...)
	w.become(t, l, "hold patient-changed")
	if err := w.release(t, l, why("it is hers")); err != nil {
		t.Fatal(err)
	}
	w.become(t, l, "notify")
	w.quiet(t)
	w.recipients(t, c.Code, other)
	if subject := w.io.Messages()[1].Subject; strings.HasPrefix(subject, "Errata") {
		t.Errorf("to the new person it is no correction: %q", subject)
	}
	report["subject"], report["status"] = fse.Resource{"reference": "Patient/" + fmt.Sprint(c.Resources[0]["id"])}, "entered-in-error"
	w.fse.Put(report)
	w.notify(t, fse.ClassicPut, c.Hints...)
	w.become(t, l, "hold withdrawn")
	if err := w.release(t, l, why("it was an error")); err != nil {
		t.Fatal(err)
	}
	w.become(t, l, "hold no-recipient")
	w.recipients(t, c.Code, other)
	out, err := w.reports(t, func(r *adapter.Reports) error { return r.Forget(t.Context(), w.at(l), why("told by telephone")) })
	if err != nil || !strings.Contains(out, "forgotten: nobody is told, was held no-recipient") {
		t.Errorf("%q, %v", out, err)
	}
	if rec := w.record(t, l); rec.State != ledger.Delivered || rec.Reason != "forgotten" || rec.Told.Publication != ledger.Published {
		t.Errorf("%s %s, told %q: what was told stays told", rec.State, rec.Reason, rec.Told.Publication)
	}
	w.quiet(t)
	w.well(t)
}

// A document of several resources is released by any name that it has.
func TestADocumentIsReleasedByAnyOfItsNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		of   func(fse.Case) string
	}{
		{"a report of it", func(c fse.Case) string { return c.Hints[0] }},
		{"its Composition", func(c fse.Case) string { return "Composition/" + c.ID }},
		{"its identifier", func(c fse.Case) string { return c.System + "|" + c.Value }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, fhir.ShapeFSE2)
			w.run(t)
			c := told(1, true)[0]
			for _, r := range c.Resources {
				if r["resourceType"] == "Composition" {
					r["confidentiality"] = "V"
				}
			}
			l := w.publish(c)
			w.notify(t, fse.R4IDOnly, c.Hints...)
			w.become(t, l, "suppress very-restricted")
			w.quiet(t)
			_, err := w.reports(t, func(r *adapter.Reports) error {
				return r.Release(t.Context(), desk.Name{Source: w.source, Resource: tt.of(c)}, why("she asked for it"))
			})
			if err != nil {
				t.Fatal(err)
			}
			w.become(t, l, "notify")
			w.recipients(t, c.Code)
			w.well(t)
		})
	}
}

// A citizen asks whether they were told: each of their documents is looked up, and nothing that is shown is personal.
func TestReconcile(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	cases := told(2, false)
	c, other := cases[0], cases[1]
	w.publish(other)
	w.publish(c)
	old := maps.Clone(c.Resources[1])
	old["id"], old["issued"], old["effectiveDateTime"] = "old", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
	never := maps.Clone(c.Resources[1])
	never["id"], never["issued"] = "never-notified", "2026-01-01T00:00:00Z"
	w.fse.Put(old)
	w.fse.Put(never)
	w.run(t)
	w.connected(t) // what was there before is looked at when it is posted, and not by itself
	w.notify(t, fse.R4IDOnly, c.Hints[0], other.Hints[0], "DiagnosticReport/old")
	w.become(t, identityOf(c), "notify")
	w.become(t, fhir.Locator{Type: "DiagnosticReport", ID: "old"}, "suppress too-old")
	for _, who := range []string{c.Code, fmt.Sprint(c.Resources[0]["id"])} {
		all := true
		out, err := w.reports(t, func(r *adapter.Reports) (err error) {
			all, err = r.Reconcile(t.Context(), w.source, who)
			return err
		})
		if err != nil || all {
			t.Fatalf("all are known: %t, %v", all, err)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 4 || lines[0] != "citizen ***: 3 documents at fonte" {
			t.Fatalf("%s", out)
		}
		for i, want := range []string{"not told, suppressed too-old", "not known", "told published at "} {
			if !strings.Contains(lines[1+i], want) {
				t.Errorf("%q does not say %q", lines[1+i], want)
			}
		}
		for _, private := range []string{c.Code, c.ID, "Patient/"} {
			if strings.Contains(out, private) {
				t.Error("it shows something personal")
			}
		}
	}
	if _, err := w.reports(t, func(r *adapter.Reports) error {
		_, err := r.Reconcile(t.Context(), w.source, other.Code[:15]+"?")
		return err
	}); err == nil || strings.Contains(err.Error(), other.Code[:6]) {
		t.Errorf("what is neither a code nor an id: %v", err)
	}
}

// family makes n reports of one citizen.
func family(w *town, n int) (c fse.Case, hints []string) {
	c = told(1, false)[0]
	w.publish(c)
	for i := range n {
		hints = append(hints, w.another(c, i))
	}
	return c, hints
}

// another is one more document of the citizen, published now: a sweep may find it before its notification.
func (w *town) another(c fse.Case, i int) (hint string) {
	report := maps.Clone(c.Resources[1])
	report["id"] = fmt.Sprint("sibling-", i)
	w.fse.Put(report)
	return fmt.Sprint("DiagnosticReport/sibling-", i)
}

// Several documents of one citizen are one message where the rule says so: the first one's covers the others, whichever of
// three replicas works on them. Corrections have a message of their own.
func TestSeveralDocumentsAreOneMessage(t *testing.T) {
	t.Parallel()
	const n = 20
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.Policy.OneMessage = config.Duration(time.Hour) })
	for range 3 {
		w.run(t)
	}
	c, hints := family(w, n)
	w.notify(t, fse.R4IDOnly, hints...)
	covered := 0
	for i := range n {
		l := fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("sibling-", i)}
		rec := w.become(t, l, "notify")
		if rec.Told.MessageID != w.io.Messages()[0].ID || rec.Told.Publication != ledger.Published {
			t.Errorf("told %s by another message", rec.Told.Publication)
		}
		timeline, err := w.program.Ledger.Timeline(t.Context(), rec.Key)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range timeline {
			if e.Event == "covered" {
				covered++
			}
		}
	}
	w.quiet(t)
	w.recipients(t, c.Code)
	if covered != n-1 {
		t.Errorf("%d are journaled as covered, want %d", covered, n-1)
	}
	report := w.fse.Get(hints[n-1])
	report["status"] = "amended"
	w.fse.Put(report)
	w.notify(t, fse.R4IDOnly, hints[n-1])
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n == 2 })
	w.quiet(t)
	w.recipients(t, c.Code, c.Code)
	w.well(t)
}

// A first message that comes to nothing holds nobody back.
func TestAFailedFirstReleasesTheOthers(t *testing.T) {
	t.Parallel()
	var failed atomic.Bool
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.Policy.OneMessage = config.Duration(time.Hour)
		o.Fault = func(rw http.ResponseWriter, r *http.Request, taken bool) bool {
			if taken || !strings.HasSuffix(r.URL.Path, "/messages") || failed.Swap(true) {
				return false
			}
			rw.WriteHeader(http.StatusBadRequest)
			return true
		}
	})
	w.run(t)
	c, hints := family(w, 6)
	w.notify(t, fse.R4IDOnly, hints...)
	refused := 0
	for i := range hints {
		rec := eventually(t, func() (ledger.Record, bool) {
			rec := w.record(t, fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("sibling-", i)})
			return rec, rec.State == ledger.Delivered || rec.State == ledger.Held
		})
		if rec.Reason == "refused-by-io" {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d are held, want the one whose message IO refused", refused)
	}
	w.recipients(t, c.Code)
	w.well(t)
}
