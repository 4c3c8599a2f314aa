package scenario

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// Entries in memory that are not on disk yet: they may be replaced there, and others may commit
// them.

var unsyncedScenarios = []Scenario{
	{Name: "truncation-on-disk", Nodes: 5, Errata: []int{12}, Script: truncationOnDisk,
		Description: "entries on their way to a disk are replaced by another leader's: only what is there at the end is acknowledged"},
	{Name: "late-durable", Nodes: 5, Errata: []int{12}, Script: lateDurable,
		Description: "a disk has stored entries, and the report of it meets a log in which another leader's have replaced them: they do not count"},
	{Name: "two-truncations", Nodes: 3, Errata: []int{12}, Script: twoTruncations,
		Description: "the report that a disk has stored entries meets a log that was truncated twice since, the second time less deep: it counts up to the first truncation"},
	{Name: "space-returns-before-the-sync", Nodes: 3, Errata: []int{1, 8}, Script: spaceReturnsBeforeTheSync,
		Description: "a low disk has space again between an append and its sync: the report of it makes nothing durable that the sync has not covered"},
	{Name: "acknowledged-in-its-term", Nodes: 5, Errata: []int{1}, Setup: termNotSavedSetup, Script: acknowledgedInItsTerm,
		Description: "a follower is killed before the term in which it is probed is on its disk: the former leader may replace its entries only because no member counts on them"},
	{Name: "applied-not-before-durable", Nodes: 3, Errata: []int{11}, Script: appliedNotBeforeDurable,
		Description: "the others commit what a member's disk does not hold yet: it applies no more than its disk has, also across its restart"},
}

// truncationOnDisk: a former leader's entries still wait for the disk of a follower when the next
// leader's replace them. If it is one entry, the follower's acknowledgement ends with the very
// entry that is replaced.
func truncationOnDisk(s *Driver) {
	old := s.awaitSessions()
	f, rest := s.others(old)[0], s.others(old)[1:]
	s.partition([]*world.Member{old, f}, rest)
	f.Disk.StalledUntil = s.Now() + world.ElectionTimeout
	gone := s.submitAbandoned(old, 1+int(s.Options.Seed%3))
	s.within(world.ElectionTimeout/2, "the follower has them in memory", func() bool { return f.View.LastIndex == old.View.LastIndex })
	if f.View.DurableIndex == f.View.LastIndex {
		s.fail("the follower's disk has them already")
	}
	next := s.awaitSuccessor(world.ElectionTimeout/2, old, f)
	o := s.await(s.submitPadded(next, 0))
	s.partition([]*world.Member{old}, append(rest, f))
	s.within(world.ElectionTimeout/2, "they are replaced while they wait for the disk", func() bool { return s.Checker.LogTerm(f.ID(), o.Index) == next.View.Term })
	if s.Now() >= f.Disk.StalledUntil {
		s.fail("the disk works again already")
	}
	s.awaitApplied(5*world.ElectionTimeout, o, append(rest, f)...)
	s.checkOnDisks([]*history.Operation{o}, append(rest, f)...)
	s.partition(s.Members)
	s.within(10*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.checkNoEffect("they never left the minority", gone...)
}

// appliedNotBeforeDurable: what the others commit is applied here only when the own disk has it.
func appliedNotBeforeDurable(s *Driver) {
	leader := s.awaitSessions()
	m, other := leader, s.others(leader)[0]
	if s.Chance(0.5) {
		m, other = other, m
	}
	before := m.View.DurableIndex
	m.Disk.StalledUntil = s.Now() + world.ElectionTimeout*6/10
	var all []*history.Operation
	for range 5 {
		all = append(all, s.await(s.submitPadded(other, 0)))
	}
	s.within(world.HeartbeatInterval, "it receives the commit index", func() bool { return m.View.Commit > before })
	if m.Applied > before {
		s.fail("member %d has applied %d, and %d is on its disk", m.ID(), m.Applied, before)
	}
	if s.Chance(0.5) {
		m.PowerCut(vfs.LoseUnsynced)
		s.restart(m)
	}
	s.awaitApplied(5*world.ElectionTimeout, all[4], s.Members...)
	s.checkOnDisks(all, s.Members...)
}

// spaceReturnsBeforeTheSync: of the LogStore's messages
//
//	Append   Tick of the check of the space   Flush
//
// the second reports the new state of the disk, and the power fails before the third.
func spaceReturnsBeforeTheSync(s *Driver) {
	leader := s.awaitSessions()
	f := s.others(leader)[0]
	limitFreeSpace(f, world.LowWaterBytes/2)
	s.writeAndWait(leader, 1)
	s.within(world.ElectionTimeout, "its disk is low", func() bool { return f.View.DiskLow })
	s.advance(world.HeartbeatInterval)
	base, reported, stopped := f.View.LastIndex, false, false
	f.CallAt(world.LogStorePath, "Append", 1, func() {
		f.Disk.SetCapacity(-1)
		f.Post(actors.NodePath+"/"+actors.LogStoreName, &messages.Tick{Incarnation: f.View.Incarnation, Timer: spaceTimer})
		f.CallAt("", "Durable", 1, func() { reported = true })
	})
	f.EndRunAt(world.LogStorePath, "Flush", 1, world.CrashBefore, func() { stopped = true; f.PowerCut(vfs.LoseUnsynced) })
	s.submitWrites(leader, 1)
	s.within(world.ElectionTimeout, "the power fails before the sync", func() bool { return stopped })
	if !reported || f.View.DurableIndex > base {
		s.fail("the space was reported: %v; member %d counted %d as durable, and its disk had %d", reported, f.ID(), f.View.DurableIndex, base)
	}
	s.restart(f)
	s.awaitApplied(5*world.ElectionTimeout, s.commitWrite(), f)
}

// spaceTimer is the number of the LogStore's timer that checks the free space.
const spaceTimer = 3

// lateDurable: the disk stores a former leader's entries; before the Node receives that, the next
// leader's have replaced them.
func lateDurable(s *Driver) {
	old := s.awaitSessions()
	f, rest := s.others(old)[0], s.others(old)[1:]
	s.partition([]*world.Member{old, f}, rest)
	f.Disk.StalledUntil = s.Now() + world.ElectionTimeout
	gone := s.submitAbandoned(old, 3)
	s.within(world.ElectionTimeout/2, "the follower has them in memory", func() bool { return f.View.LastIndex == old.View.LastIndex })
	next := s.awaitSuccessor(world.ElectionTimeout/2, old, f)
	var replacing proto.Message
	held := s.DropRule(next, f, "AppendEntries").Where(func(m proto.Message) bool {
		if e := m.(*messages.AppendEntries).GetEntries(); len(e.GetData()) > 3 && e.First <= f.View.LastIndex {
			replacing = proto.Clone(m)
		}
		return true
	})
	for range 5 {
		s.await(s.submitPadded(next, 0))
	}
	s.partition([]*world.Member{old}, append(rest, f))
	s.within(world.ElectionTimeout/2, "the next leader tries to replace them", func() bool { return replacing != nil })
	met := false
	f.CallAt(world.LogStorePath, "Flush", 1, func() { met = true; f.Post(actors.NodePath, replacing) })
	s.within(world.ElectionTimeout, "its request arrives just before the report of the disk", func() bool { return met && f.View.Term == next.View.Term })
	s.advance(world.HeartbeatInterval)
	held.End()
	s.awaitApplied(5*world.ElectionTimeout, s.commitWrite(), append(rest, f)...)
	s.partition(s.Members)
	s.within(10*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.checkNoEffect("they never left the minority", gone...)
}

// twoTruncations: leaders of two later terms, of whom only the requests exist, replace what a
// follower's disk has just stored. All members are isolated meanwhile, and none is elected.
//
//	on the disk     … t t t t t
//	in its log      … a a a b b   a = t+10, b = t+11
func twoTruncations(s *Driver) {
	old := s.awaitSessions()
	f, other := s.others(old)[0], s.others(old)[1]
	base, term := old.View.LastIndex, old.View.Term
	s.partition([]*world.Member{old, f})
	f.Disk.StalledUntil = s.Now() + world.ElectionTimeout/4
	s.submitAbandoned(old, 5)
	s.within(world.ElectionTimeout/4, "the follower has them in memory", func() bool { return f.View.LastIndex >= base+5 })
	met := false
	f.CallAt(world.LogStorePath, "Flush", 1, func() {
		met = true
		f.Post(actors.NodePath, appendEntriesFrom(other, base, term, term+10, 5))
		f.Post(actors.NodePath, appendEntriesFrom(old, base+3, term+10, term+11, 2))
	})
	s.partition()
	s.within(world.ElectionTimeout/2, "both replace entries before the report of the disk", func() bool { return met && f.View.Term == term+11 })
	s.within(world.ElectionTimeout/10, "the disk has the last ones", func() bool { return s.isDurable(base+5, term+11, f) })
	// As if they had voted in those terms: the former leader commits nothing any more.
	for _, m := range []*world.Member{old, other} {
		m.Post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 11, From: f.ID()})
	}
	s.within(world.ElectionTimeout/10, "all are in the last term", func() bool { return old.View.Term == term+11 && other.View.Term == term+11 })
	s.partition(s.Members)
	s.within(10*world.ElectionTimeout, "the cluster converges", s.Converged)
}

// appendEntriesFrom returns a request of the leader of a term in which no member leads, with no-op
// entries.
func appendEntriesFrom(leader *world.Member, prev, prevTerm, term uint64, n int) *messages.AppendEntries {
	e := &messages.Entries{First: prev + 1, Runs: []*messages.TermRun{{FirstIndex: prev + 1, Term: term}}}
	for range n {
		e.Data = append(e.Data, raft.EncodeNoop())
		e.Bytes += uint64(len(raft.EncodeNoop()))
	}
	return &messages.AppendEntries{Term: term, Leader: leader.ID(), PrevIndex: prev, PrevTerm: prevTerm, Entries: e, Stream: 1, Sequence: 1}
}

// termNotSavedSetup: member 1 led in term 3 and reached member 5 with one of its two entries. Both
// are down.
func termNotSavedSetup(w *world.World) {
	w.SetInitialState(1, world.InitialState{Log: []uint64{1, 1, 3, 3}, Term: 3, Commit: 2})
	for id := uint64(2); id <= 4; id++ {
		w.SetInitialState(id, world.InitialState{Log: []uint64{1, 1}, Term: 3, Commit: 2})
	}
	w.SetInitialState(5, world.InitialState{Log: []uint64{1, 1, 3}, Term: 3, Commit: 2})
	w.Members[0].NotStarted, w.Members[4].NotStarted = true, true
	w.Members[0].RandomOverride, w.Members[3].RandomOverride = shortestTimeouts, shortestTimeouts
}

// acknowledgedInItsTerm: member 4 leads in term 4 and reaches no member with its entry; member 1
// leads in term 5 and finds that its log and member 5's agree up to index 3. Before member 5's disk
// has stored term 5, it is killed, and restarts in term 4, whose leader has another entry at that
// index.
func acknowledgedInItsTerm(s *Driver) {
	first, former, follower, rest := s.Members[0], s.Members[3], s.Members[4], s.Members[1:3]
	for _, m := range rest {
		s.DropRule(former, m, "AppendEntries")
		s.DropRule(m, nil, "RequestVote")
	}
	s.partition(s.Members[1:4])
	s.within(world.ElectionTimeout, "member 4 leads", func() bool { return s.majorityLeader() == former })
	s.partition(append([]*world.Member{first}, rest...))
	s.restart(first)
	s.within(world.ElectionTimeout/2, "member 1 leads", func() bool { return s.majorityLeader() == first })
	s.restart(follower)
	s.within(world.ElectionTimeout/10, "member 5 knows its log", func() bool { return follower.View.LastIndex == 3 })
	follower.Disk.StalledUntil = s.Now() + world.ElectionTimeout
	s.cutBetween([]*world.Member{first}, []*world.Member{follower}, false)
	s.within(world.HeartbeatInterval, "member 5 is in the new term", func() bool { return follower.View.Term == first.View.Term })
	s.advance(world.HeartbeatInterval) // for its acknowledgements
	follower.PowerCut(vfs.LoseUnsynced)
	follower.Disk.StalledUntil = 0
	s.partition(append([]*world.Member{first}, rest...), []*world.Member{former, follower})
	s.restart(follower)
	s.within(world.ElectionTimeout/2, "it follows the former leader", func() bool { return s.isDurable(3, former.View.Term, follower) })
	s.partition(append([]*world.Member{first, follower}, rest...))
	s.within(world.ElectionTimeout, "it has the new leader's log", func() bool { return follower.View.Commit == first.View.LastIndex })
	s.checkTerms(follower, []uint64{1, 1, 3, 3})
}
