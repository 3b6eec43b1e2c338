package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Strays counts the live records that wait for a source that is none of these, by that source: they are due, or held, and nobody
// takes their next step. Messages whose delivery is followed are not among them: that asks IO only. It walks all keys of Redis.
func (l *Ledger) Strays(ctx context.Context, sources []string) (map[string]int64, error) {
	sets, err := l.keysLike(ctx, "due:*")
	if err != nil {
		return nil, err
	}
	strays := map[string]int64{}
	for p := range Partitions {
		if err := l.countStrays(ctx, p, sets[p], sources, strays); err != nil {
			return nil, err
		}
	}
	return strays, nil
}

// countStrays adds those of one partition, whose due sets are among its keys.
func (l *Ledger) countStrays(ctx context.Context, p int, keys, sources []string, strays map[string]int64) error {
	for _, set := range keys {
		source, isDue := strings.CutPrefix(set, prefix(p)+"due:")
		if !isDue || slices.Contains(sources, source) {
			continue
		}
		n, err := l.redis.ZCard(ctx, set).Result()
		if err != nil {
			return unavailable(err)
		}
		if n > 0 { // it may have ended since the walk
			strays[source] += n
		}
	}
	held, err := l.redis.ZRange(ctx, heldKey(p), 0, -1).Result()
	if err != nil {
		return unavailable(err)
	}
	for some := range slices.Chunk(held, recordsAtOnce) {
		found, err := l.sourcesOf(ctx, p, some)
		if err != nil {
			return err
		}
		for _, source := range found {
			if source != "" && !slices.Contains(sources, source) {
				strays[source]++
			}
		}
	}
	return nil
}

// sourcesOf are the sources of live records of one partition; "" of one that has ended since.
func (l *Ledger) sourcesOf(ctx context.Context, p int, names []string) ([]string, error) {
	pipe := l.redis.Pipeline()
	found := make([]*redis.StringCmd, len(names))
	for i, name := range names {
		found[i] = pipe.HGet(ctx, prefix(p)+"r:"+name, liveFields[0])
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, unavailable(err)
	}
	sources := make([]string, len(found))
	for i, cmd := range found {
		sources[i] = cmd.Val()
	}
	return sources, nil
}
