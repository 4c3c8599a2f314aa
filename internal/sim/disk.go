package sim

import (
	"strings"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// disk is what a member's files are on. It keeps, beyond what vfs.Mem knows, what is wrong with it at present.
//
// Actors must not block, so a disk that takes its time shows as an actor that handles its next message late; and a power
// cut in the middle of a write must stop the actor that writes: it is a failure of the operation and of all that follow,
// in a life that has ended (see member.cutPower).
type disk struct {
	*vfs.MemFS
	member *member

	slowUntil    time.Duration
	stalledUntil time.Duration

	// What fails: after so many more operations of the kind that go well. 0: nothing is armed.
	failWrite, failSync  int
	readFault            readFault
	internalRead         bool // it is the simulator that looks
	dropsSyncs           bool // syncs do nothing
	droppedSync          bool // since the last power cut, at least one did
	operationsToPowerCut int  // the power fails at so many operations from now; 0: it does not
	crashChoice          vfs.CrashChoice
	generation           int // how many disks before this one were lost

	// failed: in this life an operation failed on purpose, so the node may stop for it.
	failed   bool
	failedAt time.Duration // when the last one did, or was refused for want of space
	// misled: in this life a read brought something else than what is on the disk, so the node may refuse it.
	readFlipped bool
	// doomed: what it held is damaged or gone for ever, or was never there: the member may refuse to start, and stays away
	// then. Within the budget that befalls a minority.
	damaged bool
	// forgot: the last power cut took what a sync had covered. Nobody is told.
	lostSynced bool

	// Where damage is told from a write that never finished: below the newest write that was synced.
	lastWrite, lastSyncedWrite map[string]int64
}

func newDisk(m *member) *disk {
	d := &disk{member: m, lastWrite: map[string]int64{}, lastSyncedWrite: map[string]int64{}}
	d.attach(vfs.NewMem())
	return d
}

// spin begins the next life of the disk with what is on it then.
func (d *disk) attach(mem *vfs.MemFS) {
	d.MemFS, d.failed, d.readFlipped = mem, false, false
	mem.Inject(d.inject)
	mem.Observe(d.observe)
}

// Damaged and DroppedSyncs implement checker.Disk.
func (d *disk) Damaged() bool      { return d.damaged }
func (d *disk) DroppedSyncs() bool { return d.dropsSyncs || d.droppedSync }

// inject decides about an operation before it happens.
func (d *disk) inject(op vfs.Op) error {
	if op.Kind.ReadOnly() {
		return d.injectRead(op)
	}
	if op.Kind == vfs.OpLock {
		return nil
	}
	if d.operationsToPowerCut > 0 {
		if d.operationsToPowerCut--; d.operationsToPowerCut == 0 {
			d.member.powerCutMidMessage(d.crashChoice)
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
		if d.failSync > 0 {
			if d.failSync--; d.failSync == 0 {
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

// fails lets an operation fail, of a write at times only the rest.
func (d *disk) failOperation(op vfs.Op) error {
	w := d.member.world
	w.counts.FailedOperations++
	d.failed, d.failedAt = true, w.now
	d.member.expectStop()
	err := error(syscall.EIO)
	if op.Kind == vfs.OpWrite && op.Length > 1 && w.chance(0.5) {
		return &vfs.ShortWrite{Keep: 1 + int(w.random.Int64N(int64(op.Length-1))), Err: err}
	}
	return err
}

// observe sees how an operation ended.
func (d *disk) observe(op vfs.Op) {
	d.member.world.checker.DiskOperation(d.member, op)
	switch {
	case vfs.IsNoSpace(op.Err):
		d.failed, d.failedAt = true, d.member.world.now
		d.member.world.counts.RefusedForSpace++
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

// crashImage is the disk after the power failed now: of what was not synced, choose decides.
func (d *disk) crashImage(choose vfs.CrashChoice) *vfs.MemFS {
	c := &countingChoice{choose: choose}
	after := d.MemFS.CrashClone(c.next)
	w := d.member.world
	w.counts.CrashImages[c.kind()]++
	if d.droppedSync && c.lost+c.torn > 0 {
		d.lostSynced, d.damaged = true, true
	}
	d.droppedSync = false
	w.checker.PowerLost(d.member.id)
	return after
}

// CrashImage is what a power cut did with what was not synced.
type CrashImage int

const (
	NothingUnsynced CrashImage = iota // there was nothing to lose
	LostAll                           // all of it is gone
	KeptAll                           // it had reached the disk by itself
	Mixed                             // some writes, or names, are there and others not
	Torn                              // and of at least one write only some sectors

	crashImages = iota
)

var crashImageNames = [crashImages]string{"nothing-unsynced", "lost-all", "kept-all", "mixed", "torn"}

func (i CrashImage) String() string { return crashImageNames[i] }

// choices counts what a Choice chose.
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

// rot flips a bit in old data: data of which a later write says that it was durable, so that damage can be told from a write
// that never finished. (Nobody can tell it in the very last write, E7.)
func (d *disk) flipOldBit() {
	w := d.member.world
	files := d.oldFiles()
	f := files[w.random.IntN(len(files))]
	if f.path == d.identityPath() && len(files) > 1 && w.chance(0.8) {
		f = files[w.random.IntN(len(files)-1)] // mostly the log
	}
	if err := d.FlipBit(f.path, w.random.Int64N(8*f.oldBytes)); err != nil {
		w.Fail("simulated disk", "%v", err)
	}
	d.damaged = true
}

type oldFile struct {
	path     string
	oldBytes int64 // so many bytes are old data
}

// oldFiles are those with old data: the segments of the log, and last the identity.
func (d *disk) oldFiles() (found []oldFile) {
	d.withoutFaults(func() { found = d.findOld() })
	return found
}

func (d *disk) findOld() (found []oldFile) {
	names, err := d.List(logDir)
	if err != nil {
		return nil
	}
	for _, name := range names {
		path := logDir + "/" + name
		info, err := d.Stat(path)
		if err != nil || !isSegment(name) {
			continue
		}
		if old := min(d.lastSyncedWrite[path], info.Size()); old > 0 {
			found = append(found, oldFile{path, old})
		}
	}
	if info, err := d.Stat(d.identityPath()); err == nil && info.Size() > 0 {
		found = append(found, oldFile{d.identityPath(), info.Size()})
	}
	return found
}

// failedRecently tells whether an operation failed a moment ago, so that the node may be about to stop.
func (d *disk) failedRecently() bool {
	return d.failed && d.member.world.now-d.failedAt < heartbeatInterval
}

func isSegment(path string) bool { return strings.HasSuffix(path, ".seg") }
