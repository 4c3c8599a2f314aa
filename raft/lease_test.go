package raft

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// E21: whatever the drift within the bound and whenever the heartbeat arrived, a leader stops
// trusting before a follower stops keeping its promise, in true time.
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

		trustEnds := float64(l.LeaderDuration()) / leaderRate
		promiseEnds := delay + float64(l.FollowerDuration())/followerRate
		if trustEnds > promiseEnds*(1+1e-12) {
			t.Fatalf("%+v: trusted until %f, promised until %f", l, trustEnds, promiseEnds)
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
		t.Errorf("a follower keeps nothing for %v", got)
	}
	if got := (Lease{Length: 1<<63 - 1, DriftPerMille: 5000}).FollowerDuration(); got <= 0 {
		t.Errorf("an absurd lease is kept for %v", got)
	}
}

func TestE21LeaseNeedsQuorumOfHeartbeats(t *testing.T) {
	l := Lease{Length: time.Second}
	q := Quorum{Incoming: Majority{1, 2, 3}}
	sent := map[uint64]time.Duration{1: 9 * time.Second, 2: 4 * time.Second}
	at := func(id uint64) (time.Duration, bool) { d, ok := sent[id]; return d, ok }
	if got := l.LeaderExpiry(q, at); got != 5*time.Second {
		t.Errorf("held until %v, want 5s: the older of the two counts", got)
	}
	delete(sent, 2)
	if got := l.LeaderExpiry(q, at); got != 0 {
		t.Errorf("held until %v by a minority", got)
	}
	sent[2] = 0 // sent when the clock began
	if got := l.LeaderExpiry(q, at); got != time.Second {
		t.Errorf("held until %v, want 1s", got)
	}
	// A change of configuration: the new voters must have acknowledged too.
	sent[2] = 4 * time.Second
	if got := l.LeaderExpiry(Quorum{Incoming: Majority{1, 3, 4}, Outgoing: q.Incoming}, at); got != 0 {
		t.Errorf("held until %v although no majority of the new configuration answered", got)
	}
}

func TestE21GrantIsNeverShortened(t *testing.T) {
	long, short := Lease{Length: 10 * time.Second}, Lease{Length: time.Second}
	until := long.Grant(0, time.Second)
	if again := short.Grant(until, 2*time.Second); again != until {
		t.Errorf("promised until %v, then only until %v", until, again)
	}
	if later := short.Grant(until, 20*time.Second); later <= until {
		t.Errorf("a later promise ends at %v", later)
	}
}
