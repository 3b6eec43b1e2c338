package fhir

import "slices"

// The extensions by which HAPI says that resources were merged (reference fhir-subscriptions.md, 6).
const (
	hapiReplacedBy = "http://hapifhir.io/fhir/StructureDefinition/replaced-by"
	hapiReplaces   = "http://hapifhir.io/fhir/StructureDefinition/replaces"
)

// replaces adds what one resource of the document says that it replaces (reference fse.md, 3.4).
func (s *Source) replaces(doc *Document, n *node) {
	for i := range n.RelatesTo {
		r := &n.RelatesTo[i]
		if r.Code != "replaces" && r.Type != "replaces" {
			continue
		}
		targets := slices.Concat(r.Target, r.Reference, r.Resource)
		for _, one := range targets {
			s.replacesReference(doc, string(one.Reference))
			if n.ResourceType == "Composition" && one.mayBe("Composition") {
				replacesIdentified(doc, one.Identifier)
			}
		}
		replacesIdentified(doc, r.Identifier)
		switch id := string(r.ID); {
		case len(targets)+len(r.Identifier) > 0: // the element's id is no more than that
		case IsID(id): // the ministry's own server: the old id, and no target
			doc.Replaces = append(doc.Replaces, Locator{Type: n.ResourceType, ID: id})
		default:
			s.replacesReference(doc, id)
		}
	}
	for _, e := range n.Extension {
		if string(e.URL) == hapiReplaces {
			s.replacesReference(doc, string(e.Reference.first().Reference))
		}
	}
}

// replacesIdentified adds what is replaced by its identifier.
func replacesIdentified(doc *Document, identifiers []identifier) {
	for _, id := range identifiers {
		if id.Value != "" {
			doc.Replaces = append(doc.Replaces, Locator{Type: "Composition", System: string(id.System), Value: string(id.Value)})
		}
	}
}

func (s *Source) replacesReference(doc *Document, text string) {
	if named, ok := parseReference(text); ok && s.own(named) {
		doc.Replaces = append(doc.Replaces, Locator{Type: named.kind, ID: named.id})
	}
}

// replacedBy is the report that HAPI merged this one into; zero where it did not.
func (s *Source) replacedBy(n *node) Locator {
	for _, e := range n.Extension {
		if string(e.URL) != hapiReplacedBy {
			continue
		}
		if named, ok := parseReference(string(e.Reference.first().Reference)); ok && s.own(named) && named.kind == n.ResourceType && named.id != string(n.ID) {
			return Locator{Type: named.kind, ID: named.id}
		}
	}
	return Locator{}
}
