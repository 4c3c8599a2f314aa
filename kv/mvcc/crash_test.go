package mvcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/troupe-raft/troupe/statemachine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// crashOptions make the engine flush and compact often, and removals take many steps.
var crashOptions = Options{
	metadataBytes: 1, bucketLimits: bucketLimits{maxKeys: 12, minKeys: 3, maxJoinedKeys: 6},
	CompactionStepEvents: 3,
}

// randomLog returns random commands. It keeps a model to know which compactions are possible.
func randomLog(rnd *rand.Rand, n int) (log [][]byte) {
	key := func() []byte { return fmt.Appendf(nil, "key%03d", rnd.IntN(300)) }
	value := func() []byte {
		return []byte(strings.Repeat(string(rune('a'+rnd.IntN(26))), rnd.IntN(maxInlineValueBytes*3/2)))
	}
	rev := int64(1) // at most the revision reached
	for range n {
		switch kind := rnd.IntN(20); {
		case kind < 13:
			log = append(log, must(EncodePut(&pb.PutRequest{Key: key(), Value: value(), PrevKv: kind == 0})))
			rev++
		case kind < 15:
			log = append(log, del(string(key()), ""))
		case kind < 16:
			k := key()
			log = append(log, del(string(k), string(append(k[:len(k)-1:len(k)-1], '~'))))
		case kind < 17:
			r := &pb.TxnRequest{}
			for range 1 + rnd.IntN(8) { // one revision
				k := fmt.Appendf(key(), "/%d", len(r.Success))
				r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: k, Value: value()}}})
			}
			log = append(log, must(EncodeTxn(r)))
			rev++
		case kind < 19:
			k := key()
			log = append(log, must(EncodeTxn(&pb.TxnRequest{
				Compare: []*pb.Compare{{Key: k, Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: 1}}},
				Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: k}}}},
				Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: k, Value: value()}}}},
			})))
		default:
			log = append(log, compact(rev-int64(rnd.IntN(20))))
		}
	}
	return log
}

// applyLog applies the log up to an index, in batches of random size, with session records.
func (r *replica) applyLog(rnd *rand.Rand, log [][]byte, to int) {
	r.t.Helper()
	for int(r.index) < to {
		b := &statemachine.Batch{}
		for n := 1 + rnd.IntN(20); n > 0 && int(r.index) < to; n-- {
			b.Commands = append(b.Commands, statemachine.Command{Index: r.index + 1, Data: log[r.index]})
			r.index++
		}
		b.Last = r.index
		b.SessionUpdate = func(results [][]byte) statemachine.SessionUpdate {
			return statemachine.SessionUpdate{
				DropBelow: b.Last - min(b.Last, 100),
				Put:       statemachine.SessionRecord{Index: b.Last, Data: fmt.Appendf(nil, "%d results", len(results))},
			}
		}
		if _, err := r.s.Apply(b); err != nil {
			r.t.Fatalf("apply to %d: %v", b.Last, err)
		}
	}
}

func (r *replica) hash() HashResult {
	r.t.Helper()
	h, err := r.s.HashKV(context.Background(), 0)
	if err != nil {
		r.t.Fatalf("hash: %v", err)
	}
	return h
}

// checkCounts compares the tree's counts with the rows, bucket by bucket.
func (r *replica) checkCounts() {
	r.t.Helper()
	v := r.s.View()
	defer v.Release()
	buckets := v.reader.counts.buckets()
	for i, b := range buckets {
		keys := keyRange{start: []byte(b.start), toEnd: i == len(buckets)-1}
		if !keys.toEnd {
			keys.end = []byte(buckets[i+1].start)
		}
		n := int64(0)
		if err := v.reader.visit(context.Background(), keys, v.Revision(), false, func([]byte, *record) bool { n++; return true }); err != nil {
			r.t.Fatalf("visit: %v", err)
		}
		if n != b.count {
			r.t.Fatalf("bucket %q has count %d, but %d keys", b.start, b.count, n)
		}
	}
}

func TestE11ReplayAfterCrashRestoresTheState(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 4
	}
	const length = 3000
	kept := 0 // crashes after which something was on the disk
	for seed := range uint64(seeds) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		log := randomLog(rnd, length)
		reference := openReplica(t, vfs.NewMem(), crashOptions)
		reference.applyLog(rnd, log, length)
		want := reference.hash()
		reference.checkCounts()

		fs := vfs.NewCrashableMem()
		r := openReplica(t, fs, crashOptions)
		for range 8 {
			r.applyLog(rnd, log, min(length, int(r.index)+1+rnd.IntN(length/3)))
			reached := r.index
			crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd})
			r.close()
			fs = crashed
			r = openReplica(t, fs, crashOptions)
			if r.index > reached {
				t.Fatalf("seed %d: found index %d after a crash at %d", seed, r.index, reached)
			}
			if r.index > 0 {
				kept++
			}
			checkSessionRecords(t, r)
			r.checkCounts()
		}
		r.applyLog(rnd, log, length)
		if got := r.hash(); got != want {
			t.Fatalf("seed %d: hash %+v after crashes, want %+v", seed, got, want)
		}
		r.checkCounts()
		checkSameKeys(t, reference, r)
		reference.close()
		r.close()
	}
	if kept == 0 {
		t.Fatal("nothing was on the disk after any crash")
	}
}

// checkSessionRecords checks that the records are those of the last batches up to the index
// reached: none is lost, none is from after it.
func checkSessionRecords(t *testing.T, r *replica) {
	t.Helper()
	applied, records, err := r.s.Recover()
	mustSucceed(t, err)
	if applied == 0 {
		if len(records) != 0 {
			t.Fatalf("an empty store with %d session records", len(records))
		}
		return
	}
	if len(records) == 0 || records[len(records)-1].Index != applied || records[0].Index+100 < applied {
		t.Fatalf("applied %d, session records %v", applied, records)
	}
	count := 0
	for _, rec := range records[1:] {
		n := 0
		if _, err := fmt.Sscanf(string(rec.Data), "%d results", &n); err != nil {
			t.Fatal(err)
		}
		count += n
	}
	if got := applied - records[0].Index; got != uint64(count) {
		t.Fatalf("session records for %d of the last %d commands", count, got)
	}
}

func checkSameKeys(t *testing.T, a, b *replica) {
	t.Helper()
	all := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	x, errX := a.getRange(all)
	y, errY := b.getRange(all)
	compareResponse(t, "all keys", x, errX, y, errY)
}

func TestHashDoesNotDependOnBatchBoundaries(t *testing.T) {
	const length = 1500
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 12))
		log := randomLog(rnd, length)
		a, b := openReplica(t, vfs.NewMem(), crashOptions), openReplica(t, vfs.NewMem(), Options{})
		for at := 0; at < length; at += length / 5 {
			a.applyLog(rnd, log, at+length/5)
			b.applyLog(rnd, log, at+length/5)
			v := a.s.View()
			for rev := max(v.CompactRevision(), 1); rev <= v.Revision(); rev += 1 + (v.Revision()-rev)/3 {
				x, errX := a.s.HashKV(context.Background(), rev)
				y, errY := b.s.HashKV(context.Background(), rev)
				if x != y || errX != nil || errY != nil {
					t.Fatalf("seed %d, revision %d: %+v %v and %+v %v", seed, rev, x, errX, y, errY)
				}
			}
			v.Release()
		}
		a.apply(put("one", "more"))
		if a.hash() == b.hash() {
			t.Fatal("a change does not change the hash")
		}
		a.close()
		b.close()
	}
}

func TestHashIsRefusedOutsideTheHistory(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), Options{})
	defer r.close()
	r.apply(put("a", "1"), put("a", "2"), put("a", "3"), compact(3))
	for rev, want := range map[int64]error{2: ErrCompacted, 3: nil, 4: nil, 5: ErrFutureRev} {
		if _, err := r.s.HashKV(context.Background(), rev); err != want {
			t.Errorf("revision %d: %v, want %v", rev, err, want)
		}
	}
}

func TestCompactionRemovesUnreachableRows(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), crashOptions)
	defer r.close()
	rnd := rand.New(rand.NewPCG(1, 13))
	r.applyLog(rnd, randomLog(rnd, 3000), 3000)
	r.apply(put("last", "1"))
	r.apply(compact(r.s.Revision()))
	mustSucceed(t, r.s.WaitCompacted(context.Background()))
	rows := map[byte]int{}
	for _, space := range []byte{spaceCurrent, spaceHistory, spaceTombstones} {
		mustSucceed(t, r.s.eachRow(space, func(_, _ []byte) error { rows[space]++; return nil }))
	}
	v := r.s.View()
	defer v.Release()
	if keys := int(v.Keys()); rows[spaceCurrent] != keys || rows[spaceHistory] != keys || rows[spaceTombstones] != 0 || r.s.tip.tombstones != 0 {
		t.Fatalf("%d keys, rows %v, %d tombstones counted", keys, rows, r.s.tip.tombstones)
	}
}

func TestUnknownFormatIsRefusedUnchanged(t *testing.T) {
	fs := vfs.NewMem()
	r := openReplica(t, fs, Options{})
	batch := r.s.db.NewBatch(0)
	mustSucceed(t, batch.Set(formatKey, []byte("troupe kv 99")))
	mustSucceed(t, r.s.db.Commit(batch))
	r.close()
	_, err := openStore("kv", Options{Engine: diskEngine(fs, Options{})})
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "troupe kv 99") {
		t.Fatalf("opened another format: %v", err)
	}

	foreign := vfs.NewMem()
	db := must(pebble.Open("kv", &pebble.Options{FS: foreign}))
	mustSucceed(t, db.Set([]byte("x"), []byte("y"), pebble.Sync))
	mustSucceed(t, db.Close())
	if _, err := openStore("kv", Options{Engine: diskEngine(foreign, Options{})}); !errors.Is(err, ErrFormat) {
		t.Fatalf("opened a foreign database: %v", err)
	}
}

func TestBackgroundDiskFailureStopsTheStore(t *testing.T) {
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errors.New("the disk is gone")
		}
		return nil
	}))
	fatal := make(chan error, 1)
	o := crashOptions
	o.OnFatal = func(err error) { fatal <- err }
	r := openReplica(t, fs, o)
	r.apply(put("a", "1"))
	broken.Store(true)
	rnd := rand.New(rand.NewPCG(1, 14))
	log := randomLog(rnd, 5000)
	var err error
	for i := 0; err == nil && i < len(log); i++ {
		r.index++
		_, err = r.s.Apply(&statemachine.Batch{Last: r.index, Commands: []statemachine.Command{{Index: r.index, Data: log[i]}}})
	}
	if err == nil {
		t.Fatal("a store on a failed disk accepted megabytes")
	}
	if got := <-fatal; !strings.Contains(got.Error(), "the disk is gone") {
		t.Fatalf("OnFatal received %v", got)
	}
	if _, err := r.getRange(&pb.RangeRequest{Key: []byte("a")}); err == nil {
		t.Fatal("a read of a failed engine succeeded")
	}
	if err := r.s.Close(); err == nil {
		t.Fatal("Close returned no error for a store that lost data")
	}
}

func TestClosedStoreReturnsErrClosed(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), Options{})
	r.apply(put("a", "1"))
	v := r.s.View()
	r.close()
	if _, err := v.Range(context.Background(), &pb.RangeRequest{Key: []byte("a")}); err != ErrClosed {
		t.Errorf("range on a view of a closed store: %v", err)
	}
	v.Release()
	w := r.s.View()
	if _, _, err := w.Events(context.Background(), 0, 0, []byte("a"), nil, false, 1, 0); err != ErrClosed {
		t.Errorf("events: %v", err)
	}
	w.Release()
	if _, err := r.s.Apply(&statemachine.Batch{Last: 9}); err != ErrClosed {
		t.Errorf("apply: %v", err)
	}
	if _, err := r.s.HashKV(context.Background(), 0); err != ErrClosed {
		t.Errorf("hash: %v", err)
	}
	if err := r.s.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
}

func TestMemberAttributesSurviveAReopen(t *testing.T) {
	fs := vfs.NewMem()
	r := openReplica(t, fs, Options{})
	r.apply(EncodeMemberAttributes(7, "seven", []string{"http://a", "http://b"}), EncodeMemberAttributes(3, "three", nil))
	r.apply(EncodeMemberAttributes(7, "seven", []string{"http://c"}))
	want := []MemberAttributes{{ID: 3, Name: "three"}, {ID: 7, Name: "seven", ClientURLs: []string{"http://c"}}}
	equal := func(a, b MemberAttributes) bool {
		return a.ID == b.ID && a.Name == b.Name && slices.Equal(a.ClientURLs, b.ClientURLs)
	}
	if got := r.s.MemberAttributes(); !slices.EqualFunc(got, want, equal) {
		t.Fatalf("got %v", got)
	}
	if r.s.Revision() != 1 {
		t.Fatal("attributes made a revision")
	}
	r.close()
	r = openReplica(t, fs, Options{})
	defer r.close()
	if got := r.s.MemberAttributes(); !slices.EqualFunc(got, want, equal) {
		t.Fatalf("reopened: %v", got)
	}
}
