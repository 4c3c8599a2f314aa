// Command bench compares Troupe with etcd v3.7.3: three servers of each on loopback, with real
// fsync, the same flags and the same load, in alternating rounds.
//
//	go -C tests/bench run . [mode] [flags]
//
// The modes are
//
//	load       throughput, latency and CPU per request (the default)
//	failover   time without writes after the leader is killed or paused
//	catchup    restart of a follower after a gibibyte was written without it
//	restart    restart of members with a million keys
//	stages     CPU of a put by stage (Troupe only)
//
// Each mode prints a table, and with -o FILE replaces its section of that Markdown file.
// docs/benchmarks.md explains the figures.
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

// mode is one kind of measurement. flags defines its flags and returns the function that measures
// and returns the report.
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
		i := slices.IndexFunc(modes, func(m mode) bool { return m.name == args[0] })
		if i < 0 {
			return fmt.Errorf("unknown mode %q; give load, failover, catchup, restart or stages", args[0])
		}
		chosen, args = modes[i], args[1:]
	}
	flags := flag.NewFlagSet("bench "+chosen.name, flag.ContinueOnError)
	var o options
	o.register(flags)
	measure := chosen.flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected arguments %q; give flags only", flags.Args())
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
