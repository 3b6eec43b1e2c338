package catchup_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"staffetta/adapter/catchup"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

func (w *ward) sample(t *testing.T, shape fhir.Shape, n int, calls int64, searches ...string) (catchup.Sample, error) {
	t.Helper()
	source, err := fhir.NewSource(fhir.SourceOptions{
		Name: name, BaseURL: w.base, Shape: shape, Client: catchup.Allowed(w.client, calls), MaxBody: 8 << 20, Aliases: []string{"https://fse.example.it/fhir"},
	})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.NewRules(policy.Options{MaxAge: 30 * 24 * time.Hour, BelieveMissing: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return catchup.TakeSample(t.Context(), catchup.SampleOptions{Source: source, Shape: shape, Rules: rules, Searches: searches, N: n, Now: time.Now()})
}

// verdict is what becomes of a case, as a sample says it.
func verdict(c sandbox.Case) catchup.Verdict {
	switch c.Outcome {
	case "suppressed":
		return catchup.Verdict{Action: "suppress", Reason: c.Reason}
	case "unreachable":
		if c.Reason == "not-on-io" || c.Reason == "not-allowed" {
			return catchup.Verdict{Action: "notify"} // only IO knows that
		}
		return catchup.Verdict{Action: "unreachable", Reason: c.Reason}
	case "held":
		return catchup.Verdict{Action: "hold", Reason: c.Reason}
	case "waiting":
		return catchup.Verdict{Action: "wait", Reason: c.Reason}
	}
	return catchup.Verdict{Action: "notify"}
}

// A sample says of each document what the relay would: the same population, the same outcomes.
func TestASampleDecidesAsTheRelayDoes(t *testing.T) {
	for _, tt := range []struct {
		shape  fhir.Shape
		search string
	}{
		{fhir.ShapeReport, "DiagnosticReport?status=final"}, {fhir.ShapeFSE2, "DiagnosticReport?status=final"}, {fhir.ShapeFSE2, "Composition?status=final"},
	} {
		t.Run(string(tt.shape)+" "+tt.search, func(t *testing.T) {
			w := open(t, "HAPI")
			want := map[catchup.Verdict]int{}
			for _, c := range sandbox.Population(40, 5, tt.shape.OfCompositions()) {
				for _, r := range c.Resources {
					w.server.Put(r)
				}
				want[verdict(c)]++
			}
			s, err := w.sample(t, tt.shape, 1000, 1<<20, tt.search)
			if err != nil || s.Stopped != "" {
				t.Fatalf("%v, %s", err, s.Stopped)
			}
			if diff := cmp.Diff(want, s.Verdicts); diff != "" {
				t.Errorf("(-the population +the sample)\n%s", diff)
			}
		})
	}
}

func TestASampleSaysWhatTheCriteriaMatch(t *testing.T) {
	w := open(t, "HAPI")
	for i := range 130 {
		w.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", i), "status": "registered"})
	}
	for _, tt := range []struct {
		name, search string
		want         catchup.Match
	}{
		{"none: all are registered", "DiagnosticReport?status=final", catchup.Match{Of: 100, Statuses: map[string]int{"registered": 100}}},
		{"all", "DiagnosticReport?status=registered,final", catchup.Match{Of: 100, Matched: 100, Statuses: map[string]int{}}},
		{"what the server cannot evaluate", "DiagnosticReport?category:in=x", catchup.Match{Of: 100, Unknown: fhir.ErrCriteria.Error(), Statuses: map[string]int{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := w.sample(t, fhir.ShapeReport, 100, 1<<20, tt.search)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Search, tt.want.Kind = tt.search, "DiagnosticReport"
			if diff := cmp.Diff(tt.want, s.Matches[0]); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A source of hl7-it that keeps whole documents only: these are what a sample is of, and what a backlog is found by. A server
// that refuses to list them spoils neither.
func TestDocumentBundlesAreSampledAndRetrieved(t *testing.T) {
	w := open(t, "HAPI")
	w.server.Traits.Documents = true
	for i := range 3 {
		w.server.Put(sandbox.Resource{"resourceType": "Bundle", "id": fmt.Sprint("b", i), "type": "document"})
	}
	w.server.Put(sandbox.Resource{"resourceType": "Bundle", "id": "other", "type": "collection"})
	for _, refuses := range []bool{false, true} {
		w.server.Fault = func(rw http.ResponseWriter, r *http.Request) bool {
			if refuses && r.URL.Path == "/fhir/Bundle" {
				rw.WriteHeader(http.StatusNotImplemented)
			}
			return refuses && r.URL.Path == "/fhir/Bundle"
		}
		s, err := w.sample(t, fhir.ShapeHL7IT, 100, 1<<20, "Composition?status=final", "Bundle?type=document")
		if err != nil {
			t.Fatal(err)
		}
		want := catchup.Match{Search: "Bundle?type=document", Kind: "Bundle", Of: 4, Matched: 3, Statuses: map[string]int{"other": 1}}
		if refuses {
			want.Of, want.Matched, want.Statuses, want.Unknown = 0, 0, map[string]int{}, fhir.ErrUnsorted.Error()
		}
		if diff := cmp.Diff(want, s.Matches[1]); diff != "" || (s.Kind == "Bundle") == refuses {
			t.Errorf("refuses %t: a sample of %s (-want +got)\n%s", refuses, s.Kind, diff)
		}
		b := w.backlog(t, fhir.ShapeHL7IT, nil)
		b.Spare = fhir.SpareSearches(b.Shape, nil, nil)
		p, err := preview(t, b)
		if err != nil || len(p.Found) != 3 || (p.Found[2].Refused != "") != refuses || (p.Found[2].Hits == 3) == refuses {
			t.Errorf("refuses %t: found %v, %v", refuses, p.Found, err)
		}
	}
}

func TestASampleIsBounded(t *testing.T) {
	w := open(t, "HAPI")
	for i := range 50 {
		w.server.Put(sandbox.Resource{"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", i), "status": "registered"})
	}
	var calls atomic.Int64
	w.server.Fault = func(http.ResponseWriter, *http.Request) bool { calls.Add(1); return false }
	s, err := w.sample(t, fhir.ShapeReport, 50, 20)
	if err != nil || s.Stopped == "" || calls.Load() > 20 {
		t.Errorf("%d calls, stopped %q, %v; want 20 calls at most, and that it says so", calls.Load(), s.Stopped, err)
	}
}

// The server caps its pages, and whole resources are large: the sample is taken all the same.
func TestASampleOfALargeServer(t *testing.T) {
	w := open(t, "HAPI")
	for i := range 30 {
		w.server.Put(sandbox.Resource{
			"resourceType": "DiagnosticReport", "id": fmt.Sprint("r", i), "status": "registered", "conclusion": strings.Repeat("x", 500_000),
		})
	}
	s, err := w.sample(t, fhir.ShapeReport, 30, 1<<20, "DiagnosticReport?status=registered")
	if err != nil || s.Resources != 30 || s.Verdicts[catchup.Verdict{Action: "wait", Reason: "not-final"}] != 30 {
		t.Errorf("%d resources, %v, %v", s.Resources, s.Verdicts, err)
	}
}

func TestAServerThatCannotSort(t *testing.T) {
	w := open(t, "HAPI")
	w.server.Fault = func(rw http.ResponseWriter, r *http.Request) bool {
		if !r.URL.Query().Has("_sort") {
			return false
		}
		rw.WriteHeader(http.StatusBadRequest)
		return true
	}
	if _, err := w.sample(t, fhir.ShapeReport, 10, 100); err == nil || !strings.Contains(err.Error(), "_sort") {
		t.Errorf("error %v", err)
	}
}
