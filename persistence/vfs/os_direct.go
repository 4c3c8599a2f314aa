package vfs

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"
)

// DirectAppender is a File that can send what is appended to it past the page cache.
type DirectAppender interface {
	// AppendDirect says that writes will follow each other from end on, and that what the file holds there now is of no
	// worth: zeros may be written over it, up to 4 KiB beyond the end of a write. It is a hint: what was written is read
	// and made durable as without it. False where the filesystem knows no such writes: nothing changes then.
	AppendDirect(end int64) bool
}

// What is read and written past the page cache is aligned to blocks, in the file and in memory. Devices ask for their
// logical sector, which is 512 or 4096 bytes.
const directBlockBytes = 4096

// directMaxBytes is the largest write, in whole blocks, that goes past the page cache. Of a larger one the cache's write-back
// makes several requests that the device works on at once, and is faster.
const directMaxBytes = 32 << 10

// directWriter appends to a file past the page cache (O_DIRECT): a small write goes from here to the device, and has failed
// or is there when the call returns. The sync after it finds no dirty pages to look for, to send and to wait for; of a
// small write and its sync that saves a third of the time and half of the CPU (docs/benchmarks.md).
//
// The device takes whole blocks, and a log does not write such. The block in which the file's content ends so far is kept
// here, and is written anew with what follows it; the page cache does just that too, so that a torn write can hurt
// neither more nor less than through it.
type directWriter struct {
	// A descriptor of its own, for the flag belongs to it: whoever reads the file shall have the cache. The kernel drops
	// from the cache what a direct write replaces, before the write returns.
	file directFile
	end  int64 // where the next write must begin
	// The whole blocks that the file has: none is written beyond them, for it would grow.
	limit int64
	// Aligned, directMaxBytes bytes. The first end%directBlockBytes are those of the last block; what follows them is anything.
	buf []byte
}

// errNotAligned is what a write gets that does not fit the device's blocks; it was not begun.
const errNotAligned = syscall.EINVAL

type directFile interface {
	io.WriterAt
	io.Closer
	Name() string
}

func newDirectWriter(to directFile, file File, end int64) (*directWriter, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	w := &directWriter{file: to, end: end, limit: size - size%directBlockBytes, buf: alignedBuffer(directMaxBytes)}
	if held := end % directBlockBytes; held > 0 {
		if n, err := file.ReadAt(w.buf[:held], end-held); int64(n) != held {
			return nil, fmt.Errorf("read the last block of %s: %w", to.Name(), err)
		}
	}
	return w, nil
}

// takes tells whether a write of this size at this place goes past the cache.
func (w *directWriter) accepts(off int64, size int) bool {
	return off == w.end && off%directBlockBytes+int64(size) <= directMaxBytes && off+int64(size) <= w.limit
}

// append writes p at the end, zeros after it up to the end of its last block.
func (w *directWriter) append(p []byte) (int, error) {
	held := w.end % directBlockBytes
	filled := int(held) + copy(w.buf[held:], p)
	whole := roundUpToBlock(filled)
	clear(w.buf[filled:whole])
	n, err := w.file.WriteAt(w.buf[:whole], w.end-held)
	if err == nil && n != whole {
		err = fmt.Errorf("write %s: %w (%d of %d bytes)", w.file.Name(), io.ErrShortWrite, n, whole)
	}
	if err != nil {
		return min(max(0, n-int(held)), len(p)), err
	}
	w.noteAppended(p)
	return len(p), nil
}

// appended is told what the file ends with now, whichever way it was written.
func (w *directWriter) noteAppended(p []byte) {
	held := int(w.end % directBlockBytes)
	w.end += int64(len(p))
	if held+len(p) < directBlockBytes {
		copy(w.buf[held:], p)
		return
	}
	copy(w.buf, p[len(p)-int(w.end%directBlockBytes):])
}

func roundUpToBlock(n int) int { return (n + directBlockBytes - 1) &^ (directBlockBytes - 1) }

// alignedBuffer begins at a multiple of directBlockBytes and stays there: the garbage collector does not move what it holds.
func alignedBuffer(size int) []byte {
	b := make([]byte, size+directBlockBytes)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (directBlockBytes - 1)
	return b[skip : skip+size : skip+size]
}

// AppendDirect has small appends from end on sent past the page cache.
func (o *osFile) AppendDirect(end int64) bool {
	o.disableDirect()
	if !o.allowDirect {
		return false
	}
	to, err := openDirect(o.file)
	if err != nil {
		return false // a filesystem that knows no O_DIRECT: the page cache is as good, but slower
	}
	if o.direct, err = newDirectWriter(to, o, end); err != nil {
		to.Close()
	}
	return err == nil
}

// disableDirect goes back to the page cache.
func (o *osFile) disableDirect() {
	if o.direct != nil {
		o.direct.file.Close() // nothing is buffered there that a Close could lose
		o.direct = nil
	}
}

var _ DirectAppender = (*osFile)(nil)
var _ directFile = (*os.File)(nil)
