package node

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// forwardedNumbers returns the numbers of the batches that were forwarded since clearRecorded.
func (s *fixture) forwardedNumbers() (numbers []uint64) {
	for _, m := range sentMessages[*messages.ForwardedProposals](s) {
		numbers = append(numbers, m.Number)
	}
	s.clearRecorded()
	return numbers
}

func (s *fixture) expectForwarded(why string, numbers ...uint64) {
	s.t.Helper()
	if got := s.forwardedNumbers(); !slices.Equal(got, numbers) {
		s.t.Errorf("%s: forwarded %v, want %v", why, got, numbers)
	}
}

// taken returns a heartbeat of leader 2 in term 3, which has received batches up to highest and
// taken those of the bits.
func (s *fixture) taken(highest, bits uint64) *messages.Heartbeat {
	return &messages.Heartbeat{
		Term: 3, Leader: 2, ForwardedStream: s.node.forwards.stream, ForwardedHighest: highest, ForwardedTaken: bits,
	}
}

// The network loses forwarded batches, and no link breaks. Each is sent again under its number
// until it is known to be decided, and then never again.
func TestLostForwardIsSentAgain(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	for sequence := range uint64(3) {
		s.deliver(propose(sequence+1, 10))
	}
	s.expectForwarded("at first", 1, 2, 3)
	s.deliver(s.taken(3, 0b101))
	s.Advance(electionTimeout - 1)
	s.deliver(s.taken(3, 0b101))
	s.expectForwarded("within the election timeout")
	s.Advance(1)
	s.deliver(s.taken(3, 0b101))
	s.expectForwarded("after an election timeout", 2)
	s.Advance(electionTimeout)
	s.deliver(s.taken(3, 0b101))
	s.expectForwarded("again only after twice the time")
	s.deliver(&messages.LinkUp{Peer: 2})
	s.expectForwarded("when the link to the leader is up", 2)
	refused := &messages.ProposalsRefused{
		From: 2, SessionIds: []uint64{9}, Sequences: []uint64{2}, Reason: messages.Refusal_REFUSAL_OVERLOADED,
		Stream: s.node.forwards.stream, Number: 2, Term: 3,
	}
	s.deliver(refused, refused)
	if n := len(sessionMessages[*messages.ProposalsRefused](s)); n != 1 {
		t.Errorf("the Session received %d refusals", n)
	}
	s.Advance(20 * electionTimeout)
	s.deliver(s.taken(3, 0b101), &messages.LinkUp{Peer: 2})
	s.expectForwarded("after the refusal")
}

// A new term forgets what was forwarded and collected: the Session sends it again. Sent from here
// as well, it would be a second copy.
func TestNewTermForgetsForwards(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(propose(1, 10))
	stale := propose(2, 10)
	stale.Incarnation, stale.Term = s.incarnation, 3
	s.clearRecorded()
	collected := propose(3, 10)
	s.deliver(collected, &messages.Heartbeat{Term: 4, Leader: 3}, stale)
	s.Advance(9 * electionTimeout / 10)
	s.deliver(&messages.Heartbeat{Term: 4, Leader: 3}, &messages.LinkUp{Peer: 3})
	s.Advance(9 * electionTimeout / 10)
	s.deliver(&messages.Heartbeat{Term: 4, Leader: 3})
	s.expectForwarded("in the next term")
}

// The leader remembers the last 64 numbers of a stream, so no more may be undecided; what is
// proposed meanwhile waits, and is forwarded in larger batches.
func TestUndecidedForwardsAreBounded(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	const proposed = 3 * raft.ForwardWindow
	for sequence := range uint64(proposed) {
		s.deliver(propose(sequence+1, 10))
	}
	if got := s.forwardedNumbers(); len(got) != raft.ForwardWindow {
		t.Fatalf("%d batches are undecided", len(got))
	}
	s.deliver(s.taken(raft.ForwardWindow, ^uint64(0)>>1)) // all but the first
	s.expectForwarded("while the oldest is undecided")
	s.deliver(s.taken(raft.ForwardWindow, ^uint64(0)))
	m := onlySent[*messages.ForwardedProposals](s)
	if m.Number != raft.ForwardWindow+1 || len(m.Data) != proposed-raft.ForwardWindow {
		t.Errorf("batch %d of %d proposals", m.Number, len(m.Data))
	}
}

// A leader reports to each peer the batches that it has taken, and repeats a refusal that was lost.
func TestLeaderReportsTakenForwards(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MaxUncommittedBytes = 60 }).asIdleLeader(2)
	s.clearRecorded()
	forward := func(number uint64) *messages.ForwardedProposals {
		return &messages.ForwardedProposals{From: 2, Term: s.node.term, Data: [][]byte{newProposal(number, 40)}, Stream: 7, Number: number}
	}
	s.deliver(forward(1), forward(3), forward(4))
	s.advanceHeartbeats(1, 2, 3)
	for _, x := range s.sentToPeers {
		m, ok := x.message.(*messages.Heartbeat)
		if !ok {
			continue
		}
		if x.to == 2 && (m.ForwardedStream != 7 || m.ForwardedHighest != 4 || m.ForwardedTaken != 0b1000) {
			t.Errorf("to member 2: %v", m)
		}
		if x.to == 3 && m.ForwardedStream != 0 {
			t.Errorf("to member 3: %v", m)
		}
	}
	s.clearRecorded()
	s.deliver(forward(3))
	if m := onlySent[*messages.ProposalsRefused](s); m.Number != 3 || m.Stream != 7 || m.Term != s.node.term {
		t.Errorf("refused again: %v", m)
	}
}

// A new leader receives again what was pending at the former one. What its log has is not appended
// again, whoever sends it; nor is what waits to be appended.
func TestKnownCommandIsNotAppendedAgain(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 3)
	append3 := &messages.AppendEntries{Term: 3, Leader: 2, PrevIndex: 1, PrevTerm: 3, Entries: &messages.Entries{
		First: 2, Runs: []*messages.TermRun{{FirstIndex: 2, Term: 3}}, Data: [][]byte{newProposal(1, 10), newProposal(2, 10)},
	}}
	append3.Entries.Bytes = totalBytes(append3.Entries.Data)
	s.deliver(append3)
	s.syncAll()
	s.deliver(&messages.TimeoutNow{Term: 3, Leader: 2})
	s.syncAll()
	s.deliver(voteGrant(4, 3))
	s.expectRole(roleLeader, 4)
	last := s.node.log.lastIndex()
	expectAppended := func(why string, entries uint64) {
		t.Helper()
		if added := s.node.log.lastIndex() - last; added != entries {
			t.Errorf("%s: %d entries were appended, want %d", why, added, entries)
		}
	}
	s.deliver(propose(1, 10), forwardedBy(2, 1, 2), forwardedBy(3, 2, 5), propose(5, 10))
	expectAppended("known to the log, or collected", 1)
	s.syncAll()
	s.deliver(s.newProgress(2, s.node.log.lastIndex()))
	if n := len(s.leader().uncommitted.commands); n != 0 {
		t.Errorf("%d commands are kept after the commit", n)
	}
	if n := len(sentMessages[*messages.ProposalsRefused](s)); n != 0 {
		t.Errorf("%d refusals", n)
	}
}

// A leader writes and sends its first entry, and sends heartbeats, before it reports itself: its
// Session then begins to send all that is pending, on the same goroutine.
func TestLeaderSpeaksBeforeItReportsItself(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	record, reported := s.ToSession, false
	s.ToSession = func(m proto.Message) {
		record(m)
		if changed, ok := m.(*messages.LeaderChanged); !ok || changed.Leader != 1 {
			return
		}
		reported = true
		if n := len(s.node.log.memory.data); n != 1 || s.node.role.(*leader).uncommitted.bytes == 0 {
			t.Errorf("%d entries in memory: the first one of the term is not appended", n)
		}
		if n := len(sentMessages[*messages.Heartbeat](s)); n != 2 {
			t.Errorf("%d heartbeats were sent", n)
		}
	}
	s.deliver(&messages.TimeoutNow{Term: 3, Leader: 2})
	s.syncAll()
	s.deliver(voteGrant(4, 3))
	if !reported {
		t.Error("the leader was not reported")
	}
}
