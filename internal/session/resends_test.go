package session

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

func TestNewLeaderGetsPendingCommandsAgain(t *testing.T) {
	s := newProposalsFixture(t, Limits{})
	s.proposeAsync(t.Context(), "a")
	first := s.nextSent()
	s.newTerm(1)
	if again := s.nextSent(); again.Sequence != first.Sequence || string(again.Payload) != "a" {
		t.Fatalf("sent again: %+v", again)
	}
	s.close(errStopped)
}

// A command that waits, however long, is sent once in a term, though the same leader is reported
// again and Retry is called. A leader under load would otherwise receive its load again and again.
func TestCommandIsSentOnceInATerm(t *testing.T) {
	s := newProposalsFixture(t, Limits{})
	s.proposeAsync(t.Context(), "a")
	s.nextSent()
	for range 10 {
		s.retry()
		s.deliverLeader(&messages.LeaderChanged{Incarnation: 1, Term: s.epoch.term})
		s.deliverLeader(&messages.LeaderChanged{Incarnation: 1, Term: s.epoch.term, Leader: 1})
	}
	if len(s.sent) != 0 {
		t.Errorf("sent again: %+v", s.sent)
	}
	s.close(errStopped)
}

// Without a leader nothing is sent, so nothing has to be taken back.
func TestCommandWaitsForLeader(t *testing.T) {
	s := newProposalsFixture(t, Limits{})
	s.deliverLeader(&messages.LeaderChanged{Incarnation: 1, Term: s.epoch.term + 1})
	c, _, err := s.start(&proposalRequest{encode: raft.EncodeBarrier})
	if err != nil || len(s.sent) != 0 || c.mayBeProposed() {
		t.Fatalf("sent %v, error %v", s.sent, err)
	}
	s.deliverLeader(&messages.LeaderChanged{Incarnation: 1, Term: s.epoch.term, Leader: 1})
	if s.nextSent(); !c.mayBeProposed() {
		t.Error("it was sent and counts as not proposed")
	}
}

// A leader that becomes known receives many pending commands in turns, each after what else has
// arrived. A turn of an earlier leader ends.
func TestPendingCommandsAreSentInTurns(t *testing.T) {
	const all = 3*maxResendTurn + 10
	var sent []uint64 // sequences; 0: the end of a turn
	var last *messages.ContinueProposals
	p := newProposals(Config{Limits: Limits{MaxRequestBytes: 1, MaxPendingRequests: all, MaxPendingBytes: 1 << 30}, NewNonce: newNonce,
		Send: func(m proto.Message) {
			if turn, ok := m.(*messages.ContinueProposals); ok {
				sent, last = append(sent, 0), turn
			} else if e, _ := raft.DecodeEntry(m.(*messages.Propose).Data); e.Kind == raft.KindBarrier {
				sent = append(sent, e.Sequence)
			}
		}}, &refusalCounters{}, func() uint64 { return 1 })
	p.deliverRegistered(&messages.SessionRegistered{Nonce: p.registration.nonce, SessionId: 77})
	for range all {
		if _, _, err := p.start(&proposalRequest{encode: raft.EncodeBarrier}); err != nil {
			t.Fatal(err)
		}
	}
	p.deliverLeader(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	stale := last
	p.deliverLeader(&messages.LeaderChanged{Incarnation: 1, Term: 2, Leader: 3})
	sent = sent[maxResendTurn+1:]
	p.deliverContinue(stale)
	for i := range 3 {
		if n := (i+1)*(maxResendTurn+1) - 1; len(sent) != n+1 || sent[n] != 0 || sent[n-1] != uint64(n-i) {
			t.Fatalf("turn %d: %d sent", i, len(sent))
		}
		p.retry() // does not disturb it
		p.deliverContinue(last)
	}
	if n := all + 3; len(sent) != n || sent[n-1] != all {
		t.Fatalf("%d sent in all, want %d", len(sent), n)
	}
}

// A refusal for overload ends a command as soon as no copy of it can take effect.
func TestOverloadIsFinalWithoutOtherCopies(t *testing.T) {
	overloaded, noLeader := messages.Refusal_REFUSAL_OVERLOADED, messages.Refusal_REFUSAL_NO_LEADER
	apply := func(s *proposalsFixture, incarnation, term uint64, more bool) {
		s.deliverResults(&messages.CommandResults{Incarnation: incarnation, Applied: 9, Term: term, More: more})
	}
	for name, c := range map[string]struct {
		steps func(s *proposalsFixture)
		final bool
	}{
		"sent once": {func(s *proposalsFixture) { s.refuse(overloaded) }, true},
		"refused before": {func(s *proposalsFixture) {
			s.refuse(noLeader)
			s.retry()
			s.refuse(overloaded)
		}, true},
		"a copy of the term before": {func(s *proposalsFixture) {
			s.newTerm(1)
			s.refuse(overloaded)
			apply(s, 1, s.epoch.term-1, false)
		}, false},
		"a copy of the term before, and this term is applied": {func(s *proposalsFixture) {
			s.newTerm(1)
			s.refuse(overloaded)
			apply(s, 1, s.epoch.term, false)
		}, true},
		"a copy of the term before, and this term was applied": {func(s *proposalsFixture) {
			s.newTerm(1)
			apply(s, 1, s.epoch.term, false)
			s.refuse(overloaded)
		}, true},
		"the results of the batch are not complete": {func(s *proposalsFixture) {
			s.newTerm(1)
			s.refuse(overloaded)
			apply(s, 1, s.epoch.term, true)
		}, false},
		"another leader before this term is applied": {func(s *proposalsFixture) {
			s.newTerm(1)
			s.refuse(overloaded)
			s.newTerm(1)
			apply(s, 1, s.epoch.term, false)
		}, false},
		"a copy of an earlier incarnation": {func(s *proposalsFixture) {
			s.newTerm(2)
			s.refuse(overloaded)
			apply(s, 2, s.epoch.term, false)
		}, false},
		"a refusal of the term before": {func(s *proposalsFixture) {
			s.newTerm(1)
			s.epoch.term--
			s.refuse(overloaded)
			s.epoch.term++
			apply(s, 1, s.epoch.term, false)
		}, false},
	} {
		s := newProposalsFixture(t, Limits{})
		call, _, err := s.start(&proposalRequest{encode: raft.EncodeBarrier})
		if err != nil {
			t.Fatal(err)
		}
		c.steps(s)
		select {
		case o := <-call.done:
			if !c.final || !errors.Is(o.Err, ErrOverloaded) {
				t.Errorf("%s: ended with %v", name, o.Err)
			}
		default:
			if c.final {
				t.Errorf("%s: has not ended", name)
			}
		}
	}
}

// A command has certainly no effect if no copy was sent, or each was refused.
func TestAbandonedCommandMayBeProposedOrNot(t *testing.T) {
	noLeader := messages.Refusal_REFUSAL_NO_LEADER
	for name, c := range map[string]struct {
		steps func(s *proposalsFixture)
		want  bool // ErrNotProposed
	}{
		"sent":          {func(*proposalsFixture) {}, false},
		"refused":       {func(s *proposalsFixture) { s.refuse(noLeader) }, true},
		"refused twice": {func(s *proposalsFixture) { s.refuse(noLeader); s.retry(); s.refuse(noLeader) }, true},
		"refused, then sent": {func(s *proposalsFixture) {
			s.refuse(noLeader)
			s.retry()
		}, false},
		"refused in the second term only": {func(s *proposalsFixture) {
			s.newTerm(1)
			s.refuse(noLeader)
		}, false},
		"refused in each term": {func(s *proposalsFixture) {
			s.refuse(noLeader)
			s.newTerm(1)
			s.refuse(noLeader)
		}, true},
	} {
		s := newProposalsFixture(t, Limits{})
		ctx, cancel := context.WithCancel(t.Context())
		done := s.proposeAsync(ctx, "x")
		s.nextSent()
		c.steps(s)
		cancel()
		if o := <-done; errors.Is(o.Err, ErrNotProposed) != c.want || !errors.Is(o.Err, ErrCanceled) {
			t.Errorf("%s: %v", name, o.Err)
		}
		s.close(errStopped)
	}
}
