package adapter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/config"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// serveEnv makes this test binary a `serve`, for tests that kill it.
const serveEnv = "STAFFETTA_TEST_SERVE"

func TestMain(m *testing.M) {
	if path := os.Getenv(serveEnv); path != "" {
		os.Exit(serveForTest(path))
	}
	goleak.VerifyTestMain(m)
}

func serveForTest(path string) int {
	cfg, err := config.Load(path)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	program, err := adapter.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = fmt.Fprintln(os.Stdout, program.PublicAddr(), program.AdminAddr())
	_ = program.Run(ctx)
	return 0
}

// perCode counts messages by person.
func (w *town) perCode() map[fiscalcode.Code]int {
	n := map[fiscalcode.Code]int{}
	for _, taken := range w.io.Messages() {
		n[taken.Recipient]++
	}
	return n
}

func TestFourteenReportsThousandCopiesThreeReplicasAreOneMessage(t *testing.T) {
	w := build(t, fhir.ShapeFSE2)
	replicas := make([]*fse.Poster, 3)
	for i := range replicas {
		w.run(t)
		replicas[i] = w.poster
	}
	var c fse.Case
	for _, one := range told(60, true) {
		if len(one.Hints) == 14 {
			c = one
		}
	}
	document := w.publish(c)
	var posters sync.WaitGroup
	for i := range 72 {
		posters.Go(func() { // each notification names all fourteen, in its own order
			hints := append(slices.Clone(c.Hints[i%14:]), c.Hints[:i%14]...)
			if err := replicas[i%3].Notify(t.Context(), fse.Flavours[i%len(fse.Flavours)], hints...); err != nil {
				t.Error(err)
			}
		})
	}
	posters.Wait()
	if got := decision(w.record(t, document)); got != "notify" {
		t.Errorf("got %s, want notify", got)
	}
	w.quiet(t)
	w.recipients(t, c.Code)
	w.well(t)
}

// Bodies of two versions, in any order, over two Subscriptions, to three replicas: they are one publication.
func TestVersionsInAnyOrderFromTwoSubscriptionsAreOneMessage(t *testing.T) {
	t.Parallel()
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeFSE2} {
		t.Run(string(shape), func(t *testing.T) {
			w := build(t, shape)
			c := told(1, shape.OfCompositions())[0]
			first := fse.NewServer() // shows the first version for good
			document := w.publish(c)
			for _, r := range c.Resources {
				name := fmt.Sprintf("%s/%s", r["resourceType"], r["id"])
				first.Load(w.fse.Get(name))
				second := maps.Clone(w.fse.Get(name))
				if name == c.Type+"/"+c.ID {
					second["status"] = "amended"
				}
				w.fse.Put(second)
			}
			hints := append(slices.Clone(c.Hints), c.Type+"/"+c.ID)
			posters := make([]*fse.Poster, 0, 3*2*2) // each replica is posted to over both Subscriptions, of both versions
			for range 3 {
				w.run(t)
				for _, server := range []*fse.Server{first, w.fse} {
					for _, subscription := range []string{"one", "another"} {
						posters = append(posters, &fse.Poster{URL: w.poster.URL, Token: postToken, Server: server, Client: new(http.Client), Subscription: subscription})
					}
				}
			}
			post := func(i int) {
				if err := posters[i%len(posters)].Notify(t.Context(), fse.Flavours[i%len(fse.Flavours)], hints...); err != nil {
					t.Error(err)
				}
			}
			var posting sync.WaitGroup
			for i := range 96 {
				posting.Go(func() { post(i) })
			}
			posting.Wait()
			if got := decision(w.record(t, document)); got != "notify" {
				t.Errorf("got %s, want notify", got)
			}
			w.quiet(t)
			for i := range 96 { // and all of it again when it is over, the older version last
				post(95 - i)
			}
			w.quiet(t)
			w.recipients(t, c.Code)
			w.well(t)
		})
	}
}

// A storm at one source, all of it to be told, fills the budget of IO for hours: another source's single report is told after
// what was in hands when it came, and before all the rest.
func TestAStormAtOneSourceDoesNotDelayAnother(t *testing.T) {
	t.Parallel()
	const storm, rate, inHands = 100_000, 20, 16 + 4*16 // at this rate: slots, and what is claimed beyond them (relay)
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		other := cfg.Sources[0]
		other.Name, other.BaseURL = "tempesta", stormy(t)
		cfg.Sources, cfg.IO.Rate = append(cfg.Sources, other), rate
	})
	w.run(t)
	for first := range storm / 1000 {
		hints := make([]ledger.Hint, 1000)
		for i := range hints {
			l := fhir.Locator{Type: "DiagnosticReport", ID: strconv.Itoa(first*1000 + i)}
			hints[i] = ledger.Hint{Key: w.program.Ledger.DocumentKey("tempesta", l), Source: "tempesta", Locator: l, State: ledger.Pending}
		}
		if _, err := w.program.Ledger.Admit(t.Context(), hints); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n >= rate }) // the slots are full, and IO sets the pace
	c := told(1, false)[0]
	w.publish(c)
	before := len(w.io.Messages())
	w.notify(t, fse.ClassicPut, c.Hints...)
	came := len(w.io.Messages()) // the storm goes on while it is posted
	place := eventually(t, func() (int, bool) {
		messages := w.io.Messages()
		place := slices.IndexFunc(messages, func(m sandbox.Taken) bool { return m.Recipient.Reveal() == c.Code })
		return place, place >= 0
	})
	t.Logf("it was told after %d of the storm", place-came)
	if place < before || place-came > inHands {
		t.Errorf("told after %d of the storm, want at most the %d that were in hands", place-came, inHands)
	}
	stats, err := w.program.Ledger.Stats(t.Context(), []string{"tempesta"})
	if err != nil {
		t.Fatal(err)
	}
	if overdue := stats.Overdue["tempesta"]; overdue < storm*9/10 {
		t.Errorf("%d of %d still waited when it was told: this was no storm", overdue, storm)
	}
}

// stormy is a FHIR server that has every report it is asked for, each of another citizen.
func stormy(t *testing.T) (baseURL string) {
	t.Helper()
	birth := time.Date(1931, 3, 3, 0, 0, 0, 0, time.UTC) // nobody's in a population
	server := fse.NewServer()
	server.Token = readToken
	server.Fault = func(w http.ResponseWriter, r *http.Request) bool {
		n, err := strconv.Atoi(r.URL.Query().Get("_id"))
		if err != nil {
			return false
		}
		_ = json.NewEncoder(w).Encode(fse.Resource{"resourceType": "Bundle", "type": "searchset", "entry": []any{
			fse.Resource{"resource": fse.Resource{
				"resourceType": "DiagnosticReport", "id": strconv.Itoa(n), "status": "final",
				"issued": time.Now().Format(time.RFC3339), "subject": fse.Resource{"reference": "Patient/p"},
			}},
			fse.Resource{"resource": fse.Patient("p", fse.CodeOf(n, birth), birth)},
		}})
		return true
	}
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	return front.URL + "/fhir"
}

// quiet waits until no record needs a step any more.
func (w *town) quiet(t *testing.T) {
	t.Helper()
	eventually(t, func() (ledger.Stats, bool) {
		stats, err := w.program.Ledger.Stats(t.Context(), []string{w.source})
		if err != nil {
			return stats, false
		}
		return stats, stats.Due[w.source] == 0 && stats.Tracked == 0
	})
}

func TestACorrectionIsOneUpdate(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	w.run(t)
	c := told(1, false)[0]
	document := w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	w.record(t, document)
	w.quiet(t)
	report := w.fse.Get(c.Hints[0])
	w.fse.Put(report) // a migration, a tag: nothing for the citizen
	w.notify(t, fse.R5, c.Hints...)
	w.quiet(t)
	w.recipients(t, c.Code)
	report["status"] = "amended"
	w.fse.Put(report)
	for range 3 {
		w.notify(t, fse.ClassicPost, c.Hints...)
	}
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n >= 2 })
	w.quiet(t)
	w.recipients(t, c.Code, c.Code)
	if subject := w.io.Messages()[1].Subject; !strings.HasPrefix(subject, "Errata corrige: ") {
		t.Errorf("the second message says %q", subject)
	}
	w.well(t)
}

func TestWithdrawnOrAnotherPatientIsForAPerson(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*town, fse.Resource)
		want   string
	}{
		{"entered in error", func(w *town, r fse.Resource) { r["status"] = "entered-in-error"; w.fse.Put(r) }, "hold withdrawn"},
		{"another patient", func(w *town, r fse.Resource) {
			birth := time.Date(1970, 3, 3, 0, 0, 0, 0, time.UTC)
			w.fse.Put(fse.Patient("somebody", fse.CodeOf(4242, birth), birth))
			r["subject"], r["status"] = fse.Resource{"reference": "Patient/somebody"}, "corrected"
			w.fse.Put(r)
		}, "hold patient-changed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, fhir.ShapeReport)
			w.run(t)
			c := told(1, false)[0]
			document := w.publish(c)
			w.notify(t, fse.ClassicPut, c.Hints...)
			w.record(t, document)
			w.quiet(t)
			tt.change(w, w.fse.Get(c.Hints[0]))
			w.notify(t, fse.ClassicPut, c.Hints...)
			key := w.program.Ledger.DocumentKey(w.source, document)
			rec := eventually(t, func() (ledger.Record, bool) {
				rec, _, err := w.program.Ledger.Lookup(t.Context(), key)
				return rec, err == nil && rec.State == ledger.Held
			})
			if got := decision(rec); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			w.recipients(t, c.Code)
			if released, err := w.program.Ledger.Release(t.Context(), key, "released", ledger.By{}); err != nil || !released {
				t.Errorf("released %t, %v", released, err)
			}
			w.well(t)
		})
	}
}

func TestIOAwayThrottledAndBack(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	away.Store(true)
	var asked atomic.Int64
	w := build(t, fhir.ShapeReport, func(_ *config.Config, o *sandbox.Options) {
		o.Fault = func(rw http.ResponseWriter, _ *http.Request, taken bool) bool {
			if taken || !away.Load() {
				return false
			}
			if asked.Add(1)%2 == 0 {
				rw.WriteHeader(http.StatusInternalServerError)
				return true
			}
			rw.Header().Set("x-rate-limit-retry-after", "1")
			rw.WriteHeader(http.StatusTooManyRequests)
			return true
		}
	})
	w.run(t)
	want := make([]string, 0, 5)
	for _, c := range told(5, false) {
		w.publish(c)
		w.notify(t, fse.R4Full, c.Hints...)
		want = append(want, c.Code)
	}
	eventually(t, func() (int64, bool) { n := asked.Load(); return n, n >= 2 })
	if n := len(w.io.Messages()); n != 0 {
		t.Fatalf("%d messages while IO was away", n)
	}
	away.Store(false)
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n >= len(want) })
	w.quiet(t)
	for code, n := range w.perCode() {
		if n != 1 {
			t.Errorf("%v was told %d times", code, n)
		}
	}
	w.well(t)
}

func TestAnUncertainSendIsKnownToBe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		uncertain string
		messages  int
	}{{"resend", 2}, {"hold", 1}} {
		t.Run(tt.uncertain, func(t *testing.T) {
			var cut atomic.Bool
			cut.Store(true)
			w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
				cfg.IO.Uncertain = tt.uncertain
				o.Fault = func(_ http.ResponseWriter, _ *http.Request, taken bool) bool {
					if taken && cut.Swap(false) {
						panic(http.ErrAbortHandler) // IO has the message, and nobody hears it
					}
					return false
				}
			})
			w.run(t)
			c := told(1, false)[0]
			document := w.publish(c)
			w.notify(t, fse.ClassicPut, c.Hints...)
			key := w.program.Ledger.DocumentKey(w.source, document)
			rec := eventually(t, func() (ledger.Record, bool) {
				rec, _, err := w.program.Ledger.Lookup(t.Context(), key)
				return rec, err == nil && (rec.State == ledger.Held || rec.State == ledger.Delivered)
			})
			if !rec.Told.Uncertain {
				t.Error("the record does not know that it is uncertain")
			}
			if n := len(w.io.Messages()); n != tt.messages {
				t.Errorf("%d messages, want %d", n, tt.messages)
			}
			if !strings.Contains(w.metrics(t), "staffetta_sends_uncertain_total 1") {
				t.Error("staffetta_sends_uncertain_total is not 1")
			}
			w.well(t)
		})
	}
}

func (w *town) metrics(t *testing.T) string {
	t.Helper()
	return get(t, "http://"+w.program.AdminAddr().String()+"/metrics")
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPauseHoldsAndLosesNothing(t *testing.T) {
	w := build(t, fhir.ShapeReport)
	w.run(t)
	if err := w.program.Ledger.Pace().Pause(t.Context(), "Giulia", "trial"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (string, bool) {
		l := w.logs.String()
		return "", strings.Contains(l, "sending paused")
	})
	c := told(1, false)[0]
	document := w.publish(c)
	w.notify(t, fse.ClassicPut, c.Hints...)
	page := get(t, "http://"+w.program.AdminAddr().String()+"/console/")
	if !strings.Contains(page, "All sending is paused") || !strings.Contains(page, "Giulia") {
		t.Error("the console does not say who paused")
	}
	if n := len(w.io.Messages()); n != 0 {
		t.Errorf("%d messages while paused", n)
	}
	if was, err := w.program.Ledger.Pace().Resume(t.Context()); err != nil || !was {
		t.Errorf("resumed %t, %v", was, err)
	}
	if got := decision(w.record(t, document)); got != "notify" {
		t.Errorf("got %s, want notify", got)
	}
	w.recipients(t, c.Code)
}

func TestTheSourceAwayAndBack(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	away.Store(true)
	w := build(t, fhir.ShapeFSE2)
	w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
		if !away.Load() {
			return false
		}
		rw.Header().Set("Retry-After", "1")
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	w.run(t)
	c := told(1, true)[0]
	document := w.publish(c)
	w.notify(t, fse.R4IDOnly, c.Hints...)
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "upstream paused") })
	away.Store(false)
	if got := decision(w.record(t, document)); got != "notify" {
		t.Errorf("got %s, want notify", got)
	}
	w.recipients(t, c.Code)
	w.well(t)
}

// workers of a process that can be killed, or that hears of trouble.
const workers = 16

// yaml writes the file that a town was configured with in code, for a process of its own.
func (w *town) yaml(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "staffetta.yaml")
	source := w.cfg.Sources[0]
	text := fmt.Sprintf(`public: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
redis: {url: %q}
ledger: {seal_key: %q, lease: 2s}
sources: [{name: %s, base_url: %q, aliases: ["https://fse.example.it/fhir"], shape: %s, unlabelled: notify, receive: {bearer_tokens: [%q]}, read: {bearer_token: %q}}]
io: {base_url: %q, key: %q, rate: 10000, polls: [20ms]}
message: {button_url: "https://fascicolo.example.it/referti"}
policy: {settle: 0s}
workers: %d
`, string(w.cfg.Redis.URL), string(w.cfg.Ledger.SealKey), source.Name, source.BaseURL, source.Shape, postToken, readToken, w.cfg.IO.BaseURL, ioKey, workers)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// served is a process that can be killed.
type served struct {
	cmd           *exec.Cmd
	public, admin string
}

func serve(t *testing.T, path string) *served {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s := &served{cmd: cmd}
	if _, err := fmt.Fscanln(out, &s.public, &s.admin); err != nil {
		t.Fatal(err)
	}
	return s
}

// kill is kill -9.
func (s *served) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
}

// uncertainSends is how many sends a process counted as uncertain.
func uncertainSends(t *testing.T, metrics string) int {
	t.Helper()
	const name = "staffetta_sends_uncertain_total "
	for line := range strings.Lines(metrics) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), name); found {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no " + name + "among the metrics")
	return 0
}

// surplus is how many messages there are beyond one for each person.
func (w *town) surplus() int {
	messages := w.io.Messages()
	persons := map[fiscalcode.Code]bool{}
	for _, taken := range messages {
		persons[taken.Recipient] = true
	}
	return len(messages) - len(persons)
}

// A process is killed while IO has just taken a message of it, four times: nobody is forgotten, and who was told twice is
// known to have been, by record and by number.
func TestKillNineLosesNothing(t *testing.T) {
	t.Parallel()
	const n, kills = 300, 4
	taken, armed := make(chan struct{}), atomic.Bool{}
	w := build(t, fhir.ShapeReport, func(_ *config.Config, o *sandbox.Options) {
		o.Fault = func(_ http.ResponseWriter, r *http.Request, message bool) bool {
			if !message || !armed.CompareAndSwap(true, false) {
				return false
			}
			select {
			case taken <- struct{}{}:
			case <-r.Context().Done():
			}
			<-r.Context().Done() // its sender dies before it hears that IO has it
			return true
		}
	})
	path := w.yaml(t)
	process := serve(t, path)
	w.poster = &fse.Poster{URL: "http://" + process.public + "/fhir/" + w.source, Token: postToken, Server: w.fse, Client: new(http.Client)}
	cases := told(n, false)
	counted, missed := 0, 0
	for i, c := range cases {
		w.publish(c)
		dies := i%(n/kills) == n/kills-1
		armed.Store(dies)
		w.notify(t, fse.ClassicPut, c.Hints...) // answered 2xx: it is safe in Redis
		if !dies {
			continue
		}
		await(t, taken)
		before := w.surplus()
		counted += uncertainSends(t, get(t, "http://"+process.admin+"/metrics"))
		process.kill()
		missed += w.surplus() - before // resent, and maybe counted, in its last moment
		if i < n-1 {
			process = serve(t, path)
			w.poster.URL = "http://" + process.public + "/fhir/" + w.source
		}
	}
	w.run(t)
	eventually(t, func() (int, bool) { n := len(w.perCode()); return n, n >= len(cases) })
	w.quiet(t)
	counted += uncertainSends(t, w.metrics(t))
	twice := 0
	for _, c := range cases {
		switch w.perCode()[mustParse(t, c.Code)] {
		case 0:
			t.Error("an admitted event was lost")
		case 1:
		default:
			twice++
			if rec := w.record(t, identityOf(c)); !rec.Told.Uncertain {
				t.Error("a record whose message was sent twice does not know that it is uncertain")
			}
		}
	}
	if twice < kills || twice > kills*workers {
		t.Errorf("%d told twice, want at least the one that each of %d kills cut, and at most those that were in sending", twice, kills)
	}
	if want := w.surplus() - missed; counted < want {
		t.Errorf("staffetta_sends_uncertain_total is %d over all processes, and %d messages were sent again", counted, want)
	}
	w.well(t)
}

// overServer is a town over a redis-server that can be killed.
func overServer(t *testing.T) (*town, *redistest.Server) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI needs a redis-server on the PATH")
		}
		t.Skip("no redis-server on the PATH to restart")
	}
	server := redistest.NewServer(t)
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Ledger.Lease = config.Duration(2 * time.Second) // what was in hands when Redis died is due again after it
	})
	w.cfg.Redis.URL = config.Secret("redis://" + server.Addr + "/0")
	w.redis = redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { _ = w.redis.Close() })
	return w, server
}

// A Redis that is killed loses nothing that it has answered for: its file is in the memory of the machine, which lives on.
// Nobody posts anything twice here.
func TestRedisRestartedInTheMiddle(t *testing.T) {
	t.Parallel()
	w, server := overServer(t)
	w.run(t)
	cases := told(120, false)
	for i, c := range cases {
		w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
		if i%40 == 20 {
			server.Kill()
			server.Start(t)
		}
	}
	eventually(t, func() (int, bool) { n := len(w.perCode()); return n, n >= len(cases) })
	w.quiet(t)
	for code, n := range w.perCode() {
		if n != 1 {
			t.Errorf("%v was told %d times", code, n)
		}
	}
	w.well(t)
}

// Where the machine loses power Redis may forget: here it forgets everything. A process that lives on still knows what it has
// sent a moment ago, so what senders send again tells nobody twice. Where nobody is left who knows, the ledger begins empty,
// says so, and what is sent again is told again.
func TestRedisForgetsEverything(t *testing.T) {
	t.Parallel()
	w, server := overServer(t)
	w.run(t)
	cases := told(8, false)
	post := func(cases []fse.Case) {
		for _, c := range cases {
			w.notify(t, fse.ClassicPut, c.Hints...)
		}
	}
	everybodyTold := func(times int) {
		t.Helper()
		eventually(t, func() (string, bool) {
			n := w.perCode()
			for _, c := range cases {
				if n[mustParse(t, c.Code)] != times {
					return fmt.Sprint(n), false
				}
			}
			return "", true
		})
		w.quiet(t)
		for code, n := range w.perCode() {
			if n != times {
				t.Errorf("%v was told %d times, want %d", code, n, times)
			}
		}
	}
	for _, c := range cases {
		w.publish(c)
	}
	post(cases[:4])
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n == 4 })
	w.quiet(t)
	powerLoss(t, server)
	eventually(t, func() (string, bool) {
		return "", strings.Contains(w.logs.String(), "the last sends are written again")
	})
	post(cases)
	everybodyTold(1)

	w.stop()
	powerLoss(t, server)
	const empty = "the ledger is empty: "
	if n := strings.Count(w.logs.String(), empty); n != 1 {
		t.Errorf("%d times the ledger was empty so far, want once: at the first start", n)
	}
	w.run(t)
	if n := strings.Count(w.logs.String(), empty); n != 2 {
		t.Error("the ledger begins empty, and does not say so")
	}
	w.quiet(t)
	if n := len(w.io.Messages()); n != len(cases) {
		t.Errorf("%d messages, want %d: an empty ledger starts from now", n, len(cases))
	}
	post(cases)
	everybodyTold(2)
	w.well(t)
}

// powerLoss kills a redis-server and what it wrote.
func powerLoss(t *testing.T, server *redistest.Server) {
	t.Helper()
	server.Kill()
	if err := server.Forget(); err != nil {
		t.Fatal(err)
	}
	server.Start(t)
}

// A source that takes longer than a lease is slow, and nobody's crash.
func TestSlowIsNotCrashed(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Ledger.Lease = config.Duration(time.Second)
	})
	w.fse.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-r.Context().Done():
		case <-time.After(700 * time.Millisecond):
		}
		return false
	}
	w.run(t)
	cases := told(60, false)
	for _, c := range cases {
		w.publish(c)
		w.notify(t, fse.R4Full, c.Hints...)
	}
	for _, c := range cases {
		if got := decision(w.record(t, identityOf(c))); got != "notify" {
			t.Errorf("got %s, want notify", got)
		}
	}
	w.quiet(t)
	for code, n := range w.perCode() {
		if n != 1 {
			t.Errorf("%v was told %d times", code, n)
		}
	}
	w.well(t)
}

// Whatever the shape: what was published is told, suppressed, unreachable, held or waiting, by name.
func TestAllInOneBalances(t *testing.T) {
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeHL7IT, fhir.ShapeFSE2} {
		t.Run(string(shape), func(t *testing.T) {
			w := build(t, shape)
			w.run(t)
			cases := fse.Population(80, 5, shape.OfCompositions())
			for _, c := range cases {
				w.publish(c)
				w.notify(t, fse.Transaction, c.Hints...)
			}
			n := map[string]int{}
			for _, c := range cases {
				rec := w.record(t, identityOf(c))
				n[strings.Fields(decision(rec))[0]]++
				if want := c.Reason; c.Outcome != "told" && c.Name != fse.NotOnIO && c.Name != fse.NotAllowed && rec.Reason != want {
					t.Errorf("%s: %s, want %s", c.Name, rec.Reason, want)
				}
				if reachable := c.Outcome == "told" || c.Name == fse.NotOnIO || c.Name == fse.NotAllowed; reachable && rec.State != ledger.Delivered {
					t.Errorf("%s: %s %s, want it told", c.Name, rec.State, rec.Reason)
				}
			}
			if sum := n["notify"] + n["suppress"] + n["hold"] + n["unreachable"] + n["wait"]; sum != len(cases) {
				t.Errorf("%d of %d are accounted for", sum, len(cases))
			}
			if told := len(w.io.Messages()); told != n["notify"] {
				t.Errorf("%d messages for %d documents that are told", told, n["notify"])
			}
		})
	}
}

// garbage is a notification that nobody can read.
func garbage(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{garbage"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+postToken)
	res, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("garbage is answered %d", res.StatusCode)
	}
}
