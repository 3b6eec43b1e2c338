package relay

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/redistest"
	"staffetta/adapter/policy"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	iobox "staffetta/notifier/sandbox"
)

// More is published every day than the cap lets through: what was heard of first is told first, and nothing that waits for us
// is lost as too old.
func TestTheCapLosesNothingAndKeepsTheOrder(t *testing.T) {
	const days, published, told = 12, 3, 2
	var later atomic.Int64
	w := newStageOn(t, redistest.Embedded(t), func() time.Duration { return time.Duration(later.Load()) }, iobox.Options{})
	w.Rules = must(policy.NewRules(policy.Options{MaxAge: 48 * time.Hour}))
	w.budget = newBudget(w.Ledger.Pace(), w.Rate, told, w.capReached)
	begin := time.Now()
	w.fse.Fault = func(rw http.ResponseWriter, r *http.Request) bool {
		n, err := strconv.Atoi(r.URL.Query().Get("_id"))
		if err != nil {
			return false
		}
		report := fse.Resource{
			"resourceType": "DiagnosticReport", "id": strconv.Itoa(n), "status": "final",
			"issued": begin.Add(time.Duration(n/published) * 24 * time.Hour).Format(time.RFC3339), "subject": fse.Resource{"reference": "Patient/p"},
		}
		_ = json.NewEncoder(rw).Encode(fse.Resource{"resourceType": "Bundle", "type": "searchset", "entry": []any{
			fse.Resource{"resource": report}, fse.Resource{"resource": fse.Patient("p", fse.CodeOf(n, birthOfAll), birthOfAll)},
		}})
		return true
	}
	numbers := map[ledger.Key]int{}
	var order []int // of the days on which the documents told were published
	for day := 0; len(order) < days*published && day < 2*days; day++ {
		for i := range published {
			n := day*published + i
			l := fhir.Locator{Type: "DiagnosticReport", ID: strconv.Itoa(n)}
			h := ledger.Hint{Key: w.Ledger.DocumentKey("north", l), Source: "north", Locator: l, State: ledger.Pending}
			if numbers[h.Key] = n; day < days {
				if _, err := w.Ledger.Admit(t.Context(), []ledger.Hint{h}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for tomorrow := begin.Add(time.Duration(day+1) * 24 * time.Hour); ; {
			got, err := w.Ledger.Claim(t.Context(), ledger.ClaimOptions{N: 1, Sources: []string{"north"}, Track: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Records) == 0 {
				if now := w.Ledger.Pace().Now(); now.Add(got.NextDue).After(tomorrow) {
					later.Add(int64(tomorrow.Sub(now)))
					break
				}
				later.Add(int64(got.NextDue + time.Millisecond))
				continue
			}
			rec, before := got.Records[0], len(w.io.Messages())
			s := slot{posting: t.Context()}
			w.work(t.Context(), context.WithoutCancel(t.Context()), &claimed{Record: rec, at: time.Now(), slot: &s})
			s.last.Wait()
			if len(w.io.Messages()) > before {
				order = append(order, numbers[rec.Key]/published)
			}
		}
	}
	if len(order) != days*published {
		t.Errorf("%d documents are told, want %d", len(order), days*published)
	}
	for i := 1; i < len(order); i++ {
		if order[i] < order[i-1] {
			t.Errorf("of day %d after one of day %d", order[i], order[i-1])
		}
	}
}
