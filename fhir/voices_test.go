package fhir_test

import (
	"testing"

	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	"staffetta/fhir/sandbox"
)

// Whoever names somebody must name the same person: Composition, DocumentReference and every report have a voice.
func TestTheVoicesOfADocumentMustAgree(t *testing.T) {
	one, two := sandbox.CodeOf(1, birth), sandbox.CodeOf(2, birth)
	for _, tt := range []struct {
		name                            string
		composition, reference, reports []string // the patients that they name, report by report; "" names nobody
		code                            string
		want                            fhir.PersonTrouble
	}{
		{"all name one person", []string{"p1"}, []string{"p1"}, []string{"p1", "p1"}, one, fhir.NoTrouble},
		{"a report names another one", []string{"p1"}, []string{"p1"}, []string{"p2"}, "", fhir.TwoCodes},
		{"the last of many reports names another one", []string{"p1"}, []string{""}, []string{"", "p1", "", "p2"}, "", fhir.TwoCodes},
		{"the DocumentReference names another one", []string{"p1"}, []string{"p2"}, []string{""}, "", fhir.TwoCodes},
		{"one of two DocumentReferences names another one", []string{"p1"}, []string{"p1", "p2"}, []string{""}, "", fhir.TwoCodes},
		{"two reports name two persons, the Composition nobody", []string{""}, []string{""}, []string{"p1", "p2"}, "", fhir.TwoCodes},
		{"report and DocumentReference name two persons, the Composition nobody", []string{""}, []string{"p1"}, []string{"p2"}, "", fhir.TwoCodes},
		{"only a report names somebody", []string{""}, []string{""}, []string{"", "p2"}, two, fhir.NoTrouble},
		{"only the DocumentReference names somebody", []string{""}, []string{"p2"}, []string{""}, two, fhir.NoTrouble},
		{"nobody names anybody", []string{""}, []string{""}, []string{"", ""}, "", fhir.NoSubject},
	} {
		for _, shape := range []fhir.Shape{fhir.ShapeHL7IT, fhir.ShapeFSE2} {
			t.Run(tt.name+", "+string(shape), func(t *testing.T) {
				s := source(t, chorus(tt.composition[0], tt.reference, tt.reports), shape)
				doc, err := s.Read(t.Context(), fhir.Locator{Type: "Composition", ID: "c1", System: "urn:s", Value: "v"})
				if err != nil {
					t.Fatal(err)
				}
				want := fiscalcode.Code{}
				if tt.code != "" {
					if want, err = fiscalcode.Parse(tt.code); err != nil {
						t.Fatal(err)
					}
				}
				if doc.Person.Trouble != tt.want || doc.Person.Code != want {
					t.Errorf("got %v %s, want %v %s", doc.Person.Code, doc.Person.Trouble, want, tt.want)
				}
			})
		}
	}
}

// chorus is a server with two patients and one document, whose resources name them.
func chorus(composition string, references, reports []string) *sandbox.Server {
	server := sandbox.NewServer()
	for i, id := range []string{"p1", "p2"} {
		server.Put(sandbox.Patient(id, sandbox.CodeOf(i+1, birth), birth))
	}
	put := func(patient string, r resource) {
		if patient != "" {
			r["subject"] = resource{"reference": "Patient/" + patient}
		}
		server.Put(r)
	}
	entries := make([]any, 0, len(reports))
	for i, patient := range reports {
		id := "r" + string(rune('1'+i))
		entries = append(entries, resource{"reference": "DiagnosticReport/" + id})
		put(patient, resource{"resourceType": "DiagnosticReport", "id": id, "status": "registered"})
	}
	for i, patient := range references {
		put(patient, resource{
			"resourceType": "DocumentReference", "id": "ref" + string(rune('1'+i)), "status": "current",
			"context": resource{"related": []any{resource{"reference": "Composition/c1"}}},
		})
	}
	put(composition, resource{
		"resourceType": "Composition", "id": "c1", "status": "final", "identifier": resource{"system": "urn:s", "value": "v"},
		"type": resource{"coding": []any{resource{"code": "11502-2"}}}, "section": []any{resource{"entry": entries}},
	})
	return server
}

// Who has no code says least, but is nobody else: two patients that were not born in the same year are two persons, of whom
// neither is told what may be the other one's.
func TestTheVoiceOfAPatientWithoutACode(t *testing.T) {
	for _, tt := range []struct {
		name, born string
		want       fhir.PersonTrouble
	}{
		{"the same day", "1980-01-02", fhir.NoTrouble},
		{"the same year, as far as it is known", "1980", fhir.NoTrouble},
		{"unknown", "", fhir.NoTrouble},
		{"another year", "1950-01-02", fhir.TwoCodes},
	} {
		for _, names := range [][]string{{"p1", "p2"}, {"p2", "p1"}} {
			server := chorus(names[0], []string{""}, []string{names[1]})
			change(server, "Patient/p1", func(r resource) {
				delete(r, "identifier")
				r["birthDate"] = tt.born
			})
			doc, err := source(t, server, fhir.ShapeHL7IT).Read(t.Context(), fhir.Locator{Type: "Composition", ID: "c1", System: "urn:s", Value: "v"})
			if err != nil || doc.Person.Trouble != tt.want || (doc.Person.Code != fiscalcode.Code{}) != (tt.want == fhir.NoTrouble) {
				t.Errorf("%s, %v: %+v, %v; want %s", tt.name, names, doc.Person, err, tt.want)
			}
		}
	}
}
