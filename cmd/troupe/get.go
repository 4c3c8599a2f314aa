package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
)

// readModes are the values of --read. The client sends the value as gRPC metadata under readModeKey
// (kv.ReadModeKey).
var readModes = []string{"index", "log", "lease", "leader", "local"}

const readModeKey = "troupe-read"

// rangeFlags are the flags of get, and of a get in a transaction.
type rangeFlags struct {
	prefix, fromKey                 bool
	limit, rev                      int64
	keysOnly, countOnly, valuesOnly bool
	sortBy, order                   string
}

func (f *rangeFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&f.prefix, "prefix", false, "all keys that begin with KEY")
	fs.BoolVar(&f.fromKey, "from-key", false, "all keys from KEY on")
	fs.Int64Var(&f.limit, "limit", 0, "at most `n` keys (0: all)")
	fs.Int64Var(&f.rev, "rev", 0, "the state at this `revision` (0: the newest)")
	fs.BoolVar(&f.keysOnly, "keys-only", false, "keys without values")
	fs.BoolVar(&f.countOnly, "count-only", false, "the number of keys only")
	fs.BoolVar(&f.valuesOnly, "print-value-only", false, "values without keys")
	fs.StringVar(&f.sortBy, "sort-by", "", "sort by this field: `key|version|create|modify|value`")
	fs.StringVar(&f.order, "order", "", "order of --sort-by: `ascend|descend`")
}

// getFlags are the flags of get.
type getFlags struct {
	*clientFlags
	rangeFlags
	read string
}

func newGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get KEY [END]",
		Short: "Read a key, or the keys from KEY up to END",
		Long: `Read a key, the keys from KEY up to but without END, or all keys with a prefix.

--read selects the consistency:
  index   (default) linearizable; the leader confirms its leadership with a round of heartbeats
  log     linearizable; the read is an entry of the log, as a write is
  lease   linearizable while clocks drift within their bound; no round while the leader holds a lease, else like index
  leader  the state of the leader; a partitioned leader may return old values
  local   the state of the member that responds, however old; works without a majority`,
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
	f.register(fs)
	fs.StringVar(&f.read, "read", "index", "consistency: `index|log|lease|leader|local`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request, err := f.request(args)
		if err != nil {
			return err
		}
		return f.run(cmd, func(ctx context.Context, cluster *client.Cluster) error { return f.get(ctx, cmd, cluster, request) })
	}
	return cmd
}

// request returns the request that the arguments and flags describe.
func (f *getFlags) request(args []string) (*pb.RangeRequest, error) {
	if !slices.Contains(readModes, f.read) {
		return nil, usageError("--read: %q is unknown; use one of %s", f.read, strings.Join(readModes, ", "))
	}
	r, err := f.rangeFlags.request(args)
	if err == nil {
		r.Serializable = f.read == "local"
	}
	return r, err
}

func (f *rangeFlags) request(args []string) (*pb.RangeRequest, error) {
	key, end, err := keyRange(args, f.prefix, f.fromKey)
	if err != nil {
		return nil, err
	}
	r := &pb.RangeRequest{
		Key: key, RangeEnd: end, Limit: f.limit, Revision: f.rev,
		KeysOnly: f.keysOnly, CountOnly: f.countOnly,
	}
	switch {
	case f.limit < 0:
		return nil, usageError("--limit: %d is below 0", f.limit)
	case f.rev < 0:
		return nil, usageError("--rev: %d is below 0", f.rev)
	case f.keysOnly && f.valuesOnly:
		return nil, usageError("--keys-only and --print-value-only exclude each other; leave one out")
	}
	by, ok := map[string]pb.RangeRequest_SortTarget{
		"": pb.RangeRequest_KEY, "key": pb.RangeRequest_KEY, "version": pb.RangeRequest_VERSION,
		"create": pb.RangeRequest_CREATE, "modify": pb.RangeRequest_MOD, "value": pb.RangeRequest_VALUE,
	}[strings.ToLower(f.sortBy)]
	if !ok {
		return nil, usageError("--sort-by: %q is unknown; use one of key, version, create, modify, value", f.sortBy)
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
	var response *pb.RangeResponse
	read := cluster.ReadWithLeader
	if request.Serializable {
		read = cluster.Read // of that member's own state
	}
	err := read(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		response, err = pb.NewKVClient(conn).Range(ctx, request)
		return err
	})
	if err != nil {
		return fmt.Errorf("get %q: %w", request.Key, err)
	}
	return f.print(cmd, f.result(cmd.ErrOrStderr(), request, response))
}

// result returns the result. The simple form writes a remark to errs if it lacks keys.
func (f *getFlags) result(errs io.Writer, request *pb.RangeRequest, response *pb.RangeResponse) output.Result {
	r := output.Result{Value: response, Header: keyHeader, Rows: keyRows(response.Kvs)}
	if f.countOnly {
		r.Header, r.Rows = []string{"COUNT"}, [][]string{{strconv.FormatInt(response.Count, 10)}}
	}
	r.Simple = func(out io.Writer) error {
		printRange(out, f.rangeFlags, response)
		switch {
		case f.countOnly:
		case len(response.Kvs) == 0 && request.RangeEnd == nil:
			fmt.Fprintf(errs, "troupe: key %q does not exist\n", request.Key)
		case response.More:
			fmt.Fprintf(errs, "troupe: %d of %d keys\n", len(response.Kvs), response.Count)
		}
		return nil
	}
	return r
}

// printRange prints the keys of a response as etcdctl does.
func printRange(out io.Writer, f rangeFlags, response *pb.RangeResponse) {
	if f.countOnly {
		fmt.Fprintln(out, response.Count)
		return
	}
	for _, kv := range response.Kvs {
		printKV(out, kv, !f.valuesOnly, !f.keysOnly)
	}
}

// keyRange returns the range that the arguments and flags describe.
func keyRange(args []string, prefix, fromKey bool) (key, end []byte, err error) {
	key = []byte(args[0])
	switch {
	case prefix && fromKey:
		return nil, nil, usageError("--prefix and --from-key exclude each other; leave one out")
	case len(args) == 2 && (prefix || fromKey):
		return nil, nil, usageError("the END %q excludes --prefix and --from-key; leave one out", args[1])
	case prefix:
		key, end = client.PrefixRange(key)
		return key, end, nil
	case fromKey:
		if len(key) == 0 {
			key = []byte{0}
		}
		return key, []byte{0}, nil
	case len(key) == 0:
		return nil, nil, usageError("KEY is empty; --prefix \"\" means all keys")
	case len(args) == 2 && args[1] == "":
		return nil, nil, usageError("END is empty; use --from-key for a range without an end")
	case len(args) == 2:
		return key, []byte(args[1]), nil
	}
	return key, nil, nil
}
