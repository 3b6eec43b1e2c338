package adapter_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"staffetta/config"
	"staffetta/fhir"
	fse "staffetta/fhir/sandbox"
	"staffetta/notifier/sandbox"
)

// wire is a network to a server that may swallow what is sent: its connections stay, and nobody is heard any more.
type wire struct {
	net.Listener

	target string
	silent chan struct{} // closed once nothing comes through any more
	mu     sync.Mutex
	open   []net.Conn
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, target: target, silent: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", target)
			if err != nil {
				_ = from.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, from, to)
			w.mu.Unlock()
			all.Go(func() { w.carry(to, from) })
			all.Go(func() { w.carry(from, to) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		for _, conn := range w.open {
			_ = conn.Close()
		}
		w.mu.Unlock()
		all.Wait()
	})
	return w
}

func (w *wire) carry(to io.WriteCloser, from io.Reader) {
	defer func() { _ = to.Close() }()
	for buffer := make([]byte, 64<<10); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-w.silent:
			continue
		default:
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// Nor does a Redis that is silent, without refusing anything, keep a process that is asked to stop: what waits to be given back
// waits for no answer of it, one round trip after the other.
func TestASilentRedisKeepsNobodyFromStopping(t *testing.T) {
	t.Parallel()
	const n, workers = 12, 2
	w := build(t, fhir.ShapeReport, func(cfg *config.Config, _ *sandbox.Options) {
		cfg.Workers, cfg.Sources[0].Read.Timeout = workers, config.Duration(time.Minute)
	})
	defer func(straight config.Secret) { w.cfg.Redis.URL = straight }(w.cfg.Redis.URL) // by which the ledger is walked in the end
	to := newWire(t, w.redis.Options().Addr)
	w.cfg.Redis.URL = config.Secret("redis://" + to.Addr().String() + "/0")
	reading := make(chan struct{}, n)
	w.fse.Fault = func(_ http.ResponseWriter, r *http.Request) bool {
		reading <- struct{}{}
		<-r.Context().Done()
		return true
	}
	w.run(t)
	for _, c := range told(n, false) {
		w.publish(c)
		w.notify(t, fse.ClassicPut, c.Hints...)
	}
	await(t, reading)
	eventually(t, func() (int, bool) { leased := w.leased(t); return leased, leased > 3*workers }) // most of them wait for a slot
	close(to.silent)

	w.stopsInTime(t)
}
