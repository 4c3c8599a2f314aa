package persistence

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// model is what a log should hold: the naive second formulation.
type model struct {
	base     uint64
	baseTerm uint64
	terms    []uint64 // of base + 1 …
	sizes    []int    // of base + 1 …
	hard     hardState
}

func (m *model) last() uint64 { return m.base + uint64(len(m.terms)) }

func (m *model) clone() *model {
	c := *m
	c.terms = append([]uint64(nil), m.terms...)
	c.sizes = append([]int(nil), m.sizes...)
	return &c
}

func (m *model) String() string {
	return fmt.Sprintf("base %d/%d, last %d, terms %v, hard state %+v", m.base, m.baseTerm, m.last(), m.terms, m.hard)
}

// append takes n entries of the present term after truncation; it is what both the model and the log are told.
func (m *model) append(truncateFrom uint64, n, size int) *messages.Entries {
	if truncateFrom != 0 {
		m.terms, m.sizes = m.terms[:truncateFrom-m.base-1], m.sizes[:truncateFrom-m.base-1]
	}
	e := batch(m.last()+1, n, m.hard.term, size)
	for range n {
		m.terms, m.sizes = append(m.terms, m.hard.term), append(m.sizes, size)
	}
	return e
}

func (m *model) hardState() *messages.HardState { return hs(m.hard.term, m.hard.vote, m.hard.commit) }

func (m *model) rebase(index, term uint64) {
	if index <= m.last() && index > m.base && m.terms[index-m.base-1] == term {
		m.terms, m.sizes = m.terms[index-m.base:], m.sizes[index-m.base:]
	} else {
		m.terms, m.sizes = nil, nil
	}
	m.base, m.baseTerm = index, term
}

// differs compares the log with the model, byte for byte; "" where they agree.
func (m *model) differs(r *Recovery, l *Log) string {
	if r.LastIndex != m.last() || r.BaseIndex != m.base || r.BaseTerm != m.baseTerm {
		return fmt.Sprintf("base %d/%d, last %d", r.BaseIndex, r.BaseTerm, r.LastIndex)
	}
	if h := (hardState{r.HardState.Term, r.HardState.Vote, r.HardState.Commit}); h != m.hard {
		return fmt.Sprintf("hard state %+v", h)
	}
	reader := l.Reader()
	defer reader.Close()
	return m.readDiffers(reader)
}

// readDiffers compares what a reader reads.
func (m *model) readDiffers(reader *Reader) string {
	prev := m.baseTerm
	for from := m.base + 1; from <= m.last(); {
		e, prevTerm, err := reader.Read(from, m.last(), 700)
		if err != nil {
			return err.Error()
		}
		if prevTerm != prev {
			return fmt.Sprintf("term %d before entry %d, not %d", prevTerm, from, prev)
		}
		if err := raft.CheckEntries(e); err != nil {
			return err.Error()
		}
		for i, data := range e.Data {
			index := from + uint64(i)
			term, size := m.terms[index-m.base-1], m.sizes[index-m.base-1]
			if got := raft.EntriesTerm(e, index); got != term || !bytes.Equal(data, entryData(index, term, size)) {
				return fmt.Sprintf("entry %d of term %d: %q", index, got, data)
			}
			prev = term
		}
		from += uint64(len(e.Data))
	}
	return ""
}

// odometer is a vfs.Choice that goes through all outcomes of a crash, one after the other.
type odometer struct {
	digits, limits []int
	at             int
}

func (o *odometer) choose(n int) int {
	if o.at == len(o.digits) {
		o.digits, o.limits = append(o.digits, 0), append(o.limits, n)
	}
	o.at++
	return o.digits[o.at-1]
}

// next moves on to the next outcome; false when all were seen.
func (o *odometer) next() bool {
	o.digits, o.limits, o.at = o.digits[:o.at], o.limits[:o.at], 0
	for i := len(o.digits) - 1; i >= 0; i-- {
		if o.digits[i]++; o.digits[i] < o.limits[i] {
			o.digits, o.limits = o.digits[:i+1], o.limits[:i+1]
			return true
		}
	}
	return false
}

// crashEverywhere runs a script on a log and, after each operation of the disk, looks at every disk that a power cut at
// this point can leave: the log on it must be the one before the step in hand, or the one after it, and go on working.
type crashEverywhere struct {
	t             *testing.T
	fs            *vfs.Mem
	before, after *model // nil before: no log yet
	limit         int    // outcomes looked at after each operation
	disks, opened int
	seed          uint64
	checkingCrash bool
	lastOp        vfs.Op
	skippedWidely int
	log           *Log
	options       Options
}

func (c *crashEverywhere) random() uint64 {
	c.seed = c.seed*6364136223846793005 + 1442695040888963407
	return c.seed >> 33
}

func (c *crashEverywhere) observe(op vfs.Op) {
	if c.checkingCrash || op.Kind == vfs.OpRead || op.Kind == vfs.OpOpen || op.Kind == vfs.OpLock {
		return
	}
	c.checkingCrash = true
	defer func() { c.checkingCrash = false }()
	c.lastOp = op
	o := &odometer{}
	for n := 0; ; n++ {
		if n == c.limit {
			c.skippedWidely++
			break
		}
		disk := c.fs.Crash(o.choose)
		c.check(disk, fmt.Sprintf("outcome %v", o.digits))
		if !o.next() {
			return
		}
	}
	for range c.limit / 4 {
		var made []int
		disk := c.fs.Crash(func(n int) int {
			d := int(c.random() % uint64(n))
			made = append(made, d)
			return d
		})
		c.check(disk, fmt.Sprintf("outcome %v", made))
	}
}

func (c *crashEverywhere) check(disk *vfs.Mem, what string) {
	c.disks++
	o := c.options
	o.FS = disk
	l, r, err := Open(o)
	if err != nil {
		c.t.Fatalf("power cut after %v, %s: %v", c.lastOp, what, err)
	}
	c.opened++
	against := c.after
	if d := c.after.differs(r, l); d != "" {
		against = c.before
		if d2 := c.before.differs(r, l); d2 != "" {
			c.t.Fatalf("power cut after %v, %s:\nthe log before: %v\nthe log after:  %v\nthe log found:  %s; and: %s\nwarnings %q",
				c.lastOp, what, c.before, c.after, d, d2, r.Warnings)
		}
	}
	// What was found is durable now, whatever becomes of the power, and the log goes on.
	if c.disks%3 == 0 {
		next := against.clone()
		next.hard.term++
		next.hard.vote = 2
		if err := l.Add(0, next.append(0, 2, 30), next.hardState()); err != nil {
			c.t.Fatalf("power cut after %v, %s: add: %v", c.lastOp, what, err)
		}
		if err := l.Commit(); err != nil {
			c.t.Fatalf("power cut after %v, %s: commit: %v", c.lastOp, what, err)
		}
		against = next
	}
	o.FS = disk.Crash(vfs.LoseAll)
	l, r, err = Open(o)
	if err != nil {
		c.t.Fatalf("second power cut after %v, %s: %v", c.lastOp, what, err)
	}
	if d := against.differs(r, l); d != "" {
		c.t.Fatalf("second power cut after %v, %s:\nthe log before: %v\nthe log found:  %s", c.lastOp, what, against, d)
	}
}

// step changes the model, then does the same to the log; whatever the power does meanwhile, one of the two is found.
func (c *crashEverywhere) step(change func(m *model), do func(l *Log, m *model) error) {
	c.t.Helper()
	c.before, c.after = c.after.clone(), c.after.clone()
	change(c.after)
	if err := do(c.log, c.after); err != nil {
		c.t.Fatalf("step to %v: %v", c.after, err)
	}
	c.before = c.after.clone()
}

func (c *crashEverywhere) reopen() {
	c.t.Helper()
	if c.log != nil {
		c.log.Close()
	}
	l, r, err := Open(c.options)
	if err != nil {
		c.t.Fatal(err)
	}
	if d := c.after.differs(r, l); d != "" {
		c.t.Fatalf("reopened: %s, not %v", d, c.after)
	}
	c.log = l
}

func TestE7EveryPowerCutLeavesTheLogBeforeOrAfterTheStepInHand(t *testing.T) {
	c := &crashEverywhere{t: t, fs: vfs.NewMem(), limit: 600, seed: 1, before: &model{}, after: &model{}}
	if testing.Short() {
		c.limit = 20
	}
	c.options = testOptions(c.fs)
	c.options.FirstSegmentBytes, c.options.SegmentBytes = 8<<10, 16<<10
	c.fs.Observe(c.observe)
	c.reopen()

	appendStep := func(truncateFrom func(m *model) uint64, n, size int) {
		var from uint64
		var e *messages.Entries
		c.step(func(m *model) {
			if truncateFrom != nil {
				from = truncateFrom(m)
			}
			e = m.append(from, n, size)
		}, func(l *Log, m *model) error {
			if err := l.Add(from, e, m.hardState()); err != nil {
				return err
			}
			return l.Commit()
		})
	}
	vote := func(term, vote uint64) {
		c.step(func(m *model) { m.hard.term, m.hard.vote = term, vote },
			func(l *Log, m *model) error {
				if err := l.Add(0, nil, m.hardState()); err != nil {
					return err
				}
				return l.Commit()
			})
	}
	idle := func() {
		c.step(func(*model) {}, func(l *Log, m *model) error { return l.Idle() })
	}
	spare := func() {
		c.step(func(*model) {}, func(l *Log, m *model) error {
			for {
				if worked, err := l.PrepareSpare(); !worked || err != nil {
					return err
				}
			}
		})
	}
	commitTo := func(index uint64) {
		c.step(func(m *model) { m.hard.commit = index }, func(l *Log, m *model) error {
			if err := l.Add(0, nil, m.hardState()); err != nil {
				return err
			}
			return l.Idle()
		})
	}

	vote(1, 7)
	appendStep(nil, 1, 20)
	appendStep(nil, 5, 300)
	idle()
	vote(2, 0)
	appendStep(func(m *model) uint64 { return 4 }, 2, 100) // a conflicting suffix
	appendStep(nil, 9, 500)                                // fills the segment: the next one rolls
	appendStep(nil, 6, 600)
	c.reopen()
	appendStep(nil, 3, 10)
	appendStep(func(m *model) uint64 { return 2 }, 1, 700) // overrides entries of the segments before
	commitTo(2)
	spare()
	for range 4 {
		appendStep(nil, 4, 900)
		spare()
	}
	c.step(func(m *model) { m.rebase(5, m.terms[4]) }, func(l *Log, m *model) error {
		return l.Rebase(5, m.baseTerm, &messages.Configuration{Members: []*messages.Member{{Id: 1}}})
	})
	appendStep(nil, 2, 40)
	vote(3, 9)
	c.step(func(m *model) { m.rebase(40, 3) }, func(l *Log, m *model) error { return l.Rebase(40, 3, nil) })
	appendStep(nil, 2, 50)
	c.reopen()
	t.Logf("%d disks after a power cut opened; at %d operations only some of the outcomes were looked at", c.disks, c.skippedWidely)
	if c.disks < 500 {
		t.Fatalf("only %d disks were looked at", c.disks)
	}
}
