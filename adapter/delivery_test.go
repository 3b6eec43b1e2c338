package adapter_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/desk"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// reports runs an errand at the desk of the command line and gives what it printed.
func (w *town) reports(t *testing.T, errand func(*adapter.Reports) error) (string, error) {
	t.Helper()
	var out strings.Builder
	err := adapter.WithReports(t.Context(), w.cfg, slog.New(slog.DiscardHandler), adapter.ReportsOptions{Out: &out}, errand)
	return out.String(), err
}

func why(text string) desk.Order {
	return desk.Order{By: ledger.By{Who: "giulia", Why: text}}
}

// at is a document's name for the desk.
func (w *town) at(l fhir.Locator) desk.Name {
	return desk.Name{Source: w.source, Resource: l.Type + "/" + l.ID}
}

// become waits until a document has come to a decision.
func (w *town) become(t *testing.T, l fhir.Locator, want string) ledger.Record {
	t.Helper()
	return eventually(t, func() (ledger.Record, bool) {
		rec := w.record(t, l)
		return rec, decision(rec) == want
	})
}

// swept names what a sweep finds of a document: who is notified of that too hears of nothing more from the next sweep.
func swept(c fse.Case) (names []string) {
	for _, r := range c.Resources {
		if kind := r["resourceType"]; kind == "Composition" || kind == "DocumentReference" {
			names = append(names, fmt.Sprintf("%s/%s", kind, r["id"]))
		}
	}
	return names
}

// With io.mode off everything is decided, and IO is asked nothing. What was kept back is told when a person says so.
func TestIOOffIsToldLater(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2)
	w.run(t)
	cases := told(4, true)
	corrected := w.publish(cases[3])
	w.notify(t, fse.R4IDOnly, cases[3].Hints...)
	w.become(t, corrected, "notify")
	w.quiet(t)
	w.stop()

	w.cfg.IO.Mode = config.ModeOff
	w.run(t)
	calls := fmt.Sprint(w.io.Calls())
	documents := make([]fhir.Locator, 0, 3)
	for _, c := range cases[:3] {
		documents = append(documents, w.publish(c))
		w.notify(t, fse.R4IDOnly, append(c.Hints, swept(c)...)...)
	}
	composition := w.fse.Get("Composition/" + corrected.ID)
	composition["status"] = "amended"
	w.fse.Put(composition)
	w.notify(t, fse.R4IDOnly, swept(cases[3])...)
	for _, l := range documents {
		w.become(t, l, "suppress io-off")
	}
	eventually(t, func() (string, bool) { rec := w.record(t, corrected); return rec.Reason, rec.Reason == "io-off" })
	w.quiet(t)
	if got := fmt.Sprint(w.io.Calls()); got != calls {
		t.Errorf("IO was called: %s, before %s", got, calls)
	}
	if page := get(t, "http://"+w.program.AdminAddr().String()+"/console/"); !strings.Contains(page, "io.mode is off") {
		t.Error("the console does not say that nobody is told")
	}
	if !strings.Contains(w.metrics(t), `staffetta_io_mode{mode="off"} 1`) {
		t.Error("the metrics do not say that nobody is told")
	}
	if _, err := w.reports(t, func(r *adapter.Reports) error { return r.Release(t.Context(), w.at(documents[0]), why("too early")) }); err == nil {
		t.Error("a release says that it works although nothing can be sent")
	}
	w.stop()

	w.cfg.IO.Mode = config.ModeLive
	w.run(t)
	out, err := w.reports(t, func(r *adapter.Reports) error {
		return r.ReleaseAll(t.Context(), desk.Filter{Reason: "io-off"}, why("live since today"), false)
	})
	if err != nil || !strings.HasPrefix(out, "4 released\n") {
		t.Fatalf("%q, %v", out, err)
	}
	for _, l := range documents {
		w.become(t, l, "notify")
	}
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n == 5 })
	w.quiet(t)
	if n := w.perCode()[mustParse(t, cases[3].Code)]; n != 2 {
		t.Errorf("%d messages about the corrected document, want 2", n)
	}
	w.well(t)
}

// With io.mode test only those of io.allow are told; IO's own test recipient may be among them.
func TestIOTestReachesOnlyThoseAllowed(t *testing.T) {
	t.Parallel()
	const testRecipient = "AAAAAA00A00A000A"
	cases := told(2, false)
	birth := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		mode            string
		allow           []config.Secret
		friend, testers string
		messages        int
	}{
		{config.ModeTest, []config.Secret{config.Secret(cases[0].Code), testRecipient}, "notify", "notify", 2},
		{config.ModeTest, []config.Secret{config.Secret(cases[0].Code)}, "notify", "hold invalid-fiscal-code", 1},
		{config.ModeLive, nil, "notify", "hold invalid-fiscal-code", 2},
	} {
		t.Run(fmt.Sprint(tt.mode, len(tt.allow)), func(t *testing.T) {
			w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.IO.Mode, cfg.IO.Allow = tt.mode, tt.allow })
			w.run(t)
			friend, stranger := w.publish(cases[0]), w.publish(cases[1])
			w.fse.Put(fse.Patient("io", testRecipient, birth))
			report := maps.Clone(w.fse.Get(cases[0].Hints[0]))
			report["id"], report["subject"] = "for-io", fse.Resource{"reference": "Patient/io"}
			w.fse.Put(report)
			w.notify(t, fse.R4IDOnly, cases[0].Hints[0], cases[1].Hints[0], "DiagnosticReport/for-io")
			w.become(t, friend, tt.friend)
			w.become(t, fhir.Locator{Type: "DiagnosticReport", ID: "for-io"}, tt.testers)
			w.become(t, stranger, map[string]string{config.ModeTest: "suppress not-in-test", config.ModeLive: "notify"}[tt.mode])
			w.quiet(t)
			if n := len(w.io.Messages()); n != tt.messages || w.io.Calls()["profile"] != n {
				t.Errorf("%d messages after %d profiles, want %d", n, w.io.Calls()["profile"], tt.messages)
			}
			w.well(t)
		})
	}
}

// The cap counts for all replicas together; what is above it waits for the next day of Europe/Rome and is told then.
func TestTheDailyCapHoldsAndLosesNothing(t *testing.T) {
	const mostInADay, documents = 10, 25
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.IO.DailyCap = mostInADay })
	var later atomic.Int64
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("CET", 3600))
	later.Store(int64(time.Until(noon)))
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
	for range 3 {
		w.run(t)
	}
	cases := told(documents, false)
	for _, c := range cases {
		for _, r := range c.Resources {
			if r["resourceType"] == "DiagnosticReport" {
				r["issued"], r["effectiveDateTime"] = noon.Format(time.RFC3339), noon.Format(time.RFC3339)
			}
		}
		w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
	}
	for day, want := range []int{mostInADay, 2 * mostInADay, documents} {
		due := eventually(t, func() (int64, bool) {
			stats, err := w.program.Ledger.Stats(t.Context(), []string{w.source})
			return stats.Due[w.source], err == nil && stats.Overdue[w.source] == 0 && stats.Tracked == 0 && len(w.io.Messages()) == want &&
				stats.Due[w.source] == int64(documents-want)
		})
		if due == 0 {
			break
		}
		// What waits is due when the next day begins.
		tomorrow := noon.AddDate(0, 0, day).Add(12 * time.Hour)
		waiting := 0
		for _, c := range cases {
			rec := w.record(t, identityOf(c))
			if rec.State != ledger.Pending {
				continue
			}
			next, _, err := w.program.Ledger.Due(t.Context(), rec)
			if err != nil || rec.Reason != "daily-cap" || next.Before(tomorrow) || next.After(tomorrow.Add(time.Hour)) {
				t.Fatalf("waits for %s until %s, want daily-cap until the first hour from %s (%v)", rec.Reason, next, tomorrow, err)
			}
			waiting++
		}
		if waiting != int(due) {
			t.Errorf("%d wait, %d are due", waiting, due)
		}
		if day == 0 {
			page, metrics := get(t, "http://"+w.program.AdminAddr().String()+"/console/"), w.metrics(t)
			if !strings.Contains(page, "10 of 10 messages") || !strings.Contains(metrics, "staffetta_io_daily_cap_used 10") {
				t.Error("neither the console nor the metrics say that the cap is reached")
			}
		}
		later.Add(int64(24 * time.Hour))
	}
	if n := strings.Count(w.logs.String(), "daily cap reached"); n == 0 || n > 2*3 {
		t.Errorf("%d log lines, want one a day from each process", n)
	}
	w.quiet(t)
	for code, n := range w.perCode() {
		if n != 1 {
			t.Errorf("%v was told %d times", code, n)
		}
	}
	w.well(t)
}

// A message is asked for once when it is through by then, as most are.
func TestStatusCallsAreFew(t *testing.T) {
	const n = 200
	w := build(t, fhir.ShapeReport)
	w.run(t)
	for _, c := range told(n, false) {
		w.publish(c)
		w.notify(t, fse.R4Full, c.Hints...)
	}
	eventually(t, func() (int, bool) { got := len(w.io.Messages()); return got, got == n })
	w.quiet(t)
	if calls := w.io.Calls()["status"]; calls < n || calls > n*11/10 {
		t.Errorf("%d status calls for %d messages", calls, n)
	}
}

// 403 `Recipient forbidden` is a named end, whichever call says so, and pauses nobody.
func TestRecipientForbiddenIsANamedEnd(t *testing.T) {
	for _, call := range []string{"/profiles", "/messages"} {
		t.Run(call, func(t *testing.T) {
			var first atomic.Bool
			first.Store(true)
			w := build(t, fhir.ShapeReport, func(_ *config.Config, o *sandbox.Options) {
				o.Fault = func(rw http.ResponseWriter, r *http.Request, taken bool) bool {
					if taken || !strings.HasSuffix(r.URL.Path, call) || !first.Swap(false) {
						return false
					}
					rw.WriteHeader(http.StatusForbidden)
					_, _ = rw.Write([]byte(`{"title":"Recipient forbidden","status":403}`))
					return true
				}
			})
			w.run(t)
			cases := told(2, false)
			forbidden := w.publish(cases[0])
			w.notify(t, fse.ClassicPut, cases[0].Hints...)
			w.become(t, forbidden, "unreachable recipient-forbidden")
			other := w.publish(cases[1])
			w.notify(t, fse.ClassicPut, cases[1].Hints...)
			w.become(t, other, "notify")
			w.recipients(t, cases[1].Code)
			w.well(t)
		})
	}
}

// Keys are rotated in their files, without a restart and without a message lost.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	put := func(name, key string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.IO.Key, cfg.IO.KeyFile, cfg.IO.SecondaryKeyFile = "", put("io.key", "first"), put("io-2.key", "second")
		o.Keys = []string{"first", "second"}
	})
	var later atomic.Int64
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
	w.run(t)
	cases := told(3, false)
	send := func(c fse.Case) fhir.Locator {
		l := w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
		return l
	}
	w.become(t, send(cases[0]), "notify")
	w.io.SetKeys("second") // the primary key is regenerated, and nobody has told us yet
	w.become(t, send(cases[1]), "notify")
	w.quiet(t)
	w.io.SetKeys("third") // both are
	waiting := send(cases[2])
	refused := func() int { return strings.Count(w.logs.String(), `"reason":"key-refused"`) }
	eventually(t, func() (int, bool) { n := refused(); return n, n > 0 })
	put("io.key", "third")
	eventually(t, func() (int, bool) { // refused keys are tried again once a minute
		pace, err := w.program.Ledger.Pace().State(t.Context())
		if err == nil && pace.IOPausedUntil.After(time.Now()) {
			later.Add(int64(61 * time.Second))
		}
		return refused(), len(w.io.Messages()) == 3
	})
	w.become(t, waiting, "notify")
	w.recipients(t, cases[0].Code, cases[1].Code, cases[2].Code)
	w.well(t)
}

// With the Premium contract IO says whether a message was read; without it every ADVANCED message is refused, so that none is
// sent by default.
func TestReadStatusWithThePremiumContract(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		contract, premium bool
		kept              string
	}{
		{"the contract, and we say so", true, true, "READ"},
		{"the contract, and we do not", true, false, ""},
		{"no such contract", false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
				cfg.IO.Premium, o.Premium = tt.premium, tt.contract
				o.ReadStatus = func(sandbox.Taken) string { return "READ" }
			})
			w.run(t)
			l, c := w.published(t, nil)
			rec := w.become(t, l, "notify")
			if rec.Told.ReadStatus != tt.kept {
				t.Errorf("kept %q, want %q", rec.Told.ReadStatus, tt.kept)
			}
			if counted := strings.Contains(w.metrics(t), `staffetta_messages_read_total{read_status="read"} 1`); counted != (tt.kept != "") {
				t.Errorf("counted: %t", counted)
			}
			w.recipients(t, c.Code)
			w.well(t)
		})
	}
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.IO.Premium = true })
	w.run(t)
	w.published(t, nil)
	eventually(t, func() (string, bool) {
		page := get(t, "http://"+w.program.AdminAddr().String()+"/console/")
		return page, strings.Contains(page, "io is paused")
	})
	w.recipients(t)
}
