package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

// competitor is one of those that are measured in turns.
type competitor struct {
	name  string
	start func(context.Context, *redisServer) (*child, error)
}

// measureIngest measures the endpoint alone: documents settle for an hour, so that nothing else happens. Once more while
// IO is away and everything is due at once: what is admitted is then of no use to the workers.
func measureIngest(ctx context.Context, o options, out io.Writer) error {
	w, err := startWorld(ctx)
	if err != nil {
		return err
	}
	defer w.stop()
	competitors := []competitor{
		{"bare gin + hash + EVALSHA", func(ctx context.Context, r *redisServer) (*child, error) {
			return startChild(ctx, "ingest", r.addr)
		}},
		{"staffetta", func(ctx context.Context, r *redisServer) (*child, error) {
			return startStaffetta(ctx, w, r, "1h", w.io(), "")
		}},
		{"staffetta, IO away", func(ctx context.Context, r *redisServer) (*child, error) {
			return startStaffetta(ctx, w, r, "0s", "http://127.0.0.1:1/api/v1", "")
		}},
	}
	for _, kind := range []struct {
		name string
		n    int
		body func(int) []byte
	}{
		{"2 KB report", o.requests, smallReport},
		{"4 KB id-only Bundle", o.requests, printedBundle},
		{"4 KB id-only Bundle, 6 events", o.requests, sixEventsBundle},
		{"1 MB report with PDF", o.large, largeReport},
	} {
		if err := compareIngest(ctx, o, out, kind.name, kind.n, kind.body, competitors); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return nil
}

func compareIngest(ctx context.Context, o options, out io.Writer, name string, n int, body func(int) []byte, competitors []competitor) error {
	rates := make([][]float64, len(competitors))
	slow := make([][]float64, len(competitors))
	for range o.rounds {
		for c, one := range competitors {
			got, err := ingestOnce(ctx, n, body, one)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			rates[c] = append(rates[c], got.perSecond)
			slow[c] = append(slow[c], float64(got.p99.Microseconds())/1000)
		}
	}
	for c, one := range competitors {
		_, _ = fmt.Fprintf(out, "ingest, %s: %-26s %9.0f requests/s  p99 %7.2f ms  %s\n", name, one.name,
			median(rates[c]), median(slow[c]), ratio(rates[c], rates[0]))
	}
	return nil
}

func ingestOnce(ctx context.Context, n int, body func(int) []byte, one competitor) (loaded, error) {
	r, err := startRedis(ctx)
	if err != nil {
		return loaded{}, err
	}
	defer r.stop()
	c, err := one.start(ctx, r)
	if err != nil {
		return loaded{}, err
	}
	defer c.stop()
	if _, err := storm(ctx, c.addr, max(connections, n/20), func(i int) []byte { return body(i + n) }); err != nil { // warm
		return loaded{}, err
	}
	return storm(ctx, c.addr, n, body)
}

// startStaffetta starts the program between redis and the world.
func startStaffetta(ctx context.Context, w *world, r *redisServer, settle, io, more string) (*child, error) {
	path, err := w.configured(r.dir, r.url(), settle, io, more)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return startChild(ctx, "staffetta", path)
}
