package ledger

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
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
	//go:embed take.lua
	takeSource string
	//go:embed lease.lua
	leaseSource string
)

var (
	admitScript   = redis.NewScript(admitSource)
	claimScript   = redis.NewScript(claimSource)
	settleScript  = redis.NewScript(settleSource)
	aliasScript   = redis.NewScript(aliasSource)
	releaseScript = redis.NewScript(releaseSource)
	takeScript    = redis.NewScript(takeSource)
	leaseScript   = redis.NewScript(leaseSource)
)

// call is one script to be run on one partition.
type call struct {
	script *redis.Script
	key    string
	args   []any
	cmd    *redis.Cmd
}

// run sends all calls in one round trip. A Redis that was restarted, or failed over to, knows no scripts: exactly those
// commands that it refused are sent again, with their source.
func (l *Ledger) run(ctx context.Context, calls []*call) error {
	pipe := l.redis.Pipeline()
	for _, c := range calls {
		c.cmd = pipe.EvalSha(ctx, c.script.Hash(), []string{c.key}, c.args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	if again := unknownScripts(calls); len(again) > 0 {
		pipe = l.redis.Pipeline()
		for _, c := range again {
			c.cmd = c.script.Eval(ctx, pipe, []string{c.key}, c.args...)
		}
		_, _ = pipe.Exec(ctx)
	}
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
