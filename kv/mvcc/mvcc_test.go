package mvcc

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/disk"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/memory"
	"github.com/troupe-raft/troupe/statemachine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// testReporter is what testing.TB and *rapid.T have in common.
type testReporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// replica is a store under test with the log that it applies.
type replica struct {
	t     testReporter
	s     *Store
	fs    vfs.FS
	disk  *memory.Disk // nil: the store is in fs
	index uint64
}

// smallOptions make splits, joins and evictions happen with few keys, and compactions take many
// steps.
var smallOptions = Options{
	metadataBytes: 1, bucketLimits: bucketLimits{maxKeys: 6, minKeys: 2, maxJoinedKeys: 4},
	CompactionStepEvents: 3, StageBytes: 1200,
}

// diskEngine returns Pebble, with small tables if the options are small.
func diskEngine(fs vfs.FS, o Options) engine.Open {
	d := disk.Options{FS: fs}
	if o.CompactionStepEvents != 0 {
		d.CacheBytes, d.MemTableBytes = 1<<20, 64<<10
	}
	return disk.Opener(d)
}

func openReplica(t testReporter, fs vfs.FS, o Options) *replica {
	t.Helper()
	o.Engine = diskEngine(fs, o)
	r := openReplicaWith(t, o)
	r.fs = fs
	return r
}

// reopen opens the store again, where it was.
func (r *replica) reopen(o Options) *replica {
	if r.disk == nil {
		return openReplica(r.t, r.fs, o)
	}
	return openMemoryReplica(r.t, r.disk, o)
}

func openMemoryReplica(t testReporter, disk *memory.Disk, o Options) *replica {
	t.Helper()
	o.Engine = disk.Open
	r := openReplicaWith(t, o)
	r.disk = disk
	return r
}

func openReplicaWith(t testReporter, o Options) *replica {
	t.Helper()
	s, err := openStore("kv", o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	applied, _, err := s.Recover()
	if err != nil {
		t.Fatalf("recover: %v", err)
	}
	return &replica{t: t, s: s, index: applied}
}

func (r *replica) close() {
	r.t.Helper()
	if err := r.s.Close(); err != nil {
		r.t.Fatalf("close: %v", err)
	}
}

// apply applies commands as one batch.
func (r *replica) apply(commands ...[]byte) [][]byte {
	r.t.Helper()
	b := &statemachine.Batch{}
	if len(commands) == 0 {
		r.index++ // an entry that is no command
	}
	for _, c := range commands {
		r.index++
		b.Commands = append(b.Commands, statemachine.Command{Index: r.index, Term: 1, Data: c})
	}
	b.Last = r.index
	results, err := r.s.Apply(b)
	if err != nil {
		r.t.Fatalf("apply: %v", err)
	}
	return results
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func put(key, value string) []byte {
	return must(EncodePut(&pb.PutRequest{Key: []byte(key), Value: []byte(value)}))
}

func del(key, end string) []byte {
	return must(EncodeDeleteRange(&pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}))
}

func compact(rev int64) []byte {
	return must(EncodeCompaction(&pb.CompactionRequest{Revision: rev}))
}

func (r *replica) getRange(req *pb.RangeRequest) (*pb.RangeResponse, error) {
	v := r.s.View()
	defer v.Release()
	return v.Range(context.Background(), req)
}

func compareResponse(t testReporter, what string, got proto.Message, gotErr error, want proto.Message, wantErr error) {
	t.Helper()
	if gotErr != wantErr {
		t.Fatalf("%s:\n got error %v\nwant error %v", what, gotErr, wantErr)
	}
	if wantErr == nil && !proto.Equal(got, want) {
		t.Fatalf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func TestResultsMatchTheModelAtEveryRevision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		var r *replica
		if rapid.Bool().Draw(t, "in memory") {
			r = openMemoryReplica(t, memory.NewDisk(), smallOptions)
		} else {
			r = openReplica(t, vfs.NewMem(), smallOptions)
		}
		defer func() { r.close() }()
		var seen []*mvccpb.Event
		r.s.SetObserver(func(rev int64, events []*Event) {
			for _, e := range events {
				if e.Kv.ModRevision != rev {
					t.Fatalf("event of revision %d observed at revision %d", e.Kv.ModRevision, rev)
				}
			}
			seen = append(seen, events...)
		})
		r.s.SetWantPrev(true)
		uncompacted := newModel() // has every prev_kv that the observer must receive
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			var batch []expectedResult
			var commands [][]byte
			for range rapid.IntRange(0, 8).Draw(t, "commands") {
				e := drawCommand(t, m)
				batch, commands = append(batch, e), append(commands, e.command)
			}
			results := r.apply(commands...)
			for i, e := range batch {
				var got proto.Message
				got, err := e.decode(results[i])
				compareResponse(t, e.what, got, err, e.want, e.wantErr)
			}
			uncompacted.history, uncompacted.rev = m.history, m.rev
			if rapid.Bool().Draw(t, "wait for the compactor") {
				if err := r.s.WaitCompacted(context.Background()); err != nil {
					t.Fatalf("wait: %v", err)
				}
			}
			checkReads(t, r, m)
			checkEvents(t, "received by the observer", seen, uncompacted.events(0, m.rev, []byte{0}, []byte{0}, true))
			if rapid.IntRange(0, 5).Draw(t, "reopen") == 0 {
				r.close()
				index := r.index
				o := r.s.observer
				if r = r.reopen(smallOptions); r.index != index {
					t.Fatalf("reopened at %d, closed at %d", r.index, index)
				}
				r.s.SetObserver(o)
				r.s.SetWantPrev(true)
			}
		}
	})
}

func checkReads(t *rapid.T, r *replica, m *model) {
	v := r.s.View()
	defer v.Release()
	if v.Revision() != m.rev || v.CompactRevision() != m.compacted || v.Keys() != int64(len(m.at(m.rev))) {
		t.Fatalf("view at revision %d, compacted %d, %d keys; want %d, %d, %d",
			v.Revision(), v.CompactRevision(), v.Keys(), m.rev, m.compacted, len(m.at(m.rev)))
	}
	if sum := v.reader.counts.buckets(); sum[0].start != "" {
		t.Fatalf("the first bucket starts at %q", sum[0].start)
	}
	ctx := context.Background()
	for range 3 {
		req := drawRange(t, m.rev)
		got, err := v.Range(ctx, req)
		want, wantErr := m.getRange(req)
		compareResponse(t, fmt.Sprint("range ", req), got, err, want, wantErr)
		checkChunks(t, r, m, req)
	}
	x := drawTxn(t, m.rev, 0, false)
	got, err := v.Txn(ctx, x)
	want, wantErr := m.txn(x)
	compareResponse(t, fmt.Sprint("read-only txn ", x), got, err, want, wantErr)

	from := max(m.compacted, 0)
	if rapid.Bool().Draw(t, "from anywhere") {
		from = rapid.Int64Range(0, m.rev+1).Draw(t, "from")
	}
	key, end, prev := []byte{0}, []byte{0}, rapid.Bool().Draw(t, "prev")
	if rapid.Bool().Draw(t, "some keys") {
		key, end = drawKey(t), drawEnd(t)
	}
	if from < m.compacted {
		if _, _, err := v.Events(ctx, from, 0, key, end, prev, 100, 0); err != ErrCompacted {
			t.Fatalf("events from %d, compacted %d: %v", from, m.compacted, err)
		}
		return
	}
	var events []*Event
	for next := from; next <= m.rev; {
		some, after, err := v.Events(ctx, next, 0, key, end, prev, rapid.IntRange(1, 300).Draw(t, "bytes"), 0)
		if err != nil || after <= next {
			t.Fatalf("events from %d: next %d, %v", next, after, err)
		}
		events, next = append(events, some...), after
	}
	checkEvents(t, fmt.Sprintf("of the history from %d, compacted %d", from, m.compacted), events, m.events(from, m.rev, key, end, prev))
}

func checkEvents(t testReporter, what string, got, want []*Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events %s, want %d:\n got %v\nwant %v", len(got), what, len(want), got, want)
	}
	for i := range got {
		if !proto.Equal(got[i], want[i]) {
			t.Fatalf("event %d %s:\n got %v\nwant %v", i, what, got[i], want[i])
		}
	}
}

func checkChunks(t *rapid.T, r *replica, m *model, req *pb.RangeRequest) {
	req = proto.Clone(req).(*pb.RangeRequest)
	req.SortOrder = 0
	req.MinModRevision, req.MaxModRevision, req.MinCreateRevision, req.MaxCreateRevision = 0, 0, 0, 0
	want, wantErr := m.getRange(req)
	got := &pb.RangeResponse{}
	size := rapid.IntRange(1, 200).Draw(t, "chunk")
	err := newStoreRef(r.s).RangeChunks(context.Background(), r.index, time.Minute, req, size, func(c *pb.RangeResponse) error {
		if got.Header != nil {
			t.Fatalf("a chunk after the last one")
		}
		proto.Merge(got, c)
		return nil
	})
	compareResponse(t, fmt.Sprint("range in chunks ", req), got, err, want, wantErr)
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
