package sim

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
	"github.com/troupe-raft/troupe/raft"
)

var diskScenarios = []Scenario{
	{Name: "torn-tail", Nodes: 3, Errata: []int{7}, Script: tornTail,
		Line: "the power fails in the middle of a write, which is torn: the member comes back with all it acknowledged"},
	{Name: "flipped-bit", Nodes: 3, Errata: []int{7}, Script: func(s *Scene) { s.damages((*Scene).flipsBit) },
		Line: "a bit of a dead member's log changes: it refuses with file and offset, or has all it acknowledged; the others go on"},
	{Name: "misdirected-write", Nodes: 3, Errata: []int{7}, Script: func(s *Scene) { s.damages((*Scene).misdirectsWrite) },
		Line: "a sector of a dead member's log lands where another was: it refuses with file and offset, or has all it acknowledged"},
	{Name: "stalled-disk", Nodes: 3, Errata: []int{9}, Script: stalledDisk,
		Line: "a disk does nothing for three election timeouts: a leader's hands leadership over and says why; a follower's and all disks: it goes on in time"},
	{Name: "full-disk", Nodes: 3, Errata: []int{8}, Script: fullDisk,
		Line: "no room for writes: leadership moves to who has some, writes are refused where nobody has, and taken again when there is"},
	{Name: "no-space", Nodes: 3, Errata: []int{5, 8}, Script: noSpace,
		Line: "the disk is full to the last byte: the node stops and says so, the others go on, and it is back when there is room"},
	{Name: "failing-sync", Nodes: 3, Errata: []int{5}, Script: failingSync,
		Line: "a sync fails, at a leader, a follower or all: the node stops and is never asked to try again; nothing acknowledged is lost"},
}

// afflicted is whom a story befalls: seeds in a row take the leader, a follower and all in turn.
func (s *Scene) afflicted(leader *member) []*member {
	switch s.seed % 3 {
	case 0:
		return []*member{leader}
	case 1:
		return s.others(leader)[:1]
	}
	return s.members
}

// reads a member's lines for people from now on. What it returns tells whether one of them holds some words.
func (s *Scene) reads(m *member) (says func(words string) bool) {
	var lines strings.Builder
	log := zerolog.New(&lines)
	m.journal = &log
	return func(words string) bool { return strings.Contains(lines.String(), words) }
}

func tornTail(s *Scene) {
	s.settles()
	var all []*operation
	for round := 0; s.counts.CrashImages[Torn] == 0; round++ {
		if round == 40 {
			s.fail("no write was torn")
		}
		victim := s.anyone()
		life := victim.life
		victim.disk.survives = func(n int) int { return min(s.random.IntN(n)+2, n-1) } // torn where it can be, else kept
		victim.disk.powerCut = 1 + s.random.IntN(6)
		for range 2 {
			if l := s.leads(); l != nil {
				all = append(all, s.says(l, 1500))
			}
			s.pass(20 * time.Millisecond)
		}
		s.within(5*election, "the power fails", func() bool { return victim.life > life })
		s.within(20*election, "all are well", s.well)
	}
	all = append(all, s.commits())
	s.applied(5*election, all[len(all)-1], s.members...)
	s.keeps(all, s.members...)
}

// damages has one member die, and harms its disk. It must refuse and say where, or have all that it acknowledged (which the
// ghost sees to). Then its disk is as if nothing had happened to it.
func (s *Scene) damages(harm func(*Scene, *member)) {
	s.settles()
	var all []*operation
	for range 12 {
		all = append(all, s.await(s.says(s.leads(), 150)))
	}
	victim := s.anyone()
	s.applied(election, all[11], victim)
	s.pass(2 * heartbeat)
	victim.kill(vfs.KeepUnsynced)
	whole := victim.disk.CrashClone(vfs.KeepUnsynced)
	harm(s, victim)
	victim.disk.doomed = true
	refused := s.counts.Stops[StopRefused]
	victim.boot()
	s.within(5*election, "it refuses or goes on", func() bool { return s.counts.Stops[StopRefused] > refused || victim.view.LeaderID != 0 })
	if s.counts.Stops[StopRefused] > refused {
		if where := (*persistence.CorruptError)(nil); !errors.As(victim.lastStop, &where) || !strings.HasPrefix(where.File, logDir) {
			s.fail("member %d refuses and does not say where: %v", victim.id, victim.lastStop)
		}
		all = append(all, s.commits())
		victim.disk.spin(whole)
		victim.disk.doomed, victim.out = false, false
		victim.boot()
	} else if found, err := victim.recover(vfs.KeepUnsynced); err == nil {
		s.holdsUnharmed(victim, found, all)
	} else if !errors.Is(err, persistence.ErrCorrupt) {
		s.fail("the log of member %d, which took it for good: %v", victim.id, err)
	}
	last := s.commits()
	s.applied(5*election, last, s.others(victim)...)
	s.keeps(append(all, last), s.others(victim)...)
}

// holdsUnharmed checks that a log which a member took for good holds what was acknowledged, byte for byte where it matters.
func (s *Scene) holdsUnharmed(m *member, f *found, all []*operation) {
	for _, o := range all {
		e, err := raft.DecodeEntry(f.entries.Data[o.index-1])
		if err != nil || e.Kind != raft.KindCommand || !bytes.Equal(e.Payload, o.encode()) {
			s.fail("member %d took its log for good; its entry %d is %x (%v)", m.id, o.index, f.entries.Data[o.index-1], err)
		}
	}
}

// flipsBit damages a segment of the log: mostly what was written behind its header.
func (s *Scene) flipsBit(m *member) {
	const header = 4096
	path, old := s.segment(m)
	bit := s.random.Int64N(8 * old)
	if old > header && s.chance(0.8) {
		bit = 8*header + s.random.Int64N(8*(old-header))
	}
	if err := m.disk.FlipBit(path, bit); err != nil {
		s.fail("%v", err)
	}
}

// misdirectsWrite lays one sector of a segment over another.
func (s *Scene) misdirectsWrite(m *member) {
	path, old := s.segment(m)
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
func (s *Scene) segment(m *member) (path string, old int64) {
	var found []oldFile
	for _, f := range m.disk.oldFiles() {
		if strings.HasPrefix(f.path, logDir) && f.old >= vfs.SectorBytes {
			found = append(found, f)
		}
	}
	f := found[s.random.IntN(len(found))]
	return f.path, f.old
}

func stalledDisk(s *Scene) {
	leader := s.settles()
	says := s.reads(leader)
	stalled := s.afflicted(leader)
	until := s.now + 3*election
	for _, m := range stalled {
		m.disk.stalledUntil = until
	}
	o := s.says(leader, 0)
	switch {
	case len(stalled) > 1:
		s.never(until-s.now, "something is acknowledged that no disk has", func() bool { return s.now < until && o.outcome != pending })
	case stalled[0] == leader:
		next := s.successor(3*election, leader)
		if !says("the own disk did not answer within the election timeout") {
			s.fail("the leader did not say why it handed leadership over")
		}
		s.writes(next, 3)
	default:
		s.answered([]*operation{o}, heartbeat)
		s.writes(leader, 10)
		if s.leads() != leader {
			s.fail("leadership moved although the leader's disk works")
		}
	}
	s.answered([]*operation{o}, 10*election)
	s.within(10*election, "all are well", s.well)
	s.keeps([]*operation{o}, s.members...)
}

// lacks leaves so many bytes free on a disk.
func (m *member) lacks(bytes int64) { m.disk.SetCapacity(m.disk.UsedBytes() + bytes) }

func fullDisk(s *Scene) {
	leader := s.settles()
	full := s.afflicted(leader)
	says := s.reads(full[0])
	for _, m := range full {
		m.lacks(lowWater / 2)
	}
	first := s.says(leader, 0) // there is room for it still
	s.within(2*election, "it is known who has no room", func() bool {
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
			if o := s.says(leader, 0); s.leads() == leader {
				s.within(election, "it is refused", func() bool { return o.outcome != pending })
				if o.outcome != Refused {
					s.fail("a write is %v where no disk has room", o.outcome)
				}
			}
			s.expect(leader, GetIndex, first.key, s.history.at(first.key, leader.applied))
			s.pass(election)
		}
	case full[0] == leader:
		next := s.successor(5*election, leader)
		s.writes(next, 3)
		s.reigns(next, 3*election)
	default:
		s.writes(leader, 10)
		s.reigns(leader, 3*election)
	}
	for _, m := range full {
		m.disk.SetCapacity(-1)
	}
	s.within(5*election, "all have room", func() bool {
		for _, m := range full {
			if m.view.DiskLow {
				return false
			}
		}
		return true
	})
	s.applied(5*election, s.commits(), s.members...)
}

func noSpace(s *Scene) {
	leader := s.settles()
	victim := s.others(leader)[0]
	if s.chance(0.5) {
		victim = leader
	}
	var all []*operation
	victim.lacks(0)
	s.within(30*election, "it stops for want of space", func() bool {
		if l := s.leads(); l != nil && l.program.writing() == 0 {
			all = append(all, s.says(l, 3000))
		}
		return s.counts.Stops[StopNoSpace] > 0
	})
	if !errors.Is(victim.lastStop, syscall.ENOSPC) {
		s.fail("member %d stopped with %v", victim.id, victim.lastStop)
	}
	all = append(all, s.commits())
	victim.disk.SetCapacity(-1)
	s.applied(20*election, all[len(all)-1], s.members...)
	s.keeps(all, s.members...)
}

func failingSync(s *Scene) {
	leader := s.settles()
	failing := s.afflicted(leader)
	all := []*operation{s.commits()}
	for _, m := range failing {
		m.disk.failSync = 1
	}
	all = append(all, s.says(s.others(failing[0])[0], 0))
	s.within(5*election, "the nodes stop", func() bool { return s.counts.Stops[StopStorage] >= len(failing) })
	for _, m := range failing {
		if storage := (*actors.StorageError)(nil); !errors.As(m.lastStop, &storage) || !strings.Contains(storage.Error(), dataDir) {
			s.fail("member %d stopped with %v", m.id, m.lastStop)
		}
	}
	all = append(all, s.commits())
	s.applied(20*election, all[len(all)-1], s.members...)
	s.keeps(all, s.members...)
}
