package fhir_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

// smallPages makes a server give pages of its own size where none is asked for, and no larger ones where one is.
func smallPages(size string) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, r *http.Request) bool {
		if query := r.URL.Query(); r.Method == http.MethodGet && strings.Count(r.URL.Path, "/") == 2 {
			query.Set("_count", size)
			r.URL.RawQuery = query.Encode()
		} else if r.Method == http.MethodPost && r.ParseForm() == nil {
			r.Form.Set("_count", size)
		}
		return false
	}
}

// answering answers searches that have one of the parameters with a status, and counts them.
func answering(status int, n *atomic.Int64, names ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.ParseForm() != nil || !slices.ContainsFunc(names, r.Form.Has) {
			return false
		}
		n.Add(1)
		w.WriteHeader(status)
		return true
	}
}

// exams is a laboratory document with its reports one section deeper than searches look; the last but three tests for HIV.
func exams(server *sandbox.Server, n int) {
	putDocument(server, "Patient/p1", resource{})
	entries := make([]any, 0, n)
	for i := range n {
		code := "14957-5"
		if i == n-4 {
			code = "20447-9"
		}
		id := fmt.Sprint("exam-", i)
		server.Put(resource{"resourceType": "DiagnosticReport", "id": id, "status": "final", "code": concept(code)})
		entries = append(entries, resource{"reference": "DiagnosticReport/" + id})
	}
	change(server, "Composition/c1", func(r resource) {
		r["section"] = []any{resource{"section": []any{resource{"entry": entries}}}}
	})
}

// A document is decided by all of its reports, however small the pages of its server; what cannot be seen whole is trouble.
func TestEveryReportOfADocumentIsRead(t *testing.T) {
	hiv := fhir.Coding{Code: "20447-9"}
	for _, tt := range []struct {
		name  string
		exams int
		fault func(http.ResponseWriter, *http.Request) bool
		whole bool
	}{
		{"one page", 25, nil, true},
		{"pages of 20", 25, smallPages("20"), true},
		{"pages of 7, several searches", 120, smallPages("7"), true},
		{"more than a hundred", 140, nil, true},
		{"no searches for ids, read one by one", 25, answering(http.StatusBadRequest, new(atomic.Int64), "_id"), true},
		{"an index that lags behind", 25, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Query().Get("_id"), "exam-") {
				_, _ = w.Write([]byte(`{"resourceType":"Bundle","type":"searchset"}`))
				return true
			}
			return false
		}, true},
		{"more than are read", 301, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			exams(server, tt.exams)
			server.Fault = tt.fault
			doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
			if trouble, is := errors.AsType[*fhir.Trouble](err); is == tt.whole || (is && trouble.Kind != fhir.Unusable) {
				t.Fatalf("got %v", err)
			}
			if tt.whole && (!slices.Contains(doc.Codes, hiv) || len(doc.Codes) != tt.exams) {
				t.Errorf("%d codes of %d exams; that of the HIV test among them: %t", len(doc.Codes), tt.exams, slices.Contains(doc.Codes, hiv))
			}
		})
	}
}

// That a document is hidden from its citizen may stand on the second page, or on one that cannot be had: then it is not told.
func TestTheSecondPageIsReadOrItIsTrouble(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server was asked for %s", r.URL.Path)
	}))
	t.Cleanup(other.Close)
	page := func(next string) string {
		return `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"` + next + `"}],"entry":[{"resource":` +
			`{"resourceType":"DocumentReference","id":"a","status":"current","context":{"related":[{"reference":"Composition/c1"}]}}}]}`
	}
	for _, tt := range []struct {
		name, next string // "": the server's own
		xml        bool
		want       string
	}{
		{"read", "", false, ""},
		{"read in XML", "", true, ""},
		{"at another server", other.URL + "/fhir/DocumentReference?page=2", false, "another server"},
		{"gone", "DocumentReference?gone", false, "is not there"},
		{"without an end", "DocumentReference?related=Composition/c1", false, "more pages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			server.XML = tt.xml
			putDocument(server, "Patient/p1", resource{}, resource{"context": resource{"event": []any{concept("P98")}}})
			small := smallPages("1")
			server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
				query := r.URL.Query()
				switch {
				case r.URL.Path == "/fhir/Composition/_search", r.URL.Path == "/fhir/Composition":
					w.WriteHeader(http.StatusBadRequest)
				case tt.next != "" && query.Has("gone"):
					w.WriteHeader(http.StatusGone)
				case tt.next != "" && query.Has("related"):
					_, _ = w.Write([]byte(page(tt.next)))
				default:
					return small(w, r)
				}
				return true
			}
			doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1)
			if tt.want == "" {
				if err != nil || len(doc.Access) != 1 || doc.Access[0].Code != "P98" {
					t.Errorf("got %v, %v; want P98", doc.Access, err)
				}
				return
			}
			trouble, is := errors.AsType[*fhir.Trouble](err)
			if !is || trouble.Kind != fhir.Unusable || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got access %v, %v; want trouble: %s", doc.Access, err, tt.want)
			}
		})
	}
}

// The one patient who carries an identifier is one on all pages.
func TestASecondPatientOnTheNextPage(t *testing.T) {
	server := ward(func(report, patient resource) {
		report["subject"] = resource{"identifier": identified("urn:mrn", "77")}
		patient["identifier"] = append(patient["identifier"].([]any), identified("urn:mrn", "77"))
	})
	change(server, "Patient/p2", func(r resource) { r["identifier"] = append(r["identifier"].([]any), identified("urn:mrn", "77")) })
	server.Fault = smallPages("1")
	doc, err := source(t, server, fhir.ShapeReport).Read(t.Context(), r1)
	if err != nil || doc.Person.Trouble != fhir.NoPatient {
		t.Errorf("got trouble %q, %v; want no-patient", doc.Person.Trouble, err)
	}
}

// A server that refuses _revinclude, or _include too, leads from a report to its document all the same; what it refuses is
// asked again after an hour only.
func TestAServerThatRefusesIncludes(t *testing.T) {
	for _, names := range [][]string{{"_revinclude"}, {"_revinclude", "_include"}} {
		t.Run(strings.Join(names, " and "), func(t *testing.T) {
			server := ward(nil)
			putDocument(server, "Patient/p1", resource{"context": resource{"event": []any{concept("P99")}}})
			change(server, "Composition/c1", func(r resource) {
				r["section"] = []any{resource{"entry": []any{resource{"reference": "DiagnosticReport/r1"}}}}
			})
			var refused atomic.Int64
			server.Fault = answering(http.StatusBadRequest, &refused, names...)
			now := time.Now()
			s := source(t, server, fhir.ShapeFSE2, func(o *fhir.SourceOptions) { o.Now = func() time.Time { return now } })
			look := func() int64 {
				refused.Store(0)
				found, err := s.Find(t.Context(), r1)
				if err != nil || len(found.Documents) != 1 || found.Documents[0].Locator != c1 {
					t.Fatalf("got %+v, %v", found, err)
				}
				doc, err := s.Read(t.Context(), found.Documents[0].Locator)
				if err != nil || !doc.Visible || len(doc.Access) != 1 || doc.Person.Trouble != "" {
					t.Fatalf("visible %t, access %v, trouble %q, %v", doc.Visible, doc.Access, doc.Person.Trouble, err)
				}
				late := fhir.Locator{Type: "DocumentReference", ID: "a"}
				if !slices.Contains(doc.Members, late) || !slices.Contains(doc.Late, late) {
					t.Errorf("members %v, late %v: a DELETE of the DocumentReference would lead nowhere", doc.Members, doc.Late)
				}
				return refused.Load()
			}
			if look() == 0 {
				t.Error("nothing was refused")
			}
			if n := look(); n != 0 {
				t.Errorf("%d refused again", n)
			}
			now = now.Add(time.Hour)
			if look() == 0 {
				t.Error("it is never asked again: it may have learnt")
			}
		})
	}
}

// Late members are those only that no find sees: each costs the ledger a line.
func TestWhatComesAlongIsNotLate(t *testing.T) {
	server := ward(nil)
	putDocument(server, "Patient/p1", resource{})
	if doc, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1); err != nil || len(doc.Members) != 2 || len(doc.Late) != 0 {
		t.Errorf("members %v, late %v, %v", doc.Members, doc.Late, err)
	}
}

// stored is a document Bundle of HL7 Italia's guide beside its Composition, as a server keeps both.
func stored(id, updated string, labels ...any) resource {
	return resource{
		"resourceType": "Bundle", "id": id, "type": "document",
		"meta":  resource{"versionId": "1", "lastUpdated": updated, "security": labels},
		"entry": []any{resource{"fullUrl": "urn:uuid:1", "resource": resource{"resourceType": "Composition", "id": "c1", "status": "final"}}},
	}
}

// Labels may stand on the Bundle alone. It is asked for in hl7-it, where the server knows how.
func TestLabelsOfTheBundle(t *testing.T) {
	restricted := resource{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
	const before, after = "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"
	stranger := stored("stranger", after, restricted)
	stranger["entry"].([]any)[0].(resource)["resource"].(resource)["id"] = "c9"
	for _, tt := range []struct {
		name    string
		shape   fhir.Shape
		bundles []resource
		fault   func(n *atomic.Int64) func(http.ResponseWriter, *http.Request) bool
		labels  int
		asked   int64 // in two looks, where the server refuses
	}{
		{"hl7-it", fhir.ShapeHL7IT, []resource{stored("b1", before, restricted)}, nil, 1, 0},
		{"no labels on it", fhir.ShapeHL7IT, []resource{stored("b1", before)}, nil, 0, 0},
		{"a newer version with a label", fhir.ShapeHL7IT, []resource{stored("b1", before), stored("b2", after, restricted)}, nil, 1, 0},
		{"a newer version without", fhir.ShapeHL7IT, []resource{stored("b1", before, restricted), stored("b2", after)}, nil, 0, 0},
		{"of another document", fhir.ShapeHL7IT, []resource{stranger}, nil, 0, 0},
		{"fse2 has none", fhir.ShapeFSE2, []resource{stored("b1", before, restricted)}, nil, 0, 0},
		{"a server without the search", fhir.ShapeHL7IT, []resource{stored("b1", before, restricted)}, func(n *atomic.Int64) func(http.ResponseWriter, *http.Request) bool {
			return answering(http.StatusBadRequest, n, "composition")
		}, 0, 1},
		{"no right to Bundles", fhir.ShapeHL7IT, []resource{stored("b1", before, restricted)}, func(n *atomic.Int64) func(http.ResponseWriter, *http.Request) bool {
			return answering(http.StatusForbidden, n, "composition")
		}, 0, 1},
		{"a server that ignores the search", fhir.ShapeHL7IT, []resource{stranger}, func(n *atomic.Int64) func(http.ResponseWriter, *http.Request) bool {
			return func(_ http.ResponseWriter, r *http.Request) bool {
				if query := r.URL.Query(); query.Has("composition") {
					n.Add(1)
					query.Del("composition")
					r.URL.RawQuery = query.Encode()
				}
				return false
			}
		}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := ward(nil)
			for _, b := range tt.bundles {
				server.Load(b)
			}
			putDocument(server, "Patient/p1", resource{}) // beside the Bundle, not as it is inside
			var asked atomic.Int64
			if tt.fault != nil {
				server.Fault = tt.fault(&asked)
			}
			s := source(t, server, tt.shape)
			for range 2 {
				doc, err := s.Read(t.Context(), c1)
				if err != nil || len(doc.Labels) != tt.labels {
					t.Fatalf("labels %v, %v; want %d", doc.Labels, err, tt.labels)
				}
				if is := slices.ContainsFunc(doc.Members, func(l fhir.Locator) bool { return l.Type == "Bundle" }); is != (tt.shape == fhir.ShapeHL7IT && tt.asked == 0 && tt.bundles[0]["id"] != "stranger") {
					t.Errorf("a Bundle among the members: %t", is)
				}
			}
			if n := asked.Load(); n != tt.asked {
				t.Errorf("asked %d times for what is refused, want %d", n, tt.asked)
			}
		})
	}
}

// Behind a proxy a server knows itself by another name: its links are rebuilt on our base.
func TestTheNextLinkIsRebuiltOnOurBase(t *testing.T) {
	var query url.Values
	server := ward(nil)
	putDocument(server, "Patient/p1", resource{})
	server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Query().Has("page"):
			query = r.URL.Query()
			_, _ = w.Write([]byte(`{"resourceType":"Bundle","type":"searchset"}`))
			return true
		case r.URL.Path == "/fhir/Composition", r.URL.Path == "/fhir/Composition/_search":
			w.WriteHeader(http.StatusBadRequest)
			return true
		case r.URL.Query().Has("related"):
			_, _ = w.Write([]byte(`{"resourceType":"Bundle","type":"searchset","link":[{"relation":"self","url":"x"},{"relation":"next","url":"https://fse.example.it/fhir/DocumentReference?page=2"}]}`))
			return true
		}
		return false
	}
	if _, err := source(t, server, fhir.ShapeFSE2).Read(t.Context(), c1); err != nil || query.Get("page") != "2" {
		t.Errorf("asked for %v, %v", query, err)
	}
}
