package fhir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"staffetta/fhir/sandbox"
)

// What is read at sources is one thing in both forms; what only JSON tells apart (one, and a list of one) is no difference.
func TestNodesInBothForms(t *testing.T) {
	for _, tt := range []struct{ name, json, xml string }{
		{
			"a replacement", `{"resourceType":"Composition","id":"c2","relatesTo":[{"code":"replaces","targetReference":{"reference":"Composition/c1"}}]}`,
			`<Composition><id value="c2"/><relatesTo><code value="replaces"/><targetReference><reference value="Composition/c1"/></targetReference></relatesTo></Composition>`,
		},
		{
			"a replacement as the ministry's server writes it", `{"resourceType":"DocumentReference","relatesTo":[{"id":"d1","code":"replaces"}]}`,
			`<DocumentReference><relatesTo id="d1"><code value="replaces"/></relatesTo></DocumentReference>`,
		},
		{
			"a replacement in R5", `{"resourceType":"DocumentReference","relatesTo":[{"code":{"coding":[{"code":"replaces"}]},"target":{"reference":"DocumentReference/d1"}}]}`,
			`<DocumentReference><relatesTo><code><coding><code value="replaces"/></coding></code><target><reference value="DocumentReference/d1"/></target></relatesTo></DocumentReference>`,
		},
		{
			"extensions", `{"resourceType":"DiagnosticReport","extension":[{"url":"u","valueReference":{"reference":"DiagnosticReport/r2"}},{"url":"v","valueInteger":3}]}`,
			`<DiagnosticReport><extension url="u"><valueReference><reference value="DiagnosticReport/r2"/></valueReference></extension><extension url="v"><valueInteger value="3"/></extension></DiagnosticReport>`,
		},
		{
			"a primitive with an extension", `{"resourceType":"Patient","birthDate":"1980","_birthDate":{"extension":[{"url":"u"}]},"_active":{"extension":[{"url":"u"}]}}`,
			`<Patient><active><extension url="u"/></active><birthDate value="1980"><extension url="u"/></birthDate></Patient>`,
		},
		{
			"a contained resource", `{"resourceType":"DiagnosticReport","contained":[{"resourceType":"Patient","id":"p","active":true},{"resourceType":"Group","id":"g"}],"subject":{"reference":"#p"}}`,
			`<DiagnosticReport><contained><Patient><id value="p"/><active value="true"/></Patient></contained><contained><Group><id value="g"/></Group></contained><subject><reference value="#p"/></subject></DiagnosticReport>`,
		},
		{
			"an outcome", `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login"},{"severity":"fatal"}]}`,
			`<OperationOutcome><issue><severity value="error"/><code value="login"/></issue><issue><severity value="fatal"/></issue></OperationOutcome>`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one, err := readNode(strings.NewReader(tt.json), clipLimits)
			other, xmlErr := readNode(strings.NewReader(strings.Replace(tt.xml, ">", ` xmlns="http://hl7.org/fhir">`, 1)), clipLimits)
			if err != nil || xmlErr != nil || !reflect.DeepEqual(one, other) {
				t.Errorf("in JSON %+v, %v; in XML %+v, %v", one, err, other, xmlErr)
			}
		})
	}
}

// sayable is JSON without what XML says in another way: null, lists of one, and what is so long that it is cut, which comes
// earlier in the form that needs more escapes; two names may be the same once they are cut. A narrative would have to be
// well-formed.
func sayable(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			if inner = sayable(inner); inner == nil || name == "div" || len(name) > 1<<10 {
				delete(v, name)
				continue
			}
			v[name] = inner
		}
	case []any:
		v = slices.DeleteFunc(v, func(inner any) bool { return sayable(inner) == nil })
		if len(v) == 0 {
			return nil
		}
		if _, isObject := v[0].(map[string]any); len(v) == 1 && !isObject {
			return nil
		}
		return v
	case string:
		if len(v) > 1<<10 {
			return nil
		}
	case bool:
		return nil
	}
	return value
}

// What is said in JSON and in XML is understood as the same, posted or read.
func FuzzBothForms(f *testing.F) {
	files, err := filepath.Glob("../testdata/*/*.json")
	if err != nil || len(files) < 20 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	wide := Limits{MaxBytes: 8 << 20, MaxDepth: 10_000, MaxEntries: 100}
	f.Fuzz(func(t *testing.T, body []byte) {
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		var r sandbox.Resource
		if dec.Decode(&r) != nil {
			return
		}
		sayable(r)
		inJSON, err := json.Marshal(r)
		if err != nil {
			return
		}
		inXML, err := sandbox.XML(r)
		if err != nil {
			return
		}
		understood := func(body []byte) string {
			n, err := DecodeNotification(NotificationRequest{Method: http.MethodPost, Body: bytes.NewReader(body), Limits: wide, Documents: true})
			read, readErr := readNode(bytes.NewReader(body), wide)
			type whole Notification // without its String
			return fmt.Sprintf("%+v, %v; %+v, %v", whole(n), err, read, readErr)
		}
		if one, other := understood(inJSON), understood(inXML); one != other {
			t.Fatalf("in JSON %s\n%s\nin XML %s\n%s", one, inJSON, other, inXML)
		}
	})
}
