package main

import (
	"io"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func TestTransactionIsReadAsByEtcdctl(t *testing.T) {
	got, err := readTransaction(strings.NewReader(`mod("key1") > "0"
value("a b") = "x\ty"
ver("k") != "3"

put key1 "overwrote key1"
get --prefix --limit 2 key
del 'a b' z --prev-kv

put "key\n1" 'as it is \n'
get k
`), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
	}
	get := func(r *pb.RangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	}
	del := &pb.DeleteRangeRequest{Key: []byte("a b"), RangeEnd: []byte("z"), PrevKv: true}
	want := &pb.TxnRequest{
		Compare: []*pb.Compare{
			{Key: []byte("key1"), Result: pb.Compare_GREATER, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{}},
			{Key: []byte("a b"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("x\ty")}},
			{Key: []byte("k"), Result: pb.Compare_NOT_EQUAL, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 3}},
		},
		Success: []*pb.RequestOp{
			put("key1", "overwrote key1"),
			get(&pb.RangeRequest{Key: []byte("key"), RangeEnd: []byte("kez"), Limit: 2}),
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del}},
		},
		Failure: []*pb.RequestOp{put("key\n1", `as it is \n`), get(&pb.RangeRequest{Key: []byte("k")})},
	}
	if !proto.Equal(got.request, want) {
		t.Fatalf("read\n%v\nwant\n%v", got.request, want)
	}
}

func TestWrongTransactionNamesItsLine(t *testing.T) {
	for input, want := range map[string]string{
		"mod(k) > 0":                  "line 1 of the transaction: \"mod(k) > 0\" is no comparison",
		"size(\"k\") > \"0\"":         "\"size\" cannot be compared",
		"mod(\"k\") >= \"0\"":         "operator \">=\" is unknown",
		"mod(\"k\") > \"many\"":       "compared with a number",
		"lease(\"k\") = \"1\"":        "leases do not exist",
		"\nget a\nput k":              "line 3 of the transaction: put has 1 arguments",
		"\n\nfetch k":                 "line 3 of the transaction: the request \"fetch\" is unknown",
		"\nput k \"v":                 "a quote is not closed",
		"\nput 'k v":                  "a quote is not closed",
		"\nget k --no-such-flag":      "line 2 of the transaction: get: unknown flag",
		"\nget k --sort-by size":      "--sort-by",
		"\nput \"\" v":                "KEY is empty",
		"\ndel --prefix --from-key k": "--prefix and --from-key",
	} {
		if _, err := readTransaction(strings.NewReader(input), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", input, err, want)
		}
	}
}
