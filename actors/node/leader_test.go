package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// notifications returns, by peer, the commit indexes that were sent in heartbeats without another
// content.
func (s *fixture) notifications() map[uint64][]uint64 {
	commits := map[uint64][]uint64{}
	for _, x := range s.sentToPeers {
		if m, ok := x.message.(*messages.Heartbeat); ok && m.CommitOnly {
			commits[x.to] = append(commits[x.to], m.Commit)
		}
	}
	return commits
}

func forwardedBy(peer uint64, sequences ...uint64) *messages.ForwardedProposals {
	m := &messages.ForwardedProposals{From: peer}
	for _, sequence := range sequences {
		m.Data = append(m.Data, newProposal(sequence, 10))
	}
	return m
}

func TestLeaderWritesAndReplicatesInParallel(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.clearRecorded()
	s.deliver(propose(1, 10), propose(2, 10))
	if len(s.pendingAppends) != 1 || len(s.pendingAppends[0].Entries.Data) != 2 {
		t.Fatalf("two proposals in the mailbox made %d Appends", len(s.pendingAppends))
	}
	for _, peer := range []uint64{2, 3} {
		sent := s.sentToReplicator[peer]
		if len(sent) != 1 || sent[0].(*messages.Replicate).Entries != s.pendingAppends[0].Entries {
			t.Fatalf("the Replicator of %d received %v", peer, sent)
		}
	}
}

func TestE10SingleVoterCommitsAfterSync(t *testing.T) {
	s := newFixture(t, 1).deliverRecovered(1, 0, 1, 1)
	s.deliver(&messages.Campaign{})
	s.expectRole(roleCandidate, 2)
	s.syncAll() // the vote for itself is on disk
	s.expectRole(roleLeader, 2)
	s.syncAll()
	s.clearRecorded()
	s.deliver(pull(3), propose(1, 10))
	s.expectCommit(2)
	if len(s.sentToMachine) > 0 {
		t.Fatalf("the Machine received %v before the sync", s.sentToMachine)
	}
	s.deliver(propose(2, 10))
	s.syncOldest()
	s.expectCommit(3)
	if len(s.sentToMachine) != 1 {
		t.Fatalf("the Machine received %v after the first of two syncs", s.sentToMachine)
	}
	s.syncAll()
	s.expectCommit(4)
}

func TestLeaderCommitsBeforeItsOwnSync(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.deliver(pull(2), s.newProgress(2, 2), s.newProgress(3, 2))
	s.expectCommit(2)
	if len(s.sentToMachine) > 0 {
		t.Fatalf("the Machine received %v before the sync", s.sentToMachine)
	}
	s.syncAll()
	if len(s.sentToMachine) != 1 {
		t.Fatal("the Machine received nothing after the sync")
	}
}

// Raft, Figure 8: entry 2 of term 2 is on a majority under the leader of term 4, which does not
// commit it. An entry of term 4 on a majority commits both.
func TestE44Figure8OldTermNotCommittedByCounting(t *testing.T) {
	s := newFixture(t, 5).asLeader(3, 1, 2)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.expectCommit(1)
	s.deliver(s.newProgress(2, 3), s.newProgress(3, 3))
	s.expectCommit(3)
}

// One of four peers is not a quorum.
func TestE19LeaderWithoutQuorumStepsDown(t *testing.T) {
	s := newFixture(t, 5).asLeader(3, 1)
	s.syncAll()
	for range 30 {
		if !s.advanceHeartbeat(2) {
			break
		}
	}
	s.expectRole(roleFollower, 4)
	if s.Now() > 2*electionTimeout {
		t.Fatalf("stepped down after %v", s.Now())
	}
	if s.node.vote != 1 {
		t.Fatal("the vote of the term was cleared (E2)")
	}
}

func TestE19LeaderWithQuorumContinues(t *testing.T) {
	s := newFixture(t, 5).asLeader(3, 1)
	s.syncAll()
	s.advanceHeartbeats(50, 2, 3)
	s.expectRole(roleLeader, 4)
}

// A Replicator that returns to probing reports the same matchIndex: nothing came from the peer.
func TestE19UnchangedProgressIsNoContact(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	for range 9 {
		s.Advance(heartbeatInterval)
		s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	}
	s.Advance(2 * heartbeatInterval)
	s.expectRole(roleFollower, 4)
}

func TestOldLeadershipProgressIsDropped(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader()
	commit := s.node.log.commitIndex
	late := s.newProgress(2, s.node.log.lastIndex())
	late.Term--
	s.deliver(late)
	if p := s.leader().peers.find(2); p.matchIndex != 0 {
		t.Fatalf("matchIndex %d", p.matchIndex)
	}
	s.expectCommit(commit)
	late.Term++
	if s.deliver(late); s.node.log.commitIndex == commit {
		t.Fatal("the same Progress of this leadership commits nothing")
	}
}

func TestHigherTermMakesLeaderStepDown(t *testing.T) {
	transfer := newVoteRequest(2, 9, 5, 8)
	transfer.Transfer = true
	for name, deliver := range map[string]func(*fixture){
		"heartbeat response": func(s *fixture) { s.deliver(&messages.HeartbeatResponse{Term: 9, From: 2}) },
		"append response":    func(s *fixture) { s.deliver(&messages.HigherTerm{Incarnation: 1, Term: 9, From: 2}) },
		"heartbeat":          func(s *fixture) { s.deliver(&messages.Heartbeat{Term: 9, Leader: 2}) },
		"vote response":      func(s *fixture) { s.deliver(&messages.VoteResponse{Term: 9, Voter: 2}) },
		"vote of a transfer": func(s *fixture) { s.deliver(transfer) },
		"append":             func(s *fixture) { s.deliver(newAppendEntries(9, 1, 1, 1, 9)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, 3).asLeader(3, 1)
			s.deliver(newReadRequest(7))
			deliver(s)
			s.expectRole(roleFollower, 9)
			points := sessionMessages[*messages.ReadPoint](s)
			if len(points) != 1 || points[0].Refusal != messages.Refusal_REFUSAL_NO_LEADER {
				t.Fatalf("the waiting read received %v", points)
			}
			s.expectCommit(1)
		})
	}
}

func TestForwardingFollowerIsNotifiedAtOnce(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2)
	s.deliver(forwardedBy(2, 1))
	s.syncAll()
	s.deliver(s.newProgress(2, 3))
	if n := s.notifications(); len(n[2]) != 1 || n[2][0] != 3 || len(n[3]) != 0 {
		t.Fatalf("notifications %v: peer 2 has entry 3, the log of peer 3 is not known", n)
	}
}

// The disks of the leader and of peer 2 commit the entry before peer 3 acknowledges it. Without a
// notification, clients at peer 3 would wait for the next heartbeat.
func TestLastAcknowledgingFollowerIsNotified(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.deliver(forwardedBy(3, 1))
	s.syncAll()
	s.deliver(s.newProgress(2, 3))
	s.sentToPeers = nil
	s.deliver(s.newProgress(3, 3))
	if n := s.notifications(); len(n[3]) != 1 || n[3][0] != 3 {
		t.Fatalf("notifications %v, want commit index 3 for peer 3", n)
	}
}

// No client at the followers waits for a write of the leader's own client. Under load the next
// entries carry the commit index; otherwise the followers are notified within twice
// commitNotifyDelay.
func TestCommitTravelsWithNextEntries(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.Advance(commitNotifyDelay)
	s.sentToPeers = nil
	for i := range uint64(5) {
		s.deliver(propose(i+1, 10))
		s.syncAll()
		s.deliver(s.newProgress(2, 3+i), s.newProgress(3, 3+i))
		s.Advance(commitNotifyDelay - commitNotifyDelay/8)
	}
	if n := s.notifications(); len(n) != 0 {
		t.Fatalf("notifications %v while entries carried the commit index", n)
	}
	s.Advance(2 * commitNotifyDelay)
	if n := s.notifications(); len(n[2]) != 1 || len(n[3]) != 1 {
		t.Fatalf("notifications %v after the last entry, want one for each peer", n)
	}
}

func TestHeartbeatCommitIsAtMostMatchIndex(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2)
	s.Advance(heartbeatInterval)
	sent := 0
	for _, x := range s.sentToPeers {
		if m, ok := x.message.(*messages.Heartbeat); ok && x.to == 3 {
			if sent++; m.Commit != 0 {
				t.Fatalf("commit index %d sent to peer 3, whose log is not known", m.Commit)
			}
		}
	}
	if sent != 1 {
		t.Fatalf("%d heartbeats sent to peer 3, want 1", sent)
	}
}

func TestLateHeartbeatsAreCounted(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.advanceHeartbeats(5, 2, 3)
	if n := s.node.lateHeartbeats; n != 0 {
		t.Fatalf("%d rounds in time count as late", n)
	}
	for i := range s.Timers { // the process stalls
		s.Timers[i].Due += 2 * heartbeatInterval
	}
	s.Advance(3 * heartbeatInterval)
	if n := s.node.lateHeartbeats; n != 1 {
		t.Fatalf("%d late rounds, want 1", n)
	}
}

func TestIdleLeaderSendsHeartbeatsOnly(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.Advance(commitNotifyDelay)
	s.sentToPeers = nil
	s.advanceHeartbeats(10, 2, 3)
	expectSent[*messages.Heartbeat](s, 20)
	if len(s.sentToPeers) != 20 {
		t.Fatalf("%d messages in ten heartbeat intervals, want one for each interval and peer", len(s.sentToPeers))
	}
}
