package simulation

import (
	"errors"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/kv"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

var watchScenarios = []scenario.Scenario{
	{Name: "key-value-watch-leader-change", Nodes: 3, Application: scripted(func() settings { return settings{} }), Script: run(watchLeaderChange),
		Description: "the leader fails while writes are in doubt: the watches at all members receive each event once and in order"},
	{Name: "key-value-watch-store-behind", Nodes: 3, Application: scripted(storesFallBehind), Script: run(watchStoreBehind),
		Description: "the store of a member is opened again without its newest batches: its watches receive no event twice and miss none, and no read goes back"},
	{Name: "key-value-compaction-under-watch", Nodes: 3, Application: scripted(smallBuffers), Script: run(compactionUnderWatch),
		Description: "a compaction passes watches that catch up: these are canceled and go on at the compacted revision, one that is ahead is not"},
}

// watchLeaderChange has a watch at each member, and one whose client goes from member to member.
func watchLeaderChange(s *script, leader *member) {
	var all []*watched
	for i, m := range s.app.members {
		_, w := s.watchAt(m, "\x00", "\x00", 0, i%2 == 0)
		all = append(all, w)
	}
	roams := newWatchClient(s.app)
	s.app.watches = append(s.app.watches, roams)
	roams.connect()
	s.awaitWatches()
	for _, m := range s.app.members {
		s.await(s.put(m, "before"))
	}
	s.awaitWatches()
	for _, m := range append(s.others(leader), leader, leader) {
		s.put(m, "in doubt")
	}
	s.Advance(s.RandomDuration(0, world.HeartbeatInterval/10))
	isolated := s.Chance(0.4)
	switch {
	case isolated:
		s.Isolate(leader.Member, true)
	case s.Chance(0.5):
		leader.PowerCut(s.Random.IntN)
	default:
		leader.KillProcess()
	}
	next := s.on(s.AwaitSuccessor(10*world.ElectionTimeout, leader.Member))
	for range 3 {
		s.await(s.put(next, "after"))
		s.await(s.deletion(next, "before", ""))
	}
	if isolated {
		s.Isolate(leader.Member, false)
	} else {
		leader.Boot()
	}
	s.awaitStores()
	s.awaitWatches()
	for i, w := range all {
		if w.received < 7 {
			s.Failf("the watch at member %d has received %d events", i+1, w.received)
		}
	}
}

// storesFallBehind has members lose more batches than a seed would.
func storesFallBehind() settings { return settings{maxUnflushed: 1000} }

var errFlush = errors.New("the script lets no flush succeed")

// watchStoreBehind restarts the actors of a member, or its process. The watches of a member whose
// actors restart stay open.
func watchStoreBehind(s *script, leader *member) {
	m := s.random()
	_, one := s.watchAt(m, "a", "", 0, false)
	_, every := s.watchAt(m, "\x00", "\x00", 0, true)
	s.awaitWatches()
	for _, key := range []string{"a", "b", "a", "c", "a"} {
		s.await(s.put(leader, key))
	}
	s.await(s.deletion(leader, "b", "d"))
	s.awaitWatches()
	shown := m.store.Revision()
	var reads []*request
	ask := func() {
		for _, kind := range readKinds {
			for _, mode := range []string{"", "log", "index", "lease", "local"} {
				reads = append(reads, kind.read(s, m, "a", mode))
			}
		}
	}
	if s.Chance(0.5) {
		restarts := s.Counts.SubtreeRestarts
		m.disk.FailFlush = errFlush
		m.CrashAt("machine", "Committed", 1, s.RandomTiming())
		s.put(leader, "a")
		for s.Counts.SubtreeRestarts == restarts {
			ask() // some reads have their read point when the store is closed
			s.Advance(100 * time.Microsecond)
		}
	} else {
		m.KillProcess()
		s.Advance(s.RandomDuration(0, world.ElectionTimeout))
		m.Boot()
	}
	s.Within(world.ElectionTimeout, "the store is opened, and is behind", func() bool {
		return m.schedule != nil && m.store.Revision() > 0 && m.store.Revision() < shown
	})
	m.disk.FailFlush = nil
	_, late := s.watchAt(m, "a", "", shown+1, false)
	ask()
	for _, r := range reads {
		s.await(r)
	}
	writer := s.on(s.AwaitSuccessor(10 * world.ElectionTimeout))
	for _, key := range []string{"a", "b", "a"} {
		s.await(s.put(writer, key))
	}
	s.awaitWatches()
	if one.received < 5 || every.received < 9 || late.received < 2 || one.canceled+every.canceled+late.canceled > 0 {
		s.Failf("the watches have received %d, %d and %d events", one.received, every.received, late.received)
	}
}

// smallBuffers has watches that hold few events, or none, and read the rest from history.
func smallBuffers() settings {
	return settings{configure: func(o *mvcc.Options, c *kv.ServerConfig) {
		o.CompactionStepEvents = 1
		c.WatchStreamBufferBytes = min(c.WatchStreamBufferBytes, 300)
	}}
}

// compactionUnderWatch compacts at a deletion, whose event a watch may still need.
func compactionUnderWatch(s *script, leader *member) {
	m := s.random()
	for _, key := range []string{"a", "b", "a"} {
		s.await(s.put(leader, key))
	}
	s.awaitStores()
	// It reads history, and has read nothing: its client does not read the response that creates it.
	behind, fromHistory := s.watchAt(m, "\x00", "\x00", 2, s.Chance(0.5))
	behind.stalled = true
	// It is in the live feed until it does not read any more.
	live, overflows := s.watchAt(m, "\x00", "\x00", 0, s.Chance(0.5))
	_, ahead := s.watchAt(m, "\x00", "\x00", 0, s.Chance(0.5))
	s.Within(world.ElectionTimeout, "the live watches are created", func() bool { return live.complete() && ahead.created })
	s.await(s.put(leader, "b"))
	s.Within(world.ElectionTimeout, "they receive an event", func() bool { return overflows.received == 1 && ahead.received == 1 })
	live.stalled = true
	for range 8 {
		s.await(s.put(leader, "a"))
		s.await(s.put(leader, "c"))
	}
	s.await(s.deletion(leader, "a", ""))
	s.awaitStores()
	s.Within(world.ElectionTimeout, "the watch that is ahead receives all", func() bool { return ahead.received == 18 })
	compacted := s.app.model.rev
	s.await(s.compact(leader, compacted, s.Chance(0.5)))
	if s.Chance(0.5) {
		s.await(s.put(leader, "d"))
	}
	s.awaitStores()
	behind.stalled, live.stalled = false, false
	s.awaitWatches()
	s.await(s.put(leader, "a"))
	s.awaitWatches()
	if fromHistory.canceled != 1 || overflows.canceled != 1 || ahead.canceled != 0 {
		s.Failf("the watch from history was canceled %d times, the one that overflowed %d and the one ahead %d",
			fromHistory.canceled, overflows.canceled, ahead.canceled)
	}
	if w := fromHistory; w.received < 2 {
		s.Failf("the watch from history has received %d events from the compacted revision on", w.received)
	}
}
