package ledger

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Count is what has reached us of a Subscription's events, by their numbers.
type Count struct {
	Known   bool      // anything is known
	Highest int64     // number that was received, or that the server says it has counted
	Raised  time.Time // when Highest rose
	Gaps    []Gap     // of what lies below Highest and has not reached us, ascending
	// Low is the highest of the numbers below that came again, of late: where they go on rising, the server counts anew.
	Low           int64
	Restarts      int64 // of the count, of late
	RestartsSince time.Time
	Useless       bool // it begins anew again and again: it says nothing
	Heard         time.Time
	Asked         time.Time // when we asked for its status, after silence
}

// Gap is a range of numbers that have not reached us.
type Gap struct {
	Span

	Since time.Time
}

// The fields of a Count in staffetta:sub:<source>:<id>, and that of a verdict and of the heartbeat.
const subHighest, subGaps, subCounter, subHeard, subVerdict, subHeartbeat = "h", "g", "n", "l", "v", "p"

// foreignLife is how long a Subscription that we did not write is remembered after it was heard of last.
const foreignLife = 30 * 24 * time.Hour

// SaveCount writes what has reached us of a Subscription; ours says that we wrote it ourselves.
func (l *Ledger) SaveCount(ctx context.Context, source, id string, c Count, ours bool) error {
	key := subKey(source, id)
	pipe := l.redis.Pipeline()
	pipe.HSet(ctx, key, subHighest, c.Highest, subGaps, gapsText(c.Gaps), subHeard, msText(c.Heard), subCounter, c.text())
	if ours {
		pipe.Persist(ctx, key) // whoever heard of it first may not have known yet that it is ours
	} else {
		pipe.Expire(ctx, key, foreignLife)
	}
	pipe.SAdd(ctx, subsKey(source), id)
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// SaveVerdict writes what is said of a Subscription for people; "" for nothing.
func (l *Ledger) SaveVerdict(ctx context.Context, source, id, verdict string) error {
	if err := l.redis.HSet(ctx, subKey(source, id), subVerdict, verdict).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

func (c Count) text() string {
	flags := map[bool]string{false: "0", true: "1"}
	return strings.Join([]string{
		flags[c.Known], msText(c.Raised), strconv.FormatInt(c.Low, 10), strconv.FormatInt(c.Restarts, 10), msText(c.RestartsSince),
		flags[c.Useless], msText(c.Asked),
	}, " ")
}

func parseCount(f map[string]string) Count {
	c := Count{Highest: decimal(f[subHighest]), Gaps: parseGaps(f[subGaps]), Heard: instant(f[subHeard])}
	words := strings.Split(f[subCounter], " ")
	if len(words) == 7 {
		c.Known, c.Raised, c.Low, c.Restarts = words[0] == "1", instant(words[1]), decimal(words[2]), decimal(words[3])
		c.RestartsSince, c.Useless, c.Asked = instant(words[4]), words[5] == "1", instant(words[6])
	}
	return c
}

func gapsText(gaps []Gap) string {
	parts := make([]string, len(gaps))
	for i, g := range gaps {
		parts[i] = strconv.FormatInt(g.From, 10) + "-" + strconv.FormatInt(g.To, 10) + "@" + msText(g.Since)
	}
	return strings.Join(parts, ",")
}

func parseGaps(text string) (gaps []Gap) {
	for part := range strings.SplitSeq(text, ",") {
		numbers, since, _ := strings.Cut(part, "@")
		for _, s := range parseSpans(numbers) {
			gaps = append(gaps, Gap{s, instant(since)})
		}
	}
	return gaps
}
