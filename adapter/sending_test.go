package adapter_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter"
	"staffetta/adapter/ledger"
	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// Before IO can take a message, Redis knows that it may: a process that dies from here on leaves a record in sending.
func TestSendingIsWrittenBeforeIOHearsOfIt(t *testing.T) {
	t.Parallel()
	var led atomic.Pointer[ledger.Ledger]
	var key ledger.Key // known once led is
	var calls, later atomic.Int64
	heard := make(chan string, 8)
	w := build(t, fhir.ShapeReport, func(_ *config.Config, o *sandbox.Options) {
		o.Fault = func(rw http.ResponseWriter, r *http.Request, taken bool) bool {
			if taken || !strings.HasSuffix(r.URL.Path, "/messages") {
				return false
			}
			rec, known, err := led.Load().Lookup(r.Context(), key)
			heard <- fmt.Sprint(rec.State, " ", rec.Publication, " ", known, " ", err, " ", rec.Recipient != fhir.Person{}.Code)
			if calls.Add(1) == 2 { // IO may have it, and does not say: it is sent again
				rw.WriteHeader(http.StatusGatewayTimeout)
				return true
			}
			return false
		}
	})
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
	w.run(t)
	c := told(1, false)[0]
	document := w.publish(c)
	key = w.program.Ledger.DocumentKey(w.source, document)
	led.Store(w.program.Ledger)
	w.notify(t, fse.ClassicPut, c.Hints...)
	w.become(t, document, "notify")
	w.quiet(t)
	report := w.fse.Get(c.Hints[0])
	report["status"] = "amended"
	w.fse.Put(report)
	w.notify(t, fse.ClassicPut, c.Hints...)
	eventually(t, func() (string, bool) { return "", strings.Contains(w.logs.String(), `"happened":"unclear"`) })
	later.Store(int64(time.Minute))
	eventually(t, func() (int, bool) { n := len(w.io.Messages()); return n, n == 2 })
	w.quiet(t)
	close(heard)
	var seen []string
	for one := range heard {
		seen = append(seen, one)
	}
	want := []string{"sending published true <nil> true", "sending updated true <nil> true", "sending updated true <nil> true"}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("when IO was called Redis said\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if rec := w.record(t, document); !rec.Told.Uncertain || rec.Told.Publication != ledger.Updated {
		t.Errorf("told %s, uncertain %t: the second message may be the third", rec.Told.Publication, rec.Told.Uncertain)
	}
}

// stopsInTime stops the program, which is promised to take 10 s at most.
func (w *town) stopsInTime(t *testing.T) {
	t.Helper()
	const graceful = 10 * time.Second
	ended := make(chan struct{})
	go func() { defer close(ended); w.stop() }()
	ctx, cancel := context.WithTimeout(t.Context(), graceful)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatalf("it has not come to an end within %s", graceful)
	}
}

// A process that is asked to stop comes to an end, whatever hangs: half-sent requests, a message on its way, documents that
// are being read. What it had in hands is due at once, and a message that was cut is known to be uncertain.
func TestAProcessThatIsAskedToStopStops(t *testing.T) {
	t.Parallel()
	const n = 20
	taken, hangs := make(chan struct{}), atomic.Bool{}
	var stopped atomic.Bool
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, o *sandbox.Options) {
		cfg.IO.Timeout, cfg.Sources[0].Read.Timeout = config.Duration(time.Minute), config.Duration(10*time.Minute) // nothing ends by itself
		o.Fault = func(_ http.ResponseWriter, r *http.Request, message bool) bool {
			if message && hangs.CompareAndSwap(true, false) {
				close(taken)
				<-r.Context().Done()
				return true
			}
			return false
		}
	})
	var later atomic.Int64
	w.options = append(w.options, adapter.AtAnotherTime(func() time.Duration { return time.Duration(later.Load()) }))
	reading := make(chan struct{}, n)
	w.fse.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-taken: // from then on reading hangs, too
			if !stopped.Load() {
				reading <- struct{}{}
				<-r.Context().Done()
			}
		default:
		}
		return false
	}
	w.run(t)
	hangs.Store(true)
	cases := told(n, false)
	w.publish(cases[0])
	w.notify(t, fse.ClassicPut, cases[0].Hints...)
	await(t, taken)
	for _, c := range cases[1:] {
		w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
	}
	await(t, reading)
	for range 3 { // what was begun, and never comes to an end
		w.halfSent(t)
	}

	w.stopsInTime(t)
	stopped.Store(true)
	if leased := w.leased(t); leased > 0 {
		t.Errorf("%d records are still leased by a process that is gone", leased)
	}
	if waiting, cut := w.inState(t, ledger.Pending), w.inState(t, ledger.Sending); waiting != n-1 || cut != 1 {
		t.Errorf("%d wait and %d are in sending, want %d and the one that was cut", waiting, cut, n-1)
	}
	w.sound(t)
	later.Store(int64(time.Minute)) // what was cut is sent again after some seconds

	w.run(t)
	for i, c := range cases {
		rec := w.become(t, identityOf(c), "notify")
		if want := i == 0; rec.Told.Uncertain != want {
			t.Errorf("document %d: uncertain %t, want %t", i, rec.Told.Uncertain, want)
		}
		if got, want := w.perCode()[mustParse(t, c.Code)], map[bool]int{true: 2, false: 1}[i == 0]; got != want {
			t.Errorf("document %d was told %d times, want %d", i, got, want)
		}
	}
	w.well(t)
}

// leased is how many records are in somebody's hands.
func (w *town) leased(t *testing.T) (n int) {
	t.Helper()
	keys := w.redis.Scan(t.Context(), 0, "staffetta:{*}:r:*", 1000).Iterator()
	for keys.Next(t.Context()) {
		if w.redis.HExists(t.Context(), keys.Val(), "l").Val() {
			n++
		}
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// halfSent begins a notification and leaves it at that.
func (w *town) halfSent(t *testing.T) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.program.PublicAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /fhir/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/fhir+json\r\nContent-Length: 1000\r\n\r\n{\"resourceType\":",
		w.source, postToken)
	if err != nil {
		t.Fatal(err)
	}
}
