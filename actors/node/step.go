package node

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// shared is what every role does with a message before its behaviour is asked, in this order: (1) pre-votes, and votes
// refused by stickiness or a lease that has not run out, touch nothing; (2) then the term rule (Raft §5.1). It tells
// whether the message is done with.
func (n *Node) stepCommon(m proto.Message) (done bool) {
	switch m := m.(type) {
	case *messages.RequestVote:
		n.handleRequestVote(m)
		return true
	case *messages.VoteResponse:
		// A granted pre-vote carries the term that was asked about, which nobody has taken up.
		if m.Term > n.term && !(m.PreVote && m.Granted) {
			n.becomeFollower(m.Term, 0, "a vote answer of a higher term")
			return true
		}
	case *messages.AppendEntries:
		return n.stepLeaderMessage(m.Term, m.Leader, m)
	case *messages.Heartbeat:
		return n.stepLeaderMessage(m.Term, m.Leader, m)
	case *messages.HeartbeatResponse:
		if m.Term > n.term {
			n.becomeFollower(m.Term, 0, "a heartbeat answer of a higher term")
			return true
		}
		return m.Term < n.term
	case *messages.HigherTerm:
		if m.Term > n.term {
			n.becomeFollower(m.Term, 0, "an append answer of a higher term")
		}
		return true
	case *messages.Durable:
		n.handleDurable(m)
		return false // the roles have their own use of it
	case *messages.MachineReady:
		n.handleMachineReady(m)
		return true
	case *messages.Pull:
		n.pendingPull = m
		n.sendCommitted()
		return true
	case *messages.ForwardedReadResponse:
		n.handleForwardedReadResponse(m)
		return true
	case *messages.ProposalsRefused:
		n.passRefusalToSession(m)
		return true
	case *messages.Tick:
		if m.Timer == commitNotifyTimer {
			n.handleCommitTimer()
			return true
		}
		return !n.acceptTick(m.Timer)
	case *messages.Propose:
		n.handlePropose(m.Data)
		return true
	case *messages.Flush:
		n.flushPending = false
		n.flush()
		return true
	case *messages.LinkUp:
		n.handleLinkUp(m.Peer)
		return true
	case *messages.LinkDown:
		n.handleLinkDown(m.Peer, m.Reason)
		return true
	}
	return false
}

// stepLeaderMessage applies the term rule to what a leader says. What a leader of an earlier term says is answered with our own
// term, which frees it (E17); a leader of our term or a later one is followed.
func (n *Node) stepLeaderMessage(term, leader uint64, m proto.Message) (done bool) {
	if term < n.term {
		n.rejectStaleLeader(m)
		return true
	}
	if term > n.term || n.role == rolePreCandidate || n.role == roleCandidate {
		n.becomeFollower(term, leader, "heard the leader of the term")
	}
	invariant(n.role != roleLeader, "two leaders in term %d: %x and this node %x", term, leader, n.self())
	n.recordLeaderContact(leader)
	return false
}

func (n *Node) rejectStaleLeader(m proto.Message) {
	switch m := m.(type) {
	case *messages.AppendEntries:
		n.ctx.Send(n.env.PeerPID(m.Leader, messages.Role_ROLE_REPLICATOR), &messages.AppendResponse{
			Term: n.term, From: n.self(), Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
			ConflictIndex: n.log.LastIndex() + 1, LastIndex: n.log.LastIndex(),
		})
	case *messages.Heartbeat:
		n.sendToPeer(m.Leader, &messages.HeartbeatResponse{Term: n.term, From: n.self(), Round: m.Round})
	}
}

// recordLeaderContact: the leader of the term lives, so there is nothing to campaign for.
func (n *Node) recordLeaderContact(leader uint64) {
	invariant(n.leaderID == 0 || n.leaderID == leader, "two leaders in term %d: %x and %x", n.term, n.leaderID, leader)
	now := n.env.Now()
	n.lastLeaderContact = now
	n.setLeader(leader)
	if n.leaderLinkBroken && now < n.ignoreLeaderUntil {
		return
	}
	n.leaderLinkBroken = false
	n.resetElectionTimer()
}

// setLeader takes note of who leads the present term, 0 for nobody known, and tells the handle.
func (n *Node) setLeader(leader uint64) {
	if n.leaderID == leader {
		return
	}
	n.leaderID = leader
	n.stateChanged = true
	n.sendLeaderChanged()
	if leader != 0 {
		n.env.Log().Info().Uint64("term", n.term).Str("leader", raft.FormatID(leader)).Msg("leader known")
	}
}

func (n *Node) sendLeaderChanged() {
	n.send(n.env.Session(), &messages.LeaderChanged{Incarnation: n.config.Incarnation, Term: n.term, Leader: n.leaderID})
}

// handleRequestVote decides a RequestVote (raft.DecideVote has the rules) and sees to it that a granted vote is on disk
// before it is spoken (E1).
func (n *Node) handleRequestVote(m *messages.RequestVote) {
	if m.Candidate == n.self() {
		return // our own request came back to us: a link that misroutes
	}
	// A leader that asks for votes leads no more (its actors restarted): there is nobody to stick to.
	sticky := n.isSticky() && m.Candidate != n.leaderID
	d := raft.DecideVote(raft.VoterState{Term: n.term, Vote: n.vote, Log: n.log, Sticky: sticky}, m)
	if d.AdoptTerm > n.term {
		n.becomeFollower(d.AdoptTerm, 0, "a vote request of a higher term")
	}
	answer := &messages.VoteResponse{
		Term: d.ResponseTerm, Voter: n.self(), Granted: d.Grant, PreVote: m.PreVote, LeaderActive: d.Sticky,
	}
	if !d.Grant || m.PreVote {
		n.sendToPeer(m.Candidate, answer)
		return
	}
	if d.MustPersist {
		n.vote = d.Vote
		n.stateChanged = true
	}
	n.resetElectionTimer() // Raft §5.2: granting a vote counts as having heard of a possible leader
	n.persist(&messages.Append{
		NeedsSync: true,
		Mark:      &messages.AppendMark{Term: n.term},
		Deferred:  []*messages.DeferredMessage{newDeferredMessage(m.Candidate, messages.Role_ROLE_NODE, 0, answer)},
	})
}

// sticky tells whether this node has reason to believe that a leader is there: it leads itself (CheckQuorum takes that
// away when it should), or it heard one within the election timeout and the connection to it stands.
func (n *Node) isSticky() bool {
	if n.role == roleLeader {
		return true
	}
	return n.leaderID != 0 && !n.leaderLinkBroken && n.env.Now()-n.lastLeaderContact < n.config.ElectionTimeout
}

// handleDurable takes note of what is on this node's own disk. An acknowledgement for entries that were truncated since is
// worth no more than what was kept of them (E12).
func (n *Node) handleDurable(m *messages.Durable) {
	if m.DiskLow != n.diskLow {
		n.diskLow = m.DiskLow
		n.stateChanged = true
	}
	n.durableTerm = max(n.durableTerm, m.Mark.Term) // a mark's Append brought the hard state of its term along
	if index := n.truncations.durableIndex(m.Mark); index > n.durableIndex {
		invariant(index <= n.log.LastIndex(), "the log store reports index %d durable (term %d) but the log ends at %d",
			index, m.Mark.Term, n.log.LastIndex())
		n.durableIndex = index
		n.stateChanged = true
		n.memory.evict(n.config.Limits.MemoryBytes, n.durableIndex)
	}
	n.sendCommitted()
}

// handleMachineReady checks that the state machine has not applied what the log does not hold durably (E11). What it has
// applied was committed, also where the log did not get to write that down.
func (n *Node) handleMachineReady(m *messages.MachineReady) {
	if m.Applied > n.log.LastIndex() {
		failLogBehindMachine(m.Applied, n.log.LastIndex())
	}
	n.advanceCommitIndex(m.Applied)
}

// sendCommitted answers the Machine's standing Pull as soon as there is something to apply: never beyond what is committed,
// and never beyond what this node's own disk holds (E11). That includes the term: it says that no leader of an earlier one
// is listened to any more, who may know nothing of the commit and take the entries away again.
func (n *Node) sendCommitted() {
	through := min(n.commitIndex, n.durableIndex)
	if n.pendingPull == nil || n.pendingPull.From > through || n.durableTerm < n.term {
		return
	}
	p := n.pendingPull
	n.pendingPull = nil
	m := &messages.Committed{Incarnation: n.config.Incarnation, Commit: n.commitIndex}
	if n.memory.holds(p.From) {
		m.Entries = n.memory.slice(n.log, p.From, through, p.MaxBytes)
	} else {
		m.OnDiskThrough = min(through, n.memory.first-1)
	}
	n.send(n.machine, m)
}

// advanceCommitIndex moves commitIndex. It never goes back.
func (n *Node) advanceCommitIndex(to uint64) {
	if to <= n.commitIndex {
		return
	}
	invariant(to <= n.log.LastIndex(), "commit index %d beyond the log's last index %d", to, n.log.LastIndex())
	n.commitIndex = to
	n.stateChanged = true
	n.sendCommitted()
}
