package node

import "time"

const (
	// fastCampaignDelayMax bounds the random wait between the loss of the leader's link and the
	// pre-votes, so that followers which lose it at the same time seldom collide.
	fastCampaignDelayMax = 30 * time.Millisecond
	// fastCampaignTimeoutMin and fastCampaignTimeoutMax bound the timeout of a fast campaign.
	fastCampaignTimeoutMin = 50 * time.Millisecond
	fastCampaignTimeoutMax = 200 * time.Millisecond
	// stickyRetryDelayMin and stickyRetryDelayMax bound the wait before a fast campaign asks a
	// voter again that refused a pre-vote out of stickiness.
	stickyRetryDelayMin = 10 * time.Millisecond
	stickyRetryDelayMax = 50 * time.Millisecond
)

// leaderContact records the leader of the term, the last contact to it, and the links that are
// down. It decides two things: whether this node refuses votes because a leader is active
// (stickiness, dissertation §4.2.3), and how long it waits for the leader before it campaigns.
//
// # Fast campaigns (docs/protocol.md P17 to P21)
//
// A node that crashes closes its connections, which its peers notice within milliseconds; waiting
// for the election timeout would leave the cluster without a leader for a second. So a follower
// whose link to the leader breaks is no longer sticky, and it asks for pre-votes after a short
// random wait. PreVote makes a false alarm harmless: if the others still have contact to the
// leader, they refuse. Three rules keep it so:
//
//   - Only the first break within a term and an election timeout counts. A link that breaks again
//     and again must not cause a campaign each time; the election timeout still applies.
//   - Messages that the leader sent before its link broke may arrive after the LinkDown. Until the
//     campaign begins (ignoreUntil) a message of the leader does not call it off. A LinkUp does.
//   - If such a message arrives later, during the campaign, the node follows the leader again, but
//     waits only a few heartbeat intervals: either the link works in the leader's direction and
//     heartbeats arrive, or that message was the last one.
type leaderContact struct {
	leader uint64 // the known leader of the current term, 0 for none
	last   time.Duration
	// lastMessage is when the latest message of a leader arrived, for the operator. last may be later.
	lastMessage time.Duration
	// leaderLost: the link to the leader broke, and no message of the leader that counts came since.
	leaderLost  bool
	ignoreUntil time.Duration
	downLinks   map[uint64]bool // peers whose link is down

	// fastUntil is the end of the period in which campaigns are fast. fastStarted and fastTerm are
	// when the last one was begun by a broken link, and the term.
	fastUntil, fastStarted time.Duration
	fastTerm               uint64
}

// isSticky reports whether this node refuses its vote to candidate: another node leads, this node
// had contact to it within the election timeout, and the link to it stands. A leader that asks for
// votes itself does not lead any more: its actors restarted.
func (c *leaderContact) isSticky(candidate uint64, now, electionTimeout time.Duration) bool {
	return c.leader != 0 && candidate != c.leader && !c.leaderLost && now-c.last < electionTimeout
}

// recordMessage stores that a message of the leader arrived. It reports whether the election timer
// starts again.
func (c *leaderContact) recordMessage(now time.Duration) (resetTimer bool) {
	c.last, c.lastMessage = now, now
	if c.leaderLost && now < c.ignoreUntil {
		return false
	}
	c.leaderLost = false
	return true
}

func (c *leaderContact) linkDown(peer uint64) { c.downLinks[peer] = true }
func (c *leaderContact) linkUp(peer uint64)   { delete(c.downLinks, peer) }

// leaderLinkDown stores that the link to the leader broke, and reports whether a fast campaign
// begins.
func (c *leaderContact) leaderLinkDown(now time.Duration, term uint64, electionTimeout time.Duration) (campaign bool) {
	c.leaderLost = true
	if c.fastTerm == term && now-c.fastStarted < electionTimeout {
		return false
	}
	c.fastTerm, c.fastStarted = term, now
	c.beginFast(now, electionTimeout)
	return true
}

// leaderLinkUp stores that the link to the leader is back, and reports whether that ends a fast
// campaign that has not begun.
func (c *leaderContact) leaderLinkUp() (resetTimer bool) {
	if !c.leaderLost {
		return false
	}
	c.leaderLost = false
	c.fastUntil, c.ignoreUntil = 0, 0
	return true
}

// beginFast makes campaigns fast for two election timeouts.
func (c *leaderContact) beginFast(now, electionTimeout time.Duration) {
	c.fastUntil = now + 2*electionTimeout
}

// isFast reports whether campaigns are fast.
func (c *leaderContact) isFast(now time.Duration) bool { return now < c.fastUntil }

// electionTimeout returns the bounds of the random wait for a message of the leader.
func (c *leaderContact) electionTimeout(heartbeatInterval, electionTimeout time.Duration) (least, most time.Duration) {
	if c.leader != 0 && c.downLinks[c.leader] {
		least = min(2*heartbeatInterval, electionTimeout)
		return least, least + heartbeatInterval
	}
	return electionTimeout, 2 * electionTimeout
}
