package sim

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var persistenceScenarios = []Scenario{
	{Name: "persist-all", Nodes: 3, Errata: []int{14}, Script: persistAll,
		Line: "all members, then the leader, then a follower lose power and return: it goes on each time, nothing acknowledged is lost"},
	{Name: "persist-leader", Nodes: 3, Errata: []int{14}, Script: persistLeader,
		Line: "what a leader and one follower committed survives the death of both, with a third that had missed it"},
	{Name: "persist-pairs", Nodes: 5, Errata: []int{14}, Script: persistPairs,
		Line: "five times, pairs are cut off, lose power and return in turn: nothing acknowledged is lost"},
	{Name: "fsync-order", Nodes: 3, Errata: []int{6, 13}, Script: fsyncOrder,
		Line: "at each vote, acknowledgement and answer to a client, a power cut would leave a disk that keeps it, names included"},
}

// loses ends lives as power cuts do: what was not synced is lost, kept or torn.
func (s *Scene) loses(all ...*member) {
	for _, m := range all {
		s.powerCut(m)
	}
}

// brings boots who is away.
func (s *Scene) brings(all ...*member) {
	for _, m := range all {
		s.returns(m)
	}
}

// keeps checks that what was acknowledged stands in the logs on the disks of members, where it was said to.
func (s *Scene) keeps(all []*operation, members ...*member) {
	for _, m := range members {
		log := s.commandsOnDisk(m)
		for _, o := range all {
			if o.outcome == Answered && log[o.index] != o.number {
				s.fail("command %d was acknowledged at index %d; there, the disk of member %d has %d", o.number, o.index, m.id, log[o.index])
			}
		}
	}
}

// commits has whoever leads write once, and waits for the answer.
func (s *Scene) commits() *operation {
	s.within(10*election, "a leader with a program that can write", func() bool { l := s.leads(); return l != nil && l.program.opened })
	return s.await(s.says(s.leads(), 0))
}

func persistAll(s *Scene) {
	all := []*operation{s.commits()}
	s.loses(s.members...)
	s.brings(s.members...)
	all = append(all, s.commits())

	leader := s.leads()
	s.loses(leader)
	s.brings(leader)
	all = append(all, s.commits())

	leader = s.leads()
	s.loses(leader)
	s.successor(5*election, leader)
	all = append(all, s.commits())
	s.brings(leader)
	s.applied(5*election, all[3], leader)

	follower := s.others(s.leads())[0]
	s.loses(follower)
	all = append(all, s.commits())
	s.brings(follower)
	s.applied(5*election, all[4], s.members...)
	s.keeps(all, s.members...)
}

func persistLeader(s *Scene) {
	all := []*operation{s.commits()}
	leader := s.leads()
	with, away := s.others(leader)[0], s.others(leader)[1]
	s.cutOff(away, true)
	all = append(all, s.commits())
	s.loses(leader, with)
	s.cutOff(away, false)
	s.brings(leader)
	all = append(all, s.commits())
	s.brings(with)
	all = append(all, s.commits())
	s.applied(5*election, all[3], s.members...)
	s.keeps(all, s.members...)
}

func persistPairs(s *Scene) {
	var all []*operation
	for range 5 {
		all = append(all, s.commits())
		leader := s.leads()
		rest := s.others(leader)
		s.parts([]*member{leader, rest[2], rest[3]})
		all = append(all, s.commits())
		s.parts()
		s.loses(rest[0], rest[1])
		s.brings(rest[0], rest[1])
		s.pass(election)
		s.loses(rest[2])
		s.brings(rest[2])
		s.parts(rest[:3])
		all = append(all, s.commits())
		s.parts(s.members)
	}
	last := s.commits()
	s.applied(5*election, last, s.members...)
	s.keeps(append(all, last), s.members...)
}

// fsyncOrder looks, at each promise, at the disk that a power cut at this very moment would leave if nothing had reached it
// by itself.
func fsyncOrder(s *Scene) {
	votes, acknowledgements := 0, 0
	s.tap(nil, nil, func(from, to *member, m proto.Message) {
		switch m := m.(type) {
		case *messages.RequestVote:
			if !m.PreVote {
				votes++
				s.votedOnDisk(from, m.Term, from.id)
			}
		case *messages.VoteResponse:
			if m.Granted && !m.PreVote {
				votes++
				s.votedOnDisk(from, m.Term, to.id)
			}
		case *messages.AppendResponse:
			if m.Accepted {
				acknowledgements++
				s.acknowledgedOnDisk(from, to, m)
			}
		}
	}, "RequestVote", "VoteResponse", "AppendResponse")
	for range 2 {
		for range 4 {
			s.answeredOnDisks()
		}
		leader := s.leads()
		leader.kill(vfs.LoseUnsynced)
		s.successor(5*election, leader)
		s.brings(leader)
		s.within(5*election, "it is back", func() bool { return leader.view.Role == "follower" && leader.view.LeaderID != 0 })
	}
	if votes < 4 || acknowledgements < 10 {
		s.fail("only %d votes and %d acknowledgements were looked at", votes, acknowledgements)
	}
}

// afterPowerCut is what a member's disk would hold.
func (s *Scene) afterPowerCut(m *member) *found {
	f, err := m.recover(vfs.LoseUnsynced)
	if err != nil {
		s.fail("the disk of member %d after a power cut: %v", m.id, err)
	}
	return f
}

func (s *Scene) votedOnDisk(voter *member, term, candidate uint64) {
	if is := s.afterPowerCut(voter).HardState; is.Term < term || is.Term == term && is.Vote != candidate {
		s.fail("member %d votes for %d in term %d; its disk has term %d and vote %d", voter.id, candidate, term, is.Term, is.Vote)
	}
}

// acknowledgedOnDisk: the entry, and the term without which it must not be spoken of (E13).
func (s *Scene) acknowledgedOnDisk(from, leader *member, m *messages.AppendResponse) {
	f := s.afterPowerCut(from)
	if f.LastIndex < m.Index || f.HardState.Term < m.Term {
		s.fail("member %d acknowledges index %d in term %d; its disk ends at %d in term %d", from.id, m.Index, m.Term, f.LastIndex, f.HardState.Term)
	}
	want := termAt(s.ghost.members[leader.id].log, m.Index)
	if leader.view.Role == "leader" && leader.view.Term == m.Term && f.term(m.Index) != want {
		s.fail("member %d acknowledges entry %d of term %d; its disk has one of term %d", from.id, m.Index, want, f.term(m.Index))
	}
}

// answeredOnDisks writes, and looks at the moment of the answer whether a majority would keep it.
func (s *Scene) answeredOnDisks() {
	s.within(10*election, "a leader with a program that can write", func() bool { l := s.leads(); return l != nil && l.program.opened })
	s.scribbled++
	c := command{kind: Append, key: scriptKeys + s.scribbled/keyLimit, value: "x"}
	o := s.history.begin(script, s.leads(), c, func(o *operation) {
		keep := 0
		for _, m := range s.members {
			if o.outcome == Answered && s.commandsOnDisk(m)[o.index] == o.number {
				keep++
			}
		}
		if o.outcome == Answered && keep <= s.size/2 {
			s.fail("a client is told of index %d; of %d disks %d have it", o.index, s.size, keep)
		}
	})
	s.await(o)
}
