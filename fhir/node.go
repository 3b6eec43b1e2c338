package fhir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// node is any resource that we read at a source, as far as we use it. Real servers break strict models: an element that
// is not of the kind that we expect is as good as absent.
type node struct {
	ResourceType string           `json:"resourceType"`
	ID           text             `json:"id"`
	Meta         list[meta]       `json:"meta"`
	Status       text             `json:"status"`
	DocStatus    text             `json:"docStatus"`
	Identifier   list[identifier] `json:"identifier"`
	Type         list[concept]    `json:"type"`
	Category     list[concept]    `json:"category"`
	Code         list[concept]    `json:"code"`
	Subject      list[ref]        `json:"subject"`
	Encounter    list[ref]        `json:"encounter"`
	Issued       text             `json:"issued"`
	Effective    text             `json:"effectiveDateTime"`
	Period       list[period]     `json:"effectivePeriod"`
	Date         text             `json:"date"`
	Version      text             `json:"version"` // R5 Composition
	Confidential text             `json:"confidentiality"`
	Security     list[concept]    `json:"securityLabel"`
	Context      list[docContext] `json:"context"`
	Section      list[section]    `json:"section"`
	Extension    list[extension]  `json:"extension"`
	Composition  list[ref]        `json:"composition"` // R5 DiagnosticReport
	RelatesTo    list[relation]   `json:"relatesTo"`
	Contained    list[node]       `json:"contained"`
	Active       text             `json:"active"`
	BirthDate    text             `json:"birthDate"`
	Deceased     text             `json:"deceasedBoolean"`
	DeceasedAt   text             `json:"deceasedDateTime"`
	Link         list[link]       `json:"link"`
	Entry        list[entry]      `json:"entry"`
	Issue        list[issue]      `json:"issue"`
}

type meta struct {
	VersionID   text         `json:"versionId"`
	LastUpdated text         `json:"lastUpdated"`
	Security    list[coding] `json:"security"`
	Tag         list[coding] `json:"tag"`
}

type coding struct {
	System text `json:"system"`
	Code   text `json:"code"`
}

type concept struct {
	Coding list[coding] `json:"coding"`
}

type identifier struct {
	System text         `json:"system"`
	Value  text         `json:"value"`
	Use    text         `json:"use"`
	Period list[period] `json:"period"`
}

type period struct {
	Start text `json:"start"`
	End   text `json:"end"`
}

type ref struct {
	Reference  text             `json:"reference"`
	Type       text             `json:"type"`
	Identifier list[identifier] `json:"identifier"`
}

// mayBe says whether a reference may name a resource of a kind: its type, where it says one, is a name or a URL that ends so.
func (r ref) mayBe(kind string) bool {
	return r.Type == "" || string(r.Type) == kind || strings.HasSuffix(string(r.Type), "/"+kind)
}

type docContext struct {
	Event   list[concept] `json:"event"`
	Related list[ref]     `json:"related"`
}

type section struct {
	Code    list[concept] `json:"code"`
	Entry   list[ref]     `json:"entry"`
	Section list[section] `json:"section"`
}

type extension struct {
	URL       text      `json:"url"`
	Reference list[ref] `json:"valueReference"`
	String    text      `json:"valueString"`
	Integer   text      `json:"valueInteger"`
	Unsigned  text      `json:"valueUnsignedInt"`
	Positive  text      `json:"valuePositiveInt"`
}

// relation is relatesTo of a Composition (targetReference, targetIdentifier) or of a DocumentReference (target). The
// ministry's own server writes the id of what is replaced into the element's id, and no target.
type relation struct {
	ID         text             `json:"id"`
	Code       code             `json:"code"`
	Type       text             `json:"type"` // R5 Composition
	Target     list[ref]        `json:"target"`
	Reference  list[ref]        `json:"targetReference"`
	Resource   list[ref]        `json:"resourceReference"` // R5
	Identifier list[identifier] `json:"targetIdentifier"`
}

// link is Patient.link, or Bundle.link.
type link struct {
	Other    list[ref] `json:"other"`
	Type     text      `json:"type"`
	Relation text      `json:"relation"`
	URL      text      `json:"url"`
}

type entry struct {
	FullURL  text       `json:"fullUrl"`
	Resource list[node] `json:"resource"`
	Search   list[mode] `json:"search"`
}

type mode struct {
	Mode text `json:"mode"`
}

type issue struct {
	Severity text `json:"severity"`
	Code     text `json:"code"`
}

// text is a string; a number or a boolean in its place is taken as it is written, anything else as absent.
type text string

// UnmarshalJSONFrom reads a text.
func (t *text) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() { //nolint:exhaustive // whatever else it is, it is as good as absent
	case '"', '0', 't', 'f':
		token, err := dec.ReadToken()
		if err == nil {
			*t = text(token.String())
		}
		return err
	}
	return dec.SkipValue()
}

// code is a code, or the first one of a CodeableConcept in its place, as R5 has it.
type code string

// UnmarshalJSONFrom reads a code.
func (c *code) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if kind := dec.PeekKind(); kind != '{' && kind != '[' { // XML does not tell a list of one from an object
		return (*text)(c).UnmarshalJSONFrom(dec)
	}
	var full list[concept]
	err := full.UnmarshalJSONFrom(dec)
	*c = code(full.first().Coding.first().Code)
	return err
}

// list is an array of objects, or one object in its place; anything else is as good as absent.
type list[T any] []T

// UnmarshalJSONFrom reads a list.
func (l *list[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() { //nolint:exhaustive // whatever else it is, it is as good as absent
	case '{':
		return l.one(dec)
	case '[':
	default:
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if dec.PeekKind() != '{' {
			if err := dec.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := l.one(dec); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

func (l *list[T]) one(dec *jsontext.Decoder) error {
	*l = append(*l, *new(T))
	return json.UnmarshalDecode(dec, &(*l)[len(*l)-1]) // in its place: a node is large
}

// first is the first element, or the zero value.
func (l list[T]) first() (item T) {
	if len(l) > 0 {
		return l[0]
	}
	return item
}

var errNotFHIR = errors.New("the answer is no FHIR resource")

// objectsAt is how many objects an answer may have: one that says nothing at all takes more than a kilobyte where it stands in
// place of a resource. What documents consist of has some thousands.
const objectsAt = 100_000

// fewObjects passes JSON on up to a number of objects; a brace inside of a string counts as one.
type fewObjects struct {
	from io.Reader
	left int
}

func (f *fewObjects) Read(p []byte) (int, error) {
	n, err := f.from.Read(p)
	if f.left -= bytes.Count(p[:n], []byte{'{'}); f.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// readNode reads one resource of a source, JSON or XML, with long strings cut short.
func readNode(from io.Reader, limits Limits) (*node, error) {
	var n node
	body, err := openBody(from, limits.MaxBytes)
	if err == nil {
		err = json.UnmarshalRead(&fewObjects{from: body.asJSON(limits), left: objectsAt}, &n, anyText)
	}
	switch {
	case err != nil && body != nil && body.xml:
		return nil, unreadableAnswer(asXMLTrouble(err, ""))
	case err != nil:
		return nil, unreadableAnswer(err)
	case !isType(n.ResourceType):
		return nil, errNotFHIR
	}
	return &n, nil
}

// unreadableAnswer says what is wrong with an answer, without its own text: that may hold what the source wrote.
func unreadableAnswer(err error) error {
	for _, bound := range []error{errTooLarge, errTooDeep, errTooManyNames, context.DeadlineExceeded} {
		if errors.Is(err, bound) {
			return bound
		}
	}
	trouble, isXML := errors.AsType[*xmlTrouble](err)
	switch {
	case errors.Is(err, errEncoding):
		return errors.New("the answer is not in UTF-8")
	case isXML:
		return errors.New("the answer is " + trouble.Error())
	}
	return errors.New("the answer is not well-formed JSON")
}

// codings are all codings of concepts.
func codings(concepts []concept) (all []Coding) {
	for _, c := range concepts {
		all = append(all, plain(c.Coding)...)
	}
	return all
}

func plain(from []coding) (all []Coding) {
	for _, c := range from {
		if c.Code != "" {
			all = append(all, Coding{System: string(c.System), Code: string(c.Code)})
		}
	}
	return all
}
