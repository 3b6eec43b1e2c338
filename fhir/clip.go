package fhir

import (
	"bytes"
	"errors"
	"io"
	"math"
)

// clipAt is the length from which on a string is cut short: ids, codes, times and references are far shorter, and an
// embedded PDF is never held.
const clipAt = 2 << 10

// namesAt is how many names one object may have: the decoder remembers them all, to see one that stands twice. FHIR's own
// have far less than a hundred.
const namesAt = 1000

var (
	errTooDeep      = errors.New("nested too deep")
	errTooLarge     = errors.New("too large")
	errTooManyNames = errors.New("too many names")
)

// clipReader passes JSON on, with long strings cut short, and stops at a depth, a size, or too many names in an object: the
// decoder behind it would hold a whole string and all names at once. It works in the buffer of its caller. What it leaves
// out is not validated.
type clipReader struct {
	from     io.Reader
	left     int64 // bytes that may still come; below zero: too large
	maxDepth int

	commas   []int // of each object and array that is open; far below zero for an array
	inString bool
	length   int  // of the string so far
	cutting  bool // leaving out the rest of the string
	escape   int  // bytes of an escape sequence that are still to come; -1 right after the backslash
	high     bool // the last escape was a high surrogate: its other half must follow
	hex      int  // hex digits of the escape seen
}

func (c *clipReader) reset(from io.Reader, limits Limits) {
	*c = clipReader{from: from, left: limits.MaxBytes, maxDepth: limits.MaxDepth, commas: c.commas[:0]}
}

// Read passes on what is left of the next bytes.
func (c *clipReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := c.from.Read(p)
		c.left -= int64(n)
		if c.left < 0 {
			return 0, errTooLarge
		}
		kept, clipErr := c.clip(p[:n])
		if clipErr != nil {
			return 0, clipErr
		}
		if kept > 0 || err != nil {
			return kept, err
		}
	}
}

// clip moves what is kept to the front.
func (c *clipReader) clip(p []byte) (kept int, err error) {
	for i := 0; i < len(p); {
		var n int
		switch {
		case c.cutting:
			i += c.cut(p[i:])
			continue
		case c.inString:
			n = c.inside(p[i:])
		default:
			if n, err = c.outside(p[i:]); err != nil {
				return kept, err
			}
		}
		if kept != i {
			copy(p[kept:], p[i:i+n])
		}
		kept += n
		i += n
	}
	return kept, nil
}

// outside passes structure on, up to and with the quote that opens a string.
func (c *clipReader) outside(p []byte) (int, error) {
	for i, b := range p {
		switch b {
		case '{', '[':
			if len(c.commas) >= c.maxDepth {
				return i, errTooDeep
			}
			c.commas = append(c.commas, 0)
			if b == '[' {
				c.commas[len(c.commas)-1] = math.MinInt
			}
		case '}', ']':
			c.commas = c.commas[:max(0, len(c.commas)-1)]
		case ',':
			if last := len(c.commas) - 1; last >= 0 {
				if c.commas[last]++; c.commas[last] >= namesAt {
					return i, errTooManyNames
				}
			}
		case '"':
			c.inString, c.length, c.escape, c.high = true, 0, 0, false
			return i + 1, nil
		}
	}
	return len(p), nil
}

// inside passes a string on, up to and with its closing quote, or to where it is cut.
func (c *clipReader) inside(p []byte) int {
	if n, plain := c.plain(p); plain {
		return n
	}
	for i, b := range p {
		if c.length >= clipAt && c.escape == 0 && !c.high && b&0xc0 != 0x80 { // between two characters
			c.cutting = true
			return i
		}
		c.length++
		switch {
		case c.escape != 0:
			c.inEscape(b)
		case b == '\\':
			c.escape = -1
		case b == '"':
			c.inString = false
			return i + 1
		default:
			c.high = false
		}
	}
	return len(p)
}

// plain passes a stretch without escapes on, as almost every string is one.
func (c *clipReader) plain(p []byte) (int, bool) {
	n := min(len(p), clipAt-c.length)
	if n <= 0 || c.escape != 0 {
		return 0, false
	}
	end := bytes.IndexByte(p[:n], '"')
	if end >= 0 {
		n = end + 1
	}
	if bytes.IndexByte(p[:n], '\\') >= 0 {
		return 0, false
	}
	c.high, c.inString = false, end < 0
	c.length += n
	return n, true
}

// inEscape follows an escape sequence: a string must not be cut inside one, nor between the halves of a surrogate pair.
func (c *clipReader) inEscape(b byte) {
	if c.escape < 0 {
		c.escape = 0
		if b == 'u' {
			c.escape, c.hex = 4, 0
		} else {
			c.high = false
		}
		return
	}
	switch c.hex++; c.hex {
	case 1:
		c.high = b == 'd' || b == 'D'
	case 2:
		c.high = c.high && bytes.IndexByte([]byte("89abAB"), b) >= 0
	}
	c.escape--
}

// cut leaves out the rest of a string; its closing quote is kept.
func (c *clipReader) cut(p []byte) int {
	if c.escape < 0 { // the byte after a backslash
		c.escape = 0
		return 1
	}
	end := bytes.IndexByte(p, '"')
	if end < 0 {
		end = len(p)
	}
	if slash := bytes.IndexByte(p[:end], '\\'); slash >= 0 {
		c.escape = -1
		return slash + 1
	}
	if end < len(p) {
		c.cutting = false // inside sees the quote next
		c.length = 0
	}
	return end
}
