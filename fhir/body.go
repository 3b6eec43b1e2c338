package fhir

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// errEncoding comes before any understanding: whoever sends Latin-1 or UTF-16 shall read so, not «not well-formed».
var errEncoding = errors.New("not in UTF-8")

// anyText reads texts that are no Unicode: half of an emoji where a server cut one, a letter in Latin-1. They stand in what we
// leave out, and must not keep us from what we read: a sweep reads a hundred resources in one answer. Where we do read them, what
// is no Unicode becomes a replacement character, which no id, code or date has.
var anyText = jsontext.AllowInvalidUTF8(true)

func unmarshal(raw []byte, into any) error { return json.Unmarshal(raw, into, anyText) }

// body is what somebody sent, with its beginning looked at: whether there is anything, and whether it is JSON or XML. That
// is told from the first byte, since Content-Type is often missing or wrong, and neither form can begin as the other.
type body struct {
	from   io.Reader
	kept   []byte // read, and not yet given
	err    error  // of the reading that filled kept
	buffer [64]byte

	empty, xml bool
}

// openBody reads to the first byte that is not blank; so many blanks may come before it.
func openBody(from io.Reader, blanks int64) (*body, error) {
	b := &body{from: from}
	if err := b.begin(); err != nil {
		return nil, err
	}
	for {
		rest := bytes.TrimLeft(b.kept, " \t\r\n")
		switch {
		case len(rest) > 0:
			b.xml = rest[0] == '<'
			return b, nil
		case errors.Is(b.err, io.EOF):
			b.empty = true
			return b, nil
		case b.err != nil:
			return nil, b.err
		}
		if blanks -= int64(len(b.kept)); blanks < 0 {
			return nil, errTooLarge
		}
		b.kept = b.buffer[:0]
		b.more()
	}
}

// begin reads the first bytes. A byte order mark is blanked (reference fhir-subscriptions.md, 3.7); that of UTF-16, or a
// zero that no text in UTF-8 begins with, is refused.
func (b *body) begin() error {
	const mark = "\xef\xbb\xbf"
	b.kept = b.buffer[:0]
	for b.err == nil && len(b.kept) < len(mark) {
		b.more()
	}
	begins := func(with string) bool { return bytes.HasPrefix(b.kept, []byte(with)) }
	switch {
	case begins(mark):
		copy(b.kept, "   ")
	case begins("\xfe\xff"), begins("\xff\xfe"), bytes.IndexByte(b.kept[:min(2, len(b.kept))], 0) >= 0:
		return errEncoding
	}
	return nil
}

func (b *body) more() {
	n, err := b.from.Read(b.buffer[len(b.kept):])
	b.kept, b.err = b.buffer[:len(b.kept)+n], err
}

// asJSON is the body as JSON with long strings cut short, whatever its form. In what XML becomes, every object stands in an
// array: XML does not tell one from a list of one.
func (b *body) asJSON(limits Limits) io.Reader {
	if b.xml {
		return newXMLReader(b, limits)
	}
	clip := new(clipReader)
	clip.reset(b, limits)
	return clip
}

// Read gives back what was looked at, and goes on.
func (b *body) Read(p []byte) (int, error) {
	if len(b.kept) > 0 {
		n := copy(p, b.kept)
		b.kept = b.kept[n:]
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.from.Read(p)
}
