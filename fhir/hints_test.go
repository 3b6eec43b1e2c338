package fhir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"testing"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// compositionSamples are the samples of documents that are Compositions.
func compositionSamples(t *testing.T) (files []string) {
	t.Helper()
	files, err := filepath.Glob("../testdata/fse-samples/fse2-*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	return append(files, "../testdata/fse-samples/hl7it-document.json")
}

func sample(t *testing.T, file string) (r resource, shape fhir.Shape) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, file)), &r); err != nil {
		t.Fatal(err)
	}
	if r["type"] == "document" {
		return r, fhir.ShapeHL7IT
	}
	return r, fhir.ShapeFSE2
}

// asSampled lets a source know itself by the name that the samples give it.
func asSampled(o *fhir.SourceOptions) { o.Aliases = append(o.Aliases, "https://fse.example/fhir") }

// theDocument is what a sample is to a citizen.
func theDocument(r resource) (l fhir.Locator) {
	for _, e := range r["entry"].([]any) {
		inner, _ := e.(resource)["resource"].(resource)
		if inner["resourceType"] != "Composition" {
			continue
		}
		id, _ := inner["identifier"].(resource)
		l.Type, l.ID = "Composition", inner["id"].(string)
		l.System, _ = id["system"].(string)
		l.Value, _ = id["value"].(string)
	}
	return l
}

// Whichever resource of a document is hinted, alone, it leads to the one document (reference fse.md, 3.3): in JSON and in XML,
// from servers that keep single resources and from those that keep whole documents only.
func TestEachHintAloneLeadsToTheDocument(t *testing.T) {
	for _, file := range compositionSamples(t) {
		r, shape := sample(t, file)
		want := theDocument(r)
		hints := locators(r)
		if len(hints) < 3 {
			t.Fatalf("%s: %d hints", file, len(hints))
		}
		for _, kept := range []string{"single resources", "the whole document"} {
			for _, xml := range []bool{false, true} {
				server := sandbox.NewServer()
				server.XML = xml
				if kept == "single resources" {
					server.Load(r)
				} else {
					server.Put(r)
				}
				for _, hint := range hints {
					if kept == "the whole document" && hint.Type != "Bundle" {
						continue
					}
					leadsTo(t, source(t, server, shape, asSampled), hint, want)
				}
			}
		}
	}
}

// leadsTo wants the hint to lead to one document, which can be read by what the hint led to.
func leadsTo(t *testing.T, s *fhir.Source, hint, want fhir.Locator) {
	t.Helper()
	found, err := s.Find(t.Context(), hint)
	if err != nil || found.Standing != fhir.Readable || len(found.Documents) != 1 || found.Documents[0].Locator.Identity() != want.Identity() {
		t.Errorf("%s of %s: found %+v, %v", hint.Type, want.ID, found, err)
		return
	}
	doc, err := s.Read(t.Context(), found.Documents[0].Locator)
	if err != nil || doc.Standing != fhir.Readable || doc.Locator != found.Documents[0].Locator || doc.Person.Trouble != "" {
		t.Errorf("%s of %s: read %s, trouble %q, %v", hint.Type, want.ID, doc.Standing, doc.Person.Trouble, err)
	}
}

// A rest-hook that carries the whole sample, in JSON and in XML, leads to the one document, too, whatever of it the server
// keeps.
func TestAWholeDocumentPostedLeadsToTheDocument(t *testing.T) {
	for _, file := range compositionSamples(t) {
		r, shape := sample(t, file)
		want := theDocument(r)
		inJSON, err := json.Marshal(r)
		inXML, xmlErr := sandbox.XML(r)
		if err != nil || xmlErr != nil {
			t.Fatal(err, xmlErr)
		}
		for form, body := range map[string][]byte{"application/fhir+json": inJSON, "application/fhir+xml": inXML} {
			n, err := fhir.DecodeNotification(fhir.NotificationRequest{
				Method: http.MethodPost, ContentType: form, Body: bytes.NewReader(body), Limits: limits, Documents: true,
			})
			if err != nil || len(n.Events) == 0 {
				t.Fatalf("%s: %v, %v", file, n, err)
			}
			single, whole := sandbox.NewServer(), sandbox.NewServer()
			single.Load(r)
			whole.Put(r)
			led := 0
			for _, e := range n.Events {
				hint := fhir.Locator{Type: e.Type, ID: e.ID}
				leadsTo(t, source(t, single, shape, asSampled), hint, want)
				if found, err := source(t, whole, shape, asSampled).Find(t.Context(), hint); err == nil && len(found.Documents) > 0 {
					led++
				}
			}
			if shape == fhir.ShapeHL7IT && led != 1 {
				t.Errorf("%s, %s: %d of %s lead to the document of a server that keeps Bundles only", file, form, led, events(n))
			}
		}
	}
}

// The events of a document that is posted as it is. Where path and body both name it, they agree.
func TestEventsOfADocument(t *testing.T) {
	const document = `{"resourceType":"Bundle","id":"b1","type":"document","meta":{"versionId":"3"},"entry":[` +
		`{"resource":{"resourceType":"Composition","id":"c1"}},{"resource":{"resourceType":"DiagnosticReport","id":"r1"}}]}`
	const nameless = `{"resourceType":"Bundle","type":"document","entry":[{"resource":{"resourceType":"Composition"}},{"resource":{"resourceType":"DiagnosticReport","id":"r1"}}]}`
	for _, tt := range []struct {
		name, path, id, body string
		reports              bool
		want                 string // "": refused
	}{
		{"posted", "", "", document, false, "Composition/c1, Bundle/b1@3"},
		{"put to its own path", "Bundle", "b1", document, false, "Composition/c1, Bundle/b1@3"},
		{"put to the path of another Bundle", "Bundle", "b2", document, false, ""},
		{"put to the path of another type", "Composition", "b1", document, false, ""},
		{"named by its path alone", "Bundle", "b1", nameless, false, "Bundle/b1"},
		{"named by nothing", "", "", nameless, false, "DiagnosticReport/r1"},
		{"at a source of reports", "", "", document, true, "DiagnosticReport/r1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := fhir.DecodeNotification(fhir.NotificationRequest{
				Method: http.MethodPut, PathType: tt.path, PathID: tt.id, ContentType: "application/fhir+json",
				Body: bytes.NewReader([]byte(tt.body)), Limits: limits, Documents: !tt.reports,
			})
			issue, refused := errors.AsType[*fhir.Issue](err)
			if refused != (tt.want == "") || events(n) != tt.want || (refused && issue.Status != http.StatusBadRequest) {
				t.Errorf("got %s, %v; want %s", events(n), err, tt.want)
			}
		})
	}
}
