package sim

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// Reads that see what was written before them, and time. Stories of leases (lease-drift, lease-transfer) come with leases.

var readScenarios = slices.Concat(pointScenarios, clockScenarios)

var pointScenarios = []Scenario{
	{Name: "read-index-first-commit", Nodes: 3, Errata: []int{25}, Script: readIndexFirstCommit,
		Line: "a new leader that does not know yet what was committed gives no read point before an entry of its term is"},
	{Name: "stale-read", Nodes: 5, Errata: []int{26, 28}, Script: staleRead,
		Line: "a leader stands still while another one commits; what it is asked then it refuses, or answers with the new data (etcd#20418)"},
	{Name: "stale-read-old-term", Nodes: 3, Errata: []int{26}, Script: staleReadOldTerm,
		Line: "answers to rounds of an earlier term reach their leader when it leads once more: they confirm no read of the later term"},
	{Name: "stale-read-old-round", Nodes: 5, Errata: []int{26}, Script: func(s *Scene) { staleReadOldAnswers(s, 2) },
		Line: "answers to an earlier round of heartbeats reach a leader that is none any more: they confirm the reads of that round only"},
	{Name: "read-point-before-round", Nodes: 5, Errata: []int{28}, Script: func(s *Scene) { staleReadOldAnswers(s, 0) },
		Line: "heartbeats that were sent before a read was asked do not confirm it, however late their answers come"},
	{Name: "read-without-quorum", Nodes: 5, Errata: []int{19, 27}, Script: readWithoutQuorum,
		Line: "a leader that hears one short of a quorum answers no read, and with the one more it does"},
	{Name: "read-among-learners", Nodes: 3, Errata: []int{27}, Given: learners(3), Script: readAmongLearners,
		Line: "two voters and a learner: without the other voter the leader answers no read and no write, whatever the learner says"},
	{Name: "read-single-voter", Nodes: 3, Errata: []int{10, 27}, Given: learners(2, 3), Script: readSingleVoter,
		Line: "a single voter among learners that are away answers reads and writes alone"},
}

// readIndexFirstCommit: the former leader acknowledged a write, and nobody but it knows that it is committed.
func readIndexFirstCommit(s *Scene) {
	former := s.leads()
	s.writes(former, 2)
	s.pass(heartbeat)
	news := s.lose(former, nil, "Heartbeat")
	s.writes(former, 1)
	news.end()
	known := s.history.acked
	former.kill(s.random.IntN)
	appends := s.keep(nil, nil, "AppendEntries")
	leader := s.another(former, 5*election)
	if leader.view.Commit >= known {
		s.fail("member %d knows of index %d already: the story is another one", leader.id, known)
	}
	first := leader.view.LastIndex
	other := s.without([]*member{former, leader})[0]
	reads := []*asked{s.ask(leader), s.ask(leader), s.ask(other)}
	s.never(election/2, "a read is answered before the first commit of the term", func() bool {
		return !reads[0].waits() || !reads[1].waits() || !reads[2].waits()
	})
	appends.release()
	s.within(election/2, "the reads are answered", func() bool { return reads[0].points == 1 && reads[1].points == 1 && reads[2].points == 1 })
	for _, a := range reads {
		if a.index < first {
			s.fail("the read point is %d, below the first entry of the term at %d", a.index, first)
		}
	}
}

func staleRead(s *Scene) {
	s.weather.silent = true
	old := s.leads()
	s.put(old, 1, "old")
	s.pass(s.between(0, 2*heartbeat))
	earlier := s.ask(old) // may be answered with what was true when it was asked
	stands := s.between(5*election/2, 5*election)
	old.pausedUntil = s.now + stands
	leader := s.another(old, 2*stands)
	s.put(leader, 1, "new")
	var late []*asked
	for old.pausedUntil > s.now {
		late = append(late, s.ask(old)) // it waits in its mailbox
		s.pass(heartbeat)
	}
	resumed := s.now
	for s.now < resumed+heartbeat/2 {
		late = append(late, s.ask(old))
		s.pass(heartbeat / 50)
	}
	s.within(election, "the former leader follows", func() bool { return old.view.LeaderID == leader.id })
	s.within(election/2, "what it was asked is answered or refused", func() bool {
		return !slices.ContainsFunc(late, (*asked).waits) && !earlier.waits()
	})
	s.expect(old, GetIndex, 1, "new")
}

// staleReadOldAnswers: answers to heartbeats are kept from a leader, some to rounds for reads that were asked in time. It is
// cut off; another one commits. Then it is asked again, and the kept answers come.
func staleReadOldAnswers(s *Scene, reads int) {
	old := s.leads()
	s.put(old, 1, "old")
	answers := s.keep(nil, old, "HeartbeatResponse")
	var earlier []*asked
	for range reads {
		earlier = append(earlier, s.ask(old))
		s.pass(heartbeat / 20)
	}
	s.pass(2 * heartbeat)
	rest := s.keep(nil, old)
	s.mute(old, true)
	leader := s.another(old, election/2)
	s.put(leader, 1, "new")
	if old.view.Role != "leader" || answers.count < 4 {
		s.fail("member %d is %s, and %d answers wait for it: the story is another one", old.id, old.view.Role, answers.count)
	}
	late := []*asked{s.ask(old), s.ask(old)}
	s.pass(heartbeat / 20)
	answers.release()
	s.pass(heartbeat / 10)
	if slices.ContainsFunc(earlier, func(a *asked) bool { return a.points == 0 }) {
		s.fail("the answers came, and confirmed nothing")
	}
	if !late[0].waits() || !late[1].waits() {
		s.fail("a read was answered by a leader that had been replaced before it was asked")
	}
	s.mute(old, false)
	rest.release()
	s.within(election, "the late reads are refused", func() bool { return late[0].refused != 0 && late[1].refused != 0 })
	s.expect(old, GetIndex, 1, "new")
}

func readWithoutQuorum(s *Scene) {
	leader := s.leads()
	s.writes(leader, 1)
	s.pass(heartbeat)
	heard := s.others(leader)[s.random.IntN(4)]
	var kept []*rule
	for _, m := range s.without([]*member{leader, heard}) {
		kept = append(kept, s.keep(m, leader, "HeartbeatResponse"))
	}
	read := s.ask(leader)
	s.never(election/2, "two of five confirm a leader", func() bool { return !read.waits() })
	kept[s.random.IntN(3)].release()
	s.within(heartbeat/10, "three of five do", func() bool { return read.points == 1 })
}

// learners has members be learners from the beginning.
func learners(ids ...uint64) func(*World) {
	return func(w *World) {
		for _, id := range ids {
			w.bootstrap.Members[id-1].Learner = true
		}
	}
}

func readAmongLearners(s *Scene) {
	leader := s.settled(5 * election)
	learner, voter := s.members[2], s.others(leader)[0]
	s.writes(leader, 2)
	s.weather.silent = true
	s.cutOff(voter, true)
	s.pass(heartbeat) // what was on its way
	read, writes := s.ask(leader), s.say(leader, 1)
	last := leader.view.LastIndex
	answered := s.tap(learner, leader, nil, "HeartbeatResponse")
	s.within(2*election, "it steps down", func() bool {
		if leader.view.Role == "leader" && !read.waits() || leader.view.Commit > last {
			s.fail("confirmed by a learner:%s", s.state())
		}
		return leader.view.Role != "leader"
	})
	if answered.count == 0 || learner.view.LastIndex <= last {
		s.fail("the learner did not take part: the story is another one")
	}
	s.never(3*election, "somebody leads without a quorum of voters", func() bool { return s.leader() != nil && s.leader().view.Term > leader.view.Term })
	s.cutOff(voter, false)
	s.settled(5 * election)
	s.answered(writes, election)
}

func readSingleVoter(s *Scene) {
	voter := s.members[0]
	s.within(election, "it leads", func() bool { return voter.view.Role == "leader" && voter.view.Commit > 1 })
	s.apart(s.members, s.members, true)
	s.pass(heartbeat)
	s.writes(voter, 1)
	read := s.ask(voter)
	s.within(heartbeat/10, "it answers alone", func() bool { return read.points == 1 })
	s.never(3*election, "it steps down, or a learner campaigns", func() bool { return s.leader() != voter })
	s.put(voter, 1, "alone")
	s.expect(voter, GetIndex, 1, "alone")
}

// staleReadOldTerm: rounds are counted from 1 in each term, so that the answers are of rounds as high as the new ones.
func staleReadOldTerm(s *Scene) {
	leader := s.settles()
	term := leader.view.Term
	old := s.keep(nil, leader, "HeartbeatResponse").when(func(m proto.Message) bool { return m.(*messages.HeartbeatResponse).Term == term })
	s.ask(leader)
	s.ask(leader)
	s.within(heartbeat/10, "both answer its rounds", func() bool { return old.count >= 2 })
	leader.post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 1, From: s.others(leader)[0].id})
	leader.post(actors.NodePath, &messages.Campaign{})
	s.within(heartbeat, "it leads in a later term, and has committed in it", func() bool {
		return s.leads() == leader && leader.view.Term > term && leader.view.Commit == leader.view.LastIndex
	})
	fresh := s.lose(nil, leader, "HeartbeatResponse").when(func(m proto.Message) bool { return m.(*messages.HeartbeatResponse).Term > term })
	read := s.ask(leader)
	s.within(heartbeat/10, "its round is under way", func() bool { return fresh.count > 0 })
	old.release()
	s.never(heartbeat/2, "old answers confirm the read", func() bool { return read.points > 0 })
	fresh.end()
	s.within(2*heartbeat, "new ones do", func() bool { return read.points > 0 || read.refused != 0 })
}
