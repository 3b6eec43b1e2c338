package ledger

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// lastSends are the messages that this process sent a moment ago. A Redis that was restarted or failed over to may have
// forgotten them: they are written again before anything else is claimed.
type lastSends struct {
	look  sync.Mutex // one at a time looks: nobody uses a claim before the last sends are written again
	mu    sync.Mutex
	sends []remembered // a ring: once it is full, the oldest stands at next
	next  int
	count int64 // of all that were remembered
	// unwritten counts those that could not be written yet.
	unwritten int
	ids       string // run id and replication id of the Redis that we wrote to
	asked     time.Time

	dialed   atomic.Bool  // a new connection was made: it may lead to another Redis
	restarts atomic.Int64 // how often it did
}

type remembered struct {
	settlement Settlement
	at         time.Time
	number     int64 // of lastSends.count
	written    bool
}

const (
	rememberFor  = 30 * time.Second // far beyond what `appendfsync everysec` and a failover lose
	rememberMost = 4096             // far beyond what IO takes in that time
	askRedisID   = time.Second
	staleOnlyFor = -1 // a token that no claim has: what was told is written, nothing else
)

// remember keeps the settlements by which a citizen was told, the latest of them.
func (s *lastSends) remember(settlements []Settlement, written bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range settlements {
		one := &settlements[i]
		if !toldNow(&one.Record) {
			continue
		}
		s.nowWritten(one.Record.Key, written)
		if len(s.sends) < rememberMost {
			s.sends = append(s.sends, remembered{})
		}
		kept := &s.sends[s.next]
		if kept.at != (time.Time{}) && !kept.written {
			s.unwritten-- // it gives way
		}
		s.count++
		kept.settlement, kept.at, kept.number, kept.written = *one, time.Now(), s.count, written
		kept.settlement.Record.token, kept.settlement.Admit, kept.settlement.Aliases = staleOnlyFor, nil, nil
		s.next = (s.next + 1) % rememberMost
	}
}

// nowWritten notes that what could not be written of a record has been by now.
func (s *lastSends) nowWritten(key Key, written bool) {
	for i := 0; written && s.unwritten > 0 && i < len(s.sends); i++ {
		if one := &s.sends[i]; !one.written && one.settlement.Record.Key == key {
			one.written = true
			s.unwritten--
		}
	}
	if !written {
		s.unwritten++
	}
}

// recent are the settlements that Redis may have forgotten, in the order in which they were written, and the number of the last.
func (s *lastSends) recent() (all []Settlement, last int64) {
	for i := range s.sends {
		one := &s.sends[(s.next+i)%len(s.sends)]
		if !one.written || time.Since(one.at) <= rememberFor {
			all = append(all, one.settlement)
		}
	}
	return all, s.count
}

// rewritten notes that those up to a number are written again; what could not be written since is still not.
func (s *lastSends) rewritten(last int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.sends {
		if one := &s.sends[i]; !one.written && one.number <= last {
			one.written = true
			s.unwritten--
		}
	}
}

// lost says whether Redis is another one than before, after writing the last sends to it again.
func (s *lastSends) lost(ctx context.Context, l *Ledger) (bool, error) {
	s.look.Lock()
	defer s.look.Unlock()
	due := time.Since(s.asked) >= askRedisID
	if due {
		s.asked = time.Now()
	}
	if dialed := s.dialed.Swap(false); !due && !dialed {
		return false, nil
	}
	ids, err := l.redisIDs(ctx)
	if err != nil {
		s.dialed.Store(true)
		return false, err
	}
	s.mu.Lock()
	was := s.ids
	if s.unwritten == 0 && (was == "" || was == ids || ids == "") {
		s.ids = ids
		s.mu.Unlock()
		return false, nil
	}
	recent, last := s.recent()
	s.mu.Unlock()
	a, said := &asked{settlements: recent}, "what could not be written of the last sends is written again"
	if was != "" && ids != "" && was != ids {
		s.restarts.Add(1)
		said = "redis is another one than before: the last sends are written again"
	}
	l.log.WarnContext(ctx, said, slog.Int("sends", len(a.settlements))) //nolint:sloglint // one of the two above
	if len(a.settlements) > 0 {
		l.carry(ctx, []*asked{a})
	}
	if a.err != nil {
		s.dialed.Store(true)
		return true, a.err
	}
	s.note(ids)
	s.rewritten(last)
	return true, nil
}

func (s *lastSends) note(ids string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = ids
}

// redisIDs are the ids that change when Redis restarts or another node becomes a master; "" where it names none.
func (l *Ledger) redisIDs(ctx context.Context) (string, error) {
	cluster, is := l.redis.(*redis.ClusterClient)
	if !is {
		ids, err := idsOf(ctx, l.redis)
		return ids, err
	}
	var mu sync.Mutex
	var all []string
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		ids, err := idsOf(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, ids)
		return err
	})
	if err != nil {
		return "", unavailable(err)
	}
	slices.Sort(all)
	return strings.Join(all, " "), nil
}

func idsOf(ctx context.Context, node redis.Cmdable) (string, error) {
	info, err := node.Info(ctx, "server", "replication").Result()
	if err != nil {
		if text := err.Error(); strings.Contains(text, "ERR") || strings.Contains(text, "NOPERM") { // it has no INFO, or gives none
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

// watch notes every new connection: whatever happens to a Redis, it breaks those that were there.
func (s *lastSends) watch(client redis.UniversalClient) {
	if cluster, is := client.(*redis.ClusterClient); is {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(dials{s}) })
		return
	}
	client.AddHook(dials{s})
}

// dials is a hook of the Redis client that notes new connections.
type dials struct{ *lastSends }

// DialHook notes a new connection.
func (d dials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		d.dialed.Store(true)
		return next(ctx, network, addr)
	}
}

// ProcessHook changes nothing.
func (d dials) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook changes nothing.
func (d dials) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
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
