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

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/embedded"
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
	t.Run("real", func(t *testing.T) {
		needServer(t)
		test(t, connect(t, shared.one(t)))
	})
	t.Run("cluster", func(t *testing.T) { test(t, Cluster(t)) })
}

// Cluster gives an empty Redis Cluster of three masters, which all tests of a package share.
func Cluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	needServer(t)
	return connectCluster(t, shared.three(t))
}

// shared are the servers that all tests of a package use, one after the other, empty for each: a cluster needs seconds to
// start. A package whose tests use Each calls Stop when they are over.
var shared servers

type servers struct {
	mu      sync.Mutex
	started []*Server
	dir     string
}

// Stop ends the servers that Each started.
func Stop() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, s := range shared.started {
		s.Kill()
	}
	_ = os.RemoveAll(shared.dir)
	shared.started = nil
}

// nth starts the n-th server where it does not run yet.
func (s *servers) nth(tb testing.TB, n int, more ...string) *Server {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "staffetta-redis") //nolint:usetesting // it outlives the test
		if err != nil {
			tb.Fatal(err)
		}
		s.dir = dir
	}
	for len(s.started) <= n {
		s.started = append(s.started, &Server{})
	}
	if s.started[n].Addr == "" {
		dir := filepath.Join(s.dir, strconv.Itoa(n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			tb.Fatal(err)
		}
		s.started[n] = newServer(tb, dir, more...)
	}
	return s.started[n]
}

// one is the address of an empty server.
func (s *servers) one(tb testing.TB) string {
	tb.Helper()
	server := s.nth(tb, 0)
	if err := Flush(tb.Context(), connect(tb, server.Addr)); err != nil {
		tb.Fatal(err)
	}
	return server.Addr
}

// three are the addresses of an empty cluster.
func (s *servers) three(tb testing.TB) []string {
	tb.Helper()
	s.mu.Lock()
	known := len(s.started) > nodes
	s.mu.Unlock()
	addresses := make([]string, nodes)
	for i := range addresses {
		addresses[i] = s.nth(tb, 1+i, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf").Addr
	}
	if !known {
		join(tb, addresses)
	}
	if err := Flush(tb.Context(), connectCluster(tb, addresses)); err != nil {
		tb.Fatal(err)
	}
	return addresses
}

// needServer leaves out what only a real server can show, where there is none; CI has one.
func needServer(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "" {
		tb.Skip("no redis-server on the PATH")
	}
}

// nodes are the masters of a cluster, and slots what they share.
const nodes, slots = 3, 16384

// join makes a cluster of servers that know nothing of each other, and waits until it is whole.
func join(tb testing.TB, addresses []string) {
	tb.Helper()
	host, port, err := net.SplitHostPort(addresses[0])
	if err != nil {
		tb.Fatal(err)
	}
	for i, address := range addresses {
		node := connect(tb, address)
		if err := node.ClusterAddSlotsRange(tb.Context(), i*slots/nodes, (i+1)*slots/nodes-1).Err(); err != nil {
			tb.Fatal(err)
		}
		if err := node.ClusterMeet(tb.Context(), host, port).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	client := connectCluster(tb, addresses)
	err = Until(tb.Context(), func(ctx context.Context) error {
		client.ReloadState(ctx)
		return client.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			info, err := node.ClusterInfo(ctx).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")) {
				err = errors.New("the nodes do not know each other yet")
			}
			return err
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func connectCluster(tb testing.TB, addresses []string) *redis.ClusterClient {
	tb.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses, DisableIdentity: true})
	tb.Cleanup(func() { _ = client.Close() })
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
	addr, stop, err := embedded.Start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return connect(tb, addr)
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
	done chan struct{} // it has ended
}

// NewServer starts a redis-server on a free loopback port, with more arguments of its own; it ends with the test.
func NewServer(tb testing.TB, more ...string) *Server {
	tb.Helper()
	needServer(tb)
	s := newServer(tb, tb.TempDir(), more...)
	tb.Cleanup(s.Kill)
	return s
}

func newServer(tb testing.TB, dir string, more ...string) *Server {
	tb.Helper()
	var err error
	for range 5 { // somebody else may take the port before it does
		s := &Server{Addr: FreeAddress(tb), dir: dir, more: more}
		if err = s.start(); err == nil {
			return s
		}
		s.Kill()
	}
	tb.Fatal(err)
	return nil
}

// FreeAddress is a free loopback address; a node of a cluster also listens ten thousand ports above.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	const highest = 65535 - 10000
	for {
		l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = l.Close() }() // not before: the same port would come again
		if address, is := l.Addr().(*net.TCPAddr); is && address.Port <= highest {
			return address.String()
		}
	}
}

// Start starts it, on what it remembers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
}

func (s *Server) start() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	//nolint:gosec,noctx // our own arguments; it ends by Kill
	cmd, done := exec.Command("redis-server", append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "warning", "--logfile", filepath.Join(s.dir, "log"),
	}, s.more...)...), make(chan struct{})
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	return s.answers()
}

// Kill is kill -9.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.done
		s.cmd = nil
	}
}

// Forget removes what a killed server wrote: it starts empty, as after a power loss of the worst kind.
func (s *Server) Forget() error { return os.RemoveAll(filepath.Join(s.dir, "appendonlydir")) }

// answers waits until the server does, and not another one that has its port.
func (s *Server) answers() error {
	client := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true})
	defer func() { _ = client.Close() }()
	own := fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := Until(ctx, func(ctx context.Context) error {
		select {
		case <-s.done:
			cancel()
			return errors.New("it has ended")
		default:
		}
		info, err := client.Info(ctx, "server").Result()
		switch {
		case err != nil:
			return err
		case !strings.Contains(info, own):
			return errors.New("another one does")
		}
		return client.Ping(ctx).Err() // it may read its data yet
	})
	if err != nil {
		return fmt.Errorf("redis-server at %s does not answer: %w", strconv.Quote(s.Addr), err)
	}
	return nil
}

// Until asks until there is no error, or gives the last one.
func Until(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
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
