package ledger

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// CatchUp is what all replicas know of looking for what a source has never posted.
type CatchUp struct {
	Now    time.Time // Redis' clock, when this was read
	Wanted int64     // how often a sweep was asked for so far
	Served int64     // of these, how many a sweep has answered
	Why    string    // the last one was asked for, a fixed word
	Alive  time.Time // when a replica was there to be posted to; zero: never
	// First is when this source was connected first, zero before that; Decided when a person said what becomes of what was
	// published before.
	First, Decided time.Time
	Begun          map[string]time.Time // when the first sweep of a resource type was tried
	Kinds          map[string]Progress  // by resource type
	// Judged and Missed are the hits of sweeps in a row that found something that had not been posted: what should have been,
	// and what was not. Since is when the first of them looked.
	Judged, Missed int64
	Since          time.Time
	Trouble        string // why the last sweep was none, in words of ours; "" where it was one
}

// Progress is how far the sweeps of one resource type have come. The first three are times of the server, by
// meta.lastUpdated.
type Progress struct {
	Floor      time.Time // nothing before it is of interest
	Checkpoint time.Time // everything up to it was seen
	Newest     time.Time // the latest change that is known
	Swept      time.Time // when the last whole sweep began, by Redis' clock; zero: none was
}

// Open says whether a sweep is asked for.
func (c CatchUp) Open() bool { return c.Wanted > c.Served }

// Undecided says whether a person should say what becomes of what was published before the first connection.
func (c CatchUp) Undecided() bool { return !c.First.IsZero() && c.Decided.IsZero() }

// Swept is when the last whole sweep of every type had begun; zero where one was never swept.
func (c CatchUp) Swept() (at time.Time) {
	for _, progress := range c.Kinds {
		switch {
		case progress.Swept.IsZero():
			return time.Time{}
		case at.IsZero() || progress.Swept.Before(at):
			at = progress.Swept
		}
	}
	return at
}

// The fields of staffetta:{at:<source>}:catchup.
const (
	catchWanted, catchServed, catchWhy, catchAlive, catchFirst, catchDecided = "w", "d", "y", "a", "f", "p"
	catchJudged, catchMissed, catchSince, catchTrouble, catchRepair          = "j", "m", "s", "t", "r"
	catchKind, catchFirstOf                                                  = "k:", "f:"
)

// WantCatchUp asks for a sweep of a source, for a reason that is a fixed word. It is written when it returns.
func (l *Ledger) WantCatchUp(ctx context.Context, source, why string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	pipe := l.redis.Pipeline()
	pipe.HIncrBy(ctx, catchUpKey(source), catchWanted, 1)
	pipe.HSet(ctx, catchUpKey(source), catchWhy, why)
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// WantRepair asks whoever keeps the Subscriptions of a source to look at them.
func (l *Ledger) WantRepair(ctx context.Context, source string) error {
	if err := l.redis.HIncrBy(ctx, catchUpKey(source), catchRepair, 1).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Repairs is how often that was asked for so far.
func (l *Ledger) Repairs(ctx context.Context, source string) (int64, error) {
	n, err := l.redis.HGet(ctx, catchUpKey(source), catchRepair).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, unavailable(err)
	}
	return n, nil
}

// heardAtOnce is how much of what was heard is read at once.
const heardAtOnce = 1000

// CatchUp reads what is known, and takes what was heard since it was taken last.
func (l *Ledger) CatchUp(ctx context.Context, source string) (CatchUp, []Heard, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	pipe := l.redis.Pipeline()
	clock, all := pipe.Time(ctx), pipe.HGetAll(ctx, catchUpKey(source))
	texts := pipe.LPopCount(ctx, heardKey(source), heardAtOnce)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return CatchUp{}, nil, unavailable(err)
	}
	var heard []Heard
	for _, text := range texts.Val() {
		if h, ok := parseHeard(text); ok {
			heard = append(heard, h)
		}
	}
	return readCatchUp(clock.Val().Add(l.skew()), all.Val()), heard, nil
}

// LookAtCatchUp reads what is known, and leaves everything as it is.
func (l *Ledger) LookAtCatchUp(ctx context.Context, source string) (CatchUp, error) {
	now, err := l.pace.now(ctx)
	if err != nil {
		return CatchUp{}, err
	}
	all, err := l.redis.HGetAll(ctx, catchUpKey(source)).Result()
	if err != nil {
		return CatchUp{}, unavailable(err)
	}
	return readCatchUp(now, all), nil
}

func readCatchUp(now time.Time, f map[string]string) CatchUp {
	c := CatchUp{
		Now: now, Wanted: decimal(f[catchWanted]), Served: decimal(f[catchServed]), Why: f[catchWhy], Alive: instant(f[catchAlive]),
		First: instant(f[catchFirst]), Decided: instant(f[catchDecided]),
		Begun: map[string]time.Time{}, Kinds: map[string]Progress{},
		Judged: decimal(f[catchJudged]), Missed: decimal(f[catchMissed]), Since: instant(f[catchSince]), Trouble: f[catchTrouble],
	}
	for name, value := range f {
		if kind, is := strings.CutPrefix(name, catchKind); is {
			c.Kinds[kind] = parseProgress(value)
		}
		if kind, is := strings.CutPrefix(name, catchFirstOf); is {
			c.Begun[kind] = instant(value)
		}
	}
	return c
}

// instant reads ms since 1970; the zero time for "" and 0.
func instant(ms string) time.Time {
	if n := decimal(ms); n != 0 {
		return time.UnixMilli(n)
	}
	return time.Time{}
}

func msText(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func (p Progress) text() string {
	return strings.Join([]string{msText(p.Floor), msText(p.Checkpoint), msText(p.Newest), msText(p.Swept)}, " ")
}

func parseProgress(text string) (p Progress) {
	words := strings.Split(text, " ")
	for i, into := range []*time.Time{&p.Floor, &p.Checkpoint, &p.Newest, &p.Swept} {
		if i < len(words) {
			*into = instant(words[i])
		}
	}
	return p
}

// Connect notes that resource types of a source are looked at for the first time, and says when that was: of what could not be
// looked at by then, too.
func (l *Ledger) Connect(ctx context.Context, source string, kinds ...string) (first map[string]time.Time, err error) {
	at, err := l.pace.now(ctx)
	if err != nil {
		return nil, err
	}
	pipe := l.redis.Pipeline()
	pipe.HSetNX(ctx, catchUpKey(source), catchFirst, at.UnixMilli())
	texts := map[string]*redis.StringCmd{}
	for _, kind := range kinds {
		pipe.HSetNX(ctx, catchUpKey(source), catchFirstOf+kind, at.UnixMilli())
		texts[kind] = pipe.HGet(ctx, catchUpKey(source), catchFirstOf+kind)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, unavailable(err)
	}
	first = map[string]time.Time{}
	for kind, text := range texts {
		first[kind] = instant(text.Val())
	}
	return first, nil
}

// Disconnect forgets when resource types were looked at for the first time: the source does not have them. Where it has them one
// day, they begin then.
func (l *Ledger) Disconnect(ctx context.Context, source string, kinds ...string) error {
	fields := make([]string, len(kinds))
	for i, kind := range kinds {
		fields[i] = catchFirstOf + kind
	}
	if len(fields) == 0 {
		return nil
	}
	if err := l.redis.HDel(ctx, catchUpKey(source), fields...).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// StateTag stands for one version of a resource of a source, as a first connection sees it.
func (l *Ledger) StateTag(source, state string) Tag { return Tag(l.keyed("there", source, state)[:8]) }

// thereFor is how long it is kept at most what was there: a source in which nothing happens looks behind its first connection
// for as long.
const thereFor = 30 * 24 * time.Hour

// SaveThere keeps what was there of a resource type when its source was connected.
func (l *Ledger) SaveThere(ctx context.Context, source, kind string, there map[Tag]bool) error {
	packed := make([]byte, 0, len(there)*len(Tag{}))
	for tag := range there {
		packed = append(packed, tag[:]...)
	}
	if err := l.redis.Set(ctx, thereKey(source, kind), packed, thereFor).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// There is what was there of a resource type when its source was connected; nil where that is not known any more.
func (l *Ledger) There(ctx context.Context, source, kind string) (map[Tag]bool, error) {
	packed, err := l.redis.Get(ctx, thereKey(source, kind)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil //nolint:nilnil // it is not known
	case err != nil:
		return nil, unavailable(err)
	}
	there := make(map[Tag]bool, len(packed)/len(Tag{}))
	for one := range slices.Chunk(packed, len(Tag{})) {
		if len(one) == len(Tag{}) {
			there[Tag(one)] = true
		}
	}
	return there, nil
}

// ForgetThere is for a resource type whose sweeps look no more behind its first connection.
func (l *Ledger) ForgetThere(ctx context.Context, source, kind string) error {
	if err := l.redis.Del(ctx, thereKey(source, kind)).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Decide notes that a person has said what becomes of what was published before the first connection.
func (l *Ledger) Decide(ctx context.Context, source string) error {
	at, err := l.pace.now(ctx)
	if err != nil {
		return err
	}
	return l.saveCatchUp(ctx, source, catchDecided, at.UnixMilli())
}

// SaveProgress notes how far the sweeps of a resource type have come.
func (l *Ledger) SaveProgress(ctx context.Context, source, kind string, p Progress) error {
	return l.saveCatchUp(ctx, source, catchKind+kind, p.text())
}

// SweepEnded notes what came of a sweep: the wish that it has answered, trouble, and what it says of the server's posts.
func (l *Ledger) SweepEnded(ctx context.Context, source string, c CatchUp) error {
	return l.saveCatchUp(ctx, source, catchServed, c.Served, catchTrouble, c.Trouble, catchJudged, c.Judged, catchMissed, c.Missed,
		catchSince, msText(c.Since))
}

func (l *Ledger) saveCatchUp(ctx context.Context, source string, fields ...any) error {
	if err := l.redis.HSet(ctx, catchUpKey(source), fields...).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Backlog is how many records of a source are due by now.
func (l *Ledger) Backlog(ctx context.Context, source string) (n int64, err error) {
	now, err := l.pace.now(ctx)
	if err != nil {
		return 0, err
	}
	pipe := l.redis.Pipeline()
	due := make([]*redis.IntCmd, Partitions)
	for p := range due {
		due[p] = pipe.ZCount(ctx, dueKey(p, source), "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, unavailable(err)
	}
	for _, one := range due {
		n += one.Val()
	}
	return n, nil
}

// Restarts is how often this process has seen that Redis was another one than before: it may have forgotten its last writes.
func (l *Ledger) Restarts() int64 { return l.sends.restarts.Load() }
