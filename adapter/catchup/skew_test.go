package catchup

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

// archive is a server of several nodes, whose clocks differ, with more reports than a sandbox could search. It cuts pages from
// what is there at the moment, as servers without snapshots do.
type archive struct {
	all     []stored // by meta.lastUpdated, as it is searched
	written []stored // not yet there: their transactions are still open
	random  *rand.Rand
	now     time.Time // the true time
	calls   int
	still   bool // nothing changes while it is read
}

type stored struct {
	at      int64 // meta.lastUpdated in ms, by the node's clock
	commits time.Time
	id      int
	version int // 0: the server keeps none
}

const pageOfArchive = 100

func (a *archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", a.now.UTC().Format(http.TimeFormat))
	a.calls++
	if a.calls%7 == 0 && len(a.all) > 0 && !a.still { // somebody changes a report while we read
		a.move(a.random.IntN(len(a.all)))
	}
	query := r.URL.Query()
	all := a.all
	if since, is := strings.CutPrefix(query.Get("_lastUpdated"), "ge"); is {
		at, err := time.Parse(time.RFC3339Nano, since)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		all = all[sort.Search(len(all), func(i int) bool { return all[i].at >= at.UnixMilli() }):]
	}
	offset, _ := strconv.Atoi(query.Get("_offset"))
	count, _ := strconv.Atoi(query.Get("_count"))
	count = min(count, pageOfArchive)
	total := len(all)
	body := fmt.Appendf(nil, `{"resourceType":"Bundle","total":%d,"link":[`, total)
	if offset+count < total {
		query.Set("_offset", strconv.Itoa(offset+count))
		body = fmt.Appendf(body, `{"relation":"next","url":"http://%s%s?%s"}`, r.Host, r.URL.Path, query.Encode())
	}
	body = append(body, `],"entry":[`...)
	for i := range min(count, max(0, total-offset)) {
		one := all[offset+i]
		if query.Get("_sort") == "-_lastUpdated" {
			one = all[total-1-offset-i]
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"resource":{"resourceType":"DiagnosticReport","id":"r%d","status":"final","meta":{%s"lastUpdated":"%s"}}}`,
			one.id, one.versionID(), time.UnixMilli(one.at).UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	_, _ = w.Write(append(body, `]}`...))
}

// versionID is the version, as meta has it.
func (s stored) versionID() string {
	if s.version == 0 {
		return ""
	}
	return fmt.Sprintf(`"versionId":"%d",`, s.version)
}

// move is a change of a report: it is the latest now.
func (a *archive) move(i int) {
	one := a.all[i]
	one.at = max(a.now.UnixMilli(), a.all[len(a.all)-1].at)
	a.all = append(slices.Delete(a.all, i, i+1), one)
}

// write writes n reports between two true times. Nodes differ by five minutes either way, transactions are open for up to a
// minute, and some hold more reports than a page.
func (a *archive) write(first, n int, from, to time.Time) {
	skews := []time.Duration{-5 * time.Minute, 0, 5 * time.Minute, 5 * time.Minute, -90 * time.Second}
	for id := first; id < first+n; {
		together := 1
		switch dice := a.random.IntN(1500); {
		case dice == 0:
			together = 3*pageOfArchive + a.random.IntN(300)
		case dice < 100:
			together = 2 + a.random.IntN(20)
		}
		at := from.Add(time.Duration(a.random.Int64N(int64(to.Sub(from)))))
		one := stored{at: at.Add(skews[a.random.IntN(len(skews))]).UnixMilli(), commits: at.Add(time.Duration(a.random.Int64N(int64(time.Minute))))}
		for range together {
			if one.id = id; id < first+n {
				a.written = append(a.written, one)
			}
			id++
		}
	}
}

// commit lets everything be seen that is committed by now.
func (a *archive) commit(now time.Time) {
	a.now = now
	open := a.written[:0]
	for _, one := range a.written {
		if one.commits.After(now) {
			open = append(open, one)
		} else {
			a.all = append(a.all, one)
		}
	}
	a.written = open
	slices.SortStableFunc(a.all, func(a, b stored) int { return cmp.Compare(a.at, b.at) })
}

// Ties across the borders of pages, clocks that differ by five minutes, writes that take a minute, and changes while we read:
// nothing is lost.
func TestNothingIsLostBetweenSweeps(t *testing.T) {
	for _, tt := range []struct {
		name    string
		reports int
		ours    time.Duration // our own clock before the true time
		future  int64         // reports that are dated there
	}{
		{"100,000 reports", 100_000, 0, 0},
		{"our clock is ahead", 10_000, 5 * time.Minute, 0},
		{"our clock is behind", 10_000, -5 * time.Minute, 0},
		{"our clock is ahead by more than sweeps overlap, and the future has come", 10_000, 20 * time.Minute, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Date(2026, 1, 10, 8, 0, 0, 0, time.UTC)
			a := &archive{random: rand.New(rand.NewPCG(1, uint64(tt.reports))), now: start}
			server := httptest.NewServer(a)
			t.Cleanup(server.Close)
			w := sweeping(t, server, func() time.Duration { return time.Until(a.now) + tt.ours })
			w.round(t.Context()) // the first connection
			const waves, length = 5, time.Hour
			for i := range waves {
				if tt.future > 0 && i == 0 {
					a.written = append(a.written, stored{at: start.AddDate(1, 0, 0).UnixMilli(), id: tt.reports})
				}
				a.write(i*tt.reports/waves, tt.reports/waves, a.now, a.now.Add(length))
				a.commit(a.now.Add(length))
				w.again(t)
			}
			a.commit(a.now.Add(2 * time.Minute))
			w.again(t)
			stats, err := w.Ledger.Stats(t.Context(), []string{w.source.Name})
			if err != nil || stats.Due[w.source.Name] != int64(tt.reports)+tt.future {
				t.Errorf("%d of %d reports are known, %v", stats.Due[w.source.Name], int64(tt.reports)+tt.future, err)
			}
		})
	}
}

// update is a change of one report out of some, by a node whose clock is so much before the true time.
func (a *archive) update(every int, ahead func(id int) time.Duration) (changed []int) {
	for i := range a.all {
		one := &a.all[i]
		if one.id%every != 0 {
			continue
		}
		if one.version > 0 {
			one.version++
		}
		one.at = a.now.Add(ahead(one.id)).UnixMilli()
		changed = append(changed, one.id)
	}
	a.commit(a.now)
	slices.Sort(changed)
	return changed
}

// look lets somebody look at all reports that are due, and gives which they were.
func (a *archive) look(t *testing.T, w *watchman) (looked []int) {
	t.Helper()
	stands := map[string]stored{}
	for _, one := range a.all {
		stands[fmt.Sprint("r", one.id)] = one
	}
	a.now = a.now.Add(time.Second) // what is due by then
	for {
		claimed, err := w.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 100, Sources: []string{w.source.Name}})
		if err != nil {
			t.Fatal(err)
		}
		if len(claimed.Records) == 0 {
			slices.Sort(looked)
			return looked
		}
		var settlements []ledger.Settlement
		for _, rec := range claimed.Records {
			one := stands[rec.Locator.ID]
			looked = append(looked, one.id)
			rec.State, rec.Reason, rec.ReadOrder = ledger.Suppressed, "test-data", one.at
			if rec.ReadVersion = (ledger.Tag{}); one.version > 0 {
				rec.ReadVersion = w.Ledger.VersionTag(strconv.Itoa(one.version))
			}
			settlements = append(settlements, ledger.Settlement{Record: rec, Event: "test"})
		}
		if _, err := w.Ledger.Settle(t.Context(), settlements); err != nil {
			t.Fatal(err)
		}
	}
}

// Updates that nodes write whose clocks differ by five minutes either way, so that times go back from one version to the next:
// each is looked at once, and what has not changed is never looked at again, however often it is swept.
func TestNoUpdateIsLostWhoseTimeGoesBack(t *testing.T) {
	for name, version := range map[string]int{"with versions": 1, "without versions": 0} {
		t.Run(name, func(t *testing.T) {
			a := &archive{random: rand.New(rand.NewPCG(1, 2)), now: time.Date(2026, 1, 10, 8, 0, 0, 1e6, time.UTC), still: true}
			server := httptest.NewServer(a)
			t.Cleanup(server.Close)
			w := sweeping(t, server, func() time.Duration { return time.Until(a.now) })
			w.source.Settle = 0
			w.round(t.Context()) // the first connection
			for id := range 250 {
				a.all = append(a.all, stored{id: id, version: version})
			}
			wanted := a.update(1, func(int) time.Duration { return 5 * time.Minute }) // all of them, by a clock that is ahead
			for n, ahead := range []func(int) time.Duration{
				func(int) time.Duration { return -5 * time.Minute },
				func(int) time.Duration { return 0 },
				func(id int) time.Duration { return time.Duration([]int{-5, 5, -1, 0, 3}[id%5]) * time.Minute },
				func(id int) time.Duration { return time.Duration([]int{5, -5, 0, 1, -3}[id%5]) * time.Minute },
			} {
				w.again(t)
				if looked := a.look(t, w); !slices.Equal(looked, wanted) {
					t.Errorf("after %d rounds %d reports were looked at, want the %d that changed", n, len(looked), len(wanted))
				}
				for range 2 { // nothing has changed
					w.again(t)
					if looked := a.look(t, w); len(looked) > 0 {
						t.Errorf("after %d rounds %d looks at reports that have not changed", n, len(looked))
					}
				}
				a.now = a.now.Add(time.Duration(n%2) * time.Minute)
				wanted = a.update(2+n, ahead)
			}
		})
	}
}

// What was there before the first connection is told to nobody, whatever the server's clock says; what its nodes write after it
// is, also where their clocks are behind that.
func TestOnlyWhatCameAfterTheFirstConnectionIsNews(t *testing.T) {
	for i, ahead := range []time.Duration{0, time.Second, -5 * time.Minute, 5 * time.Minute, -20 * time.Minute, 20 * time.Minute, 0} {
		a := &archive{random: rand.New(rand.NewPCG(1, 2)), now: time.Now().Add(ahead), still: true}
		server := httptest.NewServer(a)
		t.Cleanup(server.Close)
		w := sweeping(t, server, func() time.Duration { return 0 })
		const old, after = 60, 6
		for id := range old { // one each minute, the last ones by a clock that is five minutes ahead
			a.all = append(a.all, stored{id: id, at: a.now.Add(time.Duration(id-old+5)*time.Minute + 30*time.Second).UnixMilli(), version: 1})
		}
		w.round(t.Context())
		if i%2 == 0 { // another replica takes over
			w.snapshots = map[string]snapshot{}
		}
		for id := range after { // the first ones by a clock that is five minutes behind
			a.all = append(a.all, stored{id: old + id, at: a.now.Add(time.Duration(id-5)*time.Minute + 10*time.Second).UnixMilli(), version: 1})
		}
		a.commit(a.now)
		w.again(t)
		w.again(t)
		if n := w.known(t); n != after+5 { // a date after the first connection is believed
			t.Errorf("a server that is %s ahead: %d are known, want the %d that came after the first connection, and 5 that say so", ahead, n, after)
		}
	}
}

// How far the server's clock is before ours is known before its first report is admitted, and does not grow with what follows.
func TestTheServersClockIsThatOfItsFirstAnswer(t *testing.T) {
	for _, ahead := range []time.Duration{0, 7 * time.Minute, -20 * time.Minute} {
		a := &archive{random: rand.New(rand.NewPCG(1, 2)), now: time.Now().Add(ahead), still: true}
		server := httptest.NewServer(a)
		t.Cleanup(server.Close)
		w := sweeping(t, server, func() time.Duration { return 0 })
		w.round(t.Context())
		for id := range pageOfArchive + 20 {
			a.all = append(a.all, stored{id: id, at: a.now.UnixMilli() + int64(id), version: 1})
		}
		w.ahead = time.Hour // of another server
		w.Admitted = func(time.Duration) {
			if (w.ahead - ahead).Abs() > time.Minute {
				t.Errorf("the server is taken to be %s ahead while its reports are admitted, want %s", w.ahead, ahead)
			}
			w.begun = w.begun.Add(-10 * time.Minute) // a page that takes ten minutes
		}
		w.again(t)
		if (w.ahead - ahead).Abs() > time.Minute {
			t.Errorf("the server is taken to be %s ahead, want %s", w.ahead, ahead)
		}
	}
}

// What is done between the look at Redis' clock and a sweep may take long. The server's clock is not ahead because of that.
func TestWhatTakesLongBeforeASweepIsNoDifferenceOfClocks(t *testing.T) {
	a := &archive{random: rand.New(rand.NewPCG(1, 2)), now: time.Now(), still: true}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	w := sweeping(t, server, func() time.Duration { return 0 })
	w.round(t.Context())
	const long = 20 * time.Minute
	w.state.Now, w.read = w.state.Now.Add(-long), w.read.Add(-long)
	w.sweep(t.Context(), whyPeriod)
	if w.ahead.Abs() > time.Minute {
		t.Errorf("the server is taken to be %s ahead after %s of something else", w.ahead, long)
	}
}

// What is fresh is left to the Subscription, also where a node's clock is ahead. What is dated in the far future would be left
// to it for ever: where that is not posted, nobody would be told.
func TestTheFarFutureIsNotLeftToTheSubscription(t *testing.T) {
	a := &archive{random: rand.New(rand.NewPCG(1, 2)), now: time.Now(), still: true}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	w := sweeping(t, server, func() time.Duration { return 0 })
	w.source.Subscriber = fhir.NewSubscriber(fhir.SubscriberOptions{Source: w.source.Source})
	w.round(t.Context())
	for id, ahead := range []time.Duration{-10 * time.Minute, 0, 4 * time.Minute, time.Hour, 24 * 365 * time.Hour} {
		a.all = append(a.all, stored{id: id, at: a.now.Add(ahead).UnixMilli(), version: 1})
	}
	for range 2 {
		w.sweep(t.Context(), whyPeriod)
		if n := w.known(t); n != 3 {
			t.Errorf("%d are known, want the one that is no longer fresh and the two that never will be", n)
		}
	}
}

// known is how many records there are.
func (w *watchman) known(t *testing.T) int64 {
	t.Helper()
	stats, err := w.Ledger.Stats(t.Context(), []string{w.source.Name})
	if err != nil {
		t.Fatal(err)
	}
	return stats.Due[w.source.Name]
}

// again makes another sweep, right now.
func (w *watchman) again(t *testing.T) {
	t.Helper()
	w.rest = time.Time{}
	if err := w.Ledger.WantCatchUp(t.Context(), w.source.Name, "test"); err != nil {
		t.Fatal(err)
	}
	w.round(t.Context())
	if w.state.Trouble != "" || w.state.Open() {
		t.Fatalf("trouble %q, open %t", w.state.Trouble, w.state.Open())
	}
}

// sweeping is a watchman at a server, whose time is what skew says.
func sweeping(t *testing.T, server *httptest.Server, skew func() time.Duration) *watchman {
	t.Helper()
	key := sha256.Sum256([]byte("key"))
	led, err := ledger.Open(t.Context(), ledger.Options{
		Redis: redistest.Start(t), NamingKey: key[:], SealKeys: []ledger.SealKey{{ID: 1, Key: key[:]}}, Skew: skew,
	})
	if err != nil {
		t.Fatal(err)
	}
	source, err := fhir.NewSource(fhir.SourceOptions{Name: "north", BaseURL: server.URL + "/fhir", Client: server.Client(), MaxBody: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	swept := Swept{
		Name: "north", Shape: fhir.ShapeReport, Source: source, Searches: []string{"DiagnosticReport?status=final"}, Every: time.Hour,
		Overlap: 15 * time.Minute, Settle: 24 * time.Hour,
	}
	s, err := NewSweeper(SweeperOptions{
		Ledger: led, Sources: []Swept{swept}, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		PageGap: time.Nanosecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.watchman(swept)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
