package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// Proposals that were collected before a transfer go into the log first: appended after TimeoutNow,
// they would reach other voters and make the target's log the shorter one.
func TestE20CollectedProposalsPrecedeTransfer(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.clearRecorded()
	s.deliver(&messages.Propose{Data: newProposal(1, 10)}, &messages.TransferLeadership{Target: 2})
	noneSent[*messages.TimeoutNow](s)
	s.deliver(s.newProgress(2, 3))
	onlySent[*messages.TimeoutNow](s)
	if s.node.log.lastIndex() != 3 {
		t.Fatalf("the log ends at %d", s.node.log.lastIndex())
	}
}

func TestE8LeaderWithLowDiskTransfers(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.Advance(commitNotifyDelay)
	s.deliver(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.AppendMark{Term: 4, Index: 2}, DiskLow: true})
	s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2, DiskLow: true}, &messages.HeartbeatResponse{Term: 4, From: 3})
	s.sentToPeers = nil
	s.Advance(heartbeatInterval)
	if m := onlySent[*messages.TimeoutNow](s); m.Term != 4 || s.sentToPeers[0].to != 3 {
		t.Fatalf("said %v", s.sentToPeers)
	}
}

func TestE9LeaderWithStalledDiskTransfers(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 1), s.newProgress(3, 2))
	s.clearRecorded()
	s.deliver(&messages.Propose{Data: newProposal(1, 10)}) // and the disk does not answer
	for range 12 {
		s.Advance(heartbeatInterval)
		if s.node.role.name() != roleLeader {
			break
		}
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2}, &messages.HeartbeatResponse{Term: 4, From: 3})
	}
	s.expectRole(roleFollower, 4)
	if m := onlySent[*messages.TimeoutNow](s); m.Term != 4 || s.sentToPeers[len(s.sentToPeers)-1].to != 3 {
		t.Fatalf("said %v", s.sentToPeers[len(s.sentToPeers)-1])
	}
}

func TestE9IdleLeaderProbesItsDisk(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	for range 40 {
		s.Advance(heartbeatInterval)
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2}, &messages.HeartbeatResponse{Term: 4, From: 3})
		s.syncAll()
	}
	s.expectRole(roleLeader, 4)
	s.clearRecorded()
	for range 20 { // now it does not answer any more
		s.Advance(heartbeatInterval)
		if s.node.role.name() != roleLeader {
			return
		}
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2}, &messages.HeartbeatResponse{Term: 4, From: 3})
	}
	t.Fatal("a leader with a dead disk leads on as long as nobody writes")
}

func TestTransferWaitsForUpToDateTarget(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 1), s.newProgress(3, 2))
	s.clearRecorded()
	s.deliver(&messages.TransferLeadership{Target: 9}) // nobody
	s.deliver(&messages.TransferLeadership{Target: 2})
	noneSent[*messages.TimeoutNow](s)
	s.deliver(&messages.Propose{Data: newProposal(1, 10)})
	if r := sessionMessages[*messages.ProposalsRefused](s); len(r) != 1 || r[0].Reason != messages.Refusal_REFUSAL_TRANSFERRING {
		t.Fatalf("the handle heard %v", s.sentToSession)
	}
	s.deliver(s.newProgress(2, 2), s.newProgress(2, 2))
	if onlySent[*messages.TimeoutNow](s); s.sentToPeers[0].to != 2 {
		t.Fatalf("said %v", s.sentToPeers)
	}
	s.expectRole(roleLeader, 4)
}

func TestE20AbortedTransferAcceptsProposals(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(&messages.TransferLeadership{Target: 2}) // which dies
	for range 12 {
		s.Advance(heartbeatInterval)
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 3})
		s.syncAll()
	}
	s.expectRole(roleLeader, 4)
	s.clearRecorded()
	s.deliver(&messages.Propose{Data: newProposal(1, 10)})
	if len(s.pendingAppends) != 1 {
		t.Fatalf("the proposal was not taken: %v", s.sentToSession)
	}
}

func TestE20StepDownEndsTransfer(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(3, 2), &messages.TransferLeadership{Target: 2}, &messages.HeartbeatResponse{Term: 5, From: 3})
	s.expectRole(roleFollower, 5)
	s.deliver(&messages.Campaign{}, &messages.VoteResponse{Term: 6, Voter: 3, PreVote: true, Granted: true})
	s.syncAll()
	s.deliver(&messages.VoteResponse{Term: 6, Voter: 3, Granted: true})
	s.expectRole(roleLeader, 6)
	if s.leader().transfer.isActive() {
		t.Fatal("the flag survived")
	}
}
