package node

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// beat sends heartbeats to all. A heartbeat has no log check, so it names at most what this very peer is known to have.
func (n *Node) sendHeartbeats() {
	for _, p := range n.leadership.peers {
		commit := min(n.commitIndex, p.matchIndex)
		p.commitSent = max(p.commitSent, commit)
		n.sendToPeer(p.id, &messages.Heartbeat{Term: n.term, Leader: n.self(), Commit: commit, Round: n.leadership.heartbeatRound})
	}
	n.pending.commitMoved = false
}

// commitNotifyDelay is how long a follower may lack the news of a commit that none of its clients waits for, at least; at most
// twice this. What waits there are watchers and local reads. While writes go on the next entries carry the news: then no
// notice is sent at all, and the timer is set once a delay instead of once a write, since each setting wakes a thread.
const commitNotifyDelay = time.Millisecond

// commitNotifyTimer is the number of that timer; the role's own timers count from 1.
const commitNotifyTimer = 1 << 63

// notify tells a newer commit index: at once to followers that forwarded what was committed, so that their clients get
// their answers; to the others with the next entries, or when a whole commitNotifyDelay has passed without any.
func (n *Node) notifyCommit() {
	n.pending.commitMoved = false
	later := false
	for _, p := range n.leadership.peers {
		commit := min(n.commitIndex, p.matchIndex)
		switch {
		case commit <= p.commitSent:
		case p.forwardedThrough > p.commitSent:
			n.sendCommit(p, commit)
		default:
			later = true
		}
	}
	if later && !n.leadership.commitTimerRunning {
		n.leadership.commitTimerRunning = true
		for _, p := range n.leadership.peers {
			p.commitPending = min(n.commitIndex, p.matchIndex)
		}
		n.env.After(commitNotifyDelay, n.ctx.Self(), &messages.Tick{Incarnation: n.config.Incarnation, Timer: commitNotifyTimer})
	}
}

func (n *Node) sendCommit(p *peerState, commit uint64) {
	p.commitSent = commit
	n.sendToPeer(p.id, &messages.Heartbeat{Term: n.term, Leader: n.self(), Commit: commit, Round: n.leadership.heartbeatRound, CommitOnly: true})
}

// handleCommitTimer tells those who lack what was news when the timer was set. Newer news wait for entries in their turn.
func (n *Node) handleCommitTimer() {
	if n.leadership == nil {
		return
	}
	n.leadership.commitTimerRunning = false
	for _, p := range n.leadership.peers {
		if p.commitSent < p.commitPending {
			n.sendCommit(p, min(n.commitIndex, p.matchIndex))
		}
	}
	n.notifyCommit()
}

func (n *Node) handleHeartbeatResponse(m *messages.HeartbeatResponse) {
	p := n.leadership.peerByID(m.From)
	if p == nil {
		return
	}
	p.lastContact, p.diskLow = n.env.Now(), m.DiskLow
	if m.Round > p.ackedRound {
		p.ackedRound = min(m.Round, n.leadership.heartbeatRound)
		n.confirmReads()
	}
}

func (n *Node) leaderTick() {
	if !n.deadlineReached() {
		return
	}
	if !n.hasQuorumContact() {
		n.becomeFollower(n.term, 0, "no quorum heard within the election timeout")
		return
	}
	if n.diskStalled() {
		n.stepDownWithTransfer("the own disk did not answer within the election timeout")
		return
	}
	n.abortExpiredTransfer()
	n.transferFromLowDisk()
	n.probeDisk()
	n.sendHeartbeats()
	n.setDeadline(n.config.HeartbeatInterval)
}

// hasQuorumContact is CheckQuorum (dissertation §6.2, E19): a leader that hears no majority stops leading. The same quorum
// code as for commits decides, over the times at which members were heard.
func (n *Node) hasQuorumContact() bool {
	now := n.env.Now()
	if now-n.leadership.startedAt < n.config.ElectionTimeout {
		return true
	}
	heard := n.quorum.HighestAcknowledged(func(id uint64) uint64 {
		if id == n.self() {
			return uint64(now)
		}
		if p := n.leadership.peerByID(id); p != nil {
			return uint64(p.lastContact)
		}
		return 0
	})
	return now-time.Duration(heard) < n.config.ElectionTimeout
}

// expectDurable notes that the LogStore owes an answer.
func (l *leadership) expectDurable(now time.Duration, index uint64) {
	if !l.diskPending {
		l.diskLastProgress = now
	}
	l.diskPending, l.diskPendingIndex = true, index
	l.diskLastProbe = now
}

// diskStalled: network and disk are decoupled, so a stall below an election timeout costs only waiting; above it,
// somebody with a disk should lead (E9).
func (n *Node) diskStalled() bool {
	return n.leadership.diskPending && n.env.Now()-n.leadership.diskLastProgress > n.config.ElectionTimeout
}

// probeDisk has the disk of an idle leader give a sign of life each half election timeout.
func (n *Node) probeDisk() {
	if !n.leadership.diskPending && n.env.Now()-n.leadership.diskLastProbe >= n.config.ElectionTimeout/2 {
		n.persist(&messages.Append{NeedsSync: true, Notify: true})
	}
}

// stepDownWithTransfer steps down in favour of the voter that is furthest ahead, if one is heard.
func (n *Node) stepDownWithTransfer(why string) {
	n.env.Log().Warn().Uint64("term", n.term).Str("why", why).Msg("handing leadership over")
	best := n.bestTransferTarget()
	term := n.term
	n.becomeFollower(n.term, 0, why)
	if best != 0 {
		n.sendToPeer(best, &messages.TimeoutNow{Term: term, Leader: n.self()})
	}
}

// bestTransferTarget is the voter with the longest log among those heard lately whose disk is not low; 0 for none.
func (n *Node) bestTransferTarget() uint64 {
	best := uint64(0)
	match := uint64(0)
	for _, p := range n.leadership.peers {
		if !n.quorum.Contains(p.id) || p.diskLow || n.brokenLinks[p.id] || n.env.Now()-p.lastContact > n.config.ElectionTimeout {
			continue
		}
		if best == 0 || p.matchIndex > match {
			best, match = p.id, p.matchIndex
		}
	}
	return best
}
