package scenario

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
)

// What a leader does with responses that come late, twice or not at all.

var pipelineScenarios = []Scenario{
	{Name: "stale-answers", Nodes: 3, Errata: []int{42, 43}, Script: staleAnswers,
		Description: "all responses that followers ever sent arrive again, the latest first: nothing is sent because of them, nothing counts that should not"},
	{Name: "pipeline-stall", Nodes: 3, Errata: []int{43}, Script: pipelineStall,
		Description: "a follower is paused, or some of its messages are lost, in the middle of the stream: it soon has all, and the stream is as fast as before"},
}

func staleAnswers(s *Driver) {
	former := s.awaitSessions()
	f, next := s.others(former)[0], s.others(former)[1]
	type answer struct {
		from *world.Member
		said proto.Message
	}
	var said []answer
	s.ObserveRule(nil, nil, func(from, to *world.Member, m proto.Message) {
		if to == next || to == former {
			said = append(said, answer{from, proto.Clone(m)})
		}
	}, "AppendResponse")
	// Responses of two terms, and refusals: the next leader has to find out how far behind one of the
	// others is.
	s.Isolate(f, true)
	s.writeAndWait(former, 5)
	former.Post(actors.NodePath, &messages.TransferLeadership{Target: next.ID()})
	s.within(2*world.ElectionTimeout, "the other leads", func() bool { return s.majorityLeader() == next })
	s.writeAndWait(next, 5)
	s.Isolate(f, false)
	s.awaitSessions()
	s.writeAndWait(next, 5)
	s.awaitSessions()

	refusals := 0
	for _, a := range said {
		if !a.said.(*messages.AppendResponse).Accepted {
			refusals++
		}
	}
	if refusals == 0 {
		s.fail("nothing was refused: the scenario lacks half of its responses")
	}
	sent := s.ObserveRule(next, nil, nil, "AppendEntries")
	again := said
	for i := range again {
		a := again[len(again)-1-i]
		next.Post(actors.ReplicatorPath(a.from.ID()), proto.Clone(a.said))
		s.advance(time.Millisecond)
	}
	s.advance(2 * world.HeartbeatInterval)
	if sent.Count > 0 {
		s.fail("%d appends were sent because of old responses", sent.Count)
	}
	s.writeAndWait(next, 5)
	s.within(world.ElectionTimeout, "the stream continues", s.Converged)
	if sent.Count > 2*2*5 {
		s.fail("%d appends were sent for five writes to two followers", sent.Count)
	}
}

func pipelineStall(s *Driver) {
	leader := s.awaitSessions()
	f, other := s.others(leader)[0], s.others(leader)[1]
	took := func() time.Duration {
		began := s.Now()
		for range 20 {
			s.await(s.submitPadded(leader, 100))
		}
		return s.Now() - began
	}
	s.Isolate(other, true) // each write needs the other follower
	usual := took()
	s.Isolate(other, false)
	s.within(world.ElectionTimeout, "the other has caught up", s.Converged)

	all := s.submitWrites(leader, 3)
	if s.Chance(0.5) {
		f.PausedUntil = s.Now() + world.ElectionTimeout*6/10
		s.advance(world.ElectionTimeout * 6 / 10)
	} else {
		gap := s.DropRule(leader, f, "AppendEntries")
		all = append(all, s.submitWrites(leader, 3)...)
		s.advance(s.RandomDuration(0, world.ElectionTimeout/2))
		gap.End()
	}
	for range 40 {
		all = append(all, s.submitPadded(leader, 50))
	}
	s.awaitAnswered(all, 2*world.ElectionTimeout)
	s.within(world.ElectionTimeout, "the follower has all", func() bool { return f.View.LastIndex == leader.View.LastIndex })
	if s.majorityLeader() != leader {
		s.fail("another leads")
	}
	s.Isolate(other, true)
	if now := took(); now > usual*3/2 {
		s.fail("twenty writes took %v before the stall, and %v after it", usual, now)
	}
}
