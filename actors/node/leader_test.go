package node

import (
	"slices"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func TestALeaderSaysItsEntriesToDiskAndReplicatorsAtOnce(t *testing.T) {
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

func TestE10ASingleVoterCommitsAfterItsOwnSyncOnly(t *testing.T) {
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

func TestALeaderMayCommitOnItsFollowersDisksButAppliesFromItsOwn(t *testing.T) {
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
func TestE44Figure8AnOldTermsEntryIsNotCommittedByCounting(t *testing.T) {
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

func TestE19ALeaderThatHearsNoQuorumStepsDownWithinTwoTimeouts(t *testing.T) {
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

func TestE19ALeaderThatHearsAQuorumLeadsOn(t *testing.T) {
	s := newFixture(t, 5).asLeader(3, 1)
	s.syncAll()
	for range 50 {
		s.Advance(heartbeatInterval)
		s.deliver(&messages.HeartbeatResponse{Term: 4, From: 2}, &messages.HeartbeatResponse{Term: 4, From: 3})
		s.syncAll()
	}
	s.expectRole(roleLeader, 4)
}

func TestAStaleLeaderReturnsAndStepsDownByTheHigherTerm(t *testing.T) {
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

func TestE9ALeaderWhoseDiskStallsHandsOverToTheFurthest(t *testing.T) {
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

func TestE9AnIdleLeaderProbesItsDisk(t *testing.T) {
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

func TestTransferToAnUpToDateVoterOnlyAndProposalsWaitMeanwhile(t *testing.T) {
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

func TestE20AnAbortedTransferTakesProposalsAgain(t *testing.T) {
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

func TestE20AChangeOfRoleEndsTheTransfer(t *testing.T) {
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

func TestCommitNoticeFollowersHearOfACommitAtOnce(t *testing.T) {
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

func TestAHeartbeatNamesWhatItsReceiverHasOnly(t *testing.T) {
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

func TestMessageCountAnIdleSecondCostsTenHeartbeatsAPeer(t *testing.T) {
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

func TestE45ProposalsAreBoundedUntilTheyAreCommitted(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MaxUncommittedBytes = 3000
	s.crashNode() // so that the limit is the new life's
	s.asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2))
	s.clearRecorded()
	for i := range uint64(5) {
		s.deliver(&messages.Propose{Data: newProposal(i, 990)})
	}
	refused := sessionMessages[*messages.ProposalsRefused](s)
	if len(refused) != 2 || refused[0].Reason != messages.Refusal_REFUSAL_OVERLOADED || refused[0].Limit != 3000 || refused[0].Sequences[0] != 3 {
		t.Fatalf("refused %v", refused)
	}
	s.syncAll()
	s.deliver(s.newProgress(2, 5))
	s.clearRecorded()
	s.deliver(&messages.Propose{Data: newProposal(9, 990)})
	if len(s.pendingAppends) != 1 {
		t.Fatal("not taken although all was committed")
	}
}

// The followers' disks commit what the leader's own disk is behind with: without a bound of its own
// that would be kept in memory for as long as clients write faster than the leader's disk.
func TestE45ALeaderWithASlowDiskTakesNoMoreThanItCanKeepInMemory(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MaxUncommittedBytes, s.config.Limits.MemoryBytes = 3000, 0
	s.crashNode()
	s.asLeader(3, 1)
	s.syncAll()
	s.deliver(s.newProgress(2, 2))
	s.deliver(s.newProgress(3, 2))
	s.clearRecorded()
	for i := range uint64(20) {
		s.deliver(&messages.Propose{Data: newProposal(i, 990)})
		s.deliver(s.newProgress(2, s.node.log.lastIndex()))
		s.deliver(s.newProgress(3, s.node.log.lastIndex()))
	}
	if s.node.log.commitIndex != s.node.log.lastIndex() {
		t.Fatalf("committed %d of %d on the followers' disks", s.node.log.commitIndex, s.node.log.lastIndex())
	}
	refused := sessionMessages[*messages.ProposalsRefused](s)
	if len(refused) != 17 || refused[0].Reason != messages.Refusal_REFUSAL_OVERLOADED || refused[0].Limit != 3000 || s.node.log.memory.bytes > 3000 {
		t.Fatalf("%d of 20 refused, %d bytes are in memory only", len(refused), s.node.log.memory.bytes)
	}
	s.syncAll()
	s.clearRecorded()
	s.deliver(&messages.Propose{Data: newProposal(99, 990)})
	if len(s.pendingAppends) != 1 || s.node.log.memory.bytes > 1000 {
		t.Fatalf("%d appends, %d bytes in memory after the disk had caught up", len(s.pendingAppends), s.node.log.memory.bytes)
	}
}

func TestE45AFollowerCollectsNoMoreThanALeaderTakes(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MaxUncommittedBytes = 3000
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	var all []any
	for i := range uint64(5) {
		s.System.Root.Send(s.pid, &messages.Propose{Data: newProposal(i, 990)})
		all = append(all, i)
	}
	s.Run()
	if m := onlySent[*messages.ForwardedProposals](s); len(m.Data) != 3 || len(all) != 5 {
		t.Fatalf("forwarded %d", len(m.Data))
	}
}

// A message that carries all that a member may keep would be above the link's limit for one
// message, and would be said again and dropped again for ever; and it would put a leader of a
// smaller limit above that by as much.
func TestE45WhatIsForwardedIsCutIntoBatches(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MaxBatchBytes = 2500
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	for i := range uint64(5) {
		s.System.Root.Send(s.pid, &messages.Propose{Data: newProposal(i, 990)})
	}
	s.System.Root.Send(s.pid, &messages.Propose{Data: newProposal(9, 9900)})
	s.Run()
	var sequences, numbers []uint64
	for _, m := range sentMessages[*messages.ForwardedProposals](s) {
		bytes := 0
		for _, data := range m.Data {
			e, err := raft.DecodeEntry(data)
			if err != nil {
				t.Fatal(err)
			}
			sequences, bytes = append(sequences, e.Sequence), bytes+len(data)
		}
		if numbers = append(numbers, m.Number); bytes > 2500 && len(m.Data) > 1 {
			t.Errorf("%d entries of %d bytes are forwarded at once", len(m.Data), bytes)
		}
	}
	if !slices.Equal(sequences, []uint64{0, 1, 2, 3, 4, 9}) || !slices.Equal(numbers, []uint64{1, 2, 3, 4}) {
		t.Fatalf("forwarded %v in messages %v", sequences, numbers)
	}
}

func TestE45AFollowersLogInMemoryIsBounded(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MemoryBytes = 500
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	for i := range uint64(100) {
		prevTerm := uint64(3)
		if i == 0 {
			prevTerm = 1
		}
		s.deliver(newAppendEntries(3, i+1, prevTerm, 1, 3))
		s.syncAll()
	}
	if s.node.log.memory.bytes > 500 || s.node.log.lastIndex() != 101 {
		t.Fatalf("%d bytes of %d entries are kept", s.node.log.memory.bytes, s.node.log.lastIndex())
	}
}

func TestNothingLeavesMemoryBeforeItIsOnDisk(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MemoryBytes = 0
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3, 3, 3))
	s.deliver(&messages.Durable{Incarnation: 2, Mark: &messages.AppendMark{Term: 3, Index: 3}})
	if s.node.log.memory.first != 4 || !s.node.log.memory.holds(4) {
		t.Fatalf("memory begins at %d", s.node.log.memory.first)
	}
}

func TestBatchesAreCutAtTheirLimit(t *testing.T) {
	s := newFixture(t, 3)
	s.config.Limits.MaxBatchBytes = 2500
	s.crashNode()
	s.asLeader(3, 1)
	s.clearRecorded()
	for i := range uint64(5) {
		s.System.Root.Send(s.pid, &messages.Propose{Data: newProposal(i, 990)})
	}
	s.System.Root.Send(s.pid, &messages.Propose{Data: newProposal(9, 9900)})
	s.Run()
	var sizes []int
	for _, a := range s.pendingAppends {
		sizes = append(sizes, len(a.Entries.Data))
		if err := raft.CheckEntries(a.Entries); err != nil {
			t.Fatal(err)
		}
	}
	if len(sizes) != 4 || sizes[0] != 2 || sizes[1] != 2 || sizes[2] != 1 || sizes[3] != 1 {
		t.Fatalf("batches of %v entries", sizes)
	}
}

func TestProposalsFindTheirLeaderOrAreRefused(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Propose{Data: newProposal(1, 10)})
	if m := onlySent[*messages.ForwardedProposals](s); len(m.Data) != 1 || s.sentToPeers[0].to != 2 {
		t.Fatalf("said %v", s.sentToPeers)
	}
	s.deliver(&messages.ForwardedProposals{From: 3, Term: 3, Data: [][]byte{newProposal(5, 10)}})
	if m := onlySent[*messages.ProposalsRefused](s); m.Reason != messages.Refusal_REFUSAL_NO_LEADER || m.Sequences[0] != 5 || m.SessionIds[0] != 9 {
		t.Fatalf("said %v", m)
	}
	s.deliver(&messages.Campaign{})
	s.sentToSession = nil
	s.deliver(&messages.Propose{Data: newProposal(6, 10)})
	if r := sessionMessages[*messages.ProposalsRefused](s); len(r) != 1 || r[0].Sequences[0] != 6 {
		t.Fatalf("the handle heard %v", s.sentToSession)
	}
}
