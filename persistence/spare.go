package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// A spare is a segment of zeros, made ahead of need: on a journaled filesystem a sync into space that was written before
// costs a third of one that makes the file grow. It is the reserve for a full disk too.
type spare struct {
	path string
	size int64
}

// partialSpare is a spare of which `zeroed` bytes are on the disk.
type partialSpare struct {
	path   string
	file   vfs.File
	size   int64
	zeroed int64
}

// spareChunkBytes is one piece of PrepareSpare: what an Append may have to wait for.
const spareChunkBytes = 256 << 10

// sparePaceFactor is how much faster than the active segment a spare gets ready under load: it is done when four fifths of the
// segment are full. Sooner would mean longer stretches in which every batch waits for a piece.
const sparePaceFactor = 1.25

// SpareDue tells that the active segment fills faster than its successor is made ready, so that PrepareSpare should not
// wait for an idle moment.
func (l *Log) SpareDue() bool {
	if !l.needsSpare() {
		return false
	}
	if l.partial == nil {
		return true
	}
	return float64(l.partial.zeroed)/float64(l.partial.size) < sparePaceFactor*float64(l.writeOffset)/float64(l.published.active.size)
}

// A log that never left its first segment needs no spare: a new node stays below 2 MiB.
func (l *Log) needsSpare() bool {
	return l.latched == nil && l.activeFile != nil && l.everRolled && len(l.spares) == 0
}

// PrepareSpare does one bounded piece of the work for the next segment. worked is false when there is nothing to do. It is
// asked for at idle moments, by the actor that owns the log: no goroutine of its own competes with the log for the disk.
//
// A disk without room is not an error: there is no spare then until there is room again.
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
			return false, l.latch("make a spare segment", err)
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
		return false, l.latch("make a spare segment", err)
	}
	if m.zeroed += min(spareChunkBytes, m.size-m.zeroed); m.zeroed < m.size {
		return true, nil
	}
	if err := l.finishSpare(); err != nil {
		return false, l.latch("make a spare segment", err)
	}
	return true, nil
}

func (l *Log) startSpare() (bool, error) {
	size := align4K(min(2*l.nominalBytes, l.options.SegmentBytes))
	if free, err := l.options.FS.FreeBytes(l.options.Dir); err == nil && free < uint64(size)+spareChunkBytes {
		return false, nil
	}
	// Named for the next sequence, which is taken by then or not at all: only one is made at a time.
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
	if err := l.writeMarker(); err != nil { // it costs no sync of its own here
		return err
	}
	if err := l.options.FS.SyncDir(l.options.Dir); err != nil {
		return err
	}
	l.spares = append(l.spares, ready)
	return nil
}

// removePartialSpare gives back the space of a spare that did not fit.
func (l *Log) removePartialSpare() error {
	m := l.partial
	l.partial = nil
	m.file.Close()
	if err := l.options.FS.Remove(m.path); err != nil {
		return l.latch("remove a spare segment", err)
	}
	return nil
}
