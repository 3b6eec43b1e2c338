package embedded_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/embedded"
	"staffetta/adapter/ledger/redistest"
)

// What has a time to live ends, as in a real Redis: leases and covers are such keys.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	addr, stop, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer func() { _ = client.Close() }()
	for key, lives := range map[string]time.Duration{"short": time.Millisecond, "long": time.Hour, "for good": 0} {
		if err := client.Set(t.Context(), key, "x", lives).Err(); err != nil {
			t.Fatal(err)
		}
	}
	err = redistest.Until(t.Context(), func(ctx context.Context) error {
		if n, err := client.Exists(ctx, "short").Result(); err != nil || n > 0 {
			return errors.New("it is there yet")
		}
		return nil
	})
	if err != nil {
		t.Error("a key outlives its time")
	}
	if n := client.Exists(t.Context(), "long", "for good").Val(); n != 2 {
		t.Errorf("%d of two keys whose time has not come", n)
	}
}
