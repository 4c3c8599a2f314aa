package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// Log is the write-ahead log of one member: entries, term, vote and commit index. One goroutine at
// a time uses it; Readers may be used concurrently on other goroutines.
//
// Add collects what the next Commit makes durable; Commit writes all of it as one frame with one
// write and one sync (group commit). What a Commit returned nil for survives everything but the
// loss of the disk.
//
// Lifecycle: Open, then any of Add, Commit, Idle, PrepareSpare and ProbeDisk, then Close.
// The first error of a write or sync latches the log: from then on every call returns a
// *logFailedError and nothing is written (E5).
type Log struct {
	options Options
	latched error // what every call returns, if not nil

	active       segmentWriter
	nominalBytes int64 // the size that the active segment should have; the next one has twice that
	pending      pendingBatch
	editBuf      logEdit // of the last batch, reused
	probe        diskProbe

	spares        []spare
	partial       *partialSpare
	everRolled    bool   // a segment has been filled since Open
	markedSegment uint64 // sequence in the name of the segment marker; 0: there is none

	published publishedLog
	segments  []*segment // oldest first; the active one is last
}

// Commit makes everything added durable, with one write and one sync. It does nothing if nothing
// was added.
func (l *Log) Commit() error {
	if l.latched != nil || !l.pending.nonEmpty {
		return l.latched
	}
	size := alignFrame(l.pendingBytes())
	if err := l.ensureSpace(size); err != nil {
		return err
	}
	w, p := &l.active, &l.pending
	f := w.newFrame(p.entries.First, l.lastIndex(), p.hard)
	w.frameBuf = appendBatchFrame(w.frameBuf[:0], &f, &p.entries)
	if err := w.writeFrame(&f, w.frameBuf); err != nil {
		return l.latch("append", err)
	}
	l.editBuf.setBatch(int64(f.offset), p.entries.First, &p.entries)
	l.published.applyBatch(&l.editBuf, &p.entries)
	p.reset()
	if cap(w.frameBuf) > 8<<20 {
		w.frameBuf = nil // release the memory of a single large batch
	}
	return nil
}

// Idle records that all frames are durable, together with hard states added since, so that recovery
// can distinguish damage to the last frame from a write that did not finish. It also creates the
// segment marker. It does nothing if both are already done.
func (l *Log) Idle() error {
	if err := l.commitIdle(); err != nil {
		return err
	}
	return l.ensureMarker()
}

func (l *Log) commitIdle() error {
	if l.latched != nil {
		return l.latched
	}
	w, p := &l.active, &l.pending
	if len(p.entries.Data) > 0 {
		return l.Commit()
	}
	hard := w.hard
	if p.nonEmpty {
		if p.entries.First != l.published.terms.LastIndex()+1 {
			return l.Commit()
		}
		hard = p.hard
		hard.commit = min(hard.commit, p.entries.First-1)
	}
	if w.lastFrameIdle && hard == w.hard {
		p.reset()
		return nil
	}
	if err := l.ensureSpace(frameHeaderBytes); err != nil {
		return err
	}
	last := l.published.terms.LastIndex()
	f := w.newFrame(last+1, last, hard)
	w.frameBuf = appendFrame(w.frameBuf[:0], &f, kindIdle, nil)
	if err := w.writeFrame(&f, w.frameBuf); err != nil {
		return l.latch("append", err)
	}
	p.reset()
	return nil
}

// latch ends the log.
func (l *Log) latch(doing string, err error) error {
	l.latched = &logFailedError{Cause: fmt.Errorf("%s: %w", doing, err)}
	return l.latched
}

// Close closes the files. What was added and not committed is dropped.
func (l *Log) Close() error {
	if l.active.file == nil {
		return nil
	}
	err := l.active.file.Close()
	l.active.file = nil
	l.probe.close()
	if l.partial != nil {
		l.partial.file.Close()
		l.partial = nil
	}
	if l.latched == nil {
		l.latched = fmt.Errorf("log in %s is closed", l.options.Dir)
	}
	return err
}

// Stats describes the durable log.
type Stats struct {
	FirstIndex, LastIndex uint64 // FirstIndex = LastIndex + 1: no entries
	HardState             *messages.HardState
	Segments              int
	DiskBytes             int64 // of segments and spares
	DirectIO              bool  // small frames bypass the page cache
}

// Stats returns a description of the durable log.
func (l *Log) Stats() Stats {
	s := Stats{
		FirstIndex: l.published.base.index + 1, LastIndex: l.published.terms.LastIndex(),
		HardState: l.active.hard.message(), Segments: len(l.segments), DirectIO: l.active.directIO,
	}
	for _, segment := range l.segments {
		s.DiskBytes += segment.size
	}
	for _, spare := range l.spares {
		s.DiskBytes += spare.size
	}
	return s
}

// DiskLow reports whether fewer than Options.LowWater bytes are free on the disk. It is false if
// the filesystem does not report free space.
func (l *Log) DiskLow() bool {
	free, err := l.options.FS.FreeBytes(l.options.Dir)
	return err == nil && free < l.options.LowWater
}

func (l *Log) path(name string) string { return l.options.path(name) }
