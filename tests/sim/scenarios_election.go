package sim

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/persistence/vfs"
)

// Who leads, when, and how soon.

var electionScenarios = slices.Concat(leaderScenarios, partitionScenarios, transferScenarios, voteScenarios, rivalScenarios, promiseScenarios)

var leaderScenarios = []Scenario{
	{Name: "initial-election", Nodes: 3, Given: nothing, Script: initialElection,
		Line: "one leader within 5 timeouts of the first boot, and nobody else asks for a vote in the next 10"},
	{Name: "re-election", Nodes: 3, Script: reElection,
		Line: "a cut leader is replaced and returns without disturbing; none leads without a quorum, one again with it"},
	{Name: "re-election-after-a-kill", Nodes: 3, Errata: []int{16}, Script: reElectionAfterAKill,
		Line: "the leader dies and its connections break; another leads in a fraction of the election timeout"},
	{Name: "silent-leader", Nodes: 5, Errata: []int{16}, Script: silentLeader,
		Line: "the leader is cut off and no link tells of it; another leads, the former one steps down"},
	{Name: "many-elections", Nodes: 7, Script: manyElections,
		Line: "ten times three of seven are cut off: each time the majority has one leader, and nobody else leads after it"},
	{Name: "split-vote", Nodes: 5, Script: splitVote,
		Line: "all timeouts are equal and every vote is split, term after term; with their own dice, one leads within 20 timeouts"},
	{Name: "pre-vote-no-disruption", Nodes: 3, Errata: []int{15}, Script: preVoteNoDisruption,
		Line: "a follower that was cut off for 100 timeouts returns; leader and term stay"},
	{Name: "pre-vote-leaves-no-trace", Nodes: 5, Errata: []int{15}, Script: preVoteLeavesNoTrace,
		Line: "a deaf member asks for pre-votes on and on: no term, no vote and no timer of the others moves, and their next election is not late"},
	{Name: "term-ahead", Nodes: 3, Errata: []int{17}, Given: termAheadGiven, Script: termAhead,
		Line: "a member whose log is behind and whose term is ahead is freed by the answers of both sides, and all go on in a higher term"},
}

// nothing is the given of a script that begins before the first boot.
func nothing(*World) {}

func initialElection(s *Scene) {
	leader := s.settled(5 * election)
	s.reigns(leader, election) // its vote requests have gone by
	asked := s.tap(nil, nil, nil, "RequestVote")
	s.reigns(leader, 10*election)
	if asked.count > 0 {
		s.fail("%d votes were asked for although the leader was heard", asked.count)
	}
}

func reElection(s *Scene) {
	first := s.leads()
	s.cutOff(first, true)
	second := s.another(first, 5*election)
	s.writes(second, 1)

	// It returns, and follows.
	s.cutOff(first, false)
	s.within(2*election, "the first leader follows the second", func() bool {
		return first.view.Role == "follower" && first.view.LeaderID == second.id
	})
	s.reigns(second, 5*election)

	// Two of three gone: each of the three is alone.
	third := s.others(second)[s.random.IntN(2)]
	s.cutOff(second, true)
	s.cutOff(third, true)
	s.within(3*election, "nobody leads without a quorum", func() bool { return s.leader() == nil })
	elections := s.counts.Elections
	s.never(5*election, "somebody leads without a quorum", func() bool { return s.leader() != nil || s.counts.Elections != elections })

	// One returns to the one that is left: that is a quorum.
	rest := s.others(second)
	s.apart(rest, rest, false)
	leader := s.another(second, 5*election)
	s.writes(leader, 1)

	// And so does the last, to no effect but its own.
	s.cutOff(second, false)
	s.reigns(leader, 5*election)
	s.settled(election)
}

func reElectionAfterAKill(s *Scene) {
	former := s.leads()
	s.writes(former, 3)
	former.kill(vfs.LoseUnsynced)
	s.another(former, election/2)
}

func silentLeader(s *Scene) {
	s.weather.silent = true
	former := s.leads()
	s.cutOff(former, true)
	s.another(former, 4*election)
	s.within(2*election, "the former one steps down", func() bool { return former.view.Role != "leader" })
}

func manyElections(s *Scene) {
	for range 10 {
		away := s.some(3)
		rest := s.without(away)
		s.apart(away, s.members, true) // each of them alone
		s.within(5*election, "the majority has a leader", func() bool {
			l := s.leads()
			return l != nil && slices.Contains(rest, l)
		})
		s.writes(s.leads(), 1)
		s.apart(away, s.members, false)
	}
	s.reigns(s.settled(5*election), 2*election)
}

// splitVote: messages take much longer than anything else, and all the same time, so that nothing breaks the ties. The leader
// dies between two heartbeats: its last words, arriving behind the news that its connections broke, would put some of the
// others back to following it for a while, and the rest would campaign before them.
func splitVote(s *Scene) {
	s.weather.least, s.weather.latency = 20*heartbeat/100, 20*heartbeat/100+1
	s.pass(election)
	former := s.leads()
	rest := s.others(former)
	s.throw(middle, rest...)
	term := former.view.Term
	s.beats(former)
	former.kill(vfs.LoseUnsynced)
	s.never(6*election, "somebody leads although all timeouts are equal", func() bool { return s.leads() != nil })
	split := 0
	for t := term + 1; t <= rest[0].view.Term; t++ {
		if len(s.candidates(t)) > 1 {
			split++
		}
	}
	if split < 3 {
		s.fail("votes were split in %d terms only:%s", split, s.state())
	}
	s.throw(nil, rest...)
	s.another(former, 20*election)
}

func preVoteNoDisruption(s *Scene) {
	leader := s.leads()
	term := leader.view.Term
	away := s.others(leader)[0]
	s.cutOff(away, true)
	s.pass(100 * election)
	s.cutOff(away, false)
	s.reigns(leader, 5*election)
	if away.view.Term != term || away.view.LeaderID != leader.id {
		s.fail("the member that was away is in term %d; the leader was %d in term %d", away.view.Term, leader.id, term)
	}
}

// preVoteLeavesNoTrace: the deaf one campaigns each election timeout, the others would wait for 1.5 and more. Were their timers
// reset by what it asks, they would never time out.
func preVoteLeavesNoTrace(s *Scene) {
	s.weather.silent = true
	leader := s.leads()
	away := s.others(leader)[0]
	others := s.without([]*member{leader, away})
	s.deaf(away, true)
	s.throw(eager, away)
	for i, m := range others {
		s.throw(always(0.5+0.2*float64(i)), m) // at different times, so that they do not collide
	}
	requests := s.tap(away, nil, nil, "RequestVote").when(func(m proto.Message) bool { return !realVote(m) })
	s.reigns(leader, 10*election)
	if requests.count < 4*5 {
		s.fail("the deaf member asked for %d pre-votes only", requests.count)
	}
	leader.kill(vfs.LoseUnsynced)
	s.another(leader, 3*election)
}

// termAheadGiven: members 1 and 2 have an entry that 3 lacks; 3 is seven terms ahead of them. One of the three comes late:
// is it 3, the leader's words free it; is it another, who asks for votes is freed by the answer of 3.
func termAheadGiven(w *World) {
	w.given(1, past{log: []uint64{1, 1, 2, 2}})
	w.given(2, past{log: []uint64{1, 1, 2, 2}})
	w.given(3, past{log: []uint64{1, 1, 2}, term: 9})
	w.members[w.random.IntN(3)].absent = true
}

func termAhead(s *Scene) {
	ahead := s.members[2]
	if ahead.absent {
		leader := s.another(nil, 5*election)
		s.reigns(leader, 2*election) // whoever it asked for votes has been answered
		ahead.boot()
	}
	s.within(5*election, "one with the whole log leads, in a term above all", func() bool {
		l := s.leads()
		return l != nil && l != ahead && l.view.Term > 9 && ahead.view.LeaderID == l.id
	})
	s.reigns(s.leads(), 3*election)
}
