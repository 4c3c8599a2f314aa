package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func newWatch() *cobra.Command {
	var prefix, fromKey, prevKV bool
	var rev int64
	cmd := &cobra.Command{
		Use:   "watch KEY [END]",
		Short: "Print the changes of a key, or of the keys from KEY up to END, as they happen",
		Long: `Print changes as they happen, until Ctrl-C. With --rev, print the changes since that revision first.

When a member ends, the watch continues at the next endpoint and prints each change exactly once.`,
		Example: `  troupe watch greeting
  troupe watch --prefix ""
  troupe watch --prefix --rev 1 config/
  troupe watch --endpoints 127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379 --prefix ""`,
		Args: argsBetween(1, 2),
	}
	flags := addClientFlags(cmd)
	_ = cmd.Flags().MarkHidden("timeout")
	cmd.Flags().BoolVar(&prefix, "prefix", false, "all keys that begin with KEY")
	cmd.Flags().BoolVar(&fromKey, "from-key", false, "all keys from KEY on")
	cmd.Flags().BoolVar(&prevKV, "prev-kv", false, "print the previous value of each change")
	cmd.Flags().Int64Var(&rev, "rev", 0, "begin with `revision` (0: with the next change)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("timeout") {
			return usageError("--timeout: a watch runs until it is interrupted; leave the flag out")
		}
		key, end, err := keyRange(args, prefix, fromKey)
		if err != nil {
			return err
		}
		if rev < 0 {
			return usageError("--rev: %d is below 0", rev)
		}
		cluster, err := flags.newCluster(cmd)
		if err != nil {
			return err
		}
		defer cluster.Close()
		request := &pb.WatchCreateRequest{Key: key, RangeEnd: end, StartRevision: rev, PrevKv: prevKV}
		receive := func(response *pb.WatchResponse) error {
			return printWatch(cmd.OutOrStdout(), response, flags.output == "json")
		}
		lost := func(err error) { fmt.Fprintf(cmd.ErrOrStderr(), "troupe: %v; trying the next endpoint\n", err) }
		if err := ignoreCanceled(cluster.Watch(signalContext(cmd), request, receive, lost)); err != nil {
			return fmt.Errorf("watch %q: %w", args[0], err)
		}
		return nil
	}
	return cmd
}

// printWatch prints events as etcdctl does: PUT or DELETE, then the previous key and value if they
// were requested, then key and value.
func printWatch(w io.Writer, response *pb.WatchResponse, asJSON bool) error {
	if asJSON {
		if len(response.Events) == 0 {
			return nil
		}
		return printJSON(w, response)
	}
	for _, e := range response.Events {
		fmt.Fprintln(w, e.Type)
		if e.PrevKv != nil {
			printKV(w, e.PrevKv, true, true)
		}
		printKV(w, e.Kv, true, true)
	}
	return nil
}
