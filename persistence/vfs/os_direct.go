package vfs

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"
)

// DirectAppender is a File whose appends can bypass the page cache.
type DirectAppender interface {
	// AppendDirect announces that every following write appends, from offset end on, and that the
	// bytes there are unused: a write may zero up to 4 KiB after its end. Reads and syncs work as
	// before. It returns false and changes nothing if the filesystem does not support such writes.
	AppendDirect(end int64) bool
}

// directBlockBytes is the alignment of direct reads and writes, in the file and in memory. Devices
// require their logical sector size, which is 512 or 4096 bytes.
const directBlockBytes = 4096

// directMaxBytes is the size of the largest direct write, in whole blocks. Larger writes are faster
// through the page cache, which makes several requests that the device processes in parallel.
const directMaxBytes = 32 << 10

// directWriter appends to a file past the page cache (O_DIRECT).
//
// A direct write goes straight to the device and has ended when the call returns. The sync after it
// has no dirty pages to find, send and wait for. For a small write and its sync that saves a third
// of the time and half of the CPU (docs/benchmarks.md).
//
// The device takes whole blocks, and the log does not write whole blocks. So the writer keeps the
// last, partly filled block of the file, and writes it again together with the bytes that follow:
//
//	first append   │██████··········│                 one block, padded with zeros
//	second append  │██████▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒···········│  the same block again, and one more
//
// The page cache writes the last block again too, so a torn write does the same damage either way.
type directWriter struct {
	// file is a second descriptor, opened with O_DIRECT, so that reads still use the page cache. The
	// kernel drops from the cache what a direct write replaces before the write returns.
	file directFile
	end  int64 // offset of the next write
	// limit is the end of the file's last whole block. A write beyond it would extend the file.
	limit int64
	// buf is aligned and has directMaxBytes. It starts with the end%directBlockBytes bytes of the last
	// block; the bytes after them are undefined.
	buf []byte
}

// errNotAligned is the error of a write that does not fit the device's blocks. Nothing was written.
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

// accepts reports whether a write of this size at this offset can be direct.
func (w *directWriter) accepts(off int64, size int) bool {
	return off == w.end && off%directBlockBytes+int64(size) <= directMaxBytes && off+int64(size) <= w.limit
}

// append writes p at the end, and zeros after it to the end of its last block.
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

// noteAppended updates the last block after a write at the end, direct or not.
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

// alignedBuffer returns a buffer whose address is a multiple of directBlockBytes. The garbage
// collector does not move it.
func alignedBuffer(size int) []byte {
	b := make([]byte, size+directBlockBytes)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (directBlockBytes - 1)
	return b[skip : skip+size : skip+size]
}

// AppendDirect implements DirectAppender.
func (o *osFile) AppendDirect(end int64) bool {
	o.disableDirect()
	if !o.allowDirect {
		return false
	}
	to, err := openDirect(o.file)
	if err != nil {
		return false // the filesystem does not support O_DIRECT
	}
	if o.direct, err = newDirectWriter(to, o, end); err != nil {
		to.Close()
	}
	return err == nil
}

// disableDirect returns to the page cache.
func (o *osFile) disableDirect() {
	if o.direct != nil {
		o.direct.file.Close() // it buffers nothing, so the error does not matter
		o.direct = nil
	}
}

var _ DirectAppender = (*osFile)(nil)
var _ directFile = (*os.File)(nil)
