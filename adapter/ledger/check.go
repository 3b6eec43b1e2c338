package ledger

import (
	"context"
	"errors"
	"fmt"
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
}

// Check walks the whole ledger. Sources are those that are configured: due records of others are waiting for nobody.
func (l *Ledger) Check(ctx context.Context, sources []string) (Checked, error) {
	var c Checked
	keys, err := l.allKeys(ctx)
	if err != nil {
		return c, err
	}
	for p := range Partitions {
		if err := l.checkPartition(ctx, p, keys[p], sources, &c); err != nil {
			return c, fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return c, nil
}

func (c *Checked) find(format string, args ...any) {
	c.Findings = append(c.Findings, fmt.Sprintf(format, args...))
}

func (l *Ledger) checkPartition(ctx context.Context, p int, keys, sources []string, c *Checked) error {
	scheduled := map[string][]string{} // record -> sets
	for _, set := range keys {
		name := strings.TrimPrefix(set, prefix(p))
		if name != "track" && name != "held" && !strings.HasPrefix(name, "due:") {
			continue
		}
		if source, isDue := strings.CutPrefix(name, "due:"); isDue && !slices.Contains(sources, source) {
			c.find("due set of source %s, which is not configured", source)
		}
		members, err := l.redis.ZRange(ctx, set, 0, -1).Result()
		if err != nil {
			return unavailable(err)
		}
		for _, member := range members {
			scheduled[member] = append(scheduled[member], name)
		}
	}
	for _, key := range keys {
		switch name := strings.TrimPrefix(key, prefix(p)); {
		case strings.HasPrefix(name, "r:"):
			if err := l.checkRecord(ctx, key, strings.TrimPrefix(name, "r:"), scheduled, c); err != nil {
				return err
			}
		case strings.HasPrefix(name, "done:"):
			if err := l.checkBucket(ctx, key, c); err != nil {
				return err
			}
		}
	}
	for member, sets := range scheduled {
		c.find("record %s stands in %s, and does not exist", member, strings.Join(sets, ", "))
	}
	return nil
}

// checkRecord checks one live record, and takes it off the schedule.
func (l *Ledger) checkRecord(ctx context.Context, redisKey, name string, scheduled map[string][]string, c *Checked) error {
	values, err := l.redis.HMGet(ctx, redisKey, liveFields...).Result()
	if err != nil {
		return unavailable(err)
	}
	sets, f := scheduled[name], liveOf(values)
	delete(scheduled, name)
	if f == (live{}) {
		return nil // ended since the walk began
	}
	key, foreign := parseKey(name)
	if foreign != nil {
		c.find("record %s has no key of ours", name)
		return nil //nolint:nilerr // a finding, not an error
	}
	rec, err := l.readRecord(key, f)
	held := slices.Contains(sets, "held")
	c.Live++
	switch {
	case err != nil:
		c.find("record %s: %v", name, err)
	case rec.Source == "" || rec.State == "":
		c.find("record %s has no source or no state", name)
	case f.state == letters[Held] && (!held || len(sets) != 1):
		c.find("record %s is held, and stands in %v", name, sets)
	case f.state == letters[Held]:
		c.Held++
	case held:
		c.find("record %s stands among the held, and is %s", name, rec.State)
	case len(sets) == 0:
		c.find("record %s (%s) has no next time, is not held and has no end", name, rec.State)
	case rec.Locator.Type == "" && !slices.Contains(sets, "track"):
		c.find("record %s does not know what to look at", name)
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
func (l *Ledger) allKeys(ctx context.Context) (byPartition [Partitions][]string, err error) {
	var mu sync.Mutex
	scan := func(ctx context.Context, node *redis.Client) error {
		found := node.Scan(ctx, 0, "staffetta:{*}:*", 1000).Iterator()
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
	switch client := l.redis.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, scan)
	case *redis.Client:
		err = scan(ctx, client)
	default:
		err = errors.New("cannot walk this kind of Redis")
	}
	if err != nil {
		return byPartition, unavailable(err)
	}
	for p := range byPartition {
		slices.Sort(byPartition[p]) // a scan may name a key twice
		byPartition[p] = slices.Compact(byPartition[p])
	}
	return byPartition, nil
}
