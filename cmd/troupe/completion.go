package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completeValues sets the completion of the values of every flag of a command and of the commands
// below it. It follows what the help shows in place of the value: a choice (new|existing|rejoin)
// completes to its values, "file", "path" and "directory" to those of the disk. Anything else
// completes to nothing, where the shell would offer files.
func completeValues(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		kind, _ := pflag.UnquoteUsage(flag)
		switch {
		case flag.NoOptDefVal != "":
			// A switch has no value.
		case strings.Contains(kind, "|"):
			_ = cmd.RegisterFlagCompletionFunc(flag.Name, cobra.FixedCompletions(strings.Split(kind, "|"), cobra.ShellCompDirectiveNoFileComp))
		case kind == "file" || kind == "path":
			_ = cmd.MarkFlagFilename(flag.Name)
		case kind == "directory":
			_ = cmd.MarkFlagDirname(flag.Name)
		default:
			_ = cmd.RegisterFlagCompletionFunc(flag.Name, cobra.NoFileCompletions)
		}
	})
	if cmd.Runnable() && cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
		cmd.ValidArgsFunction = cobra.NoFileCompletions // a key, a revision or a member is no file
	}
	for _, below := range cmd.Commands() {
		completeValues(below)
	}
}
