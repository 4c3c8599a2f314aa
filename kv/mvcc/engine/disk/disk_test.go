package disk

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
)

// lateRemovals lets other goroutines run before it removes a file.
type lateRemovals struct{ vfs.FS }

func (f lateRemovals) Remove(name string) error {
	for range 1000 {
		runtime.Gosched()
	}
	return f.FS.Remove(name)
}

// An operator compares the sizes before and after a defragmentation.
func TestReplacedTablesAreRemovedByCompact(t *testing.T) {
	db, err := open("db", Options{FS: lateRemovals{vfs.NewMem()}}, engine.Events{
		Log: zerolog.Nop(), Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for round := range 4 {
		b := db.NewBatch(0)
		for i := range 1000 {
			if err := b.Set(fmt.Appendf(nil, "key %d", i), fmt.Appendf(nil, "value %d of round %d", i, round)); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Commit(b); err != nil {
			t.Fatal(err)
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Compact(context.Background(), []byte{0}, []byte{0xff}); err != nil {
		t.Fatal(err)
	}
	if local := db.db.Metrics().Table.Local; local.ObsoleteSize != 0 || local.LiveSize == 0 {
		t.Errorf("%d bytes of replaced tables are left beside %d", local.ObsoleteSize, local.LiveSize)
	}
}
