package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/raft"
)

// hashJSON is one member in the output of `hashkv -o json`.
type hashJSON struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Endpoint  string `json:"endpoint"`
	Hash      uint32 `json:"hash"`
	Revision  int64  `json:"revision,omitempty"`
	Compacted int64  `json:"compactRevision,omitempty"`
	Error     string `json:"error,omitempty"`
}

func newHashKV() *cobra.Command {
	var revision int64
	cmd := &cobra.Command{
		Use:   "hashkv",
		Short: "Compare the data of all members",
		Long: `Print the hash of every member's keys, values and history up to one revision, and compare them. One endpoint is
enough. Without --rev it is the newest revision that every member has.

The exit code is 1 if two members differ, or if a member did not respond or has no leader. In JSON and YAML the
revision of data that were never compacted is -1, as in etcdctl's. Hashes of members that were compacted at
different revisions cannot be compared; run the command again when all have applied the compaction.`,
		Example: `  troupe hashkv
  troupe hashkv --rev 1000 -o json`,
		Args: noArgs,
	}
	flags := addClientFlags(cmd)
	cmd.Flags().Int64Var(&revision, "rev", 0, "compare the data up to this `revision` (0: the newest that every member has)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if revision < 0 {
			return usageError("--rev: %d is below 0", revision)
		}
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			hashes, err := cluster.HashKV(ctx, revision)
			if err != nil {
				return fmt.Errorf("hashkv: %w", err)
			}
			if err := flags.print(cmd, hashResult(hashes)); err != nil {
				return err
			}
			return compareHashes(hashes)
		})
	}
	return cmd
}

func hashResult(hashes []client.MemberHash) output.Result {
	r := output.Result{Indented: true, Header: []string{"NAME", "ID", "ENDPOINT", "HASH", "REVISION", "COMPACTED", "REMARKS"}}
	list := make([]hashJSON, 0, len(hashes))
	for _, h := range hashes {
		j := hashJSON{
			ID: raft.FormatID(h.Member.ID), Name: h.Member.Name, Endpoint: h.Member.Endpoint,
			Hash: h.Hash, Revision: h.Revision, Compacted: h.CompactRevision,
		}
		row := []string{orDash(j.Name), j.ID, orDash(j.Endpoint), fmt.Sprint(j.Hash), fmt.Sprint(j.Revision), fmt.Sprint(j.Compacted), ""}
		if j.Compacted < 0 { // never compacted
			row[5] = "-"
		}
		if h.Err != nil {
			j.Error = h.Err.Error()
			row = []string{orDash(j.Name), j.ID, orDash(j.Endpoint), "-", "-", "-", j.Error}
		}
		list, r.Rows = append(list, j), append(r.Rows, row)
	}
	r.Value = list
	return r
}

// compareHashes returns an error if members differ, or if some cannot be compared.
func compareHashes(hashes []client.MemberHash) error {
	type state struct{ revision, compacted int64 }
	first := map[state]client.MemberHash{}
	var failed, differ []string
	for _, h := range hashes {
		if h.Err != nil {
			failed = append(failed, h.Member.Label())
			continue
		}
		at := state{h.Revision, h.CompactRevision}
		earlier, known := first[at]
		if !known {
			first[at] = h
		} else if earlier.Hash != h.Hash {
			differ = append(differ, fmt.Sprintf("%s and %s differ at revision %d", earlier.Member.Label(), h.Member.Label(), h.Revision))
		}
	}
	switch {
	case len(differ) > 0:
		return fmt.Errorf("%s: the data of a member are damaged; compare with a third member, and let the damaged one rejoin with an empty data directory", strings.Join(differ, "; "))
	case len(failed) > 0:
		return fmt.Errorf("no hash of %s; see the remarks", strings.Join(failed, ", "))
	case len(first) > 1:
		return fmt.Errorf("the members are compacted at different revisions; run the command again when all have applied the compaction")
	}
	return nil
}
