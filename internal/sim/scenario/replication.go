package scenario

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var replicationScenarios = []Scenario{
	{Name: "basic-agreement", Nodes: 3, Script: basicAgreement,
		Description: "three writes one after the other are at three consecutive indexes on all members"},
	{Name: "commit-notice", Nodes: 3, Script: commitNotice,
		Description: "one write, then silence: the followers apply it within a round trip, not a heartbeat"},
	{Name: "bytes-sent", Nodes: 3, Script: bytesSent,
		Description: "ten writes of 5 kB: each goes once to each follower, at most 150 kB in all"},
	{Name: "message-count", Nodes: 3, Setup: allAbsent, Script: messageCount,
		Description: "an election, ten writes and an idle second cost a bounded number of messages"},
	{Name: "follower-failure", Nodes: 3, Script: followerFailure,
		Description: "one follower after the other is isolated: writes commit with a majority, not without, and continue when it is back"},
	{Name: "leader-failure", Nodes: 3, Script: leaderFailure,
		Description: "one leader after the other is isolated: the next one commits, and none when all are alone"},
	{Name: "fail-agree", Nodes: 3, Script: failAgree,
		Description: "a follower misses some writes and gets them when it is back; the indexes have no gap"},
	{Name: "fail-no-agree", Nodes: 5, Script: failNoAgree,
		Description: "three of five are isolated: nothing commits; when they are back all agree"},
	{Name: "rejoin", Nodes: 3, Script: rejoin,
		Description: "an isolated leader appends three writes, the next leader one; swapped and connected: the three are replaced, none was applied"},
	{Name: "backup", Nodes: 5, Errata: []int{42}, Script: backup,
		Description: "50 writes on a leader of a minority, 50 committed elsewhere, twice: at most two round trips for each conflicting term"},
	{Name: "reordered-append", Nodes: 3, Errata: []int{12, 42}, Script: reorderedAppend,
		Description: "old appends arrive again behind newer ones, also those of a former leader: what was acknowledged is never truncated"},
	{Name: "slow-follower", Nodes: 3, Errata: []int{43, 45}, Script: slowFollower,
		Description: "one follower behind a link of 1 kB/s: the leader's memory and its requests in flight stay bounded, the others are as fast as before"},
	{Name: "follower-catches-up", Nodes: 3, Script: followerCatchesUp,
		Description: "a follower misses far more than memory keeps, and receives it from the leader's disk"},
	{Name: "all-restart", Nodes: 3, Script: allKilledAndRestarted,
		Description: "all members lose power at once; one leads again soon"},
}

func basicAgreement(s *Driver) {
	leader := s.awaitSessions()
	last := leader.View.LastIndex
	var all []*history.Operation
	for range 3 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.checkConsecutive(last+1, all...)
	s.awaitApplied(world.HeartbeatInterval/2, all[2], s.Members...)
	for _, m := range s.Members {
		if m.View.LastIndex != all[2].Index || m.View.Commit != all[2].Index {
			s.fail("member %d has %d entries, %d of them committed; not %d", m.ID(), m.View.LastIndex, m.View.Commit, all[2].Index)
		}
	}
}

func commitNotice(s *Driver) {
	leader := s.awaitSessions()
	s.awaitHeartbeat(leader)
	o := s.await(s.submitPadded(leader, 0))
	// A commit notice waits at most 2 ms for others.
	s.awaitApplied(2*s.Conditions.MaxLatency+4*time.Millisecond, o, s.Members...)
}

func bytesSent(s *Driver) {
	leader := s.awaitSessions()
	bytes := 0
	type copyOf struct{ to, index uint64 }
	sent := map[copyOf]int{} // how often each entry was sent to each member
	s.ObserveRule(nil, nil, func(_, to *world.Member, m proto.Message) {
		bytes += proto.Size(m)
		if a, ok := m.(*messages.AppendEntries); ok {
			for i := range a.GetEntries().GetData() {
				sent[copyOf{to.ID(), a.Entries.First + uint64(i)}]++
			}
		}
	})
	var last *history.Operation
	for range 10 {
		last = s.await(s.submitPadded(leader, 5000))
	}
	s.awaitApplied(world.ElectionTimeout, last, s.Members...)
	if bytes > 2*50_000+50_000 {
		s.fail("%d bytes were sent for 50 kB to two followers", bytes)
	}
	for _, f := range s.others(leader) {
		for index := last.Index - 9; index <= last.Index; index++ {
			if n := sent[copyOf{f.ID(), index}]; n != 1 {
				s.fail("entry %d was sent to member %d %d times", index, f.ID(), n)
			}
		}
	}
}

// allAbsent is the Setup of a script that starts all members itself.
func allAbsent(w *world.World) {
	for _, m := range w.Members {
		m.NotStarted = true
	}
}

// messageCount starts all members at once, with different random timeouts, so that no vote is
// split. With starts some tens of milliseconds apart, two members that are up without the third
// campaign at the same time in one of some hundred seeds, and the cost is that of two elections.
func messageCount(s *Driver) {
	for i, m := range s.Members {
		m.RandomOverride = constantRandom(0.45 * float64(i))
		m.Boot()
	}
	s.within(world.ElectionTimeout, "a leader", func() bool { return s.majorityLeader() != nil })
	if term := s.majorityLeader().View.Term; term != 2 || s.Counts.Elections != 1 || s.Counts.Messages > 30 {
		s.fail("%d messages, %d elections and term %d for the first leader", s.Counts.Messages, s.Counts.Elections, term)
	}
	s.overrideRandom(nil, s.Members...)
	leader := s.awaitSessions()
	const most = (10 + 1 + 3) * 3

	s.awaitHeartbeat(leader)
	before := s.Counts.Messages
	all := s.submitWrites(leader, 10)
	s.awaitAnswered(all, world.ElectionTimeout)
	s.awaitApplied(world.ElectionTimeout, all[9], s.Members...)
	if n := s.Counts.Messages - before; n > most {
		s.fail("%d messages for ten writes at once", n)
	}

	requests := s.ObserveRule(leader, nil, nil)
	for range 10 {
		s.await(s.submitPadded(leader, 0))
	}
	if requests.End(); requests.Count > most {
		s.fail("%d requests for ten writes one after the other", requests.Count)
	}

	s.awaitSessions()
	s.advance(2 * world.HeartbeatInterval)
	s.awaitHeartbeat(leader)
	before = s.Counts.Messages
	s.advance(10 * world.HeartbeatInterval)
	if n := s.Counts.Messages - before; n > 2*20 {
		s.fail("%d messages in an idle second, between a leader and two followers", n)
	}
}

func followerFailure(s *Driver) {
	leader := s.awaitSessions()
	followers := s.others(leader)
	s.writeAndWait(leader, 1)
	s.Isolate(followers[0], true)
	s.writeAndWait(leader, 2)
	s.advance(world.ElectionTimeout)
	s.writeAndWait(leader, 2)
	s.Isolate(followers[1], true)
	alone := s.submitPadded(leader, 0)
	s.advance(3 * world.ElectionTimeout)
	s.checkNoEffect("no member receives from the leader", alone)
	s.partition(s.Members)
	s.awaitAnswered([]*history.Operation{alone}, 10*world.ElectionTimeout)
}

func leaderFailure(s *Driver) {
	first := s.awaitSessions()
	s.writeAndWait(first, 1)
	s.Isolate(first, true)
	second := s.awaitSuccessor(5*world.ElectionTimeout, first)
	s.writeAndWait(second, 1)
	s.advance(world.ElectionTimeout)
	s.writeAndWait(second, 1)
	s.Isolate(second, true)
	var all []*history.Operation
	for _, m := range s.Members {
		all = append(all, s.submitPadded(m, 0))
	}
	s.advance(3 * world.ElectionTimeout)
	s.checkNoEffect("all are alone", all...)
	s.partition(s.Members)
	s.awaitAnswered(all, 10*world.ElectionTimeout)
}

func failAgree(s *Driver) {
	leader := s.awaitSessions()
	away := s.others(leader)[0]
	last := leader.View.LastIndex
	all := []*history.Operation{s.await(s.submitPadded(leader, 0))}
	s.Isolate(away, true)
	for range 2 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.advance(2 * world.ElectionTimeout)
	for range 2 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.Isolate(away, false)
	for range 2 {
		all = append(all, s.await(s.submitPadded(leader, 0)))
	}
	s.checkConsecutive(last+1, all...)
	s.awaitApplied(5*world.ElectionTimeout, all[6], s.Members...)
}

func failNoAgree(s *Driver) {
	leader := s.awaitSessions()
	s.writeAndWait(leader, 1)
	for _, f := range s.others(leader)[:3] {
		s.Isolate(f, true)
	}
	o := s.submitPadded(leader, 0)
	s.within(world.ElectionTimeout, "the leader appends it", func() bool { return leader.View.LastIndex > leader.View.Commit })
	s.advance(3 * world.ElectionTimeout)
	s.checkNoEffect("a minority has it", o)
	s.partition(s.Members)
	s.awaitAnswered([]*history.Operation{o}, 10*world.ElectionTimeout)
	s.writeAndWait(s.awaitSuccessor(5*world.ElectionTimeout), 30)
}

func rejoin(s *Driver) {
	first := s.awaitSessions()
	s.writeAndWait(first, 1)
	s.Isolate(first, true)
	gone := s.submitAbandoned(first, 3)
	second := s.awaitSuccessor(5*world.ElectionTimeout, first)
	s.writeAndWait(second, 1)
	s.Isolate(first, false)
	s.Isolate(second, true)
	third := s.awaitSuccessor(10*world.ElectionTimeout, second)
	s.writeAndWait(third, 1)
	s.Isolate(second, false)
	s.writeAndWait(s.awaitSuccessor(5*world.ElectionTimeout), 1)
	s.within(5*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.checkNoEffect("another leader committed in its place", gone...)
}

// backup is the case in which a leader that backs off one entry at a time needs fifty round trips,
// three times.
func backup(s *Driver) {
	first := s.awaitSessions()
	rest := s.others(first)
	s.partition([]*world.Member{first, rest[0]})
	gone := s.submitAbandoned(first, 50)
	s.within(world.ElectionTimeout, "its one follower has them", func() bool { return rest[0].View.LastIndex == first.View.LastIndex })

	s.partition(rest[1:])
	second := s.awaitSuccessor(10*world.ElectionTimeout, first, rest[0])
	s.writeAndWait(second, 50)
	aside, stays := s.otherTwo(rest[1:], second)
	s.partition([]*world.Member{second, stays})
	gone = append(gone, s.submitAbandoned(second, 50)...)
	s.within(world.ElectionTimeout, "its one follower has them", func() bool { return stays.View.LastIndex == second.View.LastIndex })

	round := s.countRefusals()
	s.partition([]*world.Member{first, rest[0], aside})
	third := s.awaitSuccessor(20*world.ElectionTimeout, second, stays)
	s.writeAndWait(third, 50)
	s.within(5*world.ElectionTimeout, "the former minority is repaired", func() bool {
		return first.View.LastIndex == third.View.LastIndex && rest[0].View.LastIndex == third.View.LastIndex
	})
	round(2, first, rest[0])

	round = s.countRefusals()
	s.partition(s.Members)
	s.within(10*world.ElectionTimeout, "all are repaired", s.Converged)
	round(2, second, stays)
	s.checkNoEffect("they never reached a majority", gone...)
}

// otherTwo returns the two of three that are not the given one.
func (s *Driver) otherTwo(three []*world.Member, than *world.Member) (*world.Member, *world.Member) {
	var two []*world.Member
	for _, m := range three {
		if m != than {
			two = append(two, m)
		}
	}
	return two[0], two[1]
}

// countRefusals begins to count refused appends. The function that it returns ends that, and checks
// that members refused at most so many positions of the present leader.
func (s *Driver) countRefusals() func(most int, members ...*world.Member) {
	type where struct{ from, to, term, index uint64 }
	at := map[where]bool{}
	seen := s.ObserveRule(nil, nil, func(from, to *world.Member, m proto.Message) {
		if a := m.(*messages.AppendResponse); !a.Accepted {
			at[where{from.ID(), to.ID(), a.Term, a.Index}] = true
		}
	}, "AppendResponse")
	return func(most int, members ...*world.Member) {
		seen.End()
		leader := s.majorityLeader()
		for _, m := range members {
			n := 0
			for w := range at { // order does not matter: it counts
				if w.from == m.ID() && w.to == leader.ID() && w.term == leader.View.Term {
					n++
				}
			}
			if n > most {
				s.fail("member %d refused at %d positions, at most %d were expected", m.ID(), n, most)
			}
		}
	}
}

func reorderedAppend(s *Driver) {
	leader := s.awaitSessions()
	f := s.others(leader)[0]
	var appends []proto.Message
	s.ObserveRule(nil, f, func(_, _ *world.Member, m proto.Message) { appends = append(appends, proto.Clone(m)) }, "AppendEntries")
	again := func() {
		last := f.View.LastIndex
		for i := range appends {
			f.Post(actors.NodePath, proto.Clone(appends[len(appends)-1-i])) // the latest first
			for until := s.Now() + 5*time.Millisecond; s.Now() < until; s.Step() {
				s.check()
				if f.View.LastIndex < last || f.View.DurableIndex < last {
					s.fail("an old append cost member %d entries: it had %d, now %d, %d of them on disk", f.ID(), last, f.View.LastIndex, f.View.DurableIndex)
				}
			}
		}
	}
	for range 5 {
		s.await(s.submitPadded(leader, 0))
	}
	s.within(world.ElectionTimeout, "all have them", s.Converged)
	again()
	leader.PowerCut(vfs.LoseUnsynced)
	next := s.awaitSuccessor(5*world.ElectionTimeout, leader)
	s.writeAndWait(next, 2)
	s.within(world.ElectionTimeout, "the other one has them", func() bool { return f.View.DurableIndex == next.View.LastIndex && f.View.Commit == next.View.Commit })
	again()
}

func slowFollower(s *Driver) {
	leader := s.awaitSessions()
	slow := s.others(leader)[0]
	took := func() time.Duration {
		began := s.Now()
		for range 40 {
			s.await(s.submitPadded(leader, 100))
			if m := leader.View.MemoryBytes; m > s.NodeLimits().MemoryBytes+1000 {
				s.fail("the leader keeps %d bytes of the log in memory", m)
			}
		}
		return s.Now() - began
	}
	s.Isolate(slow, true)
	usual := took()
	s.Isolate(slow, false)
	s.LimitRate(leader, slow, 1000)
	if now := took(); now > usual*5/4 {
		s.fail("40 writes took %v, and %v after one follower became slow", usual, now)
	}
	if slow.View.LastIndex == leader.View.LastIndex {
		s.fail("the slow follower is not behind")
	}
	// Under way to it are a window and the probes of a leader that got no response in time, not the
	// backlog.
	s.within(60*world.ElectionTimeout, "the slow one catches up", func() bool {
		if late := s.LastArrival(leader, slow) - s.Now(); late > 5*time.Second {
			s.fail("%v worth of appends are on the way to the slow follower", late)
		}
		return slow.View.LastIndex == leader.View.LastIndex
	})
}

func followerCatchesUp(s *Driver) {
	leader := s.majorityLeader()
	away := s.others(leader)[0]
	away.PowerCut(vfs.LoseUnsynced)
	for range 10 {
		s.writeAndWait(s.majorityLeader(), 15) // far more than is kept in memory
	}
	away.Restart()
	s.within(5*world.ElectionTimeout, "it has caught up", func() bool { return away.View.LastIndex == leader.View.LastIndex })
}

func allKilledAndRestarted(s *Driver) {
	s.writeAndWait(s.majorityLeader(), 10)
	for _, m := range s.Members {
		m.PowerCut(vfs.LoseUnsynced)
	}
	for _, m := range s.Members {
		m.Restart()
	}
	s.within(2*world.ElectionTimeout, "a leader", func() bool { return s.majorityLeader() != nil })
}
