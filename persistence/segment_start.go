package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// inlineSegmentBytes limits a segment that is zeroed while a batch waits, because no spare is
// ready.
const inlineSegmentBytes = 4 << 20

// zeroBuf is only read.
var zeroBuf = make([]byte, 1<<20)

// predecessor describes the end of the segment before a new one. If recovery ends it, its index
// cannot be appended to it and goes into the new segment.
type predecessor struct {
	segment     *segment
	end         int64  // of its last valid frame
	lastCRC     uint32 // of that frame
	indexOffset int64  // of its index frame, in itself or in the new segment
	index       *segmentIndex
}

// indexLocation returns where the predecessor's index is, if next is the new segment.
func (p *predecessor) indexLocation(next *segment) indexLocation {
	if p.index != nil {
		return indexLocation{next.path, next.sequence, p.indexOffset}
	}
	return indexLocation{p.segment.path, p.segment.sequence, p.indexOffset}
}

// ensureSpace makes sure that the active segment has space for a frame of so many bytes and for its
// own index after it. A failure latches the log.
func (l *Log) ensureSpace(size int64) error {
	index := l.published.activeIndex
	slack := index.frameBytes() + 16*int64(1+len(l.pending.entries.Runs)) + 8*int64(len(l.pending.entries.Data))
	if l.active.writeOffset+size+slack <= l.active.segment.size {
		return nil
	}
	if err := l.rollSegment(size); err != nil {
		return l.latch("start a segment", err)
	}
	return nil
}

// rollSegment finishes the active segment with its index and starts the next one.
func (l *Log) rollSegment(need int64) error {
	w, last := &l.active, l.published.terms.LastIndex()
	before := predecessor{segment: w.segment, end: w.writeOffset, lastCRC: w.lastCRC, indexOffset: w.writeOffset}
	f := w.newFrame(last+1, last, w.hard)
	w.frameBuf = appendFrame(w.frameBuf[:0], &f, kindIndex,
		l.published.activeIndex.encode(before.segment.sequence, before.end, before.lastCRC))
	if err := w.writeFrame(&f, w.frameBuf); err != nil {
		return err
	}
	old := w.file
	l.nominalBytes = min(2*l.nominalBytes, l.options.SegmentBytes)
	if err := l.startSegment(need, &before, nil); err != nil {
		return err
	}
	l.everRolled = true
	return old.Close()
}

// startSegment creates a segment and makes it the active one. Its preamble (header and first
// frames) is durable before the file gets its name, and the name is durable before anything in it
// is acknowledged. So the preamble of every segment that is found is complete.
func (l *Log) startSegment(need int64, before *predecessor, unproven []unprovenFrame) error {
	sequence := uint64(1)
	if n := len(l.segments); n > 0 {
		sequence = l.segments[n-1].sequence + 1
	}
	next := &segment{sequence: sequence, path: l.path(segmentName(sequence))}
	index := newSegmentIndex(l.published.terms.LastIndex() + 1)
	content, edits, err := l.encodePreamble(next, before, unproven, index)
	if err != nil {
		return err
	}
	file, err := l.createSegmentFile(next, content, need)
	if err != nil {
		return err
	}
	l.active.open(next, file, int64(len(content)))
	l.segments = append(l.segments, next)
	l.published.mu.Lock()
	if before != nil {
		before.segment.indexAt = before.indexLocation(next)
	}
	l.published.active, l.published.activeIndex = next, index
	l.published.mu.Unlock()
	for i := range edits {
		if edits[i].base != nil {
			l.published.applyBase(&edits[i])
		} else {
			l.published.applyBatch(&edits[i], unproven[i].entries)
		}
	}
	return nil
}

// encodePreamble encodes the start of a segment: its header, the open frame, the index of a
// predecessor that could not be finished, and copies of the predecessor's unproven frames. It
// returns the edits of those copies, and leaves sequence, CRC and hard state of the last frame in
// l.active.
func (l *Log) encodePreamble(next *segment, before *predecessor, unproven []unprovenFrame,
	index *segmentIndex) (content []byte, edits []logEdit, err error) {
	basePayload, err := l.published.base.encode()
	if err != nil {
		return nil, nil, fmt.Errorf("encode the base configuration: %w", err)
	}
	// The header's CRC is the first one of the chain and covers the end of the preamble, so all sizes
	// are needed before the first checksum.
	h := segmentHeader{sequence: next.sequence, nodeID: l.options.NodeID, storageID: l.options.StorageID}
	h.preambleEnd = uint64(segmentHeaderBytes + alignFrame(frameHeaderBytes+int64(len(basePayload))))
	var indexPayload []byte
	if before != nil {
		h.previousSequence, h.previousEnd, h.previousCRC = before.segment.sequence, uint64(before.end), before.lastCRC
		if before.index != nil {
			h.flags, before.indexOffset = flagHoldsPreviousIndex, int64(h.preambleEnd)
			indexPayload = before.index.encode(before.segment.sequence, before.end, before.lastCRC)
			h.preambleEnd += uint64(alignFrame(frameHeaderBytes + int64(len(indexPayload))))
		}
		h.previousIndexOffset = uint64(before.indexOffset)
	}
	for i := range unproven {
		h.preambleEnd += uint64(unproven[i].header.length)
	}
	content = make([]byte, segmentHeaderBytes, segmentHeaderBytes+4096)
	h.encode(content)
	w := &l.active
	w.lastCRC = h.crc
	newFrame := func(first uint64, hard hardState) frameHeader {
		w.lastSequence++
		return frameHeader{segment: next.sequence, offset: uint64(len(content)), sequence: w.lastSequence,
			first: first, hard: hard, previousCRC: w.lastCRC}
	}
	f := newFrame(index.last+1, w.hard)
	content = appendFrame(content, &f, kindOpen, basePayload)
	w.lastCRC = f.crc
	if indexPayload != nil {
		f = newFrame(index.last+1, w.hard)
		content = appendFrame(content, &f, kindIndex, indexPayload)
		w.lastCRC = f.crc
	}
	edits = make([]logEdit, len(unproven))
	for i := range unproven {
		u := &unproven[i]
		f = newFrame(u.header.first, u.header.hard)
		if content, err = u.appendCopy(content, &f, &edits[i]); err != nil {
			return nil, nil, err
		}
		w.lastCRC, w.hard = f.crc, f.hard
	}
	return content, edits, nil
}

// createSegmentFile writes the preamble into a spare, or into a new file of zeros, and renames it
// to the segment's name.
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
		return nil, fmt.Errorf("create %s: %w", next.path, err)
	}
	return file, nil
}

// createZeroedFile creates a file of zeros. It is synced together with the preamble.
func (l *Log) createZeroedFile(next *segment, least int64) (string, vfs.File, error) {
	path := next.path + newSuffix
	file, err := l.options.FS.Create(path)
	if err != nil {
		return "", nil, fmt.Errorf("create %s: %w", next.path, err)
	}
	next.size = max(align4K(min(l.nominalBytes, inlineSegmentBytes)), least)
	for off := int64(0); off < next.size; off += int64(len(zeroBuf)) {
		if err := writeFull(file, path, zeroBuf[:min(int64(len(zeroBuf)), next.size-off)], off); err != nil {
			file.Close()
			return "", nil, fmt.Errorf("create %s: %w", next.path, err)
		}
	}
	return path, file, nil
}
