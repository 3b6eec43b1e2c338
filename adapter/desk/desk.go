// Package desk is where a person looks at records and acts on them: releases what is held or was suppressed, has something
// looked at again, forgets it, or answers a citizen who asks whether they were told. What a person does is in the journal.
package desk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"staffetta/adapter/ledger"
	"staffetta/fhir"
)

// Desk is over one ledger.
type Desk struct {
	Ledger  *ledger.Ledger
	Sources map[string]*fhir.Source
	Off     bool // io.mode: off, so that nothing can be sent
}

// Name is how a person names a record: by its key, or by a source and a resource there.
type Name struct {
	Key    string
	Source string
	// Resource is Type/id, or a Composition's identifier as system|value.
	Resource string
}

// Errors that say why nothing was done. Others are Redis' and the source's.
var (
	ErrUnknown = errors.New("nothing is known of it")
	ErrBusy    = errors.New("it is being worked on, or its message is on its way: try again in a moment")
)

// Refusal says why a person cannot do that, in words for that person.
type Refusal struct{ Because string }

// Error is the refusal.
func (r *Refusal) Error() string { return r.Because }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// named is a record that a person named, with where its document is where that was said.
type named struct {
	rec     ledger.Record
	locator fhir.Locator
}

// find looks up what a person named.
func (d *Desk) find(ctx context.Context, name Name) (named, error) {
	if name.Key != "" {
		key, err := ledger.ParseKey(name.Key)
		if err != nil {
			return named{}, err
		}
		rec, known, err := d.Ledger.Lookup(ctx, key)
		if err == nil && !known {
			err = ErrUnknown
		}
		return named{rec: rec}, err
	}
	source, is := d.Sources[name.Source]
	if !is {
		return named{}, d.noSuchSource()
	}
	locator, err := locatorOf(name.Resource)
	if err != nil {
		return named{}, err
	}
	for _, key := range d.keysOf(name.Source, source, locator) {
		n, known, err := d.follow(ctx, name.Source, key, locator)
		if err != nil || known {
			return n, err
		}
	}
	return named{}, ErrUnknown
}

// follow looks up a record, and goes on to the document where it is a hint that led to one.
func (d *Desk) follow(ctx context.Context, source string, key ledger.Key, l fhir.Locator) (named, bool, error) {
	rec, known, err := d.Ledger.Lookup(ctx, key)
	if err == nil && known && rec.State == ledger.FindEnded && len(rec.LedTo) > 0 {
		rec, known, err = d.Ledger.Lookup(ctx, rec.LedTo[0])
	}
	rec.Source = source // a record that rests does not know it
	return named{rec: rec, locator: l}, known, err
}

// keysOf are the records that a resource may have: of its document, or of a hint on it.
func (d *Desk) keysOf(name string, source *fhir.Source, l fhir.Locator) []ledger.Key {
	document := d.Ledger.DocumentKey(name, l)
	if !source.Shape().OfCompositions() || l.Value != "" {
		return []ledger.Key{document}
	}
	return []ledger.Key{d.Ledger.FindKey(name, l.Type, l.ID), document}
}

// noSuchSource never repeats what was typed in place of a source: it may hold a codice fiscale.
func (d *Desk) noSuchSource() error {
	return refuse("want the name of a source: %s", strings.Join(slices.Sorted(maps.Keys(d.Sources)), ", "))
}

// locatorOf reads Type/id or system|value. Its error never repeats it: it may hold a codice fiscale.
func locatorOf(resource string) (fhir.Locator, error) {
	if system, value, is := strings.Cut(resource, "|"); is && value != "" {
		return fhir.Locator{Type: "Composition", System: system, Value: value}, nil
	}
	kinds := []string{"DiagnosticReport", "Composition", "DocumentReference", "Bundle"}
	kind, id, _ := strings.Cut(resource, "/")
	if !slices.Contains(kinds, kind) || !fhir.IsID(id) {
		return fhir.Locator{}, refuse("want Type/id (%s), or the identifier of a Composition as system|value", strings.Join(kinds, ", "))
	}
	return fhir.Locator{Type: kind, ID: id}, nil
}

// View is all that the ledger knows of one record.
type View struct {
	Record     ledger.Record
	Due, Track time.Time // zero for never
	Timeline   []ledger.Entry
}

// Show is all that the ledger still knows of a record.
func (d *Desk) Show(ctx context.Context, name Name) (View, error) {
	n, err := d.find(ctx, name)
	v := View{Record: n.rec}
	if err != nil {
		return v, err
	}
	if v.Due, v.Track, err = d.Ledger.Due(ctx, n.rec); err != nil {
		return v, err
	}
	if v.Timeline, err = d.Ledger.Timeline(ctx, n.rec.Key); err != nil {
		return v, err
	}
	for _, e := range v.Timeline {
		if v.Record.Source == "" {
			v.Record.Source = e.Source
		}
	}
	return v, nil
}

// Filter chooses among records; an empty field chooses all.
type Filter struct{ Source, Reason string }

func (f Filter) takes(rec *ledger.Record) bool {
	return (f.Source == "" || f.Source == rec.Source) && (f.Reason == "" || f.Reason == rec.Reason)
}

// mostHeld is how many held records are read from each partition.
const mostHeld = 100_000

// Held are the records that a person must look at, those that wait longest first.
func (d *Desk) Held(ctx context.Context, f Filter) ([]ledger.Record, error) {
	all, err := d.Ledger.HeldRecords(ctx, mostHeld)
	return slices.DeleteFunc(all, func(rec ledger.Record) bool { return !f.takes(&rec) }), err
}
