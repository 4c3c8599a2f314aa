package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

// The commit index moved on the disks of the leader and of 2; 3 acknowledged a moment later. It heard of the commit with
// the next heartbeat only: clients at 3 waited up to 100 ms for their writes.
func TestCommitNoticeReachesTheFollowerThatAcknowledgedLast(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.sync()
	s.hears(s.progress(2, 2), s.progress(3, 2))
	s.hears(&messages.ForwardedProposals{From: 3, Data: [][]byte{proposalOf(1, 10)}})
	s.sync()
	s.hears(s.progress(2, 3))
	s.said = nil
	s.hears(s.progress(3, 3))
	for _, x := range s.said {
		if m, ok := x.message.(*messages.Heartbeat); ok && x.to == 3 && m.Notice && m.Commit == 3 {
			return
		}
	}
	t.Fatalf("3 has entry 3 now, and was not told that it is committed: %v", s.said)
}

// Nobody at the followers waits for a write of the leader's own client: under load the next entries carry the commit index,
// and a message a follower is saved, however long it lasts; in silence the followers hear of it within twice noticeDelay.
func TestCommitNoticeThatNobodyWaitsForTravelsWithTheNextEntries(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.sync()
	s.hears(s.progress(2, 2), s.progress(3, 2))
	s.Pass(noticeDelay)
	s.said = nil
	notices := func() (n int) {
		for _, x := range s.said {
			if m, ok := x.message.(*messages.Heartbeat); ok && m.Notice {
				n++
			}
		}
		return n
	}
	for i := range uint64(5) {
		s.hears(&messages.Propose{Data: proposalOf(i+1, 10)})
		s.sync()
		s.hears(s.progress(2, 3+i), s.progress(3, 3+i))
		s.Pass(noticeDelay - noticeDelay/8)
	}
	if n := notices(); n != 0 {
		t.Fatalf("%d notices while entries carried the news", n)
	}
	s.Pass(2 * noticeDelay)
	if n := notices(); n != 2 {
		t.Fatalf("%d notices after the silence, want one a follower", n)
	}
}
