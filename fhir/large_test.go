package fhir_test

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"staffetta/fhir"
)

// A report with a PDF of 20 MB is read at its source as it is received: nothing of the PDF is held.
func TestALargeReportIsReadInPassing(t *testing.T) {
	const size = 20 << 20
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/fhir+json")
		_, _ = io.Copy(w, io.MultiReader(strings.NewReader(`{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"DiagnosticReport",
			"presentedForm":[{"data":"`), &pdf{size}, strings.NewReader(`"}],"id":"r1","status":"final","subject":{"identifier":
			{"system":"http://hl7.it/sid/codiceFiscale","value":"RSSMRA80A01H501U"}}}}]}`)))
	})
	s := source(t, handler, fhir.ShapeReport, func(o *fhir.SourceOptions) { o.MaxBody = 64 << 20 })
	read := func() {
		doc, err := s.Read(t.Context(), r1)
		if err != nil || doc.Standing != fhir.Readable || doc.Person.Trouble != fhir.NoTrouble {
			t.Fatal(doc.Standing, doc.Person.Trouble, err)
		}
	}
	read() // connections and buffers that stay
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if held := after.TotalAlloc - before.TotalAlloc; held > 1<<20 {
		t.Errorf("%d bytes were allocated for a report of %d", held, size)
	}
}

// An answer of many objects that say nothing is given up early: each takes far more room here than there.
func TestAnAnswerOfEmptyObjects(t *testing.T) {
	const many = 100_000
	for form, text := range map[string]string{
		"JSON": `{"resourceType":"DiagnosticReport","id":"r1","status":"final","contained":[{}` + strings.Repeat(",{}", many) + `]}`,
		"XML": `<DiagnosticReport xmlns="http://hl7.org/fhir"><id value="r1"/><status value="final"/>` + strings.Repeat("<contained><Patient/></contained>", many) +
			`</DiagnosticReport>`,
	} {
		t.Run(form, func(t *testing.T) {
			s := source(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, text)
			}), fhir.ShapeReport, func(o *fhir.SourceOptions) { o.MaxBody = 64 << 20 })
			if _, err := s.Read(t.Context(), r1); err == nil || !strings.Contains(err.Error(), "too large") {
				t.Errorf("got %v, want too large", err)
			}
		})
	}
}
