package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// expectTimeoutNow checks that TimeoutNow of term 4 was sent, once and to this peer.
func (s *fixture) expectTimeoutNow(target uint64) {
	s.t.Helper()
	if m := onlySent[*messages.TimeoutNow](s); m.Term != 4 {
		s.t.Fatalf("sent %v", m)
	}
	for _, x := range s.sentToPeers {
		if _, ok := x.message.(*messages.TimeoutNow); ok && x.to != target {
			s.t.Fatalf("sent to %d, want %d", x.to, target)
		}
	}
}

// advanceWithoutDisk advances the time while the peers respond and the disk does not, until the
// Node steps down.
func (s *fixture) advanceWithoutDisk(heartbeats int) {
	for range heartbeats {
		if s.Advance(heartbeatInterval); s.node.role.name() != roleLeader {
			break
		}
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2}, &messages.HeartbeatResponse{Term: 4, From: 3})
	}
	s.expectRole(roleFollower, 4)
}

func TestTransferWaitsForUpToDateTarget(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(3)
	s.deliver(&messages.TransferLeadership{Target: 9}) // not a member
	s.deliver(&messages.TransferLeadership{Target: 2})
	noneSent[*messages.TimeoutNow](s)
	s.deliver(propose(1, 10))
	r := sessionMessages[*messages.ProposalsRefused](s)
	if len(r) != 1 || r[0].Reason != messages.Refusal_REFUSAL_TRANSFERRING {
		t.Fatalf("the Session received %v", s.sentToSession)
	}
	s.deliver(s.newProgress(2, 2), s.newProgress(2, 2))
	s.expectTimeoutNow(2)
	s.expectRole(roleLeader, 4)
}

// Appended after TimeoutNow, the collected proposals would reach other voters, and the target's log
// would be shorter than theirs.
func TestE20CollectedProposalsPrecedeTransfer(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.deliver(propose(1, 10), &messages.TransferLeadership{Target: 2})
	noneSent[*messages.TimeoutNow](s)
	s.deliver(s.newProgress(2, 3))
	s.expectTimeoutNow(2)
	if s.node.log.lastIndex() != 3 {
		t.Fatalf("the log ends at %d", s.node.log.lastIndex())
	}
}

func TestE20AbortedTransferAcceptsProposals(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader()
	s.deliver(&messages.TransferLeadership{Target: 2}) // which does not respond
	s.advanceHeartbeats(12, 3)
	s.expectRole(roleLeader, 4)
	s.clearRecorded()
	s.deliver(propose(1, 10))
	if len(s.pendingAppends) != 1 {
		t.Fatalf("the proposal was refused: %v", s.sentToSession)
	}
}

func TestE20StepDownEndsTransfer(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(3)
	s.deliver(&messages.TransferLeadership{Target: 2}, &messages.HeartbeatResponse{Term: 5, From: 3})
	s.expectRole(roleFollower, 5)
	s.deliver(&messages.Campaign{}, preVoteGrant(6, 3))
	s.syncAll()
	s.deliver(voteGrant(6, 3))
	s.expectRole(roleLeader, 6)
	if s.leader().transfer.isActive() {
		t.Fatal("the transfer of the former leadership is active")
	}
}

func TestE8LeaderWithLowDiskTransfers(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.Advance(commitNotifyDelay)
	s.deliver(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.AppendMark{Term: 4, Index: 2}, DiskLow: true})
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2, DiskLow: true}, &messages.HeartbeatResponse{Term: 4, From: 3})
	s.sentToPeers = nil
	s.Advance(heartbeatInterval)
	s.expectTimeoutNow(3)
}

// Peer 3 has more of the log than peer 2.
func TestE9LeaderWithStalledDiskTransfers(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(3)
	s.deliver(s.newProgress(2, 1))
	s.deliver(propose(1, 10))
	s.advanceWithoutDisk(12)
	s.expectTimeoutNow(3)
}

// The probes detect that the disk stalls although no client writes.
func TestE9IdleLeaderProbesItsDisk(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader()
	s.advanceHeartbeats(40, 2, 3)
	s.expectRole(roleLeader, 4)
	s.clearRecorded()
	s.advanceWithoutDisk(20)
}
