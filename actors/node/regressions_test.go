package node

import (
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// The campaign's timer fired for the second asking; what is set anew then must run, or nobody would campaign any more.
func TestAPreCandidateThatAsksAgainStillHasATimer(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.LinkDown{Peer: 2})
	s.Pass(fastDelay)
	s.is(rolePreCandidate, 3)
	s.hears(&messages.VoteAnswer{Term: 3, Voter: 3, PreVote: true, Sticky: true})
	s.forget()
	s.Pass(stickyRetryMax)
	if len(the[*messages.RequestVote](s)) == 0 {
		t.Fatal("the sticky voter was not asked again")
	}
	s.forget()
	s.Pass(4 * election) // nobody answers
	if s.armed() == 0 || len(the[*messages.RequestVote](s)) == 0 {
		t.Fatalf("%d timers run and %d requests were made: the campaign is stuck", s.armed(), len(the[*messages.RequestVote](s)))
	}
}

func TestALeaderElectedAfterASecondAskingBeats(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.LinkDown{Peer: 2})
	s.Pass(fastDelay)
	s.hears(&messages.VoteAnswer{Term: 3, Voter: 3, PreVote: true, Sticky: true})
	s.Pass(stickyRetryMax)
	s.dice = func(n int64) int64 { return 0 }
	s.hears(&messages.VoteAnswer{Term: 4, Voter: 3, PreVote: true, Granted: true})
	s.sync()
	s.hears(&messages.VoteAnswer{Term: 4, Voter: 3, Granted: true})
	s.is(roleLeader, 4)
	s.forget()
	s.Pass(heartbeat + 10*time.Millisecond)
	if len(the[*messages.Heartbeat](s)) == 0 {
		t.Fatal("a leader without heartbeats")
	}
}

// The disk is slow: three Appends are under way to it, and the log was truncated twice meanwhile. What the oldest put on
// disk is worth only what neither truncation took away.
func TestE12AnAcknowledgementFromBeforeTwoTruncationsCountsForNeither(t *testing.T) {
	s := newStage(t, 3).settled(4, 2, 1, 1)
	s.hears(appendOf(4, 1, 1, 1, 4, 4, 4, 4, 4)) // 2 … 6 of term 4
	s.hears(appendOf(5, 1, 1, 1, 5, 5, 5, 5, 5)) // replaced by a leader of term 5
	s.hears(appendOf(6, 4, 5, 1, 6, 6))          // 5 and 6 once more, by one of term 6
	s.is(roleFollower, 6)
	s.said = nil
	s.hears(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.Mark{Term: 4, Index: 6}})
	if s.node.durable != 1 {
		t.Fatalf("index %d counts as durable: the disk holds entries 2 … of term 4, the log has them of term 5", s.node.durable)
	}
	s.hears(appendOf(6, 4, 5, 1)) // says nothing new, and 4 is not on the disk
	none[*messages.AppendAnswer](s)
	s.sync()
	if s.node.durable != 6 {
		t.Fatalf("index %d is durable after all is synced, want 6", s.node.durable)
	}
}

// The Machine may say at once that it serves; the handle must have heard by then that a new life began.
func TestTheHandleHearsOfANewLifeBeforeItsMachineIsMade(t *testing.T) {
	s := newStage(t, 3).recovered(3, 0, 1, 1)
	for _, what := range s.spawned {
		if what == "machine after 0 of the handle" {
			t.Fatal("the Machine was made before the handle heard LeaderChanged of this incarnation: its Serving would be dropped")
		}
	}
}

func TestE19AReplicatorThatGivesUpIsNoSignOfItsPeer(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.sync()
	s.hears(s.progress(2, 2), s.progress(3, 2))
	for range 9 {
		s.Pass(heartbeat)
		s.hears(s.progress(2, 2), s.progress(3, 2)) // "back to probing": nothing was heard of the peers
	}
	s.Pass(2 * heartbeat)
	s.is(roleFollower, 4)
}

// Entries that no follower would take must not get into the log: nothing behind them could be replicated.
func TestProgressOfAnEarlierLeadershipMovesNothing(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.sync()
	commit := s.node.commit
	late := s.progress(2, s.node.log.Last())
	late.Term--
	s.hears(late)
	if p := s.node.lead.peer(2); p.match != 0 || s.node.commit != commit {
		t.Fatalf("match %d, commit index %d of a log that peer 2 is not known to have", p.match, s.node.commit)
	}
	late.Term++
	if s.hears(late); s.node.commit == commit {
		t.Fatal("the same of this leadership commits nothing either")
	}
}

// Its slots are in messages that are under way, to the Machine and to replicators.
func TestWhatMemoryHandedOutIsNotWrittenOverAfterATruncation(t *testing.T) {
	m, log := newMemoryLog(0), raft.NewLogIndex(0, 0, 0, nil)
	take := func(first, term uint64, data ...string) {
		e := &messages.Entries{First: first, Runs: []*messages.TermRun{{FirstIndex: first, Term: term}}}
		for _, d := range data {
			e.Data, e.Bytes = append(e.Data, []byte(d)), e.Bytes+uint64(len(d))
		}
		log.Append(e)
		m.append(e)
	}
	take(1, 1, "a", "b", "c", "d")
	handed := m.slice(log, 1, 4, 100)
	log.Truncate(3)
	m.truncate(3)
	take(3, 2, "x", "y")
	if string(handed.Data[2]) != "c" || string(handed.Data[3]) != "d" {
		t.Fatalf("handed out: %q", handed.Data)
	}
	if now := m.slice(log, 3, 4, 100); string(now.Data[0]) != "x" || string(now.Data[1]) != "y" {
		t.Fatalf("held: %q", now.Data)
	}
}

func TestMalformedForwardedProposalsAreNotAppended(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	last := s.node.log.Last()
	s.hears(&messages.ForwardedProposals{From: 2, Term: 4, Data: [][]byte{{1, 0xff}}})
	if s.node.log.Last() != last {
		t.Fatal("a malformed entry was appended")
	}
}

// A leader that is killed under load leaves messages behind it: they arrive after the news that its link broke, and prove
// nothing.
func TestWhatALeaderSaidBeforeItsLinkBrokeDoesNotCallTheCampaignOff(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.dice = func(n int64) int64 { return n / 2 }
	s.hears(&messages.LinkDown{Peer: 2}, appendOf(3, 1, 1, 1, 3))
	s.Pass(fastDelay)
	s.is(rolePreCandidate, 3)
	s.hears(&messages.Heartbeat{Term: 3, Leader: 2}) // the very last word
	s.is(roleFollower, 3)
	s.forget()
	s.Pass(5 * heartbeat)
	if len(the[*messages.RequestVote](s)) == 0 {
		t.Fatal("a straggler of a leader whose link is down bought it a whole election timeout")
	}
}

func TestALinkThatWorksOneWayKeepsItsLeaderAfterOneFalseAlarm(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.dice = func(n int64) int64 { return n / 2 }
	s.hears(&messages.LinkDown{Peer: 2})
	for range 30 {
		s.Pass(heartbeat)
		s.hears(&messages.Heartbeat{Term: 3, Leader: 2})
	}
	s.is(roleFollower, 3)
	if n := len(the[*messages.RequestVote](s)); n != 2 {
		t.Fatalf("%d requests for pre-votes in three seconds, want one round of 2", n)
	}
}

func TestADiskThatRunsLowShowsInTheView(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1)
	s.hears(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.Mark{}, DiskLow: true})
	if v := s.views[len(s.views)-1]; !v.DiskLow {
		t.Fatal("status does not show that the disk is low")
	}
}

// What the Machine has applied was committed, whatever the log last wrote down.
func TestWhatIsAppliedIsCommitted(t *testing.T) {
	s := newStage(t, 3).settled(3, 2, 1, 1, 2, 2, 3)
	s.hears(&messages.MachineReady{Incarnation: s.incarnation, Applied: 3})
	if s.node.commit != 3 {
		t.Fatalf("commit index %d with 3 applied", s.node.commit)
	}
}

func TestAnOldRefusalDoesNotTakeAPreVoteBack(t *testing.T) {
	s := newStage(t, 5).settled(3, 2, 1, 1)
	s.hears(&messages.Campaign{})
	s.hears(&messages.VoteAnswer{Term: 4, Voter: 3, PreVote: true, Granted: true})
	s.hears(&messages.VoteAnswer{Term: 3, Voter: 3, PreVote: true, Sticky: true})
	s.hears(&messages.VoteAnswer{Term: 4, Voter: 4, PreVote: true, Granted: true})
	s.is(roleCandidate, 4)
}

// Proposals that were collected before a transfer go into the log first: appended after TimeoutNow, they would reach
// other voters and make the target's log the shorter one.
func TestE20NothingIsAppendedBetweenTheTargetsLastEntryAndItsCampaign(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.sync()
	s.hears(s.progress(2, 2), s.progress(3, 2))
	s.forget()
	s.hears(&messages.Propose{Data: proposalOf(1, 10)}, &messages.TransferLeadership{Target: 2})
	none[*messages.TimeoutNow](s)
	s.hears(s.progress(2, 3))
	only[*messages.TimeoutNow](s)
	if s.node.log.Last() != 3 {
		t.Fatalf("the log ends at %d", s.node.log.Last())
	}
}

func TestE8ALeaderWhoseDiskIsLowHandsOverToOneWhoseIsNot(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.sync()
	s.hears(s.progress(2, 2), s.progress(3, 2))
	s.Pass(noticeDelay)
	s.hears(&messages.Durable{Incarnation: s.incarnation, Mark: &messages.Mark{Term: 4, Index: 2}, DiskLow: true})
	s.hears(&messages.HeartbeatAnswer{Term: 4, From: 2, DiskLow: true}, &messages.HeartbeatAnswer{Term: 4, From: 3})
	s.said = nil
	s.Pass(heartbeat)
	if m := only[*messages.TimeoutNow](s); m.Term != 4 || s.said[0].to != 3 {
		t.Fatalf("said %v", s.said)
	}
}

// A network makes a copy of a forwarded proposal. The leader has room for it when the first arrives and not when the second
// does, or the other way round: the handle was told that the command has no effect, and it had (tests/sim, profile
// everything, seed 1522 with a leader that takes few bytes).
func TestACopyOfForwardedProposalsIsNeitherTakenNorRefused(t *testing.T) {
	s := newStage(t, 3)
	s.config.Limits.MaxUncommittedBytes = 60
	s.crash()
	s.leads(3, 1)
	s.sync()
	s.hears(s.progress(2, s.node.log.Last()))
	s.forget()
	forward := func(number, sequence uint64) *messages.ForwardedProposals {
		return &messages.ForwardedProposals{
			From: 2, Term: s.node.term, Data: [][]byte{proposalOf(sequence, 40)}, Stream: 7, Number: number,
		}
	}
	refused := func() int { return len(the[*messages.ProposalsRefused](s)) }

	last := s.node.log.Last()
	s.hears(forward(1, 1), forward(1, 1))
	s.sync()
	if s.node.log.Last() != last+1 || refused() != 0 {
		t.Fatalf("a command and its copy: %d entries, %d refusals", s.node.log.Last()-last, refused())
	}
	s.hears(forward(2, 2))
	s.sync()
	if s.node.log.Last() != last+1 || refused() != 1 {
		t.Fatalf("a command above the limit: %d entries, %d refusals", s.node.log.Last()-last, refused())
	}
	s.hears(s.progress(2, last+1)) // there is room again
	s.hears(forward(2, 2))
	s.sync()
	if s.node.log.Last() != last+1 {
		t.Fatal("a copy of what was refused is in the log")
	}
	s.hears(forward(3, 3))
	s.sync()
	if s.node.log.Last() != last+2 {
		t.Fatal("the next command is not")
	}
	old := forward(4, 4)
	old.Term--
	s.forget()
	s.hears(old)
	s.sync()
	if m := only[*messages.ProposalsRefused](s); s.node.log.Last() != last+2 || m.Reason != messages.Refusal_REFUSAL_NO_LEADER {
		t.Fatalf("of an earlier term: %v", m)
	}
}

// A transfer does at once what the Flush under way would do. That one still comes, so that until then no second is sent.
func TestE45ATransferLeavesTheFlushUnderWay(t *testing.T) {
	s := newStage(t, 3).leads(3, 1)
	s.node.wantFlush()
	s.node.flush()
	if !s.node.flushing {
		t.Fatal("a Flush is under way, and the node would send a second")
	}
}
