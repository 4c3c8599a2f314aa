package main

import (
	"fmt"
	"io"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
)

// printKV writes key and value on a line each, as etcdctl does.
func printKV(w io.Writer, kv *mvccpb.KeyValue, keys, values bool) {
	if keys {
		fmt.Fprintf(w, "%s\n", kv.Key)
	}
	if values {
		fmt.Fprintf(w, "%s\n", kv.Value)
	}
}

// keyHeader are the columns of keyRow. Keys and values may hold any bytes: a table quotes them.
var keyHeader = []string{"KEY", "VERSION", "CREATED", "MODIFIED", "VALUE"}

func keyRow(kv *mvccpb.KeyValue) []string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{strconv.Quote(string(kv.Key)), number(kv.Version), number(kv.CreateRevision), number(kv.ModRevision), strconv.Quote(string(kv.Value))}
}

func keyRows(kvs []*mvccpb.KeyValue) (rows [][]string) {
	for _, kv := range kvs {
		rows = append(rows, keyRow(kv))
	}
	return rows
}

func putResult(response *pb.PutResponse) output.Result {
	r := output.Result{Value: response, Simple: func(w io.Writer) error { printPut(w, response); return nil }}
	r.Header, r.Rows = []string{"REVISION"}, [][]string{{strconv.FormatInt(response.Header.GetRevision(), 10)}}
	if response.PrevKv != nil {
		r.Header, r.Rows[0] = append(r.Header, "PREVIOUS VALUE"), append(r.Rows[0], strconv.Quote(string(response.PrevKv.Value)))
	}
	return r
}

func printPut(w io.Writer, response *pb.PutResponse) {
	fmt.Fprintln(w, "OK")
	if response.PrevKv != nil {
		printKV(w, response.PrevKv, true, true)
	}
}

func deleteResult(response *pb.DeleteRangeResponse) output.Result {
	r := output.Result{Value: response, Simple: func(w io.Writer) error { printDelete(w, response); return nil }}
	r.Header, r.Rows = []string{"DELETED"}, [][]string{{strconv.FormatInt(response.Deleted, 10)}}
	if len(response.PrevKvs) > 0 {
		r.Header, r.Rows = keyHeader, keyRows(response.PrevKvs)
	}
	return r
}

func printDelete(w io.Writer, response *pb.DeleteRangeResponse) {
	fmt.Fprintln(w, response.Deleted)
	for _, kv := range response.PrevKvs {
		printKV(w, kv, true, true)
	}
}

// formatBytes returns a size with a binary unit, for instance "1.5 MiB".
func formatBytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, prefix := float64(n)/unit, 0
	for size >= unit && prefix < 4 {
		size /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGTP"[prefix])
}
