package adapter

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
)

// NewLog is the structured log (JSON, one line per thing that happened). An unknown level is info; the file is checked
// for it before.
func NewLog(w io.Writer, level string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: least}))
}

// TakeOverLogs makes what libraries write for this whole process lines of our log: whoever collects them reads JSON only.
func TakeOverLogs(log *slog.Logger) {
	slog.SetDefault(log)
	redis.SetLogger(redisLog{log})
}

// redisLog are the complaints of the Redis client, of connections and servers.
type redisLog struct{ *slog.Logger }

// toldByUs is how the client says that Redis is not there. Whoever needed it says the same, with what was being done.
const toldByUs = "redis: connection pool: failed to dial"

func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, toldByUs) {
		level = slog.LevelDebug
	}
	l.Log(ctx, level, "redis client", slog.String("says", fmt.Sprintf(format, v...)))
}
