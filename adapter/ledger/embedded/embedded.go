// Package embedded is a Redis inside this process, in memory only: for trials, and for tests where there is no redis-server.
package embedded

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how late a key of a small database may expire; of a large one later, since miniredis then goes through all keys.
const (
	tick  = 100 * time.Millisecond
	spare = 50 // times as long as that took it waits at least
)

// Start starts one; it ends with stop.
func Start() (addr string, stop func(), err error) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		return "", nil, fmt.Errorf("start embedded redis: %w", err)
	}
	ended := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() { expire(server, ended) })
	return server.Addr(), func() {
		close(ended)
		clock.Wait()
		server.Close()
	}, nil
}

// expire lets keys come to their end: miniredis leaves time to those who test with it.
func expire(server *miniredis.Miniredis, ended <-chan struct{}) {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for last := time.Now(); ; {
		select {
		case <-ended:
			return
		case <-timer.C:
			now := time.Now()
			server.FastForward(now.Sub(last))
			last = now
			timer.Reset(max(tick, spare*time.Since(now)))
		}
	}
}
