package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/fhir/fiscalcode"
)

// ClaimOptions say what to claim.
type ClaimOptions struct {
	N       int      // at most so many
	Sources []string // of these, in turns
	Track   bool     // and messages whose delivery is followed, after them
}

// Claimed is what was due.
type Claimed struct {
	Records []Record
	NextDue time.Duration // until more is due; an hour at most
}

// turns lets every claim begin with another partition and another source.
type turns struct{ atomic.Uint32 }

// Claim leases up to n due records, sources taking turns, so that a storm at one never delays another.
func (l *Ledger) Claim(ctx context.Context, o ClaimOptions) (Claimed, error) {
	turn := int(l.turn.Add(1))
	o.Sources = rotated(o.Sources, turn)
	claim := l.claimTogether
	if l.cluster {
		claim = l.claimApart
	}
	claimed, err := claim(ctx, o, turn)
	if err != nil {
		return claimed, err
	}
	// Looked at afterwards, so that no new connection is missed: what was just claimed may have been told already, and then
	// its lease ends by itself.
	// That we are asked to stop does not cut it: what is claimed is to be given back, not to be forgotten until its lease ends.
	ctx, cancel := bounded(context.WithoutCancel(ctx))
	defer cancel()
	if restarted, err := l.sends.lost(ctx, l); restarted || err != nil {
		return Claimed{NextDue: time.Second}, err
	}
	return claimed, nil
}

// claimTogether claims from all partitions at once.
func (l *Ledger) claimTogether(ctx context.Context, o ClaimOptions, turn int) (Claimed, error) {
	partitions := make([]string, Partitions)
	for i := range partitions {
		partitions[i] = strconv.Itoa((turn + i) % Partitions)
	}
	a := &asked{claim: l.claimCall(turn%Partitions, o.N, strings.Join(partitions, " "), o)}
	l.trips.do(ctx, a)
	claimed := Claimed{NextDue: time.Hour}
	if a.err != nil {
		return claimed, a.err
	}
	return claimed, l.readClaims(ctx, a.claim.cmd, &claimed)
}

// claimApart claims from the partitions of a cluster, as many at once as there are records wanted.
func (l *Ledger) claimApart(ctx context.Context, o ClaimOptions, turn int) (Claimed, error) {
	claimed := Claimed{NextDue: time.Hour}
	ctx, cancel := bounded(context.WithoutCancel(ctx)) // as for claimTogether: what Redis has leased must be heard of
	defer cancel()
	for asked := 0; asked < Partitions && len(claimed.Records) < o.N; {
		width := min(Partitions-asked, o.N-len(claimed.Records))
		share := (o.N - len(claimed.Records) + width - 1) / width
		calls := make([]*call, width)
		for i := range calls {
			p := (turn + asked + i) % Partitions
			calls[i] = l.claimCall(p, share, strconv.Itoa(p), o)
		}
		asked += width
		if err := l.run(ctx, calls); err != nil {
			return claimed, err
		}
		for _, c := range calls {
			if err := l.readClaims(ctx, c.cmd, &claimed); err != nil {
				return claimed, err
			}
		}
	}
	return claimed, nil
}

func rotated(sources []string, turn int) []string {
	if len(sources) == 0 {
		return nil
	}
	first := turn % len(sources)
	return append(append(make([]string, 0, len(sources)), sources[first:]...), sources[:first]...)
}

func (l *Ledger) claimCall(partition, n int, partitions string, o ClaimOptions) *call {
	also := "0"
	if o.Track {
		also = "1"
	}
	args := append(make([]any, 0, 5+len(o.Sources)), n, l.lease.Milliseconds(), l.skewMS(), also, partitions)
	for _, source := range o.Sources {
		args = append(args, source)
	}
	return &call{script: claimScript, key: journalKey(partition), args: args}
}

// readClaims reads what one call gave.
func (l *Ledger) readClaims(ctx context.Context, cmd *redis.Cmd, claimed *Claimed) error {
	answer, err := cmd.Slice()
	if err != nil {
		return unavailable(err)
	}
	now := number(answer[0])
	l.ahead.Store(now - l.skewMS() - l.now().UnixMilli())
	if next := number(answer[1]); next > 0 {
		claimed.NextDue = min(claimed.NextDue, time.Duration(max(0, next-now))*time.Millisecond)
	}
	claimed.Records = slices.Grow(claimed.Records, len(answer)-2)
	for _, one := range answer[2:] {
		rec, err := l.readClaim(one, now)
		if err != nil { // nobody can look at it: held as poison
			l.log.ErrorContext(ctx, "record not readable", slog.String("record", rec.Key.String()), slog.Any("error", err))
			rec.Claims, rec.Begun = max(rec.Claims, suspect), unreadable
			if rec.State == "" {
				rec.State = Pending
			}
		}
		claimed.Records = append(claimed.Records, rec)
	}
	return nil
}

// unreadable is more steps in a row than any that crash.
const suspect, unreadable = 2, 1000

func (l *Ledger) readClaim(from any, now int64) (Record, error) {
	parts, ok := from.([]any)
	if !ok || len(parts) != 4 {
		return Record{}, errPacked
	}
	key, err := parseKey(text(parts[0]))
	if err != nil {
		return Record{}, err
	}
	values, _ := parts[3].([]any)
	rec, err := l.readRecord(key, liveOf(values))
	rec.Tracking = text(parts[1]) == "track"
	rec.Now, rec.Due = time.UnixMilli(now), time.UnixMilli(number(parts[2]))
	return rec, err
}

// liveFields are the fields of a live record that are read, in the order in which claim.lua gives their values.
var liveFields = []string{"n", "s", "t", "c", "b", "f", "o", "v", "g", "h", "e", "x", "p", "k", "cb", "a"}

// live is a live record as it stands in Redis.
type live struct {
	source, state, token, claims, body, finished, order, version, tag, hinted, since, locator, recipient, late, begun, alias string
}

// liveOf reads the values of liveFields.
func liveOf(values []any) (f live) {
	for i, into := range []*string{
		&f.source, &f.state, &f.token, &f.claims, &f.body, &f.finished, &f.order, &f.version, &f.tag, &f.hinted, &f.since,
		&f.locator, &f.recipient, &f.late, &f.begun, &f.alias,
	} {
		if i < len(values) {
			*into = text(values[i])
		}
	}
	return f
}

// readRecord reads a live record from its fields.
func (l *Ledger) readRecord(key Key, f live) (Record, error) {
	rec := Record{
		Key: key, Source: f.source, State: states[f.state], token: decimal(f.token), Claims: int(decimal(f.claims)), Begun: int(decimal(f.begun)),
	}
	switch {
	case f.body != "":
		if err := rec.unpack(f.body); err != nil {
			return rec, err
		}
	case f.finished != "":
		if err := rec.reopen(f.finished); err != nil {
			return rec, err
		}
	}
	rec.State = states[f.state]
	if len(rec.LedTo) == 0 && len(f.alias) == len(Key{}) { // of a find: another one has met it since it was hinted at
		rec.LedTo = []Key{Key([]byte(f.alias))}
	}
	rec.ReadOrder = decimal(f.order)
	if len(f.version) == len(rec.ReadVersion) {
		rec.ReadVersion = Tag([]byte(f.version))
	}
	rec.HintedOrder = max(rec.HintedOrder, decimal(f.hinted), readOrder(f.tag))
	if first := decimal(f.since); first > 0 {
		rec.HintAt = time.UnixMilli(first)
	}
	if err := l.readSealed(&rec, f); err != nil {
		return rec, err
	}
	return rec, rec.mergeLate(f.late)
}

// readSealed opens what is kept of a person.
func (l *Ledger) readSealed(rec *Record, f live) error {
	packed, err := l.seals.open(rec.Key, f.locator)
	if err != nil {
		return err
	}
	if rec.Locator, err = unpackLocator(packed); err != nil {
		return err
	}
	code, err := l.seals.open(rec.Key, f.recipient)
	if err != nil || len(code) == 0 {
		return err
	}
	if rec.Recipient, err = fiscalcode.Recipient(string(code)); err != nil {
		return errPacked
	}
	return nil
}

// mergeLate adds what another claim, whose token was stale by then, told the citizen.
func (r *Record) mergeLate(packed string) error {
	if packed == "" {
		return nil
	}
	in := reader{rest: []byte(packed)}
	told := in.told()
	if err := in.err(); err != nil {
		return err
	}
	if told.At.Before(r.Told.At) {
		return nil // another message was taken after that one
	}
	r.Told, r.Publication, r.Edition = told, NoPublication, Tag{}
	r.State = Delivered
	if told.MessageID != "" && r.Recipient != (fiscalcode.Code{}) {
		r.State = Sent
	}
	return nil
}

func parseKey(text string) (Key, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != len(Key{}) {
		return Key{}, errPacked
	}
	return Key(raw), nil
}

// ParseKey reads a record key as the logs show it.
func ParseKey(text string) (Key, error) {
	key, err := parseKey(strings.TrimSpace(text))
	if err != nil {
		return Key{}, errors.New("record key: want 22 characters of base64url")
	}
	return key, nil
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

// number reads an integer of a script, which may also come as text, with an exponent or a fraction.
func number(value any) int64 {
	switch v := value.(type) {
	case int64:
		return v
	case string:
		return decimal(v)
	}
	return 0
}

func decimal(text string) int64 {
	if text == "" {
		return 0 // most fields of most records; a parser would make an error of it
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return int64(f)
}

// redisTime bounds one round trip.
const redisTime = 5 * time.Second

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, redisTime)
}
