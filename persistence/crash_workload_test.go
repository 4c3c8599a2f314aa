package persistence

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// crashWorkload is a sequence of calls that one member makes on its data directory, from the first
// start on. The crash tests run it many times and interrupt it everywhere.
type crashWorkload struct {
	name                            string
	firstSegmentBytes, segmentBytes int64
	steps                           []workloadStep
	// requiredOps are renames (".spare>.seg") and removals (".seg>") that the workload must cause, so
	// that it tests what its name says.
	requiredOps []string
}

// requires sets requiredOps.
func (s *crashWorkload) requires(does ...string) *crashWorkload {
	s.requiredOps = does
	return s
}

// workloadStep is one call of the Log. Exactly one field is set.
type workloadStep struct {
	adds        []addCall // then Commit
	idleAdds    []addCall // of hard states, then Idle
	idleOnly    bool      // Idle
	base        *baseStep
	spareChunks int // number of calls of PrepareSpare; untilReady: until the spare is ready
	probe       bool
	reopen      bool // stop, and start again
}

const untilReady = -1

// addCall is one Add. Fields that are 0 stay as they are.
type addCall struct {
	term, vote, commit    uint64
	truncateFrom          uint64
	entryCount, entrySize int   // entrySize configurationSize: one configuration
	leaveBytes            int64 // one entry that leaves so many bytes of the segment
}

type baseStep struct{ index, term, configuration uint64 }

func (s workloadStep) String() string {
	switch {
	case s.adds != nil:
		return fmt.Sprintf("commit %+v", s.adds)
	case s.idleAdds != nil:
		return fmt.Sprintf("idle %+v", s.idleAdds)
	case s.base != nil:
		return fmt.Sprintf("base %+v", *s.base)
	case s.spareChunks != 0:
		return fmt.Sprintf("%d chunks of a spare", s.spareChunks)
	case s.probe:
		return "probe"
	case s.reopen:
		return "restart"
	}
	return "idle"
}

func voteStep(term, vote uint64) workloadStep { return commitStep(addCall{term: term, vote: vote}) }
func appendStep(n, size int) workloadStep     { return commitStep(addCall{entryCount: n, entrySize: size}) }
func conflictStep(from uint64, n, size int) workloadStep {
	return commitStep(addCall{truncateFrom: from, entryCount: n, entrySize: size})
}
func fillStep() workloadStep                   { return fillToStep(1) } // the next frame rolls
func fillToStep(bytes int64) workloadStep      { return commitStep(addCall{leaveBytes: bytes}) }
func commitStep(parts ...addCall) workloadStep { return workloadStep{adds: parts} }
func commitIndexStep(index uint64) workloadStep {
	return workloadStep{idleAdds: []addCall{{commit: index}}}
}
func rebaseStep(index, term, configuration uint64) workloadStep {
	return workloadStep{base: &baseStep{index, term, configuration}}
}

// errViolation is wrapped in the error of a runner if the log is not as it must be. Every other
// error comes from the log.
var errViolation = errors.New("wrong")

func violation(what string, args ...any) error {
	return fmt.Errorf("%w: %s", errViolation, fmt.Sprintf(what, args...))
}

const crashDir = "/var/lib/troupe/member"

// workloadRunner runs a workload on a disk. At any moment it knows what a crash may leave: the log
// before the current step or after it, the identity that was used, and the files that must exist.
type workloadRunner struct {
	workload   *crashWorkload
	fs         vfs.FS
	crashDepth byte // number of crashes before; part of the storage id of a new directory

	modelBefore, modelAfter *logModel
	identity                *Identity // nil: not used yet
	dir                     *DataDir
	log                     *Log
	position                string
	lostStep                bool // the start found modelBefore
	readsFail               bool // warnings about repeated reads are expected

	// The segments and spares at the end of the last step (nil: unknown), and the changes since.
	durableNames             map[string]bool
	addedNames, removedNames map[string]bool

	expectation expectation

	// onAcknowledge is called after a step was acknowledged: from then on, a crash must not undo it.
	onAcknowledge func()
}

// expectation is the text of two models. It is cached, because models do not change once they are
// set.
type expectation struct {
	before, after *logModel
	text          string
}

func (r *workloadRunner) expectedText() string {
	if x := &r.expectation; x.before != r.modelBefore || x.after != r.modelAfter {
		*x = expectation{r.modelBefore, r.modelAfter, fmt.Sprint(r.modelBefore, r.modelAfter)}
	}
	return r.expectation.text
}

func newWorkloadRunner(s *crashWorkload, fs vfs.FS, depth byte) *workloadRunner {
	return &workloadRunner{workload: s, fs: fs, crashDepth: depth, modelBefore: &logModel{}, modelAfter: &logModel{}, position: "first start",
		addedNames: map[string]bool{}, removedNames: map[string]bool{}, onAcknowledge: func() {}}
}

// open starts as a node does. The log must equal one of the two models, which becomes the present
// one.
func (r *workloadRunner) open() error {
	want := Identity{ClusterID: 0xc1, NodeID: 7, StorageID: [16]byte{r.crashDepth, 1}, CreatedBy: "crash test"}
	d, err := OpenDataDir(r.fs, crashDir, want)
	if err != nil {
		return err
	}
	r.dir = d
	if r.identity != nil && d.Identity != *r.identity {
		return violation("identity %x, but %x was used before", d.Identity.StorageID, r.identity.StorageID)
	}
	r.identity = &d.Identity
	r.onAcknowledge()
	l, found, err := Open(Options{FS: r.fs, Dir: d.LogDir(), NodeID: 7, StorageID: d.Identity.StorageID, MustExist: true,
		FirstSegmentBytes: r.workload.firstSegmentBytes, SegmentBytes: r.workload.segmentBytes})
	if err != nil {
		return err
	}
	r.log = l
	for _, w := range found.Warnings {
		if !strings.HasPrefix(w, "dropped a write that did not finish") && !(r.readsFail && strings.Contains(w, "nothing is lost")) {
			return violation("a crash was reported as damage: %s", w)
		}
	}
	if d := r.modelAfter.diff(found, l); d != "" {
		if d2 := r.modelBefore.diff(found, l); d2 != "" {
			return violation("\nthe log before: %v\nthe log after:  %v\nfound: %s; and: %s\nwarnings %q", r.modelBefore, r.modelAfter, d, d2, found.Warnings)
		}
		r.modelAfter, r.lostStep = r.modelBefore.clone(), true
	}
	return r.acknowledge()
}

// acknowledge ends the current step.
func (r *workloadRunner) acknowledge() error {
	r.modelBefore = r.modelAfter.clone()
	names, err := r.fs.List(r.dir.LogDir())
	if err != nil {
		return err
	}
	r.durableNames = map[string]bool{}
	for _, name := range names {
		if isDurableName(name) {
			r.durableNames[name] = true
		}
	}
	clear(r.addedNames)
	clear(r.removedNames)
	r.onAcknowledge()
	return nil
}

// isDurableName reports whether the creation and removal of a file are made durable before an
// acknowledgement. A start removes or ignores other files.
func isDurableName(name string) bool {
	return strings.HasSuffix(name, segmentSuffix) || strings.HasSuffix(name, spareSuffix)
}

// noteOp notes names that are added or removed.
func (r *workloadRunner) noteOp(op vfs.Op) {
	switch op.Kind {
	case vfs.OpRename:
		r.addedNames[filepath.Base(op.To)], r.removedNames[filepath.Base(op.Path)] = true, true
	case vfs.OpRemove:
		r.removedNames[filepath.Base(op.Path)] = true
	}
}

// checkNames checks that no name came back after its removal was durable, and that no durable name
// is gone (E6).
func (r *workloadRunner) checkNames(disk *vfs.MemFS) error {
	if r.durableNames == nil {
		return nil
	}
	found, err := disk.List(filepath.Join(crashDir, LogDirName))
	if err != nil {
		return violation("the log's directory is missing: %v", err)
	}
	for _, name := range found {
		if isDurableName(name) && !r.durableNames[name] && !r.addedNames[name] {
			return violation("%s is back, although its removal was durable", name)
		}
	}
	for name := range r.durableNames {
		if !r.removedNames[name] && !slices.Contains(found, name) {
			return violation("%s is missing, although it was durable", name)
		}
	}
	return nil
}

// runAll runs all steps.
func (r *workloadRunner) runAll() error {
	if err := r.open(); err != nil {
		return err
	}
	for i, s := range r.workload.steps {
		r.position = fmt.Sprintf("step %d, %v", i+1, s)
		if err := r.runStep(s); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the process without an operation on the disk.
func (r *workloadRunner) stop() {
	if r.log != nil {
		r.log.Close()
	}
	if r.dir != nil {
		r.dir.Close()
	}
}

func (r *workloadRunner) runStep(s workloadStep) error {
	var err error
	switch {
	case s.adds != nil:
		if err = r.add(s.adds); err == nil {
			err = r.log.Commit()
		}
	case s.idleAdds != nil:
		if err = r.add(s.idleAdds); err == nil {
			err = r.log.Idle()
		}
	case s.idleOnly:
		err = r.log.Idle()
	case s.base != nil:
		err = r.rebase(s.base)
	case s.spareChunks != 0:
		for n := 0; n != s.spareChunks; n++ {
			worked := false
			if worked, err = r.log.PrepareSpare(); !worked || err != nil {
				break
			}
		}
	case s.probe:
		err = r.log.ProbeDisk()
	case s.reopen:
		r.stop()
		return r.open()
	}
	if err != nil {
		return err
	}
	return r.acknowledge()
}

// add changes the model and adds the same to the log.
func (r *workloadRunner) add(parts []addCall) error {
	m := r.modelAfter.clone()
	r.modelAfter = m
	for _, p := range parts {
		if p.term != 0 {
			m.hard.term, m.hard.vote = p.term, p.vote
		}
		if p.leaveBytes != 0 {
			p.entryCount, p.entrySize = 1, r.entrySizeLeaving(p.leaveBytes)
		}
		var e *messages.Entries
		if p.entryCount != 0 || p.entrySize == configurationSize {
			e = m.append(p.truncateFrom, p.entryCount, p.entrySize)
		}
		m.hard.commit = max(m.hard.commit, p.commit)
		if err := r.log.Add(p.truncateFrom, e, m.hardStateMessage()); err != nil {
			return err
		}
	}
	return nil
}

// entrySizeLeaving returns the size of an entry after which the active segment has so many bytes
// left before its index.
func (r *workloadRunner) entrySizeLeaving(left int64) int {
	l := r.log
	overhead := int64(frameHeaderBytes + termRunBytes + tableEntryBytes + len(entryData(l.lastIndex()+1, r.modelAfter.hard.term, 0)))
	index := l.published.activeIndex.frameBytes() + 64
	return int(max(0, l.published.active.size-l.active.writeOffset-index-left-overhead)) + len("entry 1 of term 1 ")
}

func (r *workloadRunner) rebase(b *baseStep) error {
	r.modelAfter = r.modelAfter.clone()
	r.modelAfter.rebase(b.index, b.term)
	r.modelAfter.baseConfiguration = b.configuration
	var configuration *messages.Configuration
	if b.configuration != 0 {
		configuration = &messages.Configuration{ClusterId: b.configuration, Members: []*messages.Member{{Id: 7}}}
	}
	return r.log.rebase(b.index, b.term, configuration)
}
