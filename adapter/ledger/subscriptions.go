package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"staffetta/fhir"
)

// Subscription is what we remember of one of our Subscriptions at a source. Others add fields of their own to its hash
// (design, section 4): what is written here leaves them alone.
type Subscription struct {
	ID          string
	Endpoint    string        // as the server wrote it down
	Fingerprint string        // of what was wanted when it was written: tells whether the configuration has changed
	Status      string        // as the server said last: requested, active, error, off
	Since       time.Time     // since when it is so, ms
	Checked     time.Time     // when the server was asked last, ms
	Events      int64         // that the server says it has counted, -1 unknown; what has reached us is another matter
	Heartbeat   time.Duration // that the server promises; 0: none
	Anew        bool          // when it is remembered: its status begins now, also where it was the same before
	// Of what reaches us, written by others (SaveCount, SaveVerdict):
	Count   Count
	Verdict string // for people; "" for none
}

// Ours says whether we wrote it ourselves. Others were only heard of.
func (s Subscription) Ours() bool { return s.Fingerprint != "" }

// The fields of staffetta:sub:<source>:<id>.
const (
	subEndpoint, subFingerprint, subStatus, subSince, subChecked, subCounted = "e", "w", "s", "t", "c", "a"
)

// RememberSubscription writes what is known of a Subscription. The status' time is kept while the status stays the same,
// unless it begins anew.
func (l *Ledger) RememberSubscription(ctx context.Context, source string, s Subscription) error {
	if !fhir.IsID(s.ID) {
		return errors.New("a Subscription without an id")
	}
	now, err := l.pace.now(ctx)
	if err != nil {
		return err
	}
	known, err := l.redis.HMGet(ctx, subKey(source, s.ID), subStatus, subSince).Result()
	if err != nil {
		return unavailable(err)
	}
	since := now.UnixMilli()
	if !s.Anew && len(known) == 2 && text(known[0]) == s.Status && text(known[1]) != "" {
		since = decimal(text(known[1]))
	}
	fields := []any{
		subEndpoint, s.Endpoint, subFingerprint, s.Fingerprint, subStatus, s.Status, subSince, since, subChecked, now.UnixMilli(),
	}
	if s.Events >= 0 {
		fields = append(fields, subCounted, s.Events)
	}
	fields = append(fields, subHeartbeat, s.Heartbeat.Milliseconds())
	// The hash first: a name in the set without its hash would be a Subscription of which we know nothing.
	if err := l.redis.HSet(ctx, subKey(source, s.ID), fields...).Err(); err != nil {
		return unavailable(err)
	}
	if err := l.redis.Persist(ctx, subKey(source, s.ID)).Err(); err != nil { // it may have been heard of before it was known
		return unavailable(err)
	}
	if err := l.redis.SAdd(ctx, subsKey(source), s.ID).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// ForgetSubscription drops all that is known of a Subscription that is no more.
func (l *Ledger) ForgetSubscription(ctx context.Context, source, id string) error {
	if err := l.redis.SRem(ctx, subsKey(source), id).Err(); err != nil {
		return unavailable(err)
	}
	if err := l.redis.Del(ctx, subKey(source, id)).Err(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Subscriptions are all that we remember of a source, by id.
func (l *Ledger) Subscriptions(ctx context.Context, source string) ([]Subscription, error) {
	ids, err := l.redis.SMembers(ctx, subsKey(source)).Result()
	if err != nil {
		return nil, unavailable(err)
	}
	slices.Sort(ids)
	pipe := l.redis.Pipeline()
	found := make([]*redis.MapStringStringCmd, len(ids))
	for i, id := range ids {
		found[i] = pipe.HGetAll(ctx, subKey(source, id))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, unavailable(err)
	}
	all := make([]Subscription, 0, len(ids))
	for i, id := range ids {
		if f := found[i].Val(); len(f) > 0 {
			all = append(all, readSubscription(id, f))
			continue
		}
		if err := l.redis.SRem(ctx, subsKey(source), id).Err(); err != nil { // not heard of for a long time
			return nil, unavailable(err)
		}
	}
	return all, nil
}

func readSubscription(id string, f map[string]string) Subscription {
	s := Subscription{
		ID: id, Endpoint: f[subEndpoint], Fingerprint: f[subFingerprint], Status: f[subStatus], Events: -1,
		Since: time.UnixMilli(decimal(f[subSince])), Checked: time.UnixMilli(decimal(f[subChecked])),
		Heartbeat: time.Duration(decimal(f[subHeartbeat])) * time.Millisecond, Count: parseCount(f), Verdict: f[subVerdict],
	}
	if f[subCounted] != "" {
		s.Events = decimal(f[subCounted])
	}
	return s
}
