package fhir

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// An answer is read in whatever pieces it comes.
func TestAnAnswerInPieces(t *testing.T) {
	s := &Source{o: SourceOptions{MaxBody: 1 << 20, MaxDepth: 8}}
	text := `{"resourceType":"Basic","a":"` + strings.Repeat("x", 1500) + `"}`
	res := &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(iotest.OneByteReader(strings.NewReader(text)))}
	r, err := s.reply(t.Context(), res, "read Basic")
	if err != nil || string(r.body) != text {
		t.Errorf("%d bytes of %d, %v", len(r.body), len(text), err)
	}
}

// A link is rebuilt on the configured base, or not followed at all.
func TestLinksAreRebuilt(t *testing.T) {
	s, err := NewSource(SourceOptions{BaseURL: "https://fse.example/fhir", Aliases: []string{"http://inside:8080/r4"}})
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]string{
		"https://fse.example/fhir?_getpages=a":              "https://fse.example/fhir?_getpages=a",
		"https://fse.example/fhir/Subscription?page=2":      "https://fse.example/fhir/Subscription?page=2",
		"http://inside:8080/r4/DiagnosticReport?_offset=20": "https://fse.example/fhir/DiagnosticReport?_offset=20",
		"?_offset=20":                                         "https://fse.example/fhir?_offset=20",
		"Subscription?_offset=20":                             "https://fse.example/fhir/Subscription?_offset=20",
		"/fhir/Subscription?page=2":                           "https://fse.example/fhir/Subscription?page=2",
		"/other/Subscription?page=2":                          "",
		"https://fse.example/fhirx/Subscription":              "",
		"https://fse.example/fhir/../admin?x=1":               "",
		"https://fse.example.evil.example/fhir?x=1":           "",
		"https://evil.example/fhir?x=1":                       "",
		"https://user:password@fse.example/fhir?x=1":          "",
		"http://fse.example/fhir?x=1":                         "",
		"//evil.example/fhir":                                 "",
		"https://fse.example/fhir/%2e%2e/admin":               "",
		"file:///etc/passwd":                                  "",
		"https://fse.example/fhir/Subscription?x=https://e.x": "https://fse.example/fhir/Subscription?x=https://e.x",
	} {
		if got, _ := s.within(link); got != want {
			t.Errorf("%s: got %q, want %q", link, got, want)
		}
	}
}
