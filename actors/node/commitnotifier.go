package node

import "time"

// commitNotifyDelay is the delay before peers learn of a commit without new entries.
const commitNotifyDelay = time.Millisecond

// commitNotifyTimer is the number of the notifier's Ticks. Those of the roleTimer count from 1.
const commitNotifyTimer = 1 << 63

// commitNotifier decides when a leader tells its peers of a new commit index. Under load the next
// entries carry it. Otherwise the leader sends a heartbeat that contains nothing else:
//
//   - at once to a peer that forwarded some of the committed proposals, because its clients wait
//     for their results;
//   - to the others after commitNotifyDelay to twice of it, unless entries carried it before. At
//     those peers only watchers and local reads wait.
//
// The timer starts once for each delay and not for each commit, because starting a timer wakes a
// thread. A peer's commitPending is what it lacked at the start; if entries carried that before the
// end, the peer is not notified, though there may be newer commits.
type commitNotifier struct {
	// advanced: the commit index rose, and not all peers may learn of it from entries.
	advanced bool
	// timerRunning: a Tick with the number commitNotifyTimer comes.
	timerRunning bool
}

// recordSent stores that a message with the commit index was sent to p.
func (p *peerState) recordSent(commit uint64) { p.commitSent = max(p.commitSent, commit) }

// notify calls send for the peers that must know at once. It reports whether the timer must start,
// for others.
func (c *commitNotifier) notify(peers peerStates, commitIndex uint64, send sendCommit) (startTimer bool) {
	c.advanced = false
	later := false
	for _, p := range peers {
		commit := p.knownCommit(commitIndex)
		switch {
		case commit <= p.commitSent:
		case p.forwardedThrough > p.commitSent:
			send(p, commit)
		default:
			later = true
		}
	}
	if !later || c.timerRunning {
		return false
	}
	c.timerRunning = true
	for _, p := range peers {
		p.commitPending = p.knownCommit(commitIndex)
	}
	return true
}

// timerFired calls send for the peers that still lack what they lacked when the timer started.
func (c *commitNotifier) timerFired(peers peerStates, commitIndex uint64, send sendCommit) {
	c.timerRunning = false
	for _, p := range peers {
		if p.commitSent < p.commitPending {
			send(p, p.knownCommit(commitIndex))
		}
	}
}

// sendCommit sends a commit index to a peer and records that.
type sendCommit func(p *peerState, commit uint64)
