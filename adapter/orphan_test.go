package adapter_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// A DocumentReference whose Composition does not come is held once: sweeps that see it again and again, as it was read, wake
// nobody. When the Composition comes it is told.
func TestAnOrphanIsHeldOnceHoweverOftenItIsSwept(t *testing.T) {
	t.Parallel()
	w := build(t, fhir.ShapeFSE2, sweptOften, bySweepsAlone, believedSoon)
	w.run(t)
	w.connected(t)
	c := told(1, true)[0]
	orphan := fhir.Locator{}
	for _, r := range c.Resources {
		if r["resourceType"] != "Composition" {
			w.fse.Put(r)
		}
		if r["resourceType"] == "DocumentReference" {
			orphan = fhir.Locator{Type: "DocumentReference", ID: fmt.Sprint(r["id"])}
		}
	}
	find := w.program.Ledger.FindKey(w.source, orphan.Type, orphan.ID)
	held := func() int { return strings.Count(w.logs.String(), `"msg":"record held"`) }
	eventually(t, func() (string, bool) {
		rec, _, _ := w.program.Ledger.Lookup(t.Context(), find)
		return rec.Reason, rec.State == ledger.Held && held() > 0
	})
	for range 2 { // whole sweeps that see it
		swept := w.swept(t)
		eventually(t, func() (time.Time, bool) { now := w.swept(t); return now, now.After(swept) })
	}
	if n := held(); n != 1 {
		t.Errorf("held %d times, want once", n)
	}
	w.publish(c)
	w.rests(t, identityOf(c), ledger.Delivered)
	w.once(t, c)
	w.well(t)
}

// swept is when the last whole sweep began.
func (w *town) swept(t *testing.T) time.Time {
	t.Helper()
	c, err := w.program.Ledger.LookAtCatchUp(t.Context(), w.source)
	if err != nil {
		t.Fatal(err)
	}
	return c.Swept()
}
