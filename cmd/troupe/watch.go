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
		Long: `Print changes as they happen, until Ctrl-C. With --rev, those since that revision come first.

A member that dies does not end the watch: it goes on at the next endpoint, with nothing left out and nothing twice.`,
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
	cmd.Flags().BoolVar(&prevKV, "prev-kv", false, "print what was there before each change")
	cmd.Flags().Int64Var(&rev, "rev", 0, "begin with `revision` (0: with what happens from now on)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("timeout") {
			return usageError("--timeout: a watch goes on until it is interrupted; leave it out")
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
		tell := func(answer *pb.WatchResponse) error {
			return printWatch(cmd.OutOrStdout(), answer, flags.output == "json")
		}
		lost := func(err error) { fmt.Fprintf(cmd.ErrOrStderr(), "troupe: %v; trying on\n", err) }
		if err := ignoreCanceled(cluster.Watch(signalContext(cmd), request, tell, lost)); err != nil {
			return fmt.Errorf("watch %q: %w", args[0], err)
		}
		return nil
	}
	return cmd
}

// printWatch prints events as etcdctl does: PUT or DELETE, then what was there before where it was asked for, then key and
// value.
func printWatch(w io.Writer, answer *pb.WatchResponse, asJSON bool) error {
	if asJSON {
		if len(answer.Events) == 0 {
			return nil
		}
		return printJSON(w, answer)
	}
	for _, e := range answer.Events {
		fmt.Fprintln(w, e.Type)
		if e.PrevKv != nil {
			printKV(w, e.PrevKv, true, true)
		}
		printKV(w, e.Kv, true, true)
	}
	return nil
}
