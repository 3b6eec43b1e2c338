package ledger

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// threeMasters is three masters on loopback.
func threeMasters(t *testing.T) *redis.ClusterClient {
	t.Helper()
	var addrs []string
	for range 3 {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		_, port := splitAddr(addr)
		if len(port) == 5 && port > "55535" {
			t.Skip("no room for the cluster's bus port")
		}
		dir := t.TempDir()
		cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--cluster-enabled", "yes", "--logfile", dir+"/log")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		addrs = append(addrs, addr)
	}
	for _, addr := range addrs {
		c := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
		for range 100 {
			if c.Ping(t.Context()).Err() == nil {
				break
			}
			<-time.After(20 * time.Millisecond)
		}
		_ = c.Close()
	}
	out, err := exec.Command("redis-cli", append([]string{"--cluster", "create", "--cluster-yes"}, addrs...)...).CombinedOutput()
	if err != nil {
		t.Fatal(err, string(out))
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs, DialTimeout: 3 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxRetries: -1,
		ContextTimeoutEnabled: true, DisableIdentity: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	for range 200 {
		if info, err := client.ClusterInfo(t.Context()).Result(); err == nil && strings.Contains(info, "cluster_state:ok") && client.Set(t.Context(), "x", 1, 0).Err() == nil {
			break
		}
		<-time.After(50 * time.Millisecond)
	}
	return client
}

// 16. On a cluster no failover is seen where there is none.
func TestClusterIsNotTakenForAnotherRedis(t *testing.T) {
	r := handOpen(t, threeMasters(t))
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

// 17. The ledger on a cluster, from hint to end.
func TestClusterWorks(t *testing.T) {
	r := handOpen(t, threeMasters(t))
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
