package scenario

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Elections: who leads, when, and how soon.

var electionScenarios = slices.Concat(leaderScenarios, partitionScenarios, transferScenarios, voteScenarios, rivalScenarios, invariantScenarios)

var leaderScenarios = []Scenario{
	{Name: "initial-election", Nodes: 3, Setup: noSetup, Script: initialElection,
		Description: "one leader within 5 timeouts of the first start, and no other requests a vote in the next 10"},
	{Name: "re-election", Nodes: 3, Script: reElection,
		Description: "an isolated leader is replaced and returns without disturbing; none leads without a quorum, one again with it"},
	{Name: "re-election-after-a-kill", Nodes: 3, Errata: []int{16}, Script: reElectionAfterAKill,
		Description: "the leader is killed and its connections break; another leads in a fraction of the election timeout"},
	{Name: "silent-leader", Nodes: 5, Errata: []int{16}, Script: silentLeader,
		Description: "the leader is isolated and no link reports it; another leads, the former one steps down"},
	{Name: "many-elections", Nodes: 7, Script: manyElections,
		Description: "ten times three of seven are isolated: each time the majority has one leader, and no other leads after it"},
	{Name: "split-vote", Nodes: 5, Script: splitVote,
		Description: "all timeouts are equal and every vote is split, term after term; with random timeouts, one leads within 20 timeouts"},
	{Name: "pre-vote-no-disruption", Nodes: 3, Errata: []int{15}, Script: preVoteNoDisruption,
		Description: "a follower that was isolated for 100 timeouts returns; leader and term stay"},
	{Name: "pre-vote-leaves-no-trace", Nodes: 5, Errata: []int{15}, Script: preVoteLeavesNoTrace,
		Description: "a member that receives nothing requests pre-votes repeatedly: no term, no vote and no timer of the others changes, and their next election is not late"},
	{Name: "term-ahead", Nodes: 3, Errata: []int{17}, Setup: termAheadSetup, Script: termAhead,
		Description: "a member with an older log and a higher term can follow again through the responses of both sides, and all continue in a higher term"},
}

// noSetup is the Setup of a script that begins before the members start.
func noSetup(*world.World) {}

func initialElection(s *Driver) {
	leader := s.awaitAllFollow(5 * world.ElectionTimeout)
	s.staysLeader(leader, world.ElectionTimeout) // its vote requests have passed
	asked := s.ObserveRule(nil, nil, nil, "RequestVote")
	s.staysLeader(leader, 10*world.ElectionTimeout)
	if asked.Count > 0 {
		s.fail("%d votes were requested although the leader was connected", asked.Count)
	}
}

func reElection(s *Driver) {
	first := s.majorityLeader()
	s.Isolate(first, true)
	second := s.awaitSuccessor(5*world.ElectionTimeout, first)
	s.writeAndWait(second, 1)

	// It returns and follows.
	s.Isolate(first, false)
	s.within(2*world.ElectionTimeout, "the first leader follows the second", func() bool {
		return first.View.Role == "follower" && first.View.LeaderID == second.ID()
	})
	s.staysLeader(second, 5*world.ElectionTimeout)

	// Two of three are isolated: each of the three is alone.
	third := s.others(second)[s.Random.IntN(2)]
	s.Isolate(second, true)
	s.Isolate(third, true)
	s.within(3*world.ElectionTimeout, "no member leads without a quorum", func() bool { return s.Leader() == nil })
	elections := s.Counts.Elections
	s.never(5*world.ElectionTimeout, "a member leads without a quorum", func() bool { return s.Leader() != nil || s.Counts.Elections != elections })

	// One is connected to the one that is left: that is a quorum.
	rest := s.others(second)
	s.cutBetween(rest, rest, false)
	leader := s.awaitSuccessor(5*world.ElectionTimeout, second)
	s.writeAndWait(leader, 1)

	// The last is connected too, which changes nothing else.
	s.Isolate(second, false)
	s.staysLeader(leader, 5*world.ElectionTimeout)
	s.awaitAllFollow(world.ElectionTimeout)
}

func reElectionAfterAKill(s *Driver) {
	former := s.majorityLeader()
	s.writeAndWait(former, 3)
	former.PowerCut(vfs.LoseUnsynced)
	s.awaitSuccessor(world.ElectionTimeout/2, former)
}

func silentLeader(s *Driver) {
	s.Conditions.HidesCuts = true
	former := s.majorityLeader()
	s.Isolate(former, true)
	s.awaitSuccessor(4*world.ElectionTimeout, former)
	s.within(2*world.ElectionTimeout, "the former one steps down", func() bool { return former.View.Role != "leader" })
}

func manyElections(s *Driver) {
	for range 10 {
		away := s.randomMembers(3)
		rest := s.membersExcept(away)
		s.cutBetween(away, s.Members, true) // each of them alone
		s.within(5*world.ElectionTimeout, "the majority has a leader", func() bool {
			l := s.majorityLeader()
			return l != nil && slices.Contains(rest, l)
		})
		s.writeAndWait(s.majorityLeader(), 1)
		s.cutBetween(away, s.Members, false)
	}
	s.staysLeader(s.awaitAllFollow(5*world.ElectionTimeout), 2*world.ElectionTimeout)
}

// splitVote: messages take much longer than anything else, and all the same time, so that nothing
// breaks the ties. The leader is killed between two heartbeats. A heartbeat that arrives after the
// report of its broken connections would make some of the others follow it for a while, and the
// rest would campaign before them.
func splitVote(s *Driver) {
	s.Conditions.MinLatency, s.Conditions.MaxLatency = 20*world.HeartbeatInterval/100, 20*world.HeartbeatInterval/100+1
	s.advance(world.ElectionTimeout)
	former := s.majorityLeader()
	rest := s.others(former)
	s.overrideRandom(middleTimeouts, rest...)
	term := former.View.Term
	s.awaitHeartbeat(former)
	former.PowerCut(vfs.LoseUnsynced)
	s.never(6*world.ElectionTimeout, "a member leads although all timeouts are equal", func() bool { return s.majorityLeader() != nil })
	split := 0
	for t := term + 1; t <= rest[0].View.Term; t++ {
		if len(s.candidates(t)) > 1 {
			split++
		}
	}
	if split < 3 {
		s.fail("votes were split in %d terms only:%s", split, s.DescribeMembers())
	}
	s.overrideRandom(nil, rest...)
	s.awaitSuccessor(20*world.ElectionTimeout, former)
}

func preVoteNoDisruption(s *Driver) {
	leader := s.majorityLeader()
	term := leader.View.Term
	away := s.others(leader)[0]
	s.Isolate(away, true)
	s.advance(100 * world.ElectionTimeout)
	s.Isolate(away, false)
	s.staysLeader(leader, 5*world.ElectionTimeout)
	if away.View.Term != term || away.View.LeaderID != leader.ID() {
		s.fail("the member that was isolated is in term %d; the leader was %d in term %d", away.View.Term, leader.ID(), term)
	}
}

// preVoteLeavesNoTrace: the member that receives nothing campaigns each election timeout, the
// others would wait for 1.5 timeouts and more. If its requests reset their timers, they would never
// time out.
func preVoteLeavesNoTrace(s *Driver) {
	s.Conditions.HidesCuts = true
	leader := s.majorityLeader()
	away := s.others(leader)[0]
	others := s.membersExcept([]*world.Member{leader, away})
	s.cutInbound(away, true)
	s.overrideRandom(shortestTimeouts, away)
	for i, m := range others {
		// At different times, so that they do not collide.
		s.overrideRandom(constantRandom(0.5+0.2*float64(i)), m)
	}
	requests := s.ObserveRule(away, nil, nil, "RequestVote").Where(func(m proto.Message) bool { return !world.RealVote(m) })
	s.staysLeader(leader, 10*world.ElectionTimeout)
	if requests.Count < 4*5 {
		s.fail("the member that receives nothing requested only %d pre-votes", requests.Count)
	}
	leader.PowerCut(vfs.LoseUnsynced)
	s.awaitSuccessor(3*world.ElectionTimeout, leader)
}

// termAheadSetup: members 1 and 2 have an entry that 3 lacks; 3 is seven terms ahead of them. One
// of the three starts late. If it is 3, the responses of the leader let it follow; if it is
// another, the response of 3 raises the term of the one that requests votes.
func termAheadSetup(w *world.World) {
	w.SetInitialState(1, world.InitialState{Log: []uint64{1, 1, 2, 2}})
	w.SetInitialState(2, world.InitialState{Log: []uint64{1, 1, 2, 2}})
	w.SetInitialState(3, world.InitialState{Log: []uint64{1, 1, 2}, Term: 9})
	w.Members[w.Random.IntN(3)].NotStarted = true
}

func termAhead(s *Driver) {
	ahead := s.Members[2]
	if ahead.NotStarted {
		leader := s.awaitSuccessor(5 * world.ElectionTimeout)
		s.staysLeader(leader, 2*world.ElectionTimeout) // all its vote requests have been answered
		ahead.Boot()
	}
	s.within(5*world.ElectionTimeout, "one with the whole log leads, in a term above all", func() bool {
		l := s.majorityLeader()
		return l != nil && l != ahead && l.View.Term > 9 && ahead.View.LeaderID == l.ID()
	})
	s.staysLeader(s.majorityLeader(), 3*world.ElectionTimeout)
}
