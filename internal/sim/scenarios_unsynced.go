package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// What is in memory before it is on disk: it may be replaced there, and it may be committed by others.

var unsyncedScenarios = []Scenario{
	{Name: "truncation-on-disk", Nodes: 5, Errata: []int{12}, Script: truncationOnDisk,
		Description: "entries on their way to a disk are replaced by another leader's: acknowledged is only what stands there in the end"},
	{Name: "late-durable", Nodes: 5, Errata: []int{12}, Script: lateDurable,
		Description: "a disk has taken entries, and the news of it meets a log in which another leader's have replaced them: they count for nothing"},
	{Name: "two-truncations", Nodes: 3, Errata: []int{12}, Script: twoTruncations,
		Description: "the news that a disk has taken entries meets a log that was cut twice since, the second time less deep: it counts up to the first cut"},
	{Name: "acknowledged-in-its-term", Nodes: 5, Errata: []int{1}, Setup: termNotSavedSetup, Script: acknowledgedInItsTerm,
		Description: "a follower dies before the term in which it is probed is on its disk: the former leader may replace its entries only because nobody counts on them"},
	{Name: "applied-not-before-durable", Nodes: 3, Errata: []int{11}, Script: appliedNotBeforeDurable,
		Description: "the others commit what a member's disk does not hold yet: it applies no more than its disk has, also over its death"},
}

// truncationOnDisk: a former leader's entries still wait for the disk of a follower when the next leader's replace them.
func truncationOnDisk(s *Driver) {
	old := s.awaitSessions()
	f, rest := s.others(old)[0], s.others(old)[1:]
	s.partition([]*member{old, f}, rest)
	f.disk.stalledUntil = s.now + electionTimeout
	gone := s.submitAbandoned(old, 3)
	s.within(electionTimeout/2, "the follower has them in memory", func() bool { return f.view.LastIndex == old.view.LastIndex })
	if f.view.DurableIndex == f.view.LastIndex {
		s.fail("the follower's disk has them already")
	}
	next := s.awaitSuccessor(electionTimeout/2, old, f)
	o := s.await(s.submitPadded(next, 0))
	s.partition([]*member{old}, append(rest, f))
	s.within(electionTimeout/2, "they are replaced while they wait for the disk", func() bool { return s.checker.LogTerm(f.id, o.Index) == next.view.Term })
	if s.now >= f.disk.stalledUntil {
		s.fail("the disk works again already")
	}
	s.awaitApplied(5*electionTimeout, o, append(rest, f)...)
	s.checkOnDisks([]*history.Operation{o}, append(rest, f)...)
	s.partition(s.members)
	s.within(10*electionTimeout, "all are well", s.converged)
	s.checkNoEffect("they never left the minority", gone...)
}

// appliedNotBeforeDurable: what is committed by the others is applied here no sooner than the own disk has it.
func appliedNotBeforeDurable(s *Driver) {
	leader := s.awaitSessions()
	m, other := leader, s.others(leader)[0]
	if s.chance(0.5) {
		m, other = other, m
	}
	before := m.view.DurableIndex
	m.disk.stalledUntil = s.now + electionTimeout*6/10
	var all []*history.Operation
	for range 5 {
		all = append(all, s.await(s.submitPadded(other, 0)))
	}
	s.within(heartbeatInterval, "it hears of the commit", func() bool { return m.view.Commit > before })
	if m.applied > before {
		s.fail("member %d has applied %d, and %d is on its disk", m.id, m.applied, before)
	}
	if s.chance(0.5) {
		m.powerCut(vfs.LoseUnsynced)
		s.restart(m)
	}
	s.awaitApplied(5*electionTimeout, all[4], s.members...)
	s.checkOnDisks(all, s.members...)
}

// lateDurable: the disk takes a former leader's entries; before the Node hears of it, the next leader's have replaced them.
func lateDurable(s *Driver) {
	old := s.awaitSessions()
	f, rest := s.others(old)[0], s.others(old)[1:]
	s.partition([]*member{old, f}, rest)
	f.disk.stalledUntil = s.now + electionTimeout
	gone := s.submitAbandoned(old, 3)
	s.within(electionTimeout/2, "the follower has them in memory", func() bool { return f.view.LastIndex == old.view.LastIndex })
	next := s.awaitSuccessor(electionTimeout/2, old, f)
	var replacing proto.Message
	held := s.dropRule(next, f, "AppendEntries").where(func(m proto.Message) bool {
		if e := m.(*messages.AppendEntries).GetEntries(); len(e.GetData()) > 3 && e.First <= f.view.LastIndex {
			replacing = proto.Clone(m)
		}
		return true
	})
	for range 5 {
		s.await(s.submitPadded(next, 0))
	}
	s.partition([]*member{old}, append(rest, f))
	s.within(electionTimeout/2, "the next leader tries to replace them", func() bool { return replacing != nil })
	met := false
	f.callAt(logName, "Flush", 1, func() { met = true; f.post(actors.NodePath, replacing) })
	s.within(electionTimeout, "its request arrives just before the news of the disk", func() bool { return met && f.view.Term == next.view.Term })
	s.advance(heartbeatInterval)
	held.end()
	s.awaitApplied(5*electionTimeout, s.commitWrite(), append(rest, f)...)
	s.partition(s.members)
	s.within(10*electionTimeout, "all are well", s.converged)
	s.checkNoEffect("they never left the minority", gone...)
}

// twoTruncations: leaders of two later terms, of whom only their requests are there, replace what a follower's disk has just
// taken. All are apart meanwhile, and nobody is elected.
//
//	on the disk     … t t t t t
//	in its log      … a a a b b   a = t+10, b = t+11
func twoTruncations(s *Driver) {
	old := s.awaitSessions()
	f, other := s.others(old)[0], s.others(old)[1]
	base, term := old.view.LastIndex, old.view.Term
	s.partition([]*member{old, f})
	f.disk.stalledUntil = s.now + electionTimeout/4
	s.submitAbandoned(old, 5)
	s.within(electionTimeout/4, "the follower has them in memory", func() bool { return f.view.LastIndex >= base+5 })
	met := false
	f.callAt(logName, "Flush", 1, func() {
		met = true
		f.post(actors.NodePath, appendEntriesFrom(other, base, term, term+10, 5))
		f.post(actors.NodePath, appendEntriesFrom(old, base+3, term+10, term+11, 2))
	})
	s.partition()
	s.within(electionTimeout/2, "both replace entries before the news of the disk", func() bool { return met && f.view.Term == term+11 })
	s.within(electionTimeout/10, "the disk has the last ones", func() bool { return s.isDurable(base+5, term+11, f) })
	for _, m := range []*member{old, other} { // as if they had voted in those terms: the former leader commits nothing any more
		m.post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 11, From: f.id})
	}
	s.within(electionTimeout/10, "all have gone on to the last term", func() bool { return old.view.Term == term+11 && other.view.Term == term+11 })
	s.partition(s.members)
	s.within(10*electionTimeout, "all are well", s.converged)
}

// appendEntriesFrom is a request as the leader of a term would make it that nobody leads in, with entries that say nothing.
func appendEntriesFrom(leader *member, prev, prevTerm, term uint64, n int) *messages.AppendEntries {
	e := &messages.Entries{First: prev + 1, Runs: []*messages.TermRun{{FirstIndex: prev + 1, Term: term}}}
	for range n {
		e.Data = append(e.Data, raft.EncodeNoop())
		e.Bytes += uint64(len(raft.EncodeNoop()))
	}
	return &messages.AppendEntries{Term: term, Leader: leader.id, PrevIndex: prev, PrevTerm: prevTerm, Entries: e, Stream: 1, Sequence: 1}
}

// termNotSavedSetup: member 1 led in term 3 and reached member 5 with one of its two entries. Both are away.
func termNotSavedSetup(w *World) {
	w.setInitialState(1, initialState{log: []uint64{1, 1, 3, 3}, term: 3, commit: 2})
	for id := uint64(2); id <= 4; id++ {
		w.setInitialState(id, initialState{log: []uint64{1, 1}, term: 3, commit: 2})
	}
	w.setInitialState(5, initialState{log: []uint64{1, 1, 3}, term: 3, commit: 2})
	w.members[0].notStarted, w.members[4].notStarted = true, true
	w.members[0].randomOverride, w.members[3].randomOverride = shortestTimeouts, shortestTimeouts
}

// acknowledgedInItsTerm: member 4 leads in term 4 and reaches nobody with its entry; member 1 leads in term 5 and finds
// that its log and member 5's agree up to index 3. Before member 5's disk has heard of term 5, it dies, and returns into
// term 4, whose leader has another entry at that index.
func acknowledgedInItsTerm(s *Driver) {
	first, former, follower, rest := s.members[0], s.members[3], s.members[4], s.members[1:3]
	for _, m := range rest {
		s.dropRule(former, m, "AppendEntries")
		s.dropRule(m, nil, "RequestVote")
	}
	s.partition(s.members[1:4])
	s.within(electionTimeout, "member 4 leads", func() bool { return s.majorityLeader() == former })
	s.partition(append([]*member{first}, rest...))
	s.restart(first)
	s.within(electionTimeout/2, "member 1 leads", func() bool { return s.majorityLeader() == first })
	s.restart(follower)
	s.within(electionTimeout/10, "member 5 knows its log", func() bool { return follower.view.LastIndex == 3 })
	follower.disk.stalledUntil = s.now + electionTimeout
	s.cutBetween([]*member{first}, []*member{follower}, false)
	s.within(heartbeatInterval, "member 5 is in the new term", func() bool { return follower.view.Term == first.view.Term })
	s.advance(heartbeatInterval) // for what it acknowledges
	follower.powerCut(vfs.LoseUnsynced)
	follower.disk.stalledUntil = 0
	s.partition(append([]*member{first}, rest...), []*member{former, follower})
	s.restart(follower)
	s.within(electionTimeout/2, "it follows the former leader", func() bool { return s.isDurable(3, former.view.Term, follower) })
	s.partition(append([]*member{first, follower}, rest...))
	s.within(electionTimeout, "it has the new leader's log", func() bool { return follower.view.Commit == first.view.LastIndex })
	s.checkTerms(follower, []uint64{1, 1, 3, 3})
}
