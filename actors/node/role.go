package node

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// The names of the roles in status and logs.
const (
	roleRecovering   = "recovering"
	roleFollower     = "follower"
	rolePreCandidate = "preCandidate"
	roleCandidate    = "candidate"
	roleLeader       = "leader"
)

// role is a role of Raft: its behaviour, and the state that a Node has in this role only.
//
// Every behaviour but `recovering` begins with the term rule (stepTerm) and then lists the messages
// that it handles in its own way. Its default is what it has in common with other roles:
// nonLeader.step for followers, preCandidates and candidates, and stepCommon for all.
type role interface {
	name() string
	// receive is the behaviour.
	receive(ctx actor.Context)
	// leave ends the role, before the term changes. becomeFollower calls it: a leader can become
	// nothing else, and only a leader has something to end.
	leave(why string)
	// observe returns v with the state of the role. By value: a pointer would put each view on the
	// heap.
	observe(v actors.NodeView) actors.NodeView
}

func (n *Node) become(r role) {
	n.role = r
	n.behavior.Become(r.receive)
	n.stateChanged = true
}

// stepTerm applies the term rule (Raft §5.1; raft.TermRule) and reports whether the role that
// received m handles it. A message of a higher term makes this node a follower, which handles m if
// it comes from a leader. A request of a leader of an earlier term is refused.
func (n *Node) stepTerm(m any) (handle bool) {
	switch raft.TermRule(n.term, m) {
	case raft.TermStale:
		n.refuseStaleLeader(m)
		return false
	case raft.TermHigher:
		switch m := m.(type) {
		case *messages.AppendEntries, *messages.Heartbeat:
			n.follow(m)
		case interface{ GetTerm() uint64 }: // HeartbeatResponse, HigherTerm, VoteResponse
			n.becomeFollower(m.GetTerm(), 0, "response of a higher term")
		}
		return false
	}
	return true
}

// refuseStaleLeader responds to a leader of an earlier term with the current term, so that it steps
// down and cannot be stuck (E17).
func (n *Node) refuseStaleLeader(m any) {
	switch m := m.(type) {
	case *messages.AppendEntries:
		n.sendToReplicator(m.Leader, &messages.AppendResponse{
			Term: n.term, From: n.self(), Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
			ConflictIndex: n.log.lastIndex() + 1, LastIndex: n.log.lastIndex(),
		})
	case *messages.Heartbeat:
		n.sendToPeer(m.Leader, &messages.HeartbeatResponse{Term: n.term, From: n.self(), Round: m.Round})
	}
}

// follow makes this node a follower of the leader that sent m. The follower then handles m.
func (n *Node) follow(m any) {
	sent := m.(interface {
		GetTerm() uint64
		GetLeader() uint64
	})
	n.becomeFollower(sent.GetTerm(), sent.GetLeader(), "message of the term's leader")
	n.behavior.Receive(n.ctx)
}

// stepCommon handles the messages that all roles but `recovering` handle in the same way.
func (n *Node) stepCommon(m any) {
	switch m := m.(type) {
	case *messages.Durable:
		n.handleDurable(m)
	case *messages.MachineReady:
		n.handleMachineReady(m)
	case *messages.Pull:
		n.pendingPull = m
		n.sendCommitted()
	case *messages.ForwardedReadResponse:
		// However late it comes, it is valid: the read point was taken after the read was requested,
		// and the applied index does not fall.
		n.send(n.env.ReplySink(), &messages.ReadPoint{
			Incarnation: n.config.Incarnation, Id: m.Id, Index: m.Index, Term: m.Term, Refusal: m.Refusal,
		})
	case *messages.ContinueProposals:
		n.send(n.env.ReplySink(), m)
	case *messages.StorageRefused:
		n.handleStorageRefused(m)
	case *messages.PinFailed:
		failPin(m)
	case *messages.LinkUp:
		n.contact.linkUp(m.Peer)
	case *messages.LinkDown:
		n.recordLinkDown(m)
	case *actor.Terminated:
		n.children.terminated(m.Who)
	}
}

func (n *Node) recordLinkDown(m *messages.LinkDown) {
	n.env.Log().Debug().Str("peer", raft.FormatID(m.Peer)).Str("reason", m.Reason).Msg("link down")
	n.contact.linkDown(m.Peer)
}

// logMalformed logs a dropped message that no member of this version sends: the 1st, 2nd, 4th and
// so on, because the sender repeats it.
func (n *Node) logMalformed(err error, from uint64, message string) {
	if n.malformed++; n.malformed&(n.malformed-1) == 0 {
		n.env.Log().Error().Err(err).Str("from", raft.FormatID(from)).Uint64("dropped", n.malformed).
			Str("advice", "check that all members run the same version").Msg(message)
	}
}
