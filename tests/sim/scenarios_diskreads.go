package sim

import (
	"bytes"
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var diskReadScenarios = []Scenario{
	{Name: "log-read-fails-for-a-slow-follower", Nodes: 3, Errata: []int{7}, Script: logReadFails,
		Line: "the leader's disk cannot read what a lagging follower needs: its node stops and names the file, the others go on, nobody takes the log for shorter"},
	{Name: "log-read-flips-once", Nodes: 3, Errata: []int{7}, Script: logReadFlips,
		Line: "what a lagging follower needs is read with a flipped bit, once: it is read again, a line says so, and what the follower gets is right"},
	{Name: "log-read-flips-for-good", Nodes: 3, Errata: []int{7}, Script: logRots,
		Line: "what a lagging follower needs has rotted on the leader's disk: the node stops and says where, nothing flipped is ever sent"},
	{Name: "recovery-read-fails", Nodes: 3, Errata: []int{7}, Script: recoveryReadFails,
		Line: "a read fails while a node starts, at a leader that died, a follower or all: it does not start, says which file, changes nothing, and has all when the disk reads again"},
	{Name: "recovery-read-flips", Nodes: 3, Errata: []int{7}, Script: recoveryReadFlips,
		Line: "a read of the log brings a flipped bit while a node starts: it is read again, and the node starts with all that it acknowledged"},
	{Name: "newest-segment-lost", Nodes: 3, Errata: []int{7}, Script: newestSegmentLost,
		Line: "the newest file of a dead member's log is gone: it refuses and names it, the others go on"},
}

// lag cuts a follower off and writes so much that what it lacks is on the leader's disk only.
func (s *Scene) lag(leader *member) (behind *member, all []*operation) {
	behind = s.others(leader)[s.random.IntN(2)]
	s.cutOff(behind, true)
	for range 8 {
		all = append(all, s.await(s.says(leader, 300)))
	}
	return behind, all
}

func logReadFails(s *Scene) {
	leader := s.settles()
	behind, all := s.lag(leader)
	leader.disk.hurt = hurt{after: 1 + s.random.IntN(2), only: data}
	s.cutOff(behind, false)
	s.within(10*election, "the leader's node stops", func() bool { return s.counts.Stops[StopStorage] > 0 })
	s.stoppedUnread(leader)
	last := s.commits()
	s.applied(20*election, last, s.members...)
	s.keeps(append(all, last), s.members...)
}

// stoppedUnread checks what a node says that stopped because it could not read: which file, and what to do.
func (s *Scene) stoppedUnread(m *member) {
	var unread *persistence.ReadError
	if !errors.As(m.lastStop, &unread) || !errors.Is(m.lastStop, syscall.EIO) || !strings.HasPrefix(unread.File, "/") ||
		!strings.Contains(m.lastStop.Error(), unread.File) || !strings.Contains(m.lastStop.Error(), "check the disk") {
		s.fail("member %d stopped with %v", m.id, m.lastStop)
	}
}

// stands is where a command's bytes lie on a member's disk.
func (s *Scene) stands(m *member, o *operation) (path string, at int64) {
	m.disk.look(func() {
		names, _ := m.disk.List(logDir)
		for _, name := range names {
			if i := bytes.Index(m.disk.Peek(logDir+"/"+name), o.encode()); i > 0 && segmentName(name) {
				path, at = logDir+"/"+name, int64(i)
			}
		}
	})
	if at == 0 {
		s.fail("entry %d is not on the disk of member %d", o.index, m.id)
	}
	return path, at
}

// logReadFlips: it is the disk's first word about an entry that is always wrong, until the entry is asked for once more.
func logReadFlips(s *Scene) {
	leader := s.settles()
	says := s.reads(leader)
	behind, all := s.lag(leader)
	path, at := s.stands(leader, all[s.random.IntN(3)])
	// Whoever reads on from the frame before it, or from its own, gets it wrong; who then reads its bytes alone, right.
	const table = 96 + 16 + 8
	leader.disk.hurt = hurt{after: 1, flips: true, byte: at + s.random.Int64N(8), each: true, only: func(op vfs.Op) bool {
		return op.Kind == vfs.OpRead && op.Path == path && op.Offset < at-table/2 && at+8 < op.Offset+int64(op.Length)
	}}
	s.cutOff(behind, false)
	s.applied(10*election, all[len(all)-1], behind)
	if s.counts.FlippedReads == 0 || !says("right when it was read again") || !says(path) {
		s.fail("%d reads were flipped, and the leader does not say so", s.counts.FlippedReads)
	}
	if !leader.up || leader.life > 1 {
		s.fail("the leader's node has stopped: %v", leader.lastStop)
	}
	last := s.commits()
	s.applied(5*election, last, s.members...)
	s.keeps(append(all, last), s.members...)
}

// logRots: the bit is flipped on the disk, in an entry that the follower lacks.
func logRots(s *Scene) {
	leader := s.settles()
	behind, all := s.lag(leader)
	whole := leader.disk.CrashClone(vfs.LoseUnsynced)
	path, at := s.stands(leader, all[s.random.IntN(3)])
	at += s.random.Int64N(8)
	if err := leader.disk.FlipBit(path, 8*at+s.random.Int64N(8)); err != nil {
		s.fail("%v", err)
	}
	leader.disk.doomed = true
	s.cutOff(behind, false)
	s.within(10*election, "the leader's node stops", func() bool { return s.counts.Stops[StopRefused] > 0 })
	var bad *persistence.CorruptError
	if !errors.As(leader.lastStop, &bad) || bad.File != path || bad.Offset == 0 || bad.Offset > at {
		s.fail("byte %d of %s has rotted, and it says %v", at, path, leader.lastStop)
	}
	last := s.commits()
	s.applied(10*election, last, s.others(leader)...)
	s.keeps(append(all, last), s.others(leader)...)
	if leader.up { // it has tried again
		leader.killProcess()
	}
	leader.disk.spin(whole)
	leader.disk.doomed, leader.out = false, false
	s.returns(leader)
}

func recoveryReadFails(s *Scene) {
	leader := s.settles()
	all := []*operation{s.await(s.says(leader, 200)), s.await(s.says(leader, 0))}
	s.applied(election, all[1], s.members...)
	victims := s.afflicted(leader)
	for _, m := range victims {
		if s.powerCut(m); s.chance(0.5) {
			m.disk.hurt = hurt{after: 1 + s.random.IntN(12)} // a start looks and reads at least so often
		} else {
			m.disk.hurt = hurt{after: 1, only: data}
		}
	}
	for _, m := range victims {
		before := s.images(m)
		s.returns(m)
		s.within(election, "it does not start", func() bool { return m.lastStop != nil && !m.up })
		s.stoppedUnread(m)
		if after := s.images(m); !m.up && after != before {
			s.fail("a start of member %d that could not read has left the disk changed", m.id)
		}
	}
	all = append(all, s.commits())
	s.applied(20*election, all[2], s.members...)
	s.keeps(all, s.members...)
	if s.counts.FailedReads < len(victims) {
		s.fail("%d reads failed", s.counts.FailedReads)
	}
}

// images are the segments on a disk, with all that is in them, as text to compare.
func (s *Scene) images(m *member) string {
	var b strings.Builder
	m.disk.look(func() {
		names, _ := m.disk.List(logDir)
		for _, name := range names {
			if segmentName(name) {
				b.WriteString(name)
				b.Write(m.disk.Peek(logDir + "/" + name))
			}
		}
	})
	return b.String()
}

func recoveryReadFlips(s *Scene) {
	leader := s.settles()
	all := []*operation{s.await(s.says(leader, 200)), s.await(s.says(leader, 0))}
	if s.chance(0.3) {
		s.applied(election, all[1], s.members...) // else nothing but its own sum says that the newest write was finished
	}
	victims := s.afflicted(leader)
	for _, m := range victims {
		s.powerCut(m)
		m.disk.hurt = hurt{after: 1, only: scan, flips: true}
		if s.chance(0.4) {
			m.disk.hurt = hurt{after: 1 + s.random.IntN(6), only: data, flips: true}
		}
	}
	for _, m := range victims {
		s.returns(m)
	}
	all = append(all, s.commits())
	s.applied(20*election, all[2], s.members...)
	s.keeps(all, s.members...)
	if s.counts.FlippedReads < len(victims) {
		s.fail("%d reads were flipped", s.counts.FlippedReads)
	}
	if s.counts.Stops[StopRefused] > 0 {
		s.fail("a node has refused a log that is whole")
	}
}

func newestSegmentLost(s *Scene) {
	leader := s.settles()
	var all []*operation
	for range 3 + s.random.IntN(12) { // at times it rolls
		all = append(all, s.await(s.says(leader, 2000)))
	}
	victim := s.afflicted(leader)[0]
	s.applied(election, all[len(all)-1], victim)
	s.pass(2 * heartbeat)
	s.powerCut(victim)
	whole := victim.disk.CrashClone(vfs.KeepUnsynced)
	newest := ""
	names, err := victim.disk.List(logDir)
	for _, name := range names {
		if segmentName(name) {
			newest = logDir + "/" + name // they are sorted
		}
	}
	if err == nil {
		err = victim.disk.Remove(newest)
	}
	if err == nil {
		err = victim.disk.SyncDir(logDir)
	}
	if err != nil {
		s.fail("%v", err)
	}
	victim.disk.doomed = true
	s.returns(victim)
	s.within(election, "it refuses", func() bool { return s.counts.Stops[StopRefused] > 0 })
	var storage *actors.StorageError
	var bad *persistence.CorruptError
	if !errors.As(victim.lastStop, &storage) || !errors.As(victim.lastStop, &bad) || bad.File != newest {
		s.fail("%s is gone, and it says %v", newest, victim.lastStop)
	}
	last := s.commits()
	s.applied(5*election, last, s.others(victim)...)
	s.keeps(append(all, last), s.others(victim)...)
	victim.disk.spin(whole)
	victim.disk.doomed, victim.out = false, false
	s.returns(victim)
}
