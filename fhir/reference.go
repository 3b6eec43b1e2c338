package fhir

import (
	"strings"
	"time"
)

// IsID says whether a text is a FHIR id (R4, datatypes): only such a one is ever put into a URL.
func IsID(text string) bool {
	for i := range len(text) {
		c := text[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 64 && text != "." && text != ".."
}

// isType says whether a text may be the name of a resource type.
func isType(text string) bool {
	for i := range len(text) {
		c := text[i]
		if ('A' > c || c > 'Z') && (i <= 0 || 'a' > c || c > 'z') {
			return false
		}
	}
	return len(text) >= 2 && len(text) <= 64
}

// reference is a literal reference, taken apart: relative, absolute or versioned.
type reference struct {
	base     string // what stands before type and id, without the slash; "" for a relative one
	kind, id string
	tail     string // Type/id
	version  string
}

// parseReference reads the tail Type/id[/_history/version] of a reference; ok is false for fragments, URNs, searches and
// whatever else names no resource by type and id.
func parseReference(text string) (r reference, ok bool) {
	if strings.HasPrefix(text, "#") || strings.HasPrefix(text, "urn:") || strings.Contains(text, "?") {
		return r, false
	}
	if before, version, found := strings.Cut(text, "/_history/"); found {
		text, r.version = before, version
	}
	text = strings.TrimSuffix(text, "/")
	last := strings.LastIndexByte(text, '/')
	if last < 0 {
		return r, false
	}
	before := strings.LastIndexByte(text[:last], '/')
	r.kind, r.id, r.tail = text[before+1:last], text[last+1:], text[before+1:]
	r.base = text[:max(0, before)]
	return r, isType(r.kind) && IsID(r.id)
}

// withoutVersion is a reference or fullUrl without its version.
func withoutVersion(text string) string {
	before, _, _ := strings.Cut(text, "/_history/")
	return before
}

// parseInstant reads an instant, or any dateTime or date in its place; zero where it is none.
func parseInstant(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateOnly, "2006-01", "2006"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	return time.Time{}
}
