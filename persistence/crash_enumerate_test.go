package persistence

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// enumerator looks at every disk that a crash can leave while a story is told, after each operation that changes the
// disk:
//
//   - the power fails: of all that is not synced, data by sectors and names in directories, any part is lost;
//   - the process is killed: all can be read, and what is not synced may yet be lost;
//   - the operation fails, and with it the process (see failures).
//
// From each it starts the member as production does. Then come the second crashes: during that start and the first write
// after it, with the same outcomes; what the next start finds must be what was found before, if that was spoken of.
type crashEnumerator struct {
	workload *crashWorkload
	wrapFS   func(vfs.FS) vfs.FS // what lies between the log and the disk; nil: nothing
	limits   crashLimits
	random   *rand.Rand
	counts   crashCounts

	buf     []byte
	seen    map[uint64]bool // disks with what was expected of them
	traces  map[string]bool // what recoveries did to the disk
	fileOps map[string]bool // what the story did with files, see story.does
	err     error
}

// limits bound the outcomes looked at at one point. Where up to three operations are unsynced and their cross product is
// within all, it is looked at whole. Else each outcome of each operation with the others lost and with the others kept
// (if these are more than all: a random part of them), and some at random.
type crashLimits struct {
	maxProduct, randomOutcomes             int
	secondMaxProduct, secondRandomOutcomes int
	// One in so many first crashes whose recovery does nothing new is followed by second ones; one in so many operations
	// is followed by a kill; of so many the nth fails, in a story of its own; and where nothing more comes, one in so many
	// members that started has to take a write.
	secondOneIn, killOneIn, failOneIn, writeOneIn int
}

// crashCounts is what was looked at.
type crashCounts struct {
	points   int // operations of the disk, and acknowledgements, after which a crash was tried
	states   int // outcomes of first crashes
	distinct int // different disks among them
	kills    int
	failures int // operations that failed instead
	seconds  int // outcomes of second crashes, as many as were looked at
	starts   int
	sampled  int // points of first crashes at which not all outcomes were looked at
}

func (c *crashCounts) add(d crashCounts) {
	c.points += d.points
	c.states += d.states
	c.distinct += d.distinct
	c.kills += d.kills
	c.failures += d.failures
	c.seconds += d.seconds
	c.starts += d.starts
	c.sampled += d.sampled
}

func newCrashEnumerator(s *crashWorkload, l crashLimits, seed uint64) *crashEnumerator {
	return &crashEnumerator{workload: s, limits: l, random: rand.New(rand.NewPCG(seed, 7)),
		seen: map[uint64]bool{}, traces: map[string]bool{}, fileOps: map[string]bool{}}
}

func (e *crashEnumerator) disk(m *vfs.MemFS) vfs.FS {
	if e.wrapFS == nil {
		return m
	}
	return e.wrapFS(m)
}

// changes tells the operations after which a crash finds something else than before.
func modifiesDisk(op vfs.Op) bool { return !op.Kind.ReadOnly() }

// run tells the story once, with a crash after each operation and each acknowledgement; the error is the first thing that
// is wrong.
func (e *crashEnumerator) run() error {
	mem := vfs.NewMem()
	r := newWorkloadRunner(e.workload, e.disk(mem), 1)
	r.onAcknowledge = func() { e.crashPoint(mem, r, "it was acknowledged") }
	mem.Observe(func(op vfs.Op) {
		if !modifiesDisk(op) {
			return
		}
		r.noteOp(op)
		if op.Kind == vfs.OpRename || op.Kind == vfs.OpRemove {
			e.fileOps[filepath.Ext(op.Path)+">"+filepath.Ext(op.To)] = true
		}
		e.crashPoint(mem, r, op)
	})
	err := r.runAll()
	mem.Observe(nil)
	r.stop()
	if e.err == nil && err != nil {
		e.err = fmt.Errorf("%s: %w", r.position, err)
	}
	return e.err
}

// point is a moment at which the power may fail, or the process be killed.
func (e *crashEnumerator) crashPoint(mem *vfs.MemFS, r *workloadRunner, what any) {
	if e.err != nil || r.durableNames == nil && len(e.workload.steps) > 0 {
		return // the first start is a story of its own
	}
	e.counts.points++
	where := func() string { return fmt.Sprintf("%s: crash after %v", r.position, what) }
	if !e.forEachOutcome(mem, e.limits.maxProduct, e.limits.randomOutcomes, func(disk *vfs.MemFS, how string) bool {
		e.counts.states++
		return e.checkFirstCrash(disk, r, func() string { return where() + ", the power takes " + how })
	}) {
		e.counts.sampled++
	}
	if e.random.IntN(e.limits.killOneIn) == 0 {
		e.counts.kills++
		e.enumerateSecondCrashes(mem.KillClone(), r, r.modelBefore, r.modelAfter, r.identity, func() string { return where() + ", the process is killed" })
	}
	if e.err != nil {
		mem.Freeze()
	}
}

// fail notes what is wrong; there is no second.
func (e *crashEnumerator) setError(where func() string, err error) bool {
	if e.err == nil {
		e.err = fmt.Errorf("story %q, %s: %w", e.workload.name, where(), err)
	}
	return false
}

// first is one disk after a first power cut, while r told the story.
func (e *crashEnumerator) checkFirstCrash(disk *vfs.MemFS, r *workloadRunner, where func() string) bool {
	if !e.isNew(disk, r) {
		return true
	}
	e.counts.distinct++
	if err := r.checkNames(disk); err != nil {
		return e.setError(where, err)
	}
	again := disk.KillClone()
	var trace strings.Builder
	var unread error
	disk.Observe(func(op vfs.Op) {
		fmt.Fprintln(&trace, op)
		if op.Err == nil && op.Kind == vfs.OpOpen && ignoredOnStart(op.Path) {
			unread = violation("%v: it may hold anything", op)
		}
	})
	next := newWorkloadRunner(e.workload, e.disk(disk), 2)
	next.modelBefore, next.modelAfter, next.identity = r.modelBefore, r.modelAfter, r.identity
	e.counts.starts++
	err := next.open()
	disk.Observe(nil)
	if err == nil {
		err = unread
	}
	if err != nil {
		return e.setError(where, err)
	}
	defer next.stop()
	if err := verifyLog(next); err != nil {
		return e.setError(where, err)
	}
	key := trace.String()
	if e.traces[key] && e.random.IntN(e.limits.secondOneIn) != 0 {
		return e.checkWriteAfterCrash(disk, next, where)
	}
	e.traces[key] = true
	identity := &next.dir.Identity
	if next.dir.created {
		identity = r.identity
	}
	return e.enumerateSecondCrashes(again, r, next.modelAfter, next.modelAfter, identity, where)
}

// checkWriteAfterCrash has the log take a write, and cuts the power: both what was found and what was written are there.
func (e *crashEnumerator) checkWriteAfterCrash(disk *vfs.MemFS, r *workloadRunner, where func() string) bool {
	if e.random.IntN(e.limits.writeOneIn) != 0 {
		return true
	}
	if err := r.runStep(commitStep(addCall{term: r.modelAfter.hard.term + 1, vote: 2, entryCount: 2, entrySize: 30})); err != nil {
		return e.setError(where, err)
	}
	next := newWorkloadRunner(e.workload, e.disk(disk.CrashClone(vfs.LoseUnsynced)), 3)
	next.modelBefore, next.modelAfter, next.identity = r.modelAfter, r.modelAfter, r.identity
	e.counts.starts++
	if err := next.open(); err != nil {
		return e.setError(func() string { return where() + "; recovered, written to, the power takes all" }, err)
	}
	next.stop()
	return true
}

// second starts the member on a disk, has it write, and looks at every crash meanwhile. Before, after and identity are
// what the start may find.
func (e *crashEnumerator) enumerateSecondCrashes(mem *vfs.MemFS, told *workloadRunner, before, after *logModel, identity *Identity, where func() string) bool {
	if e.err != nil {
		return false
	}
	r := newWorkloadRunner(e.workload, e.disk(mem), 2)
	r.modelBefore, r.modelAfter, r.identity, r.position = before, after, identity, "start"
	point := func(what any) {
		if e.err != nil {
			return
		}
		e.forEachOutcome(mem, e.limits.secondMaxProduct, e.limits.secondRandomOutcomes, func(disk *vfs.MemFS, how string) bool {
			e.counts.seconds++
			return e.checkSecondCrash(disk, r, func() string {
				return fmt.Sprintf("%s; %s: second crash after %v, the power takes %s", where(), r.position, what, how)
			})
		})
		if e.err != nil {
			mem.Freeze()
		}
	}
	r.onAcknowledge = func() { point("it was acknowledged") }
	mem.Observe(func(op vfs.Op) {
		// What is written to a file that no start reads makes no difference; first crashes are tried there all the same.
		if modifiesDisk(op) && !(ignoredOnStart(op.Path) && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync)) {
			r.noteOp(op)
			point(op)
		}
	})
	e.counts.starts++
	err := r.open()
	if err == nil {
		r.position = "first write"
		err = r.runStep(commitStep(addCall{term: r.modelAfter.hard.term + 1, vote: 2, entryCount: 2, entrySize: 30}))
	}
	mem.Observe(nil)
	r.stop()
	if err != nil {
		return e.setError(func() string { return where() + "; " + r.position }, err)
	}
	return e.err == nil
}

// last is one disk after a second power cut. What is found on it was spoken of, so it outlives a third.
func (e *crashEnumerator) checkSecondCrash(disk *vfs.MemFS, r *workloadRunner, where func() string) bool {
	if !e.isNew(disk, r) {
		return true
	}
	if err := r.checkNames(disk); err != nil {
		return e.setError(where, err)
	}
	next := newWorkloadRunner(e.workload, e.disk(disk), 3)
	next.modelBefore, next.modelAfter, next.identity = r.modelBefore, r.modelAfter, r.identity
	e.counts.starts++
	if err := next.open(); err != nil {
		return e.setError(where, err)
	}
	next.stop()
	if !next.lostStep && e.random.IntN(4) != 0 { // what was lost and told to be lost is the most likely to come back
		return true
	}
	third := newWorkloadRunner(e.workload, e.disk(disk.CrashClone(vfs.LoseUnsynced)), 4)
	third.modelBefore, third.modelAfter, third.identity = next.modelAfter, next.modelAfter, next.identity
	e.counts.starts++
	if err := third.open(); err != nil {
		return e.setError(func() string { return where() + "; recovered, the power takes all" }, err)
	}
	third.stop()
	return true
}

// audit reads all of the log as Verify does: every sum, link and index.
func verifyLog(r *workloadRunner) error {
	o := r.log.options
	found, err := analyzeLog(&o)
	if err == nil {
		err = found.walkFrames(func(*segment, *frameHeader, []byte) error { return nil })
	}
	if err == nil {
		err = found.verifyIndexes()
	}
	return err
}

// swept tells the files that a start removes or ignores, never reads: what is in them makes no difference.
func ignoredOnStart(path string) bool {
	return strings.HasSuffix(path, newSuffix) || strings.HasSuffix(path, partialSpareSuffix) || filepath.Base(path) == probeFileName
}

var diskHashSeed = maphash.MakeSeed()

// isNew tells whether this disk was not looked at yet with the same expectations.
func (e *crashEnumerator) isNew(disk *vfs.MemFS, r *workloadRunner) bool {
	var h maphash.Hash
	h.SetSeed(diskHashSeed)
	fmt.Fprint(&h, r.expectedText(), r.identity == nil, len(r.durableNames), len(r.addedNames), len(r.removedNames))
	e.hashDir(&h, disk, "/")
	key := h.Sum64()
	if e.seen[key] {
		return false
	}
	e.seen[key] = true
	return true
}

func (e *crashEnumerator) hashDir(h *maphash.Hash, disk *vfs.MemFS, dir string) {
	names, _ := disk.List(dir)
	for _, name := range names {
		path := filepath.Join(dir, name)
		h.WriteString(path)
		h.WriteByte(0)
		info, err := disk.Stat(path)
		switch {
		case err == nil && info.IsDir():
			e.hashDir(h, disk, path)
		case err == nil && !ignoredOnStart(path):
			e.buf = slices.Grow(e.buf[:0], int(info.Size()))[:info.Size()]
			file, _ := disk.Open(path)
			file.ReadAt(e.buf, 0)
			h.Write(e.buf)
		}
	}
}

// errNotInjected: the operation that should have failed was never done.
var errNotInjected = errors.New("the story ended first")

// failure tells the story up to the nth operation that changes the disk, which fails; then the process ends (E5). What
// the next one finds, with the system living on and losing power later, is as after any crash.
func (e *crashEnumerator) runWithFailure(n int) error {
	mem := vfs.NewMem()
	r := newWorkloadRunner(e.workload, e.disk(mem), 1)
	var failed vfs.Op
	mem.Inject(func(op vfs.Op) error {
		if !modifiesDisk(op) {
			return nil
		}
		if n--; n > 0 {
			return nil
		}
		if n == 0 {
			failed = op
			if op.Kind == vfs.OpWrite {
				return &vfs.ShortWrite{Keep: op.Length * 2 / 3, Err: vfs.ErrInjected}
			}
			return vfs.ErrInjected
		}
		return nil
	})
	mem.Observe(r.noteOp)
	err := r.runAll()
	if n > 0 {
		r.stop()
		return errNotInjected
	}
	mem.Inject(nil)
	mem.Observe(nil)
	if errors.Is(err, errViolation) {
		return fmt.Errorf("%s: %w", r.position, err)
	}
	e.counts.failures++
	where := func() string { return fmt.Sprintf("%s: %v fails, the process ends", r.position, failed) }
	e.enumerateSecondCrashes(mem.KillClone(), r, r.modelBefore, r.modelAfter, r.identity, where)
	r.stop()
	return e.err
}
