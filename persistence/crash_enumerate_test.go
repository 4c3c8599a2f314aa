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
type enumerator struct {
	story  *story
	wrap   func(vfs.FS) vfs.FS // what lies between the log and the disk; nil: nothing
	limits limits
	random *rand.Rand
	counts crashCounts

	buf    []byte
	seen   map[uint64]bool // disks with what was expected of them
	traces map[string]bool // what recoveries did to the disk
	did    map[string]bool // what the story did with files, see story.does
	err    error
}

// limits bound the outcomes looked at at one point. Where up to three operations are unsynced and their cross product is
// within all, it is looked at whole. Else each outcome of each operation with the others lost and with the others kept
// (if these are more than all: a random part of them), and some at random.
type limits struct {
	all, random             int
	secondAll, secondRandom int
	// One in so many first crashes whose recovery does nothing new is followed by second ones; one in so many operations
	// is followed by a kill; of so many the nth fails, in a story of its own; and where nothing more comes, one in so many
	// members that started has to take a write.
	oneIn, kill, fail, write int
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

func newEnumerator(s *story, l limits, seed uint64) *enumerator {
	return &enumerator{story: s, limits: l, random: rand.New(rand.NewPCG(seed, 7)),
		seen: map[uint64]bool{}, traces: map[string]bool{}, did: map[string]bool{}}
}

func (e *enumerator) disk(m *vfs.Mem) vfs.FS {
	if e.wrap == nil {
		return m
	}
	return e.wrap(m)
}

// changes tells the operations after which a crash finds something else than before.
func changes(op vfs.Op) bool { return !op.Kind.Reads() }

// run tells the story once, with a crash after each operation and each acknowledgement; the error is the first thing that
// is wrong.
func (e *enumerator) run() error {
	mem := vfs.NewMem()
	r := newTeller(e.story, e.disk(mem), 1)
	r.acknowledged = func() { e.point(mem, r, "it was acknowledged") }
	mem.Observe(func(op vfs.Op) {
		if !changes(op) {
			return
		}
		r.note(op)
		if op.Kind == vfs.OpRename || op.Kind == vfs.OpRemove {
			e.did[filepath.Ext(op.Path)+">"+filepath.Ext(op.To)] = true
		}
		e.point(mem, r, op)
	})
	err := r.tell()
	mem.Observe(nil)
	r.end()
	if e.err == nil && err != nil {
		e.err = fmt.Errorf("%s: %w", r.at, err)
	}
	return e.err
}

// point is a moment at which the power may fail, or the process be killed.
func (e *enumerator) point(mem *vfs.Mem, r *teller, what any) {
	if e.err != nil || r.names == nil && len(e.story.steps) > 0 {
		return // the first start is a story of its own
	}
	e.counts.points++
	where := func() string { return fmt.Sprintf("%s: crash after %v", r.at, what) }
	if !e.outcomes(mem, e.limits.all, e.limits.random, func(disk *vfs.Mem, how string) bool {
		e.counts.states++
		return e.first(disk, r, func() string { return where() + ", the power takes " + how })
	}) {
		e.counts.sampled++
	}
	if e.random.IntN(e.limits.kill) == 0 {
		e.counts.kills++
		e.second(mem.Fork(), r, r.before, r.after, r.identity, func() string { return where() + ", the process is killed" })
	}
	if e.err != nil {
		mem.Freeze()
	}
}

// fail notes what is wrong; there is no second.
func (e *enumerator) fail(where func() string, err error) bool {
	if e.err == nil {
		e.err = fmt.Errorf("story %q, %s: %w", e.story.name, where(), err)
	}
	return false
}

// first is one disk after a first power cut, while r told the story.
func (e *enumerator) first(disk *vfs.Mem, r *teller, where func() string) bool {
	if !e.isNew(disk, r) {
		return true
	}
	e.counts.distinct++
	if err := r.misnamed(disk); err != nil {
		return e.fail(where, err)
	}
	again := disk.Fork()
	var trace strings.Builder
	var unread error
	disk.Observe(func(op vfs.Op) {
		fmt.Fprintln(&trace, op)
		if op.Err == nil && op.Kind == vfs.OpOpen && swept(op.Path) {
			unread = wrong("%v: it may hold anything", op)
		}
	})
	next := newTeller(e.story, e.disk(disk), 2)
	next.before, next.after, next.identity = r.before, r.after, r.identity
	e.counts.starts++
	err := next.open()
	disk.Observe(nil)
	if err == nil {
		err = unread
	}
	if err != nil {
		return e.fail(where, err)
	}
	defer next.end()
	if err := audit(next); err != nil {
		return e.fail(where, err)
	}
	key := trace.String()
	if e.traces[key] && e.random.IntN(e.limits.oneIn) != 0 {
		return e.goesOn(disk, next, where)
	}
	e.traces[key] = true
	identity := &next.dir.Identity
	if next.dir.Fresh {
		identity = r.identity
	}
	return e.second(again, r, next.after, next.after, identity, where)
}

// goesOn has the log take a write, and cuts the power: both what was found and what was written are there.
func (e *enumerator) goesOn(disk *vfs.Mem, r *teller, where func() string) bool {
	if e.random.IntN(e.limits.write) != 0 {
		return true
	}
	if err := r.do(commit(part{term: r.after.hard.term + 1, vote: 2, n: 2, size: 30})); err != nil {
		return e.fail(where, err)
	}
	next := newTeller(e.story, e.disk(disk.Crash(vfs.LoseAll)), 3)
	next.before, next.after, next.identity = r.after, r.after, r.identity
	e.counts.starts++
	if err := next.open(); err != nil {
		return e.fail(func() string { return where() + "; recovered, written to, the power takes all" }, err)
	}
	next.end()
	return true
}

// second starts the member on a disk, has it write, and looks at every crash meanwhile. Before, after and identity are
// what the start may find.
func (e *enumerator) second(mem *vfs.Mem, told *teller, before, after *model, identity *Identity, where func() string) bool {
	if e.err != nil {
		return false
	}
	r := newTeller(e.story, e.disk(mem), 2)
	r.before, r.after, r.identity, r.at = before, after, identity, "start"
	point := func(what any) {
		if e.err != nil {
			return
		}
		e.outcomes(mem, e.limits.secondAll, e.limits.secondRandom, func(disk *vfs.Mem, how string) bool {
			e.counts.seconds++
			return e.last(disk, r, func() string {
				return fmt.Sprintf("%s; %s: second crash after %v, the power takes %s", where(), r.at, what, how)
			})
		})
		if e.err != nil {
			mem.Freeze()
		}
	}
	r.acknowledged = func() { point("it was acknowledged") }
	mem.Observe(func(op vfs.Op) {
		// What is written to a file that no start reads makes no difference; first crashes are tried there all the same.
		if changes(op) && !(swept(op.Path) && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync)) {
			r.note(op)
			point(op)
		}
	})
	e.counts.starts++
	err := r.open()
	if err == nil {
		r.at = "first write"
		err = r.do(commit(part{term: r.after.hard.term + 1, vote: 2, n: 2, size: 30}))
	}
	mem.Observe(nil)
	r.end()
	if err != nil {
		return e.fail(func() string { return where() + "; " + r.at }, err)
	}
	return e.err == nil
}

// last is one disk after a second power cut. What is found on it was spoken of, so it outlives a third.
func (e *enumerator) last(disk *vfs.Mem, r *teller, where func() string) bool {
	if !e.isNew(disk, r) {
		return true
	}
	if err := r.misnamed(disk); err != nil {
		return e.fail(where, err)
	}
	next := newTeller(e.story, e.disk(disk), 3)
	next.before, next.after, next.identity = r.before, r.after, r.identity
	e.counts.starts++
	if err := next.open(); err != nil {
		return e.fail(where, err)
	}
	next.end()
	if !next.lost && e.random.IntN(4) != 0 { // what was lost and told to be lost is the most likely to come back
		return true
	}
	third := newTeller(e.story, e.disk(disk.Crash(vfs.LoseAll)), 4)
	third.before, third.after, third.identity = next.after, next.after, next.identity
	e.counts.starts++
	if err := third.open(); err != nil {
		return e.fail(func() string { return where() + "; recovered, the power takes all" }, err)
	}
	third.end()
	return true
}

// audit reads all of the log as Verify does: every sum, link and index.
func audit(r *teller) error {
	o := r.log.o
	found, err := recoverLog(&o)
	if err == nil {
		err = found.walk(func(*segment, *frame, []byte) error { return nil })
	}
	if err == nil {
		err = found.checkIndexes()
	}
	return err
}

// swept tells the files that a start removes or ignores, never reads: what is in them makes no difference.
func swept(path string) bool {
	return strings.HasSuffix(path, newSuffix) || strings.HasSuffix(path, makingSuffix) || filepath.Base(path) == probeName
}

var diskSeed = maphash.MakeSeed()

// isNew tells whether this disk was not looked at yet with the same expectations.
func (e *enumerator) isNew(disk *vfs.Mem, r *teller) bool {
	var h maphash.Hash
	h.SetSeed(diskSeed)
	fmt.Fprint(&h, r.expected(), r.identity == nil, len(r.names), len(r.added), len(r.gone))
	e.hashDir(&h, disk, "/")
	key := h.Sum64()
	if e.seen[key] {
		return false
	}
	e.seen[key] = true
	return true
}

func (e *enumerator) hashDir(h *maphash.Hash, disk *vfs.Mem, dir string) {
	names, _ := disk.List(dir)
	for _, name := range names {
		path := filepath.Join(dir, name)
		h.WriteString(path)
		h.WriteByte(0)
		info, err := disk.Stat(path)
		switch {
		case err == nil && info.IsDir():
			e.hashDir(h, disk, path)
		case err == nil && !swept(path):
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
func (e *enumerator) failure(n int) error {
	mem := vfs.NewMem()
	r := newTeller(e.story, e.disk(mem), 1)
	var failed vfs.Op
	mem.Inject(func(op vfs.Op) error {
		if !changes(op) {
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
	mem.Observe(r.note)
	err := r.tell()
	if n > 0 {
		r.end()
		return errNotInjected
	}
	mem.Inject(nil)
	mem.Observe(nil)
	if errors.Is(err, errWrong) {
		return fmt.Errorf("%s: %w", r.at, err)
	}
	e.counts.failures++
	where := func() string { return fmt.Sprintf("%s: %v fails, the process ends", r.at, failed) }
	e.second(mem.Fork(), r, r.before, r.after, r.identity, where)
	r.end()
	return e.err
}
