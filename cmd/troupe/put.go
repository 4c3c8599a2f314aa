package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
)

func newPut() *cobra.Command {
	var prevKV bool
	cmd := &cobra.Command{
		Use:   "put KEY [VALUE]",
		Short: "Write a value",
		Long: `Write a value. When the command ends without an error, the value is on the disks of a majority.

Without VALUE, or if VALUE is -, the value is read from standard input.`,
		Example: `  troupe put greeting hello
  troupe put config - < config.yaml
  troupe put --prev-kv greeting "good morning"
  troupe put -- key -value-with-a-dash`,
		Args: argsBetween(1, 2),
	}
	flags := addClientFlags(cmd)
	cmd.Flags().BoolVar(&prevKV, "prev-kv", false, "print the previous value")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return usageError("KEY is empty; give a key of at least one byte")
		}
		value, err := readValue(args[1:], cmd.InOrStdin())
		if err != nil {
			return err
		}
		request := &pb.PutRequest{Key: []byte(args[0]), Value: value, PrevKv: prevKV}
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			var response *pb.PutResponse
			err := cluster.Write(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
				response, err = pb.NewKVClient(conn).Put(ctx, request)
				return err
			})
			if err != nil {
				return fmt.Errorf("put %q: %w", args[0], err)
			}
			return flags.print(cmd, putResult(response))
		})
	}
	return cmd
}

func readValue(args []string, in io.Reader) ([]byte, error) {
	if len(args) == 1 && args[0] != "-" {
		return []byte(args[0]), nil
	}
	value, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("reading the value from standard input: %s", strings.TrimPrefix(err.Error(), "read "))
	}
	return value, nil
}
