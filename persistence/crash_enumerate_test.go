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

// crashEnumerator runs a workload and checks every disk that a crash can leave, after each
// operation that changes the disk:
//
//   - the power fails: any part of the unsynced data (by sectors) and names is lost;
//   - the process is killed: everything can be read, and unsynced changes may be lost later;
//   - the operation fails, and the process ends (see runWithFailure).
//
// From each disk it starts the member as production does. Then come second crashes, during that
// start and its first write: the next start must find what the one before has reported.
type crashEnumerator struct {
	workload *crashWorkload
	wrapFS   func(vfs.FS) vfs.FS // wraps the disk, unless nil
	limits   crashLimits
	random   *rand.Rand
	counts   crashCounts

	buf     []byte
	seen    map[uint64]bool // disks checked, with what was expected of them
	traces  map[string]bool // operations of recoveries
	fileOps map[string]bool // renames and removals of the workload, see requiredOps
	err     error
}

// crashLimits limit the outcomes that are checked at one point. If up to three operations are
// unsynced and their outcomes multiply to at most maxProduct, all combinations are checked.
// Otherwise: each outcome of each operation with the others lost and with the others kept (of more
// than maxProduct, a random part), and some random combinations.
type crashLimits struct {
	maxProduct, randomOutcomes             int
	secondMaxProduct, secondRandomOutcomes int
	// One in so many: first crashes without a new recovery trace that second crashes follow;
	// operations that a kill follows; operations that fail; recovered members that must take a write.
	secondOneIn, killOneIn, failOneIn, writeOneIn int
}

// crashCounts counts what was checked.
type crashCounts struct {
	points   int // disk operations and acknowledgements after which a crash was tried
	states   int // outcomes of first crashes
	distinct int // different disks among them
	kills    int
	failures int // operations that failed instead
	seconds  int // outcomes of second crashes
	starts   int
	sampled  int // points of first crashes at which not all outcomes were checked
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

// modifiesDisk reports whether a crash after the operation can find another disk than before it.
func modifiesDisk(op vfs.Op) bool { return !op.Kind.ReadOnly() }

// run runs the workload once, with a crash after each operation and each acknowledgement. It
// returns the first violation.
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

// crashPoint tries a power cut, and a kill, at this moment.
func (e *crashEnumerator) crashPoint(mem *vfs.MemFS, r *workloadRunner, what any) {
	if e.err != nil || r.durableNames == nil && len(e.workload.steps) > 0 {
		return // the first start is a workload of its own
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
		e.enumerateSecondCrashes(mem.KillClone(), r.modelBefore, r.modelAfter, r.identity, func() string { return where() + ", the process is killed" })
	}
	if e.err != nil {
		mem.Freeze()
	}
}

// setError keeps the first error.
func (e *crashEnumerator) setError(where func() string, err error) bool {
	if e.err == nil {
		e.err = fmt.Errorf("workload %q, %s: %w", e.workload.name, where(), err)
	}
	return false
}

// checkFirstCrash checks a disk after the first power cut of workload r.
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
			unread = violation("%v: a start must not read this file", op)
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
	return e.enumerateSecondCrashes(again, next.modelAfter, next.modelAfter, identity, where)
}

// checkWriteAfterCrash appends to the recovered log and cuts the power: what was recovered and what
// was appended must be there.
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

// enumerateSecondCrashes starts the member on a disk, appends, and tries every crash meanwhile. The
// start may find before, after and identity.
func (e *crashEnumerator) enumerateSecondCrashes(mem *vfs.MemFS, before, after *logModel, identity *Identity, where func() string) bool {
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
		// The content of files that no start reads makes no difference (and first crashes include it).
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

// checkSecondCrash checks a disk after a second power cut. What is recovered there must survive a
// third one.
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
	// A lost step is the most likely to reappear, so it is always checked.
	if !next.lostStep && e.random.IntN(4) != 0 {
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

// verifyLog reads the whole log as Verify does: every checksum, link and index.
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

// ignoredOnStart reports whether a start removes or ignores a file and never reads it.
func ignoredOnStart(path string) bool {
	return strings.HasSuffix(path, newSuffix) || strings.HasSuffix(path, partialSpareSuffix) || filepath.Base(path) == probeFileName
}

var diskHashSeed = maphash.MakeSeed()

// isNew reports whether this disk was not checked yet with the same expectations.
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

// errNotInjected means that the workload ended before the operation that should fail.
var errNotInjected = errors.New("the workload ended first")

// runWithFailure runs the workload up to the nth operation that changes the disk. That operation
// fails, and the process ends (E5). The next start must succeed as after any crash.
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
	e.enumerateSecondCrashes(mem.KillClone(), r.modelBefore, r.modelAfter, r.identity, where)
	r.stop()
	return e.err
}
