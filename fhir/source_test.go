package fhir_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

type resource = sandbox.Resource

// source reads a sandbox over HTTP.
func source(t *testing.T, handler http.Handler, shape fhir.Shape, changes ...func(*fhir.SourceOptions)) *fhir.Source {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	o := fhir.SourceOptions{
		Name: "test", BaseURL: server.URL + "/fhir/", Aliases: []string{"https://fse.example.it/fhir"}, Shape: shape,
		Client: server.Client(), MaxBody: 1 << 20,
	}
	for _, change := range changes {
		change(&o)
	}
	s, err := fhir.NewSource(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var birth = time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)

// ward is a server with one report of one patient.
func ward(change func(report, patient resource)) *sandbox.Server {
	server := sandbox.NewServer()
	patient := sandbox.Patient("p1", sandbox.CodeOf(1, birth), birth)
	report := resource{
		"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "issued": "2026-11-20T10:00:00Z",
		"subject": resource{"reference": "Patient/p1"},
	}
	if change != nil {
		change(report, patient)
	}
	server.Put(patient)
	server.Put(sandbox.Patient("p2", sandbox.CodeOf(2, birth), birth))
	server.Put(report)
	server.Put(resource{"resourceType": "DiagnosticReport", "id": "r2", "status": "final"})
	return server
}

var r1 = fhir.Locator{Type: "DiagnosticReport", ID: "r1"}

func TestPersonsOfAReport(t *testing.T) {
	own := sandbox.CodeOf(1, birth)
	identified := func(system, value string) resource { return resource{"system": system, "value": value} }
	const codes = "http://hl7.it/sid/codiceFiscale"
	for _, tt := range []struct {
		name    string
		subject any
		trouble fhir.PersonTrouble
		code    string
	}{
		{"relative", resource{"reference": "Patient/p1"}, "", own},
		{"absolute, under an alias", resource{"reference": "https://fse.example.it/fhir/Patient/p1"}, "", own},
		{"versioned", resource{"reference": "Patient/p1/_history/4"}, "", own},
		{"another server's is never asked for", resource{"reference": "https://other.example/fhir/Patient/p1"}, fhir.NoPatient, ""},
		{"a codice fiscale as a logical reference", resource{"identifier": identified(codes, own)}, "", own},
		{"another identifier that one patient carries", resource{"identifier": identified("urn:mrn", "77")}, "", own},
		{"another identifier that nobody carries", resource{"identifier": identified("urn:mrn", "78")}, fhir.NoPatient, ""},
		{"reference and identifier that agree", resource{"reference": "Patient/p1", "identifier": identified(codes, own)}, "", own},
		{"reference and identifier that disagree", resource{"reference": "Patient/p2", "identifier": identified(codes, own)}, fhir.TwoCodes, ""},
		{"conditional", resource{"reference": "Patient?identifier=" + codes + "|" + own}, "", own},
		{"a group", resource{"reference": "Group/g1"}, fhir.NotAPerson, ""},
		{"a device, by type", resource{"type": "Device", "identifier": identified(codes, own)}, fhir.NotAPerson, ""},
		{"display only", resource{"display": "somebody"}, fhir.NoSubject, ""},
		{"nobody", nil, fhir.NoSubject, ""},
		{"a URN without its Bundle", resource{"reference": "urn:uuid:1"}, fhir.NoSubject, ""},
		{"contained", resource{"reference": "#inside"}, "", sandbox.CodeOf(3, birth)},
		{"a fragment that is not there", resource{"reference": "#p"}, fhir.NoSubject, ""},
		{"a patient that is not there", resource{"reference": "Patient/p9"}, fhir.NoPatient, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(func(report, patient resource) {
				report["subject"] = tt.subject
				report["contained"] = []any{resource{
					"resourceType": "Patient", "id": "inside", "identifier": []any{identified(codes, sandbox.CodeOf(3, birth))},
				}}
				patient["identifier"] = append(patient["identifier"].([]any), identified("urn:mrn", "77"))
			})
			for _, server.XML = range []bool{false, true} {
				doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
				if err != nil {
					t.Fatal(err)
				}
				if doc.Person.Trouble != tt.trouble || doc.Person.Code.Reveal() != tt.code {
					t.Errorf("in XML: %t: got trouble %q (%s), want %q and the code that was meant", server.XML, doc.Person.Trouble, doc.Person.Detail, tt.trouble)
				}
			}
		})
	}
}

func TestLinksOfPatients(t *testing.T) {
	link := func(kind, to string) []any {
		return []any{resource{"type": kind, "other": resource{"reference": to}}}
	}
	without := func(p resource) { delete(p, "identifier") }
	for _, tt := range []struct {
		name    string
		change  func(patient resource)
		trouble fhir.PersonTrouble
		code    int // of the sandbox's people
	}{
		{"merged: the survivor's code", func(p resource) { p["link"] = link("replaced-by", "Patient/p2") }, "", 2},
		{"no code here, but the record that it refers to has one", func(p resource) { without(p); p["link"] = link("refer", "Patient/p2") }, "", 2},
		{"a code here: what it refers to does not matter", func(p resource) { p["link"] = link("refer", "Patient/p2") }, "", 1},
		{"replaces is not followed", func(p resource) { without(p); p["link"] = link("replaces", "Patient/p2") }, fhir.NoFiscalCode, 0},
		{"nor is seealso", func(p resource) { without(p); p["link"] = link("seealso", "Patient/p2") }, fhir.NoFiscalCode, 0},
		{"what it refers to is dead itself", func(p resource) { without(p); p["link"] = link("refer", "Patient/merged") }, fhir.NoFiscalCode, 0},
		{"another server is never asked", func(p resource) { without(p); p["link"] = link("refer", "https://other.example/fhir/Patient/p2") }, fhir.NoFiscalCode, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(func(_, patient resource) { tt.change(patient) })
			merged := sandbox.Patient("merged", sandbox.CodeOf(3, birth), birth)
			merged["link"] = link("replaced-by", "Patient/p2")
			server.Put(merged)
			doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
			want := ""
			if tt.code > 0 {
				want = sandbox.CodeOf(tt.code, birth)
			}
			if err != nil || doc.Person.Trouble != tt.trouble || doc.Person.Code.Reveal() != want {
				t.Errorf("got trouble %q (%s), %v", doc.Person.Trouble, doc.Person.Detail, err)
			}
		})
	}
}

func TestAMergeThatGoesRoundIsALoop(t *testing.T) {
	server := ward(func(_, patient resource) {
		patient["link"] = []any{resource{"type": "replaced-by", "other": resource{"reference": "Patient/p1"}}}
	})
	doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
	if err != nil || doc.Person.Trouble != fhir.LinkLoop {
		t.Errorf("got %q, %v", doc.Person.Trouble, err)
	}
}

func TestALenientServerIsNotBelieved(t *testing.T) {
	server := ward(nil)
	server.Lenient = true
	doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), fhir.Locator{Type: "DiagnosticReport", ID: "r9"})
	if err != nil || doc.Standing != fhir.Missing {
		t.Errorf("got %s, %v; want missing", doc.Standing, err)
	}
	server.Delete("DiagnosticReport/r1")
	if doc, err = source(t, server, fhir.ShapeReport).Read(t.Context(), r1); err != nil || doc.Standing != fhir.Gone {
		t.Errorf("got %s, %v; want gone", doc.Standing, err)
	}
}

func TestOneCallForAReport(t *testing.T) {
	server := ward(nil)
	doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
	if calls := server.Calls(); err != nil || doc.Order == 0 || calls["search"] != 1 || calls["read"] != 0 {
		t.Errorf("%v calls, order %d, %v; want one search", calls, doc.Order, err)
	}
}

func TestTroubles(t *testing.T) {
	answer := func(status int, header, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set("Retry-After", header)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	const outcome = `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"RSSMRA80A01H501U"}]}`
	const outcomeXML = `<OperationOutcome xmlns="http://hl7.org/fhir"><issue><severity value="fatal"/><code value="RSSMRA80A01H501U"/></issue></OperationOutcome>`
	for _, tt := range []struct {
		name    string
		handler http.Handler
		want    fhir.TroubleKind
		after   time.Duration
	}{
		{"401", answer(401, "", ""), fhir.Unauthorized, 0},
		{"403", answer(403, "", outcome), fhir.Unauthorized, 0},
		{"429", answer(429, "7", ""), fhir.Throttled, 7 * time.Second},
		{"503 with Retry-After", answer(503, "3", ""), fhir.Throttled, 3 * time.Second},
		{"503", answer(503, "", ""), fhir.Unavailable, 0},
		{"500", answer(500, "", outcome), fhir.Unavailable, 0},
		{"an error in a 200", answer(200, "", outcome), fhir.Unusable, 0},
		{"an error among the hits", answer(200, "", `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":`+outcome+`,"search":{"mode":"outcome"}}]}`), fhir.Unusable, 0},
		{"an error in a 200, in XML", answer(200, "", outcomeXML), fhir.Unusable, 0},
		{"an error among the hits, in XML", answer(200, "", `<Bundle xmlns="http://hl7.org/fhir"><type value="searchset"/><entry><resource>`+outcomeXML+`</resource><search><mode value="outcome"/></search></entry></Bundle>`), fhir.Unusable, 0},
		{"XML that is none", answer(200, "", `<Bundle xmlns="http://hl7.org/fhir"><RSSMRA80A01H501U`), fhir.Unusable, 0},
		{"XML with a document type", answer(200, "", `<!DOCTYPE RSSMRA80A01H501U><Bundle xmlns="http://hl7.org/fhir"/>`), fhir.Unusable, 0},
		{"XML in Latin-1", answer(200, "", "<Bundle xmlns=\"http://hl7.org/fhir\"><id value=\"\xe9\"/></Bundle>"), fhir.Unusable, 0},
		{"XML that is nested too deep", answer(200, "", `<Bundle xmlns="http://hl7.org/fhir">`+strings.Repeat("<entry>", 1000)), fhir.Unusable, 0},
		{"XML that is too large", answer(200, "", `<Bundle xmlns="http://hl7.org/fhir">`+strings.Repeat("<entry/>", 1<<20)), fhir.Unusable, 0},
		{"nothing", answer(200, "", ""), fhir.Unusable, 0},
		{"a page of HTML", answer(200, "", "<html>RSSMRA80A01H501U"), fhir.Unusable, 0},
		{"too large", answer(200, "", `{"resourceType":"Bundle","entry":[`+strings.Repeat(`{},`, 1<<20)), fhir.Unusable, 0},
		{"no answer", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), fhir.Unavailable, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := source(t, tt.handler, fhir.ShapeReport).Read(t.Context(), r1)
			trouble, ok := errors.AsType[*fhir.Trouble](err)
			if !ok || trouble.Kind != tt.want || trouble.RetryAfter != tt.after {
				t.Fatalf("got %v, want %s after %s", err, tt.want, tt.after)
			}
			for _, private := range []string{"RSSMRA", "r1", "127.0.0.1"} {
				if strings.Contains(err.Error(), private) {
					t.Errorf("the error holds %q: %v", private, err)
				}
			}
		})
	}
}

func TestTwoDocumentsOfOneReportAreAmbiguous(t *testing.T) {
	server := ward(nil)
	for _, id := range []string{"c1", "c2"} {
		server.Put(resource{
			"resourceType": "Composition", "id": id, "status": "final", "identifier": resource{"value": id},
			"type":    resource{"coding": []any{resource{"code": "11502-2"}}},
			"section": []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}},
		})
	}
	found, err := source(t, server, fhir.ShapeFSE2).Find(t.Context(), r1)
	if err != nil || !found.Ambiguous || len(found.Documents) != 0 {
		t.Errorf("got %+v, %v", found, err)
	}
}

// Of the versions of one document the last one counts, whichever of them was written last: an old one may be marked as such.
func TestTheNewestVersionOfADocumentCounts(t *testing.T) {
	const before, after = "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"
	number := func(n any) resource {
		return resource{"extension": []any{resource{"url": "https://fse.example/composition-clinicaldocument-versionNumber", "valueInteger": n}}}
	}
	dated := func(date string) resource { return resource{"date": date} }
	for _, tt := range []struct {
		name       string
		old, next  resource
		oldIsLater bool // it was written last
	}{
		{"by when it was written", resource{}, resource{}, false},
		{"by number", number(2), number(10), true},
		{"by number, of which the first has none", dated(after), number(2), true},
		{"by R5's number", resource{"version": "1"}, resource{"version": "2"}, true},
		{"by date", dated("2026-11-20T11:30:00+01:00"), dated("2026-11-20T10:45:00Z"), true},
		{"by day", dated("2026-11-20"), dated("2026-11-21T00:30:00+01:00"), true},
		{"a day and an hour of it say nothing", dated("2026-11-20T11:30:00+01:00"), dated("2026-11-20"), false},
		{"numbers that are none say nothing", resource{"version": "b"}, resource{"version": "a"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, shape := range []fhir.Shape{fhir.ShapeHL7IT, fhir.ShapeFSE2} {
				server := ward(nil)
				load := func(id, status, updated string, version resource) {
					r := maps.Clone(version)
					maps.Copy(r, resource{
						"resourceType": "Composition", "id": id, "status": status, "identifier": identified(c1.System, c1.Value), "subject": resource{"reference": "Patient/p1"},
						"type": concept("11502-2"), "section": []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}},
						"meta": resource{"versionId": "1", "lastUpdated": updated},
					})
					server.Load(r)
				}
				written := [2]string{before, after}
				if tt.oldIsLater {
					written = [2]string{after, before}
				}
				load("c1", "entered-in-error", written[0], tt.old)
				load("c2", "amended", written[1], tt.next)
				s := source(t, server, shape)
				doc, err := s.Read(t.Context(), c1)
				if err != nil || doc.Locator.ID != "c2" || doc.Standing != fhir.Readable || !strings.HasSuffix(doc.Edition, "|amended") {
					t.Errorf("%s: read %s, %s, edition %s, %v", shape, doc.Locator.ID, doc.Standing, doc.Edition, err)
				}
				found, err := s.Find(t.Context(), r1)
				if err != nil || len(found.Documents) != 1 || found.Documents[0].Locator.ID != "c2" {
					t.Errorf("%s: found %+v, %v", shape, found, err)
				}
			}
		})
	}
}

// A search for an identifier may not know yet what was found by its id: an old version that it gives is not the document.
func TestTheNewestVersionIsNotYetIndexed(t *testing.T) {
	server := ward(nil)
	putDocument(server, "Patient/p1")
	change(server, "Composition/c1", func(r resource) { r["date"] = "2026-11-20" })
	old, err := json.Marshal(server.Get("Composition/c1"))
	if err != nil {
		t.Fatal(err)
	}
	next := maps.Clone(server.Get("Composition/c1"))
	next["id"], next["status"], next["date"] = "c2", "amended", "2026-11-21"
	server.Put(next)
	server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/fhir/Composition/_search" {
			return false
		}
		_, _ = w.Write([]byte(`{"resourceType":"Bundle","type":"searchset","entry":[{"resource":` + string(old) + `}]}`))
		return true
	}
	s := source(t, server, fhir.ShapeHL7IT)
	for id, want := range map[string]string{"c1": "c1", "c2": "c2", "gone": "c1", "": "c1"} {
		doc, err := s.Read(t.Context(), fhir.Locator{Type: "Composition", ID: id, System: c1.System, Value: c1.Value})
		if err != nil || doc.Locator.ID != want || doc.Person.Code.Reveal() != sandbox.CodeOf(1, birth) {
			t.Errorf("%q: read %s, trouble %q, %v; want %s", id, doc.Locator.ID, doc.Person.Trouble, err, want)
		}
	}
}

// The same moment in another zone, as a server writes it that documents were moved to, makes no edition.
func TestAZoneMakesNoEdition(t *testing.T) {
	same := []string{"2026-11-20T11:00:00+01:00", "2026-11-20T10:00:00Z", "2026-11-20T10:00:00.000Z"}
	others := []string{"2026-11-20T11:00:01+01:00", "2026-11-20", "2026-11", "", "later"}
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeFSE2} {
		editions := map[string]bool{}
		for i, at := range append(same, others...) {
			server := ward(func(report, _ resource) { report["status"], report["issued"] = "amended", at })
			putDocument(server, "Patient/p1")
			change(server, "Composition/c1", func(r resource) { r["date"] = at })
			l := c1
			if shape == fhir.ShapeReport {
				l = r1
			}
			doc, err := source(t, server, shape).Read(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			if known := editions[doc.Edition]; known != (0 < i && i < len(same)) {
				t.Errorf("%s, %q: edition %s, known: %t", shape, at, doc.Edition, known)
			}
			editions[doc.Edition] = true
		}
	}
}

// samples are the documents of testdata/fse-samples with every patient, at one server.
func samples(t *testing.T) (server *sandbox.Server, documents []fhir.Locator) {
	t.Helper()
	files, err := filepath.Glob("../testdata/fse-samples/*.*")
	patients, patientsErr := filepath.Glob("../testdata/fse-samples/patients/*.*")
	if err != nil || patientsErr != nil || len(files) < 15 || len(patients) < 12 {
		t.Fatalf("%d documents, %d patients, %v, %v", len(files), len(patients), err, patientsErr)
	}
	server = sandbox.NewServer()
	for _, file := range append(files, patients...) {
		var r resource
		switch filepath.Ext(file) {
		case ".json":
			err = json.Unmarshal([]byte(read(t, file)), &r)
		case ".xml":
			r, err = sandbox.FromXML([]byte(read(t, file)))
		default:
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		server.Load(r)
		documents = append(documents, locators(r)...)
	}
	return server, documents
}

// locators are the hints that a server would give of a sample.
func locators(r resource) (all []fhir.Locator) {
	resources := []any{r}
	if entries, _ := r["entry"].([]any); entries != nil {
		for _, e := range entries {
			resources = append(resources, e.(resource)["resource"])
		}
	}
	for _, one := range resources {
		inner, _ := one.(resource)
		id, _ := inner["id"].(string)
		switch kind, _ := inner["resourceType"].(string); kind {
		case "DiagnosticReport", "Composition", "DocumentReference", "Bundle":
			if id != "" {
				all = append(all, fhir.Locator{Type: kind, ID: id})
			}
		}
	}
	return all
}

func TestFactsAreTheSameInXML(t *testing.T) {
	server, hints := samples(t)
	if len(hints) < 20 {
		t.Fatalf("%d hints of the samples", len(hints))
	}
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeHL7IT, fhir.ShapeFSE2} {
		documents, reader := 0, source(t, server, shape)
		for _, hint := range hints {
			var found [2]fhir.Found
			for i := range found {
				server.XML = i == 1
				var err error
				if found[i], err = reader.Find(t.Context(), hint); err != nil {
					t.Fatalf("%s: %v", hint.Type, err)
				}
			}
			documents += len(found[0].Documents)
			if !reflect.DeepEqual(found[0], found[1]) {
				t.Errorf("%s, %s: the facts of %s/%s differ", shape, hint.Type, hint.Type, hint.ID)
			}
		}
		if documents == 0 {
			t.Errorf("%s: no document was found", shape)
		}
	}
}

// raw serves one answer for everything, and remembers what it was asked to give.
func raw(contentType, body string, accept *string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*accept = r.Header.Get("Accept")
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	})
}

// The XML samples are read byte by byte as they are, in a Bundle and with whatever Content-Type.
func TestXMLSamplesAreReadAsTheyAre(t *testing.T) {
	const begin, end = `<?xml version='1.0'?><Bundle xmlns="http://hl7.org/fhir"><type value="searchset"/><total value="1"/>`, `</Bundle>`
	entry := func(text string) string {
		_, text, _ = strings.Cut(text, "?>")
		return `<entry><resource>` + text + `</resource><search><mode value="match"/></search></entry>`
	}
	report := entry(read(t, "../testdata/fse-samples/radiology-contained.xml"))
	of := func(patient, text string) string {
		return strings.Replace(report, "#p", "Patient/"+patient, 1) + entry(text)
	}
	for _, tt := range []struct {
		name, body    string
		code, trouble string
		detail        string
	}{
		{"radiology-contained.xml", report, "BNCLCU75B68F205U", "", ""},
		{"patients/eni-only.xml", of("eni", read(t, "../testdata/fse-samples/patients/eni-only.xml")), "", "no-fiscal-code", "eni"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkRaw(t, begin+tt.body+end, tt.code, tt.trouble, tt.detail)
		})
	}
	t.Run("patients/Patient-cf-residenza.xml", func(t *testing.T) {
		patient := reference(t, "fhir-samples/patients/Patient-cf-residenza.xml")
		checkRaw(t, begin+of("esempio-CF-residenza", patient)+end, "TSTPSN80A01D612A", "", "")
	})
}

func checkRaw(t *testing.T, body, code, trouble, detail string) {
	t.Helper()
	for _, contentType := range []string{"application/fhir+xml; charset=utf-8", "text/xml", "application/octet-stream"} {
		var accept string
		doc, err := source(t, raw(contentType, body, &accept), fhir.ShapeReport).Read(t.Context(), fhir.Locator{Type: "DiagnosticReport", ID: "rad-1"})
		if err != nil {
			t.Fatal(err)
		}
		if doc.Standing != fhir.Readable || doc.Version != "7c0d2a" || doc.Order != 1795417200000 || len(doc.Categories) != 1 {
			t.Errorf("standing %s, version %q, order %d, %d categories", doc.Standing, doc.Version, doc.Order, len(doc.Categories))
		}
		if doc.Person.Code.Reveal() != code || string(doc.Person.Trouble) != trouble || doc.Person.Detail != detail {
			t.Errorf("got trouble %q (%s), want %q (%s) and the code that was meant", doc.Person.Trouble, doc.Person.Detail, trouble, detail)
		}
		if accept != "application/fhir+json, application/fhir+xml;q=0.5" {
			t.Errorf("it was asked for %q", accept)
		}
	}
}

// Documents of one patient that come together ask for that patient once; a patient that is not there yet is asked for again.
func TestAPatientIsReadOnceForAllWhoAsk(t *testing.T) {
	var asked atomic.Int64
	var there atomic.Bool
	arrived, answer := make(chan struct{}, 1), make(chan struct{})
	server := ward(nil)
	server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.URL.Path, "/fhir/DiagnosticReport"):
			if !strings.Contains(r.URL.RawQuery, "_id") {
				return false
			}
			w.WriteHeader(http.StatusBadRequest) // no searches, so no patient comes along
			return true
		case !there.Load():
			asked.Add(1)
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		asked.Add(1)
		arrived <- struct{}{}
		<-answer
		return false
	}
	s := source(t, server, fhir.ShapeReport)
	for range 2 {
		if doc, err := s.Read(t.Context(), r1); err != nil || !doc.Person.Missing {
			t.Fatal(doc.Person.Trouble, err)
		}
	}
	if n := asked.Swap(0); n != 2 {
		t.Errorf("a patient that is missing was asked for %d times in two looks", n)
	}
	there.Store(true)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if doc, err := s.Read(t.Context(), r1); err != nil || doc.Person.Trouble != fhir.NoTrouble {
				t.Error(doc.Person.Trouble, err)
			}
		})
	}
	<-arrived
	close(answer)
	readers.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for one patient", n)
	}
}

// A patient is kept for a moment only: nobody is told by what a patient was a minute ago.
func TestAPatientIsKeptForAMoment(t *testing.T) {
	server := ward(nil)
	server.Fault = answering(http.StatusBadRequest, new(atomic.Int64), "_id") // no searches, so no patient comes along
	now := time.Now()
	s := source(t, server, fhir.ShapeReport, func(o *fhir.SourceOptions) { o.Now = func() time.Time { return now } })
	deceased := func() bool {
		doc, err := s.Read(t.Context(), r1)
		if err != nil || doc.Person.Trouble != fhir.NoTrouble {
			t.Fatal(doc.Person.Trouble, err)
		}
		return doc.Person.Deceased
	}
	if deceased() {
		t.Fatal("deceased before they died")
	}
	change(server, "Patient/p1", func(r resource) { r["deceasedBoolean"] = true })
	if deceased() {
		t.Error("read anew for each document of a burst")
	}
	now = now.Add(11 * time.Second)
	if !deceased() {
		t.Error("told by what the patient was a while ago")
	}
}
