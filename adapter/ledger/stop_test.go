package ledger

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"staffetta/adapter/ledger/redistest"
)

// stopper asks the process to stop right when Redis has leased records for it.
type stopper struct{ stop func() }

func (s stopper) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (s stopper) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (s stopper) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if len(cmd.Args()) > 1 && cmd.Args()[1] == claimScript.Hash() {
				s.stop()
			}
		}
		return err
	}
}

// Whoever is asked to stop while it claims hears what it has claimed, and gives it back: nothing waits for a lease to end.
func TestWhatIsClaimedAtAShutdownIsHeardOf(t *testing.T) {
	redistest.Each(t, func(t *testing.T, client redis.UniversalClient) {
		t.Helper()
		l := open(t, client)
		if _, err := l.Admit(t.Context(), []Hint{documentHint(l, "north", 1)}); err != nil {
			t.Fatal(err)
		}
		again := connectAgain(t, client)
		stopping := open(t, again)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		again.AddHook(stopper{stop})
		claimed, err := stopping.Claim(ctx, ClaimOptions{N: 16, Sources: []string{"north"}})
		if err != nil || len(claimed.Records) != 1 || ctx.Err() == nil {
			t.Errorf("%d records and %v, want the one that is leased", len(claimed.Records), err)
		}
	})
}
