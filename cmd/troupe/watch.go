package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
)

func newWatch() *cobra.Command {
	var prefix, fromKey, prevKV bool
	var rev int64
	cmd := &cobra.Command{
		Use:   "watch KEY [END]",
		Short: "Print the changes of a key, or of the keys from KEY up to END, as they happen",
		Long: `Print changes as they happen, until Ctrl-C. With --rev, print the changes since that revision first.

When a member ends, the watch continues at the next endpoint and prints each change exactly once. While no endpoint
serves it, it waits: it reports that once on standard error, with the reason, and continues by itself.`,
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
		printed := false
		receive := func(response *pb.WatchResponse) error {
			if len(response.Events) == 0 {
				return nil
			}
			r := watchResult(response)
			if printed {
				r.Header = nil // once, above the first events
			}
			printed = true
			return flags.print(cmd, r)
		}
		lost := func(err error) { fmt.Fprintf(cmd.ErrOrStderr(), "troupe: %v\n", err) }
		if err := ignoreCanceled(cluster.Watch(signalContext(cmd), request, receive, lost)); err != nil {
			return fmt.Errorf("watch %q: %w", args[0], err)
		}
		return nil
	}
	return cmd
}

// watchResult returns the events of a response. The simple form is that of etcdctl: PUT or DELETE,
// then the previous key and value if they were requested, then key and value.
func watchResult(response *pb.WatchResponse) output.Result {
	r := output.Result{Value: response, Header: append([]string{"EVENT"}, keyHeader...)}
	for _, e := range response.Events {
		r.Rows = append(r.Rows, append([]string{e.Type.String()}, keyRow(e.Kv)...))
	}
	r.Simple = func(w io.Writer) error {
		for _, e := range response.Events {
			fmt.Fprintln(w, e.Type)
			if e.PrevKv != nil {
				printKV(w, e.PrevKv, true, true)
			}
			printKV(w, e.Kv, true, true)
		}
		return nil
	}
	return r
}
