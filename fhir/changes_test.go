package fhir_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

var began = time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)

const finals = "DiagnosticReport?status=final,amended"

// written is a report that changed so long after it began.
func written(id string, after time.Duration, status string) resource {
	return resource{
		"resourceType": "DiagnosticReport", "id": id, "status": status,
		"meta": resource{"versionId": "1", "lastUpdated": began.Add(after).Format("2006-01-02T15:04:05.000Z")},
	}
}

// shelf is a server with n reports, the first one two seconds before began, one every two seconds, and a registered one among them. They
// were first written in another order.
func shelf(n int) *sandbox.Server {
	server := sandbox.NewServer()
	for i := n - 1; i >= 0; i-- {
		server.Load(written(fmt.Sprintf("r%04d", i), time.Duration(i-1)*2*time.Second, "final"))
	}
	server.Load(written("early", 0, "registered"))
	return server
}

// listing is what a look gave: ids in order, without those that came again.
func listing(ctx context.Context, c *fhir.Changes, look fhir.Look) (ids []string, listed fhir.Listed, err error) {
	look.Take = func(_ context.Context, events []fhir.Event) error {
		for _, e := range events {
			ids = append(ids, e.ID)
		}
		return nil
	}
	listed, err = c.Since(ctx, look)
	return ids, listed, err
}

func changes(t *testing.T, source *fhir.Source, search string) *fhir.Changes {
	t.Helper()
	c, err := source.Changes(search)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// range of ids of a shelf.
func ids(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("r%04d", i))
	}
	return all
}

func TestChangesAreListedOnceAndInOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		quirks sandbox.Quirks
		whole  bool
	}{
		{"a server by the book", sandbox.Quirks{}, false},
		{"pages of seven", sandbox.Quirks{PageMost: 7}, false},
		{"pages of two, without totals", sandbox.Quirks{PageMost: 2, NoTotal: true}, false},
		{"no links to next pages", sandbox.Quirks{PageMost: 7, NoNext: true}, false},
		{"neither links nor totals", sandbox.Quirks{PageMost: 7, NoNext: true, NoTotal: true}, false},
		{"next pages that expire at once", sandbox.Quirks{PageMost: 7, NextIsGone: http.StatusGone}, false},
		{"_elements is refused", sandbox.Quirks{NoElements: true, PageMost: 7}, false},
		{"_elements leaves out meta", sandbox.Quirks{NoMeta: true, PageMost: 7}, false},
		{"_sort is ignored", sandbox.Quirks{IgnoresSort: true, PageMost: 7}, true},
		{"_sort is refused", sandbox.Quirks{RefusesSort: true, PageMost: 7}, true},
		{"_lastUpdated is ignored", sandbox.Quirks{IgnoresTime: true, PageMost: 7}, true},
		{"_lastUpdated is refused", sandbox.Quirks{RefusesTime: true, PageMost: 7}, true},
		{"both are ignored", sandbox.Quirks{IgnoresTime: true, IgnoresSort: true, PageMost: 7}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := shelf(60)
			server.Misbehave(tt.quirks)
			c := changes(t, source(t, server, fhir.ShapeReport), finals)
			for range 2 { // the second time it knows the way
				got, listed, err := listing(t.Context(), c, fhir.Look{Since: began.Add(20 * time.Second)})
				if err != nil {
					t.Fatal(err)
				}
				if tt.whole {
					slices.Sort(got)
					got = slices.Compact(got)
				}
				if diff := cmp.Diff(ids(11, 60), got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if listed.Whole != tt.whole || !listed.Newest.Equal(began.Add(116*time.Second)) {
					t.Errorf("whole %t, want %t; newest %s", listed.Whole, tt.whole, listed.Newest)
				}
			}
		})
	}
}

// altered is a server whose pages somebody changes on their way.
func altered(t *testing.T, server http.Handler, change func(page resource)) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		var page resource
		if err := json.Unmarshal(answer.Body.Bytes(), &page); err != nil {
			t.Error(err)
		}
		change(page)
		_ = json.NewEncoder(w).Encode(page)
	})
}

// A total that counts the hits of its page, or none, is no word against a link to the next one. Only a link to another server is
// none against a total.
func TestATotalAgainstALink(t *testing.T) {
	const stray = "https://elsewhere.example/fhir/DiagnosticReport?page=2"
	same := func(next string) string { return next }
	always := func(string) string { return stray }
	for _, tt := range []struct {
		name    string
		reports int
		quirks  sandbox.Quirks
		total   func(hits int) int
		next    func(next string) string
		want    error
	}{
		{"the total of each page, links of the server", 60, sandbox.Quirks{PageMost: 7}, func(hits int) int { return hits }, same, nil},
		{"totals of nothing, links of the server", 60, sandbox.Quirks{PageMost: 7}, func(int) int { return 0 }, same, nil},
		{"the total of each page, links elsewhere", 60, sandbox.Quirks{PageMost: 7}, func(hits int) int { return hits }, always, nil},
		{"the total of the only page, a link elsewhere", 20, sandbox.Quirks{}, func(hits int) int { return hits }, always, nil},
		{"a single report before, a link elsewhere", 1, sandbox.Quirks{}, func(hits int) int { return hits }, always, nil},
		{"nothing there, a link elsewhere", 0, sandbox.Quirks{}, func(hits int) int { return hits }, always, nil},
		{"nothing on the page, and more elsewhere", 0, sandbox.Quirks{}, func(int) int { return 5 }, always, fhir.ErrCannotList},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := shelf(tt.reports)
			server.Misbehave(tt.quirks)
			c := changes(t, source(t, altered(t, server, func(page resource) {
				entries, _ := page["entry"].([]any)
				next := ""
				links, _ := page["link"].([]any)
				for _, link := range links {
					if l, _ := link.(map[string]any); l["relation"] == "next" {
						next, _ = l["url"].(string)
					}
				}
				page["total"], page["link"] = tt.total(len(entries)), []any{}
				if next = tt.next(next); next != "" {
					page["link"] = []any{resource{"relation": "next", "url": next}}
				}
			}), fhir.ShapeReport), finals)
			got, _, err := listing(t.Context(), c, fhir.Look{Since: began})
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(ids(1, tt.reports), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// The first look says by name what the server ignores.
func TestWhatIsIgnoredIsNamed(t *testing.T) {
	for name, quirks := range map[string]sandbox.Quirks{
		"_sort": {IgnoresSort: true}, "_lastUpdated": {IgnoresTime: true},
	} {
		server := shelf(20)
		server.Misbehave(quirks)
		_, listed, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), fhir.Look{Since: began.Add(5 * time.Second)})
		if err != nil || !slices.Contains(listed.Ignores, name) {
			t.Errorf("%s: %v, %v", name, listed.Ignores, err)
		}
	}
}

// More resources share a moment than a page holds.
func TestAMomentLargerThanAPage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		quirks sandbox.Quirks
		want   error
	}{
		{"links lead through it", sandbox.Quirks{PageMost: 7}, nil},
		{"links, no totals", sandbox.Quirks{PageMost: 7, NoTotal: true}, nil},
		{"without links, larger pages do", sandbox.Quirks{NoNext: true}, nil},
		{"without links, and the server caps its pages", sandbox.Quirks{PageMost: 7, NoNext: true}, fhir.ErrNotCredible},
		{"the links expire", sandbox.Quirks{PageMost: 7, NextIsGone: http.StatusGone}, fhir.ErrNotCredible},
		{"the links are refused", sandbox.Quirks{PageMost: 7, NextIsGone: http.StatusBadRequest}, fhir.ErrNotCredible},
		{"the links are not found", sandbox.Quirks{PageMost: 7, NextIsGone: http.StatusNotFound}, fhir.ErrNotCredible},
		{"the total shrinks on the way", sandbox.Quirks{PageMost: 7, Shrinks: true}, fhir.ErrNotCredible},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := sandbox.NewServer()
			want := append(make([]string, 0, 302), "a")
			server.Load(written("a", 0, "final"))
			for i := range 300 {
				id := fmt.Sprintf("t%03d", i)
				server.Load(written(id, time.Second, "final"))
				want = append(want, id)
			}
			server.Load(written("z", 2*time.Second, "final"))
			want = append(want, "z")
			server.Misbehave(tt.quirks)
			got, _, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), fhir.Look{Since: began})
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); tt.want == nil && diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What may be wrong is never taken for a whole list.
func TestAListThatMayBeWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		quirks sandbox.Quirks
		look   fhir.Look
		want   error
		says   string
	}{
		{"200 with an OperationOutcome", sandbox.Quirks{ErrorInside: true}, fhir.Look{}, fhir.ErrNotCredible, "OperationOutcome"},
		{"the total shrinks", sandbox.Quirks{Shrinks: true, PageMost: 7}, fhir.Look{}, fhir.ErrNotCredible, "total shrinks"},
		{"the total shrinks from page to page", sandbox.Quirks{Shrinks: true, PageMost: 7, RefusesSort: true}, fhir.Look{}, fhir.ErrNotCredible, "total shrinks"},
		{"everything must be read, and the links expire", sandbox.Quirks{RefusesSort: true, PageMost: 7, NextIsGone: http.StatusGone}, fhir.Look{}, fhir.ErrNotCredible, "not there any more"},
		{"everything must be read, and there are no links", sandbox.Quirks{RefusesSort: true, PageMost: 7, NoNext: true}, fhir.Look{}, fhir.ErrNotCredible, "no link"},
		{"empty where something was", sandbox.Quirks{Empty: true}, fhir.Look{Expected: began.Add(time.Minute)}, fhir.ErrNotCredible, "something was before"},
		{"empty where nothing was", sandbox.Quirks{Empty: true}, fhir.Look{}, nil, ""},
		{"empty before what was", sandbox.Quirks{}, fhir.Look{Since: began.Add(time.Hour), Expected: began.Add(time.Minute)}, nil, ""},
		{"what was is gone, and others are there", sandbox.Quirks{}, fhir.Look{Since: began.Add(time.Hour), Expected: began.Add(2 * time.Hour)}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := shelf(60)
			server.Misbehave(tt.quirks)
			if tt.look.Since.IsZero() {
				tt.look.Since = began
			}
			_, _, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), tt.look)
			if !errors.Is(err, tt.want) || (err != nil && !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
}

// Where everything must be read there is a bound, and a verdict.
func TestTooMuchToBeReadAsAWhole(t *testing.T) {
	server := sandbox.NewServer()
	server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("_sort") {
			w.WriteHeader(http.StatusBadRequest)
		} else {
			_, _ = w.Write([]byte(`{"resourceType":"Bundle","total":1000000,"entry":[{"resource":{"resourceType":"DiagnosticReport","id":"r","meta":{"lastUpdated":"2026-01-10T09:00:00Z"}}}]}`))
		}
		return true
	}
	_, listed, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), fhir.Look{Since: began})
	if !errors.Is(err, fhir.ErrCannotList) || listed.Pages > 1 {
		t.Errorf("%v after %d pages, want %v after one", err, listed.Pages, fhir.ErrCannotList)
	}
}

// A parameter of the search that the server ignores would list what nobody asked for.
func TestASearchThatIsIgnored(t *testing.T) {
	server := shelf(20)
	server.Lenient = true
	got, _, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), "DiagnosticReport?category=LAB"), fhir.Look{Since: began})
	if !errors.Is(err, fhir.ErrCannotList) || !strings.Contains(err.Error(), "category") || len(got) > 0 {
		t.Errorf("%d listed, %v", len(got), err)
	}
	server.Lenient = false
	if _, _, err = listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), "DiagnosticReport?category=LAB"), fhir.Look{Since: began}); !errors.Is(err, fhir.ErrCannotList) {
		t.Errorf("a strict server refuses it: %v", err)
	}
}

// Statuses are checked by us: a server that ignores them lists them all.
func TestStatusesAreChecked(t *testing.T) {
	server := shelf(5)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		query.Del("status")
		r.URL.RawQuery = query.Encode()
		server.ServeHTTP(w, r)
	})
	got, listed, err := listing(t.Context(), changes(t, source(t, handler, fhir.ShapeReport), finals), fhir.Look{Since: began.Add(-time.Hour)})
	if diff := cmp.Diff(ids(0, 5), got); err != nil || diff != "" || !slices.Contains(listed.Ignores, "status") {
		t.Errorf("%v, %v (-want +got)\n%s", listed.Ignores, err, diff)
	}
}

// While it is read, the source goes on: what is changed moves to the end, what is new comes after it.
func TestAListThatMovesWhileItIsRead(t *testing.T) {
	for name, quirks := range map[string]sandbox.Quirks{"with totals": {PageMost: 7}, "without": {PageMost: 7, NoTotal: true}} {
		t.Run(name, func(t *testing.T) {
			server := shelf(60)
			server.Misbehave(quirks)
			at, n := 200*time.Second, 0
			c := changes(t, source(t, server, fhir.ShapeReport), finals)
			got, _, err := listing(t.Context(), c, fhir.Look{Since: began, Pace: func(context.Context) error {
				if n++; n > 2 && n < 9 { // one that was listed, and one that was not yet, change; one comes
					at += time.Second
					server.Load(written(fmt.Sprintf("r%04d", 2*n), at, "final"))
					server.Load(written(fmt.Sprintf("r%04d", 50+n), at, "final"))
					server.Load(written(fmt.Sprintf("new%d", n), at, "final"))
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			want := ids(1, 60)
			for i := 3; i < 9; i++ {
				want = append(want, fmt.Sprintf("new%d", i))
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A server that does not sort, and whose first page is in order by chance, must not hide what lies behind it.
func TestOrderByChance(t *testing.T) {
	server := sandbox.NewServer()
	for i := range 30 {
		at := time.Duration(i) * time.Second
		if i == 6 {
			at = time.Hour // the last of the first page was changed later
		}
		server.Load(written(fmt.Sprintf("r%04d", i), at, "final"))
	}
	server.Misbehave(sandbox.Quirks{IgnoresSort: true, PageMost: 7, NoTotal: true})
	got, _, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), fhir.Look{Since: began})
	slices.Sort(got)
	if diff := cmp.Diff(ids(0, 30), slices.Compact(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// What was loaded at once has one time for all: that says nothing of whether a server sorts, and what comes later is found as ever.
func TestWhatSharesOneMoment(t *testing.T) {
	server := sandbox.NewServer()
	for i := range 30 {
		server.Load(written(fmt.Sprintf("r%04d", i), 0, "final"))
	}
	c := changes(t, source(t, server, fhir.ShapeReport), finals)
	for n := 30; n < 33; n++ {
		got, listed, err := listing(t.Context(), c, fhir.Look{Since: began.Add(-time.Second)})
		slices.Sort(got)
		if diff := cmp.Diff(ids(0, n), slices.Compact(got)); diff != "" || err != nil || listed.Whole || len(listed.Ignores) > 0 {
			t.Errorf("with %d: %v, %+v\n%s", n, err, listed, diff)
		}
		server.Load(written(fmt.Sprintf("r%04d", n), time.Duration(n)*time.Second, "final"))
	}
}

func TestTheServersClock(t *testing.T) {
	for _, ahead := range []time.Duration{0, 5 * time.Minute, -5 * time.Minute} {
		server := shelf(30)
		server.Misbehave(sandbox.Quirks{PageMost: 7})
		server.Now = func() time.Time { return time.Now().Add(ahead) }
		var dates []time.Time
		look := fhir.Look{Since: began, Clock: func(date time.Time) { dates = append(dates, date) }}
		look.Pace = func(context.Context) error {
			if len(dates) != 1 {
				t.Errorf("the server's clock was told %d times after the first page, want once", len(dates))
			}
			return nil
		}
		_, _, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), look)
		if err != nil || len(dates) != 1 || (time.Until(dates[0])-ahead).Abs() > 5*time.Second {
			t.Errorf("%v, want one that is %s ahead, %v", dates, ahead, err)
		}
	}
}

func TestChangesInXML(t *testing.T) {
	server := shelf(20)
	server.XML = true
	server.Misbehave(sandbox.Quirks{PageMost: 7})
	got, _, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), fhir.Look{Since: began})
	if diff := cmp.Diff(ids(1, 20), got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// Large resources come in smaller pages.
func TestLargeResources(t *testing.T) {
	server := sandbox.NewServer()
	for i := range 12 {
		r := written(fmt.Sprintf("r%04d", i), time.Duration(i)*time.Second, "final")
		r["conclusion"] = strings.Repeat("x", 200_000)
		server.Load(r)
	}
	got, _, err := listing(t.Context(), changes(t, source(t, server, fhir.ShapeReport), finals), fhir.Look{Since: began})
	slices.Sort(got)
	if diff := cmp.Diff(ids(0, 12), slices.Compact(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// A link, an id or a self link of the server makes us call nobody else, and is in no error.
func TestChangesAskNobodyElse(t *testing.T) {
	called := false
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	t.Cleanup(evil.Close)
	for name, body := range map[string]string{
		"link": `{"resourceType":"Bundle","link":[{"relation":"next","url":"` + evil.URL + `/RSSMRA80A01H501U"}],"entry":[]}`,
		"id":   `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"DiagnosticReport","id":"../RSSMRA80A01H501U","meta":{"lastUpdated":"2026-01-10T09:00:00Z"}}}]}`,
		"type": `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"RSSMRA80A01H501U","id":"a","meta":{"lastUpdated":"2026-01-10T09:00:00Z"}}}]}`,
		"none": `{"resourceType":"RSSMRA80A01H501U"}`,
	} {
		c := changes(t, source(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if by := r.URL.Query().Get("_sort"); by == "" || r.URL.Query().Get("_count") != "1" {
				_, _ = w.Write([]byte(body))
				return
			}
			_, _ = w.Write([]byte(`{"resourceType":"Bundle","entry":[]}`))
		}), fhir.ShapeReport), finals)
		got, _, err := listing(t.Context(), c, fhir.Look{Since: began})
		if err == nil || strings.Contains(err.Error(), "RSSMRA") || strings.Contains(err.Error(), evil.URL) || len(got) > 0 || called {
			t.Errorf("%s: %d listed, %v", name, len(got), err)
		}
	}
}

// Every status that a citizen may be told of, or that takes back what they were told, is listed: those of R5 too. A server that
// refuses codes it does not know is asked without them, and once more with them by the next list.
func TestStatusesOfR5AreListed(t *testing.T) {
	for kind, statuses := range map[string][]string{
		"DiagnosticReport": {"final", "amended", "corrected", "appended", "modified", "cancelled", "entered-in-error"},
		"Composition":      {"final", "amended", "corrected", "appended", "cancelled", "deprecated", "entered-in-error"},
	} {
		shape := map[string]fhir.Shape{"DiagnosticReport": fhir.ShapeReport, "Composition": fhir.ShapeFSE2}[kind]
		server, refused := sandbox.NewServer(), ""
		var asked []string
		for i, status := range slices.Concat(statuses, []string{"registered", "preliminary", "partial", "unknown"}) {
			r := written(status, time.Duration(i)*time.Second, status)
			r["resourceType"] = kind
			server.Load(r)
		}
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.Query().Get("status"))
			if refused != "" && strings.Contains(r.URL.Query().Get("status"), refused) {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			server.ServeHTTP(w, r)
		})
		c := changes(t, source(t, handler, shape), fhir.Searches(shape, nil, nil)[0])
		list := func(want ...string) {
			t.Helper()
			got, _, err := listing(t.Context(), c, fhir.Look{Since: began})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s: %v (-want +got)\n%s", kind, err, diff)
			}
		}
		list(statuses...)
		refused = map[string]string{"DiagnosticReport": "modified", "Composition": "deprecated"}[kind]
		var older []string
		for _, status := range statuses {
			if status == "modified" || kind == "Composition" && slices.Contains([]string{"corrected", "appended", "cancelled", "deprecated"}, status) {
				continue
			}
			older = append(older, status)
		}
		list(older...)
		asked = nil
		list(older...)
		if len(asked) != 2 || !strings.Contains(asked[0], refused) || strings.Contains(asked[1], refused) {
			t.Errorf("%s: asked for %q", kind, asked)
		}
		refused = ""
		list(statuses...)
	}
}

// A server that gives what it has so far, and says so in a warning, has not given all; other warnings say nothing of that.
func TestAListThatSaysItIsNotWhole(t *testing.T) {
	for _, severity := range []string{"information", "warning", "error"} {
		for code, whole := range map[string]bool{
			"incomplete": false, "timeout": false, "too-costly": false, "throttled": false, "transient": false, "exception": false,
			"informational": true, "not-supported": true, "processing": true,
		} {
			server := shelf(5)
			c := changes(t, source(t, altered(t, server, func(page resource) {
				entries, _ := page["entry"].([]any)
				page["entry"] = append(entries, resource{"search": resource{"mode": "outcome"}, "resource": resource{
					"resourceType": "OperationOutcome", "issue": []any{resource{"severity": severity, "code": code}},
				}})
			}), fhir.ShapeReport), finals)
			_, _, err := listing(t.Context(), c, fhir.Look{Since: began})
			if want := whole && severity != "error"; (err == nil) != want || (!want && !errors.Is(err, fhir.ErrNotCredible)) {
				t.Errorf("%s %s: %v, want it believed: %t", severity, code, err, want)
			}
		}
	}
}

// TestLinksThatLeadNowhere meets a server whose pages are empty and go on for ever, to the same one or to ever new ones.
func TestLinksThatLeadNowhere(t *testing.T) {
	for name, next := range map[string]func(int) string{
		"round and round": func(int) string { return "again" },
		"ever on":         func(n int) string { return fmt.Sprint("page-", n) },
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			endless := source(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.URL.Query().Get("_count") == "1" { // whether it sorts
					_, _ = w.Write([]byte(`{"resourceType":"Bundle","total":0}`))
					return
				}
				_, _ = fmt.Fprintf(w, `{"resourceType":"Bundle","link":[{"relation":"next","url":"DiagnosticReport?page=%s"}]}`, next(asked))
			}), fhir.ShapeReport)
			if _, _, err := listing(t.Context(), changes(t, endless, finals), fhir.Look{Since: began}); !errors.Is(err, fhir.ErrNotCredible) {
				t.Errorf("error %v after %d questions, want %v", err, asked, fhir.ErrNotCredible)
			}
		})
	}
}

func TestChangesStop(t *testing.T) {
	server := shelf(60)
	server.Misbehave(sandbox.Quirks{PageMost: 7})
	ctx, cancel := context.WithCancel(t.Context())
	c := changes(t, source(t, server, fhir.ShapeReport), finals)
	_, err := c.Since(ctx, fhir.Look{Since: began, Take: func(context.Context, []fhir.Event) error { cancel(); return nil }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
}

func TestTroubleOfTheServer(t *testing.T) {
	for status, want := range map[int]fhir.TroubleKind{
		http.StatusUnauthorized: fhir.Unauthorized, http.StatusForbidden: fhir.Unauthorized, http.StatusTooManyRequests: fhir.Throttled,
		http.StatusInternalServerError: fhir.Unavailable,
	} {
		c := changes(t, source(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }), fhir.ShapeReport), finals)
		_, _, err := listing(t.Context(), c, fhir.Look{Since: began})
		if trouble, is := errors.AsType[*fhir.Trouble](err); !is || trouble.Kind != want {
			t.Errorf("%d: %v, want %s", status, err, want)
		}
	}
}

func TestSearchesOfASweep(t *testing.T) {
	const (
		report       = "DiagnosticReport?status=final%2Camended%2Ccorrected%2Cappended%2Ccancelled%2Centered-in-error%2Cmodified"
		compositions = "Composition?status=final%2Camended%2Centered-in-error%2Ccorrected%2Cappended%2Ccancelled%2Cdeprecated"
	)
	for _, tt := range []struct {
		name              string
		shape             fhir.Shape
		criteria, filters []string
		want              []string
	}{
		{"those of the shape", fhir.ShapeReport, nil, nil, []string{report}},
		{"those of compositions", fhir.ShapeFSE2, nil, nil, []string{
			compositions, "DocumentReference?status=current%2Csuperseded%2Centered-in-error",
		}},
		{"the criteria of the Subscription", fhir.ShapeReport, []string{"DiagnosticReport?category=LAB"}, []string{"DiagnosticReport?category=RAD"}, []string{"DiagnosticReport?category=LAB"}},
		{"narrowed by filters", fhir.ShapeReport, nil, []string{"DiagnosticReport?category=LAB", "subject=Patient/1"}, []string{
			"DiagnosticReport?category=LAB&" + strings.TrimPrefix(report, "DiagnosticReport?") + "&subject=Patient%2F1",
		}},
		{"a filter that says which status", fhir.ShapeReport, nil, []string{"DiagnosticReport?status=final"}, []string{"DiagnosticReport?status=final"}},
		{"a filter of documents that are Bundles", fhir.ShapeHL7IT, nil, []string{"Bundle?identifier=a"}, []string{
			compositions, "DocumentReference?status=current%2Csuperseded%2Centered-in-error",
		}},
		{"filters of another type than the shape's", fhir.ShapeFSE2, nil, []string{"DiagnosticReport?category=LAB"}, []string{"DiagnosticReport?category=LAB"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, fhir.Searches(tt.shape, tt.criteria, tt.filters)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	for _, tt := range []struct {
		name              string
		shape             fhir.Shape
		criteria, filters []string
		want              []string
	}{
		{"documents of hl7-it that are Bundles only", fhir.ShapeHL7IT, nil, nil, []string{"Bundle?type=document"}},
		{"narrowed by filters", fhir.ShapeHL7IT, nil, []string{"Bundle?identifier=a", "Composition?b=c"}, []string{"Bundle?identifier=a&type=document"}},
		{"criteria are all", fhir.ShapeHL7IT, []string{"Composition?status=final"}, nil, nil},
		{"filters of other types are all", fhir.ShapeHL7IT, nil, []string{"DiagnosticReport?category=LAB"}, nil},
		{"none in fse2", fhir.ShapeFSE2, nil, nil, nil},
		{"none in shape report", fhir.ShapeReport, nil, nil, nil},
	} {
		if diff := cmp.Diff(tt.want, fhir.SpareSearches(tt.shape, tt.criteria, tt.filters)); diff != "" {
			t.Errorf("spare: %s: (-want +got)\n%s", tt.name, diff)
		}
	}
	if _, err := source(t, http.NotFoundHandler(), fhir.ShapeReport).Changes("status=final"); err == nil {
		t.Error("a search without a type was taken")
	}
	if _, err := url.ParseQuery(strings.TrimPrefix(report, "DiagnosticReport?")); err != nil {
		t.Error(err)
	}
}
