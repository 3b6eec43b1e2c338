package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// measureTold measures the whole way, from notifications to messages, beside a loop that remembers nothing.
func measureTold(ctx context.Context, o options, out io.Writer) error {
	w, err := startWorld(ctx)
	if err != nil {
		return err
	}
	defer w.stop()
	competitors := []competitor{
		{"bare loop", func(ctx context.Context, _ *redisServer) (*child, error) {
			return startChild(ctx, "loop", w.fse(), w.io())
		}},
		{"staffetta", func(ctx context.Context, r *redisServer) (*child, error) {
			return startStaffetta(ctx, w, r, "0s", w.io(), "")
		}},
	}
	rates, cpu, redisCPU := make([][]float64, 2), make([][]float64, 2), make([][]float64, 2)
	for range o.rounds {
		for c, one := range competitors {
			got, err := toldOnce(ctx, o.documents, w, one)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			rates[c], cpu[c] = append(rates[c], got.perSecond), append(cpu[c], float64(got.cpu.Microseconds()))
			redisCPU[c] = append(redisCPU[c], float64(got.redis.Microseconds()))
		}
	}
	for c, one := range competitors {
		_, _ = fmt.Fprintf(out, "end to end: %-12s %7.0f told/s  %s   CPU %6.0f us per told document  %s   of Redis %4.0f us\n", one.name,
			median(rates[c]), ratio(rates[c], rates[0]), median(cpu[c]), ratio(cpu[c], cpu[0]), median(redisCPU[c]))
	}
	return measureCalls(ctx, w, out)
}

// told is how one run went; the times are processor time per told document.
type told struct {
	perSecond  float64
	cpu, redis time.Duration
}

// toldOnce posts n reports and waits for n messages.
func toldOnce(ctx context.Context, n int, w *world, one competitor) (told, error) {
	r, err := startRedis(ctx)
	if err != nil {
		return told{}, err
	}
	defer r.stop()
	c, err := one.start(ctx, r)
	if err != nil {
		return told{}, err
	}
	defer c.stop()
	const warm = 500
	if err := tell(ctx, w, c, n, warm); err != nil {
		return told{}, err
	}
	w.reset()
	own, ofRedis, err := used(c, r)
	if err != nil {
		return told{}, err
	}
	began := time.Now()
	if err := tell(ctx, w, c, 0, n); err != nil {
		return told{}, err
	}
	_, twice, last := w.tally()
	ownAfter, ofRedisAfter, err := used(c, r)
	if err == nil && twice > 0 {
		err = fmt.Errorf("%d told twice", twice)
	}
	each := time.Duration(n)
	return told{float64(n) / last.Sub(began).Seconds(), (ownAfter - own) / each, (ofRedisAfter - ofRedis) / each}, err
}

// used is the processor time of both so far.
func used(c *child, r *redisServer) (own, ofRedis time.Duration, err error) {
	if own, err = c.cpu(); err != nil {
		return own, 0, err
	}
	ofRedis, err = r.cpu()
	return own, ofRedis, err
}

// tell posts the reports from first on and waits until n more people are told.
func tell(ctx context.Context, w *world, c *child, first, n int) error {
	already, _, _ := w.tally()
	if _, err := storm(ctx, c.addr, n, func(i int) []byte { return smallReport(first + i) }); err != nil {
		return err
	}
	return until(ctx, 2*time.Minute, func() (bool, error) {
		told, _, _ := w.tally()
		return told >= already+n, nil
	})
}

// measureCalls counts IO's calls until every delivery has come to its end.
func measureCalls(ctx context.Context, w *world, out io.Writer) error {
	const n = 500
	r, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer r.stop()
	c, err := startStaffetta(ctx, w, r, "0s", w.io(), "")
	if err != nil {
		return err
	}
	defer c.stop()
	w.reset()
	if err := tell(ctx, w, c, 0, n); err != nil {
		return err
	}
	err = until(ctx, time.Minute, func() (bool, error) { // the first status is asked after 10 s
		tracked, err := r.client.Eval(ctx, trackedScript, nil).Int()
		return tracked == 0, err
	})
	_, _ = fmt.Fprintf(out, "IO calls per delivered message: %.3f\n", float64(w.calls.Load())/n)
	return err
}

// trackedScript counts the messages whose delivery is still followed.
const trackedScript = `local n = 0
for p = 0, 15 do n = n + redis.call('ZCARD', 'staffetta:{' .. p .. '}:track') end
return n`
