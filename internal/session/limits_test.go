package session

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

func (f *sessionFixture) requireLimitError(err error, name string, value uint64) {
	f.t.Helper()
	var limit *LimitError
	if !errors.Is(err, ErrOverloaded) || !errors.As(err, &limit) || limit.Limit != name || limit.Value != value {
		f.t.Errorf("refused with %v; want limit %s of %d", err, name, value)
	}
}

func (f *sessionFixture) refusalCount(name string) uint64 {
	for _, r := range f.Backlog().Refusals {
		if r.Limit == name {
			return r.Count
		}
	}
	f.t.Fatalf("there is no count of limit %s", name)
	return 0
}

// respondToReads responds to all read requests with the index, until none is sent.
func (f *sessionFixture) respondToReads(index uint64) (rounds int) {
	for len(f.sent) > 0 {
		sent := f.sent
		f.sent = nil
		for _, m := range sent {
			if ask, ok := m.(*messages.RequestRead); ok {
				rounds++
				f.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: index, Term: 1})
			}
		}
	}
	return rounds
}

// The leader confirms every read at once, so each read has its own request, and the Machine applies
// nothing, so none ends.
func TestE45ReadsForStuckStateMachineAreBounded(t *testing.T) {
	const limit, asked = 5000, 100_000
	f := newSessionFixtureWith(t, Limits{MaxPendingReads: limit})
	f.startServing()
	var calls []*Call
	rounds, refused := 0, 0
	for i := range asked {
		c := f.BeginRead(ReadIndex)
		calls = append(calls, c)
		rounds += f.respondToReads(6 + uint64(i))
		if c.Poll() {
			refused++
			f.requireLimitError(c.Err, "MaxPendingReads", limit)
		}
	}
	if refused != asked-limit || f.refusalCount("MaxPendingReads") != uint64(refused) {
		t.Errorf("%d of %d reads were refused, %d counted", refused, asked, f.refusalCount("MaxPendingReads"))
	}
	if b := f.Backlog(); b.Reads != limit || b.UnappliedReadPoints > maxUnappliedReadPoints || rounds > maxUnappliedReadPoints {
		t.Errorf("%d reads wait for %d read points of %d requests", b.Reads, b.UnappliedReadPoints, rounds)
	}
	f.applied(6 + asked) // the state machine catches up
	f.respondToReads(6 + asked)
	for _, c := range calls[:limit] {
		if !c.Poll() || c.Err != nil {
			t.Fatalf("after everything was applied: %+v", c.Outcome)
		}
	}
	if b := f.Backlog(); b.Reads != 0 || b.UnappliedReadPoints != 0 {
		t.Errorf("%d reads and %d read points are left", b.Reads, b.UnappliedReadPoints)
	}
	if c := f.BeginRead(ReadIndex); c.Poll() {
		t.Errorf("refused below the limit: %v", c.Err)
	}
}

func TestE45AbandonedReadsFreeTheirPlaces(t *testing.T) {
	f := newSessionFixtureWith(t, Limits{MaxPendingReads: 3})
	f.startServing()
	why := errors.New("why")
	for round := range uint64(4 * maxUnappliedReadPoints) {
		parked := f.BeginRead(ReadIndex)
		f.respondToReads(6 + round)
		first, second := f.BeginRead(ReadIndex), f.BeginRead(ReadLeader)
		if c := f.BeginRead(ReadIndex); !c.Poll() {
			t.Fatalf("round %d: the fourth read with a limit of 3 was accepted", round)
		} else {
			f.requireLimitError(c.Err, "MaxPendingReads", 3)
		}
		for _, c := range []*Call{parked, first, second} {
			if c.Abandon(why); !errors.Is(c.Err, ErrTimeout) || !errors.Is(c.Err, why) {
				t.Fatalf("round %d: abandoned: %v", round, c.Err)
			}
		}
	}
	if b := f.Backlog(); b.Reads != 0 || b.UnappliedReadPoints > maxUnappliedReadPoints {
		t.Errorf("%d reads and %d read points are left", b.Reads, b.UnappliedReadPoints)
	}
	f.sent = nil
	f.applied(1 << 30)
	f.respondToReads(1 << 30)
	if c := f.BeginRead(ReadIndex); c.Poll() {
		t.Fatalf("refused although no read waits: %v", c.Err)
	}
}

func TestAbandonedReadError(t *testing.T) {
	f := newServingFixture(t)
	c := f.BeginRead(ReadIndex)
	f.respondToReads(9)
	c.Abandon(context.DeadlineExceeded)
	want := "timed out: the read needs index 9 and this member's state machine has applied up to 5: context deadline exceeded"
	if c.Err == nil || c.Err.Error() != want {
		t.Errorf("error %q, want %q", c.Err, want)
	}
}

func TestE45LocalReadsDuringReplayAreBounded(t *testing.T) {
	f := newSessionFixtureWith(t, Limits{MaxPendingReads: 2})
	first, second := f.BeginRead(ReadLocal), f.BeginRead(ReadLocal)
	for range 3 { // a second Poll does not count the read again
		if first.Poll() || second.Poll() {
			t.Fatal("served during the replay")
		}
	}
	third := f.BeginRead(ReadLocal)
	if !third.Poll() {
		t.Fatal("the third read with a limit of 2 was accepted")
	}
	f.requireLimitError(third.Err, "MaxPendingReads", 2)
	if _, err := f.Read(t.Context(), ReadLocal); err == nil {
		t.Error("the fourth read with a limit of 2 was accepted")
	}
	first.Abandon(errors.New("why"))
	f.startServing()
	if !second.Poll() || second.Err != nil || f.Backlog().Reads != 0 {
		t.Errorf("after the replay: %+v, %d reads wait", second.Outcome, f.Backlog().Reads)
	}
}

func TestE45UnregisteredCommandsAreBounded(t *testing.T) {
	f := newSessionFixtureWith(t, Limits{MaxRequestBytes: 100, MaxPendingRequests: 4, MaxPendingBytes: 250})
	var calls []*Call
	for range 3 {
		calls = append(calls, f.BeginProposal(make([]byte, 100)))
	}
	over := f.BeginProposal(make([]byte, 100))
	if !over.Poll() {
		t.Fatal("accepted above 250 bytes, without a leader")
	}
	f.requireLimitError(over.Err, "MaxPendingBytes", 250)
	calls[0].Abandon(errors.New("why"))
	calls = append(calls[1:], f.BeginProposal([]byte("x")), f.BeginProposal([]byte("y")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	over = f.BeginProposal([]byte("z"))
	if !over.Poll() {
		t.Fatal("the fifth command with a limit of 4 was accepted")
	}
	f.requireLimitError(over.Err, "MaxPendingRequests", 4)
	if n, bytes := f.Pending(); n != 4 || bytes != 202 {
		t.Errorf("%d commands with %d bytes are pending", n, bytes)
	}
	calls[0].Abandon(errors.New("why"))
	if _, err := f.Propose(ctx, []byte("z")); !errors.Is(err, ErrCanceled) {
		t.Errorf("with a canceled context: %v", err)
	}
	f.startServing()
	for _, c := range calls[1:] {
		if c.Poll() {
			t.Errorf("ended before its result: %v", c.Err)
		}
	}
	if n := len(f.proposed()); n != 3 {
		t.Errorf("%d commands were sent after the registration", n)
	}
	f.applied(6, 1, 2, 3)
	for _, c := range calls[1:] {
		if !c.Poll() || c.Err != nil {
			t.Errorf("outcome %+v", c.Outcome)
		}
	}
	if n, bytes := f.Pending(); n != 0 || bytes != 0 {
		t.Errorf("%d commands, %d bytes are still pending", n, bytes)
	}
}

// The session table keeps maxPendingSpan replies. A command that was lost, and is sent again after
// that many others were applied, must still be recognized.
func TestE45SpanIsAtMostTheCachedReplies(t *testing.T) {
	f := newSessionFixtureWith(t, Limits{MaxRequestBytes: 100, MaxPendingRequests: 10, MaxPendingBytes: 1 << 20})
	f.startServing()
	oldest := f.BeginProposal([]byte("lost"))
	for sequence := uint64(2); sequence <= maxPendingSpan; sequence++ {
		c := f.BeginProposal([]byte("x"))
		if f.applied(5+sequence, sequence); !c.Poll() || c.Err != nil {
			t.Fatalf("command %d: %+v", sequence, c.Outcome)
		}
	}
	over := f.BeginProposal([]byte("x"))
	if !over.Poll() {
		t.Fatal("accepted beyond the span")
	}
	f.requireLimitError(over.Err, "MaxPendingSpan", maxPendingSpan)
	f.applied(6+maxPendingSpan, 1)
	if !oldest.Poll() || oldest.Err != nil {
		t.Fatalf("the oldest command: %+v", oldest.Outcome)
	}
	if c := f.BeginProposal([]byte("x")); c.Poll() {
		t.Errorf("refused although no command is pending: %v", c.Err)
	}
}

// The registration is refused before any command is sent, so what waits for it had no effect. It
// ends at once; what begins later waits for the next attempt.
func TestRefusedRegistrationEndsWhatWaitsForIt(t *testing.T) {
	f := newSessionFixture(t)
	f.Deliver(&messages.LeaderChanged{Incarnation: 1, Term: 1, Leader: 2})
	refuse := func(reason messages.Refusal) {
		f.Deliver(&messages.ProposalsRefused{Term: 1, SessionIds: []uint64{0}, Sequences: []uint64{0}, Reason: reason, Limit: 9, From: 2})
	}
	waiting, async := f.BeginProposal([]byte("x")), f.submit("y")
	blocked := make(chan error, 1)
	go func() {
		_, err := f.Propose(t.Context(), []byte("z"))
		blocked <- err
	}()
	for f.Backlog().Proposals < 3 {
		runtime.Gosched()
	}
	refuse(messages.Refusal_REFUSAL_NO_LEADER)
	if waiting.Poll() {
		t.Fatalf("a temporary refusal ended a command: %+v", waiting.Outcome)
	}
	refuse(messages.Refusal_REFUSAL_DISK_FULL)
	if !waiting.Poll() || !errors.Is(waiting.Err, ErrDiskFull) {
		t.Fatalf("%+v", waiting.Outcome)
	}
	async.requireOutcome(t, ErrDiskFull)
	if err := <-blocked; !errors.Is(err, ErrDiskFull) {
		t.Error(err)
	}
	later := f.BeginProposal([]byte("later"))
	if later.Poll() || f.Backlog().Proposals != 1 {
		t.Errorf("a command after the refusal: %+v, pending %+v", later.Outcome, f.Backlog())
	}
	f.sent = nil
	f.Retry(time.Second)
	if len(f.sent) != 1 {
		t.Errorf("%d messages at the next retry, want the registration", len(f.sent))
	}
	f.Deliver(&messages.SessionRegistered{Incarnation: 1, Nonce: []byte("nonce"), SessionId: 7})
	if later.Poll() || len(f.sent) != 2 {
		t.Errorf("%d messages after the registration, want the command: %+v", len(f.sent), later.Outcome)
	}
}

func TestLeaderRefusalsAreCounted(t *testing.T) {
	f := newServingFixture(t)
	c := f.BeginProposal([]byte("x"))
	f.Deliver(&messages.ProposalsRefused{Term: 1, SessionIds: []uint64{7}, Sequences: []uint64{1}, Reason: messages.Refusal_REFUSAL_OVERLOADED, Limit: 9})
	c.Poll()
	f.requireLimitError(c.Err, "MaxUncommittedBytes", 9)
	c = f.BeginProposal([]byte("x"))
	f.Deliver(&messages.ProposalsRefused{Term: 1, SessionIds: []uint64{7}, Sequences: []uint64{2}, Reason: messages.Refusal_REFUSAL_DISK_FULL})
	if c.Poll(); !errors.Is(c.Err, ErrDiskFull) {
		t.Errorf("refused with %v", c.Err)
	}
	c = f.BeginRead(ReadIndex)
	ask := f.sent[len(f.sent)-1].(*messages.RequestRead)
	f.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Refusal: messages.Refusal_REFUSAL_OVERLOADED})
	if c.Poll(); !errors.Is(c.Err, ErrOverloaded) {
		t.Errorf("refused with %v", c.Err)
	}
	for _, name := range []string{"MaxUncommittedBytes", "DiskLowWater", "leader's MaxPendingReads"} {
		if n := f.refusalCount(name); n != 1 {
			t.Errorf("%d refusals of limit %s were counted", n, name)
		}
	}
	if n := f.Backlog().Reads; n != 0 {
		t.Errorf("%d reads wait after the refusal", n)
	}
}
