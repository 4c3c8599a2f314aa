package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/logs"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/serve"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/version"
)

const serverExamples = `  # A cluster of one, for development; data in ./default.troupe
  troupe server

  # One of three; the other two differ in name and in their own addresses
  troupe server --name a --data-dir /var/lib/troupe \
    --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379 \
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380

  # The same by environment: ETCD_NAME=a ETCD_DATA_DIR=/var/lib/troupe … troupe server`

func newServer() *cobra.Command {
	flags := &settings.Flags{}
	var asEtcd bool
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a member of a cluster",
		Long: `Run a member of a cluster, until SIGTERM or Ctrl-C (a second one ends it at once).

Flags have etcd's names where they mean the same. Each can be set by an environment variable too: --data-dir by
TROUPE_DATA_DIR or ETCD_DATA_DIR; a flag wins over TROUPE_…, which wins over ETCD_…. A binary named etcd, and troupe with
flags but without a command, are servers.

Exit codes: 0 told to stop, 2 flags, 3 data directory, 4 address, 5 disk failed while running, 6 certificate,
7 stopped itself for another reason, 130 second signal. docs/operations.md says what to do about each.`,
		Example: serverExamples,
		Args:    noArgs,
	}
	groups := flags.Register(cmd.Flags())
	cmd.Flags().BoolVar(&asEtcd, "as-etcd", false, "called as etcd")
	_ = cmd.Flags().MarkHidden("as-etcd")
	cmd.Flags().SortFlags = false
	cmd.SetUsageFunc(func(cmd *cobra.Command) error { return groupedUsage(cmd.OutOrStderr(), cmd, groups) })
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if flags.Version {
			print := version.Print
			if asEtcd {
				print = version.PrintAsEtcd
			}
			print(cmd.OutOrStdout())
			return nil
		}
		return runServer(cmd, flags)
	}
	return cmd
}

func runServer(cmd *cobra.Command, flags *settings.Flags) error {
	fs := cmd.Flags()
	unknown, err := applyFileOrEnvironment(fs, flags)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	resolved, err := flags.Resolve(fs)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	for _, name := range unknown {
		resolved.Warnings = append(resolved.Warnings, fmt.Sprintf("the environment variable %s is no setting and is ignored", name))
	}
	log, files, err := logs.New(logs.Options{Level: flags.LogLevel, Format: flags.LogFormat, Outputs: flags.LogOutputs})
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	defer files.Close()
	ctx, release := untilSignal(log)
	defer release()
	if resolved.StopWithStdin {
		ctx = untilEOF(ctx, cmd.InOrStdin())
	}
	return serve.Run(ctx, resolved, log)
}

// applyFileOrEnvironment fills in the flags from a file, or else from the environment.
func applyFileOrEnvironment(fs *pflag.FlagSet, flags *settings.Flags) (unknown []string, err error) {
	file := flags.ConfigFile
	for _, name := range []string{"TROUPE_CONFIG_FILE", "ETCD_CONFIG_FILE"} {
		if file == "" {
			file = os.Getenv(name)
		}
	}
	if file != "" {
		return nil, settings.FromFile(fs, file)
	}
	return settings.FromEnvironment(fs, os.Environ())
}

// signalGrace is within which the same signal is the first one over again: some tools signal a process and its group.
const signalGrace = 200 * time.Millisecond

// untilSignal is a context that the first SIGTERM or SIGINT ends. A later one ends the process at once: what is on
// disk is right at every moment, so that nothing is lost but time.
func untilSignal(log zerolog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		var first os.Signal
		var told time.Time
		for {
			select {
			case s := <-signals:
				switch {
				case first == nil:
					first, told = s, time.Now()
				case s == first && time.Since(told) < signalGrace:
					continue
				default:
					log.Warn().Str("signal", s.String()).Msg("a second signal: ending at once")
					os.Exit(int(exit.Forced))
				}
				cancel(fmt.Errorf("signal: %v", s))
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// untilEOF is a context that ends with the reader: whoever holds its other end has gone away.
func untilEOF(parent context.Context, in io.Reader) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel(errors.New("standard input ended"))
	}()
	return ctx
}

// groupedUsage prints the flags by what they are about: a hundred in one list help nobody.
func groupedUsage(w io.Writer, cmd *cobra.Command, groups []settings.Group) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
	for _, g := range groups {
		g.Set.SortFlags = false
		fmt.Fprintf(&b, "\n%s:\n%s", g.Title, g.Set.FlagUsagesWrapped(120))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
