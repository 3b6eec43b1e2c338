package policy_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func rules(tb testing.TB, minors string) *policy.Rules {
	tb.Helper()
	r, err := policy.NewRules(policy.Options{
		MaxAge: 30 * 24 * time.Hour, ReplacementWait: 15 * time.Minute, BelieveMissing: 10 * time.Minute, VisibleWait: 72 * time.Hour, Minors: minors,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func person(tb testing.TB) fhir.Person {
	tb.Helper()
	code, err := fiscalcode.Parse("RSSMRA80A01H501U")
	if err != nil {
		tb.Fatal(err)
	}
	return fhir.Person{Code: code, Birth: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// ordinary is a document that everybody may be told of.
func ordinary(tb testing.TB) policy.Question {
	tb.Helper()
	return policy.Question{
		Document: fhir.Document{Shape: fhir.ShapeReport, Standing: fhir.Readable, Visible: true, Date: noon.Add(-time.Hour), Person: person(tb)},
		Now:      noon,
	}
}

const (
	confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	actCode         = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
	loinc           = "http://loinc.org"
)

func code(system, code string) []fhir.Coding { return []fhir.Coding{{System: system, Code: code}} }

func told(q *policy.Question)    { q.Told = policy.Told{Any: true, SameEdition: true, SamePerson: true} }
func updated(q *policy.Question) { q.Told = policy.Told{Any: true, SamePerson: true} }
func fse2(q *policy.Question) {
	q.Document.Shape, q.Document.Class = fhir.ShapeFSE2, code("", "REF")
}

func TestRules(t *testing.T) {
	type change = func(*policy.Question)
	hiddenBefore := func(q *policy.Question) { q.HiddenAt = noon.AddDate(0, 0, -2) }
	labelled := func(system, label string) change {
		return func(q *policy.Question) { q.Document.Labels = code(system, label) }
	}
	access := func(label string) change {
		return func(q *policy.Question) { fse2(q); q.Document.Access = code("any", label) }
	}
	standing := func(s fhir.Standing) change { return func(q *policy.Question) { q.Document.Standing = s } }
	waiting := func(reason string, d time.Duration) change {
		return func(q *policy.Question) { q.WaitingFor, q.WaitingSince = reason, noon.Add(-d) }
	}
	another := func(q *policy.Question) { q.Told = policy.Told{Any: true, SameEdition: true} }
	unseen := func(q *policy.Question) { q.Document.Visible = false }
	merged := func(q *policy.Question) { q.Document.ReplacedBy = fhir.Locator{Type: "DiagnosticReport", ID: "heir"} }
	trouble := func(p fhir.PersonTrouble) change {
		return func(q *policy.Question) { q.Document.Person = fhir.Person{Trouble: p} }
	}
	born := func(year int, month time.Month, day int) change {
		return func(q *policy.Question) { q.Document.Person.Birth = time.Date(year, month, day, 0, 0, 0, 0, time.UTC) }
	}
	for _, tt := range []struct {
		name    string
		changes []change
		want    policy.Action
		reason  string
	}{
		{"final, nothing told yet: published", nil, policy.Notify, ""},
		{"the same edition again: nothing", []change{told}, policy.Nothing, ""},
		{"another edition: updated", []change{updated}, policy.Notify, ""},
		{"another person than was told: a person decides", []change{another}, policy.Hold, "patient-changed"},
		{"2b: another person, and a minor", []change{another, born(2020, 1, 1)}, policy.Hold, "patient-changed"},
		{"2b: another person, and dead", []change{another, func(q *policy.Question) { q.Document.Person.Deceased = true }}, policy.Hold, "patient-changed"},
		{"2b: a person without a code now", []change{another, trouble(fhir.NoFiscalCode)}, policy.Hold, "patient-changed"},
		{"2b: another person, and hidden by now", []change{another, labelled(confidentiality, "V")}, policy.Hold, "patient-changed"},
		{"2b: nobody knows whom it is about", []change{another, trouble(fhir.TwoCodes)}, policy.Hold, "two-codes"},
		{"1: test data", []change{labelled("http://terminology.hl7.org/CodeSystem/v3-ActReason", "HTEST")}, policy.Suppress, "test-data"},
		{"2: in error before any announcement: silence", []change{standing(fhir.Withdrawn)}, policy.Suppress, "withdrawn"},
		{"2: in error after an announcement: a person decides", []change{standing(fhir.Withdrawn), told}, policy.Hold, "withdrawn"},
		{"2: 404 is asked again", []change{standing(fhir.Missing)}, policy.Wait, "missing"},
		{"2: 404 for ten minutes is believed", []change{standing(fhir.Missing), waiting("missing", 10*time.Minute)}, policy.Suppress, "withdrawn"},
		{"2: 410 is final", []change{standing(fhir.Gone)}, policy.Suppress, "withdrawn"},
		{"2: told and gone waits for its successor", []change{standing(fhir.Gone), told}, policy.Wait, "missing"},
		{"2: told and gone, no successor: a person decides", []change{standing(fhir.Gone), told, waiting("missing", 15*time.Minute)}, policy.Hold, "withdrawn"},
		{"2: hidden and gone waits for its successor", []change{standing(fhir.Gone), hiddenBefore}, policy.Wait, "missing"},
		{"2: hidden and superseded waits for its successor", []change{standing(fhir.Withdrawn), hiddenBefore}, policy.Wait, "missing"},
		{"2: hidden and gone, no successor: silence", []change{standing(fhir.Gone), hiddenBefore, waiting("missing", 15*time.Minute)}, policy.Suppress, "withdrawn"},
		{"2: told and gone in fse2 is only noted", []change{fse2, standing(fhir.Gone), told, waiting("missing", 15*time.Minute)}, policy.Note, "gone"},
		{"2: 404 after another wait is asked again", []change{standing(fhir.Missing), waiting("not-final", 48*time.Hour)}, policy.Wait, "missing"},
		{"2: merged into another report, nothing told: silence", []change{merged}, policy.Suppress, "replaced"},
		{"2: merged into another report, told: waits for it", []change{merged, told}, policy.Wait, "replaced"},
		{"2: merged, and nobody inherited: a person decides", []change{merged, told, waiting("replaced", 15*time.Minute)}, policy.Hold, "withdrawn"},
		{"3: not final waits", []change{standing(fhir.NotFinal)}, policy.Wait, "not-final"},
		{"3: not final until the cut-off", []change{standing(fhir.NotFinal), waiting("not-final", 30*24*time.Hour)}, policy.Suppress, "not-final"},
		{"4: a patient summary", []change{fse2, func(q *policy.Question) { q.Document.Type = code(loinc, "60591-5") }}, policy.Suppress, "not-a-report"},
		{"4: another class", []change{fse2, func(q *policy.Question) { q.Document.Class = code("", "LDO") }}, policy.Suppress, "not-a-report"},
		{"4: no class, but the type of a referto", []change{fse2, func(q *policy.Question) {
			q.Document.Class, q.Document.Type = nil, code("urn:oid:2.16.840.1.113883.6.1", "11502-2")
		}}, policy.Notify, ""},
		{"4: neither class nor type", []change{fse2, func(q *policy.Question) { q.Document.Class = nil }}, policy.Suppress, "not-a-report"},
		{"5: hidden from the patient", []change{access("P98")}, policy.Suppress, policy.HiddenFromCitizen},
		{"5: not before a doctor", []change{labelled(actCode, "TBOO")}, policy.Suppress, policy.HiddenFromCitizen},
		{"6: obscured from the parent", []change{access("P97")}, policy.Suppress, "obscured-from-parent"},
		{"6: obscured from staff: the citizen sees it", []change{access("P99")}, policy.Notify, ""},
		{"6: obscured from staff, and the source wants silence", []change{access("P99"), func(q *policy.Question) { q.Source.ObscuredSuppress = true }}, policy.Suppress, "obscured"},
		{"7: very restricted", []change{labelled(confidentiality, "V")}, policy.Suppress, "very-restricted"},
		{"7: restricted", []change{labelled(confidentiality, "R")}, policy.Suppress, "restricted"},
		{"8: a sensitivity label", []change{labelled(actCode, "PSY")}, policy.Suppress, "sensitive"},
		{"9: genetics by category", []change{func(q *policy.Question) {
			q.Document.Categories = code("http://terminology.hl7.org/CodeSystem/v2-0074", "GE")
		}}, policy.Suppress, "genetic"},
		{"9: a local GE may be geriatrics", []change{func(q *policy.Question) { q.Document.Categories = code("urn:local", "GE") }}, policy.Notify, ""},
		{"10: HIV by code", []change{func(q *policy.Question) { q.Document.Codes = code(loinc, "20447-9") }}, policy.Suppress, "hiv"},
		{"11: too old", []change{func(q *policy.Question) { q.Document.Date = noon.Add(-31 * 24 * time.Hour) }}, policy.Suppress, "too-old"},
		{"11: too old when we heard of it", []change{func(q *policy.Question) {
			q.Document.Date, q.HeardAt = noon.Add(-40*24*time.Hour), noon.Add(-time.Hour)
		}}, policy.Suppress, "too-old"},
		{"11: old by now, and it waited for us", []change{func(q *policy.Question) {
			q.Document.Date, q.HeardAt = noon.Add(-40*24*time.Hour), noon.Add(-35*24*time.Hour)
		}}, policy.Notify, ""},
		{"11: shown again lately", []change{func(q *policy.Question) {
			q.Document.Date, q.HiddenAt, q.HeardAt = noon.AddDate(-1, 0, 0), noon.AddDate(0, 0, -2), noon.AddDate(0, 0, -1)
		}}, policy.Notify, ""},
		{"11: it waits for the daily cap, whatever was hinted since", []change{func(q *policy.Question) {
			q.Document.Date, q.WaitingFor, q.WaitingSince = noon.AddDate(0, 0, -40), policy.DailyCap, noon.AddDate(0, 0, -39)
		}}, policy.Notify, ""},
		{"11: old, but hidden until yesterday", []change{func(q *policy.Question) {
			q.Document.Date, q.HiddenAt = noon.Add(-90*24*time.Hour), noon.Add(-24*time.Hour)
		}}, policy.Notify, ""},
		{"11: an update of an old one", []change{updated, func(q *policy.Question) { q.Document.Date = noon.Add(-90 * 24 * time.Hour) }}, policy.Notify, ""},
		{"12: a group", []change{trouble(fhir.NotAPerson)}, policy.Hold, "not-a-person"},
		{"12: nobody", []change{trouble(fhir.NoSubject)}, policy.Hold, "no-subject"},
		{"12: a patient that is gone", []change{trouble(fhir.NoPatient)}, policy.Hold, "no-patient"},
		{"12: a patient that may not be written yet", []change{func(q *policy.Question) {
			q.Document.Person = fhir.Person{Trouble: fhir.NoPatient, Missing: true}
		}}, policy.Wait, "no-patient"},
		{"13: dead", []change{func(q *policy.Question) { q.Document.Person.Deceased = true }}, policy.Suppress, "deceased"},
		{"13: a record that is not in use", []change{func(q *policy.Question) { q.Document.Person.Inactive = true }}, policy.Hold, "inactive-patient"},
		{"14: eighteen tomorrow", []change{born(2008, 11, 24)}, policy.Suppress, "minor"},
		{"14: eighteen today", []change{born(2008, 11, 23)}, policy.Notify, ""},
		{"14: a newborn without a code", []change{trouble(fhir.NoFiscalCode), born(2026, 11, 21)}, policy.Suppress, "minor"},
		{"15: no code", []change{trouble(fhir.NoFiscalCode)}, policy.Unreach, "no-fiscal-code"},
		{"15b: an invalid code", []change{trouble(fhir.InvalidFiscalCode)}, policy.Hold, "invalid-fiscal-code"},
		{"15b: two codes", []change{trouble(fhir.TwoCodes)}, policy.Hold, "two-codes"},
		{"15b: a merge loop", []change{trouble(fhir.LinkLoop)}, policy.Hold, "link-loop"},
		{"15d: not visible to its citizen yet", []change{unseen}, policy.Wait, "not-visible"},
		{"15d: not visible for days", []change{unseen, waiting("not-visible", 72*time.Hour)}, policy.Hold, "not-visible"},
		{"15d: an update that is not visible yet", []change{unseen, updated}, policy.Wait, "not-visible"},
		{"15d: told, and not visible any more: nothing", []change{unseen, told}, policy.Nothing, ""},
		{"15c: unlabelled, and the source holds such", []change{func(q *policy.Question) { q.Source.UnlabelledHold = true }}, policy.Hold, "unlabelled"},
		{"15c: labelled N", []change{labelled(confidentiality, "N"), func(q *policy.Question) { q.Source.UnlabelledHold = true }}, policy.Notify, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := ordinary(t)
			for _, change := range tt.changes {
				change(&q)
			}
			got := rules(t, "").Decide(q)
			if got.Action != tt.want || got.Reason != tt.reason {
				t.Errorf("got %s %s (rule %s), want %s %s", got.Action, got.Reason, got.Rule, tt.want, tt.reason)
			}
			if (got.Action == policy.Wait) != got.Until.After(noon) {
				t.Errorf("%s until %s", got.Action, got.Until)
			}
		})
	}
}

func TestMinors(t *testing.T) {
	for _, tt := range []struct {
		minors string
		age    int
		want   policy.Action
	}{
		{"suppress", 17, policy.Suppress},
		{"suppress", 18, policy.Notify},
		{"14", 13, policy.Suppress},
		{"14", 14, policy.Notify},
		{"17", 16, policy.Suppress},
		{"notify", 2, policy.Notify},
	} {
		q := ordinary(t)
		q.Document.Person.Birth = noon.AddDate(-tt.age, 0, -1)
		if got := rules(t, tt.minors).Decide(q); got.Action != tt.want {
			t.Errorf("minors %s, %d years old: %s, want %s", tt.minors, tt.age, got.Action, tt.want)
		}
	}
	if _, err := policy.NewRules(policy.Options{Minors: "12"}); err == nil {
		t.Error("minors: 12 is accepted")
	}
}

// Adding any label but N, a P-code, a sensitive category or a listed code never turns silence into a message.
func TestALabelNeverMakesUsSpeak(t *testing.T) {
	labels := rapid.SampledFrom([]string{"R", "V", "T", "D", "HIV", "PSY", "TBOO", "NOPAT", "HTEST", "P97", "P98", "P99", "SUD"})
	rapid.Check(t, func(rt *rapid.T) {
		q := ordinary(t)
		if rapid.Bool().Draw(rt, "composition") {
			fse2(&q)
		}
		q.Source.ObscuredSuppress = rapid.Bool().Draw(rt, "obscured")
		q.Source.UnlabelledHold = rapid.Bool().Draw(rt, "unlabelled")
		q.Document.Standing = rapid.SampledFrom([]fhir.Standing{fhir.Readable, fhir.NotFinal, fhir.Withdrawn, fhir.Missing, fhir.Gone}).Draw(rt, "standing")
		q.Document.Person.Trouble = rapid.SampledFrom([]fhir.PersonTrouble{fhir.NoTrouble, fhir.NoTrouble, fhir.TwoCodes, fhir.NoFiscalCode}).Draw(rt, "trouble")
		q.Told.Any = rapid.Bool().Draw(rt, "told")
		q.Told.SameEdition, q.Told.SamePerson = rapid.Bool().Draw(rt, "edition"), rapid.Bool().Draw(rt, "person")
		if rapid.Bool().Draw(rt, "labelled") {
			q.Document.Labels = code(confidentiality, "N")
		}
		before := rules(t, "").Decide(q)
		if before.Action == policy.Notify && (q.Document.Person.Trouble != fhir.NoTrouble || q.Document.Standing != fhir.Readable) {
			rt.Fatal("a message about a document that is not readable, or to nobody certain")
		}
		if before.Action == policy.Notify && q.Told.Any && (q.Told.SameEdition || !q.Told.SamePerson) {
			rt.Fatal("the same edition twice, or another person")
		}
		label := fhir.Coding{System: actCode, Code: labels.Draw(rt, "label")}
		if q.Document.Labels = append(q.Document.Labels, label); label.Code[0] == 'P' && label.Code != "PSY" {
			q.Document.Access = append(q.Document.Access, label)
		}
		switch rapid.IntRange(0, 3).Draw(rt, "more") {
		case 1:
			q.Document.Categories = code("http://terminology.hl7.org/CodeSystem/v2-0074", rapid.SampledFrom([]string{"GE", "CG"}).Draw(rt, "category"))
		case 2:
			q.Document.Codes = code(loinc, rapid.SampledFrom([]string{"20447-9", "51969-4", "29770-5", "7917-8"}).Draw(rt, "code"))
		case 3:
			q.Document.Type = code(loinc, "60591-5")
		}
		after := rules(t, "").Decide(q)
		if before.Action != policy.Notify && after.Action == policy.Notify {
			rt.Fatalf("label %s turned %s %s into a message", label.Code, before.Action, before.Reason)
		}
		if after.Action != policy.Notify && after.Action != policy.Nothing && after.Reason == "" {
			rt.Fatalf("%s without a reason", after.Action)
		}
	})
}

func TestEveryRuleHasItsGround(t *testing.T) {
	for _, rule := range policy.Table {
		if rule.Number == "" || rule.If == "" || rule.Ground == "" {
			t.Errorf("rule %q: if %q, ground %q", rule.Number, rule.If, rule.Ground)
		}
	}
}
