package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/raft"
)

// movedJSON is the output of `move-leader -o json`.
type movedJSON struct {
	From string `json:"from"`
	To   string `json:"to"`
	Name string `json:"name"`
}

func newMoveLeader() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move-leader MEMBER",
		Short: "Make another member the leader",
		Long: `Make another member the leader, without an election timeout: the leader brings MEMBER up to date, then MEMBER starts
an election. MEMBER is its name or its id. Any endpoint will do; the command connects to the leader itself.

Use it before the leader's machine is stopped.`,
		Example: `  troupe move-leader b
  troupe move-leader 0x8211f1d0f64f3269 --endpoints 10.0.0.1:2379`,
		Args: argsBetween(1, 1),
	}
	flags := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			members, err := cluster.Statuses(ctx)
			if err != nil {
				return fmt.Errorf("move-leader: %w", err)
			}
			target, err := client.FindMember(members, args[0])
			if err != nil {
				return usageError("move-leader: %w", err)
			}
			from, err := cluster.AtLeader(ctx, members, func(conn grpc.ClientConnInterface) error {
				_, err := pb.NewMaintenanceClient(conn).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: target.ID})
				return err
			})
			var none *client.NoLeaderError
			if err != nil && target.Err != nil && !errors.As(err, &none) {
				return fmt.Errorf("move-leader %s: %w; the member itself does not respond: %w", args[0], err, target.Err)
			}
			if err != nil {
				return fmt.Errorf("move-leader %s: %w", args[0], err)
			}
			moved := movedJSON{From: raft.FormatID(from), To: raft.FormatID(target.ID), Name: target.Name}
			return flags.print(cmd, output.Result{
				Value:  moved,
				Header: []string{"FROM", "TO", "NAME"}, Rows: [][]string{{moved.From, moved.To, orDash(moved.Name)}},
				Simple: func(w io.Writer) error {
					if from == target.ID {
						_, err := fmt.Fprintf(w, "%s (%s) is the leader already\n", target.Label(), moved.To)
						return err
					}
					_, err := fmt.Fprintf(w, "leadership moved from %s to %s (%s)\n", moved.From, moved.To, target.Label())
					return err
				},
			})
		})
	}
	return cmd
}
