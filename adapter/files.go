package adapter

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"staffetta/config"
)

// files says aloud what becomes wrong with the files of the configuration while the program runs: a certificate that ends, or
// a rotation that failed, after which what the file held before remains in use and nobody would notice.
type files struct {
	ailing func(now time.Time) []string
	count  prometheus.Gauge
	log    *slog.Logger
	known  []string
}

const filesEvery = time.Minute

func newFiles(cfg *config.Config, registry prometheus.Registerer, log *slog.Logger) *files {
	f := &files{ailing: cfg.Ailing, log: log, known: cfg.Ailing(time.Now()), count: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "staffetta_ailing_files",
		Help: "Files of the configuration that cannot be read again, or whose certificate has expired or soon will: the log says which.",
	})} // those known at start are among the warnings of the configuration
	f.count.Set(float64(len(f.known)))
	registry.MustRegister(f.count)
	return f
}

// Run looks once a minute until ctx ends.
func (f *files) Run(ctx context.Context) error {
	ticker := time.NewTicker(filesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			f.look(ctx, time.Now())
		}
	}
}

func (f *files) look(ctx context.Context, now time.Time) {
	found := f.ailing(now)
	for _, what := range found {
		if !slices.Contains(f.known, what) {
			f.log.ErrorContext(ctx, "a file of the configuration is not well", slog.String("file", what))
		}
	}
	for _, what := range f.known {
		if !slices.Contains(found, what) {
			f.log.WarnContext(ctx, "this is no longer so of a file of the configuration", slog.String("file", what))
		}
	}
	f.known = found
	f.count.Set(float64(len(found)))
}
