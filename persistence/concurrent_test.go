package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Readers on other goroutines read while the log appends, truncates, rolls and moves its base: what
// they read is always one log that was durable at some moment.
func TestConcurrentReadersSeeOneDurableLog(t *testing.T) {
	o := Options{FS: vfs.OS(), Dir: t.TempDir(), NodeID: 7, StorageID: testStorage, FirstSegmentBytes: 16 << 10, SegmentBytes: 64 << 10}
	l, _ := mustOpen(t, o)
	defer l.Close()
	m := &logModel{hard: hardState{term: 1}}
	mustAppend(t, l, 0, m.append(0, 10, 100), m.hardStateMessage())

	done := make(chan struct{})
	var readers, enough sync.WaitGroup // enough: each reader has read 100 entries, or failed
	for range 2 {
		enough.Add(1)
		readers.Go(func() {
			satisfied := sync.OnceFunc(enough.Done)
			defer satisfied()
			if err := readUntil(l, done, satisfied); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 400 {
		var from uint64
		if i%5 == 4 {
			from = m.last() - 6
			m.hard.term++
		}
		mustAppend(t, l, from, m.append(from, 10, 100), m.hardStateMessage())
		if i%100 == 99 {
			index := m.last() - 300
			m.rebase(index, m.terms[index-m.base-1])
			mustSucceed(t, l.rebase(index, m.baseTerm, nil))
		}
		if _, err := l.PrepareSpare(); err != nil {
			t.Fatal(err)
		}
	}
	enough.Wait()
	close(done)
	readers.Wait()
}

// readUntil reads forward until done is closed, checks what it reads, and calls enough after 100
// entries.
func readUntil(l *Log, done chan struct{}, enough func()) error {
	r := l.Reader()
	defer r.Close()
	read := 0
	for from := uint64(1); ; {
		select {
		case <-done:
			return nil
		default:
		}
		e, prevTerm, err := r.Read(from, from+500, 20_000)
		if errors.Is(err, ErrNotInLog) {
			l.published.mu.Lock()
			from = l.published.base.index + 1
			l.published.mu.Unlock()
			continue
		}
		if err != nil {
			return fmt.Errorf("read from %d: %w", from, err)
		}
		if err := raft.CheckEntries(e); err != nil || e.Runs[0].Term < prevTerm {
			return fmt.Errorf("entries from %d after term %d: %w", from, prevTerm, err)
		}
		for k, data := range e.Data {
			index := from + uint64(k)
			if term := raft.EntriesTerm(e, index); !bytes.Equal(data, entryData(index, term, 100)) {
				return fmt.Errorf("entry %d of term %d is %q", index, term, data)
			}
		}
		from += uint64(len(e.Data))
		if read += len(e.Data); read >= 100 {
			enough()
		}
	}
}

func TestOpenReadsIndexesAndNewestSegmentOnly(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.SegmentBytes = 256 << 10
	l, _ := mustOpen(t, o)
	for i := range uint64(2000) {
		mustAppend(t, l, 0, testBatch(i*20+1, 20, i/300+1, 200), testHardState(i/300+1, 1, 0))
	}
	size := l.Stats().DiskBytes
	l.Close()
	read := 0
	fs.Observe(func(op vfs.Op) {
		if op.Kind == vfs.OpRead {
			read += op.Length
		}
	})
	l, r := mustOpen(t, o)
	fs.Observe(nil)
	if r.LastIndex != 40_000 || len(r.Runs) != 7 {
		t.Fatalf("recovered %+v", r)
	}
	if limit := int(o.SegmentBytes) + len(l.segments)*(segmentHeaderBytes+64<<10); read > limit || size < 30*o.SegmentBytes {
		t.Fatalf("%d bytes of %d read, at most %d expected", read, size, limit)
	}
	t.Logf("%d KiB of %d KiB read", read>>10, size>>10)
}
