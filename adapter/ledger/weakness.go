package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Weaknesses are the settings by which a Redis may forget what people were told, each with what is wanted; none when all is
// well. On a cluster every master is asked, and named. It asks by INFO, which managed services allow where they forbid CONFIG.
func Weaknesses(ctx context.Context, client redis.UniversalClient) ([]string, error) {
	_, several := client.(*redis.ClusterClient)
	var mu sync.Mutex
	var all []string
	err := eachMaster(ctx, client, func(ctx context.Context, node *redis.Client) error {
		said, err := persistenceOf(ctx, node)
		if err != nil {
			return err
		}
		found, err := weaknessesIn(said)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, one := range found {
			if several {
				one = node.Options().Addr + ": " + one
			}
			all = append(all, one)
		}
		return nil
	})
	slices.Sort(all)
	if err != nil {
		return all, fmt.Errorf("ask redis how it keeps data: %w", err)
	}
	return all, nil
}

// errSaysNothing is of a Redis, or of what stands before it, that leaves out of INFO what we ask for.
var errSaysNothing = errors.New("INFO leaves out aof_enabled or maxmemory_policy")

// persistenceOf is what a node says of how it keeps data. It is asked twice: some that stand before a Redis know one section only.
func persistenceOf(ctx context.Context, node *redis.Client) (map[string]string, error) {
	said := map[string]string{}
	for _, section := range []string{"persistence", "memory"} {
		text, err := node.Info(ctx, section).Result()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if name, value, is := strings.Cut(strings.TrimSpace(line), ":"); is {
				said[name] = value
			}
		}
	}
	return said, nil
}

// weaknessesIn reads INFO. A policy that evicts is one also without a limit of memory: the day that somebody sets one is too late.
func weaknessesIn(said map[string]string) (found []string, err error) {
	if said["aof_enabled"] == "" || said["maxmemory_policy"] == "" {
		return nil, errSaysNothing
	}
	if said["aof_enabled"] == "0" {
		lost := said["rdb_changes_since_last_save"] + " changes by now"
		if said["rdb_last_bgsave_status"] == "err" {
			lost += ", and the last snapshot failed"
		}
		found = append(found, fmt.Sprintf("appendonly is no: a restart forgets what changed since the last snapshot (%s), want yes", lost))
	}
	if said["aof_last_write_status"] == "err" {
		found = append(found, "the last write to the append-only file failed: look at its disk")
	}
	if policy := said["maxmemory_policy"]; policy != "noeviction" {
		when := fmt.Sprintf("at %s bytes", said["maxmemory"])
		if said["maxmemory"] == "0" {
			when = "as soon as maxmemory is set"
		}
		found = append(found, fmt.Sprintf("maxmemory-policy is %s: %s it drops what people were told, want noeviction", policy, when))
	}
	return found, nil
}

// eachMaster calls do for the one Redis there is, or for all masters of a cluster at once.
func eachMaster(ctx context.Context, client redis.UniversalClient, do func(context.Context, *redis.Client) error) error {
	switch client := client.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, do)
	case *redis.Client:
		return do(ctx, client)
	}
	return errors.New("cannot walk this kind of Redis")
}
