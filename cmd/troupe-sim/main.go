// Command troupe-sim lets whole clusters of the production actors live in the deterministic simulator (internal/sim): many
// seeds at once, under a profile of misfortune or a scenario's script. What fails is told with the command that replays it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// The exit codes are those of the troupe command where it has them.
const (
	exitOK      = 0
	exitFailed  = 1   // a promise was not kept
	exitUsage   = 2   // a flag or the combination of several is wrong; nothing was run
	exitFile    = 3   // a file could not be read or written
	exitStopped = 130 // interrupted: what is reported is true, and not all that was asked for
)

// coded is an error that knows the exit code. An empty one has been reported already.
type exitError struct {
	code int
	err  error
}

func (c *exitError) Error() string { return c.err.Error() }
func (c *exitError) Unwrap() error { return c.err }

func usage(format string, values ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, values...)}
}

// errReported ends the command after its report has said what is wrong.
var errReported = errors.New("told")

// theatre is where worlds are made: the simulator itself, or what a test puts in its place.
type runner struct {
	profiles    []fault.Profile
	scenarios   []scenario.Scenario
	runProfile  func(world.Options) *world.Result
	runScenario func(scenario.Scenario) func(world.Options) *world.Result
}

func simulator() runner {
	return runner{fault.Profiles, scenario.Scenarios(), world.Run, func(s scenario.Scenario) func(world.Options) *world.Result { return s.Run }}
}

// patience is how long worlds may run on after an interrupt before it is said that they do: nearly all are done long before.
const interruptNotice = time.Second

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // worlds live for milliseconds and are garbage as a whole
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second interrupt does not wait for the worlds that are running
		time.AfterFunc(interruptNotice, func() {
			fmt.Fprintln(os.Stderr, "troupe-sim: interrupted: the worlds that are running come to their end first; interrupt again to leave at once")
		})
	}()
	code := run(ctx, simulator(), os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program but for its process.
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
		Short: "Let clusters live in the deterministic simulator",
		Long: `troupe-sim runs whole clusters of the production actors in virtual time, each out of one seed, with networks, disks,
clocks and processes that fail as the profile says, and holds every step against what Raft promises. The same flags make
the same history, byte for byte, on any machine and with any number of workers.

What fails is told with its seed, the promise that was not kept, what led to it, and the command that replays it; the exit
code is 1 then, 2 if a flag is wrong, 3 if a file cannot be read or written, and 130 if it was interrupted. A history that
has not come to its end after two minutes is a failure too: some step of it never ends, and the stacks say which.`,
		Example: `  troupe-sim --seeds 1..500                       # five hundred worlds in which everything goes wrong
  troupe-sim --seeds fresh:1000 --profile all     # seeds that nobody has run yet; the first one is printed
  troupe-sim --list                               # scenarios, profiles, kinds of fault, promises
  troupe-sim --scenario figure-8 --trace f8.trace # a scripted story, recorded
  troupe-sim --explain f8.trace --html f8.html    # the record for people
  troupe-sim --seeds 4711 --shrink                # a smaller history that fails the same way`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unexpected argument %q: everything is said with flags; \"troupe-sim --help\" lists them", args[0])
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
