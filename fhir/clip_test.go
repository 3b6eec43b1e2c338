package fhir

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzJSONClip: it makes no difference in what pieces a body comes, what is short is passed on as it is, what is JSON stays
// JSON, and no string is longer than it may be.
func FuzzJSONClip(f *testing.F) {
	files, err := filepath.Glob("../testdata/*/*.json")
	if err != nil || len(files) < 20 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, uint16(0))
	}
	for _, seed := range []string{`{"a":"\ud83d\ude00"}`, `{"a":"\\\""}`, `["é"]`, `"\u00`, `{"a":"\ud83d\u0041"}`, `[[[[`, `{"a":1,"a":2}`} {
		f.Add([]byte(seed), uint16(300))
	}
	clip := func(from io.Reader) (string, error) {
		c := new(clipReader)
		c.reset(from, clipLimits)
		kept, err := io.ReadAll(bufio.NewReader(c))
		return string(kept), err
	}
	f.Fuzz(func(t *testing.T, body []byte, again uint16) {
		short := len(body) <= clipAt && again == 0
		if len(body) > 0 && again > 0 { // what is long is where the cutting is
			at := int(again) % len(body)
			part := body[at : at+min(len(body)-at, 8)]
			body = bytes.Join([][]byte{body[:at], bytes.Repeat(part, int(again)%1024), body[at:]}, nil)
		}
		whole, wholeErr := clip(bytes.NewReader(body))
		pieces, piecesErr := clip(iotest.OneByteReader(bytes.NewReader(body)))
		if (wholeErr == nil && whole != pieces) || !errors.Is(wholeErr, piecesErr) {
			t.Fatalf("%d bytes, %v; in pieces %d bytes, %v", len(whole), wholeErr, len(pieces), piecesErr)
		}
		if short && wholeErr == nil && whole != string(body) {
			t.Fatalf("%q became %q", body, whole)
		}
		if wholeErr != nil || !jsontext.Value(body).IsValid() {
			return
		}
		if !jsontext.Value(whole).IsValid() {
			t.Fatal("what was JSON is none any more")
		}
		for dec := jsontext.NewDecoder(bytes.NewReader([]byte(whole))); ; {
			token, err := dec.ReadToken()
			if err != nil {
				return
			}
			if token.Kind() == '"' && len(token.String()) > clipAt+12 {
				t.Fatalf("a string of %d bytes", len(token.String()))
			}
		}
	})
}
