package scenario

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
)

// Reads must see what was written before them. Scenarios of leases (lease-drift, lease-transfer)
// come with leases.

var readScenarios = slices.Concat(pointScenarios, clockScenarios)

var pointScenarios = []Scenario{
	{Name: "read-index-first-commit", Nodes: 3, Errata: []int{25}, Script: readIndexFirstCommit,
		Description: "a new leader that does not know yet what was committed gives no read point before an entry of its term is committed"},
	{Name: "stale-read", Nodes: 5, Errata: []int{26, 28}, Script: staleRead,
		Description: "a leader is paused while another one commits; it refuses reads that arrive then, or answers with the new data (etcd#20418)"},
	{Name: "stale-read-old-term", Nodes: 3, Errata: []int{26}, Script: staleReadOldTerm,
		Description: "responses to rounds of an earlier term reach their leader when it leads again: they confirm no read of the later term"},
	{Name: "stale-read-old-round", Nodes: 5, Errata: []int{26}, Script: func(s *Driver) { staleReadOldAnswers(s, 2) },
		Description: "responses to an earlier round of heartbeats reach a former leader: they confirm the reads of that round only"},
	{Name: "read-point-before-round", Nodes: 5, Errata: []int{28}, Script: func(s *Driver) { staleReadOldAnswers(s, 0) },
		Description: "heartbeats that were sent before a read was requested do not confirm it, however late their responses come"},
	{Name: "read-point-of-an-earlier-process", Nodes: 3, Errata: []int{28}, Script: readPointOfEarlierProcess,
		Description: "a member restarts while a response to its read is under way; the response reaches the next process, and answers none of its reads"},
	{Name: "read-without-quorum", Nodes: 5, Errata: []int{19, 27}, Script: readWithoutQuorum,
		Description: "a leader in contact with one less than a quorum answers no read, and with one more it does"},
	{Name: "read-among-learners", Nodes: 3, Errata: []int{27}, Setup: learners(3), Script: readAmongLearners,
		Description: "two voters and a learner: without the other voter the leader answers no read and no write, whatever the learner responds"},
	{Name: "read-single-voter", Nodes: 3, Errata: []int{10, 27}, Setup: learners(2, 3), Script: readSingleVoter,
		Description: "a single voter among learners that are down answers reads and writes alone"},
}

// readIndexFirstCommit: the former leader acknowledged a write, and it alone knows that it is
// committed.
func readIndexFirstCommit(s *Driver) {
	former := s.majorityLeader()
	s.writeAndWait(former, 2)
	s.advance(world.HeartbeatInterval)
	news := s.DropRule(former, nil, "Heartbeat")
	s.writeAndWait(former, 1)
	news.End()
	known := s.History.AcknowledgedIndex
	former.PowerCut(s.Random.IntN)
	appends := s.HoldRule(nil, nil, "AppendEntries")
	leader := s.awaitSuccessor(5*world.ElectionTimeout, former)
	if leader.View.Commit >= known {
		s.fail("member %d knows of index %d already: the scenario failed to prepare its state", leader.ID(), known)
	}
	first := leader.View.LastIndex
	other := s.membersExcept([]*world.Member{former, leader})[0]
	reads := []*readRequest{s.requestRead(leader), s.requestRead(leader), s.requestRead(other)}
	s.never(world.ElectionTimeout/2, "a read is answered before the first commit of the term", func() bool {
		return !reads[0].waiting() || !reads[1].waiting() || !reads[2].waiting()
	})
	appends.Release()
	s.within(world.ElectionTimeout/2, "the reads are answered", func() bool { return reads[0].responses == 1 && reads[1].responses == 1 && reads[2].responses == 1 })
	for _, a := range reads {
		if a.index < first {
			s.fail("the read point is %d, below the first entry of the term at %d", a.index, first)
		}
	}
}

func staleRead(s *Driver) {
	s.Conditions.HidesCuts = true
	old := s.majorityLeader()
	s.put(old, 1, "old")
	s.advance(s.RandomDuration(0, 2*world.HeartbeatInterval))
	earlier := s.requestRead(old) // may be answered with what was true at its request
	stands := s.RandomDuration(5*world.ElectionTimeout/2, 5*world.ElectionTimeout)
	old.PausedUntil = s.Now() + stands
	leader := s.awaitSuccessor(2*stands, old)
	s.put(leader, 1, "new")
	var late []*readRequest
	for old.PausedUntil > s.Now() {
		late = append(late, s.requestRead(old)) // it waits in its mailbox
		s.advance(world.HeartbeatInterval)
	}
	resumed := s.Now()
	for s.Now() < resumed+world.HeartbeatInterval/2 {
		late = append(late, s.requestRead(old))
		s.advance(world.HeartbeatInterval / 50)
	}
	s.within(world.ElectionTimeout, "the former leader follows", func() bool { return old.View.LeaderID == leader.ID() })
	s.within(world.ElectionTimeout/2, "its reads are answered or refused", func() bool {
		return !slices.ContainsFunc(late, (*readRequest).waiting) && !earlier.waiting()
	})
	s.expect(old, history.GetIndex, 1, "new")
}

// staleReadOldAnswers holds responses to heartbeats of a leader, some to rounds of reads that were
// requested in time. The leader is isolated; another one commits. Then it receives reads, and the
// held responses arrive.
func staleReadOldAnswers(s *Driver, reads int) {
	old := s.majorityLeader()
	s.put(old, 1, "old")
	answers := s.HoldRule(nil, old, "HeartbeatResponse")
	var earlier []*readRequest
	for range reads {
		earlier = append(earlier, s.requestRead(old))
		s.advance(world.HeartbeatInterval / 20)
	}
	s.advance(2 * world.HeartbeatInterval)
	rest := s.HoldRule(nil, old)
	s.cutOutbound(old, true)
	leader := s.awaitSuccessor(world.ElectionTimeout/2, old)
	s.put(leader, 1, "new")
	if old.View.Role != "leader" || answers.Count < 4 {
		s.fail("member %d is %s, and %d responses are held for it: the scenario failed to prepare its state", old.ID(), old.View.Role, answers.Count)
	}
	late := []*readRequest{s.requestRead(old), s.requestRead(old)}
	s.advance(world.HeartbeatInterval / 20)
	answers.Release()
	s.advance(world.HeartbeatInterval / 10)
	if slices.ContainsFunc(earlier, func(a *readRequest) bool { return a.responses == 0 }) {
		s.fail("the responses arrived, and confirmed nothing")
	}
	if !late[0].waiting() || !late[1].waiting() {
		s.fail("a read was answered by a leader that had been replaced before its request")
	}
	s.cutOutbound(old, false)
	rest.Release()
	s.within(world.ElectionTimeout, "the late reads are refused", func() bool { return late[0].refused != 0 && late[1].refused != 0 })
	s.expect(old, history.GetIndex, 1, "new")
}

// readPointOfEarlierProcess: both processes of the member request their first read (P55).
func readPointOfEarlierProcess(s *Driver) {
	leader := s.awaitSessions()
	m := s.others(leader)[0]
	s.put(leader, 1, "old")
	responses := s.HoldRule(leader, m, "ForwardedReadResponse")
	s.begin(m, history.GetIndex, 1, "", "")
	s.within(world.HeartbeatInterval, "the leader responds", func() bool { return responses.Count == 1 })
	m.KillProcess()
	s.restart(m)
	s.within(5*world.ElectionTimeout, "it follows again", func() bool { return m.View.LeaderID == leader.ID() })
	s.put(leader, 1, "new")
	read := s.begin(m, history.GetIndex, 1, "", "")
	s.within(world.HeartbeatInterval, "the leader responds again", func() bool { return responses.Count > 1 })
	responses.Release()
	if s.await(read); read.Reply.Before != "new" {
		s.fail("the read is answered with %q", read.Reply.Before)
	}
}

func readWithoutQuorum(s *Driver) {
	leader := s.majorityLeader()
	s.writeAndWait(leader, 1)
	s.advance(world.HeartbeatInterval)
	connected := s.others(leader)[s.Random.IntN(4)]
	var kept []*world.Rule
	for _, m := range s.membersExcept([]*world.Member{leader, connected}) {
		kept = append(kept, s.HoldRule(m, leader, "HeartbeatResponse"))
	}
	read := s.requestRead(leader)
	s.never(world.ElectionTimeout/2, "two of five confirm a leader", func() bool { return !read.waiting() })
	kept[s.Random.IntN(3)].Release()
	s.within(world.HeartbeatInterval/10, "three of five do", func() bool { return read.responses == 1 })
}

// learners makes members learners from the beginning.
func learners(ids ...uint64) func(*world.World) {
	return func(w *world.World) {
		for _, id := range ids {
			w.Bootstrap.Members[id-1].Learner = true
		}
	}
}

func readAmongLearners(s *Driver) {
	leader := s.awaitAllFollow(5 * world.ElectionTimeout)
	learner, voter := s.Members[2], s.others(leader)[0]
	s.writeAndWait(leader, 2)
	s.Conditions.HidesCuts = true
	s.Isolate(voter, true)
	s.advance(world.HeartbeatInterval) // for messages under way
	read, writes := s.requestRead(leader), s.submitWrites(leader, 1)
	last := leader.View.LastIndex
	answered := s.ObserveRule(learner, leader, nil, "HeartbeatResponse")
	s.within(2*world.ElectionTimeout, "it steps down", func() bool {
		if leader.View.Role == "leader" && !read.waiting() || leader.View.Commit > last {
			s.fail("confirmed by a learner:%s", s.DescribeMembers())
		}
		return leader.View.Role != "leader"
	})
	if answered.Count == 0 || learner.View.LastIndex <= last {
		s.fail("the learner did not take part: the scenario failed to prepare its state")
	}
	s.never(3*world.ElectionTimeout, "a member leads without a quorum of voters", func() bool { return s.Leader() != nil && s.Leader().View.Term > leader.View.Term })
	s.Isolate(voter, false)
	s.awaitAllFollow(5 * world.ElectionTimeout)
	s.awaitAnswered(writes, world.ElectionTimeout)
}

func readSingleVoter(s *Driver) {
	voter := s.Members[0]
	s.within(world.ElectionTimeout, "it leads", func() bool { return voter.View.Role == "leader" && voter.View.Commit > 1 })
	s.cutBetween(s.Members, s.Members, true)
	s.advance(world.HeartbeatInterval)
	s.writeAndWait(voter, 1)
	read := s.requestRead(voter)
	s.within(world.HeartbeatInterval/10, "it answers alone", func() bool { return read.responses == 1 })
	s.never(3*world.ElectionTimeout, "it steps down, or a learner campaigns", func() bool { return s.Leader() != voter })
	s.put(voter, 1, "alone")
	s.expect(voter, history.GetIndex, 1, "alone")
}

// staleReadOldTerm: rounds are counted from 1 in each term, so that the old responses are of rounds
// as high as the new ones.
func staleReadOldTerm(s *Driver) {
	leader := s.awaitSessions()
	term := leader.View.Term
	old := s.HoldRule(nil, leader, "HeartbeatResponse").Where(func(m proto.Message) bool { return m.(*messages.HeartbeatResponse).Term == term })
	s.requestRead(leader)
	s.requestRead(leader)
	s.within(world.HeartbeatInterval/10, "both answer its rounds", func() bool { return old.Count >= 2 })
	leader.Post(actors.NodePath, &messages.HeartbeatResponse{Term: term + 1, From: s.others(leader)[0].ID()})
	leader.Post(actors.NodePath, &messages.Campaign{})
	s.within(world.HeartbeatInterval, "it leads in a later term, and has committed in it", func() bool {
		return s.majorityLeader() == leader && leader.View.Term > term && leader.View.Commit == leader.View.LastIndex
	})
	fresh := s.DropRule(nil, leader, "HeartbeatResponse").Where(func(m proto.Message) bool { return m.(*messages.HeartbeatResponse).Term > term })
	read := s.requestRead(leader)
	s.within(world.HeartbeatInterval/10, "its round is under way", func() bool { return fresh.Count > 0 })
	old.Release()
	s.never(world.HeartbeatInterval/2, "old responses confirm the read", func() bool { return read.responses > 0 })
	fresh.End()
	s.within(2*world.HeartbeatInterval, "new responses confirm the read", func() bool { return read.responses > 0 || read.refused != 0 })
}
