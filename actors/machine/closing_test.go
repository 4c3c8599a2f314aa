package machine

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// The first command or barrier of a session closes the older sessions of its member, with their
// replies. Its registration closes nothing: one of an earlier process may come late.
func TestFirstUseClosesOlderSessions(t *testing.T) {
	for name, use := range map[string][]byte{
		"command": commandEntry(3, 1, 1, "new"),
		"barrier": raft.EncodeBarrier(3, 1, 1),
	} {
		s, state := startWithSession(t) // 1
		s.commit(1, commandEntry(1, 1, 1, "old"), raft.EncodeRegisterSession([]byte("new"), ownNodeID), raft.EncodeRegisterSession([]byte("late"), ownNodeID))
		s.commit(1, commandEntry(1, 2, 1, "still open"))
		if n := s.lastView().Sessions; n != 3 || len((*state).applied) != 2 {
			t.Fatalf("%s: %d sessions, applied %v", name, n, (*state).applied)
		}
		s.commit(1, use)
		if v := s.lastView(); v.Sessions != 2 || v.SessionBytes > replyOverheadBytes+uint64(len("6=new")) {
			t.Errorf("%s: %d sessions of %d bytes after the first use", name, v.Sessions, v.SessionBytes)
		}
		s.takeSessionMessages()
		s.commit(1, commandEntry(1, 3, 1, "closed"), commandEntry(3, 2, 1, "open"), commandEntry(4, 1, 1, "a later one"))
		for _, r := range s.takeResults() {
			if want := map[uint64]messages.Outcome{1: isUnknown, 3: wasApplied, 4: wasApplied}[r.SessionId]; r.Outcomes[0] != want {
				t.Errorf("%s: %v", name, r)
			}
		}
	}
}

// Members restart more often than the table has places. An idle session of a process that runs
// stays, and what is written again and again has the replies of running processes only.
func TestRestartsDoNotDisplaceIdleSessions(t *testing.T) {
	table := newSessionTable(featureLevel1Limits)
	table.register(1, 1, []byte("idle"))
	table.admit(table.find(1), 2, 1, 1)
	table.cacheReply(1, 1, []byte("kept"))
	index := uint64(2)
	const members, starts = 32, 100
	for start := range starts {
		for node := uint64(2); node <= members; node++ {
			index++
			id := table.register(index, node, fmt.Appendf(nil, "start %d", start))
			if start%2 == 0 {
				continue // it writes nothing
			}
			index++
			table.admit(table.find(id), index, 1, 1)
			table.cacheReply(id, 1, fmt.Appendf(nil, "reply-%d-%d", node, start))
		}
	}
	if s := table.find(1); s == nil || len(s.replies) != 1 {
		t.Error("the idle session was displaced")
	}
	if n := len(table.sessions); n != members {
		t.Errorf("%d sessions of %d members", n, members)
	}
	full := appendFull(nil, table)
	if n := bytes.Count(full, []byte("reply-")); n != members-1 {
		t.Errorf("a full record has %d replies", n)
	}
}

// Sessions of members that a configuration does not contain are closed by it.
func TestConfigurationClosesForeignSessions(t *testing.T) {
	s, _ := startWithSession(t)
	s.commit(1, raft.EncodeRegisterSession([]byte("other"), ownNodeID+1), raft.EncodeRegisterSession([]byte("removed"), ownNodeID+2),
		raft.EncodeConfiguration(&messages.Configuration{Members: []*messages.Member{{Id: ownNodeID}, {Id: ownNodeID + 1, Learner: true}}}))
	var nodes []uint64
	for _, session := range s.machine.sessions.sessions {
		nodes = append(nodes, session.node)
	}
	if fmt.Sprint(nodes) != fmt.Sprint([]uint64{ownNodeID, ownNodeID + 1}) {
		t.Errorf("sessions of the members %v", nodes)
	}
}
