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

  # One of three members; the other two differ in the name and in their own addresses
  troupe server --name a --data-dir /var/lib/troupe \
    --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379 \
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380

  # The same with environment variables
  ETCD_NAME=a ETCD_DATA_DIR=/var/lib/troupe … troupe server`

func newServer() *cobra.Command {
	flags := &settings.Flags{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a member of a cluster",
		Long: `Run a member of a cluster until SIGTERM or Ctrl-C (a second signal ends it at once).

Flags have etcd's names where they mean the same. An environment variable sets each of them too: TROUPE_DATA_DIR or
ETCD_DATA_DIR sets --data-dir. A flag has precedence over TROUPE_…, and that over ETCD_…. A binary named etcd, and
troupe with flags and without a command, run a server.

Exit codes: 0 stopped by a signal, 2 wrong flags, 3 data directory, 4 address, 5 disk, 6 certificate, 7 another reason,
8 data directory refused or contradicted by other members, 130 second signal. docs/operations.md says what to do about each.`,
		Example: serverExamples,
		Args:    cobra.ArbitraryArgs, // RunE refuses them, together with the settings
	}
	groups := registerServer(flags, cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("cipher-suites", cobra.FixedCompletions(settings.CipherSuiteNames(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().SortFlags = false
	cmd.SetUsageFunc(func(cmd *cobra.Command) error { return groupedUsage(cmd.OutOrStderr(), cmd, groups) })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		unexpected := noArgs(cmd, args)
		if flags.Version && unexpected == nil {
			print := version.Print
			if asEtcd, _ := cmd.Flags().GetBool("as-etcd"); asEtcd {
				print = version.PrintAsEtcd
			}
			print(cmd.OutOrStdout())
			return nil
		}
		return runServer(cmd, flags, unexpected)
	}
	return cmd
}

// runServer runs a server, unless its settings are wrong or unexpected, the error about its
// arguments, is not nil.
func runServer(cmd *cobra.Command, flags *settings.Flags, unexpected error) error {
	resolved, err := resolveServer(cmd.Flags(), flags)
	if err = errors.Join(unexpected, err); err != nil {
		return exit.With(exit.Usage, err)
	}
	log, files, err := logs.New(logOptions(flags))
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

func logOptions(flags *settings.Flags) logs.Options {
	return logs.Options{
		Level: flags.LogLevel, Format: flags.LogFormat, Outputs: flags.LogOutputs, Rotate: flags.RotateLog, Rotation: flags.LogRotation,
	}
}

// resolveServer returns the settings of the command line, and of the configuration file or the
// environment. The error joins all that is wrong with them.
func resolveServer(fs *pflag.FlagSet, flags *settings.Flags) (*settings.Server, error) {
	warnings, err := applyFileOrEnvironment(fs, flags)
	if settings.UnusableFile(err) {
		return nil, err
	}
	resolved, invalid := flags.Resolve(fs)
	if err = errors.Join(err, invalid, logOptions(flags).Check()); err != nil {
		return nil, err
	}
	resolved.Warnings = append(warnings, resolved.Warnings...)
	return resolved, nil
}

// applyFileOrEnvironment sets the flags from the configuration file, or else from the environment.
// The warnings are about keys and environment variables that have no effect.
func applyFileOrEnvironment(fs *pflag.FlagSet, flags *settings.Flags) (warnings []settings.Error, err error) {
	file := flags.ConfigFile
	for _, name := range []string{"TROUPE_CONFIG_FILE", "ETCD_CONFIG_FILE"} {
		if file == "" {
			file = os.Getenv(name)
		}
	}
	if file != "" {
		warnings, err = settings.FromFile(fs, file)
		return append(warnings, settings.BesideFile(fs, os.Environ(), file)...), err
	}
	return settings.FromEnvironment(fs, os.Environ())
}

// serverFaults returns all that is wrong with the command line of a server whose flags cannot be
// parsed, and with its other settings.
func serverFaults(cmd *cobra.Command, args []string) error {
	flags, fs := &settings.Flags{}, pflag.NewFlagSet("server", pflag.ContinueOnError)
	registerServer(flags, fs)
	fs.BoolP("help", "h", false, "")
	unparsed := parseEachFlag(cmd, fs, args)
	_, invalid := resolveServer(fs, flags)
	return errors.Join(unparsed, noArgs(cmd, fs.Args()), invalid)
}

// registerServer defines the flags of the server.
func registerServer(flags *settings.Flags, fs *pflag.FlagSet) []settings.Group {
	groups := flags.Register(fs)
	fs.Bool("as-etcd", false, "the binary is named etcd")
	_ = fs.MarkHidden("as-etcd")
	return groups
}

// duplicateSignalTime is the time within which the same signal counts once: some tools send a
// signal to a process and to its process group.
const duplicateSignalTime = 200 * time.Millisecond

// untilSignal returns a context that the first SIGTERM or SIGINT ends. A later signal ends the
// process at once, which is safe: the data on disk is valid at every moment. The second result
// releases the signal handler.
func untilSignal(log zerolog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		var first os.Signal
		var firstTime time.Time
		for {
			select {
			case s := <-signals:
				switch {
				case first == nil:
					first, firstTime = s, time.Now()
				case s == first && time.Since(firstTime) < duplicateSignalTime:
					continue
				default:
					log.Warn().Str("signal", s.String()).Msg("second signal, exiting at once")
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

// untilEOF returns a context that ends when the reader ends.
func untilEOF(parent context.Context, in io.Reader) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel(errors.New("standard input ended"))
	}()
	return ctx
}

// groupedUsage prints the usage with the flags in groups.
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
