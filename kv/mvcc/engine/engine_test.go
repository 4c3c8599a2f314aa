package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/kv/mvcc/engine"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/disk"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/memory"
)

// twins are the two engines with the same commits. Whatever one returns, the other must return.
type twins struct {
	t      *rapid.T
	fs     *vfs.MemFS
	disk   *memory.Disk
	dbs    [2]engine.DB // Pebble, memory
	opened []pair       // snapshots
}

type pair [2]engine.Snapshot

func (w *twins) open() {
	events := engine.Events{Failed: func(err error) { panic(err) }}
	for i, open := range []engine.Open{disk.Opener(disk.Options{FS: w.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20}), w.disk.Open} {
		db, err := open("db", events)
		if err != nil {
			w.t.Fatal(err)
		}
		w.dbs[i] = db
	}
}

func (w *twins) drawKey(what string) []byte {
	return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xff}), 1, 3).Draw(w.t, what)
}

func (w *twins) drawBound(what string) []byte {
	if rapid.IntRange(0, 3).Draw(w.t, what+" open") == 0 {
		return nil
	}
	return append(w.drawKey(what), 'b')
}

// compare makes random reads of both readers.
func (w *twins) compare(what string, a, b engine.Reader) {
	for range rapid.IntRange(1, 3).Draw(w.t, "gets") {
		key := w.drawKey("get")
		if got, want := get(w.t, b, key), get(w.t, a, key); got != want {
			w.t.Fatalf("%s: key %q is %s in memory and %s on disk", what, key, got, want)
		}
	}
	lower, upper := w.drawBound("lower"), w.drawBound("upper")
	from, to := w.drawBound("from"), w.drawBound("to")
	limit := rapid.IntRange(0, 10).Draw(w.t, "rows")
	got, want := scan(w.t, b, lower, upper, from, to, limit), scan(w.t, a, lower, upper, from, to, limit)
	if got != want {
		w.t.Fatalf("%s: a scan of %q to %q, then %q to %q finds\n%s in memory and\n%s on disk", what, lower, upper, from, to, got, want)
	}
}

func get(t *rapid.T, r engine.Reader, key []byte) string {
	row, closer, err := r.Get(key)
	if errors.Is(err, engine.ErrNotFound) {
		return "absent"
	}
	if err != nil {
		t.Fatal(err)
	}
	found := fmt.Sprintf("%q", row)
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	return found
}

// scan lists the rows in two ranges, one after the other, with one iterator.
func scan(t *rapid.T, r engine.Reader, lower, upper, from, to []byte, limit int) string {
	it, err := r.NewIter(context.Background(), lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	var found bytes.Buffer
	for range 2 {
		n := 0
		for ok := it.First(); ok && n < limit; ok = it.Next() {
			value, err := it.ValueAndErr()
			if err != nil || !bytes.Equal(value, it.Value()) {
				t.Fatalf("value %q, %v, and %q", value, err, it.Value())
			}
			fmt.Fprintf(&found, "%q=%q ", it.Key(), value)
			n++
		}
		found.WriteString("| ")
		if upper != nil && bytes.Compare(lower, upper) > 0 || to != nil && bytes.Compare(from, to) > 0 {
			break
		}
		it.SetBounds(from, to)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		t.Fatal(err)
	}
	return found.String()
}

// write makes the same batch on both engines, reads it if it is indexed, and commits it or not.
func (w *twins) write() {
	batches := [2]engine.Batch{w.dbs[0].NewBatch(100), w.dbs[1].NewBatch(100)}
	indexAt := rapid.IntRange(0, 12).Draw(w.t, "index at")
	for i := range rapid.IntRange(0, 8).Draw(w.t, "changes") {
		if i == indexAt {
			for k := range batches {
				indexed, err := w.dbs[k].NewIndexedBatch(batches[k])
				if err == nil {
					err = batches[k].Close()
				}
				if err != nil {
					w.t.Fatal(err)
				}
				batches[k] = indexed
			}
		}
		key, value := w.drawKey("key"), w.drawKey("value")
		deletes := rapid.IntRange(0, 2).Draw(w.t, "deletes") == 0
		for k := range batches {
			err := error(nil)
			if deletes {
				err = batches[k].Delete(key)
			} else {
				err = batches[k].Set(key, value)
			}
			if err != nil {
				w.t.Fatal(err)
			}
		}
		clear(key) // the batch has a copy
		clear(value)
	}
	if a, b := batches[0], batches[1]; a.Empty() != b.Empty() || a.Indexed() != b.Indexed() {
		w.t.Fatalf("empty %v and %v, indexed %v and %v", a.Empty(), b.Empty(), a.Indexed(), b.Indexed())
	}
	if batches[0].Indexed() {
		w.compare("indexed batch", batches[0], batches[1])
	}
	commit := rapid.IntRange(0, 4).Draw(w.t, "commit") > 0
	for k := range batches {
		if commit {
			if err := w.dbs[k].Commit(batches[k]); err != nil {
				w.t.Fatal(err)
			}
		}
		if err := batches[k].Close(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *twins) snapshot() {
	w.opened = append(w.opened, pair{w.dbs[0].NewSnapshot(), w.dbs[1].NewSnapshot()})
}

func (w *twins) closeSnapshot(i int) {
	for _, s := range w.opened[i] {
		if err := s.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.opened = append(w.opened[:i], w.opened[i+1:]...)
}

func (w *twins) flush() {
	for _, db := range w.dbs {
		if err := db.Flush(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *twins) close() {
	for len(w.opened) > 0 {
		w.closeSnapshot(0)
	}
	for _, db := range w.dbs {
		if err := db.Close(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// crash leaves what was flushed.
func (w *twins) crash() {
	crashed := w.fs.CrashClone(vfs.CrashCloneCfg{})
	unflushed := w.disk.Unflushed()
	w.disk.Crash(unflushed)
	if err := w.dbs[1].Commit(w.dbs[1].NewBatch(0)); err == nil {
		w.t.Fatal("an engine commits after the crash of its disk")
	}
	for _, s := range w.opened {
		_ = s[0].Close()
	}
	w.opened = nil
	_ = w.dbs[0].Close()
	w.fs = crashed
	w.open()
}

func TestEnginesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &twins{t: t, fs: vfs.NewCrashableMem(), disk: memory.NewDisk()}
		w.disk.MaxUnflushed = 1 << 20 // Pebble flushes only on demand here
		w.open()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3:
				w.write()
			case 4:
				w.snapshot()
			case 5:
				if n := len(w.opened); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "snapshot")
					w.compare("snapshot", w.opened[i][0], w.opened[i][1])
					w.closeSnapshot(i)
				}
			case 6:
				w.flush()
			case 7:
				w.close()
				w.open()
			case 8:
				w.crash()
			case 9:
				for _, db := range w.dbs {
					// Of all rows: Pebble leaves a memtable alone that has none of the range.
					if err := db.Compact(context.Background(), []byte{0}, []byte{0xff, 0xff, 0xff, 0xff}); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.compare("engine", w.dbs[0], w.dbs[1])
			if a, b := w.dbs[0].Metrics().Snapshots, w.dbs[1].Metrics().Snapshots; a != b {
				t.Fatalf("%d snapshots are open on disk and %d in memory", a, b)
			}
		}
		w.close()
	})
}

// A crash leaves the state after some commit that is not older than the flushed one.
func TestMemoryCrashLeavesACommittedState(t *testing.T) {
	for lost := range 8 {
		d := memory.NewDisk()
		db := open(t, d)
		for i := range 6 {
			b := db.NewBatch(0)
			_ = b.Set([]byte("k"), []byte{byte('0' + i)})
			if err := db.Commit(b); err != nil {
				t.Fatal(err)
			}
		}
		if d.Unflushed() != 4 {
			t.Fatalf("%d commits are not flushed, want 4", d.Unflushed())
		}
		d.Crash(lost)
		row, _, err := open(t, d).Get([]byte("k"))
		if want := string(rune('5' - min(lost, 4))); err != nil || string(row) != want {
			t.Errorf("after the loss of %d commits the value is %q, %v, want %s", lost, row, err, want)
		}
	}
}

func open(t *testing.T, d *memory.Disk) engine.DB {
	t.Helper()
	db, err := d.Open("", engine.Events{})
	if err != nil {
		t.Fatal(err)
	}
	return db
}
