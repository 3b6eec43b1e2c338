package fhir

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// Whatever a notification or an answer names, what becomes of it is a type and an id, and a URL of the source's own base:
// nothing else is ever called.
func FuzzReference(f *testing.F) {
	for _, seed := range []string{
		"DiagnosticReport/r1", "https://fse.example/fhir/DiagnosticReport/r1/_history/2", "https://other.example/fhir/DiagnosticReport/r1",
		"urn:uuid:0b1b2c3d-0000-4000-8000-000000000003", "#p1", "Patient?identifier=a|b", "/DiagnosticReport/r1/", "DiagnosticReport/..",
		"https://fse.example/fhir/../admin/X/1", "https://fse.example@other.example/fhir/Patient/p1", "https://fse.example/fhirs/Patient/p1",
		"//other.example/fhir/Patient/p1", "https:\\\\other.example\\fhir", "?page=2", "https://fse.example/fhir?page=2#a", `W/"3"`, "",
		"https://fse.example/fhir/%2e%2e/x", "https://fse.example/fhir/Patient/p1\r\nHost: other.example", "HTTPS://FSE.EXAMPLE/fhir/Patient/p1",
	} {
		f.Add(seed)
	}
	const base = "https://fse.example/fhir"
	s, err := NewSource(SourceOptions{BaseURL: base, Aliases: []string{"http://alias.example/r4/"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := parseReference(text)
		if ok && (!isType(r.kind) || !IsID(r.id)) {
			t.Fatalf("%q names the type %q and the id %q", text, r.kind, r.id)
		}
		if again, is := parseReference(withoutVersion(text)); ok && (!is || again.kind != r.kind || again.id != r.id) {
			t.Fatalf("%q names another resource without its version", text)
		}
		if version := entityTag(text); version != "" && !IsID(version) {
			t.Fatalf("the version %q", version)
		}
		_ = tail(text)
		target, own := s.within(text)
		if !own {
			return
		}
		to, err := url.Parse(target)
		if err != nil || to.Scheme != "https" || to.Host != "fse.example" || to.User != nil || strings.Contains(to.Path, "..") {
			t.Fatalf("%q leads to %q", text, target)
		}
		if rest, is := strings.CutPrefix(to.Path, "/fhir"); !is || (rest != "" && rest[0] != '/') {
			t.Fatalf("%q leads out of the base: %q", text, target)
		}
	})
}

// An instant is a time or none: never a panic, and what is written as FHIR writes it is what is read.
func FuzzInstant(f *testing.F) {
	for _, seed := range []string{
		"2026-01-10T09:05:00Z", "2026-01-10T09:05:00.123456789+01:00", "2026-01-10", "2026-01", "2026", "2026-01-10T09:05:00", "9999-12-31T23:59:60Z",
		"0000-00-00", "2026-02-30", "-1", "2026-01-10T24:00:00Z", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at := parseInstant(text)
		if at.IsZero() {
			return
		}
		if again := parseInstant(at.Format(time.RFC3339Nano)); !again.Equal(at) {
			t.Fatalf("%q is read as %s, and that as %s", text, at, again)
		}
	})
}
