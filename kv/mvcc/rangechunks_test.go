package mvcc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// rangeInChunks requests all keys in chunks of one, and calls between after each chunk.
func rangeInChunks(ref *StoreRef, r *pb.RangeRequest, between func()) (keys string, err error) {
	r.Key, r.RangeEnd = []byte{0}, []byte{0}
	err = ref.RangeChunks(context.Background(), 0, time.Minute, r, 1, func(c *pb.RangeResponse) error {
		for _, kv := range c.Kvs {
			keys += fmt.Sprintf("%s=%s ", kv.Key, kv.Value)
		}
		between()
		return nil
	})
	return keys, err
}

// A receiver may take any time for a chunk. No snapshot of the engine may be open meanwhile, and
// what is written meanwhile must not be seen.
func TestRangeInChunksHoldsNoSnapshot(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), smallOptions)
	defer r.close()
	r.apply(put("a", "1"), put("b", "1"), put("c", "1"))
	held := 0
	got, err := rangeInChunks(newStoreRef(r.s), &pb.RangeRequest{}, func() {
		r.apply(put("b", "2"), put("bb", "2"), del("c", ""))
		r.apply(put("c", "3")) // the batch before has a snapshot, because views were wanted
		held += len(r.s.openSnapshots)
	})
	if want := "a=1 b=1 c=1 "; got != want || err != nil || held != 0 {
		t.Errorf("got %q, %v, with %d snapshots held; want %q", got, err, held, want)
	}
}

func TestRangeInChunksEndsAtACompaction(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), smallOptions)
	defer r.close()
	r.apply(put("a", "1"), put("b", "1"))
	got, err := rangeInChunks(newStoreRef(r.s), &pb.RangeRequest{}, func() {
		r.apply(put("b", "2"))
		r.apply(compact(r.s.Revision()))
	})
	if got != "a=1 " || !errors.Is(err, ErrCompacted) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRangeInChunksContinuesInAReopenedStore(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), smallOptions)
	r.apply(put("a", "1"), put("b", "1"), put("c", "1"))
	ref := newStoreRef(r.s)
	got, err := rangeInChunks(ref, &pb.RangeRequest{}, func() {
		ref.unset(r.s)
		r.close()
		r = openReplica(t, r.fs, smallOptions)
		r.apply(put("c", "2"))
		ref.set(r.s)
	})
	r.close()
	if want := "a=1 b=1 c=1 "; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
