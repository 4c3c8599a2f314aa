package node

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// What contradicts what this node knows as certain stops it at once, with a text that says what
// happened, why, and what to do: actors that restart from the same disk meet it again.
func TestContradictionStopsTheNodeAtOnce(t *testing.T) {
	other := &messages.AppendEntries{Term: 3, Leader: 3, PrevIndex: 1, PrevTerm: 1, Commit: 1}
	for what, c := range map[string]struct {
		begin    func(*fixture)
		received proto.Message
		words    []string
	}{
		"a leader has other entries than those committed here": {
			func(s *fixture) { s.asFollower(3, 2, 3, 1, 3, 3, 3) }, newAppendEntries(4, 1, 1, 1, 4, 4),
			[]string{"leader 0x2 of term 4", "from index 2 on", "up to index 3", "the cluster has lost writes", "older copies", "keep the data directory",
				"docs/operations.md#the-cluster-lost-writes"},
		},
		"a follower has two leaders": {
			func(s *fixture) { s.asFollower(3, 2, 1, 1) }, other,
			[]string{"term 3 has two leaders, 0x2 and 0x3", "voted for both", "docs/operations.md#two-leaders-in-one-term"},
		},
		"a follower has two leaders that send heartbeats": {
			func(s *fixture) { s.asFollower(3, 2, 1, 1) }, &messages.Heartbeat{Term: 3, Leader: 3}, []string{"term 3 has two leaders, 0x2 and 0x3"},
		},
		"a leader meets an append of another one": {
			func(s *fixture) { s.asLeader(2, 1) }, other, []string{"term 3 has two leaders, 0x1 and 0x3"},
		},
		"a leader meets a heartbeat of another one": {
			func(s *fixture) { s.asLeader(2, 1) }, &messages.Heartbeat{Term: 3, Leader: 3}, []string{"term 3 has two leaders, 0x1 and 0x3"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newFixture(t, 3)
			c.begin(s)
			s.deliver(c.received)
			if len(s.Failures) != 1 {
				t.Fatalf("failures: %v", s.Failures)
			}
			var contradiction *actors.ContradictionError
			err, _ := s.Failures[0].(error)
			if !errors.As(err, &contradiction) || !actors.StopsNode(err) {
				t.Fatalf("the node failed with %v, after which it would be restarted", s.Failures[0])
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not contain %q", err, word)
				}
			}
		})
	}
}

// The last hard state may lag behind what the state machine has applied. Until that is known, no
// entry is truncated: it may be applied here, and the cluster may have lost it.
func TestNothingIsTruncatedBeforeTheMachineReports(t *testing.T) {
	for _, applied := range []uint64{1, 3} {
		s := newFixture(t, 3)
		s.withoutMachine = true
		s.asFollower(3, 2, 1, 1, 3, 3)
		replacing := newAppendEntries(4, 1, 1, 1, 4, 4, 4)
		s.deliver(replacing)
		s.syncAll()
		s.expectLog(3, 0)
		noneSent[*messages.AppendResponse](s)
		s.deliver(&messages.MachineReady{Incarnation: s.incarnation, Applied: applied})
		s.deliver(replacing)
		if applied > 1 {
			if len(s.Failures) != 1 || !strings.Contains(s.Failures[0].(error).Error(), "the cluster has lost writes") {
				t.Fatalf("applied %d: failures %v", applied, s.Failures)
			}
			continue
		}
		s.syncAll()
		s.expectAccepted(4, 4)
	}
}
