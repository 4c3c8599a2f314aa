package persistence

import (
	"cmp"
	"fmt"
	"path/filepath"

	"github.com/troupe-raft/troupe/internal/defaults"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Options of a log. Node and StorageID stand in every segment: a file of another member is refused.
type Options struct {
	FS        vfs.FS
	Dir       string
	NodeID    uint64
	StorageID [16]byte
	// MustExist: an empty directory is not the beginning of a log but the loss of one.
	MustExist bool
	// Segments begin with FirstSegmentBytes and double up to SegmentBytes. Zero: 1 MiB and 64 MiB.
	FirstSegmentBytes int64
	SegmentBytes      int64
	// LowWater is how many bytes must stay free on the disk; below, DiskLow tells. Zero: 256 MiB.
	LowWater uint64

	// For tools: files of every member are read; the log is written to meanwhile.
	skipOwnerCheck, concurrentWriter bool
}

func (o *Options) setDefaults() {
	o.SegmentBytes = cmp.Or(o.SegmentBytes, defaults.SegmentBytes)
	o.FirstSegmentBytes = cmp.Or(o.FirstSegmentBytes, min(defaults.FirstSegmentBytes, o.SegmentBytes))
	o.LowWater = cmp.Or(o.LowWater, defaults.DiskLowWaterBytes)
}

// Log is the write-ahead log of one member: entries, term and vote. One goroutine at a time uses it; Readers may be used
// beside it.
//
// Add collects, Commit makes what was collected durable: one frame, one write, one sync, however many calls of Add. What
// a Commit returns nil for survives everything but the loss of the disk.
//
// Lifetime: open → (Add* Commit | Idle | PrepareSpare)* → Close; or, after the first error of a write or sync, latched:
// every call returns that error, and nothing is written any more (E5).
type Log struct {
	options Options
	latched error

	activeFile    vfs.File // the active segment
	directIO      bool     // small frames go past the page cache
	nominalBytes  int64    // what size it should have had; the next one doubles it
	writeOffset   int64    // where the next frame goes
	durableEnd    int64    // the file is synced up to here
	lastSequence  uint64   // of the last frame
	lastCRC       uint32   // its crc
	lastFrameIdle bool     // it was an idle frame that says all there is to say

	hard     hardState // as the disk has it
	pending  pendingBatch
	frameBuf []byte // what the last frame was made in
	editBuf  logEdit

	probeFile  vfs.File // see Probe; nil until it is needed
	probeCount uint64

	spares        []spare
	partial       *partialSpare
	everRolled    bool
	markedSegment uint64 // the segment that the mark is of; 0: there is none

	published publishedLog
	// Segments from the oldest on, the active one last.
	segments []*segment
}

// pending is what Add has collected: the log shall end before entries.First, then come the entries.
type pendingBatch struct {
	nonEmpty bool
	hard     hardState
	entries  messages.Entries
}

// Add collects a piece of durability for the next Commit. truncateFrom, if not 0, replaces the entries from there on;
// entries (nil for none) follow the end of the log, pending pieces included; hs is the hard state as of now. Entries are
// not copied before Commit and must not change.
//
// An *InvariantError means that the caller asked for what Raft never does; nothing was collected.
func (l *Log) Add(truncateFrom uint64, entries *messages.Entries, hs *messages.HardState) error {
	if l.latched != nil {
		return l.latched
	}
	hard := hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
	if err := l.checkAdd(truncateFrom, entries, hard); err != nil {
		return err
	}
	p := &l.pending
	if !p.nonEmpty {
		p.nonEmpty = true
		p.entries.First = l.published.terms.LastIndex() + 1
	}
	hard.commit = max(hard.commit, l.commitIndex()) // what was committed once is: a node that starts anew may not know yet
	p.hard = hard
	if truncateFrom != 0 {
		p.truncate(truncateFrom)
	}
	if entries != nil {
		for _, r := range entries.Runs {
			if n := len(p.entries.Runs); n == 0 || p.entries.Runs[n-1].Term != r.Term {
				p.entries.Runs = append(p.entries.Runs, r)
			}
		}
		p.entries.Data = append(p.entries.Data, entries.Data...)
		p.entries.Bytes += entries.Bytes
	}
	return nil
}

// check holds a request against what Raft promises about logs and hard states.
func (l *Log) checkAdd(truncateFrom uint64, entries *messages.Entries, hard hardState) error {
	last, lastTerm, was := l.lastIndex(), l.lastIndexTerm(), l.hard
	if l.pending.nonEmpty {
		was = l.pending.hard
	}
	if hard.term < was.term || hard.term == was.term && was.vote != 0 && hard.vote != was.vote {
		return invariantError("hard state %+v after %+v", hard, was)
	}
	if truncateFrom != 0 {
		if truncateFrom <= l.commitIndex() || truncateFrom <= l.published.base.index || truncateFrom > last+1 {
			return invariantError("truncation from %d of a log with commit %d, base %d, last %d", truncateFrom, l.commitIndex(), l.published.base.index, last)
		}
		last, lastTerm = truncateFrom-1, l.termAt(truncateFrom-1)
	}
	if entries == nil || len(entries.Data) == 0 {
		return nil
	}
	if entries.First != last+1 || len(entries.Runs) == 0 || entries.Runs[0].FirstIndex != entries.First || entries.Runs[0].Term < lastTerm {
		return invariantError("entries from %d with runs %v after a log that ends at %d in term %d", entries.First, entries.Runs, last, lastTerm)
	}
	if top := entries.Runs[len(entries.Runs)-1].Term; top > hard.term {
		return invariantError("entries of term %d under the term %d", top, hard.term)
	}
	if size := l.pendingBytes() + int64(entries.Bytes) + tableEntryBytes*int64(len(entries.Data)); size > maxFrameBytes-(1<<20) {
		return fmt.Errorf("%w: %d bytes in one piece of durability, at most %d: send less at a time", ErrTooLarge, size, maxFrameBytes-(1<<20))
	}
	return nil
}

// truncate drops pending entries from index on, or says that the log shall end even before them.
func (p *pendingBatch) truncate(from uint64) {
	e := &p.entries
	if from < e.First {
		e.First = from
	}
	keep := int(from - e.First)
	if keep >= len(e.Data) {
		return
	}
	for _, data := range e.Data[keep:] {
		e.Bytes -= uint64(len(data))
	}
	clear(e.Data[keep:])
	e.Data = e.Data[:keep]
	for n := len(e.Runs) - 1; n >= 0 && e.Runs[n].FirstIndex >= from; n-- {
		e.Runs = e.Runs[:n]
	}
}

func (p *pendingBatch) reset() {
	clear(p.entries.Data)
	p.entries.Runs, p.entries.Data, p.entries.Bytes, p.nonEmpty = p.entries.Runs[:0], p.entries.Data[:0], 0, false
}

func (l *Log) pendingBytes() int64 {
	e := &l.pending.entries
	return frameHeaderBytes + termRunBytes*int64(len(e.Runs)) + tableEntryBytes*int64(len(e.Data)) + int64(e.Bytes)
}

// PendingProposalBytes is what the next Commit would write.
func (l *Log) PendingBytes() int64 {
	if !l.pending.nonEmpty {
		return 0
	}
	return alignFrame(l.pendingBytes())
}

// Last is the last index, pending entries included.
func (l *Log) lastIndex() uint64 {
	if l.pending.nonEmpty {
		return raft.EntriesLast(&l.pending.entries)
	}
	return l.published.terms.LastIndex()
}

// commit is the highest commit index that the log was told.
func (l *Log) commitIndex() uint64 {
	if l.pending.nonEmpty {
		return max(l.hard.commit, l.pending.hard.commit)
	}
	return l.hard.commit
}

func (l *Log) lastIndexTerm() uint64 { return l.termAt(l.lastIndex()) }

// termAt is the term at an index of the log, pending entries included.
func (l *Log) termAt(index uint64) uint64 {
	if e := &l.pending.entries; l.pending.nonEmpty && index >= e.First && len(e.Data) > 0 {
		return raft.EntriesTerm(e, index)
	}
	term, _ := l.published.terms.Term(index)
	return term
}

// Commit makes everything added durable, with one write and one sync. With nothing added it does nothing.
func (l *Log) Commit() error {
	if l.latched != nil || !l.pending.nonEmpty {
		return l.latched
	}
	size := alignFrame(l.pendingBytes())
	if err := l.ensureSpace(size); err != nil {
		return l.latch("begin a segment", err)
	}
	p := &l.pending
	f := l.newFrame(p.entries.First, l.lastIndex(), p.hard)
	l.frameBuf = appendBatchFrame(l.frameBuf[:0], &f, &p.entries)
	if err := l.writeFrame(&f, l.frameBuf); err != nil {
		return l.latch("append", err)
	}
	l.editBuf.setBatch(int64(f.offset), p.entries.First, &p.entries)
	l.published.applyBatch(&l.editBuf, &p.entries)
	p.reset()
	if cap(l.frameBuf) > 8<<20 { // one huge batch does not hold memory for ever
		l.frameBuf = nil
	}
	return nil
}

// newFrame is the header of a frame that goes to the end of the active segment, after which the log ends at last. A
// commit index beyond that is true, but could not be kept by a reader of this log alone.
func (l *Log) newFrame(first, last uint64, hard hardState) frameHeader {
	hard.commit = min(hard.commit, last)
	return frameHeader{segment: l.published.active.sequence, offset: uint64(l.writeOffset), durableEnd: uint64(l.durableEnd), sequence: l.lastSequence + 1,
		first: first, hard: hard, previousCRC: l.lastCRC}
}

// write puts an encoded frame at the end of the active segment and syncs.
func (l *Log) writeFrame(f *frameHeader, b []byte) error {
	path := l.published.active.path
	if n, err := l.activeFile.WriteAt(b, l.writeOffset); err != nil || n != len(b) {
		return fmt.Errorf("write %d bytes to %s at offset %d (%d written): %w", len(b), path, l.writeOffset, n, orShortWrite(err))
	}
	if err := l.activeFile.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	l.writeOffset += int64(len(b))
	l.durableEnd = l.writeOffset
	l.lastSequence, l.lastCRC, l.hard = f.sequence, f.crc, f.hard
	l.lastFrameIdle = f.kind == kindIdle
	return nil
}

// Idle writes down that all of the log is durable, so that damage to its last frame is told from a write that never
// finished, together with hard states added since, and marks the segment as begun. It does nothing where that is done already.
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
	p := &l.pending
	if len(p.entries.Data) > 0 {
		return l.Commit()
	}
	hard := l.hard
	if p.nonEmpty {
		if p.entries.First != l.published.terms.LastIndex()+1 {
			return l.Commit()
		}
		hard = p.hard
		hard.commit = min(hard.commit, p.entries.First-1)
	}
	if l.lastFrameIdle && hard == l.hard {
		p.reset()
		return nil
	}
	if err := l.ensureSpace(frameHeaderBytes); err != nil {
		return l.latch("begin a segment", err)
	}
	last := l.published.terms.LastIndex()
	f := l.newFrame(last+1, last, hard)
	l.frameBuf = appendFrame(l.frameBuf[:0], &f, kindIdle, nil)
	if err := l.writeFrame(&f, l.frameBuf); err != nil {
		return l.latch("append", err)
	}
	p.reset()
	return nil
}

// fail latches the log shut.
func (l *Log) latch(doing string, err error) error {
	l.latched = &logFailedError{Cause: fmt.Errorf("%s: %w", doing, err)}
	return l.latched
}

// Close gives up the files. What was added and not committed is dropped.
func (l *Log) Close() error {
	if l.activeFile == nil {
		return nil
	}
	err := l.activeFile.Close()
	l.activeFile = nil
	if l.probeFile != nil {
		l.probeFile.Close()
		l.probeFile = nil
	}
	if l.partial != nil {
		l.partial.file.Close()
		l.partial = nil
	}
	if l.latched == nil {
		l.latched = fmt.Errorf("log in %s is closed", l.options.Dir)
	}
	return err
}

// Stats is a picture of the log.
type Stats struct {
	FirstIndex, LastIndex uint64
	HardState             *messages.HardState
	Segments              int
	DiskBytes             int64
	// Direct tells that small frames are written past the page cache.
	DirectIO bool
}

// Stats of what is durable.
func (l *Log) Stats() Stats {
	s := Stats{
		FirstIndex: l.published.base.index + 1, LastIndex: l.published.terms.LastIndex(), Segments: len(l.segments), DirectIO: l.directIO,
		HardState: &messages.HardState{Term: l.hard.term, Vote: l.hard.vote, Commit: l.hard.commit},
	}
	for _, segment := range l.segments {
		s.DiskBytes += segment.size
	}
	for _, spare := range l.spares {
		s.DiskBytes += spare.size
	}
	return s
}

// DiskLow tells whether the disk has less room than the low-water mark. A disk that cannot tell is not low.
func (l *Log) DiskLow() bool {
	free, err := l.options.FS.FreeBytes(l.options.Dir)
	return err == nil && free < l.options.LowWater
}

func (l *Log) path(name string) string     { return l.options.path(name) }
func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }
