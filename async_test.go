package troupe_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/troupe-raft/troupe"
)

func TestAsyncProposalsHaveTheirOutcomes(t *testing.T) {
	c := startTestCluster(t, 3, nil)
	c.leader()
	ctx := c.context()
	var outcomes []<-chan troupe.Outcome
	for i := range 500 {
		command := fmt.Appendf(nil, "command %d", i)
		outcomes = append(outcomes, c.Node(uint64(i%3+1)).ProposeAsync(ctx, command))
		clear(command) // it was copied
	}
	seen := map[uint64]bool{}
	for i, outcome := range outcomes {
		o := <-outcome
		if o.Err != nil {
			t.Fatalf("command %d: %v", i, o.Err)
		}
		seen[binary.BigEndian.Uint64(o.Value)] = true
	}
	if len(seen) != len(outcomes) {
		t.Errorf("%d different results of %d commands", len(seen), len(outcomes))
	}
	c.requireAgreement()
}

func TestAsyncProposalEndsWithItsContext(t *testing.T) {
	c := startTestCluster(t, 2, func(config *troupe.Config) { config.Limits.MaxPendingRequests = 2 })
	n := c.leader()
	c.propose(n.ID(), "registered")
	c.Network.Isolate(n.ID())
	ctx, cancel := context.WithCancel(t.Context())
	canceled, kept := n.ProposeAsync(ctx, []byte("canceled")), n.ProposeAsync(t.Context(), []byte("kept"))
	over := n.ProposeAsync(t.Context(), []byte("one too many"))
	select {
	case o := <-over:
		if !errors.Is(o.Err, troupe.ErrOverloaded) {
			t.Errorf("above the limit: %v", o.Err)
		}
	default:
		t.Error("above the limit: not refused at once")
	}
	cancel()
	if o := <-canceled; !errors.Is(o.Err, troupe.ErrCanceled) {
		t.Errorf("canceled: %v", o.Err)
	}
	if o := <-n.ProposeAsync(ctx, []byte("late")); !errors.Is(o.Err, troupe.ErrCanceled) || !errors.Is(o.Err, troupe.ErrNotProposed) {
		t.Errorf("with an ended context: %v", o.Err)
	}
	if m := n.Metrics(); m.PendingProposals != 1 {
		t.Errorf("%d proposals are pending", m.PendingProposals)
	}
	c.Network.HealAll()
	if o := <-kept; o.Err != nil {
		t.Errorf("after the network healed: %v", o.Err)
	}
	last := n.ProposeAsync(t.Context(), []byte("x"))
	n.Kill()
	if o := <-last; o.Err != nil && !errors.Is(o.Err, troupe.ErrStopped) {
		t.Errorf("at a node that stops: %v", o.Err)
	}
}

// VerifyLeader must not rely on what the node thinks: a leader that was replaced thinks that it
// leads.
func TestVerifyLeaderAsksAQuorum(t *testing.T) {
	c := startTestCluster(t, 3, steady)
	leader := c.leader()
	if err := leader.VerifyLeader(c.context()); err != nil {
		t.Errorf("at the leader: %v", err)
	}
	follower := c.Node(leader.ID()%3 + 1)
	if err := follower.VerifyLeader(c.context()); !errors.Is(err, troupe.ErrNotLeader) {
		t.Errorf("at a follower: %v", err)
	}
	// Heartbeat responses are lost, so that it still believes that it leads for an election timeout.
	c.Network.Filter(func(m troupe.MessageInTransit) bool { return m.To != leader.ID() })
	ctx, cancel := context.WithTimeout(c.context(), 200*time.Millisecond)
	defer cancel()
	if err := leader.VerifyLeader(ctx); err == nil {
		t.Error("a leader without responses is verified")
	}
	for _, n := range c.Nodes() {
		n.Kill() // Stop would wait for what was lost, for an election timeout
	}
}

func TestLastContactAges(t *testing.T) {
	c := startTestCluster(t, 2, nil)
	leader := c.leader()
	follower := c.Node(3 - leader.ID())
	began := time.Now()
	for !follower.LastContact().After(began) {
		c.propose(follower.ID(), "replicated to it by the leader")
	}
	c.Network.Isolate(follower.ID())
	changes, stop := follower.LeadershipChanges()
	defer stop()
	for change := range changes {
		if change.LeaderID == 0 {
			break
		}
	}
	waitUntil(t, "the contact is old", func() bool { return time.Since(follower.LastContact()) > 50*time.Millisecond })
	first := time.Now()
	last, again := follower.LastContact(), follower.LastContact()
	// The time since the contact is that at the moment of the call, which may be interrupted.
	if again.Sub(last).Abs() > time.Since(first) || last.After(first) || last.Before(began) {
		t.Errorf("without a leader: %v, then %v", last, again)
	}
	c.Network.HealAll()
	leader = c.leader()
	if since := time.Since(leader.LastContact()); since > time.Minute || since < 0 {
		t.Errorf("at the leader: %v", since)
	}
}
