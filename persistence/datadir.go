package persistence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// What a data directory holds beside the identity.
const (
	lockFile   = "LOCK"
	LogDirName = "log"
)

// lockDir keeps every other process, and every other user in this one, out of a data directory until the closer is closed.
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

// DataDir is a data directory that is locked, and known to be the right one.
type DataDir struct {
	dir      string
	Identity Identity
	// Fresh: it was made just now.
	created bool
	lock    io.Closer
}

// LogDir is where the log is. Open it with Options.MustExist: OpenDataDir has made it.
func (d *DataDir) LogDir() string { return filepath.Join(d.dir, LogDirName) }

// Close gives up the lock.
func (d *DataDir) Close() error { return d.lock.Close() }

// OpenDataDir locks the directory and checks whose it is; a new one it makes, as want says.
//
// The log is made before the identity, so that where there is an identity there was a log: one that is missing then was
// lost, and with it votes and entries that were promised. Nobody may go on from there as if nothing had been.
func OpenDataDir(filesystem vfs.FS, dir string, want Identity) (*DataDir, error) {
	if err := makeDurableDir(filesystem, dir); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(filesystem, dir)
	if err != nil {
		return nil, err
	}
	d := &DataDir{dir: dir, lock: lock}
	d.Identity, err = ReadIdentity(filesystem, dir)
	switch {
	case err == nil:
		if err = d.Identity.check(dir, want); err == nil {
			// It may have got its name a moment before a crash that came before the sync: nobody is told of it before
			// it is there for sure (E6).
			err = filesystem.SyncDir(dir)
		}
	case errors.Is(err, fs.ErrNotExist):
		d.Identity, d.created = want, true
		err = createDataDir(filesystem, d)
	default:
		err = fmt.Errorf("data directory %s: %w", dir, err)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

func createDataDir(filesystem vfs.FS, d *DataDir) error {
	// It only marks the place: the first real Open begins a segment of its own.
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

// removeUnusedLog removes a log that was made in an attempt which ended before the identity was written. One that holds
// anything belongs to somebody, and is left alone.
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
		return corruptError(filepath.Join(filepath.Dir(o.Dir), IdentityFile), 0, "it is missing, but the log beside it holds entries up to %d and term %d",
			r.last, r.provenHard.term)
	}
	if r.markedSegment != 0 { // first, and for good: a mark without its segment is a loss
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
