package relay

import (
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
	fse "staffetta/fhir/sandbox"
	iobox "staffetta/notifier/sandbox"
)

// 5,000 take some 10 s on two cores, and half a minute with -race; -short is content with fewer.
var ambiguous = flag.Int("ambiguous", 5000, "documents of TestAmbiguity, a tenth of them with -short")

// run takes steps with all that is due, as slots do, and lets time go on whenever nothing is, until everything rests.
func (w *stage) run(t *testing.T, later *atomic.Int64) {
	t.Helper()
	const slots = 16
	for {
		got, err := w.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 4 * slots, Sources: []string{"north"}, Track: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Records) == 0 {
			if got.NextDue >= time.Hour {
				return
			}
			later.Add(int64(got.NextDue + time.Millisecond)) // nobody holds a claim: no lease ends by it
			continue
		}
		var working sync.WaitGroup
		at, todo := time.Now(), make(chan ledger.Record, len(got.Records))
		for _, rec := range got.Records {
			todo <- rec
		}
		close(todo)
		for range slots {
			working.Go(func() {
				s := slot{posting: t.Context()}
				for rec := range todo {
					w.work(t.Context(), context.WithoutCancel(t.Context()), &claimed{Record: rec, at: at, slot: &s})
				}
				s.last.Wait()
			})
		}
		working.Wait()
	}
}

var birthOfAll = time.Date(1970, 3, 3, 0, 0, 0, 0, time.UTC)

// reportOfNumber answers in the place of an FSE, which looks through all that it keeps: each report is about a person of its own.
func reportOfNumber(rw http.ResponseWriter, r *http.Request) bool {
	id := r.URL.Query().Get("_id")
	n, err := strconv.Atoi(id)
	if err != nil {
		return false
	}
	report := fse.Resource{
		"resourceType": "DiagnosticReport", "id": id, "status": "final", "issued": time.Now().Format(time.RFC3339),
		"subject": fse.Resource{"reference": "Patient/p" + id},
	}
	_ = json.NewEncoder(rw).Encode(fse.Resource{"resourceType": "Bundle", "type": "searchset", "entry": []any{
		fse.Resource{"resource": report}, fse.Resource{"resource": fse.Patient("p"+id, fse.CodeOf(n, birthOfAll), birthOfAll)},
	}})
	return true
}

// IO creates a message and the connection is cut before it can say so, for every fifth one. No message is lost, and nobody is
// told twice but where `uncertain: resend` says so; each such case is counted, and its record knows.
func TestAmbiguity(t *testing.T) {
	documents := *ambiguous
	if testing.Short() {
		documents /= 10
	}
	for _, hold := range []bool{false, true} {
		t.Run(map[bool]string{false: "resend", true: "hold"}[hold], func(t *testing.T) {
			var later atomic.Int64
			skew := func() time.Duration { return time.Duration(later.Load()) }
			w := newStageOn(t, redistest.Start(t), skew, iobox.Options{Cut: 0.2, Seed: 7})
			w.Timetable.HoldUncertain = hold
			w.fse.Fault = reportOfNumber
			hints := make([]ledger.Hint, documents)
			owners := map[fiscalcode.Code]ledger.Key{}
			for i := range hints {
				l := fhir.Locator{Type: "DiagnosticReport", ID: strconv.Itoa(i)}
				hints[i] = ledger.Hint{Key: w.Ledger.DocumentKey("north", l), Source: "north", Locator: l, State: ledger.Pending}
				owners[must(fiscalcode.Parse(fse.CodeOf(i, birthOfAll)))] = hints[i].Key
			}
			if _, err := w.Ledger.Admit(t.Context(), hints); err != nil {
				t.Fatal(err)
			}
			w.run(t, &later)

			got, unheard := map[ledger.Key]int{}, map[ledger.Key]int{}
			cut := 0
			for _, taken := range w.io.Messages() {
				key := owners[taken.Recipient]
				got[key]++
				if taken.Unheard {
					unheard[key]++
					cut++
				}
			}
			if counted := int(countOf(w.Metrics.uncertain)); counted != cut || cut < documents/10 {
				t.Errorf("%d uncertain sends are counted, %d answers were cut", counted, cut)
			}
			held, known := 0, 0
			for _, h := range hints {
				rec, _, err := w.Ledger.Lookup(t.Context(), h.Key)
				if err != nil {
					t.Fatal(err)
				}
				if rec.State == ledger.Held {
					held++
				}
				if rec.Told.Uncertain {
					known++
				}
				want := unheard[h.Key] + 1 // each of which is one more message, and the last one is heard of
				if hold {
					want = 1
				}
				switch {
				case got[h.Key] == 0:
					t.Fatal("a message is lost")
				case got[h.Key] != want:
					t.Fatalf("%d messages about one document, want %d", got[h.Key], want)
				case rec.Told.Uncertain != (unheard[h.Key] > 0):
					t.Fatalf("uncertain %t, and %d answers were cut", rec.Told.Uncertain, unheard[h.Key])
				case (rec.State == ledger.Held) != (hold && unheard[h.Key] > 0) || (rec.State != ledger.Held && rec.State != ledger.Delivered):
					t.Fatalf("%s (%s) after %d cut answers", rec.State, rec.Reason, unheard[h.Key])
				}
			}
			t.Logf("%d documents: %d messages, %d answers cut, %d records know it, %d held", len(hints), len(w.io.Messages()), cut, known, held)
			checked, err := w.Ledger.Check(t.Context(), []string{"north"})
			if err != nil || len(checked.Findings) > 0 {
				t.Error(checked.Findings, err)
			}
		})
	}
}
