package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func TestE19UnchangedProgressIsNoContact(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	for range 9 {
		s.Advance(heartbeatInterval)
		s.deliver(s.newProgress(2, 2), s.newProgress(3, 2)) // "back to probing": nothing was heard of the peers
	}
	s.Advance(2 * heartbeatInterval)
	s.expectRole(roleFollower, 4)
}

// Entries that no follower would take must not get into the log: nothing behind them could be
// replicated.
func TestOldLeadershipProgressIsDropped(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	commit := s.node.log.commitIndex
	late := s.newProgress(2, s.node.log.lastIndex())
	late.Term--
	s.deliver(late)
	if p := s.leader().peers.find(2); p.matchIndex != 0 || s.node.log.commitIndex != commit {
		t.Fatalf("match %d, commit index %d of a log that peer 2 is not known to have", p.matchIndex, s.node.log.commitIndex)
	}
	late.Term++
	if s.deliver(late); s.node.log.commitIndex == commit {
		t.Fatal("the same of this leadership commits nothing either")
	}
}

func TestLeaderWritesAndReplicatesInParallel(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.clearRecorded()
	s.deliver(&messages.Propose{Data: newProposal(1, 10)}, &messages.Propose{Data: newProposal(2, 10)})
	if len(s.pendingAppends) != 1 || len(s.pendingAppends[0].Entries.Data) != 2 {
		t.Fatalf("two proposals that waited together went to the disk as %d pieces", len(s.pendingAppends))
	}
	for _, peer := range []uint64{2, 3} {
		heard := s.sentToReplicator[peer]
		if len(heard) != 1 || heard[0].(*messages.Replicate).Entries != s.pendingAppends[0].Entries {
			t.Fatalf("the replicator of %d heard %v", peer, heard)
		}
	}
}

func TestE10SingleVoterCommitsAfterSync(t *testing.T) {
	s := newFixture(t, 1).deliverRecovered(1, 0, 1, 1)
	s.deliver(&messages.Campaign{})
	s.expectRole(roleCandidate, 2)
	s.syncAll() // its own vote is on disk
	s.expectRole(roleLeader, 2)
	s.syncAll()
	s.clearRecorded()
	s.deliver(&messages.Pull{Incarnation: 1, From: 3, MaxBytes: 1 << 20}, &messages.Propose{Data: newProposal(1, 10)})
	if s.node.log.commitIndex != 2 || len(s.sentToMachine) > 0 {
		t.Fatalf("commit index %d before the sync", s.node.log.commitIndex)
	}
	s.deliver(&messages.Propose{Data: newProposal(2, 10)})
	s.syncOldest()
	if s.node.log.commitIndex != 3 || len(s.sentToMachine) != 1 {
		t.Fatalf("commit index %d after the first of two syncs, fed %v", s.node.log.commitIndex, s.sentToMachine)
	}
	s.syncAll()
	if s.node.log.commitIndex != 4 {
		t.Fatalf("commit index %d after the last sync", s.node.log.commitIndex)
	}
}

func TestLeaderCommitsBeforeItsOwnSync(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.deliver(&messages.Pull{Incarnation: 1, From: 2, MaxBytes: 1 << 20}, s.newProgress(2, 2), s.newProgress(3, 2))
	if s.node.log.commitIndex != 2 || len(s.sentToMachine) > 0 {
		t.Fatalf("commit index %d, fed %v", s.node.log.commitIndex, s.sentToMachine)
	}
	s.syncAll()
	if len(s.sentToMachine) != 1 {
		t.Fatal("not applied after the own sync")
	}
}

// Raft, Figure 8: entry 2 of term 2 reaches a majority under the leader of term 4, and that does
// not commit it; an entry of term 4 that does, commits both.
func TestE44Figure8OldTermNotCommittedByCounting(t *testing.T) {
	s := newFixture(t, 5).asLeader(3, 1, 2)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	if s.node.log.commitIndex != 1 {
		t.Fatalf("commit index %d: entry 2 is of term 2", s.node.log.commitIndex)
	}
	s.deliver(s.newProgress(2, 3), s.newProgress(3, 3))
	if s.node.log.commitIndex != 3 {
		t.Fatalf("commit index %d with the own entry on a majority", s.node.log.commitIndex)
	}
}

func TestE19LeaderWithoutQuorumStepsDown(t *testing.T) {
	s := newFixture(t, 5).asLeader(3, 1)
	s.syncAll()
	for range 30 { // one of four is not enough
		s.Advance(heartbeatInterval)
		if s.node.role.name() != roleLeader {
			break
		}
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2})
	}
	s.expectRole(roleFollower, 4)
	if s.Now() > 2*electionTimeout {
		t.Fatalf("led for %v", s.Now())
	}
	if s.node.vote != 1 {
		t.Fatal("the vote of this term was forgotten (E2)")
	}
}

func TestE19LeaderWithQuorumContinues(t *testing.T) {
	s := newFixture(t, 5).asLeader(3, 1)
	s.syncAll()
	for range 50 {
		s.Advance(heartbeatInterval)
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2}, &messages.HeartbeatResponse{Term: 4, From: 3})
		s.syncAll()
	}
	s.expectRole(roleLeader, 4)
}

func TestHigherTermMakesLeaderStepDown(t *testing.T) {
	for name, news := range map[string]func(*fixture){
		"a heartbeat answer":       func(s *fixture) { s.deliver(&messages.HeartbeatResponse{Term: 9, From: 2}) },
		"an append answer":         func(s *fixture) { s.deliver(&messages.HigherTerm{Incarnation: 1, Term: 9, From: 2}) },
		"the new leader":           func(s *fixture) { s.deliver(&messages.Heartbeat{Term: 9, Leader: 2}) },
		"a vote answer":            func(s *fixture) { s.deliver(&messages.VoteResponse{Term: 9, Voter: 2}) },
		"a vote for a transfer":    func(s *fixture) { m := newVoteRequest(2, 9, 5, 8); m.Transfer = true; s.deliver(m) },
		"an append of its success": func(s *fixture) { s.deliver(newAppendEntries(9, 1, 1, 1, 9)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, 3).asLeader(3, 1)
			s.deliver(&messages.RequestRead{Id: 7, Mode: messages.ReadMode_READ_MODE_INDEX})
			news(s)
			s.expectRole(roleFollower, 9)
			points := sessionMessages[*messages.ReadPoint](s)
			if len(points) != 1 || points[0].Refusal != messages.Refusal_REFUSAL_NO_LEADER {
				t.Fatalf("who waited for a read point heard %v", points)
			}
			if s.node.log.commitIndex != 1 {
				t.Fatal("its entries were committed")
			}
		})
	}
}

func TestForwardingFollowerIsNotifiedAtOnce(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2))
	s.clearRecorded()
	s.deliver(&messages.ForwardedProposals{From: 2, Data: [][]byte{newProposal(1, 10)}})
	s.syncAll()
	s.deliver(s.newProgress(2, 3))
	told := map[uint64]uint64{}
	for _, x := range s.sentToPeers {
		if m, ok := x.message.(*messages.Heartbeat); ok && m.CommitOnly {
			told[x.to] = m.Commit
		}
	}
	if told[2] != 3 || told[3] != 0 {
		t.Fatalf("told %v: 2 has entry 3, of 3 nothing is known", told)
	}
}

func TestHeartbeatCommitIsAtMostMatchIndex(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2))
	s.sentToPeers = nil
	s.Advance(heartbeatInterval)
	for _, x := range s.sentToPeers {
		if m, ok := x.message.(*messages.Heartbeat); ok && x.to == 3 && m.Commit != 0 {
			t.Fatalf("3 was told commit index %d: of its log nothing is known", m.Commit)
		}
	}
}

func TestIdleLeaderSendsHeartbeatsOnly(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.Advance(commitNotifyDelay)
	s.sentToPeers = nil
	for range 10 {
		s.Advance(heartbeatInterval)
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2}, &messages.HeartbeatResponse{Term: 4, From: 3})
		s.syncAll()
	}
	if len(s.sentToPeers) > 20 {
		t.Fatalf("%d messages in an idle second, want 10 a peer", len(s.sentToPeers))
	}
}

// The commit index moved on the disks of the leader and of 2; 3 acknowledged a moment later. It
// heard of the commit with the next heartbeat only: clients at 3 waited up to 100 ms for their
// writes.
func TestLastAcknowledgingFollowerIsNotified(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.deliver(&messages.ForwardedProposals{From: 3, Data: [][]byte{newProposal(1, 10)}})
	s.syncAll()
	s.deliver(s.newProgress(2, 3))
	s.sentToPeers = nil
	s.deliver(s.newProgress(3, 3))
	for _, x := range s.sentToPeers {
		if m, ok := x.message.(*messages.Heartbeat); ok && x.to == 3 && m.CommitOnly && m.Commit == 3 {
			return
		}
	}
	t.Fatalf("3 has entry 3 now, and was not told that it is committed: %v", s.sentToPeers)
}

// Nobody at the followers waits for a write of the leader's own client: under load the next entries
// carry the commit index, and a message a follower is saved, however long it lasts; in silence the
// followers hear of it within twice commitNotifyDelay.
func TestCommitTravelsWithNextEntries(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.Advance(commitNotifyDelay)
	s.sentToPeers = nil
	notices := func() (n int) {
		for _, x := range s.sentToPeers {
			if m, ok := x.message.(*messages.Heartbeat); ok && m.CommitOnly {
				n++
			}
		}
		return n
	}
	for i := range uint64(5) {
		s.deliver(&messages.Propose{Data: newProposal(i+1, 10)})
		s.syncAll()
		s.deliver(s.newProgress(2, 3+i), s.newProgress(3, 3+i))
		s.Advance(commitNotifyDelay - commitNotifyDelay/8)
	}
	if n := notices(); n != 0 {
		t.Fatalf("%d notices while entries carried the news", n)
	}
	s.Advance(2 * commitNotifyDelay)
	if n := notices(); n != 2 {
		t.Fatalf("%d notices after the silence, want one a follower", n)
	}
}
