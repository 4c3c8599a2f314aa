package mvcc

import (
	"context"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"
)

// checkLiveBytes compares the counter with the rows.
func (r *replica) checkLiveBytes() {
	r.t.Helper()
	r.s.applyMu.Lock()
	defer r.s.applyMu.Unlock()
	rows := int64(0)
	err := r.s.eachRow(spaceHistory, func(key, row []byte) error {
		rows += int64(1 + len(key) + len(row))
		return nil
	})
	if got := r.s.LiveBytes(); err != nil || got != rows {
		r.t.Fatalf("%d live bytes are counted, the rows have %d (%v)", got, rows, err)
	}
}

func (r *replica) hashAt(rev int64) HashResult {
	r.t.Helper()
	h, err := r.s.HashKV(context.Background(), rev)
	if err != nil {
		r.t.Fatalf("hash of %d: %v", rev, err)
	}
	return h
}

// putAndDelete puts a key and deletes it, in one revision.
func putAndDelete(key string) *pb.TxnRequest {
	nested := func(op *pb.RequestOp) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{op}}}}
	}
	return &pb.TxnRequest{Success: []*pb.RequestOp{
		nested(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte("short")}}}),
		nested(&pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}}}),
	}}
}

// A member removes rows in rounds of its own: after each compaction, or for several at once after a
// restart. The hash of a compacted revision is that from before the compaction all the same.
func TestHashOfACompactedRevisionStaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		steady := openReplica(t, vfs.NewMem(), smallOptions)
		late := openReplica(t, vfs.NewMem(), smallOptions)
		defer func() { steady.close(); late.close() }()
		late.s.compactor.stop()
		late.s.compactor.quit = make(chan struct{})
		want := map[int64]HashResult{}
		var compacted []int64
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			var command []byte
			if rapid.IntRange(0, 5).Draw(t, "put and delete") == 0 {
				x := putAndDelete(string(drawKey(t)))
				must(m.txn(x))
				command = must(EncodeTxn(x))
			} else {
				before := m.compacted
				if command = drawReopenCommand(t, m); m.compacted != before && m.compacted > 0 { // 0 asks for the newest
					want[m.compacted] = steady.hashAt(m.compacted)
					compacted = append(compacted, m.compacted)
				}
			}
			steady.apply(command)
			late.apply(command)
			steady.checkLiveBytes()
		}
		late.close()
		late = late.reopen(smallOptions)
		for i, rev := range compacted {
			if i < len(compacted)-keptCompactions {
				continue
			}
			for name, r := range map[string]*replica{"steady": steady, "late": late} {
				if got := r.hashAt(rev); got != want[rev] {
					t.Fatalf("the %s member has hash %+v of compaction %d of %v, before it %+v", name, got, rev, compacted, want[rev])
				}
			}
		}
		if a, b := steady.hash(), late.hash(); a != b {
			t.Fatalf("the members have hashes %+v and %+v", a, b)
		}
		steady.checkLiveBytes()
		late.checkLiveBytes()
	})
}

// etcd's TestVerifyHashKVAfterCompactAndDefrag, and what becomes of the hash after more
// compactions.
func TestHashOfACompactedRevisionAfterDefragment(t *testing.T) {
	fs := vfs.NewMem()
	r := openReplica(t, fs, Options{})
	for i := range 40 {
		if i%10 == 9 {
			r.apply(del("key0", ""))
		} else {
			r.apply(put("key0", fmt.Sprint(i)))
		}
	}
	const first, second = 11, 21 // both are tombstones
	before := r.hashAt(first)
	if before.CompactRevision != -1 {
		t.Fatalf("before any compaction: %+v", before)
	}
	r.apply(compact(first))
	mustSucceed(t, r.s.Defragment(t.Context()))
	if got := r.hashAt(first); got != before {
		t.Errorf("after the compaction: %+v, before it %+v", got, before)
	}
	between := r.hashAt(second)
	r.apply(compact(second))
	mustSucceed(t, r.s.Defragment(t.Context()))
	r.close()
	r = openReplica(t, fs, Options{})
	defer func() { r.close() }()
	for rev, want := range map[int64]HashResult{first: before, second: between} {
		if got := r.hashAt(rev); got != want {
			t.Errorf("of revision %d after a restart: %+v, want %+v", rev, got, want)
		}
	}
	if _, err := r.s.HashKV(t.Context(), second-1); err != ErrCompacted {
		t.Errorf("of another compacted revision: %v", err)
	}
	for range keptCompactions {
		r.apply(put("key0", "more"))
		r.apply(compact(r.s.Revision()))
	}
	if _, err := r.s.HashKV(t.Context(), second); err != ErrCompacted {
		t.Errorf("of a revision that was compacted long ago: %v", err)
	}
}

// Format 1 had no live bytes in its state row.
func TestStoreOfFormat1IsConverted(t *testing.T) {
	fs := vfs.NewMem()
	r := openReplica(t, fs, Options{})
	r.apply(put("a", "1"), put("b", "2"), put("a", "3"))
	want := r.s.LiveBytes()
	batch := r.s.db.NewBatch(0)
	mustSucceed(t, batch.Set(formatKey, []byte(formatVersion1)))
	mustSucceed(t, batch.Set(stateKey, r.s.tip.appendRow(nil)[:40]))
	mustSucceed(t, r.s.db.Commit(batch))
	mustSucceed(t, batch.Close())
	r.close()
	for range 2 {
		r = openReplica(t, fs, Options{})
		if got := r.s.LiveBytes(); got != want || got == 0 {
			t.Errorf("%d live bytes, want %d", got, want)
		}
		r.checkLiveBytes()
		r.apply(put("c", "1"))
		want = r.s.LiveBytes()
		r.close()
	}
}
