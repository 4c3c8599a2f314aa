package raft

import (
	"math/bits"
	"time"
)

// Lease is the period in which a leader may serve reads without a round of heartbeats, because a
// quorum of followers grants no vote in it (dissertation §6.4.1, E21). Only durations are compared,
// never the times of two clocks. Clocks may be up to DriftPerMille faster or slower than true time.
//
//	true time   |──────────── Length ────────────|
//	leader      |── Length·(1−d) on its clock ──|      ends here at the latest, on a slow clock
//	follower    |── Length·(1+d) on its clock ────|    ends here at the earliest, on a fast clock
//
// The leader counts from when it sent the heartbeat that was acknowledged, the follower from when
// it received it, which is later. So the follower's period ends after the leader's.
type Lease struct {
	Length        time.Duration
	DriftPerMille uint64 // below 1000
}

// LeaderDuration returns how long the leader may rely on the lease after it sent the heartbeat.
func (l Lease) LeaderDuration() time.Duration {
	if l.Length <= 0 || l.DriftPerMille >= 1000 {
		return 0
	}
	return scalePerMille(l.Length, 1000-l.DriftPerMille)
}

// FollowerDuration returns how long the follower grants no vote after it received the heartbeat.
// After a restart it does not know when that was, and counts from the restart.
func (l Lease) FollowerDuration() time.Duration {
	if l.Length <= 0 {
		return 0
	}
	return scalePerMille(l.Length, 1000+min(l.DriftPerMille, 999)) + 1 // round up
}

// LeaderExpiry returns when the leader's lease ends, on the leader's clock; 0 if it has none.
// sentAt is when the leader sent the latest heartbeat that the voter acknowledged; for the leader
// itself, now. The quorum is that of the configuration in effect: after a change the new voters
// must have acknowledged too, and the lease may end earlier than before the change.
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

// Grant returns until when a follower grants no vote after another heartbeat. It is never earlier
// than grantedUntil, which an earlier heartbeat caused, whatever the length of the new lease.
func (l Lease) Grant(grantedUntil, now time.Duration) time.Duration {
	return max(grantedUntil, now+l.FollowerDuration())
}

// scalePerMille returns d·perMille/1000 rounded down, for perMille below 2000, without overflow and
// at most 73 years.
func scalePerMille(d time.Duration, perMille uint64) time.Duration {
	high, low := bits.Mul64(uint64(d), perMille)
	quotient, _ := bits.Div64(high, low, 1000)
	return time.Duration(min(quotient, 1<<61))
}
