package adapter_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter"
	"staffetta/adapter/ledger/redistest"
	"staffetta/config"
	"staffetta/config/tlstest"
	"staffetta/fhir"
	"staffetta/notifier/sandbox"
)

// guarded is a redis-server that speaks TLS, wants a client certificate, and a password.
type guarded struct {
	folder, addr string
	ca           *tlstest.Authority
	args         []string // how a server, or Sentinel, speaks TLS
	config.Redis
}

const password = "a-password-for-tests"

func guard(t *testing.T) *guarded {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no redis-server on the PATH")
	}
	g := &guarded{folder: t.TempDir(), ca: tlstest.NewAuthority(t, "town")}
	caFile := tlstest.Write(t, g.folder, "ca.pem", g.ca.PEM())
	certFile, keyFile := g.ca.Issue(t, tlstest.Holder{}).Files(t, g.folder, "redis")
	g.args = []string{"--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", caFile, "--tls-auth-clients", "yes"}
	g.TLS = config.RedisTLS{CAFile: caFile}
	g.TLS.CertFile, g.TLS.KeyFile = g.ca.Issue(t, tlstest.Holder{}).Files(t, g.folder, "staffetta")
	g.Password = password

	g.addr = redistest.FreeAddress(t)
	_, port, err := net.SplitHostPort(g.addr)
	if err != nil {
		t.Fatal(err)
	}
	plain := redis.NewClient(&redis.Options{
		Addr: redistest.NewServer(t, append([]string{"--tls-port", port}, g.args...)...).Addr, DisableIdentity: true,
	})
	defer func() { _ = plain.Close() }()
	if err := plain.ConfigSet(t.Context(), "requirepass", password).Err(); err != nil {
		t.Fatal(err)
	}
	return g
}

// ping opens the Redis of a file and asks it once.
func ping(ctx context.Context, r config.Redis) error {
	client, closeAll, err := adapter.Connect(r)
	if err != nil {
		return err
	}
	defer closeAll()
	return client.Ping(ctx).Err()
}

func TestRedisIsMetByTLS(t *testing.T) {
	g := guard(t)
	g.URL = config.Secret("rediss://" + g.addr + "/0")
	strangers := tlstest.Write(t, g.folder, "strangers.pem", tlstest.NewAuthority(t, "strangers").PEM())
	for _, tt := range []struct {
		name   string
		change func(*config.Redis)
		ok     bool
	}{
		{"with the authority, our certificate and the password", func(*config.Redis) {}, true},
		{"not without our certificate", func(r *config.Redis) { r.TLS.CertFile, r.TLS.KeyFile = "", "" }, false},
		{"not where a stranger signed the server's", func(r *config.Redis) { r.TLS.CAFile = strangers }, false},
		{"not without the password", func(r *config.Redis) { r.Password = "" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := g.Redis
			tt.change(&r)
			if err := ping(t.Context(), r); (err == nil) != tt.ok {
				t.Errorf("error %v, want none: %v", err, tt.ok)
			}
		})
	}
}

func TestSentinelIsMetByTLSAndPassword(t *testing.T) {
	g := guard(t)
	sentinel := g.sentinel(t)
	g.Addresses, g.Master, g.TLS.Enabled, g.SentinelPassword = []string{sentinel}, "main", true, password
	err := redistest.Until(t.Context(), func(ctx context.Context) error { return ping(ctx, g.Redis) }) // Sentinel comes up
	if err != nil {
		t.Fatal(err)
	}
	stranger := g.Redis
	stranger.SentinelPassword = ""
	if err := ping(t.Context(), stranger); err == nil {
		t.Error("Sentinel let us in without its password")
	}
}

// sentinel watches the guarded server.
func (g *guarded) sentinel(t *testing.T) (addr string) {
	t.Helper()
	addr = redistest.FreeAddress(t)
	host, port, err := net.SplitHostPort(g.addr)
	if err != nil {
		t.Fatal(err)
	}
	_, own, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	file := tlstest.Write(t, g.folder, "sentinel.conf", fmt.Appendf(nil,
		"port 0\ntls-port %s\ntls-replication yes\nbind 127.0.0.1\nrequirepass %s\nsentinel monitor main %s %s 1\nsentinel auth-pass main %s\n",
		own, password, host, port, password))
	cmd := exec.CommandContext(t.Context(), "redis-server", append([]string{file, "--sentinel"}, g.args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the test's context, which is over by then, has killed it
	return addr
}

// serve starts on a Redis that may forget, and says how, once for each setting; of one that keeps everything it says nothing.
func TestServeSaysThatRedisMayForget(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no redis-server on the PATH")
	}
	const line = `"level":"ERROR","msg":"redis may forget what people were told","setting":"`
	w := build(t, fhir.ShapeReport)
	w.run(t)
	w.stop()
	if logs := w.logs.String(); strings.Contains(logs, "may forget") {
		t.Error("all is well, and it says", logs)
	}
	for name, value := range map[string]string{"appendonly": "no", "maxmemory-policy": "allkeys-lru"} {
		if err := w.redis.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t)
	logs := w.logs.String()
	if strings.Count(logs, line) != 2 || !strings.Contains(logs, line+"appendonly is no: ") || !strings.Contains(logs, line+"maxmemory-policy is allkeys-lru: ") {
		t.Errorf("want a line for each of both settings\n%s", logs)
	}
	if err := w.redis.ACLSetUser(t.Context(), "default", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.run(t)
	if logs := w.logs.String(); !strings.Contains(logs, `"level":"WARN","msg":"redis does not say whether it may forget what people were told"`) {
		t.Errorf("want a line that it cannot be asked\n%s", logs)
	}
}

// The embedded Redis forgets by nature: nothing is said of it.
func TestNothingIsAskedOfTheEmbeddedRedis(t *testing.T) {
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) { cfg.Redis.URL = config.EmbeddedRedis })
	w.damaged = "its ledger is gone with the program"
	w.run(t)
	if logs := w.logs.String(); strings.Contains(logs, "may forget") {
		t.Error(logs)
	}
	var said strings.Builder
	if well, err := adapter.CheckRedis(t.Context(), w.cfg, &said); err != nil || !well || said.Len() > 0 {
		t.Errorf("well %t, %v, %q", well, err, said.String())
	}
}
