package checker

import (
	"slices"

	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// FullCheck compares everything with everything, whether it seems to have changed or not. It reads
// one disk back, another one in each round.
func (c *Checker) FullCheck(round int) {
	c.fullCheck(func(i int) bool { return i == round%len(c.members) })
}

// FinalCheck is a FullCheck that reads all disks back.
func (c *Checker) FinalCheck() { c.fullCheck(func(int) bool { return true }) }

func (c *Checker) fullCheck(readBack func(member int) bool) {
	for i, a := range c.models[1:] {
		for _, b := range c.models[i+2:] {
			c.checkLogMatching(a.log, b.log)
			c.checkLogMatching(a.durableLog, b.durableLog)
		}
		c.checkLogMatching(a.log, a.durableLog)
		c.checkLogMatching(a.writtenLog, a.durableLog)
		for index := uint64(1); index <= a.commit; index++ {
			if termAt(a.log, index) != c.committed[index-1] {
				c.fail("state machine safety", "member %d has entry %d of term %d as committed; one of term %d was", i+1, index, termAt(a.log, index), c.committed[index-1])
				return
			}
		}
	}
	for index := uint64(2); index <= uint64(len(c.committed)); index++ {
		if !c.onQuorumDisksOrLost(c.bootstrap, index) {
			c.fail("commit needs a quorum", "entry %d of term %d was committed and is not on the disks of a quorum any more", index, c.committed[index-1])
			return
		}
	}
	for i, m := range c.members {
		switch d := m.Storage(); {
		case d.HasDamage() || d.DroppedSyncs(): // it does not hold what was synced
		case !m.Up() || c.models[m.ID()].logIncarnation == 0:
			// It may hold more than was synced; the next recovery shows what.
		case readBack(i):
			c.readBack(m)
		}
	}
}

// checkLogMatching: where two logs have the same term at an index, they are the same up to there
// (Raft §5.3).
func (c *Checker) checkLogMatching(a, b []uint64) {
	last := min(len(a), len(b))
	for last > 0 && a[last-1] != b[last-1] {
		last--
	}
	if !slices.Equal(a[:last], b[:last]) {
		c.fail("log matching", "two logs have the same term at index %d, and differ before: %v and %v", last, a, b)
	}
}

// readBack opens the log on a copy of a disk, as it would be after a power cut that loses all that
// was not synced.
func (c *Checker) readBack(m Member) {
	id := m.ID()
	s, o := c.models[id], m.LogOptions()
	copied := m.Storage().CrashClone(vfs.LoseUnsynced)
	copied.SetCapacity(-1)
	o.FS = copied
	log, found, err := persistence.Open(o)
	if err != nil {
		c.fail("recovery matches disk", "the log of member %d cannot be opened on what its disk has: %v", id, err)
		return
	}
	defer log.Close()
	c.terms = appendRuns(c.terms[:0], found.Runs, found.LastIndex)
	if !slices.Equal(c.terms, s.durableLog) || found.HardState.Term != s.disk.term || found.HardState.Vote != s.disk.vote {
		c.fail("recovery matches disk", "from the disk of member %d %v and %v are read; it holds %v, term %d, vote %d",
			id, found.HardState, c.terms, s.durableLog, s.disk.term, s.disk.vote)
		return
	}
	reader := log.Reader()
	defer reader.Close()
	for index := uint64(1); index <= found.LastIndex; {
		entries, _, err := reader.Read(index, found.LastIndex, 1<<20)
		if err != nil || len(entries.Data) == 0 {
			c.fail("recovery matches disk", "entry %d cannot be read from the disk of member %d: %v", index, id, err)
			return
		}
		for _, data := range entries.Data {
			if c.entries.lookup(index, s.durableLog[index-1]).sum != hash.Checksum(data) {
				c.fail("recovery matches disk", "entry %d is read from the disk of member %d with bytes that were never written", index, id)
				return
			}
			index++
		}
	}
}
