package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
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
	claimed := Claimed{NextDue: time.Hour}
	turn := int(l.turn.Add(1))
	sources := rotated(o.Sources, turn)
	for asked := 0; asked < Partitions && len(claimed.Records) < o.N; {
		width := min(Partitions-asked, o.N-len(claimed.Records))
		calls := make([]*call, width)
		for i := range calls {
			p := (turn + asked + i) % Partitions
			share := (o.N - len(claimed.Records) + width - 1) / width
			calls[i] = l.claimCall(p, share, sources, o.Track)
		}
		asked += width
		restarted, err := l.runClaims(ctx, calls)
		if err != nil {
			return claimed, err
		}
		if restarted { // what was just claimed may have been told already: its lease ends by itself
			return Claimed{NextDue: time.Second}, nil
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

func (l *Ledger) claimCall(partition, n int, sources []string, track bool) *call {
	also := "0"
	if track {
		also = "1"
	}
	args := append(make([]any, 0, 5+len(sources)), prefix(partition), n, l.lease.Milliseconds(), l.skewMS(), also)
	for _, source := range sources {
		args = append(args, source)
	}
	return &call{script: claimScript, key: journalKey(partition), args: args}
}

// runClaims claims, and looks in the same round trip whether Redis is still the one that we wrote our last sends to.
func (l *Ledger) runClaims(ctx context.Context, calls []*call) (restarted bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if restarted, err = l.sends.lost(ctx, l); restarted || err != nil {
		return restarted, err
	}
	return false, l.run(ctx, calls)
}

// readClaims reads what one partition gave.
func (l *Ledger) readClaims(ctx context.Context, cmd *redis.Cmd, claimed *Claimed) error {
	answer, err := cmd.Slice()
	if err != nil {
		return unavailable(err)
	}
	now := number(answer[0])
	if next := number(answer[1]); next > 0 {
		claimed.NextDue = min(claimed.NextDue, time.Duration(max(0, next-now))*time.Millisecond)
	}
	for _, one := range answer[2:] {
		rec, err := l.readClaim(one, now)
		if err != nil { // its claims are counted: after the third it is held as poison
			l.log.ErrorContext(ctx, "record not readable", slog.String("record", rec.Key.String()), slog.Any("error", err))
			rec.State, rec.Claims = Pending, max(rec.Claims, unreadable)
		}
		claimed.Records = append(claimed.Records, rec)
	}
	return nil
}

// unreadable is more claims in a row than any step allows.
const unreadable = 1000

func (l *Ledger) readClaim(from any, now int64) (Record, error) {
	parts, ok := from.([]any)
	if !ok || len(parts) < 3 {
		return Record{}, errPacked
	}
	key, err := parseKey(text(parts[0]))
	if err != nil {
		return Record{}, err
	}
	rec, err := l.readRecord(key, fields(parts[3:]))
	rec.Tracking = text(parts[1]) == "track"
	rec.Now, rec.Due = time.UnixMilli(now), time.UnixMilli(number(parts[2]))
	return rec, err
}

// readRecord reads a live record from its fields.
func (l *Ledger) readRecord(key Key, f map[string]string) (Record, error) {
	rec := Record{Key: key, Source: f["n"], token: decimal(f["t"]), Claims: int(decimal(f["c"]))}
	if value := f["f"]; value != "" && f["b"] == "" {
		if err := rec.reopen(value); err != nil {
			return rec, err
		}
	} else if body := f["b"]; body != "" {
		if err := rec.unpack(body); err != nil {
			return rec, err
		}
	}
	rec.State = states[f["s"]]
	rec.ReadOrder = decimal(f["o"])
	if version := f["v"]; len(version) == len(rec.ReadVersion) {
		rec.ReadVersion = Tag([]byte(version))
	}
	hinted, _, _ := strings.Cut(f["g"], ":")
	rec.HintedOrder = max(rec.HintedOrder, decimal(f["h"]), decimal(hinted))
	if first := decimal(f["e"]); first > 0 {
		rec.HintAt = time.UnixMilli(first)
	}
	if err := l.readSealed(&rec, f); err != nil {
		return rec, err
	}
	return rec, rec.mergeLate(f["k"])
}

// readSealed opens what is kept of a person.
func (l *Ledger) readSealed(rec *Record, f map[string]string) error {
	packed, err := l.seals.open(rec.Key, f["x"])
	if err != nil {
		return err
	}
	if rec.Locator, err = unpackLocator(packed); err != nil {
		return err
	}
	code, err := l.seals.open(rec.Key, f["p"])
	if err != nil || len(code) == 0 {
		return err
	}
	if rec.Recipient, err = fiscalcode.Parse(string(code)); err != nil {
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

func fields(parts []any) map[string]string {
	f := make(map[string]string, len(parts)/2)
	for i := 0; i+1 < len(parts); i += 2 {
		f[text(parts[i])] = text(parts[i+1])
	}
	return f
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
