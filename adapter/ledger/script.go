package ledger

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed shared.lua
	sharedSource string
	//go:embed admit.lua
	admitSource string
	//go:embed claim.lua
	claimSource string
	//go:embed settle.lua
	settleSource string
	//go:embed alias.lua
	aliasSource string
	//go:embed release.lua
	releaseSource string
	//go:embed renew.lua
	renewSource string
	//go:embed seize.lua
	seizeSource string
	//go:embed take.lua
	takeSource string
	//go:embed lease.lua
	leaseSource string
	//go:embed heard.lua
	heardSource string
	//go:embed cover.lua
	coverSource string
	//go:embed uncover.lua
	uncoverSource string
	//go:embed lapse.lua
	lapseSource string
	//go:embed ask.lua
	askSource string
)

var (
	admitScript   = redis.NewScript(sharedSource + admitSource)
	claimScript   = redis.NewScript(claimSource)
	settleScript  = redis.NewScript(sharedSource + settleSource)
	aliasScript   = redis.NewScript(aliasSource)
	releaseScript = redis.NewScript(releaseSource)
	renewScript   = redis.NewScript(renewSource)
	seizeScript   = redis.NewScript(seizeSource)
	takeScript    = redis.NewScript(takeSource)
	leaseScript   = redis.NewScript(leaseSource)
	heardScript   = redis.NewScript(heardSource)
	coverScript   = redis.NewScript(coverSource)
	uncoverScript = redis.NewScript(uncoverSource)
	lapseScript   = redis.NewScript(lapseSource)
	askScript     = redis.NewScript(askSource)
)

// call is one script to be run, with the records that it carries.
type call struct {
	script *redis.Script
	key    string // names the slot
	args   []any
	stride int // arguments of one record, at the end of args; 0 where there are none
	items  []item
	cmd    *redis.Cmd
	// notDurable says that it was written, but that too few replicas have it.
	notDurable error
}

// texts adds arguments by their addresses: as a value in an interface, each would have to be allocated on its own.
func texts(args []any, all ...string) []any {
	for i := range all {
		args = append(args, &all[i])
	}
	return args
}

// refused says whether Redis answered, and the answer was no.
func (c *call) refused() bool {
	_, answered := errors.AsType[redis.Error](c.cmd.Err())
	return answered
}

// run sends all calls in one round trip.
func (l *Ledger) run(ctx context.Context, calls []*call) error {
	sendCalls(ctx, l.redis, calls, 0)
	return firstError(calls)
}

// runDurably is run, and waits until replicas have what was written: on the same connection, since WAIT speaks of what that
// one has written. On a cluster every master has replicas of its own.
func (l *Ledger) runDurably(ctx context.Context, calls []*call) error {
	cluster, is := l.redis.(*redis.ClusterClient)
	if !is {
		sendCalls(ctx, l.redis, calls, l.replicas)
		return firstError(calls)
	}
	masters := map[*redis.Client][]*call{}
	for _, c := range calls {
		master, err := cluster.MasterForKey(ctx, c.key)
		if err != nil {
			return unavailable(err)
		}
		masters[master] = append(masters[master], c)
	}
	for master, some := range masters {
		sendCalls(ctx, master, some, l.replicas)
	}
	return firstError(calls)
}

// sendCalls sends calls in one round trip. A Redis that was restarted, or failed over to, knows no scripts: exactly those
// commands that it refused are sent again, with their source.
func sendCalls(ctx context.Context, to redis.Cmdable, calls []*call, replicas int) {
	for again := false; len(calls) > 0; again = true {
		pipe := to.Pipeline()
		for _, c := range calls {
			if again {
				c.cmd = c.script.Eval(ctx, pipe, []string{c.key}, c.args...)
			} else {
				c.cmd = pipe.EvalSha(ctx, c.script.Hash(), []string{c.key}, c.args...)
			}
		}
		var got *redis.Cmd
		if replicas > 0 {
			got = pipe.Do(ctx, "WAIT", replicas, replicaTime.Milliseconds())
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		if got != nil {
			noteReplicas(calls, got, replicas)
		}
		if again {
			return
		}
		calls = unknownScripts(calls)
	}
}

// replicaTime is how long replicas may take.
const replicaTime = time.Second

// noteReplicas reads the answer of WAIT.
func noteReplicas(calls []*call, answer *redis.Cmd, want int) {
	got, err := answer.Int()
	if err == nil && got < want {
		err = fmt.Errorf("%d of %d replicas have the last write", got, want)
	}
	for _, c := range calls {
		c.notDurable = err
	}
}

func firstError(calls []*call) error {
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

func unknownScripts(calls []*call) (again []*call) {
	for _, c := range calls {
		if redis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
			again = append(again, c)
		}
	}
	return again
}

// unavailable is an error of Redis, as those who call us branch on it.
func unavailable(err error) error {
	if strings.HasPrefix(err.Error(), "NAMING") || strings.Contains(err.Error(), "NAMING another") {
		return ErrNamingKey
	}
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
