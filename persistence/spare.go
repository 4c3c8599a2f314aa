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

// makingSpare is a spare of which `zeroed` bytes are on the disk.
type makingSpare struct {
	path   string
	file   vfs.File
	size   int64
	zeroed int64
}

// spareStep is one piece of PrepareSpare: what an Append may have to wait for.
const spareStep = 256 << 10

// spareLead is how much faster than the active segment a spare gets ready under load: it is done when four fifths of the
// segment are full. Sooner would mean longer stretches in which every batch waits for a piece.
const spareLead = 1.25

// SpareDue tells that the active segment fills faster than its successor is made ready, so that PrepareSpare should not
// wait for an idle moment.
func (l *Log) SpareDue() bool {
	if !l.spareWanted() {
		return false
	}
	if l.making == nil {
		return true
	}
	return float64(l.making.zeroed)/float64(l.making.size) < spareLead*float64(l.off)/float64(l.catalog.active.size)
}

// A log that never left its first segment needs no spare: a new node stays below 2 MiB.
func (l *Log) spareWanted() bool {
	return l.failed == nil && l.file != nil && l.rolled && len(l.spares) == 0
}

// PrepareSpare does one bounded piece of the work for the next segment. worked is false when there is nothing to do. It is
// asked for at idle moments, by the actor that owns the log: no goroutine of its own competes with the log for the disk.
//
// A disk without room is not an error: there is no spare then until there is room again.
func (l *Log) PrepareSpare() (worked bool, err error) {
	if l.failed != nil {
		return false, l.failed
	}
	if !l.spareWanted() {
		return false, nil
	}
	if l.making == nil {
		started, err := l.startSpare()
		if err != nil {
			return false, l.fail("make a spare segment", err)
		}
		return started, nil
	}
	m := l.making
	err = writeAll(m.file, m.path, zeros[:min(spareStep, m.size-m.zeroed)], m.zeroed)
	if vfs.IsNoSpace(err) {
		return false, l.dropMaking()
	}
	if err == nil {
		err = m.file.Sync()
	}
	if err != nil {
		return false, l.fail("make a spare segment", err)
	}
	if m.zeroed += min(spareStep, m.size-m.zeroed); m.zeroed < m.size {
		return true, nil
	}
	if err := l.finishSpare(); err != nil {
		return false, l.fail("make a spare segment", err)
	}
	return true, nil
}

func (l *Log) startSpare() (bool, error) {
	size := align4K(min(2*l.nominal, l.o.SegmentBytes))
	if free, err := l.o.FS.Free(l.o.Dir); err == nil && free < uint64(size)+spareStep {
		return false, nil
	}
	// Named for the next sequence, which is taken by then or not at all: only one is made at a time.
	path := l.path(fmt.Sprintf("%016x", l.catalog.active.sequence+1) + makingSuffix)
	file, err := l.o.FS.Create(path)
	if vfs.IsNoSpace(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.making = &makingSpare{path: path, file: file, size: size}
	return true, nil
}

func (l *Log) finishSpare() error {
	m := l.making
	l.making = nil
	ready := spare{path: m.path[:len(m.path)-len(makingSuffix)] + spareSuffix, size: m.size}
	if err := m.file.Close(); err != nil {
		return err
	}
	if err := l.o.FS.Rename(m.path, ready.path); err != nil {
		return err
	}
	if err := l.mark(); err != nil { // it costs no sync of its own here
		return err
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return err
	}
	l.spares = append(l.spares, ready)
	return nil
}

// dropMaking gives back the space of a spare that did not fit.
func (l *Log) dropMaking() error {
	m := l.making
	l.making = nil
	m.file.Close()
	if err := l.o.FS.Remove(m.path); err != nil {
		return l.fail("remove a spare segment", err)
	}
	return nil
}
