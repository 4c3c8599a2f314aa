package node

import (
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func pull(from uint64) *messages.Pull {
	return &messages.Pull{Incarnation: 1, From: from, MaxBytes: 1 << 20}
}

// expectAccepted checks the one response to an append that was sent.
func (s *fixture) expectAccepted(term, index uint64) {
	s.t.Helper()
	if r := onlySent[*messages.AppendResponse](s); !r.Accepted || r.Term != term || r.Index != index {
		s.t.Fatalf("response %v, want index %d accepted in term %d", r, index, term)
	}
}

func (s *fixture) expectLog(lastIndex uint64, appends int) {
	s.t.Helper()
	if s.node.log.lastIndex() != lastIndex || len(s.pendingAppends) != appends {
		s.t.Fatalf("the log ends at %d, the LogStore received %v", s.node.log.lastIndex(), s.pendingAppends)
	}
}

func (s *fixture) expectCommit(index uint64) {
	s.t.Helper()
	if s.node.log.commitIndex != index {
		s.t.Fatalf("commit index %d, want %d", s.node.log.commitIndex, index)
	}
}

func (s *fixture) expectDurable(index uint64) {
	s.t.Helper()
	if s.node.log.durableIndex != index {
		s.t.Fatalf("durable index %d, want %d", s.node.log.durableIndex, index)
	}
}

func TestFollowerAcknowledgesDurableEntriesOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3, 3))
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	s.expectAccepted(3, 3)
	if r := onlySent[*messages.AppendResponse](s); r.Stream != 5 || r.Sequence != 1 {
		t.Fatalf("response %v", r)
	}
	if x := s.sentToPeers[0]; x.to != 2 || x.role != messages.Receiver_RECEIVER_REPLICATOR {
		t.Fatalf("response to %+v, want the Replicator of node 2", x)
	}
}

func TestRepeatedAppendWaitsForSync(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	m := newAppendEntries(3, 1, 1, 1, 3)
	s.deliver(m, m)
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	if n := len(sentMessages[*messages.AppendResponse](s)); n != 2 {
		t.Fatalf("%d responses", n)
	}
	s.clearRecorded()
	s.deliver(m) // everything is durable
	s.expectAccepted(3, 2)
	s.expectLog(2, 0)
}

// Raft §5.3: an entry is truncated only if it conflicts. An older append that arrives late has
// fewer entries and no conflict.
func TestOldAppendTruncatesNothing(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3, 3, 3))
	s.syncAll()
	s.clearRecorded()
	s.deliver(newAppendEntries(3, 1, 1, 1, 3))
	s.expectLog(4, 0)
	s.expectAccepted(3, 2)
}

// Raft, Figure 7: the followers of the leader of term 8, whose log is 1 1 1 4 4 5 5 6 6 6 and an
// entry of its own.
func TestFigure7FollowersAdoptLeadersLog(t *testing.T) {
	leader := []uint64{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8}
	for name, f := range map[string][]uint64{
		"a": {1, 1, 1, 4, 4, 5, 5, 6, 6},
		"b": {1, 1, 1, 4},
		"c": {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},
		"d": {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7},
		"e": {1, 1, 1, 4, 4, 4, 4},
		"f": {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, 3).asFollower(7, 3, 1, f...)
			terms := raft.NewLogTerms(0, 0, uint64(len(leader)), newRuns(1, leader))
			next, trips := uint64(len(leader)), 0
			for {
				trips++
				prev, _ := terms.Term(next - 1)
				s.clearRecorded()
				s.deliver(newAppendEntries(8, next-1, prev, 1, leader[next-1:]...))
				s.syncAll()
				r := onlySent[*messages.AppendResponse](s)
				if r.Accepted {
					break
				}
				next = terms.NextAfterConflict(r.ConflictTerm, r.ConflictIndex)
			}
			for i, want := range leader {
				if got, ok := s.node.log.terms.Term(uint64(i + 1)); !ok || got != want {
					t.Fatalf("entry %d is of term %d, want %d", i+1, got, want)
				}
			}
			if s.node.log.lastIndex() != uint64(len(leader)) || trips > 4 {
				t.Fatalf("the log ends at %d after %d round trips", s.node.log.lastIndex(), trips)
			}
		})
	}
}

// The log agrees up to 2; entries 3 and 4 may be another leader's.
func TestFollowerCommitsMatchingEntriesOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 2, 2, 2)
	s.deliver(newAppendEntries(3, 2, 2, 4))
	s.expectCommit(2)
}

// Of the entries 2, 3 and 4, those up to 3 are committed.
func TestE11AppliesCommittedDurableEntriesOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(pull(2))
	s.deliver(newAppendEntries(3, 1, 1, 3, 3, 3, 3))
	if len(s.sentToMachine) != 0 {
		t.Fatal("the Machine received entries that are not on disk")
	}
	s.syncAll()
	if len(s.sentToMachine) != 1 || raft.EntriesLast(s.sentToMachine[0].Entries) != 3 {
		t.Fatalf("the Machine received %v, want entries 2 and 3", s.sentToMachine)
	}
}

// The commit of entry 2 is known in term 5. If the node applied it and crashed before term 5 is on
// disk, a leader of term 4 could replace it.
func TestE11AppliesAfterTermIsDurable(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(pull(2))
	s.deliver(newAppendEntries(5, 2, 3, 2, 5))
	if len(s.sentToMachine) != 0 {
		t.Fatalf("the Machine received %v before the term is on disk", s.sentToMachine)
	}
	s.syncOldest()
	if m := s.sentToMachine; len(m) != 1 || raft.EntriesLast(m[0].Entries) != 2 && m[0].OnDiskThrough != 2 {
		t.Fatalf("the Machine received %v, want entry 2", m)
	}
}

func TestE11StateMachineAheadOfLogStopsNode(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.MachineReady{Incarnation: 1, Applied: 2})
	if len(s.Failures) != 1 {
		t.Fatal("the node did not stop")
	}
}

// What the Machine has applied was committed, even if the hard state on disk does not say so.
func TestAppliedIndexIsCommitted(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 2, 2, 3)
	s.deliver(&messages.MachineReady{Incarnation: s.incarnation, Applied: 3})
	s.expectCommit(3)
}

func TestE12TruncationLowersDurableIndex(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 2, 2, 2)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3))
	s.expectDurable(1)
	a := s.pendingAppends[len(s.pendingAppends)-1]
	if a.TruncateFrom != 2 || len(a.Deferred) != 1 || a.Deferred[0].CoversThrough != 2 {
		t.Fatalf("the LogStore received %v", a)
	}
}

// The disk is slow: three Appends are in flight, and the log was truncated twice. When the disk has
// the oldest one, only the entries before both truncations are durable.
func TestE12MarkBeforeTwoTruncations(t *testing.T) {
	s := newFixture(t, 3).asFollower(4, 2, 1, 1)
	s.deliver(newAppendEntries(4, 1, 1, 1, 4, 4, 4, 4, 4)) // entries 2 to 6
	s.deliver(newAppendEntries(5, 1, 1, 1, 5, 5, 5, 5, 5)) // replaced by a leader of term 5
	s.deliver(newAppendEntries(6, 4, 5, 1, 6, 6))          // 5 and 6 replaced by a leader of term 6
	s.expectRole(roleFollower, 6)
	s.sentToPeers = nil
	s.deliver(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.AppendMark{Term: 4, Index: 6}})
	s.expectDurable(1)
	s.deliver(newAppendEntries(6, 4, 5, 1)) // nothing new, but 4 is not on disk
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	s.expectDurable(6)
}

func TestE17StaleLeaderLearnsTheTerm(t *testing.T) {
	s := newFixture(t, 3).asFollower(5, 3, 1, 1)
	s.deliver(newAppendEntries(4, 1, 1, 1, 4), &messages.Heartbeat{Term: 4, Leader: 2, Commit: 1})
	if r := onlySent[*messages.AppendResponse](s); r.Accepted || r.Term != 5 {
		t.Fatalf("response %v", r)
	}
	if r := onlySent[*messages.HeartbeatResponse](s); r.Term != 5 {
		t.Fatalf("response %v", r)
	}
	if s.node.contact.leader != 3 || s.node.log.lastIndex() != 1 {
		t.Fatal("the node followed the leader of an earlier term")
	}
}

// deliverConfiguration appends a configuration at index 2 in term 3.
func (s *fixture) deliverConfiguration(c *messages.Configuration) {
	data := raft.EncodeConfiguration(c)
	m := newAppendEntries(3, 1, 1, 1, 3)
	m.Entries.Data[0], m.Entries.Bytes = data, uint64(len(data))
	s.deliver(m)
}

// truncateConfiguration replaces it by an entry of leader 3 in term 4.
func (s *fixture) truncateConfiguration() {
	s.deliver(&messages.AppendEntries{Term: 4, Leader: 3, PrevIndex: 1, PrevTerm: 1, Commit: 1, Entries: newEntries(2, 4)})
}

func TestE30E31ConfigurationFollowsItsEntry(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliverConfiguration(newConfiguration(4))
	if len(s.members) != 4 || !s.node.quorum.Contains(4) {
		t.Fatal("an appended configuration is not in effect")
	}
	s.truncateConfiguration()
	if len(s.members) != 3 || s.node.quorum.Contains(4) {
		t.Fatal("a truncated configuration is in effect")
	}
}

func TestE31TruncatedLearnerCampaignsAgain(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	learner := newConfiguration(3)
	learner.Members[0].Learner = true
	s.deliverConfiguration(learner)
	s.syncAll()
	s.clearRecorded()
	s.Advance(5 * electionTimeout)
	noneSent[*messages.RequestVote](s) // E23
	s.expectRole(roleFollower, 3)
	s.truncateConfiguration()
	s.Advance(3 * electionTimeout)
	s.expectRequests()
}

func TestCommitOnlyHeartbeatHasNoResponse(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(&messages.Heartbeat{Term: 3, Leader: 2, Commit: 2, CommitTerm: 3, CommitOnly: true})
	noneSent[*messages.HeartbeatResponse](s)
	s.expectCommit(2)
}

// A heartbeat names an entry that this node acknowledged before its data directory became an older
// one: the node has another entry there, or none.
func TestHeartbeatCommitsTheNamedEntryOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 2)
	for _, m := range []*messages.Heartbeat{
		{Commit: 3, CommitTerm: 3}, // there is none
		{Commit: 2, CommitTerm: 3}, // it is of term 2
		{Commit: 2},
	} {
		m.Term, m.Leader = 3, 2
		s.deliver(m)
		s.expectCommit(1)
	}
	s.deliver(&messages.Heartbeat{Term: 3, Leader: 2, Commit: 2, CommitTerm: 2})
	s.expectCommit(2)
}

// An append that no leader can have sent is dropped before it breaks an invariant: a node that
// fails at each repetition would soon stop.
func TestMalformedAppendIsDropped(t *testing.T) {
	for name, spoil := range map[string]func(*messages.AppendEntries){
		"a gap before the entries":                func(m *messages.AppendEntries) { m.Entries = newEntries(4, 5) },
		"no terms":                                func(m *messages.AppendEntries) { m.Entries.Runs = nil },
		"bytes that are no entry":                 func(m *messages.AppendEntries) { m.Entries.Data[0] = []byte{99} },
		"another number of bytes":                 func(m *messages.AppendEntries) { m.Entries.Bytes++ },
		"an entry of a term above the leader's":   func(m *messages.AppendEntries) { m.Entries = newEntries(3, 5, 6) },
		"an entry of a term below the one before": func(m *messages.AppendEntries) { m.Entries = newEntries(3, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t, 3).asFollower(5, 2, 1, 1, 3)
			m := newAppendEntries(5, 2, 3, 1, 5)
			spoil(m)
			s.deliver(m, m, m, m, m) // the leader repeats it
			s.expectRole(roleFollower, 5)
			s.expectLog(2, 0)
			if n := strings.Count(s.Logged.String(), "dropped a malformed append"); n != 3 {
				t.Errorf("%d lines for 5 appends", n)
			}
			if len(s.sentToPeers) > 0 {
				t.Fatalf("%v sent", s.sentToPeers)
			}
		})
	}
}

func TestStaleIncarnationIsDropped(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	s.deliver(&messages.Durable{Incarnation: 1, Mark: &messages.AppendMark{Term: 3, Index: 9}}, pull(1))
	s.expectRole(roleFollower, 3)
	s.expectDurable(1)
	if s.node.pendingPull != nil {
		t.Fatal("a Pull of an earlier incarnation was accepted")
	}
}

// An acknowledgement in a term is true only if the term is on disk too: a node that restarted in an
// earlier term would let the leader of that term replace the entries.
func TestE1AcknowledgementWaitsForDurableTerm(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(newAppendEntries(5, 2, 3, 1)) // the probe of a new leader, without entries
	noneSent[*messages.AppendResponse](s)
	s.crashNode()
	s.deliverRecovered(3, 0, 1, 1, 3) // the new term was not on disk
	s.deliver(newAppendEntries(4, 1, 1, 1, 4))
	s.expectRole(roleFollower, 4)
	s.syncAll()
	s.sentToPeers = nil
	s.deliver(newAppendEntries(5, 2, 4, 1))
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	s.expectAccepted(5, 2)
	s.clearRecorded()
	s.deliver(newAppendEntries(5, 2, 4, 1))
	s.expectAccepted(5, 2)
	s.expectLog(2, 0)
}

func TestLowDiskIsObserved(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.AppendMark{}, DiskLow: true})
	if v := s.Views.Nodes[len(s.Views.Nodes)-1]; !v.DiskLow {
		t.Fatal("the observed state does not show that the disk is low")
	}
}
