package sim

import (
	"slices"

	"github.com/troupe-raft/troupe/internal/sim/hash"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// fullCheckInterval is after how many steps everything is compared with everything, whether it seems to have changed or not.
const fullCheckInterval = 1000

// compare is that comparison. The production code reads one disk back each time; at the end, all of them (all).
func (g *Checker) fullCheck(all bool) {
	if g.world.Failure != nil || g.world.beyondGuarantees { // over: a member has forgotten what it promised, and nobody could notice
		return
	}
	for i, a := range g.members[1:] {
		for _, b := range g.members[i+2:] {
			g.checkLogMatching(a.log, b.log)
			g.checkLogMatching(a.durableLog, b.durableLog)
		}
		g.checkLogMatching(a.log, a.durableLog)
		g.checkLogMatching(a.writtenLog, a.durableLog)
		for index := uint64(1); index <= a.commit; index++ {
			if termAt(a.log, index) != g.committedTerms[index-1] {
				g.fail("state machine safety", "member %d holds entry %d of term %d for committed; one of term %d was", i+1, index, termAt(a.log, index), g.committedTerms[index-1])
				return
			}
		}
	}
	for index := uint64(2); index <= uint64(len(g.committedTerms)); index++ {
		if !g.onQuorumDisks(g.world.bootstrap, index) {
			g.fail("commit needs a quorum", "entry %d of term %d was committed and is not on the disks of a quorum any more", index, g.committedTerms[index-1])
			return
		}
	}
	for i, m := range g.world.members {
		if m.disk.damaged || m.disk.dropsSyncs || m.disk.droppedSync {
			continue // it does not hold what it said it did
		}
		if !m.up || g.members[m.id].logIncarnation == 0 {
			continue // it may hold more than what was synced: what, the next recovery tells
		}
		if all || i == g.world.steps/fullCheckInterval%len(g.world.members) {
			g.readBack(m)
		}
	}
}

// match is Log Matching over whole logs: where two have the same term at an index, they are the same up to there.
func (g *Checker) checkLogMatching(a, b []uint64) {
	last := min(len(a), len(b))
	for last > 0 && a[last-1] != b[last-1] {
		last--
	}
	if !slices.Equal(a[:last], b[:last]) {
		g.fail("log matching", "two logs have the same term at index %d, and differ before: %v and %v", last, a, b)
	}
}

// readBack opens the log on a copy of a disk, as it would be after a power cut now that takes all it may.
func (g *Checker) readBack(m *member) {
	s := g.members[m.id]
	o := m.logOptions()
	copied := m.disk.CrashClone(vfs.LoseUnsynced)
	copied.SetCapacity(-1)
	o.FS = copied
	log, found, err := persistence.Open(o)
	if err != nil {
		g.fail("recovery tells the disk", "the log of member %d cannot be opened on what its disk has: %v", m.id, err)
		return
	}
	defer log.Close()
	g.terms = appendRuns(g.terms[:0], found.Runs, found.LastIndex)
	if !slices.Equal(g.terms, s.durableLog) || found.HardState.Term != s.durableDisk.term || found.HardState.Vote != s.durableDisk.vote {
		g.fail("recovery tells the disk", "from the disk of member %d %v and %v are read; it holds %v, term %d, vote %d",
			m.id, found.HardState, g.terms, s.durableLog, s.durableDisk.term, s.durableDisk.vote)
		return
	}
	reader := log.Reader()
	defer reader.Close()
	for index := uint64(1); index <= found.LastIndex; {
		entries, _, err := reader.Read(index, found.LastIndex, 1<<20)
		if err != nil || len(entries.Data) == 0 {
			g.fail("recovery tells the disk", "entry %d cannot be read from the disk of member %d: %v", index, m.id, err)
			return
		}
		for _, data := range entries.Data {
			if g.entries.lookup(index, s.durableLog[index-1]).sum != hash.Checksum(data) {
				g.fail("recovery tells the disk", "entry %d is read from the disk of member %d as nobody wrote it", index, m.id)
				return
			}
			index++
		}
	}
}
