package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var replicationScenarios = []Scenario{
	{Name: "basic-agreement", Nodes: 3, Script: basicAgreement,
		Line: "three writes one after the other stand at three indexes in a row on all members"},
	{Name: "commit-notice", Nodes: 3, Script: commitNotice,
		Line: "one write, then silence: the followers apply it within a round trip, not a heartbeat"},
	{Name: "bytes-sent", Nodes: 3, Script: bytesSent,
		Line: "ten writes of 5 kB: each goes once to each follower, at most 150 kB in all"},
	{Name: "message-count", Nodes: 3, Given: allAbsent, Script: messageCount,
		Line: "an election, ten writes and an idle second cost a bounded number of messages"},
	{Name: "follower-failure", Nodes: 3, Script: followerFailure,
		Line: "one follower after the other is cut off: writes commit with a majority, not without, and go on when it is back"},
	{Name: "leader-failure", Nodes: 3, Script: leaderFailure,
		Line: "one leader after the other is cut off: the next one commits, and nobody when all are alone"},
	{Name: "fail-agree", Nodes: 3, Script: failAgree,
		Line: "a follower misses some writes and gets them when it is back; the indexes have no gap"},
	{Name: "fail-no-agree", Nodes: 5, Script: failNoAgree,
		Line: "three of five are cut off: nothing commits; when they are back all agree"},
	{Name: "rejoin", Nodes: 3, Script: rejoin,
		Line: "a cut leader takes three writes, the next leader one; swapped and joined: the three are gone, none was applied"},
	{Name: "backup", Nodes: 5, Errata: []int{42}, Script: backup,
		Line: "50 writes on a leader of a minority, 50 committed elsewhere, twice: at most two round trips for each conflicting term"},
	{Name: "reordered-append", Nodes: 3, Errata: []int{12, 42}, Script: reorderedAppend,
		Line: "old appends arrive again behind newer ones, also those of a former leader: what was acknowledged is never truncated"},
	{Name: "slow-follower", Nodes: 3, Errata: []int{43, 45}, Script: slowFollower,
		Line: "one follower behind a link of 1 kB/s: the leader's memory and what is under way stay bounded, the others are as fast as ever"},
	{Name: "follower-catches-up", Nodes: 3, Script: followerCatchesUp,
		Line: "a follower misses far more than memory keeps, and is fed from the leader's disk"},
	{Name: "all-die-and-return", Nodes: 3, Script: allDieAndReturn,
		Line: "all members lose power at once; one leads again soon"},
}

func basicAgreement(s *Scene) {
	leader := s.settles()
	last := leader.view.LastIndex
	var all []*operation
	for range 3 {
		all = append(all, s.await(s.says(leader, 0)))
	}
	s.inARow(last+1, all...)
	s.applied(heartbeat/2, all[2], s.members...)
	for _, m := range s.members {
		if m.view.LastIndex != all[2].index || m.view.Commit != all[2].index {
			s.fail("member %d has %d entries, %d of them committed; not %d", m.id, m.view.LastIndex, m.view.Commit, all[2].index)
		}
	}
}

func commitNotice(s *Scene) {
	leader := s.settles()
	s.beats(leader)
	o := s.await(s.says(leader, 0))
	s.applied(2*s.weather.latency+4*time.Millisecond, o, s.members...) // 2 ms is the most that a notice waits for company
}

func bytesSent(s *Scene) {
	leader := s.settles()
	bytes := 0
	sent := map[pair]int{} // to whom, which index → how often
	s.tap(nil, nil, func(_, to *member, m proto.Message) {
		bytes += proto.Size(m)
		if a, ok := m.(*messages.AppendEntries); ok {
			for i := range a.GetEntries().GetData() {
				sent[pair{to.id, a.Entries.First + uint64(i)}]++
			}
		}
	})
	var last *operation
	for range 10 {
		last = s.await(s.says(leader, 5000))
	}
	s.applied(election, last, s.members...)
	if bytes > 2*50_000+50_000 {
		s.fail("%d bytes were sent for 50 kB to two followers", bytes)
	}
	for _, f := range s.others(leader) {
		for index := last.index - 9; index <= last.index; index++ {
			if n := sent[pair{f.id, index}]; n != 1 {
				s.fail("entry %d was sent to member %d %d times", index, f.id, n)
			}
		}
	}
}

// allAbsent is the given of a script that boots all members itself.
func allAbsent(w *World) {
	for _, m := range w.members {
		m.absent = true
	}
}

// messageCount: all boot at once and have dice of their own, so that no vote is split: with boots some tens of milliseconds
// apart, two that are there without the third campaign at the same time in one of some hundred seeds, and the price is that
// of two elections.
func messageCount(s *Scene) {
	for i, m := range s.members {
		m.dice = always(0.45 * float64(i))
		m.boot()
	}
	s.within(election, "a leader", func() bool { return s.leads() != nil })
	if term := s.leads().view.Term; term != 2 || s.counts.Elections != 1 || s.counts.Messages > 30 {
		s.fail("%d messages, %d elections and term %d for the first leader", s.counts.Messages, s.counts.Elections, term)
	}
	s.throw(nil, s.members...)
	leader := s.settles()
	const most = (10 + 1 + 3) * 3

	s.beats(leader)
	before := s.counts.Messages
	all := s.say(leader, 10)
	s.answered(all, election)
	s.applied(election, all[9], s.members...)
	if n := s.counts.Messages - before; n > most {
		s.fail("%d messages for ten writes at once", n)
	}

	requests := s.tap(leader, nil, nil)
	for range 10 {
		s.await(s.says(leader, 0))
	}
	if requests.end(); requests.count > most {
		s.fail("%d requests for ten writes one after the other", requests.count)
	}

	s.settles()
	s.pass(2 * heartbeat)
	s.beats(leader)
	before = s.counts.Messages
	s.pass(10 * heartbeat)
	if n := s.counts.Messages - before; n > 2*20 {
		s.fail("%d messages in an idle second, between a leader and two followers", n)
	}
}

func followerFailure(s *Scene) {
	leader := s.settles()
	followers := s.others(leader)
	s.writes(leader, 1)
	s.cutOff(followers[0], true)
	s.writes(leader, 2)
	s.pass(election)
	s.writes(leader, 2)
	s.cutOff(followers[1], true)
	alone := s.says(leader, 0)
	s.pass(3 * election)
	s.noEffect("nobody hears the leader", alone)
	s.parts(s.members)
	s.answered([]*operation{alone}, 10*election)
}

func leaderFailure(s *Scene) {
	first := s.settles()
	s.writes(first, 1)
	s.cutOff(first, true)
	second := s.successor(5*election, first)
	s.writes(second, 1)
	s.pass(election)
	s.writes(second, 1)
	s.cutOff(second, true)
	var all []*operation
	for _, m := range s.members {
		all = append(all, s.says(m, 0))
	}
	s.pass(3 * election)
	s.noEffect("all are alone", all...)
	s.parts(s.members)
	s.answered(all, 10*election)
}

func failAgree(s *Scene) {
	leader := s.settles()
	away := s.others(leader)[0]
	last := leader.view.LastIndex
	all := []*operation{s.await(s.says(leader, 0))}
	s.cutOff(away, true)
	for range 2 {
		all = append(all, s.await(s.says(leader, 0)))
	}
	s.pass(2 * election)
	for range 2 {
		all = append(all, s.await(s.says(leader, 0)))
	}
	s.cutOff(away, false)
	for range 2 {
		all = append(all, s.await(s.says(leader, 0)))
	}
	s.inARow(last+1, all...)
	s.applied(5*election, all[6], s.members...)
}

func failNoAgree(s *Scene) {
	leader := s.settles()
	s.writes(leader, 1)
	for _, f := range s.others(leader)[:3] {
		s.cutOff(f, true)
	}
	o := s.says(leader, 0)
	s.within(election, "the leader takes it", func() bool { return leader.view.LastIndex > leader.view.Commit })
	s.pass(3 * election)
	s.noEffect("a minority has it", o)
	s.parts(s.members)
	s.answered([]*operation{o}, 10*election)
	s.writes(s.successor(5*election), 30)
}

func rejoin(s *Scene) {
	first := s.settles()
	s.writes(first, 1)
	s.cutOff(first, true)
	gone := s.forsakes(first, 3)
	second := s.successor(5*election, first)
	s.writes(second, 1)
	s.cutOff(first, false)
	s.cutOff(second, true)
	third := s.successor(10*election, second)
	s.writes(third, 1)
	s.cutOff(second, false)
	s.writes(s.successor(5*election), 1)
	s.within(5*election, "all are well", s.well)
	s.noEffect("another leader committed in its place", gone...)
}

// backup is the story in which a leader that backs off one entry at a time needs fifty round trips, thrice.
func backup(s *Scene) {
	first := s.settles()
	rest := s.others(first)
	s.parts([]*member{first, rest[0]})
	gone := s.forsakes(first, 50)
	s.within(election, "its one follower has them", func() bool { return rest[0].view.LastIndex == first.view.LastIndex })

	s.parts(rest[1:])
	second := s.successor(10*election, first, rest[0])
	s.writes(second, 50)
	aside, stays := s.othersOf(rest[1:], second)
	s.parts([]*member{second, stays})
	gone = append(gone, s.forsakes(second, 50)...)
	s.within(election, "its one follower has them", func() bool { return stays.view.LastIndex == second.view.LastIndex })

	round := s.refusals()
	s.parts([]*member{first, rest[0], aside})
	third := s.successor(20*election, second, stays)
	s.writes(third, 50)
	s.within(5*election, "the former minority is repaired", func() bool {
		return first.view.LastIndex == third.view.LastIndex && rest[0].view.LastIndex == third.view.LastIndex
	})
	round(2, first, rest[0])

	round = s.refusals()
	s.parts(s.members)
	s.within(10*election, "all are repaired", s.well)
	round(2, second, stays)
	s.noEffect("they never reached a majority", gone...)
}

// othersOf are the two of three that are not this one.
func (s *Scene) othersOf(three []*member, than *member) (*member, *member) {
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
func (s *Scene) refusals() func(most int, members ...*member) {
	type where struct{ from, to, term, index uint64 }
	at := map[where]bool{}
	seen := s.tap(nil, nil, func(from, to *member, m proto.Message) {
		if a := m.(*messages.AppendResponse); !a.Accepted {
			at[where{from.id, to.id, a.Term, a.Index}] = true
		}
	}, "AppendResponse")
	return func(most int, members ...*member) {
		seen.end()
		leader := s.leads()
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

func reorderedAppend(s *Scene) {
	leader := s.settles()
	f := s.others(leader)[0]
	var appends []proto.Message
	s.tap(nil, f, func(_, _ *member, m proto.Message) { appends = append(appends, proto.Clone(m)) }, "AppendEntries")
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
		s.await(s.says(leader, 0))
	}
	s.within(election, "all have them", s.well)
	again()
	leader.kill(vfs.LoseUnsynced)
	next := s.successor(5*election, leader)
	s.writes(next, 2)
	s.within(election, "the other one has them", func() bool { return f.view.DurableIndex == next.view.LastIndex && f.view.Commit == next.view.Commit })
	again()
}

func slowFollower(s *Scene) {
	leader := s.settles()
	slow := s.others(leader)[0]
	took := func() time.Duration {
		began := s.now
		for range 40 {
			s.await(s.says(leader, 100))
			if m := leader.view.MemoryBytes; m > s.limits().MemoryBytes+1000 {
				s.fail("the leader keeps %d bytes of the log in memory", m)
			}
		}
		return s.now - began
	}
	s.cutOff(slow, true)
	usual := took()
	s.cutOff(slow, false)
	s.network.rates[pair{leader.id, slow.id}] = 1000
	if now := took(); now > usual*5/4 {
		s.fail("40 writes took %v, and %v since one follower is slow", usual, now)
	}
	if slow.view.LastIndex == leader.view.LastIndex {
		s.fail("the slow follower is not behind")
	}
	// What is under way to it is a window and the probes of a leader that got no answer in time, not the backlog.
	s.within(60*election, "the slow one gets there", func() bool {
		if late := s.network.last[lane{pair{leader.id, slow.id}, true}] - s.now; late > 5*time.Second {
			s.fail("%v worth of appends are on the way to the slow follower", late)
		}
		return slow.view.LastIndex == leader.view.LastIndex
	})
}

func followerCatchesUp(s *Scene) {
	leader := s.leads()
	away := s.others(leader)[0]
	away.kill(vfs.LoseUnsynced)
	for range 10 {
		s.writes(s.leads(), 15) // far more than is kept in memory
	}
	away.return_()
	s.within(5*election, "it has caught up", func() bool { return away.view.LastIndex == leader.view.LastIndex })
}

func allDieAndReturn(s *Scene) {
	s.writes(s.leads(), 10)
	for _, m := range s.members {
		m.kill(vfs.LoseUnsynced)
	}
	for _, m := range s.members {
		m.return_()
	}
	s.within(2*election, "a leader", func() bool { return s.leads() != nil })
}
