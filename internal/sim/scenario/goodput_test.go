package scenario

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// load is what came of the writes of some seconds of virtual time.
type load struct {
	offered, answered, refused float64 // a second
	logged                     float64 // how often a write is in the log
	longest                    time.Duration
}

// offer begins writes at all members at a constant rate, whatever becomes of them, in a cluster
// whose disks take 5 ms for a sync and which takes no more proposals than it can write in two
// election timeouts.
func offer(t *testing.T, seed uint64, perSecond float64) (l load) {
	const warmUp, measured = 2 * time.Second, 2 * time.Second
	run := Scenario{
		Name: "goodput", Nodes: 3,
		Setup: func(w *world.World) {
			w.SyncTime, w.SingleEntryRequests, w.UncommittedBytes = 5*time.Millisecond, true, 40_000
		},
		Script: func(s *Driver) {
			leader := s.awaitSessions()
			began := s.Now()
			var all []*history.Operation
			interval := time.Duration(float64(time.Second) / perSecond)
			for s.Now() < began+warmUp+measured {
				s.advance(interval)
				all = append(all, s.beginBacklog(1)...)
			}
			ended := s.Now()
			s.within(20*world.ElectionTimeout, "all have an outcome", func() bool { return countOutcome(history.Pending, all) == 0 })
			for _, o := range all {
				if o.CalledAt >= began+warmUp {
					l.offered += 1 / measured.Seconds()
				}
				l.longest = max(l.longest, o.ReturnedAt-o.CalledAt)
				switch {
				case o.ReturnedAt < began+warmUp || o.ReturnedAt > ended:
				case o.Outcome == history.Answered:
					l.answered += 1 / measured.Seconds()
				case o.Outcome == history.Refused:
					l.refused += 1 / measured.Seconds()
				}
			}
			log := s.commandsOnDisk(leader)
			distinct := map[uint64]bool{}
			for _, number := range log {
				distinct[number] = true
			}
			l.logged = float64(len(log)) / float64(len(distinct))
		},
	}
	if err := run.Run(world.Options{Seed: seed}).Err(); err != nil {
		t.Fatal(err)
	}
	return l
}

// A cluster does as much work when it is offered twice or four times what it can do: writes that
// wait are not logged again, and the rest is refused. The time is virtual, so the figures are the
// same on every machine.
func TestGoodputIsFlatUnderOverload(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates some twenty thousand writes")
	}
	capacity := offer(t, 1, 1500).answered
	for _, factor := range []float64{0.9, 1, 2, 4} {
		l := offer(t, 1, factor*capacity)
		t.Logf("%.1f of the capacity: offered %.0f/s, answered %.0f/s, refused %.0f/s, logged %.2f times, longest wait %v",
			factor, l.offered, l.answered, l.refused, l.logged, l.longest.Round(time.Millisecond))
		if least := 0.97 * min(l.offered, capacity); l.answered < least || l.logged != 1 {
			t.Errorf("%.0f writes a second at %.1f of the capacity of %.0f, each logged %.2f times", l.answered, factor, capacity, l.logged)
		}
	}
}
