package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/checker"
)

// execution is one run of the command: the campaign, its report, and what follows a failure.
type execution struct {
	flags
	runner
	campaign *campaign

	out          io.Writer
	summary      summary
	progressLine *progress
	file         *traceFile // nil: nothing is recorded
}

func (p *execution) execute(ctx context.Context, out, errs io.Writer) error {
	p.out = out
	if p.trace != "" {
		file, err := createTrace(p.trace)
		if err != nil {
			return err
		}
		defer file.discard()
		p.file = file
	}
	began := time.Now()
	p.campaign.now = func() time.Duration { return time.Since(began) }
	p.campaign.reportHung = func(j job) { reportHung(errs, j) }
	p.summary = newSummary(p.campaign, p.json && p.hashes)
	if p.campaign.seeds.fresh {
		// At once, so that the output of a killed run has the seed.
		fmt.Fprintf(errs, "fresh seeds %v\n", p.campaign.seeds)
	}
	if !p.quiet {
		p.progressLine = startProgress(errs, p.summary.progressText)
	}
	working := ctx
	if p.limit > 0 {
		var cancel context.CancelFunc
		working, cancel = context.WithTimeout(ctx, p.limit)
		defer cancel()
	}
	// A run that --for ended is complete.
	complete := p.campaign.run(working, p.addOutcome) || ctx.Err() == nil
	p.summary.took = time.Since(began)
	if p.progressLine != nil {
		p.progressLine.end()
	}
	if err := p.finish(ctx, errs); err != nil {
		return err
	}
	switch {
	case p.summary.failedRun():
		return &exitError{exitFailed, errReported}
	case !complete:
		return &exitError{exitStopped, fmt.Errorf("interrupted after %s%s histories; those were clean", thousands(p.summary.histories), p.summary.ofTotal())}
	}
	return nil
}

// reportHung ends the process: a goroutine that never returns cannot be stopped.
func reportHung(errs io.Writer, j job) {
	o := j.target.options
	o.Seed = j.seed
	fmt.Fprintf(errs, "\nFAILED  seed %d, %s %s, has not ended after %v: one of its steps never ends; the stacks show which\n\n",
		j.seed, j.target.kind, j.target.name, hungAfter)
	pprof.Lookup("goroutine").WriteTo(errs, 2)
	fmt.Fprintf(errs, "\nreplay    %s\n", j.target.command(o))
	os.Exit(exitFailed)
}

// addOutcome receives every outcome, in order.
func (p *execution) addOutcome(o outcome) {
	p.summary.add(o)
	if p.json {
		return
	}
	if p.hashes {
		p.clear()
		fmt.Fprintf(p.out, "%d %s %016x %d\n", o.seed, o.target.name, o.result.Hash, o.result.Steps)
	}
	if o.result.Failure != nil {
		p.clear()
		writeFailure(p.out, o)
	}
}

func (p *execution) clear() {
	if p.progressLine != nil {
		p.progressLine.clear()
	}
}

// finish writes the end of the report: a smaller failure if requested, and the summary.
func (p *execution) finish(ctx context.Context, errs io.Writer) error {
	var smaller *shrunk
	switch first := p.summary.firstFailure(); {
	case first != nil && p.shrink:
		smaller = p.shrinkFailure(ctx, first, errs)
	case p.shrink:
		fmt.Fprintln(errs, "nothing to shrink: no history failed")
	}
	if err := p.record(smaller, errs); err != nil {
		return err
	}
	if p.json {
		return p.summary.writeJSON(p.out, p.hashes, smaller)
	}
	if smaller != nil {
		smaller.write(p.out, p.summary.firstFailure().target)
	}
	return p.summary.write(p.out)
}

// shrinkFailure searches for a smaller failure, and shows its progress.
func (p *execution) shrinkFailure(ctx context.Context, first *outcome, errs io.Writer) *shrunk {
	var bar *progress
	s := &shrinker{target: first.target, profiles: p.runner.profiles, tries: p.tries, workers: p.workers, limit: p.shrinkFor, began: time.Now()}
	s.logf = func(format string, values ...any) {
		if bar != nil {
			bar.clear()
		}
		fmt.Fprintf(errs, format+"\n", values...)
	}
	if !p.quiet {
		bar = startProgress(errs, s.progressText)
		defer bar.end()
	}
	return s.shrink(ctx, first.result)
}

// record writes a history to the trace file: the smallest known failure, or else the first history.
func (p *execution) record(smaller *shrunk, errs io.Writer) error {
	if p.file == nil {
		return nil
	}
	o := p.summary.first // nil: interrupted before anything ran
	if first := p.summary.firstFailure(); first != nil {
		o = first
	}
	if o == nil {
		return nil
	}
	result := o.result
	if smaller != nil {
		result = smaller.result
	}
	if err := p.file.record(o.target, result); err != nil {
		return err
	}
	fmt.Fprintf(errs, "%s is the history of seed %d of %s; show it with go run ./cmd/troupe-sim --explain %s\n", p.trace, result.Options.Seed, o.target.nameOf(result), p.trace)
	return nil
}

// writeFailure writes what a person needs to understand a failure and to replay it.
func writeFailure(out io.Writer, o outcome) {
	r, f := o.result, o.result.Failure
	fmt.Fprintf(out, "FAILED  seed %d, %s %s, %d members, step %d, at %v of virtual time\n\n", o.seed, o.target.kind, o.target.nameOf(r), r.Nodes, f.Step, f.At)
	fmt.Fprintf(out, "invariant %s", f.Invariant)
	for _, i := range checker.Invariants {
		if i.Name == f.Invariant {
			fmt.Fprintf(out, ": %s", i.Description)
		}
	}
	fmt.Fprintf(out, "\nseen      %s\n\n", f.Text)
	if r.Last != "" {
		what := "what led to it"
		if r.Options.AllSteps {
			what = "the last steps"
		}
		fmt.Fprintf(out, "%s:\n%s\n", what, r.Last)
	}
	fmt.Fprintf(out, "replay    %s\n", o.target.command(r.Options))
	if r.Last != "" && !r.Options.AllSteps {
		fmt.Fprintf(out, "all steps %s\n", o.target.command(r.Options, "--all"))
	}
	fmt.Fprintf(out, "shrink    %s\n", o.target.command(r.Options, "--shrink"))
	fmt.Fprintln(out)
}
