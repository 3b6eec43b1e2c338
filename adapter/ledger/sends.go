package ledger

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// lastSends are the messages that this process sent a moment ago. A Redis that was restarted or failed over to may have
// forgotten them: they are written again before anything else is claimed.
type lastSends struct {
	mu    sync.Mutex
	sends []remembered
	ids   string // run id and replication id of the Redis that we wrote to
	asked time.Time
}

type remembered struct {
	settlement Settlement
	at         time.Time
}

const (
	rememberFor  = 30 * time.Second // far beyond what `appendfsync everysec` and a failover lose
	askRedisID   = 100 * time.Millisecond
	staleOnlyFor = -1 // a token that no claim has: what was told is written, nothing else
)

// remember keeps the settlements by which a citizen was told.
func (s *lastSends) remember(settlements []Settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.sends) > 0 && now.Sub(s.sends[0].at) > rememberFor {
		s.sends = s.sends[1:]
	}
	for i := range settlements {
		if one := settlements[i]; one.Record.State == Sent || (one.Record.State == Delivered && !one.Record.Tracking) {
			one.Record.token, one.Admit, one.Aliases = staleOnlyFor, nil, nil
			s.sends = append(s.sends, remembered{one, now})
		}
	}
}

// lost says whether Redis is another one than before, after writing the last sends to it again.
func (s *lastSends) lost(ctx context.Context, l *Ledger) (bool, error) {
	s.mu.Lock()
	due := time.Since(s.asked) >= askRedisID
	if due {
		s.asked = time.Now()
	}
	s.mu.Unlock()
	if !due {
		return false, nil
	}
	ids, err := l.redisIDs(ctx)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	was := s.ids
	again := append([]remembered(nil), s.sends...)
	s.mu.Unlock()
	if was == "" || was == ids || ids == "" {
		s.note(ids)
		return false, nil
	}
	l.log.WarnContext(ctx, "redis is another one than before: the last sends are written again", slog.Int("sends", len(again)))
	settlements := make([]Settlement, len(again))
	for i := range again {
		settlements[i] = again[i].settlement
	}
	a := &asked{settlements: settlements}
	if len(settlements) > 0 {
		l.settleAll(ctx, []*asked{a})
	}
	if a.err == nil {
		s.note(ids)
	}
	return true, a.err
}

func (s *lastSends) note(ids string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = ids
}

// redisIDs are the ids that change when Redis restarts or another node becomes the master; "" where it names none.
func (l *Ledger) redisIDs(ctx context.Context) (string, error) {
	info, err := l.redis.Info(ctx, "server", "replication").Result()
	if err != nil {
		if strings.Contains(err.Error(), "ERR") { // an embedded one that has no INFO
			return "", nil
		}
		return "", unavailable(err)
	}
	var ids []string
	for line := range strings.Lines(info) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "run_id:") || strings.HasPrefix(line, "master_replid:") {
			ids = append(ids, line)
		}
	}
	return strings.Join(ids, " "), nil
}

// Run keeps watch over Redis' identity also while nothing is claimed, until ctx ends.
func (l *Ledger) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if _, err := l.sends.lost(ctx, l); err != nil && ctx.Err() == nil {
				l.log.WarnContext(ctx, "redis does not answer", slog.Any("error", err))
			}
		}
	}
}
