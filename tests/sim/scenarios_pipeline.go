package sim

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// What a leader makes of answers that come late, twice or not at all.

var pipelineScenarios = []Scenario{
	{Name: "stale-answers", Nodes: 3, Errata: []int{42, 43}, Script: staleAnswers,
		Line: "all that followers ever answered is heard again, the latest first: nothing is sent because of it, nothing counts that should not"},
	{Name: "pipeline-stall", Nodes: 3, Errata: []int{43}, Script: pipelineStall,
		Line: "a follower stands still, or some of what it is sent gets lost, in the middle of the stream: it has all soon, and the stream is as fast as before"},
}

func staleAnswers(s *Scene) {
	former := s.settles()
	f, next := s.others(former)[0], s.others(former)[1]
	type answer struct {
		from *member
		said proto.Message
	}
	var said []answer
	s.tap(nil, nil, func(from, to *member, m proto.Message) {
		if to == next || to == former {
			said = append(said, answer{from, proto.Clone(m)})
		}
	}, "AppendResponse")
	// Answers of two terms, and refusals: the next leader has to find out how far behind one of the others is.
	s.cutOff(f, true)
	s.writes(former, 5)
	former.post(actors.NodePath, &messages.TransferLeadership{Target: next.id})
	s.within(2*election, "the other leads", func() bool { return s.leads() == next })
	s.writes(next, 5)
	s.cutOff(f, false)
	s.settles()
	s.writes(next, 5)
	s.settles()

	refusals := 0
	for _, a := range said {
		if !a.said.(*messages.AppendResponse).Accepted {
			refusals++
		}
	}
	if refusals == 0 {
		s.fail("nothing was refused: the story lacks half of its answers")
	}
	sent := s.tap(next, nil, nil, "AppendEntries")
	again := said
	for i := range again {
		a := again[len(again)-1-i]
		next.post(actors.ReplicatorPath(a.from.id), proto.Clone(a.said))
		s.pass(time.Millisecond)
	}
	s.pass(2 * heartbeat)
	if sent.count > 0 {
		s.fail("%d appends were sent because of old answers", sent.count)
	}
	s.writes(next, 5)
	s.within(election, "the stream goes on", s.well)
	if sent.count > 2*2*5 {
		s.fail("%d appends were sent for five writes to two followers", sent.count)
	}
}

func pipelineStall(s *Scene) {
	leader := s.settles()
	f, other := s.others(leader)[0], s.others(leader)[1]
	took := func() time.Duration {
		began := s.now
		for range 20 {
			s.await(s.says(leader, 100))
		}
		return s.now - began
	}
	s.cutOff(other, true) // each write needs the one
	usual := took()
	s.cutOff(other, false)
	s.within(election, "the other has caught up", s.well)

	all := s.say(leader, 3)
	if s.chance(0.5) {
		f.pausedUntil = s.now + election*6/10
		s.pass(election * 6 / 10)
	} else {
		gap := s.lose(leader, f, "AppendEntries")
		all = append(all, s.say(leader, 3)...)
		s.pass(s.between(0, election/2))
		gap.end()
	}
	for range 40 {
		all = append(all, s.says(leader, 50))
	}
	s.answered(all, 2*election)
	s.within(election, "the follower has all", func() bool { return f.view.LastIndex == leader.view.LastIndex })
	if s.leads() != leader {
		s.fail("another leads")
	}
	s.cutOff(other, true)
	if now := took(); now > usual*3/2 {
		s.fail("twenty writes took %v before the stall, and %v after it", usual, now)
	}
}
