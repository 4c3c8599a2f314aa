package node

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func proposeAll(size int, sequences ...uint64) (all []proto.Message) {
	for _, sequence := range sequences {
		all = append(all, propose(sequence, size))
	}
	return all
}

// expectOverloaded checks how many proposals the Session received back as overloaded, and the first
// one.
func (s *fixture) expectOverloaded(count int, first uint64) {
	s.t.Helper()
	refused := sessionMessages[*messages.ProposalsRefused](s)
	if len(refused) != count {
		s.t.Fatalf("%d proposals refused, want %d", len(refused), count)
	}
	r := refused[0]
	if r.Reason != messages.Refusal_REFUSAL_OVERLOADED || r.Limit != s.config.Limits.MaxUncommittedBytes || r.Sequences[0] != first {
		s.t.Fatalf("refused %v", r)
	}
}

func TestProposalsAreForwardedOrRefused(t *testing.T) {
	s := newFixture(t, 3).asFollower(3, 2, 1, 1)
	s.deliver(propose(1, 10))
	if m := onlySent[*messages.ForwardedProposals](s); len(m.Data) != 1 || s.sentToPeers[0].to != 2 {
		t.Fatalf("sent %v", s.sentToPeers)
	}
	s.deliver(forwardedBy(3, 5))
	noneSent[*messages.ProposalsRefused](s)
	s.deliver(&messages.Campaign{})
	s.sentToSession = nil
	s.deliver(propose(6, 10))
	if r := sessionMessages[*messages.ProposalsRefused](s); len(r) != 1 || r[0].Sequences[0] != 6 {
		t.Fatalf("the Session received %v", s.sentToSession)
	}
}

func TestMalformedForwardedProposalsAreDropped(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	last := s.node.log.lastIndex()
	s.deliver(&messages.ForwardedProposals{From: 2, Term: 4, Data: [][]byte{{1, 0xff}}})
	if s.node.log.lastIndex() != last {
		t.Fatal("a malformed entry was appended")
	}
}

// The network makes a copy of a forwarded command. The leader has room for it when the original
// arrives and not when the copy does, or the other way round. The Session would report that the
// command had no effect although it had (scenario copies-of-forwarded-writes).
func TestCopiedForwardIsDropped(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MaxUncommittedBytes = 60 }).asIdleLeader(2)
	forward := func(number, sequence uint64) *messages.ForwardedProposals {
		return &messages.ForwardedProposals{
			From: 2, Term: s.node.term, Data: [][]byte{newProposal(sequence, 40)}, Stream: 7, Number: number,
		}
	}
	last := s.node.log.lastIndex()
	step := func(name string, entries uint64, refusals int, all ...proto.Message) {
		t.Helper()
		s.deliver(all...)
		s.syncAll()
		added, refused := s.node.log.lastIndex()-last, len(sentMessages[*messages.ProposalsRefused](s))
		if added != entries || refused != refusals {
			t.Fatalf("%s: %d entries, %d refusals; want %d, %d", name, added, refused, entries, refusals)
		}
	}
	step("a command and its copy", 1, 0, forward(1, 1), forward(1, 1))
	step("a command above the limit", 1, 1, forward(2, 2))
	step("its copy, below the limit", 1, 2, s.newProgress(2, last+1), forward(2, 2))
	step("the next command", 2, 2, forward(3, 3))
	s.clearRecorded()
	old := forward(4, 4)
	old.Term--
	step("a command of an earlier term", 2, 0, old)
}

// A transfer flushes. The pending Flush stays in the mailbox, so another one must not be sent.
func TestE45TransferKeepsPendingFlush(t *testing.T) {
	s := newFixture(t, 3).asLeader(3, 1)
	s.node.scheduleFlush()
	s.leader().processBatch()
	if !s.node.flushPending {
		t.Fatal("a second Flush would be sent")
	}
}

func TestE45UncommittedProposalsAreBounded(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MaxUncommittedBytes = 3000 }).asIdleLeader(2)
	for i := range uint64(5) {
		s.deliver(propose(i, 990))
	}
	s.expectOverloaded(2, 3)
	s.syncAll()
	s.deliver(s.newProgress(2, 5))
	s.clearRecorded()
	s.deliver(propose(9, 990))
	if len(s.pendingAppends) != 1 {
		t.Fatal("refused although everything is committed")
	}
}

// The disks of the peers commit entries that the leader's own disk does not have. Without a bound,
// memory would hold them as long as clients write faster than that disk.
func TestE45SlowDiskBoundsProposals(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MaxUncommittedBytes, l.MemoryBytes = 3000, 0 }).asIdleLeader(2, 3)
	for i := range uint64(20) {
		s.deliver(propose(i, 990))
		s.deliver(s.newProgress(2, s.node.log.lastIndex()))
		s.deliver(s.newProgress(3, s.node.log.lastIndex()))
	}
	s.expectCommit(s.node.log.lastIndex())
	s.expectOverloaded(17, 3)
	if s.node.log.memory.bytes > 3000 {
		t.Fatalf("%d bytes in memory", s.node.log.memory.bytes)
	}
	s.syncAll()
	s.clearRecorded()
	s.deliver(propose(99, 990))
	if len(s.pendingAppends) != 1 || s.node.log.memory.bytes > 1000 {
		t.Fatalf("%d Appends, %d bytes in memory after the syncs", len(s.pendingAppends), s.node.log.memory.bytes)
	}
}

func TestE45FollowerBoundsProposals(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MaxUncommittedBytes = 3000 }).asFollower(3, 2, 1, 1)
	s.deliver(proposeAll(990, 0, 1, 2, 3, 4)...)
	if m := onlySent[*messages.ForwardedProposals](s); len(m.Data) != 3 {
		t.Fatalf("%d proposals forwarded", len(m.Data))
	}
}

// One message with all proposals would exceed the link's limit for a message, and be dropped at
// each repetition. It would also exceed a lower limit of the leader by as much.
func TestE45ForwardedProposalsAreBatched(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MaxBatchBytes = 2500 }).asFollower(3, 2, 1, 1)
	s.deliver(append(proposeAll(990, 0, 1, 2, 3, 4), propose(9, 9900))...)
	var sequences, numbers []uint64
	for _, m := range sentMessages[*messages.ForwardedProposals](s) {
		for _, data := range m.Data {
			e, err := raft.DecodeEntry(data)
			if err != nil {
				t.Fatal(err)
			}
			sequences = append(sequences, e.Sequence)
		}
		if bytes := totalBytes(m.Data); bytes > 2500 && len(m.Data) > 1 {
			t.Errorf("%d entries of %d bytes in one message", len(m.Data), bytes)
		}
		numbers = append(numbers, m.Number)
	}
	if !slices.Equal(sequences, []uint64{0, 1, 2, 3, 4, 9}) || !slices.Equal(numbers, []uint64{1, 2, 3, 4}) {
		t.Fatalf("forwarded %v in messages %v", sequences, numbers)
	}
}

func TestBatchesStayWithinLimit(t *testing.T) {
	s := newFixture(t, 3, func(l *Limits) { l.MaxBatchBytes = 2500 }).asLeader(3, 1)
	s.clearRecorded()
	s.deliver(append(proposeAll(990, 0, 1, 2, 3, 4), propose(9, 9900))...)
	var sizes []int
	for _, a := range s.pendingAppends {
		sizes = append(sizes, len(a.Entries.Data))
		if err := raft.CheckEntries(a.Entries); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(sizes, []int{2, 2, 1, 1}) {
		t.Fatalf("batches of %v entries", sizes)
	}
}
