package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
)

func newCompact() *cobra.Command {
	var physical bool
	cmd := &cobra.Command{
		Use:   "compact REVISION",
		Short: "Remove the history before a revision",
		Long: `Remove the history before REVISION: values that were replaced or deleted before it. The state at REVISION and later
ones remain. Reads and watches of an earlier revision are refused from then on.

The data are removed in the background. With --physical the command waits until that is done at the member that
responds.`,
		Example: `  troupe compact 1000
  troupe compact --physical 1000`,
		Args:       argsBetween(1, 1),
		SuggestFor: []string{"compaction"},
	}
	flags := addClientFlags(cmd)
	cmd.Flags().BoolVar(&physical, "physical", false, "wait until the data are removed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		revision, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || revision <= 0 {
			return usageError("REVISION %q is not a number above 0; \"troupe status -o json\" shows the revision of each member", args[0])
		}
		request := &pb.CompactionRequest{Revision: revision, Physical: physical}
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			var response *pb.CompactionResponse
			err := cluster.Write(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
				response, err = pb.NewKVClient(conn).Compact(ctx, request)
				return err
			})
			if err != nil {
				return fmt.Errorf("compact %d: %w", revision, err)
			}
			return flags.print(cmd, output.Result{
				Value:  response,
				Header: []string{"COMPACTED", "REVISION"},
				Rows:   [][]string{{fmt.Sprint(revision), fmt.Sprint(response.Header.GetRevision())}},
				Simple: func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "compacted revision %d\n", revision)
					return err
				},
			})
		})
	}
	return cmd
}
