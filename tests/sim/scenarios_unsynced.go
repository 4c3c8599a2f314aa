package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

// What is in memory before it is on disk: it may be replaced there, and it may be committed by others.

var unsyncedScenarios = []Scenario{
	{Name: "truncation-on-disk", Nodes: 5, Errata: []int{12}, Script: truncationOnDisk,
		Line: "entries on their way to a disk are replaced by another leader's: acknowledged is only what stands there in the end"},
	{Name: "late-durable", Nodes: 5, Errata: []int{12}, Script: lateDurable,
		Line: "a disk has taken entries, and the news of it meets a log in which another leader's have replaced them: they count for nothing"},
	{Name: "two-truncations", Nodes: 3, Errata: []int{12}, Script: twoTruncations,
		Line: "the news that a disk has taken entries meets a log that was cut twice since, the second time less deep: it counts up to the first cut"},
	{Name: "acknowledged-in-its-term", Nodes: 5, Errata: []int{1}, Given: givenTermNotSaved, Script: acknowledgedInItsTerm,
		Line: "a follower dies before the term in which it is probed is on its disk: the former leader may replace its entries only because nobody counts on them"},
	{Name: "applied-not-before-durable", Nodes: 3, Errata: []int{11}, Script: appliedNotBeforeDurable,
		Line: "the others commit what a member's disk does not hold yet: it applies no more than its disk has, also over its death"},
}

// truncationOnDisk: a former leader's entries still wait for the disk of a follower when the next leader's replace them.
func truncationOnDisk(s *Scene) {
	old := s.settles()
	f, rest := s.others(old)[0], s.others(old)[1:]
	s.parts([]*member{old, f}, rest)
	f.disk.stalledUntil = s.now + election
	gone := s.forsakes(old, 3)
	s.within(election/2, "the follower has them in memory", func() bool { return f.view.LastIndex == old.view.LastIndex })
	if f.view.DurableIndex == f.view.LastIndex {
		s.fail("the follower's disk has them already")
	}
	next := s.successor(election/2, old, f)
	o := s.await(s.says(next, 0))
	s.parts([]*member{old}, append(rest, f))
	s.within(election/2, "they are replaced while they wait for the disk", func() bool { return termAt(s.ghost.members[f.id].log, o.index) == next.view.Term })
	if s.now >= f.disk.stalledUntil {
		s.fail("the disk works again already")
	}
	s.applied(5*election, o, append(rest, f)...)
	s.keeps([]*operation{o}, append(rest, f)...)
	s.parts(s.members)
	s.within(10*election, "all are well", s.well)
	s.noEffect("they never left the minority", gone...)
}

// appliedNotBeforeDurable: what is committed by the others is applied here no sooner than the own disk has it.
func appliedNotBeforeDurable(s *Scene) {
	leader := s.settles()
	m, other := leader, s.others(leader)[0]
	if s.chance(0.5) {
		m, other = other, m
	}
	before := m.view.DurableIndex
	m.disk.stalledUntil = s.now + election*6/10
	var all []*operation
	for range 5 {
		all = append(all, s.await(s.says(other, 0)))
	}
	s.within(heartbeat, "it hears of the commit", func() bool { return m.view.Commit > before })
	if m.applied > before {
		s.fail("member %d has applied %d, and %d is on its disk", m.id, m.applied, before)
	}
	if s.chance(0.5) {
		m.kill(vfs.LoseUnsynced)
		s.returns(m)
	}
	s.applied(5*election, all[4], s.members...)
	s.keeps(all, s.members...)
}

// lateDurable: the disk takes a former leader's entries; before the Node hears of it, the next leader's have replaced them.
func lateDurable(s *Scene) {
	old := s.settles()
	f, rest := s.others(old)[0], s.others(old)[1:]
	s.parts([]*member{old, f}, rest)
	f.disk.stalledUntil = s.now + election
	gone := s.forsakes(old, 3)
	s.within(election/2, "the follower has them in memory", func() bool { return f.view.LastIndex == old.view.LastIndex })
	next := s.successor(election/2, old, f)
	var replacing proto.Message
	held := s.lose(next, f, "AppendEntries").when(func(m proto.Message) bool {
		if e := m.(*messages.AppendEntries).GetEntries(); len(e.GetData()) > 3 && e.First <= f.view.LastIndex {
			replacing = proto.Clone(m)
		}
		return true
	})
	for range 5 {
		s.await(s.says(next, 0))
	}
	s.parts([]*member{old}, append(rest, f))
	s.within(election/2, "the next leader tries to replace them", func() bool { return replacing != nil })
	met := false
	f.meets(logName, "Flush", 1, func() { met = true; f.post(actors.NodePath, replacing) })
	s.within(election, "its request arrives just before the news of the disk", func() bool { return met && f.view.Term == next.view.Term })
	s.pass(heartbeat)
	held.end()
	s.applied(5*election, s.commits(), append(rest, f)...)
	s.parts(s.members)
	s.within(10*election, "all are well", s.well)
	s.noEffect("they never left the minority", gone...)
}

// twoTruncations: leaders of two later terms, of whom only their requests are there, replace what a follower's disk has just
// taken. All are apart meanwhile, and nobody is elected.
//
//	on the disk     … t t t t t
//	in its log      … a a a b b   a = t+10, b = t+11
func twoTruncations(s *Scene) {
	old := s.settles()
	f, other := s.others(old)[0], s.others(old)[1]
	base, term := old.view.LastIndex, old.view.Term
	s.parts([]*member{old, f})
	f.disk.stalledUntil = s.now + election/4
	s.forsakes(old, 5)
	s.within(election/4, "the follower has them in memory", func() bool { return f.view.LastIndex >= base+5 })
	met := false
	f.meets(logName, "Flush", 1, func() {
		met = true
		f.post(actors.NodePath, ofAnother(other, base, term, term+10, 5))
		f.post(actors.NodePath, ofAnother(old, base+3, term+10, term+11, 2))
	})
	s.parts()
	s.within(election/2, "both replace entries before the news of the disk", func() bool { return met && f.view.Term == term+11 })
	s.within(election/10, "the disk has the last ones", func() bool { return s.durable(base+5, term+11, f) })
	for _, m := range []*member{old, other} { // as if they had voted in those terms: the former leader commits nothing any more
		m.post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 11, From: f.id})
	}
	s.within(election/10, "all have gone on to the last term", func() bool { return old.view.Term == term+11 && other.view.Term == term+11 })
	s.parts(s.members)
	s.within(10*election, "all are well", s.well)
}

// ofAnother is a request as the leader of a term would make it that nobody leads in, with entries that say nothing.
func ofAnother(leader *member, prev, prevTerm, term uint64, n int) *messages.AppendEntries {
	e := &messages.Entries{First: prev + 1, Runs: []*messages.TermRun{{FirstIndex: prev + 1, Term: term}}}
	for range n {
		e.Data = append(e.Data, raft.EncodeNoop())
		e.Bytes += uint64(len(raft.EncodeNoop()))
	}
	return &messages.AppendEntries{Term: term, Leader: leader.id, PrevIndex: prev, PrevTerm: prevTerm, Entries: e, Stream: 1, Sequence: 1}
}

// givenTermNotSaved: member 1 led in term 3 and reached member 5 with one of its two entries. Both are away.
func givenTermNotSaved(w *World) {
	w.given(1, past{log: []uint64{1, 1, 3, 3}, term: 3, commit: 2})
	for id := uint64(2); id <= 4; id++ {
		w.given(id, past{log: []uint64{1, 1}, term: 3, commit: 2})
	}
	w.given(5, past{log: []uint64{1, 1, 3}, term: 3, commit: 2})
	w.members[0].absent, w.members[4].absent = true, true
	w.members[0].dice, w.members[3].dice = eager, eager
}

// acknowledgedInItsTerm: member 4 leads in term 4 and reaches nobody with its entry; member 1 leads in term 5 and finds
// that its log and member 5's agree up to index 3. Before member 5's disk has heard of term 5, it dies, and returns into
// term 4, whose leader has another entry at that index.
func acknowledgedInItsTerm(s *Scene) {
	first, former, follower, rest := s.members[0], s.members[3], s.members[4], s.members[1:3]
	for _, m := range rest {
		s.lose(former, m, "AppendEntries")
		s.lose(m, nil, "RequestVote")
	}
	s.parts(s.members[1:4])
	s.within(election, "member 4 leads", func() bool { return s.leads() == former })
	s.parts(append([]*member{first}, rest...))
	s.returns(first)
	s.within(election/2, "member 1 leads", func() bool { return s.leads() == first })
	s.returns(follower)
	s.within(election/10, "member 5 knows its log", func() bool { return follower.view.LastIndex == 3 })
	follower.disk.stalledUntil = s.now + election
	s.apart([]*member{first}, []*member{follower}, false)
	s.within(heartbeat, "member 5 is in the new term", func() bool { return follower.view.Term == first.view.Term })
	s.pass(heartbeat) // for what it acknowledges
	follower.kill(vfs.LoseUnsynced)
	follower.disk.stalledUntil = 0
	s.parts(append([]*member{first}, rest...), []*member{former, follower})
	s.returns(follower)
	s.within(election/2, "it follows the former leader", func() bool { return s.durable(3, former.view.Term, follower) })
	s.parts(append([]*member{first, follower}, rest...))
	s.within(election, "it has the new leader's log", func() bool { return follower.view.Commit == first.view.LastIndex })
	s.holds(follower, []uint64{1, 1, 3, 3})
}
