package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"staffetta/adapter"
	"staffetta/adapter/desk"
)

// reports are the commands by which a person looks at records and acts on them.
type reports struct {
	List      reportsList      `cmd:"" help:"List what is held: a person must look at it."`
	Show      reportsShow      `cmd:"" help:"Show one record with its timeline."`
	Release   reportsRelease   `cmd:"" help:"Say yes where a rule said no: the document is looked at again without that rule. What is held as uncertain is sent, perhaps for the second time."`
	Retry     reportsRetry     `cmd:"" help:"Have a record looked at now, by all rules. Not what is held as uncertain: that is released, or forgotten."`
	Forget    reportsForget    `cmd:"" help:"End a held record; nobody is told."`
	Reconcile reportsReconcile `cmd:"" help:"Answer a citizen who asks: of which documents were they told, and when? Exit code 1 where one is not known."`
}

// reportsFile is what all of them read.
type reportsFile struct {
	file

	JSON bool `name:"json" help:"Print JSON."`
}

func (c reportsFile) with(ctx context.Context, s streams, errand func(*adapter.Reports) error) error {
	cfg, log, err := c.load(ctx, s)
	if err != nil {
		return err
	}
	return adapter.WithReports(ctx, cfg, log, adapter.ReportsOptions{JSON: c.JSON, Out: s.out}, errand)
}

// recordName is how a record is named on the command line.
type recordName struct {
	Name []string `arg:"" optional:"" name:"record" help:"Key of the record, or its source and Type/id there, or system|value of a Composition's identifier. An identifier may hold a fiscal code: write - and give it on stdin. A key that begins with - goes behind --."`
}

func (n recordName) read(in io.Reader, asked io.Writer) (desk.Name, error) {
	switch len(n.Name) {
	case 1:
		return desk.Name{Key: n.Name[0]}, nil
	case 2:
		if n.Name[1] != "-" {
			return desk.Name{Source: n.Name[0], Resource: n.Name[1]}, nil
		}
		resource, err := line(in, asked, "Type/id, or system|value")
		return desk.Name{Source: n.Name[0], Resource: resource}, err
	}
	return desk.Name{}, fmt.Errorf("%w: want the key of a record, or a source and a resource there", errUsage)
}

// about runs an errand about one record.
func (c reportsFile) about(ctx context.Context, s streams, record recordName, errand func(*adapter.Reports, desk.Name) error) error {
	name, err := record.read(s.in, s.logs)
	if err != nil {
		return err
	}
	return c.with(ctx, s, func(r *adapter.Reports) error { return errand(r, name) })
}

// line reads what must not be an argument: those are kept in the shell's history, and every user of the machine sees them.
func line(in io.Reader, asked io.Writer, what string) (string, error) {
	_, _ = fmt.Fprintf(asked, "%s: ", what)
	scanner := bufio.NewScanner(io.LimitReader(in, 4096))
	scanner.Scan()
	text := strings.TrimSpace(scanner.Text())
	if err := scanner.Err(); err != nil {
		return "", err
	}
	if text == "" {
		return "", fmt.Errorf("%w: nothing on stdin, want %s", errUsage, what)
	}
	return text, nil
}

// reason is who wants something done, and why.
type reason struct {
	Why string `required:"" help:"Why, for those who wonder later: it is kept in the journal. No personal data."`
	Who string `env:"USER" default:"unknown" help:"Who wants it."`
}

func (r reason) order() desk.Order {
	var o desk.Order
	o.By.Who, o.By.Why = r.Who, r.Why
	return o
}

type reportsList struct {
	reportsFile

	Source string `help:"Only of this source."`
	Reason string `help:"Only for this reason."`
	Limit  int    `default:"100" help:"How many are shown at most."`
}

// Run lists what is held.
func (c reportsList) Run(ctx context.Context, s streams) error {
	return c.with(ctx, s, func(r *adapter.Reports) error {
		return r.List(ctx, desk.Filter{Source: c.Source, Reason: c.Reason}, max(0, c.Limit))
	})
}

type reportsShow struct {
	reportsFile
	recordName
}

// Run shows one record.
func (c reportsShow) Run(ctx context.Context, s streams) error {
	return c.about(ctx, s, c.recordName, func(r *adapter.Reports, name desk.Name) error { return r.Show(ctx, name) })
}

type reportsRelease struct {
	reportsFile
	recordName
	reason

	EvenHidden bool   `help:"Also where the portal hides the document from its citizen: they will find an empty page. One record only."`
	Reason     string `help:"Instead of one record: all that is held for this reason; with io-off or not-in-test also all that io.mode kept back."`
	Source     string `help:"With --reason: only of this source."`
	DryRun     bool   `help:"With --reason: only count."`
}

// Run releases one record, or many.
func (c reportsRelease) Run(ctx context.Context, s streams) error {
	order := c.order()
	order.EvenHidden = c.EvenHidden
	if c.Reason != "" {
		if len(c.Name) > 0 || c.EvenHidden {
			return fmt.Errorf("%w: --reason is for many records: neither one of them nor --even-hidden goes with it", errUsage)
		}
		return c.with(ctx, s, func(r *adapter.Reports) error {
			return r.ReleaseAll(ctx, desk.Filter{Source: c.Source, Reason: c.Reason}, order, c.DryRun)
		})
	}
	if c.DryRun || c.Source != "" {
		return fmt.Errorf("%w: --dry-run and --source go with --reason", errUsage)
	}
	return c.about(ctx, s, c.recordName, func(r *adapter.Reports, name desk.Name) error { return r.Release(ctx, name, order) })
}

type reportsRetry struct {
	reportsFile
	recordName
	reason
}

// Run has a record looked at now.
func (c reportsRetry) Run(ctx context.Context, s streams) error {
	return c.about(ctx, s, c.recordName, func(r *adapter.Reports, name desk.Name) error { return r.Retry(ctx, name, c.order()) })
}

type reportsForget struct {
	reportsFile
	recordName
	reason
}

// Run ends a held record.
func (c reportsForget) Run(ctx context.Context, s streams) error {
	return c.about(ctx, s, c.recordName, func(r *adapter.Reports, name desk.Name) error { return r.Forget(ctx, name, c.order()) })
}

type reportsReconcile struct {
	reportsFile

	Source string `arg:"" help:"Name of the source, as in the file. The citizen's fiscal code, or the id of their Patient, is read from stdin."`
}

// Run answers one citizen; a document that the ledger does not know is a finding.
func (c reportsReconcile) Run(ctx context.Context, s streams) error {
	who, err := line(s.in, s.logs, "fiscal code, or id of the Patient")
	if err != nil {
		return err
	}
	return c.with(ctx, s, func(r *adapter.Reports) error {
		all, err := r.Reconcile(ctx, c.Source, who)
		if err == nil && !all {
			return errFinding
		}
		return err
	})
}
