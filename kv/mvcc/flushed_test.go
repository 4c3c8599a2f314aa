package mvcc

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// flushedIndex returns the index up to which the store is on the disk.
func flushedIndex(t *testing.T, s *Store) uint64 {
	t.Helper()
	it := must(s.db.NewIter(&pebble.IterOptions{
		LowerBound: stateKey, UpperBound: append(slices.Clone(stateKey), 0), OnlyReadGuaranteedDurable: true,
	}))
	defer it.Close()
	found := emptyState
	if it.First() {
		found = must(parseState(it.Value()))
	}
	mustSucceed(t, it.Error())
	return found.applied
}

func TestFlushedIndexSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := openReplica(t, fs, Options{})
	r.apply(put("a", "1"))
	if flushed := flushedIndex(t, r.s); flushed != 0 {
		t.Fatalf("flushed %d before any flush", flushed)
	}
	mustSucceed(t, r.s.flush())
	flushed := flushedIndex(t, r.s)
	r.apply(put("b", "1"))
	crashed := openReplica(t, fs.CrashClone(vfs.CrashCloneCfg{}), Options{})
	if flushed != 1 || crashed.index != 1 {
		t.Fatalf("flushed %d, found %d, want 1", flushed, crashed.index)
	}
	crashed.close()
	r.close()
}
