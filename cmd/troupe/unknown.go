package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// etcdctlCommands has advice for the commands of etcdctl that troupe does not have, by the path of
// the command.
var etcdctlCommands = map[string]string{
	"auth":           noUsers,
	"user":           noUsers,
	"role":           noUsers,
	"lease":          "leases do not exist in this version",
	"lock":           "locks by the server do not exist in this version",
	"elect":          "elections by the server do not exist in this version",
	"snapshot":       "snapshots over the client port do not exist in this version; docs/operations.md describes backups",
	"downgrade":      "downgrades do not exist in this version",
	"endpoint":       "\"troupe status\" shows every member, \"troupe hashkv\" compares them",
	"make-mirror":    "\"etcdctl make-mirror\" works with this server",
	"check":          "\"etcdctl check\" works with this server",
	"compaction":     "the command is \"troupe compact\"",
	"options":        "\"troupe COMMAND --help\" lists the flags of a command",
	"alarm disarm":   "an alarm ends with its cause: see \"troupe alarm --help\"",
	"member list":    "\"troupe status\" lists the members",
	"member add":     fixedMembers,
	"member remove":  fixedMembers,
	"member update":  fixedMembers,
	"member promote": fixedMembers,
}

const (
	noUsers      = "users and roles do not exist in this version"
	fixedMembers = "members cannot be added, removed or changed in this version"
)

// unknownCommand returns the error for a word that is no command of cmd, with advice.
func unknownCommand(cmd *cobra.Command, word string) error {
	path := strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()) + " " + word)
	if advice, known := etcdctlCommands[path]; known {
		return usageError("unknown command %q; %s", path, advice)
	}
	// With as many changes as letters any word is similar to any other.
	cmd.SuggestionsMinimumDistance = max(1, min(2, len(word)-1))
	var near []string
	for _, name := range cmd.SuggestionsFor(word) {
		if len(word) > 4 || name[0] == word[0] {
			near = append(near, name)
		}
	}
	if len(near) > 0 {
		return usageError("unknown command %q; did you mean %s?", path, strings.Join(near, " or "))
	}
	help := "troupe help"
	if cmd.HasParent() {
		help = cmd.CommandPath() + " --help"
	}
	return usageError("unknown command %q; %q lists the commands", path, help)
}

// runGroup runs a command that only has commands below it: it prints the help, or refuses a word
// that is none of them.
func runGroup(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return cmd.Help()
}
