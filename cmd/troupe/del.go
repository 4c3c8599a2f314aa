package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
)

func newDel() *cobra.Command {
	var prefix, fromKey, prevKV bool
	cmd := &cobra.Command{
		Use:   "del KEY [END]",
		Short: "Delete a key, or the keys from KEY up to END",
		Long:  "Delete a key, the keys from KEY up to but without END, or all keys with a prefix. Prints the number of deleted keys.",
		Example: `  troupe del greeting
  troupe del --prefix config/
  troupe del --prev-kv a z`,
		Args: argsBetween(1, 2),
	}
	flags := addClientFlags(cmd)
	cmd.Flags().BoolVar(&prefix, "prefix", false, "all keys that begin with KEY")
	cmd.Flags().BoolVar(&fromKey, "from-key", false, "all keys from KEY on")
	cmd.Flags().BoolVar(&prevKV, "prev-kv", false, "print the deleted keys and values")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		key, end, err := keyRange(args, prefix, fromKey)
		if err != nil {
			return err
		}
		request := &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: prevKV}
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			var response *pb.DeleteRangeResponse
			err := cluster.Write(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
				response, err = pb.NewKVClient(conn).DeleteRange(ctx, request)
				return err
			})
			if err != nil {
				return fmt.Errorf("del %q: %w", args[0], err)
			}
			return flags.print(cmd, deleteResult(response))
		})
	}
	return cmd
}
