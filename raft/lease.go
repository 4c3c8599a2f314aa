package raft

import (
	"math/bits"
	"time"
)

// Lease is a leader's right to answer reads without asking anybody, for as long as a quorum has promised not to elect
// another (dissertation §6.4.1, E21). No clock is compared with another one, only durations are; and clocks may run at
// different speeds, up to DriftPerMille faster or slower than true time.
//
//	true time       |──────────── Length ────────────|
//	leader   trusts |── Length·(1−d) on its clock ──|      ends at the latest here, even if its clock is slow
//	follower keeps  |── Length·(1+d) on its clock ────|    ends at the earliest here, even if its clock is fast
//
// The leader counts from when it sent the heartbeat that was acknowledged, the follower from when it received it, which is
// later. So the follower's promise outlives the leader's trust.
type Lease struct {
	Length        time.Duration
	DriftPerMille uint64 // below 1000
}

// LeaderDuration is how long, on its own clock and from when the heartbeat left, the leader may rely on the lease.
func (l Lease) LeaderDuration() time.Duration {
	if l.Length <= 0 || l.DriftPerMille >= 1000 {
		return 0
	}
	return scalePerMille(l.Length, 1000-l.DriftPerMille)
}

// FollowerDuration is how long, on its own clock and from when the heartbeat came, the follower grants no vote. After a
// restart it has no idea when that was, and waits all of it out.
func (l Lease) FollowerDuration() time.Duration {
	if l.Length <= 0 {
		return 0
	}
	return scalePerMille(l.Length, 1000+min(l.DriftPerMille, 999)) + 1 // rounded up
}

// LeaderExpiry is the time on the leader's clock up to which it holds the lease; 0 if it does not. sentAt is when the newest
// heartbeat that the voter acknowledged was sent (a leader counts itself with the present). The voters are those of the
// configuration in effect, by the same quorum code as commits: after a change of it the new voters must have acknowledged
// too, and the time may be earlier than it was under the former one.
func (l Lease) LeaderExpiry(q Quorum, sentAt func(id uint64) (at time.Duration, ok bool)) time.Duration {
	trust := l.LeaderDuration()
	if trust == 0 {
		return 0
	}
	// Shifted by one, so that 0 stands for "never".
	sent := q.HighestAcknowledged(func(id uint64) uint64 {
		if at, ok := sentAt(id); ok {
			return uint64(at) + 1
		}
		return 0
	})
	if sent == 0 {
		return 0
	}
	return time.Duration(sent-1) + trust
}

// Promise is a follower's patience after another heartbeat: it never gets shorter than what was promised before, whatever
// the new leader, or the new configuration, asks for.
func (l Lease) Grant(heldUntil, now time.Duration) time.Duration {
	return max(heldUntil, now+l.FollowerDuration())
}

// scale is d·perMille/1000 rounded down, for perMille below 2000, without an overflow on the way; at most a century.
func scalePerMille(d time.Duration, perMille uint64) time.Duration {
	high, low := bits.Mul64(uint64(d), perMille)
	quotient, _ := bits.Div64(high, low, 1000)
	return time.Duration(min(quotient, 1<<61))
}
