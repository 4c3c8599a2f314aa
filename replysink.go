package troupe

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/messages"
)

// replySink delivers the results, read points and leader changes that this node's actors send to
// the program. It is a process of the actor system, but not an actor: it runs on the sender's
// goroutine, so it must not wait.
type replySink struct{ node *Node }

// SendUserMessage delivers one message of an actor.
func (s *replySink) SendUserMessage(_ *actor.PID, message any) {
	_, message, _ = actor.UnwrapEnvelope(message)
	if m, ok := message.(*messages.LeaderChanged); ok {
		s.node.observer.leaderChanged(m)
	}
	s.node.session.Deliver(message)
}

// SendSystemMessage does nothing; it completes actor.Process.
func (s *replySink) SendSystemMessage(*actor.PID, any) {}

// Stop does nothing; it completes actor.Process.
func (s *replySink) Stop(*actor.PID) {}
