package sim

import (
	"bytes"
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var diskReadScenarios = []Scenario{
	{Name: "log-read-fails-for-a-slow-follower", Nodes: 3, Errata: []int{7}, Script: logReadFails,
		Description: "the leader's disk cannot read what a lagging follower needs: its node stops and names the file, the others go on, nobody takes the log for shorter"},
	{Name: "log-read-flips-once", Nodes: 3, Errata: []int{7}, Script: logReadFlips,
		Description: "what a lagging follower needs is read with a flipped bit, once: it is read again, a line says so, and what the follower gets is right"},
	{Name: "log-read-flips-for-good", Nodes: 3, Errata: []int{7}, Script: logReadFlipsForGood,
		Description: "what a lagging follower needs has rotted on the leader's disk: the node stops and says where, nothing flipped is ever sent"},
	{Name: "recovery-read-fails", Nodes: 3, Errata: []int{7}, Script: recoveryReadFails,
		Description: "a read fails while a node starts, at a leader that died, a follower or all: it does not start, says which file, changes nothing, and has all when the disk reads again"},
	{Name: "recovery-read-flips", Nodes: 3, Errata: []int{7}, Script: recoveryReadFlips,
		Description: "a read of the log brings a flipped bit while a node starts: it is read again, and the node starts with all that it acknowledged"},
	{Name: "newest-segment-lost", Nodes: 3, Errata: []int{7}, Script: newestSegmentLost,
		Description: "the newest file of a dead member's log is gone: it refuses and names it, the others go on"},
}

// lag cuts a follower off and writes so much that what it lacks is on the leader's disk only.
func (s *Driver) makeLag(leader *member) (behind *member, all []*history.Operation) {
	behind = s.others(leader)[s.random.IntN(2)]
	s.isolate(behind, true)
	for range 8 {
		all = append(all, s.await(s.submitPadded(leader, 300)))
	}
	return behind, all
}

func logReadFails(s *Driver) {
	leader := s.awaitSessions()
	behind, all := s.makeLag(leader)
	leader.disk.readFault = readFault{countdown: 1 + s.random.IntN(2), matches: isLogRead}
	s.isolate(behind, false)
	s.within(10*electionTimeout, "the leader's node stops", func() bool { return s.counts.Stops[StopStorage] > 0 })
	s.checkStoppedByRead(leader)
	last := s.commitWrite()
	s.awaitApplied(20*electionTimeout, last, s.members...)
	s.checkOnDisks(append(all, last), s.members...)
}

// checkStoppedByRead checks what a node says that stopped because it could not read: which file, and what to do.
func (s *Driver) checkStoppedByRead(m *member) {
	var unread *persistence.ReadError
	if !errors.As(m.stopError, &unread) || !errors.Is(m.stopError, syscall.EIO) || !strings.HasPrefix(unread.File, "/") ||
		!strings.Contains(m.stopError.Error(), unread.File) || !strings.Contains(m.stopError.Error(), "check the disk") {
		s.fail("member %d stopped with %v", m.id, m.stopError)
	}
}

// stands is where a command's bytes lie on a member's disk.
func (s *Driver) fileOffset(m *member, o *history.Operation) (path string, at int64) {
	m.disk.withoutFaults(func() {
		names, _ := m.disk.List(logDir)
		for _, name := range names {
			if i := bytes.Index(m.disk.Peek(logDir+"/"+name), o.Encode()); i > 0 && isSegment(name) {
				path, at = logDir+"/"+name, int64(i)
			}
		}
	})
	if at == 0 {
		s.fail("entry %d is not on the disk of member %d", o.Index, m.id)
	}
	return path, at
}

// logReadFlips: it is the disk's first word about an entry that is always wrong, until the entry is asked for once more.
func logReadFlips(s *Driver) {
	leader := s.awaitSessions()
	says := s.captureLog(leader)
	behind, all := s.makeLag(leader)
	path, at := s.fileOffset(leader, all[s.random.IntN(3)])
	// Whoever reads on from the frame before it, or from its own, gets it wrong; who then reads its bytes alone, right.
	const table = 96 + 16 + 8
	leader.disk.readFault = readFault{countdown: 1, flips: true, byteOffset: at + s.random.Int64N(8), repeats: true, matches: func(op vfs.Op) bool {
		return op.Kind == vfs.OpRead && op.Path == path && op.Offset < at-table/2 && at+8 < op.Offset+int64(op.Length)
	}}
	s.isolate(behind, false)
	s.awaitApplied(10*electionTimeout, all[len(all)-1], behind)
	if s.counts.FlippedReads == 0 || !says("the right ones when repeated") || !says(path) {
		s.fail("%d reads were flipped, and the leader does not say so", s.counts.FlippedReads)
	}
	if !leader.up || leader.runNumber > 1 {
		s.fail("the leader's node has stopped: %v", leader.stopError)
	}
	last := s.commitWrite()
	s.awaitApplied(5*electionTimeout, last, s.members...)
	s.checkOnDisks(append(all, last), s.members...)
}

// logReadFlipsForGood: the bit is flipped on the disk, in an entry that the follower lacks.
func logReadFlipsForGood(s *Driver) {
	leader := s.awaitSessions()
	behind, all := s.makeLag(leader)
	whole := leader.disk.CrashClone(vfs.LoseUnsynced)
	path, at := s.fileOffset(leader, all[s.random.IntN(3)])
	at += s.random.Int64N(8)
	if err := leader.disk.FlipBit(path, 8*at+s.random.Int64N(8)); err != nil {
		s.fail("%v", err)
	}
	leader.disk.damaged = true
	s.isolate(behind, false)
	s.within(10*electionTimeout, "the leader's node stops", func() bool { return s.counts.Stops[StopRefused] > 0 })
	var bad *persistence.CorruptError
	if !errors.As(leader.stopError, &bad) || bad.File != path || bad.Offset == 0 || bad.Offset > at {
		s.fail("byte %d of %s has rotted, and it says %v", at, path, leader.stopError)
	}
	last := s.commitWrite()
	s.awaitApplied(10*electionTimeout, last, s.others(leader)...)
	s.checkOnDisks(append(all, last), s.others(leader)...)
	if leader.up { // it has tried again
		leader.killProcess()
	}
	leader.disk.attach(whole)
	leader.disk.damaged, leader.permanentlyDown = false, false
	s.restart(leader)
}

func recoveryReadFails(s *Driver) {
	leader := s.awaitSessions()
	all := []*history.Operation{s.await(s.submitPadded(leader, 200)), s.await(s.submitPadded(leader, 0))}
	s.awaitApplied(electionTimeout, all[1], s.members...)
	victims := s.affectedMembers(leader)
	for _, m := range victims {
		if s.powerCut(m); s.chance(0.5) {
			m.disk.readFault = readFault{countdown: 1 + s.random.IntN(12)} // a start looks and reads at least so often
		} else {
			m.disk.readFault = readFault{countdown: 1, matches: isLogRead}
		}
	}
	for _, m := range victims {
		before := s.segmentContents(m)
		s.restart(m)
		s.within(electionTimeout, "it does not start", func() bool { return m.stopError != nil && !m.up })
		s.checkStoppedByRead(m)
		if after := s.segmentContents(m); !m.up && after != before {
			s.fail("a start of member %d that could not read has left the disk changed", m.id)
		}
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*electionTimeout, all[2], s.members...)
	s.checkOnDisks(all, s.members...)
	if s.counts.FailedReads < len(victims) {
		s.fail("%d reads failed", s.counts.FailedReads)
	}
}

// images are the segments on a disk, with all that is in them, as text to compare.
func (s *Driver) segmentContents(m *member) string {
	var b strings.Builder
	m.disk.withoutFaults(func() {
		names, _ := m.disk.List(logDir)
		for _, name := range names {
			if isSegment(name) {
				b.WriteString(name)
				b.Write(m.disk.Peek(logDir + "/" + name))
			}
		}
	})
	return b.String()
}

func recoveryReadFlips(s *Driver) {
	leader := s.awaitSessions()
	all := []*history.Operation{s.await(s.submitPadded(leader, 200)), s.await(s.submitPadded(leader, 0))}
	if s.chance(0.3) {
		s.awaitApplied(electionTimeout, all[1], s.members...) // else nothing but its own sum says that the newest write was finished
	}
	victims := s.affectedMembers(leader)
	for _, m := range victims {
		s.powerCut(m)
		m.disk.readFault = readFault{countdown: 1, matches: isSegmentScan, flips: true}
		if s.chance(0.4) {
			m.disk.readFault = readFault{countdown: 1 + s.random.IntN(6), matches: isLogRead, flips: true}
		}
	}
	for _, m := range victims {
		s.restart(m)
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*electionTimeout, all[2], s.members...)
	s.checkOnDisks(all, s.members...)
	if s.counts.FlippedReads < len(victims) {
		s.fail("%d reads were flipped", s.counts.FlippedReads)
	}
	if s.counts.Stops[StopRefused] > 0 {
		s.fail("a node has refused a log that is whole")
	}
}

func newestSegmentLost(s *Driver) {
	leader := s.awaitSessions()
	var all []*history.Operation
	for range 3 + s.random.IntN(12) { // at times it rolls
		all = append(all, s.await(s.submitPadded(leader, 2000)))
	}
	victim := s.affectedMembers(leader)[0]
	s.awaitApplied(electionTimeout, all[len(all)-1], victim)
	s.advance(2 * heartbeatInterval)
	s.powerCut(victim)
	whole := victim.disk.CrashClone(vfs.KeepUnsynced)
	newest := ""
	names, err := victim.disk.List(logDir)
	for _, name := range names {
		if isSegment(name) {
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
	victim.disk.damaged = true
	s.restart(victim)
	s.within(electionTimeout, "it refuses", func() bool { return s.counts.Stops[StopRefused] > 0 })
	var storage *actors.StorageError
	var bad *persistence.CorruptError
	if !errors.As(victim.stopError, &storage) || !errors.As(victim.stopError, &bad) || bad.File != newest {
		s.fail("%s is gone, and it says %v", newest, victim.stopError)
	}
	last := s.commitWrite()
	s.awaitApplied(5*electionTimeout, last, s.others(victim)...)
	s.checkOnDisks(append(all, last), s.others(victim)...)
	victim.disk.attach(whole)
	victim.disk.damaged, victim.permanentlyDown = false, false
	s.restart(victim)
}
