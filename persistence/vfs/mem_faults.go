package vfs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// OpKind is an operation of a filesystem.
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

// ReadOnly reports whether the operation leaves the disk unchanged.
func (k OpKind) ReadOnly() bool {
	switch k {
	case OpOpen, OpRead, OpList, OpStat, OpSize:
		return true
	}
	return false
}

// Op is one operation, as a hook sees it.
type Op struct {
	Kind     OpKind
	Path     string
	To       string // of a rename
	Offset   int64
	Length   int
	Writable bool  // of an open: for writing too
	Err      error // the result; only for Observe
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

// ErrFrozen is the error of every operation after Freeze.
var ErrFrozen = errors.New("filesystem frozen")

// ErrInjected is the error of FailNth if no other is given.
var ErrInjected = errors.New("injected input/output error")

// ErrSyncIgnored, returned by an injector for the sync of a file or directory, makes that sync
// report success and do nothing, as a disk does that ignores flushes. A later sync makes the
// changes durable.
var ErrSyncIgnored = errors.New("sync that did nothing")

// ShortWrite, returned by an injector for a write, writes the first Keep bytes and then fails with
// Err.
type ShortWrite struct {
	Keep int
	Err  error
}

func (s *ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", s.Keep, s.Err) }
func (s *ShortWrite) Unwrap() error { return s.Err }

// FlippedRead, returned by an injector for a read, flips one bit of the bytes that are read, as
// damage on the way from the disk does. The disk is unchanged, so a second read returns the right
// bytes.
type FlippedRead struct{ Bit int64 }

func (f *FlippedRead) Error() string { return fmt.Sprintf("read with bit %d flipped", f.Bit) }

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

// Inject calls f before every operation except FreeBytes. An error of f fails the operation, which
// then changes nothing; but see ShortWrite, FlippedRead, and MemFS about failed syncs. A nil f
// removes the hook.
func (m *MemFS) Inject(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = f
}

// Observe calls f after every such operation. f may call CrashClone for the disk after a power cut
// at that moment. A nil f removes the hook.
func (m *MemFS) Observe(f func(Op)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.observe = f
}

// FailNth returns an injector that fails the nth operation (from 1) of a kind on a path that
// contains a text.
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

// SetCapacity limits the total size of all files; a negative limit means unlimited. It removes
// nothing.
func (m *MemFS) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// UsedBytes returns the total size of all files.
func (m *MemFS) UsedBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Freeze makes every later operation fail with ErrFrozen.
func (m *MemFS) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = true
}

// FlipBit flips one bit of a file on the disk, without an error anywhere (bit rot).
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
		image = append([]byte(nil), image...) // a clone may share it
		image[at%SectorBytes] ^= mask
		n.content.durableSectors[at/SectorBytes] = image
	}
	return nil
}

// runOp runs one operation between its hooks.
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

// IsNoSpace reports whether an error means that the disk or the quota is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
