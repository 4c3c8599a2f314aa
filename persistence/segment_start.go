package persistence

import (
	"fmt"
	"io"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// inlineSegmentBytes is how much is zeroed while somebody waits, when the log is faster than its spares are made: the segment is
// a smaller one then.
const inlineSegmentBytes = 4 << 20

// zeros is only read.
var zeroBuf = make([]byte, 1<<20)

// predecessor is how the segment before the new one ended.
type predecessor struct {
	segment *segment
	end     int64  // of its last frame that counts
	lastCRC uint32 // its crc
	// Where in itself its index stands; or, where a crash kept it from being finished, the index to write into the new one.
	indexOffset int64
	index       *segmentIndex
}

// place is where the index of the predecessor stands, once `next` is the segment after it.
func (p *predecessor) indexLocation(next *segment) indexLocation {
	if p.index != nil {
		return indexLocation{next.path, next.sequence, p.indexOffset}
	}
	return indexLocation{p.segment.path, p.segment.sequence, p.indexOffset}
}

// copied is a frame of a torn segment that is written anew (see the package's story about failed syncs).
type unprovenFrame struct {
	header  frameHeader
	entries *messages.Entries // of a batch
	payload []byte            // of another kind
}

// ensureSpace sees to it that the active segment can take a frame of this size, and its own index after it.
func (l *Log) ensureSpace(size int64) error {
	index := l.published.activeIndex
	slack := index.frameBytes() + 16*int64(1+len(l.pending.entries.Runs)) + 8*int64(len(l.pending.entries.Data))
	if l.writeOffset+size+slack <= l.published.active.size {
		return nil
	}
	return l.rollSegment(size)
}

// roll finishes the active segment with its index and begins the next one.
func (l *Log) rollSegment(need int64) error {
	last := l.published.terms.LastIndex()
	before := predecessor{segment: l.published.active, end: l.writeOffset, lastCRC: l.lastCRC, indexOffset: l.writeOffset}
	f := l.newFrame(last+1, last, l.hard)
	l.frameBuf = appendFrame(l.frameBuf[:0], &f, kindIndex, l.published.activeIndex.encode(before.segment.sequence, l.writeOffset, l.lastCRC))
	if err := l.writeFrame(&f, l.frameBuf); err != nil {
		return err
	}
	old := l.activeFile
	l.nominalBytes = min(2*l.nominalBytes, l.options.SegmentBytes)
	if err := l.startSegment(need, &before, nil); err != nil {
		return err
	}
	l.everRolled = true
	return old.Close()
}

// begin makes a new segment the active one. All that it begins with is durable before it gets its name, and the name
// before anything is promised on it; so a segment that can be found is whole.
func (l *Log) startSegment(need int64, before *predecessor, copies []unprovenFrame) error {
	sequence := uint64(1)
	if n := len(l.segments); n > 0 {
		sequence = l.segments[n-1].sequence + 1
	}
	next := &segment{sequence: sequence, path: l.path(segmentName(sequence))}
	index := newSegmentIndex(l.published.terms.LastIndex() + 1)
	content, effects, err := l.encodePreamble(next, before, copies, index)
	if err != nil {
		return err
	}
	file, err := l.createSegmentFile(next, content, need)
	if err != nil {
		return err
	}
	l.directIO = false
	if f, ok := file.(vfs.DirectAppender); ok {
		l.directIO = f.AppendDirect(int64(len(content))) // write appends, and no reader looks beyond what it wrote
	}
	l.activeFile, l.writeOffset, l.durableEnd, l.lastFrameIdle = file, int64(len(content)), int64(len(content)), false
	l.segments = append(l.segments, next)
	l.published.mu.Lock()
	if before != nil {
		before.segment.indexAt = before.indexLocation(next)
	}
	l.published.active, l.published.activeIndex = next, index
	l.published.mu.Unlock()
	for i := range effects {
		if effects[i].base != nil {
			l.published.applyBase(&effects[i])
		} else {
			l.published.applyBatch(&effects[i], copies[i].entries)
		}
	}
	return nil
}

// opening makes what a segment begins with: its header; a frame with hard state and base; the index of a predecessor that
// could not be finished; and copies of its frames that may never have reached the disk.
func (l *Log) encodePreamble(next *segment, before *predecessor, copies []unprovenFrame, index *segmentIndex) ([]byte, []logEdit, error) {
	h := segmentHeader{sequence: next.sequence, nodeID: l.options.NodeID, storageID: l.options.StorageID}
	content := make([]byte, segmentHeaderBytes, segmentHeaderBytes+4096)
	var indexPayload []byte
	basePayload, err := l.published.base.encode()
	if err != nil {
		return nil, nil, fmt.Errorf("encode the base configuration: %w", err)
	}
	if before != nil {
		h.previousSequence, h.previousEnd, h.previousCRC = before.segment.sequence, uint64(before.end), before.lastCRC
		h.previousIndexOffset = uint64(before.indexOffset)
		if before.index != nil {
			before.indexOffset = segmentHeaderBytes + alignFrame(frameHeaderBytes+int64(len(basePayload)))
			h.flags, h.previousIndexOffset = flagHoldsPreviousIndex, uint64(before.indexOffset)
			indexPayload = before.index.encode(before.segment.sequence, before.end, before.lastCRC)
		}
	}
	// The header's sum begins the chain, and names the end of what it begins with: so sizes first, sums afterwards.
	h.preambleEnd = uint64(segmentHeaderBytes + alignFrame(frameHeaderBytes+int64(len(basePayload))))
	if indexPayload != nil {
		h.preambleEnd += uint64(alignFrame(frameHeaderBytes + int64(len(indexPayload))))
	}
	for i := range copies {
		h.preambleEnd += uint64(copies[i].header.length)
	}
	h.encode(content)
	l.lastCRC = h.crc
	stamp := func(first uint64, hard hardState) frameHeader {
		l.lastSequence++
		return frameHeader{segment: next.sequence, offset: uint64(len(content)), sequence: l.lastSequence, first: first, hard: hard, previousCRC: l.lastCRC}
	}
	f := stamp(index.last+1, l.hard)
	content = appendFrame(content, &f, kindOpen, basePayload)
	l.lastCRC = f.crc
	if indexPayload != nil {
		f = stamp(index.last+1, l.hard)
		content = appendFrame(content, &f, kindIndex, indexPayload)
		l.lastCRC = f.crc
	}
	effects := make([]logEdit, len(copies))
	for i, c := range copies {
		f = stamp(c.header.first, c.header.hard)
		if c.header.kind == kindBatch {
			content = appendBatchFrame(content, &f, c.entries)
			effects[i].setBatch(int64(f.offset), c.header.first, c.entries)
		} else {
			content = appendFrame(content, &f, c.header.kind, c.payload)
			effects[i] = logEdit{offset: int64(f.offset), first: c.header.first}
			if c.header.kind == kindBase {
				if effects[i].base, err = decodeBase(c.payload); err != nil {
					return nil, nil, err
				}
			}
		}
		l.lastCRC, l.hard = f.crc, f.hard
	}
	return content, effects, nil
}

// place puts the beginning of a segment into a spare, or into a file zeroed now, and gives it its name.
func (l *Log) createSegmentFile(next *segment, content []byte, need int64) (vfs.File, error) {
	least := align4K(int64(len(content)) + need + 4096)
	path, file, err := l.openSpare(next, least)
	if err == nil && file == nil {
		path, file, err = l.createZeroedFile(next, least)
	}
	if err != nil {
		return nil, err
	}
	if err = writeFull(file, path, content, 0); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = l.options.FS.Rename(path, next.path)
	}
	if err == nil {
		err = l.options.FS.SyncDir(l.options.Dir)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("begin %s: %w", next.path, err)
	}
	return file, nil
}

// openSpare opens a spare that is large enough; no file where there is none.
func (l *Log) openSpare(next *segment, least int64) (string, vfs.File, error) {
	for i, s := range l.spares {
		if s.size < least {
			continue
		}
		l.spares = append(l.spares[:i], l.spares[i+1:]...)
		file, err := l.options.FS.OpenReadWrite(s.path)
		if err != nil {
			return "", nil, fmt.Errorf("take the spare %s: %w", s.path, err)
		}
		next.size = s.size
		return s.path, file, nil
	}
	return "", nil, nil
}

// createZeroedFile makes a file of zeros. It is synced together with what is written into it next.
func (l *Log) createZeroedFile(next *segment, least int64) (string, vfs.File, error) {
	path := next.path + newSuffix
	file, err := l.options.FS.Create(path)
	if err != nil {
		return "", nil, fmt.Errorf("begin %s: %w", next.path, err)
	}
	next.size = max(align4K(min(l.nominalBytes, inlineSegmentBytes)), least)
	for off := int64(0); off < next.size; off += int64(len(zeroBuf)) {
		if err := writeFull(file, path, zeroBuf[:min(int64(len(zeroBuf)), next.size-off)], off); err != nil {
			file.Close()
			return "", nil, fmt.Errorf("begin %s: %w", next.path, err)
		}
	}
	return path, file, nil
}

func align4K(n int64) int64 { return (n + 4095) &^ 4095 }

// writeFull checks the length too: a full disk may take less than it was given and say nothing.
func writeFull(file vfs.File, path string, p []byte, off int64) error {
	if n, err := file.WriteAt(p, off); err != nil || n != len(p) {
		return fmt.Errorf("write %d bytes to %s at offset %d (%d written): %w", len(p), path, off, n, orShortWrite(err))
	}
	return nil
}

func orShortWrite(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}
