package fhir_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// cutTexts are what servers make of a text: one that was cut within an emoji (it is JSON, by its grammar), and a letter in Latin-1.
var cutTexts = map[string]string{"half of a surrogate pair": `\ud83d`, "Latin-1": "\xe0"}

const cutHere = "CUT HERE"

// cutting writes such a text into whatever a server answers.
func cutting(next http.Handler, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			if name != "Content-Length" {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(bytes.ReplaceAll(answer.Body.Bytes(), []byte(cutHere), []byte(text)))
	})
}

// One text that is no Unicode keeps nobody from what we read beside it: neither its own document, nor all that a sweep would find.
func TestTextsThatAreNoUnicode(t *testing.T) {
	for name, text := range cutTexts {
		t.Run(name, func(t *testing.T) {
			body := `{"resourceType":"DiagnosticReport","conclusion":"` + text + `","code":{"text":"` + text + `"},"id":"r1","meta":{"versionId":"2"}}`
			if n, err := decode(strings.NewReader(body), false); err != nil || events(n) != "DiagnosticReport/r1@2" {
				t.Errorf("posted: %s, %v", events(n), err)
			}
			server := ward(func(report, _ resource) {
				report["conclusion"], report["code"] = cutHere, resource{"text": cutHere}
			})
			doc, err := source(t, cutting(server, text), fhir.ShapeReport).Read(t.Context(), r1)
			if err != nil || doc.Standing != fhir.Readable || doc.Person.Trouble != "" {
				t.Errorf("read: %s, %q, %v", doc.Standing, doc.Person.Trouble, err)
			}
			cut := written("r0000", 0, "final")
			cut["conclusion"] = cutHere
			server = sandbox.NewServer()
			server.Load(cut)
			server.Load(written("r0001", 0, "final"))
			server.Misbehave(sandbox.Quirks{NoElements: true})
			got, _, err := listing(t.Context(), changes(t, source(t, cutting(server, text), fhir.ShapeReport), finals), fhir.Look{Since: began})
			if diff := cmp.Diff(ids(0, 2), got); err != nil || diff != "" {
				t.Errorf("swept: %v (-want +got)\n%s", err, diff)
			}
		})
	}
}

// Nor does the name of an element, and one that is written with escapes is the same name.
func TestNamesThatAreNoUnicode(t *testing.T) {
	for _, text := range cutTexts {
		for _, name := range []string{`a\u0062`, "x" + text, `\u0078` + text} {
			body := `{"\u0072esourceType":"DiagnosticReport","` + name + `":{"` + name + `":1},"i\u0064":"r1"}`
			if n, err := decode(strings.NewReader(body), false); err != nil || events(n) != "DiagnosticReport/r1" {
				t.Errorf("%q: %s, %v", name, events(n), err)
			}
		}
	}
}

// What we do read must be whole.
func TestAnIDThatIsNoUnicode(t *testing.T) {
	for name, text := range cutTexts {
		body := `{"resourceType":"DiagnosticReport","id":"r1` + text + `"}`
		if n, err := decode(strings.NewReader(body), false); err == nil {
			t.Errorf("%s: %s", name, events(n))
		}
	}
}
