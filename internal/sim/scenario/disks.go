package scenario

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

var diskScenarios = []Scenario{
	{Name: "torn-tail", Nodes: 3, Errata: []int{7}, Script: tornTail,
		Description: "the power fails during a write, which is torn: the member recovers with all that it acknowledged"},
	{Name: "flipped-bit", Nodes: 3, Errata: []int{7}, Script: func(s *Driver) { s.damageDisk((*Driver).flipBit) },
		Description: "a bit of a stopped member's log changes: it refuses with file and offset, or has all that it acknowledged; the others continue"},
	{Name: "misdirected-write", Nodes: 3, Errata: []int{7}, Script: func(s *Driver) { s.damageDisk((*Driver).misdirectWrite) },
		Description: "a sector of a stopped member's log is overwritten by another: it refuses with file and offset, or has all that it acknowledged"},
	{Name: "log-moved-away", Nodes: 3, Errata: []int{37}, Script: func(s *Driver) { s.damageDisk((*Driver).moveLogAway) },
		Description: "the directory of a stopped member's log is moved away: it refuses to start, the others continue, and it returns with its log"},
	{Name: "stalled-disk", Nodes: 3, Errata: []int{9}, Script: stalledDisk,
		Description: "a disk stalls for three election timeouts: a leader transfers leadership and logs why; a follower, or all together, continue in time"},
	{Name: "full-disk", Nodes: 3, Errata: []int{8}, Script: fullDisk,
		Description: "no space for writes: leadership moves to a member with space, writes are refused if none has any, and accepted again later"},
	{Name: "no-space", Nodes: 3, Errata: []int{5, 8}, Script: noSpace,
		Description: "the disk is full to the last byte: the node stops and reports it, the others continue, and it recovers when there is space"},
	{Name: "failing-sync", Nodes: 3, Errata: []int{5}, Script: failingSync,
		Description: "a sync fails, at a leader, a follower or all: the node stops without another attempt; no acknowledged write is lost"},
}

// affectedMembers returns the members that a scenario damages: seeds in a row take the leader, a
// follower and all in turn.
func (s *Driver) affectedMembers(leader *world.Member) []*world.Member {
	switch s.Options.Seed % 3 {
	case 0:
		return []*world.Member{leader}
	case 1:
		return s.others(leader)[:1]
	}
	return s.Members
}

// captureLog captures the log messages of a member. It returns a function that reports whether one
// of them contains some words.
func (s *Driver) captureLog(m *world.Member) (logged func(words string) bool) {
	var lines strings.Builder
	log := zerolog.New(&lines)
	m.Logger = &log
	return func(words string) bool { return strings.Contains(lines.String(), words) }
}

func tornTail(s *Driver) {
	s.awaitSessions()
	var all []*history.Operation
	for round := 0; s.Counts.CrashImages[world.Torn] == 0; round++ {
		if round == 40 {
			s.fail("no write was torn")
		}
		victim := s.RandomMember()
		run := victim.RunNumber
		// Torn if possible, else kept.
		victim.Disk.CrashChoice = func(n int) int { return min(s.Random.IntN(n)+2, n-1) }
		victim.Disk.OperationsToPowerCut = 1 + s.Random.IntN(6)
		for range 2 {
			if l := s.majorityLeader(); l != nil {
				all = append(all, s.submitPadded(l, 1500))
			}
			s.advance(20 * time.Millisecond)
		}
		s.within(5*world.ElectionTimeout, "the power fails", func() bool { return victim.RunNumber > run })
		s.within(20*world.ElectionTimeout, "the cluster converges", s.Converged)
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(5*world.ElectionTimeout, all[len(all)-1], s.Members...)
	s.checkOnDisks(all, s.Members...)
}

// damageDisk stops a member and damages its disk. It must refuse with the place, or have all that
// it acknowledged (which the checker checks). After that its disk is restored.
func (s *Driver) damageDisk(harm func(*Driver, *world.Member)) {
	s.awaitSessions()
	var all []*history.Operation
	for range 12 {
		all = append(all, s.await(s.submitPadded(s.majorityLeader(), 150)))
	}
	victim := s.RandomMember()
	s.awaitApplied(world.ElectionTimeout, all[11], victim)
	s.advance(2 * world.HeartbeatInterval)
	victim.PowerCut(vfs.KeepUnsynced)
	whole := victim.Disk.CrashClone(vfs.KeepUnsynced)
	harm(s, victim)
	victim.Disk.Damaged = true
	refused := s.Counts.Stops[world.StopRefused]
	victim.Boot()
	s.within(5*world.ElectionTimeout, "it refuses or continues", func() bool { return s.Counts.Stops[world.StopRefused] > refused || victim.View.LeaderID != 0 })
	if s.Counts.Stops[world.StopRefused] > refused {
		if where := (*persistence.CorruptError)(nil); !errors.As(victim.StopError, &where) || !strings.HasPrefix(where.File, world.LogDir) {
			s.fail("member %d refuses and does not name the place: %v", victim.ID(), victim.StopError)
		}
		all = append(all, s.commitWrite())
		victim.Disk.Attach(whole)
		victim.Disk.Damaged, victim.PermanentlyDown = false, false
		victim.Boot()
	} else if found, err := recoverCopy(victim, vfs.KeepUnsynced); err == nil {
		s.checkLogIntact(victim, found, all)
	} else if !errors.Is(err, persistence.ErrCorrupt) {
		s.fail("the log of member %d, which accepted it: %v", victim.ID(), err)
	}
	last := s.commitWrite()
	s.awaitApplied(5*world.ElectionTimeout, last, s.others(victim)...)
	s.checkOnDisks(append(all, last), s.others(victim)...)
}

func (s *Driver) moveLogAway(m *world.Member) { m.MoveLogAway() }

// checkLogIntact checks that a log which a member accepted holds what was acknowledged, byte for
// byte where it matters.
func (s *Driver) checkLogIntact(m *world.Member, f *recoveredLog, all []*history.Operation) {
	for _, o := range all {
		e, err := raft.DecodeEntry(f.entries.Data[o.Index-1])
		if err != nil || e.Kind != raft.KindCommand || !bytes.Equal(e.Payload, o.Encode()) {
			s.fail("member %d accepted its log; its entry %d is %x (%v)", m.ID(), o.Index, f.entries.Data[o.Index-1], err)
		}
	}
}

// flipBit flips a bit in a segment of the log, mostly behind its header.
func (s *Driver) flipBit(m *world.Member) {
	const header = 4096
	path, old := s.chooseSegment(m)
	bit := s.Random.Int64N(8 * old)
	if old > header && s.Chance(0.8) {
		bit = 8*header + s.Random.Int64N(8*(old-header))
	}
	if err := m.Disk.FlipBit(path, bit); err != nil {
		s.fail("%v", err)
	}
}

// misdirectWrite overwrites one sector of a segment by another.
func (s *Driver) misdirectWrite(m *world.Member) {
	path, old := s.chooseSegment(m)
	sectors := old / vfs.SectorBytes
	// Mostly not of the header's padding.
	from, to := s.Random.Int64N(sectors), sectors-1-s.Random.Int64N(min(sectors, 8))
	f, err := m.Disk.OpenReadWrite(path)
	sector := make([]byte, vfs.SectorBytes)
	if err == nil {
		_, err = f.ReadAt(sector, from*vfs.SectorBytes)
	}
	if err == nil {
		_, err = f.WriteAt(sector, to*vfs.SectorBytes)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		s.fail("%v", err)
	}
}

// chooseSegment chooses a file of a member's log, and returns how many of its bytes lie below the
// newest synced write. In that write, damage looks like a write that never finished (E7).
func (s *Driver) chooseSegment(m *world.Member) (path string, old int64) {
	var found []world.OldFile
	for _, f := range m.Disk.OldFiles() {
		if strings.HasPrefix(f.Path, world.LogDir) && f.OldBytes >= vfs.SectorBytes {
			found = append(found, f)
		}
	}
	f := found[s.Random.IntN(len(found))]
	return f.Path, f.OldBytes
}

func stalledDisk(s *Driver) {
	leader := s.awaitSessions()
	logged := s.captureLog(leader)
	stalled := s.affectedMembers(leader)
	until := s.Now() + 3*world.ElectionTimeout
	for _, m := range stalled {
		m.Disk.StalledUntil = until
	}
	o := s.submitPadded(leader, 0)
	switch {
	case len(stalled) > 1:
		s.never(until-s.Now(), "something is acknowledged that no disk has", func() bool { return s.Now() < until && o.Outcome != history.Pending })
	case stalled[0] == leader:
		next := s.awaitSuccessor(3*world.ElectionTimeout, leader)
		if !logged("own disk made no progress within the election timeout") {
			s.fail("the leader did not log why it transferred leadership")
		}
		s.writeAndWait(next, 3)
	default:
		s.awaitAnswered([]*history.Operation{o}, world.HeartbeatInterval)
		s.writeAndWait(leader, 10)
		if s.majorityLeader() != leader {
			s.fail("leadership moved although the leader's disk works")
		}
	}
	s.awaitAnswered([]*history.Operation{o}, 10*world.ElectionTimeout)
	s.within(10*world.ElectionTimeout, "the cluster converges", s.Converged)
	s.checkOnDisks([]*history.Operation{o}, s.Members...)
}

// limitFreeSpace leaves so many bytes free on a disk.
func limitFreeSpace(m *world.Member, bytes int64) { m.Disk.SetCapacity(m.Disk.UsedBytes() + bytes) }

// acceptAboveLowWater: disks with more space than the configured low water accept writes, though
// they have less than the default.
func (s *Driver) acceptAboveLowWater(leader *world.Member) {
	for _, m := range s.Members {
		limitFreeSpace(m, 16*world.LowWaterBytes)
	}
	s.awaitAnswered(s.submitWrites(leader, 3), world.ElectionTimeout)
	s.never(2*world.ElectionTimeout, "a disk with space counts as low", func() bool {
		return slices.ContainsFunc(s.Members, func(m *world.Member) bool { return m.View.DiskLow })
	})
}

func fullDisk(s *Driver) {
	leader := s.awaitSessions()
	s.acceptAboveLowWater(leader)
	full := s.affectedMembers(leader)
	logged := s.captureLog(full[0])
	for _, m := range full {
		limitFreeSpace(m, world.LowWaterBytes/2)
	}
	first := s.submitPadded(leader, 0) // there is still space for it
	s.within(2*world.ElectionTimeout, "the low disks are known", func() bool {
		for _, m := range full {
			if !m.View.DiskLow {
				return false
			}
		}
		return true
	})
	if !logged("below the low-water mark") {
		s.fail("member %d does not log that its disk is full", full[0].ID())
	}
	switch {
	case len(full) > 1:
		for range 3 {
			if o := s.submitPadded(leader, 0); s.majorityLeader() == leader {
				s.within(world.ElectionTimeout, "it is refused", func() bool { return o.Outcome != history.Pending })
				if o.Outcome != history.Refused {
					s.fail("a write is %v where no disk has room", o.Outcome)
				}
			}
			s.expect(leader, history.GetIndex, first.Key, s.History.ValueAt(first.Key, leader.Applied))
			s.advance(world.ElectionTimeout)
		}
	case full[0] == leader:
		next := s.awaitSuccessor(5*world.ElectionTimeout, leader)
		s.writeAndWait(next, 3)
		s.staysLeader(next, 3*world.ElectionTimeout)
	default:
		s.writeAndWait(leader, 10)
		s.staysLeader(leader, 3*world.ElectionTimeout)
	}
	for _, m := range full {
		m.Disk.SetCapacity(-1)
	}
	s.within(5*world.ElectionTimeout, "all have space", func() bool {
		for _, m := range full {
			if m.View.DiskLow {
				return false
			}
		}
		return true
	})
	s.awaitApplied(5*world.ElectionTimeout, s.commitWrite(), s.Members...)
}

func noSpace(s *Driver) {
	leader := s.awaitSessions()
	victim := s.others(leader)[0]
	if s.Chance(0.5) {
		victim = leader
	}
	var all []*history.Operation
	limitFreeSpace(victim, 0)
	s.within(30*world.ElectionTimeout, "it stops for lack of space", func() bool {
		if l := s.majorityLeader(); l != nil && l.Embedder.PendingWrites() == 0 {
			all = append(all, s.submitPadded(l, 3000))
		}
		return s.Counts.Stops[world.StopNoSpace] > 0
	})
	if !errors.Is(victim.StopError, syscall.ENOSPC) {
		s.fail("member %d stopped with %v", victim.ID(), victim.StopError)
	}
	all = append(all, s.commitWrite())
	victim.Disk.SetCapacity(-1)
	s.awaitApplied(20*world.ElectionTimeout, all[len(all)-1], s.Members...)
	s.checkOnDisks(all, s.Members...)
}

func failingSync(s *Driver) {
	leader := s.awaitSessions()
	failing := s.affectedMembers(leader)
	all := []*history.Operation{s.commitWrite()}
	for _, m := range failing {
		m.Disk.FailSync = 1
	}
	all = append(all, s.submitPadded(s.others(failing[0])[0], 0))
	s.within(5*world.ElectionTimeout, "the nodes stop", func() bool { return s.Counts.Stops[world.StopStorage] >= len(failing) })
	for _, m := range failing {
		if storage := (*actors.StorageError)(nil); !errors.As(m.StopError, &storage) || !strings.Contains(storage.Error(), world.DataDir) {
			s.fail("member %d stopped with %v", m.ID(), m.StopError)
		}
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*world.ElectionTimeout, all[len(all)-1], s.Members...)
	s.checkOnDisks(all, s.Members...)
}
