package policy_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

// A release skips exactly the rule with its reason (reference fse.md, 5.2, last lines).
func TestAReleaseSkipsOneRule(t *testing.T) {
	type change = func(*policy.Question)
	labelled := func(system, label string) change {
		return func(q *policy.Question) { q.Document.Labels = append(q.Document.Labels, code(system, label)...) }
	}
	standing := func(s fhir.Standing) change { return func(q *policy.Question) { q.Document.Standing = s } }
	otherPerson := func(q *policy.Question) { q.Told = policy.Told{Any: true, SameEdition: true} }
	unlabelled := func(q *policy.Question) { q.Source.UnlabelledHold = true }
	nobody := func(q *policy.Question) { q.Document.Person = fhir.Person{Trouble: fhir.NoPatient} }
	for _, tt := range []struct {
		name        string
		released    []string
		changes     []change
		want        policy.Action
		reason      string
		publication string
	}{
		{"6: obscured from the parent", []string{"obscured-from-parent"}, []change{labelled("any", "P97")}, policy.Notify, "", "published"},
		{"7: very restricted", []string{"very-restricted"}, []change{labelled(confidentiality, "V")}, policy.Notify, "", "published"},
		{"7: another reason than the released one", []string{"restricted"}, []change{labelled(confidentiality, "V")}, policy.Hold, "very-restricted", ""},
		{"8: sensitive", []string{"sensitive"}, []change{labelled(actCode, "PSY")}, policy.Notify, "", "published"},
		{"9: genetic", []string{"genetic"}, []change{func(q *policy.Question) { q.Document.Codes = code(loinc, "51969-4") }}, policy.Notify, "", "published"},
		{"10: hiv", []string{"hiv"}, []change{func(q *policy.Question) { q.Document.Codes = code(loinc, "7917-8") }}, policy.Notify, "", "published"},
		{"what else there is to say is asked, not decided", []string{"hiv"}, []change{
			func(q *policy.Question) { q.Document.Codes = code(loinc, "7917-8") }, labelled(actCode, "HIV"),
		}, policy.Hold, "sensitive", ""},
		{"one release after the other", []string{"hiv", "sensitive"}, []change{
			func(q *policy.Question) { q.Document.Codes = code(loinc, "7917-8") }, labelled(actCode, "HIV"),
		}, policy.Notify, "", "published"},
		{"11: too old", []string{"too-old"}, []change{func(q *policy.Question) { q.Document.Date = noon.AddDate(-1, 0, 0) }}, policy.Notify, "", "published"},
		{"13: a record that is not in use", []string{"inactive-patient"}, []change{func(q *policy.Question) { q.Document.Person.Inactive = true }}, policy.Notify, "", "published"},
		{"14: a minor", []string{"minor"}, []change{func(q *policy.Question) { q.Document.Person.Birth = noon.AddDate(-15, 0, 0) }}, policy.Notify, "", "published"},
		{"15c: unlabelled", []string{"unlabelled"}, []change{unlabelled}, policy.Notify, "", "published"},
		{"15d: not visible", []string{"not-visible"}, []change{func(q *policy.Question) { q.Document.Visible = false }}, policy.Notify, "", "published"},
		{"patient-changed: published to the new person", []string{"patient-changed"}, []change{otherPerson}, policy.Notify, "", "published"},
		{"withdrawn: to whom it was announced", []string{"withdrawn"}, []change{told, standing(fhir.Withdrawn)}, policy.Notify, "", "withdrawn"},
		{"withdrawn, and nothing was ever said", []string{"withdrawn"}, []change{standing(fhir.Withdrawn)}, policy.Suppress, "withdrawn", ""},
		{"withdrawn, and it is somebody else's by now", []string{"withdrawn"}, []change{otherPerson, standing(fhir.Withdrawn)}, policy.Hold, "no-recipient", ""},
		{"withdrawn, and its citizen is dead", []string{"withdrawn"}, []change{
			told, standing(fhir.Withdrawn), func(q *policy.Question) { q.Document.Person.Deceased = true },
		}, policy.Hold, "no-recipient", ""},
		{"gone: nobody says whom it concerned", []string{"withdrawn"}, []change{told, nobody, standing(fhir.Gone)}, policy.Hold, "no-recipient", ""},
		{"the withdrawal is told once", []string{"withdrawn"}, []change{
			func(q *policy.Question) { q.Told = policy.Told{Any: true, SamePerson: true, Withdrawn: true} }, standing(fhir.Withdrawn),
		}, policy.Nothing, "", ""},
		{"5: hidden, and nobody said so", []string{"restricted"}, []change{labelled(actCode, "TBOO")}, policy.Hold, policy.HiddenFromCitizen, ""},
		{"5: even hidden", []string{policy.HiddenFromCitizen}, []change{labelled(actCode, "TBOO")}, policy.Notify, "", "published"},
		{"1: test data", []string{"test-data"}, []change{labelled("any", "HTEST")}, policy.Suppress, "test-data", ""},
		{"4: no referto", []string{"not-a-report"}, []change{fse2, func(q *policy.Question) { q.Document.Class = code("", "LDO") }}, policy.Suppress, "not-a-report", ""},
		{"12: no patient", []string{"no-patient"}, []change{nobody}, policy.Hold, "no-patient", ""},
		{"13: dead", []string{"deceased"}, []change{func(q *policy.Question) { q.Document.Person.Deceased = true }}, policy.Suppress, "deceased", ""},
		{"15: no code", []string{"no-fiscal-code"}, []change{func(q *policy.Question) { q.Document.Person = fhir.Person{Trouble: fhir.NoFiscalCode} }}, policy.Unreach, "no-fiscal-code", ""},
		{"15b: two codes", []string{"two-codes"}, []change{func(q *policy.Question) { q.Document.Person = fhir.Person{Trouble: fhir.TwoCodes} }}, policy.Hold, "two-codes", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := ordinary(t)
			q.Released = tt.released
			for _, change := range tt.changes {
				change(&q)
			}
			got := rules(t, "").Decide(q)
			if got.Action != tt.want || got.Reason != tt.reason || (got.Action == policy.Notify && got.Publication != tt.publication) {
				t.Errorf("got %s %s %s, want %s %s %s", got.Action, got.Reason, got.Publication, tt.want, tt.reason, tt.publication)
			}
		})
	}
}

var everyOverridable = []string{
	"obscured-from-parent", "obscured", "very-restricted", "restricted", "sensitive", "genetic", "hiv", "too-old", "inactive-patient",
	"minor", "unlabelled", "not-visible", "withdrawn", "patient-changed",
}

// Whatever was released: nobody uncertain is told, nothing hidden is announced unless it was said in so many words, and no
// test data ever.
func TestNoReleaseSaysYesToEverything(t *testing.T) {
	for _, reason := range everyOverridable {
		if got := policy.ReleaseOf(reason); got != policy.Overrides {
			t.Errorf("%s: %s", reason, got)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		q := ordinary(t)
		q.Released = slices.Clone(everyOverridable)
		q.Source = policy.SourceRules{UnlabelledHold: true, ObscuredSuppress: true}
		q.Document.Standing = rapid.SampledFrom([]fhir.Standing{fhir.Readable, fhir.NotFinal, fhir.Withdrawn, fhir.Missing, fhir.Gone}).Draw(rt, "standing")
		q.Document.Visible = rapid.Bool().Draw(rt, "visible")
		q.Told.Any = rapid.Bool().Draw(rt, "told")
		q.Told.SameEdition, q.Told.SamePerson = rapid.Bool().Draw(rt, "edition"), rapid.Bool().Draw(rt, "person")
		trouble := rapid.SampledFrom([]fhir.PersonTrouble{
			fhir.NoTrouble, fhir.NotAPerson, fhir.NoSubject, fhir.NoPatient, fhir.NoFiscalCode, fhir.InvalidFiscalCode, fhir.TwoCodes, fhir.LinkLoop,
		}).Draw(rt, "trouble")
		if trouble != fhir.NoTrouble {
			q.Document.Person = fhir.Person{Trouble: trouble}
		}
		label := rapid.SampledFrom([]string{"N", "V", "PSY", "TBOO", "P98", "HTEST", "P97"}).Draw(rt, "label")
		q.Document.Labels = code(actCode, label)
		d := rules(t, "").Decide(q)
		if d.Action != policy.Notify {
			return
		}
		hidden := label == "TBOO" || label == "P98"
		switch readable := q.Document.Standing == fhir.Readable; {
		case q.Document.Person.Code == (fiscalcode.Code{}):
			rt.Fatal("a message to nobody certain")
		case label == "HTEST":
			rt.Fatal("a message about test data")
		case readable && hidden:
			rt.Fatal("a message about what is hidden from its citizen")
		case !readable && (d.Publication != "withdrawn" || !q.Told.Any || !q.Told.SamePerson):
			rt.Fatalf("%s about what cannot be read", d.Publication)
		}
	})
}

// io.mode turns a yes into a named silence, and nothing else into anything.
func TestReach(t *testing.T) {
	someone := person(t).Code
	other, err := fiscalcode.Parse("BNCLCU75B68F205U")
	if err != nil {
		t.Fatal(err)
	}
	suppressed := func(q *policy.Question) { q.Document.Codes = code(loinc, "7917-8") }
	for _, tt := range []struct {
		name   string
		reach  policy.Reach
		change func(*policy.Question)
		want   policy.Action
		reason string
	}{
		{"live", policy.Reach{}, nil, policy.Notify, ""},
		{"off", policy.Reach{Off: true}, nil, policy.Suppress, policy.IOOff},
		{"off, and a rule says no anyway", policy.Reach{Off: true}, suppressed, policy.Suppress, "hiv"},
		{"off, and nothing is owed", policy.Reach{Off: true}, told, policy.Nothing, ""},
		{"off, and a person released it: it waits for that person", policy.Reach{Off: true}, func(q *policy.Question) {
			q.Source.UnlabelledHold, q.Released = true, []string{"unlabelled"}
		}, policy.Hold, policy.IOOff},
		{"test, and the citizen is among those allowed", policy.Reach{Only: map[fiscalcode.Code]bool{someone: true}}, nil, policy.Notify, ""},
		{"test, and the citizen is not", policy.Reach{Only: map[fiscalcode.Code]bool{other: true}}, nil, policy.Suppress, policy.NotInTest},
		{"test, and nobody is", policy.Reach{Only: map[fiscalcode.Code]bool{}}, nil, policy.Suppress, policy.NotInTest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := policy.NewRules(policy.Options{MaxAge: 30 * 24 * time.Hour, Reach: tt.reach})
			if err != nil {
				t.Fatal(err)
			}
			q := ordinary(t)
			if tt.change != nil {
				tt.change(&q)
			}
			if got := r.Decide(q); got.Action != tt.want || got.Reason != tt.reason {
				t.Errorf("got %s %s, want %s %s", got.Action, got.Reason, tt.want, tt.reason)
			}
		})
	}
}
