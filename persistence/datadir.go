package persistence

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Names in a data directory. See also IdentityFile.
const (
	lockFile   = "LOCK"
	LogDirName = "log"
)

// lockDir locks a data directory until the closer is closed or the process ends. It returns
// ErrLocked if this or another process holds the lock.
func lockDir(filesystem vfs.FS, dir string) (io.Closer, error) {
	lock, err := filesystem.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("data directory %s: %w: stop the other node first, or give this one a directory of its own", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	return lock, nil
}

// DataDir is a locked data directory whose identity was checked.
type DataDir struct {
	fs       vfs.FS
	dir      string
	Identity Identity
	// Peers are the data directories of the other members that this one has met.
	Peers   *PeerStorage
	starts  raft.Starts
	created bool // by this start
	lock    io.Closer
}

// LogDir returns the directory of the log. Open it with Options.MustExist: OpenDataDir has created
// the log.
func (d *DataDir) LogDir() string { return filepath.Join(d.dir, LogDirName) }

// Storage returns the directory as the member starts on it.
func (d *DataDir) Storage() raft.Storage {
	return raft.Storage{ID: d.Identity.StorageID[:], Rejoining: d.Identity.Rejoining, Starts: d.starts}
}

// Close releases the lock.
func (d *DataDir) Close() error { return d.lock.Close() }

// OpenDataDir locks a data directory and checks its identity against want. It creates a directory
// that does not exist, with the identity want. It returns a *RefusedError for one that a peer
// refused at an earlier start. It counts the start in the directory (raft.Starts): the caller draws
// want.StorageID anew each time, and its first 8 bytes are the id of the start.
//
// It creates the log before the identity. So where there is an identity there was a log: if the log
// is missing, it was lost together with acknowledged votes and entries, and the member must not go
// on.
func OpenDataDir(filesystem vfs.FS, dir string, want Identity) (*DataDir, error) {
	if err := makeDurableDir(filesystem, dir); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(filesystem, dir)
	if err != nil {
		return nil, err
	}
	d := &DataDir{fs: filesystem, dir: dir, lock: lock}
	d.Identity, err = ReadIdentity(filesystem, dir)
	switch {
	case err == nil:
		err = d.Identity.check(dir, want)
		if errors.Is(err, ErrNotEmpty) {
			err = cmp.Or(d.checkRefusal(), err) // a refused directory is not to be gone on with
		}
		if err == nil {
			// A crash may have left the file's name unsynced. It must be durable before the storage id
			// is used (E6).
			err = filesystem.SyncDir(dir)
		}
	case errors.Is(err, fs.ErrNotExist):
		d.Identity, d.created = want, true
		err = createDataDir(filesystem, d)
	default:
		err = fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err == nil {
		err = d.checkRefusal()
	}
	if err == nil {
		err = d.recordStart(binary.LittleEndian.Uint64(want.StorageID[:8]))
	}
	if err == nil {
		d.Peers, err = openPeerStorage(filesystem, dir, d.Identity, d.starts)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

func createDataDir(filesystem vfs.FS, d *DataDir) error {
	// This log only shows that there was one: the first Open after it starts another segment.
	o := Options{FS: filesystem, Dir: d.LogDir(), NodeID: d.Identity.NodeID, StorageID: d.Identity.StorageID, FirstSegmentBytes: 8 << 10}
	if err := removeUnusedLog(o); err != nil {
		return err
	}
	l, _, err := Open(o)
	if err != nil {
		return err
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	return createIdentity(filesystem, d.dir, d.Identity)
}

// removeUnusedLog removes the log of a first start that was interrupted before the identity was
// written. It refuses a log that holds anything.
func removeUnusedLog(o Options) error {
	if _, err := o.FS.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return readError(o.Dir, 0, err)
	}
	o.setDefaults()
	o.skipOwnerCheck = true
	r, err := analyzeLog(&o)
	if err != nil {
		return err
	}
	if len(r.segments) == 0 {
		return nil
	}
	if r.last != 0 || r.provenHard != (hardState{}) || len(r.unproven) > 0 {
		return corruptError(filepath.Join(filepath.Dir(o.Dir), IdentityFile), 0, "it is missing, but the log holds entries up to %d and term %d",
			r.last, r.provenHard.term)
	}
	if r.markedSegment != 0 { // durably first: a marker without its segment means a lost segment
		if err := o.FS.Remove(o.path(markerName(r.markedSegment))); err != nil {
			return err
		}
		if err := o.FS.SyncDir(o.Dir); err != nil {
			return err
		}
	}
	for i := len(r.segments) - 1; i >= 0; i-- {
		if err := o.FS.Remove(r.segments[i].path); err != nil {
			return err
		}
	}
	return o.FS.SyncDir(o.Dir)
}
