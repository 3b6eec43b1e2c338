package fhir

import (
	"bytes"
	"io"
)

const (
	// tagAt is the length from which on a tag, with its values cut short, is refused: FHIR's tags have four attributes.
	tagAt = 4 * clipAt
	// referenceAt is how long a reference such as &amp; or &#x10FFFF; may be and is still not cut in its middle.
	referenceAt = 16
	// uncutAt is the length from which on it is cut wherever it is: no reference and no character goes on for so long.
	uncutAt = clipAt + 2*referenceAt
)

// place is where in XML a byte stands.
type place int

const (
	inText        place = iota // between tags
	inMarkup                   // right after <
	inDeclaration              // after <!, with as much of what may follow
	inTag
	inValue   // of an attribute
	inSection // a comment, a CDATA section, a processing instruction
)

// xmlClip passes XML on, with long values, texts, comments, CDATA sections and processing instructions cut short. It stops at
// a size, at a tag without an end, and at a document type declaration, where entities would be declared: the decoder behind
// it would hold each of these whole. What it leaves out is not validated, and it finds nothing well-formed or not: whatever
// it passes on is for the decoder to judge.
type xmlClip struct {
	from io.Reader
	left int64 // bytes that may still come; below zero: too large

	in      place
	opener  string // what must still follow <!
	end     byte   // what ends a value or text; what stands before the > that ends a section
	ends    int    // how many of end stand before that >
	run     int    // of end, right before this byte
	tag     int    // length of the tag so far
	length  int    // of the value, text or section so far
	pending int    // bytes that a reference may still have; 0 outside of one
	cutting bool   // leaving out the rest of the value, text or section
}

func newXMLClip(from io.Reader, limits Limits) *xmlClip {
	return &xmlClip{from: from, left: limits.MaxBytes, end: '<'}
}

// headroom is what may have to be passed on beyond what was just read: the beginning of a section's end.
const headroom = 2

// Read passes on what is left of the next bytes. Its caller has room for more than a few of them: encoding/xml reads by 4 KiB.
func (c *xmlClip) Read(p []byte) (int, error) {
	if len(p) <= headroom {
		return 0, io.ErrShortBuffer
	}
	for {
		n, err := c.from.Read(p[headroom:])
		if c.left -= int64(n); c.left < 0 {
			return 0, errTooLarge
		}
		kept, clipErr := c.clip(p[:0], p[headroom:headroom+n])
		if clipErr != nil {
			err = clipErr
		}
		if len(kept) > 0 || err != nil {
			return len(kept), err
		}
	}
}

// clip appends what is kept of p.
func (c *xmlClip) clip(kept, p []byte) ([]byte, error) {
	for i := 0; i < len(p); i++ {
		if c.cutting && c.in != inSection {
			skipped := bytes.IndexByte(p[i:], c.end)
			if skipped < 0 {
				break
			}
			i += skipped
		}
		b := p[i]
		switch c.in {
		case inText, inValue:
			if b != c.end && !c.keeps(b) {
				continue
			}
			c.ended(b)
		case inMarkup:
			c.markup(b)
		case inDeclaration:
			if !c.declared(b) {
				return kept, errDoctype
			}
		case inTag:
			c.inTag(b)
		case inSection:
			kept = c.section(kept, b)
			continue
		}
		if c.tag > tagAt {
			return kept, errLongTag
		}
		kept = append(kept, b)
	}
	return kept, nil
}

// begin is at the first byte of a value, text or section.
func (c *xmlClip) begin(in place, end byte) {
	c.in, c.end, c.run, c.length, c.pending, c.cutting = in, end, 0, 0, 0, false
}

// markup sees what < begins.
func (c *xmlClip) markup(b byte) {
	switch b {
	case '!':
		c.in, c.opener = inDeclaration, ""
	case '?':
		c.begin(inSection, '?')
		c.ends = 1
	default:
		c.in, c.tag = inTag, 0
		c.inTag(b)
	}
}

// declared sees what <! begins: a comment, a CDATA section, or what is refused.
func (c *xmlClip) declared(b byte) bool {
	switch {
	case c.opener == "" && b == '-':
		c.opener, c.end = "-", '-'
		return true
	case c.opener == "" && b == '[':
		c.opener, c.end = "CDATA[", ']'
		return true
	case c.opener == "" || b != c.opener[0]:
		return false
	}
	if c.opener = c.opener[1:]; c.opener == "" {
		c.begin(inSection, c.end)
		c.ends = 2
	}
	return true
}

func (c *xmlClip) inTag(b byte) {
	c.tag++
	switch b {
	case '"', '\'':
		c.begin(inValue, b)
	case '>':
		c.tag = 0
		c.begin(inText, '<')
	}
}

// ended follows a value or text to its end.
func (c *xmlClip) ended(b byte) {
	switch {
	case c.in == inValue:
		c.tag++
		if b == c.end {
			c.in, c.cutting = inTag, false
		}
	case b == c.end:
		c.in, c.cutting = inMarkup, false
	}
}

// keeps says whether a byte of a value or text is passed on. It is cut between two characters, and in no reference.
func (c *xmlClip) keeps(b byte) bool {
	if c.length >= clipAt && c.pending == 0 && b&0xc0 != 0x80 || c.length >= uncutAt {
		c.cutting = true
		return false
	}
	c.length++
	switch {
	case b == '&':
		c.pending = referenceAt
	case b == ';':
		c.pending = 0
	case c.pending > 0:
		c.pending--
	}
	return true
}

// section appends what is kept of a section: its end, where the rest of it is left out.
func (c *xmlClip) section(kept []byte, b byte) []byte {
	run := c.run
	if c.run++; b != c.end {
		c.run = 0
	}
	ended := b == '>' && run >= c.ends
	switch {
	case ended && c.cutting:
		for range c.ends {
			kept = append(kept, c.end)
		}
	case ended:
	case !c.cutting && (c.length >= clipAt && b&0xc0 != 0x80 || c.length >= uncutAt) && (run == 0 || run > c.ends):
		c.cutting = true // and not in the middle of what may be its end
		return kept
	case c.cutting:
		return kept
	}
	c.length++
	if ended {
		c.begin(inText, '<')
	}
	return append(kept, b)
}
