package session

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// desk is a handle whose Node is the test.
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
	d := &sessionFixture{t: t}
	d.Session = New(Config{
		NodeID: 1, Limits: limits, FirstReadID: 10,
		NewNonce: func() []byte { return []byte("nonce") },
		Now:      func() time.Duration { return d.now },
		Send:     func(m proto.Message) { d.sent = append(d.sent, m) },
	})
	return d
}

// works is a desk whose member follows a leader, has its origin, and has replayed its log up to index 5.
func newServingFixture(t *testing.T) *sessionFixture {
	d := newSessionFixture(t)
	d.startServing()
	return d
}

// work has the member follow a leader, get its origin, and replay its log. Nothing that was said before is kept.
func (d *sessionFixture) startServing() {
	d.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	d.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	d.Deliver(&messages.ReplayComplete{Incarnation: 1, Applied: 5})
	d.sent = nil
}

func (d *sessionFixture) proposed() (all []raft.Entry) {
	for _, m := range d.sent {
		if p, ok := m.(*messages.Propose); ok {
			e, err := raft.DecodeEntry(p.Data)
			if err != nil {
				d.t.Fatal(err)
			}
			all = append(all, e)
		}
	}
	return all
}

func (d *sessionFixture) applied(index uint64, sequences ...uint64) {
	m := &messages.CommandResults{Incarnation: 1, SessionId: 7, Applied: index, Term: 1}
	for range sequences {
		m.Indexes, m.Values = append(m.Indexes, index), append(m.Values, []byte("value"))
		m.Outcomes = append(m.Outcomes, messages.Outcome_OUTCOME_APPLIED)
	}
	m.Sequences = sequences
	d.Deliver(m)
}

func TestCallEndsWhenCommandIsApplied(t *testing.T) {
	d := newServingFixture(t)
	c := d.BeginProposal([]byte("command"))
	if c.Poll() || len(d.proposed()) != 1 {
		t.Fatalf("ended %v, sent %v", c.Poll(), d.sent)
	}
	d.applied(6, 1)
	if !c.Poll() || c.Err != nil || c.Index != 6 || string(c.Value) != "value" {
		t.Fatalf("answered %+v", c.Outcome)
	}
	if c.Abandon(errors.New("too late")); c.Err != nil {
		t.Fatal("given up after its answer, it lost it")
	}
}

func TestCallIsSentAfterRegistration(t *testing.T) {
	d := newSessionFixture(t)
	c := d.BeginProposal([]byte("command"))
	d.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	if sent := d.proposed(); c.Poll() || len(sent) != 1 || sent[0].Kind != raft.KindRegisterSession {
		t.Fatalf("sent %v", sent)
	}
	d.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	c.Poll()
	if sent := d.proposed(); c.Poll() || len(sent) != 2 || sent[1].SessionID != 7 {
		t.Fatalf("sent %v", d.proposed())
	}
	d.applied(6, 1)
	if !c.Poll() || c.Err != nil {
		t.Fatalf("answered %+v", c.Outcome)
	}
}

func TestAbandonedCallErrors(t *testing.T) {
	why := errors.New("why")
	d := newServingFixture(t)
	write, read := d.BeginProposal([]byte("x")), d.BeginRead(ReadIndex)
	for _, c := range []*Call{write, read} {
		if c.Abandon(why); !c.Poll() || !errors.Is(c.Err, ErrTimeout) || !errors.Is(c.Err, why) {
			t.Errorf("given up: %v", c.Err)
		}
	}
	d.applied(6, 1) // after all
	if n, bytes := d.Pending(); n != 0 || bytes != 0 || write.Err == nil {
		t.Errorf("%d commands, %d bytes wait; the call says %v", n, bytes, write.Err)
	}
	d = newSessionFixture(t)
	unsent := d.BeginProposal([]byte("x"))
	local := d.BeginRead(ReadLocal)
	if unsent.Abandon(why); !errors.Is(unsent.Err, ErrNoLeader) {
		t.Errorf("given up without a leader: %v", unsent.Err)
	}
	if local.Abandon(why); !errors.Is(local.Err, ErrTimeout) { // a replay needs no leader
		t.Errorf("given up during the replay: %v", local.Err)
	}
	d.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	d.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	if unsent.Poll(); len(d.proposed()) != 1 {
		t.Errorf("what was given up was sent: %v", d.proposed())
	}
}

func TestCallsAreRefusedAtTheirLimits(t *testing.T) {
	d := newServingFixture(t)
	if c := d.BeginProposal(make([]byte, 101)); !c.Poll() || !errors.Is(c.Err, ErrTooLarge) {
		t.Errorf("101 bytes of 100: %v", c.Err)
	}
	for range 4 {
		d.BeginProposal([]byte("x"))
	}
	if c := d.BeginProposal([]byte("x")); !c.Poll() || !errors.Is(c.Err, ErrOverloaded) {
		t.Errorf("the fifth of four: %v", c.Err)
	}
}

func TestReadsThatDoNotWaitKeepWhatTheirModesPromise(t *testing.T) {
	d := newServingFixture(t)
	if c := d.BeginRead(ReadLocal); !c.Poll() || c.Index != 5 {
		t.Errorf("local: %+v", c.Outcome)
	}
	for mode, asked := range map[ReadMode]messages.ReadMode{
		ReadIndex: messages.ReadMode_READ_MODE_INDEX, ReadLease: messages.ReadMode_READ_MODE_INDEX, ReadLeader: messages.ReadMode_READ_MODE_LEADER,
	} {
		d := newServingFixture(t)
		c := d.BeginRead(mode)
		ask, ok := d.sent[0].(*messages.RequestRead)
		if !ok || ask.Mode != asked || c.Poll() {
			t.Fatalf("mode %d: said %v", mode, d.sent)
		}
		d.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: 8, Term: 1})
		if c.Poll() {
			t.Errorf("mode %d: answered before index 8 is applied", mode)
		}
		if d.applied(8); !c.Poll() || c.Index != 8 {
			t.Errorf("mode %d: %+v", mode, c.Outcome)
		}
	}
	c := d.BeginRead(ReadLog)
	if sent := d.proposed(); len(sent) != 1 || sent[0].Kind != raft.KindBarrier {
		t.Fatalf("log: sent %v", sent)
	}
	if d.applied(9, 1); !c.Poll() || c.Index != 9 {
		t.Errorf("log: %+v", c.Outcome)
	}
}

// After a start the Machine tells the results of all that it replays, those of the process before as well, whose commands had
// the same numbers.
func TestResultsOfOtherSessionsAreIgnored(t *testing.T) {
	d := newServingFixture(t)
	c := d.BeginProposal([]byte("command"))
	d.Deliver(&messages.CommandResults{
		Incarnation: 1, SessionId: 3, Applied: 6, Term: 1, Sequences: []uint64{1}, Indexes: []uint64{6},
		Values: [][]byte{[]byte("another's")}, Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_APPLIED},
	})
	d.Deliver(&messages.CommandResults{
		Incarnation: 1, SessionId: 3, Applied: 6, Term: 1, Sequences: []uint64{1}, Indexes: []uint64{0}, Values: [][]byte{nil},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_UNKNOWN},
	})
	if c.Poll() {
		t.Fatalf("answered with another origin's result: %+v", c.Outcome)
	}
	d.applied(7, 1)
	if !c.Poll() || string(c.Value) != "value" || c.Index != 7 {
		t.Fatalf("answered %+v", c.Outcome)
	}
}

// A read whose point is known waits for the state machine that it will look at: not for one that is no more.
func TestEarlierIncarnationReleasesNoRead(t *testing.T) {
	d := newServingFixture(t)
	c := d.BeginRead(ReadIndex)
	ask := d.sent[len(d.sent)-1].(*messages.RequestRead)
	d.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: 8, Term: 1})
	d.Deliver(&messages.LeaderChanged{Incarnation: 2, Term: 1})
	d.applied(8)
	if c.Poll() {
		t.Fatal("released by what a former life had applied")
	}
	d.Deliver(&messages.CommandResults{Incarnation: 2, Applied: 8, Term: 1})
	if !c.Poll() || c.Err != nil {
		t.Fatalf("answered %+v", c.Outcome)
	}
}

func TestNewLeaderGetsReadRequestAtOnce(t *testing.T) {
	d := newServingFixture(t)
	d.BeginRead(ReadIndex)
	ask := d.sent[len(d.sent)-1].(*messages.RequestRead)
	d.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 2})
	d.sent = nil
	d.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 2, Leader: 3})
	if len(d.sent) != 1 || d.sent[0].(*messages.RequestRead).Id != ask.Id {
		t.Fatalf("said %v", d.sent)
	}
}

func TestLocalReadsWaitForReplay(t *testing.T) {
	d := newServingFixture(t)
	d.Deliver(&messages.LeaderChanged{Incarnation: 2, Term: 1})
	c := d.BeginRead(ReadLocal)
	if c.Poll() {
		t.Fatal("served during the replay")
	}
	if d.Deliver(&messages.ReplayComplete{Incarnation: 2, Applied: 4}); !c.Poll() || c.Index != 4 {
		t.Fatalf("%+v", c.Outcome)
	}
}

func TestRetryAndClose(t *testing.T) {
	d := newServingFixture(t)
	write, read := d.BeginProposal([]byte("x")), d.BeginRead(ReadIndex)
	d.now = 600 * time.Millisecond
	if d.Retry(time.Second); len(d.sent) != 3 || len(d.proposed()) != 1 {
		t.Errorf("after 600 ms, of patience for 1 s: said %v", d.sent)
	}
	d.now = 1100 * time.Millisecond
	if d.Retry(time.Second); len(d.proposed()) != 2 {
		t.Errorf("after 1.1 s: said %v", d.sent)
	}
	end := errors.New("stopped")
	d.Close(end)
	for _, c := range []*Call{write, read, d.BeginProposal([]byte("y")), d.BeginRead(ReadLocal), d.BeginRead(ReadIndex)} {
		if !c.Poll() || !errors.Is(c.Err, end) {
			t.Errorf("of a closed handle: %+v", c.Outcome)
		}
	}
}

// A leader that hands over refuses commands, and nobody tells that it leads on after all.
func TestTemporaryRefusalIsRetried(t *testing.T) {
	d := newServingFixture(t)
	d.BeginProposal([]byte("refused"))
	d.BeginProposal([]byte("waits"))
	refuse := func(reason messages.Refusal) {
		d.Deliver(&messages.ProposalsRefused{SessionIds: []uint64{7}, Sequences: []uint64{1}, Reason: reason})
	}
	for i, reason := range []messages.Refusal{messages.Refusal_REFUSAL_TRANSFERRING, messages.Refusal_REFUSAL_NO_LEADER} {
		refuse(reason)
		for range 2 { // the second has nothing to say: it waits for an answer then
			d.now += 100 * time.Millisecond
			d.Retry(time.Second)
		}
		if said := d.proposed(); len(said) != 2+i+1 || string(said[2+i].Payload) != "refused" {
			t.Fatalf("refused as %v and retried twice: said %+v", reason, said)
		}
	}
	refuse(messages.Refusal_REFUSAL_OVERLOADED) // the third copy; of the others, nobody knows
	if d.Retry(time.Second); len(d.proposed()) != 4 {
		t.Errorf("an overloaded leader is asked again at once: said %+v", d.proposed())
	}
}

func TestRefusedRegistrationIsRetried(t *testing.T) {
	d := newSessionFixture(t)
	d.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	for _, wants := range []int{1, 2, 2} {
		if asked := d.proposed(); len(asked) != wants || asked[wants-1].Kind != raft.KindRegisterSession {
			t.Fatalf("said %+v, not %d requests for an origin", asked, wants)
		}
		if wants == 1 {
			d.Deliver(&messages.ProposalsRefused{SessionIds: []uint64{0}, Sequences: []uint64{0}, Reason: messages.Refusal_REFUSAL_TRANSFERRING})
		}
		d.now += 100 * time.Millisecond
		d.Retry(time.Second)
	}
}

// What an actor says last may come after the end.
func TestClosedSessionDeliversNothing(t *testing.T) {
	over := errors.New("over")
	d := newSessionFixture(t)
	waits := d.BeginProposal([]byte("x"))
	d.Close(over)
	d.Close(errors.New("once more"))
	d.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	late, read := d.BeginProposal([]byte("x")), d.BeginRead(ReadIndex)
	for _, c := range []*Call{waits, late, read} {
		if !c.Poll() || !errors.Is(c.Err, over) {
			t.Errorf("after the end: %v", c.Err)
		}
	}
}
