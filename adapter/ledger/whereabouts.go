package ledger

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"staffetta/fhir"
)

// Whereabouts are where a document that somebody was told of is read again: kept, sealed, for as long as messages about it are
// opened, which is much longer than its record. Whom a message told of what is not in them: the message's own reference says it.
type Whereabouts struct {
	Source  string
	Locator fhir.Locator
	// Released are the reasons that a person has overridden, for the edition ReleasedFor only: who was told is shown it, too.
	Released    []string
	ReleasedFor Tag
}

// sealWhereabouts is what a settlement leaves behind for a message's reference; "" where it has none.
func (l *Ledger) sealWhereabouts(s *Settlement) string {
	if !s.Referenced || s.Record.Locator.Type == "" {
		return ""
	}
	rec := &s.Record
	var b []byte
	if len(s.Released) > 0 { // no source is called "": what starts so has more to say
		b = append(appendText(appendText(b, ""), strings.Join(s.Released, " ")), s.ReleasedFor[:]...)
	}
	return l.seals.seal(rec.Key, append(appendText(b, rec.Source), packLocator(rec.Locator)...))
}

// Whereabouts finds them; false where they are no longer kept.
func (l *Ledger) Whereabouts(ctx context.Context, document Key) (Whereabouts, bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	pipe := l.redis.Pipeline()
	months := l.today().toldMonths
	found := make([]*redis.StringCmd, len(months))
	for i, month := range months {
		found[i] = pipe.HGet(ctx, toldKey(document, month), string(document[:]))
	}
	_, _ = pipe.Exec(ctx)       // it says the first error only, which is that nothing is there
	for _, cmd := range found { // the newest first
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return Whereabouts{}, false, unavailable(err)
		}
		if sealed := cmd.Val(); sealed != "" {
			w, err := l.openWhereabouts(document, sealed)
			return w, err == nil, err
		}
	}
	return Whereabouts{}, false, nil
}

func (l *Ledger) openWhereabouts(document Key, sealed string) (w Whereabouts, err error) {
	packed, err := l.seals.open(document, sealed)
	if err != nil {
		return w, err
	}
	in := reader{rest: packed}
	if w.Source = in.text(); w.Source == "" && !in.short {
		w.Released, w.ReleasedFor = strings.Fields(in.text()), in.tag()
		w.Source = in.text()
	}
	if in.short {
		return w, errPacked
	}
	w.Locator, err = unpackLocator(in.rest)
	return w, err
}
