// Command troupe-sim runs the deterministic simulator (internal/sim): many seeds at once, under a
// profile of faults or a scenario's script. It reports each failure with the command that replays
// it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/kv/simulation"
)

// The exit codes of the troupe command, as far as they apply.
const (
	exitOK      = 0
	exitFailed  = 1   // an invariant was violated
	exitUsage   = 2   // a flag or the combination of several is wrong; nothing was run
	exitFile    = 3   // a file could not be read or written
	exitStopped = 130 // interrupted: the report is true, but not complete
)

// exitError is an error with an exit code.
type exitError struct {
	code int
	err  error
}

func (c *exitError) Error() string { return c.err.Error() }
func (c *exitError) Unwrap() error { return c.err }

func usage(format string, values ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, values...)}
}

// errReported ends the command after its report has described the failure.
var errReported = errors.New("reported")

// runner makes and runs worlds: the simulator itself, or a fake in tests.
type runner struct {
	profiles    []fault.Profile
	scenarios   []scenario.Scenario
	runProfile  func(world.Options) *world.Result
	runScenario func(scenario.Scenario) func(world.Options) *world.Result
}

func simulator() runner {
	profiles := slices.Concat(fault.Profiles, simulation.Profiles)
	scenarios := slices.Concat(scenario.Scenarios(), simulation.Scenarios())
	return runner{profiles, scenarios, world.Run, func(s scenario.Scenario) func(world.Options) *world.Result { return s.Run }}
}

// interruptNotice is how long worlds may continue after an interrupt before a message says so;
// nearly all end long before.
const interruptNotice = time.Second

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // a world exists for milliseconds and is garbage as a whole
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second interrupt does not wait for running worlds
		time.AfterFunc(interruptNotice, func() {
			fmt.Fprintln(os.Stderr, "troupe-sim: interrupted: waiting for the running worlds to end; interrupt again to leave at once")
		})
	}()
	code := run(ctx, simulator(), os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program except its process.
func run(ctx context.Context, t runner, args []string, out, errs io.Writer) int {
	root := newRoot(t)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintf(errs, "troupe-sim: %v\n", err)
	}
	var c *exitError
	if errors.As(err, &c) {
		return c.code
	}
	return exitFile
}

func newRoot(t runner) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "troupe-sim",
		Short: "Run clusters in the deterministic simulator",
		Long: `troupe-sim runs whole clusters of the production actors in virtual time, each from one seed. Networks,
disks, clocks and processes fail as the profile says, and every step is checked against Raft's invariants. Equal flags give
equal histories, byte for byte, on any machine and with any number of workers.

A failure is reported with its seed, the violated invariant, what led to it, and the command that replays it. The exit code
is then 1; it is 2 if a flag is wrong, 3 if a file cannot be read or written, and 130 after an interrupt. A history that has
not ended after two minutes is a failure too: one of its steps never ends, and the stacks show which.`,
		Example: `  troupe-sim --seeds 1..500                       # 500 worlds with all kinds of faults
  troupe-sim --seeds fresh:1000 --profile all     # new seeds; the first one is printed
  troupe-sim --list                               # scenarios, profiles, kinds of fault, invariants
  troupe-sim --scenario figure-8 --trace f8.trace # a scripted world, recorded
  troupe-sim --explain f8.trace --html f8.html    # the record as a page
  troupe-sim --seeds 4711 --shrink                # a smaller history that fails the same way`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unexpected argument %q: troupe-sim takes only flags; \"troupe-sim --help\" lists them", args[0])
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usage("%w; \"troupe-sim --help\" lists the flags", err)
	})
	f := addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.do(cmd, t) }
	return cmd
}
