package mvcc

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// putMany puts keys in one revision.
func putMany(n int) []byte {
	r := &pb.TxnRequest{}
	for i := range n {
		r.Success = append(r.Success, opPut(fmt.Sprintf("k%04d", i)))
	}
	return must(EncodeTxn(r))
}

func (r *replica) waitCompacted(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.s.WaitCompacted(ctx); err != nil {
		t.Fatalf("waiting for the removal: %v", err)
	}
}

// A round starts with the target of the one before, whose tombstones were left. It must pass that
// revision even if it holds more events than a step.
func TestCompactionPassesARevisionLargerThanAStep(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), Options{})
	defer r.close()
	r.apply(putMany(3 * defaultStepEvents))
	for rev := int64(2); rev < 5; rev++ {
		r.apply(compact(rev))
		r.waitCompacted(t)
		r.apply(put("other", "v"))
	}
}

// A tombstone at the compacted revision stays until the next compaction. If that comes while the
// compactor is within the revision, the tombstones it has passed must be removed all the same: the
// rows, and so HashKV, depend on the compacted revisions only.
func TestOverlappingCompactionsRemoveTombstones(t *testing.T) {
	const keys = 300
	open := func() *replica {
		r := openReplica(t, vfs.NewMem(), Options{})
		for i := range keys {
			r.apply(put(fmt.Sprintf("k%04d", i), "v"))
		}
		r.apply(del("k", "l"), put("a", "1"), put("a", "2"))
		return r
	}
	const first, second = 1 + keys + 1, 1 + keys + 3
	steady := open()
	defer steady.close()
	for _, rev := range []int64{first, second} {
		steady.apply(compact(rev))
		steady.waitCompacted(t)
	}
	hurried := open()
	defer hurried.close()
	func() {
		s := hurried.s
		s.applyMu.Lock()
		defer s.applyMu.Unlock()
		s.tip.compactRev = first
		for s.compactor.cursor.main < first {
			mustSucceed(t, s.compactor.removeNext())
		}
		if s.tip.removedTo >= first {
			t.Fatal("the first compaction has ended too early for this test")
		}
	}()
	hurried.apply(compact(second))
	hurried.waitCompacted(t)
	if a, b := hurried.hash(), steady.hash(); a != b {
		t.Errorf("the hashes differ: %+v after overlapping compactions, %+v after one at a time", a, b)
	}
	if n := hurried.s.tip.tombstones; n != 0 {
		t.Errorf("%d tombstones are left", n)
	}
}
