// Command bench measures Troupe beside etcd v3.7.3: three servers of each on loopback, real fsync,
// the same flags, the same load, one after the other in alternating rounds.
//
//	go -C tests/bench run . [flags]            load: throughput, latency, CPU per request
//	go -C tests/bench run . failover [flags]   time without writes after the loss of the leader
//	go -C tests/bench run . catchup [flags]    a follower returns after a gibibyte of writes
//	go -C tests/bench run . restart [flags]    a member with a million keys is killed and started
//	go -C tests/bench run . stages [flags]     the CPU time of a put by stage (Troupe only)
//
// Each prints a table, and with -o FILE also replaces its own section of that Markdown file
// (docs/benchmarks.md). How to read the figures is said in docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// mode is one way to measure: its defaults, and what it does on a bench.
type mode struct {
	name  string
	title string
	flags func(*flag.FlagSet) func(context.Context, *bench) (string, error)
}

var modes = []mode{
	{"load", "Load", loadMode},
	{"failover", "Failover", failoverMode},
	{"catchup", "Catching up", catchupMode},
	{"restart", "Restart and memory", restartMode},
	{"stages", "A put by stage", stagesMode},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	chosen := modes[0]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		at := slices.IndexFunc(modes, func(m mode) bool { return m.name == args[0] })
		if at < 0 {
			return fmt.Errorf("no mode %q: give load, failover, catchup, restart or stages", args[0])
		}
		chosen, args = modes[at], args[1:]
	}
	flags := flag.NewFlagSet("bench "+chosen.name, flag.ContinueOnError)
	var o options
	o.register(flags)
	measure := chosen.flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is too much: all options are flags", flags.Args())
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	report, err := measure(ctx, b)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return errors.New("interrupted")
		}
		return err
	}
	section := b.preamble() + "\n" + report
	fmt.Printf("\n%s\n\n%s", chosen.title, section)
	if o.output == "" {
		return nil
	}
	return replaceSection(o.output, chosen.name, chosen.title, section)
}
