package node

import (
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// shared is what every role does with a message before its behaviour is asked, in this order: (1) pre-votes, and votes
// refused by stickiness or a lease that has not run out, touch nothing; (2) then the term rule (Raft §5.1). It tells
// whether the message is done with.
func (n *Node) shared(m proto.Message) (done bool) {
	switch m := m.(type) {
	case *messages.RequestVote:
		n.voteRequested(m)
		return true
	case *messages.VoteAnswer:
		// A granted pre-vote carries the term that was asked about, which nobody has taken up.
		if m.Term > n.term && !(m.PreVote && m.Granted) {
			n.becomeFollower(m.Term, 0, "a vote answer of a higher term")
			return true
		}
	case *messages.AppendEntries:
		return n.fromLeader(m.Term, m.Leader, m)
	case *messages.Heartbeat:
		return n.fromLeader(m.Term, m.Leader, m)
	case *messages.HeartbeatAnswer:
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
		n.durableUpTo(m)
		return false // the roles have their own use of it
	case *messages.MachineReady:
		n.machineReady(m)
		return true
	case *messages.Pull:
		n.pull = m
		n.feedMachine()
		return true
	case *messages.ForwardedReadAnswer:
		n.readAnswered(m)
		return true
	case *messages.ProposalsRefused:
		n.refusedByLeader(m)
		return true
	case *messages.Tick:
		if m.Timer == noticeTick {
			n.noticeDue()
			return true
		}
		return !n.ticked(m.Timer)
	case *messages.Propose:
		n.collect(m.Data)
		return true
	case *messages.Flush:
		n.flushing = false
		n.flush()
		return true
	case *messages.LinkUp:
		n.linkUp(m.Peer)
		return true
	case *messages.LinkDown:
		n.linkDown(m.Peer, m.Reason)
		return true
	}
	return false
}

// fromLeader applies the term rule to what a leader says. What a leader of an earlier term says is answered with our own
// term, which frees it (E17); a leader of our term or a later one is followed.
func (n *Node) fromLeader(term, leader uint64, m proto.Message) (done bool) {
	if term < n.term {
		n.answerStaleLeader(m)
		return true
	}
	if term > n.term || n.role == rolePreCandidate || n.role == roleCandidate {
		n.becomeFollower(term, leader, "heard the leader of the term")
	}
	invariant(n.role != roleLeader, "two leaders in term %d: %x and this node %x", term, leader, n.self())
	n.heardLeader(leader)
	return false
}

func (n *Node) answerStaleLeader(m proto.Message) {
	switch m := m.(type) {
	case *messages.AppendEntries:
		n.ctx.Send(n.env.Peer(m.Leader, messages.Role_ROLE_REPLICATOR), &messages.AppendAnswer{
			Term: n.term, From: n.self(), Index: m.PrevIndex, Stream: m.Stream, Sequence: m.Sequence,
			ConflictIndex: n.log.Last() + 1, LastIndex: n.log.Last(),
		})
	case *messages.Heartbeat:
		n.tell(m.Leader, &messages.HeartbeatAnswer{Term: n.term, From: n.self(), Round: m.Round})
	}
}

// heardLeader: the leader of the term lives, so there is nothing to campaign for.
func (n *Node) heardLeader(leader uint64) {
	invariant(n.leader == 0 || n.leader == leader, "two leaders in term %d: %x and %x", n.term, n.leader, leader)
	now := n.env.Now()
	n.leaderContact = now
	n.setLeader(leader)
	if n.leaderLost && now < n.lostUntil {
		return
	}
	n.leaderLost = false
	n.resetElectionTimer()
}

// setLeader takes note of who leads the present term, 0 for nobody known, and tells the handle.
func (n *Node) setLeader(leader uint64) {
	if n.leader == leader {
		return
	}
	n.leader = leader
	n.viewChange = true
	n.announceLeader()
	if leader != 0 {
		n.env.Log().Info().Uint64("term", n.term).Str("leader", hexID(leader)).Msg("leader known")
	}
}

func (n *Node) announceLeader() {
	n.send(n.env.Handle(), &messages.LeaderChanged{Incarnation: n.config.Incarnation, Term: n.term, Leader: n.leader})
}

// voteRequested decides a RequestVote (raft.DecideVote has the rules) and sees to it that a granted vote is on disk
// before it is spoken (E1).
func (n *Node) voteRequested(m *messages.RequestVote) {
	if m.Candidate == n.self() {
		return // our own request came back to us: a link that misroutes
	}
	// A leader that asks for votes leads no more (its actors restarted): there is nobody to stick to.
	sticky := n.sticky() && m.Candidate != n.leader
	d := raft.DecideVote(raft.Voter{Term: n.term, Vote: n.vote, Log: n.log, Sticky: sticky}, m)
	if d.StepDownTo > n.term {
		n.becomeFollower(d.StepDownTo, 0, "a vote request of a higher term")
	}
	answer := &messages.VoteAnswer{
		Term: d.AnswerTerm, Voter: n.self(), Granted: d.Grant, PreVote: m.PreVote, Sticky: d.Sticky,
	}
	if !d.Grant || m.PreVote {
		n.tell(m.Candidate, answer)
		return
	}
	if d.Save {
		n.vote = d.Vote
		n.viewChange = true
	}
	n.resetElectionTimer() // Raft §5.2: granting a vote counts as having heard of a possible leader
	n.persist(&messages.Append{
		Urgent: true,
		Mark:   &messages.Mark{Term: n.term},
		Then:   []*messages.Promise{promise(m.Candidate, messages.Role_ROLE_NODE, 0, answer)},
	})
}

// sticky tells whether this node has reason to believe that a leader is there: it leads itself (CheckQuorum takes that
// away when it should), or it heard one within the election timeout and the connection to it stands.
func (n *Node) sticky() bool {
	if n.role == roleLeader {
		return true
	}
	return n.leader != 0 && !n.leaderLost && n.env.Now()-n.leaderContact < n.config.Election
}

// durableUpTo takes note of what is on this node's own disk. An acknowledgement for entries that were truncated since is
// worth no more than what was kept of them (E12).
func (n *Node) durableUpTo(m *messages.Durable) {
	if m.DiskLow != n.diskLow {
		n.diskLow = m.DiskLow
		n.viewChange = true
	}
	n.durableTerm = max(n.durableTerm, m.Mark.Term) // a mark's Append brought the hard state of its term along
	if index := n.truncations.durable(m.Mark); index > n.durable {
		invariant(index <= n.log.Last(), "the log store reports index %d durable (term %d) but the log ends at %d",
			index, m.Mark.Term, n.log.Last())
		n.durable = index
		n.viewChange = true
		n.memory.evict(n.config.Limits.MemoryBytes, n.durable)
	}
	n.feedMachine()
}

// machineReady checks that the state machine has not applied what the log does not hold durably (E11). What it has
// applied was committed, also where the log did not get to write that down.
func (n *Node) machineReady(m *messages.MachineReady) {
	if m.Applied > n.log.Last() {
		panicBehind(m.Applied, n.log.Last())
	}
	n.advanceCommit(m.Applied)
}

// feedMachine answers the Machine's standing Pull as soon as there is something to apply: never beyond what is committed,
// and never beyond what this node's own disk holds (E11). That includes the term: it says that no leader of an earlier one
// is listened to any more, who may know nothing of the commit and take the entries away again.
func (n *Node) feedMachine() {
	through := min(n.commit, n.durable)
	if n.pull == nil || n.pull.From > through || n.durableTerm < n.term {
		return
	}
	p := n.pull
	n.pull = nil
	m := &messages.Committed{Incarnation: n.config.Incarnation, Commit: n.commit}
	if n.memory.holds(p.From) {
		m.Entries = n.memory.slice(n.log, p.From, through, p.MaxBytes)
	} else {
		m.ColdTo = min(through, n.memory.first-1)
	}
	n.send(n.machine, m)
}

// advanceCommit moves commitIndex. It never goes back.
func (n *Node) advanceCommit(to uint64) {
	if to <= n.commit {
		return
	}
	invariant(to <= n.log.Last(), "commit index %d beyond the log's last index %d", to, n.log.Last())
	n.commit = to
	n.viewChange = true
	n.feedMachine()
}
