package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/raft"
)

// defragJSON is one member in the output of `defrag -o json`.
type defragJSON struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"`
	Before   int64  `json:"bytesBefore,omitempty"`
	After    int64  `json:"bytesAfter,omitempty"`
	Error    string `json:"error,omitempty"`
}

const (
	// defragTimeout is the default of --timeout: the tables of a large store are rewritten.
	defragTimeout = 10 * time.Minute
	// findMembersTimeout limits the search for the members, as the default of --timeout does for
	// other commands.
	findMembersTimeout = 5 * time.Second
)

func newDefrag() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "defrag [MEMBER…]",
		Short: "Free on the disks what compaction has removed",
		Long: `Free on the disks what compaction has removed: of every member, or of those that are given by name or id. One
endpoint is enough. The members are done one after the other; each waits until the last compaction has removed its
data, and rewrites its tables. Reads and writes go on meanwhile.

BEFORE and AFTER are the sizes of the store as in "troupe status". In a small store AFTER may be the larger one: rows that
were in memory only are written to the disk first.

Against the alarm NOSPACE of a quota: delete keys, then "troupe compact REVISION", then this command.

The exit code is 1 if a member did not respond.`,
		Example: `  troupe defrag
  troupe defrag a b -o json`,
		Args: cobra.ArbitraryArgs,
	}
	flags := addClientFlags(cmd)
	flags.setDefaultTimeout(cmd, defragTimeout)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			members, err := defragMembers(ctx, cluster, args)
			if err != nil {
				return err
			}
			results := make([]client.DefragResult, len(members))
			for i, m := range members {
				results[i] = cluster.Defragment(ctx, m)
			}
			if err := flags.print(cmd, defragResult(results)); err != nil {
				return err
			}
			return defragError(results)
		})
	}
	return cmd
}

// defragMembers returns the members that the arguments name, or all.
func defragMembers(ctx context.Context, cluster *client.Cluster, args []string) (chosen []client.MemberStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, findMembersTimeout)
	defer cancel()
	members, err := cluster.Statuses(ctx)
	if err != nil {
		return nil, fmt.Errorf("defrag: %w", err)
	}
	for _, nameOrID := range args {
		m, err := client.FindMember(members, nameOrID)
		if err != nil {
			return nil, usageError("defrag: %w", err)
		}
		chosen = append(chosen, m)
	}
	if len(args) == 0 {
		chosen = members
	}
	return chosen, nil
}

func defragResult(results []client.DefragResult) output.Result {
	r := output.Result{Indented: true, Header: []string{"NAME", "ID", "ENDPOINT", "BEFORE", "AFTER", "REMARKS"}}
	list := make([]defragJSON, 0, len(results))
	for _, d := range results {
		j := defragJSON{
			ID: raft.FormatID(d.Member.ID), Name: d.Member.Name, Endpoint: d.Member.Endpoint, Before: d.BytesBefore, After: d.BytesAfter,
		}
		row := []string{orDash(j.Name), j.ID, orDash(j.Endpoint), formatBytes(j.Before), formatBytes(j.After), ""}
		if d.Err != nil {
			j.Before, j.After, j.Error = 0, 0, d.Err.Error()
			row = []string{orDash(j.Name), j.ID, orDash(j.Endpoint), "-", "-", j.Error}
		}
		list, r.Rows = append(list, j), append(r.Rows, row)
	}
	r.Value = list
	return r
}

// defragError returns an error if members were not defragmented.
func defragError(results []client.DefragResult) error {
	var failed []string
	for _, d := range results {
		if d.Err != nil {
			failed = append(failed, d.Member.Label())
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%s not defragmented; see the remarks", strings.Join(failed, ", "))
}
