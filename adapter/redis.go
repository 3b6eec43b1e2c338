package adapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger"
	"staffetta/adapter/ledger/embedded"
	"staffetta/config"
)

// The time limits of one Redis command. Scripts take well under a millisecond; a Redis that needs longer is in trouble,
// and senders of notifications wait for it.
const (
	redisDial    = 3 * time.Second
	redisTimeout = 5 * time.Second
)

// Connect opens the Redis of the file. No command is sent yet. What it opened ends with close.
func Connect(r config.Redis) (client redis.UniversalClient, closeAll func(), err error) {
	if r.Embedded() {
		return connectEmbedded()
	}
	options, err := redisOptions(r)
	if err != nil {
		return nil, nil, err
	}
	client = redis.NewUniversalClient(options)
	return client, func() { _ = client.Close() }, nil
}

// connectEmbedded starts a Redis inside this process: in memory only.
func connectEmbedded() (redis.UniversalClient, func(), error) {
	addr, stop, err := embedded.Start()
	if err != nil {
		return nil, nil, err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	return client, func() { _ = client.Close(); stop() }, nil
}

// redisOptions are the client's settings for one server, Sentinel or Cluster.
func redisOptions(r config.Redis) (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{
		Addrs: r.Addresses, MasterName: r.Master, Username: r.Username, Password: string(r.Password),
		SentinelUsername: r.SentinelUsername, SentinelPassword: string(r.SentinelPassword),
		IsClusterMode: r.URL == "" && r.Master == "",
	}
	trust, err := r.Client()
	if err != nil {
		return nil, fmt.Errorf("redis.tls: %w", err)
	}
	o.TLSConfig = trust
	if r.URL != "" {
		one, err := redis.ParseURL(string(r.URL))
		if err != nil {
			return nil, errors.New("redis.url: want redis:// or rediss://") // its own error repeats the URL
		}
		o.Addrs, o.DB, o.Username = []string{one.Addr}, one.DB, one.Username
		if o.Password == "" {
			o.Password = one.Password
		}
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = redisDial, redisTimeout, redisTimeout
	o.MaxRetries = -1 // scripts that settle are retried by those who know what that means
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	return o, nil
}

// waitForRedis tries until Redis answers: after a power cut both machines come up together, in any order.
func waitForRedis(ctx context.Context, client redis.UniversalClient, troubled func(error)) error {
	for {
		err := client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for redis: %w", ctx.Err())
		}
		troubled(err)
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
}

// sayWeaknesses logs by which settings Redis may forget what it is told. The program works all the same: who restarts it in the
// night needs it more than a lecture.
func sayWeaknesses(ctx context.Context, client redis.UniversalClient, log *slog.Logger) {
	found, err := ledger.Weaknesses(ctx, client)
	for _, one := range found {
		log.ErrorContext(ctx, "redis may forget what people were told", slog.String("setting", one))
	}
	if err != nil {
		log.WarnContext(ctx, "redis does not say whether it may forget what people were told", slog.Any("error", err))
	}
}

// CheckRedis says by which settings Redis may forget what it is told; well is false where there are such. That it does not say so
// is no finding, and that it is away is one of those who need it.
func CheckRedis(ctx context.Context, cfg *config.Config, out io.Writer) (well bool, err error) {
	if cfg.Redis.Embedded() {
		return true, nil // it forgets by nature
	}
	client, closeRedis, err := Connect(cfg.Redis)
	if err != nil {
		return false, err
	}
	defer closeRedis()
	found, err := ledger.Weaknesses(ctx, client)
	for _, one := range found {
		_, _ = fmt.Fprintln(out, "finding: redis:", one)
	}
	switch {
	case err != nil:
		_, _ = fmt.Fprintln(out, "redis: it does not say whether it may forget:", err)
	case len(found) == 0:
		_, _ = fmt.Fprintln(out, "redis: it keeps what it is told: appendonly yes, maxmemory-policy noeviction")
	}
	return len(found) == 0, ctx.Err()
}
