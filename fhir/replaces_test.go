package fhir_test

import (
	"reflect"
	"strings"
	"testing"

	"staffetta/fhir"
)

// What a document says that it replaces, in whatever words and on whichever of its resources (reference fse.md, 3.4).
func TestWhatADocumentReplaces(t *testing.T) {
	relates := func(element string, target any) []any {
		return []any{resource{"code": "replaces", element: target}}
	}
	to := func(reference string) resource { return resource{"reference": reference} }
	old, oldReference := fhir.Locator{Type: "Composition", ID: "c0"}, fhir.Locator{Type: "DocumentReference", ID: "d0"}
	for _, tt := range []struct {
		name                   string
		composition, reference []any
		want                   []fhir.Locator
	}{
		{"nothing", nil, nil, nil},
		{"targetReference", relates("targetReference", to("Composition/c0")), nil, []fhir.Locator{old}},
		{"targetReference under an alias", relates("targetReference", to("https://fse.example.it/fhir/Composition/c0/_history/2")), nil, []fhir.Locator{old}},
		{"targetReference of another server", relates("targetReference", to("https://other.example/fhir/Composition/c0")), nil, nil},
		{
			"targetIdentifier", relates("targetIdentifier", identified("urn:s", "v0")), nil,
			[]fhir.Locator{{Type: "Composition", System: "urn:s", Value: "v0"}},
		},
		{"the ministry's id", relates("id", "c0"), nil, []fhir.Locator{old}},
		{"target of the DocumentReference only", nil, relates("target", to("DocumentReference/d0")), []fhir.Locator{oldReference}},
		{"the ministry's id on the DocumentReference only", nil, relates("id", "d0"), []fhir.Locator{oldReference}},
		{"both", relates("id", "c0"), relates("id", "d0"), []fhir.Locator{old, oldReference}},
		{"the id of the element beside a target", []any{
			resource{"id": "c9", "code": "replaces", "targetReference": to("Composition/c0")},
		}, []any{resource{"id": "d9", "code": "replaces", "target": to("DocumentReference/d0")}}, []fhir.Locator{old, oldReference}},
		{
			"targetReference by an identifier", relates("targetReference", resource{"identifier": identified("urn:s", "v0")}), nil,
			[]fhir.Locator{{Type: "Composition", System: "urn:s", Value: "v0"}},
		},
		{
			"targetReference by an identifier, of a type by its URL",
			relates("targetReference", resource{"type": "http://hl7.org/fhir/StructureDefinition/Composition", "identifier": identified("urn:s", "v0")}), nil,
			[]fhir.Locator{{Type: "Composition", System: "urn:s", Value: "v0"}},
		},
		{"targetReference by an identifier, of another type", relates("targetReference", resource{"type": "Bundle", "identifier": identified("urn:s", "v0")}), nil, nil},
		{"target of a DocumentReference by an identifier", nil, relates("target", resource{"identifier": identified("urn:s", "v0")}), nil},
		{
			"the id of the element beside a targetIdentifier",
			[]any{resource{"id": "c9", "code": "replaces", "targetIdentifier": identified("urn:s", "v0")}},
			nil,
			[]fhir.Locator{{Type: "Composition", System: "urn:s", Value: "v0"}},
		},
		{"R5's Composition", []any{resource{"type": "replaces", "resourceReference": to("Composition/c0")}}, nil, []fhir.Locator{old}},
		{"R5's DocumentReference", nil, []any{resource{"code": concept("replaces"), "target": to("DocumentReference/d0")}}, []fhir.Locator{oldReference}},
		{"another relation", []any{resource{"code": "appends", "id": "c0"}}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			putDocument(server, "Patient/p1", resource{"relatesTo": tt.reference})
			change(server, "Composition/c1", func(r resource) { r["relatesTo"] = tt.composition })
			doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
			if err != nil || !reflect.DeepEqual(doc.Replaces, tt.want) {
				t.Errorf("got %v, %v; want %v", doc.Replaces, err, tt.want)
			}
			if own := strings.HasSuffix(doc.Edition, "|c1"); own != (len(tt.want) > 0 && tt.composition != nil) {
				t.Errorf("edition %s: a Composition that replaces another one is an edition by that alone", doc.Edition)
			}
		})
	}
}

// HAPI says by extensions that it merged a report into another one (reference fhir-subscriptions.md, 6).
func TestReportsThatHAPIMerged(t *testing.T) {
	pointer := func(what, to string) []any {
		return []any{resource{"url": "http://hapifhir.io/fhir/StructureDefinition/" + what, "valueReference": resource{"reference": to}}}
	}
	other := fhir.Locator{Type: "DiagnosticReport", ID: "r2"}
	for _, tt := range []struct {
		name       string
		extension  []any
		replacedBy fhir.Locator
		replaces   []fhir.Locator
	}{
		{"neither", nil, fhir.Locator{}, nil},
		{"dead", pointer("replaced-by", "DiagnosticReport/r2"), other, nil},
		{"dead, under an alias", pointer("replaced-by", "https://fse.example.it/fhir/DiagnosticReport/r2/_history/3"), other, nil},
		{"alive", pointer("replaces", "DiagnosticReport/r2"), fhir.Locator{}, []fhir.Locator{other}},
		{"merged into itself", pointer("replaced-by", "DiagnosticReport/r1"), fhir.Locator{}, nil},
		{"merged into what is no report", pointer("replaced-by", "Patient/p2"), fhir.Locator{}, nil},
		{"merged into one of another server", pointer("replaced-by", "https://other.example/fhir/DiagnosticReport/r2"), fhir.Locator{}, nil},
		{"another extension", pointer("other", "DiagnosticReport/r2"), fhir.Locator{}, nil},
	} {
		server := ward(func(report, _ resource) { report["extension"] = tt.extension })
		for _, server.XML = range []bool{false, true} {
			doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
			if err != nil || doc.ReplacedBy != tt.replacedBy || !reflect.DeepEqual(doc.Replaces, tt.replaces) {
				t.Errorf("%s: replaced by %v, replaces %v, %v", tt.name, doc.ReplacedBy, doc.Replaces, err)
			}
		}
	}
}
