package sim

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

var diskScenarios = []Scenario{
	{Name: "torn-tail", Nodes: 3, Errata: []int{7}, Script: tornTail,
		Description: "the power fails in the middle of a write, which is torn: the member comes back with all it acknowledged"},
	{Name: "flipped-bit", Nodes: 3, Errata: []int{7}, Script: func(s *Driver) { s.damageDisk((*Driver).flipBit) },
		Description: "a bit of a dead member's log changes: it refuses with file and offset, or has all it acknowledged; the others go on"},
	{Name: "misdirected-write", Nodes: 3, Errata: []int{7}, Script: func(s *Driver) { s.damageDisk((*Driver).misdirectWrite) },
		Description: "a sector of a dead member's log lands where another was: it refuses with file and offset, or has all it acknowledged"},
	{Name: "stalled-disk", Nodes: 3, Errata: []int{9}, Script: stalledDisk,
		Description: "a disk does nothing for three election timeouts: a leader's hands leadership over and says why; a follower's and all disks: it goes on in time"},
	{Name: "full-disk", Nodes: 3, Errata: []int{8}, Script: fullDisk,
		Description: "no room for writes: leadership moves to who has some, writes are refused where nobody has, and taken again when there is"},
	{Name: "no-space", Nodes: 3, Errata: []int{5, 8}, Script: noSpace,
		Description: "the disk is full to the last byte: the node stops and says so, the others go on, and it is back when there is room"},
	{Name: "failing-sync", Nodes: 3, Errata: []int{5}, Script: failingSync,
		Description: "a sync fails, at a leader, a follower or all: the node stops and is never asked to try again; nothing acknowledged is lost"},
}

// afflicted is whom a story befalls: seeds in a row take the leader, a follower and all in turn.
func (s *Driver) affectedMembers(leader *member) []*member {
	switch s.seed % 3 {
	case 0:
		return []*member{leader}
	case 1:
		return s.others(leader)[:1]
	}
	return s.members
}

// reads a member's lines for people from now on. What it returns tells whether one of them holds some words.
func (s *Driver) captureLog(m *member) (says func(words string) bool) {
	var lines strings.Builder
	log := zerolog.New(&lines)
	m.logger = &log
	return func(words string) bool { return strings.Contains(lines.String(), words) }
}

func tornTail(s *Driver) {
	s.awaitSessions()
	var all []*history.Operation
	for round := 0; s.counts.CrashImages[Torn] == 0; round++ {
		if round == 40 {
			s.fail("no write was torn")
		}
		victim := s.randomMember()
		life := victim.runNumber
		victim.disk.crashChoice = func(n int) int { return min(s.random.IntN(n)+2, n-1) } // torn where it can be, else kept
		victim.disk.operationsToPowerCut = 1 + s.random.IntN(6)
		for range 2 {
			if l := s.majorityLeader(); l != nil {
				all = append(all, s.submitPadded(l, 1500))
			}
			s.advance(20 * time.Millisecond)
		}
		s.within(5*electionTimeout, "the power fails", func() bool { return victim.runNumber > life })
		s.within(20*electionTimeout, "all are well", s.converged)
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(5*electionTimeout, all[len(all)-1], s.members...)
	s.checkOnDisks(all, s.members...)
}

// damages has one member die, and harms its disk. It must refuse and say where, or have all that it acknowledged (which the
// ghost sees to). Then its disk is as if nothing had happened to it.
func (s *Driver) damageDisk(harm func(*Driver, *member)) {
	s.awaitSessions()
	var all []*history.Operation
	for range 12 {
		all = append(all, s.await(s.submitPadded(s.majorityLeader(), 150)))
	}
	victim := s.randomMember()
	s.awaitApplied(electionTimeout, all[11], victim)
	s.advance(2 * heartbeatInterval)
	victim.powerCut(vfs.KeepUnsynced)
	whole := victim.disk.CrashClone(vfs.KeepUnsynced)
	harm(s, victim)
	victim.disk.damaged = true
	refused := s.counts.Stops[StopRefused]
	victim.boot()
	s.within(5*electionTimeout, "it refuses or goes on", func() bool { return s.counts.Stops[StopRefused] > refused || victim.view.LeaderID != 0 })
	if s.counts.Stops[StopRefused] > refused {
		if where := (*persistence.CorruptError)(nil); !errors.As(victim.stopError, &where) || !strings.HasPrefix(where.File, logDir) {
			s.fail("member %d refuses and does not say where: %v", victim.id, victim.stopError)
		}
		all = append(all, s.commitWrite())
		victim.disk.attach(whole)
		victim.disk.damaged, victim.permanentlyDown = false, false
		victim.boot()
	} else if found, err := victim.recoverCopy(vfs.KeepUnsynced); err == nil {
		s.checkLogIntact(victim, found, all)
	} else if !errors.Is(err, persistence.ErrCorrupt) {
		s.fail("the log of member %d, which took it for good: %v", victim.id, err)
	}
	last := s.commitWrite()
	s.awaitApplied(5*electionTimeout, last, s.others(victim)...)
	s.checkOnDisks(append(all, last), s.others(victim)...)
}

// checkLogIntact checks that a log which a member took for good holds what was acknowledged, byte for byte where it matters.
func (s *Driver) checkLogIntact(m *member, f *recoveredLog, all []*history.Operation) {
	for _, o := range all {
		e, err := raft.DecodeEntry(f.entries.Data[o.Index-1])
		if err != nil || e.Kind != raft.KindCommand || !bytes.Equal(e.Payload, o.Encode()) {
			s.fail("member %d took its log for good; its entry %d is %x (%v)", m.id, o.Index, f.entries.Data[o.Index-1], err)
		}
	}
}

// flipBit damages a segment of the log: mostly what was written behind its header.
func (s *Driver) flipBit(m *member) {
	const header = 4096
	path, old := s.chooseSegment(m)
	bit := s.random.Int64N(8 * old)
	if old > header && s.chance(0.8) {
		bit = 8*header + s.random.Int64N(8*(old-header))
	}
	if err := m.disk.FlipBit(path, bit); err != nil {
		s.fail("%v", err)
	}
}

// misdirectWrite lays one sector of a segment over another.
func (s *Driver) misdirectWrite(m *member) {
	path, old := s.chooseSegment(m)
	sectors := old / vfs.SectorBytes
	from, to := s.random.Int64N(sectors), sectors-1-s.random.Int64N(min(sectors, 8)) // mostly not of the header's padding
	f, err := m.disk.OpenReadWrite(path)
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

// segment chooses a file of a member's log, and tells how much of it lies below the newest write that was synced. In that
// one nobody can tell damage from a write that never finished (E7).
func (s *Driver) chooseSegment(m *member) (path string, old int64) {
	var found []oldFile
	for _, f := range m.disk.oldFiles() {
		if strings.HasPrefix(f.path, logDir) && f.oldBytes >= vfs.SectorBytes {
			found = append(found, f)
		}
	}
	f := found[s.random.IntN(len(found))]
	return f.path, f.oldBytes
}

func stalledDisk(s *Driver) {
	leader := s.awaitSessions()
	says := s.captureLog(leader)
	stalled := s.affectedMembers(leader)
	until := s.now + 3*electionTimeout
	for _, m := range stalled {
		m.disk.stalledUntil = until
	}
	o := s.submitPadded(leader, 0)
	switch {
	case len(stalled) > 1:
		s.never(until-s.now, "something is acknowledged that no disk has", func() bool { return s.now < until && o.Outcome != history.Pending })
	case stalled[0] == leader:
		next := s.awaitSuccessor(3*electionTimeout, leader)
		if !says("own disk made no progress within the election timeout") {
			s.fail("the leader did not say why it handed leadership over")
		}
		s.writeAndWait(next, 3)
	default:
		s.awaitAnswered([]*history.Operation{o}, heartbeatInterval)
		s.writeAndWait(leader, 10)
		if s.majorityLeader() != leader {
			s.fail("leadership moved although the leader's disk works")
		}
	}
	s.awaitAnswered([]*history.Operation{o}, 10*electionTimeout)
	s.within(10*electionTimeout, "all are well", s.converged)
	s.checkOnDisks([]*history.Operation{o}, s.members...)
}

// lacks leaves so many bytes free on a disk.
func (m *member) limitFreeSpace(bytes int64) { m.disk.SetCapacity(m.disk.UsedBytes() + bytes) }

func fullDisk(s *Driver) {
	leader := s.awaitSessions()
	full := s.affectedMembers(leader)
	says := s.captureLog(full[0])
	for _, m := range full {
		m.limitFreeSpace(lowWater / 2)
	}
	first := s.submitPadded(leader, 0) // there is room for it still
	s.within(2*electionTimeout, "it is known who has no room", func() bool {
		for _, m := range full {
			if !m.view.DiskLow {
				return false
			}
		}
		return true
	})
	if !says("below the low-water mark") {
		s.fail("member %d does not say that its disk is full", full[0].id)
	}
	switch {
	case len(full) > 1:
		for range 3 {
			if o := s.submitPadded(leader, 0); s.majorityLeader() == leader {
				s.within(electionTimeout, "it is refused", func() bool { return o.Outcome != history.Pending })
				if o.Outcome != history.Refused {
					s.fail("a write is %v where no disk has room", o.Outcome)
				}
			}
			s.expect(leader, history.GetIndex, first.Key, s.History.ValueAt(first.Key, leader.applied))
			s.advance(electionTimeout)
		}
	case full[0] == leader:
		next := s.awaitSuccessor(5*electionTimeout, leader)
		s.writeAndWait(next, 3)
		s.staysLeader(next, 3*electionTimeout)
	default:
		s.writeAndWait(leader, 10)
		s.staysLeader(leader, 3*electionTimeout)
	}
	for _, m := range full {
		m.disk.SetCapacity(-1)
	}
	s.within(5*electionTimeout, "all have room", func() bool {
		for _, m := range full {
			if m.view.DiskLow {
				return false
			}
		}
		return true
	})
	s.awaitApplied(5*electionTimeout, s.commitWrite(), s.members...)
}

func noSpace(s *Driver) {
	leader := s.awaitSessions()
	victim := s.others(leader)[0]
	if s.chance(0.5) {
		victim = leader
	}
	var all []*history.Operation
	victim.limitFreeSpace(0)
	s.within(30*electionTimeout, "it stops for want of space", func() bool {
		if l := s.majorityLeader(); l != nil && l.embedder.pendingWrites() == 0 {
			all = append(all, s.submitPadded(l, 3000))
		}
		return s.counts.Stops[StopNoSpace] > 0
	})
	if !errors.Is(victim.stopError, syscall.ENOSPC) {
		s.fail("member %d stopped with %v", victim.id, victim.stopError)
	}
	all = append(all, s.commitWrite())
	victim.disk.SetCapacity(-1)
	s.awaitApplied(20*electionTimeout, all[len(all)-1], s.members...)
	s.checkOnDisks(all, s.members...)
}

func failingSync(s *Driver) {
	leader := s.awaitSessions()
	failing := s.affectedMembers(leader)
	all := []*history.Operation{s.commitWrite()}
	for _, m := range failing {
		m.disk.failSync = 1
	}
	all = append(all, s.submitPadded(s.others(failing[0])[0], 0))
	s.within(5*electionTimeout, "the nodes stop", func() bool { return s.counts.Stops[StopStorage] >= len(failing) })
	for _, m := range failing {
		if storage := (*actors.StorageError)(nil); !errors.As(m.stopError, &storage) || !strings.Contains(storage.Error(), dataDir) {
			s.fail("member %d stopped with %v", m.id, m.stopError)
		}
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*electionTimeout, all[len(all)-1], s.members...)
	s.checkOnDisks(all, s.members...)
}
