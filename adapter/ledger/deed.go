package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/fhir"
)

// By is who did something to a record, and why: for the journal, so it holds nothing of a citizen.
type By struct{ Who, Why string }

// Note writes into the journal what a person does to a record.
func (l *Ledger) Note(ctx context.Context, rec Record, event, reason string, by By) error {
	if l.journalMax == "0" {
		return nil
	}
	most, err := strconv.ParseInt(l.journalMax, 10, 64)
	if err != nil {
		return err
	}
	line := strings.Join([]string{rec.Source, event, "", reason}, " ") // as the scripts write them: no state
	err = l.redis.XAdd(ctx, &redis.XAddArgs{
		Stream: journalKey(rec.Key.Partition()), MaxLen: most, Approx: true,
		Values: []any{"k", rec.Key.String(), "e", line, "w", by.Who, "y", by.Why},
	}).Err()
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// Reopen is Seize for a person: a record that rests has forgotten where its document is, which is said here. A zero
// locator leaves it at what is kept.
func (l *Ledger) Reopen(ctx context.Context, source string, key Key, locator fhir.Locator) (Record, Seized, error) {
	return l.seize(ctx, Hint{Key: key, Source: source, Locator: locator, State: Pending, Settle: l.lease})
}

// Due is when a live record is looked at next, and when its delivery is asked for; zero for never.
func (l *Ledger) Due(ctx context.Context, rec Record) (due, track time.Time, err error) {
	pipe, p := l.redis.Pipeline(), rec.Key.Partition()
	dueAt, trackAt := pipe.ZScore(ctx, dueKey(p, rec.Source), rec.Key.String()), pipe.ZScore(ctx, trackKey(p), rec.Key.String())
	_, _ = pipe.Exec(ctx) // it says the first error only, which is that nothing is there
	for _, cmd := range []*redis.FloatCmd{dueAt, trackAt} {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return due, track, unavailable(err)
		}
	}
	if dueAt.Err() == nil {
		due = time.UnixMilli(int64(dueAt.Val()))
	}
	if trackAt.Err() == nil {
		track = time.UnixMilli(int64(trackAt.Val()))
	}
	return due, track, nil
}

// WalkKept gives every record that rests and still knows where its document is, with its locator. Which source it is of, only
// its key tells (DocumentKey). What cannot be opened is left out, and is an error when all others have been seen.
func (l *Ledger) WalkKept(ctx context.Context, visit func(Record) error) error {
	keys, err := l.allKeys(ctx)
	if err != nil {
		return err
	}
	closed := 0
	for p := range keys {
		for _, bucket := range keys[p] {
			if name, kept := strings.CutPrefix(bucket, prefix(p)+"kept:"); kept {
				n, err := l.walkBucket(ctx, bucket, prefix(p)+"done:"+name, visit)
				if err != nil {
					return err
				}
				closed += n
			}
		}
	}
	if closed > 0 {
		return fmt.Errorf("%d records that rest: %w", closed, errSealed)
	}
	return nil
}

// walkBucket says how many cannot be opened.
func (l *Ledger) walkBucket(ctx context.Context, kept, done string, visit func(Record) error) (closed int, err error) {
	pipe := l.redis.Pipeline()
	locators, ended := pipe.HGetAll(ctx, kept), pipe.HGetAll(ctx, done)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return 0, unavailable(err)
	}
	for raw, sealed := range locators.Val() {
		value := ended.Val()[raw]
		if value == "" || len(raw) != len(Key{}) {
			continue // reopened since
		}
		rec := Record{Key: Key([]byte(raw))}
		packed, err := l.seals.open(rec.Key, sealed)
		if err == nil {
			rec.Locator, err = unpackLocator(packed)
		}
		if err == nil {
			err = rec.reopen(value)
		}
		if err != nil {
			closed++
			continue
		}
		if err := visit(rec); err != nil {
			return closed, err
		}
	}
	return closed, nil
}
