package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// spare is a file of zeros that becomes a segment by a rename.
//
// On a journaled filesystem a sync into space that was written before costs a third of one that
// extends the file. So segments are zeroed ahead, in chunks, by the goroutine that uses the Log: a
// goroutine of its own would compete with the log for the disk.
//
//	.making  ── zeroed, chunk by chunk ──►  .spare  ── next segment needed ──►  .seg
//
// A spare is also a reserve of space for a full disk.
type spare struct {
	path string
	size int64
}

// partialSpare is a spare of which only the first bytes are zeroed and durable.
type partialSpare struct {
	path   string
	file   vfs.File
	size   int64
	zeroed int64
}

// spareChunkBytes is how much one PrepareSpare zeroes. A batch may have to wait for it.
const spareChunkBytes = 256 << 10

// sparePaceFactor is how much faster than the active segment a spare progresses under load: it is
// ready when the segment is four fifths full. A higher factor would make more batches in a row wait
// for a chunk.
const sparePaceFactor = 1.25

// SpareDue reports whether the active segment fills faster than the spare progresses, so that
// PrepareSpare must be called although the log is busy.
func (l *Log) SpareDue() bool {
	if !l.needsSpare() {
		return false
	}
	if l.partial == nil {
		return true
	}
	return float64(l.partial.zeroed)/float64(l.partial.size) < sparePaceFactor*float64(l.active.writeOffset)/float64(l.published.active.size)
}

// needsSpare is false in the first segment, so that a new node takes less than 2 MiB.
func (l *Log) needsSpare() bool {
	return l.latched == nil && l.active.file != nil && l.everRolled && len(l.spares) == 0
}

// PrepareSpare zeroes one chunk of the next segment. worked is false if there is nothing to do.
// Call it when the log is idle, or when SpareDue is true. If the disk is full, it returns no error
// and tries again later.
func (l *Log) PrepareSpare() (worked bool, err error) {
	if l.latched != nil {
		return false, l.latched
	}
	if !l.needsSpare() {
		return false, nil
	}
	if l.partial == nil {
		started, err := l.startSpare()
		if err != nil {
			return false, l.latch("prepare a spare segment", err)
		}
		return started, nil
	}
	m := l.partial
	err = writeFull(m.file, m.path, zeroBuf[:min(spareChunkBytes, m.size-m.zeroed)], m.zeroed)
	if vfs.IsNoSpace(err) {
		return false, l.removePartialSpare()
	}
	if err == nil {
		err = m.file.Sync()
	}
	if err != nil {
		return false, l.latch("prepare a spare segment", err)
	}
	if m.zeroed += min(spareChunkBytes, m.size-m.zeroed); m.zeroed < m.size {
		return true, nil
	}
	if err := l.finishSpare(); err != nil {
		return false, l.latch("prepare a spare segment", err)
	}
	return true, nil
}

func (l *Log) startSpare() (bool, error) {
	size := align4K(min(2*l.nominalBytes, l.options.SegmentBytes))
	if free, err := l.options.FS.FreeBytes(l.options.Dir); err == nil && free < uint64(size)+spareChunkBytes {
		return false, nil
	}
	// Only one spare is prepared at a time, and the next segment takes this sequence.
	path := l.path(fmt.Sprintf("%016x", l.published.active.sequence+1) + partialSpareSuffix)
	file, err := l.options.FS.Create(path)
	if vfs.IsNoSpace(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.partial = &partialSpare{path: path, file: file, size: size}
	return true, nil
}

func (l *Log) finishSpare() error {
	m := l.partial
	l.partial = nil
	ready := spare{path: m.path[:len(m.path)-len(partialSpareSuffix)] + spareSuffix, size: m.size}
	if err := m.file.Close(); err != nil {
		return err
	}
	if err := l.options.FS.Rename(m.path, ready.path); err != nil {
		return err
	}
	if err := l.writeMarker(); err != nil { // the sync below makes it durable
		return err
	}
	if err := l.options.FS.SyncDir(l.options.Dir); err != nil {
		return err
	}
	l.spares = append(l.spares, ready)
	return nil
}

// removePartialSpare frees the space of a spare that did not fit on the disk.
func (l *Log) removePartialSpare() error {
	m := l.partial
	l.partial = nil
	m.file.Close()
	if err := l.options.FS.Remove(m.path); err != nil {
		return l.latch("remove a spare segment", err)
	}
	return nil
}

// openSpare opens a spare of at least the given size; file is nil if there is none.
func (l *Log) openSpare(next *segment, least int64) (path string, file vfs.File, err error) {
	for i, s := range l.spares {
		if s.size < least {
			continue
		}
		l.spares = append(l.spares[:i], l.spares[i+1:]...)
		file, err := l.options.FS.OpenReadWrite(s.path)
		if err != nil {
			return "", nil, fmt.Errorf("open the spare %s: %w", s.path, err)
		}
		next.size = s.size
		return s.path, file, nil
	}
	return "", nil, nil
}
