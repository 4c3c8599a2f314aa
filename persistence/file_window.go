package persistence

import (
	"errors"
	"io"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// fileWindow reads a file through a buffer that holds one byte range of it, and decodes frames.
type fileWindow struct {
	file      vfs.File
	path      string
	size      int64 // of the file
	readBytes int   // size of one read

	offset        int64 // of buf in the file
	buf           []byte
	rereadWarning string // about the last read that returned wrong bytes, then the right ones
}

// openFileWindow opens a file for reading. The caller closes w.file.
func openFileWindow(filesystem vfs.FS, path string, readBytes int) (w *fileWindow, err error) {
	file, err := filesystem.Open(path)
	if err != nil {
		return nil, readError(path, 0, err)
	}
	if w, err = newFileWindow(file, path, readBytes); err != nil {
		file.Close()
	}
	return w, err
}

func newFileWindow(file vfs.File, path string, readBytes int) (*fileWindow, error) {
	size, err := file.Size()
	if err != nil {
		return nil, readError(path, 0, err)
	}
	return &fileWindow{file: file, path: path, size: size, readBytes: readBytes}, nil
}

// bytes returns n bytes at off, valid until the next call. It returns errInvalidFrame if they lie
// beyond the end of the file.
func (w *fileWindow) bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off+n > w.size {
		return nil, invalidFrame("it ends beyond the file, which has %d bytes", w.size)
	}
	if off < w.offset || off+n > w.offset+int64(len(w.buf)) {
		if err := w.load(off, min(max(n, int64(w.readBytes)), w.size-off)); err != nil {
			return nil, err
		}
	}
	return w.buf[off-w.offset : off-w.offset+n], nil
}

func (w *fileWindow) load(off, n int64) error {
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.offset, w.buf = off, w.buf[:n]
	if got, err := w.file.ReadAt(w.buf, off); int64(got) < n {
		w.buf = w.buf[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return readError(w.path, off, err)
	}
	return nil
}

// discard empties the buffer, so that the next call reads from the file.
func (w *fileWindow) discard() { w.offset, w.buf = 0, w.buf[:0] }

// withReread calls check, and if that finds the bytes at off invalid, once more after reading them
// again. So a bit that was flipped on its way from the disk is mistaken neither for damage nor for
// a write that did not finish. A read that fails is not repeated.
func (w *fileWindow) withReread(off int64, check func() error) error {
	first := check()
	if !errors.Is(first, errInvalidFrame) && !errors.Is(first, ErrCorrupt) {
		return first
	}
	w.discard()
	err := check()
	if err == nil {
		w.rereadWarning = rereadWarning(w.path, off, first)
	}
	return err
}

// readTable reads and checks the header and table of the frame at off of a segment.
func (w *fileWindow) readTable(off int64, segment uint64) (f frameHeader, b []byte, err error) {
	err = w.withReread(off, func() (err error) {
		f, b, err = w.readTableOnce(off, segment)
		return err
	})
	return f, b, err
}

func (w *fileWindow) readTableOnce(off int64, segment uint64) (frameHeader, []byte, error) {
	b, err := w.bytes(off, frameHeaderBytes)
	if err != nil {
		return frameHeader{}, nil, err
	}
	f, err := decodeFrameHeader(b)
	if err != nil {
		return f, nil, err
	}
	if f.segment != segment || f.offset != uint64(off) {
		return f, nil, invalidFrame("it was written for offset %d of segment %016x", f.offset, f.segment)
	}
	if b, err = w.bytes(off, f.tableEnd()); err != nil {
		return f, nil, err
	}
	return f, b, f.checkTable(b)
}

// readFrame reads and checks the whole frame at off of a segment.
func (w *fileWindow) readFrame(off int64, segment uint64) (frameHeader, []byte, error) {
	f, _, err := w.readTable(off, segment)
	if err != nil {
		return f, nil, err
	}
	var b []byte
	err = w.withReread(off, func() (err error) {
		if b, err = w.bytes(off, int64(f.length)); err != nil {
			return err
		}
		return f.checkPayload(b)
	})
	return f, b, err
}

// scanBeyondEnd reads what follows the last valid frame of a segment. used is the end of the bytes
// that are not zero. claim is a later frame of this segment whose durable end lies above off, if
// there is one.
func (w *fileWindow) scanBeyondEnd(off int64, segment uint64) (used int64, claim *frameHeader, err error) {
	used = off
	for at := off; at < w.size; {
		b, err := w.bytes(at, min(int64(w.readBytes), w.size-at))
		if err != nil {
			return 0, nil, err
		}
		step := int64(len(b))
		for i := int64(0); i < step; i += frameAlignment {
			word := b[i:min(i+frameAlignment, step)]
			if !isZero(word) {
				used = at + i + int64(len(word))
			}
			// A frame's segment is its second word.
			if i < frameAlignment || len(word) < frameAlignment || le.Uint64(word) != segment {
				continue
			}
			if f, _, err := w.readTableOnce(at+i-frameAlignment, segment); err == nil && int64(f.durableEnd) > off {
				return used, &f, nil
			} else if err != nil && !errors.Is(err, errInvalidFrame) {
				return 0, nil, err
			}
			if b, err = w.bytes(at, step); err != nil { // readTableOnce may have moved the window
				return 0, nil, err
			}
		}
		if at += step; at < w.size {
			at -= frameAlignment // a frame may begin with the last word read
		}
		if step <= frameAlignment {
			break
		}
	}
	return used, nil, nil
}

func isZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}
