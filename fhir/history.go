package fhir

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"staffetta/fhir/fiscalcode"
)

// ErrNoPatient says that a source keeps no such patient, ErrNoHistory that it cannot list a patient's documents.
var (
	ErrNoPatient = errors.New("the source keeps no such patient")
	ErrNoHistory = errors.New("the source cannot search for the documents of a patient")
)

// History is what a source keeps of one citizen.
type History struct {
	Code      fiscalcode.Code // zero where the patient has none, or more than one
	Documents []Held
	Stopped   string // why these may not be all; "" where they are
}

// Held is one document, as far as it takes to look it up.
type Held struct {
	Locator Locator
	Date    time.Time // zero when unknown
	Status  string    // a code, or `other`
}

// historyPages bounds the calls for the documents of one patient.
const historyPages = 50

// HistoryOf are the documents of a citizen, by the Patient's id or, where that is empty, by codice fiscale. Everything
// that names somebody travels in bodies, but for the id of a Patient that is read.
func (s *Source) HistoryOf(ctx context.Context, patient string, code fiscalcode.Code) (History, error) {
	patients, h, err := s.recordsOf(ctx, patient, code)
	if err != nil {
		return h, err
	}
	for _, id := range patients {
		err := s.heldOf(ctx, &h, "subject", "Patient/"+id, func(r ref) bool {
			named, ok := parseReference(string(r.Reference))
			return ok && s.own(named) && named.kind == "Patient" && named.id == id
		})
		if errors.Is(err, errUnsupported) {
			err = ErrNoHistory
		}
		if err != nil {
			return h, err
		}
	}
	for _, system := range s.systems { // a document may name its citizen by the code alone
		if h.Code == (fiscalcode.Code{}) {
			break
		}
		inClear := h.Code.Reveal() //nolint:forbidigo // asked of the source that keeps it, in a body
		err := s.heldOf(ctx, &h, "subject:identifier", token(system, inClear), func(r ref) bool {
			return string(r.Identifier.first().Value) == inClear && string(r.Identifier.first().System) == system
		})
		if err != nil && !errors.Is(err, errUnsupported) {
			return h, err
		}
	}
	slices.SortStableFunc(h.Documents, func(a, b Held) int { return a.Date.Compare(b.Date) })
	return h, nil
}

// recordsOf are the ids under which a source keeps a citizen: records that were merged are the same person.
func (s *Source) recordsOf(ctx context.Context, id string, code fiscalcode.Code) (ids []string, h History, err error) {
	found := newPool()
	if id != "" {
		n, _, err := s.read(ctx, "Patient", id)
		if err != nil {
			return nil, h, err
		}
		if n == nil {
			return nil, h, ErrNoPatient
		}
		found.add("", n)
		who, _, err := s.patient(ctx, found, n, new(Document))
		if err != nil {
			return nil, h, err
		}
		code = who.Code
	}
	if h.Code = code; code != (fiscalcode.Code{}) {
		if err := s.patientsByCode(ctx, found, code); err != nil {
			return nil, h, err
		}
	}
	for _, n := range found.of("Patient") {
		ids = append(ids, string(n.ID))
		for _, l := range n.Link {
			if other, ok := parseReference(string(l.Other.first().Reference)); ok && l.Type == "replaces" && other.kind == "Patient" && s.own(other) {
				ids = append(ids, other.id)
			}
		}
	}
	if len(ids) == 0 {
		return nil, h, ErrNoPatient
	}
	slices.Sort(ids)
	return slices.Compact(ids), h, nil
}

func (s *Source) patientsByCode(ctx context.Context, found *pool, code fiscalcode.Code) error {
	for _, system := range s.systems {
		p, err := s.search(ctx, "Patient", url.Values{"identifier": {token(system, code.Reveal())}}) //nolint:forbidigo // asked of the source that keeps it, in a body
		if err != nil && !errors.Is(err, errUnsupported) {
			return err
		}
		if err != nil {
			continue
		}
		for _, n := range p.of("Patient") {
			if slices.ContainsFunc(n.Identifier, func(i identifier) bool { // a lenient server sends others too
				given, err := s.parse(string(i.Value))
				return err == nil && given == code && slices.Contains(s.systems, string(i.System))
			}) {
				found.add("", n)
			}
		}
	}
	return nil
}

// heldOf adds the documents that a search finds and whose subject is meant: a lenient server sends others too. A document of
// several versions is one.
func (s *Source) heldOf(ctx context.Context, h *History, parameter, value string, meant func(ref) bool) error {
	kind := "DiagnosticReport"
	if s.o.Shape.OfCompositions() {
		kind = "Composition"
	}
	found, err := s.pages(ctx, call{
		method: http.MethodPost, target: s.o.BaseURL + "/" + kind + "/_search",
		form: url.Values{parameter: {value}, "_count": {"100"}, "_elements": {"identifier,status,subject,date,issued,effective"}}, doing: "search " + kind,
	}, historyPages, nil)
	switch {
	case partial(err):
		h.Stopped = err.Error()
	case err != nil:
		return err
	}
	for _, raw := range found {
		var n node
		if unmarshal(raw, &n) != nil || n.ResourceType != kind || !IsID(string(n.ID)) || !slices.ContainsFunc(n.Subject, meant) {
			continue
		}
		one := Held{
			Locator: Locator{Type: kind, ID: string(n.ID)}, Status: shown(string(n.Status)),
			Date: firstInstant(n.Date, n.Issued, n.Effective),
		}
		if kind == "Composition" {
			one.Locator.System, one.Locator.Value = string(n.Identifier.first().System), string(n.Identifier.first().Value)
		}
		if !slices.ContainsFunc(h.Documents, func(k Held) bool { return k.Locator.Identity() == one.Locator.Identity() }) {
			h.Documents = append(h.Documents, one)
		}
	}
	return nil
}
