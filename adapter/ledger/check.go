package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Checked is what the invariant checker saw: every record has a next time, or is held, or has a named end.
type Checked struct {
	Live, Held, Finished int
	Findings             []string // what is wrong; empty when all is well

	sealedUnder map[uint8]int // places of documents that no key opens, by the id of the key that sealed them
}

// Check walks the whole ledger. Sources are those that are configured: the records of others wait for nobody.
func (l *Ledger) Check(ctx context.Context, sources []string) (Checked, error) {
	var c Checked
	keys, err := l.allKeys(ctx)
	if err != nil {
		return c, err
	}
	strays := map[string]int64{}
	for p := range Partitions {
		err := l.checkPartition(ctx, p, keys[p], &c)
		if err == nil {
			err = l.countStrays(ctx, p, keys[p], sources, strays)
		}
		if err != nil {
			return c, fmt.Errorf("partition %d: %w", p, err)
		}
	}
	for _, source := range slices.Sorted(maps.Keys(strays)) {
		c.find("source %s is not configured, and %d live records wait for it", source, strays[source])
	}
	for _, id := range slices.Sorted(maps.Keys(c.sealedUnder)) {
		c.find("where %d documents are is sealed under key %d, which is not configured, or damaged", c.sealedUnder[id], id)
	}
	return c, nil
}

func (c *Checked) find(format string, args ...any) {
	c.Findings = append(c.Findings, fmt.Sprintf(format, args...))
}

func (l *Ledger) checkPartition(ctx context.Context, p int, keys []string, c *Checked) error {
	scheduled := map[string][]string{} // record -> sets
	for _, set := range keys {
		name := strings.TrimPrefix(set, prefix(p))
		if name != "track" && name != "held" && !strings.HasPrefix(name, "due:") {
			continue
		}
		members, err := l.redis.ZRange(ctx, set, 0, -1).Result()
		if err != nil {
			return unavailable(err)
		}
		for _, member := range members {
			scheduled[member] = append(scheduled[member], name)
		}
	}
	var records []string
	for _, key := range keys {
		switch name := strings.TrimPrefix(key, prefix(p)); {
		case strings.HasPrefix(name, "r:"):
			records = append(records, strings.TrimPrefix(name, "r:"))
		case strings.HasPrefix(name, "done:"):
			if err := l.checkBucket(ctx, key, c); err != nil {
				return err
			}
		case strings.HasPrefix(name, "kept:"), strings.HasPrefix(name, "told:"):
			if err := l.checkSealed(ctx, key, c); err != nil {
				return err
			}
		}
	}
	for some := range slices.Chunk(records, recordsAtOnce) {
		if err := l.checkRecords(ctx, p, some, scheduled, c); err != nil {
			return err
		}
	}
	for member, sets := range scheduled {
		if err := l.checkAgain(ctx, p, member, sets, c); err != nil {
			return err
		}
	}
	return nil
}

const recordsAtOnce = 500

func (l *Ledger) checkRecords(ctx context.Context, p int, names []string, scheduled map[string][]string, c *Checked) error {
	pipe := l.redis.Pipeline()
	values := make([]*redis.SliceCmd, len(names))
	for i, name := range names {
		values[i] = pipe.HMGet(ctx, prefix(p)+"r:"+name, liveFields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	for i, name := range names {
		if err := l.checkRecord(ctx, p, name, liveOf(values[i].Val()), scheduled, c); err != nil {
			return err
		}
	}
	return nil
}

// checkRecord checks one live record, and takes it off the schedule. The walk sees record and sets at different moments: what
// looks wrong is looked at again, all at one moment.
func (l *Ledger) checkRecord(ctx context.Context, p int, name string, f live, scheduled map[string][]string, c *Checked) error {
	sets := scheduled[name]
	delete(scheduled, name)
	if f == (live{}) {
		return nil // ended since the walk began
	}
	c.Live++
	if f.state == letters[Held] {
		c.Held++
	}
	if l.wrong(name, f, sets) == "" {
		return nil
	}
	return l.checkAgain(ctx, p, name, append(sets, "due:"+f.source), c)
}

// checkAgain looks at a record and the sets that it may stand in, all at one moment.
func (l *Ledger) checkAgain(ctx context.Context, p int, name string, sets []string, c *Checked) error {
	sets = append(sets, "track", "held")
	slices.Sort(sets)
	sets = slices.Compact(sets)
	tx := l.redis.TxPipeline()
	values := tx.HMGet(ctx, prefix(p)+"r:"+name, liveFields...)
	scores := make([]*redis.FloatCmd, len(sets))
	for i, set := range sets {
		scores[i] = tx.ZScore(ctx, prefix(p)+set, name)
	}
	if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return unavailable(err)
	}
	in := slices.DeleteFunc(slices.Clone(sets), func(set string) bool { return scores[slices.Index(sets, set)].Err() != nil })
	switch f := liveOf(values.Val()); {
	case f != (live{}):
		if wrong := l.wrong(name, f, in); wrong != "" {
			c.find("record %s %s", name, wrong)
		}
	case len(in) > 0:
		c.find("record %s stands in %s, and does not exist", name, strings.Join(in, ", "))
	}
	return nil
}

// wrong says what is wrong with a live record that stands in these sets; "" when nothing is.
func (l *Ledger) wrong(name string, f live, sets []string) string {
	key, foreign := parseKey(name)
	if foreign != nil {
		return "has no key of ours"
	}
	rec, err := l.readRecord(key, f)
	held := slices.Contains(sets, "held")
	switch {
	case err != nil:
		return err.Error()
	case rec.Source == "" || rec.State == "":
		return "has no source or no state"
	case f.state == letters[Held] && (!held || len(sets) != 1):
		return fmt.Sprintf("is held, and stands in %v", sets)
	case f.state == letters[Held]:
	case held:
		return fmt.Sprintf("stands among the held, and is %s", rec.State)
	case len(sets) == 0:
		return fmt.Sprintf("(%s) has no next time, is not held and has no end", rec.State)
	case rec.Locator.Type == "" && !slices.Contains(sets, "track"):
		return "does not know what to look at"
	}
	return ""
}

// checkSealed opens what finished records and messages leave behind of where documents are.
func (l *Ledger) checkSealed(ctx context.Context, redisKey string, c *Checked) error {
	all, err := l.redis.HGetAll(ctx, redisKey).Result()
	if err != nil {
		return unavailable(err)
	}
	for name, sealed := range all {
		if len(name) != len(Key{}) {
			c.find("whereabouts in %s are of no document", redisKey)
			continue
		}
		if _, err := l.seals.open(Key([]byte(name)), sealed); err == nil || sealed == "" {
			continue
		}
		if c.sealedUnder == nil {
			c.sealedUnder = map[uint8]int{}
		}
		c.sealedUnder[sealed[0]]++
	}
	return nil
}

func (l *Ledger) checkBucket(ctx context.Context, redisKey string, c *Checked) error {
	all, err := l.redis.HGetAll(ctx, redisKey).Result()
	if err != nil {
		return unavailable(err)
	}
	for name, value := range all {
		var rec Record
		if err := rec.reopen(value); err != nil || len(name) != len(Key{}) || len(value) > 64 {
			c.find("a finished record in %s is not readable", redisKey)
		}
		c.Finished++
	}
	return nil
}

// allKeys are all keys of the ledger, by partition.
func (l *Ledger) allKeys(ctx context.Context) ([Partitions][]string, error) {
	return l.keysLike(ctx, "*")
}

// keysLike are the keys of the ledger that follow a pattern behind their prefix, by partition.
func (l *Ledger) keysLike(ctx context.Context, pattern string) (byPartition [Partitions][]string, err error) {
	var mu sync.Mutex
	scan := func(ctx context.Context, node *redis.Client) error {
		found := node.Scan(ctx, 0, "staffetta:{*}:"+pattern, 1000).Iterator()
		for found.Next(ctx) {
			tag, _, _ := strings.Cut(strings.TrimPrefix(found.Val(), "staffetta:{"), "}")
			p, err := strconv.Atoi(tag)
			if err != nil || p < 0 || p >= Partitions {
				continue // the pace
			}
			mu.Lock()
			byPartition[p] = append(byPartition[p], found.Val())
			mu.Unlock()
		}
		return found.Err()
	}
	err = eachMaster(ctx, l.redis, scan)
	if err != nil {
		return byPartition, unavailable(err)
	}
	for p := range byPartition {
		slices.Sort(byPartition[p]) // a scan may name a key twice
		byPartition[p] = slices.Compact(byPartition[p])
	}
	return byPartition, nil
}
