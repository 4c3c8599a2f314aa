package node

import (
	"testing"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func TestAFollowerAcknowledgesOnlyWhatItsDiskHas(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(appendOf(3, 1, 1, 1, 3, 3))
	none[*messages.AppendAnswer](s)
	s.sync()
	a := only[*messages.AppendAnswer](s)
	if !a.Accepted || a.Index != 3 || a.Term != 3 || a.Stream != 5 || a.Sequence != 1 {
		t.Fatalf("answered %v", a)
	}
	if s.said[0].to != 2 || s.said[0].role != messages.Role_ROLE_REPLICATOR {
		t.Fatalf("answered to %+v, want the replicator of node 2", s.said[0])
	}
}

func TestARepeatedAppendWaitsForTheSameSync(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	m := appendOf(3, 1, 1, 1, 3)
	s.hears(m, m)
	none[*messages.AppendAnswer](s)
	s.sync()
	if n := len(the[*messages.AppendAnswer](s)); n != 2 {
		t.Fatalf("%d answers", n)
	}
	s.forget()
	s.hears(m) // now it is on disk, so nothing has to be waited for
	if only[*messages.AppendAnswer](s); len(s.appends) != 0 {
		t.Fatal("the disk was bothered with what it has")
	}
}

// Raft §5.3: an existing entry is dropped only if it conflicts. An older append that comes late says less, not otherwise.
func TestReorderedAppendAnOldOneTruncatesNothing(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	old := appendOf(3, 1, 1, 1, 3)
	s.hears(appendOf(3, 1, 1, 1, 3, 3, 3))
	s.sync()
	s.forget()
	s.hears(old)
	if s.node.log.Last() != 4 || len(s.appends) != 0 {
		t.Fatalf("the log ends at %d, the disk was told %v", s.node.log.Last(), s.appends)
	}
	if a := only[*messages.AppendAnswer](s); !a.Accepted || a.Index != 2 {
		t.Fatalf("answered %v", a)
	}
}

// Raft, Figure 7: what the leader of term 8 meets. Its log is 1 1 1 4 4 5 5 6 6 6; it has appended an entry of its own.
func TestFigure7EachFollowerEndsWithTheLeadersLog(t *testing.T) {
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
			s := newStage(t, 3).settled(7, 3, 1, f...)
			index := raft.NewLogIndex(0, 0, uint64(len(leader)), runsOf(1, leader))
			next, trips := uint64(len(leader)), 0
			for {
				trips++
				prev, _ := index.Term(next - 1)
				s.forget()
				s.hears(appendOf(8, next-1, prev, 1, leader[next-1:]...))
				s.sync()
				a := only[*messages.AppendAnswer](s)
				if a.Accepted {
					break
				}
				next = index.NextAfterConflict(a.ConflictTerm, a.ConflictIndex)
			}
			for i, want := range leader {
				if got, ok := s.node.log.Term(uint64(i + 1)); !ok || got != want {
					t.Fatalf("entry %d is of term %d, want %d", i+1, got, want)
				}
			}
			if s.node.log.Last() != uint64(len(leader)) || trips > 4 {
				t.Fatalf("the log ends at %d after %d round trips", s.node.log.Last(), trips)
			}
		})
	}
}

func TestAFollowerCommitsNothingThatItDoesNotShareWithTheLeader(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1, 2, 2, 2)
	s.hears(appendOf(3, 2, 2, 4)) // agrees up to 2 only, as far as can be told
	if s.node.commit != 2 {
		t.Fatalf("commit index %d, want 2: entries 3 and 4 may be another leader's", s.node.commit)
	}
}

func TestE11NothingIsAppliedBeforeItIsCommittedAndOnTheOwnDisk(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.Pull{Incarnation: 1, From: 2, MaxBytes: 1 << 20})
	s.hears(appendOf(3, 1, 1, 3, 3, 3, 3))
	if len(s.fed) != 0 {
		t.Fatal("entries that are on no disk of ours were given to the Machine")
	}
	s.sync()
	if len(s.fed) != 1 || raft.EntriesLast(s.fed[0].Entries) != 3 {
		t.Fatalf("fed %v, want entries 2 and 3: 4 is not committed", s.fed)
	}
}

// A leader of an earlier term may replace entries that a later one has committed, on a node that knows of neither. So what
// a node learns to be committed in a term is applied when its disk knows of that term.
func TestE11NothingIsAppliedBeforeTheTermInWhichItsCommitIsKnownIsOnTheOwnDisk(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1, 3)
	s.hears(&messages.Pull{Incarnation: 1, From: 2, MaxBytes: 1 << 20})
	s.hears(appendOf(5, 2, 3, 2, 5))
	if len(s.fed) != 0 {
		t.Fatalf("the Machine was given %v; after a crash a leader of term 4 could replace it", s.fed)
	}
	s.syncOne()
	if len(s.fed) != 1 || raft.EntriesLast(s.fed[0].Entries) != 2 && s.fed[0].ColdTo != 2 {
		t.Fatalf("fed %v when the term is on the disk, want entry 2", s.fed)
	}
}

func TestE11AStateMachineAheadOfTheLogStopsTheNode(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.MachineReady{Incarnation: 1, Applied: 2})
	if len(s.Failures) != 1 {
		t.Fatal("the node goes on with a log that lacks what was applied")
	}
}

func TestE12ATruncationLowersWhatIsDurableAtOnce(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1, 2, 2, 2)
	s.hears(appendOf(3, 1, 1, 1, 3))
	if s.node.durable != 1 {
		t.Fatalf("index %d counts as durable", s.node.durable)
	}
	if a := s.appends[len(s.appends)-1]; a.TruncateFrom != 2 || len(a.Then) != 1 || a.Then[0].HoldsThrough != 2 {
		t.Fatalf("the LogStore was told %v", a)
	}
}

func TestE17AppendsAndHeartbeatsOfAnEarlierTermAreAnsweredWithOurs(t *testing.T) {
	s := newStage(t, 3).settled(5, 3, 1, 1)
	s.hears(appendOf(4, 1, 1, 1, 4), &messages.Heartbeat{Term: 4, Leader: 2, Commit: 1})
	if a := only[*messages.AppendAnswer](s); a.Accepted || a.Term != 5 {
		t.Fatalf("answered %v", a)
	}
	if a := only[*messages.HeartbeatAnswer](s); a.Term != 5 {
		t.Fatalf("answered %v", a)
	}
	if s.node.leader != 3 || s.node.log.Last() != 1 {
		t.Fatal("it was followed")
	}
}

func TestE30AConfigurationIsInEffectWhenAppendedAndE31NotWhenTruncated(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	bytes := raft.EncodeConfiguration(configurationOf(4))
	m := appendOf(3, 1, 1, 1, 3)
	m.Entries.Data[0], m.Entries.Bytes = bytes, uint64(len(bytes))
	s.hears(m)
	if len(s.members) != 4 || !s.node.quorum.Contains(4) {
		t.Fatal("a configuration that is appended is not in effect")
	}
	s.hears(&messages.AppendEntries{Term: 4, Leader: 3, PrevIndex: 1, PrevTerm: 1, Commit: 1, Entries: entriesOf(2, 4)})
	if len(s.members) != 3 || s.node.quorum.Contains(4) {
		t.Fatal("the configuration outlives its entry")
	}
}

func TestE31ANodeThatWasMadeALearnerByARolledBackEntryCampaignsAgain(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	learner := configurationOf(3)
	learner.Members[0].Learner = true
	bytes := raft.EncodeConfiguration(learner)
	m := appendOf(3, 1, 1, 1, 3)
	m.Entries.Data[0], m.Entries.Bytes = bytes, uint64(len(bytes))
	s.hears(m)
	s.sync()
	s.forget()
	s.Pass(5 * election)
	none[*messages.RequestVote](s) // E23
	s.is(roleFollower, 3)
	s.hears(&messages.AppendEntries{Term: 4, Leader: 3, PrevIndex: 1, PrevTerm: 1, Commit: 1, Entries: entriesOf(2, 4)})
	s.Pass(3 * election)
	if len(the[*messages.RequestVote](s)) == 0 {
		t.Fatal("a voter that does not campaign")
	}
}

func TestCommitNoticeANoticeIsObeyedAndNotAnswered(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1, 3)
	s.hears(&messages.Heartbeat{Term: 3, Leader: 2, Commit: 2, Notice: true})
	none[*messages.HeartbeatAnswer](s)
	if s.node.commit != 2 {
		t.Fatalf("commit index %d", s.node.commit)
	}
}

func TestABrokenAppendIsDroppedWhole(t *testing.T) {
	for name, damage := range map[string]func(*messages.AppendEntries){
		"a gap before the entries": func(m *messages.AppendEntries) { m.Entries = entriesOf(7, 3) },
		"no terms":                 func(m *messages.AppendEntries) { m.Entries.Runs = nil },
		"no entry":                 func(m *messages.AppendEntries) { m.Entries.Data[0] = []byte{99} },
		"a lie about bytes":        func(m *messages.AppendEntries) { m.Entries.Bytes++ },
	} {
		s := newStage(t, 3).settled(3, 2, 1, 1)
		m := appendOf(3, 1, 1, 1, 3)
		damage(m)
		s.hears(m)
		if s.is(roleFollower, 3); s.node.log.Last() != 1 || len(s.said) > 0 {
			t.Errorf("%s: the log ends at %d, said %v", name, s.node.log.Last(), s.said)
		}
	}
}

func TestStaleMessagesOfAnEarlierLifeAreDropped(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.crash()
	s.settled(3, 2, 1, 1)
	s.hears(&messages.Durable{Incarnation: 1, Mark: &messages.Mark{Term: 3, Index: 9}}, &messages.Pull{Incarnation: 1, From: 1})
	if s.is(roleFollower, 3); s.node.durable != 1 || s.node.pull != nil {
		t.Fatal("the former life's messages were taken for this one's")
	}
}

// What is acknowledged in a term holds in that term only if the term is on the disk too: a node that came back in an
// earlier one would let that one's leader replace the entries, and this leader counts on them.
func TestE1AnAcknowledgementWaitsForItsTermEvenIfItsEntriesAreOnDisk(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1, 3)
	s.hears(appendOf(5, 2, 3, 1)) // the probe of a new leader: no entry that is not here
	none[*messages.AppendAnswer](s)
	s.crash()
	s.recovered(3, 0, 1, 1, 3) // nothing of the new term was on the disk
	s.hears(appendOf(4, 1, 1, 1, 4))
	s.is(roleFollower, 4)
	s.sync()
	s.said = nil
	s.hears(appendOf(5, 2, 4, 1))
	none[*messages.AppendAnswer](s)
	s.sync()
	if a := only[*messages.AppendAnswer](s); !a.Accepted || a.Term != 5 || a.Index != 2 {
		t.Fatalf("answered %v", a)
	}
	s.forget()
	s.hears(appendOf(5, 2, 4, 1))
	if only[*messages.AppendAnswer](s); len(s.appends) != 0 {
		t.Fatal("the disk was bothered with what it has")
	}
}

// What a leader can never say is dropped before it breaks anything: a node that panics at each repetition would soon stop.
func TestAnAppendThatNoLeaderCanHaveSentIsDropped(t *testing.T) {
	s := newStage(t, 3).settled(5, 2, 1, 1, 3)
	gap := appendOf(5, 2, 3, 1, 5)
	gap.Entries = entriesOf(4, 5)
	for what, m := range map[string]*messages.AppendEntries{
		"an entry of a term above the leader's":   appendOf(5, 2, 3, 1, 5, 6),
		"an entry of a term below the one before": appendOf(5, 2, 3, 1, 2),
		"entries that begin after a gap":          gap,
	} {
		s.hears(m)
		s.is(roleFollower, 5)
		if none[*messages.AppendAnswer](s); s.node.log.Last() != 2 || len(s.appends) != 0 {
			t.Errorf("%s: the log ends at %d, the LogStore was told %v", what, s.node.log.Last(), s.appends)
		}
	}
}
