package vfs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// OpKind names an operation of a filesystem.
type OpKind int

const (
	OpCreate OpKind = iota
	OpOpen
	OpRead
	OpWrite
	OpSync // Sync or SyncData
	OpTruncate
	OpRename
	OpRemove
	OpMkdir
	OpSyncDir
	OpLock
	OpList
	OpStat
	OpSize
)

var opNames = [...]string{"create", "open", "read", "write", "sync", "truncate", "rename", "remove", "mkdir", "syncdir", "lock",
	"list", "stat", "size"}

func (k OpKind) String() string { return opNames[k] }

// Reads tells the operations that only look: they leave the disk as it is.
func (k OpKind) ReadOnly() bool {
	switch k {
	case OpOpen, OpRead, OpList, OpStat, OpSize:
		return true
	}
	return false
}

// Op is one operation, as a hook sees it.
type Op struct {
	Kind   OpKind
	Path   string
	To     string // of a rename
	Offset int64
	Length int
	// Writable: a file is opened for writing too.
	Writable bool
	// Err is how it ended; only for Observe.
	Err error
}

func (o Op) String() string {
	switch o.Kind {
	case OpRead, OpWrite:
		return fmt.Sprintf("%v %s [%d, %d)", o.Kind, o.Path, o.Offset, o.Offset+int64(o.Length))
	case OpRename:
		return fmt.Sprintf("%v %s to %s", o.Kind, o.Path, o.To)
	}
	return fmt.Sprintf("%v %s", o.Kind, o.Path)
}

// ErrFrozen is what every operation gets after Freeze.
var ErrFrozen = errors.New("filesystem frozen")

// ErrInjected is the failure that FailNth makes where no other is given.
var ErrInjected = errors.New("injected input/output error")

// ErrSyncIgnored, returned by an injector for a sync of a file or directory, makes it report success and do nothing: a disk that
// lies about its cache. What a later honest sync of the same file covers is safe from then on.
var ErrSyncIgnored = errors.New("sync that did nothing")

// ShortWrite, returned by an injector for a write, lets the first Keep bytes through before the write fails with Err.
type ShortWrite struct {
	Keep int
	Err  error
}

func (s *ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", s.Keep, s.Err) }
func (s *ShortWrite) Unwrap() error { return s.Err }

// FlippedRead, returned by an injector for a read, lets it go through with one bit of what it brings turned over: damage on
// the way from the disk, or in memory, which a second read does not show. What is on the disk is right.
type FlippedRead struct{ Bit int64 }

func (f *FlippedRead) Error() string { return fmt.Sprintf("read with bit %d turned over", f.Bit) }

func (f *FlippedRead) flip(p []byte) {
	if at := f.Bit / 8; at < int64(len(p)) {
		p[at] ^= 1 << (f.Bit % 8)
	}
}

func asShortWrite(err error) (*ShortWrite, bool) {
	var short *ShortWrite
	ok := errors.As(err, &short)
	return short, ok
}

// Inject has f asked before every operation but Free; an error from it fails the operation, which then changes nothing (but
// see ShortWrite, FlippedRead, and what a failed sync does). Nil ends it.
func (m *MemFS) Inject(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = f
}

// Observe has f told of every such operation after it ended. It may call Crash: that is the disk as it would be found if
// the power failed now.
func (m *MemFS) Observe(f func(Op)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.observe = f
}

// FailNth makes an injector that fails the nth operation (from 1) of a kind on a path that contains the given text.
func FailNth(kind OpKind, pathContains string, n int, err error) func(Op) error {
	if err == nil {
		err = ErrInjected
	}
	return func(op Op) error {
		if op.Kind != kind || !strings.Contains(op.Path, pathContains) {
			return nil
		}
		if n--; n != 0 {
			return nil
		}
		return err
	}
}

// SetCapacity limits the bytes of all files together; negative lifts the limit. What is there already stays.
func (m *MemFS) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Used is how many bytes all files hold together.
func (m *MemFS) UsedBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Freeze ends this life of the disk: nothing changes it any more, every operation fails with ErrFrozen.
func (m *MemFS) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = true
}

// FlipBit damages one bit of a file, on the disk as well as in what is read from now on: bit rot, which nobody is told of.
func (m *MemFS) FlipBit(path string, bit int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(path)
	if n == nil || n.dir || bit/8 >= n.content.size() {
		return notExist("flip a bit of", path)
	}
	at, mask := bit/8, byte(1)<<(bit%8)
	n.content.unshareData()
	n.content.data[at] ^= mask
	if image, ok := n.content.durableSectors[at/SectorBytes]; ok {
		image = append([]byte(nil), image...) // a Fork may have it too
		image[at%SectorBytes] ^= mask
		n.content.durableSectors[at/SectorBytes] = image
	}
	return nil
}

// do runs one operation between its hooks.
func (m *MemFS) runOp(op Op, run func() error) error {
	m.mu.Lock()
	inject, observe, frozen := m.inject, m.observe, m.frozen
	m.mu.Unlock()
	var err error
	if frozen {
		err = ErrFrozen
	} else if inject != nil {
		err = inject(op)
	}
	if err == nil {
		m.mu.Lock()
		err = run()
		m.mu.Unlock()
	}
	if errors.Is(err, ErrSyncIgnored) && (op.Kind == OpSync || op.Kind == OpSyncDir) {
		err = nil
	}
	if observe != nil {
		op.Err = err
		observe(op)
	}
	return err
}

// IsNoSpace tells whether an error means that the disk is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
