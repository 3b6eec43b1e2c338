package fhir

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound what one body may cost.
type Limits struct {
	MaxBytes   int64 // after decompression
	MaxDepth   int
	MaxEntries int // of one Bundle, and events of one notification
}

// wireResource is the few elements of any resource that a notification is understood by. The type may stand last, so
// everything is collected whatever the type is.
type wireResource struct {
	kind, id         string
	version, updated string
	status, code     string // status and type, where they are plain codes
	events           []wireEvent
	eventCount       string
	subscription     string
	parameters       []wireParameter
	entries          []wireEntry
	noEntries        bool          // entry holds something that is no object
	inner            *wireResource // Aidbox' old form: resource
	event            string        // the same: event
}

type wireEvent struct{ number, focus string }

type wireParameter struct {
	name, value string
	parts       []wireParameter
}

type wireEntry struct {
	fullURL, method, url string
	resource             *wireResource
}

// wire reads one body.
type wire struct {
	clip    clipReader
	dec     *jsontext.Decoder
	limits  Limits
	entries int // so far, in all Bundles
	text    int // bytes that were kept so far, of all strings
}

var wires = sync.Pool{New: func() any { return &wire{dec: jsontext.NewDecoder(http.NoBody, anyText)} }}

var (
	errNotObject = errors.New("not an object")
	errTooMany   = errors.New("too many entries")
)

// readWire reads a whole body, JSON or XML.
func readWire(body *body, limits Limits) (*wireResource, error) {
	w, _ := wires.Get().(*wire)
	defer wires.Put(w)
	w.limits, w.entries, w.text = limits, 0, 0
	defer w.dec.Reset(http.NoBody, anyText)
	if body.xml {
		w.dec.Reset(newXMLReader(body, limits), anyText)
		resource, err := w.whole()
		if err != nil {
			err = asXMLTrouble(err, w.dec.StackPointer())
		}
		return resource, err
	}
	w.clip.reset(body, limits)
	w.dec.Reset(&w.clip, anyText)
	return w.whole()
}

// whole reads one resource and nothing behind it.
func (w *wire) whole() (*wireResource, error) {
	kind := w.dec.PeekKind()
	if kind != '{' {
		if _, err := w.dec.ReadToken(); err != nil {
			return nil, err
		}
		return nil, errNotObject
	}
	resource, err := w.resource(0)
	if err != nil {
		return nil, err
	}
	if _, err := w.dec.ReadToken(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errNotObject
		}
		return nil, err
	}
	return resource, nil
}

// object reads an object, or the first one of an array in its place (as list does, and XML does not tell the two apart),
// calling element for each name; element must consume the value. What is no object is skipped.
func (w *wire) object(element func(name []byte) error) error {
	switch w.dec.PeekKind() { //nolint:exhaustive // anything else is skipped
	case '{':
	case '[':
		return w.firstObject(element)
	default:
		return w.dec.SkipValue()
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	for w.dec.PeekKind() != '}' {
		name, err := w.name()
		if err != nil {
			return err
		}
		if err := element(name); err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

// name reads the name of an element. It is valid until the next one is read: as a string of its own it would cost as much as
// what we read of the elements that we know.
func (w *wire) name() ([]byte, error) {
	if w.dec.PeekKind() != '"' {
		_, err := w.dec.ReadToken() // says what is wrong, and holds no more than that
		return nil, err
	}
	quoted, err := w.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if plain := quoted[1 : len(quoted)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return plain, nil
	}
	unquoted, _ := jsontext.AppendUnquote(nil, quoted) // what is no Unicode is replaced, see anyText
	return unquoted, nil
}

func (w *wire) firstObject(element func(name []byte) error) error {
	seen := false
	return w.array(func() error {
		if seen || w.dec.PeekKind() != '{' {
			return w.dec.SkipValue()
		}
		seen = true
		return w.object(element)
	})
}

// array reads an array of objects, or one object in its place, calling item for each; item must consume it. What is
// neither is skipped.
func (w *wire) array(item func() error) error {
	switch w.dec.PeekKind() { //nolint:exhaustive // anything else is skipped
	case '{':
		return item()
	case '[':
	default:
		return w.dec.SkipValue()
	}
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	for w.dec.PeekKind() != ']' {
		if err := item(); err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

// isObject says whether there is what object reads.
func (w *wire) isObject() bool {
	kind := w.dec.PeekKind()
	return kind == '{' || kind == '['
}

// isMisplaced says whether there is a plain value where objects belong; null is as good as absent.
func (w *wire) isMisplaced() bool { return !w.isObject() && w.dec.PeekKind() != 'n' }

// scalar reads a string or a number as text; anything else is skipped and leaves the text as it is.
func (w *wire) scalar(into *string) error {
	switch w.dec.PeekKind() { //nolint:exhaustive // anything else is skipped
	case '"', '0':
		token, err := w.dec.ReadToken()
		if err != nil {
			return err
		}
		*into = token.String()
		return w.keep(len(*into))
	}
	return w.dec.SkipValue()
}

// keep counts what is held of a body. All that a real entry and its event are named by is a few hundred bytes; who names them by
// the longest strings that are not cut would have us hold a whole body, and he may be nobody whom we know: a signature is
// checked at the end.
func (w *wire) keep(n int) error {
	const perEntry, atLeast = 1 << 10, 16 << 10
	if w.text += n; w.text > max(atLeast, w.limits.MaxEntries*perEntry) {
		return errTooLarge
	}
	return nil
}

// reference reads a Reference, or a string in its place.
func (w *wire) reference(into *string) error {
	if !w.isObject() {
		return w.scalar(into)
	}
	return w.object(func(name []byte) error {
		if string(name) == "reference" {
			return w.scalar(into)
		}
		return w.dec.SkipValue()
	})
}

// nestedBundles is how deep Bundles are looked into: a notification may stand in a message.
const nestedBundles = 1

func (w *wire) resource(depth int) (*wireResource, error) {
	r := &wireResource{}
	return r, w.object(func(name []byte) error {
		switch string(name) {
		case "resourceType":
			return w.scalar(&r.kind)
		case "id":
			return w.scalar(&r.id)
		case "meta":
			return w.meta(r)
		case "status":
			return w.scalar(&r.status)
		case "type":
			return w.scalar(&r.code)
		case "event":
			return w.scalar(&r.event)
		case "eventsSinceSubscriptionStart":
			return w.scalar(&r.eventCount)
		case "subscription", "topic-destination":
			return w.reference(&r.subscription)
		case "notificationEvent":
			return w.array(func() error { return w.event(r) })
		case "parameter":
			return w.array(func() error { return w.parameter(&r.parameters, 0) })
		case "entry":
			if depth > nestedBundles {
				return w.dec.SkipValue()
			}
			r.noEntries = r.noEntries || w.isMisplaced()
			return w.array(func() error { return w.entry(r, depth) })
		case "resource":
			if depth > 0 || w.dec.PeekKind() != '{' {
				return w.dec.SkipValue()
			}
			var err error
			r.inner, err = w.resource(nestedBundles + 1)
			return err
		}
		return w.dec.SkipValue()
	})
}

func (w *wire) meta(r *wireResource) error {
	return w.object(func(name []byte) error {
		switch string(name) {
		case "versionId":
			return w.scalar(&r.version)
		case "lastUpdated":
			return w.scalar(&r.updated)
		}
		return w.dec.SkipValue()
	})
}

func (w *wire) event(r *wireResource) error {
	if err := w.countOne(); err != nil {
		return err
	}
	var e wireEvent
	err := w.object(func(name []byte) error {
		switch string(name) {
		case "eventNumber":
			return w.scalar(&e.number)
		case "focus":
			return w.reference(&e.focus)
		}
		return w.dec.SkipValue()
	})
	r.events = append(r.events, e)
	return err
}

// parameter reads one parameter by its name, whatever value[x] it has.
func (w *wire) parameter(into *[]wireParameter, depth int) error {
	if err := w.countOne(); err != nil {
		return err
	}
	var p wireParameter
	err := w.object(func(name []byte) error {
		switch {
		case string(name) == "name":
			return w.scalar(&p.name)
		case string(name) == "part" && depth == 0:
			return w.array(func() error { return w.parameter(&p.parts, depth+1) })
		case bytes.HasPrefix(name, []byte("value")):
			return w.reference(&p.value)
		}
		return w.dec.SkipValue()
	})
	*into = append(*into, p)
	return err
}

func (w *wire) entry(r *wireResource, depth int) error {
	if err := w.countOne(); err != nil {
		return err
	}
	if len(r.entries) == w.limits.MaxEntries {
		return errTooMany
	}
	r.noEntries = r.noEntries || w.isMisplaced()
	var e wireEntry
	err := w.object(func(name []byte) error {
		switch string(name) {
		case "fullUrl":
			return w.scalar(&e.fullURL)
		case "resource":
			if !w.isObject() {
				return w.dec.SkipValue()
			}
			var err error
			e.resource, err = w.resource(depth + 1)
			return err
		case "request":
			return w.object(func(name []byte) error {
				switch string(name) {
				case "method":
					return w.scalar(&e.method)
				case "url":
					return w.scalar(&e.url)
				}
				return w.dec.SkipValue()
			})
		}
		return w.dec.SkipValue()
	})
	r.entries = append(r.entries, e)
	return err
}

// countOne counts whatever we keep a list of; a parameter of an event has up to four parts.
func (w *wire) countOne() error {
	const partsPerEvent = 5
	if w.entries++; w.entries > w.limits.MaxEntries*partsPerEvent {
		return errTooMany
	}
	return nil
}

// count reads an event number or count; -1 where it is none.
func count(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
