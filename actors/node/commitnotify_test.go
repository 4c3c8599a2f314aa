package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// The commit index moved on the disks of the leader and of 2; 3 acknowledged a moment later. It
// heard of the commit with the next heartbeat only: clients at 3 waited up to 100 ms for their
// writes.
func TestCommitNoticeReachesTheFollowerThatAcknowledgedLast(t *testing.T) {
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
func TestCommitNoticeThatNobodyWaitsForTravelsWithTheNextEntries(t *testing.T) {
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
