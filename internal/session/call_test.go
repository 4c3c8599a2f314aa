package session

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// sessionFixture is a Session whose Node actor is the test.
type sessionFixture struct {
	*Session
	t    *testing.T
	now  time.Duration
	sent []proto.Message
}

func newSessionFixture(t *testing.T) *sessionFixture {
	return newSessionFixtureWith(t, Limits{MaxRequestBytes: 100, MaxPendingRequests: 4, MaxPendingBytes: 1 << 20})
}

func newSessionFixtureWith(t *testing.T, limits Limits) *sessionFixture {
	f := &sessionFixture{t: t}
	f.Session = New(Config{
		NodeID: 1, Limits: limits, FirstReadID: 10,
		NewNonce: func() []byte { return []byte("nonce") },
		Now:      func() time.Duration { return f.now },
		Send:     func(m proto.Message) { f.sent = append(f.sent, m) },
	})
	return f
}

// newServingFixture makes a fixture in the state that startServing describes.
func newServingFixture(t *testing.T) *sessionFixture {
	f := newSessionFixture(t)
	f.startServing()
	return f
}

// startServing delivers a leader, a registration and the end of the replay at index 5. It clears
// sent.
func (f *sessionFixture) startServing() {
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	f.Deliver(&messages.ReplayComplete{Incarnation: 1, Applied: 5})
	f.sent = nil
}

func (f *sessionFixture) proposed() (all []raft.Entry) {
	for _, m := range f.sent {
		if p, ok := m.(*messages.Propose); ok {
			e, err := raft.DecodeEntry(p.Data)
			if err != nil {
				f.t.Fatal(err)
			}
			all = append(all, e)
		}
	}
	return all
}

func (f *sessionFixture) applied(index uint64, sequences ...uint64) {
	m := &messages.CommandResults{Incarnation: 1, SessionId: 7, Applied: index, Term: 1}
	for range sequences {
		m.Indexes, m.Values = append(m.Indexes, index), append(m.Values, []byte("value"))
		m.Outcomes = append(m.Outcomes, messages.Outcome_OUTCOME_APPLIED)
	}
	m.Sequences = sequences
	f.Deliver(m)
}

func TestCallEndsWhenCommandIsApplied(t *testing.T) {
	f := newServingFixture(t)
	c := f.BeginProposal([]byte("command"))
	if c.Poll() || len(f.proposed()) != 1 {
		t.Fatalf("ended %v, sent %v", c.Poll(), f.sent)
	}
	f.applied(6, 1)
	if !c.Poll() || c.Err != nil || c.Index != 6 || string(c.Value) != "value" {
		t.Fatalf("outcome %+v", c.Outcome)
	}
	if c.Abandon(errors.New("too late")); c.Err != nil {
		t.Fatal("Abandon after the result removed the result")
	}
}

func TestCallIsSentAfterRegistration(t *testing.T) {
	f := newSessionFixture(t)
	c := f.BeginProposal([]byte("command"))
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	if sent := f.proposed(); c.Poll() || len(sent) != 1 || sent[0].Kind != raft.KindRegisterSession {
		t.Fatalf("sent %v", sent)
	}
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	c.Poll()
	if sent := f.proposed(); c.Poll() || len(sent) != 2 || sent[1].SessionID != 7 {
		t.Fatalf("sent %v", f.proposed())
	}
	f.applied(6, 1)
	if !c.Poll() || c.Err != nil {
		t.Fatalf("outcome %+v", c.Outcome)
	}
}

func TestAbandonedCallErrors(t *testing.T) {
	why := errors.New("why")
	f := newServingFixture(t)
	write, read := f.BeginProposal([]byte("x")), f.BeginRead(ReadIndex)
	for _, c := range []*Call{write, read} {
		if c.Abandon(why); !c.Poll() || !errors.Is(c.Err, ErrTimeout) || !errors.Is(c.Err, why) {
			t.Errorf("abandoned: %v", c.Err)
		}
	}
	f.applied(6, 1) // although it was abandoned
	if n, bytes := f.Pending(); n != 0 || bytes != 0 || write.Err == nil {
		t.Errorf("%d commands, %d bytes are pending; the call has the error %v", n, bytes, write.Err)
	}
	f = newSessionFixture(t)
	unsent := f.BeginProposal([]byte("x"))
	local := f.BeginRead(ReadLocal)
	if unsent.Abandon(why); !errors.Is(unsent.Err, ErrNoLeader) {
		t.Errorf("abandoned without a leader: %v", unsent.Err)
	}
	if local.Abandon(why); !errors.Is(local.Err, ErrTimeout) { // a replay needs no leader
		t.Errorf("abandoned during the replay: %v", local.Err)
	}
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	if unsent.Poll(); len(f.proposed()) != 1 {
		t.Errorf("an abandoned command was sent: %v", f.proposed())
	}
}

func TestCallsAreRefusedAtTheirLimits(t *testing.T) {
	f := newServingFixture(t)
	if c := f.BeginProposal(make([]byte, 101)); !c.Poll() || !errors.Is(c.Err, ErrTooLarge) {
		t.Errorf("101 bytes with a limit of 100: %v", c.Err)
	}
	for range 4 {
		f.BeginProposal([]byte("x"))
	}
	if c := f.BeginProposal([]byte("x")); !c.Poll() || !errors.Is(c.Err, ErrOverloaded) {
		t.Errorf("the fifth command with a limit of 4: %v", c.Err)
	}
}

func TestReadModesServeTheirIndex(t *testing.T) {
	f := newServingFixture(t)
	if c := f.BeginRead(ReadLocal); !c.Poll() || c.Index != 5 {
		t.Errorf("local: %+v", c.Outcome)
	}
	for mode, asked := range map[ReadMode]messages.ReadMode{
		ReadIndex: messages.ReadMode_READ_MODE_INDEX, ReadLease: messages.ReadMode_READ_MODE_INDEX, ReadLeader: messages.ReadMode_READ_MODE_LEADER,
	} {
		f := newServingFixture(t)
		c := f.BeginRead(mode)
		ask, ok := f.sent[0].(*messages.RequestRead)
		if !ok || ask.Mode != asked || c.Poll() {
			t.Fatalf("mode %d: sent %v", mode, f.sent)
		}
		f.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: 8, Term: 1})
		if c.Poll() {
			t.Errorf("mode %d: ended before index 8 was applied", mode)
		}
		if f.applied(8); !c.Poll() || c.Index != 8 {
			t.Errorf("mode %d: %+v", mode, c.Outcome)
		}
	}
	c := f.BeginRead(ReadLog)
	if sent := f.proposed(); len(sent) != 1 || sent[0].Kind != raft.KindBarrier {
		t.Fatalf("log: sent %v", sent)
	}
	if f.applied(9, 1); !c.Poll() || c.Index != 9 {
		t.Errorf("log: %+v", c.Outcome)
	}
}

// After a start the Machine sends the results of all entries that it replays, also those of the
// earlier process, whose commands had the same sequences.
func TestResultsOfOtherSessionsAreIgnored(t *testing.T) {
	f := newServingFixture(t)
	c := f.BeginProposal([]byte("command"))
	f.Deliver(&messages.CommandResults{
		Incarnation: 1, SessionId: 3, Applied: 6, Term: 1, Sequences: []uint64{1}, Indexes: []uint64{6},
		Values: [][]byte{[]byte("other")}, Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_APPLIED},
	})
	f.Deliver(&messages.CommandResults{
		Incarnation: 1, SessionId: 3, Applied: 6, Term: 1, Sequences: []uint64{1}, Indexes: []uint64{0}, Values: [][]byte{nil},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_UNKNOWN},
	})
	if c.Poll() {
		t.Fatalf("ended with the result of another session: %+v", c.Outcome)
	}
	f.applied(7, 1)
	if !c.Poll() || string(c.Value) != "value" || c.Index != 7 {
		t.Fatalf("outcome %+v", c.Outcome)
	}
}

// A read waits for the state machine of the current incarnation; an earlier one may have applied
// more.
func TestEarlierIncarnationReleasesNoRead(t *testing.T) {
	f := newServingFixture(t)
	c := f.BeginRead(ReadIndex)
	ask := f.sent[len(f.sent)-1].(*messages.RequestRead)
	f.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: 8, Term: 1})
	f.Deliver(&messages.LeaderChanged{Incarnation: 2, Term: 1})
	f.applied(8)
	if c.Poll() {
		t.Fatal("ended by what an earlier incarnation had applied")
	}
	f.Deliver(&messages.CommandResults{Incarnation: 2, Applied: 8, Term: 1})
	if !c.Poll() || c.Err != nil {
		t.Fatalf("outcome %+v", c.Outcome)
	}
}

// The state machine of a new incarnation may be behind that of the one before.
func TestAppliedIndexEndsWithItsIncarnation(t *testing.T) {
	f := newServingFixture(t)
	f.applied(9)
	f.Deliver(&messages.LeaderChanged{Incarnation: 2, Term: 1})
	c := f.BeginRead(ReadIndex)
	ask := f.sent[len(f.sent)-1].(*messages.RequestRead)
	f.Deliver(&messages.ReadPoint{Incarnation: 2, Id: ask.Id, Index: 8, Term: 1})
	if c.Poll() {
		t.Fatal("ended by what an earlier incarnation had applied")
	}
	f.Deliver(&messages.CommandResults{Incarnation: 2, Applied: 8, Term: 1})
	if !c.Poll() || c.Err != nil {
		t.Fatalf("outcome %+v", c.Outcome)
	}
}

func TestNewLeaderGetsReadRequestAtOnce(t *testing.T) {
	f := newServingFixture(t)
	f.BeginRead(ReadIndex)
	ask := f.sent[len(f.sent)-1].(*messages.RequestRead)
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 2})
	f.sent = nil
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 2, Leader: 3})
	if len(f.sent) != 1 || f.sent[0].(*messages.RequestRead).Id != ask.Id {
		t.Fatalf("sent %v", f.sent)
	}
}

func TestLocalReadsWaitForReplay(t *testing.T) {
	f := newServingFixture(t)
	f.Deliver(&messages.LeaderChanged{Incarnation: 2, Term: 1})
	c := f.BeginRead(ReadLocal)
	if c.Poll() {
		t.Fatal("served during the replay")
	}
	if f.Deliver(&messages.ReplayComplete{Incarnation: 2, Applied: 4}); !c.Poll() || c.Index != 4 {
		t.Fatalf("%+v", c.Outcome)
	}
}

func TestRetryAndClose(t *testing.T) {
	f := newServingFixture(t)
	write, read := f.BeginProposal([]byte("x")), f.BeginRead(ReadIndex)
	f.now = 600 * time.Millisecond
	if f.Retry(time.Second); len(f.sent) != 3 || len(f.proposed()) != 1 {
		t.Errorf("600 ms after sending, with a patience of 1 s: sent %v", f.sent)
	}
	f.now = 1100 * time.Millisecond
	if f.Retry(time.Second); len(f.sent) != 4 || len(f.proposed()) != 1 {
		t.Errorf("after 1.1 s: sent %v", f.sent)
	}
	end := errors.New("stopped")
	f.Close(end)
	for _, c := range []*Call{write, read, f.BeginProposal([]byte("y")), f.BeginRead(ReadLocal), f.BeginRead(ReadIndex)} {
		if !c.Poll() || !errors.Is(c.Err, end) {
			t.Errorf("on a closed session: %+v", c.Outcome)
		}
	}
}

// A leader refuses commands during a leadership transfer, and does not report a failed transfer.
func TestTemporaryRefusalIsRetried(t *testing.T) {
	f := newServingFixture(t)
	f.BeginProposal([]byte("refused"))
	f.BeginProposal([]byte("waits"))
	for i, reason := range []messages.Refusal{messages.Refusal_REFUSAL_TRANSFERRING, messages.Refusal_REFUSAL_NO_LEADER} {
		f.Deliver(&messages.ProposalsRefused{SessionIds: []uint64{7}, Sequences: []uint64{1}, Reason: reason, Term: 1})
		for range 20 { // sent by the first retry
			f.now += 100 * time.Millisecond
			f.Retry(time.Second)
		}
		if sent := f.proposed(); len(sent) != 2+i+1 || string(sent[2+i].Payload) != "refused" {
			t.Fatalf("refused with %v and retried: sent %+v", reason, sent)
		}
	}
}

func TestRefusedRegistrationIsRetried(t *testing.T) {
	f := newSessionFixture(t)
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	for _, wants := range []int{1, 2, 2} {
		if asked := f.proposed(); len(asked) != wants || asked[wants-1].Kind != raft.KindRegisterSession {
			t.Fatalf("sent %+v, want %d registrations", asked, wants)
		}
		if wants == 1 {
			f.Deliver(&messages.ProposalsRefused{SessionIds: []uint64{0}, Sequences: []uint64{0}, Reason: messages.Refusal_REFUSAL_TRANSFERRING, Term: 1})
		}
		f.now += 100 * time.Millisecond
		f.Retry(time.Second)
	}
}

// An actor may send a message after Close.
func TestClosedSessionDeliversNothing(t *testing.T) {
	over := errors.New("over")
	f := newSessionFixture(t)
	waits := f.BeginProposal([]byte("x"))
	f.Close(over)
	f.Close(errors.New("once more"))
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	late, read := f.BeginProposal([]byte("x")), f.BeginRead(ReadIndex)
	for _, c := range []*Call{waits, late, read} {
		if !c.Poll() || !errors.Is(c.Err, over) {
			t.Errorf("after Close: %v", c.Err)
		}
	}
}
