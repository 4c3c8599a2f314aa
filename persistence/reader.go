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
	readerFiles   = 4
	readerIndexes = 16
	// What is read at once when little is wanted, and when much is.
	narrowWindow = 32 << 10
	wideWindow   = 512 << 10
)

// Reader reads entries from disk. It may be used on another goroutine than the Log, one call at a time. It sees what is
// durable, as of the moment it looks; every byte it returns was checked by the sum written with it.
type Reader struct {
	fs      vfs.FS
	catalog *catalog

	warnings []string
	files    []openFile    // most recently used last
	indexes  []cachedIndex // most recently used last
	rows     []row
}

type openFile struct {
	path   string
	window *window
}

type cachedIndex struct {
	segment *segment
	index   *segmentIndex
}

// Reader makes one more reader of the log. Close it after use.
func (l *Log) Reader() *Reader {
	return &Reader{fs: l.o.FS, catalog: &l.catalog}
}

// Read returns entries from index `from` on: at least one, however large, and no more than fit into maxBytes or lie at or
// below `to`. It may return fewer than asked for. prevTerm is the term of from - 1. ErrGone: the log does not hold `from`.
func (r *Reader) Read(from, to, maxBytes uint64) (e *messages.Entries, prevTerm uint64, err error) {
	s, to, prevTerm, err := r.locate(from, to)
	if err != nil {
		return nil, 0, err
	}
	w, err := r.open(s.path, s)
	if err != nil {
		return nil, 0, err
	}
	p := piece{w: w, segment: s.sequence, next: from, to: to, room: maxBytes, out: &messages.Entries{First: from}}
	if w.wide = narrowWindow; maxBytes > narrowWindow {
		w.wide = wideWindow
	}
	for i, row := range r.rows {
		end := to
		if i+1 < len(r.rows) {
			end = min(end, r.rows[i+1].first-1)
		}
		if err = p.walk(row.offset, end); err != nil || p.full {
			break
		}
	}
	r.tell(w)
	if err != nil {
		return nil, 0, err
	}
	return p.out, prevTerm, nil
}

// tell takes up what a window has to say to people.
func (r *Reader) tell(w *window) {
	if w.misread != "" {
		r.warnings, w.misread = append(r.warnings, w.misread), ""
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
	c := r.catalog
	c.mu.Lock()
	found, ok := c.find(from)
	if !ok || to < from {
		base, last := c.base.index, c.terms.Last()
		c.mu.Unlock()
		return nil, 0, 0, fmt.Errorf("%w: entries [%d, %d]; it holds [%d, %d]", ErrGone, from, to, base+1, last)
	}
	prevTerm, _ := c.terms.Term(from - 1)
	to = min(to, found.last)
	if found.segment == c.active {
		r.rows = append(r.rows[:0], c.activeIndex.rowsFor(from, to)...)
		c.mu.Unlock()
		return found.segment, to, prevTerm, nil
	}
	place := found.segment.index
	c.mu.Unlock()
	x, err := r.index(found.segment, place)
	if err != nil {
		return nil, 0, 0, err
	}
	r.rows = append(r.rows[:0], x.rowsFor(from, to)...)
	return found.segment, to, prevTerm, nil
}

// index returns the index of a finished segment.
func (r *Reader) index(s *segment, at indexPlace) (*segmentIndex, error) {
	for i, c := range r.indexes {
		if c.segment == s {
			r.indexes = append(append(r.indexes[:i], r.indexes[i+1:]...), c)
			return c.index, nil
		}
	}
	x := s.rebuilt
	if x == nil {
		w, err := r.open(at.path, s)
		if err != nil {
			return nil, err
		}
		x, _, _, err = readIndex(w, at, s.sequence)
		r.tell(w)
		if err != nil {
			return nil, fault(at.path, at.offset, "read the index of "+s.path, err)
		}
	}
	if len(r.indexes) == readerIndexes {
		r.indexes = append(r.indexes[:0], r.indexes[1:]...)
	}
	r.indexes = append(r.indexes, cachedIndex{s, x})
	return x, nil
}

// open returns a window into a file that is needed to read a segment. It stays open for the next reads.
func (r *Reader) open(path string, s *segment) (*window, error) {
	for i, f := range r.files {
		if f.path == path {
			r.files = append(append(r.files[:i], r.files[i+1:]...), f)
			size, err := f.window.file.Size()
			if err != nil {
				return nil, unreadable(path, 0, err)
			}
			// The file is written to meanwhile: what was read of it before may have been zeros then.
			f.window.forget()
			f.window.size = size
			return f.window, nil
		}
	}
	file, err := r.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if r.catalog.needs(s) {
			return nil, corrupt(path, 0, "the file is gone while the node runs, and nothing of ours has removed it")
		}
		return nil, fmt.Errorf("%w: %s was removed", ErrGone, path)
	}
	if err != nil {
		return nil, unreadable(path, 0, err)
	}
	w, err := newWindow(file, path, narrowWindow)
	if err != nil {
		file.Close()
		return nil, err
	}
	if len(r.files) == readerFiles {
		r.files[0].window.file.Close()
		r.files = append(r.files[:0], r.files[1:]...)
	}
	r.files = append(r.files, openFile{path, w})
	return w, nil
}

// Close gives up the files.
func (r *Reader) Close() {
	for _, f := range r.files {
		f.window.file.Close()
	}
	r.files, r.indexes = nil, nil
}

// piece collects the entries of one Read.
type piece struct {
	w       *window
	segment uint64
	next    uint64 // the index wanted next
	to      uint64
	room    uint64 // bytes that may still be taken
	out     *messages.Entries
	arena   []byte // what the entries' bytes are cut from
	table   []byte // of the frame in hand
	full    bool
}

// walk takes entries from the frames that begin at offset, up to index `end`.
func (p *piece) walk(offset int64, end uint64) error {
	for p.next <= end && !p.full {
		f, b, err := p.w.table(offset, p.segment)
		if err == nil && (f.kind == kindBatch && f.count > 0 && f.first > p.next) {
			err = badFrame("it begins at entry %d, but entry %d was looked for", f.first, p.next)
		}
		if err != nil {
			return fault(p.w.path, offset, fmt.Sprintf("read entry %d", p.next), err)
		}
		if f.kind == kindBatch && f.count > 0 && f.last() >= p.next {
			if err := p.take(&f, b, min(end, f.last())); err != nil {
				return err
			}
		}
		offset = f.end()
	}
	return nil
}

// take takes the entries [p.next, end] of a frame, as far as they fit. b is its header and table.
func (p *piece) take(f *frame, b []byte, end uint64) error {
	at, size, count := f.tableEnd(), int64(0), uint32(0)
	skip := uint32(p.next - f.first)
	for i := range f.count {
		length, _ := f.entry(b, i)
		if i < skip {
			at += int64(length)
			continue
		}
		if f.first+uint64(i) > end {
			break
		}
		if len(p.out.Data)+int(count) > 0 && uint64(size)+uint64(length) > p.room {
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
	body, err := p.checked(f, b, int64(f.offset)+at, size, skip, count)
	if err != nil {
		return fault(p.w.path, int64(f.offset), fmt.Sprintf("read entry %d", p.next), err)
	}
	p.takeRuns(f, b, p.next+uint64(count)-1)
	for i := skip; i < skip+count; i++ {
		length, _ := f.entry(b, i)
		p.out.Data = append(p.out.Data, body[:length:length])
		body = body[length:]
		p.next++
	}
	p.out.Bytes += uint64(size)
	p.room -= min(p.room, uint64(size))
	return nil
}

// checked reads the bytes of some entries of a frame, and holds them against their sums.
func (p *piece) checked(f *frame, b []byte, at, size int64, skip, count uint32) (body []byte, err error) {
	err = p.w.twice(at, func() (err error) {
		if body, err = p.body(at, size, p.next+uint64(count) > p.to); err != nil {
			return err
		}
		return f.checkEntries(b, body, skip, count)
	})
	return body, err
}

// body reads the bytes of entries into memory of their own, which is cut from pieces that grow with what is read.
func (p *piece) body(at, size int64, last bool) ([]byte, error) {
	if at+size > p.w.size {
		return nil, badFrame("it ends beyond the file, which has %d bytes", p.w.size)
	}
	if int64(cap(p.arena)-len(p.arena)) < size {
		ahead := min(int64(p.room), wideWindow, int64(max(4<<10, 2*cap(p.arena))))
		if last {
			ahead = 0
		}
		p.arena = make([]byte, 0, max(size, ahead))
	}
	start := len(p.arena)
	p.arena = p.arena[:start+int(size)]
	body := p.arena[start:]
	if size <= int64(p.w.wide) {
		b, err := p.w.bytes(at, size)
		copy(body, b)
		return body, err
	}
	if n, err := p.w.file.ReadAt(body, at); int64(n) < size {
		return nil, unreadable(p.w.path, at, shortIfNil(err))
	}
	return body, nil
}

// takeRuns adds the terms of the entries [p.next, end].
func (p *piece) takeRuns(f *frame, b []byte, end uint64) {
	for i := range f.runs {
		first, term := f.run(b, i)
		if first > end {
			return
		}
		if i+1 < f.runs {
			if following, _ := f.run(b, i+1); following <= p.next {
				continue
			}
		}
		if n := len(p.out.Runs); n == 0 || p.out.Runs[n-1].Term != term {
			p.out.Runs = append(p.out.Runs, &messages.TermRun{FirstIndex: max(first, p.next), Term: term})
		}
	}
}
