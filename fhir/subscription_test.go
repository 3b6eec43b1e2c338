package fhir_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"staffetta/fhir"
	"staffetta/fhir/sandbox"
)

const bearer = "token-0123456789abcdef"

// clinic is a server of some product, and the endpoint that it posts to.
type clinic struct {
	server *sandbox.Server
	source *fhir.Source
	client *http.Client
	base   string
	wish   fhir.Wish
	known  []fhir.Remembered
	now    time.Time

	mu        sync.Mutex
	documents bool     // the source keeps Compositions
	took      []string // methods and kinds of the notifications that came with the right token
}

func open(t *testing.T, traits sandbox.Traits) *clinic {
	t.Helper()
	c := &clinic{server: sandbox.NewServer(), now: time.Now()}
	c.server.Traits = traits
	served := httptest.NewServer(c.server)
	t.Cleanup(served.Close)
	endpoint := httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(endpoint.Close)
	c.base = served.URL + "/fhir"
	c.client = served.Client()
	c.source = c.open(t, fhir.ShapeReport)
	c.wish = fhir.Wish{
		Endpoint: endpoint.URL + "/fhir/test", Token: bearer, Content: fhir.ContentID, Heartbeat: 5 * time.Minute, Timeout: 30 * time.Second,
		MaxCount: 20,
	}
	if traits.NoHeartbeat {
		c.wish.Heartbeat = 0
	}
	if traits.Topics != nil && !traits.ListsTopics && !traits.TopicSearch {
		c.wish.Topics = []string{sandbox.ReportTopic}
	}
	if traits.Administration {
		c.wish.BaseURL = served.URL + "/administration"
	}
	return c
}

func (c *clinic) open(t *testing.T, shape fhir.Shape) *fhir.Source {
	t.Helper()
	source, err := fhir.NewSource(fhir.SourceOptions{Name: "test", BaseURL: c.base, Shape: shape, Client: c.client, MaxBody: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// keeps says how the server keeps its documents.
func (c *clinic) keeps(t *testing.T, shape fhir.Shape) {
	t.Helper()
	c.source = c.open(t, shape)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.documents = shape.OfCompositions()
}

// take is our endpoint: it knows no Subscription, only its token.
func (c *clinic) take(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	token, documents := c.wish.Token, c.documents
	c.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	told, err := fhir.DecodeNotification(fhir.NotificationRequest{
		Method: r.Method, PathType: tailOf(r.URL.Path, 2), PathID: tailOf(r.URL.Path, 1), ContentType: r.Header.Get("Content-Type"),
		Body: r.Body, Limits: limits, Documents: documents,
	})
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	said := []string{r.Method, string(told.Kind)}
	for _, e := range told.Events {
		said = append(said, e.Type+"/"+e.ID)
	}
	c.mu.Lock()
	c.took = append(c.took, strings.Join(said, " "))
	c.mu.Unlock()
	w.WriteHeader(http.StatusOK)
}

// tailOf is type or id of /fhir/test/{type}/{id}.
func tailOf(path string, fromEnd int) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) < 4 {
		return ""
	}
	return parts[len(parts)-fromEnd]
}

func (c *clinic) taken() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.took)
}

// subscriber is a new process each time: all that is remembered is in known. A pause is when the server gets to its work.
func (c *clinic) subscriber() *fhir.Subscriber {
	return fhir.NewSubscriber(fhir.SubscriberOptions{
		Source: c.source, Wish: c.wish, Now: func() time.Time { return c.now },
		Pause: func(ctx context.Context, _ time.Duration) error { c.server.Deliver(ctx); return nil },
	})
}

// ensure makes it so, remembers, and lets the server work.
func (c *clinic) ensure(t *testing.T) fhir.Ensured {
	t.Helper()
	e, err := c.subscriber().Ensure(t.Context(), c.known)
	if err != nil {
		t.Fatal(err)
	}
	c.known = nil
	for _, k := range e.Kept {
		if k.Deed != fhir.Removed {
			c.known = append(c.known, k.Remembered)
		}
	}
	c.server.Deliver(t.Context())
	return e
}

// deeds are what was done, in order.
func deeds(e fhir.Ensured) string {
	all := make([]string, 0, len(e.Kept))
	for _, k := range e.Kept {
		text := string(k.Deed)
		if k.Recreated {
			text += " anew"
		}
		if k.Why != "" {
			text += ": " + k.Why
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// statuses are those at the server, in the order of creation.
func (c *clinic) statuses() string {
	kept := c.server.Subscriptions()
	all := make([]string, 0, len(kept))
	for _, one := range kept {
		status, _ := one["status"].(string)
		all = append(all, status)
	}
	return strings.Join(all, " ")
}

func (c *clinic) wants(t *testing.T, what string, e fhir.Ensured, deed, statuses string) {
	t.Helper()
	if got := deeds(e); got != deed {
		t.Errorf("%s: %s, want %s", what, got, deed)
	}
	if got := c.statuses(); got != statuses {
		t.Errorf("%s: at the server %q, want %q", what, got, statuses)
	}
}

// Each product, through the whole life of a Subscription.
func TestTheLifeOfASubscription(t *testing.T) {
	for name, traits := range sandbox.Products() {
		updates := !traits.NoUpdate && !traits.LiesOfUpdate
		anew := map[bool]string{false: " anew"}[updates]
		t.Run(name, func(t *testing.T) {
			c := open(t, traits)
			c.wants(t, "first", c.ensure(t), "created", "active")
			c.wants(t, "again", c.ensure(t), "unchanged", "active")
			if !traits.NoSearch {
				c.known = nil
				c.wants(t, "again, with nothing remembered", c.ensure(t), "unchanged", "active")
			}
			c.mu.Lock()
			c.wish.Token += "-rotated"
			c.mu.Unlock()
			why := "token"
			if traits.HidesHeaders {
				why = "configuration"
			}
			c.wants(t, "another token", c.ensure(t), "replaced"+anew+": "+why, "active")
			c.server.SetStatus(c.known[0].ID, "error")
			c.wants(t, "in error", c.ensure(t), "reactivated"+anew+": error", "active")
			removed, foreign, err := c.subscriber().Remove(t.Context(), c.known)
			if err != nil || len(removed) != 1 || foreign != 0 || c.statuses() != "" {
				t.Errorf("removed: %d, %d foreign, left %q, %v", len(removed), foreign, c.statuses(), err)
			}
			c.wants(t, "after it was removed", c.ensure(t), "created", "active")
		})
	}
}

// What a server tells of a change must be what the Subscription asks for, with our token.
func TestSubscriptionsThatFire(t *testing.T) {
	for name, want := range map[string][]string{
		"HAPI":        {"PUT classic DiagnosticReport/r1", "DELETE classic DiagnosticReport/r1"},
		"HAPI topics": {"POST event-notification DiagnosticReport/r1", "POST event-notification DiagnosticReport/r1"},
		"Medplum":     {"POST classic DiagnosticReport/r1"},
		"Aidbox":      {"POST handshake", "POST heartbeat", "POST event-notification DiagnosticReport/r1", "POST event-notification DiagnosticReport/r1"},
		"Firely":      {"PUT classic DiagnosticReport/r1"},
		"fhir-candle": {"POST handshake", "POST heartbeat", "POST event-notification DiagnosticReport/r1", "POST event-notification DiagnosticReport/r1"},
		"R5":          {"POST handshake", "POST heartbeat", "POST event-notification DiagnosticReport/r1", "POST event-notification DiagnosticReport/r1"},
		"Inferno":     {"POST handshake", "POST event-notification DiagnosticReport/r1", "POST event-notification DiagnosticReport/r1"},
		"mute":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, sandbox.Products()[name])
			c.ensure(t)
			if name == "HAPI topics" {
				want = slices.Insert(slices.Clone(want), 0, "POST heartbeat") // our sandbox sends one all the same
			}
			c.server.Heartbeat()
			c.server.Put(resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final"})
			c.server.Deliver(t.Context())
			c.server.Delete("DiagnosticReport/r1")
			c.server.Deliver(t.Context())
			if got := c.taken(); !slices.Equal(got, want) {
				t.Errorf("took\n%q, want\n%q", got, want)
			}
		})
	}
}

// A handshake that comes before the answer to the create is answered like any other: nothing waits for the id.
func TestTheHandshakeMayComeFirst(t *testing.T) {
	c := open(t, sandbox.Products()["R5"])
	e, err := c.subscriber().Ensure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.taken(); !slices.Equal(got, []string{"POST handshake"}) {
		t.Errorf("took %q before the create was answered, want the handshake", got)
	}
	c.wants(t, "after it", e, "created", "active")
}

// stranger is a Subscription that somebody else made for our endpoint.
func (c *clinic) stranger() resource {
	if c.server.Traits.Way == sandbox.R5 {
		return resource{"resourceType": "Subscription", "id": "theirs", "status": "active", "reason": "a trial", "topic": sandbox.ReportTopic, "endpoint": c.wish.Endpoint}
	}
	return resource{
		"resourceType": "Subscription", "id": "theirs", "status": "active", "reason": "a trial", "criteria": "DiagnosticReport?",
		"channel": resource{"type": "rest-hook", "endpoint": c.wish.Endpoint},
	}
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	for name, traits := range sandbox.Products() {
		if traits.NoSearch || traits.OnlyOne {
			continue // nobody sees anything there
		}
		t.Run(name, func(t *testing.T) {
			c := open(t, traits)
			c.server.Keep(c.stranger())
			elsewhere := c.stranger() // ours by its mark, and not by its endpoint: another Staffetta's
			elsewhere["id"], elsewhere["reason"] = "elsewhere", "Staffetta/test: …"
			if channel, _ := elsewhere["channel"].(resource); channel != nil {
				elsewhere["channel"] = resource{"type": "rest-hook", "endpoint": "https://other.example/fhir/test"}
			} else {
				elsewhere["endpoint"] = "https://other.example/fhir/test"
			}
			c.server.Keep(elsewhere)
			for _, what := range []string{"first", "again"} {
				if e := c.ensure(t); e.Foreign != 1 {
					t.Errorf("%s: %d foreign, want 1", what, e.Foreign)
				}
			}
			c.wants(t, "ours beside them", c.ensure(t), "unchanged", "active active active")
			removed, foreign, err := c.subscriber().Remove(t.Context(), c.known)
			if err != nil || len(removed) != 1 || foreign != 1 {
				t.Errorf("removed %d, left %d foreign, %v", len(removed), foreign, err)
			}
			if got := len(c.server.Subscriptions()); got != 2 {
				t.Errorf("%d left at the server, want both that are not ours", got)
			}
		})
	}
}

// A dry run shows what would be sent: a server that forbids updates gets a new Subscription, which has no id yet.
func TestWhatIsIntendedIsWhatIsSent(t *testing.T) {
	for _, product := range []string{"HAPI", "Aidbox"} {
		c := open(t, sandbox.Products()[product])
		c.ensure(t)
		c.wish.Token, c.wish.Content = "another-"+bearer, fhir.ContentEmpty
		intended, _, err := c.subscriber().Intend(t.Context(), c.known, true)
		if err != nil || len(intended) != 1 || intended[0].Deed != fhir.Replaced {
			t.Fatalf("%s: %+v, %v", product, intended, err)
		}
		var sent []byte
		c.server.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut || r.Method == http.MethodPost {
				sent, _ = io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(sent))
			}
			return false
		}
		c.ensure(t)
		var shown bytes.Buffer
		if err := json.Compact(&shown, intended[0].JSON); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(sent), shown.String()); diff != "" {
			t.Errorf("%s (-sent +shown)\n%s", product, diff)
		}
	}
}

// What is removed is switched off first, and deleted only once the server says that it is off, or says nothing else for long.
func TestRemovedIsOffFirst(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lasts int // looks at which it is not off yet
		want  string
	}{
		{"off at once", 0, "off, look, delete"},
		{"off after a while", 2, "off, look, look, look, delete"},
		{"never off", 100, "off" + strings.Repeat(", look", 10) + ", delete"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, sandbox.Products()["HAPI"])
			c.ensure(t)
			var did []string
			c.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
				switch off := len(did) > 0; {
				case r.Method == http.MethodPut:
					text, _ := io.ReadAll(r.Body)
					if r.Body = io.NopCloser(bytes.NewReader(text)); bytes.Contains(text, []byte(`"status":"off"`)) {
						did = append(did, "off")
					}
				case r.Method == http.MethodDelete:
					did = append(did, "delete")
				case off && r.Method == http.MethodGet:
					if did = append(did, "look"); len(did) <= 1+tt.lasts {
						_, _ = io.WriteString(w, `{"resourceType":"Subscription","status":"active","id":"`+c.known[0].ID+`"}`)
						return true
					}
				}
				return false
			}
			removed, _, err := c.subscriber().Remove(t.Context(), c.known)
			if err != nil || len(removed) != 1 {
				t.Fatalf("removed %d, %v", len(removed), err)
			}
			if got := strings.Join(did, ", "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// An id that we remember may be somebody else's by now: the server was emptied and filled again.
func TestARememberedIDIsNotEnough(t *testing.T) {
	c := open(t, sandbox.Products()["HAPI"])
	theirs := c.stranger()
	theirs["channel"] = resource{"type": "rest-hook", "endpoint": "https://other.example/hook"}
	c.server.Keep(theirs)
	c.known = []fhir.Remembered{{ID: "theirs", Endpoint: c.wish.Endpoint}}
	c.wants(t, "a remembered id", c.ensure(t), "created", "active active")
	if channel, _ := c.server.Get("Subscription/theirs")["channel"].(resource); channel["endpoint"] != "https://other.example/hook" {
		t.Error("somebody else's Subscription was written over")
	}
}

// A new public.url moves our Subscription: what we remember says that the old endpoint was ours.
func TestOurEndpointMoves(t *testing.T) {
	c := open(t, sandbox.Products()["HAPI"])
	c.ensure(t)
	c.wish.Endpoint += "-moved"
	c.wants(t, "moved", c.ensure(t), "replaced: endpoint", "active")
}

// A server may write our endpoint down in its own spelling: it is ours all the same, and is not created again.
func TestAnEndpointInAnotherSpelling(t *testing.T) {
	traits := sandbox.Products()["HAPI"]
	traits.Stores = func(r sandbox.Resource) {
		if channel, _ := r["channel"].(sandbox.Resource); channel != nil {
			channel["endpoint"] = strings.Replace(channel["endpoint"].(string), "/fhir/test", "//fhir//test", 1)
		}
	}
	c := open(t, traits)
	c.wants(t, "first", c.ensure(t), "created", "active")
	c.wants(t, "again", c.ensure(t), "unchanged", "active")
}

func TestWhatServersStoreIsUsed(t *testing.T) {
	traits := sandbox.Products()["R5"]
	traits.Stores = func(r sandbox.Resource) {
		r["heartbeatPeriod"], r["content"], r["maxCount"], r["end"] = 3600.0, "full-resource", 1.0, time.Now().AddDate(1, 0, 0).Format(time.RFC3339)
	}
	c := open(t, traits)
	e := c.ensure(t)
	c.wants(t, "first", e, "created", "active")
	if k := e.Kept[0]; k.Content != fhir.ContentFull || k.Heartbeat != time.Hour || k.End.IsZero() {
		t.Errorf("kept %q, %s, %s, want what the server made of it", k.Content, k.Heartbeat, k.End)
	}
	c.wants(t, "remembered", c.ensure(t), "unchanged", "active")
	c.known = nil
	c.wants(t, "with nothing remembered it is written once more", c.ensure(t), "replaced: end", "active")
	c.wants(t, "and then it is known", c.ensure(t), "unchanged", "active")
}

func TestRenewal(t *testing.T) {
	for _, tt := range []struct {
		name   string
		asked  time.Duration
		passed time.Duration
		want   string
	}{
		{"most of its life is left", 90 * 24 * time.Hour, 50 * 24 * time.Hour, "unchanged"},
		{"less than a third is left", 90 * 24 * time.Hour, 61 * 24 * time.Hour, "renewed: end"},
		{"it has ended, and is still there", 90 * 24 * time.Hour, 91 * 24 * time.Hour, "renewed: end"},
		{"for ever", 0, 1000 * 24 * time.Hour, "unchanged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, sandbox.Products()["HAPI"])
			c.wish.End = tt.asked
			c.ensure(t)
			c.now = c.now.Add(tt.passed)
			e := c.ensure(t)
			c.wants(t, "later", e, tt.want, "active")
			if tt.asked > 0 && tt.want != "unchanged" && e.Kept[0].End.Sub(c.now) < tt.asked-time.Minute {
				t.Errorf("ends %s, want %s from now", e.Kept[0].End, tt.asked)
			}
		})
	}
}

func TestChangesOfConfiguration(t *testing.T) {
	for _, tt := range []struct {
		name, server string
		change       func(*fhir.Wish)
		want         string
	}{
		{"other criteria", "HAPI", func(w *fhir.Wish) { w.Criteria = []string{"DiagnosticReport?status=final"} }, "replaced: criteria"},
		{"one more", "HAPI", func(w *fhir.Wish) {
			w.Criteria = []string{"DiagnosticReport?status=final,amended,corrected,appended,cancelled,entered-in-error", "Composition?status=final"}
		}, "unchanged, created"},
		{"the same criteria in another spelling", "HAPI", func(w *fhir.Wish) {
			w.Criteria = []string{"DiagnosticReport?status=final%2Camended,corrected,appended,cancelled,entered-in-error"}
		}, "replaced: configuration"},
		{"what the server does not show", "R5", func(w *fhir.Wish) { w.Contact = "it@example.it" }, "replaced: configuration"},
		{"an end", "HAPI", func(w *fhir.Wish) { w.End = time.Hour }, "replaced: end"},
		{"no heartbeat", "R5", func(w *fhir.Wish) { w.Heartbeat = 0 }, "replaced: heartbeat"},
		{"a filter", "R5", func(w *fhir.Wish) { w.Filters = []string{"DiagnosticReport?status=final"} }, "replaced: filters"},
		{"another content", "Aidbox", func(w *fhir.Wish) { w.Content = fhir.ContentFull }, "replaced anew: content"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, sandbox.Products()[tt.server])
			c.ensure(t)
			tt.change(&c.wish)
			if got := deeds(c.ensure(t)); got != tt.want {
				t.Errorf("remembered: %s, want %s", got, tt.want)
			}
			if got := deeds(c.ensure(t)); strings.Trim(strings.ReplaceAll(got, "unchanged", ""), ", ") != "" {
				t.Errorf("again: %s, want it unchanged", got)
			}
		})
	}
}

// The same changes are seen in what the server shows, where nothing is remembered.
func TestDifferencesAreSeenAtTheServer(t *testing.T) {
	for field, change := range map[string]func(*fhir.Wish){
		"criteria":  func(w *fhir.Wish) { w.Topics = []string{"https://fse.example.it/topics/other"} },
		"token":     func(w *fhir.Wish) { w.Token = "another" },
		"filters":   func(w *fhir.Wish) { w.Filters = []string{"DiagnosticReport?status=final"} },
		"content":   func(w *fhir.Wish) { w.Content = fhir.ContentFull },
		"heartbeat": func(w *fhir.Wish) { w.Heartbeat = time.Minute },
		"timeout":   func(w *fhir.Wish) { w.Timeout = time.Minute },
		"max_count": func(w *fhir.Wish) { w.MaxCount = 1 },
		"end":       func(w *fhir.Wish) { w.End = time.Hour },
	} {
		for _, name := range []string{"R5", "HAPI topics"} {
			t.Run(name+": "+field, func(t *testing.T) {
				traits := sandbox.Products()[name]
				traits.HidesHeaders = false
				traits.Topics["https://fse.example.it/topics/other"] = "DiagnosticReport"
				c := open(t, traits)
				c.wish.Topics = []string{sandbox.ReportTopic}
				c.ensure(t)
				change(&c.wish)
				c.known = nil
				if got, want := deeds(c.ensure(t)), "replaced: "+field; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				c.known = nil
				if got := deeds(c.ensure(t)); got != "unchanged" {
					t.Errorf("again: %s, want unchanged", got)
				}
			})
		}
	}
}

// Topics of one resource type each, as some servers have them.
const (
	compositions = "https://fse.example.it/topics/composition"
	references   = "https://fse.example.it/topics/documentreference"
	bundles      = "https://fse.example.it/topics/bundle"
)

// topical is a server that has a topic for each of some resource types.
func topical(product string, canonicals ...string) sandbox.Traits {
	traits := sandbox.Products()[product]
	traits.Topics = map[string]string{}
	for _, canonical := range canonicals {
		kinds := map[string]string{compositions: "Composition", references: "DocumentReference", bundles: "Bundle", sandbox.ReportTopic: "DiagnosticReport"}
		traits.Topics[canonical] = kinds[canonical]
	}
	return traits
}

// A server with one topic for each resource type has one Subscription of ours for each, through their whole life.
func TestTheLifeOfSubscriptionsToSeveralTopics(t *testing.T) {
	for _, product := range []string{"R5", "HAPI topics", "Aidbox", "fhir-candle"} {
		t.Run(product, func(t *testing.T) {
			traits := topical(product, compositions, references)
			c := open(t, traits)
			c.keeps(t, fhir.ShapeFSE2)
			c.wish.End = 90 * 24 * time.Hour
			anew := map[bool]string{true: " anew"}[traits.NoUpdate || traits.LiesOfUpdate]
			c.wants(t, "first", c.ensure(t), "created, created", "active active")
			c.wants(t, "again", c.ensure(t), "unchanged, unchanged", "active active")
			c.known = nil
			c.wants(t, "again, with nothing remembered", c.ensure(t), "unchanged, unchanged", "active active")
			c.server.Put(resource{"resourceType": "DocumentReference", "id": "d1", "status": "current"})
			c.server.Put(resource{"resourceType": "Composition", "id": "c1", "status": "final"})
			c.server.Deliver(t.Context())
			for _, want := range []string{"POST event-notification DocumentReference/d1", "POST event-notification Composition/c1"} {
				if !slices.Contains(c.taken(), want) {
					t.Errorf("took %q, want %s among them", c.taken(), want)
				}
			}
			c.server.SetStatus(c.known[1].ID, "error")
			c.wants(t, "one is in error", c.ensure(t), "unchanged, reactivated"+anew+": error", "active active")
			c.now = c.now.Add(61 * 24 * time.Hour)
			c.wants(t, "their end is near", c.ensure(t), "renewed"+anew+": end, renewed"+anew+": end", "active active")
			c.wish.Topics = []string{references}
			c.wants(t, "only one is configured", c.ensure(t), "unchanged, removed: not wanted", "active")
			c.wish.Topics = []string{compositions, references}
			c.wants(t, "both are configured", c.ensure(t), "created, unchanged", "active active")
			removed, _, err := c.subscriber().Remove(t.Context(), c.known)
			if err != nil || len(removed) != 2 || c.statuses() != "" {
				t.Errorf("removed %d, left %q, %v", len(removed), c.statuses(), err)
			}
		})
	}
}

// Filters are for one resource type: with several topics each has those that are for its own.
func TestEachTopicHasItsOwnFilters(t *testing.T) {
	c := open(t, topical("R5", compositions, references))
	c.keeps(t, fhir.ShapeFSE2)
	c.wish.Filters = []string{"Composition?status=final", "status=current"}
	c.ensure(t)
	for _, one := range c.server.Subscriptions() {
		want := map[any]int{compositions: 2, references: 1}[one["topic"]]
		if filters, _ := one["filterBy"].([]any); len(filters) != want {
			t.Errorf("%v has %d filters, want %d", one["topic"], len(filters), want)
		}
	}
	c.wants(t, "again", c.ensure(t), "unchanged, unchanged", "active active")
}

// Documents of hl7-it may be kept as Bundles only: they are asked for where the server says that it knows them.
func TestDocumentBundlesAreSubscribed(t *testing.T) {
	const compositions, references = "Composition?status=final,amended,entered-in-error", "DocumentReference?status=current,superseded,entered-in-error"
	for _, tt := range []struct {
		name   string
		shape  fhir.Shape
		change func(*sandbox.Traits, *fhir.Wish)
		want   string
	}{
		{"hl7-it", fhir.ShapeHL7IT, nil, compositions + " " + references + " Bundle?type=document"},
		{"fse2 has none", fhir.ShapeFSE2, nil, compositions + " " + references},
		{"a server that does not list Bundle", fhir.ShapeHL7IT, func(t *sandbox.Traits, _ *fhir.Wish) { t.Documents = false }, compositions + " " + references},
		{"criteria are configured", fhir.ShapeHL7IT, func(_ *sandbox.Traits, w *fhir.Wish) { w.Criteria = []string{compositions} }, compositions},
		{"a server that refuses them", fhir.ShapeHL7IT, func(t *sandbox.Traits, _ *fhir.Wish) { t.Refuses = "Bundle" }, compositions + " " + references},
	} {
		t.Run(tt.name, func(t *testing.T) {
			traits := sandbox.Products()["HAPI"]
			traits.Documents = true
			var wish fhir.Wish
			if tt.change != nil {
				tt.change(&traits, &wish)
			}
			c := open(t, traits)
			c.wish.Criteria = wish.Criteria
			c.keeps(t, tt.shape)
			for range 2 {
				c.ensure(t)
			}
			kept := c.server.Subscriptions()
			got := make([]string, len(kept))
			for i, one := range kept {
				got[i] = one["criteria"].(string)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, want %s", got, tt.want)
			}
			for kind, want := range map[string]bool{"Composition": true, "Bundle": strings.Contains(tt.want, "Bundle"), "DiagnosticReport": false} {
				if watched, err := c.subscriber().Watches(t.Context(), kind, c.known); err != nil || watched != want {
					t.Errorf("%s is watched: %t, %v; want %t", kind, watched, err, want)
				}
			}
		})
	}
}

// What the statement must say before Bundles are searched for.
func TestBundlesAreSearchedForWhereTheServerListsThem(t *testing.T) {
	for _, tt := range []struct {
		name, resource string
		want           bool
	}{
		{"listed, and nothing more is said", `{"type":"Bundle"}`, true},
		{"with search and its parameter", `{"type":"Bundle","interaction":[{"code":"search-type"}],"searchParam":[{"name":"type"}]}`, true},
		{"without search", `{"type":"Bundle","interaction":[{"code":"read"},{"code":"create"}]}`, false},
		{"without the parameter", `{"type":"Bundle","searchParam":[{"name":"identifier"}]}`, false},
		{"not listed", `{"type":"Composition"}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := source(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"resource":[`+tt.resource+`]}]}`)
			}), fhir.ShapeHL7IT)
			known, err := s.Knows(t.Context(), fhir.SpareSearches(fhir.ShapeHL7IT, nil, nil))
			if err != nil || (len(known) == 1) != tt.want {
				t.Errorf("got %q, %v; want it %t", known, err, tt.want)
			}
		})
	}
}

// A Subscription that the server refuses keeps nothing from the others. A spare one is no failure, and is not asked for at each
// look; one that is configured is an error, and what was there stays.
func TestARefusedSubscriptionSpoilsNoOther(t *testing.T) {
	traits := sandbox.Products()["HAPI"]
	traits.Documents, traits.Refuses = true, "Bundle"
	c := open(t, traits)
	c.keeps(t, fhir.ShapeHL7IT)
	s := c.subscriber()
	for look, refused := range []int{1, 0} {
		e, err := s.Ensure(t.Context(), c.known)
		if err != nil || len(e.Kept) != 2 || len(e.Refused) != refused {
			t.Errorf("look %d: %d kept, %d refused, %v; want 2, %d", look, len(e.Kept), len(e.Refused), err, refused)
		}
		if absent := s.Absent(e.Kept); len(absent) > 0 {
			t.Errorf("look %d: %v absent", look, absent)
		}
	}
	c.wish.Criteria = []string{"Bundle?type=document", "Composition?status=final"}
	e, err := c.subscriber().Ensure(t.Context(), nil)
	if trouble, is := errors.AsType[*fhir.Trouble](err); !is || trouble.Status != http.StatusBadRequest || len(e.Refused) != 1 || e.Refused[0].Spare {
		t.Errorf("%v refused, %v; want the one that is configured", e.Refused, err)
	}
	if got := len(c.server.Subscriptions()); got != 2 {
		t.Errorf("%d at the server, want both that were there", got)
	}
}

// Before the first Subscription is created somebody may look at the source, once.
func TestFirst(t *testing.T) {
	c := open(t, sandbox.Products()["HAPI"])
	called := 0
	subscriber := func() *fhir.Subscriber {
		return fhir.NewSubscriber(fhir.SubscriberOptions{Source: c.source, Wish: c.wish, First: func(_ context.Context, choice fhir.Choice) {
			if called++; len(c.server.Subscriptions()) > 0 || len(choice.Criteria) != 1 {
				t.Errorf("called with %v, after something was created", choice.Criteria)
			}
		}})
	}
	s := subscriber()
	for _, what := range []string{"first", "again", "after it was deleted"} {
		e, err := s.Ensure(t.Context(), c.known)
		if err != nil || called != 1 {
			t.Errorf("%s: called %d times, %v; want once", what, called, err)
		}
		if c.known = []fhir.Remembered{e.Kept[0].Remembered}; what == "again" {
			c.server.Delete("Subscription/" + e.Kept[0].ID)
		}
	}
	if _, err := subscriber().Ensure(t.Context(), nil); err != nil || called != 1 {
		t.Errorf("another process, with one of ours there: called %d times, %v", called, err)
	}
}

// Two of ours with the same criteria are one too many: two replicas, or a person, created at the same time.
func TestDoublesAreRemoved(t *testing.T) {
	c := open(t, sandbox.Products()["HAPI"])
	c.ensure(t)
	double := maps.Clone(c.server.Subscriptions()[0])
	double["id"] = "double"
	c.server.Keep(double)
	c.wants(t, "a double", c.ensure(t), "unchanged, removed: not wanted", "active")
}

func TestEndpointsOfManySubscriptionsArePagedThrough(t *testing.T) {
	traits := sandbox.Products()["HAPI"]
	traits.NoURLSearch = true
	c := open(t, traits)
	for i := range 250 {
		one := c.stranger()
		one["id"] = "other" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		one["channel"] = resource{"type": "rest-hook", "endpoint": "https://other.example/hook"}
		c.server.Keep(one)
	}
	c.ensure(t)
	c.known = nil
	if got := deeds(c.ensure(t)); got != "unchanged" {
		t.Errorf("got %s, want ours found on the third page", got)
	}
}

func TestTheFlavourIsChosen(t *testing.T) {
	topics := func(t sandbox.Traits, canonicals ...string) sandbox.Traits {
		t.Topics = map[string]string{}
		for _, canonical := range canonicals {
			t.Topics[canonical] = "Encounter"
		}
		return t
	}
	products := sandbox.Products()
	none := products["HAPI"]
	none.FHIR = "3.0.2"
	for _, tt := range []struct {
		name    string
		server  sandbox.Traits
		wish    fhir.Wish
		flavour fhir.Flavour
		topic   string
		err     string
	}{
		{"HAPI R4 without topics", products["HAPI"], fhir.Wish{}, fhir.FlavourClassic, "", ""},
		{"HAPI R4B with a topic for reports", products["HAPI topics"], fhir.Wish{}, fhir.FlavourBackport, sandbox.ReportTopic, ""},
		{"HAPI R4B with topics for others", topics(products["HAPI topics"], "https://x/encounters"), fhir.Wish{}, fhir.FlavourClassic, "", ""},
		{"Aidbox", products["Aidbox"], fhir.Wish{}, fhir.FlavourBackport, sandbox.ReportTopic, ""},
		{"Aidbox with topics for others", topics(products["Aidbox"], "https://x/encounters"), fhir.Wish{}, "", "", "none of the server's 1 topics"},
		{"Aidbox with two topics that fit", topics(products["Aidbox"], "https://x/diagnostic-report-a", "https://x/DiagnosticReport"), fhir.Wish{}, "", "", "several topics"},
		{"a configured topic", products["Aidbox"], fhir.Wish{Topics: []string{"https://x/mine"}}, fhir.FlavourBackport, "https://x/mine", ""},
		{"R5", products["R5"], fhir.Wish{}, fhir.FlavourR5, sandbox.ReportTopic, ""},
		{"R5 with a topic for documents, shape report", topical("R5", compositions, references, sandbox.ReportTopic), fhir.Wish{}, fhir.FlavourR5, sandbox.ReportTopic, ""},
		{"R5 without topics", topics(products["R5"]), fhir.Wish{}, "", "", "lists no topics"},
		{"Inferno, which lists no topics", products["Inferno"], fhir.Wish{}, "", "", "lists no topics"},
		{"classic, as configured", products["Aidbox"], fhir.Wish{Flavour: fhir.FlavourClassic}, fhir.FlavourClassic, "", ""},
		{"STU3", none, fhir.Wish{}, "", "", "3.0.2"},
		{"Medplum cuts a token with a colon", products["Medplum"], fhir.Wish{Token: "a:b"}, "", "", "colon"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, tt.server)
			tt.wish.Endpoint = c.wish.Endpoint
			c.wish = tt.wish
			_, choice, err := c.subscriber().Learn(t.Context())
			switch {
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want one with %q", err, tt.err)
			case tt.err == "" && (err != nil || choice.Flavour != tt.flavour || strings.Join(choice.Topics, " ") != tt.topic || choice.Why == ""):
				t.Errorf("got %s %s (%s), %v; want %s %s", choice.Flavour, choice.Topics, choice.Why, err, tt.flavour, tt.topic)
			}
		})
	}
}

// One topic for each resource type of the shape is chosen; of several for one type, a person says which.
func TestTopicsAreChosen(t *testing.T) {
	twice := topical("R5", compositions, references)
	twice.Topics["https://x/documents"] = "DocumentReference"
	for _, tt := range []struct {
		name     string
		server   sandbox.Traits
		shape    fhir.Shape
		flavour  fhir.Flavour
		topics   []string
		warnings int
		err      string
	}{
		{"one for each type", topical("R5", compositions, references), fhir.ShapeFSE2, fhir.FlavourR5, []string{compositions, references}, 0, ""},
		{"reports beside them", topical("Aidbox", compositions, references, sandbox.ReportTopic), fhir.ShapeFSE2, fhir.FlavourBackport, []string{compositions, references, sandbox.ReportTopic}, 0, ""},
		{"Bundles of hl7-it", topical("R5", compositions, references, bundles), fhir.ShapeHL7IT, fhir.FlavourR5, []string{compositions, references, bundles}, 0, ""},
		{"Bundles are nothing in fse2", topical("R5", compositions, references, bundles), fhir.ShapeFSE2, fhir.FlavourR5, []string{compositions, references}, 0, ""},
		{"Bundles alone", topical("R5", bundles), fhir.ShapeHL7IT, fhir.FlavourR5, []string{bundles}, 2, ""},
		{"Bundles alone, by the backport's profile", topical("Aidbox", bundles), fhir.ShapeHL7IT, fhir.FlavourBackport, []string{bundles}, 2, ""},
		{"Bundles alone, where searches tell of more", topical("HAPI topics", bundles), fhir.ShapeHL7IT, fhir.FlavourClassic, nil, 0, ""},
		{"some types without one", topical("R5", sandbox.ReportTopic), fhir.ShapeFSE2, fhir.FlavourR5, []string{sandbox.ReportTopic}, 2, ""},
		{"two for one type", twice, fhir.ShapeFSE2, "", nil, 0, "several topics watch DocumentReference"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, tt.server)
			c.keeps(t, tt.shape)
			_, choice, err := c.subscriber().Learn(t.Context())
			switch {
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want one with %q", err, tt.err)
			case tt.err == "" && (err != nil || choice.Flavour != tt.flavour || !slices.Equal(choice.Topics, tt.topics) || len(choice.Warnings) != tt.warnings):
				t.Errorf("got %s %q, warnings %q, %v; want %s %q, %d", choice.Flavour, choice.Topics, choice.Warnings, err, tt.flavour, tt.topics, tt.warnings)
			}
		})
	}
}

func TestAServerThatListsNoSubscriptions(t *testing.T) {
	c := open(t, sandbox.Products()["HAPI"])
	for _, tt := range []struct {
		name, body string
		flavour    fhir.Flavour
		status     int
		want       string
	}{
		{"none listed", `{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","rest":[{"resource":[{"type":"Patient"}]}]}`, "auto", 200, "lists no Subscription"},
		{"no CapabilityStatement, and nothing configured", ``, "auto", 404, "no CapabilityStatement"},
		{"an OperationOutcome in its place", `{"resourceType":"OperationOutcome","issue":[{"severity":"fatal","code":"exception"}]}`, "auto", 200, "OperationOutcome"},
		{"a page of HTML", `<html>RSSMRA80A01H501U</html>`, "auto", 200, "no FHIR resource"},
		{"no access", ``, "auto", 401, "unauthorized"},
		{"no CapabilityStatement, and a flavour configured", ``, "classic", 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/metadata") {
					return false
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
				return true
			}
			c.wish.Flavour = tt.flavour
			_, _, err := c.subscriber().Learn(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "RSSMRA") {
				t.Error("the error repeats what the server said")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	c := open(t, sandbox.Products()["Firely"])
	c.wish.BaseURL = ""
	_, choice, err := c.subscriber().Learn(t.Context())
	if err != nil || len(choice.Warnings) != 1 || !strings.Contains(choice.Warnings[0], "/administration") {
		t.Errorf("warnings %q, %v", choice.Warnings, err)
	}
	c.wants(t, "and it is indeed never looked at", c.ensure(t), "created", "requested")
}

// The JSON of each flavour, as it is sent.
func TestSubscriptionsAsTheyAreWritten(t *testing.T) {
	for name, want := range map[string]string{
		"HAPI": `{"status":"requested","contact":[{"system":"email","value":"it@example.it"}],"end":"2026-01-11T09:00:00Z",
			"reason":"Staffetta/test: tells citizens on IO that a medical report is ready","criteria":"DiagnosticReport?status=final&category=LAB",
			"channel":{"extension":[{"url":"http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages","valueBoolean":true}],
			"type":"rest-hook","endpoint":"https://adapter.example/fhir/test","payload":"application/fhir+json","header":["Authorization: Bearer <secret>"]},
			"resourceType":"Subscription"}`,
		"Medplum": `{"extension":[{"url":"https://www.medplum.com/fhir/StructureDefinition/subscription-secret","valueString":"<secret>"}],
			"status":"active","contact":[{"system":"email","value":"it@example.it"}],"end":"2026-01-11T09:00:00Z",
			"reason":"Staffetta/test: tells citizens on IO that a medical report is ready","criteria":"DiagnosticReport?status=final&category=LAB",
			"channel":{"type":"rest-hook","endpoint":"https://adapter.example/fhir/test","payload":"application/fhir+json",
			"header":["Authorization: Bearer <secret>"]},"resourceType":"Subscription"}`,
		"Aidbox": `{"resourceType":"Subscription",
			"meta":{"profile":["http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription"]},
			"status":"requested","contact":[{"system":"email","value":"it@example.it"}],"end":"2026-01-11T09:00:00Z",
			"reason":"Staffetta/test: tells citizens on IO that a medical report is ready",
			"criteria":"https://fse.example.it/topics/diagnosticreport-changed",
			"_criteria":{"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-filter-criteria",
			"valueString":"DiagnosticReport?status=final&category=LAB"}]},
			"channel":{"extension":[
			{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period","valueUnsignedInt":300},
			{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-timeout","valueUnsignedInt":30},
			{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-max-count","valuePositiveInt":20}],
			"type":"rest-hook","endpoint":"https://adapter.example/fhir/test","payload":"application/fhir+json",
			"_payload":{"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content","valueCode":"id-only"}]},
			"header":["Authorization: Bearer <secret>"]}}`,
		"R5": `{"resourceType":"Subscription","name":"Staffetta test","status":"requested","topic":"https://fse.example.it/topics/diagnosticreport-changed",
			"contact":[{"system":"email","value":"it@example.it"}],"end":"2026-01-11T09:00:00Z",
			"reason":"Staffetta/test: tells citizens on IO that a medical report is ready",
			"filterBy":[{"resourceType":"DiagnosticReport","filterParameter":"category","value":"LAB"},
			{"resourceType":"DiagnosticReport","filterParameter":"status","value":"final"}],
			"channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"rest-hook"},
			"endpoint":"https://adapter.example/fhir/test","parameter":[{"name":"Authorization","value":"Bearer <secret>"}],
			"heartbeatPeriod":300,"timeout":30,"contentType":"application/fhir+json","content":"id-only","maxCount":20}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t, sandbox.Products()[name])
			c.wish.Endpoint, c.wish.Secret, c.wish.Contact, c.wish.End = "https://adapter.example/fhir/test", "s3cr3t", "it@example.it", 24*time.Hour
			c.wish.Criteria = []string{"DiagnosticReport?status=final&category=LAB"}
			c.wish.Filters = c.wish.Criteria
			c.now = time.Date(2026, 1, 10, 9, 0, 0, 0, time.UTC)
			intended, _, err := c.subscriber().Intend(t.Context(), nil, false)
			if err != nil || len(intended) != 1 || intended[0].Deed != fhir.Created {
				t.Fatalf("%d intended, %v", len(intended), err)
			}
			var got, wanted bytes.Buffer
			if json.Compact(&got, intended[0].JSON) != nil || json.Compact(&wanted, []byte(want)) != nil {
				t.Fatal("no JSON")
			}
			if got.String() != wanted.String() {
				t.Errorf("got\n%s, want\n%s", got.String(), wanted.String())
			}
			if len(c.server.Subscriptions()) > 0 {
				t.Error("something was created")
			}
			open, _, err := c.subscriber().Intend(t.Context(), nil, true)
			if err != nil || !bytes.Contains(open[0].JSON, []byte("Bearer "+bearer)) {
				t.Errorf("with secrets: %v, and no token in it", err)
			}
		})
	}
}

// A server that proves itself in another way is given no token.
func TestWithoutAToken(t *testing.T) {
	for _, name := range []string{"HAPI", "Aidbox", "R5"} {
		c := open(t, sandbox.Products()[name])
		c.wish.Token = ""
		intended, _, err := c.subscriber().Intend(t.Context(), nil, false)
		if err != nil || bytes.Contains(intended[0].JSON, []byte("Authorization")) {
			t.Errorf("%s: %v, and a header without a token", name, err)
		}
	}
}

// FuzzServerAnswers gives any answer to all that is asked about Subscriptions: nothing panics, and no error repeats it.
func FuzzServerAnswers(f *testing.F) {
	const canary = "RSSMRA80A01H501U"
	for _, seed := range []string{
		`{"resourceType":"CapabilityStatement","fhirVersion":"4.0.1","software":{"name":"` + canary + `"},"rest":[{"resource":[{"type":"Subscription","supportedProfile":["` + canary + `"]}]}]}`,
		`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Subscription","id":"s1","status":"` + canary + `","channel":{"header":["Authorization"]}}}],"link":[{"relation":"next","url":"?a"}]}`,
		`{"resourceType":"Subscription","id":"s1","topic":"` + canary + `","filterBy":[{"filterParameter":"a"}],"end":"` + canary + `","heartbeatPeriod":1e99}`,
		`{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Parameters","parameter":[{"name":"status","valueCode":"` + canary + `"}]}}]}`,
		`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"` + canary + `"}]}`,
		`[`, `{"resourceType":7,"rest":{"resource":{"type":["Subscription"]}}}`, canary,
	} {
		f.Add([]byte(seed), 200)
		f.Add([]byte(seed), 400)
	}
	var mu sync.Mutex
	var body []byte
	var status int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, answer []byte, code int) {
		if code < 200 || code > 599 {
			t.Skip("no status of an answer")
		}
		mu.Lock()
		body, status = answer, code
		mu.Unlock()
		c := &clinic{base: server.URL + "/fhir", client: server.Client(), now: time.Now()}
		c.source = c.open(t, fhir.ShapeReport)
		for _, flavour := range []fhir.Flavour{fhir.FlavourAuto, fhir.FlavourR5} {
			c.wish = fhir.Wish{Flavour: flavour, Endpoint: "https://adapter.example/fhir/test", Token: bearer, Topics: []string{"https://x/t"}}
			s := fhir.NewSubscriber(fhir.SubscriberOptions{
				Source: c.source, Wish: c.wish, Pause: func(context.Context, time.Duration) error { return nil },
			})
			_, err := s.Ensure(t.Context(), []fhir.Remembered{{ID: "s1", Endpoint: c.wish.Endpoint}})
			if err != nil && strings.Contains(err.Error(), canary) && !strings.Contains(err.Error(), "topics") {
				t.Errorf("the error repeats what the server said: %v", err)
			}
		}
	})
}

// What is refused changes nothing: a Subscription that works is not given up for one that does not.
func TestARefusedChangeKeepsTheOldOne(t *testing.T) {
	for _, name := range []string{"HAPI", "Aidbox", "R5", "fhir-candle"} {
		t.Run(name, func(t *testing.T) {
			c := open(t, sandbox.Products()[name])
			c.ensure(t)
			c.wish.Criteria, c.wish.Topics = []string{"no criteria"}, []string{"https://fse.example.it/topics/unknown"}
			_, err := c.subscriber().Ensure(t.Context(), c.known)
			trouble, is := errors.AsType[*fhir.Trouble](err)
			if !is || trouble.Status != http.StatusBadRequest {
				t.Errorf("error %v, want the refusal", err)
			}
			if got := c.statuses(); got != "active" {
				t.Errorf("at the server %q, want the old one, active", got)
			}
		})
	}
}

// A Subscription in error says why, by $status where there is one.
func TestLookShowsTheState(t *testing.T) {
	c := open(t, sandbox.Products()["Aidbox"])
	c.ensure(t)
	c.server.Put(resource{"resourceType": "DiagnosticReport", "id": "r1", "status": "final"})
	c.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "$status") {
			return false
		}
		_, _ = io.WriteString(w, `{"resourceType":"Bundle","type":"history","entry":[{"resource":{"resourceType":"Parameters","parameter":[
			{"name":"status","valueString":"error"},{"name":"type","valueCode":"query-status"},{"name":"events-since-subscription-start","valueUnsignedInt":23},
			{"name":"error","valueCodeableConcept":{"coding":[{"code":"no-response"}]}}]}}]}`)
		return true
	}
	ours, foreign, err := c.subscriber().Look(t.Context(), nil)
	if err != nil || foreign != 0 || len(ours) != 1 {
		t.Fatalf("%d ours, %d foreign, %v", len(ours), foreign, err)
	}
	if k := ours[0]; k.Status != "error" || k.Events != 23 || k.Trouble != "no-response" {
		t.Errorf("%s after %d events (%s), want what $status says", k.Status, k.Events, k.Trouble)
	}
}

func TestNextLinksStayAtTheServer(t *testing.T) {
	c := open(t, sandbox.Products()["HAPI"])
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(other.Close)
	c.server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/Subscription") {
			return false
		}
		_, _ = io.WriteString(w, `{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"`+other.URL+`/fhir/Subscription?page=2"}]}`)
		return true
	}
	c.wants(t, "nothing found", c.ensure(t), "created", "active")
	if asked {
		t.Error("a link to another server was followed")
	}
}

func TestAwaitActive(t *testing.T) {
	c := open(t, sandbox.Products()["Aidbox"])
	s := c.subscriber()
	e, err := s.Ensure(t.Context(), nil)
	if err != nil || e.Kept[0].Status != "requested" {
		t.Fatalf("%v, %v", e.Kept, err)
	}
	kept, err := s.AwaitActive(t.Context(), e.Kept, 3)
	if err != nil || !kept[0].Active() {
		t.Errorf("%s, %v; want active", kept[0].Status, err)
	}
}
