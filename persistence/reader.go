package persistence

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

const (
	maxOpenFiles     = 4
	maxCachedIndexes = 16 // of finished segments, 64 KiB each at most

	// The sizes of one read of a file, for a Read of few bytes and of many.
	smallReadBytes = 32 << 10
	largeReadBytes = 512 << 10
)

// Reader reads durable entries from the disk. It may be used on another goroutine than the Log, by
// one caller at a time. It checks the checksum of every byte that it returns.
type Reader struct {
	fs        vfs.FS
	published *publishedLog

	warnings      []string
	openFiles     []*fileWindow // most recently used last
	cachedIndexes []cachedIndex // most recently used last
	rows          []indexRow    // of the current Read
}

type cachedIndex struct {
	segment *segment
	index   *segmentIndex
}

// Reader returns a new reader of the log. The caller must close it.
func (l *Log) Reader() *Reader {
	return &Reader{fs: l.options.FS, published: &l.published}
}

// Read returns entries from an index on: the first one whatever its size, then as many as fit into
// maxBytes, up to the index `to`. It may return fewer. prevTerm is the term of the entry before.
//
// It returns ErrNotInLog if the log does not hold the first entry, a *CorruptError for damaged
// data, and a *ReadError if the disk fails.
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

// addWarning takes over the warning of a window, if there is one.
func (r *Reader) addWarning(w *fileWindow) {
	if w.rereadWarning != "" {
		r.warnings, w.rereadWarning = append(r.warnings, w.rereadWarning), ""
	}
}

// Warnings returns the warnings for the operator since the last call: reads that had to be
// repeated.
func (r *Reader) Warnings() []string {
	warnings := r.warnings
	r.warnings = nil
	return warnings
}

// locate finds the segment that holds the first entry. It sets r.rows to where the entries up to
// last are, which is `to` or the last one of the segment.
func (r *Reader) locate(from, to uint64) (s *segment, last, prevTerm uint64, err error) {
	p := r.published
	p.mu.Lock()
	found, ok := p.spans.find(from)
	if !ok || to < from {
		base, last := p.base.index, p.terms.LastIndex()
		p.mu.Unlock()
		return nil, 0, 0, fmt.Errorf("%w: entries [%d, %d]; it holds [%d, %d]", ErrNotInLog, from, to, base+1, last)
	}
	prevTerm, _ = p.terms.Term(from - 1)
	to = min(to, found.last)
	if found.segment == p.active {
		r.rows = append(r.rows[:0], p.activeIndex.rowsFor(from, to)...)
		p.mu.Unlock()
		return found.segment, to, prevTerm, nil
	}
	at := found.segment.indexAt
	p.mu.Unlock()
	x, err := r.indexOf(found.segment, at)
	if err != nil {
		return nil, 0, 0, err
	}
	r.rows = append(r.rows[:0], x.rowsFor(from, to)...)
	return found.segment, to, prevTerm, nil
}

// indexOf returns the index of a finished segment.
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

// openWindow returns a window of a file that is needed to read a segment. The file stays open for
// later reads.
func (r *Reader) openWindow(path string, s *segment) (*fileWindow, error) {
	for i, w := range r.openFiles {
		if w.path == path {
			r.openFiles = append(append(r.openFiles[:i], r.openFiles[i+1:]...), w)
			size, err := w.file.Size()
			if err != nil {
				return nil, readError(path, 0, err)
			}
			// The Log writes to the file: what was read as zeros before may be a frame now.
			w.discard()
			w.size = size
			return w, nil
		}
	}
	file, err := r.fs.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if r.published.holdsEntriesOf(s) {
			return nil, corruptError(path, 0, "the file was removed while the node runs, but not by the node")
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
		r.openFiles[0].file.Close()
		r.openFiles = append(r.openFiles[:0], r.openFiles[1:]...)
	}
	r.openFiles = append(r.openFiles, w)
	return w, nil
}

// Close closes the files.
func (r *Reader) Close() {
	for _, w := range r.openFiles {
		w.file.Close()
	}
	r.openFiles, r.cachedIndexes = nil, nil
}
