package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func newMember() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "member",
		Short:   "Let a member that lost its data directory return",
		Long:    "Let a member that lost its data directory return. Members cannot be added or removed in this version.",
		Example: "  troupe member rejoin c",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	cmd.AddCommand(newMemberRejoin())
	return cmd
}

// storageIDBytes is the size of a storage id, which is written with two digits for a byte.
const storageIDBytes = 16

func newMemberRejoin() *cobra.Command {
	request := &messages.MemberRejoinRequest{}
	cmd := &cobra.Command{
		Use:   "rejoin MEMBER",
		Short: "Record the new data directory of a member that lost its own",
		Long: `Record the new data directory of a member that lost its own. MEMBER is its name or its id.

A member whose data directory was lost, emptied or replaced by an older copy has forgotten votes and entries that it
acknowledged. The others refuse it, and it ends with exit code 8. To bring it back:

  1. Start it with an empty data directory and --initial-cluster-state=rejoin, with its other flags as before.
     It waits: it receives nothing and does not vote.
  2. Run this command with the endpoint of another member. The leader records the new data directory, which a majority
     of the members without that one must acknowledge; then the member catches up by itself, and votes again.

Do this only if the old data directory is gone for good: it is refused from then on. A member that is connected to the
leader with its recorded data directory has lost nothing, and the command is refused; --force does it all the same.
The command may be repeated: if the data directory is recorded already, it reports that and changes nothing.`,
		Example: `  troupe member rejoin c
  troupe member rejoin 0x8211f1d0f64f3269 --endpoints 10.0.0.1:2379
  troupe member rejoin c --storage-id 0f4c1ad0d1f13c5ad1d8d4d50f7a4c11`,
		Args: argsBetween(1, 1),
	}
	flags := addClientFlags(cmd)
	cmd.Flags().BoolVar(&request.Force, "force", false, "replace the data directory of a member that is connected with it, or that asked to rejoin with another one")
	cmd.Flags().StringVar(&request.StorageId, "storage-id", "", "the new data directory's `id` (storageId in its identity.json); default: the one that the member asked to rejoin with")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if raw, err := hex.DecodeString(request.StorageId); request.StorageId != "" && (err != nil || len(raw) != storageIDBytes) {
			return usageError("--storage-id: %q is no storage id; give the 32 hexadecimal digits of storageId in the member's identity.json", request.StorageId)
		}
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			members, err := cluster.Statuses(ctx)
			if err != nil {
				return fmt.Errorf("member rejoin: %w", err)
			}
			member, err := client.FindMember(members, args[0])
			if err != nil {
				return usageError("member rejoin: %w", err)
			}
			request.MemberId = member.ID
			recorded, err := cluster.RejoinMember(ctx, members, request)
			if err != nil {
				return fmt.Errorf("member rejoin %s: %w", args[0], err)
			}
			return flags.print(cmd, rejoinedResult(member, recorded))
		})
	}
	return cmd
}

// rejoinedJSON is the output of `member rejoin -o json`.
type rejoinedJSON struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	StorageID string `json:"storageId"`
	Changed   bool   `json:"changed"` // it was not recorded before the command
}

func rejoinedResult(m client.MemberStatus, recorded *messages.MemberRejoinResponse) output.Result {
	j := rejoinedJSON{ID: raft.FormatID(m.ID), Name: m.Name, StorageID: recorded.StorageId, Changed: !recorded.Unchanged}
	text := fmt.Sprintf("%s (%s) rejoins with data directory %s; it catches up by itself (troupe status)", m.Label(), j.ID, j.StorageID)
	if recorded.Unchanged {
		text = fmt.Sprintf("nothing had to be changed: data directory %s of %s (%s) is recorded already; if the member lost that one too, "+
			"start it with --initial-cluster-state=rejoin first", j.StorageID, m.Label(), j.ID)
	}
	return output.Result{
		Value:  j,
		Header: []string{"NAME", "ID", "STORAGE ID", "CHANGED"}, Rows: [][]string{{orDash(j.Name), j.ID, j.StorageID, fmt.Sprint(j.Changed)}},
		Simple: func(w io.Writer) error {
			_, err := fmt.Fprintln(w, text)
			return err
		},
	}
}
