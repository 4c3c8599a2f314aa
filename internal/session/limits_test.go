package session

import (
	"context"
	"errors"
	"testing"

	"github.com/troupe-raft/troupe/messages"
)

func (d *sessionFixture) requireLimitError(err error, name string, value uint64) {
	d.t.Helper()
	var limit *LimitError
	if !errors.Is(err, ErrOverloaded) || !errors.As(err, &limit) || limit.Limit != name || limit.Value != value {
		d.t.Errorf("refused with %v; want limit %s of %d", err, name, value)
	}
}

func (d *sessionFixture) refusalCount(name string) uint64 {
	for _, r := range d.Backlog().Refusals {
		if r.Limit == name {
			return r.Count
		}
	}
	d.t.Fatalf("refusals at %s are not counted", name)
	return 0
}

// respondToReads answers every request for a read point with the index.
func (d *sessionFixture) respondToReads(index uint64) (rounds int) {
	for len(d.sent) > 0 {
		said := d.sent
		d.sent = nil
		for _, m := range said {
			if ask, ok := m.(*messages.RequestRead); ok {
				rounds++
				d.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Index: index, Term: 1})
			}
		}
	}
	return rounds
}

// A Machine that is stuck, while the leader confirms every read: each read is a round of its own, and none is answered.
func TestE45ReadsForStuckStateMachineAreBounded(t *testing.T) {
	const limit, asked = 5000, 100_000
	d := newSessionFixtureWith(t, Limits{MaxPendingReads: limit})
	d.startServing()
	var calls []*Call
	rounds, refused := 0, 0
	for i := range asked {
		c := d.BeginRead(ReadIndex)
		calls = append(calls, c)
		rounds += d.respondToReads(6 + uint64(i))
		if c.Poll() {
			refused++
			d.requireLimitError(c.Err, "MaxPendingReads", limit)
		}
	}
	if refused != asked-limit || d.refusalCount("MaxPendingReads") != uint64(refused) {
		t.Errorf("%d of %d reads were refused, %d counted", refused, asked, d.refusalCount("MaxPendingReads"))
	}
	if b := d.Backlog(); b.Reads != limit || b.UnappliedReadPoints > maxUnappliedReadPoints || rounds > maxUnappliedReadPoints {
		t.Errorf("%d reads wait for %d points, asked for in %d rounds", b.Reads, b.UnappliedReadPoints, rounds)
	}
	d.applied(6 + asked) // it got on
	d.respondToReads(6 + asked)
	for _, c := range calls[:limit] {
		if !c.Poll() || c.Err != nil {
			t.Fatalf("after all was applied: %+v", c.Outcome)
		}
	}
	if b := d.Backlog(); b.Reads != 0 || b.UnappliedReadPoints != 0 {
		t.Errorf("%d reads and %d points are left of what was answered", b.Reads, b.UnappliedReadPoints)
	}
	if c := d.BeginRead(ReadIndex); c.Poll() {
		t.Errorf("refused although there is room: %v", c.Err)
	}
}

func TestE45AbandonedReadsFreeTheirPlaces(t *testing.T) {
	d := newSessionFixtureWith(t, Limits{MaxPendingReads: 3})
	d.startServing()
	why := errors.New("why")
	for round := range uint64(4 * maxUnappliedReadPoints) {
		parked := d.BeginRead(ReadIndex)
		d.respondToReads(6 + round)
		first, second := d.BeginRead(ReadIndex), d.BeginRead(ReadLeader)
		if c := d.BeginRead(ReadIndex); !c.Poll() {
			t.Fatalf("round %d: the fourth of three was taken", round)
		} else {
			d.requireLimitError(c.Err, "MaxPendingReads", 3)
		}
		for _, c := range []*Call{parked, first, second} {
			if c.Abandon(why); !errors.Is(c.Err, ErrTimeout) || !errors.Is(c.Err, why) {
				t.Fatalf("round %d: given up: %v", round, c.Err)
			}
		}
	}
	if b := d.Backlog(); b.Reads != 0 || b.UnappliedReadPoints > maxUnappliedReadPoints {
		t.Errorf("%d reads and %d points are left of what was given up", b.Reads, b.UnappliedReadPoints)
	}
	d.sent = nil
	d.applied(1 << 30)
	d.respondToReads(1 << 30)
	if c := d.BeginRead(ReadIndex); c.Poll() {
		t.Fatalf("refused although nobody waits: %v", c.Err)
	}
}

func TestAbandonedReadError(t *testing.T) {
	d := newServingFixture(t)
	c := d.BeginRead(ReadIndex)
	d.respondToReads(9)
	c.Abandon(context.DeadlineExceeded)
	want := "timed out: the read needs index 9 and this member's state machine has applied up to 5: context deadline exceeded"
	if c.Err == nil || c.Err.Error() != want {
		t.Errorf("said %q, want %q", c.Err, want)
	}
}

func TestE45LocalReadsDuringReplayAreBounded(t *testing.T) {
	d := newSessionFixtureWith(t, Limits{MaxPendingReads: 2})
	first, second := d.BeginRead(ReadLocal), d.BeginRead(ReadLocal)
	for range 3 { // to ask again takes no further place
		if first.Poll() || second.Poll() {
			t.Fatal("served during the replay")
		}
	}
	third := d.BeginRead(ReadLocal)
	if !third.Poll() {
		t.Fatal("the third of two was taken")
	}
	d.requireLimitError(third.Err, "MaxPendingReads", 2)
	if _, err := d.Read(t.Context(), ReadLocal); err == nil {
		t.Error("the fourth of two was taken")
	}
	first.Abandon(errors.New("why"))
	d.startServing()
	if !second.Poll() || second.Err != nil || d.Backlog().Reads != 0 {
		t.Errorf("after the replay: %+v, %d wait", second.Outcome, d.Backlog().Reads)
	}
}

func TestE45UnregisteredCommandsAreBounded(t *testing.T) {
	d := newSessionFixtureWith(t, Limits{MaxRequestBytes: 100, MaxPendingRequests: 4, MaxPendingBytes: 250})
	var calls []*Call
	for range 3 {
		calls = append(calls, d.BeginProposal(make([]byte, 100)))
	}
	over := d.BeginProposal(make([]byte, 100))
	if !over.Poll() {
		t.Fatal("taken above 250 bytes, without a leader")
	}
	d.requireLimitError(over.Err, "MaxPendingBytes", 250)
	calls[0].Abandon(errors.New("why"))
	calls = append(calls[1:], d.BeginProposal([]byte("x")), d.BeginProposal([]byte("y")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	over = d.BeginProposal([]byte("z"))
	if !over.Poll() {
		t.Fatal("the fifth of four was taken")
	}
	d.requireLimitError(over.Err, "MaxPendingRequests", 4)
	if n, bytes := d.Pending(); n != 4 || bytes != 202 {
		t.Errorf("%d commands of %d bytes wait", n, bytes)
	}
	calls[0].Abandon(errors.New("why"))
	if _, err := d.Propose(ctx, []byte("z")); !errors.Is(err, ErrNoLeader) {
		t.Errorf("given up without a leader: %v", err)
	}
	d.startServing()
	for _, c := range calls[1:] {
		if c.Poll() {
			t.Errorf("ended before it was answered: %v", c.Err)
		}
	}
	if n := len(d.proposed()); n != 3 {
		t.Errorf("%d commands were sent once there was an origin", n)
	}
	d.applied(6, 1, 2, 3)
	for _, c := range calls[1:] {
		if !c.Poll() || c.Err != nil {
			t.Errorf("answered %+v", c.Outcome)
		}
	}
	if n, bytes := d.Pending(); n != 0 || bytes != 0 {
		t.Errorf("%d commands, %d bytes are left", n, bytes)
	}
}

// The replicated state keeps maxPendingSpan answers of an origin: a command that is lost, and said again after as many others
// were applied, must still find its place there.
func TestE45SpanIsAtMostTheCachedReplies(t *testing.T) {
	d := newSessionFixtureWith(t, Limits{MaxRequestBytes: 100, MaxPendingRequests: 10, MaxPendingBytes: 1 << 20})
	d.startServing()
	oldest := d.BeginProposal([]byte("lost on its way"))
	for sequence := uint64(2); sequence <= maxPendingSpan; sequence++ {
		c := d.BeginProposal([]byte("x"))
		if d.applied(5+sequence, sequence); !c.Poll() || c.Err != nil {
			t.Fatalf("command %d: %+v", sequence, c.Outcome)
		}
	}
	over := d.BeginProposal([]byte("x"))
	if !over.Poll() {
		t.Fatal("taken beyond the span")
	}
	d.requireLimitError(over.Err, "MaxPendingSpan", maxPendingSpan)
	d.applied(6+maxPendingSpan, 1)
	if !oldest.Poll() || oldest.Err != nil {
		t.Fatalf("the oldest: %+v", oldest.Outcome)
	}
	if c := d.BeginProposal([]byte("x")); c.Poll() {
		t.Errorf("refused although all is answered: %v", c.Err)
	}
}

func TestLeaderRefusalsAreCounted(t *testing.T) {
	d := newServingFixture(t)
	c := d.BeginProposal([]byte("x"))
	d.Deliver(&messages.ProposalsRefused{SessionIds: []uint64{7}, Sequences: []uint64{1}, Reason: messages.Refusal_REFUSAL_OVERLOADED, Limit: 9})
	c.Poll()
	d.requireLimitError(c.Err, "MaxUncommittedBytes", 9)
	c = d.BeginProposal([]byte("x"))
	d.Deliver(&messages.ProposalsRefused{SessionIds: []uint64{7}, Sequences: []uint64{2}, Reason: messages.Refusal_REFUSAL_DISK_FULL})
	if c.Poll(); !errors.Is(c.Err, ErrDiskFull) {
		t.Errorf("refused with %v", c.Err)
	}
	c = d.BeginRead(ReadIndex)
	ask := d.sent[len(d.sent)-1].(*messages.RequestRead)
	d.Deliver(&messages.ReadPoint{Incarnation: 1, Id: ask.Id, Refusal: messages.Refusal_REFUSAL_OVERLOADED})
	if c.Poll(); !errors.Is(c.Err, ErrOverloaded) {
		t.Errorf("refused with %v", c.Err)
	}
	for _, name := range []string{"MaxUncommittedBytes", "DiskLowWater", "leader's MaxPendingReads"} {
		if n := d.refusalCount(name); n != 1 {
			t.Errorf("%d refusals at %s were counted", n, name)
		}
	}
	if n := d.Backlog().Reads; n != 0 {
		t.Errorf("%d reads wait after the refusal", n)
	}
}
