package vfs

import (
	"io"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

// MemFS is a filesystem in memory that models which changes a crash can lose.
//
// It keeps every change twice: as programs see it, and as a crash would leave it. A write stays
// unsynced, by sectors of 512 B, until a sync of its file; a creation, rename or removal until a
// sync of its directory. CrashClone returns the filesystem after a power cut: everything synced,
// and of the rest what a CrashChoice selects. It asks for each unsynced change in a fixed order, so
// the same choices give the same disk, and all disks can be enumerated.
//
//	write A, write B, sync, write C, rename x → y, power cut
//
//	                        C lost           C kept         C torn after sector 1 …
//	x not renamed           A B, x           A B C, x       A B C₁, x
//	x renamed               A B, y           A B C, y       A B C₁, y
//
// Rules of real disks that it models beyond that:
//
//   - A sector is written as a whole or not at all, with everything that it held at the write.
//   - After a failed sync the dirty data counts as clean: it can still be read, but no later sync
//     writes it to the disk (E5; Linux behaves so).
//   - A removed file stays readable through open files.
//   - A full disk writes what fits and returns ENOSPC.
//
// A MemFS is safe for concurrent use. Hooks are called without its lock held, so they may use the
// filesystem.
type MemFS struct {
	mu       sync.Mutex
	root     *memNode
	locked   map[*memNode]bool
	capacity int64 // -1: unlimited
	used     int64
	frozen   bool
	inject   func(Op) error
	observe  func(Op)
}

// memNode is a file or a directory. Names belong to the directory that holds them.
type memNode struct {
	path string // the present name; for messages and hooks

	// A directory: its entries as programs see them, the durable ones, and the changes between them.
	dir            bool
	entries        map[string]*memNode
	durableEntries map[string]*memNode
	changes        []dirChange

	// A file.
	content fileContent
}

// dirChange is one unsynced change of a directory.
type dirChange struct {
	name string
	node *memNode // of that name after the change; nil: removed
	// removedName is the old name of a rename.
	removedName string
}

// NewMem returns an empty filesystem that has only a root directory.
func NewMem() *MemFS {
	return &MemFS{root: newDir("/"), locked: map[*memNode]bool{}, capacity: -1}
}

func newDir(path string) *memNode {
	return &memNode{path: path, dir: true, entries: map[string]*memNode{}, durableEntries: map[string]*memNode{}}
}

func splitPath(path string) []string {
	path = filepath.ToSlash(filepath.Clean(path))
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) == 1 && (parts[0] == "" || parts[0] == ".") {
		return nil
	}
	return parts
}

func notExist(op, path string) error { return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist} }

// find returns the node at path, or nil.
func (m *MemFS) find(path string) *memNode {
	n := m.root
	for _, name := range splitPath(path) {
		if n == nil || !n.dir {
			return nil
		}
		n = n.entries[name]
	}
	return n
}

// parent returns the directory that holds path, and the name in it.
func (m *MemFS) parent(op, path string) (*memNode, string, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	d := m.find(dir)
	if d == nil || !d.dir {
		return nil, "", notExist(op, path)
	}
	return d, name, nil
}

func (d *memNode) set(c dirChange) {
	if c.removedName != "" {
		delete(d.entries, c.removedName)
	}
	if c.node == nil {
		delete(d.entries, c.name)
	} else {
		d.entries[c.name] = c.node
	}
	d.changes = append(d.changes, c)
}

func (m *MemFS) Create(path string) (File, error) {
	var f File
	err := m.runOp(Op{Kind: OpCreate, Path: path}, func() error {
		d, name, err := m.parent("create", path)
		if err != nil {
			return err
		}
		if d.entries[name] != nil {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		n := &memNode{path: path}
		d.set(dirChange{name: name, node: n})
		f = &memFile{fs: m, node: n, writable: true}
		return nil
	})
	return f, err
}

func (m *MemFS) Open(path string) (File, error)          { return m.open(path, false) }
func (m *MemFS) OpenReadWrite(path string) (File, error) { return m.open(path, true) }

func (m *MemFS) open(path string, writable bool) (File, error) {
	var f File
	err := m.runOp(Op{Kind: OpOpen, Path: path, Writable: writable}, func() error {
		n := m.find(path)
		if n == nil || n.dir {
			return notExist("open", path)
		}
		f = &memFile{fs: m, node: n, writable: writable}
		return nil
	})
	return f, err
}

// Rename is atomic within a directory. Between two directories it is a creation and a removal, each
// of which a crash may lose.
func (m *MemFS) Rename(from, to string) error {
	return m.runOp(Op{Kind: OpRename, Path: from, To: to}, func() error {
		source, oldName, err := m.parent("rename", from)
		if err != nil {
			return err
		}
		target, newName, err := m.parent("rename", to)
		if err != nil {
			return err
		}
		n := source.entries[oldName]
		if n == nil {
			return notExist("rename", from)
		}
		if old := target.entries[newName]; old != nil && old != n {
			m.used -= old.content.size()
		}
		n.path = to
		if source == target {
			source.set(dirChange{name: newName, node: n, removedName: oldName})
			return nil
		}
		target.set(dirChange{name: newName, node: n})
		source.set(dirChange{name: oldName})
		return nil
	})
}

func (m *MemFS) Remove(path string) error {
	return m.runOp(Op{Kind: OpRemove, Path: path}, func() error {
		d, name, err := m.parent("remove", path)
		if err != nil {
			return err
		}
		n := d.entries[name]
		if n == nil {
			return notExist("remove", path)
		}
		if n.dir && len(n.entries) > 0 {
			return &fs.PathError{Op: "remove", Path: path, Err: syscall.ENOTEMPTY}
		}
		m.used -= n.content.size()
		d.set(dirChange{name: name})
		return nil
	})
}

func (m *MemFS) MkdirAll(path string) error {
	return m.runOp(Op{Kind: OpMkdir, Path: path}, func() error {
		n, at := m.root, ""
		for _, name := range splitPath(path) {
			at += "/" + name
			next := n.entries[name]
			if next == nil {
				next = newDir(at)
				n.set(dirChange{name: name, node: next})
			}
			if !next.dir {
				return &fs.PathError{Op: "mkdir", Path: at, Err: syscall.ENOTDIR}
			}
			n = next
		}
		return nil
	})
}

func (m *MemFS) List(dir string) (names []string, err error) {
	err = m.runOp(Op{Kind: OpList, Path: dir}, func() error {
		d := m.find(dir)
		if d == nil || !d.dir {
			return notExist("list", dir)
		}
		names = sortedNames(d.entries)
		return nil
	})
	return names, err
}

func sortedNames(entries map[string]*memNode) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (m *MemFS) Stat(path string) (info fs.FileInfo, err error) {
	err = m.runOp(Op{Kind: OpStat, Path: path}, func() error {
		n := m.find(path)
		if n == nil {
			return notExist("stat", path)
		}
		info = memInfo{name: filepath.Base(path), size: n.content.size(), dir: n.dir}
		return nil
	})
	return info, err
}

func (m *MemFS) SyncDir(dir string) error {
	return m.runOp(Op{Kind: OpSyncDir, Path: dir}, func() error {
		d := m.find(dir)
		if d == nil || !d.dir {
			return notExist("sync", dir)
		}
		d.durableEntries = make(map[string]*memNode, len(d.entries))
		for name, n := range d.entries {
			d.durableEntries[name] = n
		}
		d.changes = nil
		return nil
	})
}

// Lock locks a file in this MemFS. A clone after a crash has no locks, because the process that
// held them has ended.
func (m *MemFS) Lock(path string) (io.Closer, error) {
	var held *memLock
	err := m.runOp(Op{Kind: OpLock, Path: path}, func() error {
		d, name, err := m.parent("lock", path)
		if err != nil {
			return err
		}
		n := d.entries[name]
		if n == nil {
			n = &memNode{path: path}
			d.set(dirChange{name: name, node: n})
		}
		if m.locked[n] {
			return &fs.PathError{Op: "lock", Path: path, Err: ErrLocked}
		}
		m.locked[n] = true
		held = &memLock{fs: m, node: n}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return held, nil
}

// FreeBytes returns the capacity that is left, or 1 PiB if the capacity is unlimited.
func (m *MemFS) FreeBytes(path string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(path) == nil {
		return 0, notExist("free space", path)
	}
	if m.capacity < 0 {
		return 1 << 50, nil
	}
	return uint64(max(0, m.capacity-m.used)), nil
}

type memLock struct {
	fs   *MemFS
	node *memNode
}

func (l *memLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locked, l.node)
	return nil
}

type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string           { return i.name }
func (i memInfo) Size() int64            { return i.size }
func (i memInfo) ModTime() (t time.Time) { return t }
func (i memInfo) IsDir() bool            { return i.dir }
func (i memInfo) Sys() any               { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | dirMode
	}
	return fileMode
}

// Peek returns the bytes of a file without calling a hook, or nil. They must not be changed, and
// are valid until the next operation.
func (m *MemFS) Peek(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.find(path)
	if n == nil {
		return nil
	}
	return n.content.data
}
