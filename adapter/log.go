package adapter

import (
	"io"
	"log/slog"
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
