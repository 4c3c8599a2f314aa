package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// SectorBytes is the size of the unit that a disk writes as a whole or not at all.
const SectorBytes = 512

// fileContent is the content of a file as programs see it, and the part of it that a crash may
// lose.
//
// Invariant: data results from restoring every sector of durableSectors, cutting to durableSize,
// and applying all unsynced writes in order.
type fileContent struct {
	data []byte
	// shared means that a clone has the same bytes, so they are copied before they change.
	shared      bool
	durableSize int64
	// durableSectors holds the durable image of each sector that has unsynced changes.
	durableSectors map[int64][]byte
	unsynced       []unsyncedWrite
}

// unsyncedWrite is a write or a truncation that is not synced.
type unsyncedWrite struct {
	// Whole sectors from number first on, as they were after the write.
	first int64
	image []byte
	// The size of the file after the write.
	size int64
	// abandoned means that a sync of this write failed: no later sync writes it.
	abandoned bool
	// overwritten are the sectors of an abandoned write that a later synced write contains.
	overwritten map[int64]bool
}

func (w *unsyncedWrite) sectors() int { return len(w.image) / SectorBytes }

func (c *fileContent) size() int64 { return int64(len(c.data)) }

// shareData returns the bytes for a clone.
func (c *fileContent) shareData() []byte {
	c.shared = true
	return c.data
}

// unshareData makes sure that no clone shares the bytes.
func (c *fileContent) unshareData() {
	if c.shared {
		c.data, c.shared = append([]byte(nil), c.data...), false
	}
}

func (c *fileContent) sectorImage(s int64) []byte {
	image := make([]byte, SectorBytes)
	if at := s * SectorBytes; at < c.size() {
		copy(image, c.data[at:])
	}
	return image
}

func (c *fileContent) saveDurable(first, last int64) {
	if c.durableSectors == nil {
		c.durableSectors = map[int64][]byte{}
	}
	for s := first; s <= last && s*SectorBytes < c.durableSize; s++ { // a crash cuts the file there
		if _, ok := c.durableSectors[s]; !ok {
			c.durableSectors[s] = c.sectorImage(s)
		}
	}
}

func (c *fileContent) resize(size int64) {
	c.unshareData()
	if size <= int64(cap(c.data)) {
		grown := c.data[:size]
		clear(grown[min(size, c.size()):])
		c.data = grown
		return
	}
	grown := make([]byte, size, max(size, 2*c.size()))
	copy(grown, c.data)
	c.data = grown
}

func (c *fileContent) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c.unshareData()
	first, last := off/SectorBytes, (off+int64(len(p))-1)/SectorBytes
	c.saveDurable(first, last)
	if end := off + int64(len(p)); end > c.size() {
		c.resize(end)
	}
	copy(c.data[off:], p)
	image := make([]byte, (last-first+1)*SectorBytes)
	copy(image, c.data[first*SectorBytes:])
	c.unsynced = append(c.unsynced, unsyncedWrite{first: first, image: image, size: c.size()})
}

func (c *fileContent) truncate(size int64) {
	if size < c.size() {
		c.saveDurable(size/SectorBytes, (c.size()-1)/SectorBytes)
	}
	c.resize(size)
	c.unsynced = append(c.unsynced, unsyncedWrite{first: size / SectorBytes, size: size})
}

// settleAbandoned notes which sectors of abandoned write i are overwritten by later writes, which
// are synced now. It reports whether a crash still has a choice about the write.
func (c *fileContent) settleAbandoned(i int) bool {
	w, truncation := &c.unsynced[i], c.unsynced[i].sectors() == 0
	settled := make(map[int64]bool, len(w.overwritten))
	for s := range w.overwritten {
		settled[s] = true
	}
	for _, later := range c.unsynced[i+1:] {
		if later.abandoned {
			continue
		}
		if truncation {
			return false // the size is that of the later one
		}
		for s := w.first; s < w.first+int64(w.sectors()); s++ {
			if later.sectors() == 0 && s*SectorBytes >= later.size || s >= later.first && s < later.first+int64(later.sectors()) {
				settled[s] = true
			}
		}
	}
	w.overwritten = settled
	return truncation || len(settled) < w.sectors()
}

// sync makes everything durable except abandoned writes.
func (c *fileContent) sync() {
	var abandoned []unsyncedWrite
	stuck := map[int64][]byte{} // durable images of the sectors of abandoned writes
	for i := range c.unsynced {
		if c.unsynced[i].abandoned && c.settleAbandoned(i) {
			w := c.unsynced[i]
			abandoned = append(abandoned, w)
			for s := 0; s < w.sectors(); s++ {
				stuck[w.first+int64(s)] = make([]byte, SectorBytes)
			}
		}
	}
	for s := range stuck {
		if image, ok := c.durableSectors[s]; ok {
			stuck[s] = image
		}
	}
	for _, w := range c.unsynced {
		if w.abandoned {
			continue
		}
		c.durableSize = w.size
		for s := 0; s < w.sectors(); s++ {
			if _, ok := stuck[w.first+int64(s)]; ok {
				stuck[w.first+int64(s)] = w.image[s*SectorBytes : (s+1)*SectorBytes]
			}
		}
	}
	c.unsynced, c.durableSectors = abandoned, stuck
}

func (c *fileContent) abandon() {
	for i := range c.unsynced {
		c.unsynced[i].abandoned = true
	}
}

// memFile is an open file.
type memFile struct {
	fs       *MemFS
	node     *memNode
	writable bool
	closed   bool
}

func (f *memFile) check(op string) error {
	switch {
	case f.closed:
		return &fs.PathError{Op: op, Path: f.node.path, Err: fs.ErrClosed}
	case op != "read" && !f.writable:
		return &fs.PathError{Op: op, Path: f.node.path, Err: syscall.EBADF}
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	read := func() error {
		if err := f.check("read"); err != nil {
			return err
		}
		if off >= f.node.content.size() {
			return io.EOF
		}
		if n = copy(p, f.node.content.data[off:]); n < len(p) {
			return io.EOF
		}
		return nil
	}
	err = f.fs.runOp(Op{Kind: OpRead, Path: f.node.path, Offset: off, Length: len(p)}, read)
	var flipped *FlippedRead
	if errors.As(err, &flipped) {
		f.fs.mu.Lock()
		err = read()
		f.fs.mu.Unlock()
		flipped.flip(p[:n])
	}
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (n int, err error) {
	op := Op{Kind: OpWrite, Path: f.node.path, Offset: off, Length: len(p)}
	err = f.fs.runOp(op, func() error {
		if err := f.check("write"); err != nil {
			return err
		}
		n, err = f.fs.reserve(&f.node.content, p, off)
		f.node.content.writeAt(p[:n], off)
		if err != nil {
			return &fs.PathError{Op: "write", Path: f.node.path, Err: err}
		}
		return nil
	})
	if short, ok := asShortWrite(err); ok {
		f.fs.mu.Lock()
		n = min(short.Keep, len(p))
		f.node.content.writeAt(p[:n], off)
		f.fs.mu.Unlock()
		err = &fs.PathError{Op: "write", Path: f.node.path, Err: short.Err}
	}
	return n, err
}

// reserve returns how many of the bytes fit on the disk, and takes the space.
func (m *MemFS) reserve(c *fileContent, p []byte, off int64) (int, error) {
	grow := max(0, off+int64(len(p))-c.size())
	if m.capacity < 0 || grow == 0 || m.used+grow <= m.capacity { // what is there needs no more space
		m.used += grow
		return len(p), nil
	}
	fits := max(0, m.capacity-m.used)
	m.used += fits
	return int(min(int64(len(p)), max(0, c.size()+fits-off))), syscall.ENOSPC
}

func (f *memFile) Size() (size int64, err error) {
	err = f.fs.runOp(Op{Kind: OpSize, Path: f.node.path}, func() error {
		if f.closed {
			return &fs.PathError{Op: "size", Path: f.node.path, Err: fs.ErrClosed}
		}
		size = f.node.content.size()
		return nil
	})
	return size, err
}

func (f *memFile) Sync() error     { return f.sync() }
func (f *memFile) SyncData() error { return f.sync() }

func (f *memFile) sync() error {
	err := f.fs.runOp(Op{Kind: OpSync, Path: f.node.path}, func() error {
		if err := f.check("sync"); err != nil {
			return err
		}
		f.node.content.sync()
		return nil
	})
	if err != nil {
		f.fs.mu.Lock()
		f.node.content.abandon()
		f.fs.mu.Unlock()
	}
	return err
}

func (f *memFile) Truncate(size int64) error {
	return f.fs.runOp(Op{Kind: OpTruncate, Path: f.node.path, Offset: size}, func() error {
		if err := f.check("truncate"); err != nil {
			return err
		}
		f.fs.used += size - f.node.content.size()
		f.node.content.truncate(size)
		return nil
	})
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.node.path, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
