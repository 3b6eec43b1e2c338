package remote

import (
	"context"

	"staffetta/adapter/ledger"
	"staffetta/adapter/policy"
)

// verdict is what may be said now about the document of a message.
type verdict struct {
	sight

	shown bool
	why   string // not; a fixed word. "" where it is shown
}

// judge looks at the document of a message and asks the rules whether its citizen may see it now. It never fails: what cannot
// be found out is not shown.
func (s *Server) judge(ctx context.Context, of ledger.Reference) verdict {
	seen, err := s.eyes.see(ctx, of.Document)
	if err != nil {
		return verdict{why: err.Error()}
	}
	edition := s.Ledger.EditionTag(seen.doc.Edition)
	q := policy.Question{
		Document: seen.doc, Source: seen.source.Rules, Now: s.Now(),
		Told: policy.Told{
			Any: true, SameEdition: of.OfEdition(edition),
			SamePerson: ledger.SamePerson(of.Person, s.Ledger.PersonTag(seen.doc.Person.Code)),
		},
	}
	if edition == seen.releasedFor { // of another edition the person who released it knows nothing
		q.Released = seen.released
	}
	shown, why := s.Rules.Shows(q)
	return verdict{sight: seen, shown: shown, why: why}
}
