// Package redistest gives tests a Redis of their own: a real redis-server where one is on the PATH, the embedded one
// otherwise, and says which. In CI the real one must be there.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Start gives an empty Redis that ends with the test.
func Start(tb testing.TB) redis.UniversalClient {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		tb.Log("redis: a real redis-server")
		return Real(tb)
	}
	if os.Getenv("CI") != "" {
		tb.Fatal("CI needs a redis-server on the PATH")
	}
	tb.Log("redis: the embedded one, no redis-server is on the PATH")
	return Embedded(tb)
}

// Each runs a test on the embedded Redis and, where there is a redis-server, on a real one and on a cluster.
func Each(t *testing.T, test func(*testing.T, redis.UniversalClient)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("real", func(t *testing.T) { needServer(t); test(t, Real(t)) })
	t.Run("cluster", func(t *testing.T) { needServer(t); test(t, Cluster(t)) })
}

func needServer(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no redis-server on the PATH")
	}
}

// Cluster starts a Redis Cluster of three masters, without replicas.
func Cluster(tb testing.TB) *redis.ClusterClient {
	tb.Helper()
	const nodes, slots = 3, 16384
	addresses := make([]string, nodes)
	for i := range addresses {
		s := NewServer(tb, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
		addresses[i] = s.Addr
		node := connect(tb, s.Addr)
		if err := node.ClusterAddSlotsRange(tb.Context(), i*slots/nodes, (i+1)*slots/nodes-1).Err(); err != nil {
			tb.Fatal(err)
		}
		host, port, err := net.SplitHostPort(addresses[0])
		if err != nil {
			tb.Fatal(err)
		}
		if err := node.ClusterMeet(tb.Context(), host, port).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, DisableIdentity: true})
	tb.Cleanup(func() { _ = client.Close() })
	whole := func() error {
		return client.ForEachMaster(tb.Context(), func(ctx context.Context, node *redis.Client) error {
			info, err := node.ClusterInfo(ctx).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")) {
				err = errors.New("the nodes do not know each other yet")
			}
			return err
		})
	}
	if err := until(tb.Context(), func(ctx context.Context) error {
		client.ReloadState(ctx)
		return whole()
	}); err != nil {
		tb.Fatal(err)
	}
	return client
}

// Flush empties a Redis, also a cluster.
func Flush(ctx context.Context, client redis.UniversalClient) error {
	if cluster, is := client.(*redis.ClusterClient); is {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() })
	}
	return client.FlushAll(ctx).Err()
}

// Embedded gives an embedded Redis.
func Embedded(tb testing.TB) *redis.Client {
	tb.Helper()
	return connect(tb, miniredis.RunT(tb).Addr())
}

// Real starts a redis-server with `appendonly`, without snapshots.
func Real(tb testing.TB) *redis.Client {
	tb.Helper()
	return connect(tb, NewServer(tb).Addr)
}

func connect(tb testing.TB, addr string) *redis.Client {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DisableIdentity: true})
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Server is a redis-server that a test may kill and start again on its data.
type Server struct {
	Addr string

	dir  string
	more []string // arguments
	mu   sync.Mutex
	cmd  *exec.Cmd
}

// NewServer starts a redis-server on a free loopback port, with more arguments than ours where they are given.
func NewServer(tb testing.TB, more ...string) *Server {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Addr: l.Addr().String(), dir: tb.TempDir(), more: more}
	_ = l.Close()
	s.Start(tb)
	tb.Cleanup(s.Kill)
	return s
}

// Start starts it, on what it remembers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		tb.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	//nolint:gosec,noctx // our own arguments; it ends by Kill
	s.cmd = exec.Command("redis-server", append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "warning", "--logfile", filepath.Join(s.dir, "log"),
	}, s.more...)...)
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	if err := answers(s.Addr); err != nil {
		tb.Fatal(err)
	}
}

// Kill is kill -9.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// answers waits until the server does.
func answers(addr string) error {
	client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer func() { _ = client.Close() }()
	err := until(context.Background(), func(ctx context.Context) error { return client.Ping(ctx).Err() })
	if err != nil {
		return fmt.Errorf("redis-server at %s does not answer: %w", strconv.Quote(addr), err)
	}
	return nil
}

// until asks until there is no error, or gives the last one.
func until(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}
