package fhir

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

var clipLimits = Limits{MaxBytes: 1 << 20, MaxDepth: 32, MaxEntries: 100}

func clipped(from io.Reader) (string, error) {
	kept, err := io.ReadAll(bufio.NewReader(newXMLClip(from, clipLimits)))
	return string(kept), err
}

func TestXMLIsCutWhereItStaysWhole(t *testing.T) {
	long := func(of string, n int) string { return strings.Repeat(of, n/len(of)) }
	full := long("x", clipAt)
	for _, tt := range []struct{ name, body, want string }{
		{"a value", `<a v="` + full + `yy"/>`, `<a v="` + full + `"/>`},
		{"a value in the other quotes", `<a v='` + full + `"y'/>`, `<a v='` + full + `'/>`},
		{"a value of just the length", `<a v="` + full + `"/>`, `<a v="` + full + `"/>`},
		{"a value with > and the other quote", `<a v="'>` + full + `"/>`, `<a v="'>` + full[2:] + `"/>`},
		{"in front of a reference", `<a v="` + full + `&amp;"/>`, `<a v="` + full + `"/>`},
		{"behind a reference that began before", `<a v="` + full[3:] + `&amp;y"/>`, `<a v="` + full[3:] + `&amp;"/>`},
		{"behind a numeric one", `<a v="` + full[1:] + `&#x10FFFF;y"/>`, `<a v="` + full[1:] + `&#x10FFFF;"/>`},
		{"in what is no reference at all", `<a v="` + full + `&` + full + `"/>`, `<a v="` + full + `"/>`},
		{"in what never becomes a reference", `<a v="&` + full + `"/>`, `<a v="&` + full[1:] + `"/>`},
		{"between two characters", `<a v="` + full[1:] + `èy"/>`, `<a v="` + full[1:] + `è"/>`},
		{"what is no UTF-8 and would never end", `<a v="` + strings.Repeat("\x8e", 2*clipAt) + `"/>`, `<a v="` + strings.Repeat("\x8e", uncutAt) + `"/>`},
		{"a text", `<p>` + full + `yy</p>`, `<p>` + full + `</p>`},
		{"a comment", `<!--` + full + `yy--><a/>`, `<!--` + full + `--><a/>`},
		{"a comment in the middle of a dash", `<!--` + full[1:] + `-y--><a/>`, `<!--` + full[1:] + `-y--><a/>`},
		{"a comment that seems to end", `<!--` + full + `->-->`, `<!--` + full + `-->`},
		{"a comment with a tag in it", `<!--` + full + `<a v="--><a/>`, `<!--` + full + `--><a/>`},
		{"a CDATA section", `<![CDATA[` + full + `<y]]>z`, `<![CDATA[` + full + `]]>z`},
		{"a CDATA section that seems to end", `<![CDATA[` + full + `]>]]]]>z`, `<![CDATA[` + full + `]]>z`},
		{"a CDATA section of brackets", `<![CDATA[` + long("]", 2*clipAt) + `>z`, `<![CDATA[` + long("]", clipAt) + `]]>z`},
		{"a processing instruction", `<?p ` + full + `?>z`, `<?p ` + full[2:] + `?>z`},
		{"nothing in a tag", `<a b="` + full + `y" c="` + full + `y">`, `<a b="` + full + `" c="` + full + `">`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for way, from := range map[string]io.Reader{
				"at once": strings.NewReader(tt.body), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.body)),
			} {
				if got, err := clipped(from); got != tt.want || err != nil {
					t.Errorf("%s: got %d bytes, %v, that end in %q; want %d", way, len(got), err, got[max(0, len(got)-20):], len(tt.want))
				}
			}
		})
	}
}

// Whatever comes, the decoder is never made to hold more than a tag or a text that is cut, and it makes no difference in
// what pieces it came.
func FuzzXMLClip(f *testing.F) {
	files, err := filepath.Glob("../testdata/fse-samples/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, uint16(0))
	}
	for _, seed := range []string{
		`<a v='<>"' w="'&#x41;&amp;'">t]]<!-- - -- ---><![CDATA[ ]] > ]]]]><?p ??></a >`, `<!-->--><a/>`, `<!--->--><a/>`,
		`<![CDATA[>]]>`, `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, `<a "'>'/>`, `<?>?><??>`, `</a b="c>">`, `<a/b="c">`, `<<a>>`, "<a b='\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e\x8e'",
	} {
		f.Add([]byte(seed), uint16(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, again uint16) {
		if len(body) > 0 { // what is long is where the cutting is
			at := int(again) % len(body)
			body = append(bytes.Repeat(body[at:at+min(len(body)-at, 64)], int(again)%512), body...)
		}
		whole, wholeErr := clipped(bytes.NewReader(body))
		pieces, piecesErr := clipped(iotest.OneByteReader(bytes.NewReader(body)))
		if whole != pieces || !errors.Is(wholeErr, piecesErr) {
			t.Fatalf("%d bytes, %v; in pieces %d bytes, %v", len(whole), wholeErr, len(pieces), piecesErr)
		}
		if len(body) <= clipAt && wholeErr == nil && whole != string(body) {
			t.Fatalf("%q was cut to %q", body, whole)
		}
		checkPieces(t, whole)
	})
}

// checkPieces reads as encoding/xml does, up to its first error.
func checkPieces(t *testing.T, text string) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(text))
	dec.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errEncoding }
	for before := int64(0); ; before = dec.InputOffset() {
		token, err := dec.RawToken()
		if held := dec.InputOffset() - before; held > tagAt+clipAt {
			t.Fatalf("the decoder held %d bytes for one token", held)
		}
		if _, is := token.(xml.Directive); is {
			t.Fatal("a declaration came through")
		}
		if err != nil {
			return
		}
	}
}
