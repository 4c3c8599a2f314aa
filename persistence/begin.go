package persistence

import (
	"fmt"
	"io"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// inlineBytes is how much is zeroed while somebody waits, when the log is faster than its spares are made: the segment is
// a smaller one then.
const inlineBytes = 4 << 20

// zeros is only read.
var zeros = make([]byte, 1<<20)

// predecessor is how the segment before the new one ended.
type predecessor struct {
	segment *segment
	end     int64  // of its last frame that counts
	chain   uint32 // its crc
	// Where in itself its index stands; or, where a crash kept it from being finished, the index to write into the new one.
	indexOffset int64
	index       *segmentIndex
}

// place is where the index of the predecessor stands, once `next` is the segment after it.
func (p *predecessor) place(next *segment) indexPlace {
	if p.index != nil {
		return indexPlace{next.path, next.sequence, p.indexOffset}
	}
	return indexPlace{p.segment.path, p.segment.sequence, p.indexOffset}
}

// copied is a frame of a torn segment that is written anew (see the package's story about failed syncs).
type copied struct {
	frame   frame
	entries *messages.Entries // of a batch
	payload []byte            // of another kind
}

// makeRoom sees to it that the active segment can take a frame of this size, and its own index after it.
func (l *Log) makeRoom(size int64) error {
	index := l.catalog.activeIndex
	slack := index.frameBytes() + 16*int64(1+len(l.pending.entries.Runs)) + 8*int64(len(l.pending.entries.Data))
	if l.off+size+slack <= l.catalog.active.size {
		return nil
	}
	return l.roll(size)
}

// roll finishes the active segment with its index and begins the next one.
func (l *Log) roll(need int64) error {
	last := l.catalog.terms.Last()
	before := predecessor{segment: l.catalog.active, end: l.off, chain: l.chain, indexOffset: l.off}
	f := l.nextFrame(last+1, last, l.hard)
	l.frame = appendFrame(l.frame[:0], &f, kindIndex, l.catalog.activeIndex.encode(before.segment.sequence, l.off, l.chain))
	if err := l.write(&f, l.frame); err != nil {
		return err
	}
	old := l.file
	l.nominal = min(2*l.nominal, l.o.SegmentBytes)
	if err := l.begin(need, &before, nil); err != nil {
		return err
	}
	l.rolled = true
	return old.Close()
}

// begin makes a new segment the active one. All that it begins with is durable before it gets its name, and the name
// before anything is promised on it; so a segment that can be found is whole.
func (l *Log) begin(need int64, before *predecessor, copies []copied) error {
	sequence := uint64(1)
	if n := len(l.segments); n > 0 {
		sequence = l.segments[n-1].sequence + 1
	}
	next := &segment{sequence: sequence, path: l.path(segmentName(sequence))}
	index := newSegmentIndex(l.catalog.terms.Last() + 1)
	content, effects, err := l.opening(next, before, copies, index)
	if err != nil {
		return err
	}
	file, err := l.place(next, content, need)
	if err != nil {
		return err
	}
	l.direct = false
	if f, ok := file.(vfs.DirectAppender); ok {
		l.direct = f.AppendDirect(int64(len(content))) // write appends, and no reader looks beyond what it wrote
	}
	l.file, l.off, l.durable, l.lastIdle = file, int64(len(content)), int64(len(content)), false
	l.segments = append(l.segments, next)
	l.catalog.mu.Lock()
	if before != nil {
		before.segment.index = before.place(next)
	}
	l.catalog.active, l.catalog.activeIndex = next, index
	l.catalog.mu.Unlock()
	for i := range effects {
		if effects[i].base != nil {
			l.catalog.replaceBase(&effects[i])
		} else {
			l.catalog.publish(&effects[i], copies[i].entries)
		}
	}
	return nil
}

// opening makes what a segment begins with: its header; a frame with hard state and base; the index of a predecessor that
// could not be finished; and copies of its frames that may never have reached the disk.
func (l *Log) opening(next *segment, before *predecessor, copies []copied, index *segmentIndex) ([]byte, []effect, error) {
	h := header{sequence: next.sequence, node: l.o.Node, storage: l.o.StorageID}
	content := make([]byte, headerBytes, headerBytes+4096)
	var indexPayload []byte
	basePayload, err := l.catalog.base.encode()
	if err != nil {
		return nil, nil, fmt.Errorf("encode the base configuration: %w", err)
	}
	if before != nil {
		h.previous, h.previousEnd, h.previousChain = before.segment.sequence, uint64(before.end), before.chain
		h.previousIndex = uint64(before.indexOffset)
		if before.index != nil {
			before.indexOffset = headerBytes + align(frameHeaderBytes+int64(len(basePayload)))
			h.flags, h.previousIndex = flagIndexHere, uint64(before.indexOffset)
			indexPayload = before.index.encode(before.segment.sequence, before.end, before.chain)
		}
	}
	// The header's sum begins the chain, and names the end of what it begins with: so sizes first, sums afterwards.
	h.opened = uint64(headerBytes + align(frameHeaderBytes+int64(len(basePayload))))
	if indexPayload != nil {
		h.opened += uint64(align(frameHeaderBytes + int64(len(indexPayload))))
	}
	for i := range copies {
		h.opened += uint64(copies[i].frame.length)
	}
	h.encode(content)
	l.chain = h.crc
	stamp := func(first uint64, hard hardState) frame {
		l.sequence++
		return frame{segment: next.sequence, offset: uint64(len(content)), sequence: l.sequence, first: first, hard: hard, previous: l.chain}
	}
	f := stamp(index.last+1, l.hard)
	content = appendFrame(content, &f, kindOpen, basePayload)
	l.chain = f.crc
	if indexPayload != nil {
		f = stamp(index.last+1, l.hard)
		content = appendFrame(content, &f, kindIndex, indexPayload)
		l.chain = f.crc
	}
	effects := make([]effect, len(copies))
	for i, c := range copies {
		f = stamp(c.frame.first, c.frame.hard)
		if c.frame.kind == kindBatch {
			content = appendBatch(content, &f, c.entries)
			effects[i].of(int64(f.offset), c.frame.first, c.entries)
		} else {
			content = appendFrame(content, &f, c.frame.kind, c.payload)
			effects[i] = effect{offset: int64(f.offset), first: c.frame.first}
			if c.frame.kind == kindBase {
				if effects[i].base, err = decodeBase(c.payload); err != nil {
					return nil, nil, err
				}
			}
		}
		l.chain, l.hard = f.crc, f.hard
	}
	return content, effects, nil
}

// place puts the beginning of a segment into a spare, or into a file zeroed now, and gives it its name.
func (l *Log) place(next *segment, content []byte, need int64) (vfs.File, error) {
	least := align4K(int64(len(content)) + need + 4096)
	path, file, err := l.takeSpare(next, least)
	if err == nil && file == nil {
		path, file, err = l.makeInline(next, least)
	}
	if err != nil {
		return nil, err
	}
	if err = writeAll(file, path, content, 0); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = l.o.FS.Rename(path, next.path)
	}
	if err == nil {
		err = l.o.FS.SyncDir(l.o.Dir)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("begin %s: %w", next.path, err)
	}
	return file, nil
}

// takeSpare opens a spare that is large enough; no file where there is none.
func (l *Log) takeSpare(next *segment, least int64) (string, vfs.File, error) {
	for i, s := range l.spares {
		if s.size < least {
			continue
		}
		l.spares = append(l.spares[:i], l.spares[i+1:]...)
		file, err := l.o.FS.OpenReadWrite(s.path)
		if err != nil {
			return "", nil, fmt.Errorf("take the spare %s: %w", s.path, err)
		}
		next.size = s.size
		return s.path, file, nil
	}
	return "", nil, nil
}

// makeInline makes a file of zeros. It is synced together with what is written into it next.
func (l *Log) makeInline(next *segment, least int64) (string, vfs.File, error) {
	path := next.path + newSuffix
	file, err := l.o.FS.Create(path)
	if err != nil {
		return "", nil, fmt.Errorf("begin %s: %w", next.path, err)
	}
	next.size = max(align4K(min(l.nominal, inlineBytes)), least)
	for off := int64(0); off < next.size; off += int64(len(zeros)) {
		if err := writeAll(file, path, zeros[:min(int64(len(zeros)), next.size-off)], off); err != nil {
			file.Close()
			return "", nil, fmt.Errorf("begin %s: %w", next.path, err)
		}
	}
	return path, file, nil
}

func align4K(n int64) int64 { return (n + 4095) &^ 4095 }

// writeAll checks the length too: a full disk may take less than it was given and say nothing.
func writeAll(file vfs.File, path string, p []byte, off int64) error {
	if n, err := file.WriteAt(p, off); err != nil || n != len(p) {
		return fmt.Errorf("write %d bytes to %s at offset %d (%d written): %w", len(p), path, off, n, shortIfNil(err))
	}
	return nil
}

func shortIfNil(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}
