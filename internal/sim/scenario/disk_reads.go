package scenario

import (
	"bytes"
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/persistence"
	"github.com/troupe-raft/troupe/persistence/vfs"
)

var diskReadScenarios = []Scenario{
	{Name: "log-read-fails-for-a-slow-follower", Nodes: 3, Errata: []int{7}, Script: logReadFails,
		Description: "the leader's disk cannot read what a lagging follower needs: its node stops and names the file, the others continue with the whole log"},
	{Name: "log-read-flips-once", Nodes: 3, Errata: []int{7}, Script: logReadFlips,
		Description: "what a lagging follower needs is read with a flipped bit, once: the read is repeated with a warning, and the follower gets the right bytes"},
	{Name: "log-read-flips-for-good", Nodes: 3, Errata: []int{7}, Script: logReadFlipsForGood,
		Description: "what a lagging follower needs is damaged on the leader's disk: the node stops and names the place, and no damaged byte is sent"},
	{Name: "reader-fails-for-a-slow-follower", Nodes: 3, Errata: []int{7, 43}, Script: readerFailsForASlowFollower,
		Description: "the LogReader fails while it reads what a lagging follower needs, once or several times: it restarts alone, and the follower catches up"},
	{Name: "recovery-read-fails", Nodes: 3, Errata: []int{7}, Script: recoveryReadFails,
		Description: "a read fails while a node starts, at a former leader, a follower or all: it does not start, names the file, changes nothing, and recovers all when reads work"},
	{Name: "recovery-read-flips", Nodes: 3, Errata: []int{7}, Script: recoveryReadFlips,
		Description: "a read of the log returns a flipped bit while a node starts: it is repeated, and the node starts with all that it acknowledged"},
	{Name: "newest-segment-lost", Nodes: 3, Errata: []int{7}, Script: newestSegmentLost,
		Description: "the newest file of a stopped member's log is lost: it refuses to start and names the file, the others continue"},
}

// makeLag isolates a follower and writes so much that the entries that it lacks are only on the
// leader's disk.
func (s *Driver) makeLag(leader *world.Member) (behind *world.Member, all []*history.Operation) {
	behind = s.others(leader)[s.Random.IntN(2)]
	s.Isolate(behind, true)
	for range 8 {
		all = append(all, s.await(s.submitPadded(leader, 300)))
	}
	return behind, all
}

func logReadFails(s *Driver) {
	leader := s.awaitSessions()
	behind, all := s.makeLag(leader)
	leader.Disk.ReadFault = world.ReadFault{Countdown: 1 + s.Random.IntN(2), Matches: world.IsLogRead}
	s.Isolate(behind, false)
	s.within(10*world.ElectionTimeout, "the leader's node stops", func() bool { return s.Counts.Stops[world.StopStorage] > 0 })
	s.checkStoppedByRead(leader)
	last := s.commitWrite()
	s.awaitApplied(20*world.ElectionTimeout, last, s.Members...)
	s.checkOnDisks(append(all, last), s.Members...)
}

// checkStoppedByRead checks the error of a node that stopped because it could not read: which file,
// and what to do.
func (s *Driver) checkStoppedByRead(m *world.Member) {
	var unread *persistence.ReadError
	if !errors.As(m.StopError, &unread) || !errors.Is(m.StopError, syscall.EIO) || !strings.HasPrefix(unread.File, "/") ||
		!strings.Contains(m.StopError.Error(), unread.File) || !strings.Contains(m.StopError.Error(), "check the disk") {
		s.fail("member %d stopped with %v", m.ID(), m.StopError)
	}
}

// readerFailsForASlowFollower: the response to the replicator is lost with the reader.
func readerFailsForASlowFollower(s *Driver) {
	leader := s.awaitSessions()
	behind, all := s.makeLag(leader)
	failures := 1 + s.Random.IntN(3)
	leader.Failpoints = []*world.Failpoint{{
		Actor: world.LogReaderPath, Kind: "ReadLog", Remaining: 1, When: world.CrashBefore, Repeats: failures - 1,
	}}
	s.Isolate(behind, false)
	s.within(10*world.ElectionTimeout, "the reader has failed", func() bool { return len(leader.Failpoints) == 0 })
	s.awaitApplied(3*world.ElectionTimeout, all[len(all)-1], behind)
	if s.Counts.ActorRestarts != failures || s.Counts.SubtreeRestarts > 0 || leader.RunNumber > 1 {
		s.fail("%d failures made %d actors and %d nodes restart", failures, s.Counts.ActorRestarts, s.Counts.SubtreeRestarts)
	}
	s.checkOnDisks(all, s.Members...)
}

// fileOffset returns where the bytes of a command are on a member's disk.
func (s *Driver) fileOffset(m *world.Member, o *history.Operation) (path string, at int64) {
	m.Disk.WithoutFaults(func() {
		names, _ := m.Disk.List(world.LogDir)
		for _, name := range names {
			if i := bytes.Index(m.Disk.Peek(world.LogDir+"/"+name), o.Encode()); i > 0 && world.IsSegment(name) {
				path, at = world.LogDir+"/"+name, int64(i)
			}
		}
	})
	if at == 0 {
		s.fail("entry %d is not on the disk of member %d", o.Index, m.ID())
	}
	return path, at
}

// logReadFlips: every first read of an entry is wrong, and every repeated one right.
func logReadFlips(s *Driver) {
	leader := s.awaitSessions()
	logged := s.captureLog(leader)
	behind, all := s.makeLag(leader)
	path, at := s.fileOffset(leader, all[s.Random.IntN(3)])
	// A read from the frame before it, or from its own, is wrong; a read of its bytes alone is right.
	const table = 96 + 16 + 8
	leader.Disk.ReadFault = world.ReadFault{Countdown: 1, Flips: true, ByteOffset: at + s.Random.Int64N(8), Repeats: true, Matches: func(op vfs.Op) bool {
		return op.Kind == vfs.OpRead && op.Path == path && op.Offset < at-table/2 && at+8 < op.Offset+int64(op.Length)
	}}
	s.Isolate(behind, false)
	s.awaitApplied(10*world.ElectionTimeout, all[len(all)-1], behind)
	if s.Counts.FlippedReads == 0 || !logged("the right ones when repeated") || !logged(path) {
		s.fail("%d reads were flipped, and the leader does not log it", s.Counts.FlippedReads)
	}
	if !leader.Up() || leader.RunNumber > 1 {
		s.fail("the leader's node has stopped: %v", leader.StopError)
	}
	last := s.commitWrite()
	s.awaitApplied(5*world.ElectionTimeout, last, s.Members...)
	s.checkOnDisks(append(all, last), s.Members...)
}

// logReadFlipsForGood: the bit is flipped on the disk, in an entry that the follower lacks.
func logReadFlipsForGood(s *Driver) {
	leader := s.awaitSessions()
	behind, all := s.makeLag(leader)
	whole := leader.Disk.CrashClone(vfs.LoseUnsynced)
	path, at := s.fileOffset(leader, all[s.Random.IntN(3)])
	at += s.Random.Int64N(8)
	if err := leader.Disk.FlipBit(path, 8*at+s.Random.Int64N(8)); err != nil {
		s.fail("%v", err)
	}
	leader.Disk.Damaged = true
	s.Isolate(behind, false)
	s.within(10*world.ElectionTimeout, "the leader's node stops", func() bool { return s.Counts.Stops[world.StopRefused] > 0 })
	var bad *persistence.CorruptError
	if !errors.As(leader.StopError, &bad) || bad.File != path || bad.Offset == 0 || bad.Offset > at {
		s.fail("byte %d of %s is damaged, and the error is %v", at, path, leader.StopError)
	}
	last := s.commitWrite()
	s.awaitApplied(10*world.ElectionTimeout, last, s.others(leader)...)
	s.checkOnDisks(append(all, last), s.others(leader)...)
	if leader.Up() { // it has started again
		leader.KillProcess()
	}
	leader.Disk.Attach(whole)
	leader.Disk.Damaged, leader.PermanentlyDown = false, false
	s.restart(leader)
}

func recoveryReadFails(s *Driver) {
	leader := s.awaitSessions()
	all := []*history.Operation{s.await(s.submitPadded(leader, 200)), s.await(s.submitPadded(leader, 0))}
	s.awaitApplied(world.ElectionTimeout, all[1], s.Members...)
	victims := s.affectedMembers(leader)
	for _, m := range victims {
		if s.powerCut(m); s.Chance(0.5) {
			// A start has at least so many reads and lookups.
			m.Disk.ReadFault = world.ReadFault{Countdown: 1 + s.Random.IntN(12)}
		} else {
			m.Disk.ReadFault = world.ReadFault{Countdown: 1, Matches: world.IsLogRead}
		}
	}
	for _, m := range victims {
		before := s.segmentContents(m)
		s.restart(m)
		s.within(world.ElectionTimeout, "it does not start", func() bool { return m.StopError != nil && !m.Up() })
		s.checkStoppedByRead(m)
		if after := s.segmentContents(m); !m.Up() && after != before {
			s.fail("a start of member %d that could not read has changed the disk", m.ID())
		}
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*world.ElectionTimeout, all[2], s.Members...)
	s.checkOnDisks(all, s.Members...)
	if s.Counts.FailedReads < len(victims) {
		s.fail("%d reads failed", s.Counts.FailedReads)
	}
}

// segmentContents returns the segments of a disk as text, to compare them.
func (s *Driver) segmentContents(m *world.Member) string {
	var b strings.Builder
	m.Disk.WithoutFaults(func() {
		names, _ := m.Disk.List(world.LogDir)
		for _, name := range names {
			if world.IsSegment(name) {
				b.WriteString(name)
				b.Write(m.Disk.Peek(world.LogDir + "/" + name))
			}
		}
	})
	return b.String()
}

func recoveryReadFlips(s *Driver) {
	leader := s.awaitSessions()
	all := []*history.Operation{s.await(s.submitPadded(leader, 200)), s.await(s.submitPadded(leader, 0))}
	if s.Chance(0.3) {
		// Else only its own checksum shows that the newest write was finished.
		s.awaitApplied(world.ElectionTimeout, all[1], s.Members...)
	}
	victims := s.affectedMembers(leader)
	for _, m := range victims {
		s.powerCut(m)
		m.Disk.ReadFault = world.ReadFault{Countdown: 1, Matches: world.IsSegmentScan, Flips: true}
		if s.Chance(0.4) {
			m.Disk.ReadFault = world.ReadFault{Countdown: 1 + s.Random.IntN(6), Matches: world.IsLogRead, Flips: true}
		}
	}
	for _, m := range victims {
		s.restart(m)
	}
	all = append(all, s.commitWrite())
	s.awaitApplied(20*world.ElectionTimeout, all[2], s.Members...)
	s.checkOnDisks(all, s.Members...)
	if s.Counts.FlippedReads < len(victims) {
		s.fail("%d reads were flipped", s.Counts.FlippedReads)
	}
	if s.Counts.Stops[world.StopRefused] > 0 {
		s.fail("a node has refused an undamaged log")
	}
}

func newestSegmentLost(s *Driver) {
	leader := s.awaitSessions()
	var all []*history.Operation
	for range 3 + s.Random.IntN(12) { // enough for a new segment at times
		all = append(all, s.await(s.submitPadded(leader, 2000)))
	}
	victim := s.affectedMembers(leader)[0]
	s.awaitApplied(world.ElectionTimeout, all[len(all)-1], victim)
	s.advance(2 * world.HeartbeatInterval)
	s.powerCut(victim)
	whole := victim.Disk.CrashClone(vfs.KeepUnsynced)
	newest := ""
	names, err := victim.Disk.List(world.LogDir)
	for _, name := range names {
		if world.IsSegment(name) {
			newest = world.LogDir + "/" + name // they are sorted
		}
	}
	if err == nil {
		err = victim.Disk.Remove(newest)
	}
	if err == nil {
		err = victim.Disk.SyncDir(world.LogDir)
	}
	if err != nil {
		s.fail("%v", err)
	}
	victim.Disk.Damaged = true
	s.restart(victim)
	s.within(world.ElectionTimeout, "it refuses", func() bool { return s.Counts.Stops[world.StopRefused] > 0 })
	var storage *actors.StorageError
	var bad *persistence.CorruptError
	if !errors.As(victim.StopError, &storage) || !errors.As(victim.StopError, &bad) || bad.File != newest {
		s.fail("%s is lost, and the error is %v", newest, victim.StopError)
	}
	last := s.commitWrite()
	s.awaitApplied(5*world.ElectionTimeout, last, s.others(victim)...)
	s.checkOnDisks(append(all, last), s.others(victim)...)
	victim.Disk.Attach(whole)
	victim.Disk.Damaged, victim.PermanentlyDown = false, false
	s.restart(victim)
}
