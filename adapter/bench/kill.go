package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// measureKill kills the program in the middle of its work, starts it again, and measures the time until the last is told.
func measureKill(ctx context.Context, o options, out io.Writer) error {
	w, err := startWorld(ctx)
	if err != nil {
		return err
	}
	defer w.stop()
	var times []float64
	twice := 0
	for range o.rounds {
		took, again, err := killOnce(ctx, o.killed, w)
		if err != nil {
			return err
		}
		times, twice = append(times, took.Seconds()), twice+again
	}
	_, _ = fmt.Fprintf(out, "kill -9: %.1f s to the last message (lease 15 s); told twice in %d rounds: %d of %d, each a send known to be uncertain\n",
		median(times), o.rounds, twice, o.rounds*o.killed)
	return nil
}

func killOnce(ctx context.Context, n int, w *world) (time.Duration, int, error) {
	r, err := startRedis(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer r.stop()
	first, err := startStaffetta(ctx, w, r, "0s", w.io(), "")
	if err != nil {
		return 0, 0, err
	}
	w.reset()
	if _, err := storm(ctx, first.addr, n, smallReport); err != nil {
		return 0, 0, err
	}
	first.kill()
	killed := time.Now()
	second, err := startStaffetta(ctx, w, r, "0s", w.io(), "")
	if err != nil {
		return 0, 0, err
	}
	defer second.stop()
	err = until(ctx, time.Minute, func() (bool, error) {
		told, _, _ := w.tally()
		return told >= n, nil
	})
	_, twice, last := w.tally()
	return last.Sub(killed), twice, err
}
