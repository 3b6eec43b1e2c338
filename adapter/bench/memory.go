package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// measureMemory measures what pending and finished documents cost in Redis, and the program with many pending.
func measureMemory(ctx context.Context, o options, out io.Writer) error {
	w, err := startWorld(ctx)
	if err != nil {
		return err
	}
	defer w.stop()
	if err := measurePending(ctx, o, w, out); err != nil {
		return fmt.Errorf("pending: %w", err)
	}
	for _, content := range []string{"static", "remote"} {
		w.content = content
		if err := measureFinished(ctx, o, w, out); err != nil {
			return fmt.Errorf("finished, %s content: %w", content, err)
		}
	}
	return nil
}

func measurePending(ctx context.Context, o options, w *world, out io.Writer) error {
	r, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	c, err := startStaffetta(ctx, w, r, "24h", w.io(), ", journal_entries: 0")
	if err != nil {
		return err
	}
	defer c.stop()
	empty, err := r.memory(ctx)
	if err != nil {
		return err
	}
	if _, err := storm(ctx, c.addr, o.pending, smallReport); err != nil {
		return err
	}
	full, err := r.memory(ctx)
	if err != nil {
		return err
	}
	rss, err := c.resident()
	_, _ = fmt.Fprintf(out, "memory: %.0f bytes of Redis per pending document (%d of them), RSS of staffetta %.1f MB\n",
		float64(full-empty)/float64(o.pending), o.pending, float64(rss)/1e6)
	return err
}

// measureFinished lets so many documents end that none needs anything more: IO is told not to be followed.
func measureFinished(ctx context.Context, o options, w *world, out io.Writer) error {
	r, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	c, err := startStaffetta(ctx, w, r, "0s", w.io(), ", journal_entries: 0")
	if err != nil {
		return err
	}
	defer c.stop()
	empty, err := r.memory(ctx)
	if err != nil {
		return err
	}
	w.reset()
	if _, err := storm(ctx, c.addr, o.finished, smallReport); err != nil {
		return err
	}
	err = until(ctx, time.Hour, func() (bool, error) {
		open, err := r.client.Eval(ctx, openScript, nil).Int()
		return open == 0, err
	})
	if err != nil {
		return err
	}
	full, err := r.memory(ctx)
	_, _ = fmt.Fprintf(out, "memory: %.0f bytes of Redis per finished document, %s content (%d of them)\n", float64(full-empty)/float64(o.finished), w.content, o.finished)
	return err
}

// openScript counts the records that still need something.
const openScript = `local n = 0
for p = 0, 15 do n = n + redis.call('ZCARD', 'staffetta:{' .. p .. '}:track') + redis.call('ZCARD', 'staffetta:{' .. p .. '}:due:bench') end
return n`
