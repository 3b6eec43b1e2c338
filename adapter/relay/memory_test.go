package relay

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	iobox "staffetta/notifier/sandbox"
)

// Whatever waits, waits in Redis: what lives in a process does not grow with it, neither while it is not due yet, nor while it
// is and all slots are busy.
func TestMemoryDoesNotGrowWithTheBacklog(t *testing.T) {
	const few, many = 2_000, 50_000
	const most = 512 << 10 // bytes: some buffers, and less than only the keys of the others take
	one, another := redistest.Real(t), redistest.Real(t)
	fewWaiting, fewDue := heapWith(t, one, few)
	manyWaiting, manyDue := heapWith(t, another, many)
	for name, more := range map[string]int64{"not due yet": manyWaiting - fewWaiting, "due": manyDue - fewDue} {
		t.Logf("%s: %d bytes more for %d records more", name, more, many-few)
		if more > most {
			t.Errorf("%s: %d bytes more for %d records more, want at most %d", name, more, many-few, most)
		}
	}
}

// heapWith is what lives in this process with so many records in the ledger: while they wait for their time, and when all of
// them are due and each slot waits for an answer about one.
func heapWith(t *testing.T, client *redis.Client, n int) (waiting, due int64) {
	t.Helper()
	t.Run(strconv.Itoa(n), func(t *testing.T) {
		t.Cleanup(func() { _ = client.Close() }) // its connections have buffers
		var later atomic.Int64
		w := newStageOn(t, client, func() time.Duration { return time.Duration(later.Load()) }, iobox.Options{})
		asked, answer := make(chan struct{}, n), make(chan struct{})
		w.fse.Fault = func(rw http.ResponseWriter, _ *http.Request) bool {
			asked <- struct{}{}
			<-answer
			rw.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		w.admitDocuments(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		defer func() {
			cancel()
			close(answer)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		waiting = alive()
		later.Store(int64(2 * time.Hour))
		w.Wake(0)
		for range w.slots() {
			<-asked
		}
		due = alive()
	})
	return waiting, due
}

// admitDocuments admits n documents that are looked at in an hour.
func (w *stage) admitDocuments(t *testing.T, n int) {
	t.Helper()
	const batch = 1000
	for first := 0; first < n; first += batch {
		hints := make([]ledger.Hint, batch)
		for i := range hints {
			l := fhir.Locator{Type: "DiagnosticReport", ID: strconv.Itoa(first + i)}
			hints[i] = ledger.Hint{Key: w.Ledger.DocumentKey("north", l), Source: "north", Locator: l, State: ledger.Pending, Settle: time.Hour}
		}
		if _, err := w.Ledger.Admit(t.Context(), hints); err != nil {
			t.Fatal(err)
		}
	}
}

// alive is what lives on the heap, in bytes; what pools keep is gone after two collections.
func alive() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
