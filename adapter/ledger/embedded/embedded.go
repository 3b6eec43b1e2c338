// Package embedded is a Redis inside this process, in memory only: for trials, and for tests where there is no redis-server.
package embedded

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// tick is how late a key may expire.
const tick = 100 * time.Millisecond

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
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ended:
			return
		case <-ticker.C:
			now := time.Now()
			server.FastForward(now.Sub(last))
			last = now
		}
	}
}
