package ledger

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

// On a cluster no failover is seen where there is none.
func TestClusterIsNotTakenForAnotherRedis(t *testing.T) {
	r := handOpen(t, redistest.Cluster(t))
	ids := map[string]int{}
	for range 60 {
		id, err := r.redisIDs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids[id]++
	}
	if len(ids) != 1 {
		t.Errorf("%d different identities of one cluster in 60 looks: every other claim is thrown away", len(ids))
	}
	for n := range 100 {
		r.admit(documentHint(r.Ledger, "north", n))
	}
	empty, got := 0, 0
	for range 40 {
		r.sends.asked = time.Time{}
		n := len(r.claims())
		if n == 0 && got < 100 {
			empty++
		}
		got += n
	}
	if empty > 0 || got != 100 {
		t.Errorf("%d of 40 claims came back empty (%d claimed)", empty, got)
	}
	r.well()
}

// The ledger on a cluster, from hint to end.
func TestClusterWorks(t *testing.T) {
	r := handOpen(t, redistest.Cluster(t))
	r.sends.asked = time.Now().Add(time.Hour) // without the look at the identity
	for n := range 50 {
		r.admit(versioned(documentHint(r.Ledger, "north", n), 1000, 1, 0))
	}
	client, _ := r.redis.(*redis.ClusterClient)
	if err := client.ForEachMaster(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() }); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range 10 {
		for _, rec := range r.claims() {
			n++
			rec = sentRecord(rec, 1000, 1, messageA, rec.Now)
			rec.State = Delivered
			r.settle(rec, Next{}, "delivered")
		}
	}
	if n != 50 {
		t.Errorf("%d claimed, want 50", n)
	}
	for n := range 50 {
		if got := r.admit(versioned(documentHint(r.Ledger, "north", n), 1000, 1, 0)); got[0] != Duplicate {
			t.Error(got)
		}
	}
	if _, err := r.Stats(t.Context(), []string{"north"}); err != nil {
		t.Error(err)
	}
	if _, err := r.Journal(t.Context(), 10); err != nil {
		t.Error(err)
	}
	if _, err := r.Pace().State(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := r.Pace().Take(t.Context(), Want{Calls: 1, Rate: 20, Class: "polls"}); err != nil {
		t.Error(err)
	}
	r.well()
}
