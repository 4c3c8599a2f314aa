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

// A story is what one member does with its data directory, from the first start on; the crash tests tell it again and
// again, and cut it off everywhere.
type crashWorkload struct {
	name                            string
	firstSegmentBytes, segmentBytes int64 // bytes of the first segment, and of later ones at most
	steps                           []workloadStep
	// What it must have done with files after the first start, or it is not the story that its name says: a renaming as
	// ".spare>.seg", a removal as ".seg>".
	requiredOps []string
}

// that says what a story must do.
func (s *crashWorkload) requires(does ...string) *crashWorkload {
	s.requiredOps = does
	return s
}

// step is one call of the log's, in words that need no code; exactly one of its fields is set.
type workloadStep struct {
	adds        []addCall // all of them as one batch
	idleAdds    []addCall // hard states that come with a sign of idleness
	idleOnly    bool      // Idle, with nothing to say
	base        *baseStep
	spareChunks int // so many pieces of a spare segment; untilReady: until it is ready
	probe       bool
	reopen      bool // an orderly end, and the next start
}

const untilReady = -1

// part is one Add. What is 0 stays as it is.
type addCall struct {
	term, vote, commit    uint64
	truncateFrom          uint64 // a truncation
	entryCount, entrySize int    // entries; configurationSize: one configuration
	leaveBytes            int64  // one entry of such a size that so many bytes are left of the segment
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
		return fmt.Sprintf("%d pieces of a spare", s.spareChunks)
	case s.probe:
		return "probe"
	case s.reopen:
		return "end and start"
	}
	return "rest"
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

// errViolation is what a teller says when the log is not as it must be; every other error is one of the log's own calls.
var errViolation = errors.New("wrong")

func violation(what string, args ...any) error {
	return fmt.Errorf("%w: %s", errViolation, fmt.Sprintf(what, args...))
}

const crashDir = "/var/lib/troupe/member"

// teller tells a story on a disk: a member's life, or several. At any moment it knows what a crash may leave behind: the
// log before the step in hand, or the one after it, never a third; the identity that was spoken of; the files that were.
type workloadRunner struct {
	workload   *crashWorkload
	fs         vfs.FS
	crashDepth byte // how many crashes came before; makes the storage id of a directory that is made in this life

	modelBefore, modelAfter *logModel
	identity                *Identity // nil: nobody was told of one
	dir                     *DataDir
	log                     *Log
	position                string
	lostStep                bool // the first start found the log before, not the one after
	readsFail               bool // reads go wrong, and that may be said

	// The segments and spares that were there at the end of the last step, nil where that is not known, and what has
	// come and gone since.
	durableNames             map[string]bool
	addedNames, removedNames map[string]bool

	expectation expectation

	// Called where something was acknowledged: from then on a crash must not take it.
	onAcknowledge func()
}

// expectation is before and after as text, made once for each pair of models: models do not change once they are set.
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

// open starts as a node does, and checks what it finds: what one of the two models says, and from now on that one.
func (r *workloadRunner) open() error {
	want := Identity{ClusterID: 0xc1, NodeID: 7, StorageID: [16]byte{r.crashDepth, 1}, CreatedBy: "crash test"}
	d, err := OpenDataDir(r.fs, crashDir, want)
	if err != nil {
		return err
	}
	r.dir = d
	if r.identity != nil && d.Identity != *r.identity {
		return violation("identity %x, but %x was spoken of", d.Identity.StorageID, r.identity.StorageID)
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
			return violation("a crash is taken for damage: %s", w)
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

// done makes the step in hand one that was acknowledged.
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

// lasting tells the files whose coming and going is made durable before anybody is told; the others are swept away.
func isDurableName(name string) bool {
	return strings.HasSuffix(name, segmentSuffix) || strings.HasSuffix(name, spareSuffix)
}

// note keeps the books of names.
func (r *workloadRunner) noteOp(op vfs.Op) {
	switch op.Kind {
	case vfs.OpRename:
		r.addedNames[filepath.Base(op.To)], r.removedNames[filepath.Base(op.Path)] = true, true
	case vfs.OpRemove:
		r.removedNames[filepath.Base(op.Path)] = true
	}
}

// misnamed tells of a name that came back after its removal was durable, or went although it was (E6).
func (r *workloadRunner) checkNames(disk *vfs.MemFS) error {
	if r.durableNames == nil {
		return nil
	}
	found, err := disk.List(filepath.Join(crashDir, LogDirName))
	if err != nil {
		return violation("the log's directory is gone: %v", err)
	}
	for _, name := range found {
		if isDurableName(name) && !r.durableNames[name] && !r.addedNames[name] {
			return violation("%s is back, although its removal was done with", name)
		}
	}
	for name := range r.durableNames {
		if !r.removedNames[name] && !slices.Contains(found, name) {
			return violation("%s is gone, although it was done with", name)
		}
	}
	return nil
}

// tell tells the whole story.
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

// end ends the process without a word to the disk.
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

// add changes the model, then tells the log the same.
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

// entrySizeLeaving is the size of an entry after which the active segment has so many bytes left, before its index.
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
