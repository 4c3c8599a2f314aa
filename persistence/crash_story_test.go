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
type story struct {
	name           string
	first, segment int64 // bytes of the first segment, and of later ones at most
	steps          []step
	// What it must have done with files after the first start, or it is not the story that its name says: a renaming as
	// ".spare>.seg", a removal as ".seg>".
	does []string
}

// that says what a story must do.
func (s *story) that(does ...string) *story {
	s.does = does
	return s
}

// step is one call of the log's, in words that need no code; exactly one of its fields is set.
type step struct {
	commit []part // all of them as one batch
	idle   []part // hard states that come with a sign of idleness
	rest   bool   // Idle, with nothing to say
	base   *baseStep
	spare  int // so many pieces of a spare segment; allOfIt: until it is ready
	probe  bool
	reopen bool // an orderly end, and the next start
}

const allOfIt = -1

// part is one Add. What is 0 stays as it is.
type part struct {
	term, vote, commit uint64
	from               uint64 // a truncation
	n, size            int    // entries; configurationSize: one configuration
	leave              int64  // one entry of such a size that so many bytes are left of the segment
}

type baseStep struct{ index, term, configuration uint64 }

func (s step) String() string {
	switch {
	case s.commit != nil:
		return fmt.Sprintf("commit %+v", s.commit)
	case s.idle != nil:
		return fmt.Sprintf("idle %+v", s.idle)
	case s.base != nil:
		return fmt.Sprintf("base %+v", *s.base)
	case s.spare != 0:
		return fmt.Sprintf("%d pieces of a spare", s.spare)
	case s.probe:
		return "probe"
	case s.reopen:
		return "end and start"
	}
	return "rest"
}

func vote(term, vote uint64) step            { return commit(part{term: term, vote: vote}) }
func put(n, size int) step                   { return commit(part{n: n, size: size}) }
func conflict(from uint64, n, size int) step { return commit(part{from: from, n: n, size: size}) }
func full() step                             { return leave(1) } // the next frame rolls
func leave(bytes int64) step                 { return commit(part{leave: bytes}) }
func commit(parts ...part) step              { return step{commit: parts} }
func committed(index uint64) step            { return step{idle: []part{{commit: index}}} }
func rebase(index, term, configuration uint64) step {
	return step{base: &baseStep{index, term, configuration}}
}

// errWrong is what a teller says when the log is not as it must be; every other error is one of the log's own calls.
var errWrong = errors.New("wrong")

func wrong(what string, args ...any) error {
	return fmt.Errorf("%w: %s", errWrong, fmt.Sprintf(what, args...))
}

const crashDir = "/var/lib/troupe/member"

// teller tells a story on a disk: a member's life, or several. At any moment it knows what a crash may leave behind: the
// log before the step in hand, or the one after it, never a third; the identity that was spoken of; the files that were.
type teller struct {
	story *story
	fs    vfs.FS
	depth byte // how many crashes came before; makes the storage id of a directory that is made in this life

	before, after *model
	identity      *Identity // nil: nobody was told of one
	dir           *DataDir
	log           *Log
	at            string
	lost          bool // the first start found the log before, not the one after
	misreads      bool // reads go wrong, and that may be said

	// The segments and spares that were there at the end of the last step, nil where that is not known, and what has
	// come and gone since.
	names       map[string]bool
	added, gone map[string]bool

	expects expectation

	// Called where something was acknowledged: from then on a crash must not take it.
	acknowledged func()
}

// expectation is before and after as text, made once for each pair of models: models do not change once they are set.
type expectation struct {
	before, after *model
	text          string
}

func (r *teller) expected() string {
	if x := &r.expects; x.before != r.before || x.after != r.after {
		*x = expectation{r.before, r.after, fmt.Sprint(r.before, r.after)}
	}
	return r.expects.text
}

func newTeller(s *story, fs vfs.FS, depth byte) *teller {
	return &teller{story: s, fs: fs, depth: depth, before: &model{}, after: &model{}, at: "first start",
		added: map[string]bool{}, gone: map[string]bool{}, acknowledged: func() {}}
}

// open starts as a node does, and checks what it finds: what one of the two models says, and from now on that one.
func (r *teller) open() error {
	want := Identity{ClusterID: 0xc1, NodeID: 7, StorageID: [16]byte{r.depth, 1}, CreatedBy: "crash test"}
	d, err := OpenDataDir(r.fs, crashDir, want)
	if err != nil {
		return err
	}
	r.dir = d
	if r.identity != nil && d.Identity != *r.identity {
		return wrong("identity %x, but %x was spoken of", d.Identity.StorageID, r.identity.StorageID)
	}
	r.identity = &d.Identity
	r.acknowledged()
	l, found, err := Open(Options{FS: r.fs, Dir: d.LogDir(), Node: 7, StorageID: d.Identity.StorageID, MustExist: true,
		FirstSegmentBytes: r.story.first, SegmentBytes: r.story.segment})
	if err != nil {
		return err
	}
	r.log = l
	for _, w := range found.Warnings {
		if !strings.HasPrefix(w, "dropped a write that did not finish") && !(r.misreads && strings.Contains(w, "nothing is lost")) {
			return wrong("a crash is taken for damage: %s", w)
		}
	}
	if d := r.after.differs(found, l); d != "" {
		if d2 := r.before.differs(found, l); d2 != "" {
			return wrong("\nthe log before: %v\nthe log after:  %v\nfound: %s; and: %s\nwarnings %q", r.before, r.after, d, d2, found.Warnings)
		}
		r.after, r.lost = r.before.clone(), true
	}
	return r.done()
}

// done makes the step in hand one that was acknowledged.
func (r *teller) done() error {
	r.before = r.after.clone()
	names, err := r.fs.List(r.dir.LogDir())
	if err != nil {
		return err
	}
	r.names = map[string]bool{}
	for _, name := range names {
		if lasting(name) {
			r.names[name] = true
		}
	}
	clear(r.added)
	clear(r.gone)
	r.acknowledged()
	return nil
}

// lasting tells the files whose coming and going is made durable before anybody is told; the others are swept away.
func lasting(name string) bool {
	return strings.HasSuffix(name, segmentSuffix) || strings.HasSuffix(name, spareSuffix)
}

// note keeps the books of names.
func (r *teller) note(op vfs.Op) {
	switch op.Kind {
	case vfs.OpRename:
		r.added[filepath.Base(op.To)], r.gone[filepath.Base(op.Path)] = true, true
	case vfs.OpRemove:
		r.gone[filepath.Base(op.Path)] = true
	}
}

// misnamed tells of a name that came back after its removal was durable, or went although it was (E6).
func (r *teller) misnamed(disk *vfs.Mem) error {
	if r.names == nil {
		return nil
	}
	found, err := disk.List(filepath.Join(crashDir, LogName))
	if err != nil {
		return wrong("the log's directory is gone: %v", err)
	}
	for _, name := range found {
		if lasting(name) && !r.names[name] && !r.added[name] {
			return wrong("%s is back, although its removal was done with", name)
		}
	}
	for name := range r.names {
		if !r.gone[name] && !slices.Contains(found, name) {
			return wrong("%s is gone, although it was done with", name)
		}
	}
	return nil
}

// tell tells the whole story.
func (r *teller) tell() error {
	if err := r.open(); err != nil {
		return err
	}
	for i, s := range r.story.steps {
		r.at = fmt.Sprintf("step %d, %v", i+1, s)
		if err := r.do(s); err != nil {
			return err
		}
	}
	return nil
}

// end ends the process without a word to the disk.
func (r *teller) end() {
	if r.log != nil {
		r.log.Close()
	}
	if r.dir != nil {
		r.dir.Close()
	}
}

func (r *teller) do(s step) error {
	var err error
	switch {
	case s.commit != nil:
		if err = r.add(s.commit); err == nil {
			err = r.log.Commit()
		}
	case s.idle != nil:
		if err = r.add(s.idle); err == nil {
			err = r.log.Idle()
		}
	case s.rest:
		err = r.log.Idle()
	case s.base != nil:
		err = r.rebase(s.base)
	case s.spare != 0:
		for n := 0; n != s.spare; n++ {
			worked := false
			if worked, err = r.log.PrepareSpare(); !worked || err != nil {
				break
			}
		}
	case s.probe:
		err = r.log.Probe()
	case s.reopen:
		r.end()
		return r.open()
	}
	if err != nil {
		return err
	}
	return r.done()
}

// add changes the model, then tells the log the same.
func (r *teller) add(parts []part) error {
	m := r.after.clone()
	r.after = m
	for _, p := range parts {
		if p.term != 0 {
			m.hard.term, m.hard.vote = p.term, p.vote
		}
		if p.leave != 0 {
			p.n, p.size = 1, r.sizeThatLeaves(p.leave)
		}
		var e *messages.Entries
		if p.n != 0 || p.size == configurationSize {
			e = m.append(p.from, p.n, p.size)
		}
		m.hard.commit = max(m.hard.commit, p.commit)
		if err := r.log.Add(p.from, e, m.hardState()); err != nil {
			return err
		}
	}
	return nil
}

// sizeThatLeaves is the size of an entry after which the active segment has so many bytes left, before its index.
func (r *teller) sizeThatLeaves(left int64) int {
	l := r.log
	overhead := int64(frameHeaderBytes + runBytes + tableBytes + len(entryData(l.Last()+1, r.after.hard.term, 0)))
	index := l.catalog.activeIndex.frameBytes() + 64
	return int(max(0, l.catalog.active.size-l.off-index-left-overhead)) + len("entry 1 of term 1 ")
}

func (r *teller) rebase(b *baseStep) error {
	r.after = r.after.clone()
	r.after.rebase(b.index, b.term)
	r.after.baseConfiguration = b.configuration
	var configuration *messages.Configuration
	if b.configuration != 0 {
		configuration = &messages.Configuration{ClusterId: b.configuration, Members: []*messages.Member{{Id: 7}}}
	}
	return r.log.Rebase(b.index, b.term, configuration)
}
