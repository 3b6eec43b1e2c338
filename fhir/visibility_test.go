package fhir_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

func concept(code string) resource { return resource{"coding": []any{resource{"code": code}}} }

var c1 = fhir.Locator{Type: "Composition", ID: "c1", System: "urn:s", Value: "doc"}

// putDocument keeps a document of a Composition, with its DocumentReferences.
func putDocument(server *sandbox.Server, subject string, references ...resource) {
	server.Put(resource{
		"resourceType": "Composition", "id": "c1", "status": "final", "identifier": identified(c1.System, c1.Value),
		"subject": resource{"reference": subject}, "type": concept("11502-2"),
	})
	for i, r := range references {
		r["resourceType"], r["id"] = "DocumentReference", string(rune('a'+i))
		if r["status"] == nil {
			r["status"] = "current"
		}
		context, _ := r["context"].(resource)
		if context == nil {
			context = resource{}
		}
		context["related"] = []any{resource{"reference": "Composition/c1"}}
		r["context"] = context
		server.Put(r)
	}
}

// How a document stands by what its DocumentReferences say (reference fse.md, 3.4): one that is current is enough.
func TestStandingByDocumentReferences(t *testing.T) {
	status := func(status, docStatus string) resource { return resource{"status": status, "docStatus": docStatus} }
	for _, tt := range []struct {
		name       string
		references []resource
		want       fhir.Standing
	}{
		{"current", []resource{status("current", "")}, fhir.Readable},
		{"superseded", []resource{status("superseded", "")}, fhir.Withdrawn},
		{"entered in error", []resource{status("entered-in-error", "")}, fhir.Withdrawn},
		{"current, of a final document", []resource{status("current", "final")}, fhir.Readable},
		{"current, of an amended document", []resource{status("current", "amended")}, fhir.Readable},
		{"current, of a preliminary document", []resource{status("current", "preliminary")}, fhir.NotFinal},
		{"current, of a document entered in error", []resource{status("current", "entered-in-error")}, fhir.Withdrawn},
		{"one superseded, its successor current", []resource{status("superseded", ""), status("current", "")}, fhir.Readable},
		{"one superseded, its successor preliminary", []resource{status("superseded", ""), status("current", "preliminary")}, fhir.NotFinal},
		{"two superseded", []resource{status("superseded", ""), status("superseded", "final")}, fhir.Withdrawn},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			putDocument(server, "Patient/p1", tt.references...)
			for _, shape := range []fhir.Shape{fhir.ShapeHL7IT, fhir.ShapeFSE2} {
				doc, err := source(t, server, shape).Read(t.Context(), c1)
				if err != nil || doc.Standing != tt.want {
					t.Errorf("%s: got %s, %v; want %s", shape, doc.Standing, err, tt.want)
				}
			}
		})
	}
}

// Wherever a label stands, it is one of the document (reference fse.md, 4.3).
func TestWhereLabelsStand(t *testing.T) {
	const confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	restricted := resource{"coding": []any{resource{"system": confidentiality, "code": "R"}}}
	labelled := func(r resource) {
		r["meta"] = resource{"security": restricted["coding"]}
	}
	want := fhir.Coding{System: confidentiality, Code: "R"}
	for _, tt := range []struct {
		name string
		put  func(server *sandbox.Server)
	}{
		{"Composition.confidentiality", func(s *sandbox.Server) { change(s, "Composition/c1", func(r resource) { r["confidentiality"] = "R" }) }},
		{"meta of the Composition", func(s *sandbox.Server) { change(s, "Composition/c1", labelled) }},
		{"securityLabel of the DocumentReference", func(s *sandbox.Server) {
			change(s, "DocumentReference/a", func(r resource) { r["securityLabel"] = []any{restricted} })
		}},
		{"meta of the DocumentReference", func(s *sandbox.Server) { change(s, "DocumentReference/a", labelled) }},
		{"meta of a report", func(s *sandbox.Server) {
			change(s, "DiagnosticReport/r1", labelled)
			change(s, "Composition/c1", func(r resource) {
				r["section"] = []any{resource{"section": []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}}}}
			})
		}},
		{"meta of the Patient", func(s *sandbox.Server) { change(s, "Patient/p1", labelled) }},
		{"meta of the Patient that it refers to", func(s *sandbox.Server) {
			change(s, "Patient/p1", func(r resource) {
				delete(r, "identifier")
				r["link"] = []any{resource{"type": "refer", "other": resource{"reference": "Patient/p2"}}}
			})
			change(s, "Patient/p2", labelled)
		}},
		{"meta of the Patient that it was merged into", func(s *sandbox.Server) {
			change(s, "Patient/p1", func(r resource) { r["link"] = replacedBy("Patient/p2") })
			change(s, "Patient/p2", labelled)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			putDocument(server, "Patient/p1", resource{"context": resource{"event": []any{concept("P99")}}, "category": []any{concept("REF")}})
			s := source(t, server, fhir.ShapeFSE2)
			if doc, err := s.Read(t.Context(), c1); err != nil || len(doc.Labels) > 0 || len(doc.Access) != 1 || len(doc.Class) != 1 {
				t.Fatalf("before: labels %v, access %v, class %v, %v", doc.Labels, doc.Access, doc.Class, err)
			}
			tt.put(server)
			doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
			if err != nil || !slices.Contains(doc.Labels, want) {
				t.Errorf("got labels %v, %v", doc.Labels, err)
			}
		})
	}
}

func change(server *sandbox.Server, name string, change func(resource)) {
	r := server.Get(name)
	change(r)
	server.Put(r)
}

// Wherever a code stands that may say what a document is about, it is one of its facts (reference fse.md, 5.2, rule 10).
func TestWhereCodesStand(t *testing.T) {
	const hiv = "20447-9"
	listing := func(id string) []any {
		return []any{resource{"section": []any{resource{"entry": []any{resource{"reference": id}}}}}}
	}
	ofReport := func(more resource) func(*sandbox.Server) {
		return func(s *sandbox.Server) {
			change(s, "DiagnosticReport/r1", func(r resource) { maps.Copy(r, more) })
			change(s, "Composition/c1", func(r resource) { r["section"] = listing("DiagnosticReport/r1") })
		}
	}
	contained := resource{"contained": []any{
		resource{"resourceType": "Specimen", "id": "s"}, resource{"resourceType": "Observation", "id": "o", "code": concept(hiv)},
	}}
	for _, tt := range []struct {
		name string
		put  func(*sandbox.Server)
	}{
		{"the code of a report", ofReport(resource{"code": concept(hiv)})},
		{"a category of a report", ofReport(resource{"category": []any{concept("LAB"), concept(hiv)}})},
		{"an Observation inside of a report", ofReport(contained)},
		{"a section", func(s *sandbox.Server) {
			change(s, "Composition/c1", func(r resource) { r["section"] = []any{resource{"code": concept(hiv)}} })
		}},
		{"a section of a section", func(s *sandbox.Server) {
			change(s, "Composition/c1", func(r resource) { r["section"] = []any{resource{"section": []any{resource{"code": concept(hiv)}}}} })
		}},
		{"a category of the Composition", func(s *sandbox.Server) {
			change(s, "Composition/c1", func(r resource) { r["category"] = []any{concept(hiv)} })
		}},
		{"an Observation that comes along", func(s *sandbox.Server) {
			s.Put(resource{"resourceType": "Observation", "id": "o1", "code": concept(hiv)})
			change(s, "Composition/c1", func(r resource) {
				r["section"] = []any{resource{"entry": []any{resource{"reference": "Observation/o1"}}}}
			})
		}},
	} {
		for _, shape := range []fhir.Shape{fhir.ShapeHL7IT, fhir.ShapeFSE2} {
			server := ward(nil)
			putDocument(server, "Patient/p1", resource{})
			tt.put(server)
			doc, err := source(t, server, shape).Read(t.Context(), c1)
			if err != nil || !slices.Contains(slices.Concat(doc.Codes, doc.Categories), fhir.Coding{Code: hiv}) {
				t.Errorf("%s, %s: codes %v, categories %v, %v", tt.name, shape, doc.Codes, doc.Categories, err)
			}
		}
	}
	server := ward(func(report, _ resource) { maps.Copy(report, contained) })
	if doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1); err != nil || !slices.Contains(doc.Codes, fhir.Coding{Code: hiv}) {
		t.Errorf("an Observation inside of a report that is the document: codes %v, %v", doc.Codes, err)
	}
}

// A DocumentReference that names the Composition by another base than ours can only hide it.
func TestADocumentReferenceOfAnotherBaseHides(t *testing.T) {
	server := ward(nil)
	putDocument(server, "Patient/p1", resource{"context": resource{"event": []any{concept("P98")}}})
	change(server, "DocumentReference/a", func(r resource) {
		r["context"].(resource)["related"] = []any{resource{"reference": "https://behind-a-proxy.example/fhir/Composition/c1"}}
	})
	doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
	if want := []fhir.Coding{{Code: "P98"}}; err != nil || !slices.Equal(doc.Access, want) {
		t.Errorf("access %v, %v; want %v", doc.Access, err, want)
	}
}

// What a DocumentReference says of its document besides its visibility (reference fse.md, 3.2).
func TestFactsOfADocumentReference(t *testing.T) {
	const early, late, later = "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z"
	for _, tt := range []struct{ name, date, updated, version, wantDate string }{
		{"written after its Composition", late, later, "7", late},
		{"written before its Composition", late, early, "2", late},
		{"of a Composition that has no date", "", later, "7", later},
	} {
		server := ward(nil)
		putDocument(server, "Patient/p1", resource{"category": []any{concept("REF")}, "date": later, "type": concept("11488-4")})
		stamped := func(name, version, updated string) {
			r := server.Get(name)
			r["meta"] = resource{"versionId": version, "lastUpdated": updated}
			server.Load(r)
		}
		change(server, "Composition/c1", func(r resource) { r["date"] = tt.date })
		stamped("Composition/c1", "2", late)
		stamped("DocumentReference/a", tt.version, tt.updated)
		doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
		if at, _ := time.Parse(time.RFC3339, max(late, tt.updated)); at.UnixMilli() != doc.Order || doc.Version != tt.version {
			t.Errorf("%s: order %d, version %s, want that of what was written last", tt.name, doc.Order, doc.Version)
		}
		if at, _ := time.Parse(time.RFC3339, tt.wantDate); err != nil || !doc.Date.Equal(at) {
			t.Errorf("%s: date %s, %v; want %s", tt.name, doc.Date, err, tt.wantDate)
		}
		if types := []fhir.Coding{{Code: "11502-2"}, {Code: "11488-4"}}; !slices.Equal(doc.Type, types) || !slices.Equal(doc.Class, []fhir.Coding{{Code: "REF"}}) {
			t.Errorf("%s: type %v, class %v", tt.name, doc.Type, doc.Class)
		}
	}
}

// What a status means depends on the shape (design, section 6); one that nobody knows is not yet a referto.
func TestStandingByStatus(t *testing.T) {
	want := map[string]fhir.Standing{
		"registered": fhir.NotFinal, "partial": fhir.NotFinal, "preliminary": fhir.NotFinal, "unknown": fhir.NotFinal, "": fhir.NotFinal, "FINAL": fhir.NotFinal,
		"final": fhir.Readable, "amended": fhir.Readable, "corrected": fhir.Readable, "appended": fhir.Readable,
		"cancelled": fhir.Withdrawn, "entered-in-error": fhir.Withdrawn,
	}
	for shape, more := range map[fhir.Shape]map[string]fhir.Standing{
		fhir.ShapeReport: {"modified": fhir.Readable, "deprecated": fhir.NotFinal},
		fhir.ShapeHL7IT:  {"modified": fhir.NotFinal, "deprecated": fhir.Withdrawn},
	} {
		maps.Copy(more, want)
		for status, standing := range more {
			server := ward(func(report, _ resource) { report["status"] = status })
			putDocument(server, "Patient/p1")
			l := r1
			if shape == fhir.ShapeHL7IT {
				l = c1
				change(server, "Composition/c1", func(r resource) { r["status"] = status })
			}
			if doc, err := source(t, server, shape).Read(t.Context(), l); err != nil || doc.Standing != standing {
				t.Errorf("%s, %q: %s, %v; want %s", shape, status, doc.Standing, err, standing)
			}
		}
	}
}
