package persistence

import (
	"errors"
	"io"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// window is a stretch of a file in memory that moves along as it is read.
type window struct {
	file vfs.File
	path string
	size int64 // the file as far as it may be looked at
	wide int   // how much is read at a time

	at  int64
	buf []byte
	// The last thing that was read wrong, and right the second time; for people.
	misread string
}

func newWindow(file vfs.File, path string, wide int) (*window, error) {
	size, err := file.Size()
	if err != nil {
		return nil, unreadable(path, 0, err)
	}
	return &window{file: file, path: path, size: size, wide: wide}, nil
}

// bytes returns n bytes at off, valid until the next call. What would lie beyond the end is errBadFrame.
func (w *window) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off+n > w.size {
		return nil, badFrame("it ends beyond the file, which has %d bytes", w.size)
	}
	if off < w.at || off+n > w.at+int64(len(w.buf)) {
		if err := w.load(off, min(max(n, int64(w.wide)), w.size-off)); err != nil {
			return nil, err
		}
	}
	return w.buf[off-w.at : off-w.at+n], nil
}

func (w *window) load(off, n int64) error {
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.at, w.buf = off, w.buf[:n]
	if got, err := w.file.ReadAt(w.buf, off); int64(got) < n {
		w.buf = w.buf[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return unreadable(w.path, off, err)
	}
	return nil
}

// forget drops what was read, so that it is read anew.
func (w *window) forget() { w.at, w.buf = 0, w.buf[:0] }

// twice has what is at off looked at, and read anew and looked at again where it is bad: a bit that turned over on its way
// from the disk must not pass for damage, nor for a write that never finished. A read that fails is told at once.
func (w *window) twice(off int64, look func() error) error {
	bad := look()
	if !errors.Is(bad, errBadFrame) && !errors.Is(bad, ErrCorrupt) {
		return bad
	}
	w.forget()
	err := look()
	if err == nil {
		w.misread = misread(w.path, off, bad)
	}
	return err
}

// table reads and checks the header and table of the frame at off, of the segment with this sequence.
func (w *window) table(off int64, segment uint64) (f frame, b []byte, err error) {
	err = w.twice(off, func() (err error) {
		f, b, err = w.tableOnce(off, segment)
		return err
	})
	return f, b, err
}

func (w *window) tableOnce(off int64, segment uint64) (frame, []byte, error) {
	b, err := w.bytes(off, frameHeaderBytes)
	if err != nil {
		return frame{}, nil, err
	}
	f, err := decodeHeader(b)
	if err != nil {
		return f, nil, err
	}
	if f.segment != segment || f.offset != uint64(off) {
		return f, nil, badFrame("it was written for offset %d of segment %016x", f.offset, f.segment)
	}
	if b, err = w.bytes(off, f.tableEnd()); err != nil {
		return f, nil, err
	}
	return f, b, f.checkTable(b)
}

// frame reads and checks the whole frame at off.
func (w *window) frame(off int64, segment uint64) (frame, []byte, error) {
	f, _, err := w.table(off, segment)
	if err != nil {
		return f, nil, err
	}
	var b []byte
	err = w.twice(off, func() (err error) {
		if b, err = w.bytes(off, int64(f.length)); err != nil {
			return err
		}
		return f.checkPayload(b)
	})
	return f, b, err
}

// rest looks at what follows the last good frame of a segment: up to where bytes lie that are not zero, and whether a
// later frame of this segment claims that everything up to beyond `off` was durable.
func (w *window) rest(off int64, segment uint64) (used int64, claim *frame, err error) {
	used = off
	for at := off; at < w.size; {
		b, err := w.bytes(at, min(int64(w.wide), w.size-at))
		if err != nil {
			return 0, nil, err
		}
		step := int64(len(b))
		for i := int64(0); i < step; i += frameAlign {
			word := b[i:min(i+frameAlign, step)]
			if !zero(word) {
				used = at + i + int64(len(word))
			}
			// The second word of a frame is its segment.
			if i < frameAlign || len(word) < frameAlign || le.Uint64(word) != segment {
				continue
			}
			if f, _, err := w.tableOnce(at+i-frameAlign, segment); err == nil && int64(f.durable) > off {
				return used, &f, nil
			} else if err != nil && !errors.Is(err, errBadFrame) {
				return 0, nil, err
			}
			if b, err = w.bytes(at, step); err != nil { // the look at the frame moved the window
				return 0, nil, err
			}
		}
		if at += step; at < w.size {
			at -= frameAlign // a frame may begin with the last word of this stretch
		}
		if step <= frameAlign {
			break
		}
	}
	return used, nil, nil
}

func zero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}
