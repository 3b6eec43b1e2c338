package fhir

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func FuzzReadNode(f *testing.F) {
	files, err := filepath.Glob("../testdata/fse-samples/*.*")
	if err != nil || len(files) < 15 {
		f.Fatalf("%d seeds, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := readNode(bytes.NewReader(body), Limits{MaxBytes: 1 << 20, MaxDepth: 32})
		if (err == nil) != (n != nil) {
			t.Fatal("neither a resource nor an error")
		}
		if n == nil {
			return
		}
		s, err := NewSource(SourceOptions{BaseURL: "https://fse.example/fhir", Shape: ShapeFSE2})
		if err != nil {
			t.Fatal(err)
		}
		p := newPool()
		p.add("", n)
		for _, e := range n.Entry {
			r := e.Resource.first()
			p.add(string(e.FullURL), &r)
		}
		for _, c := range p.of("Composition") {
			if doc := s.compositionFacts(p, c); doc.Standing == "" {
				t.Fatal("a document without a standing")
			}
		}
		if doc := s.reportFacts(Locator{}, n); doc.Standing == "" {
			t.Fatal("a report without a standing")
		}
	})
}
