package endpoint

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"staffetta/fhir"
)

// body is what a request carries, decompressed. It counts what came over the wire, and remembers what went wrong while
// reading, which is another matter than what is wrong with what was read.
type body struct {
	wire      io.Reader // the request's own; nil where it was refused before a byte of it
	bytes     int64     // read from the wire
	err       error     // of reading, neither nil nor io.EOF; nil when all went well
	unzip     *gzip.Reader
	signature *signature // of what comes over the wire; nil where the source does not sign
}

// open prepares the body for reading. Too large a body is refused before a byte of it is read.
func (b *body) open(w http.ResponseWriter, req *http.Request, limit int64) *fhir.Issue {
	if req.ContentLength > limit {
		return tooLarge()
	}
	b.wire = req.Body
	if b.signature != nil {
		b.wire = http.MaxBytesReader(w, req.Body, limit) // it is read to its end, whatever the decoder makes of it
	}
	switch encoding := strings.Join(req.Header["Content-Encoding"], ","); {
	case encoding == "", strings.EqualFold(encoding, "identity"):
		return nil
	case strings.EqualFold(encoding, "gzip"), strings.EqualFold(encoding, "x-gzip"):
		// The decoder limits what comes out. What goes in must be limited too: gzip may hold members that are empty.
		b.wire = http.MaxBytesReader(w, req.Body, limit)
		return b.openGzip()
	default:
		return refusal(http.StatusUnsupportedMediaType, "not-supported", "Content-Encoding is none of gzip and identity")
	}
}

// unzippers are kept: each one holds a window of 32 KiB and more.
var unzippers = sync.Pool{New: func() any { return new(gzip.Reader) }}

func (b *body) openGzip() *fhir.Issue {
	unzip, _ := unzippers.Get().(*gzip.Reader)
	err := unzip.Reset(wireReader{b})
	if err == nil {
		b.unzip = unzip
		return nil
	}
	unzippers.Put(unzip)
	if errors.Is(err, io.EOF) && b.bytes == 0 {
		b.wire = http.NoBody
		return nil
	}
	b.note(gzip.ErrHeader) // where the wire gave all that it had: also what is too short for a header is none
	return b.trouble()
}

// close gives back what open took.
func (b *body) close() {
	if b.unzip != nil {
		unzippers.Put(b.unzip)
		b.unzip = nil
	}
}

// Read reads decompressed bytes.
func (b *body) Read(p []byte) (n int, err error) {
	if b.unzip != nil {
		n, err = b.unzip.Read(p)
	} else {
		n, err = b.readWire(p)
	}
	b.note(err)
	return n, err
}

func (b *body) readWire(p []byte) (int, error) {
	n, err := b.wire.Read(p)
	b.bytes += int64(n)
	if b.signature != nil {
		b.signature.write(p[:n])
	}
	return n, err
}

// finish reads what is left on the wire, so that its signature can be checked.
func (b *body) finish() *fhir.Issue {
	if b.wire == nil {
		return tooLarge()
	}
	if _, err := io.Copy(io.Discard, wireReader{b}); err != nil {
		b.err = err
		return b.trouble()
	}
	return nil
}

// wireReader is the compressed side of a body.
type wireReader struct{ *body }

// Read reads compressed bytes.
func (w wireReader) Read(p []byte) (int, error) {
	n, err := w.readWire(p)
	w.note(err)
	return n, err
}

// note keeps the first trouble: a decoder, or gzip, may make something else of it.
func (b *body) note(err error) {
	if err != nil && b.err == nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
}

// trouble is what went wrong while reading, as an answer; nil when nothing did.
func (b *body) trouble() *fhir.Issue {
	if b.err == nil {
		return nil
	}
	if _, tooMany := errors.AsType[*http.MaxBytesError](b.err); tooMany {
		return tooLarge()
	}
	switch {
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return refusal(http.StatusRequestTimeout, "timeout", "the request did not arrive in time")
	case errors.Is(b.err, gzip.ErrHeader), errors.Is(b.err, gzip.ErrChecksum), b.unzip != nil:
		return refusal(http.StatusBadRequest, "structure", "the body is not the gzip that its Content-Encoding says")
	default:
		return refusal(http.StatusBadRequest, "incomplete", "the request ended before its body did")
	}
}

func tooLarge() *fhir.Issue {
	return refusal(http.StatusRequestEntityTooLarge, "too-long", "the body is larger than this server accepts")
}
