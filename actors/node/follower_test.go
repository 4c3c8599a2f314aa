package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// The disk is slow: three Appends are under way to it, and the log was truncated twice meanwhile.
// What the oldest put on disk is worth only what neither truncation took away.
func TestE12MarkBeforeTwoTruncations(t *testing.T) {
	s := newFixture(t, 3).asFollower(4, 2, 1, 1)
	s.deliver(newAppendEntries(4, 1, 1, 1, 4, 4, 4, 4, 4)) // 2 … 6 of term 4
	s.deliver(newAppendEntries(5, 1, 1, 1, 5, 5, 5, 5, 5)) // replaced by a leader of term 5
	s.deliver(newAppendEntries(6, 4, 5, 1, 6, 6))          // 5 and 6 once more, by one of term 6
	s.expectRole(roleFollower, 6)
	s.sentToPeers = nil
	s.deliver(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.AppendMark{Term: 4, Index: 6}})
	if s.node.log.durableIndex != 1 {
		t.Fatalf("index %d counts as durable: the disk holds entries 2 … of term 4, the log has them of term 5", s.node.log.durableIndex)
	}
	s.deliver(newAppendEntries(6, 4, 5, 1)) // says nothing new, and 4 is not on the disk
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	if s.node.log.durableIndex != 6 {
		t.Fatalf("index %d is durable after all is synced, want 6", s.node.log.durableIndex)
	}
}

func TestLowDiskIsObserved(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.AppendMark{}, DiskLow: true})
	if v := s.nodeViews[len(s.nodeViews)-1]; !v.DiskLow {
		t.Fatal("status does not show that the disk is low")
	}
}

// What the Machine has applied was committed, whatever the log last wrote down.
func TestAppliedIndexIsCommitted(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 2, 2, 3)
	s.deliver(&messages.MachineReady{Incarnation: s.incarnation, Applied: 3})
	if s.node.log.commitIndex != 3 {
		t.Fatalf("commit index %d with 3 applied", s.node.log.commitIndex)
	}
}

func TestFollowerAcknowledgesDurableEntriesOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3, 3))
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	a := onlySent[*messages.AppendResponse](s)
	if !a.Accepted || a.Index != 3 || a.Term != 3 || a.Stream != 5 || a.Sequence != 1 {
		t.Fatalf("answered %v", a)
	}
	if s.sentToPeers[0].to != 2 || s.sentToPeers[0].role != messages.Role_ROLE_REPLICATOR {
		t.Fatalf("answered to %+v, want the replicator of node 2", s.sentToPeers[0])
	}
}

func TestRepeatedAppendWaitsForSync(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	m := newAppendEntries(3, 1, 1, 1, 3)
	s.deliver(m, m)
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	if n := len(sentMessages[*messages.AppendResponse](s)); n != 2 {
		t.Fatalf("%d answers", n)
	}
	s.clearRecorded()
	s.deliver(m) // now it is on disk, so nothing has to be waited for
	if onlySent[*messages.AppendResponse](s); len(s.pendingAppends) != 0 {
		t.Fatal("the disk was bothered with what it has")
	}
}

// Raft §5.3: an existing entry is dropped only if it conflicts. An older append that comes late
// says less, not otherwise.
func TestOldAppendTruncatesNothing(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	old := newAppendEntries(3, 1, 1, 1, 3)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3, 3, 3))
	s.syncAll()
	s.clearRecorded()
	s.deliver(old)
	if s.node.log.lastIndex() != 4 || len(s.pendingAppends) != 0 {
		t.Fatalf("the log ends at %d, the disk was told %v", s.node.log.lastIndex(), s.pendingAppends)
	}
	if a := onlySent[*messages.AppendResponse](s); !a.Accepted || a.Index != 2 {
		t.Fatalf("answered %v", a)
	}
}

// Raft, Figure 7: what the leader of term 8 meets. Its log is 1 1 1 4 4 5 5 6 6 6; it has appended
// an entry of its own.
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
			index := raft.NewLogTerms(0, 0, uint64(len(leader)), newRuns(1, leader))
			next, trips := uint64(len(leader)), 0
			for {
				trips++
				prev, _ := index.Term(next - 1)
				s.clearRecorded()
				s.deliver(newAppendEntries(8, next-1, prev, 1, leader[next-1:]...))
				s.syncAll()
				a := onlySent[*messages.AppendResponse](s)
				if a.Accepted {
					break
				}
				next = index.NextAfterConflict(a.ConflictTerm, a.ConflictIndex)
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

func TestFollowerCommitsMatchingEntriesOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 2, 2, 2)
	s.deliver(newAppendEntries(3, 2, 2, 4)) // agrees up to 2 only, as far as can be told
	if s.node.log.commitIndex != 2 {
		t.Fatalf("commit index %d, want 2: entries 3 and 4 may be another leader's", s.node.log.commitIndex)
	}
}

func TestE11AppliesCommittedDurableEntriesOnly(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.Pull{Incarnation: 1, From: 2, MaxBytes: 1 << 20})
	s.deliver(newAppendEntries(3, 1, 1, 3, 3, 3, 3))
	if len(s.sentToMachine) != 0 {
		t.Fatal("entries that are on no disk of ours were given to the Machine")
	}
	s.syncAll()
	if len(s.sentToMachine) != 1 || raft.EntriesLast(s.sentToMachine[0].Entries) != 3 {
		t.Fatalf("fed %v, want entries 2 and 3: 4 is not committed", s.sentToMachine)
	}
}

// A leader of an earlier term may replace entries that a later one has committed, on a node that
// knows of neither. So what a node learns to be committed in a term is applied when its disk knows
// of that term.
func TestE11AppliesAfterTermIsDurable(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(&messages.Pull{Incarnation: 1, From: 2, MaxBytes: 1 << 20})
	s.deliver(newAppendEntries(5, 2, 3, 2, 5))
	if len(s.sentToMachine) != 0 {
		t.Fatalf("the Machine was given %v; after a crash a leader of term 4 could replace it", s.sentToMachine)
	}
	s.syncOldest()
	if len(s.sentToMachine) != 1 || raft.EntriesLast(s.sentToMachine[0].Entries) != 2 && s.sentToMachine[0].OnDiskThrough != 2 {
		t.Fatalf("fed %v when the term is on the disk, want entry 2", s.sentToMachine)
	}
}

func TestE11StateMachineAheadOfLogStopsNode(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(&messages.MachineReady{Incarnation: 1, Applied: 2})
	if len(s.Failures) != 1 {
		t.Fatal("the node goes on with a log that lacks what was applied")
	}
}

func TestE12TruncationLowersDurableIndex(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 2, 2, 2)
	s.deliver(newAppendEntries(3, 1, 1, 1, 3))
	if s.node.log.durableIndex != 1 {
		t.Fatalf("index %d counts as durable", s.node.log.durableIndex)
	}
	if a := s.pendingAppends[len(s.pendingAppends)-1]; a.TruncateFrom != 2 || len(a.Deferred) != 1 || a.Deferred[0].CoversThrough != 2 {
		t.Fatalf("the LogStore was told %v", a)
	}
}

func TestE17StaleLeaderLearnsTheTerm(t *testing.T) {
	s := newFixture(t, 3).asFollower(5, 3, 1, 1)
	s.deliver(newAppendEntries(4, 1, 1, 1, 4), &messages.Heartbeat{Term: 4, Leader: 2, Commit: 1})
	if a := onlySent[*messages.AppendResponse](s); a.Accepted || a.Term != 5 {
		t.Fatalf("answered %v", a)
	}
	if a := onlySent[*messages.HeartbeatResponse](s); a.Term != 5 {
		t.Fatalf("answered %v", a)
	}
	if s.node.contact.leader != 3 || s.node.log.lastIndex() != 1 {
		t.Fatal("it was followed")
	}
}

func TestE30E31ConfigurationFollowsItsEntry(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	bytes := raft.EncodeConfiguration(newConfiguration(4))
	m := newAppendEntries(3, 1, 1, 1, 3)
	m.Entries.Data[0], m.Entries.Bytes = bytes, uint64(len(bytes))
	s.deliver(m)
	if len(s.members) != 4 || !s.node.quorum.Contains(4) {
		t.Fatal("a configuration that is appended is not in effect")
	}
	s.deliver(&messages.AppendEntries{Term: 4, Leader: 3, PrevIndex: 1, PrevTerm: 1, Commit: 1, Entries: newEntries(2, 4)})
	if len(s.members) != 3 || s.node.quorum.Contains(4) {
		t.Fatal("the configuration outlives its entry")
	}
}

func TestE31TruncatedLearnerCampaignsAgain(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	learner := newConfiguration(3)
	learner.Members[0].Learner = true
	bytes := raft.EncodeConfiguration(learner)
	m := newAppendEntries(3, 1, 1, 1, 3)
	m.Entries.Data[0], m.Entries.Bytes = bytes, uint64(len(bytes))
	s.deliver(m)
	s.syncAll()
	s.clearRecorded()
	s.Advance(5 * electionTimeout)
	noneSent[*messages.RequestVote](s) // E23
	s.expectRole(roleFollower, 3)
	s.deliver(&messages.AppendEntries{Term: 4, Leader: 3, PrevIndex: 1, PrevTerm: 1, Commit: 1, Entries: newEntries(2, 4)})
	s.Advance(3 * electionTimeout)
	if len(sentMessages[*messages.RequestVote](s)) == 0 {
		t.Fatal("a voter that does not campaign")
	}
}

func TestCommitOnlyHeartbeatHasNoResponse(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(&messages.Heartbeat{Term: 3, Leader: 2, Commit: 2, CommitOnly: true})
	noneSent[*messages.HeartbeatResponse](s)
	if s.node.log.commitIndex != 2 {
		t.Fatalf("commit index %d", s.node.log.commitIndex)
	}
}

func TestMalformedAppendIsDropped(t *testing.T) {
	for name, damage := range map[string]func(*messages.AppendEntries){
		"a gap before the entries": func(m *messages.AppendEntries) { m.Entries = newEntries(7, 3) },
		"no terms":                 func(m *messages.AppendEntries) { m.Entries.Runs = nil },
		"no entry":                 func(m *messages.AppendEntries) { m.Entries.Data[0] = []byte{99} },
		"a lie about bytes":        func(m *messages.AppendEntries) { m.Entries.Bytes++ },
	} {
		s := newFixture(t, 3).asFollower(3, 2, 1, 1)
		m := newAppendEntries(3, 1, 1, 1, 3)
		damage(m)
		s.deliver(m)
		if s.expectRole(roleFollower, 3); s.node.log.lastIndex() != 1 || len(s.sentToPeers) > 0 {
			t.Errorf("%s: the log ends at %d, said %v", name, s.node.log.lastIndex(), s.sentToPeers)
		}
	}
}

func TestStaleIncarnationIsDropped(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.crashNode()
	s.asFollower(3, 2, 1, 1)
	s.deliver(&messages.Durable{Incarnation: 1, Mark: &messages.AppendMark{Term: 3, Index: 9}}, &messages.Pull{Incarnation: 1, From: 1})
	if s.expectRole(roleFollower, 3); s.node.log.durableIndex != 1 || s.node.pendingPull != nil {
		t.Fatal("the former life's messages were taken for this one's")
	}
}

// What is acknowledged in a term holds in that term only if the term is on the disk too: a node
// that came back in an earlier one would let that one's leader replace the entries, and this leader
// counts on them.
func TestE1AcknowledgementWaitsForDurableTerm(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1, 3)
	s.deliver(newAppendEntries(5, 2, 3, 1)) // the probe of a new leader: no entry that is not here
	noneSent[*messages.AppendResponse](s)
	s.crashNode()
	s.deliverRecovered(3, 0, 1, 1, 3) // nothing of the new term was on the disk
	s.deliver(newAppendEntries(4, 1, 1, 1, 4))
	s.expectRole(roleFollower, 4)
	s.syncAll()
	s.sentToPeers = nil
	s.deliver(newAppendEntries(5, 2, 4, 1))
	noneSent[*messages.AppendResponse](s)
	s.syncAll()
	if a := onlySent[*messages.AppendResponse](s); !a.Accepted || a.Term != 5 || a.Index != 2 {
		t.Fatalf("answered %v", a)
	}
	s.clearRecorded()
	s.deliver(newAppendEntries(5, 2, 4, 1))
	if onlySent[*messages.AppendResponse](s); len(s.pendingAppends) != 0 {
		t.Fatal("the disk was bothered with what it has")
	}
}

// What a leader can never say is dropped before it breaks anything: a node that panics at each
// repetition would soon stop.
func TestAnAppendThatNoLeaderCanHaveSentIsDropped(t *testing.T) {
	s := newFixture(t, 3).asFollower(5, 2, 1, 1, 3)
	gap := newAppendEntries(5, 2, 3, 1, 5)
	gap.Entries = newEntries(4, 5)
	for what, m := range map[string]*messages.AppendEntries{
		"an entry of a term above the leader's":   newAppendEntries(5, 2, 3, 1, 5, 6),
		"an entry of a term below the one before": newAppendEntries(5, 2, 3, 1, 2),
		"entries that begin after a gap":          gap,
	} {
		s.deliver(m)
		s.expectRole(roleFollower, 5)
		if noneSent[*messages.AppendResponse](s); s.node.log.lastIndex() != 2 || len(s.pendingAppends) != 0 {
			t.Errorf("%s: the log ends at %d, the LogStore was told %v", what, s.node.log.lastIndex(), s.pendingAppends)
		}
	}
}
