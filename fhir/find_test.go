package fhir_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// Each way from a report to its Composition leads there alone (reference fse.md, 3.3).
func TestEachWayFromAReport(t *testing.T) {
	composition := resource{"reference": "Composition/c1"}
	entries := []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}}
	nested := resource{"section": []any{resource{"section": entries}}}
	under := func(system, value string) resource { return resource{"identifier": []any{identified(system, value)}} }
	for _, tt := range []struct {
		name             string
		report, document resource // what they say besides
		prepare          func(*sandbox.Server)
		found            bool
	}{
		{"what the report names, in R4", resource{"extension": []any{
			resource{"url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.composition", "valueReference": composition},
		}}, nil, nil, true},
		{"what the report names, in R5", resource{"composition": composition}, nil, nil, true},
		{"its identifier", under(c1.System, c1.Value), nil, nil, true},
		{"its identifier, without a system", resource{"identifier": []any{resource{"value": c1.Value}}}, nil, nil, true},
		{"its identifier, of which the Composition has no system", under(c1.System, c1.Value), resource{"identifier": resource{"value": c1.Value}}, nil, true},
		{"its value under another system", under("urn:other", c1.Value), nil, nil, false},
		{"the second of its identifiers, where another document has the value of the first", resource{"identifier": []any{identified("urn:order", "77"), identified(c1.System, c1.Value)}}, nil, func(s *sandbox.Server) {
			s.Put(resource{"resourceType": "Composition", "id": "c7", "status": "final", "identifier": identified("urn:other", "77")})
		}, true},
		{"what lists it", nil, resource{"section": entries}, nil, true},
		{"what lists it, at a server that lets nothing come along", nil, resource{"section": entries}, func(s *sandbox.Server) {
			s.Fault = answering(http.StatusBadRequest, new(atomic.Int64), "_revinclude", "_include")
		}, true},
		{"its encounter", resource{"encounter": resource{"reference": "Encounter/e1"}}, with(nested, "encounter", resource{"reference": "Encounter/e1"}), nil, true},
		{"another encounter", resource{"encounter": resource{"reference": "Encounter/e2"}}, with(nested, "encounter", resource{"reference": "Encounter/e1"}), nil, false},
		{"its subject", resource{"subject": resource{"reference": "Patient/p1"}}, nested, nil, true},
		{"its subject, who has many documents", resource{"subject": resource{"reference": "Patient/p1"}}, nested, func(s *sandbox.Server) {
			for i := range 60 {
				s.Load(resource{
					"resourceType": "Composition", "id": fmt.Sprint("old-", i), "status": "final", "subject": resource{"reference": "Patient/p1"},
					"meta": resource{"versionId": "1", "lastUpdated": "2020-01-01T00:00:00Z"},
				})
			}
		}, true},
		{"its subject, of whom a document lists another server's report of the same id", resource{"subject": resource{"reference": "Patient/p1"}}, resource{
			"section": []any{resource{"entry": []any{resource{"reference": "https://other.example/fhir/DiagnosticReport/r1"}}}},
		}, nil, false},
		{"nothing", nil, nested, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			if tt.prepare != nil {
				tt.prepare(server)
			}
			report := resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "registered"}
			maps.Copy(report, tt.report)
			server.Put(report)
			putDocument(server, "Patient/p1")
			change(server, "Composition/c1", func(r resource) { maps.Copy(r, tt.document) })
			found, err := source(t, server, fhir.ShapeHL7IT).Find(t.Context(), r1)
			led := slices.ContainsFunc(found.Documents, func(d fhir.Document) bool { return d.Locator.ID == "c1" })
			if err != nil || found.Standing != fhir.Readable || led != tt.found || len(found.Documents) > 1 {
				t.Errorf("found %+v, %v", found, err)
			}
		})
	}
}

// A corrected document may list the report of the one that it replaces, which is deleted later or never: the report leads to the
// correction. Where neither says so, or both do, a person must say which one counts.
func TestAReportOfADocumentAndItsCorrection(t *testing.T) {
	entries := []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}}
	replaces := func(element string, target any) []any { return []any{resource{"code": "replaces", element: target}} }
	reference := resource{"reference": "Composition/c1"}
	for _, tt := range []struct {
		name      string
		relation  []any
		back      []any
		reference []any // of its DocumentReference
		ambiguous bool
	}{
		{"by its reference", replaces("targetReference", reference), nil, nil, false},
		{"by its identifier", replaces("targetIdentifier", identified(c1.System, c1.Value)), nil, nil, false},
		{"as the ministry's server writes it", replaces("id", "c1"), nil, nil, false},
		{"by its DocumentReference", nil, nil, replaces("target", resource{"reference": "DocumentReference/a"}), false},
		{"another relation", []any{resource{"code": "appends", "targetReference": reference}}, nil, nil, true},
		{"another document", replaces("targetIdentifier", identified(c1.System, "other")), nil, nil, true},
		{"not at all", nil, nil, nil, true},
		{"each the other one", replaces("targetReference", reference), replaces("targetReference", resource{"reference": "Composition/c2"}), nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			putDocument(server, "Patient/p1", resource{})
			change(server, "Composition/c1", func(r resource) { r["section"], r["relatesTo"] = entries, tt.back })
			server.Put(resource{
				"resourceType": "Composition", "id": "c2", "status": "amended", "type": concept("11502-2"),
				"identifier": identified(c1.System, "corrected"), "section": entries, "relatesTo": tt.relation,
			})
			server.Put(resource{
				"resourceType": "DocumentReference", "id": "b", "status": "current", "relatesTo": tt.reference,
				"context": resource{"related": []any{resource{"reference": "Composition/c2"}}},
			})
			found, err := source(t, server, fhir.ShapeFSE2).Find(t.Context(), r1)
			if err != nil || found.Ambiguous != tt.ambiguous {
				t.Fatalf("ambiguous: %t, %v", found.Ambiguous, err)
			}
			if !tt.ambiguous && (len(found.Documents) != 1 || found.Documents[0].Locator.ID != "c2") {
				t.Errorf("found %+v", found.Documents)
			}
		})
	}
}

func with(r resource, name string, value any) resource {
	r = maps.Clone(r)
	r[name] = value
	return r
}

// A DocumentReference leads to the Compositions of its own server only, whatever ids others have.
func TestWhereADocumentReferenceLeads(t *testing.T) {
	to := func(references ...string) (related []any) {
		for _, r := range references {
			related = append(related, resource{"reference": r})
		}
		return related
	}
	for _, tt := range []struct {
		name    string
		related []any
		want    int
	}{
		{"its Composition", to("Composition/c1"), 1},
		{"its Composition, under an alias", to("https://fse.example.it/fhir/Composition/c1/_history/2"), 1},
		{"beside other things", to("ServiceRequest/c1", "#c1", "urn:uuid:1", "Composition/c1"), 1},
		{"one of another server", to("https://other.example/fhir/Composition/c1"), 0},
		{"one that is not there", to("Composition/c9"), 0},
		{"nothing", nil, 0},
	} {
		server := ward(nil)
		putDocument(server, "Patient/p1", resource{})
		change(server, "DocumentReference/a", func(r resource) { r["context"] = resource{"related": tt.related} })
		found, err := source(t, server, fhir.ShapeFSE2).Find(t.Context(), fhir.Locator{Type: "DocumentReference", ID: "a"})
		if err != nil || found.Standing != fhir.Readable || len(found.Documents) != tt.want || (tt.want > 0 && found.Documents[0].Locator != c1) {
			t.Errorf("%s: found %+v, %v; want %d", tt.name, found, err, tt.want)
		}
	}
}

// When a report is from, where it does not say when it was issued: the latest of what it says.
func TestTheDateOfAReport(t *testing.T) {
	day := func(n int) string { return fmt.Sprintf("2026-11-%02dT10:00:00Z", n) }
	for _, tt := range []struct {
		says resource
		want string
	}{
		{resource{"issued": day(3), "effectiveDateTime": day(2)}, day(3)},
		{resource{"effectiveDateTime": day(2)}, day(2)},
		{resource{"effectivePeriod": resource{"start": day(1), "end": day(2)}}, day(2)},
		{resource{"effectivePeriod": resource{"start": day(1)}}, day(1)},
		{resource{}, "0001-01-01T00:00:00Z"},
	} {
		server := ward(func(report, _ resource) { delete(report, "issued"); maps.Copy(report, tt.says) })
		if doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1); err != nil || doc.Date.Format(time.RFC3339) != tt.want {
			t.Errorf("%v: %s, %v; want %s", tt.says, doc.Date, err, tt.want)
		}
	}
}
