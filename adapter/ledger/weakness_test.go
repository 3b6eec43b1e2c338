package ledger

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

func TestARedisThatMayForgetIsFound(t *testing.T) {
	const (
		noFile    = "appendonly is no: a restart forgets what changed since the last snapshot (0 changes by now), want yes"
		evicts    = "maxmemory-policy is allkeys-lru: at 104857600 bytes it drops what people were told, want noeviction"
		mayEvict  = "maxmemory-policy is volatile-ttl: as soon as maxmemory is set it drops what people were told, want noeviction"
		unlimited = "0"
	)
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"as the README wants it", nil, nil},
		{"nothing is dropped where memory ends, and it may end", []string{"--maxmemory", "100mb"}, nil},
		{"it writes no file", []string{"--appendonly", "no"}, []string{noFile}},
		{"it drops what is old", []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, []string{evicts}},
		{"it would drop what has an end, once it has a limit", []string{"--maxmemory", unlimited, "--maxmemory-policy", "volatile-ttl"}, []string{mayEvict}},
		{"a cache", []string{"--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, []string{noFile, evicts}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := redis.NewClient(&redis.Options{Addr: redistest.NewServer(t, tt.args...).Addr, DisableIdentity: true})
			defer func() { _ = client.Close() }()
			got, err := Weaknesses(t.Context(), client)
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

// What a disk does to Redis is read from its own words.
func TestWhatFailedIsAWeakness(t *testing.T) {
	said := map[string]string{
		"aof_enabled": "0", "rdb_changes_since_last_save": "7", "rdb_last_bgsave_status": "err", "aof_last_write_status": "err",
		"maxmemory_policy": "noeviction",
	}
	want := []string{
		"appendonly is no: a restart forgets what changed since the last snapshot (7 changes by now, and the last snapshot failed), want yes",
		"the last write to the append-only file failed: look at its disk",
	}
	got, err := weaknessesIn(said)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	for _, missing := range []string{"aof_enabled", "maxmemory_policy"} {
		less := maps.Clone(said)
		delete(less, missing)
		if got, err := weaknessesIn(less); !errors.Is(err, errSaysNothing) {
			t.Errorf("without %s: %v %v, want %v", missing, got, err, errSaysNothing)
		}
	}
}

// One master of a cluster is enough to forget a part of what people were told.
func TestEveryMasterIsAsked(t *testing.T) {
	cluster := redistest.Cluster(t)
	if got, err := Weaknesses(t.Context(), cluster); err != nil || len(got) > 0 {
		t.Fatalf("%v %v, want none", got, err)
	}
	master, err := cluster.MasterForKey(t.Context(), prefix(0))
	if err != nil {
		t.Fatal(err)
	}
	set := func(ctx context.Context, policy string) {
		if err := master.ConfigSet(ctx, "maxmemory-policy", policy).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set(t.Context(), "allkeys-lru")
	defer set(t.Context(), "noeviction") // other tests share the cluster
	got, err := Weaknesses(t.Context(), cluster)
	if err != nil || len(got) != 1 || !strings.HasPrefix(got[0], master.Options().Addr+": maxmemory-policy is allkeys-lru") {
		t.Errorf("%v %v, want one, of %s", got, err, master.Options().Addr)
	}
}

// Who may not ask, or is told nothing, does not take it for well.
func TestARedisThatDoesNotSayIsNoGoodOne(t *testing.T) {
	t.Run("no section", func(t *testing.T) {
		if got, err := Weaknesses(t.Context(), redistest.Embedded(t)); err == nil {
			t.Errorf("%v, want an error", got)
		}
	})
	t.Run("no permission", func(t *testing.T) {
		client := redistest.Real(t)
		if err := client.ACLSetUser(t.Context(), "default", "-info").Err(); err != nil {
			t.Fatal(err)
		}
		if got, err := Weaknesses(t.Context(), client); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%v %v, want NOPERM", got, err)
		}
	})
}
