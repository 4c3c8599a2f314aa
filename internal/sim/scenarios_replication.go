package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var replicationScenarios = []Scenario{
	{Name: "basic-agreement", Nodes: 3, Script: basicAgreement,
		Description: "three writes one after the other stand at three indexes in a row on all members"},
	{Name: "commit-notice", Nodes: 3, Script: commitNotice,
		Description: "one write, then silence: the followers apply it within a round trip, not a heartbeat"},
	{Name: "bytes-sent", Nodes: 3, Script: bytesSent,
		Description: "ten writes of 5 kB: each goes once to each follower, at most 150 kB in all"},
	{Name: "message-count", Nodes: 3, Setup: allAbsent, Script: messageCount,
		Description: "an election, ten writes and an idle second cost a bounded number of messages"},
	{Name: "follower-failure", Nodes: 3, Script: followerFailure,
		Description: "one follower after the other is cut off: writes commit with a majority, not without, and go on when it is back"},
	{Name: "leader-failure", Nodes: 3, Script: leaderFailure,
		Description: "one leader after the other is cut off: the next one commits, and nobody when all are alone"},
	{Name: "fail-agree", Nodes: 3, Script: failAgree,
		Description: "a follower misses some writes and gets them when it is back; the indexes have no gap"},
	{Name: "fail-no-agree", Nodes: 5, Script: failNoAgree,
		Description: "three of five are cut off: nothing commits; when they are back all agree"},
	{Name: "rejoin", Nodes: 3, Script: rejoin,
		Description: "a cut leader takes three writes, the next leader one; swapped and joined: the three are gone, none was applied"},
	{Name: "backup", Nodes: 5, Errata: []int{42}, Script: backup,
		Description: "50 writes on a leader of a minority, 50 committed elsewhere, twice: at most two round trips for each conflicting term"},
	{Name: "reordered-append", Nodes: 3, Errata: []int{12, 42}, Script: reorderedAppend,
		Description: "old appends arrive again behind newer ones, also those of a former leader: what was acknowledged is never truncated"},
	{Name: "slow-follower", Nodes: 3, Errata: []int{43, 45}, Script: slowFollower,
		Description: "one follower behind a link of 1 kB/s: the leader's memory and what is under way stay bounded, the others are as fast as ever"},
	{Name: "follower-catches-up", Nodes: 3, Script: followerCatchesUp,
		Description: "a follower misses far more than memory keeps, and is fed from the leader's disk"},
	{Name: "all-die-and-return", Nodes: 3, Script: allKilledAndRestarted,
		Description: "all members lose power at once; one leads again soon"},
}

func basicAgreement(s *Driver) {
	leader := s.awaitSessions()
	last := leader.view.LastIndex
	var all []*history.Operation
	for range 3 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.checkConsecutive(last+1, all...)
	s.awaitApplied(heartbeatInterval/2, all[2], s.members...)
	for _, m := range s.members {
		if m.view.LastIndex != all[2].Index || m.view.Commit != all[2].Index {
			s.fail("member %d has %d entries, %d of them committed; not %d", m.id, m.view.LastIndex, m.view.Commit, all[2].Index)
		}
	}
}

func commitNotice(s *Driver) {
	leader := s.awaitSessions()
	s.awaitHeartbeat(leader)
	o := s.await(s.submitPadded(leader, 0))
	s.awaitApplied(2*s.conditions.MaxLatency+4*time.Millisecond, o, s.members...) // 2 ms is the most that a notice waits for company
}

func bytesSent(s *Driver) {
	leader := s.awaitSessions()
	bytes := 0
	sent := map[direction]int{} // to whom, which index → how often
	s.observeRule(nil, nil, func(_, to *member, m proto.Message) {
		bytes += proto.Size(m)
		if a, ok := m.(*messages.AppendEntries); ok {
			for i := range a.GetEntries().GetData() {
				sent[direction{to.id, a.Entries.First + uint64(i)}]++
			}
		}
	})
	var last *history.Operation
	for range 10 {
		last = s.await(s.submitPadded(leader, 5000))
	}
	s.awaitApplied(electionTimeout, last, s.members...)
	if bytes > 2*50_000+50_000 {
		s.fail("%d bytes were sent for 50 kB to two followers", bytes)
	}
	for _, f := range s.others(leader) {
		for index := last.Index - 9; index <= last.Index; index++ {
			if n := sent[direction{f.id, index}]; n != 1 {
				s.fail("entry %d was sent to member %d %d times", index, f.id, n)
			}
		}
	}
}

// allAbsent is the given of a script that boots all members itself.
func allAbsent(w *World) {
	for _, m := range w.members {
		m.notStarted = true
	}
}

// messageCount: all boot at once and have dice of their own, so that no vote is split: with boots some tens of milliseconds
// apart, two that are there without the third campaign at the same time in one of some hundred seeds, and the price is that
// of two elections.
func messageCount(s *Driver) {
	for i, m := range s.members {
		m.randomOverride = constantRandom(0.45 * float64(i))
		m.boot()
	}
	s.within(electionTimeout, "a leader", func() bool { return s.majorityLeader() != nil })
	if term := s.majorityLeader().view.Term; term != 2 || s.counts.Elections != 1 || s.counts.Messages > 30 {
		s.fail("%d messages, %d elections and term %d for the first leader", s.counts.Messages, s.counts.Elections, term)
	}
	s.overrideRandom(nil, s.members...)
	leader := s.awaitSessions()
	const most = (10 + 1 + 3) * 3

	s.awaitHeartbeat(leader)
	before := s.counts.Messages
	all := s.submitWrites(leader, 10)
	s.awaitAnswered(all, electionTimeout)
	s.awaitApplied(electionTimeout, all[9], s.members...)
	if n := s.counts.Messages - before; n > most {
		s.fail("%d messages for ten writes at once", n)
	}

	requests := s.observeRule(leader, nil, nil)
	for range 10 {
		s.await(s.submitPadded(leader, 0))
	}
	if requests.end(); requests.count > most {
		s.fail("%d requests for ten writes one after the other", requests.count)
	}

	s.awaitSessions()
	s.advance(2 * heartbeatInterval)
	s.awaitHeartbeat(leader)
	before = s.counts.Messages
	s.advance(10 * heartbeatInterval)
	if n := s.counts.Messages - before; n > 2*20 {
		s.fail("%d messages in an idle second, between a leader and two followers", n)
	}
}

func followerFailure(s *Driver) {
	leader := s.awaitSessions()
	followers := s.others(leader)
	s.writeAndWait(leader, 1)
	s.isolate(followers[0], true)
	s.writeAndWait(leader, 2)
	s.advance(electionTimeout)
	s.writeAndWait(leader, 2)
	s.isolate(followers[1], true)
	alone := s.submitPadded(leader, 0)
	s.advance(3 * electionTimeout)
	s.checkNoEffect("nobody hears the leader", alone)
	s.partition(s.members)
	s.awaitAnswered([]*history.Operation{alone}, 10*electionTimeout)
}

func leaderFailure(s *Driver) {
	first := s.awaitSessions()
	s.writeAndWait(first, 1)
	s.isolate(first, true)
	second := s.awaitSuccessor(5*electionTimeout, first)
	s.writeAndWait(second, 1)
	s.advance(electionTimeout)
	s.writeAndWait(second, 1)
	s.isolate(second, true)
	var all []*history.Operation
	for _, m := range s.members {
		all = append(all, s.submitPadded(m, 0))
	}
	s.advance(3 * electionTimeout)
	s.checkNoEffect("all are alone", all...)
	s.partition(s.members)
	s.awaitAnswered(all, 10*electionTimeout)
}

func failAgree(s *Driver) {
	leader := s.awaitSessions()
	away := s.others(leader)[0]
	last := leader.view.LastIndex
	all := []*history.Operation{s.await(s.submitPadded(leader, 0))}
	s.isolate(away, true)
	for range 2 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.advance(2 * electionTimeout)
	for range 2 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.isolate(away, false)
	for range 2 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.checkConsecutive(last+1, all...)
	s.awaitApplied(5*electionTimeout, all[6], s.members...)
}

func failNoAgree(s *Driver) {
	leader := s.awaitSessions()
	s.writeAndWait(leader, 1)
	for _, f := range s.others(leader)[:3] {
		s.isolate(f, true)
	}
	o := s.submitPadded(leader, 0)
	s.within(electionTimeout, "the leader takes it", func() bool { return leader.view.LastIndex > leader.view.Commit })
	s.advance(3 * electionTimeout)
	s.checkNoEffect("a minority has it", o)
	s.partition(s.members)
	s.awaitAnswered([]*history.Operation{o}, 10*electionTimeout)
	s.writeAndWait(s.awaitSuccessor(5*electionTimeout), 30)
}

func rejoin(s *Driver) {
	first := s.awaitSessions()
	s.writeAndWait(first, 1)
	s.isolate(first, true)
	gone := s.submitAbandoned(first, 3)
	second := s.awaitSuccessor(5*electionTimeout, first)
	s.writeAndWait(second, 1)
	s.isolate(first, false)
	s.isolate(second, true)
	third := s.awaitSuccessor(10*electionTimeout, second)
	s.writeAndWait(third, 1)
	s.isolate(second, false)
	s.writeAndWait(s.awaitSuccessor(5*electionTimeout), 1)
	s.within(5*electionTimeout, "all are well", s.converged)
	s.checkNoEffect("another leader committed in its place", gone...)
}

// backup is the story in which a leader that backs off one entry at a time needs fifty round trips, thrice.
func backup(s *Driver) {
	first := s.awaitSessions()
	rest := s.others(first)
	s.partition([]*member{first, rest[0]})
	gone := s.submitAbandoned(first, 50)
	s.within(electionTimeout, "its one follower has them", func() bool { return rest[0].view.LastIndex == first.view.LastIndex })

	s.partition(rest[1:])
	second := s.awaitSuccessor(10*electionTimeout, first, rest[0])
	s.writeAndWait(second, 50)
	aside, stays := s.otherTwo(rest[1:], second)
	s.partition([]*member{second, stays})
	gone = append(gone, s.submitAbandoned(second, 50)...)
	s.within(electionTimeout, "its one follower has them", func() bool { return stays.view.LastIndex == second.view.LastIndex })

	round := s.countRefusals()
	s.partition([]*member{first, rest[0], aside})
	third := s.awaitSuccessor(20*electionTimeout, second, stays)
	s.writeAndWait(third, 50)
	s.within(5*electionTimeout, "the former minority is repaired", func() bool {
		return first.view.LastIndex == third.view.LastIndex && rest[0].view.LastIndex == third.view.LastIndex
	})
	round(2, first, rest[0])

	round = s.countRefusals()
	s.partition(s.members)
	s.within(10*electionTimeout, "all are repaired", s.converged)
	round(2, second, stays)
	s.checkNoEffect("they never reached a majority", gone...)
}

// otherTwo are the two of three that are not this one.
func (s *Driver) otherTwo(three []*member, than *member) (*member, *member) {
	var two []*member
	for _, m := range three {
		if m != than {
			two = append(two, m)
		}
	}
	return two[0], two[1]
}

// refusals begins to look at appends that are refused. What it returns ends that, and checks that members refused the
// present leader's at so many positions at most.
func (s *Driver) countRefusals() func(most int, members ...*member) {
	type where struct{ from, to, term, index uint64 }
	at := map[where]bool{}
	seen := s.observeRule(nil, nil, func(from, to *member, m proto.Message) {
		if a := m.(*messages.AppendResponse); !a.Accepted {
			at[where{from.id, to.id, a.Term, a.Index}] = true
		}
	}, "AppendResponse")
	return func(most int, members ...*member) {
		seen.end()
		leader := s.majorityLeader()
		for _, m := range members {
			n := 0
			for w := range at {
				if w.from == m.id && w.to == leader.id && w.term == leader.view.Term {
					n++
				}
			}
			if n > most {
				s.fail("member %d refused at %d positions, at most %d were expected", m.id, n, most)
			}
		}
	}
}

func reorderedAppend(s *Driver) {
	leader := s.awaitSessions()
	f := s.others(leader)[0]
	var appends []proto.Message
	s.observeRule(nil, f, func(_, _ *member, m proto.Message) { appends = append(appends, proto.Clone(m)) }, "AppendEntries")
	again := func() {
		last := f.view.LastIndex
		for i := range appends {
			f.post(actors.NodePath, proto.Clone(appends[len(appends)-1-i])) // the latest first
			for until := s.now + 5*time.Millisecond; s.now < until; s.step() {
				s.check()
				if f.view.LastIndex < last || f.view.DurableIndex < last {
					s.fail("an old append cost member %d entries: it had %d, now %d, %d of them on disk", f.id, last, f.view.LastIndex, f.view.DurableIndex)
				}
			}
		}
	}
	for range 5 {
		s.await(s.submitPadded(leader, 0))
	}
	s.within(electionTimeout, "all have them", s.converged)
	again()
	leader.powerCut(vfs.LoseUnsynced)
	next := s.awaitSuccessor(5*electionTimeout, leader)
	s.writeAndWait(next, 2)
	s.within(electionTimeout, "the other one has them", func() bool { return f.view.DurableIndex == next.view.LastIndex && f.view.Commit == next.view.Commit })
	again()
}

func slowFollower(s *Driver) {
	leader := s.awaitSessions()
	slow := s.others(leader)[0]
	took := func() time.Duration {
		began := s.now
		for range 40 {
			s.await(s.submitPadded(leader, 100))
			if m := leader.view.MemoryBytes; m > s.nodeLimits().MemoryBytes+1000 {
				s.fail("the leader keeps %d bytes of the log in memory", m)
			}
		}
		return s.now - began
	}
	s.isolate(slow, true)
	usual := took()
	s.isolate(slow, false)
	s.network.bytesPerSecond[direction{leader.id, slow.id}] = 1000
	if now := took(); now > usual*5/4 {
		s.fail("40 writes took %v, and %v since one follower is slow", usual, now)
	}
	if slow.view.LastIndex == leader.view.LastIndex {
		s.fail("the slow follower is not behind")
	}
	// What is under way to it is a window and the probes of a leader that got no answer in time, not the backlog.
	s.within(60*electionTimeout, "the slow one gets there", func() bool {
		if late := s.network.lastArrival[lane{direction{leader.id, slow.id}, true}] - s.now; late > 5*time.Second {
			s.fail("%v worth of appends are on the way to the slow follower", late)
		}
		return slow.view.LastIndex == leader.view.LastIndex
	})
}

func followerCatchesUp(s *Driver) {
	leader := s.majorityLeader()
	away := s.others(leader)[0]
	away.powerCut(vfs.LoseUnsynced)
	for range 10 {
		s.writeAndWait(s.majorityLeader(), 15) // far more than is kept in memory
	}
	away.restart()
	s.within(5*electionTimeout, "it has caught up", func() bool { return away.view.LastIndex == leader.view.LastIndex })
}

func allKilledAndRestarted(s *Driver) {
	s.writeAndWait(s.majorityLeader(), 10)
	for _, m := range s.members {
		m.powerCut(vfs.LoseUnsynced)
	}
	for _, m := range s.members {
		m.restart()
	}
	s.within(2*electionTimeout, "a leader", func() bool { return s.majorityLeader() != nil })
}
