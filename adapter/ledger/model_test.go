package ledger

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
)

// usualChecks keeps the models to some seconds on three kinds of Redis; -rapid.checks asks for more.
const usualChecks = "40"

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked && flag.Set("rapid.checks", usualChecks) != nil {
		panic("rapid has no such flag")
	}
	goleak.VerifyTestMain(stopping{m})
}

// stopping ends the servers that tests share before goroutines are counted: each has one that waits for it.
type stopping struct{ *testing.M }

func (s stopping) Run() int {
	defer redistest.Stop()
	return s.M.Run()
}

// open is a ledger that is checked when its test has ended: whatever a test does, every record has a next time, is held, or
// has a named end.
func open(tb testing.TB, client redis.UniversalClient) *Ledger {
	tb.Helper()
	l := openUnchecked(tb, client)
	checkedAtTheEnd(tb, l)
	return l
}

// testSources are the sources of all tests.
var testSources = []string{"north", "south", "storm", "calm"}

// checkedAtTheEnd walks the whole ledger when a test has ended.
func checkedAtTheEnd(tb testing.TB, l *Ledger) {
	tb.Helper()
	tb.Cleanup(func() {
		checked, err := l.Check(context.WithoutCancel(tb.Context()), testSources)
		if err != nil {
			tb.Errorf("the ledger cannot be checked: %v", err)
		}
		for _, finding := range checked.Findings {
			tb.Errorf("finding: %s", finding)
		}
	})
}

// openUnchecked is open for tests that check for themselves, or that damage the ledger on purpose.
func openUnchecked(tb testing.TB, client redis.UniversalClient) *Ledger {
	tb.Helper()
	naming, seal := sha256.Sum256([]byte("naming")), sha256.Sum256([]byte("seal"))
	l, err := Open(tb.Context(), Options{
		Redis: client, NamingKey: naming[:], SealKeys: []SealKey{{ID: 1, Key: seal[:]}}, JournalEntries: 100, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// model is the ledger as a plain map: what has been read of each record, and whether somebody must still look.
type model struct {
	records map[Key]*modelRecord
	claims  []*modelClaim
	jumped  time.Duration
}

type modelRecord struct {
	order   int64 // as read
	version Tag
	held    bool
	owed    bool // somebody must look at it
	rests   bool // it has a named end
	late    bool // a message was recorded late: the next outcome may have to look once more
	told    time.Time
	leased  time.Duration // until then, of jumped time: nobody else gets it
}

type modelClaim struct {
	rec    Record
	until  time.Duration // of jumped time
	hinted []Hint        // admitted since, neither duplicate nor stale
	over   bool          // another claim took over
}

var modelSources = []string{"north", "south"}

// admits says what the ledger must answer.
func (m *model) admits(h Hint) Admission {
	r := m.records[h.Key]
	if r == nil {
		m.records[h.Key] = &modelRecord{owed: true}
		return New
	}
	if known := knownAs(h, r.order, r.version); known != Newer {
		return known
	}
	if !r.held {
		r.owed, r.rests = true, false
	}
	for _, c := range m.claims {
		if c.rec.Key == h.Key && !c.over {
			c.hinted = append(c.hinted, h)
		}
	}
	return Newer
}

// clocksBackwards is by how many ms a newer version may seem older than what was read: five minutes wrong, either way.
const clocksBackwards = 600_000

// knownAs says how a hint stands to what was read.
func knownAs(h Hint, order int64, version Tag) Admission {
	same := h.Version == version && h.Version != (Tag{})
	switch {
	case h.Order == 0 || order == 0:
		return Newer
	case h.Order < order-clocksBackwards, h.Order < order && same:
		return Stale
	case h.Order == order && same, h.Order == order && h.Version == (Tag{}) && h.Order%1000 != 0:
		return Duplicate
	}
	return Newer
}

// covered says whether what was read takes all hints of a claim into account.
func (c *modelClaim) covered(order int64, version Tag) bool {
	for _, h := range c.hinted {
		if knownAs(h, order, version) == Newer && (h.Order == 0 || h.Order != order || h.Version != (Tag{})) {
			return false
		}
		if h.Order != c.hinted[0].Order || h.Version != c.hinted[0].Version {
			return false // several different ones: looked at again, to be sure
		}
	}
	return true
}

// Random admits, claims, crashes, settles and clock jumps: nothing is lost, nothing is in two hands at once, and the answers
// are the model's.
func TestLedgerIsItsModel(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		rapid.Check(t, func(rt *rapid.T) {
			if err := redistest.Flush(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			run := &modelRun{l: openUnchecked(t, client), m: model{records: map[Key]*modelRecord{}}, ctx: t.Context()}
			run.l.skew = func() time.Duration { return run.m.jumped }
			rt.Repeat(map[string]func(*rapid.T){
				"admit": run.admit, "claim": run.claim, "settle": run.settle, "crash": run.crash, "jump": run.jump, "release": run.release, "seize": run.seize,
				"flush scripts": run.flush, "": run.check,
			})
			run.drain(rt)
		})
	})
}

type modelRun struct {
	l *Ledger
	m model
	// sent numbers messages: no two are the same.
	sent int
	ctx  context.Context //nolint:containedctx // a test's
}

var (
	modelKeys     = rapid.IntRange(0, 5)
	modelOrders   = rapid.SampledFrom([]int64{0, 1_000_000, 1_000_001, 1_600_000, 1_600_001, 253370764800000})
	modelVersions = rapid.SampledFrom([]Tag{{}, {1}, {2}})
)

func (r *modelRun) hint(t *rapid.T) Hint {
	n := modelKeys.Draw(t, "key")
	locator := fhir.Locator{Type: "DiagnosticReport", ID: fmt.Sprint("r", n)}
	source := modelSources[n%2]
	return Hint{
		Key: r.l.DocumentKey(source, locator), Source: source, Locator: locator, State: Pending,
		Order: modelOrders.Draw(t, "order"), Version: modelVersions.Draw(t, "version"),
		Settle: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "settle"),
	}
}

func (r *modelRun) admit(t *rapid.T) {
	h := r.hint(t)
	want := r.m.admits(h)
	got, err := r.l.Admit(r.ctx, []Hint{h})
	if err != nil || got[0] != want {
		t.Fatalf("admit %d: %v, %v; the model says %s", h.Order, got, err, want)
	}
}

func (r *modelRun) claim(t *rapid.T) {
	claimed, err := r.l.Claim(r.ctx, ClaimOptions{N: rapid.IntRange(1, 20).Draw(t, "n"), Sources: modelSources, Track: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range claimed.Records {
		r.took(t, rec)
	}
}

// took notes a claim; a record must not be in two hands at once, and must not rest or be held.
func (r *modelRun) took(t *rapid.T, rec Record) {
	of := r.m.records[rec.Key]
	if of == nil || of.held {
		t.Fatalf("claimed a record that is not known or is held: %v", of)
	}
	for _, c := range r.m.claims {
		if c.rec.Key == rec.Key && !c.over {
			if r.m.jumped < c.until {
				t.Fatal("one record in two hands")
			}
			c.over = true
		}
	}
	if rec.ReadOrder != of.order || (of.order > 0 && rec.ReadVersion != of.version) {
		t.Fatalf("claimed with order %d as read, the model says %d", rec.ReadOrder, of.order)
	}
	r.m.claims = append(r.m.claims, &modelClaim{rec: rec, until: r.m.jumped + defaultLease})
	of.leased = r.m.jumped + defaultLease
}

func (r *modelRun) settle(t *rapid.T) {
	if len(r.m.claims) == 0 {
		t.Skip("no claim")
	}
	i := rapid.IntRange(0, len(r.m.claims)-1).Draw(t, "claim")
	state := rapid.SampledFrom([]State{Delivered, Suppressed, Held, Pending}).Draw(t, "state")
	r.settleAs(t, i, state, max(modelOrders.Draw(t, "read"), 1), modelVersions.Draw(t, "version"))
}

func (r *modelRun) settleAs(t *rapid.T, i int, state State, order int64, version Tag) {
	c := r.m.claims[i]
	r.m.claims = append(r.m.claims[:i:i], r.m.claims[i+1:]...)
	rec := c.rec
	rec.State, rec.ReadOrder, rec.ReadVersion, rec.HintedOrder = state, order, version, 0
	rec.Reason, rec.Since = "not-final", rec.Now
	next := Next{}
	switch state {
	case Pending:
		next = Next{Due: rec.Now.Add(time.Hour), Wait: WaitSource}
	case Delivered:
		rec.Told = Told{Publication: Published, At: rec.Now, MessageID: fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ6%06d", r.sent), Person: Tag{9}}
		r.sent++
	}
	got, err := r.l.Settle(r.ctx, []Settlement{{Record: rec, Next: next, Event: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	of := r.m.records[rec.Key]
	want := Written
	switch {
	case c.over:
		want = StaleToken
		if state == Delivered && rec.Told.At.After(of.told) { // told late: looked at again with that
			of.owed, of.rests, of.held, of.late, of.told = true, false, false, true, rec.Told.At
		}
	case !c.covered(order, version):
		want = DueAgain
	}
	if got[0] != want && (got[0] != DueAgain || !of.late) {
		t.Fatalf("settle as %s at %d: %s, the model says %s", state, order, got[0], want)
	}
	if got[0] == StaleToken {
		return
	}
	of.order, of.version, of.late, of.leased = order, version, false, 0
	if state == Delivered {
		of.told = rec.Told.At
	}
	of.held, of.rests = state == Held, state != Held && state != Pending && got[0] == Written
	of.owed = !of.held && !of.rests
}

func (r *modelRun) crash(t *rapid.T) {
	if len(r.m.claims) == 0 {
		t.Skip("no claim")
	}
	i := rapid.IntRange(0, len(r.m.claims)-1).Draw(t, "claim")
	r.m.claims = append(r.m.claims[:i:i], r.m.claims[i+1:]...)
}

func (r *modelRun) jump(t *rapid.T) {
	r.m.jumped += rapid.SampledFrom([]time.Duration{20 * time.Second, 10 * time.Minute, 2 * time.Hour}).Draw(t, "jump")
}

func (r *modelRun) release(t *rapid.T) {
	h := r.hint(t)
	of := r.m.records[h.Key]
	got, err := r.l.Release(r.ctx, h.Key, "released", By{})
	if err != nil || got != (of != nil && of.held && r.m.jumped >= of.leased) {
		t.Fatalf("release: %t, %v", got, err)
	}
	if got {
		of.held, of.owed, of.leased = false, true, 0
		r.m.supersede(h.Key)
	}
}

// seize is a person's deed, or a replacement, that is about to be settled: what is held stays held until then.
func (r *modelRun) seize(t *rapid.T) {
	h := r.hint(t)
	h.Order, h.Version = 0, Tag{}
	of := r.m.records[h.Key]
	rec, got, err := r.l.Reopen(r.ctx, h.Source, h.Key, h.Locator)
	if err != nil {
		t.Fatal(err)
	}
	late := r.l.redis.HExists(r.ctx, recordKey(h.Key), "k").Val()
	switch {
	case of == nil || r.m.jumped < of.leased || (got == Busy && late):
		if want := map[bool]Seized{true: Unknown, false: Busy}[of == nil]; got != want {
			t.Fatalf("seize: %s, the model says %s", got, want)
		}
		return
	case got != Taken || (of.held != (rec.State == Held)):
		t.Fatalf("seize: %s in state %s; the model says held %t", got, rec.State, of.held)
	case of.rests:
		r.m.admits(h)
	}
	r.m.supersede(h.Key)
	r.m.claims = append(r.m.claims, &modelClaim{rec: rec, until: r.m.jumped + defaultLease})
	of.leased = r.m.jumped + defaultLease
}

// supersede is a claim that takes over from those before it.
func (m *model) supersede(key Key) {
	for _, c := range m.claims {
		c.over = c.over || c.rec.Key == key
	}
}

func (r *modelRun) flush(t *rapid.T) {
	flush := func(ctx context.Context, node *redis.Client) error { return node.ScriptFlush(ctx).Err() }
	err := error(nil)
	switch client := r.l.redis.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(r.ctx, flush)
	case *redis.Client:
		err = flush(r.ctx, client)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// check walks the ledger after every step.
func (r *modelRun) check(t *rapid.T) {
	checked, err := r.l.Check(r.ctx, modelSources)
	if err != nil {
		t.Fatal(err)
	}
	if len(checked.Findings) > 0 {
		t.Fatal(strings.Join(checked.Findings, "\n"))
	}
	if checked.Live+checked.Finished != len(r.m.records) {
		t.Fatalf("%d live and %d finished records, the model has %d", checked.Live, checked.Finished, len(r.m.records))
	}
}

// drain lets time pass: whoever is owed a look gets one.
func (r *modelRun) drain(t *rapid.T) {
	seen := map[Key]bool{}
	for range 20 {
		r.m.jumped += 3 * time.Hour
		claimed, err := r.l.Claim(r.ctx, ClaimOptions{N: 100, Sources: modelSources, Track: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(claimed.Records) == 0 {
			break
		}
		for _, rec := range claimed.Records {
			seen[rec.Key] = true
			r.took(t, rec)
			r.settleAs(t, len(r.m.claims)-1, Delivered, 253370764800000, Tag{1})
		}
	}
	for key, of := range r.m.records {
		if of.owed && !seen[key] {
			t.Fatal("a record that somebody must look at was never claimed")
		}
	}
	r.check(t)
}
