package adapter_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter"
	"staffetta/adapter/ledger/redistest"
)

// That Redis is away is said once, by whoever needed it; what else the client says is a line of our log.
func TestAnOutageIsNotToldByTheClientToo(t *testing.T) {
	var said logs
	adapter.TakeOverLogs(adapter.NewLog(&said, "info"))
	t.Cleanup(func() { adapter.TakeOverLogs(slog.New(slog.DiscardHandler)) })
	client := redis.NewClient(&redis.Options{Addr: redistest.FreeAddress(t), MaxRetries: -1})
	defer func() { _ = client.Close() }()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Fatal("somebody answers")
	}
	if strings.Contains(said.String(), "failed to dial") {
		t.Errorf("the client repeats what its caller says: %s", said.String())
	}
}
