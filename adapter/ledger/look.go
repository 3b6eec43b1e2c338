package ledger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Lookup reads one record, live or finished; false where nothing is known of it.
func (l *Ledger) Lookup(ctx context.Context, key Key) (Record, bool, error) {
	pipe := l.redis.TxPipeline() // one moment: what moves from one place to the other meanwhile would be found in neither
	fields := pipe.HMGet(ctx, recordKey(key), append(slices.Clone(liveFields), "q")...)
	months := l.today().months
	done := make([]*redis.StringCmd, 0, len(months))
	for _, month := range months {
		done = append(done, pipe.HGet(ctx, doneKey(key, month), string(key[:])))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return Record{}, false, unavailable(err)
	}
	if f := liveOf(fields.Val()); f.source != "" {
		rec, err := l.readRecord(key, f)
		if f.state == letters[Held] {
			rec.State, rec.HeldFrom = Held, Pending // whatever was told late
			if from := states[text(fields.Val()[len(liveFields)])]; from != "" {
				rec.HeldFrom = from
			}
		}
		return rec, true, err
	}
	for _, cmd := range done {
		if value := cmd.Val(); value != "" {
			rec := Record{Key: key}
			return rec, true, rec.reopen(value)
		}
	}
	return Record{}, false, nil
}

// Release lets a held record be looked at again, with the event that the journal shows; false where it is not held.
func (l *Ledger) Release(ctx context.Context, key Key, event string, by By) (bool, error) {
	p := key.Partition()
	c := &call{script: releaseScript, key: heldKey(p), args: []any{
		prefix(p), key.String(), l.journalMax, l.skewMS(), event, by.Who, by.Why,
	}}
	if err := l.run(ctx, []*call{c}); err != nil {
		return false, err
	}
	n, err := c.cmd.Int()
	return n == 1, err
}

// Stats is how much of what there is. Ends are counted since the ledger began.
type Stats struct {
	Due       map[string]int64 // by source: records that still need a step
	Overdue   map[string]int64 // of these: due by now
	Oldest    map[string]time.Duration
	Tracked   int64
	Held      map[string]int64 // by reason; of the first thousand in each partition
	HeldTotal int64
	Ends      map[End]int64
}

// End is a named end.
type End struct {
	State  State
	Reason string
}

// heldRead is how many held records of one partition are read for their reasons.
const heldRead = 1000

// Stats counts, in two round trips.
func (l *Ledger) Stats(ctx context.Context, sources []string) (Stats, error) {
	s := Stats{
		Due: map[string]int64{}, Overdue: map[string]int64{}, Oldest: map[string]time.Duration{},
		Held: map[string]int64{}, Ends: map[End]int64{},
	}
	now, err := l.pace.now(ctx)
	if err != nil {
		return s, err
	}
	pipe := l.redis.Pipeline()
	var each []func()
	for p := range Partitions {
		each = append(each, l.countSources(ctx, pipe, p, sources, now, &s)...)
		each = append(each, l.countRest(ctx, pipe, p, &s)...)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return s, unavailable(err)
	}
	for _, read := range each {
		read()
	}
	held, err := l.HeldRecords(ctx, heldRead)
	for _, rec := range held {
		s.Held[rec.Reason]++
	}
	return s, err
}

func (l *Ledger) countSources(ctx context.Context, pipe redis.Pipeliner, p int, sources []string, now time.Time, s *Stats) (each []func()) {
	for _, source := range sources {
		due := pipe.ZCard(ctx, dueKey(p, source))
		over := pipe.ZCount(ctx, dueKey(p, source), "-inf", strconv.FormatInt(now.UnixMilli(), 10))
		first := pipe.ZRangeWithScores(ctx, dueKey(p, source), 0, 0)
		each = append(each, func() {
			s.Due[source] += due.Val()
			s.Overdue[source] += over.Val()
			for _, z := range first.Val() {
				s.Oldest[source] = max(s.Oldest[source], now.Sub(time.UnixMilli(int64(z.Score))))
			}
		})
	}
	return each
}

func (l *Ledger) countRest(ctx context.Context, pipe redis.Pipeliner, p int, s *Stats) []func() {
	tracked, held, ends := pipe.ZCard(ctx, trackKey(p)), pipe.ZCard(ctx, heldKey(p)), pipe.HGetAll(ctx, endsKey(p))
	return []func(){func() {
		s.Tracked += tracked.Val()
		s.HeldTotal += held.Val()
		for name, n := range ends.Val() {
			if len(name) == 2 {
				s.Ends[End{states[name[:1]], at(reasons, name[1])}] += decimal(n)
			}
		}
	}}
}

// HeldRecords are the records that a person must look at, those that wait longest first, at most n of each partition.
func (l *Ledger) HeldRecords(ctx context.Context, n int) ([]Record, error) {
	pipe := l.redis.Pipeline()
	names := make([]*redis.StringSliceCmd, Partitions)
	for p := range names {
		names[p] = pipe.ZRange(ctx, heldKey(p), 0, int64(n)-1)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, unavailable(err)
	}
	var all []Record
	for _, cmd := range names {
		some, err := l.readMany(ctx, cmd.Val())
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b Record) int { return a.Since.Compare(b.Since) })
	return all, nil
}

// readMany reads live records by their names.
func (l *Ledger) readMany(ctx context.Context, names []string) ([]Record, error) {
	if len(names) == 0 {
		return nil, nil
	}
	pipe := l.redis.Pipeline()
	keys, found := make([]Key, len(names)), make([]*redis.SliceCmd, len(names))
	for i, name := range names {
		key, err := parseKey(name)
		if err != nil {
			return nil, err
		}
		keys[i], found[i] = key, pipe.HMGet(ctx, recordKey(key), liveFields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, unavailable(err)
	}
	var all []Record
	for i, cmd := range found {
		if f := liveOf(cmd.Val()); f.source != "" {
			rec, err := l.readRecord(keys[i], f)
			if err != nil {
				rec.Reason = "not-readable"
			}
			all = append(all, rec)
		}
	}
	return all, nil
}

// Entry is one line of the journal: a hint or a transition. It holds nothing personal.
type Entry struct {
	At     time.Time
	Record string // the record's key
	Source string
	Event  string // hint, released, told-late, late-status, or what happened in a step
	State  State
	Reason string
	By     By // of what a person did
}

// Journal is the latest n entries, newest first.
func (l *Ledger) Journal(ctx context.Context, n int) ([]Entry, error) {
	pipe := l.redis.Pipeline()
	streams := make([]*redis.XMessageSliceCmd, Partitions)
	for p := range streams {
		streams[p] = pipe.XRevRangeN(ctx, journalKey(p), "+", "-", int64(n))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, unavailable(err)
	}
	var all []Entry
	for _, cmd := range streams {
		for _, message := range cmd.Val() {
			all = append(all, entry(message))
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Compare(b.At.UnixMilli(), a.At.UnixMilli()) })
	return all[:min(n, len(all))], nil
}

// Timeline is all that the journal still holds of one record, oldest first.
func (l *Ledger) Timeline(ctx context.Context, key Key) ([]Entry, error) {
	messages, err := l.redis.XRange(ctx, journalKey(key.Partition()), "-", "+").Result()
	if err != nil {
		return nil, unavailable(err)
	}
	var all []Entry
	for _, message := range messages {
		if message.Values["k"] == key.String() {
			all = append(all, entry(message))
		}
	}
	return all, nil
}

func entry(message redis.XMessage) Entry {
	ms, _, _ := strings.Cut(message.ID, "-")
	words := append(strings.SplitN(text(message.Values["e"]), " ", 4), "", "", "", "") // as the scripts write them
	return Entry{
		At: time.UnixMilli(decimal(ms)), Record: text(message.Values["k"]), Source: words[0], Event: words[1],
		State: states[words[2]], Reason: words[3], By: By{Who: text(message.Values["w"]), Why: text(message.Values["y"])},
	}
}

// Ping says whether Redis answers and the ledger is ours.
func (l *Ledger) Ping(ctx context.Context) error {
	found, err := l.redis.Get(ctx, prefix(0)+"naming").Result()
	switch {
	case errors.Is(err, redis.Nil):
		return errors.New("the ledger has lost its naming key's fingerprint: it was emptied")
	case err != nil:
		return unavailable(err)
	case found != l.fingerprint:
		return ErrNamingKey
	}
	return nil
}
