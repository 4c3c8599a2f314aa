// Command troupe runs a member of a Troupe cluster (troupe server), a whole cluster to try (troupe demo), and the small
// tools around it. `troupe help` lists them.
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
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/version"
)

func main() {
	logs.NameFields()
	os.Exit(int(run(os.Args, os.Stdin, os.Stdout, os.Stderr)))
}

// run is the whole program but for its process: the arguments, the program's name among them, and the exit code.
func run(argv []string, in io.Reader, out, errs io.Writer) exit.Code {
	name, args := resolveCommand(argv)
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := explainFlagOrder(root, argv[1:], root.Execute())
	if err != nil {
		fmt.Fprintf(errs, "%s: %s\n", name, exit.Line(err))
	}
	return exit.CodeOf(err)
}

// resolveCommand finds out which command is meant. A binary that is called etcd, or called with flags and no command, is a
// server: unit files, charts and test suites that run etcd work when the path is all that is changed.
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

// doubleDashes turns -name into --name: etcd's flags are Go's, which take either, and its older manuals have one dash.
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
		Short: "A replicated key-value store that speaks the etcd v3 API",
		Long: `Troupe is a Raft cluster performed by actors, with a key-value store on top that speaks the etcd v3 API:
etcdctl and the etcd client libraries work with it as they are.

"troupe demo" starts a cluster of three on this machine and says what to try.`,
		Example: `  troupe demo
  troupe put greeting hello
  troupe get greeting
  troupe server --name a --data-dir /var/lib/troupe`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.With(exit.Usage, fmt.Errorf("there is no command %q; %s", args[0], suggest(cmd, args[0])))
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newServer(), newDemo(),
		newPut(), newGet(), newDel(), newWatch(), newStatus(),
		newLog(), newVersion(),
	)
	return root
}

// flagError words what was wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		flag := invalid.GetFlag()
		return exit.With(exit.Usage, settings.InvalidValue("--"+flag.Name, invalid.GetValue(), flag))
	}
	return exit.With(exit.Usage, fmt.Errorf("%w; \"%s --help\" lists the flags", err, cmd.CommandPath()))
}

// misplaced explains a flag that no server has, where a command stands behind the flags: etcdctl takes them in either order.
func explainFlagOrder(root *cobra.Command, args []string, err error) error {
	var unknown *pflag.NotExistError
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") || !errors.As(err, &unknown) {
		return err
	}
	for _, word := range args[1:] {
		for _, command := range root.Commands() {
			if command.Name() == word && word != "server" {
				return exit.With(exit.Usage, fmt.Errorf("flags stand behind the command here: troupe %s … %s", word, args[0]))
			}
		}
	}
	return err
}

// advise says what may have been meant by a command that does not exist.
func suggest(root *cobra.Command, word string) string {
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(word); len(near) > 0 {
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	return "\"troupe help\" lists them"
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  troupe version",
		Args:    noArgs,
		Run:     func(cmd *cobra.Command, _ []string) { version.Print(cmd.OutOrStdout()) },
	}
}

// noArgs and between check the number of arguments with an error that says how the command is used.
func noArgs(cmd *cobra.Command, args []string) error { return argsBetween(0, 0)(cmd, args) }

func argsBetween(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= low && len(args) <= high {
			return nil
		}
		what := "too few arguments"
		if len(args) > high {
			what = fmt.Sprintf("too many arguments, from %q on", args[high])
		}
		return exit.With(exit.Usage, fmt.Errorf("%s; use: %s", what, cmd.UseLine()))
	}
}
