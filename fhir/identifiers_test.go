package fhir_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// The systems of reference fhir-subscriptions.md, 6, and fse.md, 6.
const (
	codesSID = "http://hl7.it/sid/codiceFiscale"
	codesOID = "urn:oid:2.16.840.1.113883.2.9.4.3.2"
	configed = "urn:regione:assistiti" // named in the configuration as one of the codice fiscale
	ministry = "urn:oid:2.16.840.1.113883.2.9.4.3."
)

// identified is an identifier, with more elements by name and value.
func identified(system, value string, more ...any) resource {
	id := resource{"system": system, "value": value}
	for i := 0; i+1 < len(more); i += 2 {
		id[more[i].(string)] = more[i+1]
	}
	return id
}

func period(start, end string) resource {
	p := resource{}
	if start != "" {
		p["start"] = start
	}
	if end != "" {
		p["end"] = end
	}
	return p
}

// atNight is when the identifiers are looked at: in Italy it is the 11th already, elsewhere still the 10th.
var atNight = time.Date(2026, 3, 10, 23, 30, 0, 0, time.UTC)

// The identifiers of a Patient, row by row of the reference: who is told, or why nobody is.
func TestIdentifiersOfAPatient(t *testing.T) {
	const own, other = "RSSMRA80A01H501U", "BNCLCU75B68F205U"
	for _, tt := range []struct {
		name            string
		identifiers     []any
		trouble, detail string
		code            string
	}{
		{"the system of the guides", []any{identified(codesSID, own)}, "", "", own},
		{"the system of the core guide and the ministry", []any{identified(codesOID, own)}, "", "", own},
		{"a configured system", []any{identified(configed, own)}, "", "", own},
		{"lower case, with blanks around", []any{identified(codesSID, " rssmra80a01h501u ")}, "", "", own},
		{"the same code twice is one", []any{identified(codesSID, own), identified(codesOID, own)}, "", "", own},
		{"two codes", []any{identified(codesSID, own), identified(codesOID, other)}, "two-codes", "", ""},
		{"a code and an omocodia form of it", []any{identified(codesSID, own), identified(codesSID, "RSSMRA80A01H50MM")}, "two-codes", "", ""},
		{"the omocodia form alone", []any{identified(codesSID, "RSSMRA80A01H50MM")}, "", "", "RSSMRA80A01H50MM"},
		{"use: old alone", []any{identified(codesSID, own, "use", "old")}, "no-fiscal-code", "none", ""},
		{"use: old beside the one that counts", []any{identified(codesSID, other, "use", "old"), identified(codesSID, own, "use", "official")}, "", "", own},
		{"an invalid one beside a valid one", []any{identified(codesSID, "RSSMRA80A01H501X"), identified(codesSID, own)}, "", "", own},
		{"a wrong check letter", []any{identified(codesSID, "RSSMRA80A01H501X")}, "invalid-fiscal-code", "bad-check", ""},
		{"no value", []any{resource{"system": codesSID}}, "no-fiscal-code", "none", ""},
		{"no identifier", []any{}, "no-fiscal-code", "none", ""},
		{"no system", []any{resource{"value": own}}, "no-fiscal-code", "other-system", ""},
		{"a bare OID", []any{identified("2.16.840.1.113883.2.9.4.3.2", own)}, "no-fiscal-code", "other-system", ""},
		{"a slash at the end of the system", []any{identified(codesSID+"/", own)}, "no-fiscal-code", "other-system", ""},
		{"no system, and no code", []any{resource{"value": "77"}}, "no-fiscal-code", "none", ""},
		{"STP beside a code of no system", []any{identified("http://hl7.it/sid/stp", "STP0301234567890"), resource{"value": own}}, "no-fiscal-code", "stp", ""},
		{"a type in place of a system", []any{resource{"type": concept("NNITA"), "value": own}}, "no-fiscal-code", "other-system", ""},

		{"a period that holds", []any{identified(codesSID, own, "period", period("2020-01-01", "2030"))}, "", "", own},
		{"a period that starts later", []any{identified(codesSID, own, "period", period("2026-03-12", ""))}, "no-fiscal-code", "none", ""},
		{"a period that starts today, in Italy", []any{identified(codesSID, own, "period", period("2026-03-11", ""))}, "", "", own},
		{"a period that starts in a moment", []any{identified(codesSID, own, "period", period("2026-03-10T23:30:01Z", ""))}, "no-fiscal-code", "none", ""},
		{"a period that ended yesterday, in Italy", []any{identified(codesSID, own, "period", period("", "2026-03-10"))}, "no-fiscal-code", "none", ""},
		{"a period that ends today", []any{identified(codesSID, own, "period", period("", "2026-03-11"))}, "", "", own},
		{"a period that ended a moment ago", []any{identified(codesSID, own, "period", period("", "2026-03-10T23:29:59Z"))}, "no-fiscal-code", "none", ""},
		{"a period that ends in a moment", []any{identified(codesSID, own, "period", period("", "2026-03-11T00:30:01+01:00"))}, "", "", own},
		{"a period that ends this month", []any{identified(codesSID, own, "period", period("", "2026-03"))}, "", "", own},
		{"a period that ended last year", []any{identified(codesSID, own, "period", period("", "2025"))}, "no-fiscal-code", "none", ""},
		{"two codes, one after the other", []any{
			identified(codesSID, other, "period", period("", "2026-03-10")), identified(codesSID, own, "period", period("2026-03-11", "")),
		}, "", "", own},

		{"ANPR", []any{identified("http://hl7.it/sid/anpr", "AB12CD34E")}, "no-fiscal-code", "anpr", ""},
		{"ANPR by OID", []any{identified(ministry+"16", "AB12CD34E")}, "no-fiscal-code", "anpr", ""},
		{"ANA, though it repeats the code", []any{identified(ministry+"15", own)}, "no-fiscal-code", "ana", ""},
		{"STP", []any{identified("http://hl7.it/sid/stp", "STP0301234567890")}, "no-fiscal-code", "stp", ""},
		{"STP by OID", []any{identified(ministry+"17", "STP0301234567890")}, "no-fiscal-code", "stp", ""},
		{"STP of a region", []any{identified("urn:oid:2.16.840.1.113883.2.9.2.120.4.1.1", "STP1201234567890")}, "no-fiscal-code", "stp", ""},
		{"STP in the place of the code", []any{identified(codesSID, "STP0301234567890")}, "no-fiscal-code", "stp", ""},
		{"ENI", []any{identified("http://hl7.it/sid/eni", "ENI0301234567890")}, "no-fiscal-code", "eni", ""},
		{"ENI by OID", []any{identified(ministry+"18", "ENI0301234567890")}, "no-fiscal-code", "eni", ""},
		{"ENI in the place of the code", []any{identified(codesOID, "ENI0301234567890")}, "no-fiscal-code", "eni", ""},
		{"TEAM, though it looks like a code", []any{identified(ministry+"7", own)}, "no-fiscal-code", "team", ""},
		{"the card of TEAM", []any{identified(ministry+"3", "80380000300123456789")}, "no-fiscal-code", "team", ""},
		{"a regional register", []any{identified("urn:oid:2.16.840.1.113883.2.9.2.30.4.1", own)}, "no-fiscal-code", "none", ""},
		{"eleven digits in the place of the code", []any{identified(codesSID, "12345678903")}, "no-fiscal-code", "provisional", ""},
		{"STP beside the code", []any{identified("http://hl7.it/sid/stp", "STP0301234567890"), identified(codesSID, own)}, "", "", own},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(func(_, patient resource) { patient["identifier"] = tt.identifiers })
			s := source(t, server, fhir.ShapeReport, func(o *fhir.SourceOptions) {
				o.FiscalCodeSystems, o.Now = []string{configed}, func() time.Time { return atNight }
			})
			doc, err := s.Read(t.Context(), r1)
			if who := doc.Person; err != nil || string(who.Trouble) != tt.trouble || who.Detail != tt.detail || who.Code.Reveal() != tt.code {
				t.Errorf("got trouble %q (%s), %v; want %q (%s) and the code that was meant", who.Trouble, who.Detail, err, tt.trouble, tt.detail)
			}
		})
	}
}

// Where a codice fiscale stands that nobody configured is said as far as it names nobody.
func TestTheSystemThatMayBeConfigured(t *testing.T) {
	const own = "RSSMRA80A01H501U"
	for _, tt := range []struct {
		name       string
		identifier resource
		want       string
	}{
		{"another system", identified("https://ospedale.example/sid/cf", own), "https://ospedale.example/sid/cf"},
		{"a bare OID", identified("2.16.840.1.113883.2.9.4.3.2", own), "2.16.840.1.113883.2.9.4.3.2"},
		{"no system", resource{"value": own}, "no system"},
		{"one that holds a code", identified("https://ospedale.example/"+own+"/cf", own), "a system that holds the code itself"},
		{"one that holds a code in lower case", identified("urn:rssmra80a01h501u", own), "a system that holds the code itself"},
		{"one that is no URI", identified("Mario Rossi", own), "a system that is no URI"},
		{"no code", identified("https://ospedale.example/sid/mrn", "77"), ""},
		{"a regional register", identified("urn:oid:2.16.840.1.113883.2.9.2.30.4.1", own), ""},
		{"a system that counts", identified(codesSID, own), ""},
	} {
		server := ward(func(_, patient resource) { patient["identifier"] = []any{tt.identifier} })
		doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
		if err != nil || doc.Person.System != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.name, doc.Person.System, err, tt.want)
		}
	}
}

// What a Patient says besides its identifiers.
func TestStatesOfAPatient(t *testing.T) {
	test := resource{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
	type want struct {
		deceased, inactive, test bool
		trouble                  fhir.PersonTrouble
	}
	for _, tt := range []struct {
		name   string
		change resource
		want   want
	}{
		{"nothing", nil, want{}},
		{"deceasedBoolean: false is alive", resource{"deceasedBoolean": false}, want{}},
		{"deceasedBoolean: true", resource{"deceasedBoolean": true}, want{deceased: true}},
		{"deceasedDateTime", resource{"deceasedDateTime": "2026"}, want{deceased: true}},
		{"active: false", resource{"active": false}, want{inactive: true}},
		{"dead, without a code, and another record has one", resource{
			"deceasedBoolean": true, "identifier": []any{}, "link": []any{resource{"type": "refer", "other": resource{"reference": "Patient/p2"}}},
		}, want{deceased: true}},
		{"HTEST in security", resource{"meta": resource{"security": []any{test}}}, want{test: true}},
		{"HTEST as a tag", resource{"meta": resource{"tag": []any{test}}}, want{test: true}},
		{"another tag", resource{"meta": resource{"tag": []any{resource{"code": "R"}}}}, want{}},
		{"replaced by a RelatedPerson", resource{"link": replacedBy("RelatedPerson/x")}, want{trouble: fhir.LinkLoop}},
		{"replaced by a patient of another server", resource{"link": replacedBy("https://other.example/fhir/Patient/p2")}, want{trouble: fhir.LinkLoop}},
		{"replaced by somebody who is named by an identifier", resource{"link": []any{
			resource{"type": "replaced-by", "other": resource{"identifier": identified("urn:mrn", "88")}},
		}}, want{trouble: fhir.LinkLoop}},
		{"replaced by nobody who is named", resource{"link": []any{resource{"type": "replaced-by"}}}, want{trouble: fhir.LinkLoop}},
		{"replaced by two", resource{"link": append(replacedBy("Patient/p2"), replacedBy("Patient/p3")...)}, want{trouble: fhir.LinkLoop}},
		{"replaced by one, said twice", resource{"link": append(replacedBy("Patient/p2"), replacedBy("Patient/p2")...)}, want{}},
		{"replaced by a patient that is not there", resource{"link": replacedBy("Patient/p9")}, want{trouble: fhir.NoPatient}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(func(_, patient resource) {
				maps.Copy(patient, tt.change)
			})
			doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
			got := want{
				deceased: doc.Person.Deceased, inactive: doc.Person.Inactive, trouble: doc.Person.Trouble,
				test: len(doc.Labels) == 1 && doc.Labels[0].Code == "HTEST",
			}
			if err != nil || got != tt.want || (!got.test && len(doc.Labels) > 0) {
				t.Errorf("got %+v with labels %v, want %+v, %v", got, doc.Labels, tt.want, err)
			}
		})
	}
}

func replacedBy(to string) []any {
	return []any{resource{"type": "replaced-by", "other": resource{"reference": to}}}
}

// Five merges in a row are followed, a sixth is too deep.
func TestMergesAreFollowedFiveTimes(t *testing.T) {
	for _, tt := range []struct {
		merges  int
		trouble fhir.PersonTrouble
	}{{1, ""}, {4, ""}, {5, ""}, {6, fhir.LinkLoop}} {
		server := ward(func(_, patient resource) { patient["link"] = replacedBy("Patient/m1") })
		for i := range tt.merges {
			survivor := sandbox.Patient(fmt.Sprint("m", i+1), sandbox.CodeOf(3, birth), birth)
			if i+1 < tt.merges {
				survivor["link"] = replacedBy(fmt.Sprint("Patient/m", i+2))
			}
			server.Put(survivor)
		}
		doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
		if err != nil || doc.Person.Trouble != tt.trouble || (tt.trouble == "" && doc.Person.Code.Reveal() != sandbox.CodeOf(3, birth)) {
			t.Errorf("%d merges: got trouble %q, %v; want %q", tt.merges, doc.Person.Trouble, err, tt.trouble)
		}
	}
}

// The subject of a report, where it is no reference to a patient of this server.
func TestSubjectsOfAReport(t *testing.T) {
	own := sandbox.CodeOf(1, birth)
	for _, tt := range []struct {
		name    string
		subject resource
		trouble fhir.PersonTrouble
		missing bool
	}{
		{"an identifier that two patients carry", resource{"identifier": identified("urn:mrn", "both")}, fhir.NoPatient, false},
		{"an identifier that nobody carries", resource{"identifier": identified("urn:mrn", "78")}, fhir.NoPatient, true},
		{"an identifier that one patient carries", resource{"identifier": identified("urn:mrn", "77")}, "", false},
		{"an identifier of another system", resource{"identifier": identified("urn:other", "77")}, fhir.NoPatient, true},
		{"a code under a configured system", resource{"identifier": identified(configed, own)}, "", false},
		{"a conditional reference, escaped", resource{"reference": "Patient?identifier=http%3A%2F%2Fhl7.it%2Fsid%2FcodiceFiscale%7C" + own}, "", false},
		{"a conditional reference to nobody", resource{"reference": "Patient?identifier="}, fhir.NoSubject, false},
		{"a reference, and an identifier that is not the patient's", resource{"reference": "Patient/p1", "identifier": identified("urn:mrn", "88")}, fhir.TwoCodes, false},
		{"a place", resource{"reference": "Location/l1"}, fhir.NotAPerson, false},
		{"a place, by type", resource{"type": "Location", "display": "Reparto"}, fhir.NotAPerson, false},
		{"a type by its URL", resource{"type": "http://hl7.org/fhir/StructureDefinition/Patient", "reference": "Patient/p1"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(func(report, patient resource) {
				report["subject"] = tt.subject
				patient["identifier"] = append(patient["identifier"].([]any), identified("urn:mrn", "77"), identified("urn:mrn", "both"))
			})
			second := server.Get("Patient/p2")
			second["identifier"] = append(second["identifier"].([]any), identified("urn:mrn", "88"), identified("urn:mrn", "both"))
			server.Put(second)
			s := source(t, server, fhir.ShapeReport, func(o *fhir.SourceOptions) { o.FiscalCodeSystems = []string{configed} })
			doc, err := s.Read(t.Context(), r1)
			if who := doc.Person; err != nil || who.Trouble != tt.trouble || who.Missing != tt.missing || (tt.trouble == "") != (who.Code.Reveal() == own) {
				t.Errorf("got trouble %q (%s), missing %t, %v; want %q", who.Trouble, who.Detail, who.Missing, err, tt.trouble)
			}
		})
	}
}

// A server that ignores what a search asks for gives patients that nobody asked for.
func TestALogicalReferenceIsCheckedByUs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		others  []any // identifiers of the other patient
		trouble fhir.PersonTrouble
	}{
		{"the other has none of it", []any{identified("urn:mrn", "88")}, ""},
		{"the other has the value of another system", []any{identified("urn:other", "77")}, ""},
		{"both have it", []any{identified("urn:mrn", "77")}, fhir.NoPatient},
	} {
		server := ward(func(report, patient resource) {
			report["subject"] = resource{"identifier": identified("urn:mrn", "77")}
			patient["identifier"] = append(patient["identifier"].([]any), identified("urn:mrn", "77"))
		})
		change(server, "Patient/p2", func(r resource) { r["identifier"] = tt.others })
		server.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.ParseForm() == nil {
				r.Form.Del("identifier")
			}
			return false
		}
		doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
		if err != nil || doc.Person.Trouble != tt.trouble || (tt.trouble == "" && doc.Person.Code.Reveal() != sandbox.CodeOf(1, birth)) {
			t.Errorf("%s: got trouble %q, %v; want %q", tt.name, doc.Person.Trouble, err, tt.trouble)
		}
	}
}

// What means something to a search is escaped in what is searched.
func TestALogicalReferenceOfOddCharacters(t *testing.T) {
	for _, value := range []string{`7,8`, `a|b`, `a$b`, `a\b`, `a\,b`, `CF^^^&2.16.840.1&ISO`} {
		server := ward(func(report, patient resource) {
			report["subject"] = resource{"identifier": identified("urn:mrn", value)}
			patient["identifier"] = append(patient["identifier"].([]any), identified("urn:mrn", value))
		})
		doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
		if err != nil || doc.Person.Code.Reveal() != sandbox.CodeOf(1, birth) {
			t.Errorf("%s: got trouble %q, %v", value, doc.Person.Trouble, err)
		}
	}
}

// Composition and DocumentReference both speak of whom the document is about: whatever needs a person wins, in either order.
func TestVoicesThatDisagree(t *testing.T) {
	stp := []any{identified("http://hl7.it/sid/stp", "STP0301234567890")}
	own, other := []any{identified(codesSID, sandbox.CodeOf(1, birth))}, []any{identified(codesSID, sandbox.CodeOf(2, birth))}
	invalid := []any{identified(codesSID, "RSSMRA80A01H501X")}
	for _, tt := range []struct {
		name string
		a, b []any
		want fhir.PersonTrouble
	}{
		{"the same person", own, own, ""},
		{"two persons", own, other, fhir.TwoCodes},
		{"no code, and two", stp, slices.Concat(own, other), fhir.TwoCodes},
		{"no code, and one", stp, own, ""},
		{"no code, and none", stp, stp, fhir.NoFiscalCode},
		{"no code, and an invalid one", stp, invalid, fhir.InvalidFiscalCode},
		{"a code, and an invalid one", own, invalid, fhir.InvalidFiscalCode},
		{"an invalid one, and two", invalid, slices.Concat(own, other), fhir.TwoCodes},
	} {
		for _, voices := range [][2][]any{{tt.a, tt.b}, {tt.b, tt.a}} {
			server := ward(nil)
			for i, id := range []string{"first", "second"} {
				patient := sandbox.Patient(id, "", birth)
				patient["identifier"], patient["deceasedBoolean"] = voices[i], i == 1
				server.Put(patient)
			}
			putDocument(server, "Patient/first", resource{"subject": resource{"reference": "Patient/second"}})
			doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
			if err != nil || doc.Person.Trouble != tt.want {
				t.Errorf("%s: got trouble %q, %v; want %q", tt.name, doc.Person.Trouble, err, tt.want)
			}
			if tt.want == "" && !doc.Person.Deceased {
				t.Errorf("%s: one of the voices says that they died, and nobody heard it", tt.name)
			}
		}
	}
}

// A birth date is read as late as it may be, and of two voices the later counts: nobody is told who may be under age.
func TestBirthsAreReadAtTheirLatest(t *testing.T) {
	for _, tt := range []struct{ first, second, want string }{
		{"1980-01-02", "", "1980-01-02"},
		{"1980-02", "", "1980-02-29"},
		{"1980", "", "1980-12-31"},
		{"1980-01-02T23:30:00Z", "", "1980-01-02"},
		{"in spring", "", "0001-01-01"},
		{"1980", "2010-05-01", "2010-05-01"},
		{"2010-05-01", "1980", "2010-05-01"},
	} {
		server := ward(nil)
		for id, birthDate := range map[string]string{"first": tt.first, "second": tt.second} {
			patient := sandbox.Patient(id, sandbox.CodeOf(1, birth), birth)
			patient["birthDate"] = birthDate
			server.Put(patient)
		}
		putDocument(server, "Patient/first", resource{"subject": resource{"reference": "Patient/second"}})
		doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
		if got := doc.Person.Birth.Format(time.DateOnly); err != nil || got != tt.want {
			t.Errorf("%q and %q: %s, %v; want %s", tt.first, tt.second, got, err, tt.want)
		}
	}
}

// Where a server refuses to search for an identifier, who is named by a reference is known all the same.
func TestAServerThatRefusesSearchesForIdentifiers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		subject resource
		trouble fhir.PersonTrouble
		detail  string
	}{
		{"an identifier beside a reference", resource{"reference": "Patient/p1", "identifier": identified("urn:mrn", "77")}, "", ""},
		{"a code beside a reference", resource{"reference": "Patient/p1", "identifier": identified(codesSID, sandbox.CodeOf(1, birth))}, "", ""},
		{"an identifier alone", resource{"identifier": identified("urn:mrn", "77")}, fhir.NoFiscalCode, "other-identifier"},
	} {
		server := ward(func(report, _ resource) { report["subject"] = tt.subject })
		server.Fault = answering(http.StatusBadRequest, new(atomic.Int64), "identifier")
		doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
		if who := doc.Person; err != nil || who.Trouble != tt.trouble || who.Detail != tt.detail || (tt.trouble == "") != (who.Code.Reveal() != "") {
			t.Errorf("%s: got trouble %q (%s), %v; want %q", tt.name, who.Trouble, who.Detail, err, tt.trouble)
		}
	}
}

// A Patient may refer to several records.
func TestRecordsThatAPatientRefersTo(t *testing.T) {
	for _, tt := range []struct {
		name    string
		p3      string
		trouble fhir.PersonTrouble
		code    string
	}{
		{"the second one has the code", "", "", sandbox.CodeOf(2, birth)},
		{"two codes", sandbox.CodeOf(1, birth), fhir.TwoCodes, ""},
	} {
		server := ward(func(_, patient resource) {
			delete(patient, "identifier")
			patient["link"] = []any{
				resource{"type": "refer", "other": resource{"reference": "Patient/p3"}},
				resource{"type": "refer", "other": resource{"reference": "Patient/p2"}},
			}
		})
		p3 := sandbox.Patient("p3", tt.p3, birth)
		if tt.p3 == "" {
			delete(p3, "identifier")
		}
		server.Put(p3)
		doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
		if err != nil || doc.Person.Trouble != tt.trouble || doc.Person.Code.Reveal() != tt.code {
			t.Errorf("%s: %+v, %v", tt.name, doc.Person, err)
		}
	}
}
