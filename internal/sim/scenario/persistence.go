package scenario

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var persistenceScenarios = []Scenario{
	{Name: "persist-all", Nodes: 3, Errata: []int{14}, Script: persistAll,
		Description: "all members, then the leader, then a follower lose power and restart: service continues each time, no acknowledged write is lost"},
	{Name: "persist-leader", Nodes: 3, Errata: []int{14}, Script: persistLeader,
		Description: "what a leader and one follower committed survives their restart together with a third that had missed it"},
	{Name: "persist-pairs", Nodes: 5, Errata: []int{14}, Script: persistPairs,
		Description: "five times, pairs are isolated, lose power and restart in turn: no acknowledged write is lost"},
	{Name: "fsync-order", Nodes: 3, Errata: []int{6, 13}, Script: fsyncOrder,
		Description: "at each vote, acknowledgement and reply to a client, a power cut would leave a disk that has it, names included"},
}

// checkOnDisks checks that answered writes are in the logs on the disks of members, at the indexes
// of their replies.
func (s *Driver) checkOnDisks(all []*history.Operation, members ...*world.Member) {
	for _, m := range members {
		log := s.commandsOnDisk(m)
		for _, o := range all {
			if o.Outcome == history.Answered && log[o.Index] != o.Number {
				s.fail("command %d was acknowledged at index %d; there, the disk of member %d has %d", o.Number, o.Index, m.ID(), log[o.Index])
			}
		}
	}
}

// commitWrite writes once at the present leader, and waits for the answer.
func (s *Driver) commitWrite() *history.Operation {
	s.within(10*world.ElectionTimeout, "a leader whose session is registered", func() bool { l := s.majorityLeader(); return l != nil && l.Embedder.Registered() })
	return s.await(s.submitPadded(s.majorityLeader(), 0))
}

func persistAll(s *Driver) {
	all := []*history.Operation{s.commitWrite()}
	s.powerCut(s.Members...)
	s.restart(s.Members...)
	all = append(all, s.commitWrite())

	leader := s.majorityLeader()
	s.powerCut(leader)
	s.restart(leader)
	all = append(all, s.commitWrite())

	leader = s.majorityLeader()
	s.powerCut(leader)
	s.awaitSuccessor(5*world.ElectionTimeout, leader)
	all = append(all, s.commitWrite())
	s.restart(leader)
	s.awaitApplied(5*world.ElectionTimeout, all[3], leader)

	follower := s.others(s.majorityLeader())[0]
	s.powerCut(follower)
	all = append(all, s.commitWrite())
	s.restart(follower)
	s.awaitApplied(5*world.ElectionTimeout, all[4], s.Members...)
	s.checkOnDisks(all, s.Members...)
}

func persistLeader(s *Driver) {
	all := []*history.Operation{s.commitWrite()}
	leader := s.majorityLeader()
	with, away := s.others(leader)[0], s.others(leader)[1]
	s.Isolate(away, true)
	all = append(all, s.commitWrite())
	s.powerCut(leader, with)
	s.Isolate(away, false)
	s.restart(leader)
	all = append(all, s.commitWrite())
	s.restart(with)
	all = append(all, s.commitWrite())
	s.awaitApplied(5*world.ElectionTimeout, all[3], s.Members...)
	s.checkOnDisks(all, s.Members...)
}

func persistPairs(s *Driver) {
	var all []*history.Operation
	for range 5 {
		all = append(all, s.commitWrite())
		leader := s.majorityLeader()
		rest := s.others(leader)
		s.partition([]*world.Member{leader, rest[2], rest[3]})
		all = append(all, s.commitWrite())
		s.partition()
		s.powerCut(rest[0], rest[1])
		s.restart(rest[0], rest[1])
		s.advance(world.ElectionTimeout)
		s.powerCut(rest[2])
		s.restart(rest[2])
		s.partition(rest[:3])
		all = append(all, s.commitWrite())
		s.partition(s.Members)
	}
	last := s.commitWrite()
	s.awaitApplied(5*world.ElectionTimeout, last, s.Members...)
	s.checkOnDisks(append(all, last), s.Members...)
}

// fsyncOrder reads, at each vote and acknowledgement, the disk that a power cut at that moment
// would leave if nothing had reached it by itself.
func fsyncOrder(s *Driver) {
	votes, acknowledgements := 0, 0
	s.ObserveRule(nil, nil, func(from, to *world.Member, m proto.Message) {
		switch m := m.(type) {
		case *messages.RequestVote:
			if !m.PreVote {
				votes++
				s.checkVoteOnDisk(from, m.Term, from.ID())
			}
		case *messages.VoteResponse:
			if m.Granted && !m.PreVote {
				votes++
				s.checkVoteOnDisk(from, m.Term, to.ID())
			}
		case *messages.AppendResponse:
			if m.Accepted {
				acknowledgements++
				s.checkAckOnDisk(from, to, m)
			}
		}
	}, "RequestVote", "VoteResponse", "AppendResponse")
	for range 2 {
		for range 4 {
			s.checkAnsweredOnDisks()
		}
		leader := s.majorityLeader()
		leader.PowerCut(vfs.LoseUnsynced)
		s.awaitSuccessor(5*world.ElectionTimeout, leader)
		s.restart(leader)
		s.within(5*world.ElectionTimeout, "it has recovered", func() bool { return leader.View.Role == "follower" && leader.View.LeaderID != 0 })
	}
	if votes < 4 || acknowledgements < 10 {
		s.fail("only %d votes and %d acknowledgements were checked", votes, acknowledgements)
	}
}

// afterPowerCut returns what a member's disk would hold.
func (s *Driver) afterPowerCut(m *world.Member) *recoveredLog {
	f, err := recoverCopy(m, vfs.LoseUnsynced)
	if err != nil {
		s.fail("the disk of member %d after a power cut: %v", m.ID(), err)
	}
	return f
}

func (s *Driver) checkVoteOnDisk(voter *world.Member, term, candidate uint64) {
	if is := s.afterPowerCut(voter).HardState; is.Term < term || is.Term == term && is.Vote != candidate {
		s.fail("member %d votes for %d in term %d; its disk has term %d and vote %d", voter.ID(), candidate, term, is.Term, is.Vote)
	}
}

// checkAckOnDisk checks the entry, and the term without which it must not be acknowledged (E13).
func (s *Driver) checkAckOnDisk(from, leader *world.Member, m *messages.AppendResponse) {
	f := s.afterPowerCut(from)
	if f.LastIndex < m.Index || f.HardState.Term < m.Term {
		s.fail("member %d acknowledges index %d in term %d; its disk ends at %d in term %d", from.ID(), m.Index, m.Term, f.LastIndex, f.HardState.Term)
	}
	want := s.Checker.LogTerm(leader.ID(), m.Index)
	if leader.View.Role == "leader" && leader.View.Term == m.Term && f.term(m.Index) != want {
		s.fail("member %d acknowledges entry %d of term %d; its disk has one of term %d", from.ID(), m.Index, want, f.term(m.Index))
	}
}

// checkAnsweredOnDisks writes, and checks at the moment of the reply whether a majority would keep
// the entry.
func (s *Driver) checkAnsweredOnDisks() {
	s.within(10*world.ElectionTimeout, "a leader whose session is registered", func() bool { l := s.majorityLeader(); return l != nil && l.Embedder.Registered() })
	s.scriptWrites++
	c := history.Command{Kind: history.Append, Key: history.FirstScriptKey + s.scriptWrites/world.MaxKeyUses, Value: "x"}
	o := s.History.Begin(history.ScriptClient, s.majorityLeader(), c, func(o *history.Operation) {
		keep := 0
		for _, m := range s.Members {
			if o.Outcome == history.Answered && s.commandsOnDisk(m)[o.Index] == o.Number {
				keep++
			}
		}
		if o.Outcome == history.Answered && keep <= s.Size/2 {
			s.fail("a client gets a reply for index %d; of %d disks %d have it", o.Index, s.Size, keep)
		}
	})
	s.await(o)
}
