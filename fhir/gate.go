package fhir

import (
	"context"
	"errors"
)

// Gate reads a source with a citizen's eyes: through another base, or with other rights, that show what the portal shows.
type Gate struct{ *Source }

// Shows says whether a citizen may open the document now. What is refused is not shown: here that is an answer, and no
// trouble.
func (g *Gate) Shows(ctx context.Context, l Locator) (bool, error) {
	n, _, err := g.read(ctx, l.Type, l.ID)
	if trouble, is := errors.AsType[*Trouble](err); is && trouble.Kind == Unauthorized {
		return false, nil
	}
	return n != nil, err
}
