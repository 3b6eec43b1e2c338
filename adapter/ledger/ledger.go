package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options are what a ledger needs.
type Options struct {
	Redis     redis.UniversalClient
	NamingKey []byte    // 32 bytes; another one would tell everybody again
	SealKeys  []SealKey // the first one seals, all of them open
	Lease     time.Duration
	// Retention is how long finished records are kept at least; they expire with the month that they ended in.
	Retention time.Duration
	// References is how long it is kept where documents are read again whose messages have a reference; default 400 days.
	References     time.Duration
	WaitReplicas   int // replicas of Redis that must have `sending` before the POST; 0 = none
	JournalEntries int // kept for each partition; 0 = no journal
	// Skew is added to Redis' clock, for trials at another time than now; nil for none.
	Skew func() time.Duration
	// Looks is for those who write nothing: an empty ledger stays empty, and whoever comes to write says so.
	Looks bool
	Log   *slog.Logger
}

// Ledger is all records, in Redis. It keeps no state of its own but this process' last sends.
type Ledger struct {
	redis       redis.UniversalClient
	log         *slog.Logger
	seals       *seals
	macs        sync.Pool
	references  *references
	fingerprint string
	lease       time.Duration
	retention   time.Duration
	referenced  time.Duration // how long whereabouts are kept
	replicas    int
	journalMax  string
	pace        *Pace

	cluster bool // keys of one call must share a partition
	trips   *trips
	durable *trips // of what replicas must have, where they must
	sends   lastSends
	turn    turns

	calendar atomic.Pointer[calendar]

	// ahead is how far Redis' clock is before ours, in ms, as we saw it last: months are its months.
	ahead atomic.Int64
	skew  func() time.Duration // added to Redis' clock
	now   func() time.Time
}

const (
	defaultLease     = 15 * time.Second
	defaultRetention = 90 * 24 * time.Hour
	// A citizen may open a message a year later, and IO forgets none.
	defaultReferences = 400 * 24 * time.Hour
)

// Open opens the ledger and makes sure that it was written under the same naming key: ErrNamingKey where it was not.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	if len(o.NamingKey) < sha256.Size {
		return nil, errors.New("ledger: the naming key is shorter than 32 bytes")
	}
	keys, err := newSeals(o.SealKeys)
	if err != nil {
		return nil, err
	}
	l := &Ledger{
		redis: o.Redis, log: o.Log, seals: keys, lease: o.Lease, retention: o.Retention, referenced: o.References, replicas: o.WaitReplicas,
		journalMax: strconv.Itoa(max(0, o.JournalEntries)), now: time.Now,
		skew: o.Skew,
	}
	if l.skew == nil {
		l.skew = func() time.Duration { return 0 }
	}
	if l.lease <= 0 || l.lease > defaultLease {
		l.lease = defaultLease
	}
	if l.retention <= 0 {
		l.retention = defaultRetention
	}
	if l.referenced <= 0 {
		l.referenced = defaultReferences
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.macs.New = newMAC(o.NamingKey)
	if l.references, err = newReferences(o.NamingKey); err != nil {
		return nil, err
	}
	l.fingerprint = base64.RawURLEncoding.EncodeToString(l.keyed("fingerprint", "", "")[:12])
	l.pace = &Pace{ledger: l}
	_, l.cluster = o.Redis.(*redis.ClusterClient)
	l.trips, l.durable = newTrips(l.carry), newTrips(l.carryDurably)
	l.sends.watch(o.Redis)
	empty, err := l.checkNaming(ctx)
	if err != nil || !empty || o.Looks {
		return l, err
	}
	l.log.ErrorContext(ctx, "the ledger is empty: right at the first start; at any other, Redis has lost what people were told, and who is "+
		"announced again may be told again")
	return l, l.writeNaming(ctx)
}

// checkNaming compares the fingerprint of the naming key. An empty ledger has none: it does not know what anybody was told before.
func (l *Ledger) checkNaming(ctx context.Context) (empty bool, err error) {
	clock, err := l.redis.Time(ctx).Result()
	if err != nil {
		return false, unavailable(err)
	}
	l.ahead.Store(clock.UnixMilli() - l.now().UnixMilli())
	pipe := l.redis.Pipeline()
	found := make([]*redis.StringCmd, Partitions)
	for p := range found {
		found[p] = pipe.Get(ctx, prefix(p)+"naming")
	}
	_, _ = pipe.Exec(ctx)
	empty = true
	for _, cmd := range found {
		switch text, err := cmd.Result(); {
		case errors.Is(err, redis.Nil):
		case err != nil:
			return false, unavailable(err)
		case text != l.fingerprint:
			return false, ErrNamingKey
		default:
			empty = false
		}
	}
	return empty, nil
}

func (l *Ledger) writeNaming(ctx context.Context) error {
	pipe := l.redis.Pipeline()
	for p := range Partitions {
		pipe.SetNX(ctx, prefix(p)+"naming", l.fingerprint, 0)
	}
	pipe.HSetNX(ctx, paceKey, began, l.now().UnixMilli()+l.ahead.Load())
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

func (l *Ledger) skewMS() int64 { return l.skew().Milliseconds() }

// calendar is which months finished records may lie in, for one hour.
type calendar struct {
	hour     int64
	months   []string // newest first, by the local clock with a day to spare on both sides
	ending   string   // the month in which a record ends now
	expiry   int64    // of that month, in s since 1970
	forAdmit string   // months in one text
	forEnds  string   // the same, the month of now first

	toldMonths []string // those in which whereabouts may lie, newest first
	toldExpiry int64    // of those that are written now
}

// clock is Redis' clock, as we saw it last.
func (l *Ledger) clock() time.Time {
	return l.now().Add(l.skew() + time.Duration(l.ahead.Load())*time.Millisecond)
}

// calendar is read with every record: it changes once an hour at most.
func (l *Ledger) today() *calendar {
	now := l.clock().UTC()
	if c := l.calendar.Load(); c != nil && c.hour == now.Unix()/3600 {
		return c
	}
	c, told := newCalendar(now, l.retention), newCalendar(now, l.referenced)
	c.toldMonths, c.toldExpiry = told.months, told.expiry
	l.calendar.Store(c)
	return c
}

func newCalendar(now time.Time, retention time.Duration) *calendar {
	const month = "200601"
	next := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	c := &calendar{hour: now.Unix() / 3600, ending: now.Format(month), expiry: next.Add(retention).Unix()}
	newest := now.Add(24 * time.Hour)
	oldest := newest.Add(-retention - 48*time.Hour)
	for at := time.Date(newest.Year(), newest.Month(), 1, 0, 0, 0, 0, time.UTC); ; at = at.AddDate(0, -1, 0) {
		c.months = append(c.months, at.Format(month))
		if at.Before(oldest) {
			break
		}
	}
	c.forAdmit = strings.Join(c.months, " ")
	others := slices.DeleteFunc(slices.Clone(c.months), func(m string) bool { return m == c.ending })
	c.forEnds = strings.Join(append([]string{c.ending}, others...), " ")
	return c
}
