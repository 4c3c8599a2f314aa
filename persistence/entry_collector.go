package persistence

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// entryCollector collects the entries of one Read.
type entryCollector struct {
	window          *fileWindow
	segmentSequence uint64
	nextIndex       uint64 // of the next entry
	lastIndex       uint64
	remainingBytes  uint64
	out             *messages.Entries
	arena           []byte // memory of the entries' bytes
	table           []byte // of the current frame
	full            bool
}

// collect takes entries up to index end from the frames that begin at an offset.
func (p *entryCollector) collect(offset int64, end uint64) error {
	for p.nextIndex <= end && !p.full {
		f, b, err := p.window.readTable(offset, p.segmentSequence)
		if err == nil && (f.kind == kindBatch && f.entryCount > 0 && f.first > p.nextIndex) {
			err = invalidFrame("it begins at entry %d, but entry %d was looked for", f.first, p.nextIndex)
		}
		if err != nil {
			return corruptIfInvalid(p.window.path, offset, fmt.Sprintf("read entry %d", p.nextIndex), err)
		}
		if f.kind == kindBatch && f.entryCount > 0 && f.lastIndex() >= p.nextIndex {
			if err := p.takeEntries(&f, b, min(end, f.lastIndex())); err != nil {
				return err
			}
		}
		offset = f.endOffset()
	}
	return nil
}

// takeEntries takes the entries nextIndex … end of a frame, as far as they fit. b is the frame's
// header and table.
func (p *entryCollector) takeEntries(f *frameHeader, b []byte, end uint64) error {
	at, size, count := f.tableEnd(), int64(0), uint32(0)
	skip := uint32(p.nextIndex - f.first)
	for i := range f.entryCount {
		length, _ := f.entryAt(b, i)
		if i < skip {
			at += int64(length)
			continue
		}
		if f.first+uint64(i) > end {
			break
		}
		if len(p.out.Data)+int(count) > 0 && uint64(size)+uint64(length) > p.remainingBytes {
			p.full = true
			break
		}
		size += int64(length)
		count++
	}
	if count == 0 {
		return nil
	}
	p.table = append(p.table[:0], b...) // b is not valid after the next read
	b = p.table
	body, err := p.readChecked(f, b, int64(f.offset)+at, size, skip, count)
	if err != nil {
		return corruptIfInvalid(p.window.path, int64(f.offset), fmt.Sprintf("read entry %d", p.nextIndex), err)
	}
	p.takeTermRuns(f, b, p.nextIndex+uint64(count)-1)
	for i := skip; i < skip+count; i++ {
		length, _ := f.entryAt(b, i)
		p.out.Data = append(p.out.Data, body[:length:length])
		body = body[length:]
		p.nextIndex++
	}
	p.out.Bytes += uint64(size)
	p.remainingBytes -= min(p.remainingBytes, uint64(size))
	return nil
}

// readChecked reads the bytes of some entries of a frame and checks their checksums.
func (p *entryCollector) readChecked(f *frameHeader, b []byte, at, size int64, skip, count uint32) (body []byte, err error) {
	err = p.window.withReread(at, func() (err error) {
		if body, err = p.readBody(at, size, p.nextIndex+uint64(count) > p.lastIndex); err != nil {
			return err
		}
		return f.checkEntries(b, body, skip, count)
	})
	return body, err
}

// readBody reads the bytes of entries into new memory. The memory is cut from blocks whose size
// grows with what is read.
func (p *entryCollector) readBody(at, size int64, last bool) ([]byte, error) {
	if at+size > p.window.size {
		return nil, invalidFrame("it ends beyond the file, which has %d bytes", p.window.size)
	}
	if int64(cap(p.arena)-len(p.arena)) < size {
		ahead := min(int64(p.remainingBytes), largeReadBytes, int64(max(4<<10, 2*cap(p.arena))))
		if last {
			ahead = 0
		}
		p.arena = make([]byte, 0, max(size, ahead))
	}
	start := len(p.arena)
	p.arena = p.arena[:start+int(size)]
	body := p.arena[start:]
	if size <= int64(p.window.readBytes) {
		b, err := p.window.bytes(at, size)
		copy(body, b)
		return body, err
	}
	if n, err := p.window.file.ReadAt(body, at); int64(n) < size {
		return nil, readError(p.window.path, at, orShortWrite(err))
	}
	return body, nil
}

// takeTermRuns adds the terms of the entries nextIndex … end.
func (p *entryCollector) takeTermRuns(f *frameHeader, b []byte, end uint64) {
	for i := range f.runCount {
		first, term := f.termRunAt(b, i)
		if first > end {
			return
		}
		if i+1 < f.runCount {
			if following, _ := f.termRunAt(b, i+1); following <= p.nextIndex {
				continue
			}
		}
		if n := len(p.out.Runs); n == 0 || p.out.Runs[n-1].Term != term {
			p.out.Runs = append(p.out.Runs, &messages.TermRun{FirstIndex: max(first, p.nextIndex), Term: term})
		}
	}
}
