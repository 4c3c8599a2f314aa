package persistence

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// BenchmarkAppend appends to real files with real syncs, and prepares spares as the LogStore does.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			dir := filepath.Join(benchDir(b), "log")
			l, _ := mustOpen(b, Options{FS: vfs.OS(), Dir: dir, NodeID: 1, StorageID: testStorage})
			defer l.Close()
			e, hard := testBatch(1, n, 1, 256), testHardState(1, 1, 0)
			run := &messages.TermRun{FirstIndex: 1, Term: 1}
			e.Runs[0] = run
			b.ReportAllocs()
			b.SetBytes(int64(e.Bytes))
			for b.Loop() {
				if err := l.Add(0, e, hard); err != nil {
					b.Fatal(err)
				}
				if err := l.Commit(); err != nil {
					b.Fatal(err)
				}
				e.First += uint64(n)
				run.FirstIndex += uint64(n)
				if l.SpareDue() {
					if _, err := l.PrepareSpare(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// benchDir returns a directory on a real disk: the temporary directory may be in memory.
func benchDir(b *testing.B) string {
	if dir := os.Getenv("TROUPE_BENCH_DIR"); dir != "" {
		made, err := os.MkdirTemp(dir, "log")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.RemoveAll(made) })
		return made
	}
	return b.TempDir()
}

func BenchmarkOpenMillionEntries(b *testing.B) {
	dir := filepath.Join(benchDir(b), "log")
	o := Options{FS: vfs.OS(), Dir: dir, NodeID: 1, StorageID: testStorage}
	l, _ := mustOpen(b, o)
	for i := range uint64(1_000_000 / 250) {
		mustAppend(b, l, 0, testBatch(i*250+1, 250, 1, 256), testHardState(1, 1, 0))
	}
	l.Close()
	b.ResetTimer()
	for b.Loop() {
		l, r := mustOpen(b, o)
		if r.LastIndex != 1_000_000 {
			b.Fatalf("recovered up to %d", r.LastIndex)
		}
		l.Close()
	}
}

func BenchmarkRead(b *testing.B) {
	for _, n := range []int{1, 256} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			dir := filepath.Join(benchDir(b), "log")
			l, _ := mustOpen(b, Options{FS: vfs.OS(), Dir: dir, NodeID: 1, StorageID: testStorage})
			last := uint64(25600)
			for i := uint64(0); i < last; i += uint64(n) {
				mustAppend(b, l, 0, testBatch(i+1, n, 1, 256), testHardState(1, 1, 0))
			}
			r := l.Reader()
			defer r.Close()
			read := 0
			b.ReportAllocs()
			for next := uint64(1); b.Loop(); {
				e, _, err := r.Read(next, last, 1<<20)
				if err != nil {
					b.Fatal(err)
				}
				read += len(e.Data)
				b.SetBytes(int64(e.Bytes))
				if next += uint64(len(e.Data)); next > last {
					next = 1
				}
			}
			b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
