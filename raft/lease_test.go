package raft

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// For any drift within the bound and any delay of the heartbeat, the leader's period ends before
// the follower's, in true time.
func TestE21FollowerPeriodEndsAfterLeaderPeriod(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Lease{
			Length:        time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "length")),
			DriftPerMille: rapid.Uint64Range(0, 500).Draw(t, "drift"),
		}
		bound := float64(l.DriftPerMille) / 1000
		leaderRate := 1 + rapid.Float64Range(-bound, bound).Draw(t, "leader's clock")
		followerRate := 1 + rapid.Float64Range(-bound, bound).Draw(t, "follower's clock")
		delay := rapid.Float64Range(0, 1e9).Draw(t, "delay")

		leaderEnds := float64(l.LeaderDuration()) / leaderRate
		followerEnds := delay + float64(l.FollowerDuration())/followerRate
		if leaderEnds > followerEnds*(1+1e-12) {
			t.Fatalf("%+v: the leader's period ends at %f, the follower's at %f", l, leaderEnds, followerEnds)
		}
	})
	l := Lease{Length: time.Second, DriftPerMille: 10}
	if l.LeaderDuration() != 990*time.Millisecond || l.FollowerDuration() != 1010*time.Millisecond+1 {
		t.Errorf("leader %v, follower %v", l.LeaderDuration(), l.FollowerDuration())
	}
}

func TestLeaseWithoutLengthIsNotHeld(t *testing.T) {
	q := Quorum{Incoming: Majority{1}}
	now := func(uint64) (time.Duration, bool) { return time.Second, true }
	for _, l := range []Lease{{}, {Length: -1}, {Length: time.Second, DriftPerMille: 1000}} {
		if got := l.LeaderExpiry(q, now); got != 0 {
			t.Errorf("%+v: held until %v", l, got)
		}
	}
	if got := (Lease{}).FollowerDuration(); got != 0 {
		t.Errorf("no lease, but a follower's period of %v", got)
	}
	if got := (Lease{Length: 1<<63 - 1, DriftPerMille: 5000}).FollowerDuration(); got <= 0 {
		t.Errorf("follower's period of the longest lease: %v", got)
	}
}

func TestE21LeaseNeedsQuorumOfHeartbeats(t *testing.T) {
	l := Lease{Length: time.Second}
	q := Quorum{Incoming: Majority{1, 2, 3}}
	sent := map[uint64]time.Duration{1: 9 * time.Second, 2: 4 * time.Second}
	at := func(id uint64) (time.Duration, bool) { d, ok := sent[id]; return d, ok }
	if got := l.LeaderExpiry(q, at); got != 5*time.Second {
		t.Errorf("held until %v, want 5s by the older heartbeat of two", got)
	}
	delete(sent, 2)
	if got := l.LeaderExpiry(q, at); got != 0 {
		t.Errorf("held until %v by a minority", got)
	}
	sent[2] = 0 // at the start of the clock
	if got := l.LeaderExpiry(q, at); got != time.Second {
		t.Errorf("held until %v, want 1s", got)
	}
	// After a change of the configuration the new voters must have acknowledged too.
	sent[2] = 4 * time.Second
	if got := l.LeaderExpiry(Quorum{Incoming: Majority{1, 3, 4}, Outgoing: q.Incoming}, at); got != 0 {
		t.Errorf("held until %v without a majority of the new configuration", got)
	}
}

func TestE21GrantIsNeverShortened(t *testing.T) {
	long, short := Lease{Length: 10 * time.Second}, Lease{Length: time.Second}
	until := long.Grant(0, time.Second)
	if again := short.Grant(until, 2*time.Second); again != until {
		t.Errorf("granted until %v, then until %v", until, again)
	}
	if later := short.Grant(until, 20*time.Second); later <= until {
		t.Errorf("a later grant ends at %v", later)
	}
}
