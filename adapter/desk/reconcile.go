package desk

import (
	"context"
	"errors"
	"strings"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
	"staffetta/fhir/fiscalcode"
)

func asRefusal(err error) (string, bool) {
	if refusal, is := errors.AsType[*Refusal](err); is {
		return refusal.Because, true
	}
	return err.Error(), errors.Is(err, ErrBusy) || errors.Is(err, ErrUnknown)
}

// Answer is what a citizen who asks is told of one document of theirs.
type Answer struct {
	Key        ledger.Key
	Date       time.Time // of the document; zero when unknown
	Status     string
	Known      bool // the ledger knows it
	Record     ledger.Record
	ToThem     bool // who was told is this citizen
	NobodyElse bool // nobody was told, or this citizen
}

// Reconciled is what there is of one citizen at one source.
type Reconciled struct {
	Answers []Answer
	Stopped string // why these may not be all
}

// Reconcile asks a source for a citizen's documents and looks each of them up. Who is a codice fiscale or the id of a Patient.
func (d *Desk) Reconcile(ctx context.Context, source, who string) (Reconciled, error) {
	var r Reconciled
	from, is := d.Sources[source]
	if !is {
		return r, d.noSuchSource()
	}
	code, err := fiscalcode.Parse(who)
	id := ""
	if err != nil {
		if id = strings.TrimPrefix(strings.TrimSpace(who), "Patient/"); !fhir.IsID(id) {
			return r, refuse("want a codice fiscale, or the id of a Patient")
		}
	}
	h, err := from.HistoryOf(ctx, id, code)
	if err != nil {
		return r, err
	}
	r.Stopped = h.Stopped
	person := d.Ledger.PersonTag(h.Code)
	for _, one := range h.Documents {
		a := Answer{Key: d.Ledger.DocumentKey(source, one.Locator), Date: one.Date, Status: one.Status}
		if a.Record, a.Known, err = d.Ledger.Lookup(ctx, a.Key); err != nil {
			return r, err
		}
		told := a.Record.Told.Publication != ledger.NoPublication
		a.ToThem = told && a.Record.Told.Person == person && person != ledger.Tag{}
		a.NobodyElse = !told || a.ToThem
		r.Answers = append(r.Answers, a)
	}
	return r, nil
}
