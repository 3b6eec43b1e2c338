package policy_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

func TestWhatIsShownOfAToldDocument(t *testing.T) {
	type change = func(*policy.Question)
	labelled := func(system, label string) change {
		return func(q *policy.Question) { q.Document.Labels = code(system, label) }
	}
	standing := func(s fhir.Standing) change { return func(q *policy.Question) { q.Document.Standing = s } }
	for _, tt := range []struct {
		name   string
		change change
		why    string // "" is shown
	}{
		{"as it was told", func(*policy.Question) {}, ""},
		{"another edition of it", updated, ""},
		{"older than any announcement may be", func(q *policy.Question) { q.Document.Date = noon.AddDate(-3, 0, 0) }, ""},
		{"not labelled, but the same edition was released", func(q *policy.Question) { q.Source.UnlabelledHold = true }, ""},
		{"not labelled, and another edition", func(q *policy.Question) { updated(q); q.Source.UnlabelledHold = true }, "unlabelled"},
		{"back to work", standing(fhir.NotFinal), "not-final"},
		{"withdrawn", standing(fhir.Withdrawn), "withdrawn"},
		{"gone", standing(fhir.Gone), "gone"},
		{"not found", standing(fhir.Missing), "missing"},
		{"gone, in a source that cannot tell removed from obscured", func(q *policy.Question) { fse2(q); standing(fhir.Gone)(q) }, "gone"},
		{"merged into another one", func(q *policy.Question) { q.Document.ReplacedBy = fhir.Locator{Type: "DiagnosticReport", ID: "heir"} }, "replaced"},
		{"not visible now", func(q *policy.Question) { q.Document.Visible = false }, "not-visible"},
		{"hidden from the citizen", func(q *policy.Question) { fse2(q); q.Document.Access = code("any", "P98") }, policy.HiddenFromCitizen},
		{"very restricted by now", labelled(confidentiality, "V"), "very-restricted"},
		{"sensitive by now", labelled(actCode, "PSY"), "sensitive"},
		{"of another person", func(q *policy.Question) { q.Told.SamePerson = false }, "patient-changed"},
		{"of another person, whom somebody wanted to be told", func(q *policy.Question) {
			q.Told.SamePerson, q.Released = false, []string{"patient-changed"}
		}, "patient-changed"},
		{"sensitive, and released by a person", func(q *policy.Question) {
			labelled(actCode, "PSY")(q)
			q.Released = []string{"sensitive"}
		}, ""},
		{"of nobody", func(q *policy.Question) { q.Document.Person = fhir.Person{Trouble: fhir.NoSubject} }, "no-subject"},
		{"of a person who has died", func(q *policy.Question) { q.Document.Person.Deceased = true }, "deceased"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := ordinary(t)
			told(&q)
			tt.change(&q)
			if shown, why := rules(t, "").Shows(q); shown != (tt.why == "") || why != tt.why {
				t.Errorf("shown %t (%s), want %q", shown, why, tt.why)
			}
		})
	}
}

// io.mode is about what is sent: who was told before it was changed goes on reading.
func TestWhatWasToldIsShownWhateverMayBeSent(t *testing.T) {
	for name, reach := range map[string]policy.Reach{"off": {Off: true}, "test, of others": {Only: map[fiscalcode.Code]bool{}}} {
		q := ordinary(t)
		told(&q)
		updated(&q)
		o := policy.Options{MaxAge: 30 * 24 * time.Hour, Minors: "suppress", Reach: reach}
		r, err := policy.NewRules(o)
		if err != nil {
			t.Fatal(err)
		}
		if d := r.Decide(q); d.Action != policy.Suppress {
			t.Errorf("%s: an update is announced (%s)", name, d.Action)
		}
		if shown, why := r.Shows(q); !shown {
			t.Errorf("%s: not shown (%s)", name, why)
		}
	}
}

// What could not be announced today is not shown today, and nothing is shown to another person than was told.
func TestNothingIsShownThatCouldNotBeTold(t *testing.T) {
	r := rules(t, "")
	labels := rapid.SliceOfN(rapid.SampledFrom([]string{"N", "R", "V", "PSY", "HIV", "TBOO", "P97", "P98", "P99", "HTEST"}), 0, 3)
	rapid.Check(t, func(rt *rapid.T) {
		q := ordinary(t)
		q.Document.Standing = rapid.SampledFrom([]fhir.Standing{fhir.Readable, fhir.NotFinal, fhir.Withdrawn, fhir.Missing, fhir.Gone}).Draw(rt, "standing")
		q.Document.Visible = rapid.Bool().Draw(rt, "visible")
		for _, label := range labels.Draw(rt, "labels") {
			q.Document.Labels = append(q.Document.Labels, fhir.Coding{System: confidentiality, Code: label})
		}
		q.Document.Date = noon.Add(-time.Hour)
		first := r.Decide(q)
		told(&q)
		q.Told.SamePerson = rapid.Bool().Draw(rt, "same person")
		shown, why := r.Shows(q)
		if shown && (first.Action != policy.Notify || !q.Told.SamePerson) {
			rt.Fatalf("shown, though a first announcement is %s %s", first.Action, first.Reason)
		}
		if shown == (why != "") {
			rt.Fatalf("shown %t, because of %q", shown, why)
		}
	})
}

func TestKindOf(t *testing.T) {
	const v2 = "http://terminology.hl7.org/CodeSystem/v2-0074"
	for _, tt := range []struct {
		name           string
		kind, category []fhir.Coding
		want           string
	}{
		{"by type, whatever its system is spelled like", code("urn:oid:2.16.840.1.113883.6.1", "68604-8"), nil, "radiology"},
		{"by category, where the type is the exam", code(loinc, "14957-5"), code(v2, "LAB"), "laboratory"},
		{"by a type that stands as category", code(loinc, "14957-5"), code(loinc, "11526-1"), "pathology"},
		{"a category of another system says nothing", nil, code("https://ente.example/sezioni", "RAD"), "report"},
		{"nothing is known", nil, nil, "report"},
	} {
		if got := policy.KindOf(fhir.Document{Type: tt.kind, Categories: tt.category}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
