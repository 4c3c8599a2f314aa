// Command troupe runs a member of a Troupe cluster (troupe server), a cluster to try (troupe demo),
// and client commands. `troupe help` lists them.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/logs"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/version"
)

func main() {
	logs.NameFields()
	os.Exit(int(run(os.Args, os.Stdin, os.Stdout, os.Stderr)))
}

// run runs the program. argv begins with the program's name.
func run(argv []string, in io.Reader, out, errs io.Writer) exit.Code {
	name, args := resolveCommand(argv)
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := allFaults(args, explainFlagOrder(root, argv[1:], root.Execute()))
	if err != nil {
		fmt.Fprintf(errs, "%s: %s\n", name, exit.Line(err))
	}
	return exit.CodeOf(err)
}

// resolveCommand returns the program's name for errors, and the arguments with the command. A
// binary named etcd, or flags without a command, mean the server: unit files, charts and test
// suites for etcd then need another path only.
func resolveCommand(argv []string) (name string, args []string) {
	name = strings.TrimSuffix(filepath.Base(argv[0]), ".exe")
	args = argv[1:]
	if name == "etcd" {
		return name, append([]string{"server", "--as-etcd"}, doubleDashes(args)...)
	}
	if len(args) == 0 {
		return "troupe", args
	}
	switch first := args[0]; {
	case first == "server":
		return "troupe", append([]string{"server"}, doubleDashes(args[1:])...)
	case first == "--version":
		return "troupe", append([]string{"version"}, args[1:]...)
	case strings.HasPrefix(first, "-") && first != "-h" && first != "--help":
		return "troupe", append([]string{"server"}, doubleDashes(args)...)
	}
	return "troupe", args
}

// doubleDashes replaces -name by --name. etcd accepts either, because its flags are those of Go.
func doubleDashes(args []string) []string {
	changed := append([]string(nil), args...)
	for i, arg := range changed {
		if arg == "--" {
			break
		}
		if len(arg) > 2 && arg[0] == '-' && arg[1] != '-' {
			changed[i] = "-" + arg
		}
	}
	return changed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "troupe",
		Short: "A replicated key-value store with the etcd v3 API",
		Long: `Troupe is a Raft cluster made of actors, with a key-value store that serves the etcd v3 API:
etcdctl and the etcd client libraries work with it unchanged.

"troupe demo" starts a cluster of three on this machine and prints what to try.`,
		Example: `  troupe demo
  troupe put greeting hello
  troupe get greeting
  troupe server --name a --data-dir /var/lib/troupe`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          runGroup,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newServer(), newDemo(),
		newPut(), newGet(), newDel(), newTxn(), newWatch(), newCompact(),
		newStatus(), newMember(), newMoveLeader(), newAlarm(), newDefrag(), newHashKV(),
		newLog(), newVersion(),
	)
	completeValues(root)
	return root
}

// flagError marks an error of the flag parser (see parseError).
func flagError(_ *cobra.Command, err error) error { return exit.With(exit.Usage, parseError{err}) }

// explainFlagOrder replaces the error for an unknown flag of the server when the flag stands before
// a client command. etcdctl accepts flags before the command.
func explainFlagOrder(root *cobra.Command, args []string, err error) error {
	var unknown *pflag.NotExistError
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") || !errors.As(err, &unknown) {
		return err
	}
	for _, word := range args[1:] {
		for _, command := range root.Commands() {
			if command.Name() == word && word != "server" {
				return usageError("flags must follow the command: troupe %s … %s", word, args[0])
			}
		}
	}
	return err
}

func newVersion() *cobra.Command {
	var format output.Format
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  troupe version
  troupe version -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return output.Print(cmd.OutOrStdout(), format, version.Result())
		},
	}
	addOutputFlag(cmd, &format)
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error { return argsBetween(0, 0)(cmd, args) }

// argsBetween checks the number of arguments. Its error shows the usage of the command.
func argsBetween(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= low && len(args) <= high {
			return nil
		}
		problem := "too few arguments"
		if len(args) > high {
			problem = fmt.Sprintf("too many arguments, from %q on", args[high])
		}
		return usageError("%s; usage: %s", problem, cmd.UseLine())
	}
}
