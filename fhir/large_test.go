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
