package sandbox

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const fhirNamespace = "http://hl7.org/fhir"

// elementName is a name that an element of FHIR may have: one that begins with a capital letter is a resource.
var elementName = regexp.MustCompile(`^[a-z][A-Za-z0-9-]*$`)

var typeName = regexp.MustCompile(`^[A-Z][A-Za-z]+$`)

var errNotXML = errors.New("this cannot be said in FHIR's XML")

// XML is a resource as FHIR's XML. Elements stand in alphabetical order, since JSON keeps none: a strict model would want
// its own. It gives an error for what FHIR's XML cannot say: lists in lists, names and texts that XML does not allow.
func XML(r Resource) ([]byte, error) {
	var w xmlWriter
	w.to.WriteString(xml.Header)
	w.resource(r, ` xmlns="`+fhirNamespace+`"`)
	return w.to.Bytes(), w.err
}

// xmlWriter writes elements; err is the first thing that it could not say.
type xmlWriter struct {
	to  bytes.Buffer
	err error
}

// resource writes one with its type as its name.
func (w *xmlWriter) resource(r Resource, namespace string) {
	kind := text(r["resourceType"])
	if !typeName.MatchString(kind) {
		w.err = errNotXML
	}
	w.to.WriteString("<" + kind + namespace + ">")
	w.members(r)
	w.to.WriteString("</" + kind + ">")
}

func (w *xmlWriter) members(r Resource) {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if name == "resourceType" && typeName.MatchString(text(r[name])) || strings.HasPrefix(name, "_") {
			continue
		}
		for _, value := range list(r[name]) {
			w.element(name, value)
		}
	}
}

func (w *xmlWriter) element(name string, value any) {
	if !elementName.MatchString(name) {
		w.err = errNotXML
	}
	switch v := value.(type) {
	case Resource:
		w.complex(name, v)
	case []any:
		w.err = errNotXML
	case nil:
	default:
		plain := fmt.Sprint(v)
		if name == "div" {
			w.to.WriteString(plain) // XHTML as it is
			return
		}
		w.to.WriteString("<" + name)
		w.attribute("value", plain)
		w.to.WriteString("/>")
	}
}

// complex writes what is no primitive. The id of an element and the URL of an extension are attributes.
func (w *xmlWriter) complex(name string, r Resource) {
	w.to.WriteString("<" + name)
	isResource := typeName.MatchString(text(r["resourceType"]))
	r = maps.Clone(r)
	for _, a := range []struct {
		name string
		is   bool
	}{{"id", !isResource}, {"url", strings.HasSuffix(strings.ToLower(name), "extension")}} {
		if value, ok := r[a.name].(string); ok && a.is {
			w.attribute(a.name, value)
			delete(r, a.name)
		}
	}
	w.to.WriteString(">")
	if isResource {
		w.resource(r, "")
	} else {
		w.members(r)
	}
	w.to.WriteString("</" + name + ">")
}

func (w *xmlWriter) attribute(name, value string) {
	if strings.ContainsFunc(value, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff || r == 0xfffd
	}) {
		w.err = errNotXML
	}
	w.to.WriteString(" " + name + `="`)
	_ = xml.EscapeText(&w.to, []byte(value)) // a buffer takes everything
	w.to.WriteString(`"`)
}

// FromXML reads a resource from FHIR's XML, as samples have it: whatever stands twice becomes a list. Narratives are left out.
func FromXML(from []byte) (Resource, error) {
	dec := xml.NewDecoder(bytes.NewReader(from))
	for {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read XML: %w", err)
		}
		if root, ok := token.(xml.StartElement); ok {
			r := Resource{"resourceType": root.Name.Local}
			return r, children(dec, r)
		}
	}
}

// children reads the elements up to the end of the one that is open, into r.
func children(dec *xml.Decoder, r Resource) error {
	for {
		token, err := dec.Token()
		if err != nil {
			return fmt.Errorf("read XML: %w", err)
		}
		switch t := token.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if err := child(dec, r, t); err != nil {
				return err
			}
		}
	}
}

func child(dec *xml.Decoder, r Resource, e xml.StartElement) error {
	name := e.Name.Local
	switch {
	case name == "div":
		return dec.Skip()
	case typeName.MatchString(name):
		r["resourceType"] = name
		return children(dec, r)
	}
	inner := Resource{}
	var value any = inner
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "value":
			value = a.Value
		case "id", "url":
			inner[a.Name.Local] = a.Value
		}
	}
	if err := children(dec, inner); err != nil {
		return err
	}
	if before, twice := r[name]; twice {
		value = append(list(before), value)
	}
	r[name] = value
	return nil
}

// inXML is a response whose JSON is sent as XML.
type inXML struct{ http.ResponseWriter }

// WriteHeader says so.
func (w inXML) WriteHeader(status int) {
	w.Header().Set("Content-Type", "application/fhir+xml")
	w.ResponseWriter.WriteHeader(status)
}

// Write writes one whole resource.
func (w inXML) Write(body []byte) (int, error) {
	r, err := decoded(bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	translated, err := XML(r)
	if err != nil {
		return 0, err
	}
	_, err = w.ResponseWriter.Write(translated)
	return len(body), err
}

// decoded reads JSON with its numbers as they are written.
func decoded(from io.Reader) (r Resource, err error) {
	dec := json.NewDecoder(from)
	dec.UseNumber()
	err = dec.Decode(&r)
	return r, err
}

// wantsXML says whether a request asks for XML and would not have JSON.
func wantsXML(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "xml") && !strings.Contains(accept, "json")
}
