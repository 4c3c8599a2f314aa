package node

import "time"

// commitNotifyDelay is the least delay before a commit is notified to peers whose clients do not
// wait.
const commitNotifyDelay = time.Millisecond

// commitNotifyTimer is the number of the notifier's Ticks. Those of the roleTimer count from 1.
const commitNotifyTimer = 1 << 63

// commitNotifier decides when a leader sends a new commit index to its peers (docs/protocol.md
// P80). Under load the next entries carry it. Otherwise the leader sends a heartbeat with nothing
// else:
//
//   - at once to a peer that forwarded some of the committed proposals, because its clients wait
//     for their results;
//   - to the others after commitNotifyDelay to twice of it, unless entries carried it before. At
//     those peers only watchers and local reads wait.
//
// The timer starts once for each delay and not for each commit, because starting a timer wakes a
// thread. What a peer lacks at the start is its commitPending; if entries carried that before the
// end, the peer is not notified, even if there are newer commits.
type commitNotifier struct {
	// advanced: the commit index rose, and no message that was sent since carries it.
	advanced bool
	// timerRunning: a Tick with the number commitNotifyTimer comes.
	timerRunning bool
}

// notify calls send for the peers whose clients wait. It reports whether the timer must start,
// for others.
func (c *commitNotifier) notify(peers peerStates, commitIndex uint64, send sendCommit) (startTimer bool) {
	c.advanced = false
	later := false
	for _, p := range peers {
		commit := p.heartbeatCommit(commitIndex)
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
		p.commitPending = p.heartbeatCommit(commitIndex)
	}
	return true
}

// timerFired calls send for the peers that still lack what they lacked when the timer started.
func (c *commitNotifier) timerFired(peers peerStates, commitIndex uint64, send sendCommit) {
	c.timerRunning = false
	for _, p := range peers {
		if p.commitSent < p.commitPending {
			send(p, p.heartbeatCommit(commitIndex))
		}
	}
}

// sendCommit sends a commit index to a peer and records that.
type sendCommit func(p *peerState, commit uint64)
