package fhir_test

import (
	"slices"
	"testing"

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
