package fhir_test

import (
	"maps"
	"slices"
	"testing"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// A document that was found reads at least as new as it was found: else it is behind its own hint for 10 minutes.
func TestReadIsNotBehindFind(t *testing.T) {
	server := sandbox.NewServer()
	server.Put(sandbox.Patient("p1", sandbox.CodeOf(1, birth), birth))
	composition := resource{
		"resourceType": "Composition", "id": "c1", "status": "final", "identifier": resource{"system": "urn:s", "value": "v"},
		"type": resource{"coding": []any{resource{"code": "11502-2"}}}, "subject": resource{"reference": "Patient/p1"},
		"section": []any{resource{"entry": []any{resource{"reference": "Observation/o1"}}}},
		"meta":    resource{"versionId": "1", "lastUpdated": "2026-11-20T10:00:00.000Z"},
	}
	report := resource{
		"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": resource{"reference": "Patient/p1"},
		"extension": []any{resource{
			"url":            "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.composition",
			"valueReference": resource{"reference": "Composition/c1"},
		}},
		"meta": resource{"versionId": "1", "lastUpdated": "2026-11-20T10:00:00.400Z"},
	}
	server.Load(composition)
	server.Load(report)
	s := source(t, server, fhir.ShapeHL7IT)
	found, err := s.Find(t.Context(), r1)
	if err != nil || len(found.Documents) != 1 {
		t.Fatal(found, err)
	}
	doc, err := s.Read(t.Context(), found.Documents[0].Locator)
	if err != nil {
		t.Fatal(err)
	}
	if doc.Order < found.Documents[0].Order {
		t.Errorf("found at order %d, read at %d: behind its own hint", found.Documents[0].Order, doc.Order)
	}
}

// What a report says is looked at where the report names its Composition, too: its codes and labels decide. R4 has an
// extension for it, R5 an element.
func TestReportsThatNameTheirCompositionAreRead(t *testing.T) {
	named := resource{"reference": "Composition/c1"}
	for _, names := range []resource{
		{"extension": []any{resource{"url": "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.composition", "valueReference": named}}},
		{"composition": named},
	} {
		for _, xml := range []bool{false, true} {
			server := ward(nil)
			putDocument(server, "Patient/p1")
			report := maps.Clone(names)
			maps.Copy(report, resource{
				"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": resource{"reference": "Patient/p1"}, "code": concept("7917-8"), // HIV
			})
			server.Put(report)
			server.XML = xml
			s := source(t, server, fhir.ShapeHL7IT)
			found, err := s.Find(t.Context(), r1)
			if err != nil || len(found.Documents) != 1 {
				t.Fatal(found, err)
			}
			doc, err := s.Read(t.Context(), found.Documents[0].Locator)
			if want := []fhir.Coding{{Code: "7917-8"}}; err != nil || !slices.Equal(doc.Codes, want) {
				t.Errorf("codes as read for the decision %v, %v; want %v", doc.Codes, err, want)
			}
		}
	}
}

// A report in a referto and in a patient summary leads to the referto first: its find record keeps the first only.
func TestTheRefertoComesFirst(t *testing.T) {
	server := ward(nil)
	for _, c := range []struct{ id, code string }{{"c1", "60591-5"}, {"c2", "11502-2"}} {
		server.Put(resource{
			"resourceType": "Composition", "id": c.id, "status": "final", "identifier": resource{"value": c.id},
			"type":    resource{"coding": []any{resource{"code": c.code}}},
			"section": []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}},
		})
	}
	s := source(t, server, fhir.ShapeFSE2)
	for range 20 {
		found, err := s.Find(t.Context(), r1)
		if err != nil || len(found.Documents) != 2 {
			t.Fatal(found, err)
		}
		if found.Documents[0].Locator.ID != "c2" {
			t.Fatal("the summary comes first, by chance: a DELETE of the report will lead there")
		}
	}
}

// A summary that a search gives hides no referto that lists the report one section deeper, where the search does not look.
func TestASummaryHidesNoReferto(t *testing.T) {
	for _, summaryAlone := range []bool{false, true} {
		server := ward(nil)
		listed := []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}}
		server.Put(resource{
			"resourceType": "Composition", "id": "summary", "status": "final", "identifier": resource{"value": "summary"}, "type": concept("60591-5"), "section": listed,
		})
		want := "summary"
		if !summaryAlone {
			putDocument(server, "Patient/p1")
			change(server, "Composition/c1", func(r resource) { r["section"] = []any{resource{"section": listed}} })
			want = "c1"
		}
		found, err := source(t, server, fhir.ShapeFSE2).Find(t.Context(), r1)
		if err != nil || found.Ambiguous || len(found.Documents) == 0 || found.Documents[0].Locator.ID != want {
			t.Errorf("found %+v, %v; want %s first", found, err, want)
		}
	}
}
