package fhir_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

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

func with(r resource, name string, value any) resource {
	r = maps.Clone(r)
	r[name] = value
	return r
}
