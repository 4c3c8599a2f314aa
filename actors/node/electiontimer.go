package node

import (
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// A role has one timer and one deadline. The deadline moves each time the leader is heard, which may be thousands of times
// a second; the timer does not: when it fires before the deadline, it is set anew for the rest.
//
// Invariant: outside `recovering` a timer runs, and fires at the deadline or before.

const (
	// fastCampaignDelayMax bounds the random wait before pre-votes after the leader's link broke, so that survivors seldom collide.
	fastCampaignDelayMax = 30 * time.Millisecond
	// stickyRetryDelayMin and stickyRetryDelayMax bound the wait before a pre-vote that was refused for another's stickiness is
	// asked again while the leader's link is down (DESIGN §4).
	stickyRetryDelayMin = 10 * time.Millisecond
	stickyRetryDelayMax = 50 * time.Millisecond
	// fastCampaignTimeoutMin and fastCampaignTimeoutMax bound a campaign's timeout while the leader's link is down.
	fastCampaignTimeoutMin = 50 * time.Millisecond
	fastCampaignTimeoutMax = 200 * time.Millisecond
)

func (n *Node) randomBetween(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(n.env.Random().Int64N(int64(to-from)))
}

// randomElectionTimeout is how long to wait for the leader. One whose link is down is given a few heartbeats only: either the
// other direction works, and they come; or what was heard of it was its last words.
func (n *Node) randomElectionTimeout() time.Duration {
	if n.leaderID != 0 && n.brokenLinks[n.leaderID] {
		least := min(2*n.config.HeartbeatInterval, n.config.ElectionTimeout)
		return n.randomBetween(least, least+n.config.HeartbeatInterval)
	}
	return n.randomBetween(n.config.ElectionTimeout, 2*n.config.ElectionTimeout)
}

// resetElectionTimer puts the deadline a random election timeout from now.
func (n *Node) resetElectionTimer() { n.setDeadline(n.randomElectionTimeout()) }

// setDeadline sets when the role's timeout is due. A timer that fires before it only waits on.
func (n *Node) setDeadline(span time.Duration) {
	n.deadline = n.env.Now() + span
	if n.timer == nil || n.deadline < n.timerDue {
		n.startTimer()
	}
}

// ticked takes note that a timer fired, and tells whether it was the one that runs.
func (n *Node) acceptTick(number uint64) bool {
	if number != n.timerNumber {
		return false
	}
	n.timer = nil
	return true
}

func (n *Node) startTimer() {
	n.stopTimer()
	n.timerNumber++
	wait := max(n.deadline-n.env.Now(), 0)
	n.timerDue = n.env.Now() + wait
	n.timer = n.env.After(wait, n.ctx.Self(), &messages.Tick{Incarnation: n.config.Incarnation, Timer: n.timerNumber})
}

// due tells whether the deadline has passed; if not, the timer is set for what is left.
func (n *Node) deadlineReached() bool {
	if n.env.Now() >= n.deadline {
		return true
	}
	n.startTimer()
	return false
}

func (n *Node) stopTimer() {
	if n.timer != nil {
		n.timer.Stop()
		n.timer = nil
	}
}

func (n *Node) handleElectionTimeout() {
	if !n.deadlineReached() {
		return
	}
	if !n.isVoter() {
		n.resetElectionTimer()
		return
	}
	n.becomePreCandidate("no leader heard within the election timeout")
}

// handleLinkDown: a follower that loses its leader's connection ends its stickiness and asks for pre-votes at once instead of
// waiting out the election timeout. PreVote makes a false alarm harmless; a link that flaps falls back to the timeout.
// The news may overtake what the leader said before: until the pre-votes are asked for, that does not call them off.
func (n *Node) handleLinkDown(peer uint64, reason string) {
	n.env.Log().Debug().Str("peer", raft.FormatID(peer)).Str("reason", reason).Msg("link down")
	n.brokenLinks[peer] = true
	if peer != n.leaderID || n.role != roleFollower || !n.isVoter() {
		return
	}
	n.leaderLinkBroken = true
	now := n.env.Now()
	if n.fastCampaignTerm == n.term && now-n.fastCampaignStarted < n.config.ElectionTimeout {
		return // lost twice in one term within an election timeout: it flaps
	}
	n.env.Log().Info().Str("leader", raft.FormatID(peer)).Uint64("term", n.term).Str("reason", reason).
		Msg("lost the connection to the leader; asking for pre-votes")
	n.fastCampaignTerm, n.fastCampaignStarted, n.fastCampaignUntil = n.term, now, now+2*n.config.ElectionTimeout
	n.setDeadline(n.randomBetween(0, fastCampaignDelayMax))
	n.ignoreLeaderUntil = n.deadline
}

// handleLinkUp: where it is the leader's link that is back, what was forwarded may have been lost with it, and what
// was not takes effect once however often it comes: so the handle is told to say all of it again now, and not when its
// patience ends.
func (n *Node) handleLinkUp(peer uint64) {
	delete(n.brokenLinks, peer)
	if peer != n.leaderID || n.role == roleLeader {
		return
	}
	if n.leaderLinkBroken {
		n.leaderLinkBroken = false
		n.fastCampaignUntil, n.ignoreLeaderUntil = 0, 0
		n.resetElectionTimer()
	}
	n.sendLeaderChanged()
}

// fast tells whether the leader's link broke a moment ago, so that campaigns need not be patient.
func (n *Node) inFastCampaign() bool { return n.env.Now() < n.fastCampaignUntil }
