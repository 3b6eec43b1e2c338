package ledger

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

// byHand is a ledger whose time can jump, with one record.
type byHand struct {
	*Ledger
	t      *testing.T
	jumped time.Duration
}

func handOpen(t *testing.T, client redis.UniversalClient) *byHand {
	t.Helper()
	return byHandOn(t, open(t, client))
}

func byHandOn(t *testing.T, l *Ledger) *byHand {
	t.Helper()
	r := &byHand{Ledger: l, t: t}
	r.skew = func() time.Duration { return r.jumped }
	return r
}

func (r *byHand) admit(hints ...Hint) []Admission {
	r.t.Helper()
	got, err := r.Admit(r.t.Context(), hints)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (r *byHand) claims() []Record {
	r.t.Helper()
	claimed, err := r.Claim(r.t.Context(), ClaimOptions{N: 64, Sources: []string{"north"}, Track: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return claimed.Records
}

func (r *byHand) claimOne() Record {
	r.t.Helper()
	all := r.claims()
	if len(all) != 1 {
		r.t.Fatalf("%d records claimed, want 1", len(all))
	}
	return all[0]
}

func (r *byHand) settle(rec Record, next Next, event string) Settled {
	r.t.Helper()
	got, err := r.Settle(r.t.Context(), []Settlement{{Record: rec, Next: next, Event: event}})
	if err != nil {
		r.t.Fatal(err)
	}
	return got[0]
}

func (r *byHand) well() {
	r.t.Helper()
	checked, err := r.Check(r.t.Context(), []string{"north"})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range checked.Findings {
		r.t.Error(f)
	}
}

func versioned(h Hint, order int64, version byte, settle time.Duration) Hint {
	h.Order, h.Version, h.Settle = order, Tag{version}, settle
	return h
}

const (
	messageA = "01ARZ3NDEKTSV4RRFFQ69G5FAA"
	messageB = "01ARZ3NDEKTSV4RRFFQ69G5FAB"
)

var somebody, _ = fiscalcode.Parse("RSSMRA80A01H501U")

// sentRecord is a record told as edition e, with message id, now.
func sentRecord(rec Record, order int64, e byte, id string, at time.Time) Record {
	rec.State, rec.ReadOrder, rec.ReadVersion, rec.HintedOrder = Sent, order, Tag{byte(order / 1000)}, 0
	rec.Publication, rec.Edition, rec.Recipient = Published, Tag{e}, somebody
	rec.Told = Told{Publication: Published, Edition: Tag{e}, At: at, MessageID: id, Person: Tag{7}}
	rec.Since = at
	return rec
}

// A newer hint on a sent record is in the due set, settling; the status poll that comes before it must not take it away.
func TestAPollDoesNotForgetAHint(t *testing.T) {
	for _, tt := range []struct {
		name string
		poll func(*byHand, Record) (Record, Next)
	}{
		{"still on its way", func(_ *byHand, rec Record) (Record, Next) {
			return rec, Next{Track: rec.Now.Add(time.Minute), Wait: WaitDelivery}
		}},
		{"processed", func(_ *byHand, rec Record) (Record, Next) {
			rec.State, rec.Recipient = Delivered, fiscalcode.Code{}
			return rec, Next{}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
				t.Helper()
				r := handOpen(t, client)
				h := documentHint(r.Ledger, "north", 1)
				r.admit(versioned(h, 1000, 1, 0))
				rec := r.claimOne()
				sent := sentRecord(rec, 1000, 1, messageA, rec.Now)
				if got := r.settle(sent, Next{Track: rec.Now.Add(10 * time.Second), Wait: WaitDelivery}, "created"); got != Written {
					t.Fatal(got)
				}
				if got := r.admit(versioned(h, 2000, 2, time.Minute)); got[0] != Newer {
					t.Fatal(got)
				}
				r.jumped = 11 * time.Second
				poll := r.claimOne()
				if !poll.Tracking {
					t.Fatal("not claimed for its delivery")
				}
				settled, next := tt.poll(r, poll)
				r.settle(settled, next, "poll")
				r.jumped = 3 * time.Minute
				for _, rec := range r.claims() {
					if !rec.Tracking {
						return // looked at for the newer hint
					}
				}
				t.Error("the newer hint is lost: nobody will ever look at the document for it")
			})
		})
	}
}

// A settlement whose answer was lost is settled again (relay.settle does, a cluster client's pipeline does too). What was
// hinted in between must not be overwritten.
func TestASettlementThatIsRepeatedForgetsNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state State
		next  Next
		early bool // the hint came before the first settlement, which answered due-again
	}{
		{"not final, hint after", Pending, Next{Due: time.Now().Add(6 * time.Hour), Wait: WaitSource}, false},
		{"not final, hint before", Pending, Next{Due: time.Now().Add(6 * time.Hour), Wait: WaitSource}, true},
		{"finished, hint before", Suppressed, Next{}, true},
		{"finished, hint after", Suppressed, Next{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
				t.Helper()
				r := handOpen(t, client)
				h := documentHint(r.Ledger, "north", 1)
				r.admit(versioned(h, 1000, 1, 0))
				rec := r.claimOne()
				rec.State, rec.ReadOrder, rec.ReadVersion, rec.Reason = tt.state, 1000, Tag{1}, "not-final"
				if tt.early {
					r.admit(versioned(h, 2000, 2, 0))
				}
				r.settle(rec, tt.next, "test")
				if !tt.early {
					r.admit(versioned(h, 2000, 2, 0))
				}
				r.settle(rec, tt.next, "test") // the same once more
				r.jumped = time.Minute
				if n := len(r.claims()); n != 1 {
					t.Errorf("%d records due, want the one that was hinted", n)
				}
				r.well()
			})
		})
	}
}

// A poll (or any other outcome that sent nothing) with a stale token must not bring back what was told before.
func TestAStalePollDoesNotUndoANewerMessage(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		r := handOpen(t, client)
		h := documentHint(r.Ledger, "north", 1)
		r.admit(versioned(h, 1000, 1, 0))
		rec := r.claimOne()
		r.settle(sentRecord(rec, 1000, 1, messageA, rec.Now), Next{Track: rec.Now.Add(10 * time.Second), Wait: WaitDelivery}, "created")
		r.jumped = 11 * time.Second
		poll := r.claimOne() // its worker stalls: IO is slow
		r.admit(versioned(h, 2000, 2, 0))
		r.jumped = 30 * time.Second // its lease is over
		other := r.claimOne()
		r.settle(sentRecord(other, 2000, 2, messageB, other.Now), Next{Track: other.Now.Add(10 * time.Second), Wait: WaitDelivery}, "created")
		if got := r.settle(poll, Next{Track: poll.Now.Add(time.Minute), Wait: WaitDelivery}, "still-on-its-way"); got != StaleToken {
			t.Fatal(got)
		}
		r.jumped = time.Minute
		for _, rec := range r.claims() {
			if rec.Told.MessageID != messageB {
				t.Errorf("the record says that edition %d was told last, want 2: the citizen is told of 2 again", rec.Told.Edition[0])
			}
		}
	})
}

// What is known to be told late is known before the next POST: `sending` must not be written over it.
func TestSendingIsRefusedWhenSomebodyToldMeanwhile(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		r := handOpen(t, client)
		r.admit(documentHint(r.Ledger, "north", 1))
		first := r.claimOne() // posts, and stalls before it can settle
		r.jumped = 20 * time.Second
		second := r.claimOne() // reads the document meanwhile
		r.settle(sentRecord(first, 1000, 1, messageA, first.Now), Next{Track: first.Now}, "created")
		second.State, second.Publication, second.Recipient = Sending, Published, somebody
		if got := r.settle(second, Next{Keep: true}, "about-to-send"); got == Written {
			t.Errorf("sending is %s although the citizen was told by then: the POST follows, and nothing says uncertain", got)
		}
	})
}

// A hint during a claim must not shorten the backoff from upstream trouble.
func TestAHintDuringAClaimDoesNotShortenBackoff(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		r := handOpen(t, client)
		h := documentHint(r.Ledger, "north", 1)
		r.admit(versioned(h, 1000, 1, 0))
		rec := r.claimOne()
		r.admit(versioned(h, 2000, 2, 0)) // while the source does not answer
		rec.Attempts, rec.Trouble = 9, rec.Now
		r.settle(rec, Next{Due: rec.Now.Add(time.Hour), Wait: WaitFixed}, "troubled")
		r.jumped = time.Minute
		if n := len(r.claims()); n != 0 {
			t.Error("due after a minute, want an hour: a hint shortened a backoff")
		}
		r.jumped = 2 * time.Hour
		if n := len(r.claims()); n != 1 {
			t.Errorf("%d due after two hours, want 1", n)
		}
	})
}

// The process' last sends, written again after a restart, must not undo what another replica told later.
func TestLastSendsDoNotUndoNewerOnes(t *testing.T) {
	server := redistest.NewServer(t)
	client := func() redis.UniversalClient {
		c := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, DisableIdentity: true})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	one, two := handOpen(t, client()), handOpen(t, client())
	h := documentHint(one.Ledger, "north", 1)
	one.admit(versioned(h, 1000, 1, 0))
	rec := one.claimOne()
	one.settle(sentRecord(rec, 1000, 1, messageA, rec.Now), Next{Track: rec.Now.Add(time.Second), Wait: WaitDelivery}, "created")
	// Days later the other replica tells the update, and it is delivered.
	one.jumped, two.jumped = 48*time.Hour, 48*time.Hour
	two.admit(versioned(h, 2000, 2, 0))
	for _, rec := range two.claims() {
		rec = sentRecord(rec, 2000, 2, messageB, rec.Now)
		rec.State, rec.Recipient = Delivered, fiscalcode.Code{}
		two.settle(rec, Next{}, "delivered")
	}
	if got, _, err := two.Lookup(t.Context(), h.Key); err != nil || got.Told.MessageID != messageB {
		t.Fatal(got.Told, err)
	}
	waitAOF(t)
	server.Kill()
	server.Start(t)
	if _, err := one.sends.lost(t.Context(), one.Ledger); err != nil {
		one.sends.asked = time.Time{}
		if _, err = one.sends.lost(t.Context(), one.Ledger); err != nil {
			t.Fatal(err)
		}
	}
	got, _, err := one.Lookup(t.Context(), h.Key)
	if err != nil || got.Told.MessageID != messageB {
		t.Errorf("after a restart that lost nothing the record says edition %d was told last (%v), want 2", got.Told.Edition[0], err)
	}
}

// waitAOF waits until `appendfsync everysec` has written.
func waitAOF(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(1500 * time.Millisecond): // a throw-away test
	case <-t.Context().Done():
	}
}

// A message that IO took while Redis was away is known to this process: it is written before anything else is claimed.
func TestWhatCouldNotBeWrittenIsNotForgotten(t *testing.T) {
	server := redistest.NewServer(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	r := handOpen(t, client)
	r.admit(documentHint(r.Ledger, "north", 1))
	rec := r.claimOne()
	rec.State, rec.Publication, rec.Edition, rec.Recipient = Sending, Published, Tag{1}, somebody
	r.settle(rec, Next{Keep: true}, "about-to-send")
	waitAOF(t)
	server.Kill()
	sent := sentRecord(rec, 1000, 1, messageA, rec.Now)
	if _, err := r.Settle(t.Context(), []Settlement{{Record: sent, Next: Next{Track: rec.Now}, Event: "created"}}); err == nil {
		t.Fatal("settled without Redis")
	}
	server.Start(t)
	for range 4 {
		r.jumped += time.Minute
		r.sends.asked = time.Time{}
		all, err := r.Claim(t.Context(), ClaimOptions{N: 8, Sources: []string{"north"}, Track: true})
		if err != nil {
			continue
		}
		for _, rec := range all.Records {
			if rec.State == Sending {
				t.Fatal("claimed in sending: the message that IO took, as we know, will be sent again")
			}
			if rec.Told.MessageID == messageA {
				return
			}
		}
	}
	t.Error("not claimed at all")
}

// before does something whenever a script is to be run, which is not run where that is an error.
type before struct {
	script *redis.Script
	do     func() error
}

func (before) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (before) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (b before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if len(cmd.Args()) > 1 && cmd.Args()[1] == b.script.Hash() {
				if err := b.do(); err != nil {
					cmd.SetErr(err)
					return err
				}
			}
		}
		return next(ctx, cmds)
	}
}

// A message that could not be written while others are written again is none of them: it is written next.
func TestWhatFailsWhileLastSendsAreWrittenAgainIsNotForgotten(t *testing.T) {
	client := redistest.Start(t)
	r := handOpen(t, client)
	r.admit(documentHint(r.Ledger, "north", 1), documentHint(r.Ledger, "north", 2))
	claimed := r.claims()
	if len(claimed) != 2 {
		t.Fatalf("%d claimed, want 2", len(claimed))
	}
	unwritten := func(rec Record) {
		sent := sentRecord(rec, 1000, 1, messageA, rec.Now)
		r.sends.remember([]Settlement{{Record: sent, Next: Next{Track: rec.Now}, Event: "created"}}, false) // as Settle does without Redis
	}
	unwritten(claimed[0])
	var once sync.Once
	client.AddHook(before{settleScript, func() error { once.Do(func() { unwritten(claimed[1]) }); return nil }})
	for range 2 {
		r.sends.asked = time.Time{}
		if _, err := r.sends.lost(t.Context(), r.Ledger); err != nil {
			t.Fatal(err)
		}
	}
	for i, rec := range claimed {
		if got, _, err := r.Lookup(t.Context(), rec.Key); err != nil || got.Told.MessageID != messageA {
			t.Errorf("record %d: told %q, %v: IO took its message", i, got.Told.MessageID, err)
		}
	}
}

// While one goroutine finds out that Redis is another one and writes the last sends again, nobody else claims.
type holdInfo struct {
	began, goOn chan struct{}
	once        sync.Once
}

func (h *holdInfo) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h *holdInfo) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *holdInfo) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == "info" {
			h.once.Do(func() { close(h.began); <-h.goOn })
		}
		return err
	}
}

func TestNobodyClaimsWhileLastSendsAreWrittenAgain(t *testing.T) {
	server := redistest.NewServer(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1, DisableIdentity: true})
	t.Cleanup(func() { _ = client.Close() })
	r := handOpen(t, client)
	h := documentHint(r.Ledger, "north", 1)
	r.admit(versioned(h, 1000, 1, 0))
	rec := r.claimOne()
	r.settle(sentRecord(rec, 1000, 1, messageA, rec.Now), Next{Track: rec.Now.Add(time.Hour), Wait: WaitDelivery}, "created")
	// The new Redis has forgotten what was sent, not what was hinted.
	server.Kill()
	server.Start(t)
	_ = client.Ping(t.Context()).Err()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.admit(versioned(h, 1000, 1, 0))
	hook := &holdInfo{began: make(chan struct{}), goOn: make(chan struct{})}
	client.AddHook(hook)
	r.sends.asked = time.Time{}
	watching := make(chan struct{})
	go func() { // Ledger.Run's tick
		defer close(watching)
		_, _ = r.sends.lost(t.Context(), r.Ledger)
	}()
	<-hook.began
	got := make(chan []Record)
	go func() { got <- r.claims() }()
	select {
	case all := <-got:
		for _, rec := range all {
			if rec.Told.MessageID == "" {
				t.Error("claimed a record that this process has told, while it was about to write that again")
			}
		}
		close(hook.goOn)
	case <-time.After(300 * time.Millisecond): // it waits, as it should
		close(hook.goOn)
		<-got
	}
	<-watching
}

// WAIT counts the writes of its own connection only.

func TestWaitReplicas(t *testing.T) {
	master, replica := redistest.NewServer(t), redistest.NewServer(t)
	admin := redis.NewClient(&redis.Options{Addr: replica.Addr, DisableIdentity: true})
	t.Cleanup(func() { _ = admin.Close() })
	host, port := splitAddr(master.Addr)
	if err := admin.Do(t.Context(), "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	// FIFO makes certain what concurrency makes likely: the next command takes another connection.
	client := redis.NewClient(&redis.Options{Addr: master.Addr, MaxRetries: -1, DisableIdentity: true, PoolFIFO: true, PoolSize: 2, MinIdleConns: 2})
	t.Cleanup(func() { _ = client.Close() })
	r := handOpen(t, client)
	r.replicas = 1
	for range 200 {
		if got, err := client.Do(t.Context(), "WAIT", 1, 100).Int(); err == nil && got == 1 {
			break
		}
	}
	r.admit(documentHint(r.Ledger, "north", 1))
	rec := r.claimOne()
	rec.State, rec.Publication, rec.Edition, rec.Recipient = Sending, Published, Tag{1}, somebody
	// The replica hangs: it has nothing of what is written from now on.
	pid := processOf(t, admin)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	settled, err := r.Settle(t.Context(), []Settlement{{Record: rec, Next: Next{Keep: true}, Event: "about-to-send"}})
	if err == nil {
		t.Errorf("sending is %v although no replica has it: WAIT went over another connection", settled)
	}
}

func processOf(t *testing.T, client *redis.Client) int {
	t.Helper()
	info, err := client.Info(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if pid, is := strings.CutPrefix(strings.TrimSpace(line), "process_id:"); is {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	t.Fatal("no process id")
	return 0
}

func splitAddr(addr string) (host, port string) {
	for i := len(addr) - 1; i >= 0; i-- {
		if addr[i] == ':' {
			return addr[:i], addr[i+1:]
		}
	}
	return addr, ""
}

// A check of a ledger in use finds nothing where nothing is wrong.
func TestCheckWhileItWorks(t *testing.T) {
	r := handOpen(t, redistest.Start(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; n < 4000 && ctx.Err() == nil; n++ {
			_, _ = r.Admit(ctx, []Hint{documentHint(r.Ledger, "north", n)})
		}
	}()
	findings := 0
	for range 3 {
		checked, err := r.Check(t.Context(), []string{"north"})
		if err != nil {
			t.Fatal(err)
		}
		findings += len(checked.Findings)
	}
	cancel()
	<-done
	if findings > 0 {
		t.Errorf("%d findings in a sound ledger", findings)
	}
}

// A released record does not look as if it were due since 1970.
func TestReleasedIsDueNow(t *testing.T) {
	r := handOpen(t, redistest.Start(t))
	h := documentHint(r.Ledger, "north", 1)
	r.admit(h)
	rec := r.claimOne()
	rec.State, rec.Reason = Held, "no-subject"
	r.settle(rec, Next{}, "decided-hold")
	if ok, err := r.Release(t.Context(), h.Key, "released", By{}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	stats, err := r.Stats(t.Context(), []string{"north"})
	if err != nil || stats.Oldest["north"] > time.Hour {
		t.Errorf("the oldest due record waits for %s, %v", stats.Oldest["north"], err)
	}
}

// Aliases are written though who settles was asked to stop, and though nothing is admitted beside them.
func TestAliasesAreWrittenAtAShutdown(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		r := handOpen(t, client)
		l := fhir.Locator{Type: "DiagnosticReport", ID: "a"}
		r.admit(Hint{Key: r.FindKey("north", l.Type, l.ID), Source: "north", State: Find, Locator: l})
		document := r.DocumentKey("north", fhir.Locator{Type: "Composition", ID: "c", Value: "v"})
		alias := r.FindKey("north", "DocumentReference", "d")
		ctx, stop := context.WithCancel(t.Context())
		stop()
		for _, rec := range r.claims() {
			rec.State, rec.LedTo = FindEnded, []Key{document}
			if _, err := r.Settle(ctx, []Settlement{{Record: rec, Event: "led", Aliases: []Alias{{Key: alias, Document: document}}}}); err != nil {
				t.Fatal(err)
			}
		}
		if rec, known, err := r.Lookup(t.Context(), alias); err != nil || !known || !slices.Equal(rec.LedTo, []Key{document}) {
			t.Errorf("known %t, leads to %d documents, %v", known, len(rec.LedTo), err)
		}
	})
}

// Aliases keep what find records have read: duplicates of their hints stay duplicates, and the ends stay counted.
func TestAliasesKeepWhatWasRead(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		r := handOpen(t, client)
		find := func(id string) Hint {
			return Hint{
				Key: r.FindKey("north", "DiagnosticReport", id), Source: "north", State: Find, Order: 1000, Version: Tag{1},
				Locator: fhir.Locator{Type: "DiagnosticReport", ID: id},
			}
		}
		document := r.DocumentKey("north", fhir.Locator{Type: "Composition", ID: "c", Value: "v"})
		a, b := find("a"), find("b")
		r.admit(a, b)
		for _, rec := range r.claims() {
			rec.State, rec.ReadOrder, rec.ReadVersion, rec.LedTo = FindEnded, 1000, Tag{1}, []Key{document}
			other := a.Key
			if rec.Key == a.Key {
				other = b.Key
			}
			if _, err := r.Settle(t.Context(), []Settlement{{Record: rec, Event: "led", Aliases: []Alias{{Key: other, Document: document}}}}); err != nil {
				t.Fatal(err)
			}
		}
		for i, got := range r.admit(a, b) {
			if got != Duplicate {
				t.Errorf("the same hint on report %d again is %s, want %s", i, got, Duplicate)
			}
		}
		for _, rec := range r.claims() {
			rec.State, rec.ReadOrder, rec.ReadVersion, rec.LedTo = FindEnded, 1000, Tag{1}, []Key{document}
			r.settle(rec, Next{}, "led")
		}
		stats, err := r.Stats(t.Context(), []string{"north"})
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		for end, count := range stats.Ends {
			if end.State == FindEnded {
				n += count
			}
		}
		if n != 2 {
			t.Errorf("%d find records are counted as ended, want 2", n)
		}
	})
}

// The months come from Redis' clock: a replica whose clock is wrong must not look for what was told in other months.
func TestALocalClockThatIsWrongForgetsNothing(t *testing.T) {
	client := redistest.Start(t)
	r := handOpen(t, client)
	h := documentHint(r.Ledger, "north", 1)
	r.admit(versioned(h, 1000, 1, 0))
	rec := r.claimOne()
	rec = sentRecord(rec, 1000, 1, messageA, rec.Now)
	rec.State = Delivered
	r.settle(rec, Next{}, "delivered")
	other := handOpen(t, client)
	other.now = func() time.Time { return time.Now().AddDate(0, -3, 0) } // a dead clock battery
	_ = other.claims()
	if got := other.admit(versioned(h, 1000, 1, 0)); got[0] != Duplicate {
		t.Errorf("the same hint again is %s, want %s: it would be told again", got[0], Duplicate)
	}
}

// A record that cannot be read (a seal key is missing) is held; that a POST was open when it crashed stays known.
func TestSendingStaysKnown(t *testing.T) {
	r := byHandOn(t, openUnchecked(t, redistest.Start(t))) // it is damaged on purpose
	r.admit(documentHint(r.Ledger, "north", 1))
	rec := r.claimOne()
	rec.State, rec.Publication, rec.Edition, rec.Recipient = Sending, Published, Tag{1}, somebody
	r.settle(rec, Next{Keep: true}, "about-to-send")
	r.jumped = time.Minute
	clear(r.seals.by)
	got := r.claimOne()
	if got.State != Sending {
		t.Errorf("claimed as %s, want %s: that somebody may have been told is forgotten", got.State, Sending)
	}
}

// An older version that comes late does not move the settle time.
func TestAnOlderHintDoesNotMoveTheSettleTime(t *testing.T) {
	r := handOpen(t, redistest.Start(t))
	h := documentHint(r.Ledger, "north", 1)
	r.admit(versioned(h, 3000, 3, time.Minute))
	for n, order := range []int64{2000, 3000, 1000, 3000} { // late, and duplicates
		r.jumped = time.Duration(n+1) * 14 * time.Second
		r.admit(versioned(h, order, byte(order/1000), time.Minute))
	}
	r.jumped = 61 * time.Second
	if n := len(r.claims()); n != 1 {
		t.Error("not due a minute after the newest hint: older ones and duplicates moved it")
	}
}

// A hint that comes between the end of a dead worker's lease and the next claim keeps its settle time.
func TestAHintAfterALapsedLeaseSettles(t *testing.T) {
	r := handOpen(t, redistest.Start(t))
	h := documentHint(r.Ledger, "north", 1)
	r.admit(versioned(h, 1000, 1, 0))
	r.claimOne() // its worker dies
	r.jumped = 20 * time.Second
	r.admit(versioned(h, 2000, 2, time.Minute))
	if n := len(r.claims()); n != 0 {
		t.Error("looked at at once: the settle time of the newer hint is lost")
	}
}

// A hint that came during a poll whose worker died must not be forgotten by the next poll.
func TestAPollAfterACrashedPollDoesNotForgetAHint(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		r := handOpen(t, client)
		h := documentHint(r.Ledger, "north", 1)
		r.admit(versioned(h, 1000, 1, 0))
		rec := r.claimOne()
		r.settle(sentRecord(rec, 1000, 1, messageA, rec.Now), Next{Track: rec.Now.Add(10 * time.Second), Wait: WaitDelivery}, "created")
		r.jumped = 11 * time.Second
		if !r.claimOne().Tracking { // its worker dies
			t.Fatal("no poll")
		}
		r.admit(versioned(h, 2000, 2, 0))
		for range 2 {
			r.jumped += 20 * time.Second
			for _, rec := range r.claims() {
				if !rec.Tracking {
					return
				}
				r.settle(rec, Next{Track: rec.Now.Add(time.Second), Wait: WaitDelivery}, "still-on-its-way")
			}
		}
		t.Error("the newer hint is lost")
	})
}

// A member of a document that somebody else's find has met leads to that document, whatever its own find sees afterwards: its
// resource may be gone by then, and what replaces the document would be announced as new.
func TestAFindThatComesTooLateLeadsWhereOthersHaveBeen(t *testing.T) {
	for _, claimedBefore := range []bool{false, true} {
		redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
			t.Helper()
			r := handOpen(t, client)
			report, composition := r.findOf("DiagnosticReport"), r.findOf("Composition")
			document := r.DocumentKey("north", fhir.Locator{Type: "Composition", ID: "c", Value: "v"})
			r.admit(report)
			first := r.claimOne()
			r.admit(composition)
			var late Record
			if claimedBefore {
				late = r.claimOne()
			}
			first.State, first.LedTo = FindEnded, []Key{document}
			if _, err := r.Settle(t.Context(), []Settlement{{Record: first, Event: "led", Aliases: []Alias{{Key: composition.Key, Document: document}}}}); err != nil {
				t.Fatal(err)
			}
			if rec, _, err := r.Lookup(t.Context(), composition.Key); err != nil || !slices.Equal(rec.LedTo, []Key{document}) {
				t.Errorf("while it still works: it leads to %d documents, %v", len(rec.LedTo), err)
			}
			if !claimedBefore {
				if late = r.claimOne(); !slices.Equal(late.LedTo, []Key{document}) {
					t.Errorf("claimed: it leads to %d documents", len(late.LedTo))
				}
			}
			late.State, late.LedTo = FindEnded, nil
			r.settle(late, Next{}, "led-nowhere")
			if rec, _, err := r.Lookup(t.Context(), composition.Key); err != nil || rec.State != FindEnded || !slices.Equal(rec.LedTo, []Key{document}) {
				t.Errorf("at its end: %s, it leads to %d documents, %v", rec.State, len(rec.LedTo), err)
			}
		})
	}
}

// away is a Redis that is so.
func away() error { return io.ErrUnexpectedEOF }

// findOf is a hint on a resource that must be found yet.
func (r *byHand) findOf(kind string) Hint {
	return Hint{Key: r.FindKey("north", kind, "a"), Source: "north", State: Find, Locator: fhir.Locator{Type: kind, ID: "a"}}
}

// ledUntil is a find that has met a document, and whose settling a Redis does not take that is away for one of its scripts.
func ledUntil(t *testing.T, script *redis.Script, kind string) (r *byHand, find, document Key) {
	t.Helper()
	client := redistest.Start(t)
	r = handOpen(t, client)
	hint, found := r.findOf(kind), documentHint(r.Ledger, "north", 1)
	r.admit(hint)
	rec := r.claimOne()
	rec.State, rec.LedTo = FindEnded, []Key{found.Key}
	client.AddHook(before{script, away})
	_, err := r.Settle(t.Context(), []Settlement{{
		Record: rec, Event: "led", Admit: []Hint{found}, Aliases: []Alias{{Key: r.FindKey("north", "Composition", "a"), Document: found.Key}},
	}})
	if err == nil {
		t.Fatal("settled without its script")
	}
	return r, hint.Key, found.Key
}

// Nobody is told of a document before all that belongs to it leads there: its find may come again when it is gone.
func TestADocumentIsNotAdmittedBeforeItsAliases(t *testing.T) {
	r, _, document := ledUntil(t, aliasScript, "DiagnosticReport")
	if _, known, err := r.Lookup(t.Context(), document); known || err != nil {
		t.Errorf("the document is known: %t, %v", known, err)
	}
}

// A find that ends between the two writes knows where it led: its resource may be gone when it is claimed again, and what replaced
// the document would be announced as new.
func TestAFindThatWasCutLeadsWhereItHasBeen(t *testing.T) {
	r, find, document := ledUntil(t, settleScript, "Composition")
	if got, _, err := r.Lookup(t.Context(), find); err != nil || got.State != Find || !slices.Equal(got.LedTo, []Key{document}) {
		t.Errorf("%s, it leads to %d documents, %v", got.State, len(got.LedTo), err)
	}
	if _, known, err := r.Lookup(t.Context(), document); !known || err != nil {
		t.Errorf("the document is known: %t, %v", known, err)
	}
}

// The same of a find that had led nowhere, and that a newer hint has opened again.
func TestAFindThatWasOpenedAgainLeadsWhereOthersHaveBeen(t *testing.T) {
	client := redistest.Start(t)
	r := handOpen(t, client)
	hint := r.findOf("Composition")
	r.admit(hint)
	rec := r.claimOne()
	rec.State = FindEnded
	r.settle(rec, Next{}, "led-nowhere")
	r.admit(hint)
	document := r.DocumentKey("north", fhir.Locator{Type: "Composition", ID: "c", Value: "v"})
	if err := r.writeAliases(t.Context(), []Settlement{{Aliases: []Alias{{Key: hint.Key, Document: document}}}}); err != nil {
		t.Fatal(err)
	}
	if rec = r.claimOne(); !slices.Equal(rec.LedTo, []Key{document}) {
		t.Errorf("claimed as %s: it leads to %d documents, want to the one that another find has met", rec.State, len(rec.LedTo))
	}
}

// Nor does one that a person must look at hide where it belongs: what replaces the document asks for it.
func TestAFindThatIsHeldLeadsWhereOthersHaveBeen(t *testing.T) {
	client := redistest.Start(t)
	r := handOpen(t, client)
	hint := r.findOf("Composition")
	r.admit(hint)
	rec := r.claimOne()
	rec.State, rec.Reason = Held, "ambiguous-document"
	r.settle(rec, Next{}, "decided-hold")
	document := r.DocumentKey("north", fhir.Locator{Type: "Composition", ID: "c", Value: "v"})
	if err := r.writeAliases(t.Context(), []Settlement{{Aliases: []Alias{{Key: hint.Key, Document: document}}}}); err != nil {
		t.Fatal(err)
	}
	if got, _, err := r.Lookup(t.Context(), rec.Key); err != nil || got.State != Held || !slices.Equal(got.LedTo, []Key{document}) {
		t.Errorf("%s, it leads to %d documents, %v", got.State, len(got.LedTo), err)
	}
}
