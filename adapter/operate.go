package adapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"staffetta/adapter/desk"
	"staffetta/adapter/ledger"
	"staffetta/config"
)

// errEmbedded says that there is no ledger to be reached from outside.
var errEmbedded = errors.New("redis.url is embedded: its ledger lives inside the running process only")

// withLedger opens the ledger of the file for one errand; o says whether that only looks.
func withLedger(ctx context.Context, cfg *config.Config, o ledger.Options, errand func(*ledger.Ledger) error) error {
	if cfg.Redis.Embedded() {
		return errEmbedded
	}
	client, closeRedis, err := Connect(cfg.Redis)
	if err != nil {
		return err
	}
	defer closeRedis()
	led, err := openLedger(ctx, cfg, client, o)
	if err != nil {
		return err
	}
	return errand(led)
}

// CheckLedger walks the ledger and says what it found; well is false where something is wrong.
func CheckLedger(ctx context.Context, cfg *config.Config, log *slog.Logger, out io.Writer) (well bool, err error) {
	err = withLedger(ctx, cfg, ledger.Options{Log: log, Looks: true}, func(led *ledger.Ledger) error {
		checked, err := led.Check(ctx, sourceNames(cfg))
		if err != nil {
			return err
		}
		for _, finding := range checked.Findings {
			_, _ = fmt.Fprintln(out, "finding:", finding)
		}
		well = len(checked.Findings) == 0
		verdict := "every record has a next time, is held, or has a named end"
		if !well {
			verdict = fmt.Sprintf("%d findings", len(checked.Findings))
		}
		_, _ = fmt.Fprintf(out, "ledger: %d live records (%d held), %d finished: %s\n", checked.Live, checked.Held, checked.Finished, verdict)
		return nil
	})
	return well, err
}

// CheckIO says who is told at all.
func CheckIO(cfg *config.Config, out io.Writer) {
	switch cfg.IO.Mode {
	case config.ModeOff:
		_, _ = fmt.Fprintln(out, "io.mode: off: everything is decided and written down, and IO is asked nothing")
	case config.ModeTest:
		_, _ = fmt.Fprintf(out, "io.mode: test: only %d recipients of io.allow reach IO\n", len(cfg.IO.Recipients()))
	default:
		_, _ = fmt.Fprintln(out, "io.mode: live: citizens are told")
	}
	if cfg.IO.DailyCap > 0 {
		_, _ = fmt.Fprintf(out, "io.daily_cap: %d messages in a day, the rest waits for the next one\n", cfg.IO.DailyCap)
	}
	if cfg.Policy.OneMessage > 0 {
		_, _ = fmt.Fprintf(out, "policy.one_message: what is published within %s of a message about the same citizen has none of its own\n", cfg.Policy.OneMessage)
	}
}

// PauseSending stops all sending, on all replicas, until it is resumed.
func PauseSending(ctx context.Context, cfg *config.Config, log *slog.Logger, who, why string, out io.Writer) error {
	if err := desk.CheckBy(ledger.By{Who: who, Why: why}); err != nil {
		return err
	}
	return withLedger(ctx, cfg, ledger.Options{Log: log}, func(led *ledger.Ledger) error {
		if err := led.Pace().Pause(ctx, who, why); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(out, "all sending is paused; notifications are taken in and wait, status polls go on")
		return nil
	})
}

// ResumeSending starts sending again.
func ResumeSending(ctx context.Context, cfg *config.Config, log *slog.Logger, out io.Writer) error {
	return withLedger(ctx, cfg, ledger.Options{Log: log}, func(led *ledger.Ledger) error {
		was, err := led.Pace().Resume(ctx)
		switch {
		case err != nil:
			return err
		case was:
			_, _ = fmt.Fprintln(out, "sending goes on")
		default:
			_, _ = fmt.Fprintln(out, "sending was not paused")
		}
		return nil
	})
}
