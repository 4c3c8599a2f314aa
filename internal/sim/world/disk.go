package world

import (
	"strings"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// disk is the disk of a member: a vfs.MemFS, and the faults that it has at present.
//
// Actors must not block, so an actor on a slow disk handles its next message later. A power cut in
// the middle of a write must stop the actor that writes: that operation and all that follow fail,
// in a run that has ended (see powerCutMidMessage).
type disk struct {
	*vfs.MemFS
	member *Member

	slowUntil    time.Duration
	StalledUntil time.Duration

	// The number of the operation that fails, counted from now; 0: none.
	failWrite, FailSync  int
	ReadFault            ReadFault
	internalRead         bool // the simulator itself reads
	dropsSyncs           bool // syncs report success and do nothing
	droppedSync          bool // a sync was dropped since the last power cut
	OperationsToPowerCut int  // the power fails at that operation, counted from now; 0: it does not
	CrashChoice          vfs.CrashChoice

	// failed: an operation failed on purpose in this run, so the node may stop for it.
	failed   bool
	failedAt time.Duration // the last time that an operation failed, or was refused for lack of space
	// readFlipped: a read returned a wrong bit in this run, so the node may refuse it.
	readFlipped bool
	// Damaged: data is damaged or lost for good. The member may refuse to start, and stays down then.
	// Within the budget this happens to a minority only.
	Damaged bool
	// lostSynced: the last power cut lost data that a sync had covered, and nothing reports it.
	lostSynced bool

	// Offsets by path. Below the newest synced write, damage differs from a write that never
	// finished.
	lastWrite, lastSyncedWrite map[string]int64
}

func newDisk(m *Member) *disk {
	d := &disk{member: m, lastWrite: map[string]int64{}, lastSyncedWrite: map[string]int64{}}
	d.Attach(vfs.NewMem())
	return d
}

// Attach begins the next run of the disk with the given contents.
func (d *disk) Attach(mem *vfs.MemFS) {
	d.MemFS, d.failed, d.readFlipped = mem, false, false
	mem.Inject(d.inject)
	mem.Observe(d.observe)
}

// HasDamage and DroppedSyncs implement checker.Disk.
func (d *disk) HasDamage() bool    { return d.Damaged }
func (d *disk) DroppedSyncs() bool { return d.dropsSyncs || d.droppedSync }

// inject decides about an operation before it happens.
func (d *disk) inject(op vfs.Op) error {
	if op.Kind.ReadOnly() {
		return d.injectRead(op)
	}
	if op.Kind == vfs.OpLock {
		return nil
	}
	if d.OperationsToPowerCut > 0 {
		if d.OperationsToPowerCut--; d.OperationsToPowerCut == 0 {
			d.member.powerCutMidMessage(d.CrashChoice)
			return vfs.ErrFrozen
		}
	}
	switch op.Kind {
	case vfs.OpWrite, vfs.OpCreate, vfs.OpRename:
		if d.failWrite > 0 {
			if d.failWrite--; d.failWrite == 0 {
				return d.failOperation(op)
			}
		}
	case vfs.OpSync, vfs.OpSyncDir:
		if d.FailSync > 0 {
			if d.FailSync--; d.FailSync == 0 {
				return d.failOperation(op)
			}
		}
		if d.dropsSyncs {
			d.droppedSync = true
			return vfs.ErrSyncIgnored
		}
	}
	return nil
}

// failOperation makes an operation fail; a write at times only in part.
func (d *disk) failOperation(op vfs.Op) error {
	w := d.member.world
	w.Counts.FailedOperations++
	d.failed, d.failedAt = true, w.now
	if !strings.Contains(op.Path, persistence.PeersFile) { // the node's next contact stops it
		d.member.expectStop()
	}
	err := error(syscall.EIO)
	if op.Kind == vfs.OpWrite && op.Length > 1 && w.Chance(0.5) {
		return &vfs.ShortWrite{Keep: 1 + int(w.Random.Int64N(int64(op.Length-1))), Err: err}
	}
	return err
}

// observe observes the end of an operation.
func (d *disk) observe(op vfs.Op) {
	d.member.world.Checker.DiskOperation(d.member, op)
	switch {
	case vfs.IsNoSpace(op.Err):
		d.failed, d.failedAt = true, d.member.world.now
		d.member.world.Counts.RefusedForSpace++
	case op.Err != nil:
	case op.Kind == vfs.OpCreate:
		delete(d.lastWrite, op.Path)
		delete(d.lastSyncedWrite, op.Path)
	case op.Kind == vfs.OpWrite:
		d.lastWrite[op.Path] = op.Offset
	case op.Kind == vfs.OpSync:
		if at, ok := d.lastWrite[op.Path]; ok {
			d.lastSyncedWrite[op.Path] = at
			delete(d.lastWrite, op.Path)
		}
	case op.Kind == vfs.OpRename:
		rename(d.lastWrite, op)
		rename(d.lastSyncedWrite, op)
	case op.Kind == vfs.OpRemove:
		delete(d.lastWrite, op.Path)
		delete(d.lastSyncedWrite, op.Path)
	}
}

func rename(offsets map[string]int64, op vfs.Op) {
	if at, ok := offsets[op.Path]; ok {
		offsets[op.To] = at
		delete(offsets, op.Path)
	}
}

// crashImage returns the disk after a power cut. choose decides about every write that was not
// synced.
func (d *disk) crashImage(choose vfs.CrashChoice) *vfs.MemFS {
	c := &countingChoice{choose: choose}
	after := d.MemFS.CrashClone(c.next)
	w := d.member.world
	w.Counts.CrashImages[c.kind()]++
	if d.droppedSync && c.lost+c.torn > 0 {
		d.lostSynced, d.Damaged = true, true
	}
	d.droppedSync = false
	w.Checker.PowerLost(d.member.id)
	return after
}

// CrashImage is what a power cut did to the data that was not synced.
type CrashImage int

const (
	NothingUnsynced CrashImage = iota // there was none
	LostAll                           // all of it is lost
	KeptAll                           // all of it was on the disk already
	Mixed                             // some writes, or names, are lost and others not
	Torn                              // of at least one write only some sectors are there

	crashImages = iota
)

var crashImageNames = [crashImages]string{"nothing-unsynced", "lost-all", "kept-all", "mixed", "torn"}

func (i CrashImage) String() string { return crashImageNames[i] }

// countingChoice counts what a CrashChoice chose.
type countingChoice struct {
	choose           vfs.CrashChoice
	lost, kept, torn int
}

func (c *countingChoice) next(n int) int {
	way := c.choose(n)
	switch way {
	case 0:
		c.lost++
	case 1:
		c.kept++
	default:
		c.torn++
	}
	return way
}

func (c *countingChoice) kind() CrashImage {
	switch {
	case c.torn > 0:
		return Torn
	case c.lost > 0 && c.kept > 0:
		return Mixed
	case c.lost > 0:
		return LostAll
	case c.kept > 0:
		return KeptAll
	}
	return NothingUnsynced
}

// flipOldBit flips a bit in old data. A later write confirms that old data was durable, so the
// damage differs from a write that never finished. (In the very last write nothing shows it,
// E7.)
func (d *disk) flipOldBit() {
	w := d.member.world
	files := d.OldFiles()
	f := files[w.Random.IntN(len(files))]
	if f.Path == d.IdentityPath() && len(files) > 1 && w.Chance(0.8) {
		f = files[w.Random.IntN(len(files)-1)] // mostly the log
	}
	if err := d.FlipBit(f.Path, w.Random.Int64N(8*f.OldBytes)); err != nil {
		w.Fail("simulated disk", "%v", err)
	}
	d.Damaged = true
}

// OldFile is a file with old data.
type OldFile struct {
	Path     string
	OldBytes int64 // bytes of old data
}

// OldFiles returns the files with old data: the segments of the log, and last the identity.
func (d *disk) OldFiles() (found []OldFile) {
	d.WithoutFaults(func() { found = d.findOld() })
	return found
}

func (d *disk) findOld() (found []OldFile) {
	names, err := d.List(LogDir)
	if err != nil {
		return nil
	}
	for _, name := range names {
		path := LogDir + "/" + name
		info, err := d.Stat(path)
		if err != nil || !IsSegment(name) {
			continue
		}
		if old := min(d.lastSyncedWrite[path], info.Size()); old > 0 {
			found = append(found, OldFile{path, old})
		}
	}
	if info, err := d.Stat(d.IdentityPath()); err == nil && info.Size() > 0 {
		found = append(found, OldFile{d.IdentityPath(), info.Size()})
	}
	return found
}

// failedRecently reports whether an operation failed a moment ago, so that the node may be about to
// stop.
func (d *disk) failedRecently() bool {
	return d.failed && d.member.world.now-d.failedAt < HeartbeatInterval
}

// IsSegment reports whether a path is that of a segment.
func IsSegment(path string) bool { return strings.HasSuffix(path, ".seg") }
