package scenario

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

// The figures of the paper, with the terms that are printed there. Where the paper has an entry of
// a client at index 1 or 2, the logs here have the first configuration and the registration of a
// session; the terms are the same.

// figure7 is the log of the new leader in Figure 7, and those of its possible followers.
var (
	figure7Leader    = []uint64{1, 1, 1, 4, 4, 5, 5, 6, 6, 6}
	figure7Followers = []struct {
		letter string
		log    []uint64
	}{
		{"a", []uint64{1, 1, 1, 4, 4, 5, 5, 6, 6}},          // lacks an entry
		{"b", []uint64{1, 1, 1, 4}},                         // lacks many
		{"c", []uint64{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6}},    // has one too many
		{"d", []uint64{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}}, // led in term 7, and committed nothing
		{"e", []uint64{1, 1, 1, 4, 4, 4, 4}},                // lacks some, has others too many
		{"f", []uint64{1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3}},    // led in terms 2 and 3, committed nothing
	}
)

var figureScenarios = append(figure7Alone(),
	Scenario{Name: "figure-7", Nodes: 7, Errata: []int{42}, Setup: figure7Setup, Script: figure7,
		Description: "a new leader has followers with all the logs (a) to (f) of Figure 7; all end equal to its own, each conflicting term in two round trips"},
	Scenario{Name: "figure-8", Nodes: 5, Errata: []int{44}, Setup: figure8Setup, Script: figure8Replaced,
		Description: "an entry of term 2 is on a majority, is not committed by counting, and is replaced by the leader of term 5: (c), then (d)"},
	Scenario{Name: "figure-8-e", Nodes: 5, Errata: []int{44}, Setup: figure8Setup, Script: figure8Committed,
		Description: "the same, but the leader's own entry reaches a majority first: both are committed, and the rival cannot win: (c), then (e)"},
	Scenario{Name: "tutorial-repair", Nodes: 5, Setup: tutorialSetup, Script: tutorialRepair,
		Description: "x=4 at index 8 is on three members; one follower is behind, one has diverged: both are repaired in few messages"},
)

// figure7Alone returns a scenario for each letter: the leader, another member with its log, and the
// follower that starts late.
func figure7Alone() (all []Scenario) {
	for _, f := range figure7Followers {
		all = append(all, Scenario{
			Name: "figure-7-" + f.letter, Nodes: 3, Errata: []int{42},
			Description: "a new leader has a follower with log (" + f.letter + ") of Figure 7; it ends equal to the leader's",
			Setup: func(w *world.World) {
				w.SetInitialState(1, world.InitialState{Log: figure7Leader, Term: 7})
				w.SetInitialState(2, world.InitialState{Log: figure7Leader, Term: 7})
				w.SetInitialState(3, world.InitialState{Log: f.log, Term: 7})
				w.Members[2].NotStarted = true
			},
			Script: func(s *Driver) {
				s.within(5*world.ElectionTimeout, "a leader in term 8", func() bool { return s.majorityLeader() != nil })
				s.checkRepair(s.majorityLeader(), s.Members[2], 2*conflictingTerms(f.log, figure7Leader))
				s.checkTerms(s.Members[2], figure7Leader)
			},
		})
	}
	return all
}

// conflictingTerms counts the terms of a follower's entries that its leader does not have, and one
// for entries that it lacks.
func conflictingTerms(log, leader []uint64) (n int) {
	for i, term := range log {
		if (i >= len(leader) || leader[i] != term) && (i == 0 || log[i-1] != term) {
			n++
		}
	}
	return n + 1
}

// figure7Setup: four members can elect member 1 and no other, since their logs are older than its;
// the others start late.
func figure7Setup(w *world.World) {
	w.SetInitialState(1, world.InitialState{Log: figure7Leader, Term: 7})
	for i, f := range figure7Followers {
		w.SetInitialState(uint64(i+2), world.InitialState{Log: f.log, Term: 7})
		w.Members[i+1].NotStarted = f.letter == "a" || f.letter == "c" || f.letter == "d"
	}
}

func figure7(s *Driver) {
	leader := s.Members[0]
	s.within(5*world.ElectionTimeout, "the only log that is new enough wins", func() bool { return s.majorityLeader() == leader })
	for i, f := range figure7Followers {
		m := s.Members[i+1]
		if m.NotStarted {
			s.checkRepair(leader, m, 2*conflictingTerms(f.log, figure7Leader))
		}
	}
	s.within(5*world.ElectionTimeout, "all logs are equal", s.Converged)
	for i := range figure7Followers {
		s.checkTerms(s.Members[i+1], figure7Leader)
	}
}

// checkRepair starts a follower and waits until its log is the leader's. Until the leader has found
// where the logs agree, the follower may refuse so many positions.
func (s *Driver) checkRepair(leader, m *world.Member, refusals int) {
	refused := map[uint64]bool{}
	seen := s.ObserveRule(m, leader, func(_, _ *world.Member, message proto.Message) {
		if a := message.(*messages.AppendResponse); !a.Accepted {
			refused[a.Index] = true
		}
	}, "AppendResponse")
	m.Boot()
	s.within(5*world.ElectionTimeout, "its log is the leader's", func() bool { return m.View.LastIndex >= leader.View.LastIndex && m.Applied == m.View.LastIndex })
	seen.End()
	if s.majorityLeader() != leader {
		s.fail("another leads than %d", leader.ID())
	}
	if len(refused) > refusals {
		s.fail("member %d refused at %d positions, at most %d were expected", m.ID(), len(refused), refusals)
	}
}

// checkTerms checks that the first entries of a member have these terms, and that just they were
// applied.
func (s *Driver) checkTerms(m *world.Member, terms []uint64) {
	for i, term := range terms {
		index := uint64(i + 1)
		if has := s.Checker.LogTerm(m.ID(), index); has != term {
			s.fail("entry %d of member %d is of term %d, not %d", index, m.ID(), has, term)
		}
		if index > world.InitialSession && s.effectIndex(world.InitialCommand(index, term)) != index {
			s.fail("the entry at index %d of term %d was not applied there", index, term)
		}
	}
}

// figure8Setup is the figure between (b) and (c). Member 1 led in term 2 and reached member 2 only;
// member 5 led in term 3 with the votes of 3 and 4. Both crashed; member 1 restarts first.
func figure8Setup(w *world.World) {
	w.SetInitialState(1, world.InitialState{Log: []uint64{1, 1, 2}, Term: 2, Vote: 1, Commit: 2})
	w.SetInitialState(2, world.InitialState{Log: []uint64{1, 1, 2}, Term: 2, Vote: 1, Commit: 2})
	w.SetInitialState(3, world.InitialState{Log: []uint64{1, 1}, Term: 3, Vote: 5, Commit: 2})
	w.SetInitialState(4, world.InitialState{Log: []uint64{1, 1}, Term: 3, Vote: 5, Commit: 2})
	w.SetInitialState(5, world.InitialState{Log: []uint64{1, 1, 3}, Term: 3, Vote: 5, Commit: 2})
	w.Members[1].NotStarted, w.Members[4].NotStarted = true, true
	w.SingleEntryRequests = true
}

// figure8 runs (c): member 1 leads in term 4 and sends the entry of term 2 to members 3 and 4, a
// majority with itself. The returned rules hold what it sends of its own term. The old entry must
// not be committed.
func figure8(s *Driver) (held []*world.Rule) {
	s1, s3, s4 := s.Members[0], s.Members[2], s.Members[3]
	for _, m := range []*world.Member{s3, s4} {
		old := false // it was sent the entry of term 2; earlier requests are refused
		held = append(held, s.DropRule(s1, m, "AppendEntries").Where(func(message proto.Message) bool {
			e := message.(*messages.AppendEntries).GetEntries()
			old = old || e.GetFirst() == 3
			return old && e.GetFirst() > 3
		}))
	}
	acked := map[uint64]bool{}
	s.ObserveRule(nil, s1, func(from, _ *world.Member, message proto.Message) {
		if a := message.(*messages.AppendResponse); a.Accepted && a.Index == 3 {
			acked[from.ID()] = true
		}
	}, "AppendResponse")
	s.within(5*world.ElectionTimeout, "member 1 leads, and the old entry is durable on a majority", func() bool {
		return s.majorityLeader() == s1 && s1.View.Term >= 4 && s.isDurable(3, 2, s1, s3, s4)
	})
	s.within(world.ElectionTimeout, "their acknowledgements arrive", func() bool { return acked[3] && acked[4] })
	s.advance(2 * world.ElectionTimeout)
	if s.majorityLeader() != s1 {
		s.fail("member 1 leads no more")
	}
	for _, m := range s.Members {
		if m.View.Commit > 2 || s.effectIndex(world.InitialCommand(3, 2)) != 0 {
			s.fail("member %d took the entry of term 2 for committed because a majority has it", m.ID())
		}
	}
	return held
}

// isDurable reports whether members have an entry of a term on their disks.
func (s *Driver) isDurable(index, term uint64, members ...*world.Member) bool {
	for _, m := range members {
		if s.Checker.DurableTerm(m.ID(), index) != term {
			return false
		}
	}
	return true
}

// figure8Replaced continues with (d): member 1 crashes, member 5 restarts, wins with the votes of 3
// and 4, and replaces the entry of term 2 by its own of term 3.
func figure8Replaced(s *Driver) {
	figure8(s)
	s1, s5 := s.Members[0], s.Members[4]
	s1.PowerCut(vfs.LoseUnsynced)
	s5.Boot()
	s.within(10*world.ElectionTimeout, "member 5 leads", func() bool { return s.majorityLeader() == s5 })
	s.Members[1].Boot()
	s.Members[0].Boot()
	s.within(5*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.checkTerms(s1, []uint64{1, 1, 3})
	if s.effectIndex(world.InitialCommand(3, 2)) != 0 {
		s.fail("the entry of term 2 took effect although it was replaced")
	}
}

// figure8Committed continues with (e): an entry of member 1's own term reaches 3 and 4, which
// commits both. Member 1 crashes; member 5 restarts and cannot win.
func figure8Committed(s *Driver) {
	for _, r := range figure8(s) {
		r.End()
	}
	s1, s5 := s.Members[0], s.Members[4]
	s.within(2*world.ElectionTimeout, "the entry of term 4 commits the one of term 2", func() bool { return s1.View.Commit >= 4 })
	s1.PowerCut(vfs.LoseUnsynced)
	s5.Boot()
	s.Members[1].Boot()
	s.within(10*world.ElectionTimeout, "another leads", func() bool {
		if s5.View.Role == "leader" {
			s.fail("member 5 leads, and its log lacks what was committed")
		}
		return s.majorityLeader() != nil
	})
	s.within(5*world.ElectionTimeout, "member 5 has the committed entry", func() bool { return s5.Applied >= 4 })
	s.checkTerms(s5, []uint64{1, 1, 2})
	if s.effectIndex(world.InitialCommand(3, 3)) != 0 {
		s.fail("the entry of term 3 took effect")
	}
}

// tutorialSetup: the log of Figure 6, in which x becomes 4 at index 8, on three members.
func tutorialSetup(w *world.World) {
	log := []uint64{1, 1, 1, 2, 3, 3, 3, 3}
	for id := uint64(1); id <= 3; id++ {
		w.SetInitialState(id, world.InitialState{Log: log, Commit: 7})
	}
	w.SetInitialState(4, world.InitialState{Log: log[:5]})
	w.SetInitialState(5, world.InitialState{Log: []uint64{1, 1, 1, 2, 2, 2}, Term: 2})
	w.Members[3].NotStarted, w.Members[4].NotStarted = true, true
}

func tutorialRepair(s *Driver) {
	s.within(5*world.ElectionTimeout, "a leader", func() bool { return s.majorityLeader() != nil })
	leader := s.majorityLeader()
	s.within(world.ElectionTimeout, "the entry at index 8 is committed on three", func() bool { return leader.View.Commit > 8 })
	for i, refusals := range []int{1, 2} { // one follower that lacks entries, one that has others too
		m := s.Members[3+i]
		requests := s.ObserveRule(leader, m, nil, "AppendEntries")
		s.checkRepair(leader, m, refusals)
		// The first may meet a member that is still recovering, and its session has an entry of its own.
		if requests.End(); requests.Count > refusals+5 {
			s.fail("it took %d requests to repair member %d", requests.Count, m.ID())
		}
		s.checkTerms(m, []uint64{1, 1, 1, 2, 3, 3, 3, 3})
	}
}
