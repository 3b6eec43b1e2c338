package fhir

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
)

// Find asks where a hint leads, in a source that keeps documents as Compositions (reference fse.md, 3.3).
func (s *Source) Find(ctx context.Context, l Locator) (Found, error) {
	switch l.Type {
	case "Composition":
		return s.findComposition(ctx, l.ID)
	case "DocumentReference":
		return s.findThrough(ctx, l, func(n *node) []ref { return n.Context.first().Related })
	case "Bundle":
		return s.findInBundle(ctx, l)
	case "DiagnosticReport":
		return s.findOfReport(ctx, l.ID)
	}
	return Found{Standing: Missing}, nil
}

func (s *Source) findComposition(ctx context.Context, id string) (Found, error) {
	p, composition, standing, err := s.composition(ctx, Locator{Type: "Composition", ID: id})
	if err != nil || composition == nil {
		return Found{Standing: standing}, err
	}
	found := foundIn(composition)
	found.Documents = []Document{s.compositionFacts(p, composition)}
	return found, nil
}

// foundIn is a hinted resource that is there.
func foundIn(n *node) Found {
	m := n.Meta.first()
	found := Found{Standing: Readable, Version: string(m.VersionID)}
	if at := parseInstant(string(m.LastUpdated)); !at.IsZero() {
		found.Order = at.UnixMilli()
	}
	return found
}

// findThrough reads the hinted resource and goes to the Compositions that it names.
func (s *Source) findThrough(ctx context.Context, l Locator, named func(*node) []ref) (Found, error) {
	n, standing, err := s.read(ctx, l.Type, l.ID)
	if err != nil || n == nil {
		return Found{Standing: standing}, err
	}
	found := foundIn(n)
	for _, r := range named(n) {
		to, ok := parseReference(string(r.Reference))
		if !ok || to.kind != "Composition" || !s.own(to) {
			continue
		}
		there, err := s.findComposition(ctx, to.id)
		if err != nil {
			return Found{}, err
		}
		found.Documents = append(found.Documents, there.Documents...)
	}
	return found, nil
}

// findInBundle is the document of a document Bundle. Where the Composition is not kept beside it, the Bundle is what is read
// again.
func (s *Source) findInBundle(ctx context.Context, l Locator) (Found, error) {
	bundle, standing, err := s.read(ctx, l.Type, l.ID)
	if err != nil || bundle == nil {
		return Found{Standing: standing}, err
	}
	p, composition, standing, err := s.inBundle(ctx, bundle)
	if err != nil || composition == nil {
		return Found{Standing: standing}, err
	}
	found := foundIn(bundle)
	beside, single, _, err := s.composition(ctx, Locator{Type: "Composition", ID: string(composition.ID)})
	if err != nil {
		return Found{}, err
	}
	if single != nil && !single.otherDocument(composition) {
		doc := s.compositionFacts(beside, single)
		doc.Members = append(doc.Members, l)
		found.Documents = []Document{doc}
		return found, nil
	}
	doc := s.compositionFacts(p, composition)
	doc.Locator.Type, doc.Locator.ID = l.Type, p.bundleOf(composition)
	found.Documents = []Document{doc}
	return found, nil
}

// way is one way from a report to Compositions that may list it; the pool holds what came along.
type way func(context.Context, *Source, *node) (*pool, error)

// ways are tried in order, the one that worked last before the others.
var ways = []way{byExtension, byIdentifier, byEntry, byEncounter, bySubject}

// findOfReport finds the Composition that lists a report.
func (s *Source) findOfReport(ctx context.Context, id string) (Found, error) {
	p, report, standing, err := s.reportWithCompositions(ctx, id)
	if err != nil || report == nil {
		return Found{Standing: standing}, err
	}
	found := foundIn(report)
	if s.documentsOf(&found, p, report) {
		return found, nil
	}
	first := int(s.way.Load())
	for i := range ways {
		n := (first + i) % len(ways)
		more, err := ways[n](ctx, s, report)
		if errors.Is(err, errUnsupported) || (err == nil && more == nil) {
			continue
		}
		if err != nil {
			return Found{}, err
		}
		p.addAll(more)
		if s.documentsOf(&found, p, report) {
			s.way.Store(int32(n)) //nolint:gosec // a handful of ways
			return found, nil
		}
	}
	return found, nil
}

// reportWithCompositions reads the report with what lists it (search A), or the report alone.
func (s *Source) reportWithCompositions(ctx context.Context, id string) (*pool, *node, Standing, error) {
	p, err := s.search(ctx, "DiagnosticReport", url.Values{
		"_id": {id}, "_include": {"DiagnosticReport:subject"}, "_revinclude": {"Composition:entry"},
		"_revinclude:iterate": {"DocumentReference:related"},
	})
	if err != nil && !errors.Is(err, errUnsupported) {
		return nil, nil, "", err
	}
	if err == nil && p.byName["DiagnosticReport/"+id] != nil {
		return p, p.byName["DiagnosticReport/"+id], Readable, nil
	}
	report, standing, err := s.read(ctx, "DiagnosticReport", id)
	if err != nil || report == nil {
		return nil, nil, standing, err
	}
	p = newPool()
	p.add("", report)
	return p, report, Readable, nil
}

// documentsOf are the documents of the pool that the report belongs to. Two that are no summaries, with different
// identifiers, are ambiguous: a person must say which. It says false where there is no referto among them: one may list the
// report deeper than a search looks that gave the summary.
func (s *Source) documentsOf(found *Found, p *pool, report *node) bool {
	newest := map[string]*node{}
	for _, c := range p.of("Composition") {
		if !s.lists(p, c, report) && !s.names(report, c) {
			continue
		}
		id := c.Identifier.first()
		key := Locator{Type: "Composition", ID: string(c.ID), System: string(id.System), Value: string(id.Value)}.Identity()
		if was := newest[key]; was == nil || c.follows(was) {
			newest[key] = c
		}
	}
	found.Documents = nil
	for _, key := range slices.Sorted(maps.Keys(newest)) {
		found.Documents = append(found.Documents, s.compositionFacts(p, newest[key]))
	}
	found.Documents = withoutReplaced(found.Documents)
	referti := 0
	for i := range found.Documents {
		if !isSummary(found.Documents[i].Type) {
			referti++
		}
	}
	if found.Ambiguous = referti > 1; found.Ambiguous {
		found.Documents = nil
	}
	slices.SortStableFunc(found.Documents, func(a, b Document) int { // the referto first: it is what is remembered
		switch {
		case isSummary(a.Type) == isSummary(b.Type):
			return 0
		case isSummary(b.Type):
			return -1
		}
		return 1
	})
	return referti > 0
}

// withoutReplaced leaves out what another of the documents says that it replaces: a corrected document may list the report of
// the one before it, which is deleted later. Where each replaces another one, a person must say which counts.
func withoutReplaced(documents []Document) []Document {
	left := slices.DeleteFunc(slices.Clone(documents), func(old Document) bool {
		return slices.ContainsFunc(documents, func(by Document) bool { return by.Locator != old.Locator && by.says(old) })
	})
	if len(left) == 0 {
		return documents
	}
	return left
}

// says whether a document says that it replaces another one.
func (d *Document) says(old Document) bool {
	return slices.ContainsFunc(d.Replaces, func(l Locator) bool {
		if l.Value != "" {
			return l.Identity() == old.Locator.Identity()
		}
		return slices.Contains(old.Members, l)
	})
}

// summary is the LOINC code of a patient summary, which is no referto whatever else it says.
const summary = "60591-5"

func isSummary(types []Coding) bool {
	for _, t := range types {
		if t.Code == summary {
			return true
		}
	}
	return false
}

// lists says whether a Composition lists the report, in any section.
func (s *Source) lists(p *pool, composition, report *node) bool {
	for _, r := range listed(composition.Section, nil) {
		if p.lookup(s, string(r.Reference)) == report {
			return true
		}
		if named, ok := parseReference(string(r.Reference)); ok && named.kind == "DiagnosticReport" && named.id == string(report.ID) && s.own(named) {
			return true
		}
	}
	return false
}

// byExtension follows what the report itself names.
func byExtension(ctx context.Context, s *Source, report *node) (*pool, error) {
	for _, r := range compositionOf(report) {
		named, ok := parseReference(string(r.Reference))
		if ok && named.kind == "Composition" && s.own(named) {
			p, _, _, err := s.composition(ctx, Locator{Type: "Composition", ID: named.id})
			return p, err
		}
	}
	return nil, nil
}

// byIdentifier looks for a Composition of the report's identifier: with its system, then without.
func byIdentifier(ctx context.Context, s *Source, report *node) (*pool, error) {
	for _, id := range report.Identifier {
		if id.Value == "" {
			continue
		}
		for _, wanted := range slices.Compact([]string{token(string(id.System), string(id.Value)), token("", string(id.Value))}) {
			p, err := s.search(ctx, "Composition", compositionIncludes(url.Values{"identifier": {wanted}}))
			if err != nil || slices.ContainsFunc(p.of("Composition"), func(c *node) bool { return s.names(report, c) }) {
				return p, err
			}
		}
	}
	return nil, nil
}

// byEntry is search B.
func byEntry(ctx context.Context, s *Source, report *node) (*pool, error) {
	return s.search(ctx, "Composition", compositionIncludes(url.Values{"entry": {"DiagnosticReport/" + string(report.ID)}}))
}

// byEncounter looks for the Compositions of the report's encounter: the ministry's laboratory documents nest their reports
// deeper than `entry` looks.
func byEncounter(ctx context.Context, s *Source, report *node) (*pool, error) {
	for _, r := range report.Encounter {
		if named, ok := parseReference(string(r.Reference)); ok && named.kind == "Encounter" && s.own(named) {
			return s.search(ctx, "Composition", compositionIncludes(url.Values{"encounter": {"Encounter/" + named.id}}))
		}
	}
	return nil, nil
}

// bySubject looks through the latest Compositions of the report's patient.
func bySubject(ctx context.Context, s *Source, report *node) (*pool, error) {
	for _, r := range report.Subject {
		if named, ok := parseReference(string(r.Reference)); ok && named.kind == "Patient" && s.own(named) {
			return s.newest(ctx, "Composition", compositionIncludes(url.Values{"subject": {"Patient/" + named.id}}))
		}
	}
	return nil, nil
}
