package mvcc

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestFlushedIndexSurvivesACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := openReplica(t, fs, Options{})
	// afterCrash returns the index of the store that a crash at this point would leave.
	afterCrash := func() uint64 {
		crashed := openReplica(t, fs.CrashClone(vfs.CrashCloneCfg{}), Options{})
		defer crashed.close()
		return crashed.index
	}
	r.apply(put("a", "1"))
	if index := afterCrash(); index != 0 {
		t.Fatalf("found %d before any flush", index)
	}
	mustSucceed(t, r.s.flush())
	r.apply(put("b", "1"))
	if index := afterCrash(); index != 1 {
		t.Fatalf("found %d, flushed at 1", index)
	}
	r.close()
}
