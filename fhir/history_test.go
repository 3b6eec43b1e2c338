package fhir_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	"staffetta/fhir/sandbox"
)

func mustCode(t *testing.T, text string) fiscalcode.Code {
	t.Helper()
	code, err := fiscalcode.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// A citizen's documents are found by code and by Patient, also those of a record that was merged, and nobody else's.
func TestHistoryOf(t *testing.T) {
	for _, tt := range []struct {
		name, patient string
		byCode        bool
		lenient       bool
		want          string
		err           error
	}{
		{name: "by code", byCode: true, want: "first second third"},
		{name: "by the Patient that is alive", patient: "alive", want: "first second third"},
		{name: "by a Patient that was merged", patient: "merged", want: "first second third"},
		{name: "a server that ignores what it does not know", byCode: true, lenient: true, want: "first second third by-code"},
		{name: "nobody", patient: "nobody", err: fhir.ErrNoPatient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := sandbox.NewServer()
			server.Lenient = tt.lenient
			const code = "RSSMRA80A01H501U"
			alive := sandbox.Patient("alive", code, birth)
			alive["link"] = []any{sandbox.Resource{"type": "replaces", "other": sandbox.Resource{"reference": "Patient/merged"}}}
			merged := sandbox.Patient("merged", code, birth)
			merged["link"] = []any{sandbox.Resource{"type": "replaced-by", "other": sandbox.Resource{"reference": "Patient/alive"}}}
			server.Put(alive)
			server.Put(merged)
			server.Put(sandbox.Patient("other", "BNCLCU75B68F205U", birth))
			for i, report := range []struct {
				id      string
				subject sandbox.Resource
			}{
				{"first", sandbox.Resource{"reference": "Patient/alive"}},
				{"second", sandbox.Resource{"reference": "Patient/merged"}},
				{"third", sandbox.Resource{"reference": "Patient/alive"}},
				{"by-code", sandbox.Resource{"identifier": sandbox.Resource{"system": "http://hl7.it/sid/codiceFiscale", "value": code}}},
				{"of another", sandbox.Resource{"reference": "Patient/other"}},
			} {
				server.Put(sandbox.Resource{
					"resourceType": "DiagnosticReport", "id": strings.ReplaceAll(report.id, " ", "-"), "status": "final", "subject": report.subject,
					"issued": time.Date(2026, 11, 1+i, 0, 0, 0, 0, time.UTC).Format(time.RFC3339),
				})
			}
			var asked fiscalcode.Code
			if tt.byCode {
				asked = mustCode(t, code)
			}
			h, err := source(t, server, fhir.ShapeReport).HistoryOf(t.Context(), tt.patient, asked)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want %v", err, tt.err)
			}
			ids := make([]string, 0, len(h.Documents))
			for _, one := range h.Documents {
				ids = append(ids, one.Locator.ID)
			}
			if got := strings.Join(ids, " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if tt.err == nil && h.Code != mustCode(t, code) {
				t.Error("the citizen is somebody else")
			}
		})
	}
}

// A withdrawn document says whom it concerns only when that is asked.
func TestWhomAWithdrawnDocumentConcerns(t *testing.T) {
	server := sandbox.NewServer()
	server.Put(sandbox.Patient("p1", "RSSMRA80A01H501U", birth))
	server.Put(sandbox.Resource{
		"resourceType": "DiagnosticReport", "id": "r1", "status": "entered-in-error", "subject": sandbox.Resource{"reference": "Patient/p1"},
	})
	s, want := source(t, server, fhir.ShapeReport), mustCode(t, "RSSMRA80A01H501U")
	if doc, err := s.Read(t.Context(), r1); err != nil || doc.Standing != fhir.Withdrawn || doc.Person.Code == want {
		t.Errorf("%s of somebody, %v", doc.Standing, err)
	}
	if doc, err := s.ReadWithPerson(t.Context(), r1); err != nil || doc.Standing != fhir.Withdrawn || doc.Person.Code != want {
		t.Errorf("%s of nobody, %v", doc.Standing, err)
	}
}

// IO's test recipient is a code only where that is asked for, and written exactly so.
func TestIOsTestRecipient(t *testing.T) {
	for _, tt := range []struct {
		value   string
		allowed bool
		want    fhir.PersonTrouble
	}{
		{"AAAAAA00A00A000A", true, fhir.NoTrouble},
		{"AAAAAA00A00A000A", false, fhir.InvalidFiscalCode},
		{"aaaaaa00a00a000a", true, fhir.InvalidFiscalCode},
		{"RSSMRA80A01H501U", true, fhir.NoTrouble},
	} {
		server := sandbox.NewServer()
		server.Put(sandbox.Patient("p1", tt.value, birth))
		server.Put(sandbox.Resource{
			"resourceType": "DiagnosticReport", "id": "r1", "status": "final", "subject": sandbox.Resource{"reference": "Patient/p1"},
		})
		doc, err := source(t, server, fhir.ShapeReport, func(o *fhir.SourceOptions) { o.TestRecipient = tt.allowed }).Read(t.Context(), r1)
		if err != nil || doc.Person.Trouble != tt.want {
			t.Errorf("%s, allowed %t: %q, %v; want %q", tt.value, tt.allowed, doc.Person.Trouble, err, tt.want)
		}
		if tt.want == fhir.NoTrouble && doc.Person.Code.Reveal() != tt.value {
			t.Errorf("%s is read as another code", tt.value)
		}
	}
}
