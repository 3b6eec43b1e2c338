// Command bench runs Staffetta beside bare ceilings, in turns, in one run on one machine: what would the same work cost
// with nothing remembered and nothing checked? It needs a redis-server on the PATH.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// options are how much is measured.
type options struct {
	rounds    int
	requests  int // small notifications a round
	large     int // notifications of 1 MB a round
	documents int // told a round, end to end
	pending   int // pending records for memory
	finished  int // finished records for memory
	killed    int // documents in the run that is killed
	only      string
}

// measurements are what can be measured, in order.
var measurements = []struct {
	name    string
	measure func(context.Context, options, io.Writer) error
}{
	{"ingest", measureIngest},
	{"told", measureTold},
	{"memory", measureMemory},
	{"kill", measureKill},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == childArgument {
		return runChild(ctx, args[1:], out)
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; medians are reported")
	flags.IntVar(&o.requests, "requests", 20000, "small notifications a round")
	flags.IntVar(&o.large, "large", 300, "notifications of 1 MB a round")
	flags.IntVar(&o.documents, "documents", 20000, "documents told a round")
	flags.IntVar(&o.pending, "pending", 100_000, "pending records for memory")
	flags.IntVar(&o.finished, "finished", 1_000_000, "finished records for memory")
	flags.IntVar(&o.killed, "killed", 3000, "documents in the run that is killed")
	flags.StringVar(&o.only, "only", "", "one of ingest, told, memory, kill")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, m := range measurements {
		if o.only != "" && o.only != m.name {
			continue
		}
		if err := m.measure(ctx, o, out); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}
