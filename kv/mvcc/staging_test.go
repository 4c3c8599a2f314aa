package mvcc

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/statemachine"
)

// largeBatch changes keys of every kind: with and without a past, deleted, compacted, new, and some
// of them twice.
func largeBatch() [][]byte {
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{
		opPut("new"), opPut("deleted"),
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte("k3"), PrevKv: true}}},
	}}
	return [][]byte{
		put("k5", "short"), put("compacted", "again"), compact(8), must(EncodeTxn(txn)), put("k1", strings.Repeat("v", 2*maxInlineValueBytes)),
		del("a", "z"), put("k2", "after"),
	}
}

// beforeLargeBatch makes the state before it.
func beforeLargeBatch(r *replica) {
	r.apply(put("compacted", "1"), del("compacted", ""), put("deleted", "1"), put("k1", "1"))
	r.apply(compact(4), put("deleted", "2"), del("deleted", ""))
	for i := range 6 {
		r.apply(put(fmt.Sprint("k", i), strings.Repeat("x", 700*i)))
	}
	r.apply(put("k4", "4"))
}

// A crash may leave any part of a staged batch on the disk, and the restart that rolls it back may
// be interrupted too.
func TestCrashWithinAStagedBatchLeavesTheStateBefore(t *testing.T) {
	reference := openReplica(t, vfs.NewMem(), smallOptions)
	defer reference.close()
	beforeLargeBatch(reference)
	reference.waitCompacted(t)
	beforeHash, beforeBytes := reference.hash(), reference.s.LiveBytes()

	fs := vfs.NewCrashableMem()
	var r *replica
	var crashes []*vfs.MemFS
	o := smallOptions
	o.onStage = func() {
		mustSucceed(t, r.s.flush())
		crashes = append(crashes, fs.CrashClone(vfs.CrashCloneCfg{}))
	}
	r = openReplica(t, fs, o)
	beforeLargeBatch(r)
	r.waitCompacted(t)
	mustSucceed(t, r.s.flush())
	index := r.index
	crashes = nil
	want := r.apply(largeBatch()...)
	r.close()
	reference.apply(largeBatch()...)
	if len(crashes) < 4 {
		t.Fatalf("the batch was staged in %d parts", len(crashes)+1)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for i, crashed := range crashes {
		for range 3 { // the roll back is lost, too, or a part of it
			c := openReplica(t, crashed, smallOptions)
			if c.index != index {
				t.Fatalf("crash %d: reopened at %d, the batch began at %d", i, c.index, index)
			}
			if h := c.hash(); h != beforeHash || c.s.LiveBytes() != beforeBytes {
				t.Fatalf("crash %d: hash %+v and %d bytes, before the batch %+v and %d", i, h, c.s.LiveBytes(), beforeHash, beforeBytes)
			}
			c.checkLiveBytes()
			c.checkCounts()
			next := crashed.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd})
			c.close()
			crashed = next
		}
		c := openReplica(t, crashed, smallOptions)
		if got := c.apply(largeBatch()...); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("crash %d: the replay has other results", i)
		}
		checkSameKeys(t, reference, c)
		if a, b := c.hash(), reference.hash(); a != b {
			t.Fatalf("crash %d: hash %+v after the replay, want %+v", i, a, b)
		}
		c.checkCounts()
		c.checkLiveBytes()
		c.close()
	}
}

// Readers keep the state before a staged batch until all of it is there.
func TestStagedBatchIsNotVisibleBeforeItsEnd(t *testing.T) {
	var r *replica
	stages := 0
	o := smallOptions
	all := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	var before *pb.RangeResponse
	o.onStage = func() {
		if before == nil {
			return
		}
		stages++
		got, err := r.getRange(all)
		compareResponse(t, "a range between two parts", got, err, before, nil)
	}
	r = openReplica(t, vfs.NewMem(), o)
	defer func() { r.close() }()
	beforeLargeBatch(r)
	before = must(r.getRange(all))
	r.apply()
	r.apply() // the view of this batch has no snapshot yet
	r.apply(largeBatch()...)
	if stages < 4 {
		t.Fatalf("%d parts", stages+1)
	}
	undo := 0
	mustSucceed(t, r.s.eachRow(spaceUndo, func(_, _ []byte) error { undo++; return nil }))
	if undo != 0 {
		t.Errorf("%d undo rows are left", undo)
	}
}

// What a batch holds in memory depends on the size of a part, not on the number of keys.
func TestDeleteOfManyKeysIsStagedInBoundedParts(t *testing.T) {
	const keys = 60_000
	var r *replica
	parts, largest, held := 0, 0, 0
	o := Options{StageBytes: 1 << 20}
	r = openReplica(t, vfs.NewMem(), o)
	defer func() { r.close() }()
	for i := 0; i < keys; i += 1000 {
		b := &statemachine.Batch{}
		for k := range 1000 {
			r.index++
			b.Commands = append(b.Commands, statemachine.Command{Index: r.index, Data: put(fmt.Sprintf("key/%09d", i+k), "v")})
		}
		b.Last = r.index
		must(r.s.Apply(b))
	}
	rows := func() (n int) {
		mustSucceed(t, r.s.eachRow(spaceUndo, func(_, _ []byte) error { n++; return nil }))
		return n
	}
	r.s.onStage = func() {
		now := rows()
		parts, largest, held = parts+1, max(largest, now-held), now
		if n := len(r.s.metadataCache.overflow); n != 0 {
			t.Errorf("%d keys wait for the commit", n)
		}
	}
	var events []*Event
	observed := 0
	r.s.SetObserver(func(_ int64, e []*Event) { observed++; events = e })
	result := r.apply(del("key/", "key0"))
	if d := must(DecodeDeleteRange(result[0])); d.Deleted != keys {
		t.Fatalf("deleted %d of %d keys", d.Deleted, keys)
	}
	if largest > 1<<20/liveKeyOverheadBytes || parts < keys*liveKeyOverheadBytes>>20 {
		t.Errorf("%d parts, the largest of %d keys", parts, largest)
	}
	if observed != 1 || len(events) != keys {
		t.Errorf("%d revisions observed, with %d events", observed, len(events))
	}
	if n := rows(); n != 0 || r.s.View().Keys() != 0 {
		t.Errorf("%d undo rows are left", n)
	}
}

// Events that would take too much memory are left out as a whole.
func TestEventsAboveTheLimitAreNotObserved(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), Options{})
	defer r.close()
	value := strings.Repeat("v", 1<<20)
	var sizes []int
	r.s.SetObserver(func(_ int64, e []*Event) { sizes = append(sizes, len(e)) })
	many := &pb.TxnRequest{}
	for i := range maxObservedBytes>>20 + 1 {
		many.Success = append(many.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: fmt.Append(nil, i), Value: []byte(value)}}})
	}
	r.apply(put("a", "1"))
	r.apply(must(EncodeTxn(many)))
	r.apply(put("a", "2"))
	if fmt.Sprint(sizes) != "[1 0 1]" {
		t.Errorf("revisions were observed with %v events", sizes)
	}
}

// The result of a write is the same at every member, so it is refused by a limit that is the same.
func TestResultAboveTheLimitIsRefusedUnchanged(t *testing.T) {
	o := smallOptions
	o.resultBytes = 4 << 10
	r := openReplica(t, vfs.NewMem(), o)
	defer r.close()
	for i := range 10 {
		r.apply(put(fmt.Sprint("k", i), strings.Repeat("v", 900)))
	}
	rev := r.s.Revision()
	all := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	inRange := func(q *pb.RangeRequest) []byte {
		return must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("other"), {Request: &pb.RequestOp_RequestRange{RequestRange: q}}}}))
	}
	delPrev := &pb.DeleteRangeRequest{Key: all.Key, RangeEnd: all.RangeEnd, PrevKv: true}
	for name, command := range map[string][]byte{
		"delete":     must(EncodeDeleteRange(delPrev)),
		"txn, range": inRange(all),
		"txn, sorted range with a limit": inRange(&pb.RangeRequest{Key: all.Key, RangeEnd: all.RangeEnd, Limit: 1,
			SortOrder: pb.RangeRequest_DESCEND}),
		"txn, delete": must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("other"),
			{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: delPrev}}}})),
		"txn, two ranges": must(EncodeTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("other"),
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("k3")}}},
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k3"), RangeEnd: []byte("k6")}}}}})),
	} {
		result := r.apply(command)[0]
		if _, err := DecodeTxn(result); err != ErrResultTooLarge {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := r.s.Revision(); got != rev {
		t.Errorf("refused commands have made revision %d of %d", got, rev)
	}
	for name, q := range map[string]*pb.RangeRequest{
		"limit":      {Key: all.Key, RangeEnd: all.RangeEnd, Limit: 2},
		"keys only":  {Key: all.Key, RangeEnd: all.RangeEnd, KeysOnly: true},
		"count only": {Key: all.Key, RangeEnd: all.RangeEnd, CountOnly: true},
	} {
		if _, err := DecodeTxn(r.apply(inRange(q))[0]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d, err := DecodeDeleteRange(r.apply(del("k", "l"))[0]); err != nil || d.Deleted != 10 {
		t.Errorf("a delete without previous values: %v, %v", d, err)
	}
}
