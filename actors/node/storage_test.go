package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// rejoined returns the bootstrap configuration with another data directory of a member, as an
// entry.
func (s *fixture) rejoined(id uint64, storage string) []byte {
	s.t.Helper()
	c, err := raft.WithRejoined(s.config.Bootstrap, id, []byte(storage))
	if err != nil {
		s.t.Fatal(err)
	}
	return raft.EncodeConfiguration(c)
}

// A member says that it has rejoined when it learns that, and not again at each later start.
func TestRejoinIsLoggedOnce(t *testing.T) {
	const line = "this member has rejoined, and votes again"
	s := newFixture(t, 3)
	s.node.config.Storage = raft.Storage{ID: []byte("new"), Rejoining: true}
	s.deliver(&messages.Recovered{
		Incarnation: 1, LastIndex: 1, Runs: newRuns(1, []uint64{1}), HardState: &messages.HardState{Term: 1, Commit: 1},
		Configurations: []*messages.IndexedConfiguration{{Index: 1, Configuration: mustConfiguration(t, s.rejoined(1, "new"))}},
	})
	if !s.node.mayVote() || strings.Contains(s.Logged.String(), line) {
		t.Fatalf("at a later start: may vote %v, logged %s", s.node.mayVote(), s.Logged.String())
	}
}

func mustConfiguration(t *testing.T, entry []byte) *messages.Configuration {
	t.Helper()
	c, err := raft.DecodeConfiguration(entry)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A node that rejoins grants no vote and campaigns never. The vote that it keeps in a term is the
// leader of that term, so that it helps nobody else once it may vote.
func TestE37RejoiningNodeVotesForItsLeaderOnly(t *testing.T) {
	s := newFixture(t, 3)
	s.node.config.Storage = raft.Storage{ID: []byte("new"), Rejoining: true}
	s.deliverRecovered(1, 0, 1, 1)
	s.deliver(newVoteRequest(2, 5, 9, 4))
	if r := onlySent[*messages.VoteResponse](s); r.Granted || s.node.term != 5 {
		t.Fatalf("in term %d: %v", s.node.term, r)
	}
	s.clearRecorded()
	s.Advance(10 * electionTimeout)
	s.expectRole(roleFollower, 5)
	s.deliver(&messages.Heartbeat{Term: 5, Leader: 3})
	if s.node.vote != 3 {
		t.Fatalf("following 3, the vote is %d", s.node.vote)
	}
	m := newAppendEntries(5, 1, 1, 2, 5)
	m.Leader, m.Entries.Data[0] = 3, s.rejoined(1, "new")
	m.Entries.Bytes = uint64(len(m.Entries.Data[0]))
	s.deliver(m)
	s.syncAll()
	if !strings.Contains(s.Logged.String(), "this member has rejoined, and votes again") {
		t.Error("the log does not say that the member has rejoined")
	}
	if !s.node.mayVote() || s.node.confirmedIndex != 2 {
		t.Fatalf("the committed configuration names its directory: may vote %v, confirmed at %d", s.node.mayVote(), s.node.confirmedIndex)
	}
	s.Advance(2 * electionTimeout)
	s.clearRecorded()
	s.deliver(newVoteRequest(2, 5, 9, 5))
	if r := onlySent[*messages.VoteResponse](s); r.Granted {
		t.Fatal("it votes for another than the leader of the term")
	}
	s.clearRecorded()
	s.deliver(newVoteRequest(2, 6, 9, 5))
	s.syncAll()
	if r := onlySent[*messages.VoteResponse](s); !r.Granted {
		t.Fatalf("in the next term: %v", r)
	}
}

// The entry that records a new data directory is not committed by its owner. From then on it
// counts.
func TestE37RejoinedPeerCountsOnceCommitted(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.deliver(&messages.Rejoin{Member: 3, StorageId: []byte("new")})
	s.syncAll()
	last := s.replicators[len(s.replicators)-1]
	if last.Peer != 3 || !last.Replaced || string(last.StorageID) != "new" {
		t.Fatalf("the Replicator of the new directory: %+v", last)
	}
	of3 := s.newProgress(3, 3)
	s.deliver(of3)
	s.expectCommit(2) // a report about the former directory
	of3.StorageId = []byte("new")
	s.deliver(of3)
	s.expectCommit(2) // it does not count
	s.deliver(s.newProgress(2, 3))
	s.expectCommit(3)
	s.deliver(propose(1, 10))
	s.syncAll()
	of3.MatchIndex = 4
	s.deliver(of3)
	s.expectCommit(4)
}

// A caller that does not know yet that a data directory is recorded requests it once more. That is
// no failure.
func TestRepeatedRejoinIsDropped(t *testing.T) {
	s := newFixture(t, 3).asIdleLeader(2, 3)
	s.deliver(s.newProgress(2, 2), s.newProgress(3, 2))
	s.deliver(&messages.Rejoin{Member: 3, StorageId: []byte("new")})
	s.syncAll()
	s.deliver(s.newProgress(2, 3))
	s.expectCommit(3)
	s.deliver(&messages.Rejoin{Member: 3, StorageId: []byte("new")})
	if strings.Contains(s.Logged.String(), "member cannot rejoin") || s.node.log.lastIndex() != 3 {
		t.Errorf("the log ends at %d, logged %s", s.node.log.lastIndex(), s.Logged.String())
	}
}

// Nothing is recorded while a configuration is not committed, or before the first commit.
func TestRejoinWaitsForTheConfigurationBefore(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.deliver(&messages.Rejoin{Member: 3, StorageId: []byte("new")})
	if index, _ := s.node.log.configurations.Latest(); index != 1 {
		t.Fatalf("recorded at %d before the first commit", index)
	}
	s.syncAll()
	s.deliver(s.newProgress(2, 2))
	for range 2 {
		s.deliver(&messages.Rejoin{Member: 3, StorageId: []byte("new")}, &messages.Rejoin{Member: 2, StorageId: []byte("newer")})
	}
	if index, _ := s.node.log.configurations.Latest(); index != 3 || s.node.log.lastIndex() != 3 {
		t.Fatalf("the latest configuration is at %d of %d", index, s.node.log.lastIndex())
	}
}

func TestE37RefusedDirectoryStopsTheNode(t *testing.T) {
	s := newFixture(t, 3).asFollower(2, 2, 1, 1)
	s.node.config.Storage = raft.Storage{ID: []byte("new")}
	defer func() {
		var refused *actors.StorageRefusedError
		if err, _ := recover().(error); !errors.As(err, &refused) || refused.Peer != 3 || refused.Reason != "why" {
			t.Fatalf("the node failed with %v", err)
		}
	}()
	s.node.handleStorageRefused(&messages.StorageRefused{From: 3, StorageId: []byte("old"), Reason: "an earlier directory"})
	s.node.handleStorageRefused(&messages.StorageRefused{From: 3, StorageId: []byte("new"), Known: []byte("old"), Reason: "why"})
}

// A member that waits to rejoin logs that at the first refusal, and then ever less often, as long
// as it waits: whom it reaches, what an operator does, and how a new cluster begins instead.
func TestWaitingMemberLogsWhatItWaitsFor(t *testing.T) {
	s := newFixture(t, 3)
	s.node.config.Storage = raft.Storage{ID: []byte("new"), Rejoining: true}
	s.deliverRecovered(1, 0, 1, 1)
	const line = "waiting to rejoin"
	lines := func() int { return strings.Count(s.Logged.String(), line) }
	s.Advance(2 * electionTimeout)
	if lines() != 0 {
		t.Fatalf("before a peer could respond: %s", s.Logged.String())
	}
	refused := &messages.StorageRefused{From: 3, StorageId: []byte("new"), Reason: "asks to rejoin"}
	s.deliver(refused, refused)
	if lines() != 1 {
		t.Fatalf("%d lines at the first refusals: %s", lines(), s.Logged.String())
	}
	for _, word := range []string{`"reached":["0x3"]`, `"not_reached":["0x2"]`, "troupe member rejoin 0x1", "--initial-cluster-state=new"} {
		if !strings.Contains(s.Logged.String(), word) {
			t.Errorf("the line does not contain %q: %s", word, s.Logged.String())
		}
	}
	s.Advance(24 * time.Hour)
	if n := lines(); n < 24 || n > 40 {
		t.Errorf("%d lines within a day", n)
	}
	n := lines()
	s.deliver(&messages.Heartbeat{Term: 5, Leader: 3})
	s.deliver(&messages.Heartbeat{Term: 5, Leader: 3})
	if lines() != n {
		t.Error("the member says that it waits while it follows a leader")
	}
}

// If no peer responds, a member that waits to rejoin logs that after a while.
func TestWaitingMemberWithoutPeersLogsThat(t *testing.T) {
	s := newFixture(t, 3)
	s.node.config.Storage = raft.Storage{ID: []byte("new"), Rejoining: true}
	s.deliverRecovered(1, 0, 1, 1)
	s.Advance(minRejoinLogPause + 3*electionTimeout)
	if !strings.Contains(s.Logged.String(), `"not_reached":["0x2","0x3"]`) {
		t.Errorf("logged: %s", s.Logged.String())
	}
}

// A leader records the storage ids of all members once it has met them, or some after an election
// timeout.
func TestLeaderRecordsStorageIDs(t *testing.T) {
	for _, met := range []int{0, 1, 2} {
		s := newFixture(t, 3).asIdleLeader(2, 3)
		s.node.config.Storage = raft.Storage{ID: []byte("one")}
		s.storageIDs = map[uint64][]byte{}
		for id := range uint64(met) {
			s.storageIDs[id+2] = []byte{byte(id + 2)}
		}
		s.advanceHeartbeats(1, 2, 3)
		index, _ := s.node.log.configurations.Latest()
		if recorded := index == 3; recorded != (met == 2) {
			t.Fatalf("%d met: recorded at %d after a heartbeat interval", met, index)
		}
		s.advanceHeartbeats(int(2*electionTimeout/heartbeatInterval), 2, 3)
		_, c := s.node.log.configurations.Latest()
		n := 0
		for _, m := range c.Members {
			if len(m.StorageId) > 0 && !m.Rejoined {
				n++
			}
		}
		if want := map[int]int{0: 0, 1: 2, 2: 3}[met]; n != want {
			t.Fatalf("%d met: %d recorded, want %d", met, n, want)
		}
	}
}
