package session

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

var errStopped = errors.New("node stopped")

func zeroClock() time.Duration { return 0 }

func newNonce() []byte { return []byte(rand.Text()) }

// proposalsFixture is a proposals that records what it sends.
type proposalsFixture struct {
	*proposals
	t      *testing.T
	leader uint64
	mu     sync.Mutex
	sent   []raft.Entry
	wake   chan struct{}
}

func newProposalsFixture(t *testing.T, limits Limits) *proposalsFixture {
	s := &proposalsFixture{t: t, leader: 1, wake: make(chan struct{}, 1024)}
	if limits == (Limits{}) {
		limits = Limits{MaxRequestBytes: 1 << 20, MaxPendingRequests: 1 << 16, MaxPendingBytes: 1 << 26}
	}
	record := func(m proto.Message) {
		propose, ok := m.(*messages.Propose)
		if !ok {
			return
		}
		e, err := raft.DecodeEntry(propose.Data)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.sent = append(s.sent, e)
		s.mu.Unlock()
		s.wake <- struct{}{}
	}
	config := Config{NodeID: 1, Limits: limits, NewNonce: newNonce, Now: zeroClock, Send: record}
	s.proposals = newProposals(config, &refusalCounters{}, func() uint64 { return s.leader })
	s.newTerm(1)
	s.nextSent() // the registration
	s.deliverRegistered(&messages.SessionRegistered{Nonce: s.registration.nonce, SessionId: 77})
	return s
}

// newTerm makes a leader known in the next term.
func (s *proposalsFixture) newTerm(incarnation uint64) {
	s.deliverLeader(&messages.LeaderChanged{Incarnation: incarnation, Term: s.epoch.term + 1, Leader: 1})
}

// refuse delivers the refusal of command 1 in the present term.
func (s *proposalsFixture) refuse(reason messages.Refusal) {
	s.deliverRefused(&messages.ProposalsRefused{
		SessionIds: []uint64{77}, Sequences: []uint64{1}, Reason: reason, Limit: 5, Term: s.epoch.term,
	})
}

// nextSent waits for the next entry that is sent.
func (s *proposalsFixture) nextSent() raft.Entry {
	s.t.Helper()
	select {
	case <-s.wake:
	case <-time.After(time.Minute):
		s.t.Fatal("nothing was sent")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sent[0]
	s.sent = s.sent[1:]
	return e
}

func (s *proposalsFixture) proposeAsync(ctx context.Context, command string) <-chan Outcome {
	done := make(chan Outcome, 1)
	go func() {
		r, err := s.propose(ctx, []byte(command))
		done <- Outcome{r, err}
	}()
	return done
}

func (s *proposalsFixture) deliverResult(sequence uint64, value string) {
	s.deliverResults(&messages.CommandResults{
		SessionId: 77, Sequences: []uint64{sequence}, Indexes: []uint64{9}, Values: [][]byte{[]byte(value)},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_APPLIED},
	})
}

func TestLowestOutstandingIsOldestPending(t *testing.T) {
	s := newProposalsFixture(t, Limits{})
	var waiting []<-chan Outcome
	for range 3 {
		waiting = append(waiting, s.proposeAsync(t.Context(), "x"))
		s.nextSent()
	}
	s.deliverResult(2, "second")
	last := s.proposeAsync(t.Context(), "y")
	if e := s.nextSent(); e.Sequence != 4 || e.LowestOutstanding != 1 {
		t.Fatalf("sent %+v while the first command is pending", e)
	}
	s.deliverResult(1, "first")
	s.deliverResult(1, "again")
	s.proposeAsync(t.Context(), "z")
	if e := s.nextSent(); e.Sequence != 5 || e.LowestOutstanding != 3 {
		t.Fatalf("sent %+v while the third command is the oldest", e)
	}
	s.deliverResult(3, "third")
	s.deliverResult(4, "fourth")
	for i, want := range []string{"first", "second", "third"} {
		if o := <-waiting[i]; o.Err != nil || string(o.Value) != want {
			t.Errorf("command %d: outcome %q, %v", i+1, o.Value, o.Err)
		}
	}
	if o := <-last; string(o.Value) != "fourth" {
		t.Errorf("the fourth command: outcome %q, %v", o.Value, o.Err)
	}
	s.close(errStopped)
}

func TestAbandonedCommandErrors(t *testing.T) {
	type end struct {
		leader uint64
		cause  error
	}
	s := newProposalsFixture(t, Limits{})
	for end, want := range map[end]error{
		{0, context.DeadlineExceeded}: ErrNoLeader, {3, context.DeadlineExceeded}: ErrTimeout,
		{0, context.Canceled}: ErrCanceled, {3, context.Canceled}: ErrCanceled,
	} {
		s.leader = end.leader
		ctx, cancel := newEndableContext(t)
		done := s.proposeAsync(ctx, "x")
		s.nextSent()
		cancel(end.cause)
		if o := <-done; !errors.Is(o.Err, want) || !errors.Is(o.Err, end.cause) {
			t.Errorf("leader %d, %v: %v", end.leader, end.cause, o.Err)
		}
	}
	if s.queuedCommands != 0 || s.queuedBytes != 0 || len(s.queue) != 0 {
		t.Errorf("%d abandoned commands, %d bytes are still pending", s.queuedCommands, s.queuedBytes)
	}
	s.close(errStopped)
}

// endableContext is a context that a test ends with the error that it wants.
type endableContext struct {
	context.Context
	done chan struct{}
	err  error
}

func newEndableContext(t *testing.T) (context.Context, func(error)) {
	c := &endableContext{Context: t.Context(), done: make(chan struct{})}
	return c, func(err error) {
		c.err = err
		close(c.done)
	}
}

func (c *endableContext) Done() <-chan struct{} { return c.done }

func (c *endableContext) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

func TestExpiredSessionRegistersAgain(t *testing.T) {
	s := newProposalsFixture(t, Limits{})
	done := s.proposeAsync(t.Context(), "x")
	s.nextSent()
	s.deliverResults(&messages.CommandResults{
		SessionId: 77, Sequences: []uint64{1}, Indexes: []uint64{0}, Values: [][]byte{nil},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_UNKNOWN},
	})
	if o := <-done; !errors.Is(o.Err, ErrOutcomeUnknown) {
		t.Fatalf("outcome %v", o.Err)
	}
	if e := s.nextSent(); e.Kind != raft.KindRegisterSession {
		t.Fatalf("sent %+v", e)
	}
	waits := s.proposeAsync(t.Context(), "y")
	s.deliverRegistered(&messages.SessionRegistered{Nonce: []byte("other"), SessionId: 1})
	s.deliverRegistered(&messages.SessionRegistered{Nonce: s.registration.nonce, SessionId: 78})
	if e := s.nextSent(); e.SessionID != 78 || e.Sequence != 1 {
		t.Fatalf("sent %+v", e)
	}
	s.close(errStopped)
	if o := <-waits; !errors.Is(o.Err, errStopped) {
		t.Fatalf("after Close: %v", o.Err)
	}
}

// The reply to a command was too large to be cached. A copy of the command, sent after a leader
// change, has the outcome "unknown". Its caller has the reply already, and no other command fails.
func TestUnknownCopyOfRepliedCommandIsIgnored(t *testing.T) {
	s := newProposalsFixture(t, Limits{})
	large := s.proposeAsync(t.Context(), "large")
	s.nextSent()
	other := s.proposeAsync(t.Context(), "other")
	s.nextSent()
	s.newTerm(1)
	s.nextSent()
	s.nextSent()
	s.deliverResult(1, "large answer")
	if o := <-large; o.Err != nil {
		t.Fatalf("outcome %v", o.Err)
	}
	s.deliverResults(&messages.CommandResults{
		SessionId: 77, Sequences: []uint64{1, 2}, Indexes: []uint64{0, 9}, Values: [][]byte{nil, []byte("other's")},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_UNKNOWN, messages.Outcome_OUTCOME_APPLIED},
	})
	if o := <-other; o.Err != nil || string(o.Value) != "other's" {
		t.Fatalf("outcome %q, %v", o.Value, o.Err)
	}
	s.close(errStopped)
}

func TestE45PendingCommandsAreBounded(t *testing.T) {
	s := newProposalsFixture(t, Limits{MaxPendingRequests: 2, MaxRequestBytes: 100, MaxPendingBytes: 1 << 20})
	for range 2 {
		s.proposeAsync(t.Context(), "x")
		s.nextSent()
	}
	var limit *LimitError
	if _, err := s.propose(t.Context(), []byte("x")); !errors.As(err, &limit) || limit.Limit != "MaxPendingRequests" || limit.Value != 2 {
		t.Errorf("the third command with a limit of 2: %v", err)
	}
	if _, err := s.propose(t.Context(), make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a command above MaxRequestBytes: %v", err)
	}
	s.close(errStopped)
}

// newTestReads makes a reads that passes its requests to the test.
func newTestReads(firstID uint64, ask func(*messages.RequestRead)) *reads {
	c := Config{FirstReadID: firstID, Now: zeroClock, Send: func(m proto.Message) { ask(m.(*messages.RequestRead)) }}
	c.Limits.MaxPendingReads = 1000
	return newReads(c, &refusalCounters{}, func() uint64 { return 1 })
}

func mustBeginRead(t *testing.T, r *reads) *readBatch {
	t.Helper()
	b, err := r.begin(ReadIndex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestE28ReadsJoinUnsentRequestsOnly(t *testing.T) {
	var asked []uint64
	r := newTestReads(100, func(m *messages.RequestRead) { asked = append(asked, m.Id) })
	r.deliverIncarnation(1)
	first, second, third := mustBeginRead(t, r), mustBeginRead(t, r), mustBeginRead(t, r)
	if first == second || second != third || len(asked) != 1 {
		t.Fatalf("requests %v; the second read shares with the third: %v", asked, second == third)
	}
	r.deliverReadPoint(&messages.ReadPoint{Id: asked[0], Index: 5, Term: 1})
	if len(asked) != 2 {
		t.Fatalf("the gathering batch was not sent: %v", asked)
	}
	select {
	case <-first.done:
		t.Fatal("ended before index 5 was applied")
	default:
	}
	r.deliverApplied(1, 5, 1)
	<-first.done
	r.deliverReadPoint(&messages.ReadPoint{Id: asked[0], Index: 1}) // a repeated response to the earlier request
	r.deliverReadPoint(&messages.ReadPoint{Id: asked[1], Index: 4})
	<-second.done
	if first.point.Index != 5 || second.point.Index != 4 {
		t.Fatalf("read points %v and %v", first.point, second.point)
	}
}

func TestNoLocalReadBeforeReplay(t *testing.T) {
	r := newTestReads(0, func(*messages.RequestRead) {})
	serves := func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.local(ctx)
		return err == nil
	}
	r.deliverIncarnation(1)
	r.deliverApplied(1, 3, 1)
	if serves() {
		t.Fatal("served during the replay")
	}
	r.deliverReplayComplete(1, 8)
	if !serves() {
		t.Fatal("not served after the replay")
	}
	r.deliverIncarnation(2)
	if serves() {
		t.Fatal("served during the replay of the next incarnation")
	}
	r.deliverReplayComplete(1, 8)
	if serves() {
		t.Fatal("the end of the replay of an earlier incarnation was accepted")
	}
	r.deliverReplayComplete(2, 8)
	if !serves() {
		t.Fatal("not served after the replay of the next incarnation")
	}
}
