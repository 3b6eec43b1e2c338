package sandbox

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Case is one synthetic document: its resources, and what must become of it under the default rules.
type Case struct {
	Name      string     // what it is an example of
	Resources []Resource // in the order in which they are written
	Hints     []string   // Type/id: of what the server notifies, once per publication each
	// Key is the identity of the document: Type/id, or system|value of the Composition's identifier.
	Type, ID, System, Value string
	Code                    string // of the person, "" where nobody can be told
	Outcome                 string // told, suppressed, unreachable, held, waiting
	Reason                  string // "" for told
}

// kind is a kind of document and how often it turns up, in a thousand.
type kind struct {
	name    string
	often   int
	outcome string
	reason  string
	make    func(*Case, *person)
}

// person is the patient of one case.
type person struct {
	n     int
	birth time.Time
	code  string
	Resource
}

// Codes by which the IO sandbox knows whom it cannot reach: their names begin so.
const (
	NotOnIO    = "not on IO"
	NotAllowed = "service switched off"
)

// reportKinds are the documents of a source of shape report.
var reportKinds = []kind{
	{"ordinary laboratory report", 700, "told", "", nil},
	{NotOnIO, 60, "unreachable", "not-on-io", nil},
	{NotAllowed, 30, "unreachable", "not-allowed", nil},
	{"HIV test, by its code", 20, "suppressed", "hiv", func(c *Case, _ *person) {
		c.report()["code"] = concept("http://loinc.org", "20447-9")
	}},
	{"psychiatry, by its label", 20, "suppressed", "sensitive", func(c *Case, _ *person) {
		c.report()["meta"] = Resource{"security": []any{coding("http://terminology.hl7.org/CodeSystem/v3-ActCode", "PSY")}}
	}},
	{"genetic analysis", 20, "suppressed", "genetic", func(c *Case, _ *person) {
		c.report()["category"] = []any{concept("http://terminology.hl7.org/CodeSystem/v2-0074", "GE")}
	}},
	{"preliminary", 20, "waiting", "not-final", func(c *Case, _ *person) { c.report()["status"] = "preliminary" }},
	{"entered in error", 20, "suppressed", "withdrawn", func(c *Case, _ *person) { c.report()["status"] = "entered-in-error" }},
	{"of a child", 30, "suppressed", "minor", func(_ *Case, p *person) { p.Resource["birthDate"] = time.Now().AddDate(-9, 0, 0).Format(time.DateOnly) }},
	{"of somebody who died", 20, "suppressed", "deceased", func(_ *Case, p *person) { p.Resource["deceasedBoolean"] = true }},
	{"of a foreigner with an STP code", 20, "unreachable", "no-fiscal-code", func(c *Case, p *person) {
		p.Resource["identifier"] = []any{Resource{"system": "http://hl7.it/sid/stp", "value": fmt.Sprintf("STP%013d", p.n)}}
		c.Code = ""
	}},
	{"of a patient with two codes", 20, "held", "two-codes", func(c *Case, p *person) {
		other := CodeOf(p.n+1_000_000, p.birth)
		p.Resource["identifier"] = append(list(p.Resource["identifier"]), Resource{"system": codeSystem, "value": other})
		c.Code = ""
	}},
	{"two months old", 20, "suppressed", "too-old", func(c *Case, _ *person) {
		old := time.Now().AddDate(0, -2, 0).Format(time.RFC3339)
		c.report()["issued"], c.report()["effectiveDateTime"] = old, old
	}},
}

// compositionKinds are the documents of a source of shape fse2.
var compositionKinds = []kind{
	{"ordinary document", 760, "told", "", nil},
	{NotOnIO, 50, "unreachable", "not-on-io", nil},
	{"obscured for staff (P99): its citizen sees it", 50, "told", "", func(c *Case, _ *person) { c.access("P99") }},
	{"hidden from the patient (P98)", 40, "suppressed", "hidden-from-citizen", func(c *Case, _ *person) { c.access("P98") }},
	{"greater protection (V, P99)", 30, "suppressed", "very-restricted", func(c *Case, _ *person) {
		c.composition()["confidentiality"] = "V"
		c.access("P99")
	}},
	{"patient summary", 40, "suppressed", "not-a-report", func(c *Case, _ *person) {
		c.composition()["type"] = concept("http://loinc.org", "60591-5")
	}},
	{"preliminary", 30, "waiting", "not-final", func(c *Case, _ *person) { c.composition()["status"] = "preliminary" }},
}

// first of the resources of a type.
func (c *Case) first(resourceType string) Resource {
	for _, r := range c.Resources {
		if text(r["resourceType"]) == resourceType {
			return r
		}
	}
	return nil
}

func (c *Case) report() Resource      { return c.first("DiagnosticReport") }
func (c *Case) composition() Resource { return c.first("Composition") }

func (c *Case) access(code string) {
	c.first("DocumentReference")["context"].(Resource)["event"] = []any{concept("urn:oid:2.16.840.1.113883.2.9.3.3.6.1.3", code)}
}

func coding(system, code string) Resource { return Resource{"system": system, "code": code} }

func concept(system, code string) Resource {
	return Resource{"coding": []any{coding(system, code)}}
}

// Population makes n cases of a source, the same ones for the same seed. Composition says which of the shapes.
func Population(n int, seed uint64, composition bool) []Case {
	return PopulationFrom(0, n, seed, composition)
}

// PopulationFrom is Population for cases with other numbers, from first on: they are other documents of other people.
func PopulationFrom(first, n int, seed uint64, composition bool) []Case {
	random := rand.New(rand.NewPCG(seed, 7))
	kinds, offset := reportKinds, 0
	if composition {
		kinds, offset = compositionKinds, 10_000_000
	}
	cases := make([]Case, n)
	for i := range cases {
		cases[i] = newCase(pick(random, kinds), offset+first+i, 1+random.IntN(14), composition)
	}
	return cases
}

func pick(random *rand.Rand, kinds []kind) kind {
	total := 0
	for _, k := range kinds {
		total += k.often
	}
	at := random.IntN(total)
	for _, k := range kinds {
		if at -= k.often; at < 0 {
			return k
		}
	}
	return kinds[0]
}

func newCase(k kind, n, reports int, composition bool) Case {
	birth := time.Date(1940+n%60, time.Month(1+n%12), 1+n%28, 0, 0, 0, 0, time.UTC)
	p := &person{n: n, birth: birth, code: CodeOf(n, birth)}
	p.Resource = Patient(fmt.Sprintf("p%d", n), p.code, birth)
	c := Case{Name: k.name, Code: p.code, Outcome: k.outcome, Reason: k.reason}
	if composition {
		c.asComposition(n, reports)
	} else {
		c.asReport(n)
	}
	if k.make != nil {
		k.make(&c, p)
	}
	c.Resources = append([]Resource{p.Resource}, c.Resources...)
	return c
}

func (c *Case) asReport(n int) {
	now := time.Now().Format(time.RFC3339)
	c.Type, c.ID = "DiagnosticReport", fmt.Sprintf("referto-%d", n)
	c.Resources = []Resource{{
		"resourceType": "DiagnosticReport", "id": c.ID, "status": "final", "code": concept("http://loinc.org", "58410-2"),
		"subject": Resource{"reference": fmt.Sprintf("Patient/p%d", n)}, "effectiveDateTime": now, "issued": now,
		"presentedForm": []any{Resource{"contentType": "application/pdf", "data": strings.Repeat("JVBERi0x", 512)}},
	}}
	c.Hints = []string{"DiagnosticReport/" + c.ID}
}

// asComposition is what the ministry's conversion makes of a document: one Composition, a DocumentReference, and reports
// that stay registered and name nobody.
func (c *Case) asComposition(n, reports int) {
	now := time.Now().Format(time.RFC3339Nano) // two made in one second are two editions all the same
	subject := Resource{"reference": fmt.Sprintf("Patient/p%d", n)}
	c.Type, c.ID = "Composition", fmt.Sprintf("comp-%d", n)
	c.System, c.Value = "urn:oid:2.16.840.1.113883.2.9.2.120.4.4", fmt.Sprintf("120.%s.%d", c.Code, n)
	entries := make([]any, 0, reports)
	for i := range reports {
		id := fmt.Sprintf("dr-%d-%d", n, i)
		entries = append(entries, Resource{"reference": "DiagnosticReport/" + id})
		c.Resources = append(c.Resources, Resource{
			"resourceType": "DiagnosticReport", "id": id, "status": "registered", "code": concept("http://loinc.org", "14957-5"),
		})
		c.Hints = append(c.Hints, "DiagnosticReport/"+id)
	}
	c.Resources = append(c.Resources,
		Resource{
			"resourceType": "Composition", "id": c.ID, "status": "final", "type": concept("http://loinc.org", "11502-2"),
			"identifier": Resource{"system": c.System, "value": c.Value}, "subject": subject, "date": now, "confidentiality": "N",
			"section": []any{Resource{"code": concept("http://loinc.org", "18725-2"), "entry": entries}},
		},
		Resource{
			"resourceType": "DocumentReference", "id": fmt.Sprintf("ref-%d", n), "status": "current", "subject": subject, "date": now,
			"category": []any{concept("urn:oid:2.16.840.1.113883.2.9.3.3.6.1.5", "REF")},
			"context":  Resource{"related": []any{Resource{"reference": "Composition/" + c.ID}}},
		})
}
