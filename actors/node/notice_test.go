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
	s.hears(&messages.Propose{Data: proposalOf(1, 10)})
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
