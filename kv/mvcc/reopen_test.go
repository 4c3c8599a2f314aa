package mvcc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"
)

var everyKey = &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}

// checkEverything compares every key and count at every readable revision, and all history, with
// the model.
func checkEverything(t testReporter, r *replica, m *model) {
	t.Helper()
	v := r.s.View()
	defer v.Release()
	if v.Revision() != m.rev || v.CompactRevision() != m.compacted {
		t.Fatalf("revision %d, compacted %d; want %d, %d", v.Revision(), v.CompactRevision(), m.rev, m.compacted)
	}
	ctx := context.Background()
	for rev := max(m.compacted, 1); rev <= m.rev; rev++ {
		for _, req := range []*pb.RangeRequest{
			{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev},
			{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev, CountOnly: true},
			{Key: []byte("a"), Revision: rev},
		} {
			got, err := v.Range(ctx, req)
			want, wantErr := m.getRange(req)
			compareResponse(t, fmt.Sprint("range ", req), got, err, want, wantErr)
		}
	}
	// Of a transaction at the compacted revision only the newest change of a key is left, as in etcd.
	from := m.compacted + 1
	events, _, err := v.Events(ctx, from, 0, []byte{0}, []byte{0}, true, 1<<30, 0)
	if err != nil {
		t.Fatalf("events: %v", err)
	}
	checkEvents(t, "of the history", events, m.events(from, m.rev, []byte{0}, []byte{0}, true))
	r.checkLiveBytes()
}

// reopenCase is a store that is closed and opened in a state that random histories rarely reach.
type reopenCase struct {
	name    string
	prepare func(b *storeBuilder)
}

// storeBuilder applies commands to a store that is reopened, to one that never is, and to a model.
type storeBuilder struct {
	t            *testing.T
	m            *model
	r, reference *replica
}

func (b *storeBuilder) put(keys ...string) {
	for _, k := range keys {
		p := &pb.PutRequest{Key: []byte(k), Value: fmt.Appendf(nil, "%s at %d", k, b.m.rev)}
		must(b.m.put(p))
		b.apply(must(EncodePut(p)))
	}
}

func (b *storeBuilder) delete(d *pb.DeleteRangeRequest) {
	b.m.del(d)
	b.apply(must(EncodeDeleteRange(d)))
}

func (b *storeBuilder) compact(rev int64) {
	must(b.m.compact(rev))
	b.apply(compact(rev))
}

func (b *storeBuilder) apply(command []byte) {
	b.r.apply(command)
	b.reference.apply(command)
}

// pauseCompactor leaves compactions to removeSome until the store is reopened.
func (b *storeBuilder) pauseCompactor() {
	b.r.s.compactor.stop()
	b.r.s.compactor.quit = make(chan struct{}) // for Close
}

// removeSome handles some events of a compaction, which is then interrupted.
func (b *storeBuilder) removeSome(steps int) {
	s := b.r.s
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	for range steps {
		mustSucceed(b.t, s.compactor.removeNext())
	}
	if s.compactor.cursor.isZero() {
		b.t.Fatal("the compaction is complete, so this case tests nothing")
	}
}

var reopenCases = []reopenCase{
	{"empty", func(*storeBuilder) {}},
	{"one key", func(b *storeBuilder) { b.put("a") }},
	{"one key with a past", func(b *storeBuilder) { b.put("a", "a", "a") }},
	{"tombstones only", func(b *storeBuilder) {
		b.put("a", "b", "a")
		b.delete(everyKey)
	}},
	{"tombstones only, compacted at the last one", func(b *storeBuilder) {
		b.put("a", "b", "a")
		b.delete(everyKey)
		b.compact(b.m.rev)
		b.r.waitCompacted(b.t)
	}},
	{"nothing is left", func(b *storeBuilder) {
		b.put("a", "b", "a")
		b.delete(everyKey)
		b.put("c")
		b.delete(everyKey)
		b.put("c")
		b.delete(&pb.DeleteRangeRequest{Key: []byte("c")})
		b.compact(b.m.rev)
		b.r.waitCompacted(b.t)
	}},
	{"one key among tombstones", func(b *storeBuilder) {
		b.put("a", "b", "c", "d")
		b.delete(everyKey)
		b.put("b")
	}},
	{"right after a compaction", func(b *storeBuilder) {
		b.put("a", "b", "a", "b", "a", "c")
		b.compact(5)
		b.r.waitCompacted(b.t)
	}},
	{"compacted, nothing removed", func(b *storeBuilder) {
		b.pauseCompactor()
		b.put("a", "b", "a", "b", "a", "c")
		b.compact(5)
	}},
	{"in the middle of a compaction", func(b *storeBuilder) {
		b.pauseCompactor()
		for range 5 {
			b.put("a", "b", "c", "d")
			b.delete(&pb.DeleteRangeRequest{Key: []byte("b"), RangeEnd: []byte("d")})
		}
		b.compact(b.m.rev - 1)
		b.removeSome(3)
	}},
	{"within a revision that a compaction removes", func(b *storeBuilder) {
		b.pauseCompactor()
		b.put("a", "b", "c", "d", "e", "f", "g", "h")
		b.delete(everyKey)
		b.put("a")
		b.compact(b.m.rev)
		b.removeSome(4) // 12 events of 17
	}},
	{"in the middle of the second compaction", func(b *storeBuilder) {
		b.put("a", "b", "c", "d")
		b.delete(everyKey)
		b.compact(b.m.rev)
		b.r.waitCompacted(b.t)
		b.pauseCompactor()
		b.put("a", "b", "c", "d", "a", "b")
		b.delete(everyKey)
		b.put("d")
		b.compact(b.m.rev)
		b.removeSome(2)
	}},
}

// A store that is reopened, with or without a crash, holds what one holds that never was; and it
// goes on as that one does.
func TestReopenedUnusualStoresMatchTheModel(t *testing.T) {
	for _, c := range reopenCases {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, crash %v", c.name, crash), func(t *testing.T) {
				fs := vfs.NewCrashableMem()
				b := &storeBuilder{t: t, m: newModel(), r: openReplica(t, fs, smallOptions), reference: openReplica(t, vfs.NewMem(), smallOptions)}
				defer func() { b.r.close(); b.reference.close() }()
				c.prepare(b)
				checkEverything(t, b.r, b.m)
				b.reopen(fs, crash)
				checkEverything(t, b.r, b.m)
				b.checkSameHash()
				b.put("b", "a", "e")
				checkEverything(t, b.r, b.m)
				b.delete(everyKey)
				b.put("a")
				b.checkSameHash()
				b.compact(b.m.rev - 1)
				b.checkSameHash()
				checkEverything(t, b.r, b.m)
			})
		}
	}
}

// reopen closes the store, or flushes it and lets it crash, and opens it again.
func (b *storeBuilder) reopen(fs *vfs.MemFS, crash bool) {
	b.t.Helper()
	index := b.r.index
	if crash {
		mustSucceed(b.t, b.r.s.flush())
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
	}
	b.r.close()
	b.r = openReplica(b.t, fs, smallOptions)
	if b.r.index != index {
		b.t.Fatalf("reopened at %d, closed at %d", b.r.index, index)
	}
}

func (b *storeBuilder) checkSameHash() {
	b.t.Helper()
	if got, want := b.r.hash(), b.reference.hash(); got != want {
		b.t.Fatalf("the reopened store has hash %+v, the other %+v", got, want)
	}
}

// Any history, with a reopening after any batch, clean or after a crash that loses what was not
// flushed. Commands that empty the store, or leave one key, are frequent.
func TestReopeningAnywhereMatchesTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel()
		fs := vfs.NewCrashableMem()
		r, reference := openReplica(t, fs, smallOptions), openReplica(t, vfs.NewMem(), smallOptions)
		defer func() { r.close(); reference.close() }()
		var log [][]byte
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range rapid.IntRange(1, 10).Draw(t, "batches") {
			var batch [][]byte
			for range rapid.IntRange(1, 4).Draw(t, "commands") {
				batch = append(batch, drawReopenCommand(t, m))
			}
			log = append(log, batch...)
			var within *vfs.MemFS // after a crash within the batch
			if at := rapid.IntRange(0, 9).Draw(t, "crash after part"); at < 3 {
				r.s.onStage = func() {
					if at--; at == -1 {
						mustSucceedIn(t, r.s.flush())
						within = fs.CrashClone(vfs.CrashCloneCfg{})
					}
				}
			}
			r.apply(batch...)
			r.s.onStage = nil
			reference.apply(batch...)
			if within != nil {
				r.close()
				fs = within
				r = openReplica(t, fs, smallOptions)
				for r.index < uint64(len(log)) {
					r.apply(log[r.index])
				}
			}
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			case 0:
				mustSucceedIn(t, r.s.flush())
			case 1:
				r.close()
				r = openReplica(t, fs, smallOptions)
			case 2:
				crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.IntRange(0, 100).Draw(t, "unsynced"), RNG: rnd})
				r.close()
				fs = crashed
				r = openReplica(t, fs, smallOptions)
				for r.index < uint64(len(log)) {
					r.apply(log[r.index])
				}
			default:
				if within == nil {
					continue
				}
			}
			checkEverything(t, r, m)
			if got, want := r.hash(), reference.hash(); got != want {
				t.Fatalf("the reopened store has hash %+v, the other %+v", got, want)
			}
			r.checkCounts()
		}
	})
}

// drawReopenCommand draws a command that the model has executed.
func drawReopenCommand(t *rapid.T, m *model) []byte {
	switch rapid.IntRange(0, 7).Draw(t, "special") {
	case 0:
		m.del(everyKey)
		return must(EncodeDeleteRange(everyKey))
	case 1:
		if m.rev > max(m.compacted, 1) {
			rev := rapid.SampledFrom([]int64{m.rev, m.rev - 1, max(m.compacted, 0) + 1}).Draw(t, "compact at")
			if _, err := m.compact(rev); err == nil {
				return compact(rev)
			}
		}
	}
	return drawCommand(t, m).command
}

func mustSucceedIn(t testReporter, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}
