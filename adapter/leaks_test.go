package adapter_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// anyCode is a fiscal code in a text, whoever's; messageID is an id of IO's, of which one in some ten thousand holds such letters
// and digits by chance.
var (
	anyCode   = regexp.MustCompile(`[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]`)
	messageID = regexp.MustCompile(`\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b`)
)

// codeIn is the beginning of a fiscal code in a text; "" where there is none.
func codeIn(text string) string {
	return fmt.Sprintf("%.6s", anyCode.FindString(messageID.ReplaceAllString(text, "")))
}

// surname is that of every synthetic patient.
const surname = "Inventato"

// private is what may stand nowhere.
func (w *town) private(cases []fse.Case) []string {
	private := []string{ioKey, postToken, readToken, string(w.cfg.Ledger.SealKey), surname}
	for _, c := range cases {
		private = append(private, c.Value, c.ID, c.Code)
		private = append(private, c.Hints...)
		for _, r := range c.Resources {
			if r["resourceType"] == "Patient" {
				private = append(private, fmt.Sprint(r["id"])+`"`)
			}
		}
	}
	return private
}

// silent wants nothing private in what can be seen.
func silent(t *testing.T, seen map[string]string, private []string) {
	t.Helper()
	for place, text := range seen {
		if len(text) < 300 {
			t.Errorf("%s: only %d bytes to look at", place, len(text))
		}
		for _, secret := range private {
			if secret != "" && strings.Contains(text, secret) {
				t.Errorf("%s hold something private: %.6s…", place, secret)
				break
			}
		}
		if code := codeIn(text); code != "" {
			t.Errorf("%s hold a fiscal code: %s…", place, code)
		}
	}
}

// console is what people can see, and read.
func (w *town) console(t *testing.T) string {
	t.Helper()
	admin := "http://" + w.program.AdminAddr().String()
	return get(t, admin+"/console/") + get(t, admin+"/readyz")
}

func TestNothingLeaks(t *testing.T) {
	w := build(t, fhir.ShapeFSE2)
	w.run(t)
	cases := fse.Population(60, 11, true)
	for i, c := range cases {
		w.publish(c)
		w.notify(t, fse.Flavours[i%len(fse.Flavours)], c.Hints...)
	}
	w.notify(t, fse.R4Full) // an event that names nothing
	garbage(t, w.poster.URL)
	for _, c := range cases {
		w.record(t, identityOf(c))
	}
	console, metrics := w.console(t), w.metrics(t)
	w.stop() // what Redis holds stands still
	silent(t, map[string]string{"logs": w.logs.String(), "metrics": metrics, "console": console, "redis": dump(t, w.redis)}, w.private(cases))
}

// On the way of a document Redis must know where it is, and whom it is about: sealed, at every moment.
func TestNothingLeaksOnTheWay(t *testing.T) {
	t.Parallel()
	for _, shape := range []fhir.Shape{fhir.ShapeReport, fhir.ShapeFSE2} {
		t.Run(string(shape), func(t *testing.T) {
			goOn := make(chan struct{})
			w := build(t, shape, func(cfg *config.Config, o *sandbox.Options) {
				cfg.IO.Polls = []config.Duration{config.Duration(time.Hour)} // what is sent stays sent
				o.Fault = func(_ http.ResponseWriter, r *http.Request, taken bool) bool {
					if !taken && strings.HasSuffix(r.URL.Path, "/messages") {
						<-goOn
					}
					return false
				}
			})
			letGo := sync.OnceFunc(func() { close(goOn) })
			t.Cleanup(letGo)
			w.run(t)
			w.pause(t)
			cases := told(12, shape.OfCompositions())
			for i, c := range cases {
				w.publish(c)
				w.notify(t, fse.Flavours[i%len(fse.Flavours)], c.Hints...)
			}
			look := func(moment string, states ...ledger.State) {
				t.Helper()
				for _, state := range states {
					if w.inState(t, state) == 0 {
						t.Errorf("%s: no record is %s, nothing is proven", moment, state)
					}
				}
				silent(t, map[string]string{
					moment + ": logs": w.logs.String(), moment + ": metrics": w.metrics(t), moment + ": console": w.console(t), moment + ": redis": dump(t, w.redis),
				}, w.private(cases))
			}
			begin := ledger.Pending
			if shape.OfCompositions() {
				begin = ledger.Find
			}
			look("admitted", begin)
			if _, err := w.program.Ledger.Pace().Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			all := func(state ledger.State) { // then nothing moves while it is looked at
				t.Helper()
				eventually(t, func() (int, bool) { n := w.inState(t, state); return n, n == len(cases) })
			}
			all(ledger.Sending)
			look("while IO is called", ledger.Sending)
			letGo()
			all(ledger.Sent)
			look("while delivery is followed", ledger.Sent)
		})
	}
}

// pause stops all sending, and waits until the program knows.
func (w *town) pause(t *testing.T) {
	t.Helper()
	if err := w.program.Ledger.Pace().Pause(t.Context(), "Giulia", "trial"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), "sending paused") })
}

// inState is how many live records are in a state, as Redis shows them.
func (w *town) inState(t *testing.T, state ledger.State) (n int) {
	t.Helper()
	letter := map[ledger.State]string{ledger.Find: "F", ledger.Pending: "P", ledger.Sending: "S", ledger.Sent: "T", ledger.Held: "H"}[state]
	keys := w.redis.Scan(t.Context(), 0, "staffetta:{*}:r:*", 1000).Iterator()
	for keys.Next(t.Context()) {
		if w.redis.HGet(t.Context(), keys.Val(), "s").Val() == letter {
			n++
		}
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Errors of others may repeat what we asked about: a fiscal code, a name. Ours never do.
func TestErrorsThatEchoLeakNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		source int // what the FSE answers to its first calls; 0: as ever
		io     int // what IO answers to its first calls
		first  string
	}{
		{"the FSE fails", http.StatusInternalServerError, 0, ""},
		{"the FSE says no", http.StatusUnprocessableEntity, 0, ""},
		{"the FSE says yes, and that it failed", http.StatusOK, 0, ""},
		{"IO fails at profiles", 0, http.StatusInternalServerError, "/profiles"},
		{"IO says no at profiles", 0, http.StatusBadRequest, "/profiles"},
		{"IO fails at messages", 0, http.StatusInternalServerError, "/messages"},
		{"IO says no at messages", 0, http.StatusBadRequest, "/messages"},
		{"IO forbids", 0, http.StatusForbidden, "/messages"},
		{"IO does not know", 0, http.StatusNotFound, "/messages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := told(1, false)[0]
			var echoed atomic.Int64
			echo := func(rw http.ResponseWriter, status int) {
				echoed.Add(1)
				rw.Header().Set("X-Error", c.Code)
				rw.Header().Set("Content-Type", "application/json")
				rw.WriteHeader(status)
				text := fmt.Sprintf("%s %s, %s, of %s", c.Code, surname, c.Hints[0], readToken)
				_ = json.NewEncoder(rw).Encode(map[string]any{
					"resourceType": "OperationOutcome", "title": text, "detail": text, "message": text, "status": status,
					"issue": []any{map[string]any{
						"severity": "error", "code": "exception", "diagnostics": text, "details": map[string]any{"text": text}, "expression": []any{text},
					}},
				})
			}
			w := build(t, fhir.ShapeReport, func(_ *config.Config, o *sandbox.Options) {
				o.Fault = func(rw http.ResponseWriter, r *http.Request, taken bool) bool {
					fails := tt.io != 0 && !taken && strings.HasSuffix(r.URL.Path, tt.first)
					if fails {
						echo(rw, tt.io)
					}
					return fails
				}
			})
			w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
				if tt.source != 0 {
					echo(rw, tt.source)
				}
				return tt.source != 0
			}
			w.run(t)
			w.publish(c)
			w.notify(t, fse.R4Full, c.Hints...)
			key := w.program.Ledger.DocumentKey(w.source, identityOf(c))
			eventually(t, func() (ledger.Record, bool) { // the error has come, and its outcome is written
				rec, known, err := w.program.Ledger.Lookup(t.Context(), key)
				if err != nil || !known || echoed.Load() == 0 {
					return rec, false
				}
				trail, err := w.program.Ledger.Timeline(t.Context(), key)
				return rec, err == nil && (len(trail) > 1 || rec.Attempts > 0)
			})
			out, err := w.reports(t, func(r *adapter.Reports) error { return r.Show(t.Context(), w.at(identityOf(c))) })
			if err != nil {
				t.Error(err)
			}
			if codeIn(out) != "" || strings.Contains(out, surname) {
				t.Error("the command line shows what somebody's error said")
			}
			console, metrics := w.console(t), w.metrics(t)
			w.stop()
			silent(t, map[string]string{"logs": w.logs.String(), "metrics": metrics, "console": console, "redis": dump(t, w.redis)}, w.private([]fse.Case{c}))
		})
	}
}

// everything reads all keys with what they hold; of a key of a kind that it cannot read it says so.
const everything = `
local read = {
  hash = {'HGETALL'}, zset = {'ZRANGE', 0, -1}, stream = {'XRANGE', '-', '+'}, string = {'GET'}, list = {'LRANGE', 0, -1}, set = {'SMEMBERS'},
}
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local command = read[kind]
  if not command then return redis.error_reply('a key of type ' .. kind) end
  all[#all + 1] = {key, redis.call(command[1], key, unpack(command, 2))}
end
return all`

// dump is everything in Redis, at one moment: while it is read nothing comes and nothing ends.
func dump(t *testing.T, client *redis.Client) string {
	t.Helper()
	all, err := client.Eval(t.Context(), everything, nil).Slice()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(all...)
}
