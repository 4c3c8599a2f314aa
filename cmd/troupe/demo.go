package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/demo"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
)

func newDemo() *cobra.Command {
	o := demo.Options{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Start a cluster on this machine to try it",
		Long: `Start a cluster of three servers on this machine, each a process of its own, and print what to try.

A member whose process ends is started again after two seconds. Ctrl-C stops the demo.`,
		Example: `  troupe demo
  troupe demo --members 5
  troupe demo --data-dir ./cluster      # keeps the data for the next run of the same command
  troupe demo --restart=false           # does not restart members`,
		Args: noArgs,
	}
	cmd.Flags().IntVar(&o.Members, "members", 0, fmt.Sprintf("`number` of servers, at most %d (default 3)", demo.MaxMembers))
	cmd.Flags().StringVar(&o.DataDir, "data-dir", "", "`directory` for data and logs (default: a temporary one, removed at the end)")
	cmd.Flags().IntVar(&o.BasePort, "base-port", 0, "first `port`; each member uses two (default: those of etcd's examples if free, else any)")
	cmd.Flags().BoolVar(&o.Restart, "restart", true, "start a member again when its process ends")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("members") && (o.Members < 1 || o.Members > demo.MaxMembers) {
			return usageError("--members: %d is not between 1 and %d", o.Members, demo.MaxMembers)
		}
		binary, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		o.Binary, o.Called, o.Out = binary, commandName(binary, os.Args[0]), cmd.OutOrStdout()
		err = demo.Run(signalContext(cmd), o)
		var path *os.PathError
		if errors.As(err, &path) {
			return exit.With(exit.DataDir, err)
		}
		return err
	}
	return cmd
}

// commandName returns the command with which a user runs this program.
func commandName(binary, argv0 string) string {
	if strings.Contains(binary, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/troupe" // `go run` removes the binary when it ends
	}
	return argv0
}
