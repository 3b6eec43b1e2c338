package fhir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

const fhirXML = "application/fhir+xml"

func decodeAs(contentType string, body io.Reader, limits fhir.Limits) (fhir.Notification, error) {
	return fhir.DecodeNotification(fhir.NotificationRequest{
		Method: http.MethodPost, ContentType: contentType, Body: body, Limits: limits, Documents: true,
	})
}

// inXML is JSON as FHIR's XML; an error says that XML has no such form.
func inXML(text string) (string, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var r resource
	if err := dec.Decode(&r); err != nil {
		return "", err
	}
	translated, err := sandbox.XML(r)
	return string(translated), err
}

// forms are a sample as it is and, of a JSON resource, in XML. What has no resourceType has no name in XML.
func forms(tb testing.TB, sample string) map[string]string {
	tb.Helper()
	all := map[string]string{"as it is": sample, "with a byte order mark": "\xef\xbb\xbf" + sample}
	var r resource
	if json.Unmarshal([]byte(sample), &r) != nil || r["resourceType"] == nil {
		return all
	}
	translated, err := inXML(sample)
	if err != nil {
		tb.Fatal(err)
	}
	all["in XML"], all["in XML, with a byte order mark"] = translated, "\xef\xbb\xbf"+translated
	return all
}

// report is a body around something that stands in a report.
func report(inside string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><DiagnosticReport xmlns="http://hl7.org/fhir"><id value="r1"/>` + inside + `</DiagnosticReport>`
}

func TestWhatXMLMayLookLike(t *testing.T) {
	div := func(inside string) string {
		return report(`<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml">` + inside + `</div></text><meta><versionId value="2"/></meta>`)
	}
	const plain, versioned = "DiagnosticReport/r1", "DiagnosticReport/r1@2"
	for _, tt := range []struct{ name, body, want string }{
		{"without a declaration", `<DiagnosticReport xmlns="http://hl7.org/fhir"><id value="r1"/></DiagnosticReport>`, plain},
		{"blanks in front", "\r\n\t " + report("")[38:], plain},
		{"the encoding in small letters", strings.Replace(report(""), "UTF-8", "utf-8", 1), plain},
		{"with a prefix", `<f:DiagnosticReport xmlns:f="http://hl7.org/fhir"><f:id value="r1"/></f:DiagnosticReport>`, plain},
		{"a namespace of its own on a resource inside", `<Bundle xmlns="http://hl7.org/fhir"><type value="batch"/><entry><resource>` + report("")[38:] + `</resource></entry></Bundle>`, plain},
		{"single quotes", strings.ReplaceAll(report(`<meta><versionId value='2'/></meta>`), `"`, `'`), versioned},
		{"blanks in tags", "<DiagnosticReport\n xmlns = \"http://hl7.org/fhir\" ><id\tvalue = 'r1' ></id ></DiagnosticReport >\n", plain},
		{"references in values", `<DiagnosticReport xmlns="http://hl7.org/&#102;hi&#x72;"><id value="&#x72;&#49;"/></DiagnosticReport>`, plain},
		{"comments and instructions", `<!-- <!DOCTYPE a> --><?x <a ?>` + report(`<!-- a --><meta><!----><versionId value="2"/><?y?></meta>`)[38:] + "<!-- end --><?z?>", versioned},
		{"a schema location", `<DiagnosticReport xmlns="http://hl7.org/fhir" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://hl7.org/fhir a.xsd"><id value="r1"/></DiagnosticReport>`, plain},
		{"ids of elements", report(`<meta id="a" xml:id="b"><versionId id="c" value="2"/></meta><identifier id="r2"/>`), versioned},
		{"an extension of a primitive", report(`<meta><versionId value="2"><extension url="u"><valueString value="3"/></extension></versionId></meta>`), versioned},
		{"a primitive with an extension alone", report(`<meta><versionId><extension url="u"><valueCode value="unknown"/></extension></versionId></meta>`), plain},
		{"a narrative", div(`<p class="a">testo &amp; <br/>altro<img src="data:x"/></p><![CDATA[<id value="r2"/>]]>`), versioned},
		{"a narrative longer than anything that is kept", div(strings.Repeat("testo ", 1000) + "<!--" + strings.Repeat("- ", 2000) + "-->"), versioned},
		{"a narrative that forgot its namespace", report(`<text><div>testo</div></text><meta><versionId value="2"/></meta>`), versioned},
		{"a primitive that repeats", report(`<conclusionX value="a"/><conclusionX value="b"/><conclusionX value="c"/><meta><versionId value="2"/></meta>`), versioned},
		{"an object that repeats", report(`<identifier><value value="a"/></identifier><identifier/><identifier><value value="b"/></identifier><meta><versionId value="2"/></meta>`), versioned},
		{"a primitive that must not repeat is as good as absent", report(`<meta><versionId value="2"/><versionId value="3"/></meta>`), plain},
		{"contained resources are not the resource", report(`<contained><Patient><id value="p"/><meta><versionId value="9"/></meta></Patient></contained><contained><Patient><id value="q"/></Patient></contained><meta><versionId value="2"/></meta>`), versioned},
		{"a wrapper with nothing in it", report(`<contained/><meta><versionId value="2"/></meta>`), versioned},
		{"what JSON must escape", report(`<conclusion value="&quot;\ &#9;&#10;"/><meta><versionId value="2"/></meta>`), versioned},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, contentType := range []string{"application/fhir+xml; charset=UTF-8; fhirVersion=4.0", "application/xml", "text/xml", ""} {
				n, err := decodeAs(contentType, strings.NewReader(tt.body), limits)
				if err != nil || events(n) != tt.want {
					t.Errorf("%q: got %q, %v; want %q", contentType, events(n), err, tt.want)
				}
			}
			if n, err := decodeAs("", iotest.OneByteReader(strings.NewReader(tt.body)), limits); err != nil || events(n) != tt.want {
				t.Errorf("byte by byte: got %q, %v; want %q", events(n), err, tt.want)
			}
		})
	}
}

func TestWhatIsWrongWithXMLIsSaidWithoutValues(t *testing.T) {
	const namespace = ` xmlns="http://hl7.org/fhir"`
	laughs := `<!DOCTYPE r [<!ENTITY a "RSSMRA">` + strings.Repeat(`<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">`, 9) + `]>`
	many := func(n int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, ` a%d="x"`, i)
		}
		return all.String()
	}
	names := func(n int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, `<a%d/>`, i)
		}
		return all.String()
	}
	for _, tt := range []struct {
		name, body, diagnostics, expression string
		status                              int
	}{
		{"a document type", `<!DOCTYPE DiagnosticReport>` + report("")[38:], "document type", "", 400},
		{"in small letters", `<!doctype html><html/>`, "document type", "", 400},
		{"billion laughs", laughs + report(`<status value="&b;"/>`)[38:], "document type", "", 400},
		{"quadratic blowup", `<!DOCTYPE r [<!ENTITY a "` + strings.Repeat("a", 100_000) + `">]>` + report(`<status value="` + strings.Repeat("&a;", 30_000) + `"/>`)[38:], "document type", "", 400},
		{"an external entity", `<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + report(`<status value="&a;"/>`)[38:], "document type", "", 400},
		{"an external document type", `<!DOCTYPE r PUBLIC "-//RSSMRA//" "http://127.0.0.1/r.dtd">` + report("")[38:], "document type", "", 400},
		{"a parameter entity", `<!DOCTYPE r [<!ENTITY % a SYSTEM "http://127.0.0.1/"> %a;]>` + report("")[38:], "document type", "", 400},
		{"an entity declared in the middle", report(`<!ENTITY a "b">`), "document type", "", 400},
		{"an entity that nobody declared", report(`<status value="&RSSMRA;"/>`), "not well-formed XML", "", 400},
		{"HTML's entities, in a narrative", report(`<text><div xmlns="http://www.w3.org/1999/xhtml">&nbsp;</div></text>`), "not well-formed XML", "text", 400},
		{"a reference to no character", report(`<status value="&#0;"/>`), "not well-formed XML", "", 400},
		{"a reference beyond all characters", report(`<status value="&#x110000;"/>`), "not well-formed XML", "", 400},
		{"no namespace", `<DiagnosticReport><id value="r1"/></DiagnosticReport>`, "namespace", "", 400},
		{"another namespace", `<ClinicalDocument xmlns="urn:hl7-org:v3"/>`, "namespace", "", 400},
		{"HTML", `<html><body>RSSMRA`, "namespace", "", 400},
		{"XHTML", `<div xmlns="http://www.w3.org/1999/xhtml"/>`, "namespace", "", 400},
		{"a prefix that nobody declared", `<f:DiagnosticReport/>`, "namespace", "", 400},
		{"an element of another namespace", report(`<meta><versionId xmlns="urn:RSSMRA" value="2"/></meta>`), "namespace", "meta", 400},
		{"no namespace, further inside", report(`<meta xmlns=""/>`), "namespace", "", 400},
		{"a root that is no resource", `<entry` + namespace + `/>`, "not one FHIR resource", "", 400},
		{"a div as root", `<div` + namespace + `/>`, "not one FHIR resource", "", 400},
		{"two roots", report("") + `<Patient` + namespace + `/>`, "not one FHIR resource", "", 400},
		{"no root", `<!-- RSSMRA -->`, "not one FHIR resource", "", 400},
		{"a declaration alone", `<?xml version="1.0"?>`, "not one FHIR resource", "", 400},
		{"text between elements", report(`RSSMRA`), "text between", "", 400},
		{"text in a primitive", report(`<status value="final">RSSMRA</status>`), "text between", "", 400},
		{"text in a CDATA section", report(`<![CDATA[RSSMRA]]>`), "text between", "", 400},
		{"text behind the resource", report("") + "RSSMRA", "text between", "", 400},
		{"text as a value", report("<status>final</status>"), "text between", "status", 400},
		{"a resource that is not closed", strings.TrimSuffix(report(""), ">"), "not well-formed XML", "", 400},
		{"a value that is not closed", strings.TrimSuffix(report(`<status value="`), "</DiagnosticReport>"), "not well-formed XML", "", 400},
		{"a comment that is not closed", report(`<!-- `), "not well-formed XML", "", 400},
		{"a CDATA section that is not closed", report(`<![CDATA[ ]>`), "not well-formed XML", "", 400},
		{"an instruction that is not closed", report(`<?a `), "not well-formed XML", "", 400},
		{"elements that cross", report(`<meta><tag></meta></tag>`), "not well-formed XML", "meta[0].tag", 400},
		{"a value without quotes", report(`<status value=final/>`), "not well-formed XML", "", 400},
		{"a value twice", report(`<status value="final" value="amended"/>`), "not well-formed XML", "", 400},
		{"XML 1.1", strings.Replace(report(""), "1.0", "1.1", 1), "not well-formed XML", "", 400},
		{"an element in two places", report(`<status value="final"/><code/><status value="final"/>`), "two places", "status", 400},
		{"an id in two places", report(`<status value="final"/><id value="r2"/>`), "two places", "id", 400},
		{"two resources in one place", report(`<contained><Patient/><Patient/></contained>`), "two places", "contained[0].resourceType", 400},
		{"a made-up name is not repeated", report(`<RSSMRA80A01H501U/><RSSMRA80A01H501U/>`), "two places", "resourceType", 400},
		{"cut in an entry", `<Bundle` + namespace + `><type value="history"/><entry/><entry><resource><Patient><id value="`, "not well-formed XML", "entry[1].resource[0]", 400},
		{"thousands of attributes", report(`<status` + many(5000) + `/>`), "attributes", "", 400},
		{"a huge name of an attribute", report(`<status ` + strings.Repeat("a", 1<<20) + `="x"/>`), "attributes", "", 400},
		{"a huge name of an element", report(`<` + strings.Repeat("a", 1<<20) + `/>`), "attributes", "", 400},
		{"nested too deep", report(strings.Repeat(`<extension url="u">`, 1000)), "nested deeper", "", 400},
		{"nested too deep in a narrative", report(`<text><div xmlns="http://www.w3.org/1999/xhtml">` + strings.Repeat(`<b>`, 1000)), "nested deeper", "", 400},
		{"nested too deep in a primitive", report(`<id value="x">` + strings.Repeat(`<extension url="u">`, 1000)), "nested deeper", "", 400},
		{"more elements in one than FHIR has", report(names(1000)), "more elements", "", 400},
		{"too many entries", `<Bundle` + namespace + `><type value="batch"/>` + strings.Repeat(`<entry/>`, 10_000) + `</Bundle>`, "more entries", "", 413},
		{"an entry too many", `<Bundle` + namespace + `><type value="batch"/>` + strings.Repeat(`<entry/>`, 1001) + `</Bundle>`, "more entries", "", 413},
		{"another encoding, as it says", strings.Replace(report(""), "UTF-8", "ISO-8859-1", 1), "UTF-8", "", 415},
		{"another encoding, in the middle", report(`<?xml version="1.0" encoding="windows-1252"?>`), "UTF-8", "", 415},
		{"another encoding, as it is", report("<conclusion value=\"perch\xe9\"/>"), "UTF-8", "", 415},
		{"UTF-16", "\xff\xfe<\x00D\x00", "UTF-8", "", 415},
		{"UTF-16 without a byte order mark", "\x00<\x00D", "UTF-8", "", 415},
		{"a report without an id", `<DiagnosticReport` + namespace + `/>`, "id is missing", "DiagnosticReport.id", 400},
		{"a bare status", `<Parameters` + namespace + `/>`, "bare Parameters", "", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, contentType := range []string{fhirXML, ""} {
				_, err := decodeAs(contentType, strings.NewReader(tt.body), limits)
				issue, ok := errors.AsType[*fhir.Issue](err)
				if !ok || issue.Status != tt.status || !strings.Contains(issue.Diagnostics, tt.diagnostics) || issue.Expression != tt.expression {
					t.Fatalf("got %+v, want %d about %q at %q", err, tt.status, tt.diagnostics, tt.expression)
				}
				if outcome := string(fhir.Outcome(issue)); strings.Contains(outcome, "RSSMRA") || strings.Contains(outcome, "passwd") {
					t.Errorf("outcome %s", outcome)
				}
			}
		})
	}
}

func TestOtherTypesAndCharsetsAreRefused(t *testing.T) {
	for _, contentType := range []string{"text/xml; charset=iso-8859-15", "application/fhir+xml;charset=utf-16", "text/html", "application/soap", "xml"} {
		_, err := decodeAs(contentType, strings.NewReader(report("")), limits)
		if issue, ok := errors.AsType[*fhir.Issue](err); !ok || issue.Status != 415 || issue.Code != "not-supported" {
			t.Errorf("%q: %+v, want 415 not-supported", contentType, err)
		}
	}
}

func TestTooMuchXML(t *testing.T) {
	tight := fhir.Limits{MaxBytes: 1 << 20, MaxDepth: 16, MaxEntries: 10}
	for name, before := range map[string]string{"a value": `<status value="`, "a text": `<text><div xmlns="http://www.w3.org/1999/xhtml">`, "a comment": `<!-- `} {
		body := io.MultiReader(strings.NewReader(strings.TrimSuffix(report(before), "</DiagnosticReport>")), &pdf{2 << 20})
		_, err := decodeAs(fhirXML, body, tight)
		if issue, ok := errors.AsType[*fhir.Issue](err); !ok || issue.Status != 413 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing that is long in XML is ever held.
func TestNothingLongInXMLIsHeld(t *testing.T) {
	const some, pdfs = 2 << 20, 20 << 20
	for _, tt := range []struct {
		name                string
		size                int
		before, after, want string
	}{
		{"a PDF", pdfs, `<presentedForm><data value="`, `"/></presentedForm>`, "DiagnosticReport/r1"},
		{"a PDF in the other quotes", some, `<presentedForm><data value='`, `'/></presentedForm>`, "DiagnosticReport/r1"},
		{"a picture in a narrative", some, `<text><div xmlns="http://www.w3.org/1999/xhtml"><img src="`, `"/></div></text>`, "DiagnosticReport/r1"},
		{"a text in a narrative", some, `<text><div xmlns="http://www.w3.org/1999/xhtml">`, `</div></text>`, "DiagnosticReport/r1"},
		{"a CDATA section in a narrative", some, `<text><div xmlns="http://www.w3.org/1999/xhtml"><![CDATA[`, `]]></div></text>`, "DiagnosticReport/r1"},
		{"a comment", some, `<!-- `, ` -->`, "DiagnosticReport/r1"},
		{"an instruction", some, `<?a `, `?>`, "DiagnosticReport/r1"},
		{"a reference without an end", some, `<status value="&`, `;"/>`, ""},
		{"the name of an element", some, `<`, `/>`, ""},
		{"the name of an attribute", some, `<status `, `="x"/>`, ""},
		{"a document type", some, `<!DOCTYPE `, `>`, ""},
		{"a document type in a comment's clothes", some, `<!-`, `->`, ""},
		{"a text", some, ``, ``, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole := report(tt.before + "|" + tt.after)
			before, after, _ := strings.Cut(whole, "|")
			body := func() io.Reader {
				return io.MultiReader(strings.NewReader(before), &pdf{tt.size}, strings.NewReader(after))
			}
			n, err := decodeAs(fhirXML, body(), limits)
			if _, isIssue := errors.AsType[*fhir.Issue](err); events(n) != tt.want || isIssue != (tt.want == "") {
				t.Fatalf("got %q, %v; want %q", events(n), err, tt.want)
			}
			var earlier, later runtime.MemStats
			runtime.ReadMemStats(&earlier)
			_, _ = decodeAs(fhirXML, body(), limits)
			runtime.ReadMemStats(&later)
			if held := later.TotalAlloc - earlier.TotalAlloc; held > 512<<10 {
				t.Errorf("%d bytes were allocated for %d", held, tt.size)
			}
		})
	}
}

func FuzzDecodeXML(f *testing.F) {
	files, err := filepath.Glob("../testdata/*/*.json")
	if err != nil || len(files) < 20 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		if translated, err := inXML(read(f, file)); err == nil {
			f.Add([]byte(translated))
		}
	}
	f.Add([]byte(read(f, "../testdata/fse-samples/radiology-contained.xml")))
	for _, inside := range []string{
		`<!DOCTYPE a [<!ENTITY b "c">]>`, `<a value="&b;"/>`, `<![CDATA[a]]>`, `<?xml encoding="x"?>`, `<f:a xmlns:f="http://hl7.org/fhir"/>`,
		`<contained><Patient/><a/></contained>`, `<a value="1"/><a/><a value="2"/>`, `<resourceType value="Bundle"/>`, `<a value="1">x</a>`,
	} {
		f.Add([]byte(report(inside)))
	}
	tight := fhir.Limits{MaxBytes: 1 << 20, MaxDepth: 32, MaxEntries: 100}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := decodeAs(fhirXML, bytes.NewReader(body), tight)
		if err != nil {
			if issue, ok := errors.AsType[*fhir.Issue](err); !ok || issue.Status < 400 || issue.Status > 422 {
				t.Fatalf("no clear issue: %v", err)
			}
			return
		}
		if n.Kind == "" || len(n.Events) > 100*6 {
			t.Fatalf("%d events of kind %q", len(n.Events), n.Kind)
		}
		for _, e := range n.Events {
			if !fhir.IsID(e.ID) {
				t.Fatal("an event names no id")
			}
		}
	})
}
