package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

// parseError is the first error of the flag parser. run replaces it by all of them: whoever
// corrects a command line should not learn of its faults one by one.
type parseError struct{ error }

// Unwrap returns the error of the parser.
func (e parseError) Unwrap() error { return e.error }

// allFaults returns all that is wrong with the arguments of a command, if err is the first error of
// the flag parser; else err.
func allFaults(args []string, err error) error {
	var first parseError
	if !errors.As(err, &first) {
		return err
	}
	cmd, rest, findErr := newRoot().Find(args)
	if findErr != nil {
		return err
	}
	if cmd.Name() == "server" {
		return exit.With(exit.Usage, serverFaults(cmd, rest))
	}
	if word := firstWord(rest); word != "" && cmd.HasSubCommands() {
		// The command is the mistake: it has no flags that could be unknown.
		return unknownCommand(cmd, word)
	}
	cmd.InitDefaultHelpFlag()
	cmd.InheritedFlags() // adds them to Flags
	return exit.With(exit.Usage, errors.Join(parseEachFlag(cmd, cmd.Flags(), rest), cmd.ValidateArgs(cmd.Flags().Args())))
}

// parseEachFlag sets the flags of fs, those of cmd, that the arguments name. The error joins one
// for each argument that is no flag, or has no valid value.
func parseEachFlag(cmd *cobra.Command, fs *pflag.FlagSet, args []string) error {
	var unparsed []error
	var set []func() error // of the last pass, which finds nothing unknown
	for args = slices.Clone(args); ; {
		set = nil
		err := fs.ParseAll(args, func(flag *pflag.Flag, value string) error {
			set = append(set, func() error { return settings.SetFlag(fs, flag, "--"+flag.Name, value) })
			return nil
		})
		if err == nil {
			break
		}
		unparsed = append(unparsed, err)
		from, to := faultyArguments(args, err)
		args = slices.Delete(args, from, to)
	}
	var invalid []error
	for _, f := range set {
		invalid = append(invalid, f())
	}
	if last := len(unparsed) - 1; last >= 0 {
		unparsed[last] = fmt.Errorf("%w; \"%s --help\" lists the flags", unparsed[last], cmd.CommandPath())
	}
	return errors.Join(append(invalid, unparsed...)...)
}

// faultyArguments returns which arguments the parser did not take.
func faultyArguments(args []string, err error) (from, to int) {
	var unknown *pflag.NotExistError
	var syntax *pflag.InvalidSyntaxError
	matches := func(string) bool { return false }
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		matches = func(arg string) bool { return arg == "-"+unknown.GetSpecifiedShortnames() }
	case errors.As(err, &unknown):
		flag := "--" + unknown.GetSpecifiedName()
		matches = func(arg string) bool { return arg == flag || strings.HasPrefix(arg, flag+"=") }
	case errors.As(err, &syntax):
		matches = func(arg string) bool { return arg == syntax.GetSpecifiedFlag() }
	}
	from = slices.IndexFunc(args, matches)
	if from < 0 {
		return len(args) - 1, len(args) // the last flag lacks its value
	}
	to = from + 1
	if unknown != nil && to < len(args) && !strings.Contains(args[from], "=") && !strings.HasPrefix(args[to], "-") {
		to++ // its value, most likely
	}
	return from, to
}

// firstWord returns the first argument that is neither a flag nor, most likely, its value.
func firstWord(args []string) string {
	for i := 0; i < len(args); i++ {
		switch {
		case !strings.HasPrefix(args[i], "-"):
			return args[i]
		case !strings.Contains(args[i], "="):
			i++
		}
	}
	return ""
}
