package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// SectorBytes is what a disk writes whole or not at all.
const SectorBytes = 512

// content is what a file holds, and what of it a crash may take.
//
// Invariant: reverting every sector in `before`, cutting to durableSize, and applying all of `writes` in order gives data.
type content struct {
	data []byte
	// Another filesystem, made by Crash or Fork, has the same bytes: they are copied before they change.
	shared      bool
	durableSize int64
	// before holds, for each sector changed since it was last synced, what the disk has of it for sure.
	before map[int64][]byte
	writes []write
}

// write is one unsynced write or truncation.
type write struct {
	// The sectors from `first` on, as they stood after the write: a sector goes to the disk with all that is in it.
	first int64
	image []byte
	// The size of the file after it.
	size int64
	// A sync failed with this write under way: the system counts it as clean, and no later sync will write it.
	abandoned bool
	// Sectors of an abandoned write that a later write has brought to the disk anew: nothing is left to chance there.
	settled map[int64]bool
}

func (w *write) sectors() int { return len(w.image) / SectorBytes }

func (c *content) size() int64 { return int64(len(c.data)) }

// share gives the bytes away, for reading.
func (c *content) share() []byte {
	c.shared = true
	return c.data
}

// own makes the bytes those of this file alone.
func (c *content) own() {
	if c.shared {
		c.data, c.shared = append([]byte(nil), c.data...), false
	}
}

func (c *content) sector(s int64) []byte {
	image := make([]byte, SectorBytes)
	if at := s * SectorBytes; at < c.size() {
		copy(image, c.data[at:])
	}
	return image
}

func (c *content) remember(first, last int64) {
	if c.before == nil {
		c.before = map[int64][]byte{}
	}
	for s := first; s <= last && s*SectorBytes < c.durableSize; s++ { // beyond it a crash leaves nothing anyway
		if _, ok := c.before[s]; !ok {
			c.before[s] = c.sector(s)
		}
	}
}

func (c *content) resize(size int64) {
	c.own()
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

func (c *content) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c.own()
	first, last := off/SectorBytes, (off+int64(len(p))-1)/SectorBytes
	c.remember(first, last)
	if end := off + int64(len(p)); end > c.size() {
		c.resize(end)
	}
	copy(c.data[off:], p)
	image := make([]byte, (last-first+1)*SectorBytes)
	copy(image, c.data[first*SectorBytes:])
	c.writes = append(c.writes, write{first: first, image: image, size: c.size()})
}

func (c *content) truncate(size int64) {
	if size < c.size() {
		c.remember(size/SectorBytes, (c.size()-1)/SectorBytes)
	}
	c.resize(size)
	c.writes = append(c.writes, write{first: size / SectorBytes, size: size})
}

// settle notes which sectors of the abandoned write number i the writes after it, which are synced now, have decided. It
// tells whether anything of it is left to chance.
func (c *content) settle(i int) bool {
	w, truncation := &c.writes[i], c.writes[i].sectors() == 0
	settled := make(map[int64]bool, len(w.settled))
	for s := range w.settled {
		settled[s] = true
	}
	for _, later := range c.writes[i+1:] {
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
	w.settled = settled
	return truncation || len(settled) < w.sectors()
}

// sync makes durable what no failed sync has abandoned.
func (c *content) sync() {
	var abandoned []write
	stuck := map[int64][]byte{} // what the disk has of the sectors of abandoned writes
	for i := range c.writes {
		if c.writes[i].abandoned && c.settle(i) {
			w := c.writes[i]
			abandoned = append(abandoned, w)
			for s := 0; s < w.sectors(); s++ {
				stuck[w.first+int64(s)] = make([]byte, SectorBytes)
			}
		}
	}
	for s := range stuck {
		if image, ok := c.before[s]; ok {
			stuck[s] = image
		}
	}
	for _, w := range c.writes {
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
	c.writes, c.before = abandoned, stuck
}

func (c *content) abandon() {
	for i := range c.writes {
		c.writes[i].abandoned = true
	}
}

// memFile is an open file.
type memFile struct {
	m        *Mem
	n        *node
	writable bool
	closed   bool
}

func (f *memFile) check(op string) error {
	switch {
	case f.closed:
		return &fs.PathError{Op: op, Path: f.n.path, Err: fs.ErrClosed}
	case op != "read" && !f.writable:
		return &fs.PathError{Op: op, Path: f.n.path, Err: syscall.EBADF}
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	read := func() error {
		if err := f.check("read"); err != nil {
			return err
		}
		if off >= f.n.content.size() {
			return io.EOF
		}
		if n = copy(p, f.n.content.data[off:]); n < len(p) {
			return io.EOF
		}
		return nil
	}
	err = f.m.do(Op{Kind: OpRead, Path: f.n.path, Offset: off, Length: len(p)}, read)
	var flipped *FlippedRead
	if errors.As(err, &flipped) {
		f.m.mu.Lock()
		err = read()
		f.m.mu.Unlock()
		flipped.flip(p[:n])
	}
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (n int, err error) {
	op := Op{Kind: OpWrite, Path: f.n.path, Offset: off, Length: len(p)}
	err = f.m.do(op, func() error {
		if err := f.check("write"); err != nil {
			return err
		}
		n, err = f.m.room(&f.n.content, p, off)
		f.n.content.writeAt(p[:n], off)
		if err != nil {
			return &fs.PathError{Op: "write", Path: f.n.path, Err: err}
		}
		return nil
	})
	if short, ok := asShort(err); ok {
		f.m.mu.Lock()
		n = min(short.Keep, len(p))
		f.n.content.writeAt(p[:n], off)
		f.m.mu.Unlock()
		err = &fs.PathError{Op: "write", Path: f.n.path, Err: short.Err}
	}
	return n, err
}

// room tells how many of the bytes fit on the disk, and takes the space.
func (m *Mem) room(c *content, p []byte, off int64) (int, error) {
	grow := max(0, off+int64(len(p))-c.size())
	if m.capacity < 0 || m.used+grow <= m.capacity {
		m.used += grow
		return len(p), nil
	}
	fits := max(0, m.capacity-m.used)
	m.used += fits
	return int(max(0, c.size()+fits-off)), syscall.ENOSPC
}

func (f *memFile) Size() (size int64, err error) {
	err = f.m.do(Op{Kind: OpSize, Path: f.n.path}, func() error {
		if f.closed {
			return &fs.PathError{Op: "size", Path: f.n.path, Err: fs.ErrClosed}
		}
		size = f.n.content.size()
		return nil
	})
	return size, err
}

func (f *memFile) Sync() error     { return f.sync() }
func (f *memFile) SyncData() error { return f.sync() }

func (f *memFile) sync() error {
	err := f.m.do(Op{Kind: OpSync, Path: f.n.path}, func() error {
		if err := f.check("sync"); err != nil {
			return err
		}
		f.n.content.sync()
		return nil
	})
	if err != nil {
		f.m.mu.Lock()
		f.n.content.abandon()
		f.m.mu.Unlock()
	}
	return err
}

func (f *memFile) Truncate(size int64) error {
	return f.m.do(Op{Kind: OpTruncate, Path: f.n.path, Offset: size}, func() error {
		if err := f.check("truncate"); err != nil {
			return err
		}
		f.m.used += size - f.n.content.size()
		f.n.content.truncate(size)
		return nil
	})
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.n.path, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
