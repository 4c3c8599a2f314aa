package node

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// beat sends heartbeats to all. A heartbeat has no log check, so it names at most what this very peer is known to have.
func (n *Node) beat() {
	for _, p := range n.lead.peers {
		commit := min(n.commit, p.match)
		p.told = max(p.told, commit)
		n.tell(p.id, &messages.Heartbeat{Term: n.term, Leader: n.self(), Commit: commit, Round: n.lead.round})
	}
	n.collected.notice = false
}

// noticeDelay is how long a follower may lack the news of a commit that none of its clients waits for, at least; at most
// twice this. What waits there are watchers and local reads. While writes go on the next entries carry the news: then no
// notice is sent at all, and the timer is set once a delay instead of once a write, since each setting wakes a thread.
const noticeDelay = time.Millisecond

// noticeTick is the number of that timer; the role's own timers count from 1.
const noticeTick = 1 << 63

// notify tells a newer commit index: at once to followers that forwarded what was committed, so that their clients get
// their answers; to the others with the next entries, or when a whole noticeDelay has passed without any.
func (n *Node) notify() {
	n.collected.notice = false
	later := false
	for _, p := range n.lead.peers {
		commit := min(n.commit, p.match)
		switch {
		case commit <= p.told:
		case p.awaits > p.told:
			n.notice(p, commit)
		default:
			later = true
		}
	}
	if later && !n.lead.noticing {
		n.lead.noticing = true
		for _, p := range n.lead.peers {
			p.owed = min(n.commit, p.match)
		}
		n.env.After(noticeDelay, n.ctx.Self(), &messages.Tick{Incarnation: n.config.Incarnation, Timer: noticeTick})
	}
}

func (n *Node) notice(p *peer, commit uint64) {
	p.told = commit
	n.tell(p.id, &messages.Heartbeat{Term: n.term, Leader: n.self(), Commit: commit, Round: n.lead.round, Notice: true})
}

// noticeDue tells those who lack what was news when the timer was set. Newer news wait for entries in their turn.
func (n *Node) noticeDue() {
	if n.lead == nil {
		return
	}
	n.lead.noticing = false
	for _, p := range n.lead.peers {
		if p.told < p.owed {
			n.notice(p, min(n.commit, p.match))
		}
	}
	n.notify()
}

func (n *Node) heartbeatAnswered(m *messages.HeartbeatAnswer) {
	p := n.lead.peer(m.From)
	if p == nil {
		return
	}
	p.heard, p.diskLow = n.env.Now(), m.DiskLow
	if m.Round > p.round {
		p.round = min(m.Round, n.lead.round)
		n.confirmReads()
	}
}

func (n *Node) leaderTick() {
	if !n.due() {
		return
	}
	if !n.hearsQuorum() {
		n.becomeFollower(n.term, 0, "no quorum heard within the election timeout")
		return
	}
	if n.diskStalled() {
		n.handOver("the own disk did not answer within the election timeout")
		return
	}
	n.abortLateTransfer()
	n.leaveLowDisk()
	n.probeDisk()
	n.beat()
	n.setDeadline(n.config.Heartbeat)
}

// hearsQuorum is CheckQuorum (dissertation §6.2, E19): a leader that hears no majority stops leading. The same quorum
// code as for commits decides, over the times at which members were heard.
func (n *Node) hearsQuorum() bool {
	now := n.env.Now()
	if now-n.lead.began < n.config.Election {
		return true
	}
	heard := n.quorum.Committed(func(id uint64) uint64 {
		if id == n.self() {
			return uint64(now)
		}
		if p := n.lead.peer(id); p != nil {
			return uint64(p.heard)
		}
		return 0
	})
	return now-time.Duration(heard) < n.config.Election
}

// diskAsked notes that the LogStore owes an answer.
func (l *leadership) diskAsked(now time.Duration, index uint64) {
	if !l.diskOwes {
		l.diskSince = now
	}
	l.diskOwes, l.diskIndex = true, index
	l.diskProbed = now
}

// diskStalled: network and disk are decoupled, so a stall below an election timeout costs only waiting; above it,
// somebody with a disk should lead (E9).
func (n *Node) diskStalled() bool {
	return n.lead.diskOwes && n.env.Now()-n.lead.diskSince > n.config.Election
}

// probeDisk has the disk of an idle leader give a sign of life each half election timeout.
func (n *Node) probeDisk() {
	if !n.lead.diskOwes && n.env.Now()-n.lead.diskProbed >= n.config.Election/2 {
		n.persist(&messages.Append{Urgent: true, Tell: true})
	}
}

// handOver steps down in favour of the voter that is furthest ahead, if one is heard.
func (n *Node) handOver(why string) {
	n.env.Log().Warn().Uint64("term", n.term).Str("why", why).Msg("handing leadership over")
	best := n.bestSuccessor()
	term := n.term
	n.becomeFollower(n.term, 0, why)
	if best != 0 {
		n.tell(best, &messages.TimeoutNow{Term: term, Leader: n.self()})
	}
}

// bestSuccessor is the voter with the longest log among those heard lately whose disk is not low; 0 for none.
func (n *Node) bestSuccessor() uint64 {
	best := uint64(0)
	match := uint64(0)
	for _, p := range n.lead.peers {
		if !n.quorum.Contains(p.id) || p.diskLow || n.unlinked[p.id] || n.env.Now()-p.heard > n.config.Election {
			continue
		}
		if best == 0 || p.match > match {
			best, match = p.id, p.match
		}
	}
	return best
}
