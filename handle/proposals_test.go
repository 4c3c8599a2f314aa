package handle

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

func clock() time.Duration { return 0 }

func newNonce() []byte { return []byte(rand.Text()) }

// station is a proposals with nobody behind it: what it sends is kept.
type station struct {
	*proposals
	t      *testing.T
	leader uint64
	mu     sync.Mutex
	sent   []raft.Entry
	wake   chan struct{}
}

func newStation(t *testing.T, limits Limits) *station {
	s := &station{t: t, leader: 1, wake: make(chan struct{}, 1024)}
	if limits == (Limits{}) {
		limits = Limits{MaxRequestBytes: 1 << 20, MaxPendingRequests: 1 << 16, MaxPendingBytes: 1 << 26}
	}
	hear := func(m proto.Message) {
		e, err := raft.DecodeEntry(m.(*messages.Propose).Data)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.sent = append(s.sent, e)
		s.mu.Unlock()
		s.wake <- struct{}{}
	}
	config := Config{Node: 1, Limits: limits, Nonce: newNonce, Now: clock, Send: hear}
	s.proposals = newProposals(config, &refusals{}, func() uint64 { return s.leader })
	s.resend()
	s.next() // the request to open the origin
	s.originOpened(&messages.OriginOpened{Nonce: s.nonce, Origin: 77})
	return s
}

// next waits for one more entry to be sent.
func (s *station) next() raft.Entry {
	s.t.Helper()
	select {
	case <-s.wake:
	case <-time.After(time.Minute):
		s.t.Fatal("nothing is sent")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.sent[0]
	s.sent = s.sent[1:]
	return e
}

func (s *station) proposed(ctx context.Context, command string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		r, err := s.propose(ctx, []byte(command))
		done <- outcome{r, err}
	}()
	return done
}

func (s *station) answer(sequence uint64, value string) {
	s.results(&messages.Results{
		Origin: 77, Sequences: []uint64{sequence}, Indexes: []uint64{9}, Values: [][]byte{[]byte(value)},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_APPLIED},
	})
}

func TestTheLowestOutstandingSequenceIsTheOldestThatIsNotAnswered(t *testing.T) {
	s := newStation(t, Limits{})
	var waiting []<-chan outcome
	for range 3 {
		waiting = append(waiting, s.proposed(t.Context(), "x"))
		s.next()
	}
	s.answer(2, "second")
	last := s.proposed(t.Context(), "y")
	if e := s.next(); e.Sequence != 4 || e.LowestOutstanding != 1 {
		t.Fatalf("sent %+v while the first is not answered", e)
	}
	s.answer(1, "first")
	s.answer(1, "again")
	s.proposed(t.Context(), "z")
	if e := s.next(); e.Sequence != 5 || e.LowestOutstanding != 3 {
		t.Fatalf("sent %+v while the third is the oldest", e)
	}
	s.answer(3, "third")
	s.answer(4, "fourth")
	for i, want := range []string{"first", "second", "third"} {
		if o := <-waiting[i]; o.err != nil || string(o.result.Value) != want {
			t.Errorf("command %d was answered with %q, %v", i+1, o.result.Value, o.err)
		}
	}
	if o := <-last; string(o.result.Value) != "fourth" {
		t.Errorf("the fourth was answered with %q, %v", o.result.Value, o.err)
	}
	s.close(errStopped)
}

func TestANewLeaderHearsEverythingOutstandingAgain(t *testing.T) {
	s := newStation(t, Limits{})
	s.proposed(t.Context(), "a")
	first := s.next()
	s.resend()
	if again := s.next(); again.Sequence != first.Sequence || string(again.Payload) != "a" {
		t.Fatalf("sent again: %+v", again)
	}
	s.close(errStopped)
}

func TestARefusalIsFinalOnlyForACommandThatWasSentOnce(t *testing.T) {
	s := newStation(t, Limits{})
	refuse := func(sequence uint64) {
		s.refused(&messages.ProposalsRefused{
			Origins: []uint64{77}, Sequences: []uint64{sequence}, Reason: messages.Refusal_REFUSAL_OVERLOADED, Limit: 5,
		})
	}
	once := s.proposed(t.Context(), "once")
	s.next()
	refuse(1)
	if o := <-once; !errors.Is(o.err, ErrOverloaded) {
		t.Fatalf("refused: %v", o.err)
	}
	twice := s.proposed(t.Context(), "twice")
	s.next()
	s.resend()
	s.next()
	refuse(2) // the first copy may be in the log all the same
	s.answer(2, "it was")
	if o := <-twice; o.err != nil || string(o.result.Value) != "it was" {
		t.Fatalf("answered %q, %v", o.result.Value, o.err)
	}
	s.close(errStopped)
}

func TestAnAbandonedCommandTellsWhetherThereWasALeader(t *testing.T) {
	s := newStation(t, Limits{})
	for leader, want := range map[uint64]error{0: ErrNoLeader, 3: ErrTimeout} {
		s.leader = leader
		ctx, cancel := context.WithCancel(t.Context())
		done := s.proposed(ctx, "x")
		s.next()
		cancel()
		if o := <-done; !errors.Is(o.err, want) || !errors.Is(o.err, context.Canceled) {
			t.Errorf("leader %d: %v", leader, o.err)
		}
	}
	if s.pending != 0 || s.bytes != 0 || len(s.queue) != 0 {
		t.Errorf("%d commands, %d bytes are left of what was abandoned", s.pending, s.bytes)
	}
	s.close(errStopped)
}

func TestAnOriginThatTheClusterForgotIsOpenedAnew(t *testing.T) {
	s := newStation(t, Limits{})
	done := s.proposed(t.Context(), "x")
	s.next()
	s.results(&messages.Results{
		Origin: 77, Sequences: []uint64{1}, Indexes: []uint64{0}, Values: [][]byte{nil},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_UNKNOWN},
	})
	if o := <-done; !errors.Is(o.err, ErrOutcomeUnknown) {
		t.Fatalf("answered %v", o.err)
	}
	if e := s.next(); e.Kind != raft.KindOpenOrigin {
		t.Fatalf("sent %+v", e)
	}
	waits := s.proposed(t.Context(), "y")
	s.originOpened(&messages.OriginOpened{Nonce: []byte("another's"), Origin: 1})
	s.originOpened(&messages.OriginOpened{Nonce: s.nonce, Origin: 78})
	if e := s.next(); e.Origin != 78 || e.Sequence != 1 {
		t.Fatalf("sent %+v", e)
	}
	s.close(errStopped)
	if o := <-waits; !errors.Is(o.err, errStopped) {
		t.Fatalf("a closed handle answered %v", o.err)
	}
}

// A leader dies, everything outstanding is said again, and the copy of a command whose answer was too large to be kept meets
// a ledger that cannot give it a second time. Its caller has it; those of the other commands lose nothing either.
func TestACopyOfWhatWasAnsweredFailsNobody(t *testing.T) {
	s := newStation(t, Limits{})
	large := s.proposed(t.Context(), "large")
	s.next()
	other := s.proposed(t.Context(), "other")
	s.next()
	s.resend()
	s.next()
	s.next()
	s.answer(1, "large answer")
	if o := <-large; o.err != nil {
		t.Fatalf("answered %v", o.err)
	}
	s.results(&messages.Results{
		Origin: 77, Sequences: []uint64{1, 2}, Indexes: []uint64{0, 9}, Values: [][]byte{nil, []byte("other's")},
		Outcomes: []messages.Outcome{messages.Outcome_OUTCOME_UNKNOWN, messages.Outcome_OUTCOME_APPLIED},
	})
	if o := <-other; o.err != nil || string(o.result.Value) != "other's" {
		t.Fatalf("answered %q, %v", o.result.Value, o.err)
	}
	s.close(errStopped)
}

func TestE45WhatWaitsAtTheHandleIsBounded(t *testing.T) {
	s := newStation(t, Limits{MaxPendingRequests: 2, MaxRequestBytes: 100, MaxPendingBytes: 1 << 20})
	for range 2 {
		s.proposed(t.Context(), "x")
		s.next()
	}
	var limit *LimitError
	if _, err := s.propose(t.Context(), []byte("x")); !errors.As(err, &limit) || limit.Limit != "MaxPendingRequests" || limit.Value != 2 {
		t.Errorf("the third of two: %v", err)
	}
	if _, err := s.propose(t.Context(), make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a command above the limit: %v", err)
	}
	s.close(errStopped)
}

// newStudy is a reads whose leader is the test.
func newStudy(firstID uint64, ask func(*messages.AskRead)) *reads {
	c := Config{FirstRead: firstID, Now: clock, Send: func(m proto.Message) { ask(m.(*messages.AskRead)) }}
	c.Limits.MaxPendingReads = 1000
	return newReads(c, &refusals{}, func() uint64 { return 1 })
}

func begun(t *testing.T, r *reads) *readBatch {
	t.Helper()
	b, err := r.begin(ReadIndex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadsShareRoundsAndNoReadJoinsARequestThatHasLeft(t *testing.T) {
	var asked []uint64
	r := newStudy(100, func(m *messages.AskRead) { asked = append(asked, m.Id) })
	r.incarnated(1)
	first, second, third := begun(t, r), begun(t, r), begun(t, r)
	if first == second || second != third || len(asked) != 1 {
		t.Fatalf("asked %v; the second shares with the third: %v", asked, second == third)
	}
	r.answered(&messages.ReadPoint{Id: asked[0], Index: 5, Term: 1})
	if len(asked) != 2 {
		t.Fatalf("the batch that gathered was not sent on: %v", asked)
	}
	select {
	case <-first.done:
		t.Fatal("released before index 5 was applied")
	default:
	}
	r.newApplied(1, 5, 1)
	<-first.done
	r.answered(&messages.ReadPoint{Id: asked[0], Index: 1}) // of the round before: says nothing of this one
	r.answered(&messages.ReadPoint{Id: asked[1], Index: 4})
	<-second.done
	if first.point.Index != 5 || second.point.Index != 4 {
		t.Fatalf("points %v and %v", first.point, second.point)
	}
}

func TestNothingIsServedBeforeTheReplayOfALife(t *testing.T) {
	r := newStudy(0, func(*messages.AskRead) {})
	serves := func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.local(ctx)
		return err == nil
	}
	r.incarnated(1)
	r.newApplied(1, 3, 1)
	if serves() {
		t.Fatal("served during the replay")
	}
	r.nowServing(1, 8)
	if !serves() {
		t.Fatal("not served after the replay")
	}
	r.incarnated(2)
	if serves() {
		t.Fatal("served while the actors' next life replays")
	}
	r.nowServing(1, 8)
	if serves() {
		t.Fatal("a former life's word was taken")
	}
	r.nowServing(2, 8)
	if !serves() {
		t.Fatal("not served after the replay of the next life")
	}
}
