package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
)

// readModes are the words of --read, which travel as gRPC metadata under readModeKey (see kv.ReadModeKey).
var readModes = []string{"index", "log", "lease", "leader", "local"}

const readModeKey = "troupe-read"

// getFlags are the flags of get.
type getFlags struct {
	*clientFlags
	prefix, fromKey                 bool
	limit, rev                      int64
	keysOnly, countOnly, valuesOnly bool
	sortBy, order                   string
	read                            string
}

func newGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get KEY [END]",
		Short: "Read a key, or the keys from KEY up to END",
		Long: `Read a key, the keys from KEY up to (without) END, or all with a prefix.

--read says what the answer promises:
  index   (default) every write that was acknowledged before; the leader confirms itself by a round of heartbeats
  log     the same, by way of the log, as a write goes
  lease   the same, without a round, for as long as clocks keep their bounds; like index where no lease is held
  leader  what the leader has; a leader that is cut off may answer with old values
  local   what the member asked has, however old; works without a majority`,
		Example: `  troupe get greeting
  troupe get --prefix config/
  troupe get --prefix --count-only ""
  troupe get --prefix --sort-by modify --order descend --limit 10 ""
  troupe get --read local greeting
  troupe get --rev 7 greeting`,
		Args: argsBetween(1, 2),
	}
	f := &getFlags{clientFlags: addClientFlags(cmd)}
	fs := cmd.Flags()
	fs.BoolVar(&f.prefix, "prefix", false, "all keys that begin with KEY")
	fs.BoolVar(&f.fromKey, "from-key", false, "all keys from KEY on")
	fs.Int64Var(&f.limit, "limit", 0, "at most `n` keys (0: all)")
	fs.Int64Var(&f.rev, "rev", 0, "as of `revision` (0: now)")
	fs.BoolVar(&f.keysOnly, "keys-only", false, "keys without values")
	fs.BoolVar(&f.countOnly, "count-only", false, "only how many there are")
	fs.BoolVar(&f.valuesOnly, "print-value-only", false, "values without keys")
	fs.StringVar(&f.sortBy, "sort-by", "", "`what` to sort by: key, version, create, modify or value")
	fs.StringVar(&f.order, "order", "", "`ascend` or descend")
	fs.StringVar(&f.read, "read", "index", "`mode`: index, log, lease, leader or local")
	_ = cmd.RegisterFlagCompletionFunc("read", cobra.FixedCompletions(readModes, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("sort-by", cobra.FixedCompletions([]string{"key", "version", "create", "modify", "value"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request, err := f.request(args)
		if err != nil {
			return err
		}
		return f.run(cmd, func(ctx context.Context, cluster *client.Cluster) error { return f.get(ctx, cmd, cluster, request) })
	}
	return cmd
}

// request makes the request of the flags, or says which do not go together.
func (f *getFlags) request(args []string) (*pb.RangeRequest, error) {
	key, end, err := keyRange(args, f.prefix, f.fromKey)
	if err != nil {
		return nil, err
	}
	r := &pb.RangeRequest{
		Key: key, RangeEnd: end, Limit: f.limit, Revision: f.rev,
		KeysOnly: f.keysOnly, CountOnly: f.countOnly, Serializable: f.read == "local",
	}
	switch {
	case f.limit < 0:
		return nil, usageError("--limit: %d is below 0", f.limit)
	case f.rev < 0:
		return nil, usageError("--rev: %d is below 0", f.rev)
	case f.keysOnly && f.valuesOnly:
		return nil, usageError("--keys-only and --print-value-only leave nothing to print; drop one")
	case !isOneOf(f.read, readModes...):
		return nil, usageError("--read: %q is none of %s", f.read, strings.Join(readModes, ", "))
	}
	by, ok := map[string]pb.RangeRequest_SortTarget{
		"": pb.RangeRequest_KEY, "key": pb.RangeRequest_KEY, "version": pb.RangeRequest_VERSION,
		"create": pb.RangeRequest_CREATE, "modify": pb.RangeRequest_MOD, "value": pb.RangeRequest_VALUE,
	}[strings.ToLower(f.sortBy)]
	if !ok {
		return nil, usageError("--sort-by: %q is none of key, version, create, modify, value", f.sortBy)
	}
	order, ok := map[string]pb.RangeRequest_SortOrder{
		"": pb.RangeRequest_NONE, "ascend": pb.RangeRequest_ASCEND, "descend": pb.RangeRequest_DESCEND,
	}[strings.ToLower(f.order)]
	if !ok {
		return nil, usageError("--order: %q is neither ascend nor descend", f.order)
	}
	if f.sortBy != "" && f.order == "" {
		order = pb.RangeRequest_ASCEND
	}
	r.SortTarget, r.SortOrder = by, order
	return r, nil
}

func (f *getFlags) get(ctx context.Context, cmd *cobra.Command, cluster *client.Cluster, request *pb.RangeRequest) error {
	ctx = metadata.AppendToOutgoingContext(ctx, readModeKey, f.read)
	var answer *pb.RangeResponse
	err := cluster.Read(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		answer, err = pb.NewKVClient(conn).Range(ctx, request)
		return err
	})
	if err != nil {
		return fmt.Errorf("get %q: %w", request.Key, err)
	}
	f.print(cmd.OutOrStdout(), cmd.ErrOrStderr(), request, answer)
	return nil
}

func (f *getFlags) print(out, errs io.Writer, request *pb.RangeRequest, answer *pb.RangeResponse) {
	switch {
	case f.output == "json":
		if err := printJSON(out, answer); err != nil {
			fmt.Fprintf(errs, "troupe: %v\n", err)
		}
	case f.countOnly:
		fmt.Fprintln(out, answer.Count)
	default:
		for _, kv := range answer.Kvs {
			printKV(out, kv, !f.valuesOnly, !f.keysOnly)
		}
		switch {
		case len(answer.Kvs) == 0 && request.RangeEnd == nil:
			fmt.Fprintf(errs, "troupe: there is no key %q\n", request.Key)
		case answer.More:
			fmt.Fprintf(errs, "troupe: %d of %d keys\n", len(answer.Kvs), answer.Count)
		}
	}
}

// keyRange is the range that the arguments mean.
func keyRange(args []string, prefix, fromKey bool) (key, end []byte, err error) {
	key = []byte(args[0])
	switch {
	case prefix && fromKey:
		return nil, nil, usageError("--prefix and --from-key exclude each other")
	case len(args) == 2 && (prefix || fromKey):
		return nil, nil, usageError("a range has an end, %q, or --prefix or --from-key, not both", args[1])
	case prefix:
		key, end = client.PrefixRange(key)
		return key, end, nil
	case fromKey:
		if len(key) == 0 {
			key = []byte{0}
		}
		return key, []byte{0}, nil
	case len(key) == 0:
		return nil, nil, usageError("a key must not be empty; --prefix \"\" means all keys")
	case len(args) == 2 && args[1] == "":
		return nil, nil, usageError("the range's END is empty; --from-key has no end")
	case len(args) == 2:
		return key, []byte(args[1]), nil
	}
	return key, nil, nil
}

func isOneOf(word string, words ...string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
