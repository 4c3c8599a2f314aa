package persistence

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

const (
	// How many files a reader keeps open, and how many indexes of finished segments it keeps in memory (64 KiB each when full).
	maxOpenFiles     = 4
	maxCachedIndexes = 16
	// What is read at once when little is wanted, and when much is.
	smallReadBytes = 32 << 10
	largeReadBytes = 512 << 10
)

// Reader reads entries from disk. It may be used on another goroutine than the Log, one call at a time. It sees what is
// durable, as of the moment it looks; every byte it returns was checked by the sum written with it.
type Reader struct {
	fs        vfs.FS
	published *publishedLog

	warnings      []string
	openFiles     []openFile    // most recently used last
	cachedIndexes []cachedIndex // most recently used last
	rows          []indexRow
}

type openFile struct {
	path   string
	window *fileWindow
}

type cachedIndex struct {
	segment *segment
	index   *segmentIndex
}

// Reader makes one more reader of the log. Close it after use.
func (l *Log) Reader() *Reader {
	return &Reader{fs: l.options.FS, published: &l.published}
}

// Read returns entries from index `from` on: at least one, however large, and no more than fit into maxBytes or lie at or
// below `to`. It may return fewer than asked for. prevTerm is the term of from - 1. ErrNotInLog: the log does not hold `from`.
func (r *Reader) Read(from, to, maxBytes uint64) (e *messages.Entries, prevTerm uint64, err error) {
	s, to, prevTerm, err := r.locate(from, to)
	if err != nil {
		return nil, 0, err
	}
	w, err := r.openWindow(s.path, s)
	if err != nil {
		return nil, 0, err
	}
	p := entryCollector{window: w, segmentSequence: s.sequence, nextIndex: from, lastIndex: to, remainingBytes: maxBytes, out: &messages.Entries{First: from}}
	if w.readBytes = smallReadBytes; maxBytes > smallReadBytes {
		w.readBytes = largeReadBytes
	}
	for i, row := range r.rows {
		end := to
		if i+1 < len(r.rows) {
			end = min(end, r.rows[i+1].first-1)
		}
		if err = p.collect(row.offset, end); err != nil || p.full {
			break
		}
	}
	r.addWarning(w)
	if err != nil {
		return nil, 0, err
	}
	return p.out, prevTerm, nil
}

// tell takes up what a window has to say to people.
func (r *Reader) addWarning(w *fileWindow) {
	if w.rereadWarning != "" {
		r.warnings, w.rereadWarning = append(r.warnings, w.rereadWarning), ""
	}
}

// Warnings is what people should hear of the reads since the last call: what was read wrong once.
func (r *Reader) Warnings() []string {
	told := r.warnings
	r.warnings = nil
	return told
}

// locate finds the segment that holds `from`, and leaves in r.rows where to read up to `to`, or to the segment's end.
func (r *Reader) locate(from, to uint64) (*segment, uint64, uint64, error) {
	c := r.published
	c.mu.Lock()
	found, ok := c.findSpan(from)
	if !ok || to < from {
		base, last := c.base.index, c.terms.LastIndex()
		c.mu.Unlock()
		return nil, 0, 0, fmt.Errorf("%w: entries [%d, %d]; it holds [%d, %d]", ErrNotInLog, from, to, base+1, last)
	}
	prevTerm, _ := c.terms.Term(from - 1)
	to = min(to, found.last)
	if found.segment == c.active {
		r.rows = append(r.rows[:0], c.activeIndex.rowsFor(from, to)...)
		c.mu.Unlock()
		return found.segment, to, prevTerm, nil
	}
	place := found.segment.indexAt
	c.mu.Unlock()
	x, err := r.indexOf(found.segment, place)
	if err != nil {
		return nil, 0, 0, err
	}
	r.rows = append(r.rows[:0], x.rowsFor(from, to)...)
	return found.segment, to, prevTerm, nil
}

// index returns the index of a finished segment.
func (r *Reader) indexOf(s *segment, at indexLocation) (*segmentIndex, error) {
	for i, c := range r.cachedIndexes {
		if c.segment == s {
			r.cachedIndexes = append(append(r.cachedIndexes[:i], r.cachedIndexes[i+1:]...), c)
			return c.index, nil
		}
	}
	x := s.rebuiltIndex
	if x == nil {
		w, err := r.openWindow(at.path, s)
		if err != nil {
			return nil, err
		}
		x, _, _, err = readIndex(w, at, s.sequence)
		r.addWarning(w)
		if err != nil {
			return nil, corruptIfInvalid(at.path, at.offset, "read the index of "+s.path, err)
		}
	}
	if len(r.cachedIndexes) == maxCachedIndexes {
		r.cachedIndexes = append(r.cachedIndexes[:0], r.cachedIndexes[1:]...)
	}
	r.cachedIndexes = append(r.cachedIndexes, cachedIndex{s, x})
	return x, nil
}

// open returns a window into a file that is needed to read a segment. It stays open for the next reads.
func (r *Reader) openWindow(path string, s *segment) (*fileWindow, error) {
	for i, f := range r.openFiles {
		if f.path == path {
			r.openFiles = append(append(r.openFiles[:i], r.openFiles[i+1:]...), f)
			size, err := f.window.file.Size()
			if err != nil {
				return nil, readError(path, 0, err)
			}
			// The file is written to meanwhile: what was read of it before may have been zeros then.
			f.window.discard()
			f.window.size = size
			return f.window, nil
		}
	}
	file, err := r.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if r.published.holdsEntriesOf(s) {
			return nil, corruptError(path, 0, "the file is gone while the node runs, and nothing of ours has removed it")
		}
		return nil, fmt.Errorf("%w: %s was removed", ErrNotInLog, path)
	}
	if err != nil {
		return nil, readError(path, 0, err)
	}
	w, err := newFileWindow(file, path, smallReadBytes)
	if err != nil {
		file.Close()
		return nil, err
	}
	if len(r.openFiles) == maxOpenFiles {
		r.openFiles[0].window.file.Close()
		r.openFiles = append(r.openFiles[:0], r.openFiles[1:]...)
	}
	r.openFiles = append(r.openFiles, openFile{path, w})
	return w, nil
}

// Close gives up the files.
func (r *Reader) Close() {
	for _, f := range r.openFiles {
		f.window.file.Close()
	}
	r.openFiles, r.cachedIndexes = nil, nil
}

// piece collects the entries of one Read.
type entryCollector struct {
	window          *fileWindow
	segmentSequence uint64
	nextIndex       uint64 // the index wanted next
	lastIndex       uint64
	remainingBytes  uint64 // bytes that may still be taken
	out             *messages.Entries
	arena           []byte // what the entries' bytes are cut from
	table           []byte // of the frame in hand
	full            bool
}

// walk takes entries from the frames that begin at offset, up to index `end`.
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

// take takes the entries [p.next, end] of a frame, as far as they fit. b is its header and table.
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
	p.table = append(p.table[:0], b...) // the window moves when the bytes are read
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

// checked reads the bytes of some entries of a frame, and holds them against their sums.
func (p *entryCollector) readChecked(f *frameHeader, b []byte, at, size int64, skip, count uint32) (body []byte, err error) {
	err = p.window.withReread(at, func() (err error) {
		if body, err = p.readBody(at, size, p.nextIndex+uint64(count) > p.lastIndex); err != nil {
			return err
		}
		return f.checkEntries(b, body, skip, count)
	})
	return body, err
}

// body reads the bytes of entries into memory of their own, which is cut from pieces that grow with what is read.
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

// takeTermRuns adds the terms of the entries [p.next, end].
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
