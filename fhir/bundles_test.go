package fhir_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// kept is a document that is kept as a Bundle, as its Composition says it is; its patient is inside.
func kept(id, patient string, composition resource) resource {
	n := 1
	if patient == "p2" {
		n = 2
	}
	composition["resourceType"], composition["subject"], composition["type"] = "Composition", resource{"reference": "urn:uuid:" + patient}, concept("11502-2")
	if composition["status"] == nil {
		composition["status"] = "final"
	}
	return resource{
		"resourceType": "Bundle", "id": id, "type": "document",
		"entry": []any{
			resource{"fullUrl": "urn:uuid:c", "resource": composition},
			resource{"fullUrl": "urn:uuid:" + patient, "resource": sandbox.Patient(patient, sandbox.CodeOf(n, birth), birth)},
		},
	}
}

// numbered is what says the number of a version.
func numbered(n string) []any {
	return []any{resource{"url": "http://example.it/composition-clinicaldocument-versionNumber", "valueInteger": n}}
}

// Which Bundle a hint on one leads to: that of the latest version of its document, and of no other document.
func TestWhereABundleLeads(t *testing.T) {
	id := identified("urn:s", "doc")
	early, late := "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"
	for _, tt := range []struct {
		name        string
		first, then resource // in the order in which they were written
		from, want  string
	}{
		{
			"the later date, under the same id",
			kept("b2", "p1", resource{"id": "c", "identifier": id, "date": late}),
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": early}), "b1", "b2",
		},
		{
			"the later date, under another id",
			kept("b1", "p1", resource{"id": "c1", "identifier": id, "date": early}),
			kept("b2", "p1", resource{"id": "c2", "identifier": id, "date": late}), "b1", "b2",
		},
		{
			"the later Bundle, where the Compositions say nothing",
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": early, "status": "preliminary"}),
			kept("b2", "p1", resource{"id": "c", "identifier": id, "date": early}), "b1", "b2",
		},
		{
			"not the earlier Bundle",
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": early, "status": "preliminary"}),
			kept("b2", "p1", resource{"id": "c", "identifier": id, "date": early}), "b2", "b2",
		},
		{
			"the higher number, though the other has none and a later date",
			kept("b2", "p1", resource{"id": "c", "identifier": id, "date": early, "extension": numbered("2")}),
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": late}), "b1", "b2",
		},
		{
			"the Composition that was written later, though its Bundle was not",
			kept("b2", "p1", resource{"id": "c", "identifier": id, "date": early, "meta": resource{"lastUpdated": late}}),
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": early, "meta": resource{"lastUpdated": early}}), "b1", "b2",
		},
		{
			"the later Bundle, where one Composition alone says when it was written",
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": early, "meta": resource{"lastUpdated": late}}),
			kept("b2", "p1", resource{"id": "c", "identifier": id, "date": early}), "b1", "b2",
		},
		{
			"another document under the same id and value",
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": early}),
			kept("b2", "p2", resource{"id": "c", "identifier": identified("urn:other", "doc"), "date": late}), "b1", "b1",
		},
		{
			"another document under the same id",
			kept("b1", "p1", resource{"id": "c", "identifier": id, "date": early}),
			kept("b2", "p2", resource{"id": "c", "identifier": identified("urn:s", "other"), "date": late}), "b1", "b1",
		},
		{
			"another document under the same id, both without an identifier",
			kept("b1", "p1", resource{"id": "c", "date": early}),
			kept("b2", "p2", resource{"id": "c", "date": late}), "b1", "b1",
		},
		{
			"another document, both without any id",
			kept("b1", "p1", resource{"date": early}),
			kept("b2", "p2", resource{"date": late}), "b1", "b1",
		},
	} {
		for _, lenient := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, ", lenient ", lenient), func(t *testing.T) {
				server := sandbox.NewServer()
				server.Lenient = lenient
				clock := birth
				server.Now = func() time.Time { clock = clock.Add(time.Second); return clock }
				server.Put(tt.first)
				server.Put(tt.then)
				s := source(t, server, fhir.ShapeHL7IT)
				found, err := s.Find(t.Context(), fhir.Locator{Type: "Bundle", ID: tt.from})
				if err != nil || len(found.Documents) != 1 || found.Documents[0].Locator.ID != tt.want {
					t.Fatalf("found %+v, %v", found, err)
				}
				again := found.Documents[0].Locator
				again.ID = tt.from // what is known of it may be an older version
				for _, l := range []fhir.Locator{found.Documents[0].Locator, again} {
					doc, err := s.Read(t.Context(), l)
					if err != nil || doc.Locator.ID != tt.want || doc.Person.Code.Reveal() != sandbox.CodeOf(1, birth) {
						t.Errorf("read %+v, %v", doc, err)
					}
				}
			})
		}
	}
}

// A Composition inside of a Bundle may have the id of another one that the server keeps by itself.
func TestABundleLeadsToNoOtherDocument(t *testing.T) {
	server := ward(nil)
	putDocument(server, "Patient/p2")
	b := kept("b1", "p1", resource{"id": "c1", "identifier": identified("urn:s", "another")})
	server.Put(b)
	s := source(t, server, fhir.ShapeHL7IT)
	found, err := s.Find(t.Context(), fhir.Locator{Type: "Bundle", ID: "b1"})
	if err != nil || len(found.Documents) != 1 || found.Documents[0].Locator.Type != "Bundle" {
		t.Errorf("found %+v, %v", found, err)
	}
	doc, err := s.Read(t.Context(), c1)
	if err != nil || len(doc.Members) != 1 {
		t.Errorf("read %+v, %v", doc.Members, err)
	}
}

// Two documents may share a value, of which one has no system.
func TestAnIdentifierWithoutASystemIsOneOfItsOwn(t *testing.T) {
	server := ward(nil)
	putDocument(server, "Patient/p1")
	change(server, "Composition/c1", func(r resource) { r["identifier"], r["date"] = resource{"value": "doc"}, "2026-11-20" })
	server.Put(resource{
		"resourceType": "Composition", "id": "c2", "status": "final", "identifier": identified("urn:s2", "doc"), "date": "2026-11-25",
		"subject": resource{"reference": "Patient/p2"}, "type": concept("11502-2"),
	})
	doc, err := source(t, server, fhir.ShapeHL7IT).Read(t.Context(), fhir.Locator{Type: "Composition", ID: "c1", Value: "doc"})
	if err != nil || doc.Locator.ID != "c1" {
		t.Errorf("read %+v, %v", doc.Locator, err)
	}
}

// Labels of a Bundle are those of the latest version's, also where an older one was written last: it was marked as such.
func TestLabelsOfTheLatestBundle(t *testing.T) {
	server := ward(nil)
	putDocument(server, "Patient/p1")
	clock := birth
	server.Now = func() time.Time { return clock }
	version := func(id, date string) resource {
		return kept(id, "p1", resource{"id": "c1", "identifier": identified(c1.System, c1.Value), "date": date})
	}
	later := version("b2", "2026-11-21")
	later["meta"] = resource{"security": []any{resource{"code": "V"}}}
	server.Put(later)
	clock = clock.Add(time.Second)
	server.Put(version("b1", "2026-11-20"))
	doc, err := source(t, server, fhir.ShapeHL7IT).Read(t.Context(), c1)
	if want := []fhir.Coding{{Code: "V"}}; err != nil || !slices.Equal(doc.Labels, want) {
		t.Errorf("labels %v, %v; want %v", doc.Labels, err, want)
	}
	other := version("b3", "2026-11-21") // of which nothing says that it is another version
	other["meta"] = resource{"security": []any{resource{"code": "R"}}}
	clock = birth
	server.Put(other)
	doc, err = source(t, server, fhir.ShapeHL7IT).Read(t.Context(), c1)
	if want := []fhir.Coding{{Code: "V"}, {Code: "R"}}; err != nil || !slices.Equal(doc.Labels, want) {
		t.Errorf("labels %v, %v; want %v", doc.Labels, err, want)
	}
}

// A server that does not know a search by the identifier of a Bundle's Composition keeps no document from being read. What is
// searched for may hold a codice fiscale: it stands in no URL.
func TestAServerThatKnowsNoChain(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"fails": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"gives all that it has": func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Bundle","id":"b9","entry":[]}}],`+
				`"link":[{"relation":"next","url":"http://%s/fhir/Bundle/_search?composition.identifier=next"}]}`, r.Host)
		},
	} {
		server, asked := sandbox.NewServer(), 0
		server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.RawQuery, c1.Value) && !strings.Contains(r.URL.RawQuery, "Composition%2F") {
				t.Errorf("%s: asked for %s", name, r.URL)
			}
			if !strings.HasSuffix(r.URL.Path, "/Bundle/_search") {
				return false
			}
			asked++
			answer(w, r)
			return true
		}
		server.Put(kept("b1", "p1", resource{"id": "c", "identifier": identified(c1.System, c1.Value)}))
		s := source(t, server, fhir.ShapeHL7IT)
		for range 2 {
			found, err := s.Find(t.Context(), fhir.Locator{Type: "Bundle", ID: "b1"})
			if err != nil || len(found.Documents) != 1 {
				t.Errorf("%s: found %+v, %v", name, found, err)
			}
		}
		if asked != 1 {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
}

// A newborn without a code may refer to a mother who came along: she is no record of theirs, and not told.
func TestAPatientThatRefersToARelative(t *testing.T) {
	server := sandbox.NewServer()
	bundle := kept("b1", "p1", resource{"id": "c", "identifier": identified(c1.System, c1.Value)})
	entries := bundle["entry"].([]any)
	patient := entries[1].(resource)["resource"].(resource)
	mother := resource{"resourceType": "RelatedPerson", "id": "m", "identifier": patient["identifier"]}
	delete(patient, "identifier")
	patient["link"] = []any{resource{"type": "refer", "other": resource{"reference": "urn:uuid:m"}}}
	bundle["entry"] = append(entries, resource{"fullUrl": "urn:uuid:m", "resource": mother})
	server.Put(bundle)
	doc, err := source(t, server, fhir.ShapeHL7IT).Read(t.Context(), fhir.Locator{Type: "Bundle", ID: "b1", System: c1.System, Value: c1.Value})
	if err != nil || doc.Person.Trouble != fhir.NoFiscalCode {
		t.Errorf("%+v, %v", doc.Person, err)
	}
}
