package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Run plays every sender and writes a table, or with asJSON one line of JSON for each exchange. It says whether all senders
// would be satisfied.
func Run(ctx context.Context, o Options, out io.Writer, asJSON bool) (well bool, err error) {
	t := table{out: out, asJSON: asJSON, verdicts: map[Verdict]int{}}
	t.introduce(o)
	for _, s := range Senders() {
		t.sender(s)
		s.Play(ctx, o, t.exchange)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	t.conclude()
	return t.verdicts[Accepted] == t.total, t.err
}

type table struct {
	out      io.Writer
	asJSON   bool
	verdicts map[Verdict]int
	total    int
	err      error
}

func (t *table) say(format string, args ...any) {
	if t.asJSON || t.err != nil {
		return
	}
	_, t.err = fmt.Fprintf(t.out, format+"\n", args...)
}

func (t *table) introduce(o Options) {
	t.say("This posts notifications about %s/%s", o.Kind, o.ID)
	t.say("which does not exist: it is marked as test data (HTEST), is about nobody, is not final, and says that it is kept at")
	t.say("%s, which never resolves. A receiver that looks finds nothing.", Nowhere)
}

func (t *table) sender(s Sender) { t.say("\n%s (success: %s)", s.Name, s.Rule) }

func (t *table) exchange(x Exchange) {
	t.total++
	t.verdicts[x.Verdict]++
	if t.asJSON && t.err == nil {
		t.err = json.NewEncoder(t.out).Encode(x)
		return
	}
	t.say("  %-41s %-54s %-28s %s", x.What, x.Sent, x.Came, x.Verdict)
	if x.Reason != "" {
		t.say("  %41s %s", "", x.Reason)
	}
}

func (t *table) conclude() {
	t.say("")
	for _, v := range []Verdict{Accepted, Retried, Disabled, Lost, Violates, Unreachable, NotSent} {
		if n := t.verdicts[v]; n > 0 {
			t.say("%3d of %d %s", n, t.total, v)
		}
	}
}
