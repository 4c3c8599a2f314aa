package logview

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func command7(t *testing.T) func(payload []byte, err error) []byte {
	return func(payload []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raft.EncodeCommand(7, 3, 1, payload)
	}
}

func TestDescribeEveryEntryKind(t *testing.T) {
	encoded := command7(t)
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("value"), Lease: 0x1f}
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
		Failure: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("r")}}},
			{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}},
		},
	}
	configuration := &messages.Configuration{
		ClusterId: 0xc, Members: []*messages.Member{{Id: 0xa, Name: "a", Address: "x:1"}, {Id: 0xb, Name: "b", Address: "y:1", Learner: true}},
		OutgoingVoters: []uint64{0xa}, Removed: []uint64{0xd},
	}
	for _, c := range []struct {
		data       []byte
		kind, what string
	}{
		{encoded(mvcc.EncodePut(put)), "command", `put "k" (5 bytes) lease 1f`},
		{encoded(mvcc.EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("k")})), "command", `delete "k"`},
		{encoded(mvcc.EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("b")})), "command", `delete from "a" to "b"`},
		{encoded(mvcc.EncodeTxn(txn)), "command", `txn if 1 compares then [put "k" (5 bytes) lease 1f] else [range "r", (txn if 0 compares then [] else [])]`},
		{encoded(mvcc.EncodeCompaction(&pb.CompactionRequest{Revision: 9})), "command", "compact up to revision 9"},
		{encoded(mvcc.EncodeMemberAttributes(1, "a", nil), nil), "command", "name and client URLs of a member"},
		{encoded([]byte{mvcc.KindPut, 0xff}, nil), "command", "unreadable: "},
		{encoded([]byte{200}, nil), "command", "unknown"},
		{encoded(nil, nil), "command", "empty"},
		{encoded(mvcc.EncodePut(&pb.PutRequest{Key: []byte(strings.Repeat("k", 1000))})), "command", "… (1000 bytes) (0 bytes)"},
		{raft.EncodeNoop(), "noop", ""},
		{raft.EncodeConfiguration(configuration), "configuration", "cluster 0xc: a=x:1 (0xa), b=y:1 (0xb) learner; joint with [0xa]; removed [0xd]"},
		{raft.EncodeRegisterSession([]byte("nonce"), 0xa), "registerSession", "by member 0xa"},
		{raft.EncodeBarrier(7, 4, 1), "barrier", ""},
		{[]byte{99}, "unreadable", "unknown kind"},
	} {
		got := Describe(5, 2, c.data)
		if got.Kind != c.kind || !strings.Contains(got.What, c.what) || got.Index != 5 || got.Term != 2 {
			t.Errorf("%+v, want %s %q", got, c.kind, c.what)
		}
		if (got.Hash != "") != (c.kind == "command") {
			t.Errorf("%s: hash %q", c.kind, got.Hash)
		}
	}
}

func TestEntryTermsComeFromRuns(t *testing.T) {
	entries := &messages.Entries{
		First: 4, Data: [][]byte{{1}, {2}, {3}, {4}},
		Runs: []*messages.TermRun{{FirstIndex: 4, Term: 1}, {FirstIndex: 6, Term: 3}, {FirstIndex: 7, Term: 5}},
	}
	var terms []uint64
	forEachEntry(entries, func(_, term uint64, _ []byte) { terms = append(terms, term) })
	if want := []uint64{1, 1, 3, 5}; len(terms) != 4 || terms[0] != want[0] || terms[1] != want[1] || terms[2] != want[2] || terms[3] != want[3] {
		t.Fatalf("%v, want %v", terms, want)
	}
	forEachEntry(nil, func(uint64, uint64, []byte) { t.Fatal("an entry without entries") })
}
