package kv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/internal/kvtest"
	"github.com/troupe-raft/troupe/raft"
)

func TestResponseHeadersAreComplete(t *testing.T) {
	ts := startServer(t)
	check := func(what string, h *pb.ResponseHeader, revision int64) {
		t.Helper()
		want := &pb.ResponseHeader{ClusterId: kvtest.ClusterID, MemberId: kvtest.MemberID, RaftTerm: kvtest.Term, Revision: revision}
		if !proto.Equal(h, want) {
			t.Errorf("%s: header %v, want %v", what, h, want)
		}
	}
	ctx := testContext(t)
	put, err := ts.kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")})
	check("put", put.GetHeader(), 2)
	get, err2 := ts.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	check("range", get.GetHeader(), 2)
	txn, err3 := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{kvtest.PutOp("b", "2"), opRange("a", "")}})
	check("txn", txn.GetHeader(), 3)
	readTxn, err4 := ts.kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{opRange("a", "")}})
	check("read-only txn", readTxn.GetHeader(), 3)
	del, err5 := ts.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
	check("delete", del.GetHeader(), 4)
	compact, err6 := ts.kv.Compact(ctx, &pb.CompactionRequest{Revision: 3, Physical: true})
	check("compact", compact.GetHeader(), 4)
	for _, err := range []error{err, err2, err3, err4, err5, err6} {
		if err != nil {
			t.Error(err)
		}
	}
	_, err = ts.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Revision: 2})
	if status.Convert(err).Message() != "etcdserver: mvcc: required revision has been compacted" || status.Code(err) != codes.OutOfRange {
		t.Errorf("a compacted revision: %v", err)
	}
}

func TestRangeHonoursEveryOption(t *testing.T) {
	ts := startServer(t)
	// Revisions: a=2, b=3, c=4, d=5, then b again=6.
	for i, k := range []string{"a", "b", "c", "d"} {
		ts.put(t, k, string(rune('9'-i)))
	}
	ts.put(t, "b", "z")
	all := func(r *pb.RangeRequest) *pb.RangeRequest {
		r.Key, r.RangeEnd = []byte("a"), []byte("e")
		return r
	}
	for name, c := range map[string]struct {
		request *pb.RangeRequest
		keys    string
		more    bool
		count   int64
	}{
		"one key":                {&pb.RangeRequest{Key: []byte("b")}, "b", false, 1},
		"a missing key":          {&pb.RangeRequest{Key: []byte("x")}, "", false, 0},
		"all":                    {all(&pb.RangeRequest{}), "abcd", false, 4},
		"from a key on":          {&pb.RangeRequest{Key: []byte("c"), RangeEnd: []byte{0}}, "cd", false, 2},
		"limit":                  {all(&pb.RangeRequest{Limit: 3}), "abc", true, 4},
		"limit above count":      {all(&pb.RangeRequest{Limit: 9}), "abcd", false, 4},
		"count only":             {all(&pb.RangeRequest{CountOnly: true}), "", false, 4},
		"descending":             {all(&pb.RangeRequest{SortOrder: pb.RangeRequest_DESCEND}), "dcba", false, 4},
		"by value":               {all(&pb.RangeRequest{SortOrder: pb.RangeRequest_ASCEND, SortTarget: pb.RangeRequest_VALUE}), "dcab", false, 4},
		"by mod, descending":     {all(&pb.RangeRequest{SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_MOD, Limit: 2}), "bd", true, 4},
		"by version":             {all(&pb.RangeRequest{SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_VERSION, Limit: 1}), "b", true, 4},
		"by create":              {all(&pb.RangeRequest{SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_CREATE}), "dcba", false, 4},
		"a target without order": {all(&pb.RangeRequest{SortTarget: pb.RangeRequest_MOD}), "acdb", false, 4},
		"min mod":                {all(&pb.RangeRequest{MinModRevision: 5}), "bd", false, 4},
		"max mod":                {all(&pb.RangeRequest{MaxModRevision: 4}), "ac", false, 4},
		"min create":             {all(&pb.RangeRequest{MinCreateRevision: 4}), "cd", false, 4},
		"max create":             {all(&pb.RangeRequest{MaxCreateRevision: 3}), "ab", false, 4},
		"in the past":            {all(&pb.RangeRequest{Revision: 3}), "ab", false, 2},
		"in the past, limited":   {all(&pb.RangeRequest{Revision: 4, Limit: 1}), "a", true, 3},
		"serializable":           {all(&pb.RangeRequest{Serializable: true}), "abcd", false, 4},
	} {
		r, err := ts.kv.Range(testContext(t), c.request)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var keys strings.Builder
		for _, kv := range r.Kvs {
			keys.Write(kv.Key)
		}
		if keys.String() != c.keys || r.More != c.more || r.Count != c.count {
			t.Errorf("%s: keys %q more %v count %d, want %q %v %d", name, keys.String(), r.More, r.Count, c.keys, c.more, c.count)
		}
	}
	r, err := ts.kv.Range(testContext(t), all(&pb.RangeRequest{KeysOnly: true}))
	if err != nil || slices.ContainsFunc(r.Kvs, func(kv *mvccKV) bool { return len(kv.Value) > 0 }) {
		t.Errorf("keys only: %v, %v", r, err)
	}
}

func TestPutAndDeleteReturnPreviousValues(t *testing.T) {
	ts := startServer(t)
	ctx := testContext(t)
	ts.put(t, "k", "old")
	put, err := ts.kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("new"), PrevKv: true})
	if err != nil || string(put.PrevKv.GetValue()) != "old" {
		t.Errorf("put: %v, %v", put, err)
	}
	if _, err := ts.kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), IgnoreValue: true}); err != nil {
		t.Error(err)
	}
	del, err := ts.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("k"), PrevKv: true})
	if err != nil || del.Deleted != 1 || string(del.PrevKvs[0].Value) != "new" || del.PrevKvs[0].Version != 3 {
		t.Errorf("delete: %v, %v", del, err)
	}
	again, err := ts.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("k")})
	if err != nil || again.Deleted != 0 || again.Header.Revision != del.Header.Revision {
		t.Errorf("deleting nothing: %v, %v", again, err)
	}
}

func TestTxnComparesEveryTargetAndNests(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "b")
	ts.put(t, "k", "m")
	key := []byte("k")
	for name, c := range map[string]struct {
		compare *pb.Compare
		want    bool
	}{
		"value equal":      {&pb.Compare{Key: key, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("m")}}, true},
		"value less":       {&pb.Compare{Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_LESS, TargetUnion: &pb.Compare_Value{Value: []byte("m")}}, false},
		"version greater":  {&pb.Compare{Key: key, Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: 1}}, true},
		"create equal":     {&pb.Compare{Key: key, Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 2}}, true},
		"mod not equal":    {&pb.Compare{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: 3}}, false},
		"lease equal":      {&pb.Compare{Key: key, Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 0}}, true},
		"missing key":      {&pb.Compare{Key: []byte("none"), Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{}}, true},
		"range, all of it": {&pb.Compare{Key: []byte("a"), RangeEnd: []byte("z"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 2}}, true},
	} {
		r, err := ts.kv.Txn(testContext(t), &pb.TxnRequest{Compare: []*pb.Compare{c.compare}, Success: []*pb.RequestOp{opRange("k", "")}})
		if err != nil || r.Succeeded != c.want || len(r.Responses) != map[bool]int{true: 1}[c.want] {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	r, err := ts.kv.Txn(testContext(t), &pb.TxnRequest{Success: []*pb.RequestOp{
		kvtest.PutOp("outer", "1"), opTxn([]*pb.RequestOp{kvtest.PutOp("inner", "2"), opRange("outer", "")}, nil), opRange("inner", ""),
	}})
	mustSucceed(t, err)
	inner := r.Responses[1].GetResponseTxn()
	if !inner.GetSucceeded() || string(inner.Responses[1].GetResponseRange().Kvs[0].Value) != "1" ||
		string(r.Responses[2].GetResponseRange().Kvs[0].Value) != "2" {
		t.Errorf("nested operations do not see those before them: %v", r)
	}
}

func TestReadOnlyTxnIsNotProposed(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "a", "1")
	before := ts.consensus.Proposals()
	if _, err := ts.kv.Txn(testContext(t), &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 1}}},
		Success: []*pb.RequestOp{opRange("a", ""), opTxn([]*pb.RequestOp{opRange("a", "b")}, nil)},
	}); err != nil {
		t.Fatal(err)
	}
	if after := ts.consensus.Proposals(); after != before {
		t.Errorf("%d commands were proposed", after-before)
	}
}

func TestClientChoosesReadMode(t *testing.T) {
	ts := startServer(t)
	for _, c := range []struct {
		named        string
		serializable bool
		want         troupe.ReadMode
	}{
		{"", false, troupe.ReadIndex}, {"", true, troupe.ReadLocal},
		{"log", false, troupe.ReadLog}, {"index", true, troupe.ReadIndex}, {"lease", false, troupe.ReadLease},
		{"leader", false, troupe.ReadLeader}, {"local", false, troupe.ReadLocal},
	} {
		ctx := testContext(t)
		if c.named != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, ReadModeKey, c.named)
		}
		before := ts.consensus.Reads[c.want].Load()
		if _, err := ts.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k"), Serializable: c.serializable}); err != nil {
			t.Fatal(err)
		}
		if ts.consensus.Reads[c.want].Load() != before+1 {
			t.Errorf("mode %q, serializable %v: not read as %d", c.named, c.serializable, c.want)
		}
	}
	_, err := ts.kv.Range(metadata.AppendToOutgoingContext(testContext(t), ReadModeKey, "unknown"), &pb.RangeRequest{Key: []byte("k")})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("an unknown mode: %v", err)
	}
}

func TestRangeStreamChunksAddUpToTheRange(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.MaxRequestBytes = 64 << 10 })
	value := strings.Repeat("v", 10_000)
	for i := range 40 {
		ts.put(t, fmt.Sprintf("k%02d", i), value)
	}
	request := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 35}
	whole, err := ts.kv.Range(testContext(t), request)
	mustSucceed(t, err)
	stream, err := ts.kv.RangeStream(testContext(t), request)
	mustSucceed(t, err)
	merged := &pb.RangeResponse{}
	chunks := 0
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			break
		}
		mustSucceed(t, err)
		if merged.Header != nil {
			t.Error("a chunk came after the one with the header")
		}
		chunks++
		proto.Merge(merged, r.RangeResponse)
	}
	if !proto.Equal(whole, merged) {
		t.Errorf("merged %d keys count %d more %v header %v; want %d, %d, %v, %v", len(merged.Kvs), merged.Count, merged.More,
			merged.Header, len(whole.Kvs), whole.Count, whole.More, whole.Header)
	}
	if chunks < 3 {
		t.Errorf("350 kB came in %d chunks", chunks)
	}
}

func TestFullDiskNamesItsPathOrTheLeader(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.DataDir = "/var/lib/troupe" })
	ts.consensus.SetFailure(troupe.ErrDiskFull)
	mustName := func(texts ...string) {
		t.Helper()
		_, err := ts.kv.Put(testContext(t), &pb.PutRequest{Key: []byte("k")})
		for _, text := range append(texts, "disk", "make room") {
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), text) ||
				strings.Contains(err.Error(), "database space") {
				t.Errorf("%v, want it to contain %q", err, text)
			}
		}
	}
	mustName("/var/lib/troupe", "256 MiB")
	ts.consensus.SetStatus(func(s *troupe.Status) {
		s.LeaderID, s.Members = 7, append(slices.Clone(s.Members), troupe.Member{ID: 7, Name: "two"})
	})
	mustName(`member "two"`, raft.FormatID(7))
	ts.consensus.SetStatus(func(s *troupe.Status) { s.LeaderID = 0 })
	mustName("the leader's disk")
}

func TestNodeErrorsMapToEtcdStatuses(t *testing.T) {
	ts := startServer(t)
	for _, c := range []struct{ is, want error }{
		{troupe.ErrNoLeader, rpctypes.ErrGRPCTimeout},
		{fmt.Errorf("%w: %w", troupe.ErrNotProposed, troupe.ErrNoLeader), errNotProposed},
		{&troupe.LimitError{Kind: troupe.ErrOverloaded, Limit: "proposals", Value: 1}, rpctypes.ErrGRPCRequestTooManyRequests},
		{&troupe.LimitError{Kind: troupe.ErrTooLarge, Limit: "request", Value: 1}, rpctypes.ErrGRPCRequestTooLarge},
		{troupe.ErrOutcomeUnknown, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
		{fmt.Errorf("%w: %w", troupe.ErrTimeout, context.DeadlineExceeded), rpctypes.ErrGRPCTimeout},
		{troupe.ErrStopped, rpctypes.ErrGRPCStopped},
		{troupe.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	} {
		ts.consensus.SetFailure(c.is)
		_, putErr := ts.kv.Put(testContext(t), &pb.PutRequest{Key: []byte("k")})
		_, getErr := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("k")})
		for _, err := range []error{putErr, getErr} {
			if status.Code(err) != status.Code(c.want) || status.Convert(err).Message() != status.Convert(c.want).Message() {
				t.Errorf("%v: got %v, want %v", c.is, err, c.want)
			}
		}
	}
}

func TestRequestWithoutDeadlineTimesOut(t *testing.T) {
	ts := startServer(t, func(c *ServerConfig) { c.RequestTimeout = 20 * time.Millisecond })
	ts.consensus.SetFailure(kvtest.ErrHangUntilDeadline)
	_, err := ts.kv.Put(context.Background(), &pb.PutRequest{Key: []byte("k")})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "etcdserver: request timed out") {
		t.Errorf("put: %v", err)
	}
}

func TestRequireLeaderIsRefusedWithoutLeader(t *testing.T) {
	ts := startServer(t)
	ts.consensus.SetStatus(func(s *troupe.Status) { s.LeaderID = 0 })
	asking := metadata.AppendToOutgoingContext(testContext(t), rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
	_, err := ts.kv.Range(asking, &pb.RangeRequest{Key: []byte("k"), Serializable: true})
	if status.Convert(err).Message() != "etcdserver: no leader" {
		t.Errorf("range: %v", err)
	}
	if _, err := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("k"), Serializable: true}); err != nil {
		t.Errorf("a client that does not require a leader: %v", err)
	}
	watch, err := ts.watch.Watch(asking)
	if err == nil {
		_, err = watch.Recv()
	}
	if status.Convert(err).Message() != "etcdserver: no leader" {
		t.Errorf("watch: %v", err)
	}
}

func TestRequestsWaitForAReopenedStore(t *testing.T) {
	ts := startServer(t)
	ts.put(t, "k", "v")
	responded := make(chan error, 1)
	ts.consensus.Reopen(t, func() {
		before := ts.consensus.Reads[troupe.ReadLocal].Load()
		go func() {
			r, err := ts.kv.Range(testContext(t), &pb.RangeRequest{Key: []byte("k"), Serializable: true})
			if err == nil && !bytes.Equal(r.Kvs[0].Value, []byte("v")) {
				err = fmt.Errorf("got %v", r)
			}
			responded <- err
		}()
		eventually(t, "the request is waiting", func() bool { return ts.consensus.Reads[troupe.ReadLocal].Load() > before })
	})
	if err := <-responded; err != nil {
		t.Error(err)
	}
}
