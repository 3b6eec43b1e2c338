package fhir

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// xmlFault is what is wrong with XML, in words of ours that follow «the body is» or «the answer is».
type xmlFault string

// Error is those words.
func (f xmlFault) Error() string { return string(f) }

const (
	errNotXML    = xmlFault("not well-formed XML")
	errDoctype   = xmlFault("XML with a document type declaration, which is never read")
	errNamespace = xmlFault("XML outside of the namespace http://hl7.org/fhir")
	errStray     = xmlFault("XML with text between its elements")
	errNotOne    = xmlFault("not one FHIR resource in XML")
	errLongTag   = xmlFault("XML with more attributes in a tag than are read")
	errTwice     = xmlFault("XML with an element that stands in two places")
)

// xmlTrouble is what is wrong with XML, and where.
type xmlTrouble struct {
	fault xmlFault
	at    string // the path of an element around it
}

// Error is the fault.
func (t *xmlTrouble) Error() string { return t.fault.Error() }

// asXMLTrouble is an error of reading JSON that an xmlReader made, and the element that was read last. What bounds any body
// is no fault of its XML.
func asXMLTrouble(err error, last jsontext.Pointer) error {
	for _, bound := range []error{errTooLarge, errTooMany, errTooManyNames, errTooDeep, errEncoding, context.DeadlineExceeded} {
		if errors.Is(err, bound) {
			return bound
		}
	}
	at := last.Parent()
	fault, known := errors.AsType[xmlFault](err)
	twice, isTwice := errors.AsType[*jsontext.SyntacticError](err) // nothing else can be wrong with JSON of ours
	switch {
	case isTwice:
		fault, at = errTwice, twice.JSONPointer
	case !known: // its own text may hold what the sender wrote
		fault = errNotXML
	}
	return &xmlTrouble{fault, expression(string(at))}
}

// fhirNamespace is the only one that we read; what stands in a Narrative's div is passed over.
const fhirNamespace = "http://hl7.org/fhir"

// xmlReader passes FHIR's XML on as FHIR's JSON, so that one reader understands both. It knows how FHIR writes XML, and no
// resource: an element with a value is a primitive, one whose name begins with a capital letter is a resource and gives its
// parent a resourceType, and anything else is an object. Whether an object may repeat is not to be seen from its first
// one, so that each stands in an array; a primitive does only where it repeats. What a primitive has besides its value is
// passed over.
type xmlReader struct {
	dec      *xml.Decoder
	maxDepth int

	open      []xmlElement
	ignored   int  // elements open inside of what is passed over, itself included
	narrative bool // what is passed over is a Narrative's div
	ended     bool // the resource has

	out  []byte // JSON that is not yet read
	held int    // of out: where the value of the last primitive begins, which might have to stand in an array; -1: no
	err  error
}

// xmlElement is an element that is open.
type xmlElement struct {
	last  string // the name that was written last in it
	list  bool   // and its array is open
	names int    // written so far
	same  bool   // it is a resource inside of another element, and both are one object
}

func newXMLReader(from io.Reader, limits Limits) *xmlReader {
	dec := xml.NewDecoder(newXMLClip(from, limits))
	dec.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errEncoding }
	return &xmlReader{dec: dec, maxDepth: limits.MaxDepth, held: -1}
}

// Read translates some more.
func (x *xmlReader) Read(p []byte) (int, error) {
	for x.err == nil && x.ready() < min(len(p), clipAt) {
		x.err = x.token()
	}
	n := copy(p, x.out[:x.ready()])
	if n == 0 && len(p) > 0 {
		return 0, x.err
	}
	x.out = append(x.out[:0], x.out[n:]...)
	if x.held >= 0 {
		x.held -= n
	}
	return n, nil
}

func (x *xmlReader) ready() int {
	if x.held >= 0 {
		return x.held
	}
	return len(x.out)
}

func (x *xmlReader) token() error {
	token, err := x.dec.Token()
	if err != nil {
		return x.after(err)
	}
	switch t := token.(type) {
	case xml.StartElement:
		return x.start(t)
	case xml.EndElement:
		x.end()
	case xml.CharData:
		if !x.narrative && strings.Trim(string(t), " \t\r\n") != "" {
			return errStray
		}
	case xml.Directive: // refused before it comes here
		return errDoctype
	}
	return nil
}

// after is what the decoder's error means.
func (x *xmlReader) after(err error) error {
	syntax, isSyntax := errors.AsType[*xml.SyntaxError](err)
	switch {
	case errors.Is(err, io.EOF) && !x.ended:
		return errNotOne
	case isSyntax && syntax.Msg == "invalid UTF-8":
		return errEncoding
	}
	return err
}

func (x *xmlReader) start(e xml.StartElement) error {
	if len(x.open)+x.ignored >= x.maxDepth {
		return errTooDeep
	}
	name := e.Name.Local
	isResource := 'A' <= name[0] && name[0] <= 'Z'
	switch {
	case x.ignored > 0:
		x.ignored++
		return nil
	case x.ended:
		return errNotOne
	case len(x.open) > 0 && x.open[len(x.open)-1].names >= namesAt:
		return errTooManyNames
	case e.Name.Space != fhirNamespace && (name != "div" || len(x.open) == 0):
		return errNamespace
	case !isResource && len(x.open) == 0:
		return errNotOne
	case name == "div":
		x.ignored, x.narrative = 1, true
		return nil
	case isResource:
		x.resource(name)
		return nil
	}
	return x.element(name, e.Attr)
}

// resource begins the resource itself, or makes one of the element that it stands in.
func (x *xmlReader) resource(name string) {
	inner := xmlElement{same: len(x.open) > 0}
	if inner.same {
		outer := &x.open[len(x.open)-1]
		x.endList(outer)
		inner.last, outer.last = outer.last, "resourceType"
	} else {
		x.out = append(x.out, '{')
	}
	x.open = append(x.open, inner)
	x.member("resourceType", true)
	x.quoted(name)
}

func (x *xmlReader) element(name string, attributes []xml.Attr) error {
	value, isPrimitive, err := attribute(attributes, "value")
	if err != nil {
		return err
	}
	x.member(name, isPrimitive)
	if isPrimitive {
		x.quoted(value)
		x.ignored = 1
		return nil
	}
	x.out = append(x.out, '{')
	x.open = append(x.open, xmlElement{})
	for _, name := range []string{"id", "url"} { // of an element, of an extension
		value, is, err := attribute(attributes, name)
		if err != nil {
			return err
		}
		if is {
			x.member(name, true)
			x.quoted(value)
		}
	}
	return nil
}

// attribute finds an attribute of FHIR's; one that stands twice, which the decoder lets pass, is not well-formed.
func attribute(all []xml.Attr, name string) (value string, is bool, err error) {
	for _, a := range all {
		if a.Name.Space != "" || a.Name.Local != name {
			continue
		}
		if is {
			return "", false, errNotXML
		}
		value, is = a.Value, true
	}
	return value, is, nil
}

// member begins a member of the object that is open, or one more of the last one's array.
func (x *xmlReader) member(name string, primitive bool) {
	e := &x.open[len(x.open)-1]
	switch {
	case name == e.last && e.list:
		x.out = append(x.out, ',')
	case name == e.last && x.held >= 0:
		x.out = append(slices.Insert(x.out, x.held, '['), ',')
		e.list = true
	default:
		x.endList(e)
		if e.last != "" {
			x.out = append(x.out, ',')
		}
		x.quoted(name)
		x.out = append(x.out, ':')
		e.names++
		if e.last = name; !primitive {
			x.out = append(x.out, '[')
			e.list = true
		}
	}
	x.held = -1
	if primitive && !e.list {
		x.held = len(x.out)
	}
}

func (x *xmlReader) quoted(text string) {
	x.out, _ = jsontext.AppendQuote(x.out, text) // the decoder lets no invalid UTF-8 pass
}

func (x *xmlReader) endList(e *xmlElement) {
	if e.list {
		x.out = append(x.out, ']')
		e.list = false
	}
}

func (x *xmlReader) end() {
	if x.ignored > 0 {
		x.ignored--
		x.narrative = x.narrative && x.ignored > 0
		return
	}
	e := &x.open[len(x.open)-1]
	x.endList(e)
	if !e.same {
		x.out = append(x.out, '}')
	}
	x.held = -1
	x.open = x.open[:len(x.open)-1]
	x.ended = len(x.open) == 0
}
