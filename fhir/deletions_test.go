package fhir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// deleted lists the ids of deleted reports.
func deleted(t *testing.T, s *fhir.Source, since time.Time) (ids []string, pages int, err error) {
	t.Helper()
	pages, err = s.Deleted(t.Context(), "DiagnosticReport", fhir.Look{Since: since, Take: func(_ context.Context, events []fhir.Event) error {
		for _, e := range events {
			if !e.Deleted || e.LastUpdated.Before(since) {
				t.Errorf("deleted %t, at %s; want since %s", e.Deleted, e.LastUpdated, since)
			}
			ids = append(ids, e.ID)
		}
		return nil
	}})
	slices.Sort(ids)
	return ids, pages, err
}

// The history of a type names what was deleted, page by page.
func TestDeletionsInAHistory(t *testing.T) {
	c := open(t, sandbox.Products()["HAPI"])
	if kept, err := c.source.Keeps(t.Context(), []string{"DiagnosticReport"}); err != nil || len(kept) > 0 {
		t.Errorf("a server that lists no history: %v, %v", kept, err)
	}
	c.server.Traits.History = true
	if kept, err := c.source.Keeps(t.Context(), []string{"Bundle", "DiagnosticReport"}); err != nil || !slices.Equal(kept, []string{"DiagnosticReport"}) {
		t.Errorf("a server that lists a history: %v, %v", kept, err)
	}
	now := time.Now()
	c.server.Now = func() time.Time { return now }
	for i := range 250 {
		c.server.Put(resource{"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", i), "status": "final"})
	}
	c.server.Put(resource{"resourceType": "Composition", "id": "c", "status": "final"})
	c.server.Delete("DiagnosticReport/r1")
	now = now.Add(time.Hour)
	c.server.Delete("DiagnosticReport/r7")
	c.server.Delete("Composition/c")
	c.server.Delete("DiagnosticReport/never-there")
	for since, want := range map[time.Time][]string{
		now.Add(-2 * time.Hour): {"r1", "r7"}, now.Add(-time.Minute): {"r7"}, now.Add(time.Minute): nil,
	} {
		ids, pages, err := deleted(t, c.source, since)
		if wantPages := map[int]int{2: 3, 1: 1, 0: 1}[len(want)]; err != nil || !slices.Equal(ids, want) || pages != wantPages {
			t.Errorf("%v in %d pages, %v; want %v in %d", ids, pages, err, want, wantPages)
		}
	}
}

// What other servers write, and what cannot be read.
func TestHistoriesOfServers(t *testing.T) {
	since := time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
	entry := func(text string) string {
		return `{"resourceType":"Bundle","type":"history","entry":[` + text + `],"link":[]}`
	}
	const at = `,"response":{"status":"204","lastModified":"2026-01-10T09:05:00Z"}}`
	for _, tt := range []struct {
		name, body string
		want       []string
		fails      bool
	}{
		{"relative", entry(`{"request":{"method":"DELETE","url":"DiagnosticReport/r1"}` + at), []string{"r1"}, false},
		{"absolute, with a version", entry(`{"request":{"method":"DELETE","url":"https://fse.example.it/fhir/DiagnosticReport/r1/_history/3"}` + at), []string{"r1"}, false},
		{"only its fullUrl says which", entry(`{"fullUrl":"https://fse.example.it/fhir/DiagnosticReport/r1","request":{"method":"DELETE","url":"DiagnosticReport?identifier=x"}` + at), []string{"r1"}, false},
		{"another type", entry(`{"request":{"method":"DELETE","url":"Patient/r1"}` + at), nil, false},
		{"no id", entry(`{"request":{"method":"DELETE","url":"DiagnosticReport/a b"}` + at), nil, false},
		{"an update", entry(`{"request":{"method":"PUT","url":"DiagnosticReport/r1"}` + at), nil, false},
		{"an error inside", `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"timeout"}]}`, nil, true},
		{"something else", `{"resourceType":"Patient"}`, nil, true},
		{"a link elsewhere", `{"resourceType":"Bundle","type":"history","link":[{"relation":"next","url":"https://other.example/fhir"}]}`, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := source(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tt.body) }), fhir.ShapeReport)
			if ids, _, err := deleted(t, s, since); !slices.Equal(ids, tt.want) || (err != nil) != tt.fails {
				t.Errorf("%v, %v; want %v, fails %t", ids, err, tt.want, tt.fails)
			}
		})
	}
	calls := 0
	s := source(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","type":"history","link":[{"relation":"next","url":"http://%s/fhir/DiagnosticReport/_history?page=%d"}]}`, r.Host, calls)
	}), fhir.ShapeReport)
	if _, pages, err := deleted(t, s, since); !errors.Is(err, fhir.ErrHistoryTooLong) || calls != 50 || pages != calls {
		t.Errorf("%d calls, %d pages, %v; want 50 and %v", calls, pages, err, fhir.ErrHistoryTooLong)
	}
}

// A server that does not heed _since gives its whole history: what was deleted before is not what was asked for, and what follows
// is older still. One that says no time of a deletion is believed.
func TestAHistoryThatIsOlderThanAskedFor(t *testing.T) {
	since := time.Date(2026, 1, 10, 9, 0, 0, 500_000_000, time.UTC)
	gone := func(id, at string) string {
		return fmt.Sprintf(`{"request":{"method":"DELETE","url":"DiagnosticReport/%s/_history/2"},"response":{"lastModified":"%s"}}`, id, at)
	}
	entries := []string{
		gone("r1", "2026-01-10T09:05:00Z"), `{"request":{"method":"DELETE","url":"DiagnosticReport/r2/_history/2"}}`, gone("r3", "2026-01-10T09:00:00Z"),
		gone("r4", "2026-01-10T08:59:59Z"),
	}
	calls := 0
	s := source(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","type":"history","entry":[%s],"link":[{"relation":"next","url":"http://%s/fhir/DiagnosticReport/_history?page=2"}]}`,
			strings.Join(entries, ","), r.Host)
	}), fhir.ShapeReport)
	var got []string
	pages, err := s.Deleted(t.Context(), "DiagnosticReport", fhir.Look{Since: since, Take: func(_ context.Context, events []fhir.Event) error {
		for _, e := range events {
			got = append(got, e.ID+" "+e.Version)
		}
		return nil
	}})
	if want := []string{"r1 2", "r2 2", "r3 2"}; err != nil || pages != 1 || calls != 1 || !slices.Equal(got, want) {
		t.Errorf("%v in %d pages, %d calls, %v; want %v in one", got, pages, calls, err, want)
	}
}

// Versions hold whole documents: where a page of them is too large, smaller ones are asked for.
func TestAHistoryOfLargeDocuments(t *testing.T) {
	var counts []string
	s := source(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count := r.URL.Query().Get("_count")
		counts = append(counts, count)
		if count == "100" {
			_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","entry":[{"resource":{"text":"%s"}}]}`, strings.Repeat("x", 2<<20))
			return
		}
		_, _ = io.WriteString(w, `{"resourceType":"Bundle","entry":[{"request":{"method":"DELETE","url":"DiagnosticReport/r1"}}]}`)
	}), fhir.ShapeReport)
	ids := 0
	pages, err := s.Deleted(t.Context(), "DiagnosticReport", fhir.Look{Take: func(_ context.Context, events []fhir.Event) error {
		ids += len(events)
		return nil
	}})
	if want := []string{"100", "10"}; err != nil || pages != 1 || ids != 1 || !slices.Equal(counts, want) {
		t.Errorf("%d deletions in %d pages of %v, %v; want one, and pages of %v", ids, pages, counts, err, want)
	}
}

// A history is not believed where it may not be whole, and what a server gives beyond what it was asked for is not taken.
func TestHistoriesThatAreNotBelieved(t *testing.T) {
	since := time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
	const all = 250
	// page serves versions from to upto as deletions, each a minute before the one with the number below it.
	page := func(w http.ResponseWriter, r *http.Request, from, upto int, ascending bool, more string) {
		entries := make([]string, 0, upto-from)
		for i := from; i < min(upto, all); i++ {
			at := since.Add(time.Duration(10-i) * time.Minute)
			if ascending {
				at = since.Add(time.Duration(i-all+11) * time.Minute)
			}
			entries = append(entries, fmt.Sprintf(`{"request":{"method":"DELETE","url":"DiagnosticReport/r%d"},"response":{"lastModified":%q}}`, i, at.Format(time.RFC3339)))
		}
		link := ""
		if upto < all {
			link = fmt.Sprintf(`,"link":[{"relation":"next","url":"http://%s/fhir/DiagnosticReport/_history?from=%d"}]`, r.Host, upto)
		}
		_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","type":"history","entry":[%s]%s%s}`, strings.Join(entries, ","), link, more)
	}
	from := func(r *http.Request) int { n, _ := strconv.Atoi(r.URL.Query().Get("from")); return n }
	for _, tt := range []struct {
		name  string
		serve http.HandlerFunc
		ids   int // that are taken
		pages int
		fails bool
	}{
		{"_since is ignored: what is older is not taken, nor asked for", func(w http.ResponseWriter, r *http.Request) {
			page(w, r, from(r), from(r)+100, false, "")
		}, 11, 1, false},
		{"_since is ignored, and the oldest come first", func(w http.ResponseWriter, r *http.Request) {
			page(w, r, from(r), from(r)+100, true, "")
		}, 11, 3, false},
		{"the oldest come first, and there are too many", func(w http.ResponseWriter, r *http.Request) {
			page(w, r, from(r), from(r)+1, true, "")
		}, 0, 50, true},
		{"an error inside a Bundle", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"timeout"}]}}]}`)
		}, 0, 1, true},
		{"it says itself that it is not whole", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"incomplete"}]}}]}`)
		}, 0, 1, true},
		{"the link to the next page is missing", func(w http.ResponseWriter, _ *http.Request) {
			entries := make([]string, 0, 100)
			for i := range 100 {
				entries = append(entries, fmt.Sprintf(`{"request":{"method":"PUT","url":"DiagnosticReport/r%d"}}`, i))
			}
			_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","type":"history","total":250,"entry":[%s]}`, strings.Join(entries, ","))
		}, 0, 1, true},
		{"the links lead round", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","type":"history","link":[{"relation":"next","url":"http://%s/fhir/DiagnosticReport/_history?page=1"}]}`, r.Host)
		}, 0, 2, true},
		{"large resources come in smaller pages", func(w http.ResponseWriter, r *http.Request) {
			count, _ := strconv.Atoi(r.URL.Query().Get("_count"))
			_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"DELETE","url":"DiagnosticReport/r1"},`+
				`"resource":{"data":%q}}]}`, strings.Repeat("x", count<<14))
		}, 1, 1, false},
		{"one is too large", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","data":%q}`, strings.Repeat("x", 2<<20))
		}, 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := source(t, tt.serve, fhir.ShapeReport)
			n := 0
			pages, err := s.Deleted(t.Context(), "DiagnosticReport", fhir.Look{Since: since, Take: func(_ context.Context, events []fhir.Event) error {
				n += len(events)
				return nil
			}})
			if n != tt.ids || pages != tt.pages || (err != nil) != tt.fails || errors.Is(err, fhir.ErrHistoryTooLong) {
				t.Errorf("%d deletions in %d pages, %v; want %d in %d, fails %t", n, pages, err, tt.ids, tt.pages, tt.fails)
			}
		})
	}
}
